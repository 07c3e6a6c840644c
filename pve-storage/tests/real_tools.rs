// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storage operations with the real tools: `qemu-img` in a directory, `btrfs` and LVM on loop devices.
//!
//! What a test needs is looked for first; if it is missing the test says so and passes, or fails if
//! `PVE_TEST_SYSTEM=1` is set.

#![cfg(test)]

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use bstr::BStr;
use pve_storage::{
    Error, FileKind, Host, LocalHost, Planning, Session, Storage, Storages, StreamFormat, Transfer, With,
};
use pve_volid::{ImageFormat, Invisible, VmId, Wanted};

/// Whether everything is there; if not, says so, or fails where a skip is not allowed.
fn have(test: &str, programs: &[&str], root: bool) -> bool {
    let missing: Vec<&str> = programs
        .iter()
        .copied()
        .filter(|program| {
            !["/usr/bin", "/usr/sbin", "/bin", "/sbin"]
                .iter()
                .any(|dir| Path::new(dir).join(program).exists())
        })
        .collect();
    let unprivileged = root && nix::unistd::geteuid().as_raw() != 0;
    if missing.is_empty() && !unprivileged {
        return true;
    }
    skip(test, &format!("missing: {missing:?}, needs root: {root}"))
}

fn skip(test: &str, why: &str) -> bool {
    assert!(std::env::var("PVE_TEST_SYSTEM").as_deref() != Ok("1"), "{test} cannot run here: {why}");
    eprintln!("SKIPPED {test}: {why}");
    false
}

fn host(locks: &Path) -> LocalHost {
    LocalHost::new(|event| eprintln!("{event:?}")).with_locks_in(locks)
}

