// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deleting a snapshot, by request or because making it failed.

use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{Unused, VmConfig};
use pve_config::vm::{Bus, Drive, DriveId};
use pve_storage::SnapshotMethod;
use pve_volid::VmId;
use serde_json::json;

use super::{BACKUP_SNAPSHOT, SnapshotError};
use crate::disk;
use crate::left_behind::LeftBehind;
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// A snapshot that is gone.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Deleted {
    /// What could not be deleted, and is in no configuration any more.
    pub left_behind: Vec<LeftBehind>,
}

/// Deletes a snapshot: its memory, the snapshots of its volumes, its section. Volumes that only it used become `unusedN`.
///
/// With `force` whatever a storage refuses is left behind and reported.
///
/// # Errors
/// Without `force` the first refusal ends it; the lock `snapshot-delete` and the shortened section stay.
pub fn delete_snapshot(
    node: Node<'_>,
    vmid: VmId,
    name: &BStr,
    force: bool,
) -> Result<Deleted, SnapshotError> {
    let mut config = {
        let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
        let mut config = vm_file::load(node, vmid)?;
        require(vmid, &config, name)?;
        let locked = config.set_lock("snapshot-delete");
        locked.map_err(|source| VmFileError::Locked { vmid, source })?;
        vm_file::store(node, vmid, &config)?
    };
    Deletion { node, vmid, name, force, only: None }.run(&mut config)
}

/// Takes back a snapshot that could not be made; only `done` have one.
pub(super) fn undo(
    node: Node<'_>,
    vmid: VmId,
    name: &BStr,
    done: &BTreeSet<DriveId>,
) -> Result<Deleted, SnapshotError> {
    let mut config = vm_file::load(node, vmid)?;
    require(vmid, &config, name)?;
    Deletion { node, vmid, name, force: true, only: Some(done) }.run(&mut config)
}

/// Changes the description of a snapshot; an empty one is removed.
///
/// # Errors
/// If there is no such snapshot.
pub fn set_snapshot_description(
    node: Node<'_>,
    vmid: VmId,
    name: &BStr,
    description: &BStr,
) -> Result<(), SnapshotError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load(node, vmid)?;
    require(vmid, &config, name)?;
    if let Some(snapshot) = config.snapshot_mut(name) {
        snapshot.set("description", description);
    }
    vm_file::store(node, vmid, &config)?;
    Ok(())
}

fn require(vmid: VmId, config: &VmConfig<'_>, name: &BStr) -> Result<(), SnapshotError> {
    config.require_snapshot(name).map(drop).map_err(|source| SnapshotError::Name { vmid, source })
}

/// A deletion under way.
struct Deletion<'a> {
    node: Node<'a>,
    vmid: VmId,
    name: &'a BStr,
    force: bool,
    /// The drives whose volumes have the snapshot; `None`: all of the section.
    only: Option<&'a BTreeSet<DriveId>>,
}

