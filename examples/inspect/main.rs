// SPDX-License-Identifier: MIT OR Apache-2.0
//! Shows what a cluster's configuration says: nodes, storages, guests, every volume they refer to, and everything that
//! is wrong with it, from a `config.db`, a folder laid out like `/etc/pve`, or a sample that comes with the program.

mod document;
mod excerpt;
mod network;
mod text;

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bstr::{BString, ByteSlice};
use clap::Parser;
use examples::ending::exit_code;
use examples::whereabouts::SAMPLE;
use pve_cfs::Source;
use pve_config::format::Context;
use pve_config::inventory::Inventory;

use crate::network::NodeNetwork;

/// The network of a node of the sample, which is no part of the database.
const SAMPLE_NETWORK: &[u8] = include_bytes!("../sample/alpha.interfaces");
/// The time zones that this machine knows, one a line in the third column.
const ZONE_TAB: &str = "/usr/share/zoneinfo/zone.tab";

/// Shows what a cluster's configuration says, and what is wrong with it.
///
/// PATH is the database of the cluster file system (/var/lib/pve-cluster/config.db, or a copy of it with its -wal file) or a folder
/// laid out like /etc/pve. Nothing is written or locked: it is safe beside a running node and on a read-only copy of a dead
/// one. Without PATH, a sample cluster is shown.
///
/// The network of a node stands in /etc/network/interfaces of that node, outside of the cluster file system: give the file
/// with --interfaces to see its bridges, and which guests are attached to a bridge that it does not have.
#[derive(Parser)]
#[command(
    name = "inspect",
    after_help = "Examples:\n  inspect                                   the sample\n  inspect /var/lib/pve-cluster/config.db    a node, running or not\n  inspect /etc/pve --guest 100              one guest\n  inspect /etc/pve --interfaces pve1=/etc/network/interfaces\n  inspect config.db --json | jq '.guests[] | select(.template)'"
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
    /// The network of a node, from its /etc/network/interfaces (may be given several times)
    #[arg(long, value_name = "NODE=FILE", value_parser = node_file)]
    interfaces: Vec<(String, PathBuf)>,
}

fn node_file(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((node, file)) if !node.is_empty() && !file.is_empty() => Ok((node.to_owned(), file.into())),
        _ => Err("write NODE=FILE".to_owned()),
    }
}

fn main() -> ExitCode {
    exit_code("inspect", run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Box<dyn Error>> {
    let source = match &args.path {
        Some(path) => Source::read(path)?,
        None => Source::from_bytes(Path::new("(sample)"), SAMPLE.to_vec())?,
    };
    let zones = time_zones();
    let context = Context::default().with_time_zones(&zones);
    let mut cluster = Inventory::with_context(source.listing.files(), &context);
    let below_nodes = source.listing.directories().filter_map(|path| path.strip_prefix(b"nodes/"));
    cluster.add_nodes(below_nodes.filter(|name| !name.contains(&b'/')));
    // what the other files refer to is judged by all guests, and told about with all of them
    let loose = if args.guest.is_empty() { cluster.loose_ends() } else { Vec::new() };
    cluster.guests.retain(|guest| args.guest.is_empty() || args.guest.contains(&guest.vmid));
    if let Some(missing) = args.guest.iter().find(|vmid| cluster.guest(**vmid).is_none()) {
        return Err(format!("there is no guest {missing}").into());
    }
    let files = network_files(args)?;
    let networks: Vec<NodeNetwork<'_>> = files.iter().map(NodeNetwork::read).collect();
    let mut out = anstream::stdout().lock();
    if args.json {
        writeln!(out, "{:#}", document::cluster(&source, &cluster, &loose, &networks))?;
    } else {
        text::write(&mut out, &source, &cluster, &loose, &networks)?;
    }
    Ok(())
}

/// The files with the networks of nodes.
fn network_files(args: &Args) -> Result<Vec<network::File>, Box<dyn Error>> {
    if args.path.is_none() && args.interfaces.is_empty() {
        let path = "(sample)/alpha.interfaces".to_owned();
        return Ok(vec![network::File { node: "alpha".to_owned(), path, text: SAMPLE_NETWORK.to_vec() }]);
    }
    let read = |(node, path): &(String, PathBuf)| {
        let text = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Ok(network::File { node: node.clone(), path: path.display().to_string(), text })
    };
    args.interfaces.iter().map(read).collect()
}

/// The time zones that containers may have; none on a machine that has no list of them.
fn time_zones() -> Vec<BString> {
    let table = std::fs::read(ZONE_TAB).unwrap_or_default();
    let rows = table.lines().filter(|line| !line.starts_with(b"#"));
    rows.filter_map(|row| row.split(|byte| *byte == b'\t').nth(2).map(BString::from)).collect()
}
