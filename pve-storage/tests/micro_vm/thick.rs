// SPDX-License-Identifier: MIT OR Apache-2.0
//! Thick volumes: made on a bare device, activated, wiped; and qcow2 in them, for snapshots.

use std::os::unix::fs::MetadataExt;

use bstr::BStr;
use pve_storage::plugin::lvm::create_volume_group;
use pve_storage::{Hints, Session, StreamFormat, Transfer};
use pve_volid::{ImageFormat, Invisible};

use crate::node::{attributes, host, listed, read, storages, tool, vmid, write};

const STORAGE_CFG: &str = "lvm: thick\n\tvgname fast\n\tcontent images\n\tsaferemove 1\n\n\
                           lvm: chain\n\tvgname fast\n\tcontent images\n\tsnapshot-as-volume-chain 1\n\n\
                           lvm: other\n\tvgname slow\n\tcontent images\n";

#[test]
#[ignore = "runs in a micro-VM"]
fn from_device_to_wiped_volume() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    assert_eq!(session.status("thick").unwrap(), None);
    let make =
        |storage: &str| create_volume_group(&session, storages.get(storage).unwrap(), "/dev/vda".into());
    make("thick").unwrap();
    // once it is there, that is fine, unless it is another's
    make("chain").unwrap();
    let refused = make("other").unwrap_err();
    assert!(refused.to_string().contains("belongs to volume group 'fast'"), "{refused}");
    let status = session.status("thick").unwrap().unwrap();
    assert!(status.active && status.used == 0 && status.total > 2000 << 20, "{status:?}");

    let disk = session.allocate("thick", vmid(100), None, None, 10_001).unwrap().to_string();
    assert_eq!(disk, "thick:vm-100-disk-0");
    assert_eq!(listed(&session, "thick"), [(disk.clone(), "100".to_owned(), 12 << 20)]);
    assert_eq!(attributes("fast/vm-100-disk-0"), "-wi-a-----");
    write(&session, &disk, "content");
    session.deactivate_volumes(&[&disk], None).unwrap();
    assert_eq!(attributes("fast/vm-100-disk-0"), "-wi-------");
    session.activate_volumes(&[&disk], None, Hints::default()).unwrap();
    assert_eq!(read(&session, &disk, None, 7), "content");
    assert_eq!(session.status("thick").unwrap().unwrap().used, 12 << 20);

    session.resize(disk.as_str().into(), None, 20 << 20, false).unwrap();
    assert_eq!(session.size_info(disk.as_str().into()).unwrap().size, 20 << 20);
    let refused = session.create_snapshot(disk.as_str().into(), "s1".into()).unwrap_err();
    assert!(refused.to_string().contains("only qcow2"), "{refused}");
    let taken = session.allocate("thick", vmid(100), None, Some("vm-100-disk-0".into()), 1024).unwrap_err();
    assert!(taken.to_string().contains("already exists"), "{taken}");

    let moved = session.rename(disk.as_str().into(), vmid(101), None).unwrap();
    assert_eq!(moved.to_string(), "thick:vm-101-disk-0");
    let tags = tool(&["lvs", "--noheadings", "-o", "lv_tags", "fast/vm-101-disk-0"]);
    assert_eq!(tags.to_string().trim(), "pve-vm-101");

    let transfer = Transfer::new(StreamFormat::RawSize);
    let mut stream = Vec::new();
    session.export(moved.as_bstr(), &transfer, &mut stream).unwrap();
    let copy = session.import("thick:vm-102-disk-0".into(), &transfer, &mut stream.as_slice()).unwrap();
    assert_eq!(read(&session, &copy.to_string(), None, 7), "content");

    // removed and wiped: what comes next at the same place finds nothing
    for volume in [copy, moved] {
        link_as_udev_does(&session, volume.as_bstr());
        session.free(volume.as_bstr()).unwrap();
    }
    assert_eq!(tool(&["lvs", "--noheadings", "-o", "lv_name", "fast"]).to_string(), "");
    tool(&["lvcreate", "-q", "-Wn", "-Zn", "-L", "20m", "-n", "vm-103-disk-0", "fast"]);
    assert_eq!(read(&session, "thick:vm-103-disk-0", None, 7), "\0\0\0\0\0\0\0");
    session.free("thick:vm-103-disk-0".into()).unwrap();
}

/// Makes the device in /dev/mapper a link to `dm-N`, by which only such devices are wiped.
fn link_as_udev_does(session: &Session<'_>, volid: &BStr) {
    let path = session.path(volid, None).unwrap().to_string();
    let node = std::fs::canonicalize(path).unwrap();
    let number = nix::sys::stat::minor(std::fs::metadata(&node).unwrap().rdev());
    std::fs::remove_file(&node).unwrap();
    std::os::unix::fs::symlink(format!("../dm-{number}"), &node).unwrap();
}

#[test]
#[ignore = "runs in a micro-VM"]
fn snapshots_as_a_chain_of_volumes() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    let disk = session.allocate("chain", vmid(200), Some(ImageFormat::Qcow2), None, 16 << 10).unwrap();
    assert_eq!(disk.to_string(), "chain:vm-200-disk-0.qcow2");
    let volid = disk.as_bstr();
    let device = session.path(volid, None).unwrap().to_string();
    let io = |command: &str| {
        let said = tool(&["/usr/bin/qemu-io", "-f", "qcow2", "-c", command, &device]).to_string();
        assert!(!said.contains("failed"), "{command}: {said}");
    };
    let names = || {
        let snapshots = session.snapshots(volid).unwrap();
        snapshots.iter().map(|snapshot| snapshot.name.to_string()).collect::<Vec<_>>()
    };
    session.activate_volumes(&[volid], None, Hints::default()).unwrap();
    // the size is that of the disk in the image, which takes a little more
    assert_eq!(session.size_info(volid).unwrap().size, 16 << 20);
    io("write -P 1 0 64k");
    session.create_snapshot(volid, "s1".into()).unwrap();
    io("write -P 2 0 64k");
    session.create_snapshot(volid, "s2".into()).unwrap();
    io("write -P 3 0 64k");
    assert_eq!(names(), ["current", "s2", "s1"]);
    let lvs = tool(&["lvs", "--noheadings", "-o", "lv_name", "fast"]).to_string();
    let lvs: Vec<&str> = lvs.split_whitespace().collect();
    assert_eq!(lvs, ["snap_vm-200-disk-0_s1.qcow2", "snap_vm-200-disk-0_s2.qcow2", "vm-200-disk-0.qcow2"]);
    let survey = session.survey("chain").unwrap();
    let reasons: Vec<Invisible> = survey.hidden().iter().map(|hidden| hidden.reason).collect();
    assert_eq!(reasons, [Invisible::Snapshot, Invisible::Snapshot]);

    session.rollback(volid, "s2".into()).unwrap();
    io("read -P 2 0 64k");
    session.delete_snapshot(volid, "s2".into(), false).unwrap();
    session.delete_snapshot(volid, "s1".into(), false).unwrap();
    assert_eq!(names(), ["current"]);
    io("read -P 2 0 64k");
    session.resize(volid, None, 24 << 20, false).unwrap();
    assert_eq!(session.size_info(volid).unwrap().size, 24 << 20);
    session.create_snapshot(volid, "s3".into()).unwrap();
    session.free(volid).unwrap();
    assert_eq!(tool(&["lvs", "--noheadings", "-o", "lv_name", "fast"]).to_string(), "");
}
