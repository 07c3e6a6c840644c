// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dry run: operations on guests see a node that changes as they change it, and nothing happens but the plan.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::format::format_size;
use pve_config::guest::{GuestKind, VmConfig};
use pve_storage::{Storage, Storages};
use pve_volid::{ImageFormat, StorageId, VmId, VolumeId, VolumeIdRef, VolumeType};
use serde_json::{Value, json};

use super::files::Alone;
use super::{
    ConfigStore, CopyOptions, GuestEntry, ListedVolume, LockGuard, LockMode, MachineChange, Machines, Node,
    PlanStep, PlannedVolumes, StoredVolumes, Volumes, WorldError, files, naming,
};
use crate::version::MachineVersion;

/// A node on which everything is only rehearsed. Questions go to another node, and what was rehearsed is taken into
/// account: a volume that would have been made exists from then on, with the name that it would have got.
///
/// ```
/// use pve_qemu::node::{ConfigStore, DirectoryStore, Facts, NoMachines, Node, Rehearsal, StoredVolumes, SystemChance};
/// use pve_qemu::snapshot::{SnapshotRequest, create_snapshot};
/// use pve_storage::{MemoryHost, Session, Storage, Storages};
///
/// let directory = tempfile::tempdir()?;
/// let configs = DirectoryStore::new(directory.path(), "pve1").with_locks_in(directory.path().join("lock"));
/// configs.create("100".parse()?, "scsi0: vg:vm-100-disk-0\n".into())?;
/// let storages: Storages =
///     [Storage::new("vg".parse()?, "lvmthin").with("vgname", "pve").with("thinpool", "data")].into_iter().collect();
/// let host = MemoryHost::new();
/// let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
/// let (facts, machines) = (Facts::default(), NoMachines);
/// let node = Node { configs: &configs, volumes: &volumes, machines: &machines, chance: &SystemChance, facts: &facts };
///
/// let rehearsal = Rehearsal::new(node);
/// create_snapshot(rehearsal.node(), "100".parse()?, SnapshotRequest::new("before"), None)?;
/// let steps: Vec<String> = rehearsal.steps().iter().map(ToString::to_string).collect();
/// assert_eq!(steps[1], "snapshot vg:vm-100-disk-0 @before");
/// assert_eq!(configs.read("100".parse()?)?.unwrap().1, "scsi0: vg:vm-100-disk-0\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Rehearsal<'a> {
    node: Node<'a>,
    /// Files that were changed; `None`: removed.
    files: RefCell<BTreeMap<VmId, Option<(GuestEntry, BString)>>>,
    /// Volumes that were changed; `None`: gone.
    volumes: RefCell<BTreeMap<BString, Option<(u64, ImageFormat)>>>,
    /// VMs that would have been started or have ended.
    running: RefCell<BTreeMap<VmId, bool>>,
    steps: RefCell<Vec<PlanStep>>,
    planned: Option<&'a PlannedVolumes<'a>>,
}

/// Commands after which a machine is thought to have ended: the guest is thought to obey.
const LAST_COMMANDS: [&str; 3] = ["quit", "system_powerdown", "guest-shutdown"];

impl<'a> Rehearsal<'a> {
    /// A rehearsal on this node, nothing done yet.
    #[must_use]
    pub fn new(node: Node<'a>) -> Self {
        let (files, volumes, running, steps) = Default::default();
        Rehearsal { node, files, volumes, running, steps, planned: None }
    }

    /// The same, with the commands behind every step on a storage.
    #[must_use]
    pub fn with_commands(mut self, planned: &'a PlannedVolumes<'a>) -> Self {
        self.planned = Some(planned);
        self
    }

