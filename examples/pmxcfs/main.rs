// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks into the database of the cluster file system, changes, compares, repairs and mounts it, all without a daemon.

mod compare;
mod edit;
mod history;
mod import;
mod listing;
mod look;
mod mount;
mod output;
mod rescue;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use examples::ending::is_broken_pipe;

use crate::output::Failure;

/// Works with the database behind /etc/pve, without a daemon and on any machine.
///
/// DB is /var/lib/pve-cluster/config.db or a copy of it. Copy config.db-wal too: the newest changes are in there, in a
/// young cluster all of them. Verbs that only look never write to the database or lock it: they are safe beside a running node.
/// Verbs that change it refuse to while a daemon has it open, obey the rules that the daemon has, and copy the database first.
#[derive(Parser)]
#[command(name = "pmxcfs", after_help = EXAMPLES)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

const EXAMPLES: &str = "\
Look:
  pmxcfs tree config.db
  pmxcfs cat config.db nodes/pve1/qemu-server/100.conf
  pmxcfs check config.db                       would the daemon start with it?
  pmxcfs find config.db --json | jq '.[] | select(.size > 10000)'
  pmxcfs export config.db /root/etc-pve        everything as ordinary files
  pmxcfs diff yesterday.db config.db           what changed, line by line
  pmxcfs history /backup/config-db user.cfg    what changed when, from many copies
Change (add --dry-run to see what would happen):
  pmxcfs put config.db storage.cfg fixed.cfg   put a file in its place
  pmxcfs mv config.db nodes/dead/qemu-server/100.conf nodes/alive/qemu-server
  pmxcfs import config.db saved-etc-pve/       files of a folder or a tar archive
  pmxcfs merge config.db dead.db nodes/dead/qemu-server --as nodes/alive/qemu-server
  pmxcfs mount config.db /mnt/pve              work on it with any program
Rescue:
  pmxcfs repair config.db                      what would have to be done
  pmxcfs repair config.db repaired.db          do it, in a new file
  pmxcfs salvage broken.db rescued.db          get the rows out of a file that SQLite cannot read";

