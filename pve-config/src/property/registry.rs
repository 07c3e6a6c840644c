// SPDX-License-Identifier: MIT OR Apache-2.0
//! All property-string formats, to find them by name.

use super::table::PropertyFormat;
use crate::{cluster, container, mapping, vm};

/// Every property-string format.
#[must_use]
pub fn formats() -> &'static [&'static PropertyFormat] {
    static FORMATS: &[&PropertyFormat] = &[
        &vm::AGENT,
        &vm::AMD_SEV,
        &vm::AUDIO,
        &vm::BOOT,
        &vm::CICUSTOM,
        &vm::CPU,
        &vm::CUSTOM_CPU,
        &vm::EFIDISK,
        &vm::HOSTPCI,
        &vm::IDE,
        &vm::INTEL_TDX,
        &vm::IPCONFIG,
        &vm::IVSHMEM,
        &vm::MACHINE,
        &vm::MEMORY,
        &vm::META,
        &vm::NET,
        &vm::NUMA,
        &vm::RNG,
        &vm::SATA,
        &vm::SCSI,
        &vm::SMBIOS1,
        &vm::SPICE_ENHANCEMENTS,
        &vm::TPMSTATE,
        &vm::UNUSED,
        &vm::USB,
        &vm::VGA,
        &vm::VIRTIO,
        &vm::VIRTIOFS,
        &vm::WATCHDOG,
        &container::DEV,
        &container::FEATURES,
        &container::MP,
        &container::NET,
        &container::ROOTFS,
        &container::UNUSED,
        &cluster::BACKUP_FLEECING,
        &cluster::BACKUP_PERFORMANCE,
        &cluster::BWLIMIT,
        &cluster::NODE_LOCATION,
        &cluster::PRUNE_BACKUPS,
        &cluster::NEXT_ID,
        &cluster::REMOTE_ENDPOINT,
        &mapping::DIRECTORY_MAP,
        &mapping::PCI_MAP,
        &mapping::USB_MAP,
    ];
    FORMATS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::assert_patterns_compile;

    #[test]
    fn every_format_is_found_by_each_of_its_names() {
        for format in formats() {
            for name in format.registered_names().iter().copied().chain([format.name()]) {
                let found = PropertyFormat::named(name).unwrap();
                assert!(std::ptr::eq(found, *format), "{name} names two formats");
            }
        }
    }

    #[test]
    fn every_key_is_documented_and_its_pattern_compiles() {
        for format in formats() {
            assert_patterns_compile(format.keys().map(|key| &key.rule));
            for key in format.keys() {
                assert!(!key.doc.trim().is_empty(), "{} {}", format.name(), key.name);
            }
        }
    }
}
