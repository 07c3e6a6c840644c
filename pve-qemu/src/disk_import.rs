// SPDX-License-Identifier: MIT OR Apache-2.0
//! Importing a disk: a file or volume is copied to a new volume of a VM (spec: vm-lifecycle, "Import disk").
//!
//! The new disk is kept as `unusedN`, or attached if an option is named. If the process dies while it is copied, no
//! configuration names the new volume: `rescan` adopts it.

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{NoFreeUnused, Unused, VmConfig, VmSection};
use pve_config::vm::{Bus, Drive, DriveId};
use pve_volid::{ImageFormat, StorageId, VmId};

use crate::left_behind::{LeftBehind, and_left};
use crate::new_disk::{NewDiskError, NewDisks};
use crate::node::{LockMode, Node, WorldError};
use crate::option_rules::drive_id;
use crate::update::{Update, UpdateError, update_vm};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// How a disk is imported.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ImportOptions<'a> {
    /// Format of the new volume; that of the storage if left out.
    pub format: Option<ImageFormat>,
    /// The option that it is attached as; it must be free. Without, it becomes `unusedN`.
    pub target: Option<&'a BStr>,
    /// Limit of copying, in KiB per second.
    pub bwlimit: Option<u64>,
}

/// A disk that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Its volume.
    pub volume: BString,
    /// The option that names it; pending if the VM runs and the disk could not be plugged.
    pub key: BString,
}

/// Why a disk was not imported.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// The lock was not to be had.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The option is no drive, or has a value.
    #[error("{key} is no drive, or taken; name a drive that is free")]
    Target {
        /// The option.
        key: BString,
    },
    /// Its name would end at the comma.
    #[error("{path:?} has a comma in its name; give it another, or a link to it")]
    Comma {
        /// What was to be imported.
        path: BString,
    },
    /// It cannot be copied.
    #[error(transparent)]
    Disk(#[from] Box<NewDiskError>),
    /// It was not imported, and not everything that was allocated could be freed.
    #[error("{source}{}", and_left(.left_behind))]
    Left {
        /// Why it was not imported.
        source: Box<ImportError>,
        /// What is left.
        left_behind: Vec<LeftBehind>,
    },
    /// No `unusedN` is left.
    #[error(transparent)]
    Full(#[from] NoFreeUnused),
    /// It cannot be attached.
    #[error(transparent)]
    Update(#[from] Box<UpdateError>),
}

/// Copies `source`, the absolute path of a file or device or a volume id, to a new volume of a VM of this node.
///
/// # Errors
/// The new volume is freed then, unless the error says otherwise, or it is attached but could not be plugged
/// ([`UpdateError::Refused`]).
pub fn import_disk(
    node: Node<'_>,
    vmid: VmId,
    source: &BStr,
    storage: &StorageId,
    options: ImportOptions<'_>,
) -> Result<Imported, ImportError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load_unlocked(node, vmid)?;
    if source.contains(&b',') {
        return Err(ImportError::Comma { path: source.to_owned() });
    }
    let mut value = BString::from(format!("{storage}:0,import-from="));
    value.extend_from_slice(source);
    if let Some(format) = options.format {
        value.extend_from_slice(format!(",format={format}").as_bytes());
    }
    if let Some(key) = options.target {
        let is_free = drive_id(key).is_some() && !config.main.contains(key) && !config.pending.contains(key);
        if !is_free {
            return Err(ImportError::Target { key: key.to_owned() });
        }
        let mut update = Update::default().with(key, value);
        update.bwlimit = options.bwlimit;
        let updated = update_vm(node, vmid, &update).map_err(Box::new)?;
        let value = updated.config.main.get(key).or_else(|| updated.config.pending.get(key));
        return Ok(Imported { volume: file_of(key, value.unwrap_or_default()), key: key.to_owned() });
    }
    let mut disks = NewDisks::new(node, vmid, options.bwlimit);
    keep(node, vmid, &mut config, &mut disks, value.as_bstr()).map_err(|error| match disks.give_up() {
        left_behind if left_behind.is_empty() => error,
        left_behind => ImportError::Left { source: Box::new(error), left_behind },
    })
}

/// Makes the disk that `value` names, and keeps it as unused.
fn keep(
    node: Node<'_>,
    vmid: VmId,
    config: &mut VmConfig<'static>,
    disks: &mut NewDisks<'_>,
    value: &BStr,
) -> Result<Imported, ImportError> {
    // like a disk of no VM: what is unused is no base volume, also not on a template
    let place = DriveId::new(Bus::Scsi, 0).ok_or_else(|| ImportError::Target { key: "scsi0".into() })?;
    let made = disks.make(place, value, &VmSection::new()).map_err(Box::new)?;
    let volume = file_of("scsi0".into(), made.as_bstr());
    let key = match config.add_unused(&volume)? {
        Unused::Added(key) | Unused::Present(key) => key.into(),
        Unused::Free => BString::default(),
    };
    vm_file::store(node, vmid, config)?;
    Ok(Imported { volume, key })
}

/// The volume of the value of an option.
fn file_of(key: &BStr, value: &BStr) -> BString {
    let drive = drive_id(key).and_then(|id| Drive::read(id, value).ok());
    drive.map(|drive| drive.file.to_owned()).unwrap_or_default()
}
