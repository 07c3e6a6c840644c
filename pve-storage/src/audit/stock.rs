// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that was reported, as items on places that are the same for all storages and nodes that share them.

use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::inventory::Inventory;
use pve_config::storage::Storage;
use pve_volid::{
    ContentFile, ContentType, ImageFile, ImageFormat, Invisible, LvLine, LvmFilter, LvmThinFilter, RbdFilter,
    RbdImage, StorageType, VolumeType, Wanted, ZfsDataset, ZfsFilter,
};
use serde::Deserialize;

use super::report::{FileReport, ImageReport, NodeReport, ReportError, StorageReport};
use crate::host::FileKind;
use crate::listing::Listing;

/// What an image is based on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Backing {
    /// Nobody asked: what the configuration says must do.
    #[default]
    Unknown,
    Nothing,
    /// On the thing of this name on the same place.
    Here(BString),
    /// On something else; whether that is there, if somebody looked.
    Elsewhere {
        file: BString,
        exists: Option<bool>,
    },
}

/// A backend, and the node unless it is shared, with what is there.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub(super) node: Option<String>,
    pub(super) present: HashMap<BString, Backing>,
}

/// One thing that a tool reported.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: usize,
    /// The storage, as an index.
    pub(super) storage: usize,
    /// Name on the storage: of an image in a directory `VMID/FILE`, of other files `content/FILE`.
    pub(super) name: BString,
    pub(super) size: Option<u64>,
    pub(super) verdict: Verdict,
    /// Why it cannot be read.
    pub(super) complaint: Option<String>,
}

/// What the listing makes of a thing.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An image of this owner.
    Image {
        owner: BString,
    },
    /// A backup; the owner and whether the name can be read.
    Backup {
        owner: Option<BString>,
        readable: bool,
    },
    /// A file of other content, a LUN.
    Other,
    Invisible(Invisible),
}

/// A storage with what is asked of it often.
pub(super) struct Known<'c> {
    pub(super) storage: Storage<'c>,
    pub(super) id: &'c str,
    pub(super) kind: StorageType,
    /// Its places by node; under the empty name that of a shared one.
    places: HashMap<String, usize>,
    shared: bool,
}

impl Known<'_> {
    /// Whether the node takes part in its place.
    pub(super) fn node<'n>(&self, node: &'n str) -> Option<&'n str> {
        (!self.shared).then_some(node)
    }
}

/// All that was reported, each thing once a storage.
#[derive(Default)]
pub(super) struct Stock<'c> {
    pub(super) storages: Vec<Known<'c>>,
    pub(super) places: Vec<Place>,
    pub(super) items: Vec<Item>,
    /// Why a storage said nothing, by its id and, unless it is shared, the node.
    pub(super) silent: BTreeMap<(String, Option<String>), String>,
    ids: HashMap<&'c str, usize>,
}

impl<'c> Stock<'c> {
    pub(super) fn take(cluster: &'c Inventory<'c>, reports: &[NodeReport]) -> Result<Self, ReportError> {
        let mut stock = Stock::default();
        for storage in cluster.storages.storages() {
            let id = storage.id().as_str();
            stock.ids.insert(id, stock.storages.len());
            let (kind, shared) = (storage.kind(), storage.is_shared());
            stock.storages.push(Known { storage, id, kind, places: HashMap::new(), shared });
        }
        let mut backends: HashMap<(BString, Option<String>), usize> = HashMap::new();
        let mut seen: Vec<HashSet<BString>> = Vec::new();
        for report in reports {
            for index in 0..stock.storages.len() {
                stock.read_storage(index, report, &mut backends, &mut seen)?;
            }
        }
        Ok(stock)
    }

