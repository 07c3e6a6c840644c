// SPDX-License-Identifier: MIT OR Apache-2.0
//! Compares what the guests refer to with what is there.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::volume_mentions;
use pve_config::inventory::{Guest, Inventory, Problem, Referenced, Target, Volume};
use pve_config::section::SkipReason;
use pve_volid::{Invisible, RawName, Role, StorageType, VolumeIdRef, VolumeType};

use super::fix::{Fixer, delete_reference};
use super::stock::{Backing, Item, Known, Place, Stock, Verdict};
use super::{Audit, Finding, Trouble, Unreported};

/// Guests that refer to the things of one place, sorted by the things' names.
type Users<'a> = Vec<(BString, &'a Guest<'a>)>;

pub(super) struct Judge<'a> {
    cluster: &'a Inventory<'a>,
    stock: &'a Stock<'a>,
    /// By place.
    users: Vec<Users<'a>>,
    /// Things that others are based on, with one of these, by place.
    bases: Vec<HashMap<BString, BString>>,
    /// What lines of configurations name that no configuration reads.
    mentions: OnceCell<HashMap<(usize, BString), Mention>>,
    audit: Audit,
    unreported: BTreeMap<(String, Option<String>), Option<String>>,
}

/// A line that names a volume.
struct Mention {
    guest: u32,
    key: BString,
    line: usize,
}

impl<'a> Judge<'a> {
    pub(super) fn new(cluster: &'a Inventory<'a>, stock: &'a Stock<'a>) -> Self {
        let count = stock.places.len();
        Judge {
            cluster,
            stock,
            users: std::iter::repeat_with(Vec::new).take(count).collect(),
            bases: std::iter::repeat_with(HashMap::new).take(count).collect(),
            mentions: OnceCell::new(),
            audit: Audit::default(),
            unreported: BTreeMap::new(),
        }
    }

    pub(super) fn run(mut self) -> Audit {
        for node in &self.cluster.nodes {
            let node = node.to_str_lossy();
            for known in self.stock.storages.iter().filter(|known| known.storage.is_enabled_on(&node)) {
                self.is_reported(known, &node);
            }
        }
        for section in
            self.cluster.storages.unknown().filter(|section| section.reason == SkipReason::UnknownType)
        {
            let reason = format!("its type '{}' is not known", section.kind);
            self.unreported.insert((section.id.to_str_lossy().into_owned(), None), Some(reason));
        }
        for (place, bases) in self.stock.places.iter().zip(&mut self.bases) {
            for (name, backing) in &place.present {
                if let Backing::Here(base) = backing {
                    bases.insert(base.clone(), name.clone());
                }
            }
        }
        for guest in &self.cluster.guests {
            self.references(guest);
        }
        for users in &mut self.users {
            users.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        }
        self.items();
        let mut audit = self.audit;
        let unreported = self.unreported.into_iter();
        audit.unreported =
            unreported.map(|((storage, node), reason)| Unreported { storage, node, reason }).collect();
        audit.findings.sort_by(|a, b| (&a.storage, &a.node, &a.name).cmp(&(&b.storage, &b.node, &b.name)));
        audit
    }

    fn is_reported(&mut self, known: &Known<'_>, node: &str) -> Option<usize> {
        let place = self.stock.place(known, node);
        if place.is_none() {
            let key = (known.id.to_owned(), known.node(node).map(ToOwned::to_owned));
            let reason = self.stock.silent.get(&key).cloned();
            self.unreported.insert(key, reason);
        }
        place
    }

    fn references(&mut self, guest: &'a Guest<'a>) {
        let node = guest.node.to_str_lossy();
        let mut told = HashSet::new();
        for reference in &guest.volumes {
            match &reference.target {
                Target::Volume(volume) => self.reference(guest, &node, reference, volume, &mut told),
                Target::Path(path) => {
                    if let Some((_, place, name)) = self.stock.at_path(path, &node) {
                        self.use_of(place, name, guest);
                    }
                }
                _ => {}
            }
        }
    }

    fn use_of(&mut self, place: usize, name: BString, guest: &'a Guest<'a>) {
        if let Some(users) = self.users.get_mut(place) {
            users.push((name, guest));
        }
    }

