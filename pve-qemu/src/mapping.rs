// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resource mappings: names that stand for a device or directory of each node (spec: qemu-command-devices, "Mapping
//! files").

use std::collections::HashMap;

use bstr::{BStr, BString};
use pve_config::mapping::{self, DirectoryMap, DirectoryMapping, PciMap, Resource, UsbMap, UsbMapping};

/// All mappings of a cluster.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mappings {
    pci: HashMap<BString, PciMapping>,
    usb: HashMap<BString, Vec<UsbEntry>>,
    directories: HashMap<BString, Vec<DirectoryEntry>>,
}

/// A name for PCI devices.
#[derive(Debug, Clone, Default)]
pub(crate) struct PciMapping {
    pub(crate) mdev: bool,
    pub(crate) live_migration_capable: bool,
    pub(crate) entries: Vec<PciEntry>,
}

/// Devices of a node.
#[derive(Debug, Clone)]
pub(crate) struct PciEntry {
    pub(crate) node: BString,
    /// Full ids, separated by semicolons.
    pub(crate) path: BString,
    pub(crate) id: BString,
    pub(crate) iommugroup: Option<BString>,
    pub(crate) subsystem_id: Option<BString>,
}

/// A USB device of a node.
#[derive(Debug, Clone)]
pub(crate) struct UsbEntry {
    pub(crate) node: BString,
    pub(crate) id: BString,
    /// Bus and port; `None`: wherever it is plugged in.
    pub(crate) path: Option<BString>,
}

/// A directory of a node.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryEntry {
    pub(crate) node: BString,
    pub(crate) path: BString,
}

impl Mappings {
    /// Reads the three files.
    pub(crate) fn new(pci: &[u8], usb: &[u8], directories: &[u8]) -> Self {
        let owned = |text: &BStr| text.to_owned();
        let pci = Resource::Pci.format().parse(pci);
        let pci = mapping::PciMapping::all(&pci).map(|mapping| {
            let entry = |map: &PciMap<'_>| PciEntry {
                node: map.node.to_owned(),
                path: map.path.to_owned(),
                id: map.id.to_owned(),
                iommugroup: map.iommugroup.map(owned),
                subsystem_id: map.subsystem_id.map(owned),
            };
            let read = PciMapping {
                mdev: mapping.mdev,
                live_migration_capable: mapping.live_migration_capable,
                entries: mapping.maps.iter().map(entry).collect(),
            };
            (mapping.id.to_owned(), read)
        });
        let usb = Resource::Usb.format().parse(usb);
        let usb = UsbMapping::all(&usb).map(|mapping| {
            let entry = |map: &UsbMap<'_>| UsbEntry {
                node: map.node.to_owned(),
                id: map.id.to_owned(),
                path: map.path.map(owned),
            };
            (mapping.id.to_owned(), mapping.maps.iter().map(entry).collect())
        });
        let directories = Resource::Directory.format().parse(directories);
        let directories = DirectoryMapping::all(&directories).map(|mapping| {
            let entry = |map: &DirectoryMap<'_>| DirectoryEntry {
                node: map.node.to_owned(),
                path: map.path.to_owned(),
            };
            (mapping.id.to_owned(), mapping.maps.iter().map(entry).collect())
        });
        Mappings { pci: pci.collect(), usb: usb.collect(), directories: directories.collect() }
    }

    /// The PCI mapping `id`.
    pub(crate) fn pci(&self, id: &BStr) -> Option<&PciMapping> {
        self.pci.get(id)
    }

    /// The entries of the USB mapping `id`, of all nodes.
    pub(crate) fn usb(&self, id: &BStr) -> &[UsbEntry] {
        self.usb.get(id).map(Vec::as_slice).unwrap_or_default()
    }

    /// The entries of the directory mapping `id`, of all nodes.
    pub(crate) fn directory(&self, id: &BStr) -> &[DirectoryEntry] {
        self.directories.get(id).map(Vec::as_slice).unwrap_or_default()
    }
}
