// SPDX-License-Identifier: MIT OR Apache-2.0
//! `zfs`: volumes of a ZFS pool on another machine, reached over iSCSI.

mod comstar;
mod lio;
mod target;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{BASE_SNAPSHOT, ContentType, Digits, ImageFormat, StorageType, VolumeName, Wanted};

use target::Target;

use super::zfs::{dataset::Zfs, with_base};
use super::{Plugin, check_owner_prefix, concat, no_snapshots, parse_as, states};
use crate::block_device::BlockDevice;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule};
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Wipe};
use crate::session::{Cache, Session};
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

    fn status(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<Option<Status>> {
        Zfs::remote(storage)?.status(session).map(Some)
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        Zfs::remote(storage)?.list(session, wanted, listing)
    }

    fn gather(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<Facts> {
        if snapshot.is_some() {
            return Err(no_snapshots(volume.storage()));
        }
        let mut target = Target::new(volume.storage())?;
        let unit = target.unit(session, volume.name)?;
        Ok(Facts { lun: Some(target.lun(session, &unit)?), ..Facts::default() })
    }

    fn activate_volume(
        &self,
        _session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        refuse_snapshot(volume, snapshot)
    }

    fn deactivate_volume(
        &self,
        _session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _cache: &mut Cache,
    ) -> Result<()> {
        refuse_snapshot(volume, snapshot)
    }

    fn allocate(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        request: &Allocation<'_>,
    ) -> Result<BString> {
        if request.format != ImageFormat::Raw {
            return Err(Error::Request {
                volume: storage.id().as_str().into(),
                reason: format!("format '{}' is not possible, only raw", request.format),
            });
        }
        check_owner_prefix(request, "vm")?;
        let zfs = Zfs::remote(storage)?;
        let mut target = Target::new(storage)?;
        let name = match request.name {
            Some(name) => name.to_owned(),
            None => zfs.free_name(session, request.owner, request.format)?,
        };
        zfs.create_volume(session, name.as_bstr(), request.size_kib)?;
        target.publish(session, name.as_bstr())?;
        Ok(name)
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        let zfs = Zfs::remote(volume.storage())?;
        let mut target = Target::new(volume.storage())?;
        let unit = target.unit(session, volume.name)?;
        target.withdraw(session, &unit)?;
        session.undoing(
            || zfs.destroy(session, volume.name),
            || target.create(session, volume.name).map(drop),
        )?;
        Ok(None)
    }

    fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        let name = Zfs::remote(volume.storage())?.clone_volume(session, volume, owner, snapshot)?;
        Target::new(volume.storage())?.publish(session, name.as_bstr())?;
        Ok(concat([volume.name, b"/", &name]))
    }

    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        if volume.is_base {
            return Err(volume.unsupported("become a base volume", "it is one already"));
        }
        let zfs = Zfs::remote(volume.storage())?;
        let mut target = Target::new(volume.storage())?;
        let unit = target.unit(session, volume.name)?;
        target.withdraw(session, &unit)?;
        let name = zfs.rename_to_base(session, volume)?;
        target.publish(session, name.as_bstr())?;
        zfs.snapshot(session, name.as_bstr(), BStr::new(BASE_SNAPSHOT))?;
        Ok(with_base(volume, &name))
    }

    fn resize(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        size: u64,
        _running: bool,
    ) -> Result<()> {
        refuse_snapshot(volume, snapshot)?;
        let size_kib = Zfs::remote(volume.storage())?.resize(session, volume, size)?;
        let mut target = Target::new(volume.storage())?;
        let unit = target.unit(session, volume.name)?;
        target.resize(session, &unit, size_kib)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        Zfs::remote(volume.storage())?.size_info(session, volume)
    }

    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Zfs::remote(volume.storage())?.snapshot(session, volume.name, snapshot)
    }

    fn check_rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Zfs::remote(volume.storage())?.check_rollback(session, volume, snapshot)
    }

    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let mut target = Target::new(volume.storage())?;
        let unit = target.unit(session, volume.name)?;
        target.withdraw(session, &unit)?;
        Zfs::remote(volume.storage())?.rollback(session, volume.name, snapshot)?;
        target.take_back(session, volume.name)?;
        let unit = target.unit(session, volume.name)?;
        target.show(session, &unit)
    }

    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        _running: bool,
    ) -> Result<()> {
        Zfs::remote(volume.storage())?.delete_snapshot(session, volume.name, snapshot)
    }

    fn snapshots(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        Zfs::remote(volume.storage())?.snapshots(session, volume.name)
    }
}

fn refuse_snapshot(volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<()> {
    if snapshot.is_some() { Err(no_snapshots(volume.storage())) } else { Ok(()) }
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
