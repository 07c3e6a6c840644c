// SPDX-License-Identifier: MIT OR Apache-2.0
//! Works with virtual machines as Proxmox VE's `qm` does, with or without a running node: the same names and options, the
//! same configurations and volumes below.

mod agent;
mod change;
mod clone;
mod cloudinit;
mod cluster;
mod destroy;
mod disk;
mod facts;
mod look;
mod options;
mod output;
mod place;
mod power;
mod progress;
mod rescan;
mod snapshot;
mod template;
#[cfg(test)]
mod tests;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use examples::ending::exit_code;

use place::{Ending, Place};

type Outcome = Result<Ending, Box<dyn Error>>;
/// Where answers go; escape sequences are taken out on the way to what is no terminal.
type Out = dyn std::io::Write;

/// Works with virtual machines.
///
/// A virtual machine is a text, nodes/NODE/qemu-server/VMID.conf, and volumes that the text names. The two know nothing of
/// each other: volumes belong to a VM by their name alone (vm-100-disk-0), and what no text names is found by `rescan`. A
/// process comes to life from both at the start, and from nothing else.
///
/// Nothing here needs a running node. The texts may be in /etc/pve, in a folder like it, or in the database of the cluster
/// file system. With --dry-run, every change is rehearsed: the lines of configurations that would change are shown,
/// and the commands that would run, ready to be pasted; nothing happens.
#[derive(Parser)]
#[command(name = "qm", after_help = EXAMPLES, subcommand_required = true)]
struct Args {
    #[command(flatten)]
    place: place::Options,
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  qm list                                           a sample cluster, if there is none here
  qm showcmd 100 --explain                          why is that argument there?
  qm --root /mnt/dead-node/config.db showcmd 100 --pretty
  qm diff 100 --from-qemu 9.2.0 --to-qemu 11.0.0    what an upgrade would change
  qm create 100 --name web --memory 2048 --scsi0 local:8 --net0 virtio,bridge=vmbr0
  qm set 100 --cores 4 --delete net1
  qm disk rescan --dryrun                           which volumes does no configuration name?
  qm --dry-run clone 9000 101 --name web            the plan, and the commands
  qm snapshot 100 before-upgrade && qm listsnapshot 100
  qm start 100 && qm guest cmd 100 network-get-interfaces
  qm destroy 101 --purge --destroy-unreferenced-disks

Exit codes:
  0  done
  1  not done; nothing is left behind that the message does not name
  2  the command line makes no sense
  3  done, but something is left behind, which standard error names";

#[derive(Subcommand)]
enum Verb {
    Showcmd(look::Showcmd),
    Config(look::Config),
    /// List the virtual machines of the cluster
    List,
    Pending(look::Pending),
    Diff(look::Diff),
    Facts(facts::Facts),
    Template(template::Template),
    Clone(clone::Clone),
    Snapshot(snapshot::Snapshot),
    Delsnapshot(snapshot::Delsnapshot),
    Rollback(snapshot::Rollback),
    Listsnapshot(snapshot::Listsnapshot),
    #[command(subcommand)]
    Disk(disk::Disk),
    Rescan(rescan::Rescan),
    #[command(name = "move-disk", alias = "move_disk")]
    MoveDisk(disk::Move),
    #[command(subcommand)]
    Cloudinit(cloudinit::Cloudinit),
    Destroy(destroy::Destroy),
    Create(change::Create),
    Set(change::Set),
    Unlock(change::Unlock),
    Migrate(change::Migrate),
    Nextid(change::Nextid),
    Resize(disk::Resize),
    #[command(alias = "import-disk")]
    Importdisk(disk::Import),
    Start(power::Start),
    Shutdown(power::Shutdown),
    Stop(power::Stop),
    Reboot(power::Reboot),
    Reset(power::Reset),
    Suspend(power::Suspend),
    Resume(power::Resume),
    Status(power::Status),
    Wait(power::Wait),
    Cleanup(power::Cleanup),
    Agent(agent::Agent),
    #[command(subcommand)]
    Guest(agent::Guest),
}

fn main() -> ExitCode {
    exit_code("error", run(&Args::parse(), &mut anstream::stdout().lock()))
}

fn run(args: &Args, out: &mut Out) -> Outcome {
    let json = args.place.json;
    let cluster = || place::cluster(&args.place);
    let looked = |()| Ending::Clean;
    let place = || Place::open(&args.place);
    match &args.verb {
        Verb::Showcmd(verb) => verb.run(&cluster()?, json, out).map(looked),
        Verb::Config(verb) => verb.run(&cluster()?, out).map(looked),
        Verb::List => look::list(&cluster()?, json, out).map(looked),
        Verb::Pending(verb) => verb.run(&cluster()?, out).map(looked),
        Verb::Diff(verb) => verb.run(&cluster()?, json, out).map(looked),
        Verb::Facts(verb) => verb.run(out).map(looked),
        Verb::Listsnapshot(verb) => verb.run(&cluster()?, json, out).map(looked),
        Verb::Cloudinit(verb) => verb.run(&args.place, out),
        Verb::Template(verb) => verb.run(&place()?, out),
        Verb::Clone(verb) => verb.run(&place()?, out),
        Verb::Snapshot(verb) => verb.run(&place()?, out),
        Verb::Delsnapshot(verb) => verb.run(&place()?, out),
        Verb::Rollback(verb) => verb.run(&place()?, out),
        Verb::Disk(verb) => verb.run(&place()?, out),
        Verb::Rescan(verb) => verb.run(&place()?, out),
        Verb::MoveDisk(verb) => verb.run(&place()?, out),
        Verb::Destroy(verb) => verb.run(&place()?, out),
        Verb::Create(verb) => verb.run(&place()?, out),
        Verb::Set(verb) => verb.run(&place()?, out),
        Verb::Unlock(verb) => verb.run(&place()?, out),
        Verb::Migrate(verb) => verb.run(&place()?, out),
        Verb::Nextid(verb) => verb.run(&place()?, out),
        Verb::Resize(verb) => verb.run(&place()?, out),
        Verb::Importdisk(verb) => verb.run(&place()?, out),
        Verb::Start(verb) => verb.run(&place()?, out),
        Verb::Shutdown(verb) => verb.run(&place()?, out),
        Verb::Stop(verb) => verb.run(&place()?, out),
        Verb::Reboot(verb) => verb.run(&place()?, out),
        Verb::Reset(verb) => verb.run(&place()?, out),
        Verb::Suspend(verb) => verb.run(&place()?, out),
        Verb::Resume(verb) => verb.run(&place()?, out),
        Verb::Status(verb) => verb.run(&place()?, out),
        Verb::Wait(verb) => verb.run(&place()?, out),
        Verb::Cleanup(verb) => verb.run(&place()?, out),
        Verb::Agent(verb) => verb.run(&place()?, out),
        Verb::Guest(verb) => verb.run(&place()?, out),
    }
}

/// The bytes of an optional argument.
fn given(text: Option<&String>) -> Option<&bstr::BStr> {
    text.map(bstr::BStr::new)
}
