// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every verb, on a folder like `/etc/pve` and a real directory with the real `qemu-img`.
//!
//! Where `qemu-img` is missing the tests say so and pass, or fail if `PVE_TEST_SYSTEM=1` is set.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use super::place::Ending;
use super::{Args, run};

/// A node: configurations, and directories as storages.
struct Bench(tempfile::TempDir);

impl Bench {
    /// `None`, after saying so, where `qemu-img` is missing.
    fn new() -> Option<Self> {
        if !Path::new("/usr/bin/qemu-img").exists() {
            assert!(std::env::var("PVE_TEST_SYSTEM").as_deref() != Ok("1"), "qemu-img is not installed");
            eprintln!("SKIPPED: qemu-img is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display();
        // the built-in storage `local` is a directory of this machine, which is none of a test's business
        let text = format!(
            "dir: disks\n\tpath {path}/disks\n\tcontent images\n\ndir: more\n\tpath {path}/more\n\tcontent images\n\n\
             dir: local\n\tpath /var/lib/vz\n\tcontent images\n\tdisable 1\n"
        );
        let bench = Bench(folder);
        fs::create_dir_all(bench.path("pve/nodes/here/qemu-server")).unwrap();
        fs::write(bench.path("pve/storage.cfg"), text).unwrap();
        Some(bench)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run_to(&self, line: &str) -> Result<(String, Ending), String> {
        let root = self.path("pve");
        let words = ["qm", "--root", root.to_str().unwrap()].into_iter().chain(line.split_whitespace());
        let args = Args::try_parse_from(words).map_err(|error| error.to_string())?;
        let mut out = anstream::StripStream::new(Vec::new());
        let ending = run(&args, &mut out).map_err(|error| error.to_string())?;
        Ok((String::from_utf8(out.into_inner()).unwrap(), ending))
    }

    fn run(&self, line: &str) -> Result<String, String> {
        self.run_to(line).map(|(text, _)| text)
    }

    /// What it prints; all must go well.
    fn prints(&self, line: &str) -> String {
        let (text, ending) = self.run_to(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert_eq!(ending, Ending::Clean, "{line}");
        text
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.prints(line)).unwrap()
    }

    fn config(&self, vmid: u32) -> String {
        fs::read_to_string(self.path(&format!("pve/nodes/here/qemu-server/{vmid}.conf"))).unwrap()
    }

    /// A VM with a disk of 4 MiB that holds something.
    fn vm(&self, vmid: u32, format: &str) {
        let volume = format!("disks:{vmid}/vm-{vmid}-disk-0.{format}");
        let text = format!("name: vm{vmid}\nnet0: virtio=BC:24:11:00:00:01\nscsi0: {volume},size=4M\n");
        fs::write(self.path(&format!("pve/nodes/here/qemu-server/{vmid}.conf")), text).unwrap();
        self.image(vmid, &format!("vm-{vmid}-disk-0.{format}"));
    }

    /// An image with something in it.
    fn image(&self, vmid: u32, name: &str) {
        let folder = self.path(&format!("disks/images/{vmid}"));
        fs::create_dir_all(&folder).unwrap();
        let raw = self.path("content.raw");
        let content: Vec<u8> = (0..4 << 20).map(|at: u32| (at / 4096) as u8).collect();
        fs::write(&raw, content).unwrap();
        let format = name.rsplit('.').next().unwrap();
        let status = Command::new("/usr/bin/qemu-img")
            .args(["convert", "-f", "raw", "-O", format])
            .arg(&raw)
            .arg(folder.join(name))
            .status();
        assert!(status.unwrap().success());
    }

    /// That an image under the root holds what [`Bench::image`] wrote.
    fn has_content(&self, image: &str) {
        let compared = Command::new("/usr/bin/qemu-img")
            .arg("compare")
            .arg(self.path("content.raw"))
            .arg(self.path(image))
            .output()
            .unwrap();
        assert!(compared.status.success(), "{}", String::from_utf8_lossy(&compared.stdout));
    }
}

#[test]
fn every_argument_is_explained() {
    Args::command().debug_assert();
}

#[test]
fn a_template_and_its_linked_clone() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "qcow2");
    let plan = bench.prints("template 100 --dry-run");
    assert!(plan.contains("\n    + template: 1"), "{plan}");
    assert!(plan.contains("vm-100-disk-0.qcow2") && plan.contains("mv "), "{plan}");
    assert!(!bench.config(100).contains("template"));

    let made = bench.json("template 100 --json");
    let base = "disks:100/base-100-disk-0.qcow2";
    assert_eq!(
        made["bases"],
        json!([{
            "disk": "scsi0", "before": "disks:100/vm-100-disk-0.qcow2", "base": base,
        }])
    );
    let plan = bench.prints("clone 100 101 --name web --dry-run");
    assert!(plan.contains("qemu-img create -F qcow2 -b "), "{plan}");
    assert!(!bench.path("disks/images/101").exists());
    let made = bench.prints("clone 100 101 --name web");
    assert_eq!(made, format!("scsi0: {base}/101/vm-101-disk-0.qcow2\nVM 101 is a clone of VM 100\n"));
    assert!(bench.config(101).contains("name: web\n"));
    bench.has_content("disks/images/101/vm-101-disk-0.qcow2");

    let error = bench.run("clone 100 101").unwrap_err();
    assert!(error.contains("taken"), "{error}");
    let error = bench.run("destroy 100").unwrap_err();
    assert!(error.contains("used by the linked clone"), "{error}");
    let plan = bench.prints("destroy 101 --dry-run");
    assert!(
        plan.contains("free ") && plan.contains("\n    rm ") && plan.contains("remove configuration"),
        "{plan}"
    );
    let gone = bench.prints("destroy 101");
    assert_eq!(gone, format!("removed {base}/101/vm-101-disk-0.qcow2\nVM 101 is gone\n"));
    assert_eq!(bench.json("destroy 100 --json")["removed"], json!([base]));
    assert_eq!(fs::read_dir(bench.path("pve/nodes/here/qemu-server")).unwrap().count(), 0);
}

#[test]
fn a_full_clone_on_another_storage() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "raw");
    let plan = bench.prints("clone 100 101 --full --storage more --format qcow2 --dry-run");
    assert!(plan.contains("allocate more:101/vm-101-disk-0.qcow2 (qcow2, 4M)"), "{plan}");
    assert!(plan.contains("/usr/bin/qemu-img convert -p -n"), "{plan}");
    let made = bench.json("clone 100 101 --full 1 --storage more --format qcow2 --json");
    assert_eq!(made["volumes"], json!([{ "disk": "scsi0", "volume": "more:101/vm-101-disk-0.qcow2" }]));
    bench.has_content("more/images/101/vm-101-disk-0.qcow2");
    assert!(bench.run("clone 100 102 --full 0 --storage more").is_err());
    assert!(bench.run("clone 100 102 --full maybe").unwrap_err().contains("maybe"));
}