    fn read_storage(
        &mut self,
        index: usize,
        report: &NodeReport,
        backends: &mut HashMap<(BString, Option<String>), usize>,
        seen: &mut Vec<HashSet<BString>>,
    ) -> Result<(), ReportError> {
        let Some(known) = self.storages.get(index).filter(|known| known.storage.is_enabled_on(&report.node))
        else {
            return Ok(());
        };
        let node = known.node(&report.node).map(ToOwned::to_owned);
        if let Some(reason) = report.silent.get(known.id) {
            self.silent.insert((known.id.to_owned(), node), reason.clone());
            return Ok(());
        }
        let mut reader = Reader::new(&known.storage, report);
        match reader.read()? {
            Reported::Yes => {}
            Reported::No => return Ok(()),
            Reported::Gone(reason) => {
                self.silent.insert((known.id.to_owned(), node), reason);
                return Ok(());
            }
        }
        let found = reader.found;
        let twin = report.same.get(known.id).and_then(|twin| self.get(twin)).unwrap_or(known);
        let node = twin.node(&report.node).map(ToOwned::to_owned);
        let key = known.node(&report.node).unwrap_or_default().to_owned();
        let place = *backends.entry((backend(&twin.storage), node.clone())).or_insert(self.places.len());
        if place == self.places.len() {
            self.places.push(Place { node, present: HashMap::new() });
        }
        // things that this storage told of already, from another node
        let again = known.places.contains_key(&key);
        if let Some(known) = self.storages.get_mut(index) {
            known.places.insert(key, place);
        }
        if seen.len() <= index {
            seen.resize_with(index + 1, HashSet::new);
        }
        let (Some(told), Some(there)) = (seen.get_mut(index), self.places.get_mut(place)) else {
            return Ok(());
        };
        if !again {
            told.clear();
        }
        for Found { name, size, verdict, backing, complaint } in found {
            let is_there = verdict != Verdict::Invisible(Invisible::Dangling);
            if is_there && (backing != Backing::Unknown || !there.present.contains_key(&name)) {
                there.present.insert(name.clone(), backing);
            }
            if told.insert(name.clone()) {
                self.items.push(Item { place, storage: index, name, size, verdict, complaint });
            }
        }
        Ok(())
    }

    /// The storage of this id.
    pub(super) fn get(&self, id: &str) -> Option<&Known<'c>> {
        self.storages.get(*self.ids.get(id)?)
    }

    /// The place of a storage as seen from a node, if something was reported of it.
    pub(super) fn place(&self, known: &Known<'_>, node: &str) -> Option<usize> {
        known.places.get(known.node(node).unwrap_or_default()).copied()
    }

    /// The place and name of what lies at a path of a node.
    pub(super) fn at_path(&self, path: &[u8], node: &str) -> Option<(&Known<'c>, usize, BString)> {
        let known = self.storages.iter().filter(|known| known.storage.is_enabled_on(node));
        known
            .filter_map(|known| Some((known, self.place(known, node)?, name_at(&known.storage, path)?)))
            .max_by_key(|(_, place, name)| {
                self.places.get(*place).is_some_and(|place| place.present.contains_key(name))
            })
    }
}

/// What tells one backend from another: storages with the same are seen twice.
fn backend(storage: &Storage<'_>) -> BString {
    let keys: &[&str] = match storage.kind() {
        StorageType::Lvm | StorageType::LvmThin => &["vgname"],
        StorageType::ZfsPool => &["pool"],
        StorageType::Zfs => &["portal", "pool"],
        StorageType::Rbd => &["monhost", "pool", "data-pool", "namespace"],
        StorageType::Nfs => &["server", "export", "subdir"],
        StorageType::Cifs => &["server", "share", "subdir"],
        StorageType::CephFs => &["monhost", "fs-name", "subdir"],
        StorageType::Iscsi | StorageType::IscsiDirect => &["portal", "target"],
        StorageType::Pbs => &["server", "port", "datastore", "namespace"],
        StorageType::Esxi => &["server"],
        _ => &["path"],
    };
    let family = match storage.kind() {
        StorageType::LvmThin => StorageType::Lvm.as_str(),
        StorageType::Btrfs => StorageType::Dir.as_str(),
        kind => kind.as_str(),
    };
    let mut backend = BString::from(family);
    for key in keys {
        backend.push(b'\0');
        let value = storage.text(key).unwrap_or_default();
        match *key {
            "monhost" => backend.extend_from_slice(&monitors(value).join(&b',')),
            "pool" if value.is_empty() => backend.extend_from_slice(b"rbd"),
            _ => backend.extend_from_slice(value.trim_end_with(|c| c == '/')),
        }
    }
    backend
}

