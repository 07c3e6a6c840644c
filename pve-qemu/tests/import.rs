// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks of new VMs that are imported: from files, volumes and virtual appliances, with real images.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed step fails the test")]

use std::fs;
use std::path::Path;
use std::process::Command;

use bstr::ByteSlice;
use pve_qemu::create::{CreateRequest, create_vm};
use pve_qemu::node::{ConfigStore, Facts, MemoryStore, NoMachines, Node, StoredVolumes, SystemChance};
use pve_storage::{LocalHost, Session, Storage, Storages};
use pve_volid::VmId;

const MARK: &[u8] = b"what the guest wrote elsewhere";

/// Creates VM 100 with the disk `scsi0`; returns the option as it is stored, or the error.
fn create(root: &Path, scsi0: &str) -> Result<String, String> {
    let storage = Storage::new("local".parse().unwrap(), "dir")
        .with("path", root.to_str().unwrap())
        .with("content", "images,import");
    let storages: Storages = [storage].into_iter().collect();
    let host = LocalHost::new(|_| {}).with_locks_in(root.join("lock"));
    let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
    let (configs, facts) = (MemoryStore::new("pve1"), Facts::default());
    let node = Node {
        configs: &configs,
        volumes: &volumes,
        machines: &NoMachines,
        chance: &SystemChance,
        facts: &facts,
    };
    let created = create_vm(node, VmId::new(100).unwrap(), CreateRequest::new().set("scsi0", scsi0));
    match created {
        Ok(created) => Ok(created.config.main.get("scsi0").unwrap().to_string()),
        Err(error) => {
            assert!(configs.guests().unwrap().is_empty());
            let left = fs::read_dir(root.join("images/100")).map(Iterator::count).unwrap_or(0);
            assert_eq!(left, 0, "{error}");
            Err(error.to_string())
        }
    }
}

/// A directory with what can be imported; `None` without `qemu-img`.
fn ground() -> Option<tempfile::TempDir> {
    if !Path::new("/usr/bin/qemu-img").exists() {
        eprintln!("skipped: there is no qemu-img");
        assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none(), "there is no qemu-img");
        return None;
    }
    let directory = tempfile::tempdir().unwrap();
    let import = directory.path().join("import");
    fs::create_dir(&import).unwrap();
    let mut disk = vec![0; 3 << 20];
    disk[..MARK.len()].copy_from_slice(MARK);
    fs::write(directory.path().join("disk.raw"), &disk).unwrap();
    let convert = |arguments: &[&str], target: &str| {
        run(Command::new("qemu-img")
            .args(["convert", "-f", "raw"])
            .args(arguments)
            .arg("disk.raw")
            .arg(target)
            .current_dir(directory.path()));
    };
    convert(&["-O", "qcow2"], "import/disk.qcow2");
    convert(&["-O", "vmdk", "-o", "subformat=streamOptimized"], "disk-1.vmdk");
    run(Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", "import/evil.qcow2"])
        .current_dir(directory.path()));
    fs::copy(import.join("evil.qcow2"), directory.path().join("evil.qcow2")).unwrap();
    let mut archive = tar::Builder::new(fs::File::create(import.join("box.ova")).unwrap());
    archive.sparse(false);
    archive.append_data(&mut tar_header(5), "box.ovf", b"<ovf>".as_slice()).unwrap();
    for name in ["disk-1.vmdk", "evil.qcow2"] {
        archive.append_path_with_name(directory.path().join(name), name).unwrap();
    }
    archive.finish().unwrap();
    Some(directory)
}

fn tar_header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header
}

#[test]
fn disks_keep_their_content_wherever_they_come_from() {
    let Some(ground) = ground() else { return };
    let root = ground.path();
    let file = root.join("disk.raw");
    let cases = [
        (format!("local:0,import-from={}", file.display()), "local:100/vm-100-disk-0.raw,size=3M"),
        ("local:0,import-from=local:import/disk.qcow2".into(), "local:100/vm-100-disk-0.qcow2,size=3M"),
        (
            "local:0,import-from=local:import/disk.qcow2,format=raw,ssd=1".into(),
            "local:100/vm-100-disk-0.raw,size=3M,ssd=1",
        ),
        (
            "local:0,import-from=local:import/box.ova/disk-1.vmdk".into(),
            "local:100/vm-100-disk-0.vmdk,size=3M",
        ),
        (
            "local:0,import-from=local:import/box.ova/disk-1.vmdk,format=qcow2".into(),
            "local:100/vm-100-disk-0.qcow2,size=3M",
        ),
    ];
    for (value, expected) in cases {
        assert_eq!(create(root, &value).unwrap(), expected);
        let name = expected.split([':', ',']).nth(1).unwrap();
        let disk = root.join("images").join(name);
        run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(&disk).arg(root.join("read.raw")));
        let read = fs::read(root.join("read.raw")).unwrap();
        assert_eq!(read, fs::read(&file).unwrap(), "{value}");
        fs::remove_file(disk).unwrap();
    }
}

#[test]
fn what_comes_from_outside_must_not_lead_to_other_files() {
    let Some(ground) = ground() else { return };
    for source in ["local:import/evil.qcow2", "local:import/box.ova/evil.qcow2"] {
        let error = create(ground.path(), &format!("local:0,import-from={source}")).unwrap_err();
        assert!(error.contains("refers to another file (/etc/passwd)"), "{error}");
    }
}

#[test]
fn what_is_not_there_is_not_imported() {
    let Some(ground) = ground() else { return };
    for (source, reason) in [
        ("local:import/box.ova/none.vmdk", "there is no volume"),
        ("local:import/none.ova/disk-1.vmdk", "No such file"),
        ("local:import/box.ova", "name a disk in it"),
        ("/no/such/file.raw", "/no/such/file.raw"),
    ] {
        let error = create(ground.path(), &format!("local:0,import-from={source}")).unwrap_err();
        assert!(error.contains(reason), "{source}: {error}");
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.stderr.as_bstr());
}