#[test]
fn snapshots_as_a_tree() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "qcow2");
    let plan = bench.prints("snapshot 100 first --dry-run");
    assert!(plan.contains("/usr/bin/qemu-img snapshot -c first "), "{plan}");
    assert_eq!(bench.prints("snapshot 100 first --description before"), "made snapshot first of VM 100\n");
    bench.prints("snapshot 100 second");
    let back = bench.prints("rollback 100 first");
    assert_eq!(back, "VM 100 is back at snapshot first\n");
    let tree = bench.prints("listsnapshot 100");
    let lines: Vec<&str> = tree.lines().collect();
    assert!(lines[0].starts_with("`-> first") && lines[0].ends_with("  before"), "{tree}");
    assert!(lines[1].starts_with(" `-> second") && lines[1].ends_with("  no-description"), "{tree}");
    assert!(lines[2].starts_with(" `-> current") && lines[2].ends_with("  You are here!"), "{tree}");
    assert_eq!(bench.json("listsnapshot 100 --json")[1]["depth"], 1);
    assert!(bench.run("delsnapshot 100 third").unwrap_err().contains("third"));
    bench.prints("delsnapshot 100 first");
    assert_eq!(bench.json("listsnapshot 100 --json")[0]["name"], "second");
}

#[test]
fn disks_move_and_change_hands() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "raw");
    bench.vm(101, "raw");
    assert!(bench.run("disk move 100 scsi0").unwrap_err().contains("say where to"));
    let plan = bench.prints("move-disk 100 scsi0 more --dry-run");
    assert!(plan.contains("copy disks:100/vm-100-disk-0.raw -> more:100/vm-100-disk-0.raw"), "{plan}");
    let moved = bench.prints("disk move 100 scsi0 more --format qcow2");
    assert_eq!(moved, "scsi0: more:100/vm-100-disk-0.qcow2\nthe old volume is kept as unused0\n");
    bench.has_content("more/images/100/vm-100-disk-0.qcow2");
    let given = bench.prints("disk reassign 100 unused0 --target-vmid 101 --target-disk virtio3");
    let line = "unused0 of VM 100 is virtio3 of VM 101 now: disks:101/vm-101-disk-1.raw\n";
    assert_eq!(given, line);
    bench.has_content("disks/images/101/vm-101-disk-1.raw");
    let given = bench.json("move_disk 101 virtio3 --target-vmid 100 --target-disk scsi7 --json");
    assert_eq!(given["volume"], "disks:100/vm-100-disk-0.raw");
    bench.prints("disk move 100 scsi7 more --delete");
    assert!(!bench.path("disks/images/100").exists(), "the last volume went, and its folder with it");
}

