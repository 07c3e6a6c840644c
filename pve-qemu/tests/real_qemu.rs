// SPDX-License-Identifier: MIT OR Apache-2.0
//! Real QEMU takes the computed command lines, and everything is where the configuration says.
//!
//! Each test starts `qemu-system-x86_64` frozen, with what this machine cannot offer mapped away (KVM, paths of a
//! Proxmox VE node), and asks it over QMP for its block devices, PCI devices and objects. Without QEMU the tests say
//! so and do nothing; with `PVE_TEST_SYSTEM=1` that is a failure.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bstr::{BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_qemu::emulator::Emulator;
use pve_qemu::qmp::Qmp;
use pve_qemu::{Builder, CommandLine, Host, Options, QemuVersion};
use pve_storage::{Storage, Storages};
use pve_volid::VmId;
use serde_json::Value;

const QEMU: &str = "/usr/bin/qemu-system-x86_64";
const PATIENCE: Duration = Duration::from_secs(60);

/// The installed QEMU's version; `None`, after saying so, if there is no QEMU.
fn installed() -> Option<QemuVersion> {
    let printed = Command::new(QEMU).arg("--version").output();
    let version = printed.ok().and_then(|output| {
        QemuVersion::parse(&QemuVersion::in_output(&String::from_utf8_lossy(&output.stdout)))
    });
    if version.is_none() {
        assert!(
            std::env::var_os("PVE_TEST_SYSTEM").is_none(),
            "{QEMU} is not installed or does not tell its version"
        );
        eprintln!("SKIPPED: {QEMU} is not installed, so no command line was given to a real QEMU");
    }
    version
}

