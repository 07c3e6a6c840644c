// SPDX-License-Identifier: MIT OR Apache-2.0
//! `zfspool`: volumes and file systems below a local ZFS dataset.

use bstr::{BStr, BString};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::{Plugin, concat, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::Result;
use crate::features::{Feature, FeatureRule};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `zfspool`.
#[derive(Debug)]
pub(crate) struct ZfsPool;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::any(Feature::Snapshot, states::CURRENT_SNAPSHOT),
    FeatureRule::any(Feature::Clone, states::BASE),
    FeatureRule::any(Feature::Template, states::CURRENT),
    FeatureRule::any(Feature::Copy, states::BASE_CURRENT),
    FeatureRule::any(Feature::SparseInit, states::BASE_CURRENT),
    FeatureRule::any(Feature::Rename, states::CURRENT),
    FeatureRule::any(Feature::Replicate, states::BASE_CURRENT),
];

impl Plugin for ZfsPool {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::ZfsPool, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        StorageType::ZfsPool.image_formats().to_vec()
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        let storage = volume.storage();
        let pool = storage.require("pool")?;
        let path = if is_file_system(volume.name) {
            let mountpoint =
                storage.get("mountpoint").map_or_else(|| concat([b"/", pool]), ToOwned::to_owned);
            concat([&mountpoint, b"/", volume.name])
        } else {
            concat([b"/dev/zvol/", pool, b"/", volume.name])
        };
        Ok(match snapshot {
            Some(snapshot) => concat([&path, b"@", snapshot]),
            None => path,
        })
    }

    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        facts: &Facts,
    ) -> Result<BlockDevice> {
        if volume.is_subvol() {
            return Err(volume.unsupported("be attached", "it is a file system, not a disk"));
        }
        if snapshot.is_some() {
            return Err(volume.unsupported("attach a snapshot", "ZFS shows no device for it"));
        }
        Ok(BlockDevice::at_path("host_device", self.path(volume, snapshot, facts)?))
    }

    fn export_formats(&self, _volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(vec![StreamFormat::Zfs])
    }

    fn import_formats(&self, _volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(vec![StreamFormat::Zfs])
    }
}

/// Whether a dataset of this name is a file system (the root of a container).
pub(super) fn is_file_system(name: &BStr) -> bool {
    name.starts_with(b"subvol-") || name.starts_with(b"basevol-")
}
