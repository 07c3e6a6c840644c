// SPDX-License-Identifier: MIT OR Apache-2.0
//! The model world in which the recorded operations on guests took place: configurations, volumes and machines that note
//! what is done to them.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{GuestKind, VmConfig};
use pve_config::storage::StorageConfig;
use pve_qemu::node::{
    Chance, ConfigStore, CopyOptions, Facts, GuestEntry, ListedVolume, LockGuard, LockMode, MachineChange,
    Machines, Node, Volumes, WorldError, naming,
};
use pve_storage::{Storage, Storages};
use pve_volid::{ImageFormat, StorageId, StorageType, VmId, VolumeId, VolumeType};
use serde_json::{Map, Value, json};

use crate::bytes;

/// The UUID that every draw gives; expected texts have `<UUID>` in its place.
const UUID: &str = "01234567-89ab-4cde-8f01-23456789abcd";
/// Where the firmware lies.
const FIRMWARE: &[u8] = b"/usr/share/pve-edk2-firmware/";
/// Files with the firmware's variables, and their sizes in bytes.
const FIRMWARE_SIZES: [(&str, u64); 6] = [
    ("AAVMF_VARS.fd", 64 << 20),
    ("AAVMF_VARS.ms.fd", 64 << 20),
    ("OVMF_SEV_VARS_4M.fd", 528 << 10),
    ("OVMF_VARS.fd", 128 << 10),
    ("OVMF_VARS_4M.fd", 528 << 10),
    ("OVMF_VARS_4M.ms.fd", 528 << 10),
];
/// What follows the prefix in every drawn MAC address.
const MAC: &str = "5A:5B:5C:5D:5E:5F";

/// A world made from a recorded case.
pub(crate) struct World {
    node: String,
    storages: Storages,
    facts: Facts,
    /// When the case begins, in seconds since 1970.
    start: i64,
    /// Seconds that operations have slept since then.
    clock: Cell<u64>,
    /// Whether it is noted that volumes are used: activated, deactivated, filled with a cloud-init image as it is.
    notes_use: bool,
    running: RefCell<BTreeSet<VmId>>,
    ha_managed: bool,
    fail: Vec<(String, String)>,
    paths: BTreeMap<BString, u64>,
    before: BTreeMap<BString, Size>,
    guests: RefCell<BTreeMap<VmId, (GuestEntry, BString)>>,
    volumes: RefCell<BTreeMap<BString, Size>>,
    ops: RefCell<Vec<String>>,
    writes: RefCell<Vec<(VmId, BString)>>,
}

/// Size of a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Size {
    Exact(u64),
    Approximate(u64),
}

impl Size {
    fn bytes(self) -> u64 {
        let (Size::Exact(bytes) | Size::Approximate(bytes)) = self;
        bytes
    }
}

impl World {
    /// The world that a case starts in.
    pub(crate) fn of_case(case: &Value) -> Result<Self, String> {
        let text = bytes::read(&case["storage_cfg"]).ok_or("no storage_cfg")?;
        let node = case["node"].as_str().ok_or("no node")?.to_owned();
        let mut facts = Facts::default();
        // this world has them everywhere
        facts.firmware_with_ca_2023 = FIRMWARE_SIZES.map(|(file, _)| file.to_owned()).into();
        for (name, fact) in [
            ("qemu_version", &mut facts.qemu_version),
            ("arch", &mut facts.arch),
            ("mac_prefix", &mut facts.mac_prefix),
        ] {
            if let Some(text) = case[name].as_str() {
                *fact = text.to_owned();
            }
        }
        let volumes = sizes(&case["volumes"])?;
        let world = World {
            storages: Storages::from_config(&StorageConfig::parse(&text)),
            facts,
            start: case["now"].as_i64().unwrap_or(1_700_000_000),
            clock: Cell::new(0),
            notes_use: false,
            running: RefCell::default(),
            ha_managed: case["ha_managed"] == true,
            fail: failures(&case["fail"]),
            paths: sizes(&case["paths"])?.into_iter().map(|(path, size)| (path, size.bytes())).collect(),
            before: volumes.clone(),
            guests: RefCell::default(),
            volumes: RefCell::new(volumes),
            ops: RefCell::default(),
            writes: RefCell::default(),
            node,
        };
        let mut world = world;
        for (id, config) in case["configs"].as_object().into_iter().flatten() {
            world.insert(vmid(id)?, config)?;
        }
        if let Ok(id) = id(case, "vmid") {
            if !case["config"].is_null() {
                world.insert(id, &case["config"])?;
            }
            if !matches!(case["running"], Value::Null | Value::Bool(false)) {
                world.running.get_mut().insert(id);
            }
        }
        Ok(world)
    }

