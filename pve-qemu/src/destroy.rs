// SPDX-License-Identifier: MIT OR Apache-2.0
//! Destroying a VM: its volumes, then its configuration (spec: vm-lifecycle, "Destroy").
//!
//! # What is left behind, or goes unnoticed
//!
//! * A volume that cannot be freed does not keep the VM from going: [`Destroyed::left_behind`] names it, and so does the
//!   audit of [`pve_storage::audit`] from then on, as an orphan.
//! * Disks that only snapshots name are not freed, unless [`DestroyOptions::unreferenced`] is set.
//! * Volumes of another owner that are attached are kept; so are paths of the host. [`Destroyed::kept`] names them.
//! * Base volumes of lvm-thin and btrfs do not know their linked clones: they are freed under them.
//! * If the process dies after the first volume is freed, the configuration still names it: destroy again, freeing what is
//!   gone is only a warning. In the end `lock: destroyed` is all that may remain.
//! * Other files of the cluster that name the VM are not changed: [`Destroyed::mentioned_in`] lists them.

use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{LockError, VmConfig, VmSection};
use pve_config::ha::HaResources;
use pve_config::job::{Jobs, ReplicationJobs, Selection};
use pve_storage::Volume;
use pve_volid::{ContentType, VmId};

use crate::clone::is_real_cdrom;
use crate::disk;
use crate::left_behind::LeftBehind;
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// Whether the content of a file names a VM.
type Names = fn(&[u8], VmId) -> bool;

/// Files of the cluster that may name a VM.
const MENTIONS: [(&str, Names); 5] = [
    (HaResources::PATH, is_resource),
    (ReplicationJobs::PATH, is_replicated),
    (Jobs::PATH, is_in_backup_job),
    ("vzdump.cron", |text, vmid| text.split(u8::is_ascii_whitespace).any(|word| is_number(word, vmid))),
    ("user.cfg", |text, vmid| {
        let mut paths = text.split_str(":").filter_map(|field| field.strip_prefix(b"/vms/"));
        paths.any(|path| is_number(path, vmid))
    }),
];

/// Files whose mention keeps a VM from being destroyed without purge.
const MANAGING: [&str; 2] = [HaResources::PATH, ReplicationJobs::PATH];

/// How a VM is destroyed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestroyOptions {
    /// Also if it is a resource of the HA manager, or replicated.
    pub purge: bool,
    /// Also volumes that it owns by name, and does not name.
    pub unreferenced: bool,
    /// Although another operation has locked it.
    pub skip_lock: bool,
}

/// A VM that is gone.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Destroyed {
    /// Volumes that were freed.
    pub freed: Vec<BString>,
    /// Volumes that could not be freed.
    pub left_behind: Vec<LeftBehind>,
    /// Volumes and paths that it named, and that are not its own.
    pub kept: Vec<BString>,
    /// Files below `/etc/pve` that still name it.
    pub mentioned_in: Vec<String>,
}

/// Why a VM was not destroyed. Nothing was freed, except with [`DestroyError::World`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DestroyError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock, a listing, or the store failed.
    #[error(transparent)]
    World(#[from] WorldError),
    /// It is protected.
    #[error("VM {vmid} is protected; set protection=0 first")]
    Protected {
        /// The VM.
        vmid: VmId,
    },
    /// It runs.
    #[error("VM {vmid} is running; stop it first")]
    Running {
        /// The VM.
        vmid: VmId,
    },
    /// Something else of the cluster depends on it.
    #[error("VM {vmid} is used in {file}; remove it there, or destroy it with purge")]
    Managed {
        /// The VM.
        vmid: VmId,
        /// The file below `/etc/pve`.
        file: &'static str,
    },
    /// Linked clones need its disks.
    #[error(
        "VM {vmid}: base volume {volume} is used by the linked clone {used_by}; destroy that, or move its disk first"
    )]
    InUse {
        /// The VM.
        vmid: VmId,
        /// The base volume.
        volume: BString,
        /// A clone of it.
        used_by: BString,
    },
}

