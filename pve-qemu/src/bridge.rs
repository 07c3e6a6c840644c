// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI bridges, known only when all devices are (spec: qemu-command-devices, "Bridges and machine config files").

use crate::argument::put;
use crate::assembly::Assembly;
use crate::origin::{Key, Rule};
use crate::peripheral::put_address;
use crate::version::Feature;

impl Assembly<'_> {
    /// Bridges for the buses that devices sit on, or the file that has them.
    pub(crate) fn put_bridges(&mut self) {
        if self.buses.needs(4) {
            self.buses.need(1);
        }
        if self.q35 {
            let fast = self.has(Feature::Q35Ports);
            let file = if fast { "pve-q35-4.0.cfg" } else { "pve-q35.cfg" };
            let origin = Rule::MachineFile.of(Key::new("machine"));
            put!(self.front.option("-readconfig", origin), "/usr/share/qemu-server/", file);
            if self.buses.needs(4) {
                self.put_bridge(4);
            }
            return;
        }
        if self.has(Feature::EagerBridges) {
            self.buses.need(1);
            self.buses.need(2);
        }
        if self.conf.get("scsihw").is_some_and(|scsihw| scsihw.starts_with(b"virtio-scsi-single")) {
            self.buses.need(3);
        }
        for number in 1..=4 {
            if self.buses.needs(number) {
                self.put_bridge(number);
            }
        }
    }

    fn put_bridge(&mut self, number: u8) {
        let name = match number {
            1 => "pci.1",
            2 if self.passthrough.legacy_igd() => "pci.2-igd",
            2 => "pci.2",
            3 => "pci.3",
            _ => "pci.4",
        };
        let address = self.address(name, None);
        let mut element = self.front.option("-device", Rule::Bridge.rule());
        put!(element, "pci-bridge,id=pci.", number, ",chassis_nr=", number);
        put_address(&mut element, address);
    }
}
