// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starting and stopping: from a configuration to a process, and back.
//!
//! Between the text of a configuration and a running guest lies a sequence of steps whose order matters: a lock is taken,
//! pending changes become current, the cloud-init image is made, volumes are activated, the command line is computed,
//! QEMU is run, and a flag is left that says that somebody has to clean up after it. [`Power`] walks that sequence on a
//! [`Node`] and on [`Processes`]; what stands behind those decides whether something really happens. The same
//! sequence serves a node, and a simulation with a clock of its own. [`LocalProcesses`] and [`LocalMachines`] are the
//! real ones, for Proxmox's QEMU and, with [`Dialect::Stock`], for that of a distribution; the page of the former shows
//! a VM that is started, looked at and stopped in a directory of one's own, by any user.
//!
//! # Who cleans up
//!
//! A guest can shut itself down, and a QEMU can crash. On a node an event daemon ([`EventDaemon`]) sees that, and runs
//! [`Power::cleanup`]: volumes are deactivated, files removed, and a VM that was to be rebooted is started again. Where
//! no such daemon listens ([`LocalProcesses::has_event_daemon`]), whoever has waited for the end ([`Power::wait`]) calls
//! it, and always after [`Power::reboot`]. Nothing is lost if nobody does: the next start begins anew.
//!
//! # What survives whom
//!
//! QEMU makes itself a daemon. Nothing that happens to the program that started it affects it, and everything that a
//! later program must know lies in the run directory ([`RunDir`]): `VMID.pid` names the process, `VMID.qmp` is the
//! socket that it is controlled by, `VMID.cleanup` says that its end has not been cleaned up after. Whether a VM *runs*
//! is asked of the process table: the process of the pid file must be a QEMU that was given this very pid file. A pid
//! file without such a process is left over, and the next start replaces it.
//!
//! A program that dies in the middle of a start leaves either no process, and the next start begins anew, or a process,
//! and the VM runs. The cases in between, and what they leave (`tests/power/deaths.rs` kills a start, a suspension and a
//! resumption before and after each of their steps):
//!
//! | died | left behind | what the next operation makes of it |
//! | --- | --- | --- |
//! | before QEMU ran | applied pending changes, a new cloud-init image, active volumes | a start does all of it again |
//! | before the flag `cleanup` | a running guest | works; a stop leaves volumes active and files in place[^flag] |
//! | before balloon, links | a running guest with all its memory and all its links up | the next start sets them |
//! | suspending, before the configuration names the state | a running guest, and a volume that nothing names[^state] | the audit of storages names it: free it |
//! | suspending, before QEMU has quit | a guest, `lock: suspending`, a state that may be incomplete | `qm unlock`, delete `vmstate`, resume |
//! | suspending, after QEMU has quit | `lock: suspending` and a complete state | `qm unlock`; the next start goes on from the state |
//! | resuming, before QEMU ran | `lock: suspended` and the state | resume again |
//! | resuming, after QEMU ran | a running guest with `lock: suspended` and a `vmstate` that may be freed | `qm unlock`, delete `vmstate` |
//!
//! [^flag]: As the reference does. The next start does not mind.
//!
//! [^state]: `vm-VMID-state-suspend-DATE`: until it is freed, another suspension on the same day finds its name taken.
//!
//! # Where the reference can lose something
//!
//! * A failed suspension frees its state volume but leaves `lock: suspending`; so do we.
//! * Stopping applies pending changes *after* the guest is gone: an error there is only a warning, and the change stays
//!   pending.
//! * If the command to shut down fails but the guest is gone anyway, nothing is cleaned up; `qm cleanup` does it.

mod auxiliary;
mod cleanup;
mod dialect;
mod events;
mod files;
mod launch;
mod local;
mod machines;
mod mirror;
mod operation;
mod pid_file;
mod plug;
mod processes;
mod rehearsed;
mod saved_state;
mod snapshots;
mod start;
mod status;
mod stop;
mod suspend;

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{LockError, VmConfig};
use pve_volid::VmId;

use crate::error::CommandError;
use crate::node::{LockGuard, LockMode, Node, WorldError};
use crate::pending::{self, PendingError};
use crate::snapshot::SnapshotError;
use crate::vm_file::{self, VmFileError};

pub use dialect::{Adapted, Dialect, Surroundings, adapt};
pub use events::{EventDaemon, VmEnded};
pub use files::{Flag, RunDir};
pub use launch::{Launch, Property, Scope};
pub use local::LocalProcesses;
pub use machines::LocalMachines;
pub use operation::{Reboot, Shutdown, Start, Stop, Suspend};
pub use pid_file::{Process, ProcessFacts};
pub use processes::{HookPhase, LaunchError, Processes, Signal};
pub use rehearsed::RehearsedProcesses;
pub use status::{RunState, Status};

/// The power switch of the VMs of a node.
#[derive(Clone, Copy)]
pub struct Power<'a> {
    /// Configurations, volumes, running machines, the clock.
    pub node: Node<'a>,
    /// Processes, their files, and what surrounds them.
    pub processes: &'a dyn Processes,
}