    /// The node as operations see it.
    #[must_use]
    pub fn node(&self) -> Node<'_> {
        let Node { chance, facts, .. } = self.node;
        Node { configs: self, volumes: self, machines: self, chance, facts }
    }

    /// What would be done, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<PlanStep> {
        self.steps.borrow().clone()
    }

    pub(crate) fn plan(&self, step: PlanStep) {
        self.steps.borrow_mut().push(step);
    }

    /// From here on a VM runs, or does not.
    pub(crate) fn set_running(&self, vmid: VmId, runs: bool) {
        self.running.borrow_mut().insert(vmid, runs);
    }

    /// Notes a step on a storage, with the commands that `change` would run.
    fn plan_volume(
        &self,
        action: &'static str,
        volume: &BStr,
        detail: impl Into<String>,
        change: impl FnOnce(&PlannedVolumes<'a>) -> Vec<String>,
    ) {
        let commands = self.planned.map(change).unwrap_or_default();
        self.plan(PlanStep::Volume { action, volume: volume.to_owned(), detail: detail.into(), commands });
    }

    /// Notes a step that is worth a line only for its commands.
    fn plan_commands(
        &self,
        action: &'static str,
        volumes: &[&BStr],
        change: impl Fn(&StoredVolumes<'a>, &BStr) -> Result<(), WorldError>,
    ) {
        let Some(planned) = self.planned else { return };
        for volume in volumes {
            let commands = planned.commands(|volumes| change(volumes, volume));
            if !commands.is_empty() {
                let detail = String::new();
                self.plan(PlanStep::Volume { action, volume: (*volume).to_owned(), detail, commands });
            }
        }
    }

    fn storage_of<'s>(&'s self, volume: &'s BStr) -> Result<(&'s Storage, &'s BStr), WorldError> {
        let id = VolumeIdRef::from_bytes(volume).map_err(pve_storage::Error::from)?;
        Ok((self.node.volumes.storages().require(id.storage().as_str())?, id.volname()))
    }

    /// The name of a new disk.
    fn free_name(&self, storage: &Storage, owner: VmId, format: ImageFormat) -> Result<String, WorldError> {
        let images = self.images(storage.id(), Some(owner))?;
        let taken = images.iter().map(|image| image.volid.volname());
        naming::free_name(storage, owner, format, taken).map_err(|error| WorldError::Other(error.to_string()))
    }

    fn add(
        &self,
        storage: &Storage,
        volname: &BStr,
        size: u64,
        format: ImageFormat,
    ) -> Result<VolumeId, WorldError> {
        let volid = storage.volid(volname)?;
        self.volumes.borrow_mut().insert(volid.as_bstr().to_owned(), Some((size, format)));
        Ok(volid)
    }

    /// A VM of this node, and its file.
    fn own(&self, vmid: VmId) -> Result<(GuestEntry, BString), WorldError> {
        let found = self.read(vmid)?;
        let node = self.node.configs.node();
        match found {
            Some((entry, text)) if entry.kind == GuestKind::Qemu && entry.node == node => Ok((entry, text)),
            other => Err(files::not_own(vmid, other.map(|(entry, _)| entry).as_ref(), node)),
        }
    }

    fn forget(&self, volume: &BStr) {
        self.volumes.borrow_mut().insert(volume.to_owned(), None);
    }
}

