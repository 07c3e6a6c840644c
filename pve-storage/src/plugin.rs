// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interface of a storage type, and the built-in types.

mod btrfs;
mod directory;
mod esxi;
mod iscsi;
mod lvm;
mod lvmthin;
mod pbs;
mod rbd;
mod unknown;
mod zfs;
mod zfs_iscsi;

use std::fmt;
use std::sync::Arc;

use bstr::{BStr, BString};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use crate::block_device::BlockDevice;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, Refusal, SnapshotMethod, VolumeState, look_up};
use crate::host::FileKind;
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// A storage type: how its volumes are named, what they can do, and how they are made, changed and removed.
///
/// The first part is pure: it looks at names, values and [`Facts`] only.
///
/// Everything that a type does not implement answers with [`Error::Unsupported`].
pub trait Plugin: fmt::Debug + Send + Sync {
    /// Reads a volume name.
    ///
    /// # Errors
    /// If it is none.
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>>;

    /// Content types that the property `content` may name.
    fn content(&self) -> &'static [ContentType];

    /// The content types of a storage that does not set `content`.
    fn default_content(&self) -> &'static [ContentType];

    /// Valid formats of new images, the default first; empty: `raw` alone.
    fn formats(&self, storage: &Storage) -> Vec<ImageFormat>;

    /// Whether volumes are seen by all nodes, whatever `shared` says.
    fn always_shared(&self) -> bool {
        false
    }

    /// What volumes can do.
    fn features(&self) -> &'static [FeatureRule];

    /// Whether a volume can do something; the default looks at the rows of [`Plugin::features`].
    ///
    /// # Errors
    /// Why not.
    fn has_feature(
        &self,
        volume: &Volume<'_>,
        feature: Feature,
        state: VolumeState,
        targets: Option<&[ImageFormat]>,
    ) -> Result<(), Refusal> {
        let _ = targets;
        let kind = volume.storage().type_name();
        look_up(self.features(), kind, feature, state, volume.format.image(), &volume.format)
    }

    /// The directory in which things of a content type lie; an error for types without such directories.
    ///
    /// # Errors
    /// If the type, or the content type, has none.
    fn content_directory(&self, storage: &Storage, content: ContentType) -> Result<BString> {
        let _ = content;
        Err(unsupported(storage, "have content directories", "volumes are not files"))
    }

    /// Where a volume is.
    ///
    /// # Errors
    /// If it has no such snapshot, or a fact is missing.
    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, facts: &Facts) -> Result<BString>;

    /// How QEMU finds a volume; the default takes a file or device at its path.
    ///
    /// # Errors
    /// If nothing is there.
    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        facts: &Facts,
    ) -> Result<BlockDevice> {
        let path = self.path(volume, snapshot, facts)?;
        if !path.starts_with(b"/") {
            return Err(volume.request(format!("no block driver is known for '{path}'")));
        }
        let driver = match facts.file {
            Some(FileKind::Block | FileKind::Character) => "host_device",
            Some(_) => "file",
            None => return Err(Error::Missing(path)),
        };
        if snapshot.is_some() && volume.is_qcow2() && !volume.storage().has_volume_chains() {
            return Err(volume.unsupported("attach a snapshot", "it is inside the image"));
        }
        Ok(BlockDevice::at_path(driver, path))
    }

    /// Who makes snapshots while the guest runs.
    fn snapshot_method(&self, volume: &Volume<'_>) -> SnapshotMethod {
        if volume.is_qcow2() { SnapshotMethod::Qemu } else { SnapshotMethod::Storage }
    }

    /// The stream formats of an export.
    ///
    /// # Errors
    /// If the type never exports.
    fn export_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        let _ = (volume, scope);
        Ok(Vec::new())
    }

    /// The stream formats of an import.
    ///
    /// # Errors
    /// If the type never imports.
    fn import_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        let _ = (volume, scope);
        Ok(Vec::new())
    }
}

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

/// The error of a type that cannot do something.
pub(crate) fn unsupported(storage: &Storage, operation: &'static str, reason: impl Into<String>) -> Error {
    Error::Unsupported {
        storage: storage.id().clone(),
        kind: storage.type_name().to_owned(),
        operation,
        reason: reason.into(),
    }
}

/// The error of a type whose volumes have no snapshots.
pub(crate) fn no_snapshots(storage: &Storage) -> Error {
    unsupported(storage, "name a snapshot", "its volumes have none")
}

/// Puts bytes together.
pub(crate) fn concat<const N: usize>(parts: [&[u8]; N]) -> BString {
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        text.extend_from_slice(part);
    }
    text.into()
}

/// `server` as it stands in an address: IPv6 in brackets.
pub(crate) fn bracketed(server: &BStr) -> BString {
    if server.contains(&b':') && !server.starts_with(b"[") {
        concat([b"[", server, b"]"])
    } else {
        server.to_owned()
    }
}

/// The states of [`VolumeState`] by the letters of the specification.
mod states {
    use super::VolumeState::{self, Base as B, Current as C, Snapshot as S};

    pub(super) const CURRENT: &[VolumeState] = &[C];
    pub(super) const BASE: &[VolumeState] = &[B];
    pub(super) const SNAPSHOT: &[VolumeState] = &[S];
    pub(super) const CURRENT_SNAPSHOT: &[VolumeState] = &[C, S];
    pub(super) const BASE_CURRENT: &[VolumeState] = &[B, C];
    pub(super) const BASE_SNAPSHOT: &[VolumeState] = &[B, S];
    pub(super) const ALL: &[VolumeState] = &[B, C, S];
}
