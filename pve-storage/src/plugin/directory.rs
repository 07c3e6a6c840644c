// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storages that are a directory: `dir`, `nfs`, `cifs`, `cephfs`.

pub(super) mod activation;
pub(super) mod image;
pub(super) mod listing;
pub(super) mod notes;
pub(super) mod snapshot;
pub(super) mod transfer;

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, StorageType, VolumeName, VolumeType, Wanted};

use super::{Plugin, concat, parse_as, states, unsupported};
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, Refusal, SnapshotMethod, VolumeState, look_up};
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope, of_files};
use crate::volume::{Facts, Volume};

use ImageFormat::{Qcow2, Raw, Subvol, Vmdk};

/// `dir`, `nfs`, `cifs` or `cephfs`.
#[derive(Debug)]
pub(crate) struct Directory {
    pub(crate) kind: StorageType,
}

const FEATURES: &[FeatureRule] = &[
    FeatureRule::of(Feature::Snapshot, states::CURRENT_SNAPSHOT, &[Qcow2]),
    FeatureRule::of(Feature::Clone, states::BASE, &[Qcow2, Raw, Vmdk]),
    FeatureRule::of(Feature::Template, states::CURRENT, &[Qcow2, Raw, Vmdk, Subvol]),
    FeatureRule::of(Feature::Copy, states::BASE_CURRENT, &[Qcow2, Raw, Vmdk]),
    FeatureRule::of(Feature::Copy, states::SNAPSHOT, &[Qcow2]),
    FeatureRule::of(Feature::SparseInit, states::BASE_CURRENT, &[Qcow2, Raw, Vmdk]),
    FeatureRule::of(Feature::Rename, states::CURRENT, &[Qcow2, Raw, Vmdk]),
];

impl Plugin for Directory {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(self.kind, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        use ContentType as C;
        match self.kind {
            StorageType::CephFs => &[C::Backup, C::VzTmpl, C::Iso, C::Snippets, C::Import],
            _ => &[C::Images, C::RootDir, C::VzTmpl, C::Iso, C::Backup, C::Snippets, C::Import, C::None],
        }
    }

