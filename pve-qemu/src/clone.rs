// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cloning a VM: a full copy, or linked clones of a template's disks (spec: vm-lifecycle, "Clone").
//!
//! The clone's configuration is written before its first disk, with `lock: clone` and without drives other than CD-ROMs,
//! and again after every disk; the lock goes last.
//!
//! # What the order of steps can lose or leak
//!
//! * If the process dies, the configuration with `lock: clone` stays. The volume that was being made is in no
//!   configuration: `rescan` (after `unlock`) shows it as `unusedN`, the audit of [`pve_storage::audit`] as an orphan.
//!   Destroying the unfinished clone with `destroy-unreferenced-disks` removes all of it.
//! * Pending changes of the source are dropped; [`Cloned::dropped_pending`] names them.
//! * The section with fleecing images is copied, so that the clone's names volumes of the source.
//! * A linked clone keeps depending on its base volume. lvm-thin and btrfs do not record it.
//! * The cloud-init image is not copied: the new volume is empty until the first start.

mod configuration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmConfig, VmSection, is_cloudinit_volume};
use pve_config::rule::ValueError;
use pve_config::vm::{Bus, Drive, DriveId};
use pve_storage::Feature;
use pve_volid::{ImageFormat, StorageId, VmId, VolumeIdRef};

use crate::disk;
use crate::disk_copy::{DiskCopy, DiskCopyError};
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, VmFileError};

/// How long the locks of source and clone are waited for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(1);

/// How a VM is cloned.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct CloneOptions<'a> {
    /// Name of the clone; `Copy-of-VM-…` if left out.
    pub name: Option<&'a BStr>,
    /// Description; that of the source if left out or empty.
    pub description: Option<&'a BStr>,
    /// Copy the disks (`true`) or make linked clones (`false`); linked clones of a template, copies of others if left
    /// out.
    pub full: Option<bool>,
    /// The state to be cloned: a snapshot, or the current one if left out.
    pub snapshot: Option<&'a BStr>,
    /// Storage for the copies; that of each disk if left out.
    pub storage: Option<&'a StorageId>,
    /// Format of the copies; that of each disk, if the storage takes it, if left out.
    pub format: Option<ImageFormat>,
    /// Node that the clone is moved to in the end.
    pub target: Option<&'a str>,
    /// Limit of copying, in KiB per second.
    pub bwlimit: Option<u64>,
}

/// A clone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Cloned {
    /// Drives with their new volumes, in the order in which they were made.
    pub volumes: Vec<(DriveId, BString)>,
    /// Options with pending changes, which the clone does not have.
    pub dropped_pending: Vec<BString>,
}

/// Why a VM was not cloned. What had been made of the clone is gone, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CloneError {
    /// A configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock or the store refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The snapshot does not exist.
    #[error("VM {vmid}: {source}")]
    Snapshot {
        /// The source.
        vmid: VmId,
        /// The name.
        source: pve_config::guest::SnapshotError,
    },
    /// `storage` or `format` for linked clones.
    #[error("linked clones stay where their base is: leave out {option}, or ask for a full clone")]
    OnlyFull {
        /// The option.
        option: &'static str,
    },
    /// A storage that the target node does not see.
    #[error(
        "{storage} is not shared, so node {target} does not see its volumes; clone to this node, or to a shared storage"
    )]
    NotShared {
        /// The storage.
        storage: BString,
        /// The node.
        target: String,
    },
    /// A disk cannot be copied, or was not.
    #[error(transparent)]
    Disk(#[from] DiskCopyError),
    /// An option of the source that the clone needs anew.
    #[error("cannot make {key} of the clone from {value:?}: {source}")]
    Value {
        /// The option.
        key: BString,
        /// Its value.
        value: BString,
        /// Why.
        source: Box<ValueError>,
    },
    /// The clone failed, and not everything of it could be removed.
    #[error("{source}; not everything of VM {newid} could be removed ({}); free it by hand", left.join(", "))]
    Undo {
        /// Why it failed.
        source: Box<CloneError>,
        /// The clone.
        newid: VmId,
        /// What is left, and why.
        left: Vec<String>,
    },
}

