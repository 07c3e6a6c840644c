// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rescan: what the storages hold is compared with what the configurations say (spec: vm-lifecycle, "Rescan").
//!
//! Recorded sizes are corrected, and volumes that a VM owns by name but does not name become `unusedN`: that is how a
//! disk without a VM is adopted. Nothing is ever attached.
//!
//! # What a rescan can lose, or never sees
//!
//! * A cloud-init volume that no drive names is **deleted**. The reference does that even when it is asked to only show
//!   what it would do; here [`RescanMode::DryRun`] does not, and [`RescanFinding::CloudInit`] names the volume either way.
//! * A disk that only a snapshot uses becomes `unusedN`. Removing that entry later removes the disk, if no snapshot
//!   names it in a drive by then.
//! * `vm-N-state-…`, volumes without any known size, volumes on storages that are disabled, not of this node, or
//!   without content `images` are not seen. Entries whose volume does not exist stay, without a word: the audit of
//!   [`pve_storage::audit`] tells of all these.
//! * A volume of another owner keeps its recorded size.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{GuestKind, NoFreeUnused, Unused, VmConfig};
use pve_config::rule::ValueError;
use pve_storage::{Facts, Storages};
use pve_volid::{ContentType, VmId, VolumeId};

use crate::node::{ListedVolume, LockMode, Node, WorldError};
use crate::vm_file::{self, VmFileError};

/// Whether a rescan changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RescanMode {
    /// Sizes are corrected, volumes adopted, cloud-init leftovers deleted.
    Apply,
    /// Nothing changes.
    DryRun,
    /// What the reference calls a dry run: no configuration is written, but cloud-init leftovers are deleted.
    DryRunOfReference,
}

/// What a rescan found out about a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rescanned {
    /// The VM.
    pub vmid: VmId,
    /// What differs, in the order in which it was found.
    pub findings: Vec<RescanFinding>,
    /// Whether the configuration was written.
    pub written: bool,
}

/// Something that the configuration and the storages do not agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RescanFinding {
    /// A drive's recorded size is not the volume's.
    Size {
        /// The option.
        key: BString,
        /// What was recorded, in bytes.
        recorded: Option<u64>,
        /// The size of the volume, in bytes.
        actual: u64,
    },
    /// An `unusedN` whose volume is used, or listed by another entry.
    NotUnused {
        /// The option.
        key: BString,
        /// Its volume.
        volume: BString,
    },
    /// A volume that nothing named.
    Adopted {
        /// The option that names it now.
        key: BString,
        /// The volume.
        volume: BString,
    },
    /// A cloud-init volume that nothing named. It is deleted, unless this is a dry run.
    CloudInit {
        /// The volume.
        volume: BString,
        /// Whether it was deleted.
        deleted: bool,
    },
}

/// Why a rescan ended early. VMs that came before the one it names keep what was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RescanError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A storage cannot be listed, or a volume not be deleted.
    #[error(transparent)]
    World(#[from] WorldError),
    /// No `unusedN` is left.
    #[error("VM {vmid}: {source}")]
    Full {
        /// The VM.
        vmid: VmId,
        /// The volume.
        source: NoFreeUnused,
    },
    /// A drive cannot be written with its new size.
    #[error("VM {vmid}: cannot write the size of {key}: {source}")]
    Drive {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
        /// Why.
        source: Box<ValueError>,
    },
}

/// Rescans one VM, or all of this node in the order of their ids.
///
/// # Errors
/// The first VM or storage that fails ends the run.
pub fn rescan(node: Node<'_>, vmid: Option<VmId>, mode: RescanMode) -> Result<Vec<Rescanned>, RescanError> {
    let stock = Stock::list(node, vmid)?;
    let ids = match vmid {
        Some(vmid) => vec![vmid],
        None => {
            let guests = node.configs.guests()?.into_iter();
            let here =
                guests.filter(|guest| guest.kind == GuestKind::Qemu && guest.node == node.configs.node());
            here.map(|guest| guest.vmid).collect()
        }
    };
    ids.into_iter().map(|vmid| rescan_vm(node, vmid, stock.of(vmid), mode)).collect()
}

fn rescan_vm(
    node: Node<'_>,
    vmid: VmId,
    volumes: &BTreeMap<BString, Listed>,
    mode: RescanMode,
) -> Result<Rescanned, RescanError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, crate::vm_file::PATIENCE)?;
    let mut config = vm_file::load_unlocked(node, vmid)?;
    let mut findings = Vec::new();
    let mut named = Named::default();
    correct_sizes(vmid, &mut config, volumes, &mut named, &mut findings)?;
    drop_used(&mut config, volumes, &mut named, &mut findings);
    name_fleecing(&config, &mut named);
    adopt(node, vmid, &mut config, volumes, &mut named, mode, &mut findings)?;
    let written = !findings.is_empty() && mode == RescanMode::Apply;
    if written {
        vm_file::store(node, vmid, &config)?;
    }
    Ok(Rescanned { vmid, findings, written })
}