impl ConfigStore for Rehearsal<'_> {
    fn node(&self) -> &str {
        self.node.configs.node()
    }

    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        let files = self.files.borrow();
        let mut guests = self.node.configs.guests()?;
        guests.retain(|guest| !files.contains_key(&guest.vmid));
        guests.extend(files.values().flatten().map(|(entry, _)| entry.clone()));
        guests.sort_by_key(|guest| guest.vmid);
        Ok(guests)
    }

    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError> {
        match self.files.borrow().get(&vmid) {
            Some(file) => Ok(file.clone()),
            None => self.node.configs.read(vmid),
        }
    }

    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        let (entry, before) = self.own(vmid)?;
        self.plan(PlanStep::Write { vmid, before: Some(before), after: text.to_owned() });
        self.files.borrow_mut().insert(vmid, Some((entry, text.to_owned())));
        Ok(())
    }

    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        if let Some((entry, _)) = self.read(vmid)? {
            return Err(files::taken(&entry));
        }
        self.plan(PlanStep::Write { vmid, before: None, after: text.to_owned() });
        let entry = GuestEntry { vmid, kind: GuestKind::Qemu, node: ConfigStore::node(self).to_owned() };
        self.files.borrow_mut().insert(vmid, Some((entry, text.to_owned())));
        Ok(())
    }

    fn remove(&self, vmid: VmId) -> Result<(), WorldError> {
        self.own(vmid)?;
        self.plan(PlanStep::Remove { vmid });
        self.files.borrow_mut().insert(vmid, None);
        Ok(())
    }

    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError> {
        let (entry, text) = self.own(vmid)?;
        files::check_move(vmid, &entry.node, node)?;
        self.plan(PlanStep::MoveTo { vmid, node: node.to_owned() });
        let entry = GuestEntry { node: node.to_owned(), ..entry };
        self.files.borrow_mut().insert(vmid, Some((entry, text)));
        Ok(())
    }

    fn file(&self, path: &str) -> Result<Option<BString>, WorldError> {
        if let Some(guest) = files::guest_at(path)
            && let Some(known) = self.files.borrow().get(&guest.vmid)
        {
            return Ok(known.as_ref().filter(|(entry, _)| *entry == guest).map(|(_, text)| text.clone()));
        }
        self.node.configs.file(path)
    }

    /// Nothing is locked: nothing changes.
    fn lock(&self, _: VmId, _: LockMode, _: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        Ok(Box::new(Alone))
    }
}

