// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume that a running VM's memory is saved to (spec: vm-lifecycle, "State volume").

use std::collections::BTreeSet;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_volid::{ImageFormat, StorageId, VmId, VolumeId, VolumeIdRef};
use serde_json::{Value, json};

use crate::node::naming::has_directory;
use crate::node::{Node, WorldError};

/// The format of state volumes.
pub const STATE_FORMAT: ImageFormat = ImageFormat::Raw;
/// Where a state goes if nothing tells a storage.
const FALLBACK: &str = "local";
/// Memory of a machine that configures none, in MiB.
const DEFAULT_MEMORY: u64 = 512;
/// How often QEMU is asked how far it is.
const POLL: Duration = Duration::from_secs(1);

/// Size that is asked for, in KiB: twice the memory and 500 MiB.
///
/// ```
/// use pve_config::guest::VmSection;
///
/// assert_eq!(pve_qemu::snapshot::state_kib(&VmSection::new()), 1_560_576);
/// ```
#[must_use]
pub fn state_kib(section: &VmSection<'_>) -> u64 {
    memory(section).saturating_mul(2).saturating_add(500).saturating_mul(1024)
}

/// Memory of a machine, in MiB.
pub(crate) fn memory(section: &VmSection<'_>) -> u64 {
    let memory = section.memory().ok().and_then(|memory| memory.current.get());
    memory.map_or(DEFAULT_MEMORY, |memory| u64::try_from(memory).unwrap_or(0))
}

/// The storage that a state goes to: `vmstatestorage`, else one of the drives' (a shared one before a local one, of the
/// local or shared ones one with files before others, the last such by id), else `local`.
#[must_use]
pub fn state_storage(node: Node<'_>, section: &VmSection<'_>) -> String {
    if let Some(storage) = section.truthy("vmstatestorage") {
        return storage.to_str_lossy().into_owned();
    }
    let disks = section.drives().filter(|(_, drive)| !drive.is_cdrom());
    let ids: BTreeSet<String> = disks
        .filter_map(|(_, drive)| {
            Some(VolumeIdRef::from_bytes(drive.file).ok()?.storage().as_str().to_owned())
        })
        .collect();
    let (mut shared, mut local) = (None, None);
    for storage in ids.iter().filter_map(|id| node.volumes.storages().get(id)) {
        let class = if storage.is_shared() { &mut shared } else { &mut local };
        if class.is_none() || has_directory(storage) {
            *class = Some(storage.id().as_str().to_owned());
        }
    }
    shared.or(local).unwrap_or_else(|| FALLBACK.to_owned())
}

/// Allocates the volume for a state; `name` is that of the snapshot, or what stands for it.
pub(crate) fn allocate(
    node: Node<'_>,
    vmid: VmId,
    section: &VmSection<'_>,
    storage: &StorageId,
    name: &BStr,
) -> Result<VolumeId, WorldError> {
    let mut volume = BString::from(format!("vm-{vmid}-state-"));
    volume.extend_from_slice(name);
    if node.volumes.storages().get(storage.as_str()).is_some_and(has_directory) {
        volume.extend_from_slice(b".raw");
    }
    #[expect(clippy::cast_precision_loss, reason = "the sizes of memories are far below 2^53 KiB")]
    let kib = state_kib(section) as f64;
    node.volumes.allocate(storage, vmid, STATE_FORMAT, Some(volume.as_bstr()), kib)
}

/// Why a state was not saved.
pub(crate) enum SaveError {
    /// QEMU was not reached, or does not know the command.
    World(WorldError),
    /// QEMU says why.
    Failed(String),
}

/// Lets QEMU save the state of a machine into a volume that is active; returns when all of it is written. `more` are
/// further arguments.
pub(crate) fn save(node: Node<'_>, vmid: VmId, volume: &BStr, more: Value) -> Result<(), SaveError> {
    let qmp = |command: &str, arguments: Value| {
        node.machines.qmp(vmid, command, arguments, None).map_err(SaveError::World)
    };
    let path = node.volumes.path(volume).map_err(SaveError::World)?;
    let mut arguments = json!({ "statefile": path.to_str_lossy() });
    if let (Value::Object(arguments), Value::Object(more)) = (&mut arguments, more) {
        arguments.extend(more);
    }
    qmp("savevm-start", arguments)?;
    loop {
        let progress = qmp("query-savevm", json!({}))?;
        match progress["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("active" | "setup") | None => node.chance.sleep(POLL),
            Some(other) => {
                let reason = progress["error"].as_str().unwrap_or(other).to_owned();
                return Err(SaveError::Failed(reason));
            }
        }
    }
}
