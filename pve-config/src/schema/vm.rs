// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of a VM.

use super::option::{GuestOption, Schema, boolean, integer, list, number, properties, scalar, string};
use crate::format::Scalar;
use crate::rule::pattern;
use crate::vm::{self, Bus, HostPci, Net, Usb};

/// The options of a VM (`qemu-server/VMID.conf`). Values lose one pair of quotes.
pub static VM: Schema = Schema::new(OPTIONS_OF_A_VM, true);

/// The only option of the section `[special:fleecing]`.
pub static FLEECING: Schema = Schema::new(
    &[list("fleecing-images", Scalar::VolumeId)
        .internal()
        .used_in("special:fleecing")
        .doc("Fleecing images of a running or failed backup.")],
    true,
);

/// Names of the options that cloud-init looks at; `ipconfig` stands for all indexes.
pub const CLOUDINIT_OPTIONS: &[&str] = &[
    "cicustom",
    "cipassword",
    "citype",
    "ciupgrade",
    "ciuser",
    "ipconfig",
    "nameserver",
    "searchdomain",
    "sshkeys",
];

// permissions that several options share
const ROOT: &str = "root only";
const HARDWARE: &str = "VM.Config.HWType";
const OPTIONS: &str = "VM.Config.Options";
const MEMORY: &str = "VM.Config.Memory";
const DISK: &str = "VM.Config.Disk";
const CPU: &str = "VM.Config.CPU";
const CLOUDINIT: &str = "VM.Config.Cloudinit or VM.Config.Network";
const NETWORK: &str = "VM.Config.Network";
const DRIVE: &str =
    "VM.Config.Disk; CD-ROM: VM.Config.CDROM; cloud-init drive: VM.Config.Cloudinit+VM.Config.CDROM";

