// SPDX-License-Identifier: MIT OR Apache-2.0
//! Programs that die in the middle of a start, a suspension or a resumption: what the table of the module `power` says.

use std::cell::Cell;
use std::time::Duration;

use pve_qemu::power::{Start, Stop};

use crate::ground::{Ground, ID, PLAIN, has_qemu, has_qemu_img};
use crate::mortal::{sentence, survives};
use crate::to_disk;

/// Kills `body` before and after each of its steps; `prepare` makes the ground, `check` looks at what is left.
fn kill_everywhere(case: &str, prepare: impl Fn(&Ground), check: impl Fn(&Ground, &str)) -> usize {
    for step in 0.. {
        let ground = Ground::new();
        prepare(&ground);
        let finished = survives("deaths::victim", case, step, ground.root());
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
    let Some((case, step, root)) = sentence() else { return };
    // the ground must not be tidied up here
    let ground = std::mem::ManuallyDrop::new(Ground::at(root));
    ground.on_mortal(step, |power| match case.as_str() {
        "start" => power.start(ID, &Start::default()).unwrap(),
        "suspend" => power.suspend(ID, &to_disk()).unwrap(),
        "resume" => power.resume(ID, false).unwrap(),
        other => panic!("no case {other}"),
    });
}

#[test]
fn a_killed_start_leaves_a_vm_or_none() {
    if !has_qemu() || !has_qemu_img() {
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
