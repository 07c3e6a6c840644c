// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lvm`: logical volumes of a volume group, thick; qcow2 volume chains on them for snapshots.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::{Plugin, concat, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::Result;
use crate::features::{Feature, FeatureRule, SnapshotMethod};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

use ImageFormat::{Qcow2, Raw};

/// `lvm`.
#[derive(Debug)]
pub(crate) struct Lvm;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::of(Feature::Snapshot, states::CURRENT_SNAPSHOT, &[Qcow2]),
    FeatureRule::of(Feature::Copy, states::BASE_CURRENT, &[Qcow2, Raw]),
    FeatureRule::of(Feature::Copy, states::SNAPSHOT, &[Qcow2]),
    FeatureRule::of(Feature::Rename, states::CURRENT, &[Qcow2, Raw]),
];

impl Plugin for Lvm {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Lvm, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images]
    }

    fn formats(&self, storage: &Storage) -> Vec<ImageFormat> {
        if storage.has_volume_chains() { vec![Qcow2, Raw] } else { vec![Raw] }
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        match snapshot {
            None => device(volume.storage(), volume.name),
            Some(_) if !volume.is_qcow2() => {
                Err(volume.unsupported("name a snapshot", "only qcow2 volumes have snapshots on lvm"))
            }
            Some(snapshot) => device(volume.storage(), &snapshot_lv(volume.name, snapshot)),
        }
    }

    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        facts: &Facts,
    ) -> Result<BlockDevice> {
        Ok(BlockDevice::at_path("host_device", self.path(volume, snapshot, facts)?))
    }

    fn snapshot_method(&self, volume: &Volume<'_>) -> SnapshotMethod {
        snapshot_method(volume)
    }

    fn export_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(export_formats(scope))
    }

    fn import_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(import_formats(scope))
    }
}

pub(super) fn snapshot_method(volume: &Volume<'_>) -> SnapshotMethod {
    // the name alone decides: lvmthin calls a volume "….qcow2" raw, but asks by name here
    if volume.is_qcow2() { SnapshotMethod::Mixed } else { SnapshotMethod::Storage }
}

pub(super) fn export_formats(scope: TransferScope) -> Vec<StreamFormat> {
    if scope.snapshot { Vec::new() } else { import_formats(scope) }
}

pub(super) fn import_formats(scope: TransferScope) -> Vec<StreamFormat> {
    if scope.base || scope.with_snapshots() { Vec::new() } else { vec![StreamFormat::RawSize] }
}

/// The volume group.
pub(super) fn volume_group(storage: &Storage) -> Result<&BStr> {
    storage.require("vgname")
}

/// The device node of a logical volume.
pub(super) fn device(storage: &Storage, lv: &[u8]) -> Result<BString> {
    Ok(concat([b"/dev/", volume_group(storage)?, b"/", lv]))
}

/// The logical volume that holds a snapshot of a qcow2 volume; `current` is the volume itself.
pub(super) fn snapshot_lv(name: &BStr, snapshot: &BStr) -> BString {
    if snapshot == "current" {
        return name.to_owned();
    }
    let stem = name.strip_suffix(b".qcow2").unwrap_or(name.as_bytes());
    concat([b"snap_", stem, b"_", snapshot, b".qcow2"])
}
