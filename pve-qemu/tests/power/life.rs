// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM does between its start and its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use bstr::{BStr, ByteSlice};
use pve_qemu::disk_move::{MoveOptions, move_disk};
use pve_qemu::node::{Machines, Rehearsal};
use pve_qemu::power::{Power, PowerError, RehearsedProcesses, Shutdown, Start, Stop, Suspend};
use pve_qemu::snapshot::{SnapshotRequest, delete_snapshot};
use pve_volid::ImageFormat;
use serde_json::json;

use crate::ground::{Ground, ID, PLAIN, has, has_qemu_img};
use crate::to_disk;

#[test]
fn a_vm_runs_pauses_goes_on_and_ends() {
    let Some(ground) = Ground::with_vm(&format!(
        "{PLAIN}net0: virtio=BC:24:11:00:00:01,link_down=1\nballoon: 32\nagent: 1\n"
    )) else {
        return;
    };
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
    let config = format!("{PLAIN}net0: virtio=BC:24:11:00:00:01\n");
    let Some(ground) = Ground::with_vm(&config) else { return };
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
fn the_cloud_init_image_is_made_by_the_start() {
    if !has_qemu_img() {
        return;
    }
    let volume = "local:100/vm-100-cloudinit.qcow2";
    let Some(ground) = Ground::with_vm(&format!(
        "{PLAIN}ciuser: anna\nide2: {volume},media=cdrom\nname: web\n\n\
         [special:cloudinit]\nciuser: otto\n"
    )) else {
        return;
    };
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
fn a_rehearsed_start_and_stop_change_nothing() {
    let config = format!("{PLAIN}scsi0: local:100/vm-100-disk-0.raw\n\n[PENDING]\nname: new\n");
    let Some(ground) = Ground::with_vm(&config) else { return };
    ground.make_disk();
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
    if !has_qemu_img() {
        return;
    }
    let Some(ground) = Ground::with_vm(PLAIN) else { return };
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

#[test]
fn a_tpm_comes_and_goes_with_its_vm() {
    let has_tpm = ["/usr/bin/swtpm", "/usr/bin/swtpm_setup"].iter().all(|program| has(program));
    if !has_tpm {
        return;
    }
    let state = "local:100/vm-100-disk-1.raw";
    let Some(ground) = Ground::with_vm(&format!("{PLAIN}tpmstate0: {state},size=4M,version=v2.0\n")) else {
        return;
    };
    ground.on(|power, processes| {
        let local = "local".parse().unwrap();
        let name = Some("vm-100-disk-1.raw".into());
        power.node.volumes.allocate(&local, ID, ImageFormat::Raw, name, 4096.0).unwrap();
        power.start(ID, &Start::default()).unwrap();
        let pid = fs::read_to_string(ground.run_dir().tpm_pid(ID)).unwrap();
        let line = || fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
        assert!(line().contains("swtpm") && line().contains("--tpm2"), "{}", line());
        let models = processes.machines().qmp(ID, "query-tpm", json!({}), None).unwrap();
        assert_eq!(models[0]["model"], "tpm-tis", "{models}");
        power.stop(ID, &Stop::default()).unwrap();
        for _ in 0..50 {
            if line().is_empty() {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        assert_eq!(line(), "", "the emulator ends with its machine");

        // nor does it stay if the machine does not come about
        ground.configure(&format!("args: -device no-such-device\n{}", ground.config()));
        assert!(power.start(ID, &Start::default()).is_err());
        let left = fs::read_to_string(ground.run_dir().tpm_pid(ID)).unwrap_or_default();
        assert!(!std::path::Path::new("/proc").join(left.trim()).join("exe").exists() || left.is_empty());
    });
}
