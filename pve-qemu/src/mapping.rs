// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resource mappings: names that stand for a device or directory of each node (spec: qemu-command-devices, "Mapping
//! files").

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use pve_config::section::{HeaderSyntax, Outline, RawSection};

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
    pub(crate) id: Option<BString>,
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
        Mappings {
            pci: read(pci, |section| PciMapping {
                mdev: flag(section, "mdev"),
                live_migration_capable: flag(section, "live-migration-capable"),
                entries: entries(section).filter_map(PciEntry::read).collect(),
            }),
            usb: read(usb, |section| entries(section).filter_map(UsbEntry::read).collect()),
            directories: read(directories, |section| {
                entries(section).filter_map(DirectoryEntry::read).collect()
            }),
        }
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

fn read<T>(text: &[u8], make: impl Fn(&RawSection<'_, '_>) -> T) -> HashMap<BString, T> {
    let outline = Outline::with_syntax(text, HeaderSyntax::IdOnly);
    outline.sections().map(|section| (section.id.to_owned(), make(&section))).collect()
}

fn flag(section: &RawSection<'_, '_>, key: &str) -> bool {
    section.get(key).is_some_and(|value| value.is_none_or(|value| value == "1"))
}

/// The values of the lines `map`.
fn entries<'a>(section: &RawSection<'a, '_>) -> impl Iterator<Item = Fields<'a>> {
    let lines = section.properties.iter().filter(|property| property.key == "map");
    lines.filter_map(|property| property.value).filter_map(Fields::parse)
}

/// Keys and values of a property string without default key.
struct Fields<'a>(Vec<(&'a [u8], &'a [u8])>);

impl<'a> Fields<'a> {
    fn parse(text: &'a BStr) -> Option<Self> {
        let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
        for part in text.split_str(",").filter(|part| !part.trim_ascii().is_empty()) {
            let (key, value) = part.split_once_str("=")?;
            if value.is_empty() || fields.iter().any(|(other, _)| *other == key) {
                return None;
            }
            fields.push((key, value));
        }
        Some(Fields(fields))
    }

    fn get(&self, key: &str) -> Option<BString> {
        self.0.iter().find(|(other, _)| *other == key.as_bytes()).map(|(_, value)| (*value).into())
    }

    /// Whether there are only these keys.
    fn has_only(&self, keys: &[&str]) -> bool {
        self.0.iter().all(|(key, _)| keys.iter().any(|known| known.as_bytes() == *key))
    }
}

impl PciEntry {
    #[allow(clippy::needless_pass_by_value)]
    fn read(fields: Fields<'_>) -> Option<Self> {
        let known = ["node", "id", "path", "iommugroup", "subsystem-id", "description"];
        if !fields.has_only(&known) {
            return None;
        }
        Some(PciEntry {
            node: fields.get("node")?,
            path: fields.get("path")?,
            id: Some(fields.get("id")?),
            iommugroup: fields.get("iommugroup"),
            subsystem_id: fields.get("subsystem-id"),
        })
    }
}

impl UsbEntry {
    #[allow(clippy::needless_pass_by_value)]
    fn read(fields: Fields<'_>) -> Option<Self> {
        if !fields.has_only(&["node", "id", "path", "description"]) {
            return None;
        }
        Some(UsbEntry { node: fields.get("node")?, id: fields.get("id")?, path: fields.get("path") })
    }
}

impl DirectoryEntry {
    #[allow(clippy::needless_pass_by_value)]
    fn read(fields: Fields<'_>) -> Option<Self> {
        let entry = DirectoryEntry { node: fields.get("node")?, path: fields.get("path")? };
        (fields.has_only(&["node", "path"]) && entry.path.starts_with(b"/")).then_some(entry)
    }
}
