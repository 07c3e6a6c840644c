// SPDX-License-Identifier: MIT OR Apache-2.0
//! Template conversion: a VM becomes one that is only cloned (spec: vm-lifecycle, "Template conversion").
//!
//! `template: 1` is written first, then each drive becomes a base volume, and the configuration is written after each. A
//! base volume cannot be turned back.
//!
//! # What a failure leaves behind
//!
//! `template: 1` and the drives that are done: the VM no longer starts. If the process dies between the conversion of a
//! volume and the writing of its new name, the configuration names a volume that is gone, and its base
//! is an orphan that `rescan` shows as `unusedN`; the audit of [`pve_storage::audit`] names both. Converting the remaining
//! drives needs one call per drive, with [`TemplateOptions::disk`].
//!
//! `unusedN` and pending drives are not converted, nor are volumes that cannot be bases (`vmdk`, lvm …): a linked clone
//! of such a template is refused.

use bstr::{BStr, BString};
use pve_config::guest::VmConfig;
use pve_config::rule::ValueError;
use pve_config::vm::{Drive, DriveId};
use pve_storage::Feature;
use pve_volid::VmId;

use crate::disk;
use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// What is to be converted.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct TemplateOptions<'a> {
    /// Only this drive; also of a VM that is a template already. A key that is no drive converts nothing.
    pub disk: Option<&'a BStr>,
}

impl<'a> TemplateOptions<'a> {
    /// Only this drive.
    #[must_use]
    pub fn only(disk: &'a BStr) -> Self {
        TemplateOptions { disk: Some(disk) }
    }
}

/// A drive whose volume is a base volume now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConvertedDrive {
    /// The drive.
    pub drive: DriveId,
    /// The volume's name before.
    pub before: BString,
    /// Its name now.
    pub base: BString,
}

/// Why a VM was not converted, or only partly.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// The lock was not to be had.
    #[error(transparent)]
    World(#[from] WorldError),
    /// It has snapshots.
    #[error("VM {vmid} has snapshots ({}); delete them before making it a template", names.join(", "))]
    Snapshots {
        /// The VM.
        vmid: VmId,
        /// Their names.
        names: Vec<String>,
    },
    /// It is a template already.
    #[error("VM {vmid} is a template already; name a drive to convert one that was added later")]
    Already {
        /// The VM.
        vmid: VmId,
    },
    /// It runs.
    #[error("VM {vmid} is running; shut it down before making it a template")]
    Running {
        /// The VM.
        vmid: VmId,
    },
    /// A volume could not be converted.
    #[error(
        "VM {vmid}: cannot make {volume} ({drive}) a base volume: {source}; the VM is a template by now, convert this drive again by its name"
    )]
    Volume {
        /// The VM.
        vmid: VmId,
        /// The drive.
        drive: DriveId,
        /// Its volume.
        volume: BString,
        /// Why.
        source: Box<WorldError>,
    },
    /// The drive cannot be written with its new volume.
    #[error("VM {vmid}: cannot write {drive} with its base volume {base}: {source}")]
    Drive {
        /// The VM.
        vmid: VmId,
        /// The drive.
        drive: DriveId,
        /// The base volume, which exists.
        base: BString,
        /// Why.
        source: Box<ValueError>,
    },
}

/// Converts a VM to a template; returns the drives that became base volumes.
///
/// # Errors
/// If the VM is locked, runs, has snapshots, is a template already; or a volume cannot be converted, which leaves a
/// template with the drives done so far.
pub fn convert_to_template(
    node: Node<'_>,
    vmid: VmId,
    options: TemplateOptions<'_>,
) -> Result<Vec<ConvertedDrive>, TemplateError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load_unlocked(node, vmid)?;
    check(node, vmid, &config, options)?;
    config.main.set("template", "1");
    config = vm_file::store(node, vmid, &config)?;

    let wanted: Vec<DriveId> = config
        .main
        .drives()
        .filter(|(id, _)| options.disk.is_none_or(|disk| disk == id.to_string().as_str()))
        .filter(|(_, drive)| !drive.is_cdrom() && disk::can(node, drive.file, Feature::Template, None))
        .map(|(id, _)| id)
        .collect();
    let mut converted = Vec::new();
    for id in wanted {
        let Ok(Some(drive)) = config.main.drive(id) else { continue };
        let before = drive.file.to_owned();
        let base = node.volumes.create_base(before.as_ref()).map_err(|source| TemplateError::Volume {
            vmid,
            drive: id,
            volume: before.clone(),
            source: Box::new(source),
        })?;
        let base = BString::from(base.into_bytes());
        let value = Drive { file: base.as_ref(), ..drive }.print().map_err(|source| {
            TemplateError::Drive { vmid, drive: id, base: base.clone(), source: Box::new(source) }
        })?;
        config.main.set(id.to_string(), value);
        config = vm_file::store(node, vmid, &config)?;
        converted.push(ConvertedDrive { drive: id, before, base });
    }
    Ok(converted)
}

fn check(
    node: Node<'_>,
    vmid: VmId,
    config: &VmConfig<'_>,
    options: TemplateOptions<'_>,
) -> Result<(), TemplateError> {
    let names: Vec<String> = config.snapshots().map(|(name, _)| name.to_string()).collect();
    if !names.is_empty() {
        return Err(TemplateError::Snapshots { vmid, names });
    }
    if config.main.is_template() && options.disk.is_none() {
        return Err(TemplateError::Already { vmid });
    }
    if node.machines.is_running(vmid) {
        return Err(TemplateError::Running { vmid });
    }
    Ok(())
}
