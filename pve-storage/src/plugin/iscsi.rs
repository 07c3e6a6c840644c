// SPDX-License-Identifier: MIT OR Apache-2.0
//! `iscsi` and `iscsidirect`: LUNs of a target, through the kernel or through libiscsi.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::zfs_iscsi::{iscsi_device, iscsi_url};
use super::{Plugin, concat, no_snapshots, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::Result;
use crate::features::{Feature, FeatureRule};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `iscsi`.
#[derive(Debug)]
pub(crate) struct Iscsi;

/// `iscsidirect`.
#[derive(Debug)]
pub(crate) struct IscsiDirect;

const FEATURES: &[FeatureRule] = &[FeatureRule::any(Feature::Copy, states::CURRENT)];

const CONTENT: &[ContentType] = &[ContentType::Images, ContentType::None];

fn export_formats(scope: TransferScope) -> Vec<StreamFormat> {
    if scope == TransferScope::default() { vec![StreamFormat::RawSize] } else { Vec::new() }
}

impl Plugin for Iscsi {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Iscsi, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        CONTENT
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

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        if snapshot.is_some() {
            return Err(no_snapshots(volume.storage()));
        }
        Ok(concat([b"/dev/disk/by-id/", volume.name]))
    }

    fn export_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(export_formats(scope))
    }
}

impl Plugin for IscsiDirect {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::IscsiDirect, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        CONTENT
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

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        if snapshot.is_some() {
            return Err(no_snapshots(volume.storage()));
        }
        iscsi_url(volume.storage(), volume.name)
    }

    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _facts: &Facts,
    ) -> Result<BlockDevice> {
        if snapshot.is_some() {
            return Err(no_snapshots(volume.storage()));
        }
        iscsi_device(volume.storage(), lun(volume)?)
    }

    fn export_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(export_formats(scope))
    }
}

/// The number in `lunN`.
fn lun(volume: &Volume<'_>) -> Result<u64> {
    let number = volume.name.to_str().ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| volume.request("the number of the LUN is too large"))
}
