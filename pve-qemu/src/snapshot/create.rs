// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a snapshot: prepare, the volumes, commit.

use std::collections::BTreeSet;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{NewSnapshot, VmConfig};
use pve_config::vm::{Bus, DriveId};
use pve_storage::{Feature, SnapshotMethod};
use pve_volid::VmId;
use serde_json::{Value, json};

use super::state::{self, SaveError};
use super::{BACKUP_SNAPSHOT, RunningMachine, SnapshotError, delete};
use crate::disk;
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE};

/// How often QEMU is asked how far saving the memory is.
const POLL: Duration = Duration::from_secs(1);

/// The snapshot that is wanted.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct SnapshotRequest<'a> {
    /// Its name.
    pub name: &'a BStr,
    /// Its description; an empty one is none.
    pub description: Option<&'a BStr>,
    /// With the memory, if the VM runs.
    pub with_memory: bool,
}

impl<'a> SnapshotRequest<'a> {
    /// A snapshot of the disks.
    #[must_use]
    pub fn new<N: AsRef<[u8]> + ?Sized>(name: &'a N) -> Self {
        SnapshotRequest { name: BStr::new(name), description: None, with_memory: false }
    }

    /// The same with a description.
    #[must_use]
    pub fn described(mut self, text: &'a BStr) -> Self {
        self.description = Some(text);
        self
    }

    /// The same with the memory.
    #[must_use]
    pub fn with_memory(mut self, wanted: bool) -> Self {
        self.with_memory = wanted;
        self
    }
}

/// Makes a snapshot. `running` is what the memory of a running VM depends on; it is only needed with memory.
///
/// # Errors
/// A failure before the volumes are touched changes nothing. Later ones are undone: snapshots of volumes that were made
/// are deleted, and the section with them.
pub fn create_snapshot(
    node: Node<'_>,
    vmid: VmId,
    request: SnapshotRequest<'_>,
    running: Option<&RunningMachine>,
) -> Result<(), SnapshotError> {
    let prepared = prepare(node, vmid, request, running)?;
    let mut done = BTreeSet::new();
    if let Err(source) = take(node, vmid, request.name, &prepared, &mut done) {
        return Err(match delete::undo(node, vmid, request.name, &done) {
            Ok(_) => source,
            Err(undo) => SnapshotError::Undo { source: Box::new(source), undo: Box::new(undo) },
        });
    }
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load(node, vmid)?;
    config.commit_snapshot(request.name).map_err(|source| SnapshotError::Name { vmid, source })?;
    vm_file::store(node, vmid, &config)?;
    Ok(())
}

/// What is known once the snapshot is announced.
struct Prepared {
    config: VmConfig<'static>,
    /// The volume for the memory.
    state: Option<BString>,
    runs: bool,
}

fn prepare(
    node: Node<'_>,
    vmid: VmId,
    request: SnapshotRequest<'_>,
    running: Option<&RunningMachine>,
) -> Result<Prepared, SnapshotError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load_unlocked(node, vmid)?;
    if config.main.is_template() {
        return Err(SnapshotError::Template { vmid });
    }
    if request.with_memory {
        check_memory(vmid, &config)?;
    }
    check_disks(node, vmid, &config, request.name)?;
    // the name is checked before anything is allocated for it
    let time = u64::try_from(node.chance.now()).unwrap_or(0);
    let new = |state| NewSnapshot { time, description: request.description, state };
    let named = |source| SnapshotError::Name { vmid, source };
    config.clone().prepare_snapshot(request.name, new(Vec::new())).map_err(named)?;

    let runs = node.machines.is_running(vmid);
    let mut options = Vec::new();
    let mut state = None;
    if request.with_memory && runs {
        let running = running.ok_or(SnapshotError::UnknownMachine { vmid })?;
        let storage = state::state_storage(node, &config.main);
        let id = storage.parse().map_err(|_| SnapshotError::StateStorage { vmid, storage })?;
        let volume = state::allocate(node, vmid, &config.main, &id, request.name)?;
        let volume = BString::from(volume.into_bytes());
        options.push(("vmstate", volume.clone()));
        options.push(("runningmachine", running.machine.clone()));
        options.push(("runningcpu", running.cpu.clone()));
        options.push(("running-nets-host-mtu", running.mtu_list(&config.main)));
        state = Some(volume);
    }
    config.prepare_snapshot(request.name, new(options)).map_err(named)?;
    match vm_file::store(node, vmid, &config) {
        Ok(config) => Ok(Prepared { config, state, runs }),
        Err(error) => {
            // nothing names the state volume
            if let Some(volume) = &state {
                node.volumes.free(volume.as_bstr())?;
            }
            Err(error.into())
        }
    }
}

