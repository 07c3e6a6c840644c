// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads what one node reported of one storage.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use pve_config::storage::Storage;
use pve_volid::{
    ContentFile, ContentType, ImageFile, ImageFormat, Invisible, LvLine, LvmFilter, LvmThinFilter, RbdFilter,
    RbdImage, StorageType, VolumeType, Wanted, ZfsDataset, ZfsFilter,
};
use serde::Deserialize;

use super::report::{FileReport, ImageReport, NodeReport, ReportError, StorageReport, file_contents};
use super::stock::{Backing, Verdict, name_at};
use crate::host::FileKind;
use crate::listing::Listing;

/// Whether anything was reported of a storage.
pub(super) enum Reported {
    Yes,
    No,
    /// What was reported shows that the storage is not there.
    Gone(String),
}

/// Reads what one node reported of one storage.
pub(super) struct Reader<'a> {
    storage: &'a Storage<'a>,
    report: &'a NodeReport,
    images: HashMap<BString, &'a ImageReport>,
    /// What was found.
    pub(super) found: Vec<Found>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(storage: &'a Storage<'a>, report: &'a NodeReport) -> Self {
        let images = report.images.get(storage.id().as_str()).into_iter().flatten();
        let images = images.filter_map(|image| Some((name_at(storage, &image.file)?, image))).collect();
        Reader { storage, report, images, found: Vec::new() }
    }

    pub(super) fn read(&mut self) -> Result<Reported, ReportError> {
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
        let Some(vtype) = VolumeType::from_bytes(content.as_str().as_bytes()) else { return };
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

/// One thing that was found on a storage.
pub(super) struct Found {
    pub(super) name: BString,
    pub(super) size: Option<u64>,
    pub(super) verdict: Verdict,
    pub(super) backing: Backing,
    pub(super) complaint: Option<String>,
}

impl Found {
    fn new(name: impl Into<BString>, size: Option<u64>, verdict: Verdict) -> Self {
        Found { name: name.into(), size, verdict, backing: Backing::Unknown, complaint: None }
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
    for content in file_contents() {
        let (Some(directory), Some(root)) = (storage.content_dir(content), storage.path()) else { continue };
        let Some(relative) = directory.strip_prefix(root.as_bytes()) else { continue };
        let relative = relative.trim_start_with(|c| c == '/');
        if let Some(below) = path.strip_prefix(relative).and_then(|rest| rest.strip_prefix(b"/")) {
            return Some(FileReport { content, path: below.into(), kind, size });
        }
    }
    None
}
