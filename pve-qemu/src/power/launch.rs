// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is run: the command line, the scope it runs in, and how long it may take.

use std::time::Duration;

use pve_config::guest::{VmConfig, VmSection};
use pve_volid::VmId;

use crate::command_line::CommandLine;

/// A QEMU process to be.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Launch<'l> {
    /// The VM.
    pub vmid: VmId,
    /// Its configuration.
    pub config: &'l VmConfig<'l>,
    /// What is run.
    pub command: &'l CommandLine,
    /// The systemd scope it is run in, where there is systemd.
    pub scope: &'l Scope,
    /// How long QEMU may take to become a daemon; `None` for as long as it wants.
    pub timeout: Option<Duration>,
}

impl Launch<'_> {
    /// Under this umask QEMU is run, so that nobody but its owner uses its sockets.
    pub const UMASK: u32 = 0o077;
}

/// A systemd scope: the processes of a VM, with their share of the host (spec: vm-lifecycle, "Start").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    vmid: VmId,
    weight: u64,
    quota: Option<u64>,
}

/// Value of a property of a scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Property {
    /// One value.
    Text(String),
    /// Names of units.
    Units(&'static [&'static str]),
}

/// Largest share of the CPU that systemd takes.
const MAX_WEIGHT: u64 = 10_000;
/// Share of the CPU of VMs without `cpuunits`.
const DEFAULT_WEIGHT: u64 = 100;

impl Scope {
    /// The scope of a VM.
    ///
    /// ```
    /// use pve_config::guest::VmConfig;
    /// use pve_qemu::power::{Property, Scope};
    ///
    /// let (config, _) = VmConfig::parse(b"cpulimit: 1.5\ncpuunits: 500\n");
    /// let scope = Scope::of_config(100.try_into()?, &config.main);
    /// assert_eq!(scope.unit(), "100.scope");
    /// assert!(scope.properties().contains(&("CPUQuota", Property::Text("150".into()))));
    /// # Ok::<(), pve_volid::IdError>(())
    /// ```
    #[must_use]
    pub fn of_config(vmid: VmId, main: &VmSection<'_>) -> Self {
        let weight = main.number("cpuunits").map_or(DEFAULT_WEIGHT, |units| units as u64).min(MAX_WEIGHT);
        let quota = main.number("cpulimit").filter(|limit| *limit > 0.0);
        Scope { vmid, weight, quota: quota.map(|limit| (limit * 100.0) as u64) }
    }

    /// Its name as a unit.
    #[must_use]
    pub fn unit(&self) -> String {
        format!("{}.scope", self.vmid)
    }

    /// What people see.
    #[must_use]
    pub fn description(&self) -> String {
        format!("Proxmox VE VM {}", self.vmid)
    }

    /// Its properties, by name. `CPUQuota` is in percent of one CPU.
    #[must_use]
    pub fn properties(&self) -> Vec<(&'static str, Property)> {
        let text = |value: &str| Property::Text(value.to_owned());
        let mut properties = vec![
            ("After", Property::Units(&["dbus.service"])),
            ("Before", Property::Units(&["pve-ha-lrm.service", "pve-guests.service"])),
        ];
        properties.extend(self.quota.map(|quota| ("CPUQuota", Property::Text(quota.to_string()))));
        properties.extend([
            ("CPUWeight", Property::Text(self.weight.to_string())),
            ("KillMode", text("process")),
            ("SendSIGKILL", text("0")),
            ("Slice", text("qemu.slice")),
            ("TimeoutStopUSec", text("infinity")),
        ]);
        properties
    }
}

/// How long QEMU may take to start, in seconds (spec: vm-lifecycle, "Start", 8).
pub(super) fn start_timeout(main: &VmSection<'_>, resuming: bool) -> Duration {
    const PLAIN: u64 = 30;
    let memory = crate::snapshot::memory(main);
    let mut seconds = if memory > PLAIN * 1024 { memory / 1024 } else { PLAIN };
    if main.numbered("hostpci").len() > 0 {
        seconds *= 4;
    }
    if resuming {
        seconds = seconds.max(300);
    }
    if main.truthy("hugepages").is_some() {
        seconds = seconds.max(150);
    }
    Duration::from_secs(seconds + 5 * main.numbered("net").len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(text: &str, resuming: bool) -> u64 {
        start_timeout(&VmConfig::parse(text.as_bytes()).0.main, resuming).as_secs()
    }

    #[test]
    fn big_and_special_machines_take_longer() {
        assert_eq!(timeout("memory: 30720\n", false), 30);
        assert_eq!(timeout("memory: 524288\nnet0: virtio\n", false), 517);
        assert_eq!(timeout("hostpci0: 01:00\n", false), 120);
        assert_eq!(timeout("hugepages: any\n", false), 150);
        assert_eq!(timeout("hostpci0: 01:00\nmemory: 524288\nhugepages: 2\n", true), 2048);
        assert_eq!(timeout("net0: virtio\nnet31: virtio\n", true), 310);
    }

    #[test]
    fn shares_are_clamped() {
        let scope = |text: &str| Scope::of_config(VmId::MIN, &VmConfig::parse(text.as_bytes()).0.main);
        assert_eq!(scope("cpuunits: 262144\n").weight, 10_000);
        assert_eq!(scope("").weight, 100);
        assert_eq!(scope("cpulimit: 0\n").quota, None);
        assert_eq!(scope("cpulimit: 0.5\n").quota, Some(50));
    }
}