/// The monitors of a Ceph cluster, sorted.
pub(super) fn monitors(list: &BStr) -> Vec<&[u8]> {
    let separator = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b';' | 0);
    let mut hosts: Vec<&[u8]> = list.split(separator).filter(|host| !host.is_empty()).collect();
    hosts.sort_unstable();
    hosts
}

/// The name on the storage of what lies at a path, if that is a place where the storage keeps volumes.
fn name_at(storage: &Storage<'_>, path: &[u8]) -> Option<BString> {
    let below = |directory: &[&[u8]]| {
        let name = path.strip_prefix(directory.concat().as_slice())?.strip_prefix(b"/")?;
        (!name.is_empty()).then(|| BString::from(name))
    };
    let text = |key: &str| storage.text(key).unwrap_or_default().as_bytes();
    let plain = |name: &BString| !name.contains(&b'/');
    match storage.kind() {
        StorageType::Lvm | StorageType::LvmThin => {
            let group = text("vgname");
            below(&[b"/dev/", group]).filter(plain).or_else(|| {
                // device-mapper doubles the dashes of both names
                let name = path.strip_prefix(b"/dev/mapper/")?;
                let name = name.strip_prefix(group.replace("-", "--").as_slice())?.strip_prefix(b"-")?;
                Some(name.replace("--", "-").into())
            })
        }
        StorageType::ZfsPool => below(&[b"/dev/zvol/", text("pool")])
            .or_else(|| below(&[b"/dev/", text("pool")]))
            .or_else(|| {
                below(&[match text("mountpoint") {
                    b"" => [b"/", text("pool")].concat(),
                    point => point.to_vec(),
                }
                .as_slice()])
            })
            .filter(plain),
        StorageType::Rbd => {
            let pool = if text("pool").is_empty() { b"rbd" } else { text("pool") };
            let namespace = match text("namespace") {
                b"" => Vec::new(),
                namespace => [b"/", namespace].concat(),
            };
            below(&[b"/dev/rbd/", pool, &namespace]).filter(plain)
        }
        StorageType::Iscsi | StorageType::IscsiDirect | StorageType::Zfs => None,
        kind if kind.is_path_based() => [
            ContentType::Images,
            ContentType::Iso,
            ContentType::VzTmpl,
            ContentType::Backup,
            ContentType::Snippets,
            ContentType::Import,
        ]
        .into_iter()
        .find_map(|content| {
            let name = below(&[&storage.content_dir(content)?])?;
            let inner = name.strip_suffix(b"/disk.raw").filter(|_| kind == StorageType::Btrfs);
            Some(match content {
                ContentType::Images => inner.map_or_else(|| name.clone(), BString::from),
                content => [content.as_str().as_bytes(), b"/", &name].concat().into(),
            })
        }),
        _ => None,
    }
}

#[derive(Deserialize)]
struct RbdEntry {
    image: String,
    #[serde(default)]
    snapshot: Option<String>,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    parent: Option<RbdParent>,
}

#[derive(Deserialize)]
struct RbdParent {
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    pool_namespace: Option<String>,
    image: String,
    snapshot: String,
}

/// One thing that was found on a storage.
struct Found {
    name: BString,
    size: Option<u64>,
    verdict: Verdict,
    backing: Backing,
    complaint: Option<String>,
}

impl Found {
    fn new(name: impl Into<BString>, size: Option<u64>, verdict: Verdict) -> Self {
        Found { name: name.into(), size, verdict, backing: Backing::Unknown, complaint: None }
    }
}