fn vmid(number: u32) -> VmId {
    VmId::new(number).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A directory storage below a temporary directory.
fn directory(id: &str, path: &Path) -> Storage {
    Storage::new(id.parse().unwrap(), "dir").with("path", text(path)).with("content", "images,backup,iso")
}

#[test]
fn a_directory_from_allocation_to_clone() {
    if !have("a_directory_from_allocation_to_clone", &["qemu-img"], false) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let storages: Storages = [directory("plain", &temp.path().join("store"))].into_iter().collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");

    // a dry run changes nothing
    let plan = Planning::new(&host);
    let planned = Session::new(&storages, &plan, "here");
    planned.allocate("plain", vmid(100), Some(ImageFormat::Qcow2), None, 1024).unwrap();
    assert!(plan.to_string().contains("qemu-img create -o preallocation=metadata -f qcow2"), "{plan}");
    assert!(!temp.path().join("store").exists());

    for (format, name) in [
        (ImageFormat::Raw, "plain:100/vm-100-disk-0.raw"),
        (ImageFormat::Qcow2, "plain:100/vm-100-disk-1.qcow2"),
        (ImageFormat::Vmdk, "plain:100/vm-100-disk-2.vmdk"),
    ] {
        let made = session.allocate("plain", vmid(100), Some(format), None, 4096).unwrap();
        assert_eq!(made.to_string(), name);
        assert_eq!(session.size_info(made.as_bstr()).unwrap().size, 4096 * 1024);
    }
    let taken = session.allocate("plain", vmid(100), None, Some("vm-100-disk-0.raw".into()), 1);
    assert!(matches!(taken, Err(Error::Exists(_))), "{taken:?}");

    let template = session.create_base("plain:100/vm-100-disk-1.qcow2".into()).unwrap();
    assert_eq!(template.to_string(), "plain:100/base-100-disk-1.qcow2");
    let clone = session.clone_volume(template.as_bstr(), vmid(101), None).unwrap();
    assert_eq!(clone.to_string(), "plain:100/base-100-disk-1.qcow2/101/vm-101-disk-0.qcow2");
    // qemu-img itself tells the base, and the listing puts it into the volume id
    let listed = session.images("plain", Wanted::Everything).unwrap();
    let ids: Vec<String> = listed.iter().map(|image| image.volid.to_string()).collect();
    assert!(ids.contains(&clone.to_string()), "{ids:?}");
    let refused = session.free(template.as_bstr()).unwrap_err();
    assert!(refused.to_string().contains("linked clone"), "{refused}");

    session.resize(clone.as_bstr(), None, 8 * 1024 * 1024 + 1, false).unwrap();
    assert_eq!(session.size_info(clone.as_bstr()).unwrap().size, 8 * 1024 * 1024 + 1024);

    // a path leads back to the volume
    let path = session.path(clone.as_bstr(), None).unwrap();
    assert_eq!(session.volume_at(BStr::new(&path)).unwrap().unwrap().1, clone);

    let moved = session.rename(clone.as_bstr(), vmid(102), None).unwrap();
    assert_eq!(moved.to_string(), "plain:100/base-100-disk-1.qcow2/102/vm-102-disk-0.qcow2");
    session.free(moved.as_bstr()).unwrap();
    assert!(!temp.path().join("store/images/102").exists());
    session.free(template.as_bstr()).unwrap();
}

#[test]
fn a_stream_that_ends_early_leaves_nothing() {
    if !have("a_stream_that_ends_early_leaves_nothing", &["qemu-img", "dd", "tar"], false) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let storages: Storages = [directory("plain", &temp.path().join("store"))].into_iter().collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");
    session.activate_storage("plain").unwrap();
    let header = 1_048_576_u64.to_le_bytes();
    for (volid, format, content) in [
        ("plain:100/vm-100-disk-0.raw", StreamFormat::RawSize, 0),
        ("plain:100/vm-100-disk-0.raw", StreamFormat::RawSize, 1_048_576 - 512),
        ("plain:100/subvol-100-disk-0.subvol", StreamFormat::TarSize, 0),
        ("plain:iso/debian.iso", StreamFormat::RawSize, 4096),
    ] {
        let header = if format == StreamFormat::TarSize { [0; 8] } else { header };
        let stream = [&header[..], &vec![7; content]].concat();
        let failed = session.import(volid.into(), &Transfer::new(format), &mut &stream[..]);
        // an empty archive is none for tar itself
        let short = matches!(failed, Err(Error::ShortStream { .. }));
        assert!(short || (format == StreamFormat::TarSize && failed.is_err()), "{volid}: {failed:?}");
        assert!(!session.exists(session.path(volid.into(), None).unwrap().as_ref()), "{volid}");
    }
    // a file whose size is no multiple of a sector is told as if it were
    let stream = [&header[..], &vec![7; 1_048_576 - 511]].concat();
    session
        .import("plain:iso/debian.iso".into(), &Transfer::new(StreamFormat::RawSize), &mut &stream[..])
        .unwrap();
}

#[test]
fn images_of_other_formats_travel_as_raw_disks() {
    if !have("images_of_other_formats_travel_as_raw_disks", &["qemu-img", "qemu-io"], false) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let storages: Storages = [directory("plain", &temp.path().join("store"))].into_iter().collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");
    for format in [ImageFormat::Qcow2, ImageFormat::Vmdk] {
        let made = session.allocate("plain", vmid(100), Some(format), None, 2048).unwrap();
        let path = session.path(made.as_bstr(), None).unwrap().to_string();
        let wrote = Process::new("qemu-io")
            .args(["-f", format.as_str(), "-c", "write -P 7 64k 64k"])
            .arg(path)
            .output();
        assert!(wrote.unwrap().status.success());
        let mut stream = Vec::new();
        session.export(made.as_bstr(), &Transfer::new(StreamFormat::RawSize), &mut stream).unwrap();
        let (header, disk) = stream.split_first_chunk::<8>().unwrap();
        assert_eq!(u64::from_le_bytes(*header), 2_097_152);
        assert_eq!(disk.len(), 2_097_152);
        let written = 65_536..131_072;
        assert!(disk.iter().enumerate().all(|(at, byte)| *byte == if written.contains(&at) { 7 } else { 0 }));
    }
}

#[test]
fn linked_clones_of_every_format() {
    if !have("linked_clones_of_every_format", &["qemu-img"], false) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let storages: Storages = [directory("plain", temp.path())].into_iter().collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");
    for (number, format) in [ImageFormat::Raw, ImageFormat::Qcow2, ImageFormat::Vmdk].into_iter().enumerate()
    {
        let name = format!("base-9000-disk-{number}.{format}");
        let base = session.allocate("plain", vmid(9000), Some(format), Some(name.as_str().into()), 4096);
        // whatever the template is, its clone is qcow2
        let clone = session.clone_volume(base.unwrap().as_bstr(), vmid(100), None).unwrap();
        assert_eq!(clone.to_string(), format!("plain:9000/{name}/100/vm-100-disk-{number}.qcow2"));
        let info = session.size_info(clone.as_bstr()).unwrap();
        assert_eq!((info.size, info.format.as_str()), (4096 * 1024, "qcow2"));
        assert_eq!(info.parent.unwrap(), format!("../9000/{name}"));
    }
    let listed = session.images("plain", Wanted::Guest(pve_volid::Digits::new(b"100").unwrap())).unwrap();
    let parents: Vec<String> =
        listed.iter().map(|image| image.parent.clone().unwrap_or_default().to_string()).collect();
    assert_eq!(
        parents,
        ["../9000/base-9000-disk-0.raw", "../9000/base-9000-disk-1.qcow2", "../9000/base-9000-disk-2.vmdk"]
    );
}

#[test]
fn snapshots_as_a_chain_of_files() {
    if !have("snapshots_as_a_chain_of_files", &["qemu-img", "qemu-io"], false) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let storage = directory("chain", temp.path()).with("snapshot-as-volume-chain", "1");
    let storages: Storages = [storage].into_iter().collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");
    let disk = session.allocate("chain", vmid(100), Some(ImageFormat::Qcow2), None, 4096).unwrap();
    let volid = disk.as_bstr();
    let file = session.path(volid, None).unwrap().to_string();
    let write = |pattern: u8| qemu_io(&file, &format!("write -P {pattern} 0 64k"));
    let holds = |pattern: u8| qemu_io(&file, &format!("read -P {pattern} 0 64k"));

    write(1);
    session.create_snapshot(volid, "s1".into()).unwrap();
    write(2);
    session.create_snapshot(volid, "s2".into()).unwrap();
    write(3);
    let names = |session: &Session<'_>| {
        let snapshots = session.snapshots(volid).unwrap();
        snapshots.iter().map(|snapshot| snapshot.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&session), ["current", "s2", "s1"]);
    let blocked = session.rollback(volid, "s1".into()).unwrap_err();
    assert!(matches!(&blocked, Error::RollbackBlocked { newer, .. } if newer == &["s2"]), "{blocked}");

    session.rollback(volid, "s2".into()).unwrap();
    holds(2);
    write(4);
    // the one in the middle is rebased away, the oldest committed
    session.delete_snapshot(volid, "s2".into(), false).unwrap();
    assert_eq!(names(&session), ["current", "s1"]);
    holds(4);
    session.delete_snapshot(volid, "s1".into(), false).unwrap();
    assert_eq!(names(&session), ["current"]);
    holds(4);

    session.create_snapshot(volid, "s3".into()).unwrap();
    let refused = session.rename(volid, vmid(101), None).unwrap_err();
    assert!(refused.to_string().contains("s3"), "{refused}");
    // the snapshot is a blind spot of the listing, and goes with the volume
    let survey = session.survey("chain").unwrap();
    assert!(survey.hidden().iter().any(|hidden| hidden.reason == Invisible::Snapshot), "{survey:?}");
    session.free(volid).unwrap();
    assert!(!temp.path().join("images/100").exists());
}

