// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real QEMU takes the computed command lines, and everything is where the configuration says.
//!
//! Each test starts `qemu-system-x86_64` frozen, with what this machine cannot offer mapped away (paths of a Proxmox VE
//! node, see `machine.rs`), and asks it over QMP for its block devices, PCI devices and objects. What a test needs and is
//! not there is told, and with `PVE_TEST_SYSTEM=1` it is a failure.
//!
//! Seen here: disks on every bus in both forms of the command line, network cards, controllers, displays, SPICE with TLS,
//! OVMF with its variables in both forms (the firmware runs and writes to them), a TPM of `swtpm`, taps with their scripts,
//! directories of virtiofs, the names of CPU flags, and many machines put together by chance.
//!
//! Seen through recorded vectors alone: what needs devices (VFIO, USB of the host, huge pages), guests that run on KVM,
//! confidential guests, storages across a network, and what QEMU versions know that are not installed.
//!
//! Two things the reference writes are refused by every QEMU, and are not tried: `ne2k_isa` and `ib700` with a PCI address.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod machine;
mod shapes;
mod surroundings;

use std::path::Path;

use pve_config::guest::VmConfig;
use pve_qemu::emulator::Emulator;
use pve_qemu::{Builder, Host, Options, QemuVersion};
use pve_storage::Storages;
use pve_volid::VmId;

use machine::{Machine, PATIENCE, QEMU, installed};

/// The machine version for which the command line uses the old form of drives, on any QEMU.
pub(crate) fn old_machine(version: QemuVersion) -> QemuVersion {
    if version.at_least(10, 0) { "9.2.0".parse().unwrap() } else { version }
}

/// The version for whose machines the command line uses the new form of drives, whatever machine the QEMU has.
pub(crate) fn new_machine(version: QemuVersion) -> QemuVersion {
    if version.at_least(10, 0) { version } else { "10.0.0".parse().unwrap() }
}

#[test]
fn an_emulator_tells_about_itself() {
    let Some(version) = installed() else { return };
    let emulator = Emulator::ask(Path::new(QEMU), PATIENCE).unwrap();
    assert_eq!(emulator.version, version.to_string());
    let (major, minor) = (version.major, version.minor);
    let newest = emulator.machine(&format!("pc-q35-{major}.{minor}+pve1")).unwrap();
    assert_eq!(newest.alias.as_deref(), Some("q35"));
    assert!(newest.cpus >= 255 && !newest.deprecated, "{newest:?}");
    assert!(emulator.machine("pc-q35-99.0").is_none());
    // every model of the tables for x86-64 that is older than this emulator is known to it
    for model in ["qemu64", "kvm64", "host", "max", "EPYC-Rome", "Skylake-Server-noTSX-IBRS", "pentium3"] {
        assert!(emulator.cpu_model(model).is_some(), "{model}");
    }

    // the probed host knows it as well, and holds command lines against it
    let mut host = Host::probe();
    assert!(host.emulators.contains_key("x86_64"), "{:?}", host.emulators.keys());
    host.emulators.insert("x86_64".into(), emulator);
    let storages = Storages::default();
    let objections = |host: &Host, config: &str| {
        let mut wanted = host.clone().with_qemu_version("11.0.0".parse().unwrap());
        wanted.kvm = true;
        let builder = Builder::new(&wanted, &storages);
        let (config, _) = VmConfig::parse_with(config.as_bytes(), &builder.context());
        let command = builder.build(VmId::MIN, &config, &Options::default()).unwrap();
        host.objections(&command).len()
    };
    assert_eq!(objections(&host, &format!("kvm: 0\nmachine: pc-i440fx-{major}.{minor}\n")), 0);
    if !version.at_least(11, 0) {
        assert_eq!(objections(&host, "kvm: 0\nmachine: pc-i440fx-11.0\n"), 1);
        assert_eq!(objections(&host, "kvm: 0\nmachine: pc-i440fx-7.2\ncpu: EPYC-Turin\n"), 1);
    }
}

const SMALL: &str = "memory: 128\nname: test\nostype: l26\n";

