// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids and what may stand in their place.

use super::{chomp, name};

/// `STORAGE:VOLUME`, VOLUME being one or more bytes other than LF.
pub(super) fn is_volume_id(value: &[u8]) -> bool {
    let Some(colon) = memchr::memchr(b':', value) else { return false };
    let (storage, volume) = value.split_at(colon);
    let volume = chomp(volume.get(1..).unwrap_or_default());
    name::is_storage_name(storage) && !volume.is_empty() && memchr::memchr(b'\n', volume).is_none()
}

pub(super) fn is_volume_id_or_absolute_path(value: &[u8]) -> bool {
    value.first() == Some(&b'/') || is_volume_id(value)
}

pub(super) fn is_volume_id_or_qm_path(value: &[u8]) -> bool {
    matches!(value, b"none" | b"cdrom") || is_volume_id_or_absolute_path(value)
}