/// Whether anything was reported of a storage.
enum Reported {
    Yes,
    No,
    /// What was reported shows that the storage is not there.
    Gone(String),
}

/// Reads what one node reported of one storage.
struct Reader<'a> {
    storage: &'a Storage<'a>,
    report: &'a NodeReport,
    images: HashMap<BString, &'a ImageReport>,
    found: Vec<Found>,
}

impl<'a> Reader<'a> {
    fn new(storage: &'a Storage<'a>, report: &'a NodeReport) -> Self {
        let images = report.images.get(storage.id().as_str()).into_iter().flatten();
        let images = images.filter_map(|image| Some((name_at(storage, &image.file)?, image))).collect();
        Reader { storage, report, images, found: Vec::new() }
    }

    fn read(&mut self) -> Result<Reported, ReportError> {
        let own = self.report.storages.get(self.storage.id().as_str());
        match (self.storage.kind(), own) {
            (StorageType::Lvm | StorageType::LvmThin, _) => {
                let Some(lvs) = &self.report.lvs else { return Ok(Reported::No) };
                return Ok(self.logical_volumes(lvs));
            }
            (StorageType::ZfsPool | StorageType::Zfs, Some(StorageReport::Zfs(zfs))) => {
                self.datasets(zfs);
            }
            (StorageType::ZfsPool, _) => {
                let Some(zfs) = &self.report.zfs else { return Ok(Reported::No) };
                return Ok(if self.datasets(zfs) { Reported::Yes } else { Reported::No });
            }
            (StorageType::Rbd, Some(StorageReport::Rbd(json))) => {
                self.rbd_images(json).map_err(|source| ReportError {
                    node: self.report.node.clone(),
                    storage: self.storage.id().as_str().to_owned(),
                    command: "rbd ls -l --format json",
                    source,
                })?;
            }
            (kind, Some(StorageReport::Files(files))) if kind.is_path_based() => {
                files
                    .lines()
                    .filter_map(|line| located(self.storage, line))
                    .for_each(|file| self.file(&file));
            }
            (kind, Some(StorageReport::Directory(files))) if kind.is_path_based() => {
                files.iter().for_each(|file| self.file(file));
            }
            (_, Some(StorageReport::Listing(listing))) => self.listing(listing),
            _ => return Ok(Reported::No),
        }
        Ok(Reported::Yes)
    }

    /// Adds what `qemu-img` told.
    fn add(&mut self, mut found: Found) {
        if let Some(image) = self.images.get(&found.name) {
            found.size = image.used.or(found.size);
            found.complaint = image.complaint.clone();
            found.backing = match &image.backing {
                _ if image.complaint.is_some() => Backing::Unknown,
                None => Backing::Nothing,
                Some(file) => match name_at(self.storage, file) {
                    Some(name) => Backing::Here(name),
                    None => Backing::Elsewhere { file: file.clone(), exists: image.backing_exists },
                },
            };
        }
        self.found.push(found);
    }

    fn logical_volumes(&mut self, lvs: &[u8]) -> Reported {
        let vg = self.storage.text("vgname").unwrap_or_default();
        let pool = self.storage.text("thinpool").unwrap_or_default();
        let is_thin = self.storage.kind() == StorageType::LvmThin;
        let tagged_only = self.storage.switch("tagged_only").unwrap_or(false);
        let mut has_pool = !is_thin;
        for lv in lvs.lines().filter_map(LvLine::parse).filter(|lv| lv.vg == vg) {
            has_pool |= lv.lv == pool && lv.kind() == Some(b't');
            let judged = match is_thin {
                true => LvmThinFilter { vg, pool, wanted: Wanted::Everything }.judge(&lv),
                false => LvmFilter { vg, tagged_only, wanted: Wanted::Everything }.judge(&lv),
            };
            let verdict = match judged {
                // pools are what storages are made of
                Err(Invisible::ThinPool) => continue,
                Err(reason) => Verdict::Invisible(reason),
                Ok(listed) => image(listed.owner.map(|owner| owner.as_bstr())),
            };
            let size = match lv.kind() {
                Some(b'V') => (!lv.data_percent.is_empty()).then(|| lv.used()),
                _ => Some(lv.size()),
            };
            self.add(Found::new(lv.lv, size, verdict));
        }
        if has_pool { Reported::Yes } else { Reported::Gone(format!("there is no thin pool {vg}/{pool}")) }
    }

