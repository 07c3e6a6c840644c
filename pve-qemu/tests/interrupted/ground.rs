// SPDX-License-Identifier: MIT OR Apache-2.0
//! A node in a directory, with real images, and what must be true of it whatever happened.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_config::inventory::Inventory;
use pve_qemu::node::{DirectoryStore, Facts, NoMachines, Node, StoredVolumes, SystemChance};
use pve_storage::audit::{NodeReport, StorageReport, audit};
use pve_storage::{LocalHost, Session, Storage, Storages};
use pve_volid::{ImageFormat, StorageId, VmId};

use crate::mortal::Mortal;

const STORAGE_CFG: &str = "dir: local\n\tpath @\n\tcontent images\n";
pub(crate) const MARK: &[u8] = b"the guest's data";

/// A node in a directory of its own.
pub(crate) struct Ground {
    pub(crate) root: PathBuf,
    pub(crate) storages: Storages,
    host: LocalHost,
    _directory: Option<tempfile::TempDir>,
}

impl Ground {
    /// An empty one.
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut ground = Self::at(directory.path().to_owned());
        ground._directory = Some(directory);
        ground
    }

    /// One with the VM of [`Ground::make_vm`]; `None`, after saying so, without `qemu-img`.
    pub(crate) fn with_vm(format: ImageFormat) -> Option<Self> {
        has_qemu_img().then(|| {
            let ground = Self::new();
            ground.make_vm(format);
            ground
        })
    }

    /// One that is there already.
    pub(crate) fn at(root: PathBuf) -> Self {
        let storage =
            Storage::new("local".parse().unwrap(), "dir").with("path", text(&root)).with("content", "images");
        let host = LocalHost::new(|_| {}).with_locks_in(root.join("lock"));
        Ground { storages: [storage].into_iter().collect(), host, root, _directory: None }
    }

    /// Lets `body` work on the node, and die at step `end` if there is one.
    pub(crate) fn on<T>(&self, end: Option<usize>, body: impl FnOnce(Node<'_>) -> T) -> T {
        self.with_mortal(end, |_, node| body(node))
    }

    /// Lets `body` work on the node; returns the time that storages took.
    pub(crate) fn timed(&self, body: impl FnOnce(Node<'_>)) -> Duration {
        self.with_mortal(None, |mortal, node| {
            body(Node { configs: mortal.configs(), ..node });
            mortal.taken()
        })
    }

    fn with_mortal<T>(&self, end: Option<usize>, body: impl FnOnce(&Mortal<'_>, Node<'_>) -> T) -> T {
        let configs =
            DirectoryStore::new(self.root.join("pve"), "pve1").with_locks_in(self.root.join("lock"));
        let session = Session::new(&self.storages, &self.host, "pve1");
        let cloudinit = text(self.root.join("cloudinit"));
        let volumes = StoredVolumes::new(session, Default::default()).with_cloudinit_in(cloudinit);
        let mortal = Mortal::new(configs, volumes, end);
        let facts = Facts::default();
        let node = Node {
            configs: &mortal,
            volumes: &mortal,
            machines: &NoMachines,
            chance: &SystemChance,
            facts: &facts,
        };
        body(&mortal, node)
    }

    /// A VM with a marked disk in `format`; a cloud-init drive as well.
    pub(crate) fn make_vm(&self, format: ImageFormat) {
        self.on(None, |node| {
            let disk = node.volumes.allocate(&local(), id(100), format, None, 4096.0).unwrap();
            let name = BStr::new(match format {
                ImageFormat::Qcow2 => "vm-100-cloudinit.qcow2",
                _ => "vm-100-cloudinit.raw",
            });
            let seed = node.volumes.allocate(&local(), id(100), format, Some(name), 4096.0).unwrap();
            let config = format!(
                "ide2: {seed},media=cdrom\nname: web\nnet0: virtio=BC:24:11:00:00:01\nscsi0: {disk},size=4M\n"
            );
            node.configs.create(id(100), config.as_str().into()).unwrap();
        });
        self.mark(format);
    }

    /// Writes something to the disk of VM 100.
    pub(crate) fn mark(&self, format: ImageFormat) {
        let raw = self.root.join("mark.raw");
        let mut content = vec![0; 4 << 20];
        content[..MARK.len()].copy_from_slice(MARK);
        fs::write(&raw, content).unwrap();
        let disk = self.root.join(format!("images/100/vm-100-disk-0.{format}"));
        run(Command::new("qemu-img")
            .args(["convert", "-n", "-f", "raw", "-O", format.as_str()])
            .arg(&raw)
            .arg(disk));
    }

    /// The names of all images.
    pub(crate) fn images(&self) -> BTreeSet<BString> {
        let mut found = BTreeSet::new();
        for owner in fs::read_dir(self.root.join("images")).unwrap().map(|entry| entry.unwrap()) {
            for file in fs::read_dir(owner.path()).unwrap().map(|entry| entry.unwrap()) {
                found.insert(format!("{}/{}", text(owner.file_name()), text(file.file_name())).into());
            }
        }
        found
    }

    /// That nothing is lost, and nothing leaks unseen.
    pub(crate) fn check(&self, what: &str) {
        let mut files =
            vec![("storage.cfg".to_owned(), STORAGE_CFG.replace('@', &text(&self.root)).into_bytes())];
        self.on(None, |node| {
            for guest in node.configs.guests().unwrap() {
                let (_, config) = node.configs.read(guest.vmid).unwrap().unwrap();
                files.push((format!("nodes/pve1/qemu-server/{}.conf", guest.vmid), config.into()));
            }
        });
        let inventory = Inventory::new(files.iter().map(|(path, text)| (path.as_str(), text.as_slice())));
        let listed = run(Command::new("find").args(["-printf", "%y %s %P\\n"]).current_dir(&self.root));
        let mut report = NodeReport { node: "pve1".into(), ..NodeReport::default() };
        report.storages.insert("local".into(), StorageReport::Files(listed.into()));
        let findings = audit(&inventory, &[report]).unwrap().findings;
        let told: BTreeSet<&BStr> = findings.iter().map(|finding| finding.name.as_bstr()).collect();

        let configs: Vec<VmConfig<'_>> =
            files.iter().skip(1).map(|(_, text)| VmConfig::parse(text).0).collect();
        let mut named: BTreeSet<BString> = BTreeSet::new();
        for reference in configs.iter().flat_map(|config| config.volume_references()) {
            let Some(volume) = reference.volid() else { continue };
            // OWNER/BASE/OWNER/FILE lies at OWNER/FILE
            let parts: Vec<&[u8]> = volume.volname().split_str("/").collect();
            named.insert(bstr::join("/", &parts[parts.len() - 2..]).into());
        }
        let images = self.images();
        let tells =
            |name: &BString| told.iter().any(|told| told.ends_with(name.rsplit_str("/").next().unwrap()));
        for image in images.iter().filter(|image| !named.contains(*image)) {
            assert!(tells(image), "{what}: {image} leaks unseen; the audit says {findings:#?}");
        }
        for name in named.iter().filter(|name| !images.contains(*name)) {
            assert!(tells(name), "{what}: {name} is gone unseen; the audit says {findings:#?}");
        }
        let disks =
            images.iter().filter(|image| image.contains_str("100/") && image.contains_str("-100-disk-0."));
        let disks: Vec<_> = disks.collect();
        assert_eq!(disks.len(), 1, "{what}: {images:?}");
        let copy = self.root.join("read.raw");
        run(Command::new("qemu-img")
            .args(["convert", "-O", "raw"])
            .arg(self.root.join("images").join(disks[0].to_string()))
            .arg(&copy));
        assert!(
            fs::read(copy).unwrap().starts_with(MARK),
            "{what}: the disk of the source has other content"
        );
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // base volumes cannot be removed otherwise, if the file system knows the attribute
        let _ = Command::new("chattr").args(["-R", "-i"]).arg(self.root.join("images")).output();
    }
}

pub(crate) fn id(number: u32) -> VmId {
    VmId::new(number).unwrap()
}

pub(crate) fn local() -> StorageId {
    "local".parse().unwrap()
}

pub(crate) fn text(value: impl AsRef<std::ffi::OsStr>) -> String {
    value.as_ref().to_str().unwrap().to_owned()
}

/// Runs a command that must succeed; returns what it prints.
pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.stderr.as_bstr());
    output.stdout
}

pub(crate) fn has_qemu_img() -> bool {
    let found = Path::new("/usr/bin/qemu-img").exists();
    if !found {
        skip("there is no qemu-img");
    }
    found
}

pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none(), "{reason}");
}
