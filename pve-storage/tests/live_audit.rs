// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit of a node that is asked with real tools: files in directories and `qemu-img`. Each case is one that an audit
//! by names alone gets wrong.
//!
//! Without `qemu-img` the tests say so and pass, or fail if `PVE_TEST_SYSTEM=1` is set.

#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bstr::BStr;
use pve_config::inventory::Inventory;
use pve_storage::audit::{Audit, Trouble, audit, collect};
use pve_storage::{Host, LocalHost, MemoryHost, Output, Session, Storages};
use pve_volid::{ImageFormat, VmId};
use tempfile::TempDir;

/// A node with a storage `disks` (and others, below the same folder) and the files of a cluster.
struct Node {
    folder: TempDir,
    storage_cfg: String,
    files: Vec<(String, String)>,
}

impl Node {
    /// None, with a word about it, if the tools are missing.
    fn new(test: &str) -> Option<Self> {
        if !Path::new("/usr/bin/qemu-img").exists() {
            assert!(std::env::var("PVE_TEST_SYSTEM").as_deref() != Ok("1"), "{test} needs qemu-img");
            eprintln!("SKIPPED {test}: qemu-img is missing");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let mut node = Node { folder, storage_cfg: String::new(), files: Vec::new() };
        // the built-in one lies in /var/lib/vz, wherever the test runs
        node.storage("dir: local\n\tpath /var/lib/vz\n\tdisable 1\n");
        node.storage(
            "dir: disks\n\tpath @/disks\n\tcontent images,rootdir,iso,vztmpl,backup,snippets,import\n",
        );
        Some(node)
    }

    fn path(&self, below: &str) -> PathBuf {
        self.folder.path().join(below)
    }

    /// Declares a storage; `@` is the folder of the node.
    fn storage(&mut self, section: &str) {
        self.storage_cfg += &section.replace('@', self.folder.path().to_str().unwrap());
        self.storage_cfg.push('\n');
    }

    /// A configuration file below /etc/pve.
    fn file(&mut self, path: &str, text: &str) {
        self.files.push((path.to_owned(), text.to_owned()));
    }

    fn vm(&mut self, vmid: u32, text: &str) {
        self.file(&format!("nodes/here/qemu-server/{vmid}.conf"), text);
    }

    /// Anything on a storage.
    fn put(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"data").unwrap();
    }

    fn with_session<T>(&self, host: &dyn Host, body: impl FnOnce(&Session<'_>, &Inventory<'_>) -> T) -> T {
        let files = self.files.iter().map(|(path, text)| (path.as_str(), text.as_bytes()));
        let files = files.chain([("storage.cfg", self.storage_cfg.as_bytes())]);
        let cluster = Inventory::new(files);
        let storages = Storages::from_config(&cluster.storages);
        body(&Session::new(&storages, host, "here"), &cluster)
    }

    /// Makes an image with the crate itself.
    fn image(&self, volid: &str, format: ImageFormat) {
        let (storage, rest) = volid.split_once(':').unwrap();
        let (owner, name) = rest.split_once('/').unwrap();
        let host = LocalHost::new(|_| {}).with_locks_in(self.folder.path());
        self.with_session(&host, |session, _| {
            let owner = VmId::new(owner.parse().unwrap()).unwrap();
            let size_kib = if format == ImageFormat::Subvol { 0 } else { 1024 };
            session.allocate(storage, owner, Some(format), Some(BStr::new(name)), size_kib).unwrap();
        });
    }

    fn qcow2(&self, name: &str) {
        self.image(&format!("disks:{name}"), ImageFormat::Qcow2);
    }

