// SPDX-License-Identifier: MIT OR Apache-2.0
//! Machines put together by chance from everything that needs no special hardware: QEMU takes every one of them.

use std::collections::BTreeMap;
use std::path::Path;

use bstr::ByteSlice;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use pve_qemu::emulator::Emulator;
use pve_qemu::{MachineVersion, QemuVersion};

use crate::machine::{PATIENCE, QEMU, Workshop, installed};
use crate::surroundings::Certificates;
use crate::{new_machine, old_machine};

/// Machines that are started in each test.
const MACHINES: usize = 32;

/// What a machine is made of.
#[derive(Debug, Clone)]
struct Shape {
    /// Option and value.
    options: Vec<(String, String)>,
    drives: Vec<Drive>,
}

/// A drive.
#[derive(Debug, Clone)]
struct Drive {
    /// `scsi0`.
    key: String,
    /// Its image below the storage; `None`: a CD-ROM drive without a disc.
    image: Option<String>,
    /// Its other keys.
    keys: Vec<&'static str>,
}

impl Shape {
    fn config(&self) -> String {
        let mut text: String = self.options.iter().map(|(key, value)| format!("{key}: {value}\n")).collect();
        for drive in &self.drives {
            let file = match &drive.image {
                Some(image) if image.starts_with("images/") => {
                    format!("local:{}", image.trim_start_matches("images/"))
                }
                Some(image) => format!("local:{}", image.trim_start_matches("template/")),
                None => "none".to_owned(),
            };
            let keys: String = drive.keys.iter().map(|key| format!(",{key}")).collect();
            text.push_str(&format!("{}: {file}{keys}\n", drive.key));
        }
        text
    }

    fn option(&self, key: &str) -> Option<&str> {
        self.options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str, default: u64) -> u64 {
        self.option(key).map_or(default, |value| value.parse().unwrap())
    }
}

/// Options that go with everything: each has one of the values, or is not there.
const FREE: &[(&str, &[&str])] = &[
    ("acpi", &["0", "1"]),
    ("agent", &["1", "1,type=isa", "0"]),
    ("allow-ksm", &["0"]),
    ("args", &["-fw_cfg 'name=opt/com.example/a,string=b c'", "-name other"]),
    (
        "audio0",
        &["device=ich9-intel-hda,driver=none", "device=intel-hda,driver=none", "device=AC97,driver=none"],
    ),
    ("balloon", &["0", "32"]),
    ("freeze", &["1"]),
    ("ivshmem", &["size=1", "size=2,name=shared"]),
    ("keyboard", &["de", "en-us"]),
    ("localtime", &["0", "1"]),
    ("name", &["web-1", "0"]),
    ("reboot", &["0"]),
    ("rng0", &["/dev/urandom", "source=/dev/random,max_bytes=0", "/dev/urandom,max_bytes=512,period=500"]),
    ("serial0", &["socket"]),
    ("serial2", &["socket"]),
    ("smbios1", &["uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11,base64=1,manufacturer=QSxC,family=Rg=="]),
    ("startdate", &["2024-02-29T12:00:00", "now"]),
    ("tablet", &["0", "1"]),
    ("tdf", &["0", "1"]),
    ("usb0", &["spice", "spice,usb3=1"]),
    ("usb3", &["spice,usb3=1"]),
    ("watchdog", &["model=i6300esb", "i6300esb,action=poweroff"]),
];

/// Models of network cards. `ne2k_isa` is not among them: the reference gives it a PCI address, which no QEMU takes.
const CARDS: &[&str] = &[
    "e1000",
    "e1000-82540em",
    "e1000-82544gc",
    "e1000-82545em",
    "e1000e",
    "i82551",
    "i82557b",
    "i82559er",
    "ne2k_pci",
    "pcnet",
    "rtl8139",
    "virtio",
    "vmxnet3",
];

/// Slots for drives, each with what may be said of drives there.
const SLOTS: &[(&str, &[u8], &[&str])] = &[
    ("ide", &[0, 1, 2, 3], &["ssd=1", "wwn=0x5000c50015ea71ac", "model=A%2CB%20C", "werror=stop"]),
    ("sata", &[0, 1, 5], &["ssd=1", "wwn=0x5000c50015ea71ad", "rerror=report"]),
    (
        "scsi",
        &[0, 1, 6, 7, 13, 14, 21, 30],
        &[
            "ssd=1",
            "iothread=1",
            "ro=1",
            "queues=4",
            "vendor=ACME",
            "product=disk_1",
            "wwn=0x5000c50015ea71ae",
        ],
    ),
    ("virtio", &[0, 5, 6, 15], &["iothread=1", "ro=1", "werror=enospc"]),
];

