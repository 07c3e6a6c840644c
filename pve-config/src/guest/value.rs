// SPDX-License-Identifier: MIT OR Apache-2.0
//! The typed value of any option, and the options of a text with their values in one pass.

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};

use super::check::schema;
use super::line::{Line, LineKind, Lines, lines};
use super::section::Section;
use super::typed::Typed;
use super::{Guest, GuestKind, SectionId};
use crate::container::{self, Device, Features, MountPoint};
use crate::format::{Context, numeric_value, parse_boolean};
use crate::property::{PropertyFormat, parse_typed};
use crate::rule::ValueError;
use crate::schema::{FileCheck, GuestOption, Schema};
use crate::vm::{
    self, Agent, AmdSev, Audio, Boot, CiCustom, Cpu, Drive, HostPci, IntelTdx, IpConfig, Ivshmem, Machine,
    Memory, Meta, Net, Numa, Rng, Smbios1, SpiceEnhancements, Usb, Vga, Virtiofs, Watchdog,
};

/// Declares [`OptionValue`]: the types of property strings with the formats that are read as them.
macro_rules! option_values {
    ($($(#[doc = $doc:literal])+ $Variant:ident($Type:ty) = $($format:path)|+;)+) => {
        /// The value of an option, by the type that the schema gives it.
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub enum OptionValue<'t> {
            /// A boolean.
            Boolean(bool),
            /// An integer.
            Integer(u64),
            /// A number.
            Number(f64),
            /// Text, without one pair of enclosing quotes with virtual machines; also lists and names in some scalar
            /// format, integers beyond 64 bits.
            Text(&'t BStr),
            /// A drive: far larger than all other values, and therefore boxed.
            Drive(Box<Drive<'t>>),
            $($(#[doc = $doc])+ $Variant($Type),)+
        }

        impl<'t> OptionValue<'t> {
            /// Reads a property string in `format`.
            fn read_properties(
                format: &'static PropertyFormat,
                value: &'t [u8],
                context: &Context<'_>,
            ) -> Result<Self, ValueError> {
                if DRIVES.iter().any(|drive| std::ptr::eq(format, *drive)) {
                    let drive: Drive<'_> = parse_typed(format, value, context)?;
                    return Ok(OptionValue::Drive(Box::new(drive)));
                }
                $(if $(std::ptr::eq(format, &$format))||+ {
                    return parse_typed(format, value, context).map(OptionValue::$Variant);
                })+
                format.parse_with(value, context).map(|_| OptionValue::Text(value.as_bstr()))
            }
        }
    };
}

/// The formats that are read as drives.
static DRIVES: [&PropertyFormat; 6] =
    [&vm::SCSI, &vm::VIRTIO, &vm::IDE, &vm::SATA, &vm::EFIDISK, &vm::TPMSTATE];

option_values! {
    /// A network card of a virtual machine.
    Net(Net<'t>) = vm::NET;
    /// The guest agent.
    Agent(Agent) = vm::AGENT;
    /// AMD memory encryption.
    AmdSev(AmdSev) = vm::AMD_SEV;
    /// A sound device.
    Audio(Audio) = vm::AUDIO;
    /// What to boot from.
    Boot(Boot<'t>) = vm::BOOT;
    /// Files that replace generated cloud-init data.
    CiCustom(CiCustom<'t>) = vm::CICUSTOM;
    /// A CPU.
    Cpu(Cpu<'t>) = vm::CPU;
    /// A PCI device passed through.
    HostPci(HostPci<'t>) = vm::HOSTPCI;
    /// Intel memory encryption.
    IntelTdx(IntelTdx<'t>) = vm::INTEL_TDX;
    /// Addresses that cloud-init sets up.
    IpConfig(IpConfig<'t>) = vm::IPCONFIG;
    /// Shared memory with the host.
    Ivshmem(Ivshmem<'t>) = vm::IVSHMEM;
    /// A machine.
    Machine(Machine<'t>) = vm::MACHINE;
    /// Memory.
    Memory(Memory<'t>) = vm::MEMORY;
    /// When and by which QEMU a VM was made.
    Meta(Meta<'t>) = vm::META;
    /// A NUMA node.
    Numa(Numa<'t>) = vm::NUMA;
    /// A random number generator.
    Rng(Rng<'t>) = vm::RNG;
    /// DMI tables.
    Smbios1(Smbios1<'t>) = vm::SMBIOS1;
    /// Additions to SPICE.
    SpiceEnhancements(SpiceEnhancements) = vm::SPICE_ENHANCEMENTS;
    /// A USB device.
    Usb(Usb<'t>) = vm::USB;
    /// A display.
    Vga(Vga<'t>) = vm::VGA;
    /// A directory shared with the host.
    Virtiofs(Virtiofs<'t>) = vm::VIRTIOFS;
    /// A watchdog.
    Watchdog(Watchdog) = vm::WATCHDOG;
    /// A root disk or mount point of a container.
    MountPoint(MountPoint<'t>) = container::MP | container::ROOTFS;
    /// A network card of a container.
    ContainerNet(container::Net<'t>) = container::NET;
    /// A device passed through to a container.
    Device(Device<'t>) = container::DEV;
    /// Features of a container.
    Features(Features<'t>) = container::FEATURES;
}

impl<'t> OptionValue<'t> {
    /// Reads the value of an option of `schema`, checking exactly what is checked when a file is read.
    ///
    /// # Errors
    ///
    /// What is wrong with the value; also a size of 2^64 bytes or more.
    pub fn read(
        schema: &Schema,
        option: &GuestOption,
        value: &'t [u8],
        context: &Context<'_>,
    ) -> Result<Self, ValueError> {
        if let Some(format) = option.property_format()
            && memchr::memchr2(b'\n', b'\r', value).is_none()
        {
            return Self::read_properties(format, value, context);
        }
        let checked = schema.check_value(option, value, context)?;
        let typed = match option.file_check() {
            FileCheck::Boolean => parse_boolean(&checked).map(OptionValue::Boolean),
            FileCheck::Integer => decimal(&checked).map(OptionValue::Integer),
            FileCheck::Number => numeric_value(&checked).map(OptionValue::Number),
            _ => None,
        };
        Ok(match (typed, checked) {
            (Some(typed), _) => typed,
            (None, Cow::Borrowed(text)) => OptionValue::Text(text),
            // an integer beyond 64 bits, of which the reference makes a float
            (None, Cow::Owned(_)) => OptionValue::Text(value.as_bstr()),
        })
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

impl<G: Guest> Section<'_, G> {
    /// The typed value of any option that the schema knows; `None` if the section does not have it, or the schema.
    ///
    /// ```
    /// use pve_config::format::Context;
    /// use pve_config::guest::{OptionValue, VmConfig};
    ///
    /// let (config, _) = VmConfig::parse(b"cores: 4\nmachine: q35,viommu=intel\n");
    /// let context = Context::default();
    /// assert_eq!(config.main.value("cores", &context), Some(Ok(OptionValue::Integer(4))));
    /// let Some(Ok(OptionValue::Machine(machine))) = config.main.value("machine", &context) else { panic!() };
    /// assert_eq!(machine.kind, Some("q35".into()));
    /// ```
    pub fn value<K: AsRef<[u8]>>(&self, key: K, context: &Context<'_>) -> Option<Typed<OptionValue<'_>>> {
        let entry = self.entry(key.as_ref())?;
        let schema = schema(G::KIND, SectionId::Main)?;
        let (option, _) = schema.find(&entry.key)?;
        let value = OptionValue::read(schema, option, &entry.value, context);
        Some(value.map_err(|error| self.error(key.as_ref(), error)))
    }
}

/// One option line of a text.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct OptionLine<'a> {
    /// The section that the line stands in.
    pub section: SectionId<'a>,
    /// The line.
    pub line: Line<'a>,
    /// The option.
    pub option: &'static GuestOption,
    /// The number behind its name.
    pub index: Option<u16>,
    schema: &'static Schema,
}

impl<'a> OptionLine<'a> {
    /// The typed value of the line.
    ///
    /// # Errors
    ///
    /// What is wrong with the value, if the reference would drop the line for it; also a size of 2^64 bytes or more.
    #[inline]
    pub fn value(&self, context: &Context<'_>) -> Result<OptionValue<'a>, ValueError> {
        // the text of `args` is not checked when it is read, and keeps its quotes
        match self.line.kind {
            LineKind::Args => Ok(OptionValue::Text(self.line.value)),
            _ => OptionValue::read(self.schema, self.option, self.line.value, context),
        }
    }
}

/// The option lines of a text, one after the other, without building anything: for looking something up in many files.
///
/// Options that the schema does not know come as an error. Lines that are no options (descriptions, `delete`,
/// `snapstate`, raw keys, what is skipped) are left out; of repeated options each is given; what `[special:cloudinit]`
/// holds is not typed and left out.
///
/// ```
/// use pve_config::format::Context;
/// use pve_config::guest::{GuestKind, OptionValue, option_lines};
///
/// let text = b"cores: 2\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr1\n[sn]\nnet0: virtio,bridge=vmbr0\n";
/// let nets = option_lines(GuestKind::Qemu, text).flatten().filter(|line| line.option.name == "net");
/// let bridges = nets.filter_map(|line| match line.value(&Context::default()).ok()? {
///     OptionValue::Net(net) => net.bridge,
///     _ => None,
/// });
/// assert_eq!(bridges.collect::<Vec<_>>(), ["vmbr1", "vmbr0"]);
/// ```
#[must_use]
pub fn option_lines(kind: GuestKind, text: &[u8]) -> OptionLines<'_> {
    OptionLines { kind, lines: lines(kind, text), section: SectionId::Main }
}

/// Iterator over the option lines of a text; see [`option_lines`].
#[derive(Debug, Clone)]
pub struct OptionLines<'a> {
    kind: GuestKind,
    lines: Lines<'a>,
    section: SectionId<'a>,
}

impl<'a> Iterator for OptionLines<'a> {
    /// The line; as an error, if its option is not known.
    type Item = Result<OptionLine<'a>, Line<'a>>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.lines.next()?;
            let section = self.section;
            match line.kind {
                // a special section takes `args` without knowing it
                LineKind::Args if matches!(section, SectionId::Special(_)) => {}
                LineKind::Option | LineKind::Args => {
                    let Some(schema) = schema(self.kind, section) else { continue };
                    let found = schema.find(line.key).ok_or(line);
                    return Some(found.map(|(option, index)| OptionLine {
                        section,
                        line,
                        option,
                        index,
                        schema,
                    }));
                }
                LineKind::PendingHeader => self.section = SectionId::Pending,
                LineKind::SpecialHeader => self.section = SectionId::Special(line.key),
                LineKind::SnapshotHeader => self.section = SectionId::Snapshot(line.key),
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{Config, Lxc, Qemu};

    #[test]
    fn every_option_gets_its_type() {
        let text = b"onboot: yes\ncores: 007\ncpulimit: 1.50\nname: web\nciuser: \"x\"\nargs: \"y\"\n\
            shares: 18446744073709551616\nunused0: local:u\nscsi0: local:a,cyls=1\nfoo: 1\nusb0: spice\r \n\
            [special:cloudinit]\ncores: x\n[special:fleecing]\nfleecing-images: local:f\n[sn]\nsata1: none\n";
        let context = Context::default();
        let shown: Vec<String> = option_lines(GuestKind::Qemu, text)
            .map(|line| match line {
                Err(line) => format!("{} unknown", line.key),
                Ok(found) => match (found.section, found.value(&context)) {
                    (SectionId::Main, Ok(value)) => format!("{}={value:?}", found.line.key),
                    (section, Ok(_)) => format!("{section} {} {:?}", found.option.name, found.index),
                    (_, Err(error)) => format!("{} {}", found.line.key, error.code()),
                },
            })
            .collect();
        assert_eq!(
            shown,
            [
                "onboot=Boolean(true)",
                "cores=Integer(7)",
                "cpulimit=Number(1.5)",
                "name=Text(\"web\")",
                "ciuser=Text(\"x\")",
                "args=Text(\"\\\"y\\\"\")",
                "shares=Text(\"18446744073709551616\")",
                "unused0=Text(\"local:u\")",
                "scsi0 unknown-key",
                "foo unknown",
                "usb0=Usb(Usb { host: Some(\"spice\"), mapping: None, usb3: None })",
                "special section \"fleecing\" fleecing-images None",
                "snapshot \"sn\" sata Some(1)",
            ]
        );
    }

    /// In every property format that an option has, a value is read as its own type.
    #[test]
    fn no_property_string_stays_text() {
        let context = Context::default();
        for (schema, kind) in [
            (schema(GuestKind::Qemu, SectionId::Main), "vm"),
            (schema(GuestKind::Lxc, SectionId::Main), "lxc"),
        ] {
            let schema = schema.unwrap();
            for option in schema.options() {
                let Some(format) = option.property_format() else { continue };
                let values = [
                    "",
                    "1",
                    "x",
                    "none",
                    "local:a",
                    "local:a,mp=/x",
                    "std",
                    "pc",
                    "virtio",
                    "size=1",
                    "name=a",
                    "device=AC97",
                    "/dev/urandom",
                    "/dev/x",
                    "kvm64",
                    "cpus=0",
                    "tdx,attestation=1",
                    "ib700",
                    "qxl",
                    "512",
                ];
                let read = values
                    .iter()
                    .find_map(|value| OptionValue::read(schema, option, value.as_bytes(), &context).ok());
                let text = matches!(read, Some(OptionValue::Text(_)));
                assert_eq!(
                    text,
                    option.name == "unused",
                    "{kind} {} {}: {read:?}",
                    option.name,
                    format.name()
                );
                assert!(read.is_some(), "no value for {} {}", option.name, format.name());
            }
        }
    }

    #[test]
    fn lines_and_configurations_agree() {
        let context = Context::default();
        let text =
            b"cores: 2\nnet0: virtio=BC:24:11:00:00:01,bridge=a\nscsi0: local:a,size=4G\nboot: order=scsi0\n";
        let (config, _) = Config::<Qemu>::parse(text);
        for found in option_lines(GuestKind::Qemu, text).flatten() {
            let value = found.value(&context).unwrap();
            assert_eq!(config.main.value(found.line.key, &context), Some(Ok(value)));
        }
        let (config, _) = Config::<Lxc>::parse(b"foo: 1\nnet0: bad\n");
        assert_eq!(config.main.value("foo", &context), None);
        assert!(config.main.value("net0", &context).unwrap().is_err());
    }
}
