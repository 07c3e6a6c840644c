// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts about a node that a command line depends on, as one plain value.
//!
//! A [`Host`] can be written by hand, read from and written to JSON, probed from the machine one runs on, or taken
//! as it comes ([`Host::default`], a plain current node). The builder looks at nothing else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bstr::ByteSlice as _;
use pve_config::format::{Context, Scalar};
use pve_config::vm::CPU_MODELS;
use serde::{Deserialize, Deserializer, Serialize};

use crate::cpu::models;
use crate::emulator::Emulator;
use crate::version::QemuVersion;

mod probe;

/// Everything outside the two configuration texts that a command line depends on.
///
/// Members that a JSON text leaves out have the value of [`Host::default`].
///
/// ```
/// use pve_qemu::Host;
/// let host: Host = serde_json::from_str(r#"{"node": "pve7", "qemu": {"x86_64": "9.2.0"}}"#)?;
/// assert_eq!(host.node, "pve7");
/// assert!(host.kvm, "as on a plain node");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Host {
    /// The node's own name (`uname -n` up to the first dot): selects mappings and the `nodes` of storages.
    pub node: String,
    /// `uname -m`: `x86_64`, `aarch64`.
    pub arch: String,
    /// Version of the emulator of each architecture (`11.0.0`), `null` or left out if it is not installed. The
    /// emulator of the host's own architecture is `/usr/bin/kvm`.
    pub qemu: BTreeMap<String, Option<String>>,
    /// What those emulators say of themselves, by architecture. The command line does not depend on it: it tells whether
    /// it can be run, see [`Host::objections`].
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub emulators: BTreeMap<String, Emulator>,
    /// `/dev/kvm` can be used.
    pub kvm: bool,
    /// `/dev/vhost-net` is a character device.
    pub vhost_net: bool,
    /// The initiator name in `/etc/iscsi/initiatorname.iscsi`.
    pub iscsi_initiator: Option<String>,
    /// Physical address bits of `/proc/cpuinfo`.
    pub phys_bits: Option<u32>,
    /// `vendor_id` of `/proc/cpuinfo`; ARM: the implementer.
    pub cpu_vendor: String,
    /// `flags` of `/proc/cpuinfo`, separated by blanks.
    pub cpu_flags: String,
    /// Number of CPUs.
    pub cpus: u32,
    /// CPU models with their vendor by architecture, as shipped in `/usr/share/kvm/cpu-models-*.json`; `null`: the
    /// table of this crate.
    pub cpu_models: Option<BTreeMap<String, BTreeMap<String, String>>>,
    /// Text of the cluster file `virtual-guest/cpu-models.conf`.
    pub cpu_models_conf: String,
    /// `/run/qemu-server/host-hw-capabilities.json`, `null` if there is no such file.
    pub hw_capabilities: Option<Capabilities>,
    /// Number of NUMA nodes, numbered from 0.
    pub numa_nodes: u32,
    /// Sizes of huge pages in MiB: 2, 1024.
    pub hugepages: Vec<u32>,
    /// First part of the MAC addresses of network cards that configure none (`mac_prefix` of `datacenter.cfg`, see
    /// [`mac_prefix`]), upper case.
    pub mac_prefix: String,
    /// MTU of each network bridge, in bytes.
    pub bridges: BTreeMap<String, u32>,
    /// PCI devices.
    pub pci_devices: Vec<PciDevice>,
    /// Text of the cluster file `mapping/pci.cfg`.
    pub pci_mapping: String,
    /// USB devices.
    pub usb_devices: Vec<UsbDevice>,
    /// Text of the cluster file `mapping/usb.cfg`.
    pub usb_mapping: String,
    /// Text of the cluster file `mapping/directory.cfg`.
    pub dir_mapping: String,
    /// What the paths are that configurations refer to. Of a path that is not listed [`Host::file_type`] assumes
    /// that it is there.
    pub paths: BTreeMap<String, FileType>,
    /// SCSI peripheral device type of paths that answer to an inquiry (0: disk, 1: tape).
    pub scsi_inquiry: BTreeMap<String, u8>,
    /// The first of `/dev/cdrom`, `/dev/cdrom1`, `/dev/cdrom2` that is a symbolic link.
    pub cdrom: Option<String>,
    /// Id of the Ceph cluster, for kernel block devices.
    pub ceph_fsid: String,
    /// LUN of each volume of a ZFS-over-iSCSI storage, by volume name; 0 if not listed.
    pub zfs_luns: BTreeMap<String, u32>,
    /// Snapshot chains of volumes that keep their snapshots as images of their own: volume id, snapshot
    /// (`current` is the image itself), image.
    pub snapshot_chains: BTreeMap<String, BTreeMap<String, ChainImage>>,
    /// Sizes of files in `/usr/share/pve-edk2-firmware` in bytes, `null` if missing. Of a file that is not listed
    /// [`Host::firmware_size`] assumes that it is there.
    pub firmware: BTreeMap<String, Option<u64>>,
    /// The port a SPICE server would get.
    pub spice_port: u16,
    /// Address of `localhost` in the address family of the node's name; without one there is no SPICE.
    pub spice_addr: Option<IpAddr>,
    /// There is a `/dev/dri/renderD*`.
    pub render_node: bool,
    /// `/sys/devices/virtual/misc/hw_random/rng_current`, `none` without a hardware random number generator.
    pub rng_current: String,
    /// Whether the virtual machine runs: then its volumes are not checked before the command is built.
    pub vm_running: bool,
    /// What to assume of things that this value does not list.
    pub assume: Assumptions,
}

