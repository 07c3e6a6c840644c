// SPDX-License-Identifier: MIT OR Apache-2.0
//! Resource mappings: names that stand for a PCI device, a USB device or a directory of each node.
//!
//! They are section files below `/etc/pve/mapping`, whose headers are the name alone, and in which each line `map` is a
//! property string about one node (spec: devices of the command line, "Mapping files"):
//!
//! ```
//! use pve_config::mapping::{PciMapping, Resource};
//!
//! let text = b"gpu\n\tdescription for the render farm\n\tmap id=10de:1eb8,node=pve1,path=0000:01:00\n\
//!     \tmap id=10de:1eb8,node=pve2\n\tmdev 1\n";
//! let file = Resource::Pci.format().parse(text);
//! let gpu = PciMapping::of("gpu".into(), file.get(b"gpu").unwrap());
//! assert!(gpu.mdev && !gpu.live_migration_capable);
//! assert_eq!(gpu.on("pve1").map(|map| map.path).collect::<Vec<_>>(), ["0000:01:00"]);
//! // a line that is not complete is left out, and told about
//! assert_eq!(gpu.maps.len(), 1);
//! assert_eq!(
//!     file.diagnostics()[0].to_string(),
//!     "line 4, column 6: error: invalid value of \"map\": \"id=10de:1eb8,node=pve2\" lacks the required key \"path\""
//! );
//! ```

use std::borrow::Cow;
use std::sync::LazyLock;

use bstr::BStr;

use crate::format::Format;
use crate::property::{Key, properties};
use crate::rule::{Rule, pattern};
use crate::section::{
    Dialect, HeaderSyntax, Mode, OptionFlags, PropertySchema, Schema, Section, SectionConfig, SectionFormat,
    TypeDeclaration, Value,
};

properties! {
    /// PCI devices of a node: a line `map` of `mapping/pci.cfg`.
    #[derive(Copy)]
    pub struct PciMap<'t>: PCI_MAP = "mapping:pci" {
        /// What it is for.
        pub description: Option<&'t BStr> = Key::string("description"),
        /// Vendor and device id that the devices must have, `VVVV:DDDD`.
        pub id: &'t BStr = Key::string("id").required(),
        /// IOMMU group that the first device must be in.
        pub iommugroup: Option<&'t BStr> = Key::string("iommugroup"),
        /// The node.
        pub node: &'t BStr = Key::string("node").required(),
        /// Addresses with domain, separated by `;`.
        pub path: &'t BStr = Key::string("path").required(),
        /// Subsystem vendor and device id that the devices must have.
        pub subsystem_id: Option<&'t BStr> = Key::string("subsystem-id"),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// A USB device of a node: a line `map` of `mapping/usb.cfg`.
    #[derive(Copy)]
    pub struct UsbMap<'t>: USB_MAP = "mapping:usb" {
        /// What it is for.
        pub description: Option<&'t BStr> = Key::string("description"),
        /// Vendor and product id, `VVVV:PPPP`.
        pub id: &'t BStr = Key::string("id").required(),
        /// The node.
        pub node: &'t BStr = Key::string("node").required(),
        /// Bus and ports, `BUS-PORT[.PORT]`; without, it is found wherever it is plugged in.
        pub path: Option<&'t BStr> = Key::string("path"),
    }
    registered: [];
    aliases: [];
}

properties! {
    /// A directory of a node: a line `map` of `mapping/directory.cfg`.
    #[derive(Copy)]
    pub struct DirectoryMap<'t>: DIRECTORY_MAP = "mapping:directory" {
        /// The node.
        pub node: &'t BStr = Key::string("node").required(),
        /// The absolute path.
        pub path: &'t BStr = Key::string("path").pattern(pattern!("/[^;,=()]*")).required(),
    }
    registered: [];
    aliases: [];
}

/// A kind of resource that can be mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resource {
    /// PCI devices.
    Pci,
    /// USB devices.
    Usb,
    /// Directories.
    Directory,
}

impl Resource {
    /// Every kind.
    pub const ALL: [Resource; 3] = [Resource::Pci, Resource::Usb, Resource::Directory];

    /// The file of the mappings, below `/etc/pve`.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Resource::Pci => "mapping/pci.cfg",
            Resource::Usb => "mapping/usb.cfg",
            Resource::Directory => "mapping/directory.cfg",
        }
    }

    /// The format of the file.
    #[must_use]
    pub fn format(self) -> &'static SectionFormat<'static, MappingDialect> {
        static FORMATS: LazyLock<[SectionFormat<'static, MappingDialect>; 3]> = LazyLock::new(|| {
            // the declarations make a schema: a test sees to that
            Resource::ALL.map(|resource| {
                SectionFormat::new(resource.schema().unwrap_or_default(), MappingDialect { resource })
            })
        });
        let [pci, usb, directory] = &*FORMATS;
        match self {
            Resource::Pci => pci,
            Resource::Usb => usb,
            Resource::Directory => directory,
        }
    }

    /// The name of the one section type, which does not stand in the file.
    const fn name(self) -> &'static str {
        match self {
            Resource::Pci => "pci",
            Resource::Usb => "usb",
            Resource::Directory => "directory",
        }
    }

    fn schema(self) -> Option<Schema<'static>> {
        let (map, switches): (_, &[&'static str]) = match self {
            Resource::Pci => (&PCI_MAP, &["live-migration-capable", "mdev"]),
            Resource::Usb => (&USB_MAP, &[]),
            Resource::Directory => (&DIRECTORY_MAP, &[]),
        };
        let map = PropertySchema::array(Rule::string().format(Format::Properties(map)));
        let declared = TypeDeclaration::new(self.name())
            .property("description", PropertySchema::one(Rule::string()))
            .option("description", OptionFlags::OPTIONAL)
            .property("map", map)
            .option("map", OptionFlags::OPTIONAL);
        let declared = switches.iter().fold(declared, |declared, name| {
            declared
                .property(*name, PropertySchema::one(Rule::boolean()))
                .option(*name, OptionFlags::OPTIONAL)
        });
        Schema::new(Mode::Unified, Vec::new(), vec![declared]).ok()
    }
}

