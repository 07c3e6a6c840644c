// SPDX-License-Identifier: MIT OR Apache-2.0
//! How VMs end: by their guests, by force, and who sees it.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use pve_qemu::node::Machines;
use pve_qemu::power::{
    EventDaemon, PowerError, Process, Processes, Reboot, Shutdown, Signal, Start, Stop, VmEnded,
};
use serde_json::json;

use crate::ground::{Ground, ID, OBEDIENT, PLAIN};

#[test]
fn a_guest_that_does_not_listen_is_stopped_by_force() {
    let Some(ground) = Ground::with_vm(PLAIN) else { return };
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

#[test]
fn a_guest_that_listens_shuts_itself_down() {
    let Some(ground) = Ground::with_vm(OBEDIENT) else { return };
    ground.make_obedient_disk();
    ground.on(|power, processes| {
        power.start(ID, &Start::default()).unwrap();
        ground.wait_for_guest(processes.machines());
        power.shutdown(ID, &Shutdown::default()).unwrap();
        assert!(!power.status(ID).unwrap().running);
        assert_eq!(ground.left_in_run_dir(), [""; 0]);

        // nobody sees it end: whoever has rebooted it cleans up, which starts it again
        power.start(ID, &Start::default()).unwrap();
        ground.wait_for_guest(processes.machines());
        let before = Process::qemu(ground.run_dir(), ID).unwrap().pid();
        ground.configure(&format!("{OBEDIENT}\n[PENDING]\nname: new\n"));
        power.reboot(ID, &Reboot::default()).unwrap();
        assert!(power.status(ID).unwrap().reboot);
        power.cleanup(ID, true).unwrap();
        let status = power.status(ID).unwrap();
        assert!(status.running && !status.reboot, "{status:?}");
        assert_ne!(Process::qemu(ground.run_dir(), ID).unwrap().pid(), before);
        assert!(ground.config().contains("name: new\n") && !ground.config().contains("PENDING"));
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn a_daemon_sees_guests_end_and_crash() {
    let Some(ground) = Ground::with_vm(OBEDIENT) else { return };
    ground.make_obedient_disk();
    let daemon = EventDaemon::bind(ground.run_dir().clone()).unwrap();
    assert!(EventDaemon::bind(ground.run_dir().clone()).is_err(), "there is one already");
    let (stop, (sender, ended)) = (AtomicBool::new(false), channel());
    let sender = Mutex::new(sender);
    std::thread::scope(|scope| {
        let served = scope.spawn(|| {
            daemon.run(&stop, &|ended| {
                ground.on(|power, _| power.cleanup(ended.vmid, ended.graceful)).unwrap();
                sender.lock().unwrap().send(ended).unwrap();
            })
        });
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let next = || {
                let ended: VmEnded = ended.recv_timeout(Duration::from_secs(60)).unwrap();
                (ended.vmid, ended.graceful, ended.by_guest)
            };
            ground.on(|power, processes| {
                assert!(processes.has_event_daemon());
                power.start(ID, &Start::default()).unwrap();
                ground.wait_for_guest(processes.machines());
                processes.machines().qmp(ID, "system_powerdown", json!({}), None).unwrap();
                assert_eq!(next(), (ID, true, true));
                assert!(!power.status(ID).unwrap().running);
                assert_eq!(ground.left_in_run_dir(), ["qmeventd.sock"]);

                // a backup reads the disks of the machine after its guest has gone
                power.start(ID, &Start::default()).unwrap();
                ground.wait_for_guest(processes.machines());
                let mut backup = UnixStream::connect(ground.run_dir().events()).unwrap();
                backup.write_all(b"{\"vzdump\": {\"vmid\": \"100\"}}\n").unwrap();
                std::thread::sleep(Duration::from_millis(500));
                processes.machines().qmp(ID, "system_powerdown", json!({}), None).unwrap();
                std::thread::sleep(Duration::from_secs(2));
                assert_eq!(power.status(ID).unwrap().state.unwrap().to_string(), "shutdown");
                drop(backup);
                assert_eq!(next(), (ID, true, true));

                // a rebooted guest comes back by itself
                power.start(ID, &Start::default()).unwrap();
                ground.wait_for_guest(processes.machines());
                power.reboot(ID, &Reboot::default()).unwrap();
                assert!(next().1);
                assert!(power.status(ID).unwrap().running);

                // a crash
                processes.kill(ID, Signal::Kill).unwrap();
                assert_eq!(next(), (ID, false, false));
                assert!(!power.status(ID).unwrap().unclean);
            });
        }));
        stop.store(true, Ordering::Relaxed);
        served.join().unwrap().unwrap();
        seen.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Takes as long as QEMU may take to answer: over a minute.
#[test]
fn a_qemu_that_does_not_answer_is_killed() {
    let Some(ground) = Ground::with_vm(PLAIN) else { return };
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
