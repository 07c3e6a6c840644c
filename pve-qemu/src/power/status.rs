// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM does at the moment.

use std::fmt;
use std::time::Duration;

use pve_volid::VmId;
use serde_json::json;

use super::{Flag, Power, PowerError, ProcessFacts};
use crate::version::QemuVersion;

/// The state of a machine in QEMU's words: `running`, `paused`, `prelaunch`, `suspended`, `shutdown` …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunState(pub String);

impl RunState {
    /// Whether the guest's CPUs run.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0 == "running"
    }

    /// Whether the guest cannot react to a request to shut down.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        matches!(self.0.as_str(), "paused" | "prelaunch" | "suspended")
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What is known about the process of a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// There is a process.
    pub running: bool,
    /// What QEMU says; `None` without a process, or if it does not answer.
    pub state: Option<RunState>,
    /// What the host knows of the process.
    pub process: Option<ProcessFacts>,
    /// The version of the QEMU that runs, which may be older than the installed one.
    pub qemu_version: Option<String>,
    /// Memory that the guest has at the moment, in bytes, as its balloon says.
    pub memory: Option<u64>,
    /// The operation that has locked the VM.
    pub lock: Option<String>,
    /// The VM is going to be started when it has ended.
    pub reboot: bool,
    /// The VM was started, and its end has not been cleaned up after.
    pub unclean: bool,
}

/// How long QEMU may take to tell each of it.
const PATIENCE: Duration = Duration::from_secs(3);

impl Power<'_> {
    /// What a VM does. A QEMU that does not answer within 3 s runs, in a state that is not known.
    ///
    /// # Errors
    /// If there is no such VM on this node.
    pub fn status(&self, vmid: VmId) -> Result<Status, PowerError> {
        let config = self.load(vmid)?;
        let running = self.node.machines.is_running(vmid);
        let state = if running { self.run_state(vmid, Some(PATIENCE)).ok() } else { None };
        // a QEMU that has not answered once is not asked more
        let ask = |command: &str| {
            state.as_ref()?;
            self.node.machines.qmp(vmid, command, json!({}), Some(PATIENCE)).ok()
        };
        Ok(Status {
            running,
            process: if running { self.processes.facts(vmid) } else { None },
            qemu_version: ask("query-version")
                .and_then(|answer| QemuVersion::of_answer(&answer))
                .map(|version| version.to_string()),
            // without a balloon nobody knows
            memory: ask("query-balloon").and_then(|balloon| balloon["actual"].as_u64()),
            state,
            lock: config.main.lock().map(ToString::to_string),
            reboot: self.processes.flag(vmid, Flag::Reboot),
            unclean: self.processes.flag(vmid, Flag::Cleanup),
        })
    }

    /// Waits until a VM does not run any more.
    ///
    /// # Errors
    /// [`PowerError::StillRunning`] after `patience`; `None` waits for ever.
    pub fn wait(&self, vmid: VmId, patience: Option<Duration>) -> Result<(), PowerError> {
        let mut waited = Duration::ZERO;
        while self.node.machines.is_running(vmid) {
            if patience.is_some_and(|patience| waited >= patience) {
                return Err(PowerError::StillRunning { vmid });
            }
            self.node.chance.sleep(super::stop::SECOND);
            waited += super::stop::SECOND;
        }
        Ok(())
    }
}