/// The rules of a mapping file: a header is the id alone, as all sections are of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappingDialect {
    resource: Resource,
}

impl Dialect for MappingDialect {
    fn header_syntax(&self) -> HeaderSyntax {
        HeaderSyntax::IdOnly
    }

    fn header<'a>(&self, _kind: &'a BStr, _id: &'a BStr) -> Result<Cow<'a, BStr>, String> {
        Ok(Cow::Borrowed(BStr::new(self.resource.name())))
    }

    fn decodes(&self, _key: &str) -> bool {
        false
    }
}

/// A name for PCI devices.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct PciMapping<'m> {
    /// The name.
    pub id: &'m BStr,
    /// What it is for.
    pub description: Option<&'m BStr>,
    /// The devices offer mediated devices, one of which a guest gets.
    pub mdev: bool,
    /// A guest with such a device can be migrated while it runs.
    pub live_migration_capable: bool,
    /// What it stands for, in file order.
    pub maps: Vec<PciMap<'m>>,
}

/// A name for USB devices.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UsbMapping<'m> {
    /// The name.
    pub id: &'m BStr,
    /// What it is for.
    pub description: Option<&'m BStr>,
    /// What it stands for, in file order.
    pub maps: Vec<UsbMap<'m>>,
}

/// A name for directories.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DirectoryMapping<'m> {
    /// The name.
    pub id: &'m BStr,
    /// What it is for.
    pub description: Option<&'m BStr>,
    /// What it stands for, in file order.
    pub maps: Vec<DirectoryMap<'m>>,
}

/// What all kinds of mappings can be asked.
macro_rules! mapping {
    ($Mapping:ident, $Map:ident { $($field:ident = $name:literal),* }) => {
        impl<'m> $Mapping<'m> {
            /// Every mapping of a file.
            pub fn all(file: &'m SectionConfig<'_>) -> impl Iterator<Item = Self> {
                file.sections().map(|(id, section)| Self::of(id, section))
            }

            /// The mapping that a section stands for.
            #[must_use]
            pub fn of(id: &'m BStr, section: &'m Section<'_>) -> Self {
                // what does not parse did not get past the schema
                let maps = lines(section).filter_map(|line| $Map::parse(line).ok()).collect();
                $Mapping {
                    id,
                    description: section.text("description"),
                    $($field: section.is_true($name),)*
                    maps,
                }
            }

            /// What it stands for on a node.
            pub fn on(&self, node: &str) -> impl Iterator<Item = &$Map<'m>> {
                self.maps.iter().filter(move |map| map.node == node)
            }
        }
    };
}

mapping!(PciMapping, PciMap { mdev = "mdev", live_migration_capable = "live-migration-capable" });
mapping!(UsbMapping, UsbMap {});
mapping!(DirectoryMapping, DirectoryMap {});

fn lines<'m>(section: &'m Section<'_>) -> impl Iterator<Item = &'m BStr> {
    let list = match section.get("map") {
        Some(Value::List(list)) => list.as_slice(),
        _ => &[],
    };
    list.iter().filter_map(Value::as_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_make_schemas() {
        for resource in Resource::ALL {
            let schema = resource.schema().unwrap();
            assert!(schema.section_type(resource.name().as_bytes()).unwrap().property(b"map").is_some());
        }
    }

    #[test]
    fn files_are_read_and_written() {
        let text = b"stick\n\tmap id=1234:5678,node=a,path=1-2.3\n\tmap node=b, id=1234:5678\n\tmap node=c,id=1:2,x=1\n\
            \tmap id=1:2,node=b,,description=x\n\tdescription key\n";
        let file = Resource::Usb.format().parse(text);
        let stick = UsbMapping::all(&file).next().unwrap();
        assert_eq!((stick.id, stick.description), ("stick".into(), Some("key".into())));
        // keys are not trimmed: " id" is another key
        assert_eq!(stick.maps.iter().map(|map| map.node).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(file.warnings(), 2);
        let written = Resource::Usb.format().write(&file).unwrap();
        assert_eq!(
            written,
            "stick\n\tdescription key\n\tmap id=1234:5678,node=a,path=1-2.3\n\tmap id=1:2,node=b,,description=x\n\n"
        );

        let file =
            Resource::Directory.format().parse(b"d\n\tmap node=a,path=/x\n\tmap node=a,path=x\n\tmdev 1\n");
        let directory = DirectoryMapping::all(&file).next().unwrap();
        assert_eq!(directory.on("a").map(|map| map.path).collect::<Vec<_>>(), ["/x"]);
        assert_eq!(file.warnings(), 2);
    }
}