#[test]
fn a_rescan_adopts_orphans() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "raw");
    bench.image(100, "vm-100-disk-7.qcow2");
    assert_eq!(
        bench.prints("rescan --dryrun"),
        "VM 100: disks:100/vm-100-disk-7.qcow2, which nothing named, is unused0\n"
    );
    assert!(!bench.config(100).contains("unused0"));
    let plan = bench.prints("disk rescan --vmid 100 --dry-run");
    assert!(plan.contains("    + unused0: disks:100/vm-100-disk-7.qcow2"), "{plan}");
    assert!(!bench.config(100).contains("unused0"));
    assert_eq!(bench.json("disk rescan --json")[0]["written"], true);
    assert!(bench.config(100).contains("unused0: disks:100/vm-100-disk-7.qcow2\n"));
    assert_eq!(bench.prints("rescan"), "configurations and storages agree\n");
    assert_eq!(bench.json("rescan --dry-run --json"), json!({ "plan": [] }));
}

#[test]
fn cloud_init_data_is_shown() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "raw");
    let text = "cipassword: geheim\nciuser: bob\nipconfig0: ip=192.0.2.7/24\nname: web\nnet0: virtio=BC:24:11:00:00:01\n\
                \n[special:cloudinit]\nciuser: eve\n";
    fs::write(bench.path("pve/nodes/here/qemu-server/100.conf"), text).unwrap();
    let user = bench.prints("cloudinit dump 100 user");
    assert!(
        user.contains("hostname: web") && user.contains("**********") && !user.contains("geheim"),
        "{user}"
    );
    assert!(bench.prints("cloudinit dump 100 user --password").contains("geheim"));
    assert!(bench.prints("cloudinit dump 100 network").contains("192.0.2.7"));
    assert!(bench.prints("cloudinit dump 100 meta").contains("instance-id"));
    let pending = bench.prints("cloudinit pending 100");
    assert!(pending.contains("cur ciuser: eve\nnew ciuser: bob\n"), "{pending}");
    assert_eq!(bench.json("cloudinit pending 100 --json").as_array().unwrap().len(), 2);
}

