// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lvm`: logical volumes of a volume group, thick; qcow2 volume chains on them for snapshots.

mod group;
pub(super) mod image;
pub(super) mod listing;
pub(crate) mod report;
mod snapshot;
pub(super) mod transfer;
mod wipe;

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, Naming, SnapshotPlace, StorageType, VolumeName, Wanted};

pub use group::create_volume_group;
pub use listing::thin_volumes;
pub use report::Lvs;
pub(crate) use report::{VolumeGroup, all_lvs};

use super::{Plugin, concat, parse_as, states};
use crate::block_device::BlockDevice;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, SnapshotMethod};
use crate::host::FileKind;
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe};
use crate::session::{Cache, Session};
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

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        activate_group(session, storage, cache)
    }

    fn deactivate_storage(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<()> {
        let command = Command::change("/sbin/vgchange").arg("-aln").operand(volume_group(storage)?);
        session.run(&command).map(drop)
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<Option<Status>> {
        let name = volume_group(storage)?;
        let groups = report::groups(session)?;
        Ok(groups.iter().find(|group| group.name == name).map(|group| Status {
            total: group.size,
            available: group.free,
            used: group.size.saturating_sub(group.free),
            active: true,
        }))
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        cache: &mut Cache,
    ) -> Result<()> {
        listing::thick(session, storage, wanted, listing, cache)
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        _snapshot: Option<&BStr>,
        _hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        image::activate(session, volume)
    }

    fn deactivate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _cache: &mut Cache,
    ) -> Result<()> {
        let path = self.path(volume, snapshot, &Facts::default())?;
        if session.kind(path.as_bstr()) == Some(FileKind::Block) {
            image::deactivate(session, volume)?;
        }
        Ok(())
    }

    fn allocate(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        request: &Allocation<'_>,
    ) -> Result<BString> {
        image::allocate(session, storage, request)
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        image::free(session, volume)
    }

    fn wipe(&self, session: &Session<'_>, storage: &Storage, volumes: &Wipe) -> Result<()> {
        wipe::wipe(session, storage, volumes)
    }

    fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        image::rename(session, volume, owner, name)
    }

    fn resize(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        size: u64,
        running: bool,
    ) -> Result<()> {
        let path = self.path(volume, snapshot, &Facts::default())?;
        image::resize(session, volume, path.as_bstr(), size, running)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        image::size_info(session, volume)
    }

    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        snapshot::create(session, volume, snapshot)
    }

    fn check_rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        snapshot::check_rollback(session, volume, snapshot)
    }

    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        snapshot::rollback(session, volume, snapshot)
    }

    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        running: bool,
    ) -> Result<()> {
        snapshot::delete(session, volume, snapshot, running)
    }

    fn snapshots(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        snapshot::list(session, volume)
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        transfer::export(session, volume, transfer, output)
    }

    fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        transfer::import(session, volume, transfer, input, false)
    }
}

/// Has a volume group found, once a call; that it is missing is no error here.
pub(super) fn activate_group(session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
    let name = volume_group(storage)?;
    if cache.groups.is_none() {
        cache.groups = Some(report::groups(session)?);
    }
    let found = cache.groups.iter().flatten().any(|group| group.name == name);
    if !found && !cache.scanned {
        cache.scanned = true;
        session.attempt(&Command::change("/sbin/vgscan").args(["--ignorelockingfailure", "--mknodes"]));
    }
    Ok(())
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
    let group = storage.require("vgname")?;
    // its device nodes lie in a directory of this name
    let plain = !group.contains(&b'/') && !super::directory::leads_up(group) && group != ".";
    if plain { Ok(group) } else { Err(Error::Escapes(group.to_owned())) }
}

/// The device node of a logical volume.
pub(super) fn device(storage: &Storage, lv: &[u8]) -> Result<BString> {
    Ok(concat([b"/dev/", volume_group(storage)?, b"/", lv]))
}

/// The logical volume that holds a snapshot of a qcow2 volume; `current` is the volume itself.
pub(super) fn snapshot_lv(name: &BStr, snapshot: &BStr) -> BString {
    match Naming::new(StorageType::Lvm).with_chains(true).snapshot(name, snapshot) {
        Some(SnapshotPlace::Beside(lv)) if snapshot != super::chain::CURRENT => lv,
        _ => name.to_owned(),
    }
}
