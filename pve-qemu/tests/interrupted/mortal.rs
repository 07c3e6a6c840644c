// SPDX-License-Identifier: MIT OR Apache-2.0
//! A world that dies with the process at a chosen step.

use std::cell::Cell;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bstr::{BStr, BString};
use pve_config::guest::VmConfig;
use pve_qemu::node::{
    ConfigStore, CopyOptions, DirectoryStore, GuestEntry, ListedVolume, LockGuard, LockMode, StoredVolumes,
    Volumes, WorldError,
};
use pve_storage::Storages;
use pve_volid::{ImageFormat, StorageId, VmId, VolumeId};

/// Configurations and volumes that die with the process at a step of their own choice: step `2n` is before the change `n`,
/// step `2n + 1` after it.
pub(crate) struct Mortal<'a> {
    configs: DirectoryStore,
    volumes: StoredVolumes<'a>,
    end: Option<usize>,
    steps: Cell<usize>,
    taken: Cell<Duration>,
}

impl<'a> Mortal<'a> {
    pub(crate) fn new(configs: DirectoryStore, volumes: StoredVolumes<'a>, end: Option<usize>) -> Self {
        Mortal { configs, volumes, end, steps: Cell::new(0), taken: Cell::default() }
    }

    /// Configurations that do not die.
    pub(crate) fn configs(&self) -> &DirectoryStore {
        &self.configs
    }

    /// Time that changes and sizes of volumes took.
    pub(crate) fn taken(&self) -> Duration {
        self.taken.get()
    }

    /// Makes a change, and dies before or after it if its turn has come.
    pub(crate) fn step<T>(&self, change: impl FnOnce() -> T) -> T {
        let step = self.steps.get();
        self.steps.set(step + 2);
        self.die_at(step);
        let done = self.timed(change);
        self.die_at(step + 1);
        done
    }

    fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let begin = std::time::Instant::now();
        let done = work();
        self.taken.set(self.taken.get() + begin.elapsed());
        done
    }

    fn die_at(&self, step: usize) {
        if self.end == Some(step) {
            let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

/// Runs the test `victim` of this program in a process of its own, which works on `case` in the directory `root` and dies
/// at `step`. Returns whether it came to its end before that.
pub(crate) fn survives(victim: &str, case: &str, step: usize, root: &Path) -> bool {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", victim, "--ignored", "--nocapture"])
        .envs([("VICTIM_CASE", case), ("VICTIM_STEP", &step.to_string())])
        .env("VICTIM_ROOT", root)
        .output()
        .unwrap();
    let survived = child.status.success();
    assert!(survived || child.status.signal() == Some(9), "{case}, step {step}: {child:?}");
    survived
}

/// What a victim is told: its case, its step and its directory. `None` if the test was not run by [`survives`].
pub(crate) fn sentence() -> Option<(String, usize, PathBuf)> {
    let case = std::env::var("VICTIM_CASE").ok()?;
    let step = std::env::var("VICTIM_STEP").unwrap().parse().unwrap();
    Some((case, step, std::env::var_os("VICTIM_ROOT").unwrap().into()))
}

impl ConfigStore for Mortal<'_> {
    fn node(&self) -> &str {
        self.configs.node()
    }
    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        self.configs.guests()
    }
    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError> {
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
    fn file(&self, path: &str) -> Result<Option<BString>, WorldError> {
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
        self.timed(|| self.volumes.size(volume))
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
    fn activate_storage(&self, storage: &StorageId) -> Result<(), WorldError> {
        self.volumes.activate_storage(storage)
    }
    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.volumes.activate(volumes)
    }
    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.volumes.deactivate(volumes)
    }
    fn write_cloudinit(&self, vmid: VmId, config: &VmConfig<'_>, volume: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.write_cloudinit(vmid, config, volume))
    }
}
