// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lvmthin`: thin volumes of a pool.

use bstr::{BStr, BString};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::{Plugin, concat, lvm, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::Result;
use crate::features::{Feature, FeatureRule, SnapshotMethod};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `lvmthin`.
#[derive(Debug)]
pub(crate) struct LvmThin;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::any(Feature::Snapshot, states::CURRENT),
    FeatureRule::any(Feature::Clone, states::BASE_SNAPSHOT),
    FeatureRule::any(Feature::Template, states::CURRENT),
    FeatureRule::any(Feature::Copy, states::ALL),
    FeatureRule::any(Feature::SparseInit, states::BASE_CURRENT),
    FeatureRule::any(Feature::Rename, states::CURRENT),
];

impl Plugin for LvmThin {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::LvmThin, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        Vec::new()
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        match snapshot {
            None => lvm::device(volume.storage(), volume.name),
            Some(snapshot) => lvm::device(volume.storage(), &snapshot_lv(volume.name, snapshot)),
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
        lvm::snapshot_method(volume)
    }

    fn export_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(lvm::export_formats(scope))
    }

    fn import_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(lvm::import_formats(scope))
    }
}

/// The logical volume that holds a snapshot.
pub(super) fn snapshot_lv(name: &BStr, snapshot: &BStr) -> BString {
    concat([b"snap_", name, b"_", snapshot])
}
