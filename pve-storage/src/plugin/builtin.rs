// SPDX-License-Identifier: MIT OR Apache-2.0
//! The built-in types, and what several of them do alike.

use std::sync::Arc;

use bstr::{BStr, BString};
use pve_volid::{Digits, FreeName, ImageFormat, StorageType, VolumeName};

use super::{Plugin, btrfs, directory, esxi, iscsi, lvm, lvmthin, pbs, rbd, unknown, zfs, zfs_iscsi};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::operation::Allocation;
use crate::session::{Session, number, strange};
use crate::storage::Storage;

/// The plugin of a built-in type; for another name one that answers everything with an error.
#[must_use]
pub fn builtin(kind: &[u8]) -> Arc<dyn Plugin> {
    use StorageType as T;
    match StorageType::from_bytes(kind) {
        Some(kind @ (T::Dir | T::Nfs | T::Cifs | T::CephFs)) => Arc::new(directory::Directory { kind }),
        Some(T::Btrfs) => Arc::new(btrfs::Btrfs),
        Some(T::Lvm) => Arc::new(lvm::Lvm),
        Some(T::LvmThin) => Arc::new(lvmthin::LvmThin),
        Some(T::ZfsPool) => Arc::new(zfs::ZfsPool),
        Some(T::Zfs) => Arc::new(zfs_iscsi::ZfsOverIscsi),
        Some(T::Rbd) => Arc::new(rbd::Rbd),
        Some(T::Iscsi) => Arc::new(iscsi::Iscsi),
        Some(T::IscsiDirect) => Arc::new(iscsi::IscsiDirect),
        Some(T::Pbs) => Arc::new(pbs::Pbs),
        Some(T::Esxi) => Arc::new(esxi::Esxi),
        _ => Arc::new(unknown::Unknown),
    }
}

/// Reads a volume name by the grammar of a built-in type.
pub(crate) fn parse_as<'a>(
    kind: StorageType,
    storage: &Storage,
    volname: &'a [u8],
) -> Result<VolumeName<'a>> {
    VolumeName::parse(kind, volname).map_err(|source| Error::Name { storage: storage.id().clone(), source })
}

/// The built-in type of a storage.
pub(crate) fn kind_of(storage: &Storage) -> Result<StorageType> {
    storage.storage_type().ok_or_else(|| unknown::refuse(storage))
}

/// The next free name of a guest among `names`.
pub(crate) fn free_name_among<'n>(
    storage: &Storage,
    owner: Digits<'_>,
    format: Option<ImageFormat>,
    names: impl IntoIterator<Item = &'n [u8]>,
) -> Result<BString> {
    let mut search = FreeName::for_allocation(kind_of(storage)?, owner, format);
    names.into_iter().for_each(|name| search.see(name));
    let name = search.name().map_err(|source| Error::NoFreeName { storage: storage.id().clone(), source })?;
    Ok(name.into())
}

/// Fails unless a wanted name begins with `WORD-OWNER-`.
pub(crate) fn check_owner_prefix(request: &Allocation<'_>, word: &str) -> Result<()> {
    let prefix = format!("{word}-{}-", request.owner);
    match request.name {
        Some(name) if !name.starts_with(prefix.as_bytes()) => Err(Error::Request {
            volume: name.to_owned(),
            reason: format!("the name must begin with '{prefix}'"),
        }),
        _ => Ok(()),
    }
}

/// The size of a block device in bytes.
pub(crate) fn block_device_size(session: &Session<'_>, path: &BStr) -> Result<u64> {
    let command = Command::query("/sbin/blockdev").arg("--getsize64").operand(path);
    let output = session.run(&command)?;
    output.lines().next().and_then(number).ok_or_else(|| strange(&command, "expected a size in bytes"))
}
