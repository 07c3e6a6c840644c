// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that really run: started, paused, saved, resumed and stopped, with a QEMU of the system and without an operating
//! system in them; and starts that go wrong.
//!
//! Without QEMU the tests say so and do nothing; with `PVE_TEST_SYSTEM=1` that is a failure.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default,
    reason = "a failed step fails the test"
)]

#[path = "power_ground/hotplug.rs"]
mod hotplug;
mod power_ground;

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

use bstr::{BStr, ByteSlice};
use pve_qemu::disk_move::{MoveOptions, move_disk};
use pve_qemu::node::{Machines, Rehearsal};
use pve_qemu::power::{
    Flag, Power, PowerError, Process, Processes, RehearsedProcesses, Shutdown, Start, Stop, Suspend,
};
use pve_qemu::snapshot::{SnapshotRequest, delete_snapshot};
use pve_volid::ImageFormat;
use serde_json::json;

use power_ground::{Ground, ID, PLAIN, has_qemu};

#[test]
fn a_vm_runs_pauses_goes_on_and_ends() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(&format!("{PLAIN}net0: virtio=BC:24:11:00:00:01,link_down=1\nballoon: 32\nagent: 1\n"));
    ground.on(|power, processes| {
        assert!(!power.status(ID).unwrap().running);
        power.start(ID, &Start::default()).unwrap();
        let status = power.status(ID).unwrap();
        assert!(status.running && status.unclean, "{status:?}");
        assert_eq!(status.state.unwrap().to_string(), "running");
        let facts = status.process.unwrap();
        assert!(facts.pid > 1 && facts.memory > 1 << 20, "{facts:?}");
        assert_eq!(status.qemu_version.as_deref(), ground.qemu_version().as_deref());

        // what a start tells the machine
        let machines = processes.machines();
        let polling =
            json!({ "path": "machine/peripheral/balloon0", "property": "guest-stats-polling-interval" });
        assert_eq!(machines.qmp(ID, "qom-get", polling, None).unwrap(), 2);

        // nobody else may write to the sockets; QEMU sets a mask of its own when it becomes a daemon
        for socket in ["qmp", "qga", "vnc"] {
            let path = ground.run_dir().path().join(format!("{ID}.{socket}"));
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o027, 0, "{}: {mode:o}", path.display());
        }

        power.suspend(ID, &Suspend::default()).unwrap();
        assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "paused");
        let refused = power.shutdown(ID, &Shutdown::default()).unwrap_err();
        assert!(matches!(refused, PowerError::Paused { .. }), "{refused}");
        power.resume(ID, false).unwrap();
        assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "running");
        power.reset(ID, false).unwrap();

        let twice = power.start(ID, &Start::default()).unwrap_err();
        assert!(matches!(twice, PowerError::Running { .. }), "{twice}");

        power.stop(ID, &Stop::default()).unwrap();
        let status = power.status(ID).unwrap();
        assert!(!status.running && !status.unclean, "{status:?}");
        assert_eq!(ground.left_in_run_dir(), [""; 0]);
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn a_machine_is_saved_to_disk_and_goes_on_where_it_was() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    let config = format!("{PLAIN}net0: virtio=BC:24:11:00:00:01\n");
    ground.configure(&config);
    ground.on(|power, processes| {
        power.start(ID, &Start::default()).unwrap();
        let machines = processes.machines();
        // something that only the memory holds: the guest's firmware does not touch it
        let hmp = |line: &str| {
            machines.qmp(ID, "human-monitor-command", json!({ "command-line": line }), None).unwrap()
        };
        let before = machines.running_machine(ID).unwrap();
        assert!(before.machine.contains_str("-"), "a version: {}", before.machine);
        let uptime = hmp("info registers");
        assert!(uptime.as_str().unwrap().contains("RIP") || uptime.as_str().unwrap().contains("EIP"));

        power.suspend(ID, &to_disk()).unwrap();
        power.wait(ID, Some(Duration::from_secs(10))).unwrap();
        let saved = ground.config();
        assert!(saved.contains("lock: suspended\n"), "{saved}");
        assert!(saved.contains(&format!("runningmachine: {}\n", before.machine)), "{saved}");
        let state = saved.lines().find_map(|line| line.strip_prefix("vmstate: ")).unwrap().to_owned();
        let path = power.node.volumes.path(BStr::new(&state)).unwrap();
        assert!(fs::metadata(path.to_path().unwrap()).unwrap().len() > 1 << 20);
        let status = power.status(ID).unwrap();
        assert_eq!((status.running, status.lock.as_deref()), (false, Some("suspended")));

        power.resume(ID, false).unwrap();
        assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "running");
        assert_eq!(machines.running_machine(ID).unwrap().machine, before.machine);
        assert_eq!(ground.config(), config);
        assert!(!path.to_path().unwrap().exists(), "the state is not needed any more");
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn a_guest_that_does_not_listen_is_stopped_by_force() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(PLAIN);
    ground.on(|power, _| {
        power.start(ID, &Start::default()).unwrap();
        let mut shutdown = Shutdown::default();
        shutdown.timeout = Some(Duration::from_secs(1));
        let error = power.shutdown(ID, &shutdown).unwrap_err();
        assert!(matches!(error, PowerError::TimedOut { seconds: 1, .. }), "{error}");
        shutdown.force_stop = true;
        power.shutdown(ID, &shutdown).unwrap();
        assert!(!power.status(ID).unwrap().running);
    });
}

