// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on storages: listings by content, over several storages, and the way from a path back to a volume id.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{
    ContentFile, ContentType, Digits, StorageIdRef, VolumeId, VolumeIdRef, VolumeType, Wanted, WantedNames,
};

use crate::error::Result;
use crate::listing::{Image, Listing};
use crate::plugin::concat;
use crate::session::{Cache, Session};
use crate::storage::Storage;

/// Content types of a listing that asks for no particular one, in this order.
const EVERY_CONTENT: [ContentType; 7] = [
    ContentType::RootDir,
    ContentType::Images,
    ContentType::VzTmpl,
    ContentType::Iso,
    ContentType::Backup,
    ContentType::Snippets,
    ContentType::Import,
];

/// Types of volumes that are files of their own, in the order in which a path is looked up.
const FILES: [VolumeType; 5] =
    [VolumeType::Iso, VolumeType::VzTmpl, VolumeType::Backup, VolumeType::Snippets, VolumeType::Import];

impl Session<'_> {
    /// The disk images and container volumes of a storage that are wanted, as the reference lists them; in no
    /// particular order.
    ///
    /// # Errors
    /// If the listing as a whole fails.
    pub fn images(&self, storage: &str, wanted: Wanted<'_>) -> Result<Vec<Image>> {
        let storage = self.storages().require(storage)?;
        let mut listing = Listing::new();
        storage.plugin().list_images(self, storage, wanted, &mut listing, &mut Cache::default())?;
        Ok(listing.images)
    }

    /// Everything on a storage, whatever its `content` says: what is listed, and what is hidden with the reason.
    ///
    /// # Errors
    /// If the listing as a whole fails.
    pub fn survey(&self, storage: &str) -> Result<Listing> {
        let storage = self.storages().require(storage)?;
        let (plugin, mut cache) = (storage.plugin(), Cache::default());
        let mut listing = Listing::explaining();
        plugin.list_images(self, storage, Wanted::Everything, &mut listing, &mut cache)?;
        for content in EVERY_CONTENT.into_iter().filter(|content| !is_disk(*content)) {
            plugin.list_content(self, storage, content, Wanted::Everything, &mut listing, &mut cache)?;
        }
        Ok(listing)
    }

    /// The volumes of a storage by content (spec: volumes, "Volumes by content"): those of one content type, or of
    /// all that the storage is used for; of one guest, or of all. Disks of `containers` (their numbers) are
    /// `rootdir`. Sorted by volume
    /// id, letters compared in lower case.
    ///
    /// # Errors
    /// If the storage cannot be activated, or a listing as a whole fails.
    pub fn volumes(
        &self,
        storage: &str,
        wanted: Wanted<'_>,
        content: Option<ContentType>,
        containers: &BTreeSet<u64>,
    ) -> Result<Vec<Image>> {
        let asked: &[ContentType] = content.as_ref().map_or(&EVERY_CONTENT, std::slice::from_ref);
        let used = self.storages().require(storage)?;
        let types: Vec<ContentType> = asked
            .iter()
            .copied()
            .filter(|content| used.plugin().lists_always() || used.has_content(*content))
            .collect();
        self.activate_storage(storage)?;
        let (plugin, mut cache) = (used.plugin(), Cache::default());
        let mut found = Vec::new();
        let disks = types.iter().any(|content| is_disk(*content));
        if disks || plugin.lists_always() {
            let mut listing = Listing::new();
            plugin.list_images(self, used, wanted, &mut listing, &mut cache)?;
            found = listing.images;
            found.retain_mut(|image| {
                let content = disk_content(image, containers);
                image.content = Some(content);
                plugin.lists_always() || types.contains(&content)
            });
        }
        for content in types.into_iter().filter(|content| !is_disk(*content)) {
            let mut listing = Listing::new();
            plugin.list_content(self, used, content, wanted, &mut listing, &mut cache)?;
            found.extend(listing.images.into_iter().map(|image| Image { content: Some(content), ..image }));
        }
        sort(&mut found);
        Ok(found)
    }

    /// The disks of all storages that hold disks (`images` or `rootdir`), or of one; all of the storages are
    /// activated before. `content` narrows the storages down to those that are used for it.
    ///
    /// # Errors
    /// If the storage asked for is not enabled here, one cannot be activated, or a listing fails.
    pub fn disks(
        &self,
        storage: Option<&str>,
        wanted: &DisksWanted<'_>,
        content: Option<ContentType>,
    ) -> Result<BTreeMap<String, Vec<Image>>> {
        if let Some(id) = storage {
            self.enabled_storage(id)?;
        }
        let named: Option<BTreeSet<&str>> = match wanted {
            DisksWanted::These(volids) => Some(volids.iter().map(|volid| volid.storage().as_str()).collect()),
            _ => None,
        };
        let usable = |candidate: &&Storage| {
            let id = candidate.id().as_str();
            let holds =
                candidate.has_content(ContentType::Images) || candidate.has_content(ContentType::RootDir);
            let asked = match &named {
                Some(named) => named.contains(id),
                None => storage.is_none_or(|wanted| wanted == id) && holds,
            };
            asked
                && candidate.is_enabled_on(self.node())
                && content.is_none_or(|content| named.is_some() || candidate.has_content(content))
        };
        let asked: Vec<&Storage> = self.storages().iter().filter(usable).collect();
        self.activate_storages(asked.iter().map(|storage| storage.id().as_str()))?;
        let mut found: BTreeMap<String, Vec<Image>> = BTreeMap::new();
        if let Some(id) = storage {
            found.insert(id.to_owned(), Vec::new());
        }
        let mut cache = Cache::default();
        for storage in asked {
            let mut listing = Listing::new();
            let names = wanted.names(storage.id().borrowed());
            let here = match (&names, wanted) {
                (Some(names), _) => Wanted::Names(names),
                (None, DisksWanted::Guest(owner)) => Wanted::Guest(*owner),
                (None, _) => Wanted::Everything,
            };
            storage.plugin().list_images(self, storage, here, &mut listing, &mut cache)?;
            sort(&mut listing.images);
            found.insert(storage.id().as_str().to_owned(), listing.images);
        }
        Ok(found)
    }

    /// The volume at a path, with its type; `None` if no storage shows one there (spec: volumes, "path -> volume
    /// id"). A volume id of a path-based storage is its own answer.
    ///
    /// Storages are asked in ascending order of their ids; it matters only where directories overlap.
    ///
    /// # Errors
    /// If the argument is a volume id whose name its storage refuses, or a listing fails.
    pub fn volume_at(&self, path: &BStr) -> Result<Option<(VolumeType, VolumeId)>> {
        if let Ok(id) = VolumeIdRef::from_bytes(path) {
            let storage = self.storages().get(id.storage().as_str());
            return match storage.filter(|storage| is_path_based(storage)) {
                Some(storage) => {
                    Ok(Some((storage.volume(id.volname())?.vtype, storage.volid(id.volname())?)))
                }
                None => Ok(None),
            };
        }
        let path = self.host().real_path(path).unwrap_or_else(|| path.to_owned());
        let mut storages: Vec<&Storage> =
            self.storages().iter().filter(|storage| is_path_based(storage)).collect();
        storages.sort_by(|one, other| one.id().cmp(other.id()));
        for storage in storages {
            if let Some(found) = self.volume_of(storage, &path)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The volume of one storage at a path.
    fn volume_of(&self, storage: &Storage, path: &BString) -> Result<Option<(VolumeType, VolumeId)>> {
        let below = |content: ContentType| -> Result<Option<&[u8]>> {
            let directory = storage.plugin().content_directory(storage, content)?;
            Ok(path.strip_prefix(directory.as_bytes()).and_then(|rest| rest.strip_prefix(b"/")))
        };
        if let Some((owner, file)) = below(ContentType::Images)?.and_then(|rest| rest.split_once_str("/"))
            && let Some(owner) = Digits::new(owner)
            && !file.is_empty()
            && !file.iter().any(|byte| *byte == b'/' || byte.is_ascii_whitespace() || *byte == b'\x0b')
        {
            let mut listing = Listing::new();
            let plugin = storage.plugin();
            plugin.list_images(self, storage, Wanted::Guest(owner), &mut listing, &mut Cache::default())?;
            for image in listing.images {
                let volume = storage.volume(image.volid.volname())?;
                if self.path_of(&volume, None)? == *path {
                    return Ok(Some((VolumeType::Images, image.volid)));
                }
            }
            return Ok(None);
        }
        for vtype in FILES {
            // what a listing would leave out for its dot is found here
            let Some(file) = below(vtype.into())? else { continue };
            let volname = concat([vtype.as_str().as_bytes(), b"/", file]);
            let named = storage.volume(&volname).is_ok_and(|volume| volume.vtype == vtype);
            let spaced = vtype == VolumeType::Import && ContentFile::judge(vtype, file, None).is_err();
            if named && !spaced {
                return Ok(Some((vtype, storage.volid(&volname)?)));
            }
        }
        Ok(None)
    }
}

/// Which disks of all storages are asked for.
#[derive(Debug, Clone, Copy, Default)]
pub enum DisksWanted<'a> {
    /// All.
    #[default]
    All,
    /// Those of a guest.
    Guest(Digits<'a>),
    /// These, on the storages that they name.
    These(&'a [VolumeId]),
}

impl DisksWanted<'_> {
    fn names(&self, storage: StorageIdRef<'_>) -> Option<WantedNames> {
        match self {
            DisksWanted::These(volids) => {
                Some(WantedNames::on(storage, volids.iter().map(VolumeId::borrowed)))
            }
            _ => None,
        }
    }
}

/// Whether content of this type is among the disks.
fn is_disk(content: ContentType) -> bool {
    matches!(content, ContentType::Images | ContentType::RootDir)
}

/// What a disk is used for: the owner's number counts as written, so that `0100` is nobody's.
fn disk_content(image: &Image, containers: &BTreeSet<u64>) -> ContentType {
    let digits = image.owner.as_ref().filter(|owner| !owner.starts_with(b"0"));
    match digits.and_then(|owner| Digits::new(owner)?.number()) {
        Some(owner) if containers.contains(&owner) => ContentType::RootDir,
        _ => ContentType::Images,
    }
}

fn is_path_based(storage: &Storage) -> bool {
    storage.plugin().content_directory(storage, ContentType::Images).is_ok()
}

/// By volume id, letters compared in lower case; equal ones stay as they are. Most tools list in this order anyway.
fn sort(images: &mut [Image]) {
    fn letters(image: &Image) -> impl Iterator<Item = u8> {
        image.volid.as_bstr().iter().map(u8::to_ascii_lowercase)
    }
    if !images.is_sorted_by(|one, next| letters(one).le(letters(next))) {
        images.sort_by_cached_key(|image| image.volid.as_bstr().to_ascii_lowercase());
    }
}