    fn reference(
        &mut self,
        guest: &'a Guest<'a>,
        node: &str,
        reference: &'a Referenced,
        volume: &'a Volume,
        told: &mut HashSet<(usize, &'a [u8])>,
    ) {
        let Some(known) = self.stock.get(volume.id.storage().as_str()) else {
            let undeclared = |problem: &Problem| matches!(problem, Problem::NoStorage { .. });
            if reference.problems.iter().any(undeclared)
                && told.insert((usize::MAX, volume.id.as_bstr().as_bytes()))
            {
                self.undeclared(guest, node, reference, volume);
            }
            return;
        };
        let Some(place) = self.is_reported(known, node) else { return };
        let (base, name) = parts(volume, known.kind);
        let there = self.stock.places.get(place).map(|place| &place.present);
        let backing = there.and_then(|there| there.get(name));
        self.use_of(place, name.into(), guest);
        let mut troubles = Vec::new();
        if backing.is_none() {
            troubles.push(Trouble::Dangling {
                guest: guest.vmid,
                key: reference.key.clone(),
                section: reference.section.clone(),
            });
        } else if let Some(trouble) = self.foreign(guest, reference, volume) {
            troubles.push(trouble);
        }
        // where the volume itself tells its base, that counts
        if let (Some(base), None | Some(Backing::Unknown)) = (base, backing) {
            if let Some(bases) = self.bases.get_mut(place) {
                bases.insert(base.into(), name.into());
            }
            if !there.is_some_and(|there| there.contains_key(base)) {
                troubles.push(Trouble::BaseMissing { base: base.into() });
            }
        }
        if told.insert((place, name)) {
            for trouble in troubles {
                self.tell(known, place, name, None, trouble);
            }
        }
    }

    /// A reference to a volume on a storage that does not exist.
    fn undeclared(&mut self, guest: &Guest<'_>, node: &str, reference: &Referenced, volume: &Volume) {
        self.audit.findings.push(Finding {
            trouble: Trouble::NoStorage {
                guest: guest.vmid,
                key: reference.key.clone(),
                section: reference.section.clone(),
            },
            storage: volume.id.storage().as_str().to_owned(),
            node: Some(node.to_owned()),
            name: volume.id.volname().to_owned(),
            size: None,
            fix: vec![delete_reference(guest, &reference.key, &reference.section)],
        });
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
        let mut order: Vec<&'a Item> = self.stock.items.iter().collect();
        order.sort_by(|one, other| (one.place, &one.name).cmp(&(other.place, &other.name)));
        for items in order.chunk_by(|one, other| (one.place, &one.name) == (other.place, &other.name)) {
            let visible = |item: &&&Item| !matches!(item.verdict, Verdict::Invisible(_));
            let mut used = items.iter().filter(visible).filter(|item| self.is_used_for(item));
            let first = used.next().or_else(|| items.iter().find(visible));
            let again: Vec<&Item> = used.copied().collect();
            self.audit.volumes += usize::from(first.is_some());
            let Some(item) = first.or(items.first()) else { continue };
            for again in again {
                let other = self.stock.storages.get(item.storage).map_or("", |known| known.id).to_owned();
                self.tell_of(again, Trouble::SeenTwice { other });
            }
            self.item(item);
        }
    }

    /// Whether the storage is used for what the thing is, so that Proxmox VE shows it there.
    fn is_used_for(&self, item: &Item) -> bool {
        use pve_volid::ContentType as C;
        let holds =
            |content| self.stock.storages.get(item.storage).is_some_and(|known| known.storage.holds(content));
        match &item.verdict {
            Verdict::Image { .. } => holds(C::Images) || holds(C::RootDir),
            Verdict::Backup { .. } => holds(C::Backup),
            _ => {
                let word = item.name.split_once_str("/").map(|(word, _)| word);
                word.and_then(C::from_bytes).is_none_or(holds)
            }
        }
    }

    fn item(&mut self, item: &'a Item) {
        let Some(known) = self.stock.storages.get(item.storage) else { return };
        if let Some(reason) = &item.complaint {
            self.tell_of(item, Trouble::Unreadable { reason: reason.clone() });
        }
        match &item.verdict {
            Verdict::Other => {}
            Verdict::Backup { owner: _, readable: false } => self.tell_of(item, Trouble::UnreadableBackup),
            Verdict::Backup { owner, .. } => {
                if let Some(owner) = owner.as_ref().filter(|owner| self.guest(owner).is_none()) {
                    self.tell_of(item, Trouble::BackupOfNoGuest { owner: owner.clone() });
                }
            }
            Verdict::Image { owner } => {
                self.backing(item);
                if self.users(item.place, &item.name).is_empty()
                    && let Some(trouble) = self.orphan(item, known.kind, owner)
                {
                    self.tell_of(item, trouble);
                }
            }
            Verdict::Invisible(reason) => {
                self.backing(item);
                if let Some(trouble) = self.invisible(item, known.kind, *reason) {
                    self.tell_of(item, trouble);
                }
            }
        }
    }

    fn place(&self, item: &Item) -> Option<&'a Place> {
        self.stock.places.get(item.place)
    }