/// Why an operation did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PowerError {
    /// The configuration is not there, belongs to another node or kind of guest, or cannot be written.
    #[error(transparent)]
    Configuration(#[from] VmFileError),
    /// Templates cannot run.
    #[error("VM {vmid} is a template; clone it and start the clone")]
    Template {
        /// The VM.
        vmid: VmId,
    },
    /// Another operation has locked the VM.
    #[error("VM {vmid}: {source}")]
    Locked {
        /// The VM.
        vmid: VmId,
        /// The lock.
        source: LockError,
    },
    /// It runs already.
    #[error("VM {vmid} is running already")]
    Running {
        /// The VM.
        vmid: VmId,
    },
    /// It does not run.
    #[error("VM {vmid} is not running")]
    NotRunning {
        /// The VM.
        vmid: VmId,
    },
    /// It is paused, so its guest cannot react.
    #[error("VM {vmid} is {status} and cannot shut down; resume it first, or stop it")]
    Paused {
        /// The VM.
        vmid: VmId,
        /// What QEMU says.
        status: String,
    },
    /// It did not end in time.
    #[error("VM {vmid} did not end within {seconds} s; wait longer, or stop it")]
    TimedOut {
        /// The VM.
        vmid: VmId,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// It runs although it should have ended.
    #[error("VM {vmid} is still running")]
    StillRunning {
        /// The VM.
        vmid: VmId,
    },
    /// An option cannot be saved with the rest of the machine.
    #[error("VM {vmid} cannot be suspended to disk because of its option {option}")]
    NotSuspendable {
        /// The VM.
        vmid: VmId,
        /// The option.
        option: BString,
    },
    /// A volume is on a storage that is not meant for it.
    #[error(
        "the storage of volume {volume} does not hold content of type {content}; add it to the storage's option content"
    )]
    Content {
        /// The volume.
        volume: BString,
        /// The type of content.
        content: &'static str,
    },
    /// The state of the machine was not saved.
    #[error("the state of VM {vmid} was not saved: {reason}")]
    NotSaved {
        /// The VM.
        vmid: VmId,
        /// What QEMU says.
        reason: String,
    },
    /// A hook script failed.
    #[error("hook script {script} failed in phase {phase}: {reason}")]
    Hook {
        /// Its volume.
        script: BString,
        /// The phase.
        phase: HookPhase,
        /// Why.
        reason: String,
    },
    /// There is no command line for the configuration.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// QEMU, or one of its auxiliary processes, did not start.
    #[error("start of VM {vmid} failed: {source}")]
    Launch {
        /// The VM.
        vmid: VmId,
        /// Why.
        source: LaunchError,
    },
    /// A file of the run directory cannot be made, read or removed.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Pending changes were not applied.
    #[error(transparent)]
    Pending(#[from] PendingError),
    /// A snapshot was not made or gone back to.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Configurations, volumes or the running machine did not do what they were asked.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl<'a> Power<'a> {
    /// A power switch for the VMs of a node.
    #[must_use]
    pub fn new(node: Node<'a>, processes: &'a dyn Processes) -> Self {
        Power { node, processes }
    }

    /// Takes the lock of a VM's configuration.
    fn lock(&self, vmid: VmId) -> Result<Box<dyn LockGuard>, PowerError> {
        Ok(self.node.configs.lock(vmid, LockMode::Exclusive, vm_file::PATIENCE)?)
    }

    /// The configuration of a VM of this node.
    fn load(&self, vmid: VmId) -> Result<VmConfig<'static>, PowerError> {
        Ok(vm_file::load(self.node, vmid)?)
    }

    /// Writes a configuration.
    fn store(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        vm_file::store(self.node, vmid, config)?;
        Ok(())
    }

    /// That no other operation has locked the VM; `skip` says that it does not matter.
    fn require_unlocked(vmid: VmId, config: &VmConfig<'_>, skip: bool) -> Result<(), PowerError> {
        if skip {
            return Ok(());
        }
        config.require_unlocked().map_err(|source| PowerError::Locked { vmid, source })
    }

    /// Runs the hook script of a configuration, if it has one.
    fn hook(&self, vmid: VmId, config: &VmConfig<'_>, phase: HookPhase) -> Result<(), PowerError> {
        let Some(script) = config.main.truthy("hookscript") else { return Ok(()) };
        self.processes.hook(vmid, script, phase).map_err(|reason| PowerError::Hook {
            script: script.to_owned(),
            phase,
            reason,
        })
    }

    /// Says what went wrong in a step whose failure does not matter to the operation.
    fn tolerate<T, E: std::fmt::Display>(&self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.processes.warn(&error.to_string())).ok()
    }

    /// Applies all pending changes, and returns the configuration as it is then. What cannot be applied stays pending,
    /// with a warning.
    fn apply_pending(&self, vmid: VmId, config: VmConfig<'static>) -> Result<VmConfig<'static>, PowerError> {
        let applied = pending::apply(self.node, vmid, config)?;
        for (key, reason) in &applied.refused {
            self.processes.warn(&format!("VM {vmid}: {key} stays pending: {reason}"));
        }
        for left in &applied.left_behind {
            self.processes.warn(&format!("VM {vmid}: {left}"));
        }
        Ok(applied.config)
    }

    /// Sends a QMP command that takes no arguments.
    fn qmp(&self, vmid: VmId, command: &str) -> Result<serde_json::Value, WorldError> {
        self.node.machines.qmp(vmid, command, serde_json::json!({}), None)
    }

    /// What QEMU calls the state of the machine: `running`, `paused` …
    fn run_state(&self, vmid: VmId, timeout: Option<Duration>) -> Result<RunState, WorldError> {
        let answer = self.node.machines.qmp(vmid, "query-status", serde_json::json!({}), timeout)?;
        Ok(RunState(answer["status"].as_str().unwrap_or_default().to_owned()))
    }

    /// Deactivates volumes, if there are any.
    fn deactivate(&self, volumes: &[BString]) -> Result<(), WorldError> {
        if volumes.is_empty() {
            return Ok(());
        }
        let volumes: Vec<&BStr> = volumes.iter().map(|volume| volume.as_bstr()).collect();
        self.node.volumes.deactivate(&volumes)
    }
}
