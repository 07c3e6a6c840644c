// SPDX-License-Identifier: MIT OR Apache-2.0
//! `lvmthin`: thin volumes of a pool.

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, Naming, StorageType, VolumeName, Wanted};

use super::lvm::image::{check_group, free_name, full_name, remove};
use super::lvm::report::{all_lvs, lvs};
use super::lvm::{self, volume_group};
use super::{Plugin, concat, parse_as, states};
use crate::block_device::BlockDevice;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, SnapshotMethod};
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe};
use crate::session::{Cache, Session};
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

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        lvm::activate_group(session, storage, cache)?;
        activate_lv(session, storage, pool(storage)?, cache)
    }

    fn deactivate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        lvm::Lvm.deactivate_storage(session, storage, cache)
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<Option<Status>> {
        let (group, pool) = (volume_group(storage)?, pool(storage)?);
        let lv = all_lvs(session, cache)?.find(group, pool);
        Ok(lv.filter(|lv| lv.kind() == Some(b't') && lv.size() != 0).map(|lv| Status {
            total: lv.size(),
            available: lv.size().saturating_sub(lv.used()),
            used: lv.used(),
            active: lv.is_active(),
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
        lvm::thin_volumes(all_lvs(session, cache)?, storage, wanted, listing)
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _hints: Hints,
        cache: &mut Cache,
    ) -> Result<()> {
        activate_lv(session, volume.storage(), lv_name(volume, snapshot).as_bstr(), cache)
    }

    fn deactivate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _cache: &mut Cache,
    ) -> Result<()> {
        if snapshot.is_none() && !volume.is_base {
            return Ok(());
        }
        let lv = full_name(volume.storage(), &lv_name(volume, snapshot))?;
        session.run(&Command::change("lvchange").arg("-an").operand(lv)).map(drop)
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
        super::check_owner_prefix(request, "vm")?;
        check_group(session, storage, None)?;
        let name = match request.name {
            Some(name) => name.to_owned(),
            None => free_name(session, storage, request.owner, None)?,
        };
        let command = Command::change("/sbin/lvcreate")
            .args(["-aly", "-V", &format!("{}k", request.size_kib), "--name"])
            .operand(&name)
            .arg("--thinpool")
            .operand(full_name(storage, pool(storage)?)?);
        session.run(&command)?;
        no_autoactivation(session, storage, name.as_bstr())?;
        Ok(name)
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        let (storage, group) = (volume.storage(), volume_group(volume.storage())?);
        let lvs = lvs(session, group)?;
        let snapshots = lvs.iter().filter(|lv| lv.vg == group && is_snapshot_of(lv.lv, volume.name));
        for lv in snapshots {
            remove(session, storage, lv.lv)?;
        }
        if lvs.find(group, volume.name).is_some() {
            remove(session, storage, volume.name)?;
        }
        Ok(None)
    }

    fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        let storage = volume.storage();
        if snapshot.is_none() && !volume.is_base {
            return Err(volume.unsupported("be cloned", "it is no base volume"));
        }
        let source = full_name(storage, &lv_name(volume, snapshot))?;
        let name = free_name(session, storage, owner, None)?;
        let command = Command::change("/sbin/lvcreate")
            .arg("-n")
            .operand(&name)
            .args(["-prw", "-kn", "-s"])
            .operand(source);
        session.run(&command)?;
        no_autoactivation(session, storage, name.as_bstr())?;
        Ok(name)
    }

    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        let (storage, group) = (volume.storage(), volume_group(volume.storage())?);
        if volume.is_base {
            return Err(volume.unsupported("become a base volume", "it is one already"));
        }
        let word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let is_word_snapshot = |name: &BStr| {
            let rest = name.strip_prefix(b"snap_").and_then(|rest| rest.strip_prefix(volume.name.as_bytes()));
            rest.and_then(|rest| rest.strip_prefix(b"_"))
                .is_some_and(|rest| !rest.is_empty() && rest.iter().all(word))
        };
        let lvs = lvs(session, group)?;
        if let Some(lv) = lvs.iter().find(|lv| lv.vg == group && is_word_snapshot(lv.lv)) {
            return Err(Error::InUse {
                volume: volume.volid(),
                reason: format!("it has a snapshot, '{}'", lv.lv),
            });
        }
        let naming = Naming::new(StorageType::LvmThin);
        let name = naming.template(volume.name).unwrap_or_else(|| volume.name.to_owned());
        let command = Command::change("/sbin/lvrename").operand(group).operand(volume.name).operand(&name);
        session.run(&command)?;
        let lv = full_name(storage, &name)?;
        session.attempt(&Command::change("/sbin/lvchange").args(["-pr", "-ky"]).operand(&lv));
        session.attempt(&Command::change("/sbin/lvchange").arg("-an").operand(&lv));
        Ok(name)
    }

    fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        lvm::image::rename(session, volume, owner, name)
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
        lvm::image::resize(session, volume, path.as_bstr(), size, running)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        lvm::image::size_info(session, volume)
    }

    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let command = Command::change("/sbin/lvcreate")
            .arg("-n")
            .operand(snapshot_lv(volume.name, snapshot))
            .args(["-pr", "-s"])
            .operand(full_name(volume.storage(), volume.name)?);
        session.run(&command).map(drop)
    }

    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let storage = volume.storage();
        remove(session, storage, volume.name)?;
        let command = Command::change("/sbin/lvcreate")
            .args(["-kn", "-n"])
            .operand(volume.name)
            .arg("-s")
            .operand(full_name(storage, &snapshot_lv(volume.name, snapshot))?);
        session.run(&command)?;
        no_autoactivation(session, storage, volume.name)
    }

    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        _running: bool,
    ) -> Result<()> {
        remove(session, volume.storage(), &snapshot_lv(volume.name, snapshot))
    }

    /// The reference tells none, though there may be some.
    fn snapshots(&self, _session: &Session<'_>, _volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        Ok(Vec::new())
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        lvm::transfer::export(session, volume, transfer, output)
    }

    fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        if !volume.is_base {
            return lvm::transfer::import(session, volume, transfer, input, true);
        }
        // a template is read-only: it is filled under an ordinary name and becomes one then
        let (storage, group) = (volume.storage(), volume_group(volume.storage())?);
        let mut ordinary = BString::from(volume.volname.replacen("base", "vm", 1));
        if lvs(session, group)?.find(group, volume.name).is_some() {
            if !transfer.allow_rename {
                return Err(Error::Exists(volume.volid()));
            }
            let owner = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
            ordinary = free_name(session, storage, owner, None)?;
        }
        let ordinary = storage.volume(&ordinary)?;
        let volname = lvm::transfer::import(session, &ordinary, transfer, input, true)?;
        self.create_base(session, &storage.volume(&volname)?)
    }
}

