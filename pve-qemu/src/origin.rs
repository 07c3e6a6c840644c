// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a part of an argument is there: which option, which default, which fact of the host, under which rule.

use std::fmt;

/// An option of a configuration, or a sub-option of one: `net0`, `net0.mtu`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    name: &'static str,
    index: u8,
    sub: &'static str,
}

impl Key {
    /// No option at all.
    pub const NONE: Key = Key { name: "", index: Key::PLAIN, sub: "" };
    /// The index of options that have none.
    const PLAIN: u8 = u8::MAX;

    /// An option without number.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Key { name, index: Key::PLAIN, sub: "" }
    }

    /// An option with number: `net`, 0.
    #[must_use]
    pub const fn nth(name: &'static str, index: u8) -> Self {
        Key { name, index, sub: "" }
    }

    /// A sub-option of this option.
    #[must_use]
    pub const fn sub(self, sub: &'static str) -> Self {
        Key { sub, ..self }
    }

    /// Whether this is [`Key::NONE`].
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.name.is_empty()
    }

    /// The option's name, without its number.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The option's number.
    #[must_use]
    pub fn index(self) -> Option<u8> {
        (self.index != Key::PLAIN).then_some(self.index)
    }

    /// The sub-option, if it is about one.
    #[must_use]
    pub fn sub_option(self) -> Option<&'static str> {
        (!self.sub.is_empty()).then_some(self.sub)
    }

    /// The option as it is written in a configuration: `net0`.
    #[must_use]
    pub fn option(self) -> String {
        match self.index() {
            Some(index) => format!("{}{index}", self.name),
            None => self.name.to_owned(),
        }
    }
}

impl fmt::Display for Key {
    /// `net0.mtu`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)?;
        if let Some(index) = self.index() {
            write!(f, "{index}")?;
        }
        if let Some(sub) = self.sub_option() {
            write!(f, ".{sub}")?;
        }
        Ok(())
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// It stands in the configuration.
    Config,
    /// The option is not set; this is what it defaults to.
    Default,
    /// A fact of the host, by the name of its member in [`Host`](crate::Host).
    Host(&'static str),
    /// The caller asked for it.
    Caller(&'static str),
    /// It follows from the rule alone.
    Rule,
}

/// Why a part of an argument is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The rule that produced it.
    pub rule: Rule,
    /// Where the value comes from.
    pub source: Source,
    /// The option that is involved.
    pub key: Key,
}

impl Origin {
    /// A number that reasons seldom share.
    pub(crate) fn slot(&self) -> usize {
        let sub = self.key.sub.as_ptr() as usize;
        (self.rule as usize) ^ usize::from(self.key.index) << 2 ^ sub >> 1 ^ sub >> 7
    }

    /// Whether this is the same reason, told at once: texts count as equal if they are the very same, so what is equal may
    /// count as different.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same = std::ptr::eq::<str>;
        self.rule == other.rule
            && self.key.index == other.key.index
            && same(self.key.sub, other.key.sub)
            && same(self.key.name, other.key.name)
            && match (self.source, other.source) {
                (Source::Host(mine), Source::Host(theirs))
                | (Source::Caller(mine), Source::Caller(theirs)) => same(mine, theirs),
                (mine, theirs) => std::mem::discriminant(&mine) == std::mem::discriminant(&theirs),
            }
    }
}

impl Default for Origin {
    fn default() -> Self {
        Rule::Always.rule()
    }
}

impl fmt::Display for Origin {
    /// `host fact bridges, for net0.bridge: virtio cards … [qemu-command-devices, "Network"]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source, self.key.is_none()) {
            (Source::Config, _) => write!(f, "{}: ", self.key)?,
            (Source::Default, true) | (Source::Rule, true) => {}
            (Source::Default, false) => write!(f, "{} (default): ", self.key)?,
            (Source::Host(fact), true) => write!(f, "host's {fact}: ")?,
            (Source::Host(fact), false) => write!(f, "{} and host's {fact}: ", self.key)?,
            (Source::Caller(what), _) => write!(f, "caller's {what}: ")?,
            (Source::Rule, false) => write!(f, "{}: ", self.key)?,
        }
        let described = self.rule.description();
        write!(f, "{} [{}, \"{}\"]", described.what, described.document, described.section)
    }
}