impl Volumes for Rehearsal<'_> {
    fn storages(&self) -> &Storages {
        self.node.volumes.storages()
    }

    fn images(&self, storage: &StorageId, owner: Option<VmId>) -> Result<Vec<ListedVolume>, WorldError> {
        let volumes = self.volumes.borrow();
        let mut images = self.node.volumes.images(storage, owner)?;
        images.retain(|image| !volumes.contains_key(image.volid.as_bstr()));
        let storage = self.storages().require(storage.as_str())?;
        for (volid, (size, format)) in volumes.iter().filter_map(|(volid, known)| Some((volid, (*known)?))) {
            let Ok((of, name)) = self.storage_of(volid.as_bstr()) else { continue };
            let Ok(parsed) = of.volume(name) else { continue };
            let its_owner = parsed.owner.and_then(|digits| digits.vmid());
            if of.id() == storage.id()
                && parsed.vtype == VolumeType::Images
                && (owner.is_none() || its_owner == owner)
            {
                let mut image = ListedVolume::new(storage.volid(name)?, size, format);
                image.owner = its_owner;
                images.push(image);
            }
        }
        Ok(images)
    }

    fn size(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        match self.volumes.borrow().get(volume) {
            Some(Some(known)) => Ok(*known),
            Some(None) => Err(WorldError::Other(format!("volume {volume} would not exist any more"))),
            None => self.node.volumes.size(volume),
        }
    }

    fn path(&self, volume: &BStr) -> Result<BString, WorldError> {
        self.node.volumes.path(volume)
    }

    fn volume_at(&self, path: &BStr) -> Result<Option<VolumeId>, WorldError> {
        self.node.volumes.volume_at(path)
    }

    fn allocate(
        &self,
        storage: &StorageId,
        owner: VmId,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<VolumeId, WorldError> {
        let storage = self.storages().require(storage.as_str())?;
        let file = match name {
            Some(name) => name.to_owned(),
            None => self.free_name(storage, owner, format)?.into(),
        };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size that was made of bytes"
        )]
        let size = (kib.max(0.0) * 1024.0).round() as u64;
        let volname = naming::new_volume(storage, owner, file.as_bstr());
        let volid = storage.volid(&volname)?;
        if name.is_some() && self.size(volid.as_bstr()).is_ok() {
            return Err(WorldError::Other(format!("volume {volid} exists already; free it, or use it")));
        }
        self.add(storage, volname.as_bstr(), size, format)?;
        let detail = format!("({format}, {})", format_size(size));
        self.plan_volume("allocate", volid.as_bstr(), detail, |planned| {
            let name = Some(file.as_bstr());
            planned.commands(|volumes| volumes.allocate(storage.id(), owner, format, name, kib))
        });
        Ok(volid)
    }

    fn free(&self, volume: &BStr) -> Result<(), WorldError> {
        self.plan_volume("free", volume, "", |planned| planned.commands(|volumes| volumes.free(volume)));
        self.forget(volume);
        Ok(())
    }

    fn clone_linked(
        &self,
        base: &BStr,
        snapshot: Option<&BStr>,
        owner: VmId,
    ) -> Result<VolumeId, WorldError> {
        let (size, _) = self.size(base)?;
        let (storage, name) = self.storage_of(base)?;
        let format = naming::clone_format(storage);
        let file = self.free_name(storage, owner, format)?;
        let volname = naming::linked_clone(&storage.volume(name)?, snapshot.is_some(), owner, &file);
        let volid = self.add(storage, volname.as_bstr(), size, format)?;
        self.plan_volume("clone", base, format!("{}-> {volid}", at(snapshot)), |planned| {
            planned.commands_naming(&volid, |volumes| volumes.clone_linked(base, snapshot, owner))
        });
        Ok(volid)
    }

    fn copy(
        &self,
        source: &BStr,
        snapshot: Option<&BStr>,
        target: &BStr,
        options: CopyOptions,
    ) -> Result<(), WorldError> {
        self.plan_volume("copy", source, format!("{}-> {target}", at(snapshot)), |planned| {
            planned.commands(|volumes| volumes.copy(source, snapshot, target, options))
        });
        Ok(())
    }

    fn create_base(&self, volume: &BStr) -> Result<VolumeId, WorldError> {
        let (size, format) = self.size(volume)?;
        let (storage, name) = self.storage_of(volume)?;
        let volid = self.add(storage, naming::base_volume(name).as_bstr(), size, format)?;
        self.forget(volume);
        self.plan_volume("make a base of", volume, format!("-> {volid}"), |planned| {
            planned.commands(|volumes| volumes.create_base(volume))
        });
        Ok(volid)
    }

    fn rename(&self, volume: &BStr, owner: VmId, name: Option<&BStr>) -> Result<VolumeId, WorldError> {
        let (size, format) = self.size(volume)?;
        let (storage, old) = self.storage_of(volume)?;
        let file = match name {
            Some(name) => name.to_str_lossy().into_owned(),
            None => self.free_name(storage, owner, format)?,
        };
        let volname = naming::renamed(storage, old, owner, &file);
        let volid = self.add(storage, volname.as_bstr(), size, format)?;
        self.forget(volume);
        self.plan_volume("rename", volume, format!("-> {volid}"), |planned| {
            planned.commands_naming(&volid, |volumes| volumes.rename(volume, owner, name))
        });
        Ok(volid)
    }

    fn resize(&self, volume: &BStr, size: u64, running: bool) -> Result<(), WorldError> {
        let (_, format) = self.size(volume)?;
        self.volumes.borrow_mut().insert(volume.to_owned(), Some((size, format)));
        self.plan_volume("resize", volume, format!("to {}", format_size(size)), |planned| {
            planned.commands(|volumes| volumes.resize(volume, size, running))
        });
        Ok(())
    }

    fn create_snapshot(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.plan_volume("snapshot", volume, format!("@{snapshot}"), |planned| {
            planned.commands(|volumes| volumes.create_snapshot(volume, snapshot))
        });
        Ok(())
    }

    fn delete_snapshot(&self, volume: &BStr, snapshot: &BStr, running: bool) -> Result<(), WorldError> {
        self.plan_volume("delete snapshot of", volume, format!("@{snapshot}"), |planned| {
            planned.commands(|volumes| volumes.delete_snapshot(volume, snapshot, running))
        });
        Ok(())
    }

    fn check_rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.node.volumes.check_rollback(volume, snapshot)
    }

    fn rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.plan_volume("roll back", volume, format!("@{snapshot}"), |planned| {
            planned.commands(|volumes| volumes.rollback(volume, snapshot))
        });
        Ok(())
    }

    fn activate_storage(&self, storage: &StorageId) -> Result<(), WorldError> {
        let name = BStr::new(storage.as_str());
        self.plan_commands("activate", &[name], |planned, _| planned.activate_storage(storage));
        Ok(())
    }

    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.plan_commands("activate", volumes, |planned, volume| planned.activate(&[volume]));
        Ok(())
    }

    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.plan_commands("deactivate", volumes, |planned, volume| planned.deactivate(&[volume]));
        Ok(())
    }

    fn write_cloudinit(&self, vmid: VmId, config: &VmConfig<'_>, volume: &BStr) -> Result<(), WorldError> {
        self.plan_volume("write cloud-init image to", volume, "", |planned| {
            planned.commands(|volumes| volumes.write_cloudinit(vmid, config, volume))
        });
        Ok(())
    }
}

