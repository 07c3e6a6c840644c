// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a command line cannot be built, what was odd about one that could, and what the reference mentions in passing.

use std::fmt;

use bstr::BString;

use crate::origin::Key;

/// The command line cannot be built.
#[derive(Debug)]
#[non_exhaustive]
pub struct CommandError {
    /// The option at fault, [`Key::NONE`] if it is not one of them.
    pub key: Key,
    /// What is wrong.
    pub reason: Box<Reason>,
}

impl CommandError {
    pub(crate) fn new(key: Key, reason: impl Into<Reason>) -> Self {
        CommandError { key, reason: Box::new(reason.into()) }
    }
}

impl fmt::Display for CommandError {
    /// `net0.mtu: an MTU of 100 is below 576`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Prefix(&self.key), self.reason)
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.reason.source()
    }
}

/// `net0.mtu: ` in front of a reason.
struct Prefix<'a>(&'a Key);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_none() { Ok(()) } else { write!(f, "{}: ", self.0) }
    }
}

/// What makes a command line impossible (spec: qemu-command, "Errors, warnings, notices").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// No such snapshot.
    #[error("the virtual machine has no snapshot {0:?}")]
    NoSnapshot(String),
    /// No emulator for guests of this architecture.
    #[error("there is no emulator for architecture {0}")]
    Architecture(BString),
    /// The emulator is not installed.
    #[error("the emulator for {0} is not installed on this host")]
    NoEmulator(BString),
    /// The emulator's version cannot be used.
    #[error("cannot use QEMU version {0:?}; 6.0 or later is needed")]
    EmulatorVersion(String),
    /// The machine type is newer than the emulator.
    #[error("machine version {machine} is newer than QEMU {qemu}; upgrade the host or lower the version")]
    MachineTooNew {
        /// The machine's version.
        machine: String,
        /// The emulator's version.
        qemu: String,
    },
    /// The machine's revision does not exist.
    #[error("machine version {machine} has no revision {revision}, the highest is {highest}")]
    UnknownRevision {
        /// QEMU's part of the version.
        machine: String,
        /// The revision asked for.
        revision: u32,
        /// The highest known one.
        highest: u32,
    },
    /// A machine type that is none of i440fx, q35, virt.
    #[error("unknown kind of machine {0:?}")]
    UnknownMachine(BString),
    /// A Windows guest with `meta`, but without the QEMU version it was made with.
    #[error(
        "names no creation-qemu, by which the machine version of a Windows guest is chosen; pin a machine version"
    )]
    NoCreationVersion,
    /// KVM is wanted and not there.
    #[error("KVM is not available on this host; set kvm: 0 or enable virtualization")]
    NoKvm,
    /// OVMF with a 32-bit CPU.
    #[error("OVMF needs a 64-bit CPU, {0:?} is none")]
    Cpu32(BString),
    /// More CPUs than the host has.
    #[error("{wanted} CPUs are more than the {available} of the host")]
    TooManyCpus {
        /// Sockets times cores.
        wanted: String,
        /// CPUs of the host.
        available: u32,
    },
    /// More hot-pluggable CPUs than can be listed.
    #[error("{0} hot-plugged CPUs are more than any host has")]
    TooManyVcpus(String),
    /// CPU hot-plug of a foreign architecture.
    #[error("CPU hot-plug works for x86_64 guests only")]
    CpuHotplug,
    /// An unknown CPU model.
    #[error("there is no CPU model {model:?} for {arch} guests on this host")]
    CpuModel {
        /// The model.
        model: BString,
        /// The guest's architecture.
        arch: BString,
    },
    /// Something of the memory layout.
    #[error(transparent)]
    Memory(#[from] MemoryReason),
    /// IOMMU: wrong machine, width.
    #[error("{0}")]
    Iommu(&'static str),
    /// Confidential guests.
    #[error("{0}")]
    Confidential(&'static str),
    /// A NUL byte in an argument.
    #[error("an argument contains a NUL byte")]
    Nul,
    /// A number that the reference would compute with, but which is none.
    #[error("{0:?} is not a number")]
    NotANumber(BString),
    /// The storage of a volume cannot be used.
    #[error(transparent)]
    Volume(#[from] VolumeReason),
    /// The storage layer cannot say where a volume is.
    #[error(transparent)]
    Storage(#[from] pve_storage::Error),
    /// A drive that cannot be attached.
    #[error(transparent)]
    Drive(#[from] DriveReason),
    /// Firmware.
    #[error("the firmware file {0} is missing")]
    NoFirmware(String),
    /// EFI disk on a path needs a format.
    #[error("a file or device as EFI disk needs format=")]
    EfiFormat,
    /// PCI pass-through.
    #[error(transparent)]
    Passthrough(#[from] PassthroughReason),
    /// USB pass-through.
    #[error(transparent)]
    Usb(#[from] UsbReason),
    /// A serial or parallel port that is no character device.
    #[error("{0:?} is not a character device of this host")]
    NotACharacterDevice(BString),
    /// Clipboard sharing without display.
    #[error("the clipboard cannot be shared with display type {0:?}")]
    Clipboard(BString),
    /// OpenGL libraries or render node missing.
    #[error("virtio-gl needs {0} on the host")]
    OpenGl(String),
    /// SPICE without address.
    #[error("the host has no address for a SPICE server")]
    NoSpiceAddress,
    /// The source of random numbers is missing.
    #[error("the host has no random number source {0}")]
    NoRng(BString),
    /// Network.
    #[error(transparent)]
    Network(#[from] NetworkReason),
    /// Shared directories.
    #[error(transparent)]
    SharedDirectory(#[from] ShareReason),
}

/// What is wrong with the memory layout (spec: qemu-command, "Memory").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryReason {
    /// Memory hot-plug without NUMA.
    #[error("memory hot-plug needs numa: 1")]
    HotplugWithoutNuma,
    /// Memory hot-plug with configured nodes.
    #[error("memory hot-plug does not go with configured NUMA nodes")]
    HotplugWithNodes,
    /// Memory hot-plug with shared directories.
    #[error("memory hot-plug does not go with virtiofs")]
    HotplugWithVirtiofs,
    /// More than the guest can address.
    #[error("{wanted} MiB are more than the {most} MiB that the guest's CPU can address")]
    TooMuch {
        /// MiB configured.
        wanted: String,
        /// MiB possible.
        most: u64,
    },
    /// Less than the static memory.
    #[error("{wanted} MiB are less than the {least} MiB a guest with memory hot-plug starts with")]
    TooLittle {
        /// MiB configured.
        wanted: String,
        /// MiB at least.
        least: u64,
    },
    /// Not the sum of memory modules.
    #[error("{0} MiB cannot be composed of memory modules")]
    NotAligned(String),
    /// Huge pages without NUMA.
    #[error("huge pages need numa: 1")]
    HugepagesWithoutNuma,
    /// A node without memory.
    #[error("the node has no memory")]
    NodeWithoutMemory,
    /// Host nodes without policy.
    #[error("host nodes need a policy")]
    NoPolicy,
    /// A host node that does not exist.
    #[error("the host has no NUMA node {0}")]
    NoHostNode(String),
    /// Huge pages without host nodes.
    #[error("huge pages need host nodes")]
    NoHostNodes,
    /// A range that ends before it begins.
    #[error("{0:?} is not a range of numbers")]
    Range(BString),
    /// The nodes' memory does not add up.
    #[error("the NUMA nodes have {nodes} MiB, the virtual machine {total} MiB")]
    Sum {
        /// Sum over the nodes.
        nodes: String,
        /// Memory of the virtual machine.
        total: String,
    },
    /// Huge pages for an odd size.
    #[error("{0} MiB cannot be made of huge pages")]
    NoPages(String),
    /// No huge pages on the host.
    #[error("the host has no huge pages")]
    HostHasNoPages,
    /// Not these huge pages.
    #[error("huge pages of {size} MiB are not there, or do not divide {memory} MiB")]
    PageSize {
        /// Size of a page in MiB, as configured.
        size: BString,
        /// The memory to compose.
        memory: String,
    },
}

/// What is wrong with the storage of a volume (spec: qemu-command, "Callers").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeReason {
    /// No such storage.
    #[error("volume {volume}: there is no storage {storage:?}")]
    NoStorage {
        /// The volume.
        volume: BString,
        /// The storage it names.
        storage: String,
    },
    /// The storage is not for this content.
    #[error("volume {volume}: the storage is not configured for content {content:?}")]
    Content {
        /// The volume.
        volume: BString,
        /// The missing content type.
        content: &'static str,
    },
    /// The storage is disabled or of other nodes.
    #[error("volume {volume}: the storage is disabled or not available on node {node}")]
    NotAvailable {
        /// The volume.
        volume: BString,
        /// The node.
        node: String,
    },
    /// Neither volume id nor path.
    #[error("{0:?} is neither a volume id nor an absolute path")]
    NotAVolume(BString),
}

/// What is wrong with a drive (spec: qemu-command-drives, "Summary of errors and warnings").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DriveReason {
    /// A format that QEMU cannot read.
    #[error("volume {volume} has format {format:?}, which is no disk image")]
    Format {
        /// The volume.
        volume: BString,
        /// Its format.
        format: String,
    },
    /// The configured format is not the volume's.
    #[error("format={configured} differs from the volume's format {actual:?}")]
    FormatMismatch {
        /// Configured.
        configured: BString,
        /// The volume's.
        actual: String,
    },
    /// An ISO image as disk.
    #[error("an ISO image needs media=cdrom (or media=disk)")]
    IsoWithoutMedia,
    /// A volume that is no image.
    #[error("a volume of type {0:?} cannot be attached")]
    VolumeType(&'static str),
    /// A missing file.
    #[error("{0:?} does not exist")]
    Missing(BString),
    /// Volume chains with an old machine.
    #[error("images whose snapshots are a chain of volumes need machine version 10.0 or later")]
    ChainNeedsBlockdev,
    /// Temporary snapshots with a new machine.
    #[error("snapshot=1 does not exist from machine version 10.0 on")]
    TemporarySnapshot,
    /// `scsi14` and above with an old machine.
    #[error("scsi14 and above need machine version 4.1+pve2 or later")]
    TooManyScsi,
    /// No path, no volume.
    #[error("a SCSI drive without volume needs media=cdrom")]
    NoVolume,
    /// A size that cannot be set.
    #[error("the size of an image of format {0:?} cannot be given")]
    SizeOfFormat(String),
    /// Live restore to a CD-ROM.
    #[error("a CD-ROM cannot be restored live")]
    LiveRestoreCdrom,
}

/// What is wrong with a pass-through PCI device (spec: qemu-command-devices, "Resolution").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PassthroughReason {
    /// Both `host` and `mapping`.
    #[error("host and mapping exclude each other")]
    Both,
    /// Neither `host` nor `mapping`.
    #[error("one of host and mapping is needed")]
    Neither,
    /// No mapping, or none for the node.
    #[error("there is no mapping {mapping:?} for node {node}")]
    NoMapping {
        /// The mapping's id.
        mapping: BString,
        /// The node.
        node: String,
    },
    /// No such device.
    #[error("the host has no PCI device {0}")]
    NoDevice(BString),
    /// The device is not the one that was mapped.
    #[error("PCI device {device} differs from its mapping: {what} is {actual:?}, expected {expected:?}")]
    Mismatch {
        /// The device.
        device: String,
        /// What differs.
        what: &'static str,
        /// What the host has.
        actual: String,
        /// What the mapping says.
        expected: String,
    },
    /// A mediated device of several functions.
    #[error("a mediated device needs a single function, not all of {0}")]
    MediatedFunctions(BString),
    /// `pcie` on i440fx.
    #[error("pcie=1 needs a q35 machine")]
    Express,
    /// `legacy-igd` with something it does not go with.
    #[error("legacy-igd=1 {0}")]
    LegacyIgd(&'static str),
    /// Used twice.
    #[error("PCI device {0} is used by another hostpci option already")]
    Used(String),
    /// Nothing left of a mapping.
    #[error("no device of mapping {0:?} is free")]
    NoneFree(BString),
}

/// What is wrong with a USB device (spec: qemu-command-devices, "USB").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsbReason {
    /// Too many for an old machine or guest.
    #[error("usb5 and above need machine version 7.1 and ostype l26 or Windows 8 and later")]
    Index,
    /// Neither host nor mapping, or both.
    #[error("exactly one of host and mapping is needed")]
    NoDevice,
    /// No mapping, or not exactly one for the node.
    #[error("there is not exactly one mapping {mapping:?} for node {node}")]
    NoMapping {
        /// The mapping's id.
        mapping: BString,
        /// The node.
        node: String,
    },
    /// The device is not plugged in, or another one is.
    #[error("the device of mapping {0:?} is not plugged in")]
    NotPlugged(BString),
}

/// What is wrong with a network card (spec: qemu-command-devices, "Network").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkReason {
    /// No such bridge.
    #[error("the host has no bridge {0:?}")]
    NoBridge(BString),
    /// The MTU is too small.
    #[error("an MTU of {0} is below 576")]
    MtuTooSmall(String),
    /// The MTU is above the bridge's.
    #[error("an MTU of {mtu} is above the {bridge} of its bridge")]
    MtuTooLarge {
        /// Wanted.
        mtu: String,
        /// The bridge's.
        bridge: u32,
    },
    /// The name of the interface is too long.
    #[error("interface name {0:?} is longer than 15 characters")]
    InterfaceName(String),
}

/// What is wrong with a shared directory (spec: qemu-command-devices, "virtiofs").
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShareReason {
    /// No mapping, or not exactly one for the node.
    #[error("there is not exactly one mapping {mapping:?} for node {node}")]
    NoMapping {
        /// The mapping's id.
        mapping: BString,
        /// The node.
        node: String,
    },
    /// POSIX ACLs with Windows.
    #[error("expose-acl does not work with Windows guests")]
    AclOnWindows,
    /// Not a directory.
    #[error("{0:?} is not a directory of this host")]
    NotADirectory(BString),
}

/// Something odd that does not stop the command line from being built; the reference prints it as a warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The option it is about.
    pub key: Key,
    /// What is odd.
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Prefix(&self.key), self.text)
    }
}

/// Something the reference mentions on its standard output before the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// The option it is about.
    pub key: Key,
    /// The information.
    pub text: String,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Prefix(&self.key), self.text)
    }
}