    /// False if nothing in the list is of the storage.
    fn datasets(&mut self, zfs: &[u8]) -> bool {
        let pool = self.storage.text("pool").unwrap_or_default();
        let mut reported = false;
        for dataset in zfs.lines().filter_map(ZfsDataset::parse) {
            let judged = ZfsFilter { pool, wanted: Wanted::Everything }.judge(&dataset);
            let (verdict, backing) = match judged {
                Err(Invisible::PoolItself) => {
                    reported = true;
                    continue;
                }
                Err(Invisible::ForeignDataset) => continue,
                Err(reason) => (Verdict::Invisible(reason), Backing::Unknown),
                Ok(listed) => (image(listed.owner.map(|owner| owner.as_bstr())), base_of(&listed.volname)),
            };
            reported = true;
            let below = dataset.dataset.get(pool.len() + 1..).unwrap_or_default();
            let size = Some(dataset.size()).filter(|size| *size > 0);
            self.found.push(Found { backing, ..Found::new(below, size, verdict) });
        }
        reported
    }

    fn rbd_images(&mut self, json: &[u8]) -> Result<(), serde_json::Error> {
        if json.trim_ascii().is_empty() {
            return Ok(());
        }
        let text = |key: &str| self.storage.text(key).unwrap_or_default();
        let pool = if text("pool").is_empty() { BStr::new("rbd") } else { text("pool") };
        for entry in serde_json::from_slice::<Vec<RbdEntry>>(json)? {
            let image_entry = RbdImage {
                image: entry.image.as_str().into(),
                snapshot: entry.snapshot.as_deref().map(BStr::new),
                parent: entry
                    .parent
                    .as_ref()
                    .map(|from| (from.image.as_str().into(), from.snapshot.as_str().into())),
            };
            let (verdict, size, backing) = match RbdFilter::default().judge(&image_entry) {
                Err(reason) => {
                    let size = Some(entry.size).filter(|_| entry.snapshot.is_none());
                    (Verdict::Invisible(reason), size, Backing::Unknown)
                }
                Ok(listed) => {
                    // a clone may lie in another pool than its parent
                    let here = entry.parent.as_ref().is_none_or(|parent| {
                        parent.pool.as_ref().is_none_or(|name| name.as_bytes() == pool.as_bytes())
                            && parent
                                .pool_namespace
                                .as_ref()
                                .is_none_or(|name| name.as_bytes() == text("namespace").as_bytes())
                    });
                    let backing = match (&entry.parent, here) {
                        (Some(parent), false) => Backing::Elsewhere {
                            file: format!("{}@{}", parent.image, parent.snapshot).into(),
                            exists: None,
                        },
                        _ => base_of(&listed.volname),
                    };
                    (image(listed.owner.map(|owner| owner.as_bstr())), Some(entry.size), backing)
                }
            };
            let name = match &entry.snapshot {
                Some(snapshot) => format!("{}@{snapshot}", entry.image),
                None => entry.image,
            };
            self.found.push(Found { backing, ..Found::new(name, size, verdict) });
        }
        Ok(())
    }