/// What may be said of every disk.
const DISK_KEYS: &[&str] = &[
    "aio=threads",
    "backup=0",
    "detect_zeroes=0",
    "discard=on",
    "iops=1000,iops_max=2000,iops_max_length=5",
    "mbps_wr=2",
    "mbps_rd=1.5,mbps_rd_max=3",
    "serial=a%2Cb",
];

/// A value of each of some options.
fn free() -> impl Strategy<Value = Vec<(String, String)>> {
    subsequence(FREE, 0..=8).prop_flat_map(|chosen| {
        chosen
            .into_iter()
            .map(|(key, values)| {
                select(values.to_vec()).prop_map(move |value| ((*key).to_owned(), value.to_owned()))
            })
            .collect::<Vec<_>>()
    })
}

/// CPUs and memory that go with each other.
fn resources() -> impl Strategy<Value = Vec<(String, String)>> {
    let sizes =
        (1u32..=2, 1u32..=3, 0u32..=2, select(&["", "network", "cpu", "memory", "cpu,memory,usb"][..]));
    (sizes, any::<bool>(), any::<bool>()).prop_map(|((sockets, cores, fewer, hotplug), numa, nodes)| {
        let mut options =
            vec![("sockets".to_owned(), sockets.to_string()), ("cores".to_owned(), cores.to_string())];
        let mut set = |key: &str, value: String| options.push((key.to_owned(), value));
        if fewer > 0 && sockets * cores > fewer {
            set("vcpus", (sockets * cores - fewer).to_string());
        }
        if !hotplug.is_empty() {
            set("hotplug", hotplug.to_owned());
        }
        if hotplug.contains("memory") {
            set("numa", "1".into());
            set("memory", "2048".into());
        } else if numa {
            set("numa", "1".into());
            set("memory", "192".into());
            if nodes && sockets * cores == 4 {
                set("numa0", "cpus=0;2,memory=64".into());
                set("numa1", "cpus=1;3,hostnodes=0,memory=128,policy=preferred".into());
            }
        } else {
            set("memory", "128".into());
        }
        options
    })
}

/// The machine, its processor, the guest's system and the display.
fn board(machines: Vec<String>) -> impl Strategy<Value = Vec<(String, String)>> {
    let cpus = [
        "",
        "qemu64",
        "max,flags=-pcid",
        "x86-64-v2-AES",
        "Nehalem,flags=+pcid;-aes",
        "qemu64,level=13,phys-bits=40",
    ];
    let systems = ["", "other", "wxp", "w2k8", "win7", "win10", "win11", "l24", "l26", "solaris"];
    let displays = [
        "",
        "std,memory=32",
        "cirrus",
        "vmware",
        "virtio",
        "qxl",
        "qxl3,memory=16",
        "none",
        "serial0",
        "std,clipboard=vnc",
    ];
    (select(machines), select(cpus.to_vec()), select(systems.to_vec()), select(displays.to_vec())).prop_map(
        move |(machine, cpu, system, display)| {
            let given = [("machine", machine.as_str()), ("cpu", cpu), ("ostype", system), ("vga", display)];
            let given = given.into_iter().filter(|(_, value)| !value.is_empty());
            let mut options: Vec<_> = given.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            options.push(("kvm".into(), "0".into()));
            options
        },
    )
}

/// Network cards.
fn cards() -> impl Strategy<Value = Vec<(String, String)>> {
    let card = (
        select(CARDS),
        select(&["", ",bridge=vmbr0", ",bridge=vmbr0,queues=4,mtu=1", ",bridge=vmbr0,mtu=1400"][..]),
    );
    let place = subsequence(vec![0u8, 1, 5, 6, 31], 0..=3);
    (place, proptest::collection::vec(card, 3)).prop_map(|(places, cards)| {
        let mut nets = Vec::new();
        for (index, (model, rest)) in places.into_iter().zip(cards) {
            // only virtio cards have queues, and are told of an MTU
            let rest = if model == "virtio" { rest } else { "" };
            nets.push((format!("net{index}"), format!("{model}=BC:24:11:00:00:{index:02X}{rest}")));
        }
        nets
    })
}