impl Default for Host {
    /// A plain current node: x86_64, QEMU 11.0, KVM, 64 CPUs, every bridge with an MTU of 1500.
    fn default() -> Self {
        Host {
            node: "pve".into(),
            arch: "x86_64".into(),
            qemu: ["x86_64", "aarch64"].map(|arch| (arch.to_owned(), Some("11.0.0".to_owned()))).into(),
            emulators: BTreeMap::new(),
            kvm: true,
            vhost_net: true,
            iscsi_initiator: None,
            phys_bits: Some(46),
            cpu_vendor: "GenuineIntel".into(),
            cpu_flags: "fpu vme de pse msr pae cx8 vmx sse sse2 lm".into(),
            cpus: 64,
            cpu_models: None,
            cpu_models_conf: String::new(),
            hw_capabilities: None,
            numa_nodes: 1,
            hugepages: vec![2, 1024],
            mac_prefix: MAC_PREFIX.into(),
            bridges: BTreeMap::from([("vmbr0".to_owned(), 1500)]),
            pci_devices: Vec::new(),
            pci_mapping: String::new(),
            usb_devices: Vec::new(),
            usb_mapping: String::new(),
            dir_mapping: String::new(),
            paths: BTreeMap::new(),
            scsi_inquiry: BTreeMap::new(),
            cdrom: None,
            ceph_fsid: "00000000-0000-0000-0000-000000000000".into(),
            zfs_luns: BTreeMap::new(),
            snapshot_chains: BTreeMap::new(),
            firmware: BTreeMap::new(),
            spice_port: 61000,
            spice_addr: Some(IpAddr::from([127, 0, 0, 1])),
            render_node: false,
            rng_current: "none".into(),
            vm_running: false,
            assume: Assumptions { bridge_mtu: Some(1500), pci_devices: true, usb_devices: true, paths: true },
        }
    }
}

impl Host {
    /// What `path` is. Paths that are not in [`Host::paths`] are assumed: block devices below `/dev/`, nothing
    /// below `/etc/pve/priv/ceph/`, files elsewhere.
    #[must_use]
    pub fn file_type(&self, path: &str) -> FileType {
        match self.paths.get(path) {
            Some(kind) => *kind,
            None if path.starts_with("/dev/") => FileType::Block,
            None if path.starts_with("/etc/pve/priv/ceph/") => FileType::Missing,
            None => FileType::File,
        }
    }

    /// Whether `path` is a `kind`, which is assumed of paths that are not listed if [`Assumptions::paths`] says so.
    #[must_use]
    pub fn is(&self, path: &str, kind: FileType) -> bool {
        self.file_type(path) == kind || self.assume.paths && !self.paths.contains_key(path)
    }

    /// Size in bytes of a firmware file, `None` if it is missing. Of files that are not in [`Host::firmware`] the
    /// size is that of current packages.
    #[must_use]
    pub fn firmware_size(&self, file: &str) -> Option<u64> {
        match self.firmware.get(file) {
            Some(size) => *size,
            None => Some(match file {
                "OVMF_VARS.fd" => 128 << 10,
                "OVMF_VARS_4M.fd" | "OVMF_VARS_4M.ms.fd" | "OVMF_SEV_VARS_4M.fd" => 528 << 10,
                "AAVMF_VARS.fd" | "AAVMF_VARS.ms.fd" => 64 << 20,
                _ => 0,
            }),
        }
    }

