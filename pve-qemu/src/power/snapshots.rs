// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of VMs that run: what the operations of [`snapshot`](crate::snapshot) need of the machine.

use std::time::Duration;

use bstr::BStr;
use pve_volid::VmId;

use super::{Power, PowerError, Start, Stop};
use crate::node::WorldError;
use crate::snapshot::{self, RolledBack, SnapshotRequest};

/// How long QEMU may take to quit before it is killed for a rollback.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);

impl Power<'_> {
    /// Makes a snapshot, of a running VM with its memory if that is asked for.
    ///
    /// # Errors
    /// As [`create_snapshot`](snapshot::create_snapshot); if QEMU does not tell what it was started with.
    pub fn create_snapshot(&self, vmid: VmId, request: SnapshotRequest<'_>) -> Result<(), PowerError> {
        let running = match request.with_memory && self.node.machines.is_running(vmid) {
            true => Some(self.running_machine(vmid, &self.load(vmid)?)?),
            false => None,
        };
        Ok(snapshot::create_snapshot(self.node, vmid, request, running.as_ref())?)
    }

    /// Takes a VM back to a snapshot: it is stopped, its disks go back, and it goes on in the memory of the snapshot. One
    /// without memory is started if `start` says so.
    ///
    /// # Errors
    /// As [`rollback`](snapshot::rollback); if the VM, which has gone back then, cannot be started.
    pub fn rollback(&self, vmid: VmId, name: &BStr, start: bool) -> Result<RolledBack, PowerError> {
        let stop = || {
            let options = Stop { timeout: Some(QUIT_PATIENCE), ..Stop::default() };
            self.stop(vmid, &options).map_err(|error| WorldError::Other(error.to_string()))
        };
        let done = snapshot::rollback(self.node, vmid, name, stop)?;
        match &done.start {
            Some(state) => self.start(vmid, &state.into())?,
            None if start => self.start(vmid, &Start::default())?,
            None => {}
        }
        Ok(done)
    }
}
