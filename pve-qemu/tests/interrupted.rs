// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on guests that die, on a directory with real images: SIGKILL before and after every step, a full storage, a
//! configuration that somebody else changed, a lock that was left behind.
//!
//! After each death every volume must be named by a configuration or by the audit, and the disk of the source be there.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default,
    reason = "a failed step fails the test"
)]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_config::inventory::Inventory;
use pve_qemu::clone::{CloneOptions, clone_vm};
use pve_qemu::create::{CreateRequest, create_vm};
use pve_qemu::destroy::{DestroyOptions, destroy_vm};
use pve_qemu::disk_move::{MoveOptions, move_disk};
use pve_qemu::node::{
    ConfigStore, CopyOptions, DirectoryStore, Facts, GuestEntry, ListedVolume, LockGuard, LockMode,
    MachineChange, Machines, Node, StoredVolumes, SystemChance, Volumes, WorldError,
};
use pve_qemu::snapshot::{SnapshotRequest, create_snapshot, delete_snapshot};
use pve_qemu::template::{TemplateOptions, convert_to_template};
use pve_storage::audit::{NodeReport, StorageReport, audit};
use pve_storage::{LocalHost, Session, Storage, Storages};
use pve_volid::{ImageFormat, StorageId, VmId, VolumeId};
use serde_json::Value;

const STORAGE_CFG: &str = "dir: local\n\tpath @\n\tcontent images\n";
const MARK: &[u8] = b"the guest's data";

/// A node in a directory of its own.
struct Ground {
    root: PathBuf,
    storages: Storages,
    host: LocalHost,
}

impl Ground {
    fn new(root: &Path) -> Self {
        let storage =
            Storage::new("local".parse().unwrap(), "dir").with("path", text(root)).with("content", "images");
        let host = LocalHost::new(|_| {}).with_locks_in(root.join("lock"));
        Ground { root: root.to_owned(), storages: [storage].into_iter().collect(), host }
    }

