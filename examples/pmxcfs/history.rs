// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verb `history`: what changed when, from copies of a database.

use std::io::Write;
use std::path::PathBuf;

use bstr::ByteSlice;
use pve_cfs::diff::{Kind, Lines};
use pve_cfs::history::{Event, History};
use serde_json::{Map, Value, json};

use crate::compare::{inner, lies_in, print_lines};
use crate::listing::time;
use crate::output::{Colours, Failure, print_json, set_bytes};

#[derive(clap::Args)]
pub(crate) struct HistoryArgs {
    /// A folder with copies of the database, of any names, also in folders of their own
    folder: PathBuf,
    /// Only what is at or below these paths
    paths: Vec<PathBuf>,
    /// Show the lines that changed, too
    #[arg(long, short)]
    lines: bool,
    /// Unchanged lines to show around each change
    #[arg(long, value_name = "LINES", default_value_t = 3)]
    context: usize,
}

impl HistoryArgs {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let history = History::read(&self.folder)
            .map_err(|error| format!("cannot read {}: {error}", self.folder.display()))?;
        for (path, reason) in &history.unreadable {
            anstream::eprintln!("pmxcfs: {} left out: {reason}", path.display());
        }
        if history.copies.is_empty() {
            return Err(format!("there is no database in {}", self.folder.display()).into());
        }
        let wanted =
            |path: &[u8]| self.paths.is_empty() || self.paths.iter().any(|place| lies_in(path, inner(place)));
        let events = history.events(wanted, self.lines.then_some(self.context))?;
        if json {
            let copies: Vec<_> = history
                .copies
                .iter()
                .map(|copy| {
                    json!({
                        "file": copy.path.display().to_string(), "version": copy.version,
                        "changed": copy.changed, "would_start": !copy.refused,
                    })
                })
                .collect();
            let value = json!({ "copies": copies, "events": events.iter().map(value).collect::<Vec<_>>() });
            return print_json(out, &value);
        }
        let colours = Colours::of_stdout();
        for (index, copy) in history.copies.iter().enumerate() {
            let refused = if copy.refused { ", the daemon would refuse it" } else { "" };
            let (version, path) = (copy.version, copy.path.display());
            let quiet = colours.quiet;
            writeln!(out, "{quiet}{} version {version}{refused}: {path}{quiet:#}", time(copy.changed))?;
            for event in events.iter().filter(|event| event.copy == index) {
                show(out, event, colours)?;
            }
        }
        Ok(())
    }
}

fn show(out: &mut impl Write, event: &Event, colours: Colours) -> Result<(), Failure> {
    let (word, style) = match event.kind {
        Kind::Added => ("added", colours.added),
        Kind::Removed => ("removed", colours.removed),
        Kind::Changed => ("changed", colours.changed),
        Kind::Moved => ("moved", colours.changed),
        Kind::Type => ("type changed", colours.changed),
    };
    let when = event.time.map_or_else(|| " ".repeat(20), time);
    let from =
        event.moved_from.as_ref().map(|from| format!("{} -> ", from.escape_bytes())).unwrap_or_default();
    let slash = if event.directory { "/" } else { "" };
    writeln!(out, "  {when} {style}{word}{style:#} {from}{}{slash}", event.path.escape_bytes())?;
    print_lines(out, &event.lines, colours)?;
    Ok(())
}

fn value(event: &Event) -> Value {
    let mut object = Map::new();
    set_bytes(&mut object, "path", &event.path);
    if let Some(from) = &event.moved_from {
        set_bytes(&mut object, "moved_from", from);
    }
    if let Lines::Text(text) = &event.lines {
        set_bytes(&mut object, "diff", text);
    }
    let more = [
        ("kind", json!(event.kind)),
        ("type", if event.directory { "directory" } else { "file" }.into()),
        ("copy", event.copy.into()),
        ("time", json!(event.time)),
        ("version", json!(event.version)),
        ("writer", json!(event.writer)),
    ];
    object.extend(more.map(|(key, value)| (key.to_owned(), value)));
    Value::Object(object)
}