/// Destroys a VM of this node.
///
/// # Errors
/// If it is protected, runs, is locked, or is a template with linked clones.
pub fn destroy_vm(node: Node<'_>, vmid: VmId, options: DestroyOptions) -> Result<Destroyed, DestroyError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let config = vm_file::load(node, vmid)?;
    check(node, vmid, &config, options)?;
    let mut work = Work { node, vmid, seen: BTreeSet::new(), done: Destroyed::default() };
    work.free_fleecing(&config);
    work.free_section(&config.main);
    for (_, snapshot) in config.snapshots() {
        work.free_state(snapshot);
    }
    work.free_section(&config.pending);
    if options.unreferenced {
        work.free_unreferenced()?;
    }
    node.configs.write(vmid, b"lock: destroyed\n".as_bstr())?;
    work.done.mentioned_in = mentions(node, vmid)?;
    node.configs.remove(vmid)?;
    Ok(work.done)
}

fn check(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'_>,
    options: DestroyOptions,
) -> Result<(), DestroyError> {
    if let Some(lock) = config.main.lock().filter(|lock| *lock != "suspended" && !options.skip_lock) {
        let source = LockError::Locked { lock: lock.to_owned() };
        return Err(VmFileError::Locked { vmid, source }.into());
    }
    if config.main.is_protected() {
        return Err(DestroyError::Protected { vmid });
    }
    if config.main.is_template() {
        check_clones(node, vmid, config)?;
    }
    if node.machines.is_running(vmid) {
        return Err(DestroyError::Running { vmid });
    }
    if options.purge {
        return Ok(());
    }
    let mentions = mentions(node, vmid)?;
    let managing = MANAGING.into_iter().find(|file| mentions.iter().any(|found| found == file));
    managing.map_or(Ok(()), |file| Err(DestroyError::Managed { vmid, file }))
}

/// That no volume is a base of somebody else's.
fn check_clones(node: Node<'_>, vmid: VmId, config: &VmConfig<'_>) -> Result<(), DestroyError> {
    let unused = config.main.numbered("unused").map(|(_, value)| value.to_owned());
    let drives = config.main.drives().filter(|(_, drive)| !drive.is_cdrom());
    let volumes: BTreeSet<BString> = drives.map(|(_, drive)| drive.file.to_owned()).chain(unused).collect();
    for volid in &volumes {
        let Some(base) = disk::volume(node, volid.as_bstr()).filter(|volume| volume.is_base) else {
            continue;
        };
        node.volumes.activate_storage(base.storage().id())?;
        for listed in node.volumes.images(base.storage().id(), None)? {
            let clone = base.storage().volume(listed.volid.volname());
            if clone.is_ok_and(|clone| is_based_on(&clone, &base)) {
                let used_by = listed.volid.into_bytes().into();
                return Err(DestroyError::InUse { vmid, volume: volid.clone(), used_by });
            }
        }
    }
    Ok(())
}

fn is_based_on(clone: &Volume<'_>, base: &Volume<'_>) -> bool {
    clone.base.is_some_and(|part| part.name == base.name && Some(part.owner) == base.owner)
}

/// The files that name the VM.
fn mentions(node: Node<'_>, vmid: VmId) -> Result<Vec<String>, WorldError> {
    let mut found = Vec::new();
    for (file, names) in MENTIONS {
        if node.configs.file(file)?.is_some_and(|text| names(&text, vmid)) {
            found.push(file.to_owned());
        }
    }
    let firewall = format!("firewall/{vmid}.fw");
    if node.configs.file(&firewall)?.is_some() {
        found.push(firewall);
    }
    Ok(found)
}

fn is_resource(text: &[u8], vmid: VmId) -> bool {
    let id = format!("vm:{vmid}");
    HaResources::parse(text).resources().any(|resource| resource.id() == id)
}

fn is_replicated(text: &[u8], vmid: VmId) -> bool {
    ReplicationJobs::parse(text).of_guest(vmid.get()).next().is_some()
}

/// Whether a backup job lists the VM, to take it along or to leave it out.
fn is_in_backup_job(text: &[u8], vmid: VmId) -> bool {
    Jobs::parse(text).backups().any(|job| match job.selection() {
        Selection::Guests(listed) | Selection::AllBut(listed) => listed.contains(&vmid.get()),
        _ => false,
    })
}

