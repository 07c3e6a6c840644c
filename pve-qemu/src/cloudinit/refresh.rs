// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm cloudinit update`: the image is made anew without a start (spec: cloud-init, "`cloudinit update`").

use pve_volid::VmId;

use crate::hotplug;
use crate::node::{LockMode, Node, WorldError};
use crate::pending;
use crate::vm_file::{self, PATIENCE, VmFileError};

/// Why an image was not made anew.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RefreshError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// The lock was not to be had, the image not to be made, or the medium not to be changed.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// Makes the images of a VM's cloud-init drives anew from its current options, forgets what was recorded about the old ones,
/// and shows a running guest the new one. Returns whether there is a cloud-init drive.
///
/// # Errors
/// If the VM is locked, or an image cannot be made.
pub fn refresh(node: Node<'_>, vmid: VmId) -> Result<bool, RefreshError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load_unlocked(node, vmid)?;
    if config.main.cloudinit_drive().is_none() {
        return Ok(false);
    }
    pending::write_images(node, vmid, &config)?;
    if config.special_section("cloudinit").is_some_and(|record| !record.is_empty()) {
        config.remove_special_section("cloudinit");
        config = vm_file::store(node, vmid, &config)?;
    }
    if node.machines.is_running(vmid) {
        hotplug::change_cloudinit_medium(node, vmid, &config)?;
    }
    Ok(true)
}
