// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fixed PCI addresses: which device sits in which slot of which bus, and which bridges that needs.
//!
//! Every device has its slot for good, so that a guest finds it at the same place whatever else is added or
//! removed (spec: qemu-command-devices, "PCI addresses"). Adding a device is adding a line to [`SLOTS`].

use crate::argument::{Element, Hex, Piece};

/// A slot, or a row of slots, of the conventional PCI buses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotRow {
    /// Device id, without the number that tells the devices of a row apart.
    pub name: &'static str,
    /// The first number of the row; `None` if the id has no number.
    pub first: Option<u8>,
    /// How many devices the row has, in ascending order of number and slot.
    pub count: u8,
    /// Bus number; bus N > 0 is behind the bridge `pci.N`.
    pub bus: u8,
    /// Slot of the first device.
    pub slot: u8,
}

const fn row(name: &'static str, first: u8, count: u8, bus: u8, slot: u8) -> SlotRow {
    SlotRow { name, first: Some(first), count, bus, slot }
}

const fn one(name: &'static str, bus: u8, slot: u8) -> SlotRow {
    SlotRow { name, first: None, count: 1, bus, slot }
}

/// Slots on i440FX, q35 and virt alike. Bus 0 slot 29 is free for the EHCI controllers of the USB file.
pub const SLOTS: &[SlotRow] = &[
    one("ehci", 0, 1),
    one("piix3", 0, 1),
    one("legacy-igd", 0, 2),
    one("vga", 0, 2),
    one("balloon0", 0, 3),
    one("watchdog", 0, 4),
    one("pci.3", 0, 5),
    row("scsihw", 0, 2, 0, 5),
    one("ahci0", 0, 7),
    one("qga0", 0, 8),
    one("spice", 0, 9),
    row("virtio", 0, 6, 0, 10),
    row("hostpci", 0, 2, 0, 16),
    row("net", 0, 6, 0, 18),
    row("vga", 1, 3, 0, 24),
    row("hostpci", 2, 2, 0, 27),
    one("pci.1", 0, 30),
    one("pci.2", 0, 31),
    row("net", 6, 26, 1, 1),
    one("xhci", 1, 27),
    one("pci.4", 1, 28),
    one("rng0", 1, 29),
    one("pci.2-igd", 1, 30),
    row("virtio", 6, 10, 2, 1),
    one("ivshmem", 2, 11),
    one("audio0", 2, 12),
    row("hostpci", 4, 12, 2, 13),
    row("virtioscsi", 0, 31, 3, 1),
    row("scsihw", 2, 3, 4, 1),
];

/// Devices that q35 puts on the PCI Express root bus: (id, number, slot).
pub const EXPRESS_SLOTS: &[SlotRow] = &[one("vga", 0, 1), one("ivshmem", 0, 20)];

/// Slots on the PCI Express root bus of pass-through devices of Windows 7 guests, which cannot use root ports:
/// rows of `hostpciN`.
pub const EXPRESS_WINDOWS7: &[SlotRow] =
    &[row("hostpci", 4, 7, 0, 9), row("hostpci", 0, 4, 0, 16), row("hostpci", 11, 5, 0, 21)];

/// Root ports that the q35 file defines, for hostpci0 to hostpci3; further ones are emitted with their device.
pub const BUILTIN_ROOT_PORTS: u8 = 4;

/// First slot of the emitted root ports on the root bus; eight of them share a slot as its functions.
pub const ROOT_PORT_SLOT: u8 = 0x10;

/// A device's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Bus number.
    pub bus: u8,
    /// Slot on that bus.
    pub slot: u8,
}

/// The slot of device `name` (`vga`), or of `name` with a number (`net`, 3); `None` for a device without a fixed
/// place.
///
/// ```
/// use pve_qemu::pci::slot;
/// assert_eq!(slot("net", Some(6)).map(|s| (s.bus, s.slot)), Some((1, 1)));
/// assert_eq!(slot("tpm", None), None);
/// ```
#[must_use]
pub fn slot(name: &str, number: Option<u8>) -> Option<Slot> {
    find(SLOTS, name, number)
}

/// The slot on the PCI Express root bus of `hostpciN` for a Windows 7 guest.
#[must_use]
pub fn windows7_slot(number: u8) -> Option<u8> {
    find(EXPRESS_WINDOWS7, "hostpci", Some(number)).map(|slot| slot.slot)
}

/// The slot of `name` on the PCI Express root bus of q35.
#[must_use]
pub fn express_slot(name: &str) -> Option<u8> {
    find(EXPRESS_SLOTS, name, None).map(|slot| slot.slot)
}

fn find(rows: &[SlotRow], name: &str, number: Option<u8>) -> Option<Slot> {
    rows.iter().filter(|row| row.name == name).find_map(|row| {
        let offset = match (row.first, number) {
            (None, None) => 0,
            (Some(first), Some(number)) => number.checked_sub(first).filter(|offset| *offset < row.count)?,
            _ => return None,
        };
        Some(Slot { bus: row.bus, slot: row.slot + offset })
    })
}

/// The buses that devices sit on, to know the bridges that are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Buses(u8);

impl Buses {
    /// Bus `number` (0 to 4) is needed.
    pub(crate) fn need(&mut self, number: u8) {
        self.0 |= 1u8.checked_shl(number.into()).unwrap_or(0);
    }

    /// Whether bus `number` is needed.
    pub(crate) fn needs(self, number: u8) -> bool {
        self.0 & 1u8.checked_shl(number.into()).unwrap_or(0) != 0
    }
}

/// `,bus=…,addr=0x…` of a slot. Bus 0 of an ARM machine is PCI Express.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address {
    pub(crate) slot: Slot,
    pub(crate) arm: bool,
}

impl Piece for Address {
    fn write(&self, out: &mut Vec<u8>) {
        let bus = if self.arm && self.slot.bus == 0 { ",bus=pcie." } else { ",bus=pci." };
        bus.write(out);
        self.slot.bus.write(out);
        ",addr=0x".write(out);
        Hex(self.slot.slot.into()).write(out);
    }
}

/// Appends `,bus=pcie.0,addr=0x…`.
pub(crate) fn put_express(element: &mut Element<'_>, slot: u8) {
    element.put(",bus=pcie.0,addr=0x").put(Hex(slot.into()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn only_alternatives_share_a_slot() {
        let mut seen = HashSet::new();
        let mut shared = Vec::new();
        for row in SLOTS {
            for offset in 0..row.count {
                if !seen.insert((row.bus, row.slot + offset)) {
                    shared.push((row.name, row.bus, row.slot + offset));
                }
            }
        }
        assert_eq!(shared, [("piix3", 0, 1), ("vga", 0, 2), ("scsihw", 0, 5)]);
        assert_eq!(seen.len(), 121 - shared.len());
    }

    #[test]
    fn rows_are_found_by_number() {
        let at = |name, number| slot(name, number).map(|slot| (slot.bus, slot.slot));
        assert_eq!(at("hostpci", Some(3)), Some((0, 28)));
        assert_eq!(at("hostpci", Some(15)), Some((2, 24)));
        assert_eq!(at("virtioscsi", Some(30)), Some((3, 31)));
        assert_eq!(at("scsihw", Some(4)), Some((4, 3)));
        assert_eq!(at("vga", None), Some((0, 2)));
        assert_eq!(at("vga", Some(3)), Some((0, 26)));
        assert_eq!(at("net", Some(32)), None);
        assert_eq!(at("net", None), None);
        assert_eq!((windows7_slot(4), windows7_slot(0), windows7_slot(15)), (Some(9), Some(16), Some(25)));
    }
}