    /// The same world, which also notes that volumes are used.
    pub(crate) fn noting_use(mut self) -> Self {
        self.notes_use = true;
        self
    }

    /// Seconds since the case began.
    pub(crate) fn clock(&self) -> u64 {
        self.clock.get()
    }

    fn insert(&mut self, vmid: VmId, config: &Value) -> Result<(), String> {
        let (node, kind, raw) = match config {
            Value::Object(guest) if guest.contains_key("raw") || guest.contains_key("node") => {
                let kind =
                    if guest.get("type") == Some(&json!("lxc")) { GuestKind::Lxc } else { GuestKind::Qemu };
                let raw = guest.get("raw").unwrap_or(&Value::Null);
                (guest.get("node").and_then(Value::as_str).unwrap_or(&self.node).to_owned(), kind, raw)
            }
            text => (self.node.clone(), GuestKind::Qemu, text),
        };
        let text = bytes::read(raw).ok_or("a configuration that is no text")?;
        self.guests.get_mut().insert(vmid, (GuestEntry { vmid, kind, node }, text.into()));
        Ok(())
    }

    /// The world as operations see it.
    pub(crate) fn node(&self) -> Node<'_> {
        Node { configs: self, volumes: self, machines: self, chance: self, facts: &self.facts }
    }

    /// Stops a machine.
    pub(crate) fn stop(&self, vmid: VmId) {
        self.note("vm-stop");
        self.running.borrow_mut().remove(&vmid);
    }

    /// Lets a machine run, or not.
    pub(crate) fn set_running(&self, vmid: VmId, is_running: bool) {
        let mut running = self.running.borrow_mut();
        if is_running {
            running.insert(vmid);
        } else {
            running.remove(&vmid);
        }
    }

    /// Says that something happened.
    pub(crate) fn note(&self, op: impl Into<String>) {
        self.ops.borrow_mut().push(op.into());
    }

    /// What happened to storages and machines since this was asked last.
    pub(crate) fn take_ops(&self) -> Value {
        json!(self.ops.take())
    }

    /// What happened to storages and machines.
    pub(crate) fn ops(&self) -> Value {
        json!(*self.ops.borrow())
    }

    /// Every text that was written for a VM.
    pub(crate) fn writes(&self, vmid: VmId) -> Value {
        let writes = self.writes.borrow();
        writes.iter().filter(|(id, _)| *id == vmid).map(|(_, text)| self.shown(text)).collect()
    }

    /// The VMs that were written.
    pub(crate) fn written(&self) -> BTreeSet<u32> {
        self.writes.borrow().iter().map(|(vmid, _)| vmid.get()).collect()
    }

    /// The file of a guest; null if there is none.
    pub(crate) fn config(&self, vmid: VmId) -> Value {
        self.guests.borrow().get(&vmid).map_or(Value::Null, |(_, text)| self.shown(text))
    }

    /// The files of all guests.
    pub(crate) fn configs(&self) -> Value {
        let guests = self.guests.borrow();
        let texts = guests.iter().map(|(vmid, (_, text))| (vmid.to_string(), self.shown(text)));
        texts.collect::<Map<_, _>>().into()
    }

    /// Volumes that the world did not start with, with their sizes.
    pub(crate) fn new_volumes(&self) -> Value {
        let volumes = self.volumes.borrow();
        let new = volumes.iter().filter(|(volume, _)| !self.before.contains_key(*volume));
        new.map(|(volume, size)| (volume.to_string(), json!(size.bytes()))).collect::<Map<_, _>>().into()
    }

    /// Volumes that the world started with and that are gone.
    pub(crate) fn removed_volumes(&self) -> Value {
        let volumes = self.volumes.borrow();
        let gone = self.before.keys().filter(|volume| !volumes.contains_key(*volume));
        gone.map(|volume| json!(volume.to_string())).collect()
    }

    /// A text with placeholders for what was drawn.
    fn shown(&self, text: &[u8]) -> Value {
        let mac = mac(&self.facts.mac_prefix);
        bytes::write(&text.replace(UUID, "<UUID>").replace(mac, "<MAC>"))
    }

    /// Fails if the case says so.
    fn try_to(&self, op: &str, on: &BStr) -> Result<(), WorldError> {
        if self.fail.iter().any(|(failing, place)| failing == op && on == place.as_str()) {
            return Err(WorldError::Other(format!("{op} of {on} fails in this case")));
        }
        Ok(())
    }

    fn storage<'s>(&'s self, volume: &BStr) -> Result<(&'s Storage, BString), WorldError> {
        let id = VolumeId::from_bytes(volume.to_vec()).map_err(|e| WorldError::Other(e.to_string()))?;
        let storage = self.storages.require(id.storage().as_str())?;
        Ok((storage, id.volname().to_owned()))
    }

    fn known(&self, volume: &BStr) -> Result<Size, WorldError> {
        let missing = || WorldError::Other(format!("there is no volume {volume}"));
        self.volumes.borrow().get(volume).copied().ok_or_else(missing)
    }

    fn add(&self, storage: &Storage, volname: &[u8], size: u64) -> Result<VolumeId, WorldError> {
        let volid = storage.volid(volname)?;
        self.volumes.borrow_mut().insert(volid.as_bstr().to_owned(), Size::Exact(size));
        Ok(volid)
    }

    /// The name that a new disk of the owner gets.
    fn free_name(&self, storage: &Storage, owner: VmId, format: ImageFormat) -> Result<String, WorldError> {
        let volumes = self.volumes.borrow();
        let names: Vec<BString> = volumes.keys().filter_map(|volume| self.name_on(storage, volume)).collect();
        let taken = names.iter().map(|name| name.as_bstr());
        naming::free_name(storage, owner, format, taken).map_err(|e| WorldError::Other(e.to_string()))
    }
}

