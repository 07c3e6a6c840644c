// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume that the state of a suspended machine is saved to (spec: vm-lifecycle, "State volume").

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_volid::{ContentType, StorageId, VmId};

use super::PowerError;
use crate::node::{Node, WorldError};
use crate::snapshot::{STATE_FORMAT, state_kib, state_storage};

/// Memory of a machine, in MiB.
pub(super) fn memory(section: &VmSection<'_>) -> u64 {
    let memory = section.memory().ok().and_then(|memory| memory.current.get());
    memory.and_then(|memory| u64::try_from(memory).ok()).unwrap_or(512)
}

/// Allocates the volume, on `wanted` or where the configuration says; `name` is what stands for the snapshot's name.
pub(super) fn allocate(
    node: Node<'_>,
    vmid: VmId,
    section: &VmSection<'_>,
    wanted: Option<&StorageId>,
    name: &BStr,
) -> Result<BString, PowerError> {
    let id = match wanted {
        Some(id) => id.clone(),
        None => StorageId::from_bytes(state_storage(node, section).as_bytes())
            .map_err(|error| WorldError::Other(error.to_string()))?,
    };
    let mut volume = BString::from(format!("vm-{vmid}-state-"));
    volume.extend_from_slice(name);
    let storage = node.volumes.storages().get(id.as_str());
    if storage.is_some_and(|storage| storage.plugin().content_directory(storage, ContentType::Images).is_ok())
    {
        volume.extend_from_slice(b".raw");
    }
    let kib = state_kib(section) as f64;
    let volume = node.volumes.allocate(&id, vmid, STATE_FORMAT, Some(volume.as_bstr()), kib)?;
    Ok(volume.to_string().into())
}
