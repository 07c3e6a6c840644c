// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of a section as typed values, converted when they are asked for.

use bstr::{BStr, BString};

use super::Guest;
use super::section::{LxcSection, Section, VmSection, is_truthy};
use crate::container::{self, Device, Features, MountPoint, VolumeKey};
use crate::format::{Context, numeric_value, parse_boolean, split_list};
use crate::rule::ValueError;
use crate::vm::{
    Agent, AmdSev, Audio, Boot, Bus, CiCustom, Cpu, Drive, DriveId, HostPci, Hotplug, IntelTdx, IpConfig,
    IpConfigError, Ivshmem, Machine, Memory, Meta, Net, Numa, Rng, Smbios1, SpiceEnhancements, Startup, Usb,
    Vga, Virtiofs, Watchdog,
};

/// An option whose value is not what its reader understands.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("option {key}: {source}")]
#[non_exhaustive]
pub struct OptionError {
    /// The option.
    pub key: BString,
    /// The line of the file it came from, counted from 1, if it came from one.
    pub line: Option<usize>,
    /// What is wrong with the value.
    pub source: Box<OptionErrorSource>,
}

/// What is wrong with the value of an option.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OptionErrorSource {
    /// The value breaks a rule.
    #[error(transparent)]
    Value(#[from] ValueError),
    /// The addresses of an `ipconfigN` do not fit together.
    #[error(transparent)]
    IpConfig(#[from] IpConfigError),
}

/// What a typed reader returns.
pub type Typed<T> = Result<T, OptionError>;

impl<G: Guest> Section<'_, G> {
    /// The options `NAME0`, `NAME1` … that the section has, in the order of their numbers, with their values as text.
    ///
    /// ```
    /// use pve_config::guest::VmSection;
    ///
    /// let mut section = VmSection::new();
    /// section.set("net10", "e1000");
    /// section.set("net2", "virtio");
    /// section.set("network", "none");
    /// let numbers: Vec<u32> = section.numbered("net").map(|(number, _)| number).collect();
    /// assert_eq!(numbers, [2, 10]);
    /// ```
    pub fn numbered(&self, name: &str) -> impl ExactSizeIterator<Item = (u32, &BStr)> {
        let first = self.entries().partition_point(|entry| **entry.key < *name.as_bytes());
        let found = self.entries().iter().skip(first).map_while(|entry| {
            let digits = entry.key.strip_prefix(name.as_bytes())?;
            Some((number(digits), &*entry.value))
        });
        let mut found: Vec<(u32, &BStr)> =
            found.filter_map(|(number, value)| Some((number?, value))).collect();
        found.sort_unstable_by_key(|(number, _)| *number);
        found.into_iter()
    }

    /// The value of a boolean option; `None` if it has none or it is no boolean.
    #[must_use]
    pub fn boolean<K: AsRef<[u8]>>(&self, key: K) -> Option<bool> {
        parse_boolean(self.get(key)?)
    }

    /// The value of an integer option; `None` if it has none or it does not fit.
    #[must_use]
    pub fn integer<K: AsRef<[u8]>>(&self, key: K) -> Option<u64> {
        std::str::from_utf8(self.get(key)?).ok()?.parse().ok()
    }

    /// The value of a number option; `None` if it has none or it is no number.
    #[must_use]
    pub fn number<K: AsRef<[u8]>>(&self, key: K) -> Option<f64> {
        numeric_value(self.get(key)?)
    }

    /// The operation that keeps others away from the guest, if there is one.
    #[must_use]
    pub fn lock(&self) -> Option<&BStr> {
        self.truthy("lock")
    }

    /// Whether the guest is a template.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.number("template") == Some(1.0)
    }

    /// Whether the guest and its volumes must not be removed.
    #[must_use]
    pub fn is_protected(&self) -> bool {
        self.truthy("protection").is_some()
    }

    /// The tags, in the order of the file.
    pub fn tags(&self) -> impl Iterator<Item = &BStr> {
        let text: &[u8] = self.get("tags").map_or(b"", |text| text);
        split_list(text).map(BStr::new)
    }

    /// Order and delays of starting and stopping.
    ///
    /// # Errors
    ///
    /// What is wrong with the value.
    pub fn startup(&self) -> Typed<Option<Startup<'_>>> {
        self.read("startup", Startup::parse)
    }

    /// The value of an option, read by `parse`; `None` without the option.
    fn read<'s, T, E: Into<OptionErrorSource>>(
        &'s self,
        key: &str,
        parse: impl FnOnce(&'s [u8]) -> Result<T, E>,
    ) -> Typed<Option<T>> {
        self.entry(key.as_bytes())
            .map(|entry| parse(&entry.value).map_err(|error| self.error(key, error)))
            .transpose()
    }

    /// The value of an option, read by `parse` whether the option is there or not.
    fn read_or_default<'s, T>(
        &'s self,
        key: &str,
        parse: impl FnOnce(Option<&'s [u8]>) -> Result<T, ValueError>,
    ) -> Typed<T> {
        parse(self.get(key).map(|value| &**value)).map_err(|error| self.error(key, error))
    }

    /// The values of `NAME0`, `NAME1` … read by `parse`.
    fn read_numbered<'s, T, E: Into<OptionErrorSource>>(
        &'s self,
        name: &'static str,
        parse: impl Fn(&'s [u8]) -> Result<T, E>,
    ) -> impl Iterator<Item = (u32, Typed<T>)> {
        self.numbered(name).map(move |(number, value)| {
            let typed = parse(value).map_err(|error| self.error(format!("{name}{number}"), error));
            (number, typed)
        })
    }

    pub(super) fn error(&self, key: impl Into<BString>, source: impl Into<OptionErrorSource>) -> OptionError {
        let key = key.into();
        let line = self.line_of(&key);
        OptionError { key, line, source: Box::new(source.into()) }
    }
}

