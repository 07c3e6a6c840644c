// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verb `diff`, and differences as text and as JSON.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstyle::Style;
use bstr::ByteSlice;
use pve_cfs::diff::{self, Difference, Kind, Lines};
use pve_cfs::listing::{Item, path_bytes};
use pve_cfs::{Finding, Listing, Severity, Source};
use serde_json::{Map, Value, json};

use crate::output::{Colours, Failure, print_json, set_bytes};

#[derive(clap::Args)]
pub(crate) struct Diff {
    /// The database, or the folder, as it was
    before: PathBuf,
    /// The database, or the folder, as it is
    after: PathBuf,
    /// Only what is at or below this path; can be given several times
    #[arg(long, value_name = "PATH")]
    only: Vec<PathBuf>,
    /// Only the paths, not the lines
    #[arg(long)]
    names: bool,
    /// Unchanged lines to show around each change
    #[arg(long, value_name = "LINES", default_value_t = 3)]
    context: usize,
}

impl Diff {
    /// As `diff`: exit code 0 if both are alike, 1 if not.
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<ExitCode, Failure> {
        let (before, after) = (read(&self.before)?, read(&self.after)?);
        let mut found = diff::diff(&before, &after);
        if !self.only.is_empty() {
            let chosen =
                |path: &[u8]| self.only.iter().any(|only| lies_in(path, only.as_os_str().as_bytes()));
            found.retain(|found| chosen(found.path) || found.moved_from.is_some_and(|from| chosen(from)));
        }
        let context = (!self.names).then_some(self.context);
        if json {
            print_json(out, &found.iter().map(|found| value(found, context)).collect())?;
        } else {
            print(out, &found, context, Colours::of_stdout())?;
        }
        Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) })
    }
}

/// Whether `path` is `place` or lies below it.
pub(crate) fn lies_in(path: &[u8], place: &[u8]) -> bool {
    let place = place.trim_with(|byte| byte == '/');
    place.is_empty() || path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// A listing of a database or a folder; what is wrong with it, or was left out, goes to the standard error output.
pub(crate) fn read(path: &Path) -> Result<Listing, Failure> {
    let Source { listing, findings, .. } = Source::read(path)?;
    warn(&findings);
    for left in listing.missed() {
        anstream::eprintln!("pmxcfs: {}: {:?} left out: {}", path.display(), left.path, left.reason);
    }
    Ok(listing)
}

/// Says what is wrong or odd with a database on the standard error output, so that nothing is taken for complete that is not.
pub(crate) fn warn(findings: &[Finding]) {
    for finding in findings.iter().filter(|finding| finding.severity() > Severity::Note) {
        anstream::eprintln!("pmxcfs: {}: {finding}", finding.severity());
    }
}

/// One line for each difference, and below it the lines that differ, if there is a number of context lines.
pub(crate) fn print(
    out: &mut impl Write,
    found: &[Difference<'_>],
    context: Option<usize>,
    colours: Colours,
) -> std::io::Result<()> {
    for found in found {
        let slash = if found.is_directory() { "/" } else { "" };
        let (sign, style) = match found.kind() {
            Kind::Added => ("added", colours.added),
            Kind::Removed => ("removed", colours.removed),
            Kind::Changed => ("changed", colours.changed),
            Kind::Moved => ("moved", colours.changed),
            Kind::Type => ("type changed", colours.changed),
        };
        write!(out, "{style}{sign}{style:#} ")?;
        if let Some(from) = found.moved_from {
            write!(out, "{} -> ", from.escape_bytes())?;
        }
        writeln!(out, "{}{slash}", found.path.escape_bytes())?;
        let Some(context) = context else { continue };
        print_lines(out, &found.lines(context), colours)?;
    }
    Ok(())
}

/// The lines that differ, indented.
pub(crate) fn print_lines(out: &mut impl Write, lines: &Lines, colours: Colours) -> std::io::Result<()> {
    match lines {
        Lines::Same => Ok(()),
        Lines::Binary { before, after } => writeln!(out, "  binary, {before} and {after} bytes"),
        Lines::Text(text) => text.lines_with_terminator().try_for_each(|line| {
            let style = match line.first() {
                Some(b'+') => colours.added,
                Some(b'-') => colours.removed,
                Some(b'@') => colours.quiet,
                _ => Style::new(),
            };
            print_line(out, line, style, colours.terminal)
        }),
    }
}

fn print_line(out: &mut impl Write, line: &[u8], style: Style, terminal: bool) -> std::io::Result<()> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    write!(out, "  {style}")?;
    if terminal {
        for character in line.chars() {
            match character {
                '\t' => out.write_all(b"\t")?,
                steering if steering.is_control() => write!(out, "{}", steering.escape_default())?,
                plain => write!(out, "{plain}")?,
            }
        }
    } else {
        out.write_all(line)?;
    }
    writeln!(out, "{style:#}")
}

/// A difference as JSON.
pub(crate) fn value(found: &Difference<'_>, context: Option<usize>) -> Value {
    let mut object = Map::new();
    set_bytes(&mut object, "path", found.path);
    object.insert("kind".to_owned(), json!(found.kind()));
    object.insert("type".to_owned(), if found.is_directory() { "directory" } else { "file" }.into());
    if let Some(from) = found.moved_from {
        set_bytes(&mut object, "moved_from", from);
    }
    object.insert("before".to_owned(), item(found.before));
    object.insert("after".to_owned(), item(found.after));
    if let Some(Lines::Text(text)) = context.map(|context| found.lines(context)) {
        set_bytes(&mut object, "diff", &text);
    }
    Value::Object(object)
}

fn item(item: Option<&Item>) -> Value {
    item.map_or(Value::Null, |item| {
        json!({
            "size": item.content().map(<[u8]>::len),
            "mtime": item.mtime,
            "inode": item.row.map(|row| row.inode),
            "version": item.row.map(|row| row.version),
            "writer": item.row.map(|row| row.writer),
        })
    })
}

/// A path in the database as given on the command line.
pub(crate) fn inner(path: &Path) -> &[u8] {
    path_bytes(path.as_os_str())
}