fn sizes(volumes: &Value) -> Result<BTreeMap<BString, Size>, String> {
    let mut sizes = BTreeMap::new();
    for (volume, size) in volumes.as_object().into_iter().flatten() {
        let size = match size {
            Value::Object(known) => match known.get("approx").and_then(Value::as_u64) {
                Some(approximate) => Size::Approximate(approximate),
                None => Size::Exact(known.get("size").and_then(Value::as_u64).unwrap_or(0)),
            },
            size => Size::Exact(size.as_u64().ok_or("a size that is no number")?),
        };
        sizes.insert(volume.as_str().into(), size);
    }
    Ok(sizes)
}

fn failures(fail: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = fail.as_array().into_iter().flatten();
    list.map(|failure| (text(&failure["op"]), text(&failure["on"]))).collect()
}

/// A number of a guest in a case.
pub(crate) fn id(case: &Value, name: &str) -> Result<VmId, String> {
    match &case[name] {
        Value::String(text) => vmid(text),
        number => vmid(&number.to_string()),
    }
}

pub(crate) fn vmid(text: &str) -> Result<VmId, String> {
    VmId::from_bytes(text.as_bytes()).map_err(|e| e.to_string())
}

fn mac(prefix: &str) -> String {
    format!("{prefix}{}", MAC.get(prefix.len()..).unwrap_or_default())
}

fn format_of(volname: &[u8]) -> ImageFormat {
    if volname.ends_with(b".qcow2") {
        ImageFormat::Qcow2
    } else if volname.ends_with(b".vmdk") {
        ImageFormat::Vmdk
    } else {
        ImageFormat::Raw
    }
}

/// Size of a file with the firmware's variables; none of other files.
fn firmware_size(path: &BStr) -> Option<u64> {
    let file = path.strip_prefix(FIRMWARE)?;
    FIRMWARE_SIZES.iter().find(|(name, _)| name.as_bytes() == file).map(|(_, size)| *size)
}

struct Guard;

impl LockGuard for Guard {}

