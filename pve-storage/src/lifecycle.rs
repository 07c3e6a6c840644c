// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations of a session: what happens around each plugin's own part.

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, Owner, VolumeId, Wanted};

use crate::block_device::BlockDevice;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer};
use crate::plugin::{concat, free_name_among};
use crate::session::{Cache, Session, number};
use crate::storage::Storage;
use crate::volume::Volume;

/// Counts the events of devices that udev still has to work on.
const UEVENT_COUNTER: &str = "/sys/kernel/uevent_seqnum";

impl Session<'_> {
    // ---- storages

    /// The storage of this id, if it may be used on this node.
    ///
    /// # Errors
    /// If it does not exist, or is disabled or restricted to other nodes.
    pub fn enabled_storage(&self, id: &str) -> Result<&Storage> {
        let storage = self.storages().require(id)?;
        if storage.is_enabled_on(self.node()) {
            return Ok(storage);
        }
        Err(Error::NotEnabled { storage: storage.id().clone(), node: self.node().to_owned() })
    }

    /// Makes a storage usable: mounts it, logs in to it, activates its volume group.
    ///
    /// # Errors
    /// If it is not enabled here, not online, or cannot be activated.
    pub fn activate_storage(&self, id: &str) -> Result<()> {
        self.conclude(self.activate_with(id, &mut Cache::default()))
    }

    /// Makes storages usable, asking the system only once for what they have in common.
    ///
    /// # Errors
    /// As [`Session::activate_storage`]; the first failure ends it.
    pub fn activate_storages<'i>(&self, ids: impl IntoIterator<Item = &'i str>) -> Result<()> {
        let mut cache = Cache::default();
        self.conclude(ids.into_iter().try_for_each(|id| self.activate_with(id, &mut cache)))
    }

    fn activate_with(&self, id: &str, cache: &mut Cache) -> Result<()> {
        if self.assumes_active() {
            self.storages().require(id)?;
            return Ok(());
        }
        let storage = self.enabled_storage(id)?;
        if cache.activated.contains(storage.id()) {
            return Ok(());
        }
        if cache.events.is_none() {
            cache.events = Some(self.device_events());
        }
        if let Some(base) = storage.get("base") {
            let base = pve_volid::VolumeIdRef::from_bytes(base)?;
            self.activate_with(base.storage().as_str(), cache)?;
        }
        if !storage.plugin().check_connection(self, storage)? {
            return Err(Error::Offline(storage.id().clone()));
        }
        storage.plugin().activate_storage(self, storage, cache)?;
        let events = self.device_events();
        if cache.events.is_some_and(|before| events > before) {
            self.attempt(&Command::query("udevadm").args(["settle", "--timeout=30"]));
            cache.events = Some(events);
        }
        cache.activated.insert(storage.id().clone());
        Ok(())
    }

    fn device_events(&self) -> u64 {
        let counter = self.read(BStr::new(UEVENT_COUNTER)).ok().flatten();
        counter.and_then(|text| number(text.as_bstr())).unwrap_or(0)
    }

    /// Makes a storage unusable: unmounts it, logs out.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn deactivate_storage(&self, id: &str) -> Result<()> {
        let storage = self.storages().require(id)?;
        self.conclude(storage.plugin().deactivate_storage(self, storage, &mut Cache::default()))
    }

    /// The space of a storage; `None` if it cannot be told (not mounted, no such volume group).
    ///
    /// # Errors
    /// If asking fails in a way that is not simply "not there".
    pub fn status(&self, id: &str) -> Result<Option<Status>> {
        let storage = self.storages().require(id)?;
        storage.plugin().status(self, storage, &mut Cache::default())
    }

    // ---- volumes

    /// Makes volumes usable, with their storages.
    ///
    /// # Errors
    /// The first failure ends it.
    pub fn activate_volumes<V: AsRef<[u8]>>(
        &self,
        volids: &[V],
        snapshot: Option<&BStr>,
        hints: Hints,
    ) -> Result<()> {
        let mut cache = Cache::default();
        let mut body = || {
            for volid in volids {
                let id = pve_volid::VolumeIdRef::from_bytes(volid.as_ref())?;
                self.activate_with(id.storage().as_str(), &mut cache)?;
            }
            for volid in volids {
                self.with_volume(volid.as_ref().as_bstr(), |volume| {
                    volume.check_names(snapshot)?;
                    volume.storage().plugin().activate_volume(self, volume, snapshot, hints, &mut cache)
                })?;
            }
            Ok(())
        };
        self.conclude(body())
    }

    /// Takes volumes down; each is tried.
    ///
    /// # Errors
    /// All failures, after every volume was tried.
    pub fn deactivate_volumes<V: AsRef<[u8]>>(&self, volids: &[V], snapshot: Option<&BStr>) -> Result<()> {
        let mut cache = Cache::default();
        let mut errors = Vec::new();
        for volid in volids {
            let result = self.with_volume(volid.as_ref().as_bstr(), |volume| {
                volume.check_names(snapshot)?;
                volume.storage().plugin().deactivate_volume(self, volume, snapshot, &mut cache)
            });
            if let Err(error) = result {
                self.warn(error.to_string());
                errors.push(error);
            }
        }
        self.conclude(if errors.is_empty() { Ok(()) } else { Err(Error::Several(errors)) })
    }

    /// Where a volume is now; whatever must be asked for that is asked.
    ///
    /// # Errors
    /// If the type has no such path, or the answer cannot be had.
    pub fn path(&self, volid: &BStr, snapshot: Option<&BStr>) -> Result<BString> {
        self.with_volume(volid, |volume| self.path_of(volume, snapshot))
    }

    /// [`Session::path`] of a volume whose name is parsed.
    pub(crate) fn path_of(&self, volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<BString> {
        let facts = volume.storage().plugin().gather(self, volume, snapshot)?;
        volume.path(snapshot, &facts)
    }

    /// How QEMU finds a volume now.
    ///
    /// # Errors
    /// As [`Volume::block_device`].
    pub fn block_device(&self, volid: &BStr, snapshot: Option<&BStr>) -> Result<BlockDevice> {
        self.with_volume(volid, |volume| {
            let mut facts = volume.storage().plugin().gather(self, volume, snapshot)?;
            if let Ok(path) = volume.path(snapshot, &facts)
                && path.starts_with(b"/")
            {
                facts.file = self.kind(path.as_bstr());
            }
            volume.block_device(snapshot, &facts)
        })
    }

    /// Makes a volume appear as a device or file, and says where.
    ///
    /// # Errors
    /// If it cannot be mapped.
    pub fn map(&self, volid: &BStr, snapshot: Option<&BStr>, hints: Hints) -> Result<BString> {
        self.conclude(self.with_volume(volid, |volume| {
            volume.check_names(snapshot)?;
            volume.storage().plugin().map_volume(self, volume, snapshot, hints)
        }))
    }

    /// Takes back what [`Session::map`] did.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn unmap(&self, volid: &BStr, snapshot: Option<&BStr>) -> Result<()> {
        self.conclude(self.with_volume(volid, |volume| {
            volume.check_names(snapshot)?;
            volume.storage().plugin().unmap_volume(self, volume, snapshot)
        }))
    }

    /// Makes a new volume of `size_kib` KiB for guest `owner`. Without `format` it gets the storage's default,
    /// without `name` the next free name.
    ///
    /// # Errors
    /// If the name is taken or not allowed, or the storage refuses.
    pub fn allocate(
        &self,
        storage: &str,
        owner: impl Owner,
        format: Option<ImageFormat>,
        name: Option<&BStr>,
        size_kib: u64,
    ) -> Result<VolumeId> {
        let storage = self.storages().require(storage)?;
        let format = format.unwrap_or_else(|| storage.default_format());
        with_digits(owner, |owner| {
            let request = Allocation { owner, format, name, size_kib };
            self.conclude(self.change_storage(storage, || self.allocate_in(storage, &request)))
        })
    }

    /// The locked part of [`Session::allocate`].
    pub(crate) fn allocate_in(&self, storage: &Storage, request: &Allocation<'_>) -> Result<VolumeId> {
        if let Some(name) = request.name {
            check_component(name)?;
        }
        let volname = self.with_tight_mask(|| storage.plugin().allocate(self, storage, request))?;
        storage.volid(&volname)
    }

    /// The volume that [`Session::allocate`] would make next for guest `owner`, as far as the listing tells. Nothing keeps
    /// others from taking the name before it is used: what makes the volume looks again.
    ///
    /// # Errors
    /// If all names are taken, or the storage cannot be listed.
    pub fn free_volume(
        &self,
        storage: &str,
        owner: impl Owner,
        format: Option<ImageFormat>,
    ) -> Result<VolumeId> {
        let storage = self.storages().require(storage)?;
        let format = format.unwrap_or_else(|| storage.default_format());
        let mut listing = Listing::new();
        let plugin = storage.plugin();
        plugin.list_images(self, storage, Wanted::Everything, &mut listing, &mut Cache::default())?;
        let names = listing.images.iter().map(|image| image.volid.volname().as_bytes());
        with_digits(owner, |owner| {
            let name = free_name_among(storage, owner, Some(format), names)?;
            match plugin.content_directory(storage, ContentType::Images) {
                Ok(_) => storage.volid(&concat([owner.as_bstr(), b"/", &name])),
                Err(_) => storage.volid(&name),
            }
        })
    }

    /// Removes a volume. What has to be wiped is wiped before this returns, without the lock.
    ///
    /// # Errors
    /// If it is protected, or a linked clone depends on it, or the storage refuses.
    pub fn free(&self, volid: &BStr) -> Result<()> {
        let body = || {
            let (storage, name) = self.locate(volid)?;
            let wipe = self.change_storage(storage, || {
                let volume = named(storage, name, None)?;
                if volume.is_base {
                    self.refuse_base_in_use(&volume)?;
                }
                storage.plugin().free(self, &volume)
            })?;
            match wipe {
                Some(wipe) => self.job("imgdel", || storage.plugin().wipe(self, storage, &wipe)),
                None => Ok(()),
            }
        };
        self.conclude(body())
    }

    /// Fails if a linked clone of this base volume is listed.
    fn refuse_base_in_use(&self, base: &Volume<'_>) -> Result<()> {
        let storage = base.storage();
        let mut listing = Listing::new();
        let plugin = storage.plugin();
        plugin.list_images(self, storage, Wanted::Everything, &mut listing, &mut Cache::default())?;
        for image in &listing.images {
            let Ok(clone) = storage.volume(image.volid.volname()) else { continue };
            let uses =
                clone.base.is_some_and(|used| used.name == base.name && Some(used.owner) == base.owner);
            if uses {
                return Err(Error::InUse {
                    volume: base.volid(),
                    reason: format!("'{}' is a linked clone of it", image.volid),
                });
            }
        }
        Ok(())
    }

    /// Makes a linked clone of a base volume, or of a snapshot, for guest `owner`.
    ///
    /// # Errors
    /// If the type or the volume cannot be cloned.
    pub fn clone_volume(&self, volid: &BStr, owner: impl Owner, snapshot: Option<&BStr>) -> Result<VolumeId> {
        let clone = |owner: Digits<'_>| {
            let (storage, name) = self.locate(volid)?;
            let volname = self.change_storage(storage, || {
                let volume = named(storage, name, snapshot)?;
                storage.plugin().clone_volume(self, &volume, owner, snapshot)
            })?;
            storage.volid(&volname)
        };
        with_digits(owner, |owner| self.conclude(clone(owner)))
    }

    /// Turns a volume into a base volume: it gets a `base-` name and is never written again.
    ///
    /// # Errors
    /// If it is one already, or the type has none.
    pub fn create_base(&self, volid: &BStr) -> Result<VolumeId> {
        let create = || {
            let (storage, name) = self.locate(volid)?;
            let volname = self.change_storage(storage, || {
                let volume = named(storage, name, None)?;
                storage.plugin().create_base(self, &volume)
            })?;
            storage.volid(&volname)
        };
        self.conclude(create())
    }

    /// Gives a volume to guest `owner` under a new name, the next free one if none is given.
    ///
    /// # Errors
    /// If the name is taken, or the type cannot rename.
    pub fn rename(&self, volid: &BStr, owner: impl Owner, name: Option<&BStr>) -> Result<VolumeId> {
        let rename = |owner: Digits<'_>| {
            let (storage, old) = self.locate(volid)?;
            let volname = self.change_storage(storage, || {
                let volume = named(storage, old, None)?;
                name.map_or(Ok(()), check_component)?;
                storage.plugin().rename(self, &volume, owner, name)
            })?;
            storage.volid(&volname)
        };
        with_digits(owner, |owner| self.conclude(rename(owner)))
    }

    /// The storage and the name in a volume id. What changes names reads them under the lock.
    fn locate<'v>(&self, volid: &'v BStr) -> Result<(&Storage, &'v BStr)> {
        let id = pve_volid::VolumeIdRef::from_bytes(volid)?;
        Ok((self.storages().require(id.storage().as_str())?, id.volname()))
    }

    /// Activates a storage, then does something under its lock.
    fn change_storage<T>(&self, storage: &Storage, body: impl FnOnce() -> Result<T>) -> Result<T> {
        self.activate_with(storage.id().as_str(), &mut Cache::default())?;
        self.settle();
        self.locked(storage, body)
    }

    /// Grows a volume to `size` bytes, rounded up to a whole KiB. With `running` its guest runs and QEMU will do
    /// its part itself.
    ///
    /// # Errors
    /// If the type cannot resize, or refuses.
    pub fn resize(&self, volid: &BStr, snapshot: Option<&BStr>, size: u64, running: bool) -> Result<()> {
        let size = size.checked_next_multiple_of(1024).unwrap_or(size);
        self.conclude(self.with_volume(volid, |volume| {
            volume.check_names(snapshot)?;
            volume.storage().plugin().resize(self, volume, snapshot, size, running)
        }))
    }

    /// The size of a volume.
    ///
    /// # Errors
    /// If it is not there, or the answer cannot be understood.
    pub fn size_info(&self, volid: &BStr) -> Result<SizeInfo> {
        self.with_volume(volid, |volume| volume.storage().plugin().size_info(self, volume))
    }

    // ---- snapshots

    /// Makes a snapshot of a volume.
    ///
    /// # Errors
    /// If the type or format has none, or the name is taken.
    pub fn create_snapshot(&self, volid: &BStr, snapshot: &BStr) -> Result<()> {
        self.conclude(self.with_volume(volid, |volume| {
            volume.check_names(Some(snapshot))?;
            volume.storage().plugin().create_snapshot(self, volume, snapshot)
        }))
    }

    /// Whether a volume can go back to a snapshot.
    ///
    /// # Errors
    /// [`Error::RollbackBlocked`] names the newer snapshots that are in the way.
    pub fn check_rollback(&self, volid: &BStr, snapshot: &BStr) -> Result<()> {
        self.with_volume(volid, |volume| {
            volume.check_names(Some(snapshot))?;
            volume.storage().plugin().check_rollback(self, volume, snapshot)
        })
    }

    /// Takes a volume back to a snapshot; its present content is lost.
    ///
    /// # Errors
    /// As [`Session::check_rollback`], or if the storage refuses.
    pub fn rollback(&self, volid: &BStr, snapshot: &BStr) -> Result<()> {
        self.conclude(self.with_volume(volid, |volume| {
            volume.check_names(Some(snapshot))?;
            let plugin = volume.storage().plugin();
            plugin.check_rollback(self, volume, snapshot)?;
            plugin.rollback(self, volume, snapshot)
        }))
    }

    /// Removes a snapshot. With `running` the guest runs and QEMU has merged the data already.
    ///
    /// # Errors
    /// If there is none, or the storage refuses.
    pub fn delete_snapshot(&self, volid: &BStr, snapshot: &BStr, running: bool) -> Result<()> {
        self.conclude(self.with_volume(volid, |volume| {
            volume.check_names(Some(snapshot))?;
            volume.storage().plugin().delete_snapshot(self, volume, snapshot, running)
        }))
    }

    /// The snapshots of a volume.
    ///
    /// # Errors
    /// If they cannot be told.
    pub fn snapshots(&self, volid: &BStr) -> Result<Vec<SnapshotInfo>> {
        self.with_volume(volid, |volume| volume.storage().plugin().snapshots(self, volume))
    }

    // ---- transfer

    /// Writes a volume to a stream.
    ///
    /// # Errors
    /// If the format is not offered for this scope ([`Volume::export_formats`]), or reading fails.
    pub fn export(
        &self,
        volid: &BStr,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        self.conclude(self.with_volume(volid, |volume| {
            for snapshot in [transfer.snapshot, transfer.base].into_iter().flatten() {
                volume.check_names(Some(snapshot))?;
            }
            volume.storage().plugin().export(self, volume, transfer, output)
        }))
    }

    /// Makes a volume from a stream; it gets another name if `allow_rename` is set and the wanted one is taken.
    ///
    /// # Errors
    /// If the format is not taken, the name is taken, or the stream ends early; what was made is removed then.
    pub fn import(
        &self,
        volid: &BStr,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<VolumeId> {
        self.conclude(self.with_volume(volid, |volume| {
            for snapshot in [transfer.snapshot, transfer.base].into_iter().flatten() {
                volume.check_names(Some(snapshot))?;
            }
            let volname = volume.storage().plugin().import(self, volume, transfer, input)?;
            volume.storage().volid(&volname)
        }))
    }

    // ---- attributes

    /// The notes of a backup; `None` if it has none.
    ///
    /// # Errors
    /// If the type keeps no notes for such volumes.
    pub fn notes(&self, volid: &BStr) -> Result<Option<BString>> {
        self.with_volume(volid, |volume| volume.storage().plugin().notes(self, volume))
    }

    /// Sets the notes of a backup; empty ones are removed.
    ///
    /// # Errors
    /// If the type keeps no notes for such volumes.
    pub fn set_notes(&self, volid: &BStr, notes: &str) -> Result<()> {
        self.conclude(
            self.with_volume(volid, |volume| volume.storage().plugin().set_notes(self, volume, notes)),
        )
    }

    /// Whether a backup is protected against removal; `None` if the type knows no protection for it.
    ///
    /// # Errors
    /// If it cannot be told.
    pub fn protected(&self, volid: &BStr) -> Result<Option<bool>> {
        self.with_volume(volid, |volume| volume.storage().plugin().protected(self, volume))
    }

    /// Protects a backup against removal, or ends that.
    ///
    /// # Errors
    /// If the type knows no protection for it.
    pub fn set_protected(&self, volid: &BStr, protected: bool) -> Result<()> {
        self.conclude(
            self.with_volume(volid, |volume| {
                volume.storage().plugin().set_protected(self, volume, protected)
            }),
        )
    }
}

/// The volume of this name, which must not leave its directory.
fn named<'n>(storage: &'n Storage, name: &'n BStr, snapshot: Option<&BStr>) -> Result<Volume<'n>> {
    let volume = storage.volume(name)?;
    volume.check_names(snapshot)?;
    Ok(volume)
}

/// Calls with the number of a guest as names spell it: without leading zeros.
fn with_digits<T>(owner: impl Owner, body: impl FnOnce(Digits<'_>) -> Result<T>) -> Result<T> {
    let written = owner.to_string();
    let plain = written.trim_start_matches('0');
    let plain = if plain.is_empty() { "0" } else { plain };
    match Digits::new(plain.as_bytes()) {
        Some(digits) => body(digits),
        None => Err(pve_volid::IdError::VmId(written.into()).into()),
    }
}

/// Refuses a name that is more than one component of a path, or could be an option.
pub(crate) fn check_component(name: &BStr) -> Result<()> {
    let bad = name.is_empty()
        || matches!(&**name, b"." | b"..")
        || name.iter().any(|b| matches!(b, b'/' | 0 | b'\n'));
    if bad { Err(Error::Escapes(concat([name]))) } else { Ok(()) }
}
