// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts of the machine one runs on, read from `/proc`, `/sys`, `/dev` and the installed programs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, TcpListener, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use pve_storage::{BlockValue, Session};
use pve_volid::{ImageFormat, StorageType, VolumeFormat, VolumeIdRef};

use super::{Assumptions, ChainImage, FileType, Host, PciDevice, UsbDevice, mac_prefix};
use crate::emulator::Emulator;
use crate::version::QemuVersion;

/// Ports that SPICE servers get.
const SPICE_PORTS: std::ops::RangeInclusive<u16> = 61000..=61998;
/// How long a program may take for each answer about itself.
const PATIENCE: Duration = Duration::from_secs(10);
/// Firmware files that a command line may refer to.
const FIRMWARE: &[&str] = &[
    "AAVMF_CODE.fd",
    "AAVMF_CODE.secboot.fd",
    "AAVMF_VARS.fd",
    "AAVMF_VARS.ms.fd",
    "OVMF_CODE.fd",
    "OVMF_CODE_4M.fd",
    "OVMF_CODE_4M.secboot.fd",
    "OVMF_SEV_4M.fd",
    "OVMF_SEV_CODE_4M.fd",
    "OVMF_SEV_VARS_4M.fd",
    "OVMF_TDX_4M.ms.fd",
    "OVMF_VARS.fd",
    "OVMF_VARS_4M.fd",
    "OVMF_VARS_4M.ms.fd",
];

impl Host {
    /// Reads the facts of this machine. What cannot be read counts as not there; nothing is assumed.
    ///
    /// Paths that configurations refer to are not among them, because there is no end to paths: see
    /// [`Host::probe_paths`].
    #[must_use]
    pub fn probe() -> Self {
        Self::probe_below(Path::new("/"))
    }

