// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stopping, shutting down, rebooting and resetting a VM (spec: vm-lifecycle, "Stop, shutdown, reboot, reset").

use std::time::Duration;

use pve_config::guest::VmConfig;
use pve_config::vm::Agent;
use pve_volid::VmId;
use serde_json::json;

use super::cleanup::Ended;
use super::{Flag, HookPhase, Power, PowerError, Reboot, Shutdown, Signal, Stop};
use crate::node::WorldError;

/// How often is looked whether a process still runs.
pub(super) const SECOND: Duration = Duration::from_secs(1);
/// How long an end may take, in seconds.
const PATIENCE: u64 = 60;
/// How long QEMU may take to end after `SIGTERM`, in seconds.
const TERM_PATIENCE: u64 = 10;
/// How long the agent may take to say that it is there.
const PING: Duration = Duration::from_secs(3);

/// A way to end a VM.
struct Ending {
    /// Ask the guest instead of QEMU.
    ask_guest: bool,
    /// Kill the process if asking does not help.
    force: bool,
    skip_lock: bool,
    timeout: Option<Duration>,
    keep_active: bool,
}

impl Power<'_> {
    /// Stops a VM: QEMU is told to quit, and killed if it does not. A VM that does not run is no error.
    ///
    /// # Errors
    /// If another operation has locked it, or if it cannot even be killed.
    pub fn stop(&self, vmid: VmId, options: &Stop) -> Result<(), PowerError> {
        let Stop { skip_lock, timeout, keep_active } = *options;
        self.end(vmid, &Ending { ask_guest: false, force: true, skip_lock, timeout, keep_active })
    }

    /// Shuts a VM down: its guest is asked to, by the agent where one answers, else by the power button. A VM that
    /// does not run is no error.
    ///
    /// # Errors
    /// [`PowerError::Paused`] and [`PowerError::TimedOut`], unless the VM is to be stopped then; if another
    /// operation has locked it.
    pub fn shutdown(&self, vmid: VmId, options: &Shutdown) -> Result<(), PowerError> {
        let Shutdown { skip_lock, timeout, keep_active, force_stop } = *options;
        if !self.node.machines.is_running(vmid) {
            return self.load(vmid).map(drop);
        }
        let mut ending = Ending { ask_guest: true, force: force_stop, skip_lock, timeout, keep_active };
        match self.require_listening(vmid) {
            Err(PowerError::Paused { .. }) if force_stop => ending.ask_guest = false,
            other => other?,
        }
        self.end(vmid, &ending)
    }

    /// Shuts a VM down so that it is started again, with its pending changes, by whoever cleans up after it
    /// ([`Power::cleanup`]).
    ///
    /// # Errors
    /// As [`Power::shutdown`]; if the VM does not run.
    pub fn reboot(&self, vmid: VmId, options: &Reboot) -> Result<(), PowerError> {
        self.load(vmid)?;
        if !self.node.machines.is_running(vmid) {
            return Err(PowerError::NotRunning { vmid });
        }
        self.require_listening(vmid)?;
        self.processes.set_flag(vmid, Flag::Reboot)?;
        let timeout = options.timeout;
        let ending = Ending { ask_guest: true, force: false, skip_lock: false, timeout, keep_active: false };
        let ended = self.end(vmid, &ending);
        if ended.is_err() {
            self.tolerate(self.processes.clear_flag(vmid, Flag::Reboot));
        }
        ended
    }

    /// Resets a VM, as by its reset button.
    ///
    /// # Errors
    /// If another operation has locked it, and `skip_lock` is not set; if it does not run.
    pub fn reset(&self, vmid: VmId, skip_lock: bool) -> Result<(), PowerError> {
        let _lock = self.lock(vmid)?;
        let config = self.load(vmid)?;
        Self::require_unlocked(vmid, &config, skip_lock)?;
        if !self.node.machines.is_running(vmid) {
            return Err(PowerError::NotRunning { vmid });
        }
        self.qmp(vmid, "system_reset")?;
        Ok(())
    }

    /// That the guest can react to a request.
    fn require_listening(&self, vmid: VmId) -> Result<(), PowerError> {
        let state = self.run_state(vmid, None)?;
        if state.is_deaf() {
            return Err(PowerError::Paused { vmid, status: state.0 });
        }
        Ok(())
    }

    /// The common procedure.
    fn end(&self, vmid: VmId, ending: &Ending) -> Result<(), PowerError> {
        let _lock = self.lock(vmid)?;
        let config = self.load(vmid)?;
        if !self.node.machines.is_running(vmid) {
            return Ok(());
        }
        Self::require_unlocked(vmid, &config, ending.skip_lock)?;
        self.tolerate(self.hook(vmid, &config, HookPhase::PreStop));
        let timeout =
            ending.timeout.or_else(|| ending.ask_guest.then(|| configured_patience(&config)).flatten());
        let seconds = timeout.map_or(PATIENCE, |timeout| timeout.as_secs());
        let asked = if ending.ask_guest {
            self.ask_guest(vmid, &config, timeout)
        } else {
            self.qmp(vmid, "quit").map(drop)
        };
        let problem = match asked {
            Ok(()) if self.ends_within(vmid, seconds) => {
                return self.clean_up(vmid, config, Ended::ByHost { keep_active: ending.keep_active });
            }
            Ok(()) => PowerError::TimedOut { vmid, seconds },
            Err(error) if !self.node.machines.is_running(vmid) => {
                self.processes.warn(&error.to_string());
                return Ok(());
            }
            Err(error) => error.into(),
        };
        if !ending.force {
            return Err(problem);
        }
        self.processes.warn(&problem.to_string());
        self.processes.kill(vmid, Signal::Terminate)?;
        if !self.ends_within(vmid, TERM_PATIENCE) {
            self.processes.kill(vmid, Signal::Kill)?;
            self.node.chance.sleep(SECOND);
        }
        self.clean_up(vmid, config, Ended::ByHost { keep_active: ending.keep_active })
    }

    /// Asks the guest to shut down.
    fn ask_guest(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        timeout: Option<Duration>,
    ) -> Result<(), WorldError> {
        let machines = self.node.machines;
        let agent = Agent::read(config.main.get("agent").map(|text| text.as_ref()));
        if agent.is_ok_and(|agent| agent.enabled)
            && machines.qmp(vmid, "guest-ping", json!({}), Some(PING)).is_ok()
        {
            machines.qmp(vmid, "guest-shutdown", json!({}), timeout)?;
        } else {
            self.qmp(vmid, "system_powerdown")?;
        }
        Ok(())
    }

    /// Waits for the end. An end at the very last second counts as too late.
    fn ends_within(&self, vmid: VmId, seconds: u64) -> bool {
        let mut waited = 0;
        while waited < seconds && self.node.machines.is_running(vmid) {
            waited += 1;
            self.node.chance.sleep(SECOND);
        }
        waited < seconds
    }
}

/// How long the option `startup` lets a shutdown take.
fn configured_patience(config: &VmConfig<'_>) -> Option<Duration> {
    let startup = config.main.startup().ok()??;
    let seconds = std::str::from_utf8(startup.down?).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}