#[derive(Subcommand)]
enum Verb {
    /// List a directory, or one file
    Ls(look::Place),
    /// Print a file, byte for byte
    ///
    /// With --json the content is under "content", or, if it is no UTF-8, in base64 under "content_base64".
    Cat(look::Place),
    /// Show everything below a directory as a tree
    Tree(look::Place),
    /// List the path of everything below a directory
    Find(look::Place),
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
    Export(look::Export),
    /// Compare two databases or folders, by path and line by line
    ///
    /// Exit code 0: they are alike; 1: they differ; 2: one cannot be read. A file that changed its place but not its inode is
    /// shown as moved, as a guest is that migrated.
    #[command(
        after_help = "Examples:\n  pmxcfs diff config.db.1795534060.bak config.db\n  pmxcfs diff config.db /etc/pve --only nodes/pve1 --names"
    )]
    Diff(compare::Diff),
    /// Put a file, or what comes from the standard input, into the database
    ///
    /// Obeys the rules of the daemon: a file has 1 MiB at most, its directory must exist, and a VMID belongs to one guest of the cluster. Refused
    /// changes leave nothing behind; the message ends with the error number that a program would get.
    #[command(
        after_help = "Examples:\n  pmxcfs put config.db storage.cfg fixed.cfg --dry-run\n  pmxcfs cat config.db user.cfg | sed s/old/new/ | pmxcfs put config.db user.cfg"
    )]
    Put(edit::Put),
    /// Remove files and directories
    ///
    /// Of several paths all are removed, or, if one is refused, none.
    #[command(
        after_help = "Example, a lock that a dead node left:\n  pmxcfs rm config.db priv/lock/storage-nas"
    )]
    Rm(edit::Rm),
    /// Move a file or an empty directory, or migrate a guest that is not running
    ///
    /// As on a node, a directory with entries cannot be moved: move what is in it.
    #[command(
        after_help = "Example:\n  pmxcfs mv config.db nodes/dead/qemu-server/100.conf nodes/alive/qemu-server"
    )]
    Mv(edit::Mv),
    /// Make directories
    Mkdir(edit::Mkdir),
    /// Bring the files of a folder or a tar archive into the database
    ///
    /// All rules are checked before anything is written, and every refusal is named with its path. One refusal means that nothing is
    /// written, unless --skip-refused says otherwise. Nothing is overwritten without --overwrite.
    #[command(
        after_help = "Examples:\n  pmxcfs import --create new.db /root/etc-pve\n  zcat backup.tar.gz | pmxcfs import config.db - --below etc/pve --dry-run"
    )]
    Import(import::Import),
    /// Bring chosen files and directories of another database into this one
    ///
    /// To run the guests of a dead node on another: a VMID that the cluster has elsewhere is refused, and named. Rules, refusals and
    /// overwriting are as with import.
    #[command(
        after_help = "Example:\n  pmxcfs merge config.db dead.db nodes/dead/qemu-server --as nodes/alive/qemu-server --dry-run"
    )]
    Merge(import::Merge),
    /// Show what changed when, from a folder of copies of the database
    ///
    /// Copies are ordered by the time of the last change in them. The time of a change is the mtime that it left; a removal leaves
    /// none, and was before the time of the copy.
    #[command(
        after_help = "Example:\n  pmxcfs history /backup/config-db nodes/pve1/qemu-server/100.conf --lines"
    )]
    History(history::HistoryArgs),
    /// Show the database as a file system, as a node does at /etc/pve
    ///
    /// Returns when everything is ready, and serves in the background until the directory is unmounted or the process gets
    /// SIGTERM, SIGINT or SIGHUP. Every change on the mount is in the database when the call that makes it returns. Needs root.
    #[command(
        after_help = "Example:\n  pmxcfs mount --nodename pve1 config.db /mnt/pve && vi /mnt/pve/storage.cfg; umount /mnt/pve"
    )]
    Mount(mount::Mount),
    /// Mend a database that the daemon refuses, into a new file
    ///
    /// Shows the plan: for each violation the smallest change that ends it. Duplicates are renamed (the entry that was changed
    /// last keeps its name), what no path leads to is attached to the root as lost+found-INODE, the version row is mended.
    /// Nothing is thrown away. With NEW the plan is carried out, after a question at a terminal: all rows that it does not name
    /// are in NEW bit for bit. If SQLite itself cannot read the database, salvage its rows first.
    #[command(after_help = "Example, on a node whose pve-cluster service does not start:\n  \
        pmxcfs repair /var/lib/pve-cluster/config.db /root/config.db\n  \
        systemctl stop pve-cluster && mv /root/config.db /var/lib/pve-cluster/config.db && rm -f /var/lib/pve-cluster/config.db-*\n  \
        systemctl start pve-cluster")]
    Repair(rescue::RepairArgs),
    /// Read what can be read of a damaged database file, into a new one
    ///
    /// For files that SQLite cannot read: cut off, overwritten in part, with unreadable sectors, without their -wal or with a damaged
    /// one. Reads the pages one by one, says what is missing, and takes for a row only what fits in every respect. A changed byte
    /// within a content cannot be seen by anybody: look at what is called doubtful. Exit code 0: everything was read; 1: something is
    /// missing.
    #[command(
        after_help = "Example:\n  pmxcfs salvage broken.db rescued.db --repair --parts parts/ && pmxcfs export rescued.db etc-pve/"
    )]
    Salvage(rescue::SalvageArgs),
}

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args, &mut std::io::stdout().lock()) {
        Ok(code) => code,
        // a reader that has seen enough is no error
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("pmxcfs: {error}");
            if matches!(args.verb, Verb::Diff(_)) { ExitCode::from(2) } else { ExitCode::FAILURE }
        }
    }
}

/// Runs a verb with its output to `out`.
fn run(args: &Args, mut out: &mut dyn Write) -> Result<ExitCode, Failure> {
    let (out, json) = (&mut out, args.json);
    match &args.verb {
        Verb::Ls(place) => place.ls(out, json)?,
        Verb::Cat(place) => place.cat(out, json)?,
        Verb::Tree(place) => place.tree(out, json)?,
        Verb::Find(place) => place.find(out, json)?,
        Verb::Check { db } => return look::check(out, db, json),
        Verb::Sql { db } => look::sql(out, db, json)?,
        Verb::Export(verb) => verb.run(out, json)?,
        Verb::Diff(verb) => return verb.run(out, json),
        Verb::Put(verb) => verb.run(out, json)?,
        Verb::Rm(verb) => verb.run(out, json)?,
        Verb::Mv(verb) => verb.run(out, json)?,
        Verb::Mkdir(verb) => verb.run(out, json)?,
        Verb::Mount(verb) => verb.run(out, json)?,
        Verb::Import(verb) => verb.run(out, json)?,
        Verb::Merge(verb) => verb.run(out, json)?,
        Verb::History(verb) => verb.run(out, json)?,
        Verb::Repair(verb) => return verb.run(out, json),
        Verb::Salvage(verb) => return verb.run(out, json),
    }
    Ok(ExitCode::SUCCESS)
}