fn qemu_io(file: &str, command: &str) {
    let output = Process::new("qemu-io").args(["-f", "qcow2", "-c", command, file]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && !said.contains("failed"), "{command}: {said}");
}

#[test]
fn a_volume_travels_as_a_stream() {
    if !have("a_volume_travels_as_a_stream", &["qemu-img", "dd", "tar"], false) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let storages: Storages =
        [directory("one", &temp.path().join("one")), directory("two", &temp.path().join("two"))]
            .into_iter()
            .collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");
    session.activate_storages(["one", "two"]).unwrap();

    let disk = session.allocate("one", vmid(100), Some(ImageFormat::Raw), None, 1024).unwrap();
    let file = session.path(disk.as_bstr(), None).unwrap().to_string();
    let mut content = vec![0u8; 1024 * 1024];
    content[5000..5100].fill(9);
    std::fs::write(&file, &content).unwrap();

    let transfer = Transfer::new(StreamFormat::RawSize);
    let mut stream = Vec::new();
    session.export(disk.as_bstr(), &transfer, &mut stream).unwrap();
    assert_eq!(stream.len(), 8 + content.len());
    let made = session.import("two:200/vm-200-disk-0.raw".into(), &transfer, &mut stream.as_slice()).unwrap();
    let copy = session.path(made.as_bstr(), None).unwrap().to_string();
    assert!(std::fs::read(copy).unwrap() == content);
    let taken = session.import(made.as_bstr(), &transfer, &mut stream.as_slice());
    assert!(matches!(taken, Err(Error::Exists(_))), "{taken:?}");
    let renaming = Transfer { allow_rename: true, ..transfer };
    let second = session.import(made.as_bstr(), &renaming, &mut stream.as_slice()).unwrap();
    assert_eq!(second.to_string(), "two:200/vm-200-disk-1.raw");

    // a stream that ends too early leaves nothing behind
    let short = session.import("two:300/vm-300-disk-0.raw".into(), &transfer, &mut &stream[..4]);
    assert!(short.is_err());
    assert!(
        session.images("two", Wanted::Guest(pve_volid::Digits::new(b"300").unwrap())).unwrap().is_empty()
    );

    // a qcow2 image travels with its snapshots
    let disk = session.allocate("one", vmid(101), Some(ImageFormat::Qcow2), None, 1024).unwrap();
    session.create_snapshot(disk.as_bstr(), "before".into()).unwrap();
    let transfer = Transfer { with: With::All, ..Transfer::new(StreamFormat::Qcow2Size) };
    let mut stream = Vec::new();
    session.export(disk.as_bstr(), &transfer, &mut stream).unwrap();
    let made =
        session.import("two:101/vm-101-disk-0.qcow2".into(), &transfer, &mut stream.as_slice()).unwrap();
    let snapshots = session.snapshots(made.as_bstr()).unwrap();
    assert_eq!(snapshots.len(), 1);
    assert_eq!((snapshots[0].name.to_string(), snapshots[0].timestamp.is_some()), ("before".into(), true));

    // a container's directory as a tar archive
    let root = session.allocate("one", vmid(102), Some(ImageFormat::Subvol), None, 0).unwrap();
    let path = session.path(root.as_bstr(), None).unwrap().to_string();
    std::fs::write(Path::new(&path).join("hostname"), "ct102\n").unwrap();
    let transfer = Transfer::new(StreamFormat::TarSize);
    let mut stream = Vec::new();
    session.export(root.as_bstr(), &transfer, &mut stream).unwrap();
    let made =
        session.import("two:102/subvol-102-disk-0.subvol".into(), &transfer, &mut stream.as_slice()).unwrap();
    let copy = session.path(made.as_bstr(), None).unwrap().to_string();
    assert_eq!(std::fs::read_to_string(Path::new(&copy).join("hostname")).unwrap(), "ct102\n");
}

