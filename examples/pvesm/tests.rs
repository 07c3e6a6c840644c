// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every verb, on a real directory with the real `qemu-img`.
//!
//! Where `qemu-img` is missing the tests say so and pass, or fail if `PVE_TEST_SYSTEM=1` is set.

use std::path::{Path, PathBuf};

use clap::{CommandFactory, Parser};
use serde_json::{Value, json};

use super::{Args, run};

/// A folder with a storage.cfg and directories as storages.
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
            "dir: plain\n\tpath {path}/plain\n\tcontent images,iso,rootdir\n\n\
             dir: chain\n\tpath {path}/chain\n\tcontent images\n\tsnapshot-as-volume-chain 1\n\n\
             dir: local\n\tpath /var/lib/vz\n\tcontent images\n\tdisable 1\n\nglusterfs: old\n\tvolume v\n"
        );
        std::fs::create_dir_all(folder.path().join("nodes/here/lxc")).unwrap();
        std::fs::write(folder.path().join("nodes/here/lxc/200.conf"), "arch: amd64\n").unwrap();
        std::fs::write(folder.path().join("storage.cfg"), text).unwrap();
        Some(Bench(folder))
    }

    fn run(&self, line: &str) -> Result<String, String> {
        let (root, locks) = (self.path(""), self.path("locks"));
        let place = ["pvesm", "--root", root.to_str().unwrap(), "--locks", locks.to_str().unwrap()];
        let words = line.split(' ').map(|word| if word == "''" { "" } else { word });
        let args = Args::try_parse_from(place.into_iter().chain(words)).map_err(|error| error.to_string())?;
        let mut out = anstream::StripStream::new(Vec::new());
        run(&args, &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out.into_inner()).unwrap())
    }

    /// What it prints; all must go well.
    fn prints(&self, line: &str) -> String {
        self.run(line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.prints(line)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn every_argument_is_explained() {
    Args::command().debug_assert();
}

#[test]
fn a_volume_from_beginning_to_end() {
    let Some(bench) = Bench::new() else { return };
    let plan = bench.prints("alloc plain 100 '' 8M --format qcow2 --dry-run");
    assert!(plan.contains("qemu-img create -o preallocation=metadata -f qcow2"), "{plan}");
    assert!(!bench.path("plain").exists());
    let made = bench.prints("alloc plain 100 '' 8M --format qcow2");
    assert_eq!(made, "successfully created 'plain:100/vm-100-disk-0.qcow2'\n");
    let error = bench.run("alloc plain 100 vm-100-disk-0.qcow2 1M --format qcow2").unwrap_err();
    assert!(error.contains("exists already"), "{error}");

    let path = bench.prints("path plain:100/vm-100-disk-0.qcow2");
    assert_eq!(Path::new(path.trim_end()), bench.path("plain/images/100/vm-100-disk-0.qcow2"));
    assert_eq!(
        bench.prints("resize plain:100/vm-100-disk-0.qcow2 +8M"),
        "resized 'plain:100/vm-100-disk-0.qcow2'\n"
    );
    assert_eq!(bench.json("list plain --json")[0]["size"], 16 << 20);

    let renamed = bench.prints("rename plain:100/vm-100-disk-0.qcow2 101 vm-101-disk-5.qcow2");
    assert_eq!(renamed, "successfully renamed to 'plain:101/vm-101-disk-5.qcow2'\n");
    let base = bench.json("template plain:101/vm-101-disk-5.qcow2 --json");
    assert_eq!(base, json!({ "volid": "plain:101/base-101-disk-5.qcow2" }));
    let clone = bench.prints("clone plain:101/base-101-disk-5.qcow2 102");
    let name = "plain:101/base-101-disk-5.qcow2/102/vm-102-disk-0.qcow2";
    assert_eq!(clone, format!("successfully created '{name}'\n"));
    let error = bench.run("free plain:101/base-101-disk-5.qcow2").unwrap_err();
    assert!(error.contains("is a linked clone of it"), "{error}");
    assert_eq!(bench.prints(&format!("free {name}")), format!("Removed volume '{name}'\n"));
    bench.prints("free plain:101/base-101-disk-5.qcow2");
    assert_eq!(bench.prints("list plain"), "Volid Format  Type      Size VMID\n");
}

#[test]
fn snapshots_inside_an_image_and_as_a_chain() {
    let Some(bench) = Bench::new() else { return };
    for (storage, listed) in [("plain", vec!["s1", "s2"]), ("chain", vec!["current", "s1", "s2"])] {
        let volume = format!("{storage}:100/vm-100-disk-0.qcow2");
        bench.prints(&format!("alloc {storage} 100 '' 4M --format qcow2"));
        bench.prints(&format!("snapshot create {volume} s1"));
        bench.prints(&format!("snapshot create {volume} s2"));
        let names = |line: &str| {
            let found = bench.json(line);
            let mut names: Vec<String> = found
                .as_array()
                .unwrap()
                .iter()
                .map(|one| one["name"].as_str().unwrap().to_owned())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&format!("snapshot list {volume} --json")), listed, "{storage}");
        bench.prints(&format!("snapshot rollback {volume} s2"));
        bench.prints(&format!("snapshot delete {volume} s1"));
        assert!(!names(&format!("snapshot list {volume} --json")).contains(&"s1".to_owned()));
        assert!(bench.prints(&format!("snapshot list {volume}")).starts_with("Name"));
    }
    let text = bench.prints("snapshot list chain:100/vm-100-disk-0.qcow2");
    assert!(text.lines().any(|line| line.starts_with("current") && line.ends_with(" s2")), "{text}");
}

#[test]
fn status_and_list_in_columns() {
    let Some(bench) = Bench::new() else { return };
    let status = bench.prints("status");
    let lines: Vec<&str> = status.lines().collect();
    assert_eq!(
        lines[0],
        "Name        Type     Status           Total            Used       Available        %"
    );
    let row = |name: &str| lines.iter().find(|line| line.starts_with(name)).unwrap().split_whitespace();
    assert_eq!(row("plain").nth(2), Some("active"));
    assert_eq!(row("local").skip(1).collect::<Vec<_>>(), ["dir", "disabled", "0", "0", "0", "N/A"]);
    assert_eq!(row("old").skip(1).collect::<Vec<_>>(), ["glusterfs", "inactive", "0", "0", "0", "0.00%"]);
    assert!(bench.run("status --storage none").unwrap_err().contains("does not exist"));

    bench.prints("alloc plain 100 '' 8M");
    bench.prints("alloc plain 200 '' 8M");
    bench.prints("alloc chain 100 '' 8M --format qcow2");
    bench.prints("snapshot create chain:100/vm-100-disk-0.qcow2 s1");
    std::fs::write(bench.path("plain/images/100/backup-data-important"), "x").unwrap();
    std::fs::create_dir_all(bench.path("plain/dump")).unwrap();
    assert_eq!(
        bench.prints("list plain"),
        "Volid                       Format  Type         Size VMID\n\
         plain:100/vm-100-disk-0.raw raw     images    8388608 100\n\
         plain:200/vm-200-disk-0.raw raw     rootdir   8388608 200\n"
    );
    assert_eq!(bench.prints("list plain --vmid 200").lines().count(), 2);
    assert_eq!(bench.prints("list plain --content iso").lines().count(), 1);
    let all = bench.prints("list chain --all-names");
    assert!(all.contains("\nNot shown by Proxmox VE:\n"), "{all}");
    assert!(all.contains("snap-s1-vm-100-disk-0.qcow2"), "{all}");
    let all = bench.json("list plain --all-names --json");
    assert_eq!(all["volumes"].as_array().unwrap().len(), 2);
    assert_eq!(all["unseen"][0]["name"], "100/backup-data-important");
    assert!(bench.run("list local").unwrap_err().contains("not available on node 'here'"));
}

#[test]
fn streams_keep_the_content() {
    let Some(bench) = Bench::new() else { return };
    bench.prints("alloc plain 100 '' 1M");
    let disk = bench.path("plain/images/100/vm-100-disk-0.raw");
    let content: Vec<u8> = (0..1 << 20).map(|number: u32| (number / 7) as u8).collect();
    std::fs::write(&disk, &content).unwrap();

    let file = bench.path("stream");
    let file = file.to_str().unwrap();
    let plan = bench.prints(&format!("export plain:100/vm-100-disk-0.raw auto {file} --dry-run"));
    assert!(plan.starts_with("dd if=") && !Path::new(file).exists(), "{plan}");
    bench.prints(&format!("export plain:100/vm-100-disk-0.raw auto {file}"));
    assert_eq!(std::fs::metadata(file).unwrap().len(), (1 << 20) + 8);
    let error = bench.run(&format!("export plain:100/vm-100-disk-0.raw auto {file}")).unwrap_err();
    assert!(error.contains("exists"), "{error}");
    let error = bench.run(&format!("import chain:100/vm-100-disk-0.qcow2 raw+size {file}")).unwrap_err();
    assert!(error.contains("cannot be imported"), "{error}");
    let made = bench.prints(&format!("import chain:100/vm-100-disk-0.raw auto {file}"));
    assert_eq!(made, "successfully imported 'chain:100/vm-100-disk-0.raw'\n");
    assert_eq!(std::fs::read(bench.path("chain/images/100/vm-100-disk-0.raw")).unwrap(), content);
    let error = bench.run(&format!("import chain:100/vm-100-disk-0.raw raw+size {file}")).unwrap_err();
    assert!(error.contains("exists already"), "{error}");

    let plan = bench.json("copy plain:100/vm-100-disk-0.raw chain --vmid 300 --dry-run --json");
    assert_eq!(plan["volid"], "chain:300/vm-300-disk-0.raw");
    assert!(plan["plan"].as_array().unwrap().len() > 2, "{plan}");
    let made = bench.prints("copy plain:100/vm-100-disk-0.raw chain");
    assert_eq!(made, "successfully created 'chain:100/vm-100-disk-1.raw'\n");
    assert_eq!(std::fs::read(bench.path("chain/images/100/vm-100-disk-1.raw")).unwrap(), content);
    let error = bench.run("copy plain:100/vm-100-disk-0.raw chain --with-snapshots").unwrap_err();
    assert!(error.contains("offers nothing"), "{error}");
}

#[test]
fn a_copy_has_the_format_of_its_stream() {
    let Some(bench) = Bench::new() else { return };
    bench.prints("alloc plain 100 '' 1M --format qcow2");
    let plan = bench.json("copy plain:100/vm-100-disk-0.qcow2 chain --dry-run --json");
    assert_eq!(
        (&plan["volid"], &plan["format"]),
        (&json!("chain:100/vm-100-disk-0.raw"), &json!("raw+size"))
    );
    // the reference has qemu-img write a raw image into a pipe, which its own build can and the plain one cannot
    match bench.run("copy plain:100/vm-100-disk-0.qcow2 chain") {
        Ok(made) => {
            assert_eq!(made, "successfully created 'chain:100/vm-100-disk-0.raw'\n");
            assert_eq!(bench.json("list chain --json")[0]["size"], 1 << 20);
        }
        Err(error) => {
            assert!(error.starts_with("qemu-img convert") && error.contains("/dev/stdout"), "{error}");
            assert_eq!(bench.json("list chain --json"), json!([]));
        }
    }
    let made = bench.prints("copy plain:100/vm-100-disk-0.qcow2 plain --with-snapshots");
    assert_eq!(made, "successfully created 'plain:100/vm-100-disk-1.qcow2'\n");
}

#[test]
fn a_copy_that_fails_leaves_nothing() {
    let Some(bench) = Bench::new() else { return };
    bench.prints("alloc plain 100 '' 1M");
    std::fs::write(bench.path("chain"), "no directory").unwrap();
    assert!(bench.run("copy plain:100/vm-100-disk-0.raw chain").is_err());
    assert!(bench.run("copy plain:100/vm-100-disk-9.raw plain").is_err());
    assert_eq!(bench.prints("list plain").lines().count(), 2);
}

#[test]
fn an_export_that_fails_leaves_no_file() {
    let Some(bench) = Bench::new() else { return };
    let file = bench.path("stream");
    let error =
        bench.run(&format!("export plain:100/vm-100-disk-9.raw auto {}", file.display())).unwrap_err();
    assert!(error.contains("vm-100-disk-9.raw"), "{error}");
    assert!(!file.exists());
}

#[test]
fn features_tell_why_not() {
    let Some(bench) = Bench::new() else { return };
    let text = bench.prints("features plain");
    assert!(text.contains("formats   raw, qcow2, vmdk, subvol"), "{text}");
    let text = bench.prints("features plain:100/vm-100-disk-0.raw");
    assert!(text.contains("snapshot   no  an ordinary volume in format 'raw'"), "{text}");
    assert!(text.contains("export     raw+size"), "{text}");
    let can = bench.json("features plain:100/vm-100-disk-0.qcow2 --json");
    assert_eq!(can["features"]["snapshot"], json!({ "has": true, "why": null }));
    assert!(bench.run("features old:x").unwrap_err().contains("glusterfs"));
}

#[test]
fn a_storage_of_a_database() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/sample/config.db");
    let run = |line: &str| {
        let words = ["pvesm", "--root", sample].into_iter().chain(line.split(' '));
        let mut out = anstream::StripStream::new(Vec::new());
        run(&Args::try_parse_from(words).unwrap(), &mut out).map_err(|error| error.to_string())?;
        Ok(String::from_utf8(out.into_inner()).unwrap())
    };
    assert_eq!(run("--node alpha path local-lvm:vm-100-disk-0"), Ok("/dev/pve/vm-100-disk-0\n".to_owned()));
    let error: String = run("--node delta status").unwrap_err();
    assert!(error.contains("there is no node 'delta', only alpha"), "{error}");
    // nothing of a foreign cluster is touched to look at a plan
    let plan = run("--node alpha --assume-active --dry-run free local-lvm:vm-100-disk-0");
    assert!(plan.is_err_and(|error| error.contains("lvs")), "its volumes are not here");
}
