// SPDX-License-Identifier: MIT OR Apache-2.0
//! Moving a disk: to another storage or format, or to another VM (spec: vm-lifecycle, "Move disk to another storage" and
//! "Reassign to another VM").
//!
//! # What the order of steps can lose or leak
//!
//! * A move keeps the old volume as `unusedN`, unless it is asked to delete it. Freeing it comes last, and its failure is only
//!   reported: [`Moved::left_behind`]. The old volume of a cloud-init drive is freed in any case.
//! * Snapshots stay with the old volume. `delete` is refused while a snapshot uses it.
//! * If the process dies while the disk is copied, the new volume is in no configuration: `rescan` adopts it.
//! * A volume that is reassigned is renamed before either configuration is written. If the process dies in between, the
//!   source names a volume that is gone, and the target owns one that it does not name: `rescan` adopts it there.

mod reassign;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{NoFreeUnused, Unused, VmConfig};
use pve_config::rule::ValueError;
use pve_config::vm::{Bus, Drive, DriveId};
use pve_volid::{ImageFormat, StorageId, VmId, VolumeIdRef};

pub use reassign::{ReassignError, Reassigned, reassign_disk};

use crate::clone::is_real_cdrom;
use crate::disk;
use crate::disk_copy::{DiskCopy, DiskCopyError};
use crate::left_behind::LeftBehind;
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// How a disk is moved.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct MoveOptions<'a> {
    /// Where to; the storage that it is on, if only the format changes.
    pub storage: Option<&'a StorageId>,
    /// In which format; the one it has, if the storage takes that, if left out.
    pub format: Option<ImageFormat>,
    /// Free the old volume instead of keeping it as unused.
    pub delete: bool,
    /// Digest of the configuration that the request was made for.
    pub digest: Option<&'a BStr>,
    /// Limit of copying, in KiB per second.
    pub bwlimit: Option<u64>,
}

/// A disk that was moved.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Moved {
    /// Its new volume.
    pub volume: BString,
    /// What became of the old one: kept as this option. `None`: freed, or left behind.
    pub kept_as: Option<String>,
    /// The old volume, if it could not be freed.
    pub left_behind: Vec<LeftBehind>,
}

/// Why a disk was not moved. The new volume is freed again, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock or a storage refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// It could not be copied.
    #[error(transparent)]
    Copy(#[from] DiskCopyError),
    /// There is no such drive.
    #[error("VM {vmid} has no disk {key}")]
    NoDisk {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// It holds a medium.
    #[error("VM {vmid}: {key} is a CD-ROM drive; put another medium in instead of moving it")]
    Cdrom {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// It is there already.
    #[error("VM {vmid}: {key} is on storage {storage} already; name another storage or format")]
    SamePlace {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
        /// The storage.
        storage: BString,
    },
    /// Neither a storage nor a VM to move to.
    #[error("name either the storage or the VM that the disk goes to")]
    NoTarget,
    /// A snapshot still needs the old volume.
    #[error(
        "VM {vmid}: a snapshot uses {volume}, so it cannot be deleted; move without deleting, or delete the snapshot first"
    )]
    InSnapshot {
        /// The VM.
        vmid: VmId,
        /// The volume.
        volume: BString,
    },
    /// No `unusedN` is left.
    #[error("VM {vmid}: {source}")]
    Full {
        /// The VM.
        vmid: VmId,
        /// The volume.
        source: NoFreeUnused,
    },
    /// The drive cannot be written with its new volume.
    #[error("VM {vmid}: cannot write {key} with its new volume: {source}")]
    Value {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
        /// Why.
        source: Box<ValueError>,
    },
    /// The move failed, and its new volume could not be freed.
    #[error("{source}; the new volume {volume} could not be freed: {free}; free it by hand")]
    Leak {
        /// Why the move failed.
        source: Box<MoveError>,
        /// The new volume.
        volume: BString,
        /// Why it could not be freed.
        free: Box<WorldError>,
    },
}

