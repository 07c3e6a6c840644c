// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is done after the end of a VM (spec: vm-lifecycle, "Cleanup").

use std::time::Duration;

use bstr::BString;
use pve_config::guest::{GuestKind, LockError, VmConfig, VolumeRole};
use pve_volid::VmId;

use super::start::is_managed;
use super::stop::SECOND;
use super::{Flag, HookPhase, Power, PowerError, Start};
use crate::node::LockMode;

/// How a VM has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was stopped or shut down by the host: pending changes are applied.
    ByHost {
        /// Its volumes stay active.
        keep_active: bool,
    },
    /// Its process was seen to end.
    Seen,
}

/// How long the clean-up waits for the lock of a configuration.
const LOCK_PATIENCE: Duration = Duration::from_secs(60);
/// How long the clean-up waits for a process that is about to end, in seconds.
const EXIT_PATIENCE: u64 = 30;

impl Power<'_> {
    /// Cleans up after a VM whose process has ended, and starts it again if it was rebooted. The event daemon runs this
    /// when QEMU closes its connection.
    ///
    /// `clean` says that the machine has shut down, as opposed to crashed.
    ///
    /// # Errors
    /// [`PowerError::StillRunning`] after 30 s; if a rollback goes on; if the VM cannot be started again.
    pub fn cleanup(&self, vmid: VmId, clean: bool) -> Result<(), PowerError> {
        let _lock = self.node.configs.lock(vmid, LockMode::Exclusive, LOCK_PATIENCE)?;
        match self.node.configs.read(vmid)? {
            Some((entry, _)) if entry.kind == GuestKind::Qemu && entry.node == self.node.configs.node() => {}
            _ => return Ok(()),
        }
        let config = self.load(vmid)?;
        let mut waited = 0;
        while self.node.machines.is_running(vmid) {
            // the backup that has started the machine ends it as well
            if clean && config.has_lock("backup") {
                return Ok(());
            }
            if waited >= EXIT_PATIENCE {
                return Err(PowerError::StillRunning { vmid });
            }
            waited += 1;
            self.node.chance.sleep(SECOND);
        }
        if config.has_lock("rollback") {
            let source = LockError::Locked { lock: "rollback".into() };
            return Err(PowerError::Locked { vmid, source });
        }
        if !clean {
            self.tolerate(self.processes.remove_interfaces(vmid, &config));
        }
        let legacy = self.processes.legacy_cleanup();
        self.clean_up(vmid, config, Ended::Seen)?;
        if legacy {
            let config = self.load(vmid)?;
            self.tolerate(self.hook(vmid, &config, HookPhase::PostStop));
        }
        if self.processes.flag(vmid, Flag::Reboot) {
            self.processes.clear_flag(vmid, Flag::Reboot)?;
            self.start(vmid, &Start::default())?;
        }
        Ok(())
    }

    /// The clean-up itself: once after each start. Errors are warnings.
    pub(super) fn clean_up(
        &self,
        vmid: VmId,
        mut config: VmConfig<'static>,
        ended: Ended,
    ) -> Result<(), PowerError> {
        let legacy = self.processes.legacy_cleanup();
        if !legacy && !self.processes.flag(vmid, Flag::Cleanup) {
            return Ok(());
        }
        self.tolerate(self.processes.end_storage_daemon(vmid));
        if ended != (Ended::ByHost { keep_active: true }) {
            self.tolerate(self.deactivate(&all_volumes(&config)));
        }
        for file in self.processes.run_dir().leftovers(vmid) {
            self.tolerate(self.processes.unlink(vmid, &file));
        }
        self.tolerate(self.processes.release_devices(vmid, &config));
        if matches!(ended, Ended::ByHost { .. })
            && let Some(applied) = self.tolerate(self.apply_pending(vmid, config.clone()))
        {
            config = applied;
        }
        if !legacy {
            self.tolerate(self.hook(vmid, &config, HookPhase::PostStop));
        }
        self.tolerate(self.processes.clear_flag(vmid, Flag::Cleanup));
        Ok(())
    }
}

/// All managed volumes of a configuration, in every section, sorted.
fn all_volumes(config: &VmConfig<'_>) -> Vec<BString> {
    let references = config.volume_references().into_iter();
    let volumes = references
        .filter(|reference| !matches!(reference.role, VolumeRole::Hookscript | VolumeRole::CustomCloudInit))
        .filter(|reference| is_managed(reference.volume))
        .map(|reference| reference.volume.to_owned());
    let mut volumes: Vec<BString> = volumes.collect();
    volumes.sort();
    volumes.dedup();
    volumes
}
