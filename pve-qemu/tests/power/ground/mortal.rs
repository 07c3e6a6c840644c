// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node that dies with the process at a step of its choice: step `2n` is before the change `n`, step `2n + 1` after it.

use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bstr::BStr;
use pve_config::guest::VmConfig;
use pve_qemu::node::{
    ConfigStore, CopyOptions, DirectoryStore, Facts, GuestEntry, ListedVolume, LockGuard, LockMode,
    MachineChange, Machines, Node, StoredVolumes, SystemChance, Volumes, WorldError,
};
use pve_qemu::power::{
    Dialect, Flag, HookPhase, Launch, LaunchError, LocalProcesses, Power, PowerError, Processes, RunDir,
    Signal,
};
use pve_qemu::snapshot::RunningMachine;
use pve_qemu::{CommandLine, Host, Options};
use pve_storage::Storages;
use pve_volid::{ImageFormat, StorageId, VmId, VolumeId};
use serde_json::Value;

use super::Ground;

impl Ground {
    /// Lets `body` work on the node, until it dies at step `end`.
    pub(crate) fn on_mortal(&self, end: usize, body: impl FnOnce(Power<'_>)) {
        let (configs, volumes, facts) = (self.configs(), self.volumes(), Facts::default());
        let processes = LocalProcesses::new(self.run_dir.clone(), Host::probe(), &volumes, &self.host)
            .with_dialect(Dialect::Stock);
        let mortal =
            Mortal { configs: &configs, volumes: &volumes, processes: &processes, end, steps: Cell::new(0) };
        let node = Node {
            configs: &mortal,
            volumes: &mortal,
            machines: &mortal,
            chance: &SystemChance,
            facts: &facts,
        };
        body(Power::new(node, &mortal));
    }
}

struct Mortal<'a> {
    configs: &'a DirectoryStore,
    volumes: &'a StoredVolumes<'a>,
    processes: &'a LocalProcesses<'a>,
    end: usize,
    steps: Cell<usize>,
}

impl Mortal<'_> {
    fn step<T>(&self, change: impl FnOnce() -> T) -> T {
        let step = self.steps.get();
        self.steps.set(step + 2);
        self.die_at(step);
        let done = change();
        self.die_at(step + 1);
        done
    }

    fn die_at(&self, step: usize) {
        if self.end == step {
            let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

impl ConfigStore for Mortal<'_> {
    fn node(&self) -> &str {
        self.configs.node()
    }
    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        self.configs.guests()
    }
    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, bstr::BString)>, WorldError> {
        self.configs.read(vmid)
    }
    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        self.step(|| self.configs.write(vmid, text))
    }
    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        self.step(|| self.configs.create(vmid, text))
    }
    fn remove(&self, vmid: VmId) -> Result<(), WorldError> {
        self.step(|| self.configs.remove(vmid))
    }
    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError> {
        self.step(|| self.configs.move_to(vmid, node))
    }
    fn file(&self, path: &str) -> Result<Option<bstr::BString>, WorldError> {
        self.configs.file(path)
    }
    fn lock(&self, vmid: VmId, mode: LockMode, patience: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        self.configs.lock(vmid, mode, patience)
    }
}