#[test]
fn disks_on_every_bus_hold_their_images() {
    let Some(version) = installed() else { return };
    let config = format!(
        "{SMALL}machine: pc-i440fx-7.2\nscsihw: virtio-scsi-single\nboot: order=scsi0;ide2\n\
         ide0: local:100/vm-100-disk-0.raw,aio=threads,cache=writeback,model=Test%20Disk\n\
         ide2: local:iso/rescue.iso,media=cdrom,aio=threads\n\
         scsi0: local:100/vm-100-disk-1.raw,aio=threads,cache=writeback,iothread=1,ssd=1,serial=abc\n\
         scsi17: local:100/vm-100-disk-2.qcow2,aio=threads,cache=writethrough,discard=on,iops=100,mbps_rd=10\n\
         virtio1: local:100/vm-100-disk-3.raw,aio=threads,cache=unsafe,iothread=1\n\
         sata3: local:100/vm-100-disk-4.raw,aio=threads,cache=writeback\n\
         sata5: none,media=cdrom,aio=threads\n"
    );
    let images = [
        "images/100/vm-100-disk-0.raw",
        "images/100/vm-100-disk-1.raw",
        "images/100/vm-100-disk-2.qcow2",
        "images/100/vm-100-disk-3.raw",
        "images/100/vm-100-disk-4.raw",
        "template/iso/rescue.iso",
    ];
    let mut machine = Machine::start(old_machine(version), &config, &images);
    let disks = machine.disks();
    let expected = [
        ("ide0", "images/100/vm-100-disk-0.raw"),
        ("ide2", "template/iso/rescue.iso"),
        ("sata3", "images/100/vm-100-disk-4.raw"),
        ("sata5", "-"),
        ("scsi0", "images/100/vm-100-disk-1.raw"),
        ("scsi17", "images/100/vm-100-disk-2.qcow2"),
        ("virtio1", "images/100/vm-100-disk-3.raw"),
    ];
    assert_eq!(disks, expected.iter().map(|(id, file)| ((*id).to_owned(), (*file).to_owned())).collect());
    assert!(machine.check_addresses() >= 7);
    let objects = machine.objects("/objects");
    assert!(objects.iter().any(|name| name == "iothread-virtioscsi0"), "{objects:?}");
    let blocks = machine.ask("query-block");
    let limited = blocks.as_array().unwrap().iter().find(|block| block["device"] == "drive-scsi17").unwrap();
    assert_eq!(limited["inserted"]["iops"], 100);
    assert_eq!(limited["inserted"]["bps_rd"], 10 << 20);
}

#[test]
fn block_graphs_of_new_machines_are_accepted() {
    let Some(version) = installed() else { return };
    // the graphs of machine version 10.0, on whatever machine the installed QEMU has
    let config = format!(
        "{SMALL}scsihw: virtio-scsi-pci\n\
         scsi0: local:100/vm-100-disk-0.qcow2,aio=threads,cache=writeback,discard=on,iops=50,mbps=1.5\n\
         scsi1: local:100/vm-100-disk-1.raw,aio=threads,cache=writeback,ro=1\n\
         virtio0: local:100/vm-100-disk-2.raw,aio=threads,cache=unsafe,detect_zeroes=0\n\
         ide2: local:iso/rescue.iso,media=cdrom\n\
         sata0: none,media=cdrom\n"
    );
    let images = [
        "images/100/vm-100-disk-0.qcow2",
        "images/100/vm-100-disk-1.raw",
        "images/100/vm-100-disk-2.raw",
        "template/iso/rescue.iso",
    ];
    let mut machine = Machine::start(new_machine(version), &config, &images);
    let disks = machine.disks();
    let expected = [
        ("ide2", "template/iso/rescue.iso"),
        ("sata0", "-"),
        ("scsi0", "images/100/vm-100-disk-0.qcow2"),
        ("scsi1", "images/100/vm-100-disk-1.raw"),
        ("virtio0", "images/100/vm-100-disk-2.raw"),
    ];
    assert_eq!(disks, expected.iter().map(|(id, file)| ((*id).to_owned(), (*file).to_owned())).collect());
    let blocks = machine.ask("query-block");
    let block = |id: &str| {
        let found =
            blocks.as_array().unwrap().iter().find(|block| {
                block["qdev"].as_str().is_some_and(|path| path.split('/').any(|part| part == id))
            });
        found.unwrap_or_else(|| panic!("no {id} in {blocks}"))
    };
    assert_eq!(block("scsi1")["inserted"]["ro"], true);
    assert_eq!(block("scsi0")["inserted"]["node-name"], "drive-scsi0");
    assert_eq!(block("scsi0")["inserted"]["ro"], false);
    let nodes = machine.ask("query-named-block-nodes");
    let names: Vec<&str> =
        nodes.as_array().unwrap().iter().filter_map(|node| node["node-name"].as_str()).collect();
    // throttle, format and file of each drive
    for drive in ["drive-scsi0", "drive-scsi1", "drive-virtio0", "drive-ide2"] {
        assert!(names.contains(&drive), "{names:?}");
    }
    assert_eq!(names.iter().filter(|name| name.len() == 31 && name.starts_with('e')).count(), 4, "{names:?}");
    let groups = machine.objects("/objects");
    assert!(groups.iter().any(|name| name == "throttle-drive-scsi0"), "{groups:?}");
    assert!(machine.check_addresses() >= 4);
}