/// A loop device over a sparse file; given back when dropped.
struct Loop {
    device: String,
}

impl Loop {
    fn over(file: &Path, size: u64) -> Option<Self> {
        std::fs::File::create(file).unwrap().set_len(size).unwrap();
        let output = Process::new("losetup").args(["--find", "--show", text(file)]).output().unwrap();
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success().then_some(Loop { device })
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Process::new("losetup").args(["--detach", &self.device]).status();
    }
}

/// A mounted file system; unmounted when dropped.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Process::new("umount").arg(&self.0).status();
    }
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Process::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

#[test]
fn subvolumes_on_btrfs() {
    let test = "subvolumes_on_btrfs";
    if !have(test, &["btrfs", "mkfs.btrfs", "losetup", "qemu-img"], true) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let Some(disk) = Loop::over(&temp.path().join("btrfs.img"), 512 << 20) else {
        skip(test, "no loop device can be had");
        return;
    };
    let point = temp.path().join("mnt");
    std::fs::create_dir(&point).unwrap();
    if !succeeds("mkfs.btrfs", &["-q", &disk.device]) || !succeeds("mount", &[&disk.device, text(&point)]) {
        skip(test, "btrfs cannot be made or mounted");
        return;
    }
    let _mounted = Mounted(point.clone());
    let storages: Storages = [Storage::new("bt".parse().unwrap(), "btrfs")
        .with("path", text(&point))
        .with("content", "images,rootdir")
        .with("is_mountpoint", "yes")
        .with("nocow", "1")]
    .into_iter()
    .collect();
    let host = host(temp.path());
    let session = Session::new(&storages, &host, "here");

    let disk = session.allocate("bt", vmid(100), Some(ImageFormat::Raw), None, 4096).unwrap();
    assert_eq!(disk.to_string(), "bt:100/vm-100-disk-0.raw");
    let path = session.path(disk.as_bstr(), None).unwrap();
    let meta = host.metadata(BStr::new(&path)).unwrap();
    assert_eq!((meta.kind, meta.size), (FileKind::File, 4096 * 1024));

    std::fs::write(path.to_string(), b"first").unwrap();
    session.create_snapshot(disk.as_bstr(), "s1".into()).unwrap();
    std::fs::write(path.to_string(), b"second").unwrap();
    let names: Vec<String> =
        session.snapshots(disk.as_bstr()).unwrap().iter().map(|snapshot| snapshot.name.to_string()).collect();
    assert_eq!(names, ["s1"]);
    session.rollback(disk.as_bstr(), "s1".into()).unwrap();
    assert_eq!(std::fs::read(path.to_string()).unwrap(), b"first");

    let root = session.allocate("bt", vmid(100), Some(ImageFormat::Subvol), None, 0).unwrap();
    assert_eq!(root.to_string(), "bt:100/subvol-100-disk-1.subvol");
    let listed = session.images("bt", Wanted::Everything).unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");

    let clone = session.clone_volume(disk.as_bstr(), vmid(101), None).unwrap();
    assert_eq!(clone.to_string(), "bt:101/vm-101-disk-0.raw");
    let moved = session.rename(clone.as_bstr(), vmid(102), None).unwrap();
    assert_eq!(moved.to_string(), "bt:102/vm-102-disk-0.raw");

    // a snapshot travels to another guest of the same storage
    let transfer = Transfer { snapshot: Some("s1".into()), ..Transfer::new(StreamFormat::Btrfs) };
    let mut stream = Vec::new();
    session.export(disk.as_bstr(), &transfer, &mut stream).unwrap();
    let made = session.import("bt:103/vm-103-disk-0.raw".into(), &transfer, &mut stream.as_slice()).unwrap();
    let copy = session.path(made.as_bstr(), None).unwrap();
    assert_eq!(std::fs::read(copy.to_string()).unwrap(), b"first");
    assert_eq!(session.snapshots(made.as_bstr()).unwrap().len(), 1);

    session.delete_snapshot(disk.as_bstr(), "s1".into(), false).unwrap();
    let template = session.create_base(disk.as_bstr()).unwrap();
    assert_eq!(template.to_string(), "bt:100/base-100-disk-0.raw");
    for volume in [template, root, moved, made] {
        session.free(volume.as_bstr()).unwrap();
    }
    assert!(session.images("bt", Wanted::Everything).unwrap().is_empty());
}