    /// Reads the facts of the machine whose file system is mounted at `root`. Emulators are asked for their version,
    /// machine types and CPU models only if `root` is `/`.
    #[must_use]
    pub fn probe_below(root: &Path) -> Self {
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        let text = |path: &str| fs::read_to_string(at(path)).unwrap_or_default();
        let cpuinfo = text("/proc/cpuinfo");
        let arch = Some(text("/proc/sys/kernel/arch").trim().to_owned())
            .filter(|arch| !arch.is_empty())
            .unwrap_or_else(|| std::env::consts::ARCH.to_owned());
        let name = text("/proc/sys/kernel/hostname");
        let node = name.trim().split('.').next().unwrap_or_default().to_owned();
        let spice_addr = if root == Path::new("/") { localhost(&node) } else { None };
        let spice_port = if root == Path::new("/") { free_port() } else { *SPICE_PORTS.start() };
        let installed = if root == Path::new("/") { programs(&arch) } else { Vec::new() };
        let mut qemu: BTreeMap<String, Option<String>> =
            ARCHITECTURES.iter().map(|arch| ((*arch).to_owned(), None)).collect();
        let mut emulators = BTreeMap::new();
        for (arch, program) in installed {
            let emulator = Emulator::ask(&program, PATIENCE).ok();
            // one that does not speak may print its version all the same
            let told =
                emulator.as_ref().map(|emulator| emulator.version.clone()).filter(|text| !text.is_empty());
            qemu.insert(arch.to_owned(), told.or_else(|| version(&program)));
            emulators.extend(emulator.map(|emulator| (arch.to_owned(), emulator)));
        }
        Host {
            qemu,
            emulators,
            kvm: fs::OpenOptions::new().read(true).write(true).open(at("/dev/kvm")).is_ok(),
            vhost_net: file_type(&at("/dev/vhost-net")) == FileType::Char,
            iscsi_initiator: iscsi_initiator(&text("/etc/iscsi/initiatorname.iscsi")),
            phys_bits: phys_bits(&cpuinfo),
            cpu_vendor: cpu_vendor(&cpuinfo),
            cpu_flags: field(&cpuinfo, "flags").unwrap_or_default(),
            cpus: u32::try_from(cpuinfo.lines().filter(|line| key(line) == Some("processor")).count())
                .unwrap_or(0),
            cpu_models: cpu_models(&at("/usr/share/kvm")),
            cpu_models_conf: text("/etc/pve/virtual-guest/cpu-models.conf"),
            hw_capabilities: serde_json::from_str(&text("/run/qemu-server/host-hw-capabilities.json")).ok(),
            numa_nodes: (0..)
                .take_while(|n| at(&format!("/sys/devices/system/node/node{n}")).is_dir())
                .count() as u32,
            hugepages: hugepages(&at("/sys/kernel/mm/hugepages")),
            mac_prefix: mac_prefix(text("/etc/pve/datacenter.cfg").as_bytes()),
            bridges: bridges(&at("/sys/class/net")),
            pci_devices: pci_devices(&at("/sys/bus/pci/devices")),
            pci_mapping: text("/etc/pve/mapping/pci.cfg"),
            usb_devices: usb_devices(&at("/sys/bus/usb/devices")),
            usb_mapping: text("/etc/pve/mapping/usb.cfg"),
            dir_mapping: text("/etc/pve/mapping/directory.cfg"),
            paths: BTreeMap::new(),
            scsi_inquiry: BTreeMap::new(),
            cdrom: ["/dev/cdrom", "/dev/cdrom1", "/dev/cdrom2"]
                .into_iter()
                .find(|path| at(path).is_symlink())
                .map(str::to_owned),
            ceph_fsid: ceph_fsid(&text("/etc/pve/ceph.conf")),
            zfs_luns: BTreeMap::new(),
            snapshot_chains: BTreeMap::new(),
            firmware: FIRMWARE
                .iter()
                .map(|file| {
                    let size = fs::metadata(at("/usr/share/pve-edk2-firmware").join(file)).ok();
                    ((*file).to_owned(), size.map(|meta| meta.len()))
                })
                .collect(),
            spice_port,
            spice_addr,
            render_node: names(&at("/dev/dri")).iter().any(|name| name.starts_with("renderD")),
            rng_current: Some(text("/sys/devices/virtual/misc/hw_random/rng_current").trim().to_owned())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "none".to_owned()),
            vm_running: false,
            assume: Assumptions::default(),
            node,
            arch,
        }
    }

    /// Looks at paths of this machine and notes what they are, so that nothing need be assumed of them. Of disks the
    /// SCSI device type is noted as well. [`Builder::consulted`](crate::Builder::consulted) tells which paths matter.
    pub fn probe_paths<'p>(&mut self, paths: impl IntoIterator<Item = &'p str>) {
        for path in paths {
            self.paths.insert(path.to_owned(), file_type(Path::new(path)));
            if let Some(kind) = scsi_type(Path::new(path)) {
                self.scsi_inquiry.insert(path.to_owned(), kind);
            }
        }
    }

    /// Asks the storages about volumes ([`Builder::volumes`](crate::Builder::volumes) tells which): the images of
    /// snapshot chains, and the LUNs of ZFS over iSCSI, which the target's machine tells. Nothing is changed, so a volume
    /// that is not active may not answer.
    ///
    /// Returns what could not be found out, by volume.
    pub fn probe_volumes<'v>(
        &mut self,
        session: &Session<'_>,
        volumes: impl IntoIterator<Item = &'v BStr>,
    ) -> Vec<(BString, pve_storage::Error)> {
        let mut failures = Vec::new();
        for volid in volumes {
            if let Err(error) = self.probe_volume(session, volid) {
                failures.push((volid.to_owned(), error));
            }
        }
        failures
    }

    fn probe_volume(&mut self, session: &Session<'_>, volid: &BStr) -> Result<(), pve_storage::Error> {
        let Ok(id) = VolumeIdRef::from_bytes(volid) else { return Ok(()) };
        // that the storage is missing, or the name is wrong, is for the builder to say
        let Some(storage) = session.storages().get(id.storage().as_str()) else { return Ok(()) };
        let Ok(volume) = storage.volume(id.volname()) else { return Ok(()) };
        if storage.storage_type() == Some(StorageType::Zfs) {
            let device = session.block_device(volid, None)?;
            if let Some(BlockValue::Integer(lun)) = device.get("lun") {
                let lun = u32::try_from(*lun).unwrap_or(u32::MAX);
                self.zfs_luns.insert(volume.name.to_string(), lun);
            }
        } else if storage.has_volume_chains()
            && volume.parsed().format == VolumeFormat::Image(ImageFormat::Qcow2)
        {
            let chain = session.snapshots(volid)?.into_iter().filter_map(|part| {
                let link = part.link?;
                let parent = link.parent.map(|parent| parent.to_string());
                Some((part.name.to_string(), ChainImage { file: link.file.to_string(), parent }))
            });
            self.set_snapshot_chain(volid.to_string(), chain.collect());
        }
        Ok(())
    }

    /// Notes the images of a volume's snapshot chain, `current` being the image itself.
    pub fn set_snapshot_chain(&mut self, volume: impl Into<String>, chain: BTreeMap<String, ChainImage>) {
        self.snapshot_chains.insert(volume.into(), chain);
    }
}