    /// Lets `body` work on the node, and die at step `end` if there is one.
    fn on<T>(&self, end: Option<usize>, body: impl FnOnce(Node<'_>) -> T) -> T {
        let configs =
            DirectoryStore::new(self.root.join("pve"), "pve1").with_locks_in(self.root.join("lock"));
        let session = Session::new(&self.storages, &self.host, "pve1");
        let cloudinit = text(self.root.join("cloudinit"));
        let volumes = StoredVolumes::new(session, Default::default()).with_cloudinit_in(cloudinit);
        let mortal = Mortal { configs, volumes, end, steps: Cell::new(0), taken: Cell::default() };
        let facts = Facts::default();
        body(Node {
            configs: &mortal,
            volumes: &mortal,
            machines: &Off,
            chance: &SystemChance,
            facts: &facts,
        })
    }

    /// Lets `body` work on the node; returns the time that storages took.
    fn timed(&self, body: impl FnOnce(Node<'_>)) -> Duration {
        let configs =
            DirectoryStore::new(self.root.join("pve"), "pve1").with_locks_in(self.root.join("lock"));
        let volumes =
            StoredVolumes::new(Session::new(&self.storages, &self.host, "pve1"), Default::default());
        let mortal = Mortal { configs, volumes, end: None, steps: Cell::new(0), taken: Cell::default() };
        let facts = Facts::default();
        let node = Node {
            configs: &mortal.configs,
            volumes: &mortal,
            machines: &Off,
            chance: &SystemChance,
            facts: &facts,
        };
        body(node);
        mortal.taken.get()
    }

    /// A VM with a marked disk in `format`; a cloud-init drive as well.
    fn make_vm(&self, format: ImageFormat) {
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
    fn mark(&self, format: ImageFormat) {
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
    fn images(&self) -> BTreeSet<BString> {
        let mut found = BTreeSet::new();
        for owner in fs::read_dir(self.root.join("images")).unwrap().map(|entry| entry.unwrap()) {
            for file in fs::read_dir(owner.path()).unwrap().map(|entry| entry.unwrap()) {
                found.insert(format!("{}/{}", text(owner.file_name()), text(file.file_name())).into());
            }
        }
        found
    }

    /// That nothing is lost, and nothing leaks unseen.
    fn check(&self, what: &str) {
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

/// What is interrupted.
fn operate(case: &str, node: Node<'_>) {
    match case {
        "linked clone" => {
            clone_vm(node, id(100), id(200), CloneOptions::default()).unwrap();
        }
        "full clone" => {
            let mut options = CloneOptions::default();
            options.full = Some(true);
            clone_vm(node, id(100), id(200), options).unwrap();
        }
        "template" => {
            convert_to_template(node, id(100), TemplateOptions::default()).unwrap();
        }
        "create" => {
            create_vm(node, id(200), new_vm()).unwrap();
        }
        "snapshot" => create_snapshot(node, id(100), SnapshotRequest::new("before"), None).unwrap(),
        other => panic!("no case {other}"),
    }
}

/// A VM with an empty disk of 4 MiB, a copy of the disk of VM 100, and a cloud-init drive.
fn new_vm() -> CreateRequest {
    CreateRequest::new()
        .set("name", "new")
        .set("ide2", "local:cloudinit")
        .set("scsi0", "local:0.00390625,format=qcow2")
        .set("scsi1", "local:0,import-from=local:100/vm-100-disk-0.raw")
}

/// Kills `case` before and after each of its steps; `prepare` makes the ground, `recover` cleans up as documented.
fn kill_everywhere(case: &str, prepare: impl Fn(&Ground), recover: impl Fn(&Ground)) {
    if !has_qemu_img() {
        return;
    }
    for step in 0.. {
        let directory = tempfile::tempdir().unwrap();
        let ground = Ground::new(directory.path());
        prepare(&ground);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .envs([("VICTIM_CASE", case), ("VICTIM_STEP", &step.to_string())])
            .env("VICTIM_ROOT", directory.path())
            .output()
            .unwrap();
        let finished = child.status.success();
        assert!(finished || child.status.signal() == Some(9), "{case}, step {step}: {child:?}");
        ground.check(&format!("{case}, killed at {step}"));
        recover(&ground);
        ground.check(&format!("{case}, recovered after {step}"));
        if finished {
            assert!(step > 2, "{case} has steps");
            eprintln!("{case}: survived {step} deaths");
            return;
        }
    }
}

#[test]
#[ignore = "the process that the other tests kill"]
fn victim() {
    let Ok(case) = std::env::var("VICTIM_CASE") else { return };
    let root = std::env::var_os("VICTIM_ROOT").unwrap();
    let step = std::env::var("VICTIM_STEP").unwrap().parse().unwrap();
    // the ground must not be tidied up here
    let ground = std::mem::ManuallyDrop::new(Ground::new(Path::new(&root)));
    ground.on(Some(step), |node| operate(&case, node));
}

#[test]
fn a_killed_linked_clone() {
    let prepare = |ground: &Ground| {
        ground.make_vm(ImageFormat::Qcow2);
        ground.on(None, |node| convert_to_template(node, id(100), TemplateOptions::default()).unwrap());
    };
    kill_everywhere("linked clone", prepare, destroy_the_new_vm);
}

#[test]
fn a_killed_full_clone() {
    kill_everywhere("full clone", |ground| ground.make_vm(ImageFormat::Raw), destroy_the_new_vm);
}

#[test]
fn a_killed_creation() {
    kill_everywhere("create", |ground| ground.make_vm(ImageFormat::Raw), destroy_the_new_vm);
}

/// Measures, so it is only run when asked for: 1,000 linked clones of a template with a cloud-init drive.
#[test]
#[ignore = "measures: run it with --release --ignored --nocapture"]
fn a_thousand_linked_clones() {
    if !has_qemu_img() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ground = Ground::new(directory.path());
    ground.make_vm(ImageFormat::Qcow2);
    ground.on(None, |node| convert_to_template(node, id(100), TemplateOptions::default()).unwrap());
    let begin = std::time::Instant::now();
    let of_storages = ground.timed(|node| {
        for number in 1000..2000 {
            clone_vm(node, id(100), id(number), CloneOptions::default()).unwrap();
        }
    });
    let all = begin.elapsed();
    eprintln!(
        "1000 linked clones: {all:?}, of which {of_storages:?} in storages and qemu-img; {:?} of our own each",
        (all - of_storages) / 1000
    );
    assert_eq!(ground.on(None, |node| node.configs.guests().unwrap().len()), 1001);
}

/// An unfinished VM goes with everything that it owns.
fn destroy_the_new_vm(ground: &Ground) {
    ground.on(None, |node| {
        let mut options = DestroyOptions::default();
        options.skip_lock = true;
        options.unreferenced = true;
        if node.configs.read(id(200)).unwrap().is_some() {
            let destroyed = destroy_vm(node, id(200), options).unwrap();
            assert!(destroyed.left_behind.is_empty(), "{destroyed:?}");
        }
    });
    let left: Vec<_> = ground.images().into_iter().filter(|image| image.starts_with(b"200/")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_template() {
    kill_everywhere("template", |ground| ground.make_vm(ImageFormat::Qcow2), |_| {});
}

#[test]
fn a_killed_snapshot() {
    let recover = |ground: &Ground| {
        ground.on(None, |node| {
            let (_, before) = node.configs.read(id(100)).unwrap().unwrap();
            let (mut config, _) = VmConfig::parse(&before);
            if config.snapshot("before").is_some() {
                config.main.remove("lock");
                node.configs.write(id(100), config.to_bytes().unwrap().as_bstr()).unwrap();
                delete_snapshot(node, id(100), "before".into(), true).unwrap();
            }
            let (_, after) = node.configs.read(id(100)).unwrap().unwrap();
            assert!(!after.contains_str("before") && !after.contains_str("lock"), "{after}");
        });
    };
    kill_everywhere("snapshot", |ground| ground.make_vm(ImageFormat::Qcow2), recover);
}

#[test]
fn a_full_storage_leaves_nothing_of_the_clone() {
    on_a_full_storage(|node, small| {
        let mut options = CloneOptions::default();
        options.storage = Some(small);
        clone_vm(node, id(100), id(200), options).unwrap_err().to_string()
    });
}

#[test]
fn a_full_storage_leaves_nothing_of_a_new_vm() {
    on_a_full_storage(|node, small| {
        let request = CreateRequest::new()
            .set("scsi0", format!("{small}:0.00390625"))
            .set("scsi1", format!("{small}:0,import-from=local:100/vm-100-disk-0.qcow2"));
        create_vm(node, id(200), request).unwrap_err().to_string()
    });
}

/// That an operation which makes VM 200 with a copy of the disk of VM 100 fails as it should on a storage that is too small.
fn on_a_full_storage(operation: impl FnOnce(Node<'_>, &StorageId) -> String) {
    if !has_qemu_img() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("small");
    fs::create_dir(&target).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&target).output().unwrap();
    if !mounted.status.success() {
        skip(&format!("cannot mount a small file system: {}", mounted.stderr.as_bstr()));
        return;
    }
    let mut ground = Ground::new(directory.path());
    ground.make_vm(ImageFormat::Qcow2);
    // content that no copy can leave out
    let raw = directory.path().join("mark.raw");
    let noise: Vec<u8> = (0_u32..1 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&raw, [MARK, &noise[MARK.len()..]].concat()).unwrap();
    let disk = directory.path().join("images/100/vm-100-disk-0.qcow2");
    run(Command::new("qemu-img").args(["convert", "-n", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(disk));
    let storage: StorageId = "small".parse().unwrap();
    let small = Storage::new(storage.clone(), "dir").with("path", text(&target)).with("content", "images");
    ground.storages.insert(small);

    let error = ground.on(None, |node| operation(node, &storage));
    let left = fs::read_dir(target.join("images/200")).map(Iterator::count).unwrap_or(0);
    let config = ground.on(None, |node| node.configs.read(id(200)).unwrap());
    run(Command::new("umount").arg(&target));
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!((left, config), (0, None));
    ground.check("full storage");
}

#[test]
fn a_changed_configuration_and_a_stale_lock_stop_everything() {
    if !has_qemu_img() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let ground = Ground::new(directory.path());
    ground.make_vm(ImageFormat::Raw);
    let before = ground.images();
    ground.on(None, |node| {
        let (_, text) = node.configs.read(id(100)).unwrap().unwrap();
        let seen = pve_config::Digest::of(&text).to_string();
        // somebody else writes
        node.configs.write(id(100), [text.as_slice(), b"memory: 512\n"].concat().as_bstr()).unwrap();
        let mut options = MoveOptions::default();
        options.format = Some(ImageFormat::Qcow2);
        options.digest = Some(seen.as_str().into());
        let error = move_disk(node, id(100), "scsi0".into(), options).unwrap_err().to_string();
        assert!(error.contains("changed by somebody else") && error.contains("read it again"), "{error}");

        node.configs.write(id(100), [b"lock: clone\n", text.as_slice()].concat().as_bstr()).unwrap();
        let error = clone_vm(node, id(100), id(200), CloneOptions::default()).unwrap_err().to_string();
        assert!(error.contains("locked (clone)") && error.contains("unlock"), "{error}");
        assert!(node.configs.read(id(200)).unwrap().is_none());
    });
    assert_eq!(ground.images(), before);
}

/// Configurations and volumes that die with the process at a step of their own choice: step `2n` is before the change `n`,
/// step `2n + 1` after it.
struct Mortal<'a> {
    configs: DirectoryStore,
    volumes: StoredVolumes<'a>,
    end: Option<usize>,
    steps: Cell<usize>,
    /// Time that changes and sizes of volumes took.
    taken: Cell<Duration>,
}

impl Mortal<'_> {
    fn step<T>(&self, change: impl FnOnce() -> T) -> T {
        let step = self.steps.get();
        self.steps.set(step + 2);
        self.die_at(step);
        let done = self.timed(change);
        self.die_at(step + 1);
        done
    }

    fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let begin = std::time::Instant::now();
        let done = work();
        self.taken.set(self.taken.get() + begin.elapsed());
        done
    }

    fn die_at(&self, step: usize) {
        if self.end == Some(step) {
            let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
            std::thread::sleep(Duration::from_secs(60));
        }
    }
}

impl ConfigStore for Mortal<'_> {
    fn node(&self) -> &str {
        self.configs.node()
    }
    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        self.configs.guests()
    }
    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError> {
        self.configs.read(vmid)
    }
    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        self.step(|| self.configs.write(vmid, text))
    }
    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        self.step(|| self.configs.create(vmid, text))
    }
    fn remove(&self, vmid: VmId) -> Result<(), WorldError> {
        self.step(|| self.configs.remove(vmid))
    }
    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError> {
        self.step(|| self.configs.move_to(vmid, node))
    }
    fn file(&self, path: &str) -> Result<Option<BString>, WorldError> {
        self.configs.file(path)
    }
    fn lock(&self, vmid: VmId, mode: LockMode, patience: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        self.configs.lock(vmid, mode, patience)
    }
}

impl Volumes for Mortal<'_> {
    fn storages(&self) -> &Storages {
        self.volumes.storages()
    }
    fn images(&self, storage: &StorageId, owner: Option<VmId>) -> Result<Vec<ListedVolume>, WorldError> {
        self.volumes.images(storage, owner)
    }
    fn size(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        self.timed(|| self.volumes.size(volume))
    }
    fn volume_at(&self, path: &BStr) -> Result<Option<VolumeId>, WorldError> {
        self.volumes.volume_at(path)
    }
    fn allocate(
        &self,
        storage: &StorageId,
        owner: VmId,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.allocate(storage, owner, format, name, kib))
    }
    fn free(&self, volume: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.free(volume))
    }
    fn clone_linked(
        &self,
        base: &BStr,
        snapshot: Option<&BStr>,
        owner: VmId,
    ) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.clone_linked(base, snapshot, owner))
    }
    fn copy(
        &self,
        source: &BStr,
        snapshot: Option<&BStr>,
        target: &BStr,
        options: CopyOptions,
    ) -> Result<(), WorldError> {
        self.step(|| self.volumes.copy(source, snapshot, target, options))
    }
    fn create_base(&self, volume: &BStr) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.create_base(volume))
    }
    fn rename(&self, volume: &BStr, owner: VmId, name: Option<&BStr>) -> Result<VolumeId, WorldError> {
        self.step(|| self.volumes.rename(volume, owner, name))
    }
    fn resize(&self, volume: &BStr, size: u64, running: bool) -> Result<(), WorldError> {
        self.step(|| self.volumes.resize(volume, size, running))
    }
    fn create_snapshot(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.create_snapshot(volume, snapshot))
    }
    fn delete_snapshot(&self, volume: &BStr, snapshot: &BStr, running: bool) -> Result<(), WorldError> {
        self.step(|| self.volumes.delete_snapshot(volume, snapshot, running))
    }
    fn check_rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.volumes.check_rollback(volume, snapshot)
    }
    fn rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.rollback(volume, snapshot))
    }
    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.volumes.activate(volumes)
    }
    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        self.volumes.deactivate(volumes)
    }
    fn write_cloudinit(&self, vmid: VmId, config: &VmConfig<'_>, volume: &BStr) -> Result<(), WorldError> {
        self.step(|| self.volumes.write_cloudinit(vmid, config, volume))
    }
}

/// No VM runs here.
struct Off;

impl Machines for Off {
    fn is_running(&self, _: VmId) -> bool {
        false
    }
    fn qmp(&self, vmid: VmId, _: &str, _: Value, _: Option<Duration>) -> Result<Value, WorldError> {
        Err(WorldError::Other(format!("VM {vmid} does not run")))
    }
    fn change(&self, vmid: VmId, _: &MachineChange<'_>) -> Result<(), WorldError> {
        Err(WorldError::Other(format!("VM {vmid} does not run")))
    }
}

fn id(number: u32) -> VmId {
    VmId::new(number).unwrap()
}

fn local() -> StorageId {
    "local".parse().unwrap()
}

fn text(value: impl AsRef<std::ffi::OsStr>) -> String {
    value.as_ref().to_str().unwrap().to_owned()
}

/// Runs a command that must succeed; returns what it prints.
fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.stderr.as_bstr());
    output.stdout
}

fn has_qemu_img() -> bool {
    let found = Path::new("/usr/bin/qemu-img").exists();
    if !found {
        skip("there is no qemu-img");
    }
    found
}

fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none(), "{reason}");
}