/// A rule in words, and where the specification states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Description {
    /// What the rule does.
    pub what: &'static str,
    /// Document of the specification.
    pub document: &'static str,
    /// Title of the section.
    pub section: &'static str,
}

impl Rule {
    /// The value of `key` stands in the configuration.
    pub(crate) const fn of(self, key: Key) -> Origin {
        Origin { rule: self, source: Source::Config, key }
    }

    /// `key` is not set.
    pub(crate) const fn default(self, key: Key) -> Origin {
        Origin { rule: self, source: Source::Default, key }
    }

    /// `key` is set, or has its default.
    pub(crate) const fn of_or_default(self, key: Key, set: bool) -> Origin {
        if set { self.of(key) } else { self.default(key) }
    }

    /// A fact of the host decides, for `key`.
    pub(crate) const fn host(self, fact: &'static str, key: Key) -> Origin {
        Origin { rule: self, source: Source::Host(fact), key }
    }

    /// The caller asked for it.
    pub(crate) const fn caller(self, what: &'static str) -> Origin {
        Origin { rule: self, source: Source::Caller(what), key: Key::NONE }
    }

    /// Only the rule decides.
    pub(crate) const fn rule(self) -> Origin {
        Origin { rule: self, source: Source::Rule, key: Key::NONE }
    }

    /// Only the rule decides, for the device of `key`.
    pub(crate) const fn about(self, key: Key) -> Origin {
        Origin { rule: self, source: Source::Rule, key }
    }
}

/// Documents of the specification.
const CORE: &str = "qemu-command";
const DRIVES: &str = "qemu-command-drives";
const DEVICES: &str = "qemu-command-devices";

macro_rules! rules {
    ($($document:ident, $section:literal { $($name:ident = $what:literal;)* })*) => {
        /// The rules that produce arguments. Each is a row of the table [`Rule::description`] reads from.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Rule { $($(#[doc = $what] $name,)*)* }

        impl Rule {
            /// The rule in words.
            #[must_use]
            pub const fn description(self) -> Description {
                match self {
                    $($(Rule::$name => Description { what: $what, document: $document, section: $section },)*)*
                }
            }
        }
    };
}

