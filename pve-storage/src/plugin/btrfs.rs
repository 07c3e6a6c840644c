// SPDX-License-Identifier: MIT OR Apache-2.0
//! `btrfs`: a directory whose raw images and container roots are subvolumes.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName, VolumeType};

use super::directory::{content_directory, export_formats, file_path};
use super::{Plugin, concat, parse_as, states};
use crate::error::Result;
use crate::features::{Feature, FeatureRule};
use crate::storage::Storage;
use crate::transfer::{Intermediate, StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

use ImageFormat::{Qcow2, Raw, Subvol, Vmdk};

/// `btrfs`.
#[derive(Debug)]
pub(crate) struct Btrfs;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::of(Feature::Snapshot, states::CURRENT_SNAPSHOT, &[Qcow2, Raw, Subvol]),
    FeatureRule::of(Feature::Clone, states::BASE, &[Qcow2, Raw, Subvol, Vmdk]),
    FeatureRule::of(Feature::Clone, states::CURRENT_SNAPSHOT, &[Raw]),
    FeatureRule::of(Feature::Template, states::CURRENT, &[Qcow2, Raw, Vmdk, Subvol]),
    FeatureRule::of(Feature::Copy, states::BASE_CURRENT, &[Qcow2, Raw, Vmdk, Subvol]),
    FeatureRule::of(Feature::Copy, states::SNAPSHOT, &[Qcow2, Raw, Subvol]),
    FeatureRule::of(Feature::SparseInit, states::BASE_CURRENT, &[Qcow2, Raw, Vmdk]),
    FeatureRule::of(Feature::Rename, states::CURRENT, &[Qcow2, Raw, Vmdk]),
];

impl Plugin for Btrfs {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Btrfs, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        use ContentType as C;
        &[C::Images, C::RootDir, C::VzTmpl, C::Iso, C::Backup, C::Snippets, C::Import, C::None]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        StorageType::Btrfs.image_formats().to_vec()
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn content_directory(&self, storage: &Storage, content: ContentType) -> Result<BString> {
        content_directory(storage, content)
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        match subvolume(volume, snapshot)? {
            Some(path) if volume.is_subvol() => Ok(path),
            Some(path) => Ok(concat([&path, b"/disk.raw"])),
            None => file_path(volume, volume.name),
        }
    }

    fn export_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(stream_formats(volume, scope))
    }

    fn import_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(stream_formats(volume, scope))
    }
}

fn stream_formats(volume: &Volume<'_>, scope: TransferScope) -> Vec<StreamFormat> {
    let mut formats = export_formats(volume, scope);
    let subvolume = matches!(volume.format.image(), Some(Raw | Subvol));
    if scope.snapshot && subvolume && !(scope.base && scope.with == Intermediate::All) {
        formats.insert(0, StreamFormat::Btrfs);
    }
    formats
}

/// The subvolume of an image or of one of its snapshots; `None` if the volume is an ordinary file.
pub(super) fn subvolume(volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<Option<BString>> {
    let name = match (volume.vtype, volume.format.image()) {
        (VolumeType::Images, Some(Raw)) => volume.name.strip_suffix(b".raw").unwrap_or(volume.name),
        (VolumeType::Images, Some(Subvol)) => volume.name.as_bytes(),
        _ => return Ok(None),
    };
    let path = file_path(volume, name)?;
    Ok(Some(match snapshot {
        Some(snapshot) => concat([&path, b"@", snapshot]),
        None => path,
    }))
}
