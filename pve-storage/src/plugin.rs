// SPDX-License-Identifier: MIT OR Apache-2.0
//! The interface of a storage type, and the built-in types.

mod btrfs;
mod builtin;
mod chain;
mod directory;
mod esxi;
mod iscsi;
pub mod lvm;
mod lvmthin;
pub mod pbs;
pub(crate) mod qemu_img;
mod rbd;
mod states;
mod unknown;
mod zfs;
mod zfs_iscsi;

use std::fmt;
use std::io::{Read, Write};

pub use builtin::builtin;
pub(crate) use builtin::{block_device_size, check_owner_prefix, free_name_among, kind_of, parse_as};
pub(crate) use iscsi::IscsiSession;
pub(crate) use lvm::{Lvs, VolumeGroup};
pub(crate) use rbd::rbd_images;
pub(crate) use zfs::zfs_datasets;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, VolumeName, VolumeType, Wanted};

use crate::block_device::BlockDevice;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, Refusal, SnapshotMethod, VolumeState, look_up};
use crate::host::FileKind;
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// A storage type: how its volumes are named, what they can do, and how they are made, changed and removed.
///
/// The first part is pure: it looks at names, values and [`Facts`] only. The second part changes things through the
/// [`Session`] alone, so that every operation can be planned, recorded and tested without the hardware.
///
/// What a type does not implement answers with [`Error::Unsupported`].
pub trait Plugin: fmt::Debug + Send + Sync {
    /// Reads a volume name.
    ///
    /// # Errors
    /// If it is none.
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>>;

    /// Content types that the property `content` may name.
    fn content(&self) -> &'static [ContentType];

    /// The content types of a storage that does not set `content`.
    fn default_content(&self) -> &'static [ContentType];

    /// Valid formats of new images, the default first; empty: `raw` alone.
    fn formats(&self, storage: &Storage) -> Vec<ImageFormat>;

    /// Whether volumes are seen by all nodes, whatever `shared` says.
    fn always_shared(&self) -> bool {
        false
    }

    /// Whether a listing by content shows all volumes as `images`, whatever the storage is used for.
    fn lists_always(&self) -> bool {
        false
    }

    /// What volumes can do.
    fn features(&self) -> &'static [FeatureRule];

    /// Whether a volume can do something; the default looks at the rows of [`Plugin::features`].
    ///
    /// # Errors
    /// Why not.
    fn has_feature(
        &self,
        volume: &Volume<'_>,
        feature: Feature,
        state: VolumeState,
        targets: Option<&[ImageFormat]>,
    ) -> Result<(), Refusal> {
        let _ = targets;
        let kind = volume.storage().type_name();
        look_up(self.features(), kind, feature, state, volume.format.image(), &volume.format)
    }

    /// The directory in which things of a content type lie; an error for types without such directories.
    ///
    /// # Errors
    /// If the type, or the content type, has none.
    fn content_directory(&self, storage: &Storage, content: ContentType) -> Result<BString> {
        let _ = content;
        Err(unsupported(storage, "have content directories", "volumes are not files"))
    }