impl Deletion<'_> {
    fn run(&self, config: &mut VmConfig<'static>) -> Result<Deleted, SnapshotError> {
        if config.main.is_template() {
            return Err(SnapshotError::Template { vmid: self.vmid });
        }
        self.change(config, |snapshot| drop(snapshot.set("snapstate", "delete")))?;
        let mut deleted = Deleted::default();
        self.delete_state(config, &mut deleted)?;
        let volumes = self.delete_volumes(config, &mut deleted)?;
        self.finish(config, &volumes, &mut deleted)?;
        Ok(deleted)
    }

    /// Changes the section of the snapshot, and writes.
    fn change(
        &self,
        config: &mut VmConfig<'static>,
        change: impl FnOnce(&mut pve_config::guest::VmSection<'static>),
    ) -> Result<(), SnapshotError> {
        let _guard = self.node.configs.lock(self.vmid, LockMode::Exclusive, PATIENCE)?;
        // somebody may have changed something else since the last step
        *config = vm_file::load(self.node, self.vmid)?;
        if let Some(snapshot) = config.snapshot_mut(self.name) {
            change(snapshot);
        }
        *config = vm_file::store(self.node, self.vmid, config)?;
        Ok(())
    }

    fn delete_state(
        &self,
        config: &mut VmConfig<'static>,
        deleted: &mut Deleted,
    ) -> Result<(), SnapshotError> {
        let state = config.snapshot(self.name).and_then(|snapshot| snapshot.truthy("vmstate"));
        let Some(volume) = state.map(BStr::to_owned) else { return Ok(()) };
        let freed = self.node.volumes.free(volume.as_bstr());
        self.bear(freed, &volume, None, deleted)?;
        if self.force { Ok(()) } else { self.change(config, |snapshot| drop(snapshot.remove("vmstate"))) }
    }

    /// Deletes the snapshots of the volumes, in drive order; returns the volumes that have none any more.
    fn delete_volumes(
        &self,
        config: &mut VmConfig<'static>,
        deleted: &mut Deleted,
    ) -> Result<Vec<BString>, SnapshotError> {
        let section = config.snapshot(self.name).cloned().unwrap_or_default();
        let mut volumes = Vec::new();
        for (id, drive) in section.drives() {
            let without_backup = self.name == BACKUP_SNAPSHOT && drive.backup != Some(true);
            if without_backup || self.only.is_some_and(|only| !only.contains(&id)) {
                continue;
            }
            let volume = drive.file.to_owned();
            let is_disk = !drive.is_cdrom();
            if is_disk {
                let removed = self.delete_of_volume(config, &drive);
                if self.bear(removed, &volume, Some(self.name), deleted)? {
                    volumes.push(volume.clone());
                }
            }
            if !self.force {
                self.detach(config, id, volume.as_bstr(), is_disk)?;
            }
        }
        Ok(volumes)
    }

    /// Deletes the snapshot of a volume: by QEMU if a running machine uses the volume and QEMU made the snapshot.
    fn delete_of_volume(&self, config: &VmConfig<'_>, drive: &Drive<'_>) -> Result<(), WorldError> {
        let (node, vmid) = (self.node, self.vmid);
        let runs = node.machines.is_running(vmid);
        let mut attached = config.main.drives().filter(|(id, _)| id.bus != Bus::Tpmstate);
        let attached = attached.find(|(_, other)| runs && other.file == drive.file);
        let method = disk::volume(node, drive.file).map(|volume| volume.snapshot_method());
        match (attached, method) {
            (Some((id, _)), Some(SnapshotMethod::Qemu)) => {
                let arguments = json!({ "device": format!("drive-{id}"), "name": self.name.to_str_lossy() });
                node.machines.qmp(vmid, "blockdev-snapshot-delete-internal-sync", arguments, None).map(drop)
            }
            (attached, _) => node.volumes.delete_snapshot(drive.file, self.name, attached.is_some()),
        }
    }

    /// Takes a drive out of the section; its volume stays there as unused until the section goes.
    fn detach(
        &self,
        config: &mut VmConfig<'static>,
        id: DriveId,
        volume: &BStr,
        is_disk: bool,
    ) -> Result<(), SnapshotError> {
        let mut full = None;
        self.change(config, |snapshot| {
            if is_disk {
                snapshot.remove(id.to_string());
                full = snapshot.add_unused(volume).err();
            }
        })?;
        full.map_or(Ok(()), |source| Err(SnapshotError::Full { vmid: self.vmid, source }))
    }

    /// Removes the section and the lock; what nobody else uses becomes unused.
    fn finish(
        &self,
        config: &mut VmConfig<'static>,
        volumes: &[BString],
        deleted: &mut Deleted,
    ) -> Result<(), SnapshotError> {
        let (node, vmid) = (self.node, self.vmid);
        let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
        *config = vm_file::load(node, vmid)?;
        config.remove_snapshot(self.name).map_err(|source| SnapshotError::Name { vmid, source })?;
        config.main.remove("lock");
        for volume in volumes {
            let added = config.add_unused(volume).map_err(|source| SnapshotError::Full { vmid, source })?;
            if added == Unused::Free {
                let freed = node.volumes.free(volume.as_bstr());
                if let Err(error) = freed {
                    deleted.left_behind.push(LeftBehind::volume(volume.clone(), error));
                }
            }
        }
        vm_file::store(node, vmid, config)?;
        Ok(())
    }

    /// With force a refusal is only noted. Returns whether there was none.
    fn bear(
        &self,
        result: Result<(), WorldError>,
        volume: &BString,
        snapshot: Option<&BStr>,
        deleted: &mut Deleted,
    ) -> Result<bool, SnapshotError> {
        match result {
            Ok(()) => Ok(true),
            Err(error) if self.force => {
                let snapshot = snapshot.map(BStr::to_owned);
                deleted.left_behind.push(LeftBehind { volume: volume.clone(), snapshot, error });
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}