/// Clones a VM of this node.
///
/// # Errors
/// If the source is locked, `newid` is taken, or a disk cannot be cloned. New volumes and the new configuration are
/// removed then.
pub fn clone_vm(
    node: Node<'_>,
    vmid: VmId,
    newid: VmId,
    options: CloneOptions<'_>,
) -> Result<Cloned, CloneError> {
    let runs = node.machines.is_running(vmid);
    let mode = if runs { LockMode::Exclusive } else { LockMode::Shared };
    let _source = node.configs.lock(vmid, mode, PATIENCE)?;
    let config = vm_file::load_unlocked(node, vmid)?;
    let section = match options.snapshot {
        Some(name) => {
            config.require_snapshot(name).map_err(|source| CloneError::Snapshot { vmid, source })?
        }
        None => &config.main,
    };
    let job = Job::new(node, vmid, newid, &config, section, options);
    job.check()?;
    let (mut new, dropped_pending) = job.configuration()?;

    let _target = node.configs.lock(newid, LockMode::Exclusive, PATIENCE)?;
    node.configs.create(newid, b"lock: clone\n".as_bstr())?;
    let mut volumes = Vec::new();
    match job.run(&mut new, &mut volumes) {
        Ok(()) => Ok(Cloned { volumes, dropped_pending }),
        Err(error) => Err(job.undo(error, &volumes)),
    }
}

/// A clone under way.
struct Job<'a> {
    node: Node<'a>,
    newid: VmId,
    config: &'a VmConfig<'a>,
    section: &'a VmSection<'a>,
    options: CloneOptions<'a>,
    full: bool,
    copy: DiskCopy<'a>,
}

impl<'a> Job<'a> {
    fn new(
        node: Node<'a>,
        vmid: VmId,
        newid: VmId,
        config: &'a VmConfig<'a>,
        section: &'a VmSection<'a>,
        options: CloneOptions<'a>,
    ) -> Self {
        let copy = DiskCopy {
            node,
            source: vmid,
            section,
            snapshot: options.snapshot,
            owner: newid,
            storage: options.storage,
            format: options.format,
            bwlimit: options.bwlimit,
            switch: false,
        };
        let full = options.full.unwrap_or(!config.main.is_template());
        Job { node, newid, config, section, options, full, copy }
    }

    /// The drives that get new volumes, sorted by key as texts.
    fn drives(&self) -> Vec<(DriveId, Drive<'a>)> {
        let section: &'a VmSection<'a> = self.section;
        let mut drives: Vec<_> = section.drives().filter(|(_, drive)| !is_real_cdrom(drive)).collect();
        drives.sort_by_key(|(id, _)| id.to_string());
        drives
    }

    /// Everything that can be told before anything is made.
    fn check(&self) -> Result<(), CloneError> {
        if !self.full && self.options.storage.is_some() {
            return Err(CloneError::OnlyFull { option: "storage" });
        }
        if !self.full && self.options.format.is_some() {
            return Err(CloneError::OnlyFull { option: "format" });
        }
        self.check_target()?;
        for (id, drive) in self.drives() {
            if self.is_copied(id, &drive) {
                self.copy.check(id, &drive)?;
                continue;
            }
            let not_managed = || DiskCopyError::NotManaged { drive: id, volume: drive.file.to_owned() };
            VolumeIdRef::from_bytes(drive.file).map_err(|_| not_managed())?;
            let cloned = disk::require(self.node, drive.file, Feature::Clone, self.options.snapshot);
            cloned.map_err(|source| DiskCopyError::Feature {
                drive: id,
                volume: drive.file.to_owned(),
                source,
            })?;
        }
        Ok(())
    }

