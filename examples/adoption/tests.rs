// SPDX-License-Identifier: MIT OR Apache-2.0
//! The story on files and, in a micro-VM, on logical volumes.

use clap::{CommandFactory, Parser};
use micro_vm::Setup;

use super::{Args, run};

fn told(words: &[&str]) -> String {
    let args = Args::try_parse_from(["adoption"].iter().chain(words)).unwrap();
    let mut out = anstream::StripStream::new(Vec::new());
    run(&args, &mut out).unwrap_or_else(|error| panic!("{error}"));
    String::from_utf8(out.into_inner()).unwrap()
}

/// That a text has these parts, in this order.
fn has_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let (_, after) =
            rest.split_once(part).unwrap_or_else(|| panic!("{part:?} is missing or too early:\n{text}"));
        rest = after;
    }
}

/// What differs from one time to another: where the node is, and when rows were written.
fn timeless(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("NODE=") && !line.contains("mtime = "));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_argument_is_explained() {
    Args::command().debug_assert();
}

#[test]
fn on_files() {
    let text = told(&[]);
    has_in_order(
        &text,
        &[
            "qemu-img create -o preallocation=off -f raw $NODE/store/images/9999/vm-9999-disk-0.raw 1048576K",
            "no row names 9999 or 8888\n    physical  $NODE/store/images/9999/vm-9999-disk-0.raw  1G, ",
            " of it on the disk",
            "store:9999/vm-9999-disk-0.raw  raw  1073741824  owner 9999",
            "store:8888/vm-8888-disk-0.raw  raw  1073741824  owner 8888",
            "store:9999/vm-9999-disk-0.raw  raw  1073741824  owner 9999",
            "+ name: The-Adoption-Test",
            "It did not pick up the disk",
            "+ unused0: store:9999/vm-9999-disk-0.raw",
            "- unused0: store:9999/vm-9999-disk-0.raw",
            "+ scsi0: store:9999/vm-9999-disk-0.raw,size=1G",
            "   name = 9999.conf",
            "scsi0: store:9999/vm-9999-disk-0.raw,size=1G",
            "/usr/bin/kvm",
            "$NODE/store/images/9999/vm-9999-disk-0.raw",
            "row deleted: ",
            "no row names 9999 or 8888\n    physical  nothing",
        ],
    );
    let config = text.split("It did not pick up").nth(1).unwrap().split("logical").next().unwrap();
    assert!(!config.contains("disk-0"), "{config}");
    assert_eq!(timeless(&text), timeless(&told(&[])), "told alike every time");
}

#[test]
fn a_node_that_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let node = folder.path().join("node");
    let text = told(&["--keep", node.to_str().unwrap()]);
    assert!(!text.contains("qm destroy"), "{text}");
    assert!(node.join("store/images/9999/vm-9999-disk-0.raw").exists());
    let (database, _) = pve_cfs::Database::open_read_only(&node.join("config.db")).unwrap();
    assert_eq!(database.refusals(), []);
    let file = database.tree().get(b"nodes/pve1/qemu-server/9999.conf").unwrap();
    assert!(file.content().starts_with(b"boot:"));
    let args = Args::try_parse_from(["adoption", "--keep", node.to_str().unwrap()]).unwrap();
    assert!(run(&args, &mut std::io::sink()).unwrap_err().to_string().contains("cannot make"));
}

#[test]
fn on_a_thin_pool_and_without_qemu_img() {
    if std::env::var_os("PVE_TEST_SYSTEM").is_none_or(|value| value != "1") {
        eprintln!("SKIPPED: set PVE_TEST_SYSTEM=1 to tell the story in a micro-VM");
        return;
    }
    let programs = ["/usr/sbin/lvm", "/sbin/blockdev"];
    let needed = [&micro_vm::PROGRAMS[..], &programs].concat();
    assert_eq!(micro_vm::missing(&needed), None, "a program is not installed");
    let setup = Setup::new().this_program().program("/sbin/blockdev");
    let mut vm = setup.thin_pool().boot().unwrap();
    vm.test("tests::inside_on_logical_volumes").unwrap();
    vm.test("tests::inside_on_files").unwrap();
}

#[test]
#[ignore = "runs in a micro-VM"]
fn inside_on_logical_volumes() {
    assert!(micro_vm::is_inside(), "this would change the devices of this machine");
    let text = told(&["--storage", "lvmthin", "--vg", "pve", "--pool", "data"]);
    has_in_order(
        &text,
        &[
            "/sbin/lvcreate -aly -V 1048576k --name vm-9999-disk-0 --thinpool pve/data",
            "physical  pve/vm-9999-disk-0  1.00g  data",
            "local-lvm:vm-9999-disk-0  raw  1073741824  owner 9999",
            "/sbin/lvrename pve vm-9999-disk-0 vm-8888-disk-0",
            "+ unused0: local-lvm:vm-9999-disk-0",
            "+ scsi0: local-lvm:vm-9999-disk-0,size=1G",
            "/dev/pve/vm-9999-disk-0",
            "/sbin/lvremove -f pve/vm-9999-disk-0",
            "physical  nothing",
        ],
    );
    println!("{text}");
}

#[test]
#[ignore = "runs in a micro-VM"]
fn inside_on_files() {
    assert!(micro_vm::is_inside() && !std::path::Path::new("/usr/bin/qemu-img").exists());
    on_files();
}
