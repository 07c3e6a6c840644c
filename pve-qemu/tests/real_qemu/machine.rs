// SPDX-License-Identifier: MIT OR Apache-2.0
//! A real QEMU that was given a computed command line, and what it says over QMP of the machine it made of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bstr::{BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_qemu::power::{Dialect, RunDir, Surroundings, adapt};
use pve_qemu::qmp::Qmp;
use pve_qemu::{Builder, CommandLine, Host, Options, QemuVersion};
use pve_storage::{Storage, Storages};
use pve_volid::VmId;
use serde_json::Value;

/// The emulator of Debian and its like.
pub(crate) const QEMU: &str = "/usr/bin/qemu-system-x86_64";
/// How long QEMU may take for an answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Where Debian has the firmware that Proxmox VE has elsewhere.
pub(crate) const FIRMWARE: &str = "/usr/share/OVMF/";

/// The installed QEMU's version; `None`, after saying so, if there is no QEMU.
pub(crate) fn installed() -> Option<QemuVersion> {
    let printed = Command::new(QEMU).arg("--version").output();
    let version = printed.ok().and_then(|output| {
        QemuVersion::parse(&QemuVersion::in_output(&String::from_utf8_lossy(&output.stdout)))
    });
    has(version.is_some(), &format!("{QEMU} that tells its version"));
    version
}

/// Whether something that a test needs is there. If not, says that the test is skipped, or fails it where nothing may be
/// skipped.
pub(crate) fn has(there: bool, what: &str) -> bool {
    if !there {
        assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none(), "this machine has no {what}");
        eprintln!("SKIPPED: this machine has no {what}");
    }
    there
}

/// A folder with what machines need that the command line refers to, and the facts of the host.
pub(crate) struct Workshop {
    folder: tempfile::TempDir,
    storages: Storages,
    /// What the command line is computed for.
    pub(crate) host: Host,
    /// Program and first arguments.
    pub(crate) program: Vec<String>,
    /// Network cards get their tap devices; otherwise QEMU's own network takes their place.
    pub(crate) taps: bool,
    _events: UnixListener,
}

impl Workshop {
    /// A folder for machines of QEMU `version`.
    pub(crate) fn new(version: QemuVersion) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let storage = Storage::new("local".parse().unwrap(), "dir")
            .with("path", root.join("vz").to_str().unwrap())
            .with("content", "images,iso");
        let events = UnixListener::bind(RunDir::new(root).events()).unwrap();
        Workshop {
            storages: [storage].into_iter().collect(),
            host: Host::default().with_qemu_version(version),
            program: vec![QEMU.to_owned()],
            taps: false,
            _events: events,
            folder,
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a disk image of the storage.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        let path = self.root().join("vz").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if !path.exists() {
            make_image(&path);
        }
        path
    }

    /// Computes the command line of a configuration.
    pub(crate) fn build(&self, config: &str) -> CommandLine {
        let builder = Builder::new(&self.host, &self.storages);
        let (parsed, findings) = VmConfig::parse_with(config.as_bytes(), &builder.context());
        assert!(findings.is_empty(), "{findings:?}");
        builder
            .build(VmId::MIN, &parsed, &Options::default())
            .unwrap_or_else(|error| panic!("{error}\n{config}"))
    }

    /// Starts a machine with this configuration, frozen.
    pub(crate) fn start(self, config: &str) -> Machine {
        let command = self.build(config);
        self.run(command)
    }

