// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the tools reported, as items on a place that is the same for all storages and nodes that share it.

use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::inventory::Inventory;
use pve_config::storage::Storage;
use pve_volid::{
    ContentFile, ContentType, ImageFile, Invisible, LvLine, LvmFilter, LvmThinFilter, RbdFilter, RbdImage,
    StorageType, VolumeType, Wanted, ZfsDataset, ZfsFilter,
};
use serde::Deserialize;

/// The saved output of the listing tools on one node.
#[derive(Debug, Clone, Default)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// `lvs` with the columns of [`LvLine`].
    pub lvs: Option<BString>,
    /// `zfs list` with the columns of [`ZfsDataset`], of one or more storages.
    pub zfs: Option<BString>,
    /// What there is by storage id.
    pub storages: BTreeMap<String, StorageReport>,
}

/// The saved output of a tool about one storage.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StorageReport {
    /// `rbd ls -l --format json`.
    Rbd(BString),
    /// `find -printf '%y %s %P\n'` in the directory of the storage.
    Files(BString),
}

/// The output of a tool that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the images of storage {storage:?} on node {node:?} are not the JSON of `rbd ls -l --format json`: {source}"
)]
pub struct ReportError {
    /// The node.
    pub node: String,
    /// The storage.
    pub storage: String,
    /// What is wrong.
    pub source: serde_json::Error,
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
    image: String,
    snapshot: String,
}

/// Where volumes lie: a backend, and the node unless it is shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) backend: BString,
    pub(super) node: Option<String>,
}

impl Place {
    /// The place of `storage` as seen from `node`: storages with one backend have one place.
    pub(super) fn of(storage: &Storage<'_>, node: &str) -> Self {
        let keys: &[&str] = match storage.kind() {
            StorageType::Lvm | StorageType::LvmThin => &["vgname"],
            StorageType::ZfsPool => &["pool"],
            StorageType::Zfs => &["portal", "pool"],
            StorageType::Rbd => &["monhost", "pool", "data-pool", "namespace"],
            StorageType::Nfs => &["server", "export", "subdir"],
            StorageType::Cifs => &["server", "share", "subdir"],
            StorageType::CephFs => &["monhost", "fs-name", "subdir"],
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
            backend.extend_from_slice(value.trim_end_with(|c| c == '/'));
        }
        Place { backend, node: (!storage.is_shared()).then(|| node.to_owned()) }
    }
}

/// One thing that a tool reported.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) place: Place,
    pub(super) storage: String,
    /// Name on the storage: of an image in a directory `VMID/FILE`, of other files `content/FILE`.
    pub(super) name: BString,
    pub(super) size: Option<u64>,
    pub(super) verdict: Verdict,
}

/// What the listing makes of it.
#[derive(Debug)]
pub(super) enum Verdict {
    /// An image of this owner, with its base if it is a linked clone.
    Image {
        owner: BString,
        base: Option<BString>,
    },
    /// A backup; the owner and whether the name can be read.
    Backup {
        owner: Option<BString>,
        readable: bool,
    },
    /// A file of other content.
    Other,
    Invisible(Invisible),
}

/// All that was reported, each thing once a storage.
#[derive(Debug, Default)]
pub(super) struct Stock {
    pub(super) items: Vec<Item>,
    /// Names by place.
    pub(super) present: HashMap<Place, HashSet<BString>>,
}

impl Stock {
    pub(super) fn take(cluster: &Inventory<'_>, reports: &[NodeReport]) -> Result<Self, ReportError> {
        let mut stock = Stock::default();
        let mut seen = HashSet::new();
        for report in reports {
            for storage in cluster.storages.storages().filter(|storage| storage.is_enabled_on(&report.node)) {
                let mut found = Vec::new();
                if !read(&storage, report, &mut found)? {
                    continue;
                }
                let place = Place::of(&storage, &report.node);
                let names = stock.present.entry(place.clone()).or_default();
                for (name, size, verdict) in found {
                    if seen.insert((place.clone(), storage.id().as_str().to_owned(), name.clone())) {
                        names.insert(name.clone());
                        let storage = storage.id().as_str().to_owned();
                        stock.items.push(Item { place: place.clone(), storage, name, size, verdict });
                    }
                }
            }
        }
        Ok(stock)
    }
}

type Found = Vec<(BString, Option<u64>, Verdict)>;

/// Reads what `report` tells about `storage`; false if that is nothing.
fn read(storage: &Storage<'_>, report: &NodeReport, found: &mut Found) -> Result<bool, ReportError> {
    let own = report.storages.get(storage.id().as_str());
    match (storage.kind(), own) {
        (StorageType::Lvm | StorageType::LvmThin, _) => {
            let Some(lvs) = &report.lvs else { return Ok(false) };
            volumes_of_group(storage, lvs, found);
        }
        (StorageType::ZfsPool, _) => {
            let Some(zfs) = &report.zfs else { return Ok(false) };
            return Ok(datasets(storage, zfs, found));
        }
        (StorageType::Rbd, Some(StorageReport::Rbd(json))) => {
            images(json, found).map_err(|source| ReportError {
                node: report.node.clone(),
                storage: storage.id().as_str().to_owned(),
                source,
            })?;
        }
        (kind, Some(StorageReport::Files(files))) if kind.is_path_based() => {
            files.lines().for_each(|line| file(storage, line, found));
        }
        _ => return Ok(false),
    }
    Ok(true)
}