#[test]
fn an_i440fx_has_its_cards_and_controllers_in_place() {
    let Some(version) = installed() else { return };
    let mut config = format!(
        "{SMALL}machine: pc-i440fx-7.2\nagent: 1\nballoon: 64\nrng0: source=/dev/urandom\nwatchdog: i6300esb,action=none\n\
         audio0: device=ich9-intel-hda,driver=none\nivshmem: size=1,name=pve-qemu-test\nserial0: socket\n\
         scsihw: lsi\nusb0: spice\nsmbios1: uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11,base64=1,manufacturer=VGVzdA==\n\
         vmgenid: 5b1f8a2e-3c4d-4e5f-8a9b-0c1d2e3f4a5b\nsockets: 2\ncores: 2\nnuma: 1\n\
         scsi30: none,media=cdrom,aio=threads\n"
    );
    // 7 and more are behind a bridge
    for (index, model) in
        ["virtio", "e1000", "rtl8139", "vmxnet3", "pcnet", "ne2k_pci", "i82551", "e1000e"].iter().enumerate()
    {
        config.push_str(&format!("net{}: {model}=BC:24:11:00:00:{index:02X}\n", index * 3));
    }
    let mut machine = Machine::start(old_machine(version), &config, &[]);
    assert!(machine.check_addresses() >= 15);
    let peripherals = machine.objects("/machine/peripheral");
    for id in ["net0", "net21", "qga0", "balloon0", "scsihw4", "audiodev0", "vga", "xhci", "pci.4"] {
        assert!(peripherals.iter().any(|name| name == id), "{id} is not in {peripherals:?}");
    }
    let cpus = machine.ask("query-cpus-fast");
    assert_eq!(cpus.as_array().unwrap().len(), 4);
    let memory = machine.ask("query-memdev");
    assert_eq!(
        memory.as_array().unwrap().iter().filter(|dev| dev["size"] == 64 << 20).count(),
        2,
        "{memory}"
    );
}

#[test]
fn a_q35_has_its_cards_and_controllers_in_place() {
    let Some(version) = installed() else { return };
    let config = format!(
        "{SMALL}machine: pc-q35-7.2,viommu=virtio\nvga: std,memory=32\nscsihw: virtio-scsi-single\nagent: 1,type=isa\n\
         net0: virtio=BC:24:11:00:00:01\nnet8: e1000=BC:24:11:00:00:02\nscsi0: none,media=cdrom,aio=threads\n\
         scsi2: none,media=cdrom,aio=threads\nide0: none,media=cdrom,aio=threads\nide3: none,media=cdrom,aio=threads\n\
         hotplug: cpu,network\ncores: 4\nvcpus: 2\n"
    );
    let mut machine = Machine::start(old_machine(version), &config, &[]);
    assert!(machine.check_addresses() >= 6);
    let peripherals = machine.objects("/machine/peripheral");
    for id in ["net0", "net8", "virtioscsi0", "virtioscsi2", "ide3", "cpu2", "ich9-pcie-port-1", "tablet"] {
        assert!(peripherals.iter().any(|name| name == id), "{id} is not in {peripherals:?}");
    }
    assert_eq!(machine.ask("query-cpus-fast").as_array().unwrap().len(), 2);
    assert_eq!(machine.ask("query-hotpluggable-cpus").as_array().unwrap().len(), 4);
}