/// The thin pool.
fn pool(storage: &Storage) -> Result<&BStr> {
    storage.require("thinpool")
}

/// The logical volume of a volume or its snapshot.
fn lv_name(volume: &Volume<'_>, snapshot: Option<&BStr>) -> BString {
    snapshot.map_or_else(|| volume.name.to_owned(), |snapshot| snapshot_lv(volume.name, snapshot))
}

/// Whether a logical volume is a snapshot of a volume: `snap_NAME_` and a configuration id.
fn is_snapshot_of(lv: &BStr, name: &BStr) -> bool {
    let rest = lv.strip_prefix(b"snap_").and_then(|rest| rest.strip_prefix(name.as_bytes()));
    rest.and_then(|rest| rest.strip_prefix(b"_")).is_some_and(|id| {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        matches!(id, [first, rest @ ..] if first.is_ascii_alphabetic() && !rest.is_empty() && rest.iter().all(inner))
    })
}

/// Activates a logical volume that is not active.
fn activate_lv(session: &Session<'_>, storage: &Storage, lv: &BStr, cache: &mut Cache) -> Result<()> {
    let name = full_name(storage, lv)?;
    match all_lvs(session, cache)?.find(volume_group(storage)?, lv) {
        None => return Err(Error::Missing(name)),
        Some(lv) if lv.is_active() => return Ok(()),
        Some(_) => {}
    }
    session.run(&Command::change("lvchange").args(["-ay", "-K"]).operand(name))?;
    Ok(())
}

/// The volume is not to be activated at boot.
fn no_autoactivation(session: &Session<'_>, storage: &Storage, lv: &BStr) -> Result<()> {
    let name = full_name(storage, lv)?;
    session.attempt(&Command::change("/sbin/lvchange").args(["--setautoactivation", "n"]).operand(name));
    Ok(())
}

/// The logical volume that holds a snapshot.
pub(super) fn snapshot_lv(name: &BStr, snapshot: &BStr) -> BString {
    concat([b"snap_", name, b"_", snapshot])
}