    fn default_content(&self) -> &'static [ContentType] {
        match self.kind {
            StorageType::CephFs => &[ContentType::Backup],
            StorageType::Dir => &[ContentType::Images, ContentType::RootDir],
            _ => &[ContentType::Images],
        }
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        self.kind.image_formats().to_vec()
    }

    fn always_shared(&self) -> bool {
        self.kind != StorageType::Dir
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn has_feature(
        &self,
        volume: &Volume<'_>,
        feature: Feature,
        state: VolumeState,
        targets: Option<&[ImageFormat]>,
    ) -> Result<(), Refusal> {
        clone_is_qcow2(feature, targets)?;
        let kind = volume.storage().type_name();
        look_up(FEATURES, kind, feature, state, volume.format.image(), &volume.format)
    }

    fn content_directory(&self, storage: &Storage, content: ContentType) -> Result<BString> {
        content_directory(storage, content)
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        match snapshot {
            None => file_path(volume, volume.name),
            Some(_) if !volume.is_qcow2() => {
                Err(volume.unsupported("name a snapshot", format!("format '{}' has none", volume.format)))
            }
            Some(snapshot) if volume.storage().has_volume_chains() => {
                snapshot::snapshot_file(volume, snapshot)
            }
            Some(_) => file_path(volume, volume.name),
        }
    }

    fn snapshot_method(&self, volume: &Volume<'_>) -> SnapshotMethod {
        match (volume.is_qcow2(), volume.storage().has_volume_chains()) {
            (false, _) => SnapshotMethod::Storage,
            (true, true) => SnapshotMethod::Mixed,
            (true, false) => SnapshotMethod::Qemu,
        }
    }

    fn export_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(export_formats(volume, scope))
    }

    fn import_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        if scope.base {
            return Ok(Vec::new());
        }
        Ok(of_files(volume.vtype, volume.format, scope.with_snapshots()))
    }

    fn check_connection(&self, session: &Session<'_>, storage: &Storage) -> Result<bool> {
        activation::check_connection(session, storage, self.kind)
    }

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        match activation::Remote::of(session, storage, self.kind)? {
            Some(remote) => remote.mount(session, cache)?,
            None => {
                activation::require_mount(session, storage, cache)?;
                activation::make_base(session, storage)?;
            }
        }
        activation::prepare(session, storage)
    }

    fn deactivate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        match activation::Remote::of(session, storage, self.kind)? {
            Some(remote) => remote.unmount(session, cache),
            None => Ok(()),
        }
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<Option<Status>> {
        let usable = match activation::Remote::of(session, storage, self.kind)? {
            Some(remote) => remote.is_mounted(session, cache)?,
            None => activation::is_mounted_as_wanted(session, storage, cache)?,
        };
        if usable { activation::space(session, storage) } else { Ok(None) }
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        listing::list(session, storage, wanted, listing)
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        require_path(session, volume, snapshot)
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
        image::free(session, volume).map(|()| None)
    }

    fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        image::clone_volume(session, volume, owner, snapshot)
    }

    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        image::create_base(session, volume)
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
        if snapshot.is_some() && !volume.storage().has_volume_chains() {
            return Err(volume.unsupported("resize a snapshot", "it is inside the image"));
        }
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
        transfer::import(session, volume, transfer, input)
    }

    fn notes(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<BString>> {
        notes::read(session, volume)
    }

    fn set_notes(&self, session: &Session<'_>, volume: &Volume<'_>, notes: &str) -> Result<()> {
        notes::write(session, volume, notes)
    }

    fn protected(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<bool>> {
        notes::protected(session, volume)
    }

    fn set_protected(&self, session: &Session<'_>, volume: &Volume<'_>, protected: bool) -> Result<()> {
        notes::set_protected(session, volume, protected)
    }
}

/// Fails if nothing stands at the path of a volume.
pub(super) fn require_path(
    session: &Session<'_>,
    volume: &Volume<'_>,
    snapshot: Option<&BStr>,
) -> Result<()> {
    let path = volume.path(snapshot, &Facts::default())?;
    if session.exists(path.as_bstr()) { Ok(()) } else { Err(Error::Missing(path)) }
}

/// A linked clone on a directory is always qcow2.
pub(super) fn clone_is_qcow2(feature: Feature, targets: Option<&[ImageFormat]>) -> Result<(), Refusal> {
    match targets {
        Some(targets) if feature == Feature::Clone && !targets.contains(&Qcow2) => {
            Err(Refusal::Target { result: Qcow2 })
        }
        _ => Ok(()),
    }
}

/// Stream formats of a file that is exported without help of the file system.
pub(super) fn export_formats(volume: &Volume<'_>, scope: TransferScope) -> Vec<StreamFormat> {
    if scope.snapshot || scope.base {
        return Vec::new();
    }
    of_files(volume.vtype, volume.format, scope.with_snapshots())
}

/// Where things of a content type lie: PATH `/` and the override or default (spec: storage.cfg, "Derived facts").
pub(super) fn content_directory(storage: &Storage, content: ContentType) -> Result<BString> {
    let default = match content {
        ContentType::Images => "images",
        ContentType::RootDir => "private",
        ContentType::Iso => "template/iso",
        ContentType::VzTmpl => "template/cache",
        ContentType::Backup => "dump",
        ContentType::Snippets => "snippets",
        ContentType::Import => "import",
        _ => return Err(unsupported(storage, "hold this content", format!("'{content}' has no directory"))),
    };
    let directory = storage.content_dir_override(content).unwrap_or(BStr::new(default));
    if leads_up(directory) {
        return Err(Error::Escapes(directory.to_owned()));
    }
    Ok(concat([storage_path(storage)?, b"/", directory]))
}

/// Whether a path leads to a directory above, or holds what no path can.
pub(super) fn leads_up(path: &[u8]) -> bool {
    path.contains(&0) || path.split_str("/").any(|part| part == b"..")
}

/// The path of the storage itself.
pub(super) fn storage_path(storage: &Storage) -> Result<&BStr> {
    let path = storage.require("path")?;
    if path.starts_with(b"/") { Ok(path) } else { Err(Error::Escapes(path.to_owned())) }
}

/// The directory that holds the images of a guest.
pub(super) fn images_directory(storage: &Storage, owner: &dyn std::fmt::Display) -> Result<BString> {
    let images = content_directory(storage, ContentType::Images)?;
    Ok(concat([&images, b"/", owner.to_string().as_bytes()]))
}

/// The file `name` beside (or in the place of) the volume's own.
pub(super) fn file_path(volume: &Volume<'_>, name: &[u8]) -> Result<BString> {
    let directory = match (volume.vtype, volume.owner) {
        (VolumeType::Images, Some(owner)) => images_directory(volume.storage(), &owner)?,
        (vtype, _) => content_directory(volume.storage(), vtype.into())?,
    };
    Ok(concat([&directory, b"/", name]))
}
