// SPDX-License-Identifier: MIT OR Apache-2.0
//! A cluster of three nodes audited from saved tool output: every finding right, none missing, none false.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use pve_config::inventory::Inventory;
use pve_storage::audit::{Audit, NodeReport, StorageReport, audit};

/// Storage, node, name, size and finding.
const EXPECTED: &str = r"
ceph-vm - csi-vol-7f3e 10737418240 blind spot: its name is not that of a guest's volume
ceph-vm - vm-103-disk-0@nightly - leftover: snapshot nightly of vm-103-disk-0 is in no configuration
ceph-vm - vm-104-disk-0_tmp 1073741824 leftover: temporary name, to which guest 104 does not refer
ceph-vm - vm-300-disk-0 107374182400 orphan: guest 300 does not exist
local-lvm alpha backup-data-important 53150220288 blind spot: its name is not that of a guest's volume
local-lvm alpha del-vm-108-disk-0 10737418240 leftover: vm-108-disk-0 was removed, and was never wiped to the end
local-lvm alpha root 103079215104 blind spot: its name is not that of a guest's volume
local-lvm alpha snap_vm-111-disk-0_old - leftover: snapshot old of vm-111-disk-0, which does not exist
local-lvm alpha swap 8589934592 blind spot: its name is not that of a guest's volume
local-lvm alpha vm-100-state-forgotten 2147483648 leftover: memory of snapshot forgotten, which guest 100 does not have
local-lvm alpha vm-103-disk-7 2061584302 orphan: guest 103 is on node beta, this storage is local
local-lvm alpha vm-120-disk-0 10737418240 blind spot: it is not a thin volume, and a storage of type lvmthin shows nothing else
local-lvm alpha vm-555-disk-0 20959440404 orphan: guest 555 does not exist
local-lvm alpha vm-9999-disk-0.bak 0 orphan: guest 9999 is on node gamma, this storage is local
local-lvm beta root 103079215104 blind spot: its name is not that of a guest's volume
local-lvm beta swap 8589934592 blind spot: its name is not that of a guest's volume
local-lvm gamma root 103079215104 blind spot: its name is not that of a guest's volume
local-lvm gamma swap 8589934592 blind spot: its name is not that of a guest's volume
local-lvm gamma vm-100-disk-0 3788161155 orphan: guest 100 is on node alpha, this storage is local
local-lvm gamma vm-106-disk-0 - dangling: scsi0 of guest 106 refers to it, but it does not exist
local-lvm gamma vm-777-disk-0 - owner mismatch: scsi1 of guest 106 refers to it, its name says 777, which does not exist
local-lvm gamma vm-9999-disk-0 0 orphan: guest 9999 does not refer to it
nas - 106/vm-105-disk-9.raw 1073741824 orphan: guest 106 does not refer to it (it lies in the directory of 106, although its name says 105)
nas - 130/notes.txt 8589934592 blind spot: the extension of its name is not one of those that are listed
nas - 130/vm-130-disk-0.qcow2 8589934592 orphan: guest 130 does not exist
nas - backup/old-vzdump-qemu-101.vma.zst 5368709120 backup whose name tells neither guest nor time: it is never pruned
nas - backup/vzdump-qemu-555-2026_01_01-02_00_03.vma.zst 5368709120 backup of guest 555, which does not exist (it may be kept on purpose)
nas - snippets/db-hook.pl - dangling: hookscript of guest 103 refers to it, but it does not exist
tank alpha home - blind spot: its name is not that of a guest's volume
tank alpha subvol-200-disk-2 8589934592 orphan: guest 200 does not refer to it
tank alpha vm-104-disk-1 68719476736 orphan: guest 104 is on node beta, this storage is local
tank beta vm-110-disk-0 34359738368 linked clone: its base base-9002-disk-0 is not there
tank beta vm-110-disk-0 34359738368 orphan: guest 110 does not exist
";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit")
}

fn read_tree(root: &Path, below: &str, files: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{below}/{}", entry.file_name().to_str().unwrap());
        if entry.file_type().unwrap().is_dir() {
            read_tree(root, &path, files);
        } else {
            files.push((path, fs::read(entry.path()).unwrap()));
        }
    }
}