impl Volumes for Mortal<'_> {
    fn storages(&self) -> &Storages {
        self.volumes.storages()
    }
    fn images(&self, storage: &StorageId, owner: Option<VmId>) -> Result<Vec<ListedVolume>, WorldError> {
        self.volumes.images(storage, owner)
    }
    fn size(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        self.volumes.size(volume)
    }
    fn volume_at(&self, path: &BStr) -> Result<Option<VolumeId>, WorldError> {
        self.volumes.volume_at(path)
    }
    fn allocate(
        &self,
        storage: &StorageId,
        owner: VmId,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.allocate(storage, owner, format, name, kib))
    }
    fn free(&self, volume: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.free(volume))
    }
    fn clone_linked(
        &self,
        base: &BStr,
        snapshot: Option<&BStr>,
        owner: VmId,
    ) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.clone_linked(base, snapshot, owner))
    }
    fn copy(
        &self,
        source: &BStr,
        snapshot: Option<&BStr>,
        target: &BStr,
        options: CopyOptions,
    ) -> Result<(), WorldError> {
        self.step(|| self.volumes.copy(source, snapshot, target, options))
    }
    fn create_base(&self, volume: &BStr) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.create_base(volume))
    }
    fn rename(&self, volume: &BStr, owner: VmId, name: Option<&BStr>) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.rename(volume, owner, name))
    }
    fn resize(&self, volume: &BStr, size: u64, running: bool) -> Result<(), WorldError> {
        self.step(|| self.volumes.resize(volume, size, running))
    }
    fn create_snapshot(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.create_snapshot(volume, snapshot))
    }
    fn delete_snapshot(&self, volume: &BStr, snapshot: &BStr, running: bool) -> Result<(), WorldError> {
        self.step(|| self.volumes.delete_snapshot(volume, snapshot, running))
    }
    fn check_rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.volumes.check_rollback(volume, snapshot)
    }
    fn rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.rollback(volume, snapshot))
    }
    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.step(|| self.volumes.activate(volumes))
    }
    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.step(|| self.volumes.deactivate(volumes))
    }
    fn write_cloudinit(&self, vmid: VmId, config: &VmConfig<'_>, volume: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.write_cloudinit(vmid, config, volume))
    }
}

impl Machines for Mortal<'_> {
    fn is_running(&self, vmid: VmId) -> bool {
        self.processes.machines().is_running(vmid)
    }
    fn qmp(
        &self,
        vmid: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError> {
        self.step(|| self.processes.machines().qmp(vmid, command, arguments, timeout))
    }
    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        self.step(|| self.processes.machines().change(vmid, change))
    }
}

impl Processes for Mortal<'_> {
    fn run_dir(&self) -> &RunDir {
        self.processes.run_dir()
    }
    fn flag(&self, vmid: VmId, flag: Flag) -> bool {
        self.processes.flag(vmid, flag)
    }
    fn set_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.step(|| self.processes.set_flag(vmid, flag))
    }
    fn clear_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.step(|| self.processes.clear_flag(vmid, flag))
    }
    fn legacy_cleanup(&self) -> bool {
        self.processes.legacy_cleanup()
    }
    fn end_storage_daemon(&self, vmid: VmId) -> Result<(), PowerError> {
        self.processes.end_storage_daemon(vmid)
    }
    fn hook(&self, vmid: VmId, script: &BStr, phase: HookPhase) -> Result<(), String> {
        self.step(|| self.processes.hook(vmid, script, phase))
    }
    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, PowerError> {
        self.processes.command(vmid, config, options)
    }
    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        self.processes.run(program, arguments)
    }
    fn wait_for_unit(&self, unit: &str, patience: Duration) -> Result<(), String> {
        self.processes.wait_for_unit(unit, patience)
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<(), LaunchError> {
        self.step(|| self.processes.launch(launch))
    }
    fn kill(&self, vmid: VmId, signal: Signal) -> Result<(), PowerError> {
        self.processes.kill(vmid, signal)
    }
    fn unlink(&self, path: &Path) -> Result<(), PowerError> {
        self.processes.unlink(path)
    }
    fn release_devices(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        self.processes.release_devices(vmid, config)
    }
    fn add_bridge_entries(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        self.processes.add_bridge_entries(vmid, config)
    }
    fn remove_interfaces(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        self.processes.remove_interfaces(vmid, config)
    }
    fn running_machine(&self, vmid: VmId) -> Result<RunningMachine, PowerError> {
        self.processes.running_machine(vmid)
    }
    fn set_save_capabilities(&self, vmid: VmId) -> Result<(), PowerError> {
        self.processes.set_save_capabilities(vmid)
    }
    fn date(&self, time: i64) -> String {
        self.processes.date(time)
    }
    fn warn(&self, message: &str) {
        self.processes.warn(message);
    }
}