#[test]
fn what_is_left_behind_is_an_ending_of_its_own() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "raw");
    let disk = "scsi0: disks:100/vm-100-disk-0.raw,size=4M\n";
    let text = format!("parent: first\n{disk}\n[first]\n{disk}snaptime: 1\n");
    fs::write(bench.path("pve/nodes/here/qemu-server/100.conf"), text).unwrap();
    // a raw image has no snapshots, so there is none that could be removed
    let (told, ending) = bench.run_to("delsnapshot 100 first --force").unwrap();
    assert_eq!((told.as_str(), ending), ("removed snapshot first of VM 100\n", Ending::LeftBehind));
    assert!(!bench.config(100).contains("[first]"));
    bench.prints("destroy 100");
    assert!(bench.run("destroy 100").unwrap_err().contains("there is no VM 100"));
}

#[test]
fn looking_at_the_sample() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/sample/config.db");
    let run = |line: &str| {
        let words = ["qm", "--root", sample].into_iter().chain(line.split(' '));
        let mut out = anstream::StripStream::new(Vec::new());
        run(&Args::try_parse_from(words).unwrap(), &mut out).map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8(out.into_inner()).unwrap())
    };
    assert!(run("list").unwrap().contains("web01"));
    assert!(run("list --json").unwrap().starts_with('['));
    assert!(run("showcmd 100").unwrap().starts_with("/usr/bin/kvm -id 100"));
    assert!(run("config 100").unwrap().contains("name: web01\n"));
    assert!(run("pending 100").unwrap().lines().any(|line| line.starts_with("new ")));
    assert!(run("diff 100 --set memory=4242").unwrap().contains("4242"));
    assert!(run("listsnapshot 100").unwrap().contains("You are here!"));
    assert!(run("showcmd 4711").unwrap_err().contains("no virtual machine 4711"));
}

#[test]
fn made_changed_grown_and_unlinked() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(bench.prints("nextid"), "100\n");
    let plan = bench.prints("create 100 --name web --memory 1024 --scsi0 disks:1 --dry-run");
    assert!(plan.contains("allocate disks:100/vm-100-disk-0.raw (raw, 1G)"), "{plan}");
    assert!(plan.contains("/usr/bin/qemu-img create "), "{plan}");
    assert!(!bench.path("disks/images").exists());
    let made = bench
        .prints("create 100 --name web --memory 1024 --scsi0 disks:1 --onboot --net0 virtio,bridge=vmbr0");
    assert!(made.contains("scsi0: disks:100/vm-100-disk-0.raw,size=1G\n"), "{made}");
    assert!(bench.config(100).contains("onboot: 1\n"));
    assert_eq!(bench.prints("nextid"), "101\n");
    assert!(bench.run("create 100 --name other").unwrap_err().contains("taken"));
    assert!(bench.run("create 101 --colour red").unwrap_err().contains("--colour"));
    assert!(bench.run("create 101 --memory much").unwrap_err().contains("memory"));

    let changed = bench.prints("set 100 --cores 4 --delete onboot");
    assert_eq!(changed, "cores: 4\nonboot is deleted\n");
    assert!(bench.prints("set 100 --cores 2 --dry-run").contains("    + cores: 2"));
    assert!(bench.config(100).contains("cores: 4\n"));
    assert!(bench.run("set 100").unwrap_err().contains("nothing"));
    assert_eq!(bench.prints("resize 100 scsi0 +1G"), "scsi0 of VM 100 has 2G now\n");
    assert!(bench.run("disk resize 100 scsi0 1G").unwrap_err().contains("smaller"));

    bench.image(900, "source.qcow2");
    let source = bench.path("disks/images/900/source.qcow2");
    let imported = bench.json(&format!("importdisk 100 {} disks --json", source.display()));
    assert_eq!(imported["disk"], "unused0");
    bench.has_content("disks/images/100/vm-100-disk-1.raw");
    bench.prints("disk unlink 100 --idlist scsi0");
    assert!(bench.config(100).contains("unused1: disks:100/vm-100-disk-0.raw\n"));
    bench.prints("disk unlink 100 --idlist unused0,unused1 --force");
    assert!(!bench.path("disks/images/100").exists());
}

