// SPDX-License-Identifier: MIT OR Apache-2.0
//! VMs that are changed while they really run, with no operating system in them.

use bstr::BStr;
use pve_qemu::node::Node;
use pve_qemu::power::{Start, Stop};
use pve_qemu::resize::{ResizeOptions, resize_disk};
use pve_qemu::update::{Update, UpdateError, update_vm};
use serde_json::{Value, json};

use crate::ground::{Ground, ID, PLAIN, has_qemu, has_qemu_img};

/// The devices with a name.
fn devices(node: Node<'_>) -> Vec<String> {
    names(node, "/machine/peripheral")
}

fn names(node: Node<'_>, path: &str) -> Vec<String> {
    let list = node.machines.qmp(ID, "qom-list", json!({ "path": path }), None).unwrap();
    list.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap().to_owned()).collect()
}

/// What `query-block` says of the drive of an option.
fn block(node: Node<'_>, key: &str) -> Value {
    let blocks = node.machines.qmp(ID, "query-block", json!({}), None).unwrap();
    let is_wanted = |block: &&Value| {
        block["device"] == format!("drive-{key}")
            || block["qdev"].as_str().is_some_and(|path| path == key || path.contains(&format!("/{key}/")))
    };
    blocks.as_array().unwrap().iter().find(is_wanted).cloned().unwrap_or_default()
}

fn change(node: Node<'_>, update: &Update) {
    update_vm(node, ID, update).unwrap();
}

#[test]
fn disks_come_change_and_go() {
    if !has_qemu_img() {
        return;
    }
    let Some(ground) = Ground::with_vm(&format!(
        "boot: order=scsi0\n{PLAIN}scsi0: local:100/vm-100-disk-0.raw,size=1M\nscsihw: virtio-scsi-pci\n"
    )) else {
        return;
    };
    ground.make_disk();
    ground.on(|power, _| {
        let node = power.node;
        power.start(ID, &Start::default()).unwrap();
        change(node, &Update::default().with("scsi1", "local:0.004,mbps_rd=10"));
        assert!(
            ground.config().contains("scsi1: local:100/vm-100-disk-1.raw,mbps_rd=10,size="),
            "{}",
            ground.config()
        );
        assert!(!ground.config().contains("PENDING"));
        assert!(devices(node).contains(&"scsi1".to_owned()), "{:?}", devices(node));
        assert_eq!(block(node, "scsi1")["inserted"]["bps_rd"], 10 << 20);

        change(node, &Update::default().with("scsi1", "local:100/vm-100-disk-1.raw,iops=500"));
        let limits = block(node, "scsi1")["inserted"].clone();
        assert_eq!((&limits["bps_rd"], &limits["iops"]), (&json!(0), &json!(500)));

        resize_disk(node, ID, BStr::new("scsi1"), BStr::new("8M"), ResizeOptions::default()).unwrap();
        assert!(ground.config().contains("size=8M"));
        assert_eq!(block(node, "scsi1")["inserted"]["image"]["virtual-size"], 8 << 20);

        let refused = update_vm(node, ID, &Update::default().without("scsi0")).unwrap_err();
        assert!(matches!(&refused, UpdateError::Refused { refused, .. } if refused.len() == 1), "{refused}");
        assert!(ground.config().contains("[PENDING]\nboot:") && devices(node).contains(&"scsi0".to_owned()));
        let mut revert = Update::default();
        revert.revert = vec!["scsi0".into(), "boot".into()];
        change(node, &revert);
        assert!(!ground.config().contains("PENDING"), "{}", ground.config());

        change(node, &Update::default().without("scsi1"));
        assert!(ground.config().contains("unused0: local:100/vm-100-disk-1.raw\n"));
        assert!(!devices(node).contains(&"scsi1".to_owned()));
        assert_eq!(block(node, "scsi1")["inserted"], Value::Null, "the disk is closed");
        assert!(!names(node, "/objects").iter().any(|name| name.contains("scsi1")));
        // again, under another name
        change(node, &Update::default().with("scsi2", "local:100/vm-100-disk-1.raw"));
        assert!(devices(node).contains(&"scsi2".to_owned()));
        power.stop(ID, &Stop::default()).unwrap();
    });
    assert!(ground.disk_is_whole());
}

#[test]
fn media_are_changed() {
    if !has_qemu() {
        return;
    }
    let ground = Ground::new();
    let iso = ground.root().join("vz/template/iso/tools.iso");
    std::fs::create_dir_all(iso.parent().unwrap()).unwrap();
    std::fs::write(&iso, vec![7; 1 << 20]).unwrap();
    ground.configure(&format!("ide2: none,media=cdrom\n{PLAIN}"));
    ground.on(|power, _| {
        let node = power.node;
        power.start(ID, &Start::default()).unwrap();
        for _ in 0..2 {
            change(node, &Update::default().with("ide2", "local:iso/tools.iso,media=cdrom"));
            assert!(
                ground.config().contains("ide2: local:iso/tools.iso,media=cdrom,size=1M\n"),
                "{}",
                ground.config()
            );
            let file = block(node, "ide2")["inserted"]["image"]["filename"].clone();
            assert_eq!(file.as_str(), iso.to_str());
            change(node, &Update::default().with("cdrom", "none"));
            assert!(ground.config().contains("ide2: none,media=cdrom\n"));
            assert_eq!(block(node, "ide2")["inserted"], Value::Null);
        }
        power.stop(ID, &Stop::default()).unwrap();
    });
}

#[test]
fn cards_processors_and_the_tablet() {
    let Some(ground) = Ground::with_vm(&format!(
        "cores: 2\nhotplug: network,usb,cpu\n{PLAIN}net0: virtio=BC:24:11:00:00:01\nvcpus: 1\n"
    )) else {
        return;
    };
    ground.on(|power, _| {
        let node = power.node;
        power.start(ID, &Start::default()).unwrap();
        change(node, &Update::default().with("net1", "e1000=BC:24:11:00:00:02"));
        assert!(devices(node).contains(&"net1".to_owned()));
        change(node, &Update::default().with("vcpus", "2"));
        let processors = node.machines.qmp(ID, "query-cpus-fast", json!({}), None).unwrap();
        assert_eq!(processors.as_array().unwrap().len(), 2);
        assert!(ground.config().contains("vcpus: 2\n"));
        let refused = update_vm(node, ID, &Update::default().with("vcpus", "9")).unwrap_err().to_string();
        assert!(refused.contains("9 CPUs are more than sockets times cores (2)"), "{refused}");

        change(node, &Update::default().with("tablet", "0"));
        assert!(!devices(node).contains(&"tablet".to_owned()), "{:?}", devices(node));
        change(node, &Update::default().without("tablet"));
        assert!(devices(node).contains(&"tablet".to_owned()));

        // no operating system lets go of the card, so it stays, and its removal is pending
        let refused = update_vm(node, ID, &Update::default().without("net1")).unwrap_err().to_string();
        assert!(refused.contains("the guest does not let go of it"), "{refused}");
        assert!(ground.config().contains("[PENDING]\ndelete: net1\n"), "{}", ground.config());
        power.stop(ID, &Stop::default()).unwrap();
        assert!(!ground.config().contains("net1"), "stopping applies it: {}", ground.config());
    });
}