    /// The LUN of a volume of a ZFS-over-iSCSI storage.
    #[must_use]
    pub fn zfs_lun(&self, volume: &str) -> u32 {
        self.zfs_luns.get(volume).copied().unwrap_or(0)
    }

    /// MTU of bridge `name` in bytes, `None` if there is no such bridge.
    #[must_use]
    pub fn bridge_mtu(&self, name: &str) -> Option<u32> {
        self.bridges.get(name).copied().or(self.assume.bridge_mtu)
    }

    /// The vendor of CPU model `model` for guests of `arch`; `None` if there is no such model.
    #[must_use]
    pub fn cpu_model_vendor(&self, arch: &str, model: &[u8]) -> Option<&str> {
        if arch == self.arch && model == b"host" {
            return Some(models::NO_VENDOR);
        }
        match &self.cpu_models {
            Some(shipped) => shipped.get(arch)?.get(std::str::from_utf8(model).ok()?).map(String::as_str),
            None => models::vendor(arch, model),
        }
    }

    /// Names of all CPU models of all architectures.
    pub fn cpu_models(&self) -> impl Iterator<Item = &str> {
        let shipped =
            self.cpu_models.iter().flat_map(|all| all.values()).flat_map(|m| m.keys().map(String::as_str));
        let built_in = CPU_MODELS.iter().map(|model| model.name);
        shipped.chain(built_in.filter(|_| self.cpu_models.is_none())).chain(["host"])
    }

    /// Version of the emulator for guests of `arch`, as it prints it; `None` if it is not installed.
    #[must_use]
    pub fn emulator(&self, arch: &str) -> Option<&str> {
        self.qemu.get(arch)?.as_deref()
    }

    /// Sets the version of every installed emulator, to see what would change with it.
    #[must_use]
    pub fn with_qemu_version(mut self, version: QemuVersion) -> Self {
        for installed in self.qemu.values_mut().flatten() {
            *installed = version.to_string();
        }
        self
    }
}

/// First part of MAC addresses if the cluster does not say otherwise.
pub const MAC_PREFIX: &str = "BC:24:11";

/// The prefix of new MAC addresses that a cluster's `datacenter.cfg` sets, upper case, or [`MAC_PREFIX`].
///
/// ```
/// use pve_qemu::host::mac_prefix;
/// assert_eq!(mac_prefix(b"keyboard: de\nmac_prefix: 02:ab\n"), "02:AB");
/// assert_eq!(mac_prefix(b"mac_prefix: 03:00\n"), "BC:24:11", "the address of a group is no prefix");
/// ```
#[must_use]
pub fn mac_prefix(datacenter_cfg: &[u8]) -> String {
    let valid = datacenter_option(datacenter_cfg, "mac_prefix")
        .filter(|value| Scalar::MacPrefix.accepts(value, &Context::default()));
    valid.map_or_else(|| MAC_PREFIX.to_owned(), |value| value.to_str_lossy().to_ascii_uppercase())
}

/// The value of an option of the cluster.
pub(crate) fn datacenter_option<'t>(datacenter_cfg: &'t [u8], option: &str) -> Option<&'t [u8]> {
    datacenter_cfg.lines().find_map(|line| {
        let (key, value) = line.split_once_str(":")?;
        (key.trim_ascii() == option.as_bytes()).then(|| value.trim_ascii())
    })
}

/// What a host is taken to have although its facts do not list it. Probed hosts assume nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Assumptions {
    /// MTU of bridges that are not listed; `None`: they do not exist.
    pub bridge_mtu: Option<u32>,
    /// PCI devices that are not listed exist, as a mapping describes them. One that is named without its functions
    /// (`01:00`) has only the first.
    pub pci_devices: bool,
    /// The USB devices that mappings describe are plugged in, if none is listed.
    pub usb_devices: bool,
    /// A path that is not listed is what the configuration needs it to be: a character device, a directory.
    pub paths: bool,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileType {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A block device.
    Block,
    /// A character device.
    Char,
    /// Nothing.
    Missing,
}

/// Confidential computing abilities, as the helper of the reference writes them at boot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// AMD SEV.
    #[serde(rename = "amd-sev", default, skip_serializing_if = "Option::is_none")]
    pub amd_sev: Option<SevCapabilities>,
    /// Intel TDX.
    #[serde(rename = "intel-tdx", default, skip_serializing_if = "Option::is_none")]
    pub intel_tdx: Option<TdxCapabilities>,
}