#[test]
fn locks_are_taken_away() {
    let Some(bench) = Bench::new() else { return };
    bench.vm(100, "raw");
    let text = format!("lock: backup\n{}", bench.config(100));
    fs::write(bench.path("pve/nodes/here/qemu-server/100.conf"), text).unwrap();
    assert!(bench.run("set 100 --cores 2").unwrap_err().contains("backup"));
    assert_eq!(bench.prints("unlock 100"), "VM 100 is not locked any more, by backup\n");
    assert_eq!(bench.prints("unlock 100"), "VM 100 was not locked\n");
    assert!(bench.run("migrate 100 there").unwrap_err().contains("disks:100/vm-100-disk-0.raw"));
}

#[test]
fn a_database_is_changed_and_rehearsed_on() {
    let Some(bench) = Bench::new() else { return };
    let (root, database) = (bench.path("pve"), bench.path("config.db"));
    let store = pve_qemu::node::DatabaseStore::open(&database, "here").unwrap();
    let text = fs::read(root.join("storage.cfg")).unwrap();
    store.put("storage.cfg", bstr::BStr::new(&text)).unwrap();
    drop(store);
    let run = |line: &str| {
        let words = ["qm", "--node", "here", "--root", database.to_str().unwrap()];
        let args = Args::try_parse_from(words.into_iter().chain(line.split(' '))).unwrap();
        let mut out = Vec::new();
        run(&args, &mut out).map_err(|error| error.to_string())?;
        Ok::<_, String>(String::from_utf8(out).unwrap())
    };
    let before = fs::read(&database).unwrap();
    assert!(run("create 100 --name web --dry-run").unwrap().contains("+ name: web"));
    assert_eq!(fs::read(&database).unwrap(), before);
    run("create 100 --name web").unwrap();
    assert!(run("config 100").unwrap().contains("name: web\n"));
    run("set 100 --name db").unwrap();
    assert!(run("list").unwrap().contains("db"));
    run("destroy 100").unwrap();
    assert!(run("config 100").is_err());
}

#[test]
fn a_machine_runs_and_stops() {
    let Some(bench) = Bench::new() else { return };
    if !Path::new("/usr/bin/qemu-system-x86_64").exists() {
        assert!(std::env::var("PVE_TEST_SYSTEM").as_deref() != Ok("1"), "QEMU is not installed");
        eprintln!("SKIPPED: qemu-system-x86_64 is not installed");
        return;
    }
    bench.prints("create 100 --name web --memory 64 --kvm 0");
    assert_eq!(bench.prints("status 100"), "status: stopped\n");
    let plan = bench.prints("start 100 --dry-run");
    assert!(plan.contains("-id 100"), "{plan}");
    assert_eq!(bench.prints("status 100"), "status: stopped\n");
    assert_eq!(bench.prints("start 100"), "VM 100 runs\n");
    assert_eq!(bench.prints("status 100"), "status: running\n");
    let status = bench.json("status 100 --json");
    assert_eq!(status["qmpstatus"], "running");
    assert!(bench.run("destroy 100").unwrap_err().contains("running"));
    bench.prints("suspend 100");
    assert!(bench.prints("status 100 --verbose").contains("qmpstatus: paused\n"));
    bench.prints("resume 100");
    bench.prints("reset 100");
    assert!(bench.run("guest cmd 100 ping").is_err(), "there is no agent");
    assert_eq!(bench.prints("stop 100"), "VM 100 is stopped\n");
    assert_eq!(bench.prints("wait 100 --timeout 5"), "VM 100 does not run\n");
    assert!(bench.run("reboot 100").unwrap_err().contains("not running"));
    bench.prints("destroy 100");
}