fn audited(extra: &[(&str, &str)]) -> Audit {
    let mut files = Vec::new();
    read_tree(&folder().join("etc"), ".", &mut files);
    for (path, text) in extra {
        files.retain(|(name, _)| name != &format!("./{path}"));
        files.push((format!("./{path}"), text.as_bytes().to_vec()));
    }
    let cluster =
        Inventory::new(files.iter().map(|(path, content)| (path.trim_start_matches("./"), &content[..])));
    let report = |node: &str| {
        let read = |name: &str| fs::read(folder().join("tools").join(node).join(name)).ok().map(Into::into);
        let mut report = NodeReport {
            node: node.to_owned(),
            lvs: read("lvs.txt"),
            zfs: read("zfs-list.txt"),
            ..Default::default()
        };
        let rbd = StorageReport::Rbd(read("rbd-ls-ceph-vm.json").unwrap());
        let files = StorageReport::Files(read("files-nas.txt").unwrap());
        report.storages.extend([("ceph-vm".to_owned(), rbd), ("nas".to_owned(), files)]);
        report
    };
    audit(&cluster, &["alpha", "beta", "gamma"].map(report)).unwrap()
}

fn shown(audit: &Audit) -> Vec<String> {
    let show = |finding: &pve_storage::audit::Finding| {
        let node = finding.node.as_deref().unwrap_or("-");
        let size = finding.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        format!("{} {node} {} {size} {}", finding.storage, finding.name, finding.trouble)
    };
    audit.findings.iter().map(show).collect()
}

#[test]
fn every_finding_is_right() {
    let audit = audited(&[]);
    let expected: Vec<_> = EXPECTED.trim().lines().collect();
    assert_eq!(shown(&audit), expected);
    let unreported: Vec<_> =
        audit.unreported.iter().map(|silent| (silent.storage.as_str(), silent.node.as_deref())).collect();
    let local = |node| ("local", Some(node));
    assert_eq!(unreported, [("backup-server", None), local("alpha"), local("beta"), local("gamma")]);
}

#[test]
fn traps() {
    let found = shown(&audited(&[]));
    let times = |name: &str| found.iter().filter(|line| line.split(' ').nth(2) == Some(name)).count();
    for owned in [
        // cloud-init drives, of guests and of a template
        "vm-100-cloudinit",
        "vm-9000-cloudinit",
        // EFI variables and TPM state
        "vm-101-disk-0",
        "vm-101-disk-2",
        // memory of a snapshot, and snapshots of a volume
        "vm-100-state-initial",
        "snap_vm-100-disk-0_initial",
        // volumes of containers, on every kind of storage
        "subvol-200-disk-0",
        "subvol-200-disk-1",
        "vm-201-disk-0",
        "vm-202-disk-0",
        // a linked clone by a reference with its base
        "105/vm-105-disk-0.qcow2",
    ] {
        assert_eq!(times(owned), 0, "{owned}");
    }
    // seen from three nodes, counted once
    assert_eq!((times("vm-300-disk-0"), times("130/vm-130-disk-0.qcow2")), (1, 1));
}

#[test]
fn what_is_pending_is_referred_to() {
    let config = "unused0: local-lvm:vm-9999-disk-0\n";
    let path = "nodes/gamma/qemu-server/9999.conf";
    for text in [
        config.to_owned(),
        format!("memory: 16\n[PENDING]\n{config}"),
        "memory: 16\n[before]\nscsi0: local-lvm:vm-9999-disk-0\n".to_owned(),
    ] {
        let found = shown(&audited(&[(path, &text)]));
        assert!(!found.iter().any(|line| line.starts_with("local-lvm gamma vm-9999-disk-0 ")), "{text}");
    }
}

#[test]
fn one_backend_behind_two_storages() {
    let twice = fs::read_to_string(folder().join("etc/storage.cfg")).unwrap()
        + "\nlvmthin: again\n\tthinpool data\n\tvgname pve\n\tcontent images\n\tnodes gamma\n";
    let found = shown(&audited(&[("storage.cfg", &twice)]));
    let seen: Vec<_> = found.iter().filter(|line| line.contains("seen twice")).collect();
    assert_eq!(seen.len(), 5, "{seen:?}");
    // what one of them refers to is no orphan of the other
    assert!(!found.iter().any(|line| line.contains("vm-107-disk-1") && line.contains("orphan")));
}