    /// Tells if what an image is based on is not there.
    fn backing(&mut self, item: &Item) {
        let Some(place) = self.place(item) else { return };
        let trouble = match place.present.get(&item.name) {
            Some(Backing::Here(base)) if !place.present.contains_key(base) => {
                if file_of(base.as_bstr()).starts_with(b"snap") {
                    Trouble::BackingMissing { file: base.clone() }
                } else {
                    Trouble::BaseMissing { base: base.clone() }
                }
            }
            Some(Backing::Elsewhere { file, exists: Some(false) }) => {
                Trouble::BackingMissing { file: file.clone() }
            }
            _ => return,
        };
        self.tell_of(item, trouble);
    }

    /// The guests that refer to a thing.
    fn users(&self, place: usize, name: &BString) -> &[(BString, &'a Guest<'a>)] {
        let Some(users) = self.users.get(place) else { return &[] };
        let start = users.partition_point(|(used, _)| used < name);
        let rest = users.get(start..).unwrap_or_default();
        let end = rest.partition_point(|(used, _)| used == name);
        rest.get(..end).unwrap_or_default()
    }

    /// What the image is that nobody refers to; nothing for a copy that replication keeps.
    fn orphan(&self, item: &Item, kind: StorageType, owner: &BString) -> Option<Trouble> {
        let owner = owner.clone();
        if let Some(clone) = self.bases.get(item.place).and_then(|bases| bases.get(&item.name)) {
            return Some(Trouble::BaseOfClone { owner, clone: clone.clone() });
        }
        if let Some(mention) = self.mentions().get(&(item.place, item.name.clone())) {
            let Mention { guest, key, line } = mention;
            return Some(Trouble::Mentioned { guest: *guest, key: key.clone(), line: *line });
        }
        let Some(guest) = self.guest(&owner) else { return Some(Trouble::NoGuest { owner }) };
        let raw = RawName::classify(kind, file_of(item.name.as_bstr()));
        let away = self.place(item)?.node.as_ref().filter(|node| guest.node != node.as_bytes());
        if away.is_some_and(|node| self.is_copy(guest, item, node)) {
            return None;
        }
        if let Some(lock) = guest.lock().filter(|lock| makes(lock, away.is_some(), raw)) {
            return Some(Trouble::UnderWay { owner, lock: lock.to_owned() });
        }
        if away.is_some() {
            return Some(Trouble::OtherNode { owner, home: guest.node.clone() });
        }
        Some(match raw {
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
        })
    }

    /// Whether replication keeps this on `node`: the guest has a job with this target, and refers to a volume of this
    /// name on this storage at home.
    fn is_copy(&self, guest: &Guest<'_>, item: &Item, node: &str) -> bool {
        let jobs = &mut self.cluster.replication.of_guest(guest.vmid);
        let Some(known) =
            self.stock.storages.get(item.storage).filter(|known| known.kind == StorageType::ZfsPool)
        else {
            return false;
        };
        let refers = |reference: &Referenced| match &reference.target {
            Target::Volume(volume) => {
                volume.id.storage().as_str() == known.id && parts(volume, known.kind).1 == item.name
            }
            _ => false,
        };
        jobs.any(|job| job.target().is_some_and(|target| target == node.as_bytes()))
            && guest.volumes.iter().any(refers)
    }