impl ConfigStore for World {
    fn node(&self) -> &str {
        &self.node
    }

    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        Ok(self.guests.borrow().values().map(|(entry, _)| entry.clone()).collect())
    }

    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError> {
        Ok(self.guests.borrow().get(&vmid).cloned())
    }

    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        self.writes.borrow_mut().push((vmid, text.to_owned()));
        let mut guests = self.guests.borrow_mut();
        let (_, stored) = guests.get_mut(&vmid).ok_or(WorldError::Other(format!("no guest {vmid}")))?;
        *stored = text.to_owned();
        Ok(())
    }

    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        if self.guests.borrow().contains_key(&vmid) {
            return Err(WorldError::Other(format!("guest {vmid} exists")));
        }
        let entry = GuestEntry { vmid, kind: GuestKind::Qemu, node: self.node.clone() };
        self.guests.borrow_mut().insert(vmid, (entry, text.to_owned()));
        self.writes.borrow_mut().push((vmid, text.to_owned()));
        Ok(())
    }

    fn remove(&self, vmid: VmId) -> Result<(), WorldError> {
        self.guests.borrow_mut().remove(&vmid);
        Ok(())
    }

    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError> {
        if let Some((entry, _)) = self.guests.borrow_mut().get_mut(&vmid) {
            node.clone_into(&mut entry.node);
        }
        Ok(())
    }

    fn file(&self, path: &str) -> Result<Option<BString>, WorldError> {
        let resources = self.guests.borrow().keys().map(|vmid| format!("vm: {vmid}\n\n")).collect::<String>();
        Ok((self.ha_managed && path == "ha/resources.cfg").then(|| resources.into()))
    }

    fn lock(&self, _: VmId, _: LockMode, _: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        Ok(Box::new(Guard))
    }
}

impl Volumes for World {
    fn storages(&self) -> &Storages {
        &self.storages
    }

    fn images(&self, storage: &StorageId, owner: Option<VmId>) -> Result<Vec<ListedVolume>, WorldError> {
        let storage = self.storages.require(storage.as_str())?;
        let mut listed = Vec::new();
        for (name, size) in self
            .volumes
            .borrow()
            .iter()
            .filter_map(|(name, size)| Some((self.name_on(storage, name)?, *size)))
        {
            let Ok(volume) = storage.volume(&name) else { continue };
            let its_owner = volume.owner.and_then(|digits| digits.vmid());
            if volume.vtype != VolumeType::Images || owner.is_some() && its_owner != owner {
                continue;
            }
            let mut entry = ListedVolume::new(storage.volid(&name)?, size.bytes(), format_of(&name));
            entry.owner = its_owner;
            entry.is_exact = matches!(size, Size::Exact(_));
            listed.push(entry);
        }
        Ok(listed)
    }

    fn size(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        if volume.starts_with(b"/") {
            let missing = || WorldError::Other(format!("there is no {volume}"));
            let size = self.paths.get(volume).copied().or_else(|| firmware_size(volume));
            return Ok((size.ok_or_else(missing)?, format_of(volume)));
        }
        Ok((self.known(volume)?.bytes(), format_of(volume)))
    }

    fn volume_at(&self, path: &BStr) -> Result<Option<VolumeId>, WorldError> {
        for volume in self.volumes.borrow().keys() {
            let (storage, name) = self.storage(volume.as_bstr())?;
            let there = storage.volume(&name)?.path(None, &pve_storage::Facts::default());
            if there.is_ok_and(|there| there == path) {
                return Ok(VolumeId::from_bytes(volume.to_vec()).ok());
            }
        }
        Ok(None)
    }

    fn allocate(
        &self,
        storage: &StorageId,
        owner: VmId,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<VolumeId, WorldError> {
        self.try_to("alloc", storage.as_str().into())?;
        let storage = self.storages.require(storage.as_str())?;
        if !storage.formats().contains(&format) {
            return Err(WorldError::Other(format!("storage {} has no format {format}", storage.id())));
        }
        let name = match name {
            Some(name) => name.to_string(),
            None => self.free_name(storage, owner, format)?,
        };
        let name = naming::new_volume(storage, owner, name.as_str().into());
        if self.volumes.borrow().contains_key(storage.volid(&name)?.as_bstr()) {
            return Err(WorldError::Other(format!("{name} exists on storage {}", storage.id())));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sizes of the recorded cases"
        )]
        let bytes = (kib * 1024.0).round() as u64;
        let unit = match storage.storage_type() {
            Some(StorageType::Lvm | StorageType::LvmThin) => 4 << 20,
            Some(StorageType::Rbd | StorageType::ZfsPool) => 1 << 20,
            _ => 1,
        };
        let volid = self.add(storage, &name, bytes.next_multiple_of(unit))?;
        self.note(format!("alloc {volid} format={format} size_kib={kib}"));
        Ok(volid)
    }

