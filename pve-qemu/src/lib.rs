// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a Proxmox VE virtual machine configuration to the exact QEMU command line.

pub mod cloudinit;
pub mod iso;
