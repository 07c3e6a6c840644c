// SPDX-License-Identifier: MIT OR Apache-2.0
//! Works with storages and volumes as Proxmox VE's `pvesm` does, with or without a running node: the same names, the same
//! commands below, and the same lock files.

mod change;
mod features;
mod listing;
mod place;
mod scan;
mod snapshot;
mod status;
mod stream;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use examples::ending::exit_code;

use place::Place;

type Outcome = Result<(), Box<dyn Error>>;
/// Where answers go; escape sequences are taken out on the way to what is no terminal.
type Out = dyn std::io::Write;

/// Works with storages and their volumes.
///
/// A storage is a section of storage.cfg, a volume a name on it: STORAGE:VOLNAME. There is no list of volumes anywhere: what
/// LVM, ZFS, Ceph or a directory report is matched against the naming convention (vm-100-disk-0), and what does not fit is
/// never shown. `list --all-names` shows it, with the reason.
///
/// Nothing here needs a running node. storage.cfg may come from /etc/pve, from a folder like it, or straight from the
/// database of the cluster file system. With --dry-run, the commands that would be run are printed and not run.
#[derive(Parser)]
#[command(name = "pvesm", after_help = EXAMPLES, subcommand_required = true)]
struct Args {
    #[command(flatten)]
    place: place::Options,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  pvesm status
  pvesm list local-lvm --all-names              and what is there beside it
  pvesm alloc local-lvm 100 '' 32G              the next free name
  pvesm --dry-run free local-lvm:vm-100-disk-0  the commands alone
  pvesm template local:100/vm-100-disk-0.qcow2  then: pvesm clone local:100/base-100-disk-0.qcow2 101
  pvesm export local:100/vm-100-disk-0.raw auto - | ssh other pvesm import nas:100/vm-100-disk-0.raw raw+size -
  pvesm --root config.db --node pve1 path local-lvm:vm-100-disk-0";

#[derive(Subcommand)]
enum Verb {
    /// Show the storages with their space
    Status(status::Status),
    /// List the volumes of a storage
    List(listing::List),
    /// Make a volume
    Alloc(change::Alloc),
    /// Remove a volume
    Free(change::Free),
    /// Show where a volume is
    Path(change::Path),
    /// Give a volume to another guest, or another name
    Rename(change::Rename),
    /// Make a linked clone of a base volume or snapshot
    Clone(change::Clone),
    /// Turn a volume into a base volume, for linked clones
    Template(change::Template),
    /// Grow a volume
    Resize(change::Resize),
    /// Work with snapshots of a volume
    #[command(subcommand)]
    Snapshot(snapshot::Snapshot),
    /// Write a volume to a file or standard output
    Export(stream::Export),
    /// Make a volume from a file or standard input
    Import(stream::Import),
    /// Copy a volume to another storage
    Copy(stream::Copy),
    /// Look for what could become a storage
    #[command(subcommand)]
    Scan(scan::Scan),
    /// Show what a storage offers, or what a volume can do, and why not
    Features(features::Features),
}

fn main() -> ExitCode {
    exit_code("error", run(&Args::parse(), &mut anstream::stdout().lock()))
}

fn run(args: &Args, out: &mut Out) -> Outcome {
    let place = Place::open(&args.place)?;
    match &args.verb {
        Verb::Status(verb) => verb.run(&place, out),
        Verb::List(verb) => verb.run(&place, out),
        Verb::Alloc(verb) => verb.run(&place, out),
        Verb::Free(verb) => verb.run(&place, out),
        Verb::Path(verb) => verb.run(&place, out),
        Verb::Rename(verb) => verb.run(&place, out),
        Verb::Clone(verb) => verb.run(&place, out),
        Verb::Template(verb) => verb.run(&place, out),
        Verb::Resize(verb) => verb.run(&place, out),
        Verb::Snapshot(verb) => verb.run(&place, out),
        Verb::Export(verb) => verb.run(&place, out),
        Verb::Import(verb) => verb.run(&place, out),
        Verb::Copy(verb) => verb.run(&place, out),
        Verb::Scan(verb) => verb.run(&place, out),
        Verb::Features(verb) => verb.run(&place, out),
    }
}

/// Reads a size in bytes: a number with a unit, `K`, `M`, `G`, `T`, or none.
fn bytes(text: &str) -> Result<u64, String> {
    pve_config::format::parse_size(text.as_bytes()).map_err(|error| error.to_string())
}

/// Reads a size in KiB: a number with a unit, `K`, `M`, `G`, `T`, or none for KiB.
fn kibibytes(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(number) => Ok(number),
        Err(_) => bytes(text).map(|size| size.div_ceil(1024)),
    }
}