/// What LVM needs to leave everything but one device alone, and to do without device-mapper.
fn lvm_conf(device: &str, temp: &Path) -> String {
    format!(
        "global {{\n activation = 0\n locking_dir = \"{}/run\"\n}}\ndevices {{\n use_devicesfile = 0\n \
         filter = [ \"a|^{device}$|\", \"r|.*|\" ]\n}}\nbackup {{\n backup = 0\n archive = 0\n}}\n",
        text(temp)
    )
}

/// Volumes of a group as far as they can be had without device-mapper: names, sizes, tags. What needs devices is
/// tested in a micro-VM.
#[test]
fn names_in_a_volume_group() {
    let test = "names_in_a_volume_group";
    if !have(test, &["lvcreate", "losetup"], true) {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let Some(disk) = Loop::over(&temp.path().join("disk.img"), 256 << 20) else {
        skip(test, "no loop device can be had");
        return;
    };
    std::fs::write(temp.path().join("lvm.conf"), lvm_conf(&disk.device, temp.path())).unwrap();
    // the configuration is found through the environment, which must not change under the feet of other tests
    let mut inside = Process::new(std::env::current_exe().unwrap());
    let inside = inside.args(["--exact", "inside_a_volume_group", "--ignored", "--nocapture"]);
    let inside = inside.env("LVM_SYSTEM_DIR", temp.path()).env("TEST_DEVICE", &disk.device).output().unwrap();
    let said = String::from_utf8_lossy(&inside.stdout);
    assert!(
        inside.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&inside.stderr)
    );
}

