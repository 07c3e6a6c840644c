// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot order: which device gets which `bootindex` (spec: qemu-command, "Boot order").

use bstr::ByteSlice;
use pve_config::format::Context;
use pve_config::guest::VmSection;

use crate::argument::Element;
use crate::conf::Conf;
use crate::drive::Drives;
use crate::origin::{Key, Origin, Rule};

/// The disk that a machine boots from: the one that comes first in the boot order.
///
/// ```
/// use pve_config::guest::VmConfig;
///
/// let (config, _) = VmConfig::parse(b"boot: order=net0;scsi1\nscsi0: local:a,size=1G\nscsi1: local:b,size=2G\n");
/// let disk = pve_qemu::boot_disk(&config.main).unwrap();
/// assert_eq!((disk.to_string().as_str(), config.main.get(disk.option()).unwrap().to_string().as_str()), ("scsi1", "local:b,size=2G"));
/// ```
#[must_use]
pub fn boot_disk(section: &VmSection<'_>) -> Option<Key> {
    let conf = Conf::new(section, Context::default());
    let (drives, _) = Drives::read(&conf);
    let order = BootOrder::of(&conf, &drives);
    let disks = drives.guest_drives().filter(|drive| !drive.is_cdrom() && !drive.is_cloudinit());
    disks.filter_map(|drive| Some((order.index(drive.key)?, drive.key))).min().map(|(_, key)| key)
}

/// The devices that have a place in the boot order, in that order (spec: vm-lifecycle, "Boot order").
pub(crate) fn order(section: &VmSection<'_>) -> Vec<String> {
    boot_index(section).into_iter().map(|(device, _)| device).collect()
}

/// The devices that have a place in the boot order with their `bootindex`, sorted by it (spec: vm-lifecycle, "Boot order").
/// Whether the devices of an explicit order exist is not checked.
#[must_use]
pub fn boot_index(section: &VmSection<'_>) -> Vec<(String, u32)> {
    let conf = Conf::new(section, Context::default());
    let (drives, _) = Drives::read(&conf);
    let mut entries = BootOrder::of(&conf, &drives).entries;
    entries.sort_by_key(|(_, index)| *index);
    entries.into_iter().map(|(device, index)| (device.to_string(), index)).collect()
}

/// Order of guests that configure none: disk, CD-ROM, network.
const DEFAULT_LETTERS: &[u8] = b"cdn";
/// Most network cards of a guest.
pub(crate) const NETS: u8 = 32;

/// The boot index of each device that has one.
#[derive(Debug, Clone, Default)]
pub(crate) struct BootOrder {
    entries: Vec<(Key, u32)>,
    configured: bool,
}

impl BootOrder {
    /// The order of a guest with these drives.
    pub(crate) fn of(conf: &Conf<'_>, drives: &Drives<'_>) -> Self {
        let boot = conf.props("boot");
        let configured = boot.is_some();
        let legacy = boot.as_ref().and_then(|boot| boot.get("legacy"));
        let order = boot.as_ref().and_then(|boot| boot.get("order"));
        let entries = match (legacy, order) {
            (Some(letters), _) => Self::legacy(letters, conf, drives),
            (None, Some(order)) => Self::listed(order),
            (None, None) if configured => Vec::new(),
            (None, None) => Self::legacy(DEFAULT_LETTERS, conf, drives),
        };
        BootOrder { entries, configured }
    }

    /// The devices named in `order=`.
    fn listed(order: &[u8]) -> Vec<(Key, u32)> {
        let mut entries: Vec<(Key, u32)> = Vec::new();
        let names =
            order.split(|b| *b == b';' || b.is_ascii_whitespace() || *b == 0x0b).filter(|n| !n.is_empty());
        for (place, name) in names.enumerate() {
            let Some(key) = device(name) else { continue };
            entries.retain(|(other, _)| *other != key);
            entries.push((key, 100 + u32::try_from(place).unwrap_or(0)));
        }
        entries
    }

    /// The devices of the classes that the letters stand for.
    fn legacy(letters: &[u8], conf: &Conf<'_>, drives: &Drives<'_>) -> Vec<(Key, u32)> {
        let counter = |letter: u8| {
            let place = letters.iter().rposition(|other| *other == letter)?;
            Some(100 * (u32::try_from(place).unwrap_or(0) + 1))
        };
        let (mut disk, mut cdrom, mut net) = (counter(b'c'), counter(b'd'), counter(b'n'));
        let boot_disk = conf.get("bootdisk");
        let mut entries = Vec::new();
        for drive in drives.visited() {
            let class = if drive.is_cdrom() && !drive.is_cloudinit() { &mut cdrom } else { &mut disk };
            let Some(next) = class else { continue };
            if drive.is_cdrom() && !drive.is_cloudinit()
                || boot_disk.is_some_and(|disk| drive.is_called(disk))
            {
                entries.push((drive.key, *next));
            }
            *next += 1;
        }
        for index in 0..NETS {
            let Some(next) = &mut net else { break };
            if conf.nth("net", index).is_some() {
                entries.push((Key::nth("net", index), *next));
                *next += 1;
            }
        }
        entries
    }

    /// The boot index of a device, if it has one.
    pub(crate) fn index(&self, device: Key) -> Option<u32> {
        self.entries.iter().find(|(key, _)| *key == device).map(|(_, index)| *index)
    }

    /// The boot index of a device, to be written.
    pub(crate) fn of_device(&self, device: Key) -> BootIndex {
        let origin = Rule::BootOrder.of_or_default(Key::new("boot"), self.configured);
        BootIndex { index: self.index(device), origin }
    }
}

/// A device's place in the boot order, if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BootIndex {
    index: Option<u32>,
    origin: Origin,
}

impl BootIndex {
    /// Appends `,bootindex=…`.
    pub(crate) fn put(self, element: &mut Element<'_>) {
        if let Some(index) = self.index {
            element.because(self.origin).put(",bootindex=").put(index);
        }
    }
}

/// The device called `name`, if it is of a kind that can be in the boot order.
fn device(name: &[u8]) -> Option<Key> {
    const KINDS: &[&str] = &["ide", "scsi", "virtio", "sata", "net", "usb", "hostpci"];
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (kind, number) = name.split_at_checked(name.len() - digits)?;
    let kind = KINDS.iter().find(|known| known.as_bytes() == kind)?;
    Some(Key::nth(kind, number.to_str().ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_device_keeps_its_last_place() {
        let order = BootOrder { entries: BootOrder::listed(b"net0; scsi0;nonsense1;net0"), configured: true };
        assert_eq!(order.index(Key::nth("scsi", 0)), Some(101));
        assert_eq!(order.index(Key::nth("net", 0)), Some(103));
        assert_eq!(order.index(Key::nth("net", 1)), None);
    }
}
