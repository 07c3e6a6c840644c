// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that only look: `ls`, `cat`, `tree`, `find`, `check`, `sql`, `export`.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bstr::ByteSlice;
use pve_cfs::database::would_refuse;
use pve_cfs::export::export;
use pve_cfs::{Database, Entry, Finding, Tree, schema};
use serde_json::{Value, json};

use crate::compare::warn;
use crate::listing;
use crate::output::{Failure, print_json, set_bytes};

#[derive(clap::Args)]
pub(crate) struct Place {
    /// The database
    db: PathBuf,
    /// Path in the database, with or without a slash at its start
    #[arg(default_value = "/")]
    path: PathBuf,
}

impl Place {
    pub(crate) fn ls(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let database = open(&self.db)?;
        let entry = find(database.tree(), &self.path)?;
        let listed: Vec<_> = if entry.is_directory() { entry.children().collect() } else { vec![entry] };
        if json {
            return print_json(out, &listed.iter().map(|entry| listing::entry(*entry)).collect());
        }
        listed.into_iter().try_for_each(|entry| listing::line(out, entry))?;
        Ok(())
    }

    pub(crate) fn cat(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let database = open(&self.db)?;
        let entry = find(database.tree(), &self.path)?;
        if entry.is_directory() {
            return Err(format!("{} is a directory: list it with ls", self.path.display()).into());
        }
        if !json {
            out.write_all(entry.content())?;
            return Ok(());
        }
        let mut value = listing::entry(entry);
        if let Some(object) = value.as_object_mut() {
            set_bytes(object, "content", entry.content());
        }
        print_json(out, &value)
    }

    pub(crate) fn tree(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let database = open(&self.db)?;
        let entry = find(database.tree(), &self.path)?;
        if json {
            return print_json(out, &listing::nested(entry));
        }
        listing::tree(out, entry)?;
        Ok(())
    }

    pub(crate) fn find(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let database = open(&self.db)?;
        let found = listing::below(find(database.tree(), &self.path)?);
        if json {
            return print_json(out, &found.iter().map(|(_, entry)| listing::entry(*entry)).collect());
        }
        for (path, _) in found {
            writeln!(out, "{}", path.escape_bytes())?;
        }
        Ok(())
    }
}

#[derive(clap::Args)]
pub(crate) struct Export {
    /// The database
    db: PathBuf,
    /// The folder: new, or empty
    dir: PathBuf,
}

impl Export {
    pub(crate) fn run(&self, out: &mut impl Write, json: bool) -> Result<(), Failure> {
        let database = open(&self.db)?;
        let written = export(database.tree(), &self.dir)?;
        if json {
            return print_json(out, &json!(written));
        }
        let (files, directories) = (written.files, written.directories);
        writeln!(out, "{files} files, {directories} directories, {} bytes", written.bytes)?;
        Ok(())
    }
}

/// Prints the schema and the rows.
pub(crate) fn sql(out: &mut impl Write, db: &Path, json: bool) -> Result<(), Failure> {
    let database = open(db)?;
    if json {
        let rows: Vec<_> = database.rows().iter().map(listing::row).collect();
        return print_json(out, &json!({ "schema": schema::CREATE_TABLE, "rows": rows }));
    }
    listing::table(out, database.rows())?;
    Ok(())
}

/// Opens for reading; what is wrong goes to the standard error output, so that no listing is taken for complete that is not.
fn open(path: &Path) -> Result<Database, Failure> {
    let (database, findings) = Database::open_read_only(path)?;
    warn(&findings);
    Ok(database)
}

fn find<'t>(tree: &'t Tree, path: &Path) -> Result<Entry<'t>, Failure> {
    tree.get(path.as_os_str().as_bytes())
        .ok_or_else(|| format!("there is no {} in the database", path.display()).into())
}

/// Says all that is wrong or odd.
pub(crate) fn check(out: &mut impl Write, path: &Path, json: bool) -> Result<ExitCode, Failure> {
    let (database, findings) = Database::open_read_only(path)?;
    let refused = would_refuse(&findings);
    let version = database.tree().version();
    let empty = database.rows().is_empty();
    if json {
        let list: Vec<_> = findings.iter().map(finding).collect();
        let value = json!({ "version": version, "empty": empty, "would_start": !refused, "findings": list });
        print_json(out, &value)?;
    } else {
        for finding in &findings {
            writeln!(out, "{}: {finding}", finding.severity())?;
        }
        let entries = database.tree().len() - 1;
        if empty {
            writeln!(
                out,
                "an empty shell, without a single row: the daemon would start with an empty /etc/pve, as on a new node"
            )?;
        } else {
            let verdict = if refused { "refuse to start with it" } else { "start with it" };
            writeln!(out, "{entries} entries at version {version}; the daemon would {verdict}")?;
        }
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A finding as JSON.
pub(crate) fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity(),
        "rule": finding.rule.name(),
        "inode": finding.inode,
        "path": finding.path.as_ref().map(ToString::to_string),
        "message": finding.to_string(),
    })
}
