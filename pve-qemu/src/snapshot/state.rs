// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume that a running VM's memory is saved to (spec: vm-lifecycle, "State volume").

use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_storage::Storage;
use pve_volid::{ContentType, ImageFormat, StorageId, VmId, VolumeId, VolumeIdRef};

use super::SnapshotError;
use crate::node::Node;

/// The format of state volumes.
pub const STATE_FORMAT: ImageFormat = ImageFormat::Raw;
/// Where a state goes if nothing tells a storage.
const FALLBACK: &str = "local";

/// Size that is asked for, in KiB: twice the memory and 500 MiB.
///
/// ```
/// use pve_config::guest::VmSection;
///
/// assert_eq!(pve_qemu::snapshot::state_kib(&VmSection::new()), 1_560_576);
/// ```
#[must_use]
pub fn state_kib(section: &VmSection<'_>) -> u64 {
    let memory = section.memory().ok().and_then(|memory| memory.current.get()).unwrap_or(512);
    let mebibytes = u64::try_from(memory).unwrap_or(0);
    mebibytes.saturating_mul(2).saturating_add(500).saturating_mul(1024)
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
        if class.is_none() || has_path(storage) {
            *class = Some(storage.id().as_str().to_owned());
        }
    }
    shared.or(local).unwrap_or_else(|| FALLBACK.to_owned())
}

/// Allocates the volume for the state of a snapshot.
pub(super) fn allocate(
    node: Node<'_>,
    vmid: VmId,
    section: &VmSection<'_>,
    snapshot: &BStr,
) -> Result<VolumeId, SnapshotError> {
    let storage = state_storage(node, section);
    let id: StorageId =
        storage.parse().map_err(|_| SnapshotError::StateStorage { vmid, storage: storage.clone() })?;
    let mut name = BString::from(format!("vm-{vmid}-state-"));
    name.extend_from_slice(snapshot);
    if node.volumes.storages().get(&storage).is_some_and(has_path) {
        name.extend_from_slice(b".raw");
    }
    #[expect(clippy::cast_precision_loss, reason = "the sizes of memories are far below 2^53 KiB")]
    let kib = state_kib(section) as f64;
    Ok(node.volumes.allocate(&id, vmid, STATE_FORMAT, Some(name.as_bstr()), kib)?)
}

/// Whether volumes are files of a directory.
fn has_path(storage: &Storage) -> bool {
    storage.plugin().content_directory(storage, ContentType::Images).is_ok()
}
