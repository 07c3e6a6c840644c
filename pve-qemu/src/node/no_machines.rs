// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node on which no machine runs.

use std::time::Duration;

use pve_volid::VmId;
use serde_json::Value;

use super::{MachineChange, Machines, WorldError};

/// The machines of a node that runs none: a dead one whose configurations and volumes are worked on elsewhere, or one
/// that was made for a trial. Whoever wants something of a machine hears that it does not run.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMachines;

impl Machines for NoMachines {
    fn is_running(&self, _: VmId) -> bool {
        false
    }

    fn qmp(&self, vmid: VmId, _: &str, _: Value, _: Option<Duration>) -> Result<Value, WorldError> {
        Err(WorldError::NotRunning { vmid })
    }

    fn change(&self, vmid: VmId, _: &MachineChange<'_>) -> Result<(), WorldError> {
        Err(WorldError::NotRunning { vmid })
    }
}
