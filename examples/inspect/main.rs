// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows what a cluster's configuration says: nodes, storages, guests, every volume they refer to, and everything that
//! is wrong with it, from a `config.db`, a folder laid out like `/etc/pve`, or a sample that comes with the program.

mod document;
mod excerpt;
mod text;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use pve_cfs::{Database, Source};
use pve_config::inventory::Inventory;

/// A cluster of three nodes, as the daemon of a real one wrote it, with the mistakes that people make.
const SAMPLE: &[u8] = include_bytes!("../sample/config.db");

/// Shows what a cluster's configuration says, and what is wrong with it.
///
/// PATH is the database of the cluster file system (/var/lib/pve-cluster/config.db, or a copy of it with its -wal file) or a folder
/// laid out like /etc/pve. Nothing is written or locked: it is safe beside a running node and on a read-only copy of a dead
/// one. Without PATH, a sample cluster is shown.
#[derive(Parser)]
#[command(
    name = "inspect",
    after_help = "Examples:\n  inspect                                   the sample\n  inspect /var/lib/pve-cluster/config.db    a node, running or not\n  inspect /etc/pve --guest 100              one guest\n  inspect config.db --json | jq '.guests[] | select(.template)'"
)]
struct Args {
    /// A config.db, or a folder laid out like /etc/pve
    path: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Show only this guest (may be given several times)
    #[arg(long, value_name = "VMID")]
    guest: Vec<u32>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        // a reader that has seen enough is no error
        Err(error) if error.downcast_ref().is_some_and(is_broken_pipe) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("inspect: {error}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let source = match &args.path {
        Some(path) => Source::read(path)?,
        None => {
            let name = Path::new("(sample)");
            Source::of_database(name, &Database::from_bytes(name, SAMPLE.to_vec())?.0)
        }
    };
    let mut cluster = Inventory::new(source.listing.files());
    let below_nodes = source.listing.directories().filter_map(|path| path.strip_prefix(b"nodes/"));
    cluster.add_nodes(below_nodes.filter(|name| !name.contains(&b'/')));
    cluster.guests.retain(|guest| args.guest.is_empty() || args.guest.contains(&guest.vmid));
    if let Some(missing) = args.guest.iter().find(|vmid| cluster.guest(**vmid).is_none()) {
        return Err(format!("there is no guest {missing}").into());
    }
    let mut out = anstream::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", document::cluster(&source, &cluster))?;
    } else {
        text::write(&mut out, &source, &cluster)?;
    }
    Ok(())
}
