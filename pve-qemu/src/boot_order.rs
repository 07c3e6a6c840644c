// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot order of a configuration, as operations on a VM read and change it (spec: vm-lifecycle, "Boot order").
//!
//! ```
//! use pve_config::guest::VmConfig;
//! use pve_qemu::boot_order;
//!
//! let (config, _) = VmConfig::parse(b"ide2: none,media=cdrom\nnet0: virtio\nscsi3: local:1,size=1G\n");
//! assert_eq!(boot_order::default_value(&config.main), "order=scsi3;ide2;net0");
//!
//! let (config, _) = VmConfig::parse(b"boot: order=net0;scsi3\n");
//! assert_eq!(boot_order::boot_index(&config.main), [("net0".to_string(), 100), ("scsi3".to_string(), 101)]);
//! assert_eq!(boot_order::boot_disks(&config.main), ["scsi3"]);
//! ```

use pve_config::guest::VmSection;
use pve_config::vm::{Boot, Bus, Drive, DriveId};

pub use crate::boot::boot_index;

/// The devices that a new VM boots from: its first disk, its first CD-ROM drive, its first network card.
///
/// A drive whose value cannot be read counts as a disk. Cloud-init drives with `media=cdrom` count as CD-ROM drives.
#[must_use]
pub fn default_devices(section: &VmSection<'_>) -> Vec<String> {
    let (mut disk, mut cdrom) = (None, None);
    for id in DriveId::all().filter(|id| is_bootable(*id)) {
        let key = id.to_string();
        if let Some(value) = section.get(&key) {
            let is_cdrom = Drive::read(id, value).is_ok_and(|drive| drive.is_cdrom());
            (if is_cdrom { &mut cdrom } else { &mut disk }).get_or_insert(key);
        }
    }
    let net = section.numbered("net").next().map(|(number, _)| format!("net{number}"));
    [disk, cdrom, net].into_iter().flatten().collect()
}

/// The value of `boot` that a new VM gets; empty if it has nothing to boot from.
#[must_use]
pub fn default_value(section: &VmSection<'_>) -> String {
    value_of(&default_devices(section))
}

/// The drives that a VM boots from: those of the explicit order, else `bootdisk`. They cannot be unplugged, and tell its
/// size. Whether they exist is not checked.
#[must_use]
pub fn boot_disks(section: &VmSection<'_>) -> Vec<String> {
    let boot = section.get("boot").map(|text| Boot::parse(text).unwrap_or_default());
    match boot {
        Some(boot) if boot.legacy.is_none() => {
            let disks = boot.devices().filter(|device| DriveId::from_key(device).is_some());
            disks.map(ToString::to_string).collect()
        }
        _ => section.truthy("bootdisk").map(ToString::to_string).into_iter().collect(),
    }
}

/// The value of `boot` for a list of devices; empty for none.
pub(crate) fn value_of(devices: &[String]) -> String {
    if devices.is_empty() { String::new() } else { format!("order={}", devices.join(";")) }
}

/// Firmware and TPM states are drives that nothing boots from.
fn is_bootable(id: DriveId) -> bool {
    !matches!(id.bus, Bus::Efidisk | Bus::Tpmstate | Bus::Unused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pve_config::guest::VmConfig;

    #[test]
    fn boot_disks_without_an_order() {
        let disks = |text: &[u8]| boot_disks(&VmConfig::parse(text).0.main);
        assert_eq!(disks(b"bootdisk: scsi0\n"), ["scsi0"]);
        assert_eq!(disks(b"bootdisk: scsi0\nboot: cdn\n"), ["scsi0"]);
        assert!(disks(b"bootdisk: scsi0\nboot: \n").is_empty());
        assert_eq!(disks(b"bootdisk: scsi0\nboot: order=net0;ide1\n"), ["ide1"]);
    }

    #[test]
    fn an_empty_list_is_an_empty_value() {
        assert_eq!(value_of(&[]), "");
        assert_eq!(value_of(&["scsi0".to_owned(), "net0".to_owned()]), "order=scsi0;net0");
    }
}
