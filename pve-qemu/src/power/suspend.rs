// SPDX-License-Identifier: MIT OR Apache-2.0
//! Suspending and resuming a VM (spec: vm-lifecycle, "Suspend and resume").

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_volid::{StorageId, VmId};
use serde_json::json;

use super::{Power, PowerError, Start, Suspend};
use crate::node::WorldError;
use crate::snapshot::{self, RUNNING_KEYS, RunningMachine, SaveError, state_storage, virtio_cards};
use crate::version::QemuVersion;

/// How long QEMU may take to tell its state before it is resumed.
const STATUS_PATIENCE: Duration = Duration::from_secs(60);
/// Options of guests whose state cannot be saved, by their name without number.
const BLOCKERS: [&str; 4] = ["hostpci", "amd-sev", "intel-tdx", "virtiofs"];
/// QEMU from this version on lets the machine run again after its state was saved, unless told otherwise.
const STARTS_AFTER_SAVING: QemuVersion = QemuVersion { major: 11, minor: 0, patch: 2 };

impl Power<'_> {
    /// Suspends a VM: its CPUs are paused, or its state is saved on disk and its process ends.
    ///
    /// # Errors
    /// If the VM does not run, is locked, or its state cannot be saved. In the last case its state volume is
    /// freed again, but the lock `suspending` stays, as with the reference.
    pub fn suspend(&self, vmid: VmId, options: &Suspend<'_>) -> Result<(), PowerError> {
        let _lock = self.lock(vmid)?;
        let config = self.load(vmid)?;
        if !options.to_disk {
            let tolerated = options.skip_lock || config.has_lock("backup");
            Self::require_unlocked(vmid, &config, tolerated)?;
            self.require_running(vmid)?;
            self.qmp(vmid, "stop")?;
            return Ok(());
        }
        let skip = options.skip_lock && !config.has_lock("backup");
        Self::require_unlocked(vmid, &config, skip)?;
        self.require_running(vmid)?;
        if let Some(option) = blocker(&config) {
            return Err(PowerError::NotSuspendable { vmid, option });
        }
        let mut config = config;
        let state = self.prepare_saving(vmid, &mut config, options)?;
        match self.save(vmid, state.as_bstr()) {
            Ok(()) => {
                self.qmp(vmid, "quit")?;
                let mut config = self.load(vmid)?;
                config.main.set("lock", "suspended");
                self.store(vmid, &config)
            }
            Err(error) => {
                self.abandon_saving(vmid, &state)?;
                Err(error)
            }
        }
    }

    /// Makes the volume for the state and notes in the configuration what it will hold.
    fn prepare_saving(
        &self,
        vmid: VmId,
        config: &mut VmConfig<'static>,
        options: &Suspend<'_>,
    ) -> Result<BString, PowerError> {
        let machine = self.running_machine(vmid, config)?;
        let storage = match options.state_storage {
            Some(storage) => storage.clone(),
            None => StorageId::from_bytes(state_storage(self.node, &config.main).as_bytes())
                .map_err(|error| WorldError::Other(error.to_string()))?,
        };
        let name = BString::from(format!("suspend-{}", self.processes.date(self.node.chance.now())));
        let state = snapshot::allocate(self.node, vmid, &config.main, &storage, name.as_bstr())?;
        let state = BString::from(state.into_bytes());
        config.main.set("vmstate", state.clone());
        config.main.set("running-nets-host-mtu", machine.mtu_list(&config.main));
        config.main.set("runningmachine", machine.machine);
        config.main.set("runningcpu", machine.cpu);
        config.main.set("lock", "suspending");
        if let Err(error) = self.store(vmid, config) {
            self.tolerate(self.node.volumes.free(state.as_bstr()));
            return Err(error);
        }
        Ok(state)
    }

    /// What a running VM was started with, its MTUs as QEMU reports them: what a snapshot with memory, and a
    /// suspension, record of the machine.
    ///
    /// # Errors
    /// If the process or QEMU does not tell.
    pub fn running_machine(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<RunningMachine, PowerError> {
        let mut machine = self.processes.running_machine(vmid)?;
        machine.host_mtu.clear();
        for card in virtio_cards(&config.main) {
            let arguments = json!({ "path": format!("/machine/peripheral/{card}"), "property": "host_mtu" });
            let mtu = self.node.machines.qmp(vmid, "qom-get", arguments, None)?;
            let mtu = mtu.as_u64().and_then(|mtu| u32::try_from(mtu).ok()).unwrap_or(0);
            machine.host_mtu.push((card.into(), mtu));
        }
        Ok(machine)
    }

    /// Saves the state of a machine; returns when QEMU has written all of it.
    fn save(&self, vmid: VmId, state: &BStr) -> Result<(), PowerError> {
        self.node.volumes.activate(&[state])?;
        self.processes.set_save_capabilities(vmid)?;
        let version = self.qmp(vmid, "query-version")?;
        let more = match QemuVersion::of_answer(&version) {
            Some(version) if version >= STARTS_AFTER_SAVING => json!({ "skip-vm-start": true }),
            _ => json!({}),
        };
        snapshot::save(self.node, vmid, state, more).map_err(|error| match error {
            SaveError::World(error) => error.into(),
            SaveError::Failed(reason) => PowerError::NotSaved { vmid, reason },
        })
    }

    /// Takes back what [`Power::prepare_saving`] did, but for the lock.
    fn abandon_saving(&self, vmid: VmId, state: &BString) -> Result<(), PowerError> {
        self.tolerate(self.qmp(vmid, "savevm-end"));
        self.tolerate(self.deactivate(std::slice::from_ref(state)));
        self.tolerate(self.node.volumes.free(state.as_bstr()));
        let mut config = self.load(vmid)?;
        config.main.remove("vmstate");
        for key in RUNNING_KEYS {
            config.main.remove(key);
        }
        self.store(vmid, &config)
    }

    /// Lets a suspended VM go on; one that was suspended to disk is started.
    ///
    /// # Errors
    /// If the VM does not run (and is not suspended to disk), or if another operation has locked it.
    pub fn resume(&self, vmid: VmId, skip_lock: bool) -> Result<(), PowerError> {
        let config = self.load(vmid)?;
        if config.main.is_template() {
            return Err(PowerError::Template { vmid });
        }
        if config.has_lock("suspended") {
            return self.start(vmid, &Start { skip_lock, ..Start::default() });
        }
        let _lock = self.lock(vmid)?;
        self.require_running(vmid)?;
        let state = self.run_state(vmid, Some(STATUS_PATIENCE))?;
        if state.is_running() {
            return Ok(());
        }
        let config = self.load(vmid)?;
        Self::require_unlocked(vmid, &config, skip_lock || config.has_lock("backup"))?;
        if state.0 == "suspended" {
            self.qmp(vmid, "system_wakeup")?;
            return Ok(());
        }
        if state.0 == "shutdown" {
            self.qmp(vmid, "system_reset")?;
        }
        self.processes.add_bridge_entries(vmid, &config)?;
        self.qmp(vmid, "cont")?;
        Ok(())
    }

    fn require_running(&self, vmid: VmId) -> Result<(), PowerError> {
        if self.node.machines.is_running(vmid) { Ok(()) } else { Err(PowerError::NotRunning { vmid }) }
    }
}

/// The option that keeps a machine from being saved.
fn blocker(config: &VmConfig<'_>) -> Option<BString> {
    let found = config.main.iter().map(|(key, _)| key).find(|key| {
        let name = key.trim_end_with(|digit| digit.is_ascii_digit());
        BLOCKERS.iter().any(|blocker| name == blocker.as_bytes())
    });
    found.map(BStr::to_owned)
}
