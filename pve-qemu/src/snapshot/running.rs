// SPDX-License-Identifier: MIT OR Apache-2.0
//! What of a running machine must be the same when its saved memory is loaded again.

use bstr::{BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_config::vm::NetModel;

use crate::argument::property;

/// Machine type, CPU and network MTUs of a running machine.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunningMachine {
    /// The machine type with its version, `pc-i440fx-10.1+pve1`.
    pub machine: BString,
    /// The argument of `-cpu`.
    pub cpu: BString,
    /// The MTU of every virtio network card: `net0` and its number.
    pub host_mtu: Vec<(BString, u32)>,
}

/// The options that tell it, in the main section of a suspended VM or in a snapshot, beside `vmstate`.
pub(crate) const RUNNING_KEYS: [&str; 3] = ["runningmachine", "runningcpu", "running-nets-host-mtu"];

impl RunningMachine {
    /// Reads them off the arguments of the process (`/proc/PID/cmdline`, split at NUL); `None` if it is no machine's.
    ///
    /// ```
    /// use pve_qemu::snapshot::RunningMachine;
    ///
    /// let arguments = ["kvm", "-cpu", "kvm64,+lahf_lm", "-machine", "hpet=off,type=pc-i440fx-10.1+pve1",
    ///     "-device", "virtio-net-pci,mac=BC:24:11:00:00:01,netdev=net0,id=net0,host_mtu=1500"];
    /// let running = RunningMachine::of_arguments(arguments).unwrap();
    /// assert_eq!(running.machine, "pc-i440fx-10.1+pve1");
    /// assert_eq!(running.host_mtu, [("net0".into(), 1500)]);
    /// ```
    pub fn of_arguments<A: AsRef<[u8]>>(arguments: impl IntoIterator<Item = A>) -> Option<Self> {
        let (mut machine, mut cpu, mut host_mtu) = (None, None, Vec::new());
        let mut arguments = arguments.into_iter();
        while let Some(option) = arguments.next() {
            match option.as_ref() {
                b"-machine" | b"-M" => machine = Some(machine_type(arguments.next()?.as_ref())?),
                b"-cpu" => cpu = Some(BString::from(arguments.next()?.as_ref())),
                b"-device" => host_mtu.extend(network_card(arguments.next()?.as_ref())),
                _ => {}
            }
        }
        host_mtu.sort();
        Some(RunningMachine { machine: machine?, cpu: cpu.unwrap_or_default(), host_mtu })
    }

    /// `net0=1500,net1=9000`: the MTU of each virtio card of a configuration, as the machine has it; sorted as text.
    #[must_use]
    pub fn mtu_list(&self, section: &VmSection<'_>) -> BString {
        let known = virtio_cards(section).into_iter().filter_map(|card| {
            let (_, mtu) = self.host_mtu.iter().find(|(name, _)| *name == card)?;
            Some(format!("{card}={mtu}"))
        });
        known.collect::<Vec<_>>().join(",").into()
    }
}

/// The virtio network cards of a configuration, sorted as text.
pub(crate) fn virtio_cards(section: &VmSection<'_>) -> Vec<String> {
    let virtio =
        section.nets().filter(|(_, net)| net.as_ref().is_ok_and(|net| net.model == NetModel::Virtio));
    let mut cards: Vec<String> = virtio.map(|(number, _)| format!("net{number}")).collect();
    cards.sort();
    cards
}

/// The type in the argument of `-machine`.
fn machine_type(argument: &[u8]) -> Option<BString> {
    let first = || argument.split(|byte| *byte == b',').next().filter(|first| !first.contains(&b'='));
    property(argument, "type").map(|kind| kind.as_bytes()).or_else(first).map(BString::from)
}

/// Card and MTU of a virtio network card; without `host_mtu` it is 0, which is none.
fn network_card(argument: &[u8]) -> Option<(BString, u32)> {
    argument.strip_prefix(b"virtio-net-")?;
    let mtu = property(argument, "host_mtu").map_or(Some(0), |mtu| mtu.to_str().ok()?.parse().ok())?;
    Some((BString::from(property(argument, "id")?.as_bytes()), mtu))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_no_machine() {
        assert_eq!(RunningMachine::of_arguments(["kvm", "-cpu", "host"]), None);
        assert_eq!(RunningMachine::of_arguments(["kvm", "-machine"]), None);
    }

    #[test]
    fn cards_are_sorted_and_only_virtio_counts() {
        let arguments = [
            "-machine",
            "q35",
            "-device",
            "virtio-net-pci,id=net1",
            "-device",
            "e1000,id=net2",
            "-device",
            "virtio-net-pci,id=net0,host_mtu=9000",
        ];
        let running = RunningMachine::of_arguments(arguments).unwrap();
        assert_eq!(
            (running.machine.to_string(), running.host_mtu),
            ("q35".into(), vec![("net0".into(), 9000), ("net1".into(), 0)])
        );
    }
}