/// Names all drives, and gives those on owned volumes the size of the volume.
fn correct_sizes(
    vmid: VmId,
    config: &mut VmConfig<'_>,
    volumes: &BTreeMap<BString, Listed>,
    named: &mut Named,
    findings: &mut Vec<RescanFinding>,
) -> Result<(), RescanError> {
    let mut corrected = Vec::new();
    for (id, mut drive) in config.main.drives() {
        let listed = volumes.get(drive.file);
        named.add(drive.file, listed);
        let Some(actual) = listed.and_then(|listed| listed.size).filter(|_| !drive.is_cdrom()) else {
            continue;
        };
        if drive.size.unwrap_or(0) != actual {
            let key = BString::from(id.to_string());
            findings.push(RescanFinding::Size { key: key.clone(), recorded: drive.size, actual });
            drive.size = Some(actual);
            let value = drive.print().map_err(|source| RescanError::Drive {
                vmid,
                key: key.clone(),
                source: Box::new(source),
            })?;
            corrected.push((key, value));
        }
    }
    for (key, value) in corrected {
        config.main.set(key, value);
    }
    Ok(())
}

/// Drops entries `unusedN` whose volume is used.
fn drop_used(
    config: &mut VmConfig<'_>,
    volumes: &BTreeMap<BString, Listed>,
    named: &mut Named,
    findings: &mut Vec<RescanFinding>,
) {
    let mut dropped = Vec::new();
    for (number, value) in config.main.numbered("unused") {
        let listed = volumes.get(value);
        if named.knows(value, listed) {
            let key = BString::from(format!("unused{number}"));
            findings.push(RescanFinding::NotUnused { key: key.clone(), volume: value.to_owned() });
            dropped.push(key);
        }
        named.add(value, listed);
    }
    for key in dropped {
        config.main.remove(key);
    }
}

fn name_fleecing(config: &VmConfig<'_>, named: &mut Named) {
    let references = config.volume_references();
    let fleecing = references.iter().filter(|found| found.role == pve_config::guest::VolumeRole::Fleecing);
    for found in fleecing {
        named.ids.insert(found.volume.to_owned());
    }
}

/// Adds what nothing names as unused.
fn adopt(
    node: Node<'_>,
    vmid: VmId,
    config: &mut VmConfig<'_>,
    volumes: &BTreeMap<BString, Listed>,
    named: &mut Named,
    mode: RescanMode,
    findings: &mut Vec<RescanFinding>,
) -> Result<(), RescanError> {
    let state = format!("vm-{vmid}-state-");
    for (volume, listed) in volumes {
        if volume.contains_str(&state) || named.knows(volume.as_bstr(), Some(listed)) {
            continue;
        }
        match config.add_unused(volume).map_err(|source| RescanError::Full { vmid, source })? {
            Unused::Added(key) => {
                findings.push(RescanFinding::Adopted { key: key.into(), volume: volume.clone() });
            }
            Unused::Present(_) => {}
            Unused::Free => {
                let deleted = mode != RescanMode::DryRun;
                if deleted {
                    node.volumes.free(volume.as_bstr())?;
                }
                findings.push(RescanFinding::CloudInit { volume: volume.clone(), deleted });
            }
        }
        named.paths.extend(listed.path.clone());
    }
    Ok(())
}

/// Volumes that the configuration names, so far.
#[derive(Default)]
struct Named {
    ids: BTreeSet<BString>,
    paths: BTreeSet<BString>,
}

impl Named {
    fn add(&mut self, volume: &BStr, listed: Option<&Listed>) {
        self.ids.insert(volume.to_owned());
        self.paths.extend(listed.and_then(|listed| listed.path.clone()));
    }

    fn knows(&self, volume: &BStr, listed: Option<&Listed>) -> bool {
        let path = listed.and_then(|listed| listed.path.as_ref());
        self.ids.contains(volume) || path.is_some_and(|path| self.paths.contains(path))
    }
}

/// What all storages hold, by owner.
struct Stock {
    by_owner: BTreeMap<VmId, BTreeMap<BString, Listed>>,
    nothing: BTreeMap<BString, Listed>,
}

/// A volume that a storage lists.
struct Listed {
    path: Option<BString>,
    /// `None`: only known approximately.
    size: Option<u64>,
}

impl Stock {
    /// Lists the storages that are enabled here and used for images.
    fn list(node: Node<'_>, owner: Option<VmId>) -> Result<Self, WorldError> {
        let storages = node.volumes.storages();
        let mut stock = Stock { by_owner: BTreeMap::new(), nothing: BTreeMap::new() };
        for storage in storages.iter() {
            if !storage.is_enabled_on(node.configs.node()) || !storage.has_content(ContentType::Images) {
                continue;
            }
            node.volumes.activate_storage(storage.id())?;
            for volume in node.volumes.images(storage.id(), owner)? {
                stock.add(storages, volume);
            }
        }
        Ok(stock)
    }

    fn add(&mut self, storages: &Storages, volume: ListedVolume) {
        let Some(owner) = volume.owner.filter(|_| volume.size > 0) else { return };
        let path = path(storages, &volume.volid);
        let listed = Listed { path, size: Some(volume.size).filter(|_| volume.is_exact) };
        self.by_owner.entry(owner).or_default().insert(volume.volid.into_bytes().into(), listed);
    }

    fn of(&self, vmid: VmId) -> &BTreeMap<BString, Listed> {
        self.by_owner.get(&vmid).unwrap_or(&self.nothing)
    }
}

/// Where a volume is, if that follows from its name.
fn path(storages: &Storages, volume: &VolumeId) -> Option<BString> {
    let storage = storages.get(volume.storage().as_str())?;
    storage.volume(volume.volname()).ok()?.path(None, &Facts::default()).ok()
}