    fn free(&self, volume: &BStr) -> Result<(), WorldError> {
        self.try_to("free", volume)?;
        let (storage, name) = self.storage(volume)?;
        if !naming::has_directory(storage) {
            self.known(volume)?;
        }
        self.refuse_used_base(storage, &name)?;
        self.volumes.borrow_mut().remove(volume);
        self.note(format!("free {volume}"));
        Ok(())
    }

    fn clone_linked(
        &self,
        base: &BStr,
        snapshot: Option<&BStr>,
        owner: VmId,
    ) -> Result<VolumeId, WorldError> {
        self.try_to("clone", base)?;
        let size = self.known(base)?.bytes();
        let (storage, name) = self.storage(base)?;
        let file = self.free_name(storage, owner, naming::clone_format(storage))?;
        let new = naming::linked_clone(&storage.volume(&name)?, snapshot.is_some(), owner, &file);
        let volid = self.add(storage, &new, size)?;
        self.note(format!("clone {base}{} -> {volid}", at(snapshot)));
        Ok(volid)
    }

    fn copy(
        &self,
        source: &BStr,
        snapshot: Option<&BStr>,
        target: &BStr,
        _: CopyOptions,
    ) -> Result<(), WorldError> {
        let source = if source.starts_with(FIRMWARE) { "OVMF_VARS".into() } else { source };
        self.note(format!("copy {source}{} -> {target}", at(snapshot)));
        Ok(())
    }

    fn create_base(&self, volume: &BStr) -> Result<VolumeId, WorldError> {
        self.try_to("create_base", volume)?;
        let size = self.known(volume)?.bytes();
        let (storage, name) = self.storage(volume)?;
        let base = naming::base_volume(name.as_bstr());
        self.volumes.borrow_mut().remove(volume);
        let volid = self.add(storage, &base, size)?;
        self.note(format!("create-base {volume} -> {volid}"));
        Ok(volid)
    }

    fn rename(&self, volume: &BStr, owner: VmId, name: Option<&BStr>) -> Result<VolumeId, WorldError> {
        self.try_to("rename", volume)?;
        let size = self.known(volume)?.bytes();
        let (storage, old) = self.storage(volume)?;
        let file = match name {
            Some(name) => name.to_string(),
            None => self.free_name(storage, owner, format_of(&old))?,
        };
        let new = naming::renamed(storage, old.as_bstr(), owner, &file);
        self.volumes.borrow_mut().remove(volume);
        let volid = self.add(storage, &new, size)?;
        self.note(format!("rename {volume} -> {volid}"));
        Ok(volid)
    }

    fn resize(&self, volume: &BStr, size: u64, _: bool) -> Result<(), WorldError> {
        self.known(volume)?;
        self.volumes.borrow_mut().insert(volume.to_owned(), Size::Exact(size));
        self.note(format!("resize {volume} {size}"));
        Ok(())
    }

    fn create_snapshot(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.try_to("snapshot", volume)?;
        self.note(format!("snapshot {volume}@{snapshot}"));
        Ok(())
    }

    fn delete_snapshot(&self, volume: &BStr, snapshot: &BStr, _: bool) -> Result<(), WorldError> {
        self.try_to("snapshot-delete", volume)?;
        self.note(format!("snapshot-delete {volume}@{snapshot}"));
        Ok(())
    }

    fn check_rollback(&self, volume: &BStr, _: &BStr) -> Result<(), WorldError> {
        self.try_to("rollback-check", volume)
    }

