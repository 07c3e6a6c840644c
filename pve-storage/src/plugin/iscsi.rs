// SPDX-License-Identifier: MIT OR Apache-2.0
//! `iscsi` and `iscsidirect`: LUNs of a target, through the kernel or through libiscsi.

mod direct;
mod kernel;

use std::io::Write;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName, Wanted};

pub(crate) use kernel::IscsiSession;

use super::lvm::transfer::export_device;
use super::zfs_iscsi::{iscsi_device, iscsi_url};
use super::{Plugin, block_device_size, concat, no_snapshots, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::Result;
use crate::features::{Feature, FeatureRule};
use crate::listing::Listing;
use crate::operation::{Hints, SizeInfo, Status, Transfer};
use crate::session::{Cache, Session};
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

    fn lists_always(&self) -> bool {
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

    fn check_connection(&self, session: &Session<'_>, storage: &Storage) -> Result<bool> {
        kernel::require(session)?;
        kernel::check_connection(session, storage)
    }

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        if !kernel::is_installed(session) {
            session.warn("iscsiadm is not installed, no target is logged in to");
            return Ok(());
        }
        kernel::activate(session, storage, cache)
    }

    fn deactivate_storage(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<()> {
        if !kernel::is_installed(session) {
            session.warn("iscsiadm is not installed, no target is logged out of");
            return Ok(());
        }
        kernel::deactivate(session, storage)
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<Option<Status>> {
        kernel::require(session)?;
        let active = kernel::has_session(session, storage)?;
        Ok(Some(Status { active, ..Status::default() }))
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        kernel::list(session, storage, wanted, listing)
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        let path = self.path(volume, snapshot, &Facts::default())?;
        kernel::activate_volume(session, volume, path.as_bstr())
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        let path = self.path(volume, None, &Facts::default())?;
        let size = block_device_size(session, path.as_bstr())?;
        Ok(SizeInfo { size, format: "raw".into(), used: 0, parent: None, ctime: None })
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        refuse_format(volume, transfer)?;
        let path = self.path(volume, None, &Facts::default())?;
        export_device(session, path.as_bstr(), output)
    }
}

fn refuse_format(volume: &Volume<'_>, transfer: &Transfer<'_>) -> Result<()> {
    if export_formats(transfer.scope()).contains(&transfer.format) {
        return Ok(());
    }
    Err(volume.unsupported("be exported", "only its present content can, as raw stream"))
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

    /// Nothing is asked: there is no size to tell and nothing to activate.
    fn status(
        &self,
        _session: &Session<'_>,
        _storage: &Storage,
        _cache: &mut Cache,
    ) -> Result<Option<Status>> {
        Ok(Some(Status { active: true, ..Status::default() }))
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        direct::list(session, storage, wanted, listing)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        direct::size_info(session, volume)
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        refuse_format(volume, transfer)?;
        let url = self.path(volume, None, &Facts::default())?;
        direct::export(session, url.as_bstr(), output)
    }
}

/// The number in `lunN`.
fn lun(volume: &Volume<'_>) -> Result<u64> {
    let number = volume.name.to_str().ok().and_then(|digits| digits.parse().ok());
    number.ok_or_else(|| volume.request("the number of the LUN is too large"))
}