    fn file(&mut self, file: &FileReport) {
        let FileReport { content, path, kind, size } = file;
        let (kind, size) = (*kind, *size);
        let name = || BString::from([content.as_str().as_bytes(), b"/", path].concat());
        if kind == FileKind::Link {
            let name = if *content == ContentType::Images { path.clone() } else { name() };
            self.add(Found::new(name, size, Verdict::Invisible(Invisible::Dangling)));
            return;
        }
        if *content == ContentType::Images {
            let judged = ImageFile::at(self.storage.kind(), path);
            let holds_volume = self.storage.kind() == StorageType::Btrfs
                || matches!(judged, Ok(file) if file.format == ImageFormat::Subvol)
                || path.ends_with(b".subvol");
            // directories of guests, and others that are no volumes
            if kind == FileKind::Directory && (!path.contains(&b'/') || !holds_volume) {
                return;
            }
            let verdict = match judged {
                Err(reason) => Verdict::Invisible(reason),
                Ok(file) => image(Some(file.owner.as_bstr())),
            };
            self.add(Found::new(path.clone(), size, verdict));
            return;
        }
        let Some(vtype) = FILES.iter().find(|(known, _)| known == content).map(|(_, vtype)| *vtype) else {
            return;
        };
        let is_companion = vtype == VolumeType::Backup
            && [&b".log"[..], b".notes", b".protected"].iter().any(|end| path.ends_with(end));
        if kind == FileKind::Directory || is_companion {
            return;
        }
        let verdict = match ContentFile::judge(vtype, path, None) {
            Err(reason) => Verdict::Invisible(reason),
            Ok(_) if vtype != VolumeType::Backup => Verdict::Other,
            Ok(file) => Verdict::Backup {
                owner: file.owner.map(|owner| owner.as_bstr().into()),
                readable: file.archive.is_some(),
            },
        };
        self.add(Found::new(name(), size, verdict));
    }

    fn listing(&mut self, listing: &Listing) {
        for image in &listing.images {
            let verdict = match (&image.backup, &image.owner) {
                (Some(_), owner) => Verdict::Backup { owner: owner.clone(), readable: true },
                (None, Some(owner)) if self.storage.kind() != StorageType::Esxi => {
                    Verdict::Image { owner: owner.clone() }
                }
                _ => Verdict::Other,
            };
            self.found.push(Found::new(image.volid.volname(), image.used.or(image.size), verdict));
        }
        for hidden in listing.hidden() {
            self.found.push(Found::new(hidden.name.clone(), hidden.size, Verdict::Invisible(hidden.reason)));
        }
    }
}

/// The types of volumes that are files of other content than images.
const FILES: [(ContentType, VolumeType); 5] = [
    (ContentType::Iso, VolumeType::Iso),
    (ContentType::VzTmpl, VolumeType::VzTmpl),
    (ContentType::Backup, VolumeType::Backup),
    (ContentType::Snippets, VolumeType::Snippets),
    (ContentType::Import, VolumeType::Import),
];

fn image(owner: Option<&BStr>) -> Verdict {
    owner.map_or(Verdict::Other, |owner| Verdict::Image { owner: owner.into() })
}

/// The template's volume in `BASE/NAME`.
fn base_of(volname: &BStr) -> Backing {
    volname.split_once_str("/").map_or(Backing::Nothing, |(base, _)| Backing::Here(base.into()))
}

/// Reads a line `TYPE SIZE PATH` of `find`; `None` for what lies in no content directory.
fn located(storage: &Storage<'_>, line: &[u8]) -> Option<FileReport> {
    let (kind, rest) = line.split_once_str(" ")?;
    let (size, path) = rest.split_once_str(" ")?;
    let kind = match kind {
        b"d" => FileKind::Directory,
        // where a link leads, find did not look
        _ => FileKind::File,
    };
    let size = size.to_str().ok().and_then(|size| size.parse().ok()).filter(|_| kind == FileKind::File);
    let contents = std::iter::once(ContentType::Images).chain(FILES.map(|(content, _)| content));
    for content in contents {
        let (Some(directory), Some(root)) = (storage.content_dir(content), storage.path()) else { continue };
        let Some(relative) = directory.strip_prefix(root.as_bytes()) else { continue };
        let relative = relative.trim_start_with(|c| c == '/');
        if let Some(below) = path.strip_prefix(relative).and_then(|rest| rest.strip_prefix(b"/")) {
            return Some(FileReport { content, path: below.into(), kind, size });
        }
    }
    None
}