/// Moves a disk, also an unused one, to another storage or format.
///
/// # Errors
/// Nothing has changed then.
pub fn move_disk(
    node: Node<'_>,
    vmid: VmId,
    key: &BStr,
    options: MoveOptions<'_>,
) -> Result<Moved, MoveError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let config = vm_file::load_unlocked(node, vmid)?;
    vm_file::check_digest(vmid, &config, options.digest)?;
    let no_disk = || MoveError::NoDisk { vmid, key: key.to_owned() };
    let id = DriveId::from_key(key).ok_or_else(no_disk)?;
    let drive = config.main.drive(id).ok().flatten().ok_or_else(no_disk)?;
    check(node, vmid, &config, key, &drive, options)?;

    let copy = DiskCopy {
        node,
        source: vmid,
        section: &config.main,
        snapshot: None,
        owner: vmid,
        storage: options.storage,
        format: options.format,
        bwlimit: options.bwlimit,
        switch: true,
    };
    copy.check(id, &drive)?;
    let (volume, size) = copy.run(id, &drive)?;
    let placed = place(node, vmid, &config, id, &drive, volume.clone(), size, options.delete);
    let (kept_as, volume) = match placed {
        Ok(placed) => placed,
        Err(source) => {
            return Err(match node.volumes.free(volume.as_bstr()) {
                Ok(()) => source,
                Err(free) => MoveError::Leak { source: Box::new(source), volume, free: Box::new(free) },
            });
        }
    };
    let mut moved = Moved { volume, kept_as, left_behind: Vec::new() };
    if moved.kept_as.is_none() {
        let old = drive.file.to_owned();
        if let Err(error) = node.volumes.free(drive.file) {
            moved.left_behind.push(LeftBehind::volume(old, error));
        }
    }
    Ok(moved)
}

fn check(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'_>,
    key: &BStr,
    drive: &Drive<'_>,
    options: MoveOptions<'_>,
) -> Result<(), MoveError> {
    if is_real_cdrom(drive) {
        return Err(MoveError::Cdrom { vmid, key: key.to_owned() });
    }
    if options.storage.is_none() && options.format.is_none() {
        return Err(MoveError::NoTarget);
    }
    if let Ok(own) = VolumeIdRef::from_bytes(drive.file) {
        let stays = options.storage.is_none_or(|storage| storage.as_str() == own.storage().as_str());
        let format = disk::volume(node, drive.file).and_then(|volume| volume.format.image());
        if stays && options.format.is_none_or(|wanted| Some(wanted) == format) {
            let storage = own.storage().as_str().into();
            return Err(MoveError::SamePlace { vmid, key: key.to_owned(), storage });
        }
    }
    if options.delete && disk::is_in_snapshot(node, config, drive.file) {
        return Err(MoveError::InSnapshot { vmid, volume: drive.file.to_owned() });
    }
    Ok(())
}

/// Puts the new volume in the place of the old one, and writes; returns the option that keeps the old one, and the new
/// volume by its final name.
#[expect(
    clippy::too_many_arguments,
    reason = "one step of one operation, apart so that its errors can be undone"
)]
fn place(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'static>,
    id: DriveId,
    drive: &Drive<'_>,
    mut volume: BString,
    size: u64,
    delete: bool,
) -> Result<(Option<String>, BString), MoveError> {
    let mut config = config.clone();
    if config.main.is_template() && id.bus != Bus::Unused {
        volume = node.volumes.create_base(volume.as_bstr())?.into_bytes().into();
    }
    let size = (id.bus != Bus::Unused).then_some(size);
    let key = id.to_string();
    let value = Drive { file: volume.as_bstr(), format: None, size, ..*drive }.print();
    let value = value.map_err(|source| MoveError::Value {
        vmid,
        key: key.as_str().into(),
        source: Box::new(source),
    })?;
    config.main.set(key, value);
    let mut kept_as = None;
    if !delete {
        match config.add_unused(drive.file).map_err(|source| MoveError::Full { vmid, source })? {
            Unused::Added(key) | Unused::Present(key) => kept_as = Some(key),
            Unused::Free => {}
        }
    }
    vm_file::store(node, vmid, &config)?;
    Ok((kept_as, volume))
}
