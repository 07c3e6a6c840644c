// SPDX-License-Identifier: MIT OR Apache-2.0
//! The adoption story: how a volume that nobody owns becomes the disk of a virtual machine, and what each step changes in
//! the database and on the storage.

mod ground;
mod layers;
mod story;
mod teller;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use examples::ending::exit_code;

use ground::{Backing, Ground};
use teller::Teller;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Tells how a volume that nobody owns becomes the disk of a virtual machine.
///
/// Proxmox VE keeps its state in two places that do not know each other: configuration texts, which are rows of a
/// SQLite database, and volumes, which are nothing but names on a storage. The story allocates a volume for a VM that
/// does not exist, gives it away and takes it back by renaming it, creates the VM, which does not notice, lets a rescan
/// adopt the volume, and attaches it. Every step shows the command or transaction behind it, and both layers as they are then.
///
/// By default all of it happens in a node of its own, in a temporary folder, with sparse files as volumes: nothing has to be
/// installed, and nobody has to be root. With --storage lvmthin the volumes are real ones.
#[derive(Parser)]
#[command(
    name = "adoption",
    after_help = "Examples:\n  adoption\n  adoption --keep /tmp/node      and look around: qm --root /tmp/node/config.db list\n  \
                  adoption --storage lvmthin --vg pve --pool data"
)]
struct Args {
    /// What the volumes are
    #[arg(long, value_enum, default_value = "dir")]
    storage: Kind,
    /// The volume group (lvmthin)
    #[arg(long, value_name = "NAME", default_value = "pve")]
    vg: String,
    /// The thin pool in it (lvmthin)
    #[arg(long, value_name = "NAME", default_value = "data")]
    pool: String,
    /// Make the node in this folder, and leave it and the VM there; the folder must not exist yet
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    /// Sparse files in a directory
    Dir,
    /// Logical volumes in a thin pool; needs root
    Lvmthin,
}

fn main() -> ExitCode {
    exit_code("adoption", run(&Args::parse(), &mut anstream::stdout().lock()))
}

fn run(args: &Args, out: &mut dyn std::io::Write) -> Outcome {
    let backing = match args.storage {
        Kind::Dir => Backing::Directory,
        Kind::Lvmthin => Backing::Thin { group: args.vg.clone(), pool: args.pool.clone() },
    };
    let ground = Ground::make(backing, args.keep.as_deref())?;
    let mut teller = Teller::new(out, ground.folder());
    let told = story::tell(&ground, &mut teller);
    // what was only made for the story goes with it, however far it came
    if args.keep.is_none() || told.is_err() {
        let left = ground.clean_up();
        told?;
        left?;
        return Ok(());
    }
    told
}
