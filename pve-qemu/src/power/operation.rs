// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be said about an operation when asking for it.

use std::time::Duration;

use bstr::{BStr, ByteSlice};
use pve_volid::StorageId;

use crate::snapshot::StartState;

/// How a VM is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Start<'o> {
    /// Start although another operation has locked the VM.
    pub skip_lock: bool,
    /// How long QEMU may take; as long as the configuration deserves if left out.
    pub timeout: Option<Duration>,
    /// The CPUs wait for a command.
    pub paused: bool,
    /// Volume or path with the state that the machine begins in: that of a snapshot.
    pub state: Option<&'o BStr>,
    /// Machine type instead of the configured one.
    pub force_machine: Option<&'o BStr>,
    /// Argument of `-cpu` instead of the configured CPU.
    pub force_cpu: Option<&'o BStr>,
    /// MTU that the network cards had when the state was saved, `net0=1500`.
    pub nets_host_mtu: Option<&'o BStr>,
}

/// A start with the saved memory of a snapshot.
impl<'o> From<&'o StartState> for Start<'o> {
    fn from(state: &'o StartState) -> Self {
        Start {
            state: Some(state.volume.as_bstr()),
            force_machine: state.machine.as_ref().map(|machine| machine.as_bstr()),
            force_cpu: state.cpu.as_ref().map(|cpu| cpu.as_bstr()),
            nets_host_mtu: state.host_mtu.as_ref().map(|mtu| mtu.as_bstr()),
            ..Start::default()
        }
    }
}

/// How a VM is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stop {
    /// Stop although another operation has locked the VM.
    pub skip_lock: bool,
    /// How long QEMU may take before it is killed; 60 s if left out.
    pub timeout: Option<Duration>,
    /// Leave the volumes active.
    pub keep_active: bool,
}

/// How a VM is shut down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Shutdown {
    /// Shut down although another operation has locked the VM.
    pub skip_lock: bool,
    /// How long the guest may take; `down` of the option `startup`, or 60 s, if left out.
    pub timeout: Option<Duration>,
    /// Leave the volumes active.
    pub keep_active: bool,
    /// Stop the VM if it does not end in time, or cannot react at all.
    pub force_stop: bool,
}

/// How a VM is shut down and started again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reboot {
    /// How long the guest may take; `down` of the option `startup`, or 60 s, if left out.
    pub timeout: Option<Duration>,
}

/// How a VM is suspended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Suspend<'o> {
    /// Suspend although another operation has locked the VM.
    pub skip_lock: bool,
    /// Save the state of the machine in a volume and end the process; else the CPUs are only paused.
    pub to_disk: bool,
    /// Storage for the state.
    pub state_storage: Option<&'o StorageId>,
}