impl Machines for Rehearsal<'_> {
    fn is_running(&self, vmid: VmId) -> bool {
        let planned = self.running.borrow().get(&vmid).copied();
        planned.unwrap_or_else(|| self.node.machines.is_running(vmid))
    }

    fn qmp(
        &self,
        vmid: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError> {
        if command == "query-savevm" {
            return Ok(json!({ "status": "completed" }));
        }
        if command.starts_with("query-") || ["qom-get", "guest-ping"].contains(&command) {
            // one that would have been started is not there to be asked
            return match self.running.borrow().get(&vmid) {
                Some(_) => Ok(json!({ "status": "running" })),
                None => self.node.machines.qmp(vmid, command, arguments, timeout),
            };
        }
        self.plan(PlanStep::Machine { vmid, command: format!("{command} {arguments}") });
        if LAST_COMMANDS.contains(&command) {
            self.set_running(vmid, false);
        }
        Ok(json!({}))
    }

    fn machine_version(&self, vmid: VmId) -> Option<MachineVersion> {
        self.node.machines.machine_version(vmid)
    }

    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        self.plan(PlanStep::Machine { vmid, command: change.to_string() });
        Ok(())
    }
}

fn at(snapshot: Option<&BStr>) -> String {
    snapshot.map(|name| format!("@{name} ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use pve_storage::{LocalHost, MemoryHost, Session};

    use super::*;
    use crate::destroy::{DestroyOptions, destroy_vm};
    use crate::node::{Facts, MemoryStore, NoMachines, SystemChance};
    use crate::rescan::{RescanMode, rescan};

    fn rehearse(
        configs: &MemoryStore,
        storages: &Storages,
        host: &dyn pve_storage::Host,
        rehearsed: impl FnOnce(&Rehearsal<'_>),
    ) {
        let volumes = StoredVolumes::new(Session::new(storages, host, "pve1"), Default::default());
        let (facts, machines) = (Facts::default(), NoMachines);
        let (volumes, machines) = (&volumes, &machines);
        let node = Node { configs, volumes, machines, chance: &SystemChance, facts: &facts };
        rehearsed(&Rehearsal::new(node));
    }

    #[test]
    fn laws() {
        let configs = MemoryStore::new("pve1").with_file("datacenter.cfg", "keyboard: de\n");
        rehearse(&configs, &Storages::default(), &MemoryHost::new(), |rehearsal| {
            crate::node::laws::hold(rehearsal);
        });
        assert_eq!(configs.guests().unwrap(), []);
    }

    #[test]
    fn looking_at_storages_makes_no_directories() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disks");
        let storage = Storage::new("disks".parse().unwrap(), "dir")
            .with("path", path.to_str().unwrap())
            .with("content", "images");
        let storages: Storages = [storage].into_iter().collect();
        let configs = MemoryStore::new("pve1").with_file("nodes/pve1/qemu-server/100.conf", "name: web\n");
        rehearse(&configs, &storages, &LocalHost::new(|_| ()), |rehearsal| {
            rescan(rehearsal.node(), None, RescanMode::Apply).unwrap();
            let options = DestroyOptions { unreferenced: true, ..DestroyOptions::default() };
            destroy_vm(rehearsal.node(), VmId::new(100).unwrap(), options).unwrap();
        });
        assert!(!path.exists());
    }
}