/// Some of what a VM can have does not survive saving its memory.
fn check_memory(vmid: VmId, config: &VmConfig<'_>) -> Result<(), SnapshotError> {
    let blocks = |key: &str| ["amd-sev", "intel-tdx"].contains(&key) || key.starts_with("virtiofs");
    let mut keys = config.main.iter().filter_map(|(key, _)| key.to_str().ok());
    keys.find(|key| blocks(key))
        .map_or(Ok(()), |key| Err(SnapshotError::Memory { vmid, key: key.to_owned() }))
}

fn check_disks(node: Node<'_>, vmid: VmId, config: &VmConfig<'_>, name: &BStr) -> Result<(), SnapshotError> {
    for (id, drive) in config.main.drives() {
        if drive.is_cdrom() || name == BACKUP_SNAPSHOT && drive.backup == Some(false) {
            continue;
        }
        disk::require(node, drive.file, Feature::Snapshot, None).map_err(|source| {
            SnapshotError::Feature { vmid, drive: id, volume: drive.file.to_owned(), source }
        })?;
    }
    Ok(())
}

/// Saves the memory and makes the snapshots of the volumes; `done` are the drives that have one.
fn take(
    node: Node<'_>,
    vmid: VmId,
    name: &BStr,
    prepared: &Prepared,
    done: &mut BTreeSet<DriveId>,
) -> Result<(), SnapshotError> {
    let frozen = prepared.runs && prepared.state.is_none() && freeze(node, vmid, &prepared.config);
    let mut result = save_memory(node, vmid, prepared);
    if result.is_ok() {
        result = snapshot_volumes(node, vmid, name, prepared, done);
    }
    if prepared.runs {
        // the machine must go on whatever happened
        let ended = node.machines.qmp(vmid, "savevm-end", json!({}), None);
        if frozen {
            let thawed = node.machines.qmp(vmid, "guest-fsfreeze-thaw", json!({}), None);
            result = result.and(thawed.map(drop).map_err(SnapshotError::from));
        }
        result = result.and(ended.map(drop).map_err(SnapshotError::from));
        if result.is_ok() {
            wait_until_released(node, vmid)?;
        }
    }
    result
}

/// Asks the guest to hold its file systems still; returns whether it does. A guest that does not answer is not asked.
fn freeze(node: Node<'_>, vmid: VmId, config: &VmConfig<'_>) -> bool {
    let wanted = config.main.agent().is_ok_and(|agent| agent.enabled && agent.freeze_fs != Some(false));
    wanted
        && node.machines.qmp(vmid, "guest-ping", json!({}), None).is_ok()
        && node.machines.qmp(vmid, "guest-fsfreeze-freeze", json!({}), None).is_ok()
}

fn save_memory(node: Node<'_>, vmid: VmId, prepared: &Prepared) -> Result<(), SnapshotError> {
    if !prepared.runs {
        return Ok(());
    }
    let Some(volume) = &prepared.state else {
        node.machines.qmp(vmid, "savevm-start", json!({}), None)?;
        return Ok(());
    };
    node.volumes.activate(&[volume.as_bstr()])?;
    state::save(node, vmid, volume.as_bstr(), json!({})).map_err(|error| match error {
        SaveError::World(error) => error.into(),
        SaveError::Failed(reason) => SnapshotError::State { vmid, volume: volume.clone(), reason },
    })
}

fn snapshot_volumes(
    node: Node<'_>,
    vmid: VmId,
    name: &BStr,
    prepared: &Prepared,
    done: &mut BTreeSet<DriveId>,
) -> Result<(), SnapshotError> {
    for (id, drive) in prepared.config.main.drives().filter(|(_, drive)| !drive.is_cdrom()) {
        let by_qemu = prepared.runs && id.bus != Bus::Tpmstate;
        let method = disk::volume(node, drive.file).map(|volume| volume.snapshot_method());
        match method.filter(|_| by_qemu) {
            Some(SnapshotMethod::Qemu) => {
                let arguments = json!({ "device": format!("drive-{id}"), "name": name.to_str_lossy() });
                node.machines.qmp(vmid, "blockdev-snapshot-internal-sync", arguments, None)?;
            }
            Some(SnapshotMethod::Mixed) => {
                let volume = drive.file.to_owned();
                return Err(SnapshotError::RunningChain { vmid, drive: id, volume });
            }
            Some(SnapshotMethod::Storage) | None => node.volumes.create_snapshot(drive.file, name)?,
        }
        done.insert(id);
    }
    Ok(())
}

/// Waits until QEMU holds nothing of the state any more.
fn wait_until_released(node: Node<'_>, vmid: VmId) -> Result<(), WorldError> {
    while is_holding(&node.machines.qmp(vmid, "query-savevm", json!({}), None)?) {
        node.chance.sleep(POLL);
    }
    Ok(())
}

fn is_holding(progress: &Value) -> bool {
    progress["bytes"].as_u64().is_some_and(|bytes| bytes > 0)
}