    fn rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.try_to("rollback", volume)?;
        self.note(format!("rollback {volume}@{snapshot}"));
        Ok(())
    }

    fn activate_storage(&self, _: &StorageId) -> Result<(), WorldError> {
        Ok(())
    }

    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        if self.notes_use {
            self.note(format!("activate {}", list(volumes)));
            volumes.iter().try_for_each(|volume| self.known(volume).map(drop))?;
        }
        Ok(())
    }

    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        if self.notes_use {
            self.note(format!("deactivate {}", list(volumes)));
        }
        Ok(())
    }

    fn write_cloudinit(&self, vmid: VmId, config: &VmConfig<'_>, volume: &BStr) -> Result<(), WorldError> {
        let resolver = self.facts.resolver.clone();
        let kind = pve_qemu::cloudinit::Settings::of_config(&config.main, vmid, resolver).kind();
        let kind = kind.map_err(|e| WorldError::Other(e.to_string()))?;
        if self.notes_use {
            self.note(format!("cloudinit-image {volume} {}", kind.label()));
            return Ok(());
        }
        if self.known(volume).is_err() {
            let (storage, name) = self.storage(volume)?;
            let file = name.rsplit_str("/").next().unwrap_or_default().as_bstr();
            self.allocate(storage.id(), vmid, format_of(&name), Some(file), 4096.0)?;
        }
        self.note(format!("cloudinit {volume} {}", kind.label()));
        Ok(())
    }
}

impl World {
    /// The name of a volume, if it is on this storage.
    fn name_on(&self, storage: &Storage, volume: &BString) -> Option<BString> {
        let (of, name) = self.storage(volume.as_bstr()).ok()?;
        (of.id() == storage.id()).then_some(name)
    }

    /// Storages with linked clones know which bases are used.
    fn refuse_used_base(&self, storage: &Storage, name: &BString) -> Result<(), WorldError> {
        let Ok(base) = storage.volume(name) else { return Ok(()) };
        if !base.is_base {
            return Ok(());
        }
        let clone = self.images(storage.id(), None)?.into_iter().find(|listed| {
            let clone = storage.volume(listed.volid.volname()).ok();
            let part = clone.and_then(|clone| clone.base);
            part.is_some_and(|part| part.name == base.name && Some(part.owner) == base.owner)
        });
        match clone {
            Some(clone) => Err(WorldError::Other(format!("base {name} is used by {}", clone.volid))),
            None => Ok(()),
        }
    }
}

fn list(volumes: &[&BStr]) -> String {
    volumes.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn at(snapshot: Option<&BStr>) -> String {
    snapshot.map(|name| format!("@{name}")).unwrap_or_default()
}

impl Machines for World {
    fn is_running(&self, vmid: VmId) -> bool {
        self.running.borrow().contains(&vmid)
    }

    fn qmp(
        &self,
        _: VmId,
        command: &str,
        arguments: Value,
        _: Option<Duration>,
    ) -> Result<Value, WorldError> {
        let silent = ["savevm-", "query-", "migrate-set-", "guest-"];
        if !silent.iter().any(|prefix| command.starts_with(prefix)) {
            self.note(format!("qmp {command} {arguments}"));
        }
        Ok(if command == "query-savevm" { json!({ "status": "completed" }) } else { json!({}) })
    }

    fn change(&self, _: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        self.note(match change {
            MachineChange::Mirror { source, target, .. } => format!("mirror {source} -> {target}"),
            MachineChange::Plug { key, .. } => format!("device-plug {key}"),
            MachineChange::Unplug { key, .. } => format!("device-unplug {key}"),
            MachineChange::PlugUsb { key, .. } => format!("usb-plug {key}"),
            MachineChange::Cpus { configured: Some(number), .. } => format!("cpu-hotplug {number}"),
            MachineChange::Cpus { .. } => "cpu-hotplug default".to_owned(),
            MachineChange::Medium { key, file, .. } => format!("change-medium {key} {file}"),
            MachineChange::Throttle { key, .. } => format!("set-throttle drive-{key}"),
            MachineChange::Link { key, up } => format!("set-link {key} {}", if *up { "up" } else { "down" }),
            // not noted in the recorded cases
            _ => return Ok(()),
        });
        Ok(())
    }
}

impl Chance for World {
    fn now(&self) -> i64 {
        self.start + i64::try_from(self.clock()).unwrap_or(0)
    }

    fn uuid(&self) -> String {
        UUID.to_owned()
    }

    fn mac(&self, prefix: &str) -> String {
        mac(prefix)
    }

    fn crypt(&self, password: &[u8]) -> BString {
        format!("<CRYPT5:{}>", password.as_bstr()).into()
    }

    fn sleep(&self, time: Duration) {
        self.clock.set(self.clock() + time.as_secs());
    }
}