const OPTIONS_OF_A_VM: &[GuestOption] = &[
    boolean("acpi").default("1").permission(HARDWARE)
        .doc("Offer ACPI to the guest."),
    scalar("affinity", Scalar::CpuSet).permission(ROOT)
        .doc("CPUs of the host that the VM may run on."),
    properties("agent", &vm::AGENT).permission(OPTIONS)
        .doc("The QEMU guest agent."),
    boolean("allow-ksm").default("1").permission(MEMORY)
        .doc("Let the host merge equal memory pages of this VM with those of others."),
    properties("amd-sev", &vm::AMD_SEV).permission(ROOT)
        .doc("AMD Secure Encrypted Virtualization."),
    string("arch").words(&["x86_64", "aarch64"]).permission(ROOT)
        .doc("Architecture of the virtual CPU."),
    string("args").permission(ROOT)
        .doc("Arguments that are appended to the command line of QEMU."),
    properties("audio", &vm::AUDIO).slots(1).permission(HARDWARE)
        .doc("A sound card."),
    boolean("autostart").default("0").permission(OPTIONS)
        .doc("Start the VM again after a crash. Has no effect."),
    integer("balloon").min(0.0).permission(MEMORY)
        .doc("Smallest memory that ballooning may leave to the guest, MiB; 0 switches ballooning off."),
    string("bios").words(&["seabios", "ovmf"]).default("seabios").permission(OPTIONS)
        .doc("The firmware."),
    properties("boot", &vm::BOOT).permission(DISK)
        .doc("What the VM boots from."),
    scalar("bootdisk", Scalar::BootDisk).pattern(pattern!(r"(ide|sata|scsi|virtio)[0-9]+")).permission(DISK)
        .doc("Disk to boot from. Deprecated by `boot`."),
    properties("cdrom", &vm::IDE).permission(DRIVE).used_in("input only: stored as ide2")
        .doc("Another name of `ide2`."),
    properties("cicustom", &vm::CICUSTOM).permission(CLOUDINIT)
        .doc("Files of one's own for cloud-init."),
    string("cipassword").permission(CLOUDINIT)
        .doc("Password that cloud-init sets for the user, plain or hashed."),
    string("citype").words(&["configdrive2", "nocloud", "opennebula"]).permission(CLOUDINIT)
        .doc("Form of the cloud-init data."),
    boolean("ciupgrade").default("1").permission(CLOUDINIT)
        .doc("Let cloud-init upgrade packages at the first boot."),
    string("ciuser").permission(CLOUDINIT)
        .doc("User that cloud-init creates."),
    integer("cores").min(1.0).default("1").permission(CPU)
        .doc("Cores of each socket."),
    properties("cpu", &vm::CPU).permission(CPU)
        .doc("The CPU that the guest sees."),
    number("cpulimit").min(0.0).max(128.0).default("0").permission(CPU)
        .doc("Most CPUs of the host that the VM may use up; 0 lifts the limit."),
    integer("cpuunits").min(1.0).max(262144.0).default("cgroup v1: 1024, cgroup v2: 100").permission(CPU)
        .doc("Weight of the VM when CPU time is scarce."),
    string("description").max_length(8192).permission(OPTIONS)
        .doc("Free text, shown to people; kept in comment lines."),
    properties("efidisk", &vm::EFIDISK).slots(Bus::Efidisk.slots()).permission(DRIVE)
        .doc("The EFI variables."),
    boolean("freeze").permission("VM.PowerMgmt")
        .doc("Do not start the CPUs when QEMU starts."),
    scalar("hookscript", Scalar::VolumeId).permission(ROOT)
        .doc("Script that is run before and after start and stop."),
    properties("hostpci", &vm::HOSTPCI).slots(HostPci::SLOTS).permission("mapping: Mapping.Use on it + VM.Config.HWType, no romfile; host device or romfile: root only")
        .doc("PCI devices of the host."),
    scalar("hotplug", Scalar::HotplugFeatures).default("network,disk,usb").permission(HARDWARE)
        .doc("What can be changed while the VM runs."),
    string("hugepages").words(&["any", "2", "1024"]).permission(ROOT)
        .doc("Size of huge pages to use for memory, MiB."),
    properties("ide", &vm::IDE).slots(Bus::Ide.slots()).permission(DRIVE)
        .doc("An IDE drive."),
    properties("intel-tdx", &vm::INTEL_TDX).permission(ROOT)
        .doc("Intel Trust Domain Extensions."),
    properties("ipconfig", &vm::IPCONFIG).slots(32).permission(CLOUDINIT)
        .doc("Addresses that cloud-init gives to the network card of this number."),
    properties("ivshmem", &vm::IVSHMEM).permission(ROOT)
        .doc("Memory that guests and the host share."),
    boolean("keephugepages").default("0").permission(ROOT)
        .doc("Keep the huge pages after the VM stopped."),
    string("keyboard").words(&["de", "de-ch", "da", "en-gb", "en-us", "es", "fi", "fr", "fr-be", "fr-ca", "fr-ch", "hu", "is", "it", "ja", "lt", "mk", "nl", "no", "pl", "pt", "pt-br", "sv", "sl", "tr"]).permission(OPTIONS)
        .doc("Layout of the VNC keyboard."),
    boolean("kvm").default("1").permission(HARDWARE)
        .doc("Use hardware virtualization."),
    boolean("localtime").permission(OPTIONS)
        .doc("Set the clock of the VM to local time."),
    string("lock").words(&["backup", "clone", "create", "migrate", "rollback", "snapshot", "snapshot-delete", "suspending", "suspended"]).permission(ROOT).used_in("main")
        .doc("Operation that is going on, or has failed."),
    properties("machine", &vm::MACHINE).permission(HARDWARE)
        .doc("The machine that QEMU emulates."),
    properties("memory", &vm::MEMORY).permission(MEMORY)
        .doc("Memory of the VM."),
    properties("meta", &vm::META).internal().permission(ROOT).used_in("main, snapshot")
        .doc("How the VM came into being."),
    number("migrate_downtime").min(0.0).default("0.1").permission(OPTIONS)
        .doc("Longest pause of a migration, s."),
    integer("migrate_speed").min(0.0).default("0").permission(OPTIONS)
        .doc("Limit of migrations, MB/s; 0 lifts the limit."),
    scalar("name", Scalar::DnsName).permission(OPTIONS)
        .doc("Name of the VM, shown to people."),
    list("nameserver", Scalar::Address).permission(CLOUDINIT)
        .doc("Name servers that cloud-init sets."),
    properties("net", &vm::NET).slots(Net::SLOTS).permission(NETWORK)
        .doc("A network card."),
    boolean("numa").default("0").permission(CPU)
        .doc("Use NUMA."),
    properties("numa", &vm::NUMA).slots(8).permission(CPU)
        .doc("A NUMA node of the guest."),
    boolean("onboot").default("0").permission(OPTIONS)
        .doc("Start the VM when the node boots."),
    string("ostype").words(&["other", "wxp", "w2k", "w2k3", "w2k8", "wvista", "win7", "win8", "win10", "win11", "l24", "l26", "solaris"]).default("other").permission(OPTIONS)
        .doc("Operating system of the guest."),
    string("parallel").slots(3).pattern(pattern!(r"/dev/parport[0-9][\s\S]*|[\s\S]*/dev/usb/lp[0-9]+")).permission(ROOT)
        .doc("A parallel port of the host."),
    scalar("parent", Scalar::ConfigId).max_length(40).internal().permission(ROOT).used_in("main, snapshot")
        .doc("Snapshot that the state is based on."),
    boolean("protection").default("0").permission(OPTIONS)
        .doc("Refuse to remove the VM and its disks."),
    boolean("reboot").default("1").permission(OPTIONS)
        .doc("Let the guest reboot; otherwise the VM stops then."),
    properties("rng", &vm::RNG).slots(1).permission("VM.Config.HWType; source /dev/hwrng also Mapping.Use on /mapping/hwrng")
        .doc("Random numbers from the host."),
    string("running-nets-host-mtu").pattern(pattern!(r"net[0-9]+=[0-9]+(,net[0-9]+=[0-9]+)*")).internal().permission(NETWORK).used_in("snapshot; main only while suspended to disk")
        .doc("MTUs of the network cards when the state was saved."),
    string("runningcpu").pattern(pattern!(r"(\+?[-0-9=A-Z_a-z.]+,?)+")).internal().permission(CPU).used_in("snapshot; main only while suspended to disk")
        .doc("CPU of the running VM when the state was saved, as an argument of QEMU."),
    properties("runningmachine", &vm::MACHINE).internal().permission(HARDWARE).used_in("snapshot; main only while suspended to disk")
        .doc("Machine of the running VM when the state was saved."),
    properties("sata", &vm::SATA).slots(Bus::Sata.slots()).permission(DRIVE)
        .doc("A SATA drive."),
    properties("scsi", &vm::SCSI).slots(Bus::Scsi.slots()).permission(DRIVE)
        .doc("A SCSI drive."),
    string("scsihw").words(&["lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"]).default("lsi").permission(HARDWARE)
        .doc("Model of the SCSI controller."),
    string("searchdomain").permission(CLOUDINIT)
        .doc("DNS search domains that cloud-init sets."),
    string("serial").slots(4).pattern(pattern!(r"socket|/dev/[^,]+")).permission("value 'socket': VM.Config.HWType; real device: root only")
        .doc("A serial port: `socket`, or a device of the host."),
    integer("shares").min(0.0).max(50000.0).default("1000").permission(MEMORY)
        .doc("Weight of the VM when memory is ballooned; 0 leaves it out."),
    properties("smbios1", &vm::SMBIOS1).max_length(512).permission(HARDWARE)
        .doc("What the firmware tells the guest about the machine."),
    integer("smp").min(1.0).default("1").permission(CPU)
        .doc("Number of CPUs. Deprecated by `sockets`."),
    integer("snaptime").min(0.0).internal().permission(ROOT).used_in("snapshot")
        .doc("Time of the snapshot, seconds since 1970."),
    integer("sockets").min(1.0).default("1").permission(CPU)
        .doc("Number of CPU sockets."),
    properties("spice_enhancements", &vm::SPICE_ENHANCEMENTS).permission(ROOT)
        .doc("Additional features of SPICE."),
    scalar("sshkeys", Scalar::UrlEncoded).permission(CLOUDINIT)
        .doc("Public SSH keys that cloud-init sets, one a line, url-encoded."),
    string("startdate").pattern(pattern!(r"now|[0-9]{4}(-[0-9]{1,2}){2}(T[0-9]{1,2}(:[0-9]{1,2}){2})?")).default("now").permission(OPTIONS)
        .doc("Date that the clock of the VM starts with."),
    scalar("startup", Scalar::StartupOrder).permission("VM.Config.Options + Sys.Modify on /")
        .doc("When the VM starts and stops with its node."),
    boolean("tablet").default("1").permission(HARDWARE)
        .doc("Offer a USB tablet, for absolute pointer positions."),
    list("tags", Scalar::Tag).permission("tag permission rules of the datacenter configuration")
        .doc("Tags, shown to people."),
    boolean("tdf").default("0").permission(OPTIONS)
        .doc("Fix time drift of old guests."),
    boolean("template").default("0").permission(OPTIONS)
        .doc("The VM is a template."),
    properties("tpmstate", &vm::TPMSTATE).slots(Bus::Tpmstate.slots()).permission(DRIVE)
        .doc("The state of a TPM."),
    properties("unused", &vm::UNUSED).slots(Bus::Unused.slots()).permission(DRIVE).used_in("main")
        .doc("A volume that was detached."),
    properties("usb", &vm::USB).slots(Usb::SLOTS).permission("VM.Config.HWType; spice: nothing more; mapping: Mapping.Use on it; host device: root only")
        .doc("A USB device."),
    integer("vcpus").min(1.0).default("0").permission(CPU)
        .doc("Number of CPUs that are plugged in at the start."),
    properties("vga", &vm::VGA).permission(HARDWARE)
        .doc("Display hardware."),
    properties("virtio", &vm::VIRTIO).slots(Bus::Virtio.slots()).permission(DRIVE)
        .doc("A virtio drive."),
    properties("virtiofs", &vm::VIRTIOFS).slots(10).permission("VM.Config.Disk + Mapping.Use on the directory mapping")
        .doc("A directory of the host, shared with the guest."),
    string("vmgenid").pattern(pattern!(r"0|1|[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")).default("1 (autogenerated)").permission(ROOT)
        .doc("Id that changes when the guest should know that it was cloned or rolled back; 0 switches it off."),
    scalar("vmstate", Scalar::VolumeId).internal().permission("VM.Config.Disk + VM.PowerMgmt (deletion only)").used_in("snapshot; main only while suspended to disk")
        .doc("Volume with the memory of the VM."),
    scalar("vmstatestorage", Scalar::StorageId).permission(DISK)
        .doc("Storage for volumes with the memory of the VM."),
    properties("watchdog", &vm::WATCHDOG).permission(HARDWARE)
        .doc("A watchdog card."),
];
