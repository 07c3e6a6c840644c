// SPDX-License-Identifier: MIT OR Apache-2.0
//! Going back to a snapshot.

use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{Unused, VmConfig};
use pve_volid::VmId;

use super::SnapshotError;
use crate::left_behind::LeftBehind;
use crate::node::{LockMode, Node};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// The machine of a saved state that tells none: the oldest.
const OLDEST_MACHINE: &str = "pc-i440fx-1.4";

/// A VM that went back to a snapshot.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RolledBack {
    /// How the VM is to be started to go on where the snapshot was made; `None` without saved memory.
    pub start: Option<StartState>,
    /// Disks that the snapshot does not have, now under these `unusedN`.
    pub unused: Vec<(String, BString)>,
    /// Cloud-init volumes that the snapshot does not have, and that were freed.
    pub freed: Vec<BString>,
    /// Those that could not be freed, and that no configuration names any more.
    pub left_behind: Vec<LeftBehind>,
}

/// The saved memory that a start loads, and what the machine must be like for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StartState {
    /// The volume with the memory.
    pub volume: BString,
    /// The machine type.
    pub machine: Option<BString>,
    /// The argument of `-cpu`.
    pub cpu: Option<BString>,
    /// MTUs of network cards: `net0=1500`.
    pub host_mtu: Option<BString>,
}

/// That a VM can go back to a snapshot: it exists, is complete, and every volume can.
///
/// # Errors
/// What is in the way.
pub fn check_rollback(node: Node<'_>, vmid: VmId, name: &BStr) -> Result<(), SnapshotError> {
    check(node, vmid, &vm_file::load(node, vmid)?, name)
}

fn check(node: Node<'_>, vmid: VmId, config: &VmConfig<'_>, name: &BStr) -> Result<(), SnapshotError> {
    if config.main.is_template() {
        return Err(SnapshotError::Template { vmid });
    }
    let snapshot = config.require_snapshot(name).map_err(|source| SnapshotError::Name { vmid, source })?;
    for (_, drive) in snapshot.drives().filter(|(_, drive)| !drive.is_cdrom()) {
        node.volumes.check_rollback(drive.file, name)?;
    }
    if let Some(state) = snapshot.truthy("snapstate") {
        let (name, state) = (name.to_owned(), state.to_owned());
        return Err(SnapshotError::Incomplete { vmid, name, state });
    }
    config.require_unlocked().map_err(|source| VmFileError::Locked { vmid, source })?;
    Ok(())
}

/// Takes a VM back to a snapshot. `stop` stops it if it runs (spec: vm-lifecycle, "Stop": within 5 seconds, then by
/// force). Starting it again, with the memory of the snapshot if there is one, is the caller's part:
/// [`RolledBack::start`].
///
/// # Errors
/// Before the lock `rollback` is written nothing has changed, except that the VM may be stopped. Later the lock stays.
pub fn rollback(
    node: Node<'_>,
    vmid: VmId,
    name: &BStr,
    stop: impl FnOnce() -> Result<(), crate::node::WorldError>,
) -> Result<RolledBack, SnapshotError> {
    let config = {
        let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
        let mut config = vm_file::load(node, vmid)?;
        check(node, vmid, &config, name)?;
        if node.machines.is_running(vmid) {
            stop()?;
        }
        config.main.set("lock", "rollback");
        vm_file::store(node, vmid, &config)?
    };
    if let Some(snapshot) = config.snapshot(name) {
        for (_, drive) in snapshot.drives().filter(|(_, drive)| !drive.is_cdrom()) {
            node.volumes.rollback(drive.file, name)?;
        }
    }
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load(node, vmid)?;
    if !config.has_lock("rollback") {
        let lock = config.main.lock().map(BStr::to_owned).unwrap_or_default();
        return Err(SnapshotError::LostLock { vmid, lock });
    }
    if node.machines.is_running(vmid) {
        return Err(SnapshotError::Running { vmid });
    }
    let mut done = RolledBack::default();
    keep_newer_disks(node, vmid, &mut config, name, &mut done)?;
    let had_machine = config.main.contains("machine");
    config.apply_snapshot(name).map_err(|source| SnapshotError::Name { vmid, source })?;
    config.main.set("parent", name);
    done.start = take_start_state(&mut config, name, had_machine);
    if config.main.truthy("vmgenid").is_some() {
        config.main.set("vmgenid", node.chance.uuid());
    }
    vm_file::store(node, vmid, &config)?;
    Ok(done)
}

/// Disks of the current configuration that the snapshot does not have become unused.
fn keep_newer_disks(
    node: Node<'_>,
    vmid: VmId,
    config: &mut VmConfig<'_>,
    name: &BStr,
    done: &mut RolledBack,
) -> Result<(), SnapshotError> {
    let of_snapshot: BTreeSet<BString> = config
        .snapshot(name)
        .into_iter()
        .flat_map(|snapshot| snapshot.drives())
        .map(|(_, drive)| drive.file.to_owned())
        .collect();
    let drives = config.main.drives();
    let newer: Vec<BString> = drives
        .filter(|(_, drive)| !drive.is_cdrom() || pve_config::guest::is_cloudinit_volume(drive.file))
        .filter(|(_, drive)| !of_snapshot.contains(drive.file))
        .map(|(_, drive)| drive.file.to_owned())
        .collect();
    for volume in newer {
        match config.add_unused(&volume).map_err(|source| SnapshotError::Full { vmid, source })? {
            Unused::Added(key) => done.unused.push((key, volume)),
            Unused::Present(_) => {}
            Unused::Free => match node.volumes.free(volume.as_bstr()) {
                Ok(()) => done.freed.push(volume),
                Err(error) => done.left_behind.push(LeftBehind::volume(volume, error)),
            },
        }
    }
    Ok(())
}

/// Takes what only matters for the next start out of the new main section.
fn take_start_state(config: &mut VmConfig<'_>, name: &BStr, had_machine: bool) -> Option<StartState> {
    let volume = config.snapshot(name)?.truthy("vmstate").map(BStr::to_owned);
    let running = config.main.truthy("runningmachine").is_some();
    let (mut machine, mut cpu, mut host_mtu) = (None, None, None);
    if running {
        machine = config.main.remove("runningmachine");
        cpu = config.main.remove("runningcpu");
        host_mtu = config.main.remove("running-nets-host-mtu");
    } else if volume.is_some() {
        let of_snapshot = config.main.truthy("machine").map(BStr::to_owned);
        machine = Some(of_snapshot.unwrap_or_else(|| OLDEST_MACHINE.into()));
        if !had_machine {
            config.main.remove("machine");
        }
    }
    Some(StartState { volume: volume?, machine, cpu, host_mtu })
}