rules! {
    CORE, "Emission order" {
        Always = "every virtual machine has it";
        Affinity = "the process is pinned to these CPUs of the host";
        Vmid = "the number of the virtual machine names its sockets and files";
        Name = "the name shown in the guest's window and process list";
        ThreadNames = "emulators before 11.0 are told to name their threads";
        Monitor = "the QMP socket that the management uses";
        EventMonitor = "a second QMP connection tells the event daemon about shutdowns";
        Reconnect = "the event connection is made again after five seconds";
        Reboot = "a reboot of the guest ends the process";
        Freeze = "the CPUs wait for a command to start";
        Keyboard = "the keyboard layout for VNC";
        VmGenerationId = "the generation id that tells guests of a rollback";
        SavedState = "the memory saved in this volume is loaded";
        Incoming = "the state comes from a migration";
        StartPaused = "the CPUs wait for a command to start";
        NvidiaUuid = "NVIDIA's mediated devices want the process to have a uuid";
    }
    CORE, "Binary and its version" {
        Binary = "the emulator of the guest's architecture, /usr/bin/kvm for the host's own";
    }
    CORE, "Effective machine type" {
        MachineType = "the configured machine type";
        MachineDefault = "the default machine of the architecture";
        MachineWindows = "Windows guests stay on the machine version they were made with";
    }
    CORE, "Hot-plug fix-up" {
        HotplugFixup = "Linux guests on q35 made before QEMU 6.1 keep native hot-plug";
    }
    CORE, "Power states" {
        PowerState = "S3 and S4 are off from machine version 9.2+pve1 on, unless configured";
    }
    CORE, "`-machine` flags, in order" {
        Acpi = "ACPI is switched off";
        Hpet = "no HPET for Windows since Vista, and for Linux from machine version 10.1 on";
        SharedMemory = "shared directories need shared memory";
        Accelerator = "emulation instead of KVM";
        Smm = "SeaBIOS without display works around SMM";
        Revision = "the lowest revision that has everything this command line uses";
        Iommu = "the virtual IOMMU";
        Confidential = "the guest's memory is encrypted";
        MemoryMerge = "the guest's memory is not merged with that of others";
    }
    CORE, "smbios" {
        Smbios = "system information tables of the guest";
    }
    CORE, "CPU topology" {
        Topology = "sockets, cores and CPUs of the guest";
        CpuHotplug = "CPUs beyond the first are devices that can be removed";
    }
    CORE, "Type" {
        CpuModel = "the CPU model the guest sees";
    }
    CORE, "Flag layers" {
        CpuPve = "flags that the platform sets for this model, guest or version";
        CpuHyperv = "Hyper-V enlightenments for Windows guests";
        CpuAbstract = "flags that make up the CPU level";
        CpuCustom = "flags of the custom CPU model";
        CpuFlags = "flags of the virtual machine";
        CpuForced = "flags that cannot be overridden";
    }
    CORE, "String" {
        CpuLevel = "the CPUID level";
        CpuPhysBits = "the width of physical addresses";
    }
    CORE, "Memory (main 18)" {
        Memory = "the memory of the guest";
        MemoryHotplug = "memory beyond the static part is made of modules";
        Numa = "the guest's NUMA nodes";
        Hugepages = "the guest's memory is made of huge pages";
    }
    CORE, "Clock" {
        LostTicks = "Windows since Vista does not want lost timer ticks delivered late";
        ClockDrift = "lost ticks of the clock are made up for";
        ClockBase = "what the guest's clock starts with";
    }
    CORE, "Boot order" {
        BootOrder = "the device's place in the boot order";
    }
    CORE, "`args` and quoting" {
        Args = "arguments given by the configuration";
    }
    CORE, "Confidential guests" {
        Sev = "the guest's memory is encrypted by AMD SEV";
        Tdx = "the guest is an Intel TDX trust domain";
    }
    CORE, "Callers" {
        Template = "a template's disks are not written";
        ForcedMachine = "the machine the state was saved with";
        ForcedCpu = "the CPU the state was saved with";
    }
    DRIVES, "Drive configuration strings" {
        Drive = "the drive as configured";
    }
    DRIVES, "Order and skeleton" {
        IscsiInitiator = "the host's iSCSI initiator name";
        Iothread = "the drive has a thread of its own";
    }
    DRIVES, "Derived values" {
        Cache = "the cache mode, none unless configured";
        Aio = "io_uring, or what suits the storage and cache mode";
        DetectZeroes = "zeroes written are detected, and unmapped with discard";
        DriveFormat = "the format of the volume";
        DrivePath = "where the storage keeps the volume";
    }
    DRIVES, "Old form (`-drive`), MV < 10.0" {
        DriveOld = "drives of machine versions before 10.0";
    }
    DRIVES, "Throttle limits" {
        Throttle = "limits of the drive";
    }
    DRIVES, "Node chain" {
        Blockdev = "the drive's graph of block nodes";
        ReadOnly = "the drive is not written";
        Discard = "whether discarded blocks are given back";
        ChainFlag = "snapshots are a chain of volumes";
        FirmwareSize = "the image may be larger than the firmware's variables";
    }
    DRIVES, "Node names" {
        NodeName = "a name derived from drive and volume";
    }
    DRIVES, "Volume chains" {
        Backing = "the snapshot the image is based on";
    }
    DRIVES, "Front-end devices" {
        FrontEnd = "the disk or CD-ROM the guest sees";
        Serial = "the serial number the guest sees";
        WriteCache = "whether the guest sees a write cache";
        ErrorPolicy = "what happens on read and write errors";
        DiskIdentity = "vendor, product, model, WWN the guest sees";
        Rotation = "the guest sees an SSD";
    }
    DRIVES, "SCSI controllers and iothreads" {
        ScsiController = "the controller of the drive";
    }
    DRIVES, "SATA" {
        SataController = "the controller of all SATA drives";
    }
    DRIVES, "EFI disk (OVMF), `bios: ovmf`" {
        Firmware = "the firmware for the guest's machine and security";
        FirmwareVars = "the firmware's variables";
    }
    DRIVES, "TPM" {
        Tpm = "a TPM emulated by a process of its own";
    }
    DRIVES, "Templates, live restore and other users of the chain" {
        LiveRestore = "blocks not restored yet come from the backup";
    }
    DEVICES, "PCI addresses" {
        Address = "every device has its fixed place";
    }
    DEVICES, "Bridges and machine config files" {
        Bridge = "a bus that devices sit on";
        MachineFile = "the devices every q35 machine has";
    }
    DEVICES, "Host PCI devices" {
        Passthrough = "the host's device is given to the guest";
        RootPort = "a PCI Express port for the device";
    }
    DEVICES, "USB" {
        UsbController = "the controller USB devices are plugged into";
        UsbDevice = "the host's device is given to the guest";
        UsbRedirection = "a device of the SPICE client";
    }
    DEVICES, "Tablet and keyboard" {
        Tablet = "a tablet follows the mouse pointer, unless the display brings its own";
    }
    DEVICES, "Serial and parallel" {
        SerialPort = "a serial port";
        ParallelPort = "a parallel port";
    }
    DEVICES, "Audio" {
        AudioDevice = "a sound card";
    }
    DEVICES, "Display, SPICE, clipboard" {
        Display = "the display: std, or cirrus for old guests and machines, unless configured";
        DisplayNone = "no display";
        DisplayVnc = "the VNC server that the console uses";
        DisplayMemory = "the display's memory";
        Spice = "a SPICE server for displays that can make use of it";
        Clipboard = "the clipboard is shared";
        SpiceExtra = "enhancements of SPICE";
    }
    DEVICES, "Guest agent" {
        Agent = "a channel to the agent in the guest";
    }
    DEVICES, "RNG" {
        RandomNumbers = "a random number generator";
    }
    DEVICES, "Balloon" {
        Balloon = "a balloon, unless switched off";
        PageReporting = "the guest reports free pages from machine version 6.2 on";
    }
    DEVICES, "Watchdog" {
        Watchdog = "a watchdog";
    }
    DEVICES, "Network" {
        NetworkCard = "a network card";
        NetworkBackend = "the card's connection: a bridge, or user mode without one";
        VhostNet = "packets of virtio cards are handled by the host's kernel";
        NetworkQueues = "queues of the card";
        NetworkRom = "old machines boot from ROM files";
        HostMtu = "virtio cards on a bridge are told its MTU, always from machine version 10.0+pve1 on";
        HostTunnel = "offloading of tunnels is off unless configured from machine version 11.0+pve1 on";
        MacAddress = "the card's address";
    }
    DEVICES, "ivshmem" {
        SharedMemoryDevice = "memory shared with other virtual machines";
    }
    DEVICES, "virtiofs" {
        Virtiofs = "a directory of the host";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_print_as_in_a_configuration() {
        assert_eq!(Key::nth("net", 3).sub("mtu").to_string(), "net3.mtu");
        assert_eq!(Key::nth("net", 3).sub("mtu").option(), "net3");
        assert_eq!(Key::new("memory").to_string(), "memory");
        assert!(Key::NONE.is_none());
    }

    #[test]
    fn origins_tell_where_a_value_comes_from() {
        let origin = Rule::HostMtu.host("bridges", Key::nth("net", 0).sub("bridge"));
        assert_eq!(
            origin.to_string(),
            "net0.bridge and host's bridges: virtio cards on a bridge are told its MTU, always from machine \
             version 10.0+pve1 on [qemu-command-devices, \"Network\"]"
        );
    }
}
