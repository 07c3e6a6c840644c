// SPDX-License-Identifier: MIT OR Apache-2.0
//! What Proxmox VE's `qm` would say about the virtual machines of a cluster, from its files alone.

mod cluster;
mod facts;
mod output;
mod verb;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Looks at virtual machines without a running node.
///
/// The cluster is a database (`/var/lib/pve-cluster/config.db`, or a copy of it), a directory like `/etc/pve`, or the sample
/// that comes with this program. Nothing is ever changed.
#[derive(Parser)]
#[command(
    name = "qm",
    after_help = "Examples:\n  qm list\n  qm showcmd 100 --pretty\n  qm --cluster /mnt/dead-node/config.db showcmd 100 \
                  --explain\n  qm diff 100 --from-qemu 9.2.0 --to-qemu 11.0.0"
)]
struct Args {
    /// Database or directory of the cluster; a sample if left out
    #[arg(long, global = true, value_name = "PATH")]
    cluster: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Show the command line that would start a virtual machine
    Showcmd(verb::Showcmd),
    /// Show the configuration of a virtual machine, with pending changes applied
    Config(verb::Config),
    /// List the virtual machines of the cluster
    List(verb::List),
    /// Show the configuration with current and pending values
    Pending(verb::Pending),
    /// Show what would be different in the command line on the next start
    Diff(verb::Diff),
    /// Print the facts of this machine that command lines depend on, as JSON for `--host`
    Facts(facts::Facts),
}

fn main() -> ExitCode {
    let args = Args::parse();
    let cluster = match cluster::Cluster::open(args.cluster.as_deref()) {
        Ok(cluster) => cluster,
        Err(message) => return fail(&message),
    };
    let done = match &args.verb {
        Verb::Showcmd(verb) => verb.run(&cluster),
        Verb::Config(verb) => verb.run(&cluster),
        Verb::List(verb) => verb.run(&cluster),
        Verb::Pending(verb) => verb.run(&cluster),
        Verb::Diff(verb) => verb.run(&cluster),
        Verb::Facts(verb) => verb.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => fail(&message),
    }
}

fn fail(message: &str) -> ExitCode {
    anstream::eprintln!("qm: {message}");
    ExitCode::FAILURE
}
