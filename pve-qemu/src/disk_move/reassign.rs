// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a disk to another VM of this node.

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_config::rule::ValueError;
use pve_config::vm::{Bus, Drive, DriveId};
use pve_storage::{Feature, Refusal};
use pve_volid::VmId;

use crate::boot;
use crate::clone::is_real_cdrom;
use crate::disk;
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// A disk that has another owner now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reassigned {
    /// The name of its volume before.
    pub before: BString,
    /// Its name now.
    pub volume: BString,
    /// The option of the new owner that names it.
    pub key: BString,
    /// Whether it only waits there, because the new owner runs.
    pub pending: bool,
}

/// Why a disk was not given to another VM.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReassignError {
    /// A configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock or a storage refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The VM has it.
    #[error("VM {vmid} cannot give {key} to itself; use set to attach it elsewhere")]
    SameVm {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// Templates keep their disks.
    #[error("VM {vmid} is a template: its disks cannot change their owner")]
    Template {
        /// The VM.
        vmid: VmId,
    },
    /// There is no such disk.
    #[error("VM {vmid} has no disk {key}")]
    NoDisk {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// It holds a medium.
    #[error("VM {vmid}: {key} is a CD-ROM drive, whose medium nobody owns")]
    Cdrom {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// The place is taken.
    #[error("VM {vmid} has {key} already; name a free one")]
    Taken {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// It is in use.
    #[error("VM {vmid} is running; shut it down, or detach {key} first and give its unused volume away")]
    Running {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// Something else of the VM uses the volume.
    #[error(
        "VM {vmid}: {volume} is used by a snapshot or another drive; delete the snapshot or detach the drive first"
    )]
    InUse {
        /// The VM.
        vmid: VmId,
        /// The volume.
        volume: BString,
    },
    /// The volume cannot be renamed.
    #[error("VM {vmid}: {volume} cannot change its owner: {source}")]
    Feature {
        /// The VM.
        vmid: VmId,
        /// The volume.
        volume: BString,
        /// Why.
        source: Refusal,
    },
    /// The drive's options do not fit where it goes.
    #[error("{key} of VM {vmid} cannot have the options of the disk: {source}; remove them first")]
    Options {
        /// The new owner.
        vmid: VmId,
        /// Its option.
        key: BString,
        /// Why.
        source: Box<ValueError>,
    },
}

/// Gives the disk `key` of `vmid` to the VM `target`, as `target_key` (`key` if left out). `digests` are those of the two
/// configurations that the request was made for, an empty one if it does not matter.
///
/// # Errors
/// Nothing has changed, unless a configuration could not be written after the volume was renamed.
pub fn reassign_disk(
    node: Node<'_>,
    vmid: VmId,
    key: &BStr,
    target: VmId,
    target_key: Option<&BStr>,
    digests: [Option<&BStr>; 2],
) -> Result<Reassigned, ReassignError> {
    if vmid == target {
        return Err(ReassignError::SameVm { vmid, key: key.to_owned() });
    }
    // always in the same order, so that two of these cannot wait for each other
    let (first, second) = if vmid < target { (vmid, target) } else { (target, vmid) };
    let _first = node.configs.lock(first, LockMode::Exclusive, PATIENCE)?;
    let _second = node.configs.lock(second, LockMode::Exclusive, PATIENCE)?;
    let mut source = load(node, vmid, digests.first().copied().flatten())?;
    let mut receiver = load(node, target, digests.last().copied().flatten())?;
    let target_key = target_key.unwrap_or(key);
    let (id, volume) = check_source(node, vmid, &source, key)?;
    let free = || ReassignError::NoDisk { vmid: target, key: target_key.to_owned() };
    let target_id = DriveId::from_key(target_key).ok_or_else(free)?;
    if receiver.main.contains(target_key) || receiver.pending.contains(target_key) {
        return Err(ReassignError::Taken { vmid: target, key: target_key.to_owned() });
    }
    let options = source.main.get(key).map(BStr::to_owned).unwrap_or_default();
    let place = Place { vmid: target, key: target_key, id: target_id };
    // what is wrong with the options must be known before the volume is renamed
    place.value(id, options.as_bstr(), volume.as_bstr(), 0)?;

    let renamed = BString::from(node.volumes.rename(volume.as_bstr(), target, None)?.into_bytes());
    detach(&mut source, id, key);
    vm_file::store(node, vmid, &source)?;
    let (size, _) = node.volumes.size(renamed.as_bstr())?;
    let value = place.value(id, options.as_bstr(), renamed.as_bstr(), size)?;
    let pending = node.machines.is_running(target) && target_id.bus != Bus::Unused;
    let section = if pending { &mut receiver.pending } else { &mut receiver.main };
    section.set(target_key, value);
    vm_file::store(node, target, &receiver)?;
    Ok(Reassigned { before: volume, volume: renamed, key: target_key.to_owned(), pending })
}

/// The configuration of a VM that may give or take a disk.
fn load(node: Node<'_>, vmid: VmId, digest: Option<&BStr>) -> Result<VmConfig<'static>, ReassignError> {
    let config = vm_file::load_unlocked(node, vmid)?;
    vm_file::check_digest(vmid, &config, digest)?;
    if config.main.is_template() {
        return Err(ReassignError::Template { vmid });
    }
    Ok(config)
}

/// The disk and its volume, if it can go.
fn check_source(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'_>,
    key: &BStr,
) -> Result<(DriveId, BString), ReassignError> {
    let no_disk = || ReassignError::NoDisk { vmid, key: key.to_owned() };
    let id = DriveId::from_key(key).ok_or_else(no_disk)?;
    let drive = config.main.drive(id).ok().flatten().ok_or_else(no_disk)?;
    if is_real_cdrom(&drive) {
        return Err(ReassignError::Cdrom { vmid, key: key.to_owned() });
    }
    let volume = drive.file.to_owned();
    disk::require(node, drive.file, Feature::Rename, None).map_err(|source| ReassignError::Feature {
        vmid,
        volume: volume.clone(),
        source,
    })?;
    if disk::is_in_use(node, config, drive.file, Some(key)) {
        return Err(ReassignError::InUse { vmid, volume });
    }
    if node.machines.is_running(vmid) && id.bus != Bus::Unused {
        return Err(ReassignError::Running { vmid, key: key.to_owned() });
    }
    Ok((id, volume))
}

/// Takes the disk out of the configuration, and out of the order in which devices are booted.
fn detach(config: &mut VmConfig<'_>, id: DriveId, key: &BStr) {
    let order = boot::order(&config.main);
    config.main.remove(key);
    let name = id.to_string();
    if order.contains(&name) {
        let rest: Vec<String> = order.into_iter().filter(|device| *device != name).collect();
        let value = if rest.is_empty() { String::new() } else { format!("order={}", rest.join(";")) };
        config.main.set("boot", value);
    }
}

/// Where the disk goes.
struct Place<'a> {
    vmid: VmId,
    key: &'a BStr,
    id: DriveId,
}

impl Place<'_> {
    /// The value that names `volume` there, with the options that the disk had.
    fn value(
        &self,
        from: DriveId,
        options: &BStr,
        volume: &BStr,
        size: u64,
    ) -> Result<BString, ReassignError> {
        let failed = |source: ValueError| ReassignError::Options {
            vmid: self.vmid,
            key: self.key.to_owned(),
            source: Box::new(source),
        };
        if self.id.bus == Bus::Unused {
            return Ok(volume.to_owned());
        }
        let had = Drive::read(from, options).map_err(failed)?;
        let value = Drive { file: volume, size: Some(size), ..had }.print().map_err(failed)?;
        Drive::read(self.id, &value).map_err(failed)?;
        Ok(value)
    }
}
