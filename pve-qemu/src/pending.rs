// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pending changes become current while the VM does not run (spec: vm-lifecycle, "Applying").
//!
//! A running VM keeps the devices that it was started with, so what its configuration wants otherwise waits in the section
//! `[PENDING]`: new values, and in `delete` the options that are to go. When the VM stops or starts, and at every update
//! of a VM that does not run, all of it is applied.
//!
//! # What applying can lose, or leave
//!
//! * A disk that is replaced or deleted is kept as `unusedN`; deleted with force (`!KEY`), its volume is freed.
//! * A cloud-init volume is always freed, whoever owns it. A cloud-init drive that is set to the volume it has already loses
//!   that, and gets a new one of the same name.
//! * Volumes of other owners and paths of the host are forgotten without a trace in the configuration.
//! * Volumes are freed before the configuration is written. If the process dies in between, the configuration names
//!   volumes that are gone, and the deletion is still pending: delete the drive without force.

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmConfig, is_cloudinit_volume};
use pve_config::vm::Drive;
use pve_volid::VmId;

pub use crate::release::ReleaseError;

use crate::cloudinit::{Occasion, image_drives};
use crate::left_behind::LeftBehind;
use crate::node::{LockMode, Node, WorldError};
use crate::option_rules::drive_id;
use crate::release::Release;
use crate::vm_file::{self, PATIENCE, VmFileError};

/// Why pending changes were not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PendingError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// The lock was not to be had, or the image not to be made.
    #[error(transparent)]
    World(#[from] WorldError),
    /// It runs, so its devices would not be those of the configuration.
    #[error("VM {vmid} is running; pending changes are applied when it stops")]
    Running {
        /// The VM.
        vmid: VmId,
    },
}

/// What became of pending changes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Applied {
    /// The configuration as it is now.
    pub config: VmConfig<'static>,
    /// Options that are still pending, and why.
    pub refused: Vec<(BString, ReleaseError)>,
    /// Volumes that nothing names any more, and that could not be freed.
    pub left_behind: Vec<LeftBehind>,
}

/// Applies everything that is pending for a VM that does not run. What cannot be applied stays pending:
/// [`Applied::refused`].
///
/// ```
/// use pve_qemu::node::{ConfigStore, DirectoryStore, Facts, NoMachines, Node, Rehearsal, StoredVolumes, SystemChance};
/// use pve_qemu::pending::apply_pending;
/// use pve_storage::{MemoryHost, Session, Storage, Storages};
///
/// let directory = tempfile::tempdir()?;
/// let configs = DirectoryStore::new(directory.path(), "pve1").with_locks_in(directory.path().join("lock"));
/// let text = "cores: 2\nscsi0: vg:vm-100-disk-0\nscsi1: vg:vm-100-disk-1\nscsi2: vg:vm-100-disk-2\n\n\
///     [PENDING]\ncores: 4\ndelete: scsi1,!scsi2\n";
/// configs.create("100".parse()?, text.into())?;
/// # let storages: Storages =
/// #     [Storage::new("vg".parse()?, "lvmthin").with("vgname", "pve").with("thinpool", "data")].into_iter().collect();
/// # let host = MemoryHost::new();
/// # let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
/// # let (facts, machines) = (Facts::default(), NoMachines);
/// # let node = Node { configs: &configs, volumes: &volumes, machines: &machines, chance: &SystemChance, facts: &facts };
///
/// let rehearsal = Rehearsal::new(node);
/// let applied = apply_pending(rehearsal.node(), "100".parse()?)?;
/// assert!(applied.refused.is_empty());
/// let text = applied.config.to_bytes()?;
/// assert_eq!(text, b"cores: 4\nscsi0: vg:vm-100-disk-0\nunused0: vg:vm-100-disk-1\n");
/// assert_eq!(rehearsal.steps()[0].to_string(), "free vg:vm-100-disk-2");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If the VM runs, its configuration cannot be changed, or the image of a new cloud-init drive not be made; the changes are
/// applied in that last case.
pub fn apply_pending(node: Node<'_>, vmid: VmId) -> Result<Applied, PendingError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let config = vm_file::load(node, vmid)?;
    if node.machines.is_running(vmid) {
        return Err(PendingError::Running { vmid });
    }
    apply(node, vmid, config)
}

/// Applies everything that is pending; for callers that hold the lock and know that the VM does not run.
pub(crate) fn apply(
    node: Node<'_>,
    vmid: VmId,
    mut config: VmConfig<'static>,
) -> Result<Applied, PendingError> {
    let (mut release, mut refused) = (Release::new(node, vmid), Vec::new());
    if config.pending.is_empty() {
        return Ok(Applied { config, refused, left_behind: Vec::new() });
    }
    for (key, force) in deletions(&config) {
        match delete(&mut release, &mut config, key.as_bstr(), force) {
            Ok(()) => {}
            Err(error) => refused.push((key, error)),
        }
    }
    config.cleanup_pending();
    let mut cloudinit = false;
    for (key, value) in values(&config) {
        match replace(&mut release, &mut config, key.as_bstr(), &value) {
            Ok(()) => {
                cloudinit |= drive(key.as_bstr(), &value).is_some_and(|new| is_cloudinit_volume(new.file));
            }
            Err(error) => refused.push((key, error)),
        }
    }
    let config = vm_file::store(node, vmid, &config)?;
    if (Occasion::Applied { drive: cloudinit }).makes_image() {
        write_images(node, vmid, &config)?;
    }
    Ok(Applied { config, refused, left_behind: release.left_behind })
}

/// Makes the images of all cloud-init drives.
pub(crate) fn write_images(node: Node<'_>, vmid: VmId, config: &VmConfig<'_>) -> Result<(), WorldError> {
    image_drives(&config.main, vmid)
        .try_for_each(|(_, volume)| node.volumes.write_cloudinit(vmid, config, volume))
}

/// The options that are to go, sorted, and whether their volumes are to go with them.
pub(crate) fn deletions(config: &VmConfig<'_>) -> Vec<(BString, bool)> {
    config.pending.delete_list().iter().map(|(key, force)| (key.to_owned(), force)).collect()
}

/// The options that are to get a value, sorted, with it.
pub(crate) fn values(config: &VmConfig<'_>) -> Vec<(BString, BString)> {
    let values = config.pending.iter().filter(|(key, _)| *key != "delete");
    values.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The drive that a value makes of an option; none if the option is no drive, or its value cannot be read.
pub(crate) fn drive<'v>(key: &BStr, value: &'v [u8]) -> Option<Drive<'v>> {
    Drive::read(drive_id(key)?, value).ok()
}

fn delete(
    release: &mut Release<'_>,
    config: &mut VmConfig<'_>,
    key: &BStr,
    force: bool,
) -> Result<(), ReleaseError> {
    if let Some(value) = config.main.get(key).map(BStr::to_owned)
        && let Some(drive) = drive(key, &value)
    {
        release.detach(config, key, &drive, force)?;
    }
    config.main.remove(key);
    config.pending.unqueue_deletion(key);
    Ok(())
}

fn replace(
    release: &mut Release<'_>,
    config: &mut VmConfig<'_>,
    key: &BStr,
    value: &BString,
) -> Result<(), ReleaseError> {
    // also if the new value names the same volume: then the writer drops the new entry again
    if let Some(old) = config.main.get(key).map(BStr::to_owned)
        && let Some(old) = drive(key, &old)
        && drive(key, value).is_some()
    {
        release.keep(config, &old)?;
    }
    config.pending.remove(key);
    config.main.set(key, value.as_bstr());
    Ok(())
}