/// What stands at a path.
fn file_type(path: &Path) -> FileType {
    match fs::metadata(path).map(|meta| meta.file_type()) {
        Err(_) => FileType::Missing,
        Ok(kind) if kind.is_dir() => FileType::Dir,
        Ok(kind) if kind.is_block_device() => FileType::Block,
        Ok(kind) if kind.is_char_device() => FileType::Char,
        Ok(_) => FileType::File,
    }
}

/// The SCSI device type that the kernel found when it looked at a device.
fn scsi_type(path: &Path) -> Option<u8> {
    let meta = fs::metadata(path).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => "block",
        kind if kind.is_char_device() => "char",
        _ => return None,
    };
    let number = meta.rdev();
    let (major, minor) = ((number >> 8) & 0xfff, (number & 0xff) | ((number >> 12) & 0xf_ff00));
    let device = format!("/sys/dev/{kind}/{major}:{minor}/device/type");
    fs::read_to_string(device).ok()?.trim().parse().ok()
}

/// Architectures of guests.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

/// The emulator of each architecture; that of the machine's own is `kvm` on a node of Proxmox VE.
fn programs(native: &str) -> Vec<(&'static str, PathBuf)> {
    let program = |arch| {
        let own = PathBuf::from("/usr/bin/kvm");
        if arch == native && own.exists() { own } else { format!("/usr/bin/qemu-system-{arch}").into() }
    };
    ARCHITECTURES.into_iter().map(|arch| (arch, program(arch))).collect()
}

/// The version an emulator prints; `None` if there is no such program.
fn version(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let end = Instant::now() + PATIENCE;
    while child.try_wait().ok()?.is_none() {
        if Instant::now() >= end {
            child.kill().ok()?;
            child.wait().ok()?;
            return Some("unknown".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut printed = String::new();
    child.stdout.take()?.read_to_string(&mut printed).ok()?;
    Some(QemuVersion::in_output(&printed))
}

/// The name before the colon of a line of `/proc/cpuinfo`.
fn key(line: &str) -> Option<&str> {
    line.split_once(':').map(|(key, _)| key.trim())
}

/// The first value of a field of `/proc/cpuinfo`.
fn field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo
        .lines()
        .find(|line| key(line) == Some(name))?
        .split_once(':')
        .map(|(_, value)| value.trim().to_owned())
}

fn phys_bits(cpuinfo: &str) -> Option<u32> {
    field(cpuinfo, "address sizes")?.split_once(" bits physical")?.0.trim().parse().ok()
}

/// The vendor; on ARM, which has numbers instead, the names that the reference gives them.
fn cpu_vendor(cpuinfo: &str) -> String {
    if let Some(vendor) = field(cpuinfo, "vendor_id") {
        return vendor;
    }
    match field(cpuinfo, "CPU implementer").as_deref() {
        Some("0x41") => "ARM".to_owned(),
        Some(other) => other.to_owned(),
        None => "unknown".to_owned(),
    }
}

fn iscsi_initiator(text: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim();
        let valid = !value.is_empty()
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.:_+".contains(&byte));
        (key.trim() == "InitiatorName" && valid).then(|| value.to_owned())
    })
}

fn cpu_models(directory: &Path) -> Option<BTreeMap<String, BTreeMap<String, String>>> {
    let read = |arch: &str| {
        let text = fs::read(directory.join(format!("cpu-models-{arch}.json"))).ok()?;
        serde_json::from_slice::<BTreeMap<String, String>>(&text).ok()
    };
    let x86 = read("x86_64")?;
    let arm = read("aarch64")?;
    Some([("x86_64".to_owned(), x86), ("aarch64".to_owned(), arm)].into())
}

