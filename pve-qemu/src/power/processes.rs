// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processes around a VM, as the operations see them.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bstr::{BStr, ByteSlice};
use pve_config::guest::VmConfig;
use pve_storage::{Output, RunError};
use pve_volid::VmId;

use super::{Flag, Launch, PowerError, ProcessFacts, RunDir};
use crate::builder::Options;
use crate::command_line::CommandLine;
use crate::snapshot::RunningMachine;

/// The processes of a node: QEMU and its helpers, their files, and hook scripts.
///
/// The methods are the steps that cannot be taken back or that need privileges; everything between them is in
/// [`Power`](super::Power).
pub trait Processes {
    /// Where pid files, sockets and flags are.
    fn run_dir(&self) -> &RunDir;

    /// Whether a flag is set.
    fn flag(&self, vmid: VmId, flag: Flag) -> bool;

    /// Sets a flag. The file holds the time.
    ///
    /// # Errors
    /// If the file cannot be written.
    fn set_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError>;

    /// Takes a flag away; one that is not set is no error.
    ///
    /// # Errors
    /// If the file cannot be removed.
    fn clear_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError>;

    /// Whether ends of VMs are cleaned up after without a flag ([`RunDir::legacy_cleanup`]).
    fn legacy_cleanup(&self) -> bool;

    /// Ends the storage daemon of a VM, if one is left.
    ///
    /// # Errors
    /// If it does not go.
    fn end_storage_daemon(&self, vmid: VmId) -> Result<(), PowerError>;

    /// Runs a hook script, a volume with content `snippets`, with the number of the VM and the phase.
    ///
    /// # Errors
    /// Why it failed.
    fn hook(&self, vmid: VmId, script: &BStr, phase: HookPhase) -> Result<(), String>;

    /// Computes the command line.
    ///
    /// # Errors
    /// Whatever makes the reference refuse.
    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, PowerError>;

    /// Runs a program of the system, with its path.
    ///
    /// # Errors
    /// Why it failed.
    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String>;

    /// Waits until systemd does not know a unit any more.
    ///
    /// # Errors
    /// If it still does.
    fn wait_for_unit(&self, unit: &str, patience: Duration) -> Result<(), String>;

    /// Runs QEMU with what it needs around it, and returns when it has made itself a daemon that answers. If that
    /// fails, no process is left.
    ///
    /// # Errors
    /// Why there is no VM.
    fn launch(&self, launch: &Launch<'_>) -> Result<(), LaunchError>;

    /// Sends a signal to the QEMU process of a VM, and to nothing else; one that is gone is no error.
    ///
    /// # Errors
    /// If it cannot be sent.
    fn kill(&self, vmid: VmId, signal: Signal) -> Result<(), PowerError>;

    /// What the host knows of the QEMU process of a VM; `None` if there is none, or if nothing is known.
    fn facts(&self, _vmid: VmId) -> Option<ProcessFacts> {
        None
    }

    /// Removes a file that a VM has left; one that is not there is no error.
    ///
    /// # Errors
    /// If it cannot be removed.
    fn unlink(&self, vmid: VmId, path: &Path) -> Result<(), PowerError>;

    /// Gives host devices back that were made ready for the VM.
    ///
    /// # Errors
    /// If one cannot be.
    fn release_devices(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError>;

    /// Tells bridges that do not learn addresses which addresses the VM has.
    ///
    /// # Errors
    /// If one cannot be told.
    fn add_bridge_entries(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError>;

    /// Removes the network interfaces that a VM has left on the host.
    ///
    /// # Errors
    /// If one cannot be removed.
    fn remove_interfaces(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError>;

    /// What a running VM was started with, as its arguments tell ([`RunningMachine::of_arguments`]).
    ///
    /// # Errors
    /// If the process does not tell.
    fn running_machine(&self, vmid: VmId) -> Result<RunningMachine, PowerError>;

    /// Prepares QEMU to save its state: all migration capabilities off, but `auto-converge` and `xbzrle` (and
    /// `dirty-bitmaps`, if it is there) on.
    ///
    /// # Errors
    /// If QEMU refuses.
    fn set_save_capabilities(&self, vmid: VmId) -> Result<(), PowerError>;

    /// The day of a time (seconds since 1970) where the node is: `2023-11-14`.
    fn date(&self, time: i64) -> String;

    /// Tells something that does not stop the operation.
    fn warn(&self, message: &str);
}

/// What a hook script is called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPhase {
    /// Before the start; a failure prevents it.
    PreStart,
    /// After the start.
    PostStart,
    /// Before the VM is stopped or shut down by the host.
    PreStop,
    /// After its end.
    PostStop,
}

impl fmt::Display for HookPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HookPhase::PreStart => "pre-start",
            HookPhase::PostStart => "post-start",
            HookPhase::PreStop => "pre-stop",
            HookPhase::PostStop => "post-stop",
        })
    }
}

/// A signal that ends a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`: QEMU flushes and ends.
    Terminate,
    /// `SIGKILL`
    Kill,
}

/// Why QEMU does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A program does not run at all.
    #[error("cannot run {program}: {source}")]
    Run {
        /// The program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// A program ended with an error.
    #[error("{program} failed ({status}): {said}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
        /// What it said.
        said: String,
    },
    /// A program did not get ready in time.
    #[error("{program} was not ready within {seconds} s")]
    Slow {
        /// The program.
        program: String,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// Something that the command line needs cannot be made.
    #[error("{what}: {reason}")]
    Preparation {
        /// What.
        what: String,
        /// Why not.
        reason: String,
    },
}

impl LaunchError {
    /// What a program that must succeed has come to.
    pub(super) fn check(program: String, run: Result<Output, RunError>) -> Result<(), Self> {
        match run {
            Ok(output) if output.succeeded() => Ok(()),
            Ok(output) => {
                let (status, said) = (output.exit.to_string(), shortened(&output.stderr));
                Err(LaunchError::Failed { program, status, said })
            }
            Err(RunError::Start { source, .. }) => Err(LaunchError::Run { program, source }),
            Err(error) => Err(LaunchError::Preparation { what: program, reason: error.to_string() }),
        }
    }
}

/// The end of what a program has complained of.
fn shortened(text: &[u8]) -> String {
    const SHOWN: usize = 2000;
    let text = text.trim_ascii().to_str_lossy();
    match text.char_indices().nth_back(SHOWN) {
        Some((at, _)) => format!("…{}", text.get(at..).unwrap_or_default()),
        None => text.into_owned(),
    }
}
