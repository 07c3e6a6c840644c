// SPDX-License-Identifier: MIT OR Apache-2.0
//! Thin volumes: clones and snapshots share blocks, a template is read-only.

use pve_storage::{Error, Hints, Session, StreamFormat, Transfer};
use pve_volid::{Invisible, Wanted};

use crate::node::{attributes, host, listed, read, storages, tool, vmid, write};

const STORAGE_CFG: &str = "lvmthin: thin\n\tthinpool data\n\tvgname pve\n\tcontent rootdir,images\n";

#[test]
#[ignore = "runs in a micro-VM"]
fn from_allocation_to_template() {
    let (storages, host) = (storages(STORAGE_CFG), host());
    let session = Session::new(&storages, &host, "pve1");
    let status = session.status("thin").unwrap().unwrap();
    assert!(status.active && status.total == 1 << 30 && status.used < 1 << 20, "{status:?}");

    // an odd size is rounded up to whole extents by LVM
    let disk = session.allocate("thin", vmid(100), None, None, 10_001).unwrap().to_string();
    assert_eq!(disk, "thin:vm-100-disk-0");
    assert_eq!(session.size_info(disk.as_str().into()).unwrap().size, 12 << 20);
    session.activate_volumes(&[&disk], None, Hints::default()).unwrap();
    // activated at once, and never by itself at boot
    assert_eq!(&attributes("pve/vm-100-disk-0")[..6], "Vwi-a-");
    assert_eq!(
        tool(&["lvs", "--noheadings", "-o", "autoactivation", "pve/vm-100-disk-0"]).to_string().trim(),
        ""
    );
    let taken = session.allocate("thin", vmid(100), None, Some("vm-100-disk-0".into()), 1024).unwrap_err();
    assert!(taken.to_string().contains("already exists"), "{taken}");
    assert_eq!(listed(&session, "thin").len(), 1);

    // a snapshot keeps what was there, and going back loses what came later
    write(&session, &disk, "first");
    session.create_snapshot(disk.as_str().into(), "s1".into()).unwrap();
    write(&session, &disk, "second");
    // a read-only snapshot is not active by itself
    session.activate_volumes(&[&disk], Some("s1".into()), Hints::default()).unwrap();
    assert_eq!(read(&session, &disk, Some("s1".into()), 5), "first");
    session.deactivate_volumes(&[&disk], Some("s1".into())).unwrap();
    let survey = session.survey("thin").unwrap();
    let hidden = survey.hidden().iter().find(|hidden| hidden.name == "snap_vm-100-disk-0_s1").unwrap();
    assert_eq!(hidden.reason, Invisible::Snapshot);
    let refused = session.create_base(disk.as_str().into()).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    session.rollback(disk.as_str().into(), "s1".into()).unwrap();
    session.activate_volumes(&[&disk], None, Hints::default()).unwrap();
    assert_eq!(read(&session, &disk, None, 5), "first");
    // the snapshot is still there, and can be cloned
    let from_snapshot = session.clone_volume(disk.as_str().into(), vmid(101), Some("s1".into())).unwrap();
    assert_eq!(from_snapshot.to_string(), "thin:vm-101-disk-0");
    session.activate_volumes(&[from_snapshot.as_bstr()], None, Hints::default()).unwrap();
    assert_eq!(read(&session, "thin:vm-101-disk-0", None, 5), "first");
    write(&session, "thin:vm-101-disk-0", "other");
    assert_eq!(read(&session, &disk, None, 5), "first");
    session.delete_snapshot(disk.as_str().into(), "s1".into(), false).unwrap();

    session.resize(disk.as_str().into(), None, 16 << 20, false).unwrap();
    assert_eq!(session.size_info(disk.as_str().into()).unwrap().size, 16 << 20);

    // a stream carries size and content
    let transfer = Transfer::new(StreamFormat::RawSize);
    let mut stream = Vec::new();
    session.export(disk.as_str().into(), &transfer, &mut stream).unwrap();
    assert_eq!((stream.len(), &stream[8..13]), (8 + (16 << 20), &b"first"[..]));
    let copy = session.import("thin:vm-102-disk-0".into(), &transfer, &mut stream.as_slice()).unwrap();
    assert_eq!(read(&session, &copy.to_string(), None, 5), "first");

    // a template is read-only and inactive; a clone of it is neither
    let base = session.create_base(disk.as_str().into()).unwrap();
    assert_eq!(base.to_string(), "thin:base-100-disk-0");
    assert_eq!(&attributes("pve/base-100-disk-0")[..5], "Vri--");
    let clone = session.clone_volume(base.as_bstr(), vmid(103), None).unwrap();
    assert_eq!(clone.to_string(), "thin:vm-103-disk-0");
    session.activate_volumes(&[clone.as_bstr()], None, Hints::default()).unwrap();
    assert_eq!(read(&session, "thin:vm-103-disk-0", None, 5), "first");
    write(&session, "thin:vm-103-disk-0", "clone");

    let moved = session.rename(clone.as_bstr(), vmid(104), None).unwrap();
    assert_eq!(moved.to_string(), "thin:vm-104-disk-0");
    let tags = tool(&["lvs", "--noheadings", "-o", "lv_tags", "pve/vm-104-disk-0"]);
    assert_eq!(tags.to_string().trim(), "pve-vm-104");
    assert_eq!(read(&session, "thin:vm-104-disk-0", None, 5), "clone");

    // a volume goes with its snapshots
    session.create_snapshot(moved.as_bstr(), "s2".into()).unwrap();
    for volume in [&moved, &from_snapshot, &copy, &base] {
        session.free(volume.as_bstr()).unwrap();
    }
    assert!(session.images("thin", Wanted::Everything).unwrap().is_empty());
    assert_eq!(tool(&["lvs", "--noheadings", "-o", "lv_name", "pve"]).to_string().trim(), "data");
    assert!(session.status("thin").unwrap().unwrap().used < 1 << 20);
}
