// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares what the guests refer to with what is there.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::inventory::{Guest, Inventory, Referenced, Target, Volume};
use pve_config::storage::Storage;
use pve_volid::{Invisible, RawName, Role, StorageType, VolumeType};

use super::fix::Fixer;
use super::report::{Item, Place, Stock, Verdict};
use super::{Audit, Finding, Trouble};

pub(super) struct Judge<'a> {
    cluster: &'a Inventory<'a>,
    stock: &'a Stock,
    /// Guests by place and name of what they refer to.
    users: HashMap<Place, HashMap<BString, Vec<&'a Guest<'a>>>>,
    audit: Audit,
    unreported: BTreeSet<(String, Option<String>)>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(cluster: &'a Inventory<'a>, stock: &'a Stock) -> Self {
        Judge { cluster, stock, users: HashMap::new(), audit: Audit::default(), unreported: BTreeSet::new() }
    }

    pub(super) fn run(mut self) -> Audit {
        for node in &self.cluster.nodes {
            let node = node.to_str_lossy();
            for storage in self.cluster.storages.storages().filter(|storage| storage.is_enabled_on(&node)) {
                self.is_reported(&storage, &node);
            }
        }
        for guest in &self.cluster.guests {
            self.references(guest);
        }
        self.items();
        let mut audit = self.audit;
        audit.unreported = self.unreported.into_iter().collect();
        audit.findings.sort_by(|a, b| (&a.storage, &a.node, &a.name).cmp(&(&b.storage, &b.node, &b.name)));
        audit
    }

    fn is_reported(&mut self, storage: &Storage<'_>, node: &str) -> Option<Place> {
        let place = Place::of(storage, node);
        if self.stock.present.contains_key(&place) {
            return Some(place);
        }
        self.unreported.insert((storage.id().as_str().to_owned(), place.node));
        None
    }

    fn references(&mut self, guest: &'a Guest<'a>) {
        let mut told = HashSet::new();
        for reference in &guest.volumes {
            let Target::Volume(volume) = &reference.target else { continue };
            let Some(storage) = self.cluster.storages.get(volume.id.storage().as_str().as_bytes()) else {
                continue;
            };
            let Some(place) = self.is_reported(&storage, &guest.node.to_str_lossy()) else { continue };
            let (base, name) = parts(volume, storage.kind());
            let there = self.stock.present.get(&place);
            let is_there = |name: &BString| there.is_some_and(|names| names.contains(name));
            let users = self.users.entry(place.clone()).or_default().entry(name.clone()).or_default();
            users.push(guest);
            let mut troubles = Vec::new();
            if !is_there(&name) {
                troubles.push(Trouble::Dangling {
                    guest: guest.vmid,
                    key: reference.key.clone(),
                    section: reference.section.clone(),
                });
            } else if let Some(trouble) = self.foreign(guest, reference, volume) {
                troubles.push(trouble);
            }
            if let Some(base) = base.filter(|base| !is_there(base)) {
                troubles.push(Trouble::BaseMissing { base });
            }
            if told.insert((place.clone(), name.clone())) {
                for trouble in troubles {
                    self.tell(&storage, &place, &name, None, trouble);
                }
            }
        }
    }

    /// A reference to the volume of another guest.
    fn foreign(&self, guest: &Guest<'_>, reference: &Referenced, volume: &Volume) -> Option<Trouble> {
        let owner = volume.owner.clone().filter(|_| reference.role.is_guest_data())?;
        if number(&owner) == Some(guest.vmid) {
            return None;
        }
        let exists = self.guest(&owner).is_some();
        Some(Trouble::OwnerMismatch { guest: guest.vmid, key: reference.key.clone(), owner, exists })
    }

    fn guest(&self, owner: &[u8]) -> Option<&'a Guest<'a>> {
        self.cluster.guest(number(owner)?)
    }

    /// Judges each thing once, however many storages show it.
    fn items(&mut self) {
        let mut things: BTreeMap<(&Place, &BString), Vec<&'a Item>> = BTreeMap::new();
        for item in &self.stock.items {
            things.entry((&item.place, &item.name)).or_default().push(item);
        }
        for items in things.into_values() {
            let mut shown = items.iter().filter(|item| !matches!(item.verdict, Verdict::Invisible(_)));
            let first = shown.next();
            self.audit.volumes += usize::from(first.is_some());
            let Some(item) = first.or(items.first()) else { continue };
            for again in shown {
                self.tell_of(again, Trouble::SeenTwice { other: item.storage.clone() });
            }
            self.item(item);
        }
    }

    fn item(&mut self, item: &'a Item) {
        let Some(storage) = self.cluster.storages.get(item.storage.as_bytes()) else { return };
        match &item.verdict {
            Verdict::Other => {}
            Verdict::Backup { owner: _, readable: false } => self.tell_of(item, Trouble::UnreadableBackup),
            Verdict::Backup { owner, .. } => {
                if let Some(owner) = owner.as_ref().filter(|owner| self.guest(owner).is_none()) {
                    self.tell_of(item, Trouble::BackupOfNoGuest { owner: owner.clone() });
                }
            }
            Verdict::Image { owner, base } => {
                let there = self.stock.present.get(&item.place);
                if let Some(base) =
                    base.as_ref().filter(|base| !there.is_some_and(|names| names.contains(*base)))
                {
                    self.tell_of(item, Trouble::BaseMissing { base: base.clone() });
                }
                if self.users(item, &item.name).is_empty() {
                    let trouble = self.orphan(item, storage.kind(), owner);
                    self.tell_of(item, trouble);
                }
            }
            Verdict::Invisible(reason) => {
                if let Some(trouble) = self.invisible(item, storage.kind(), *reason) {
                    self.tell_of(item, trouble);
                }
            }
        }
    }

    fn users(&self, item: &Item, name: &BString) -> &[&'a Guest<'a>] {
        let users = self.users.get(&item.place).and_then(|users| users.get(name));
        users.map_or(&[], Vec::as_slice)
    }

    /// Why nobody refers to an image.
    fn orphan(&self, item: &Item, kind: StorageType, owner: &BString) -> Trouble {
        let owner = owner.clone();
        let Some(guest) = self.guest(&owner) else { return Trouble::NoGuest { owner } };
        if item.place.node.as_ref().is_some_and(|node| guest.node != node.as_bytes()) {
            return Trouble::OtherNode { owner, home: guest.node.clone() };
        }
        match RawName::classify(kind, file_of(item.name.as_bstr())) {
            RawName::Volume { role: Role::SnapshotState(snapshot), .. }
                if !guest.snapshots().contains(&snapshot) =>
            {
                Trouble::StateWithoutSnapshot { owner, snapshot: snapshot.into() }
            }
            RawName::Volume { role: Role::Other(rest), .. } if is_temporary(rest) => {
                Trouble::Temporary { owner }
            }
            RawName::Volume { owner: named, .. } if number(named.as_bstr()) != Some(guest.vmid) => {
                Trouble::Unreferenced { owner, named: Some(named.as_bstr().into()) }
            }
            _ => Trouble::Unreferenced { owner, named: None },
        }
    }

    /// What there is to say about something that no storage lists; nothing about snapshots that belong there.
    fn invisible(&self, item: &Item, kind: StorageType, reason: Invisible) -> Option<Trouble> {
        let file = file_of(item.name.as_bstr());
        // removed volumes of a storage of type lvm, which may share the group with a thin pool
        if matches!(kind, StorageType::Lvm | StorageType::LvmThin)
            && let RawName::Deleted { volume } = RawName::classify(StorageType::Lvm, file)
        {
            return Some(Trouble::AwaitsWiping { volume: volume.into() });
        }
        let RawName::Snapshot { volume: Some(volume), snapshot } = RawName::classify(kind, file) else {
            return Some(Trouble::Invisible(reason));
        };
        let directory = item.name.strip_suffix(file).unwrap_or_default();
        let name = BString::from([directory, volume.as_bytes()].concat());
        let (volume, owned) = (volume.to_owned(), snapshot.to_owned());
        if !self.stock.present.get(&item.place).is_some_and(|names| names.contains(&name)) {
            return Some(Trouble::SnapshotOfNothing { volume, snapshot: owned });
        }
        // made by replication, migration, backups, for linked clones
        let internal = snapshot.starts_with(b"__") || snapshot == "vzdump";
        let mut users = self.users(item, &name).iter();
        let known = internal || users.any(|guest| guest.snapshots().contains(&snapshot));
        (!known).then_some(Trouble::UnknownSnapshot { volume, snapshot: owned })
    }

    fn tell_of(&mut self, item: &Item, trouble: Trouble) {
        if let Some(storage) = self.cluster.storages.get(item.storage.as_bytes()) {
            self.tell(&storage, &item.place, &item.name, item.size, trouble);
        }
    }

    fn tell(
        &mut self,
        storage: &Storage<'_>,
        place: &Place,
        name: &BString,
        size: Option<u64>,
        trouble: Trouble,
    ) {
        // the reference and the volume itself may tell of the same base
        let known = matches!(trouble, Trouble::BaseMissing { .. })
            && self.audit.findings.iter().any(|finding| {
                finding.trouble == trouble && finding.name == *name && finding.node == place.node
            });
        if known {
            return;
        }
        let taken = self.stock.present.get(place);
        let fix = Fixer { cluster: self.cluster, storage, name, taken }.fix(&trouble);
        self.audit.findings.push(Finding {
            trouble,
            storage: storage.id().as_str().to_owned(),
            node: place.node.clone(),
            name: name.clone(),
            size,
            fix,
        });
    }
}