/// Names in a directory, sorted.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort();
    names
}

/// Sizes of huge pages in MiB.
fn hugepages(directory: &Path) -> Vec<u32> {
    let kib = |name: &String| name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse::<u32>().ok();
    let mut sizes: Vec<u32> = names(directory).iter().filter_map(kib).map(|kib| kib / 1024).collect();
    sizes.sort_unstable();
    sizes
}

/// MTU of every interface: which of them is a bridge is for the configuration to say.
fn bridges(directory: &Path) -> BTreeMap<String, u32> {
    let mtu = |name: String| {
        let text = fs::read_to_string(directory.join(&name).join("mtu")).ok()?;
        Some((name, text.trim().parse().ok()?))
    };
    names(directory).into_iter().filter_map(mtu).collect()
}

fn pci_devices(directory: &Path) -> Vec<PciDevice> {
    let device = |id: String| {
        let path = directory.join(&id);
        let attribute = |name: &str| {
            let text = fs::read_to_string(path.join(name)).ok()?;
            Some(text.trim().trim_start_matches("0x").to_owned())
        };
        let group = fs::read_link(path.join("iommu_group")).ok();
        let group = group.and_then(|group| group.file_name()?.to_str()?.parse().ok());
        let subsystem = |name| attribute(name).filter(|value| value != "0000");
        Some(PciDevice {
            vendor: attribute("vendor")?,
            device: attribute("device")?,
            iommugroup: group,
            subsystem_vendor: subsystem("subsystem_vendor"),
            subsystem_device: subsystem("subsystem_device"),
            mdev: path.join("mdev_supported_types").is_dir(),
            nvidia: path.join("nvidia").is_dir(),
            id,
        })
    };
    names(directory).into_iter().filter_map(device).collect()
}

fn usb_devices(directory: &Path) -> Vec<UsbDevice> {
    let device = |name: String| {
        let path = directory.join(name);
        let attribute = |name: &str| Some(fs::read_to_string(path.join(name)).ok()?.trim().to_owned());
        Some(UsbDevice {
            busnum: attribute("busnum")?.parse().ok()?,
            usbpath: attribute("devpath")?,
            vendid: attribute("idVendor")?,
            prodid: attribute("idProduct")?,
        })
    };
    names(directory).into_iter().filter_map(device).collect()
}

/// The cluster id in the section `[global]` of ceph.conf.
fn ceph_fsid(conf: &str) -> String {
    let mut global = false;
    for line in conf.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            global = section.trim_end_matches(']').trim() == "global";
        } else if let Some((key, value)) = line.split_once('=')
            && global
            && key.trim() == "fsid"
        {
            return value.trim().to_owned();
        }
    }
    String::new()
}

/// Address of `localhost` in the address family of the node's name.
fn localhost(node: &str) -> Option<IpAddr> {
    let addresses =
        |name: &str| (name, 0).to_socket_addrs().map(|all| all.map(|a| a.ip()).collect::<Vec<_>>());
    let six = addresses(node).ok()?.first()?.is_ipv6();
    addresses("localhost").ok()?.into_iter().find(|address| address.is_ipv6() == six)
}