    /// Whether the drive gets a volume of its own also with linked clones.
    fn is_copied(&self, id: DriveId, drive: &Drive<'_>) -> bool {
        self.full || id.bus == Bus::Tpmstate || is_cloudinit_volume(drive.file)
    }

    /// Another node must see every volume that the clone will name.
    fn check_target(&self) -> Result<(), CloneError> {
        let Some(target) = self.options.target.filter(|target| *target != self.node.configs.node()) else {
            return Ok(());
        };
        let require = |id: &str| match self.node.volumes.storages().get(id) {
            Some(storage) if storage.is_shared() => Ok(()),
            _ => Err(CloneError::NotShared { storage: id.into(), target: target.to_owned() }),
        };
        for (_, drive) in self.section.drives() {
            if let Ok(volume) = VolumeIdRef::from_bytes(drive.file) {
                require(volume.storage().as_str())?;
            }
        }
        self.options.storage.map_or(Ok(()), |storage| require(storage.as_str()))
    }

    fn run(
        &self,
        new: &mut VmConfig<'static>,
        volumes: &mut Vec<(DriveId, BString)>,
    ) -> Result<(), CloneError> {
        new.main.set("lock", "clone");
        // what is written is not read again: a section of cloud-init is only written once there is a drive for it
        vm_file::store(self.node, self.newid, new)?;
        for (id, drive) in self.drives() {
            let (volume, size) =
                if self.is_copied(id, &drive) { self.copy.run(id, &drive)? } else { self.link(id, &drive)? };
            volumes.push((id, volume.clone()));
            let value = Drive { file: volume.as_bstr(), format: None, size: Some(size), ..drive }.print();
            let value = value.map_err(|source| CloneError::Value {
                key: id.to_string().into(),
                value: drive.file.to_owned(),
                source: Box::new(source),
            })?;
            new.main.set(id.to_string(), value);
            vm_file::store(self.node, self.newid, new)?;
        }
        new.main.remove("lock");
        vm_file::store(self.node, self.newid, new)?;
        match self.options.target {
            Some(target) if target != self.node.configs.node() => {
                Ok(self.node.configs.move_to(self.newid, target)?)
            }
            _ => Ok(()),
        }
    }

    /// Makes a linked clone; returns it with its size.
    fn link(&self, id: DriveId, drive: &Drive<'_>) -> Result<(BString, u64), CloneError> {
        let volumes = self.node.volumes;
        let world = |source| DiskCopyError::World {
            drive: id,
            volume: drive.file.to_owned(),
            source: Box::new(source),
        };
        let volume = volumes.clone_linked(drive.file, self.options.snapshot, self.newid).map_err(world)?;
        let volume = BString::from(volume.into_bytes());
        match volumes.size(volume.as_bstr()) {
            Ok((size, _)) => Ok((volume, size)),
            Err(error) => Err(match volumes.free(volume.as_bstr()) {
                Ok(()) => world(error).into(),
                Err(free) => {
                    DiskCopyError::Leak { source: Box::new(world(error)), volume, free: Box::new(free) }
                        .into()
                }
            }),
        }
    }

    /// Removes what was made of the clone.
    fn undo(&self, error: CloneError, volumes: &[(DriveId, BString)]) -> CloneError {
        let mut left = Vec::new();
        for (_, volume) in volumes {
            if let Err(error) = self.node.volumes.free(volume.as_bstr()) {
                left.push(format!("{volume}: {error}"));
            }
        }
        if let Err(error) = self.node.configs.remove(self.newid) {
            left.push(error.to_string());
        }
        if left.is_empty() {
            return error;
        }
        CloneError::Undo { source: Box::new(error), newid: self.newid, left }
    }
}

/// A CD-ROM drive other than that of cloud-init.
pub(crate) fn is_real_cdrom(drive: &Drive<'_>) -> bool {
    drive.is_cdrom() && !is_cloudinit_volume(drive.file)
}