/// Drives.
fn drives(direct: bool, old: bool) -> impl Strategy<Value = Vec<Drive>> {
    let all: Vec<(&'static str, u8, &'static [&'static str])> =
        SLOTS.iter().flat_map(|(bus, slots, keys)| slots.iter().map(|slot| (*bus, *slot, *keys))).collect();
    let mut caches = vec!["cache=writeback", "cache=unsafe", "cache=writethrough"];
    if direct {
        caches.extend(["cache=none", "cache=directsync"]);
    }
    let mut common = DISK_KEYS.to_vec();
    if old {
        common.push("snapshot=1");
    }
    subsequence(all, 0..=5).prop_flat_map(move |chosen| {
        let one = |(bus, slot, own): (&'static str, u8, &'static [&'static str])| {
            let keys = (select(caches.clone()), subsequence(own, 0..=2), subsequence(common.clone(), 0..=3));
            (0u8..8, keys).prop_map(move |(kind, (cache, own, common))| {
                let key = format!("{bus}{slot}");
                let cdrom =
                    |image| Drive { key: key.clone(), image, keys: vec!["media=cdrom", "aio=threads"] };
                match kind {
                    0 if bus != "virtio" => cdrom(None),
                    1 if bus != "virtio" => cdrom(Some("template/iso/disc.iso".to_owned())),
                    _ => {
                        let format = if kind % 2 == 0 { "raw" } else { "qcow2" };
                        let image = Some(format!("images/100/vm-100-disk-{bus}{slot}.{format}"));
                        let keys = [cache].into_iter().chain(own.iter().copied()).chain(common).collect();
                        Drive { key, image, keys }
                    }
                }
            })
        };
        chosen.into_iter().map(one).collect::<Vec<_>>()
    })
}

/// Whole machines.
fn shape(machines: Vec<String>, direct: bool, old: bool) -> impl Strategy<Value = Shape> {
    let controllers = ["", "lsi", "lsi53c810", "virtio-scsi-pci", "virtio-scsi-single", "megasas", "pvscsi"]
        .map(str::to_owned);
    let boots = ["", "cdn", "order=net0;scsi0;ide2", "dn"].map(str::to_owned);
    let parts = (board(machines), resources(), free(), cards(), drives(direct, old));
    (parts, select(controllers.to_vec()), select(boots.to_vec())).prop_map(
        |((board, resources, free, cards, drives), controller, boot)| {
            let mut options: Vec<_> = board.into_iter().chain(resources).chain(free).chain(cards).collect();
            for (key, value) in [("scsihw", controller), ("boot", boot)] {
                if !value.is_empty() {
                    options.push((key.to_owned(), value));
                }
            }
            let of =
                |key: &str| options.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
            let old = of("machine").and_then(|machine| MachineVersion::of_type(machine.as_bytes()));
            let mut drives = drives;
            if old.is_some_and(|version| version < MachineVersion::new(4, 1, 2)) {
                drives.retain(|drive| !["scsi14", "scsi21", "scsi30"].contains(&drive.key.as_str()));
            }
            // an emulated `max` has fewer address bits than the host's processor, which decides how much memory can be
            // plugged
            if of("cpu").is_some_and(|cpu| cpu.starts_with("max")) {
                options.retain(|(key, value)| key != "hotplug" || !value.contains("memory"));
            }
            Shape { options, drives }
        },
    )
}

/// Starts the machine and looks whether everything is there.
fn check(version: QemuVersion, certificates: Option<&Certificates>, shape: &Shape) {
    let mut workshop = Workshop::new(version);
    if let Some(certificates) = certificates {
        certificates.put_into(&mut workshop);
    }
    for drive in &shape.drives {
        if let Some(image) = &drive.image {
            workshop.image(image);
        }
    }
    let mut machine = workshop.start(&shape.config());

    machine.check_addresses();
    let shown = machine.disks();
    let wanted: BTreeMap<_, _> = shape
        .drives
        .iter()
        .map(|drive| (drive.key.clone(), drive.image.clone().unwrap_or_else(|| "-".to_owned())))
        .collect();
    let temporary = |drive: &Drive| drive.keys.contains(&"snapshot=1");
    for drive in shape.drives.iter().filter(|drive| !temporary(drive)) {
        assert_eq!(shown.get(&drive.key), wanted.get(&drive.key), "{} in {shown:?}", drive.key);
    }
    let status = machine.ask("query-status");
    assert_eq!(status["running"], false, "{status}");
    let cpus = machine.ask("query-cpus-fast").as_array().unwrap().len() as u64;
    let most = shape.number("sockets", 1) * shape.number("cores", 1);
    assert_eq!(cpus, shape.number("vcpus", most));
    let memory = machine.ask("query-memory-size-summary");
    let total = memory["base-memory"].as_u64().unwrap() + memory["plugged-memory"].as_u64().unwrap_or(0);
    assert_eq!(total, shape.number("memory", 512) << 20, "{memory}");
    let vnc = machine.ask("query-vnc");
    let seen = !matches!(shape.option("vga"), Some("none" | "serial0"));
    assert_eq!(vnc["enabled"], seen, "{vnc}");
    machine.quit();
}

/// Whether files of the workshops can be opened without the host's cache.
fn direct_io(version: QemuVersion) -> bool {
    use std::os::unix::fs::OpenOptionsExt;
    let workshop = Workshop::new(version);
    let image = workshop.image("images/100/vm-100-disk-0.raw");
    let flag = nix::fcntl::OFlag::O_DIRECT.bits();
    std::fs::OpenOptions::new().read(true).custom_flags(flag).open(image).is_ok()
}

fn run(version: QemuVersion, machines: &[String], old: bool) {
    let certificates = Certificates::new();
    // without certificates there are no displays that need SPICE
    let spice =
        |shape: &Shape| shape.option("vga").is_some_and(|vga| vga.starts_with("qxl") || vga == "virtio");
    let mut runner =
        TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let strategy = shape(machines.to_vec(), direct_io(version), old);
    let shapes: Vec<Shape> =
        (0..MACHINES).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect();
    let mut refused = 0;
    for shape in shapes.iter().filter(|shape| certificates.is_some() || !spice(shape)) {
        // what went wrong is told where it does
        let done = std::panic::catch_unwind(|| check(version, certificates.as_ref(), shape));
        if done.is_err() {
            refused += 1;
            eprintln!("the configuration was:\n{}", shape.config());
        }
    }
    assert_eq!(refused, 0, "of {MACHINES} machines");
}

#[test]
fn old_machines_of_all_shapes_are_accepted() {
    let Some(version) = installed() else { return };
    let old = old_machine(version);
    let emulator = Emulator::ask(Path::new(QEMU), PATIENCE).unwrap();
    let pinned =
        ["pc-i440fx-2.6", "pc-i440fx-4.1", "pc-q35-4.2", "pc-i440fx-6.1", "pc-q35-6.2", "pc-q35-7.2"];
    let pinned = pinned.iter().filter(|name| emulator.machine(name).is_some()).map(|name| (*name).to_owned());
    let plain =
        ["", "pc", "q35", "q35,viommu=virtio", "q35,enable-s3=0", "pc,enable-s4=0"].map(str::to_owned);
    let machines: Vec<String> = pinned.chain(plain).collect();
    run(old, &machines, true);
}

#[test]
fn new_machines_of_all_shapes_are_accepted() {
    let Some(version) = installed() else { return };
    // the drives of machine version 10.0, on whatever machine the installed QEMU has
    let machines = ["", "pc", "q35", "q35,viommu=virtio"].map(str::to_owned);
    run(new_machine(version), &machines, false);
}

#[test]
fn flags_of_cpus_are_known_to_the_emulator() {
    let Some(version) = installed() else { return };
    let mut machine = Workshop::new(version).start("kvm: 0\nmemory: 64\nvga: none\n");
    let mut checked = 0;
    // what KVM is wanted for cannot be started everywhere, but what its flags are called can be asked
    for (cpu, ostype) in [
        ("kvm64", "l26"),
        ("host,hidden=1,flags=+nested-virt;+pcid", "win11"),
        ("x86-64-v4,hv-vendor-id=ACME,level=30,phys-bits=42,guest-phys-bits=40", "win7"),
        ("EPYC,flags=+virt-ssbd;-amd-no-ssb;+hv-evmcs;+hv-tlbflush;+md-clear;+spec-ctrl", "win10"),
        ("Opteron_G4,phys-bits=host", "solaris"),
    ] {
        let command = Workshop::new(version).build(&format!("cpu: {cpu}\nostype: {ostype}\n"));
        let mut arguments = command.iter().skip_while(|argument| *argument != "-cpu");
        let mut parts = arguments.nth(1).unwrap().to_str().unwrap().split(',');
        let model = parts.next().unwrap();
        let typename = serde_json::json!({ "typename": format!("{model}-x86_64-cpu") });
        let known = machine.execute("device-list-properties", typename);
        let known: Vec<&str> =
            known.as_array().unwrap().iter().map(|property| property["name"].as_str().unwrap()).collect();
        for part in parts {
            let name = part.split('=').next().unwrap().trim_start_matches(['+', '-']).replace('_', "-");
            // from a later version on, or only switched off where it is known
            let newer = name == "guest-phys-bits" && !version.at_least(9, 1);
            let canonical = |known: &&&str| known.replace('_', "-") == name;
            assert!(newer || known.iter().any(|name| canonical(&name)), "{part} of {cpu}");
            checked += 1;
        }
    }
    assert!(checked > 50, "{checked}");
    machine.quit();
}