fn is_number(word: &[u8], vmid: VmId) -> bool {
    VmId::from_bytes(word).is_ok_and(|number| number == vmid)
}

/// A VM whose volumes are being freed.
struct Work<'a> {
    node: Node<'a>,
    vmid: VmId,
    seen: BTreeSet<BString>,
    done: Destroyed,
}

impl Work<'_> {
    fn free_fleecing(&mut self, config: &VmConfig<'_>) {
        let images = config.special_section("fleecing").and_then(|section| section.get("fleecing-images"));
        let images: Vec<BString> = images
            .map(|list| pve_config::format::split_list(list).map(BString::from).collect())
            .unwrap_or_default();
        images.iter().for_each(|volume| self.free(volume.as_bstr()));
    }

    fn free_section(&mut self, section: &VmSection<'_>) {
        for (_, drive) in section.drives() {
            if !is_real_cdrom(&drive) {
                self.free(drive.file);
            }
        }
        for (_, volume) in section.numbered("unused") {
            self.free(volume);
        }
        self.free_state(section);
    }

    fn free_state(&mut self, section: &VmSection<'_>) {
        if let Some(volume) = section.truthy("vmstate") {
            self.free(volume);
        }
    }

    /// Frees a volume, unless it was handled or is not the VM's own.
    fn free(&mut self, volume: &BStr) {
        if !self.seen.insert(volume.to_owned()) {
            return;
        }
        if disk::owner(self.node, volume) != Some(self.vmid) {
            self.done.kept.push(volume.to_owned());
            return;
        }
        match self.node.volumes.free(volume) {
            Ok(()) => self.done.freed.push(volume.to_owned()),
            Err(error) => {
                self.done.left_behind.push(LeftBehind::volume(volume, error));
            }
        }
    }

    fn free_unreferenced(&mut self) -> Result<(), WorldError> {
        for storage in self.node.volumes.storages().iter() {
            let enabled = storage.is_enabled_on(self.node.configs.node());
            if !enabled || !storage.has_content(ContentType::Images) {
                continue;
            }
            self.node.volumes.activate_storage(storage.id())?;
            for listed in self.node.volumes.images(storage.id(), Some(self.vmid))? {
                let volume = BString::from(listed.volid.into_bytes());
                // what could not be freed before is tried again
                self.seen.remove(&volume);
                self.free(volume.as_bstr());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_name_a_vm_however_they_are_written() {
        let named = |file: &str, text: &str| {
            let (_, names) = MENTIONS.into_iter().find(|(known, _)| *known == file).unwrap();
            names(text.as_bytes(), VmId::new(101).unwrap())
        };
        for (file, text) in [
            ("ha/resources.cfg", "vm: 101\n\tstate started\n"),
            ("ha/resources.cfg", "vm:101\n"),
            ("replication.cfg", "local: 101-0\n\ttarget pve2\n"),
            ("jobs.cfg", "vzdump: daily\n\tvmid 100,101\n"),
            ("jobs.cfg", "vzdump: daily\n\texclude 101\n\tall 1\n"),
            ("vzdump.cron", "0 1 * * 6 root vzdump 100 101\n"),
            ("user.cfg", "acl:1:/vms/101:eve@pve:PVEAdmin:\n"),
        ] {
            assert!(named(file, text), "{file}: {text}");
        }
        for (file, text) in [
            ("ha/resources.cfg", "vm: 1010\n\tcomment vm: 101\n"),
            ("ha/resources.cfg", "ct: 101\n"),
            ("replication.cfg", "local: 1010-101\n\ttarget pve2\n"),
            ("jobs.cfg", "vzdump: daily\n\tvmid 1010\n\tcomment vmid 101\n"),
            ("vzdump.cron", "0 1 * * 6 root vzdump 1010\n"),
            ("user.cfg", "acl:1:/vms/1010:eve@pve:PVEAdmin:\n"),
        ] {
            assert!(!named(file, text), "{file}: {text}");
        }
    }
}
