// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks into the database of the cluster file system without a daemon: lists, shows, checks and exports its files.

mod listing;

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bstr::ByteSlice;
use clap::{Parser, Subcommand};
use pve_cfs::database::would_refuse;
use pve_cfs::export::export;
use pve_cfs::{Database, Entry, Finding, Severity, Tree, schema};
use serde_json::{Value, json};

/// Looks into the database behind /etc/pve, without a daemon and on any machine.
///
/// DB is /var/lib/pve-cluster/config.db or a copy of it. Copy config.db-wal too: the newest changes are in there, in a
/// young cluster all of them. Nothing is written to the database or locked: it is safe beside a running node.
#[derive(Parser)]
#[command(
    name = "pmxcfs",
    after_help = "Examples:\n  pmxcfs tree config.db\n  pmxcfs cat config.db nodes/pve1/qemu-server/100.conf\n  pmxcfs check config.db                    would the daemon start with it?\n  pmxcfs export config.db /root/etc-pve     everything as ordinary files\n  pmxcfs find config.db --json | jq '.[] | select(.size > 10000)'"
)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// List a directory, or one file
    Ls(Place),
    /// Print a file, byte for byte
    Cat(Place),
    /// Show everything below a directory as a tree
    Tree(Place),
    /// List the path of everything below a directory
    Find(Place),
    /// Say all that is wrong or odd; fails if the daemon would refuse to start
    Check {
        /// The database
        db: PathBuf,
    },
    /// Show the schema and the rows of the table
    Sql {
        /// The database
        db: PathBuf,
    },
    /// Write everything as ordinary files into a new folder; overwrites nothing
    Export {
        /// The database
        db: PathBuf,
        /// The folder: new, or empty
        dir: PathBuf,
    },
}

#[derive(clap::Args)]
struct Place {
    /// The database
    db: PathBuf,
    /// Path in the database, with or without a slash at its start
    #[arg(default_value = "/")]
    path: PathBuf,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(code) => code,
        // a reader that has seen enough is no error
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("pmxcfs: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut out = std::io::stdout().lock();
    match &args.verb {
        Verb::Ls(place) => {
            let database = open(&place.db)?;
            let entry = find(database.tree(), &place.path)?;
            let listed: Vec<_> = if entry.is_directory() { entry.children().collect() } else { vec![entry] };
            if args.json {
                print_json(&mut out, &listed.iter().map(|entry| listing::entry(*entry)).collect())?;
            } else {
                listed.into_iter().try_for_each(|entry| listing::line(&mut out, entry))?;
            }
        }
        Verb::Cat(place) => {
            let database = open(&place.db)?;
            let entry = find(database.tree(), &place.path)?;
            if entry.is_directory() {
                return Err(format!("{} is a directory: list it with ls", place.path.display()).into());
            }
            if args.json {
                let mut value = listing::entry(entry);
                value["content"] = json!(String::from_utf8_lossy(entry.content()));
                print_json(&mut out, &value)?;
            } else {
                out.write_all(entry.content())?;
            }
        }
        Verb::Tree(place) => {
            let database = open(&place.db)?;
            let entry = find(database.tree(), &place.path)?;
            if args.json {
                print_json(&mut out, &listing::nested(entry))?;
            } else {
                listing::tree(&mut out, entry)?;
            }
        }
        Verb::Find(place) => {
            let database = open(&place.db)?;
            let found = listing::below(find(database.tree(), &place.path)?);
            if args.json {
                print_json(&mut out, &found.iter().map(|(_, entry)| listing::entry(*entry)).collect())?;
            } else {
                for (path, _) in found {
                    writeln!(out, "{}", path.escape_bytes())?;
                }
            }
        }
        Verb::Check { db } => return check(&mut out, db, args.json),
        Verb::Sql { db } => {
            let database = open(db)?;
            if args.json {
                let rows: Vec<_> = database.rows().iter().map(listing::row).collect();
                print_json(&mut out, &json!({ "schema": schema::CREATE_TABLE, "rows": rows }))?;
            } else {
                listing::table(&mut out, database.rows())?;
            }
        }
        Verb::Export { db, dir } => {
            let database = open(db)?;
            let written = export(database.tree(), dir)?;
            if args.json {
                print_json(&mut out, &json!(written))?;
            } else {
                let (files, directories) = (written.files, written.directories);
                writeln!(out, "{files} files, {directories} directories, {} bytes", written.bytes)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens for reading; what is wrong goes to the standard error output, so that no listing is taken for complete that is not.
fn open(path: &Path) -> Result<Database, Failure> {
    let (database, findings) = Database::open_read_only(path)?;
    for finding in findings.iter().filter(|finding| finding.severity() > Severity::Note) {
        anstream::eprintln!("pmxcfs: {}: {finding}", finding.severity());
    }
    Ok(database)
}

fn find<'t>(tree: &'t Tree, path: &Path) -> Result<Entry<'t>, Failure> {
    tree.get(path.as_os_str().as_bytes())
        .ok_or_else(|| format!("there is no {} in the database", path.display()).into())
}

fn check(out: &mut impl Write, path: &Path, json: bool) -> Result<ExitCode, Failure> {
    let (database, findings) = Database::open_read_only(path)?;
    let refused = would_refuse(&findings);
    if json {
        let list: Vec<_> = findings.iter().map(finding).collect();
        let version = database.tree().version();
        print_json(out, &json!({ "version": version, "would_start": !refused, "findings": list }))?;
    } else {
        for finding in &findings {
            writeln!(out, "{}: {finding}", finding.severity())?;
        }
        let (entries, version) = (database.tree().len() - 1, database.tree().version());
        let verdict = if refused { "refuse to start with it" } else { "start with it" };
        writeln!(out, "{entries} entries at version {version}; the daemon would {verdict}")?;
    }
    Ok(if refused { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity(),
        "inode": finding.inode,
        "path": finding.path.as_ref().map(ToString::to_string),
        "message": finding.to_string(),
    })
}

fn print_json(out: &mut impl Write, value: &Value) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, value)?;
    writeln!(out)?;
    Ok(())
}