    /// Starts a machine with this command line, frozen.
    pub(crate) fn run(self, command: CommandLine) -> Machine {
        let root = self.root();
        let arguments = self.mapped(&command);
        let log = fs::File::create(root.join("log")).unwrap();
        let mut process = Command::new(&self.program[0])
            .args(&self.program[1..])
            .args(arguments.iter().map(|argument| argument.to_os_str().unwrap()))
            .current_dir(root)
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
            let _ = process.wait();
            let said = fs::read_to_string(root.join("log")).unwrap_or_default();
            panic!("QEMU does not take the command line: {error}\n{said}\n{}", command.pretty())
        });
        Machine { process, qmp, command, workshop: self }
    }

    /// The arguments as a start gives them to this QEMU ([`Dialect::Stock`]), and besides:
    ///
    /// * scripts of Proxmox VE and shared memory are in the folder, the firmware where Debian has it;
    /// * what came after QEMU 7.2 has the name it had then (`reconnect`);
    /// * `kvm`, the name of the program, stands for the accelerator of that name;
    /// * `-daemonize` is left out, because the test waits for the process; `-S` is added.
    fn mapped(&self, command: &CommandLine) -> Vec<BString> {
        let around = Surroundings { exists: &|_| false, has_event_daemon: true, arch: "x86_64" };
        let adapted = adapt(command, Dialect::Stock, &RunDir::new(self.root()), around);
        for (path, content) in &adapted.files {
            fs::write(path, content).unwrap();
        }
        let folder = format!("{}/", self.root().display());
        let vhost = if Path::new("/dev/vhost-net").exists() { ",vhost=on" } else { "" };
        let replacements = [
            (format!("{folder}efidisk/"), folder.clone()),
            (format!("{folder}virtiofsd/"), folder.clone()),
            ("/usr/libexec/qemu-server/".to_owned(), folder.clone()),
            ("/dev/shm/pve-shm-".to_owned(), format!("{folder}shm-")),
            ("/usr/share/pve-edk2-firmware//".to_owned(), FIRMWARE.to_owned()),
            (",reconnect-ms=5000".to_owned(), ",reconnect=5".to_owned()),
            (",vhost=on".to_owned(), vhost.to_owned()),
        ];
        let mut arguments = Vec::new();
        let mut iter = adapted.arguments.into_iter().skip_while(|argument| *argument != "-name");
        while let Some(mut text) = iter.next() {
            if text == "-daemonize" {
                continue;
            }
            for (from, to) in &replacements {
                text = text.replace(from, to).into();
            }
            if let Some(tap) = text.strip_prefix(b"type=tap,").filter(|_| !self.taps) {
                let id = tap.split_str(",").next().unwrap_or_default();
                text = [b"type=user,", id].concat().into();
            }
            arguments.push(text);
            if arguments.last().is_some_and(|option| option == "-machine") {
                let flags = iter.next().unwrap();
                let emulates = flags.contains_str("accel=tcg") || !flags.contains_str("type=");
                let accelerator = if emulates { "" } else { ",accel=kvm" };
                arguments.push(format!("{flags}{accelerator}").into());
            }
        }
        arguments.push("-S".into());
        arguments
    }
}

/// A machine under test.
pub(crate) struct Machine {
    process: Child,
    qmp: Qmp,
    pub(crate) command: CommandLine,
    pub(crate) workshop: Workshop,
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Machine {
    /// Starts an emulated machine with this configuration. `images` are its disk images, which are made first; `version` is
    /// the version that the command line is computed for.
    pub(crate) fn start(version: QemuVersion, config: &str, images: &[&str]) -> Machine {
        let workshop = Workshop::new(version);
        for image in images {
            workshop.image(image);
        }
        workshop.start(&format!("kvm: 0\n{config}"))
    }

    /// Ends the machine, which must be willing.
    pub(crate) fn quit(mut self) {
        self.ask("quit");
        assert!(self.process.wait().unwrap().success());
    }

    pub(crate) fn ask(&mut self, command: &str) -> Value {
        self.qmp.execute(command, None).unwrap()
    }

    pub(crate) fn execute(&mut self, command: &str, arguments: Value) -> Value {
        self.qmp.execute(command, Some(arguments)).unwrap()
    }

    /// Path of the image that each drive of the guest shows, by the id of its device or drive.
    pub(crate) fn disks(&mut self) -> BTreeMap<String, String> {
        let devices = self.ask("query-block");
        let root = self.workshop.root().join("vz");
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
    pub(crate) fn objects(&mut self, path: &str) -> Vec<String> {
        let found = self.qmp.execute("qom-list", Some(serde_json::json!({ "path": path }))).unwrap();
        found.as_array().unwrap().iter().map(|object| object["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Every device whose argument names bus and slot is there; returns how many there are.
    ///
    /// QEMU lists what is on the root bus. What is behind a bridge appears there only when the guest's firmware has
    /// numbered the buses, so those are looked up in the object tree.
    pub(crate) fn check_addresses(&mut self) -> usize {
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

    /// A property of an object.
    pub(crate) fn value(&mut self, path: &str, name: &str) -> Value {
        let arguments = serde_json::json!({ "path": path, "property": name });
        self.qmp.execute("qom-get", Some(arguments)).unwrap()
    }

    /// A property of an object, as text.
    pub(crate) fn property(&mut self, path: &str, name: &str) -> String {
        match self.value(path, name) {
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
