// SPDX-License-Identifier: MIT OR Apache-2.0
//! `zfs`: volumes of a ZFS pool on another machine, reached over iSCSI.

use bstr::{BStr, BString};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::{Plugin, concat, no_snapshots, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `zfs`.
#[derive(Debug)]
pub(crate) struct ZfsOverIscsi;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::any(Feature::Snapshot, states::CURRENT_SNAPSHOT),
    FeatureRule::any(Feature::Clone, states::BASE),
    FeatureRule::any(Feature::Template, states::CURRENT),
    FeatureRule::any(Feature::Copy, states::BASE_CURRENT),
];

impl Plugin for ZfsOverIscsi {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Zfs, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Images]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        Vec::new()
    }

    fn always_shared(&self) -> bool {
        true
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, facts: &Facts) -> Result<BString> {
        let storage = volume.storage();
        if snapshot.is_some() {
            return Err(no_snapshots(storage));
        }
        iscsi_url(storage, lun(storage, facts)?.to_string().as_bytes())
    }

    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        facts: &Facts,
    ) -> Result<BlockDevice> {
        let storage = volume.storage();
        if snapshot.is_some() {
            return Err(no_snapshots(storage));
        }
        iscsi_device(storage, lun(storage, facts)?)
    }

    fn export_formats(&self, _volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(vec![StreamFormat::Zfs])
    }

    fn import_formats(&self, _volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(vec![StreamFormat::Zfs])
    }
}

fn lun(storage: &Storage, facts: &Facts) -> Result<u64> {
    facts.lun.ok_or_else(|| Error::FactNeeded {
        storage: storage.id().clone(),
        what: "the number of the LUN, which only the other machine can tell,",
    })
}

/// `iscsi://PORTAL/TARGET/LUN`.
pub(super) fn iscsi_url(storage: &Storage, lun: &[u8]) -> Result<BString> {
    let (portal, target) = (storage.require("portal")?, storage.require("target")?);
    Ok(concat([b"iscsi://", portal, b"/", target, b"/", lun]))
}

/// A LUN as QEMU reaches it without the kernel.
pub(super) fn iscsi_device(storage: &Storage, lun: u64) -> Result<BlockDevice> {
    Ok(BlockDevice::new("iscsi")
        .with("transport", "tcp")
        .with("portal", storage.require("portal")?)
        .with("target", storage.require("target")?)
        .with_number("lun", lun))
}
