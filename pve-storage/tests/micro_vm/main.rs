// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storage operations with a kernel of their own: LVM, thin and thick, on a device-mapper that nobody else uses; NFS,
//! iSCSI and Ceph with servers in the same machine.
//!
//! The stories (`adoption`, `thin`, `thick`, `nfs`, `iscsi`, `rbd`) are test functions that run inside a micro-VM; here they are sent there.
//! They run when `PVE_TEST_SYSTEM=1` is set, and a missing tool is a failure then; the Ceph cluster, which takes minutes
//! on a slow machine, when `PVE_TEST_GUEST=1` is set.
#![cfg(test)]

mod adoption;
mod iscsi;
mod nfs;
mod node;
mod rbd;
mod thick;
mod thin;

use micro_vm::Setup;

/// Whether the environment asks for a test. Programs that are then not there are a failure.
fn wanted(variable: &str, programs: &[&str]) -> bool {
    if std::env::var_os(variable).is_none_or(|value| value != "1") {
        eprintln!("SKIPPED: set {variable}=1 to run this test in a micro-VM");
        return false;
    }
    let needed = [&micro_vm::PROGRAMS[..], programs].concat();
    assert_eq!(micro_vm::missing(&needed), None, "{variable} is set, but a program is not installed");
    true
}

/// A machine with this program, and others that operations run.
fn setup(programs: &[&str]) -> Option<Setup> {
    if !wanted("PVE_TEST_SYSTEM", programs) {
        return None;
    }
    let setup = Setup::new().this_program();
    Some(programs.iter().fold(setup, |setup, program| setup.program(*program)))
}

#[test]
fn thin_volumes() {
    let Some(setup) = setup(&["/usr/sbin/lvm", "dd", "/sbin/blockdev"]) else { return };
    let mut vm = setup.thin_pool().boot().unwrap();
    vm.test("adoption::a_volume_changes_hands_by_its_name_alone").unwrap();
    vm.test("thin::from_allocation_to_template").unwrap();
    eprintln!("done {:.1} s after power-on", vm.uptime().as_secs_f64());
}

#[test]
fn thick_volumes() {
    let programs =
        ["dd", "/sbin/blockdev", "blkdiscard", "/usr/bin/file", "/usr/bin/qemu-img", "/usr/bin/qemu-io"];
    let Some(setup) = setup(&programs) else { return };
    let magic = std::fs::read("/usr/lib/file/magic.mgc").unwrap();
    let setup = setup.file("/usr/share/misc/magic.mgc", 0o644, magic);
    let mut vm = setup.lvm().disk(2 << 30).boot().unwrap();
    vm.test("thick::from_device_to_wiped_volume").unwrap();
    vm.test("thick::snapshots_as_a_chain_of_volumes").unwrap();
    eprintln!("done {:.1} s after power-on", vm.uptime().as_secs_f64());
}

#[test]
fn directories_of_a_server() {
    let Some(setup) = setup(&["/usr/bin/qemu-img", "/usr/bin/chattr"]) else { return };
    let mut vm = nfs::setup(setup).unwrap().boot().unwrap();
    vm.test("nfs::mounted_used_and_unmounted").unwrap();
    eprintln!("done {:.1} s after power-on", vm.uptime().as_secs_f64());
}

#[test]
fn luns_of_a_target() {
    let Some(setup) = setup(&["dd", "/sbin/blockdev"]) else { return };
    let mut vm = iscsi::setup(setup).unwrap().boot().unwrap();
    vm.test("iscsi::logged_in_listed_and_logged_out").unwrap();
    eprintln!("done {:.1} s after power-on", vm.uptime().as_secs_f64());
}

#[test]
fn images_of_a_cluster() {
    if !wanted("PVE_TEST_GUEST", &[]) {
        return;
    }
    let setup = rbd::setup(Setup::new().this_program()).unwrap();
    let mut vm = setup.boot().unwrap();
    vm.test("rbd::from_allocation_to_clone").unwrap();
    eprintln!("done {:.1} s after power-on", vm.uptime().as_secs_f64());
}
