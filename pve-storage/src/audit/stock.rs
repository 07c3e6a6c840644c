// SPDX-License-Identifier: MIT OR Apache-2.0
//! Everything that was reported, as items on places that are the same for all storages and nodes that share them.

use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::inventory::Inventory;
use pve_config::storage::Storage;
use pve_volid::{ContentType, Invisible, StorageType};

use super::reader::{Found, Reader, Reported};
use super::report::{NodeReport, ReportError, file_contents};

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
pub(super) fn name_at(storage: &Storage<'_>, path: &[u8]) -> Option<BString> {
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
        kind if kind.is_path_based() => file_contents().find_map(|content| {
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