    /// Where a volume is.
    ///
    /// # Errors
    /// If it has no such snapshot, or a fact is missing.
    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, facts: &Facts) -> Result<BString>;

    /// How QEMU finds a volume; the default takes a file or device at its path.
    ///
    /// # Errors
    /// If nothing is there.
    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        facts: &Facts,
    ) -> Result<BlockDevice> {
        let path = self.path(volume, snapshot, facts)?;
        if !path.starts_with(b"/") {
            return Err(volume.request(format!("no block driver is known for '{path}'")));
        }
        let driver = match facts.file {
            Some(FileKind::Block | FileKind::Character) => "host_device",
            Some(_) => "file",
            None => return Err(Error::Missing(path)),
        };
        if snapshot.is_some() && volume.is_qcow2() && !volume.storage().has_volume_chains() {
            return Err(volume.unsupported("attach a snapshot", "it is inside the image"));
        }
        Ok(BlockDevice::at_path(driver, path))
    }

    /// Who makes snapshots while the guest runs.
    fn snapshot_method(&self, volume: &Volume<'_>) -> SnapshotMethod {
        if volume.is_qcow2() { SnapshotMethod::Qemu } else { SnapshotMethod::Storage }
    }

    /// The stream formats of an export.
    ///
    /// # Errors
    /// If the type never exports.
    fn export_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        let _ = (volume, scope);
        Ok(Vec::new())
    }

    /// The stream formats of an import.
    ///
    /// # Errors
    /// If the type never imports.
    fn import_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        let _ = (volume, scope);
        Ok(Vec::new())
    }

    // ---- from here on with effects: storages

    /// Whether the storage can be reached; asked before activation.
    ///
    /// # Errors
    /// If asking fails in a way that tells more than "not online".
    fn check_connection(&self, session: &Session<'_>, storage: &Storage) -> Result<bool> {
        let _ = (session, storage);
        Ok(true)
    }

    /// Makes a storage usable.
    ///
    /// # Errors
    /// If it cannot be made so.
    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        let _ = (session, storage, cache);
        Ok(())
    }

    /// Makes a storage unusable.
    ///
    /// # Errors
    /// If the system refuses.
    fn deactivate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        let _ = (session, storage, cache);
        Ok(())
    }

    /// The space of a storage; `None` if it cannot be told.
    ///
    /// # Errors
    /// If asking fails.
    fn status(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<Option<Status>>;

    /// Disk images and container volumes, as the reference lists them, in no particular order.
    ///
    /// # Errors
    /// If the listing as a whole fails.
    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        cache: &mut Cache,
    ) -> Result<()>;

    /// Things of one content type other than images and container volumes, unsorted, without their `content`.
    ///
    /// The default lists the content directory, and nothing for types without one.
    ///
    /// # Errors
    /// If the listing as a whole fails.
    fn list_content(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        content: ContentType,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        cache: &mut Cache,
    ) -> Result<()> {
        let _ = cache;
        match (VolumeType::from_bytes(content.as_str().as_bytes()), self.content_directory(storage, content))
        {
            (Some(vtype), Ok(directory)) => {
                crate::content::list(session, storage, vtype, directory.as_bstr(), wanted, listing)
            }
            _ => Ok(()),
        }
    }

    // ---- volumes

    /// Finds the facts that [`Plugin::path`] needs of the running system.
    ///
    /// # Errors
    /// If they cannot be had.
    fn gather(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<Facts> {
        let _ = (session, volume, snapshot);
        Ok(Facts::default())
    }

    /// Makes a volume, or a snapshot of it, usable.
    ///
    /// # Errors
    /// If it cannot be made so.
    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        hints: Hints,
        cache: &mut Cache,
    ) -> Result<()> {
        let _ = (session, volume, snapshot, hints, cache);
        Ok(())
    }

    /// Takes a volume, or a snapshot of it, down.
    ///
    /// # Errors
    /// If the system refuses.
    fn deactivate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        cache: &mut Cache,
    ) -> Result<()> {
        let _ = (session, volume, snapshot, cache);
        Ok(())
    }

    /// Makes a volume appear as a device or file.
    ///
    /// # Errors
    /// If it cannot be mapped.
    fn map_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        hints: Hints,
    ) -> Result<BString> {
        let _ = hints;
        session.path_of(volume, snapshot)
    }

    /// Takes back what [`Plugin::map_volume`] did.
    ///
    /// # Errors
    /// If the system refuses.
    fn unmap_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<()> {
        let _ = (session, volume, snapshot);
        Ok(())
    }

    /// Makes a volume, under the storage's lock; returns its volume name.
    ///
    /// # Errors
    /// If the name is taken or not allowed, or the storage refuses.
    fn allocate(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        request: &Allocation<'_>,
    ) -> Result<BString> {
        let _ = (session, request);
        Err(unsupported(storage, "allocate volumes", "its volumes are made elsewhere"))
    }

    /// Removes a volume, under the lock. What is to be done without it is returned.
    ///
    /// # Errors
    /// If it may not be removed, or the storage refuses.
    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        let _ = session;
        Err(unsupported(volume.storage(), "free volumes", "its volumes are made elsewhere"))
    }

    /// Does what [`Plugin::free`] left to be done without the lock.
    ///
    /// # Errors
    /// If the storage refuses.
    fn wipe(&self, session: &Session<'_>, storage: &Storage, wipe: &Wipe) -> Result<()> {
        let _ = (session, storage, wipe);
        Ok(())
    }

    /// Makes a linked clone, under the lock; returns its volume name.
    ///
    /// # Errors
    /// If the type or the volume cannot be cloned.
    fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        let _ = (session, owner, snapshot);
        Err(unsupported(volume.storage(), "clone volumes", "it has no linked clones"))
    }

    /// Turns a volume into a base volume, under the lock; returns its new volume name.
    ///
    /// # Errors
    /// If it is one, or the type has none.
    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        let _ = session;
        Err(unsupported(volume.storage(), "make base volumes", "it has no linked clones"))
    }

    /// Renames a volume, under the lock; returns its new volume name.
    ///
    /// # Errors
    /// If the name is taken, or the type cannot rename.
    fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        let _ = (session, owner, name);
        Err(unsupported(volume.storage(), "rename volumes", "their names are given elsewhere"))
    }

    /// Grows a volume to `size` bytes.
    ///
    /// # Errors
    /// If the type cannot, or the storage refuses.
    fn resize(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        size: u64,
        running: bool,
    ) -> Result<()> {
        let _ = (session, snapshot, size, running);
        Err(unsupported(volume.storage(), "resize volumes", "their size is given elsewhere"))
    }

    /// The size of a volume.
    ///
    /// # Errors
    /// If it cannot be told.
    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo>;

    // ---- snapshots

    /// Makes a snapshot.
    ///
    /// # Errors
    /// If there are none for this volume, or the storage refuses.
    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let _ = (session, snapshot);
        Err(no_snapshots(volume.storage()))
    }

    /// Whether a volume can go back to a snapshot.
    ///
    /// # Errors
    /// Why not.
    fn check_rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let _ = (session, volume, snapshot);
        Ok(())
    }

    /// Takes a volume back to a snapshot.
    ///
    /// # Errors
    /// If there are none for this volume, or the storage refuses.
    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let _ = (session, snapshot);
        Err(no_snapshots(volume.storage()))
    }

    /// Removes a snapshot.
    ///
    /// # Errors
    /// If there is none, or the storage refuses.
    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        running: bool,
    ) -> Result<()> {
        let _ = (session, snapshot, running);
        Err(no_snapshots(volume.storage()))
    }

    /// The snapshots of a volume.
    ///
    /// # Errors
    /// If there are none for this type, or they cannot be told.
    fn snapshots(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        let _ = session;
        Err(no_snapshots(volume.storage()))
    }

    // ---- transfer

    /// Writes a volume to a stream.
    ///
    /// # Errors
    /// If the format is not offered, or reading fails.
    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        let _ = (session, transfer, output);
        Err(unsupported(volume.storage(), "export volumes", "no stream format is known for it"))
    }

    /// Makes a volume from a stream; returns its volume name.
    ///
    /// # Errors
    /// If the format is not taken, the name is taken, or writing fails.
    fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        let _ = (session, transfer, input);
        Err(unsupported(volume.storage(), "import volumes", "no stream format is known for it"))
    }

    // ---- attributes

    /// The notes of a backup.
    ///
    /// # Errors
    /// If the type keeps none for this volume.
    fn notes(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<BString>> {
        let _ = session;
        Err(unsupported(
            volume.storage(),
            "keep notes",
            "only backups have them, on storages that hold backups",
        ))
    }

    /// Sets the notes of a backup.
    ///
    /// # Errors
    /// If the type keeps none for this volume.
    fn set_notes(&self, session: &Session<'_>, volume: &Volume<'_>, notes: &str) -> Result<()> {
        let _ = notes;
        self.notes(session, volume).map(drop)
    }

    /// Whether a backup is protected; `None` if there is no such thing here.
    ///
    /// # Errors
    /// If it cannot be told.
    fn protected(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<bool>> {
        let _ = (session, volume);
        Ok(None)
    }

    /// Protects a backup, or ends that.
    ///
    /// # Errors
    /// If there is no such thing here.
    fn set_protected(&self, session: &Session<'_>, volume: &Volume<'_>, protected: bool) -> Result<()> {
        let _ = (session, protected);
        Err(unsupported(volume.storage(), "protect volumes", "only backups can be protected"))
    }
}

/// The error of a type that cannot do something.
pub(crate) fn unsupported(storage: &Storage, operation: &'static str, reason: impl Into<String>) -> Error {
    Error::Unsupported {
        storage: storage.id().clone(),
        kind: storage.type_name().to_owned(),
        operation,
        reason: reason.into(),
    }
}

/// The error of a type whose volumes have no snapshots.
pub(crate) fn no_snapshots(storage: &Storage) -> Error {
    unsupported(storage, "name a snapshot", "its volumes have none")
}

/// Puts bytes together.
pub(crate) fn concat<const N: usize>(parts: [&[u8]; N]) -> BString {
    let mut text = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        text.extend_from_slice(part);
    }
    text.into()
}

/// `server` as it stands in an address: IPv6 in brackets.
pub(crate) fn bracketed(server: &BStr) -> BString {
    if server.contains(&b':') && !server.starts_with(b"[") {
        concat([b"[", server, b"]"])
    } else {
        server.to_owned()
    }
}