fn volumes_of_group(storage: &Storage<'_>, lvs: &[u8], found: &mut Found) {
    let vg = storage.text("vgname").unwrap_or_default();
    let pool = storage.text("thinpool").unwrap_or_default();
    let tagged_only = storage.switch("tagged_only").unwrap_or(false);
    for lv in lvs.lines().filter_map(LvLine::parse).filter(|lv| lv.vg == vg) {
        let judged = match storage.kind() {
            StorageType::LvmThin => LvmThinFilter { vg, pool, wanted: Wanted::Everything }.judge(&lv),
            _ => LvmFilter { vg, tagged_only, wanted: Wanted::Everything }.judge(&lv),
        };
        let verdict = match judged {
            // pools are what storages are made of
            Err(Invisible::ThinPool) => continue,
            Err(reason) => Verdict::Invisible(reason),
            Ok(listed) => image(listed.owner.map(|owner| owner.as_bstr()), None),
        };
        let size = if lv.kind() == Some(b'V') { lv.used() } else { lv.size() };
        found.push((
            lv.lv.into(),
            known(lv.kind() != Some(b'V') || !lv.data_percent.is_empty(), size),
            verdict,
        ));
    }
}

fn known(known: bool, size: u64) -> Option<u64> {
    known.then_some(size)
}

fn image(owner: Option<&BStr>, base: Option<BString>) -> Verdict {
    owner.map_or(Verdict::Other, |owner| Verdict::Image { owner: owner.into(), base })
}

/// The template's volume in `BASE/NAME`.
fn base_of(volname: &BStr) -> Option<BString> {
    volname.split_once_str("/").map(|(base, _)| base.into())
}

fn datasets(storage: &Storage<'_>, zfs: &[u8], found: &mut Found) -> bool {
    let pool = storage.text("pool").unwrap_or_default();
    let mut reported = false;
    for dataset in zfs.lines().filter_map(ZfsDataset::parse) {
        let judged = ZfsFilter { pool, wanted: Wanted::Everything }.judge(&dataset);
        let verdict = match judged {
            Err(Invisible::PoolItself) => {
                reported = true;
                continue;
            }
            Err(Invisible::ForeignDataset) => continue,
            Err(reason) => Verdict::Invisible(reason),
            Ok(listed) => image(listed.owner.map(|owner| owner.as_bstr()), base_of(&listed.volname)),
        };
        reported = true;
        let below = dataset.dataset.get(pool.len() + 1..).unwrap_or_default();
        found.push((below.into(), known(dataset.size() > 0, dataset.size()), verdict));
    }
    reported
}

fn images(json: &[u8], found: &mut Found) -> Result<(), serde_json::Error> {
    for entry in serde_json::from_slice::<Vec<RbdEntry>>(json)? {
        let image_entry = RbdImage {
            image: entry.image.as_str().into(),
            snapshot: entry.snapshot.as_deref().map(BStr::new),
            parent: entry
                .parent
                .as_ref()
                .map(|from| (from.image.as_str().into(), from.snapshot.as_str().into())),
        };
        let (verdict, size) = match RbdFilter::default().judge(&image_entry) {
            Err(reason) => (Verdict::Invisible(reason), known(entry.snapshot.is_none(), entry.size)),
            Ok(listed) => {
                (image(listed.owner.map(|owner| owner.as_bstr()), base_of(&listed.volname)), Some(entry.size))
            }
        };
        let name = match &entry.snapshot {
            Some(snapshot) => format!("{}@{snapshot}", entry.image),
            None => entry.image,
        };
        found.push((name.into(), size, verdict));
    }
    Ok(())
}

/// Reads a line `TYPE SIZE PATH` of `find`.
fn file(storage: &Storage<'_>, line: &[u8], found: &mut Found) {
    let Some((kind, rest)) = line.split_once_str(" ") else { return };
    let Some((size, path)) = rest.split_once_str(" ") else { return };
    let subvol = path.ends_with(b".subvol") || (storage.kind() == StorageType::Btrfs && kind == b"d");
    if path.is_empty() || (kind == b"d" && !subvol) {
        return;
    }
    let size = size.to_str().ok().and_then(|size| size.parse().ok());
    for (content, vtype) in [
        (ContentType::Images, VolumeType::Images),
        (ContentType::Iso, VolumeType::Iso),
        (ContentType::VzTmpl, VolumeType::VzTmpl),
        (ContentType::Backup, VolumeType::Backup),
        (ContentType::Snippets, VolumeType::Snippets),
        (ContentType::Import, VolumeType::Import),
    ] {
        let (Some(directory), Some(root)) = (storage.content_dir(content), storage.path()) else { continue };
        let Some(relative) = directory.strip_prefix(root.as_bytes()) else { continue };
        let relative = relative.trim_start_with(|c| c == '/');
        let below = path.strip_prefix(relative).and_then(|rest| rest.strip_prefix(b"/"));
        let Some(below) = below else { continue };
        if vtype == VolumeType::Images {
            // directories of guests
            if kind == b"d" && !below.contains(&b'/') {
                return;
            }
            let verdict = match ImageFile::at(storage.kind(), below) {
                Err(reason) => Verdict::Invisible(reason),
                Ok(file) => image(Some(file.owner.as_bstr()), None),
            };
            found.push((below.into(), size, verdict));
            return;
        }
        let is_companion = vtype == VolumeType::Backup
            && [&b".log"[..], b".notes", b".protected"].iter().any(|end| below.ends_with(end));
        if kind == b"d" || is_companion {
            return;
        }
        let verdict = match ContentFile::judge(vtype, below, None) {
            Err(reason) => Verdict::Invisible(reason),
            Ok(_) if vtype != VolumeType::Backup => Verdict::Other,
            Ok(file) => Verdict::Backup {
                owner: file.owner.map(|owner| owner.as_bstr().into()),
                readable: file.archive.is_some(),
            },
        };
        found.push(([vtype.as_str().as_bytes(), b"/", below].concat().into(), size, verdict));
        return;
    }
}