/// Declares readers of options that are there or not.
macro_rules! options {
    ($($(#[doc = $doc:literal])+ $method:ident: $key:literal => $Type:ty = $parse:expr;)+) => { $(
        $(#[doc = $doc])+
        ///
        /// # Errors
        ///
        /// What is wrong with the value.
        pub fn $method(&self) -> Typed<Option<$Type>> {
            self.read($key, $parse)
        }
    )+ };
}

/// Declares readers of options that have a meaning also when they are not there.
macro_rules! defaulted {
    ($($(#[doc = $doc:literal])+ $method:ident: $key:literal => $Type:ty = $parse:expr;)+) => { $(
        $(#[doc = $doc])+
        ///
        /// # Errors
        ///
        /// What is wrong with the value.
        pub fn $method(&self) -> Typed<$Type> {
            self.read_or_default($key, $parse)
        }
    )+ };
}

/// Declares readers of numbered options.
macro_rules! numbered {
    ($($(#[doc = $doc:literal])+ $method:ident: $name:literal => $Type:ty = $parse:expr;)+) => { $(
        $(#[doc = $doc])+
        ///
        /// In the order of their numbers, each with its number and its value or what is wrong with that.
        pub fn $method(&self) -> impl Iterator<Item = (u32, Typed<$Type>)> {
            self.read_numbered($name, $parse)
        }
    )+ };
}

impl VmSection<'_> {
    /// The drives, in the reference's order: `ide`, `scsi`, `virtio`, `sata`, then `efidisk0` and `tpmstate0`. As the
    /// reference does, this passes over a drive whose value contradicts itself: [`VmSection::drive`] tells what is
    /// wrong with one.
    ///
    /// ```
    /// use pve_config::guest::VmConfig;
    ///
    /// let text = b"scsi10: local:9/b.raw\nscsi2: local:9/a.raw,size=4G\nide2: none,media=cdrom\n";
    /// let (config, _) = VmConfig::parse(text);
    /// let drives: Vec<String> = config.main.drives().map(|(id, drive)| format!("{id}={}", drive.file)).collect();
    /// assert_eq!(drives, ["ide2=none", "scsi2=local:9/a.raw", "scsi10=local:9/b.raw"]);
    /// ```
    pub fn drives(&self) -> impl ExactSizeIterator<Item = (DriveId, Drive<'_>)> {
        let all = self.iter().filter_map(|(key, value)| {
            let id = DriveId::from_key(key).filter(|id| id.bus != Bus::Unused)?;
            Some((id, Drive::read(id, value).ok()?))
        });
        let mut drives: Vec<_> = all.collect();
        drives.sort_unstable_by_key(|(id, _)| *id);
        drives.into_iter()
    }

    /// One drive; also `unusedN`.
    ///
    /// # Errors
    ///
    /// What is wrong with the value.
    pub fn drive(&self, id: DriveId) -> Typed<Option<Drive<'_>>> {
        self.read(&id.to_string(), |value| Drive::read(id, value))
    }

    /// The first cloud-init drive.
    #[must_use]
    pub fn cloudinit_drive(&self) -> Option<(DriveId, Drive<'_>)> {
        self.drives().find(|(_, drive)| super::drive::is_cloudinit_volume(drive.file))
    }

    defaulted! {
        /// The guest agent; without the option, and while it is disabled, the default.
        agent: "agent" => Agent = Agent::read;
        /// What can be changed while the VM runs.
        hotplug: "hotplug" => Hotplug = |text| text.map_or(Ok(Hotplug::default()), Hotplug::parse);
        /// The machine.
        machine: "machine" => Machine<'_> = Machine::read;
        /// The memory; 512 MiB without the option.
        memory: "memory" => Memory<'_> = Memory::read;
        /// The display.
        vga: "vga" => Vga<'_> = Vga::read;
        /// The watchdog.
        watchdog: "watchdog" => Option<Watchdog> = Watchdog::read;
        /// When and by which QEMU the VM was made.
        meta: "meta" => Option<Meta<'_>> = |text| text.filter(|text| is_truthy(text)).map(Meta::parse).transpose();
        /// The random number generator.
        rng: "rng0" => Option<Rng<'_>> = |text| text.filter(|text| is_truthy(text)).map(Rng::parse).transpose();
    }

    options! {
        /// AMD memory encryption.
        amd_sev: "amd-sev" => AmdSev = AmdSev::parse;
        /// The sound device.
        audio: "audio0" => Audio = Audio::parse;
        /// What to boot from.
        boot: "boot" => Boot<'_> = Boot::parse;
        /// Files that replace generated cloud-init data.
        cicustom: "cicustom" => CiCustom<'_> = CiCustom::parse;
        /// Intel memory encryption.
        intel_tdx: "intel-tdx" => IntelTdx<'_> = IntelTdx::parse;
        /// Shared memory with the host.
        ivshmem: "ivshmem" => Ivshmem<'_> = Ivshmem::parse;
        /// What the guest finds in its DMI tables.
        smbios1: "smbios1" => Smbios1<'_> = Smbios1::parse;
        /// Additions to SPICE.
        spice_enhancements: "spice_enhancements" => SpiceEnhancements = SpiceEnhancements::parse;
    }

    numbered! {
        /// Devices passed through.
        hostpcis: "hostpci" => HostPci<'_> = HostPci::parse;
        /// Addresses that cloud-init sets up.
        ipconfigs: "ipconfig" => IpConfig<'_> = IpConfig::read;
        /// Network cards.
        nets: "net" => Net<'_> = Net::parse;
        /// NUMA nodes.
        numas: "numa" => Numa<'_> = Numa::parse;
        /// USB devices.
        usbs: "usb" => Usb<'_> = Usb::parse;
        /// Directories shared with the host.
        virtiofs: "virtiofs" => Virtiofs<'_> = Virtiofs::parse;
    }

    /// The CPU; `context` knows the custom models.
    ///
    /// # Errors
    ///
    /// What is wrong with the value.
    pub fn cpu(&self, context: &Context<'_>) -> Typed<Option<Cpu<'_>>> {
        self.read("cpu", |text| Cpu::parse_with(text, context))
    }
}

impl LxcSection<'_> {
    /// `rootfs` and the mount points in the order of their numbers, passing over what the reference's reader refuses:
    /// [`LxcSection::mount_point`] tells what is wrong with one.
    ///
    /// ```
    /// use pve_config::guest::LxcConfig;
    ///
    /// let text = b"mp10: /srv,mp=/srv\nmp2: local:vm-101-disk-1,mp=/data,size=8G\nrootfs: local:vm-101-disk-0,size=4G\n";
    /// let (config, _) = LxcConfig::parse(text);
    /// let mounts: Vec<String> = config.main.mount_points().map(|(key, mount)| format!("{key}={}", mount.mp)).collect();
    /// assert_eq!(mounts, ["rootfs=/", "mp2=/data", "mp10=/srv"]);
    /// ```
    pub fn mount_points(&self) -> impl ExactSizeIterator<Item = (VolumeKey, MountPoint<'_>)> {
        let all = self.iter().filter_map(|(key, value)| {
            let key = super::drive::mount_key(key)?;
            Some((key, MountPoint::read(key, value).ok()?))
        });
        let mut mounts: Vec<_> = all.collect();
        mounts.sort_unstable_by_key(|(key, _)| *key);
        mounts.into_iter()
    }

    /// The volume of one key; also `unusedN`.
    ///
    /// # Errors
    ///
    /// What is wrong with the value.
    pub fn mount_point(&self, key: VolumeKey) -> Typed<Option<MountPoint<'_>>> {
        self.read(&key.to_string(), |value| MountPoint::read(key, value))
    }

    options! {
        /// Features that the container may use.
        features: "features" => Features<'_> = Features::parse;
    }

    numbered! {
        /// Devices passed through.
        devices: "dev" => Device<'_> = Device::parse;
        /// Network cards.
        nets: "net" => container::Net<'_> = container::Net::parse;
    }
}

/// The number that the digits of a numbered option are; `None` unless they are as the schema spells it.
fn number(digits: &[u8]) -> Option<u32> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let canonical = plain && (digits.len() == 1 || digits.first() != Some(&b'0'));
    std::str::from_utf8(digits).ok().filter(|_| canonical)?.parse().ok()
}