/// Abilities of AMD SEV.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct SevCapabilities {
    /// Position of the encryption bit in page table entries.
    pub cbitpos: u32,
    /// Physical address bits that encryption takes away.
    pub reduced_phys_bits: u32,
    /// SEV works.
    #[serde(deserialize_with = "truth")]
    pub sev_support: bool,
    /// SEV-ES works.
    #[serde(deserialize_with = "truth")]
    pub sev_support_es: bool,
    /// SEV-SNP works.
    #[serde(deserialize_with = "truth")]
    pub sev_support_snp: bool,
}

/// Abilities of Intel TDX.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct TdxCapabilities {
    /// TDX works.
    #[serde(deserialize_with = "truth")]
    pub tdx_support: bool,
}

/// A function of a PCI device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PciDevice {
    /// Full id, `0000:01:00.0`.
    pub id: String,
    /// Vendor, four hexadecimal digits.
    pub vendor: String,
    /// Device, four hexadecimal digits.
    pub device: String,
    /// Number of the IOMMU group.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iommugroup: Option<u32>,
    /// Subsystem vendor, four hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem_vendor: Option<String>,
    /// Subsystem device, four hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subsystem_device: Option<String>,
    /// Offers mediated devices.
    #[serde(deserialize_with = "truth", skip_serializing_if = "std::ops::Not::not")]
    pub mdev: bool,
    /// A virtual function that becomes a vGPU in the way of newer NVIDIA drivers.
    #[serde(deserialize_with = "truth", skip_serializing_if = "std::ops::Not::not")]
    pub nvidia: bool,
}

impl PciDevice {
    /// Whether the device offers mediated devices, in one way or the other.
    #[must_use]
    pub fn is_mediated(&self) -> bool {
        self.mdev || self.nvidia
    }
}

/// A USB device that is plugged in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsbDevice {
    /// Number of the bus.
    pub busnum: u32,
    /// Ports below the bus, `4.2`.
    pub usbpath: String,
    /// Vendor, four hexadecimal digits.
    pub vendid: String,
    /// Product, four hexadecimal digits.
    pub prodid: String,
}

/// An image of a snapshot chain.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainImage {
    /// Path of the image.
    pub file: String,
    /// The snapshot it is based on, if any.
    #[serde(default)]
    pub parent: Option<String>,
}

/// A truth value as the files of the reference hold it: `true`, `1`, `"1"`.
fn truth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Truth {
        Flag(bool),
        Number(i64),
        Text(String),
        Nothing(()),
    }
    Ok(match Truth::deserialize(deserializer)? {
        Truth::Flag(flag) => flag,
        Truth::Number(number) => number != 0,
        Truth::Text(text) => !text.is_empty() && text != "0",
        Truth::Nothing(()) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_round_trips() {
        let mut host = Host::default();
        host.pci_devices.push(PciDevice { id: "0000:01:00.0".into(), mdev: true, ..PciDevice::default() });
        host.hw_capabilities =
            Some(Capabilities { amd_sev: Some(SevCapabilities::default()), intel_tdx: None });
        let text = serde_json::to_string(&host).unwrap();
        assert_eq!(serde_json::from_str::<Host>(&text).unwrap(), host);
    }

    #[test]
    fn what_is_assumed_can_be_denied() {
        let mut host = Host::default();
        assert!(host.is("/dev/ttyS0", FileType::Char) && host.is("/srv/share", FileType::Dir));
        host.paths.insert("/dev/ttyS0".into(), FileType::Missing);
        assert!(!host.is("/dev/ttyS0", FileType::Char));
        host.assume = Assumptions::default();
        assert!(!host.is("/srv/share", FileType::Dir) && host.is("/dev/sda", FileType::Block));
    }

    #[test]
    fn numbers_are_truth_values() {
        let device: PciDevice = serde_json::from_str(r#"{"id": "x", "mdev": 1, "nvidia": "0"}"#).unwrap();
        assert!(device.mdev && !device.nvidia);
    }

    #[test]
    fn models_come_from_one_table_at_a_time() {
        let mut host = Host::default();
        assert_eq!(host.cpu_model_vendor("x86_64", b"EPYC"), Some("AuthenticAMD"));
        assert_eq!(host.cpu_model_vendor("aarch64", b"host"), None);
        let shipped =
            BTreeMap::from([("x86_64".to_owned(), BTreeMap::from([("New".to_owned(), "X".to_owned())]))]);
        host.cpu_models = Some(shipped);
        assert_eq!(host.cpu_model_vendor("x86_64", b"EPYC"), None);
        assert_eq!(host.cpu_models().collect::<Vec<_>>(), ["New", "host"]);
    }
}
