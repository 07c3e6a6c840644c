// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values that only guests have: CPU sets, boot devices, start order, hotplug features, container paths.

use super::number::numeric_value;
use super::{all_digits, chomp, is_falsy, is_white_space, split_list};
use crate::vm::{Bus, HostPci, Net, Usb};

/// Comma separated `N` or `N-M` with N <= M, white space around each; only trailing parts may be empty.
pub(super) fn is_cpu_set(value: &[u8]) -> bool {
    let end = value.iter().rposition(|byte| *byte != b',').map_or(0, |last| last + 1);
    let value = value.get(..end).unwrap_or_default();
    value.is_empty() || value.split(|byte| *byte == b',').all(is_cpu_range)
}

fn is_cpu_range(part: &[u8]) -> bool {
    let start = part.iter().position(|byte| !is_white_space(*byte)).unwrap_or(part.len());
    let end = part.iter().rposition(|byte| !is_white_space(*byte)).map_or(start, |last| last + 1);
    let part = part.get(start..end).unwrap_or_default();
    match part.iter().position(|byte| *byte == b'-') {
        None => all_digits(part),
        Some(dash) => {
            let (first, last) = part.split_at(dash);
            let last = last.get(1..).unwrap_or_default();
            all_digits(first) && all_digits(last) && numeric_value(first) <= numeric_value(last)
        }
    }
}

pub(super) fn is_hotplug_features(value: &[u8]) -> bool {
    matches!(value, b"0" | b"1")
        || split_list(value)
            .all(|item| matches!(item, b"network" | b"disk" | b"cpu" | b"memory" | b"usb" | b"cloudinit"))
}

pub(super) fn is_phys_bits(value: &[u8]) -> bool {
    chomp(value) == b"host"
        || (value.len() <= 2
            && all_digits(value)
            && numeric_value(value).is_some_and(|n| (8.0..=64.0).contains(&n)))
}

/// Device names, and how many of each a VM may have.
type Slots = &'static [(&'static str, u16)];

const fn slots(bus: Bus) -> (&'static str, u16) {
    (bus.as_str(), bus.slots())
}

const BOOT_DEVICES: Slots = &[
    slots(Bus::Ide),
    slots(Bus::Scsi),
    slots(Bus::Virtio),
    slots(Bus::Sata),
    ("net", Net::SLOTS),
    ("usb", Usb::SLOTS),
    ("hostpci", HostPci::SLOTS),
];
const BOOT_DISKS: Slots = &[
    slots(Bus::Ide),
    slots(Bus::Scsi),
    slots(Bus::Virtio),
    slots(Bus::Sata),
    slots(Bus::Efidisk),
    slots(Bus::Tpmstate),
];

pub(super) fn is_boot_device(value: &[u8]) -> bool {
    is_slot(chomp(value), BOOT_DEVICES)
}

pub(super) fn is_boot_disk(value: &[u8]) -> bool {
    is_slot(value, BOOT_DISKS)
}

fn is_slot(value: &[u8], slots: Slots) -> bool {
    slots.iter().any(|(name, count)| {
        value.strip_prefix(name.as_bytes()).is_some_and(|index| {
            (1..=2).contains(&index.len())
                && all_digits(index)
                && (index.len() == 1 || index.first() != Some(&b'0'))
                && numeric_value(index).is_some_and(|index| index < f64::from(*count))
        })
    })
}

/// Comma separated `N`, `order=N`, `up=N`, `down=N`; parts of white space are ignored. A falsy text is invalid.
pub(super) fn is_startup_order(value: &[u8]) -> bool {
    !is_falsy(value)
        && value.split(|byte| *byte == b',').all(|part| {
            let number = ["order=", "up=", "down="]
                .iter()
                .find_map(|prefix| part.strip_prefix(prefix.as_bytes()))
                .unwrap_or(part);
            part.iter().all(|byte| is_white_space(*byte)) || all_digits(chomp(number))
        })
}

pub(super) fn is_lxc_device(value: &[u8]) -> bool {
    value.strip_prefix(b"/dev/").is_some_and(|path| {
        chomp(path).split(|byte| *byte == b'/').all(|component| !matches!(component, b"." | b".."))
    })
}

/// The empty text and a lone `..` pass: only components between, after or (for `..`) before slashes are seen.
pub(super) fn is_lxc_mount_point(value: &[u8]) -> bool {
    let value = chomp(value);
    !value.starts_with(b"../")
        && value.split(|byte| *byte == b'/').skip(1).all(|component| !matches!(component, b"." | b".."))
}

/// N or N-M, numbers from 2 to 4094, N < M; a second number `0` is ignored.
pub(super) fn is_vlan_id_or_range(value: &[u8]) -> bool {
    let mut ends = chomp(value).splitn(2, |byte| *byte == b'-');
    let vlan = |end: &[u8]| {
        let number = if all_digits(end) { numeric_value(end) } else { None };
        number.filter(|number| (2.0..=4094.0).contains(number))
    };
    let Some(first) = ends.next().and_then(vlan) else { return false };
    match ends.next() {
        None | Some(b"0") => true,
        Some(last) => vlan(last).is_some_and(|last| first < last),
    }
}