    fn change(&self, body: impl FnOnce(&Session<'_>)) {
        let host = LocalHost::new(|_| {}).with_locks_in(self.folder.path());
        self.with_session(&host, |session, _| body(session));
    }

    fn audit(&self) -> Audit {
        let host = LocalHost::new(|_| {}).with_locks_in(self.folder.path());
        self.with_session(&host, |session, cluster| audit(cluster, &[collect(session)]).unwrap())
    }

    /// Storage, name and finding.
    fn findings(&self) -> Vec<String> {
        let folder = format!("{}/", self.folder.path().to_str().unwrap());
        let show = |finding: &pve_storage::audit::Finding| {
            let line = format!("{}:{} {}", finding.storage, finding.name, finding.trouble);
            line.replace(&folder, "@/")
        };
        self.audit().findings.iter().map(show).collect()
    }
}

impl Drop for Node {
    /// What is immutable cannot be cleared away.
    fn drop(&mut self) {
        make_mutable(self.folder.path());
    }
}

/// Takes the attribute away that the crate gave to base volumes, where it could.
fn make_mutable(path: &Path) {
    let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(path).output();
}

#[test]
fn what_guests_own_is_not_reported() {
    let Some(mut node) = Node::new("what_guests_own_is_not_reported") else { return };
    for name in [
        "100/vm-100-disk-0.qcow2",
        "100/vm-100-disk-1.qcow2", // EFI variables
        "100/vm-100-cloudinit.qcow2",
        "100/vm-100-disk-3.qcow2", // detached
        "100/vm-100-disk-4.qcow2", // of a change that waits
        "100/vm-100-disk-5.qcow2", // of a snapshot alone
        "100/vm-100-fleece-0.qcow2",
        "101/base-101-disk-0.qcow2", // of a template
        "101/vm-101-cloudinit.qcow2",
    ] {
        node.qcow2(name);
    }
    for name in [
        "100/vm-100-disk-2.raw", // TPM state
        "100/vm-100-state-before.raw",
        "100/vm-100-state-suspend-2024-05-06.raw",
        "200/vm-200-disk-0.raw", // of a container
        "102/vm-102-disk-0.raw", // by its path
    ] {
        node.image(&format!("disks:{name}"), ImageFormat::Raw);
    }
    node.image("disks:200/subvol-200-disk-1.subvol", ImageFormat::Subvol);
    for file in [
        "disks/template/cache/debian-12-standard_12.7-1_amd64.tar.zst",
        "disks/template/iso/debian.iso",
        "disks/dump/vzdump-qemu-100-2024_05_06-07_08_09.vma.zst",
        "disks/dump/vzdump-qemu-100-2024_05_06-07_08_09.log",
        "disks/dump/vzdump-qemu-100-2024_05_06-07_08_09.vma.zst.notes",
        "disks/dump/vzdump-qemu-100-2024_05_06-07_08_09.vma.zst.protected",
        "disks/snippets/hook.pl",
        "disks/import/appliance.ova",
    ] {
        node.put(file);
    }
    node.vm(
        100,
        "efidisk0: disks:100/vm-100-disk-1.qcow2,size=1M\n\
         hookscript: disks:snippets/hook.pl\n\
         ide2: disks:iso/debian.iso,media=cdrom\n\
         ide3: disks:100/vm-100-cloudinit.qcow2,media=cdrom\n\
         scsi0: disks:100/vm-100-disk-0.qcow2,size=1M\n\
         tpmstate0: disks:100/vm-100-disk-2.raw,size=4M,version=v2.0\n\
         unused0: disks:100/vm-100-disk-3.qcow2\n\
         vmstate: disks:100/vm-100-state-suspend-2024-05-06.raw\n\
         \n[PENDING]\nscsi1: disks:100/vm-100-disk-4.qcow2,size=1M\n\
         \n[before]\nscsi2: disks:100/vm-100-disk-5.qcow2,size=1M\nvmstate: disks:100/vm-100-state-before.raw\n\
         \n[special:fleecing]\nfleecing-images: disks:100/vm-100-fleece-0.qcow2\n",
    );
    node.vm(
        101,
        "ide2: disks:101/vm-101-cloudinit.qcow2,media=cdrom\n\
         scsi0: disks:101/base-101-disk-0.qcow2,size=1M\ntemplate: 1\n",
    );
    let by_path = format!("scsi0: {}\n", node.path("disks/images/102/vm-102-disk-0.raw").display());
    node.vm(102, &by_path);
    node.file(
        "nodes/here/lxc/200.conf",
        "mp0: disks:200/subvol-200-disk-1.subvol,mp=/data\nrootfs: disks:200/vm-200-disk-0.raw,size=1M\n",
    );
    assert_eq!(node.findings(), [""; 0]);
    assert_eq!(node.audit().volumes, 20);
}

#[test]
fn orphans_tell_what_they_take() {
    let Some(mut node) = Node::new("orphans_tell_what_they_take") else { return };
    node.qcow2("100/vm-100-disk-0.qcow2");
    node.image("disks:555/vm-555-disk-0.raw", ImageFormat::Raw);
    node.vm(100, "memory: 16\n");
    node.vm(101, "scsi0: disks:101/vm-101-disk-0.raw\nscsi1: gone:vm-101-disk-1\n");
    assert_eq!(
        node.findings(),
        [
            "disks:100/vm-100-disk-0.qcow2 orphan: guest 100 does not refer to it",
            "disks:101/vm-101-disk-0.raw dangling: scsi0 of guest 101 refers to it, but it does not exist",
            "disks:555/vm-555-disk-0.raw orphan: guest 555 does not exist",
            "gone:vm-101-disk-1 dangling: scsi1 of guest 101 refers to it, but there is no such storage",
        ]
    );
    let audit = node.audit();
    // a sparse file takes what is written, not what the guest sees
    let wasted: Vec<Option<u64>> = audit.findings.iter().map(pve_storage::audit::Finding::wasted).collect();
    assert!(wasted[1].is_none() && wasted[3].is_none(), "{wasted:?}");
    assert!(wasted[2].is_some_and(|size| size < 65_536), "{wasted:?}");
    assert!(wasted[0].is_some_and(|size| (65_536..1_048_576).contains(&size)), "{wasted:?}");
    let fix = |index: usize| {
        let words = audit.findings[index].fix[0].iter();
        words.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(fix(0), "qm disk rescan --vmid 100");
    assert_eq!(fix(1), "qm set 101 --delete scsi0");
    assert!(fix(2).starts_with("mv -n -- ") && fix(2).ends_with("/VMID/vm-VMID-disk-0.raw"), "{}", fix(2));
    assert_eq!(fix(3), "qm set 101 --delete scsi1");
}

#[test]
fn linked_clones_and_their_bases() {
    let Some(mut node) = Node::new("linked_clones_and_their_bases") else { return };
    for (number, clone) in [(900, 100), (901, 101), (902, 102), (903, 103)] {
        node.qcow2(&format!("{number}/vm-{number}-disk-0.qcow2"));
        node.change(|session| {
            let base = session
                .create_base(format!("disks:{number}/vm-{number}-disk-0.qcow2").as_str().into())
                .unwrap();
            session.clone_volume(base.as_bstr(), VmId::new(clone).unwrap(), None).unwrap();
        });
    }
    let volid = |base: u32, clone: u32| {
        format!("scsi0: disks:{base}/base-{base}-disk-0.qcow2/{clone}/vm-{clone}-disk-0.qcow2\n")
    };
    // 900: the template is there
    node.vm(900, "scsi0: disks:900/base-900-disk-0.qcow2\ntemplate: 1\n");
    node.vm(100, &volid(900, 100));
    // 901: its configuration is gone, the base must stay all the same
    node.vm(101, &volid(901, 101));
    // 902: the base itself is gone, and the configuration does not name it
    let gone = node.path("disks/images/902/base-902-disk-0.qcow2");
    make_mutable(&gone);
    fs::remove_file(gone).unwrap();
    node.vm(102, "scsi0: disks:102/vm-102-disk-0.qcow2\n");
    // 903: the clone was given a copy of its own; the configuration still names the base that is gone
    let clone = node.path("disks/images/103/vm-103-disk-0.qcow2");
    let flat = Command::new("/usr/bin/qemu-img").args(["rebase", "-b", ""]).arg(&clone).status();
    assert!(flat.unwrap().success());
    let gone = node.path("disks/images/903/base-903-disk-0.qcow2");
    make_mutable(&gone);
    fs::remove_file(gone).unwrap();
    node.vm(103, &volid(903, 103));
    assert_eq!(
        node.findings(),
        [
            "disks:102/vm-102-disk-0.qcow2 linked clone: its base 902/base-902-disk-0.qcow2 is not there",
            "disks:901/base-901-disk-0.qcow2 base: guest 901 does not refer to it, but 101/vm-101-disk-0.qcow2 is based on it",
        ]
    );
    let audit = node.audit();
    assert!(audit.findings.iter().all(|finding| finding.wasted().is_none()));
    assert!(
        audit.findings.iter().flat_map(|finding| &finding.fix).all(|fix| fix[0] == "ls"),
        "no fix may touch a base"
    );
}

#[test]
fn chains_of_snapshots() {
    let Some(mut node) = Node::new("chains_of_snapshots") else { return };
    node.storage("dir: chain\n\tpath @/chain\n\tcontent images\n\tsnapshot-as-volume-chain 1\n");
    for number in 100..104 {
        let volid = format!("chain:{number}/vm-{number}-disk-0.qcow2");
        node.image(&volid, ImageFormat::Qcow2);
        node.change(|session| session.create_snapshot(volid.as_str().into(), "s1".into()).unwrap());
    }
    let drive = |vmid: u32| format!("scsi0: chain:{vmid}/vm-{vmid}-disk-0.qcow2\n");
    node.vm(100, &format!("{0}\n[s1]\n{0}", drive(100)));
    node.vm(101, &drive(101));
    // the file of the snapshot is lost
    node.vm(102, &format!("{0}\n[s1]\n{0}", drive(102)));
    fs::remove_file(node.path("chain/images/102/snap-s1-vm-102-disk-0.qcow2")).unwrap();
    // the volume is lost, and something else is based on the snapshot
    let lost = node.path("chain/images/103/vm-103-disk-0.qcow2");
    fs::rename(&lost, node.path("chain/images/103/vm-103-disk-7.qcow2")).unwrap();
    node.vm(103, "scsi0: chain:103/vm-103-disk-7.qcow2\n");
    assert_eq!(
        node.findings(),
        [
            "chain:101/snap-s1-vm-101-disk-0.qcow2 leftover: snapshot s1 of vm-101-disk-0.qcow2 is in no configuration",
            "chain:102/vm-102-disk-0.qcow2 broken: its backing file 102/snap-s1-vm-102-disk-0.qcow2 is not there",
        ]
    );
    fs::remove_file(node.path("chain/images/103/vm-103-disk-7.qcow2")).unwrap();
    node.files.retain(|(path, _)| !path.contains("103"));
    let found = node.findings();
    assert!(
        found.contains(&"chain:103/snap-s1-vm-103-disk-0.qcow2 leftover: snapshot s1 of vm-103-disk-0.qcow2, which does not exist".to_owned()),
        "{found:?}"
    );
}

#[test]
fn one_directory_behind_several_storages() {
    let Some(mut node) = Node::new("one_directory_behind_several_storages") else { return };
    fs::create_dir_all(node.path("disks")).unwrap();
    std::os::unix::fs::symlink(node.path("disks"), node.path("link")).unwrap();
    // the same directory for other content is no second sight
    node.storage("dir: media\n\tpath @/disks\n\tcontent iso\n");
    node.qcow2("100/vm-100-disk-0.qcow2");
    node.put("disks/template/iso/debian.iso");
    node.vm(100, "scsi0: disks:100/vm-100-disk-0.qcow2\n");
    assert_eq!(
        node.findings(),
        ["media:iso/debian.iso seen twice: storage disks shows it as well"],
        "both are used for ISO images"
    );
    // through a link, with the guest on the other name
    node.storage("dir: again\n\tpath @/link\n\tcontent images\n");
    node.files.clear();
    node.vm(100, "scsi0: again:100/vm-100-disk-0.qcow2\n");
    let found = node.findings();
    assert_eq!(
        found,
        [
            "again:100/vm-100-disk-0.qcow2 seen twice: storage disks shows it as well",
            "media:iso/debian.iso seen twice: storage disks shows it as well",
        ]
    );
    assert_eq!(node.audit().volumes, 2, "counted once");
}

#[test]
fn storages_that_do_not_answer() {
    let Some(mut node) = Node::new("storages_that_do_not_answer") else { return };
    fs::create_dir_all(node.path("disks")).unwrap();
    fs::create_dir_all(node.path("unmounted")).unwrap();
    node.storage("dir: gone\n\tpath @/nowhere\n\tcontent images\n");
    node.storage("dir: unmounted\n\tpath @/unmounted\n\tis_mountpoint 1\n\tcontent images\n");
    node.storage("dir: off\n\tpath @/off\n\tdisable 1\n\tcontent images\n");
    node.storage("dir: theirs\n\tpath @/theirs\n\tnodes there\n\tcontent images\n");
    node.storage("glusterfs: old\n\tvolume v\n\tcontent images\n");
    let everywhere: String = ["gone", "unmounted", "off", "theirs", "old"]
        .iter()
        .enumerate()
        .map(|(number, storage)| format!("scsi{number}: {storage}:100/vm-100-disk-{number}.raw\n"))
        .collect();
    node.vm(100, &everywhere);
    node.file("nodes/there/qemu-server/101.conf", "scsi0: theirs:101/vm-101-disk-0.raw\n");
    // nothing dangles: nobody could look
    assert_eq!(node.findings(), [""; 0]);
    let silent: Vec<_> = node
        .audit()
        .unreported
        .iter()
        .map(|silent| (silent.storage.clone(), silent.node.clone(), silent.reason.is_some()))
        .collect();
    let at = |storage: &str, node: &str, asked| (storage.to_owned(), Some(node.to_owned()), asked);
    assert_eq!(
        silent,
        [
            at("disks", "there", false),
            at("gone", "here", true),
            at("gone", "there", false),
            at("off", "here", false),
            ("old".to_owned(), None, true),
            at("theirs", "here", false),
            at("theirs", "there", false),
            at("unmounted", "here", true),
            at("unmounted", "there", false),
        ]
    );
}

#[test]
fn lines_that_are_not_read_and_work_under_way() {
    let Some(mut node) = Node::new("lines_that_are_not_read_and_work_under_way") else { return };
    for name in ["100/vm-100-disk-0.qcow2", "101/vm-101-disk-0.qcow2", "102/vm-102-disk-0.qcow2"] {
        node.qcow2(name);
    }
    node.vm(100, "scsi0: disks:100/vm-100-disk-0.qcow2,discrd=on\n");
    node.vm(101, "lock: clone\nmemory: 16\n");
    node.vm(102, "lock: backup\nmemory: 16\n");
    assert_eq!(
        node.findings(),
        [
            "disks:100/vm-100-disk-0.qcow2 not read: line 1 of guest 100 (scsi0) names it, but Proxmox VE does not read that line",
            "disks:101/vm-101-disk-0.qcow2 under way: guest 101 does not refer to it, but is locked (clone)",
            "disks:102/vm-102-disk-0.qcow2 orphan: guest 102 does not refer to it",
        ]
    );
}

#[test]
fn what_is_no_image() {
    let Some(mut node) = Node::new("what_is_no_image") else { return };
    node.put("disks/images/100/vm-100-disk-0.qcow2");
    // a guest wrote the header of an image with a backing file into its raw disk
    node.image("disks:100/vm-100-disk-1.raw", ImageFormat::Raw);
    let raw = node.path("disks/images/100/vm-100-disk-1.raw");
    let fake = node.path("fake.qcow2");
    let made = Command::new("/usr/bin/qemu-img")
        .args(["create", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/shadow-of-a-file"])
        .arg(&fake)
        .arg("1M")
        .output();
    assert!(made.unwrap().status.success());
    fs::copy(fake, raw).unwrap();
    node.vm(100, "scsi0: disks:100/vm-100-disk-0.qcow2\nscsi1: disks:100/vm-100-disk-1.raw\n");
    let found = node.findings();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].contains("vm-100-disk-0.qcow2 cannot be read: ") && found[0].contains("qcow2 format"),
        "{found:?}"
    );
}

#[test]
fn images_of_running_guests() {
    let Some(mut node) = Node::new("images_of_running_guests") else { return };
    node.qcow2("100/vm-100-disk-0.qcow2");
    node.vm(100, "scsi0: disks:100/vm-100-disk-0.qcow2\n");
    // somebody holds the lock of the image, as a running guest does
    let file = node.path("disks/images/100/vm-100-disk-0.qcow2");
    let mut holder = Command::new("/usr/bin/qemu-io")
        .args(["-f", "qcow2"])
        .arg(&file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut prompt = [0; 8];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut prompt).unwrap();
    let plain = Command::new("/usr/bin/qemu-img").arg("info").arg(&file).output().unwrap();
    assert!(!plain.status.success(), "the image is locked");
    let found = node.findings();
    drop(holder.stdin.take());
    holder.wait().unwrap();
    assert_eq!(found, [""; 0]);
}

/// ZFS does not run everywhere: here `zfs` answers from a saved list.
#[test]
fn copies_of_replication() {
    let Some(mut node) = Node::new("copies_of_replication") else { return };
    node.storage("zfspool: tank\n\tpool tank\n\tcontent images\n");
    node.file(
        "nodes/there/qemu-server/100.conf",
        "scsi0: tank:vm-100-disk-0\nscsi1: tank:vm-100-disk-1,replicate=0\n",
    );
    node.file("nodes/there/qemu-server/101.conf", "scsi0: tank:vm-101-disk-0\n");
    node.file(
        "replication.cfg",
        "local: 100-0\n\ttarget here\n\tschedule */15\n\nlocal: 101-0\n\ttarget elsewhere\n",
    );
    let list = "tank\t-\t-\tfilesystem\t0\n\
                tank/vm-100-disk-0\t1073741824\t-\tvolume\t-\n\
                tank/vm-100-disk-9\t1073741824\t-\tvolume\t-\n\
                tank/vm-101-disk-0\t1073741824\t-\tvolume\t-\n";
    let mut host = MemoryHost::new();
    host.answer_containing("zfs list", Output::success(list));
    let found = node.with_session(&host, |session, cluster| audit(cluster, &[collect(session)]).unwrap());
    let found: Vec<_> =
        found.findings.iter().map(|finding| (finding.name.to_string(), &finding.trouble)).collect();
    let away = |owner: &str| Trouble::OtherNode { owner: owner.into(), home: "there".into() };
    // what the guest does not have at home, and what no job copies, is no copy
    assert_eq!(
        found,
        [("vm-100-disk-9".to_owned(), &away("100")), ("vm-101-disk-0".to_owned(), &away("101"))]
    );
}