/// The first port for SPICE that nobody listens on.
fn free_port() -> u16 {
    SPICE_PORTS
        .clone()
        .find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok())
        .unwrap_or(*SPICE_PORTS.start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use pve_storage::{MemoryHost, Output, Storage, Storages};

    #[test]
    fn reads_cpuinfo() {
        let cpuinfo = "processor\t: 0\nvendor_id\t: AuthenticAMD\nflags\t\t: fpu svm\naddress sizes\t: 48 bits physical, 48 bits virtual\n";
        assert_eq!(phys_bits(cpuinfo), Some(48));
        assert_eq!(cpu_vendor(cpuinfo), "AuthenticAMD");
        assert_eq!(field(cpuinfo, "flags").as_deref(), Some("fpu svm"));
        assert_eq!(cpu_vendor("CPU implementer\t: 0x41\n"), "ARM");
        assert_eq!(cpu_vendor(""), "unknown");
    }

    #[test]
    fn reads_small_files() {
        assert_eq!(
            iscsi_initiator("# x\nInitiatorName = iqn.1993-08.org:01:ab\n").as_deref(),
            Some("iqn.1993-08.org:01:ab")
        );
        assert_eq!(iscsi_initiator("InitiatorName=a b\n"), None);
        assert_eq!(ceph_fsid("[client]\nfsid = x\n[global]\n fsid = y\n"), "y");
    }

    #[test]
    fn probing_reads_this_machine() {
        let host = Host::probe();
        assert!(host.cpus > 0 && !host.node.is_empty() && !host.arch.is_empty());
        assert_eq!(host.bridge_mtu("no such bridge"), None);
        let mut host = host;
        host.probe_paths(["/dev/null", "/", "/no/such"]);
        assert_eq!(host.file_type("/dev/null"), FileType::Char);
        assert_eq!(host.file_type("/"), FileType::Dir);
        assert_eq!(host.file_type("/no/such"), FileType::Missing);
    }

    #[test]
    fn volumes_are_asked_of_their_storages() {
        let storage = |id: &str, kind: &str| Storage::new(id.parse().unwrap(), kind);
        let storages: Storages = [
            storage("far", "zfs")
                .with("iscsiprovider", "comstar")
                .with("portal", "192.0.2.1")
                .with("target", "iqn.2001-04.com.example:t")
                .with("pool", "tank"),
            storage("chained", "dir").with("path", "/vz").with("snapshot-as-volume-chain", "1"),
            storage("local", "dir").with("path", "/var/lib/vz"),
        ]
        .into_iter()
        .collect();
        let mut node = MemoryHost::new();
        node.answer_containing(
            "list-lu",
            Output::success("600144f0aa    65536    /dev/zvol/rdsk/tank/vm-100-disk-0\n"),
        );
        node.answer_containing("list-view", Output::success("View Entry: 0\n    LUN          : 7\n"));
        let images = "/vz/images/100";
        let part = |name: &str| {
            format!("{{\"filename\":\"{images}/{name}\",\"format\":\"qcow2\",\"virtual-size\":1}}")
        };
        let chain = format!(
            "[{},{},{}]",
            part("vm-100-disk-0.qcow2"),
            part("snap-second-vm-100-disk-0.qcow2"),
            part("snap-first-vm-100-disk-0.qcow2")
        );
        node.answer_containing("--backing-chain", Output::success(chain));
        let session = Session::new(&storages, &node, "pve").assume_active();

        let mut host = Host::default();
        let volumes =
            ["far:vm-100-disk-0", "chained:100/vm-100-disk-0.qcow2", "local:100/vm-100-disk-0.qcow2"];
        let failures = host.probe_volumes(&session, volumes.map(BStr::new));
        assert!(failures.is_empty(), "{failures:?}");
        assert_eq!(host.zfs_luns, BTreeMap::from([("vm-100-disk-0".to_owned(), 7)]));
        let image = |file: &str, parent: Option<&str>| ChainImage {
            file: format!("{images}/{file}"),
            parent: parent.map(str::to_owned),
        };
        let expected = BTreeMap::from([
            ("current".to_owned(), image("vm-100-disk-0.qcow2", Some("second"))),
            ("second".to_owned(), image("snap-second-vm-100-disk-0.qcow2", Some("first"))),
            ("first".to_owned(), image("snap-first-vm-100-disk-0.qcow2", None)),
        ]);
        assert_eq!(host.snapshot_chains, BTreeMap::from([(volumes[1].to_owned(), expected)]));

        // a target that does not know the volume is told about
        let failures = host.probe_volumes(&session, [BStr::new("far:vm-100-disk-9")]);
        assert_eq!(failures.len(), 1);
        // names that are none, and storages that are not there, are for the builder
        assert!(
            host.probe_volumes(&session, ["none", "/dev/sda", "gone:x", "far:x"].map(BStr::new)).is_empty()
        );
    }

    #[test]
    fn another_root_is_another_machine() {
        let host = Host::probe_below(Path::new("/no/such/root"));
        assert_eq!((host.cpus, host.kvm, host.numa_nodes), (0, false, 0));
        assert!(host.qemu.values().all(Option::is_none));
    }
}