/// Takes as long as QEMU may take to answer: over a minute.
#[test]
fn a_qemu_that_does_not_answer_is_killed() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(PLAIN);
    ground.on(|power, _| {
        power.start(ID, &Start::default()).unwrap();
        let pid = Process::qemu(ground.run_dir(), ID).unwrap().pid();
        assert!(Command::new("kill").args(["-STOP", &pid.to_string()]).status().unwrap().success());
        let mut stop = Stop::default();
        stop.timeout = Some(Duration::from_secs(1));
        let begin = Instant::now();
        power.stop(ID, &stop).unwrap();
        assert!(!power.status(ID).unwrap().running);
        assert!(begin.elapsed() >= Duration::from_secs(10), "it had time to react to SIGTERM");
    });
}

#[test]
fn the_cloud_init_image_is_made_by_the_start() {
    if !has_qemu() || !power_ground::has_qemu_img() {
        return;
    }
    let ground = Ground::new();
    let volume = "local:100/vm-100-cloudinit.qcow2";
    ground.configure(&format!(
        "{PLAIN}ciuser: anna\nide2: {volume},media=cdrom\nname: web\n\n\
         [special:cloudinit]\nciuser: otto\n"
    ));
    ground.on(|power, processes| {
        let files = || ground.content(volume.into());
        power.start(ID, &Start::default()).unwrap();
        assert!(files().contains_str("hostname: web") && files().contains_str("user: anna"));
        assert!(!ground.config().contains("special:cloudinit"), "{}", ground.config());
        let blocks = processes.machines().qmp(ID, "query-block", json!({}), None).unwrap();
        assert!(blocks.to_string().contains("vm-100-cloudinit.qcow2"), "{blocks}");
        power.stop(ID, &Stop::default()).unwrap();

        // a start makes it anew, nothing else does
        ground.configure(&ground.config().replace("anna", "berta"));
        assert!(files().contains_str("user: anna"));
        power.start(ID, &Start::default()).unwrap();
        assert!(files().contains_str("user: berta"));
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn a_qemu_that_ends_during_the_start_says_why() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(&format!("{PLAIN}args: -device no-such-device\n"));
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
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(PLAIN);
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
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(&format!("lock: backup\n{PLAIN}"));
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
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    ground.configure(PLAIN);
    let started: Vec<bool> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3)
            .map(|_| scope.spawn(|| ground.on(|power, _| power.start(ID, &Start::default()).is_ok())))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(started.iter().filter(|started| **started).count(), 1, "{started:?}");
    ground.on(|power, _| power.stop(ID, &Stop::default()).unwrap());
}

#[test]
fn a_rehearsed_start_and_stop_change_nothing() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    let config = format!("{PLAIN}scsi0: local:100/vm-100-disk-0.raw\n\n[PENDING]\nname: new\n");
    ground.make_disk();
    ground.configure(&config);
    ground.on(|power, processes| {
        let rehearse = |body: &dyn Fn(Power<'_>)| {
            let rehearsal = Rehearsal::new(power.node);
            let rehearsed = RehearsedProcesses::new(&rehearsal, processes);
            body(Power::new(rehearsal.node(), &rehearsed));
            rehearsal.steps().iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let steps = rehearse(&|power| power.start(ID, &Start::default()).unwrap());
        assert!(steps[0].starts_with("write configuration of VM 100") && steps[0].contains("- [PENDING]"));
        assert!(steps.iter().any(|step| step.starts_with("run /usr/bin/kvm -id 100 ")), "{steps:#?}");
        assert!(steps.iter().any(|step| step.ends_with("100.cleanup")), "{steps:#?}");
        assert_eq!((ground.config(), ground.left_in_run_dir()), (config.clone(), vec![]));
        assert!(!power.status(ID).unwrap().running);

        power.start(ID, &Start::default()).unwrap();
        let steps = rehearse(&|power| power.shutdown(ID, &Shutdown::default()).unwrap());
        assert_eq!(steps[0], "tell VM 100: system_powerdown {}");
        assert!(steps.iter().any(|step| step.ends_with("100.pid")), "{steps:#?}");
        assert!(power.status(ID).unwrap().running);
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn snapshots_and_moves_of_a_disk_in_use() {
    if !has_qemu() || !power_ground::has_qemu_img() {
        return;
    }
    let ground = Ground::new();
    ground.configure(PLAIN);
    ground.on(|power, processes| {
        let node = power.node;
        let local = "local".parse().unwrap();
        let disk = node.volumes.allocate(&local, ID, ImageFormat::Qcow2, None, 4096.0).unwrap();
        ground.configure(&format!("{PLAIN}scsi0: {disk},size=4M\n"));
        power.start(ID, &Start::default()).unwrap();
        let machines = processes.machines();
        let hmp = |line: &str| {
            let arguments = json!({ "command-line": line });
            machines.qmp(ID, "human-monitor-command", arguments, None).unwrap().to_string()
        };
        hmp("qemu-io drive-scsi0 \"write -P 0x11 0 64k\"");

        power.create_snapshot(ID, SnapshotRequest::new("before")).unwrap();
        assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "running");
        hmp("qemu-io drive-scsi0 \"write -P 0x22 0 64k\"");
        if !ground.qemu_is_at_least(10) {
            let error = power.create_snapshot(ID, SnapshotRequest::new("all").with_memory(true)).unwrap_err();
            assert!(error.to_string().contains("without memory"), "{error}");
            assert!(!ground.config().contains("all"), "{}", ground.config());
            assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "running");
        }

        let mut options = MoveOptions::default();
        options.format = Some(ImageFormat::Raw);
        let moved = move_disk(node, ID, "scsi0".into(), options).unwrap();
        assert!(moved.volume.ends_with(b".raw"), "{moved:?}");
        let blocks = machines.qmp(ID, "query-block", json!({}), None).unwrap().to_string();
        assert!(blocks.contains("vm-100-disk-1.raw") && !blocks.contains("vm-100-disk-0.qcow2"), "{blocks}");
        hmp("qemu-io drive-scsi0 \"write -P 0x33 64k 64k\"");
        power.stop(ID, &Stop::default()).unwrap();
        let raw = fs::read(node.volumes.path(moved.volume.as_bstr()).unwrap().to_path().unwrap()).unwrap();
        assert_eq!((raw[0], raw[65536]), (0x22, 0x33), "what was written before and after the move");

        // back to where the snapshot was, in the volume that has it
        let config = ground.config().replace(&moved.volume.to_string(), &disk.to_string());
        ground.configure(&config.replace(&format!("unused0: {disk}\n"), ""));
        power.start(ID, &Start::default()).unwrap();
        power.rollback(ID, "before".into(), true).unwrap();
        assert!(power.status(ID).unwrap().running);
        delete_snapshot(node, ID, "before".into(), false).unwrap();
        power.stop(ID, &Stop::default()).unwrap();
        assert_eq!(ground.content(disk.as_bstr())[..2], [0x11, 0x11], "the disk went back");
        assert!(!ground.config().contains("before"), "{}", ground.config());
    });
}

/// Kills `body` before and after each of its steps; `prepare` makes the ground, `check` looks at what is left.
fn kill_everywhere(case: &str, prepare: impl Fn(&Ground), check: impl Fn(&Ground, &str)) -> usize {
    for step in 0.. {
        let ground = Ground::new();
        prepare(&ground);
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--ignored", "--nocapture"])
            .envs([("VICTIM_CASE", case), ("VICTIM_STEP", &step.to_string())])
            .env("VICTIM_ROOT", ground.root())
            .output()
            .unwrap();
        let finished = child.status.success();
        assert!(finished || child.status.signal() == Some(9), "{case}, step {step}: {child:?}");
        check(&ground, &format!("{case} killed at {step}: {:?}", ground.left_in_run_dir()));
        if finished {
            eprintln!("{case}: survived {step} deaths");
            return step;
        }
    }
    unreachable!("there is always a last step")
}

#[test]
#[ignore = "the process that the other tests kill"]
fn victim() {
    let Ok(case) = std::env::var("VICTIM_CASE") else { return };
    let step = std::env::var("VICTIM_STEP").unwrap().parse().unwrap();
    // the ground must not be tidied up here
    let ground = std::mem::ManuallyDrop::new(Ground::at(std::env::var_os("VICTIM_ROOT").unwrap().into()));
    ground.on_mortal(step, |power| match case.as_str() {
        "start" => power.start(ID, &Start::default()).unwrap(),
        "suspend" => power.suspend(ID, &to_disk()).unwrap(),
        "resume" => power.resume(ID, false).unwrap(),
        other => panic!("no case {other}"),
    });
}

fn to_disk() -> Suspend<'static> {
    let mut suspend = Suspend::default();
    suspend.to_disk = true;
    suspend
}

/// What the table of the module `power` says of a start whose program dies.
#[test]
fn a_killed_start_leaves_a_vm_or_none() {
    if !has_qemu() || !power_ground::has_qemu_img() {
        return;
    }
    let config = format!(
        "{PLAIN}balloon: 32\nide2: local:100/vm-100-cloudinit.qcow2,media=cdrom\nscsi0: local:100/vm-100-disk-0.raw\n\n\
         [PENDING]\nname: new\n"
    );
    let prepare = |ground: &Ground| {
        ground.make_disk();
        ground.configure(&config);
    };
    let ran = Cell::new(false);
    let steps = kill_everywhere("start", prepare, |ground, what| {
        ground.on(|power, _| {
            let status = power.status(ID).unwrap();
            assert!(!ran.get() || status.running, "{what}: once it runs, nothing ends it");
            if !status.running {
                power.start(ID, &Start::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            ran.set(status.running);
            let config = ground.config();
            assert!(config.contains("name: new") && !config.contains("PENDING"), "{what}: {config}");
            power.stop(ID, &Stop::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(!power.status(ID).unwrap().running, "{what}");
            // without the flag a stop leaves its files, and the next start does not mind
            power.start(ID, &Start::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            power.stop(ID, &Stop::default()).unwrap();
            assert_eq!(ground.left_in_run_dir(), [""; 0], "{what}");
            assert!(ground.disk_is_whole(), "{what}");
        });
    });
    assert!(ran.get() && steps > 6, "it has run, in {steps} steps");
}

/// Likewise of one that saves a machine: the machine still runs, or its state is complete.
#[test]
fn a_killed_suspension_loses_no_machine() {
    if !has_qemu() {
        return;
    }
    let prepare = |ground: &Ground| {
        ground.configure(PLAIN);
        ground.on(|power, _| power.start(ID, &Start::default()).unwrap());
    };
    let steps = kill_everywhere("suspend", prepare, |ground, what| {
        ground.on(|power, _| {
            let status = power.status(ID).unwrap();
            ground.unlock();
            if status.running {
                // the volume is of no use: it is deleted, and the machine goes on or ends
                ground.forget_state();
                power.resume(ID, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            } else {
                assert!(ground.config().contains("vmstate: "), "{what}: {}", ground.config());
                power.start(ID, &Start::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "running", "{what}");
            assert_eq!(ground.config(), PLAIN, "{what}");
            power.stop(ID, &Stop::default()).unwrap();
        });
    });
    assert!(steps > 6);
}

/// Likewise of one that loads it: the machine runs, or its state is still there.
#[test]
fn a_killed_resumption_loses_no_machine() {
    if !has_qemu() {
        return;
    }
    let prepare = |ground: &Ground| {
        ground.configure(PLAIN);
        ground.on(|power, _| {
            power.start(ID, &Start::default()).unwrap();
            power.suspend(ID, &to_disk()).unwrap();
            power.wait(ID, Some(Duration::from_secs(10))).unwrap();
        });
    };
    let steps = kill_everywhere("resume", prepare, |ground, what| {
        ground.on(|power, _| {
            if power.status(ID).unwrap().running {
                ground.unlock();
                ground.forget_state();
            } else {
                power.resume(ID, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            }
            assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "running", "{what}");
            assert_eq!(ground.config(), PLAIN, "{what}");
            power.stop(ID, &Stop::default()).unwrap();
            power.start(ID, &Start::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            power.stop(ID, &Stop::default()).unwrap();
        });
    });
    assert!(steps > 6);
}
