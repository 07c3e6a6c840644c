// SPDX-License-Identifier: MIT OR Apache-2.0
//! Letting go of a drive's volume: it is kept as `unusedN`, freed, or, if it is not the VM's own, only forgotten.

use bstr::{BStr, BString};
use pve_config::guest::{NoFreeUnused, Unused, VmConfig, is_cloudinit_volume};
use pve_config::vm::Drive;
use pve_volid::VmId;

use crate::disk;
use crate::left_behind::LeftBehind;
use crate::node::{Node, WorldError};

/// Why a drive keeps its volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReleaseError {
    /// Something else of the VM needs the volume that was to be removed.
    #[error(
        "volume {volume} is used by another drive or a snapshot; remove that first, or detach it without force"
    )]
    InUse {
        /// The volume.
        volume: BString,
    },
    /// All `unusedN` are taken.
    #[error(transparent)]
    Full(#[from] NoFreeUnused),
    /// The storage does not free the volume.
    #[error("volume {volume} cannot be freed: {source}")]
    Free {
        /// The volume.
        volume: BString,
        /// Why.
        source: Box<WorldError>,
    },
}

/// Lets go of volumes of one VM, and remembers what it could not free.
pub(crate) struct Release<'a> {
    pub(crate) node: Node<'a>,
    pub(crate) vmid: VmId,
    pub(crate) left_behind: Vec<LeftBehind>,
}

impl<'a> Release<'a> {
    pub(crate) fn new(node: Node<'a>, vmid: VmId) -> Self {
        Release { node, vmid, left_behind: Vec::new() }
    }

    /// Keeps the volume of a drive as unused, if it is the VM's own (spec: vm-lifecycle, "Registering a drive's volume as
    /// unused"). Generated data are freed instead; media, paths and volumes of others are only forgotten.
    pub(crate) fn keep(&mut self, config: &mut VmConfig<'_>, drive: &Drive<'_>) -> Result<(), NoFreeUnused> {
        if is_cloudinit_volume(drive.file) {
            self.free_or_leave(drive.file);
            config.remove_special_section("cloudinit");
        } else if !drive.is_cdrom() && self.owns(drive.file) && config.add_unused(drive.file)? == Unused::Free
        {
            self.free_or_leave(drive.file);
        }
        Ok(())
    }

    /// Frees the volume of the option `key`, if it is the VM's own.
    ///
    /// Fails if something else of the VM uses it.
    pub(crate) fn free(
        &mut self,
        config: &VmConfig<'_>,
        key: &BStr,
        volume: &BStr,
    ) -> Result<(), ReleaseError> {
        if !self.owns(volume) {
            return Ok(());
        }
        if disk::is_in_use(self.node, config, volume, Some(key)) {
            return Err(ReleaseError::InUse { volume: volume.to_owned() });
        }
        self.node.volumes.free(volume).map_err(|source| {
            let volume = volume.to_owned();
            ReleaseError::Free { volume, source: Box::new(source) }
        })
    }

    /// Takes a drive away whose option is about to go (spec: vm-lifecycle, "Applying", 1).
    pub(crate) fn detach(
        &mut self,
        config: &mut VmConfig<'_>,
        key: &BStr,
        drive: &Drive<'_>,
        force: bool,
    ) -> Result<(), ReleaseError> {
        if !force {
            return Ok(self.keep(config, drive)?);
        }
        self.free(config, key, drive.file)?;
        if is_cloudinit_volume(drive.file) {
            config.remove_special_section("cloudinit");
        }
        Ok(())
    }

    fn owns(&self, volume: &BStr) -> bool {
        disk::owner(self.node, volume) == Some(self.vmid)
    }

    /// Frees what nobody will miss; if that does not work, it is only reported.
    pub(crate) fn free_or_leave(&mut self, volume: &BStr) {
        if let Err(error) = self.node.volumes.free(volume) {
            self.left_behind.push(LeftBehind::volume(volume, error));
        }
    }
}