/// A machine under test.
struct Machine {
    process: Child,
    qmp: Qmp,
    command: CommandLine,
    _events: UnixListener,
    folder: tempfile::TempDir,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Machine {
    /// Starts a machine with this configuration. `images` are its disk images, which are made first; `version` is the
    /// version that the command line is computed for.
    fn start(version: QemuVersion, config: &str, images: &[&str]) -> Machine {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let storage = Storage::new("local".parse().unwrap(), "dir")
            .with("path", root.join("vz").to_str().unwrap())
            .with("content", "images,iso");
        for image in images {
            let path = root.join("vz").join(image);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            make_image(&path);
        }
        let host = Host::default().with_qemu_version(version);
        let storages: Storages = [storage].into_iter().collect();
        let builder = Builder::new(&host, &storages);
        let text = format!("kvm: 0\n{config}");
        let (parsed, findings) = VmConfig::parse(text.as_bytes());
        assert!(findings.is_empty(), "{findings:?}");
        let command = builder.build(VmId::MIN, &parsed, &Options::default()).unwrap();

        let events = UnixListener::bind(root.join("events.sock")).unwrap();
        fs::write(root.join("pve-q35-4.0.cfg"), q35_file()).unwrap();
        fs::write(root.join("pve-usb.cfg"), usb_file()).unwrap();
        let arguments = mapped(&command, root);
        let log = fs::File::create(root.join("log")).unwrap();
        let mut process = Command::new(QEMU)
            .args(arguments.iter().map(|argument| argument.to_os_str().unwrap()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let socket = root.join("100.qmp");
        while !socket.exists() && process.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let qmp = Qmp::connect_patiently(&socket, Duration::from_secs(1), PATIENCE);
        let qmp = qmp.unwrap_or_else(|error| {
            let _ = process.kill();
            let said = fs::read_to_string(root.join("log")).unwrap_or_default();
            panic!("QEMU does not take the command line: {error}\n{said}\n{}", command.pretty())
        });
        Machine { process, qmp, command, _events: events, folder }
    }

    fn ask(&mut self, command: &str) -> Value {
        self.qmp.execute(command, None).unwrap()
    }

    /// Path of the image that each drive of the guest shows, by the id of its device or drive.
    fn disks(&mut self) -> BTreeMap<String, String> {
        let devices = self.ask("query-block");
        let root = self.folder.path().join("vz");
        let name = |block: &Value| {
            let device = block["device"].as_str().filter(|name| !name.is_empty());
            let frontend = block["qdev"].as_str().map(|path| {
                let path = path.strip_prefix("/machine/peripheral/").unwrap_or(path);
                path.split('/').next().unwrap_or_default()
            });
            device.map(|name| name.trim_start_matches("drive-")).or(frontend).unwrap_or_default().to_owned()
        };
        let file = |block: &Value| {
            let image = block["inserted"]["image"]["filename"].as_str().unwrap_or("-");
            let mut file = image.to_owned();
            // of a graph QEMU tells the nodes, the file innermost
            if let Some(Ok(mut node)) = image.strip_prefix("json:").map(serde_json::from_str::<Value>) {
                while node["file"].is_object() {
                    node = node["file"].take();
                }
                file = node["filename"].as_str().unwrap_or("-").to_owned();
            }
            Path::new(&file).strip_prefix(&root).unwrap_or(Path::new(&file)).to_string_lossy().into_owned()
        };
        devices.as_array().unwrap().iter().map(|block| (name(block), file(block))).collect()
    }

    /// Bus (by the id of its bridge, empty for the root) and slot of every PCI device with an id.
    fn pci_places(&mut self) -> BTreeMap<String, (String, u64)> {
        fn walk(devices: &Value, bus: &str, places: &mut BTreeMap<String, (String, u64)>) {
            for device in devices.as_array().into_iter().flatten() {
                let id = device["qdev_id"].as_str().unwrap_or_default();
                if !id.is_empty() {
                    places.insert(id.to_owned(), (bus.to_owned(), device["slot"].as_u64().unwrap()));
                }
                walk(&device["pci_bridge"]["devices"], id, places);
            }
        }
        let buses = self.ask("query-pci");
        let mut places = BTreeMap::new();
        for bus in buses.as_array().unwrap() {
            walk(&bus["devices"], "", &mut places);
        }
        places
    }

    /// Ids of the objects below a path of QEMU's object tree.
    fn objects(&mut self, path: &str) -> Vec<String> {
        let found = self.qmp.execute("qom-list", Some(serde_json::json!({ "path": path }))).unwrap();
        found.as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Every device whose argument names bus and slot is there; returns how many there are.
    ///
    /// QEMU lists what is on the root bus. What is behind a bridge appears there only when the guest's firmware has
    /// numbered the buses, so those are looked up in the object tree.
    fn check_addresses(&mut self) -> usize {
        let places = self.pci_places();
        let mut checked = 0;
        let arguments: Vec<BString> = self.command.iter().map(ToOwned::to_owned).collect();
        for pair in arguments.windows(2).filter(|pair| pair[0] == "-device") {
            let value = pair[1].to_str().unwrap();
            let sub = |key: &str| value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
            let (Some(id), Some(bus), Some(slot)) = (sub("id"), sub("bus"), sub("addr")) else { continue };
            let Some(slot) = slot.strip_prefix("0x") else { continue };
            let (slot, function) = slot.split_once(".0x").unwrap_or((slot, "0"));
            let number = |text| u64::from_str_radix(text, 16).unwrap();
            let (slot, function) = (number(slot), number(function));
            let path = format!("/machine/peripheral/{id}");
            assert_eq!(self.property(&path, "addr"), format!("{slot:02x}.{function}"), "address of {id}");
            let parent = self.property(&path, "parent_bus");
            assert_eq!(parent.rsplit('/').next(), Some(bus), "bus of {id}");
            if let Some((found_bus, found_slot)) = places.get(id) {
                assert_eq!((found_bus.as_str(), *found_slot), ("", slot), "{id} as listed");
            }
            checked += 1;
        }
        checked
    }

    /// A property of an object, as text.
    fn property(&mut self, path: &str, name: &str) -> String {
        let arguments = serde_json::json!({ "path": path, "property": name });
        match self.qmp.execute("qom-get", Some(arguments)).unwrap() {
            Value::String(text) => text,
            // device and function as one number
            other => {
                other.as_u64().map_or(other.to_string(), |devfn| format!("{:02x}.{}", devfn >> 3, devfn & 7))
            }
        }
    }
}

/// A disk image: raw, or qcow2 as the name says.
fn make_image(path: &Path) {
    if path.extension().is_some_and(|extension| extension == "qcow2") {
        let made = Command::new("/usr/bin/qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(path)
            .arg("64M")
            .status();
        assert!(made.is_ok_and(|status| status.success()), "qemu-img cannot make {}", path.display());
    } else {
        fs::File::create(path).unwrap().set_len(64 << 20).unwrap();
    }
}

/// The arguments with what only a Proxmox VE node has mapped to what is here.
fn mapped(command: &CommandLine, root: &Path) -> Vec<BString> {
    let here = |path: &str| root.join(path).to_str().unwrap().to_owned();
    let replacements = [
        ("/var/run/qemu-server/", format!("{}/", root.display())),
        ("/var/run/qmeventd.sock", here("events.sock")),
        // what a QEMU before 9.2 calls it, in case the command line is for a later one
        (",reconnect-ms=5000", ",reconnect=5".to_owned()),
        (",splash=/usr/share/qemu-server/bootsplash.jpg", String::new()),
        ("/usr/share/qemu-server/", format!("{}/", root.display())),
        ("\"aio\":\"io_uring\"", "\"aio\":\"threads\"".to_owned()),
    ];
    let mut arguments = Vec::new();
    let mut iter = command.iter().skip(1);
    while let Some(argument) = iter.next() {
        if argument == "-daemonize" {
            continue;
        }
        // an option that only Proxmox's QEMU has
        if argument == "-id" {
            iter.next();
            continue;
        }
        let mut text = argument.to_owned();
        for (from, to) in &replacements {
            text = text.replace(from, to).into();
        }
        if argument == "-machine" {
            let value = iter.next().unwrap().to_str().unwrap();
            let end = value.find("+pve").map_or(value.len(), |at| at);
            let rest =
                value.get(end..).and_then(|rest| rest.find(',').map(|at| &rest[at..])).unwrap_or_default();
            arguments.extend([text, format!("{}{rest}", &value[..end]).into()]);
            continue;
        }
        arguments.push(text);
    }
    arguments.push("-S".into());
    arguments
}

/// The devices of a q35 machine that Proxmox VE reads from a file (spec: qemu-command-devices, "Bridges and machine
/// config files").
fn q35_file() -> String {
    let mut text = String::new();
    let mut device = |id: &str, driver: &str, rest: &[(&str, &str)]| {
        text.push_str(&format!("[device \"{id}\"]\n  driver = \"{driver}\"\n"));
        for (key, value) in rest {
            text.push_str(&format!("  {key} = \"{value}\"\n"));
        }
    };
    for (id, driver, address) in [("ehci", "ich9-usb-ehci1", "1d.7"), ("ehci-2", "ich9-usb-ehci2", "1a.7")] {
        device(id, driver, &[("multifunction", "on"), ("bus", "pcie.0"), ("addr", address)]);
    }
    for (number, slot, master) in [(1, "1d", "ehci.0"), (4, "1a", "ehci-2.0")] {
        for offset in 0..3 {
            let (id, driver) =
                (format!("uhci-{}", number + offset), format!("ich9-usb-uhci{}", number + offset));
            let (address, port) = (format!("{slot}.{offset}"), (offset * 2).to_string());
            device(
                &id,
                &driver,
                &[
                    ("multifunction", "on"),
                    ("bus", "pcie.0"),
                    ("addr", &address),
                    ("masterbus", master),
                    ("firstport", &port),
                ],
            );
        }
    }
    device("audio0", "ich9-intel-hda", &[("bus", "pcie.0"), ("addr", "1b.0")]);
    for port in 1..=4 {
        let (id, address) = (format!("ich9-pcie-port-{port}"), format!("1c.{}", port - 1));
        let number = port.to_string();
        device(
            &id,
            "pcie-root-port",
            &[
                ("x-speed", "16"),
                ("x-width", "32"),
                ("multifunction", "on"),
                ("bus", "pcie.0"),
                ("addr", &address),
                ("port", &number),
                ("chassis", &number),
            ],
        );
    }
    device("pcidmi", "i82801b11-bridge", &[("bus", "pcie.0"), ("addr", "1e.0")]);
    for number in 0..=3 {
        let (id, address, chassis) =
            (format!("pci.{number}"), format!("{}.0", number + 1), (number + 1).to_string());
        device(&id, "pci-bridge", &[("bus", "pcidmi"), ("addr", &address), ("chassis_nr", &chassis)]);
    }
    text
}

/// The USB 2 controllers of an i440FX machine that Proxmox VE reads from a file.
fn usb_file() -> String {
    let mut text =
        "[device \"ehci\"]\n  driver = \"ich9-usb-ehci1\"\n  multifunction = \"on\"\n  addr = \"1d.7\"\n"
            .to_owned();
    for offset in 0..3 {
        text.push_str(&format!(
            "[device \"uhci-{}\"]\n  driver = \"ich9-usb-uhci{}\"\n  multifunction = \"on\"\n  addr = \"1d.{offset}\"\n  \
             masterbus = \"ehci.0\"\n  firstport = \"{}\"\n",
            offset + 1,
            offset + 1,
            offset * 2
        ));
    }
    text
}

/// The machine version for which the command line uses the old form of drives, on any QEMU.
fn old_machine(version: QemuVersion) -> QemuVersion {
    if version.at_least(10, 0) { "9.2.0".parse().unwrap() } else { version }
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
    let wanted = if version.at_least(10, 0) { version } else { "10.0.0".parse().unwrap() };
    let mut machine = Machine::start(wanted, &config, &images);
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