    /// What all lines of all configurations name, looked for once and only if something seems to be an orphan.
    fn mentions(&self) -> &HashMap<(usize, BString), Mention> {
        self.mentions.get_or_init(|| {
            let mut found = HashMap::new();
            for guest in &self.cluster.guests {
                let node = guest.node.to_str_lossy();
                for mention in volume_mentions(guest.kind(), guest.text) {
                    let place = match VolumeIdRef::from_bytes(mention.volume) {
                        Ok(id) => self.stock.get(id.storage().as_str()).and_then(|known| {
                            let name = name_of(id.volname(), known.kind, true).1;
                            Some((self.stock.place(known, &node)?, BString::from(name)))
                        }),
                        Err(_) => {
                            self.stock.at_path(mention.volume, &node).map(|(_, place, name)| (place, name))
                        }
                    };
                    let told = Mention { guest: guest.vmid, key: mention.key.to_owned(), line: mention.line };
                    if let Some(place) = place {
                        found.insert(place, told);
                    }
                }
            }
            found
        })
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
        let present = &self.place(item)?.present;
        let full = || self.volume_of_snapshot(item, &name, kind);
        if !present.contains_key(&name) && full().is_none() {
            // what somebody is based on is no leftover, whatever it is called
            let needed = self.bases.get(item.place).is_some_and(|bases| bases.contains_key(&item.name));
            return (!needed).then_some(Trouble::SnapshotOfNothing { volume, snapshot: owned });
        }
        // made by replication, migration, backups, for linked clones
        let internal = snapshot.starts_with(b"__") || snapshot == "vzdump";
        let name = if present.contains_key(&name) { name } else { full()? };
        let mut users = self.users(item.place, &name).iter();
        let known = internal || users.any(|(_, guest)| guest.snapshots().contains(&snapshot));
        (!known).then_some(Trouble::UnknownSnapshot { volume, snapshot: owned })
    }

    /// The volume whose name a snapshot gives without its extension (a qcow2 LV).
    fn volume_of_snapshot(&self, item: &Item, name: &BString, kind: StorageType) -> Option<BString> {
        let whole = BString::from([name.as_bytes(), b".qcow2"].concat());
        let there = kind == StorageType::Lvm && self.place(item)?.present.contains_key(&whole);
        there.then_some(whole)
    }

    fn tell_of(&mut self, item: &Item, trouble: Trouble) {
        if let Some(known) = self.stock.storages.get(item.storage) {
            self.tell(known, item.place, &item.name, item.size, trouble);
        }
    }

    fn tell(&mut self, known: &Known<'_>, place: usize, name: &[u8], size: Option<u64>, trouble: Trouble) {
        let place = self.stock.places.get(place);
        let name = BString::from(name);
        let taken = place.map(|place| &place.present);
        let fix = Fixer { cluster: self.cluster, storage: &known.storage, name: &name, taken }.fix(&trouble);
        let node = place.and_then(|place| place.node.clone());
        self.audit.findings.push(Finding { trouble, storage: known.id.to_owned(), node, name, size, fix });
    }
}

/// The base and the name on the storage of a volume in a configuration.
fn parts(volume: &Volume, kind: StorageType) -> (Option<&[u8]>, &[u8]) {
    name_of(volume.id.volname(), kind, volume.vtype == Some(VolumeType::Images))
}

/// The base and the name on the storage in a volume name. Of files, only images have a base.
fn name_of(volname: &BStr, kind: StorageType, is_image: bool) -> (Option<&[u8]>, &[u8]) {
    let slashes = match (kind.is_path_based(), is_image) {
        (true, true) => 2,
        (true, false) => return (None, volname),
        (false, _) => 1,
    };
    let cut = |name| match kind {
        StorageType::Btrfs => <[u8]>::strip_suffix(name, b".raw").unwrap_or(name),
        _ => name,
    };
    let at = volname.rfind_iter("/").nth(slashes - 1);
    let split = at.and_then(|at| Some((volname.get(..at)?, volname.get(at + 1..)?)));
    match split {
        Some((base, name)) => (Some(cut(base)), cut(name)),
        None => (None, cut(volname)),
    }
}

/// Whether the operation behind a lock makes such a volume before the configuration refers to it; `away`: on another
/// node than the guest's.
fn makes(lock: &BStr, away: bool, raw: RawName<'_>) -> bool {
    let RawName::Volume { role, .. } = raw else { return false };
    match (lock.as_bytes(), role) {
        (b"migrate", _) => away,
        (_, _) if away => false,
        (b"create" | b"clone" | b"disk", Role::Disk(_) | Role::CloudInit | Role::Other(_)) => true,
        (b"backup", Role::Fleecing(_)) => true,
        (b"snapshot" | b"snapshot-delete" | b"rollback", Role::SnapshotState(_)) => true,
        (b"suspending" | b"suspended", Role::SuspendState(_)) => true,
        _ => false,
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
