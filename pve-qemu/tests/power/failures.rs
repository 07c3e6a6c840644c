// SPDX-License-Identifier: MIT OR Apache-2.0
//! Starts that go wrong, or find the traces of others.

use std::fs;
use std::process::Command;

use pve_qemu::power::{Flag, PowerError, Process, Processes, Start, Stop};

use crate::ground::{Ground, ID, PLAIN, has_qemu};

#[test]
fn a_qemu_that_ends_during_the_start_says_why() {
    let Some(ground) = Ground::with_vm(&format!("{PLAIN}args: -device no-such-device\n")) else { return };
    ground.on(|power, _| {
        let error = power.start(ID, &Start::default()).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, PowerError::Launch { .. }), "{text}");
        assert!(text.contains("no-such-device") && text.contains("exit code 1"), "{text}");
        assert!(!power.status(ID).unwrap().running);
        assert!(!power.status(ID).unwrap().unclean);

        // a disk that is not there is found before QEMU is run
        ground.configure(&format!("{PLAIN}scsi0: local:100/vm-100-disk-7.raw\n"));
        let error = power.start(ID, &Start::default()).unwrap_err().to_string();
        assert!(error.contains("vm-100-disk-7.raw"), "{error}");

        // once the reason is gone, it starts
        ground.configure(PLAIN);
        power.start(ID, &Start::default()).unwrap();
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn a_program_that_is_not_there_is_named() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    // of another architecture, which is not installed
    let missing = "/usr/bin/qemu-system-aarch64";
    if std::path::Path::new(missing).exists() {
        return;
    }
    ground.configure(&PLAIN.replace("kvm: 0", "arch: aarch64\nkvm: 0"));
    ground.on(|power, _| {
        let error = power.start(ID, &Start::default()).unwrap_err().to_string();
        assert!(error.contains("qemu-system-aarch64"), "{error}");
    });
}

#[test]
fn leftovers_of_the_past_do_not_keep_a_vm_from_starting() {
    let Some(ground) = Ground::with_vm(PLAIN) else { return };
    ground.on(|power, processes| {
        let run_dir = ground.run_dir();
        // the number of the past process is another one's now, and its socket is nobody's
        let mut other = Command::new("sleep").arg("120").spawn().unwrap();
        fs::write(run_dir.pid(ID), format!("{}\n", other.id())).unwrap();
        drop(std::os::unix::net::UnixListener::bind(run_dir.qmp(ID)).unwrap());
        processes.set_flag(ID, Flag::Reboot).unwrap();
        assert!(!power.status(ID).unwrap().running, "a sleep is no VM");
        power.stop(ID, &Stop::default()).unwrap();
        assert!(other.try_wait().unwrap().is_none(), "whoever has the number now is left alone");

        power.start(ID, &Start::default()).unwrap();
        let status = power.status(ID).unwrap();
        assert!(status.running && !status.reboot, "{status:?}");
        let pid = Process::qemu(run_dir, ID).unwrap().pid();
        assert_ne!(pid.to_string(), other.id().to_string());
        power.stop(ID, &Stop::default()).unwrap();
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    });
}

#[test]
fn locks_keep_others_out_for_as_long_as_their_holder_lives() {
    let Some(ground) = Ground::with_vm(&format!("lock: backup\n{PLAIN}")) else { return };
    ground.on(|power, _| {
        let error = power.start(ID, &Start::default()).unwrap_err().to_string();
        assert!(error.contains("backup") && error.contains("unlock"), "{error}");
        let mut start = Start::default();
        start.skip_lock = true;
        power.start(ID, &start).unwrap();
        let mut stop = Stop::default();
        assert!(power.stop(ID, &stop).is_err());
        stop.skip_lock = true;
        power.stop(ID, &stop).unwrap();
    });

    // the lock file of a process that is gone holds nobody up
    ground.configure(PLAIN);
    let file = ground.root().join("lock/lock-100.conf");
    assert!(file.exists(), "taking the lock has made the file, and nobody removes it");
    ground.on(|power, _| {
        power.start(ID, &Start::default()).unwrap();
        // nor does QEMU inherit it
        let flock = Command::new("flock").args(["-n"]).arg(&file).arg("true").status();
        assert!(flock.unwrap().success());
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn two_starts_at_the_same_time_make_one_machine() {
    let Some(ground) = Ground::with_vm(PLAIN) else { return };
    let started: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| ground.on(|power, _| power.start(ID, &Start::default()).is_ok())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(started.iter().filter(|started| **started).count(), 1, "{started:?}");
    ground.on(|power, _| power.stop(ID, &Stop::default()).unwrap());
}
