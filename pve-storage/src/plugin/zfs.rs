// SPDX-License-Identifier: MIT OR Apache-2.0
//! `zfspool`: volumes and file systems below a local ZFS dataset.

pub(super) mod dataset;

use std::io::{Read, Write};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{BASE_SNAPSHOT, ContentType, Digits, ImageFormat, StorageType, VolumeName, Wanted};

use dataset::Zfs;

use super::{Plugin, check_owner_prefix, concat, parse_as, states};
use crate::block_device::BlockDevice;
use crate::command::{Command, Effect, Streams};
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule};
use crate::host::FileKind;
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe, With};
use crate::session::{Cache, Session};
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

/// What `zfs` tells of the datasets of a storage, here or on the machine that serves them.
pub(crate) fn zfs_datasets(session: &Session<'_>, storage: &Storage) -> Result<BString> {
    let zfs = match storage.storage_type() {
        Some(StorageType::Zfs) => Zfs::remote(storage)?,
        _ => Zfs::local(storage),
    };
    Ok(zfs.datasets(session)?.stdout)
}

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

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        let pool = storage.require("pool")?;
        let below = concat([pool, b"/"]);
        let mounted = cache
            .mounts(session)?
            .iter()
            .any(|mount| mount.kind == "zfs" && (mount.source == pool || mount.source.starts_with(&below)));
        if mounted {
            return Ok(());
        }
        let zpool = pool.split_str("/").next().unwrap_or_default();
        if !is_imported(session, zpool)? {
            let command = Command::change("zpool")
                .args(["import", "-d", "/dev/disk/by-id/", "-o", "cachefile=none"])
                .operand(zpool)
                .timeout(session.limit(15, 3600));
            if let Err(error) = session.run(&command) {
                // somebody else may have been faster
                if !is_imported(session, zpool)? {
                    return Err(error);
                }
            }
        }
        let command = Command::change("zfs").args(["mount", "-a"]).timeout(session.limit(10, 3600));
        session.run(&command).map(drop)
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<Option<Status>> {
        Zfs::local(storage).status(session).map(Some)
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        Zfs::local(storage).list(session, wanted, listing)
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        if snapshot.is_some() {
            return Ok(());
        }
        let storage = volume.storage();
        if !volume.is_subvol() {
            return wait_for_device(session, storage, volume.name);
        }
        let dataset = Zfs::local(storage).dataset(volume.name)?;
        let command = Command::query("zfs")
            .args(["get", "-o", "value", "-Hp", "mounted"])
            .operand(&dataset)
            .timeout(session.limit(10, 3600));
        let output = session.run(&command)?;
        if output.stdout.trim_ascii() != b"yes" {
            let command = Command::change("zfs").arg("mount").operand(&dataset);
            session.run(&command.timeout(session.limit(10, 3600)))?;
        }
        Ok(())
    }

    fn allocate(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        request: &Allocation<'_>,
    ) -> Result<BString> {
        let zfs = Zfs::local(storage);
        let word = match request.format {
            ImageFormat::Raw => "vm",
            ImageFormat::Subvol => "subvol",
            format => {
                return Err(Error::Request {
                    volume: storage.id().as_str().into(),
                    reason: format!("format '{format}' is not possible, only raw and subvol"),
                });
            }
        };
        check_owner_prefix(request, word)?;
        let name = match request.name {
            Some(name) => name.to_owned(),
            None => zfs.free_name(session, request.owner, request.format)?,
        };
        if request.format == ImageFormat::Subvol {
            zfs.create_file_system(session, name.as_bstr(), request.size_kib)?;
        } else {
            zfs.create_volume(session, name.as_bstr(), request.size_kib)?;
            wait_for_device(session, storage, name.as_bstr())?;
        }
        Ok(name)
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        Zfs::local(volume.storage()).destroy(session, volume.name).map(|()| None)
    }

    fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        let name = Zfs::local(volume.storage()).clone_volume(session, volume, owner, snapshot)?;
        Ok(concat([volume.name, b"/", &name]))
    }

    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        let zfs = Zfs::local(volume.storage());
        if volume.is_base {
            return Err(volume.unsupported("become a base volume", "it is one already"));
        }
        let name = zfs.rename_to_base(session, volume)?;
        zfs.snapshot(session, name.as_bstr(), BStr::new(BASE_SNAPSHOT))?;
        Ok(with_base(volume, &name))
    }

    fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        let name = Zfs::local(volume.storage()).rename(session, volume, owner, name)?;
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
        if snapshot.is_some() {
            return Err(volume.unsupported("resize a snapshot", "it is read-only"));
        }
        Zfs::local(volume.storage()).resize(session, volume, size).map(drop)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        Zfs::local(volume.storage()).size_info(session, volume)
    }

    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Zfs::local(volume.storage()).snapshot(session, volume.name, snapshot)
    }

    fn check_rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Zfs::local(volume.storage()).check_rollback(session, volume, snapshot)
    }

    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Zfs::local(volume.storage()).rollback(session, volume.name, snapshot)
    }

    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        _running: bool,
    ) -> Result<()> {
        Zfs::local(volume.storage()).delete_snapshot(session, volume.name, snapshot)
    }

    fn snapshots(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        Zfs::local(volume.storage()).snapshots(session, volume.name)
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        let Some(snapshot) = transfer.snapshot.filter(|_| transfer.format == StreamFormat::Zfs) else {
            return Err(volume.unsupported("be exported", "only a snapshot can, as zfs stream"));
        };
        let zfs = Zfs::local(volume.storage());
        let mut command = Command::query("zfs").args(["send", "-RpvU"]);
        if let Some(base) = transfer.base {
            let option = if transfer.with == With::Nothing { "-i" } else { "-I" };
            command = command.arg(option).operand(base);
        }
        let source = zfs.dataset(&concat([volume.name, b"@", snapshot]))?;
        let command = command.arg("--").operand(source).progress();
        session.run_with(&command, Streams { input: None, output: Some(output) }).map(drop)
    }

    fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        let storage = volume.storage();
        if transfer.format != StreamFormat::Zfs {
            return Err(volume.unsupported("be imported", "only a zfs stream can"));
        }
        let zfs = Zfs::local(storage);
        let mut name = volume.name.to_owned();
        let mut dataset = zfs.dataset(&name)?;
        let base = transfer.base.map(|base| concat([&dataset, b"@", base]));
        match &base {
            Some(base) if !zfs.exists(session, base)? => return Err(Error::Missing(base.clone())),
            Some(_) => {}
            None if zfs.exists(session, &dataset)? => {
                if !transfer.allow_rename {
                    return Err(Error::Exists(dataset));
                }
                session.warn(format!("'{}' exists already, importing under another name", volume.volid()));
                let owner = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
                let format = if volume.is_subvol() { ImageFormat::Subvol } else { ImageFormat::Raw };
                name = zfs.free_name(session, owner, format)?;
                dataset = zfs.dataset(&name)?;
            }
            None => {}
        }
        let receive = zfs.program(session, Effect::Change, &["zfs", "recv", "-F", "-x", "encryption", "--"]);
        let receive = receive.operand(&dataset).without_timeout();
        let undo = match &base {
            Some(base) => Command::change("zfs").args(["rollback", "-r", "--"]).operand(base),
            None => Command::change("zfs").args(["destroy", "-r", "--"]).operand(&dataset),
        };
        session.undoing(
            || session.run_with(&receive, Streams { input: Some(input), output: None }),
            || session.run(&undo).map(drop),
        )?;
        Ok(with_base(volume, &name))
    }
}

