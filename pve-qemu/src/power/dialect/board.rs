// SPDX-License-Identifier: MIT OR Apache-2.0
//! The devices that boards of Proxmox VE have from a file (spec: qemu-command-devices, "Bridges and machine config
//! files"), written from their description for machines where Proxmox VE is not installed.

/// The file of this name.
pub(super) fn file(name: &str) -> Option<&'static str> {
    Some(match name {
        "pve-q35-4.0.cfg" => include_str!("pve-q35-4.0.cfg"),
        "pve-q35.cfg" => include_str!("pve-q35.cfg"),
        "pve-usb.cfg" => include_str!("pve-usb.cfg"),
        _ => return None,
    })
}