#[test]
#[ignore = "run by names_in_a_volume_group"]
fn inside_a_volume_group() {
    let device = std::env::var("TEST_DEVICE").expect("this is run by names_in_a_volume_group");
    let locks = std::env::var("LVM_SYSTEM_DIR").expect("this is run by names_in_a_volume_group");
    assert!(succeeds("pvcreate", &["-q", &device]) && succeeds("vgcreate", &["-q", "testing", &device]));
    let storages: Storages =
        [Storage::new("thick".parse().unwrap(), "lvm").with("vgname", "testing")].into_iter().collect();
    let host = host(Path::new(&locks));
    let session = Session::new(&storages, &host, "here");
    let status = session.status("thick").unwrap().unwrap();
    assert_eq!((status.total, status.used), (252 << 20, 0));

    let disk = session.allocate("thick", vmid(100), None, None, 10_001).unwrap();
    assert_eq!(disk.to_string(), "thick:vm-100-disk-0");
    let next = session.allocate("thick", vmid(100), None, None, 4096).unwrap();
    assert_eq!(next.to_string(), "thick:vm-100-disk-1");
    assert_eq!(session.size_info(disk.as_bstr()).unwrap().size, 12 << 20);
    let full = session.allocate("thick", vmid(100), None, None, 1 << 20).unwrap_err();
    assert!(matches!(full, Error::Failed { .. }), "{full}");

    // names that are no volume's are told apart by the reason
    for foreign in
        ["backup-data-important", "base-100-disk-7", "snap_vm-100-disk-0_s1.qcow2", "del-vm-5-disk-0"]
    {
        assert!(succeeds("lvcreate", &["-q", "-L4m", "-n", foreign, "testing"]), "{foreign}");
    }
    let survey = session.survey("thick").unwrap();
    let mut reasons: Vec<_> =
        survey.hidden().iter().map(|hidden| (hidden.name.to_string(), hidden.reason)).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            ("backup-data-important".to_owned(), Invisible::NoMatch),
            ("base-100-disk-7".to_owned(), Invisible::TemplateOnLvm),
            ("del-vm-5-disk-0".to_owned(), Invisible::AwaitsWiping),
            ("snap_vm-100-disk-0_s1.qcow2".to_owned(), Invisible::Snapshot),
        ]
    );
    assert_eq!(survey.images.len(), 2);

    session.resize(disk.as_bstr(), None, 20 << 20, false).unwrap();
    let moved = session.rename(disk.as_bstr(), vmid(101), None).unwrap();
    assert_eq!(moved.to_string(), "thick:vm-101-disk-0");
    let taken = session.rename(next.as_bstr(), vmid(101), Some("vm-101-disk-0".into())).unwrap_err();
    assert!(matches!(taken, Error::Exists(_)), "{taken}");
    let listed = session.images("thick", Wanted::Everything).unwrap();
    let mut listed: Vec<_> = listed.iter().map(|image| (image.volid.to_string(), image.size)).collect();
    listed.sort();
    assert_eq!(
        listed,
        [
            ("thick:vm-100-disk-1".to_owned(), Some(4 << 20)),
            ("thick:vm-101-disk-0".to_owned(), Some(20 << 20)),
        ]
    );
    for volume in [next, moved] {
        session.free(volume.as_bstr()).unwrap();
    }
    assert!(session.images("thick", Wanted::Everything).unwrap().is_empty());
}