/// The base and the name on the storage of a volume in a configuration.
fn parts(volume: &Volume, kind: StorageType) -> (Option<BString>, BString) {
    let volname = volume.id.volname();
    let is_image = volume.vtype == Some(VolumeType::Images);
    let slashes = match (kind.is_path_based(), is_image) {
        (true, true) => 2,
        (true, false) => return (None, volname.to_owned()),
        (false, _) => 1,
    };
    let cut = |name: &[u8]| {
        let raw_directory = kind == StorageType::Btrfs;
        BString::from(name.strip_suffix(b".raw").filter(|_| raw_directory).unwrap_or(name))
    };
    let at = volname.rfind_iter("/").nth(slashes - 1);
    let split = at.and_then(|at| Some((volname.get(..at)?, volname.get(at + 1..)?)));
    match split {
        Some((base, name)) => (Some(cut(base)), cut(name)),
        None => (None, cut(volname)),
    }
}

fn number(owner: &[u8]) -> Option<u32> {
    owner.to_str().ok()?.parse().ok()
}

/// The file in `VMID/FILE`, or the whole name.
fn file_of(name: &BStr) -> &[u8] {
    name.rsplit_once_str("/").map_or(name.as_bytes(), |(_, file)| file)
}

/// Whether what follows the owner marks a name as temporary: `…_tmp`, `….tmp`, `tmp…`.
fn is_temporary(rest: &BStr) -> bool {
    rest.ends_with(b"_tmp") || rest.ends_with(b".tmp") || rest.starts_with(b"tmp")
}