/// The name behind the base of the source, if it has one.
pub(super) fn with_base(volume: &Volume<'_>, name: &BString) -> BString {
    match volume.base {
        Some(base) => concat([base.name, b"/", name]),
        None => name.clone(),
    }
}

/// Whether a pool is imported.
fn is_imported(session: &Session<'_>, zpool: &[u8]) -> Result<bool> {
    let command = Command::query("zpool")
        .args(["list", "-o", "name", "-H"])
        .operand(zpool)
        .timeout(session.limit(10, 3600));
    let output = session.ask(&command)?;
    Ok(output.succeeded() && output.stdout.contains_str(zpool))
}

/// Waits until the device of a volume appears.
fn wait_for_device(session: &Session<'_>, storage: &Storage, name: &BStr) -> Result<()> {
    let path = concat([b"/dev/zvol/", storage.require("pool")?, b"/", name]);
    let limit = session.limit(10, 300);
    let mut waited = Duration::ZERO;
    while session.kind(path.as_bstr()) != Some(FileKind::Block) {
        if session.host().is_rehearsal() {
            return Ok(());
        }
        if waited >= limit {
            return Err(Error::Activation { what: path, reason: format!("no device appeared in {limit:?}") });
        }
        let step = Duration::from_secs(1);
        session.host().sleep(step);
        waited += step;
    }
    Ok(())
}

/// Whether a dataset of this name is a file system (the root of a container).
pub(super) fn is_file_system(name: &BStr) -> bool {
    name.starts_with(b"subvol-") || name.starts_with(b"basevol-")
}
