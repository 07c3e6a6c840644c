// SPDX-License-Identifier: MIT OR Apache-2.0
//! `btrfs`: a directory whose raw images and container roots are subvolumes.

mod stream;
mod subvolume;

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, StorageType, VolumeName, VolumeType, Wanted};

use super::directory::{self, content_directory, export_formats, file_path};
use super::{Plugin, concat, parse_as, states};
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule};
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::transfer::{Intermediate, StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

use ImageFormat::{Qcow2, Raw, Subvol, Vmdk};

/// `btrfs`.
#[derive(Debug)]
pub(crate) struct Btrfs;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::of(Feature::Snapshot, states::CURRENT_SNAPSHOT, &[Qcow2, Raw, Subvol]),
    FeatureRule::of(Feature::Clone, states::BASE, &[Qcow2, Raw, Subvol, Vmdk]),
    FeatureRule::of(Feature::Clone, states::CURRENT_SNAPSHOT, &[Raw]),
    FeatureRule::of(Feature::Template, states::CURRENT, &[Qcow2, Raw, Vmdk, Subvol]),
    FeatureRule::of(Feature::Copy, states::BASE_CURRENT, &[Qcow2, Raw, Vmdk, Subvol]),
    FeatureRule::of(Feature::Copy, states::SNAPSHOT, &[Qcow2, Raw, Subvol]),
    FeatureRule::of(Feature::SparseInit, states::BASE_CURRENT, &[Qcow2, Raw, Vmdk]),
    FeatureRule::of(Feature::Rename, states::CURRENT, &[Qcow2, Raw, Vmdk]),
];

impl Plugin for Btrfs {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Btrfs, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        use ContentType as C;
        &[C::Images, C::RootDir, C::VzTmpl, C::Iso, C::Backup, C::Snippets, C::Import, C::None]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        StorageType::Btrfs.image_formats().to_vec()
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn content_directory(&self, storage: &Storage, content: ContentType) -> Result<BString> {
        content_directory(storage, content)
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        match subvolume(volume, snapshot)? {
            Some(path) if volume.is_subvol() => Ok(path),
            Some(path) => Ok(concat([&path, b"/disk.raw"])),
            None => file_path(volume, volume.name),
        }
    }

    fn export_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(stream_formats(volume, scope))
    }

    fn import_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(stream_formats(volume, scope))
    }

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        directory::activation::make_base(session, storage)?;
        directory::activation::require_mount(session, storage, cache)?;
        let path = directory::storage_path(storage)?;
        if session.host().file_system_magic(path) != Some(BTRFS_MAGIC) {
            return Err(Error::Activation {
                what: storage.id().as_str().into(),
                reason: format!("'{path}' is not on btrfs"),
            });
        }
        directory::activation::prepare(session, storage)
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<Option<Status>> {
        if directory::activation::is_mounted_as_wanted(session, storage, cache)? {
            directory::activation::space(session, storage)
        } else {
            Ok(None)
        }
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        directory::listing::list(session, storage, wanted, listing)
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        directory::require_path(session, volume, snapshot)
    }

    fn allocate(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        request: &Allocation<'_>,
    ) -> Result<BString> {
        match request.format {
            Raw | Subvol => subvolume::allocate(session, storage, request),
            _ => directory::image::allocate(session, storage, request),
        }
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        match subvolume(volume, None)? {
            Some(path) => subvolume::free(session, &path)?,
            None => directory::image::free(session, volume)?,
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
        match subvolume(volume, None)? {
            Some(path) => subvolume::clone_volume(session, volume, &path, owner),
            None => directory::image::clone_volume(session, volume, owner, snapshot),
        }
    }

    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        match subvolume(volume, None)? {
            Some(path) => subvolume::create_base(session, volume, &path),
            None => directory::image::create_base(session, volume),
        }
    }

    fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        match subvolume(volume, None)? {
            Some(path) => subvolume::rename(session, volume, path, owner, name),
            None => directory::image::rename(session, volume, owner, name),
        }
    }

    fn resize(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        size: u64,
        running: bool,
    ) -> Result<()> {
        if snapshot.is_some() {
            return Err(volume.unsupported("resize a snapshot", "it is read-only"));
        }
        let path = self.path(volume, None, &Facts::default())?;
        directory::image::resize(session, volume, path.as_bstr(), size, running)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        let path = self.path(volume, None, &Facts::default())?;
        let format = directory::image::measured_format(volume);
        super::qemu_img::require_size(session, path.as_bstr(), format, None)
    }

    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        match subvolume(volume, None)? {
            Some(path) => subvolume::snapshot(session, &path, snapshot),
            None => directory::snapshot::create(session, volume, snapshot),
        }
    }

    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        match subvolume(volume, None)? {
            Some(path) => subvolume::rollback(session, &path, snapshot),
            None => directory::snapshot::rollback(session, volume, snapshot),
        }
    }

    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        running: bool,
    ) -> Result<()> {
        match subvolume(volume, Some(snapshot))? {
            Some(path) => subvolume::delete(session, &path),
            None => directory::snapshot::delete(session, volume, snapshot, running),
        }
    }

    fn snapshots(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        match subvolume(volume, None)? {
            Some(path) => subvolume::snapshots(session, &path),
            None => directory::snapshot::list(session, volume),
        }
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        match transfer.format {
            StreamFormat::Btrfs => stream::export(session, volume, transfer, output),
            _ => directory::transfer::export(session, volume, transfer, output),
        }
    }

    fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        match transfer.format {
            StreamFormat::Btrfs => stream::import(session, volume, transfer, input),
            _ => directory::transfer::import(session, volume, transfer, input),
        }
    }

    fn notes(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<BString>> {
        directory::notes::read(session, volume)
    }

    fn set_notes(&self, session: &Session<'_>, volume: &Volume<'_>, notes: &str) -> Result<()> {
        directory::notes::write(session, volume, notes)
    }

    fn protected(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<bool>> {
        directory::notes::protected(session, volume)
    }

    fn set_protected(&self, session: &Session<'_>, volume: &Volume<'_>, protected: bool) -> Result<()> {
        directory::notes::set_protected(session, volume, protected)
    }
}

/// What `statfs` tells of a btrfs.
const BTRFS_MAGIC: u64 = 0x9123_683e;

fn stream_formats(volume: &Volume<'_>, scope: TransferScope) -> Vec<StreamFormat> {
    let mut formats = export_formats(volume, scope);
    let subvolume = matches!(volume.format.image(), Some(Raw | Subvol));
    if scope.snapshot && subvolume && !(scope.base && scope.with == Intermediate::All) {
        formats.insert(0, StreamFormat::Btrfs);
    }
    formats
}

/// The subvolume of an image or of one of its snapshots; `None` if the volume is an ordinary file.
pub(super) fn subvolume(volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<Option<BString>> {
    let name = match (volume.vtype, volume.format.image()) {
        (VolumeType::Images, Some(Raw)) => volume.name.strip_suffix(b".raw").unwrap_or(volume.name),
        (VolumeType::Images, Some(Subvol)) => volume.name.as_bytes(),
        _ => return Ok(None),
    };
    let path = file_path(volume, name)?;
    Ok(Some(match snapshot {
        Some(snapshot) => concat([&path, b"@", snapshot]),
        None => path,
    }))
}
