// SPDX-License-Identifier: MIT OR Apache-2.0
//! Updates that die: a new disk, a disk that replaces another, disks that are removed, an import.

use bstr::{BStr, BString, ByteSlice};
use pve_config::Digest;
use pve_qemu::cloudinit::refresh;
use pve_qemu::disk_import::{ImportOptions, import_disk};
use pve_qemu::node::Node;
use pve_qemu::rescan::{RescanMode, rescan};
use pve_qemu::resize::{ResizeOptions, resize_disk};
use pve_qemu::update::{Update, update_vm};
use pve_volid::ImageFormat;

use crate::ground::{Ground, id, local, text};
use crate::kill_everywhere;

/// What is interrupted.
pub(crate) fn operate(case: &str, node: Node<'_>) {
    let update = match case {
        "new disk" => Update::default().with("scsi1", "local:0.004").with("cores", "2"),
        "replaced disk" => Update::default().with("scsi1", "local:0.004"),
        "removed disk" => {
            let mut update = Update::default().without("scsi1");
            update.force = true;
            update
        }
        "removed unused disk" => Update::default().without("unused0"),
        "cloud-init drive set anew" => {
            Update::default().with("ide2", "local:100/vm-100-cloudinit.raw,media=cdrom")
        }
        "resized disk" => {
            resize_disk(node, id(100), "scsi0".into(), "+1M".into(), ResizeOptions::default()).unwrap();
            return;
        }
        "imported disk" => {
            let path =
                node.volumes.storages().require("local").unwrap().volume("100/vm-100-disk-0.raw").unwrap();
            let path = path.path(None, &pve_storage::Facts::default()).unwrap();
            import_disk(node, id(100), path.as_bstr(), &local(), ImportOptions::default()).unwrap();
            return;
        }
        other => panic!("no case {other}"),
    };
    update_vm(node, id(100), &update).unwrap();
}

/// A VM with a second disk as `key`.
fn prepare(ground: &Ground, key: &str) {
    ground.make_vm(ImageFormat::Raw);
    ground.on(None, |node| {
        let disk = node.volumes.allocate(&local(), id(100), ImageFormat::Raw, None, 4096.0).unwrap();
        let (_, config) = node.configs.read(id(100)).unwrap().unwrap();
        let config = [config.as_slice(), format!("{key}: {disk}\n").as_bytes()].concat();
        node.configs.write(id(100), config.as_bstr()).unwrap();
    });
}

/// What no configuration names is adopted.
fn adopt(ground: &Ground) {
    ground.on(None, |node| drop(rescan(node, Some(id(100)), RescanMode::Apply).unwrap()));
    let (images, config) = (ground.images(), config(ground));
    for image in &images {
        assert!(config.contains_str(image), "{image} is not adopted:\n{config}");
    }
}

fn config(ground: &Ground) -> BString {
    ground.on(None, |node| node.configs.read(id(100)).unwrap().unwrap().1)
}

#[test]
fn a_killed_update_with_a_new_disk() {
    kill_everywhere("new disk", |ground| ground.make_vm(ImageFormat::Raw), adopt);
}

#[test]
fn a_killed_update_that_replaces_a_disk() {
    kill_everywhere("replaced disk", |ground| prepare(ground, "scsi1"), adopt);
}

#[test]
fn a_killed_update_that_removes_a_disk() {
    // a drive whose volume is gone goes without force
    let recover = |ground: &Ground| {
        ground.on(None, |node| {
            update_vm(node, id(100), &Update::default().without("scsi1")).unwrap();
        });
        assert!(!config(ground).contains_str("scsi1"));
        ground.on(None, |node| {
            if node.configs.read(id(100)).unwrap().unwrap().1.contains_str("unused0") {
                update_vm(node, id(100), &Update::default().without("unused0")).unwrap();
            }
        });
        assert!(!config(ground).contains_str("disk-1"));
    };
    kill_everywhere("removed disk", |ground| prepare(ground, "scsi1"), recover);
    let recover = |ground: &Ground| {
        ground
            .on(None, |node| drop(update_vm(node, id(100), &Update::default().without("unused0")).unwrap()));
        assert!(!config(ground).contains_str("unused"));
    };
    kill_everywhere("removed unused disk", |ground| prepare(ground, "unused0"), recover);
}

#[test]
fn a_killed_update_of_the_cloudinit_drive() {
    // the volume is freed and made anew; whatever is left, the next image has a place
    let recover = |ground: &Ground| {
        ground.on(None, |node| assert!(refresh(node, id(100)).unwrap()));
        assert!(ground.images().contains(BStr::new("100/vm-100-cloudinit.raw")));
    };
    kill_everywhere("cloud-init drive set anew", |ground| ground.make_vm(ImageFormat::Raw), recover);
}

#[test]
fn a_killed_resize() {
    let recover = |ground: &Ground| {
        ground.on(None, |node| drop(rescan(node, Some(id(100)), RescanMode::Apply).unwrap()));
        let (config, size) = (
            config(ground),
            ground.on(None, |node| node.volumes.size("local:100/vm-100-disk-0.raw".into()).unwrap().0),
        );
        let told = format!("size={}", pve_config::format::format_size(size));
        assert!(config.contains_str(&told), "{told}: {config}");
    };
    kill_everywhere("resized disk", |ground| ground.make_vm(ImageFormat::Raw), recover);
}

#[test]
fn a_killed_import() {
    kill_everywhere("imported disk", |ground| ground.make_vm(ImageFormat::Raw), adopt);
}

#[test]
fn an_update_of_what_somebody_else_changed() {
    let Some(ground) = Ground::with_vm(ImageFormat::Raw) else { return };
    let (before, seen) = (ground.images(), config(&ground));
    ground.on(None, |node| {
        node.configs.write(id(100), [seen.as_slice(), b"memory: 512\n"].concat().as_bstr()).unwrap();
        let mut update = Update::default().with("scsi1", "local:0.004");
        update.digest = Some(Digest::of(&seen).to_string().into());
        let error = update_vm(node, id(100), &update).unwrap_err().to_string();
        assert!(error.contains("changed by somebody else") && error.contains("read it again"), "{error}");
        update.digest = None;
        node.configs.write(id(100), [b"lock: backup\n", seen.as_slice()].concat().as_bstr()).unwrap();
        let error = update_vm(node, id(100), &update).unwrap_err().to_string();
        assert!(error.contains("locked (backup)") && error.contains("unlock"), "{error}");
    });
    assert_eq!(ground.images(), before, "{}", text(&ground.root));
}

#[test]
fn an_update_that_fails_leaves_what_it_recorded_pending_and_no_volume() {
    let Some(ground) = Ground::with_vm(ImageFormat::Raw) else { return };
    let before = ground.images();
    ground.on(None, |node| {
        let update = Update::default()
            .with("cores", "2")
            .with("scsi1", "local:0.004,format=vmdk")
            .with("scsi2", "nowhere:1");
        let error = update_vm(node, id(100), &update).unwrap_err().to_string();
        assert!(error.starts_with("scsi2: storage nowhere"), "{error}");
    });
    let after = config(&ground);
    assert!(after.contains_str("[PENDING]\ncores: 2\nscsi1: local:100/vm-100-disk-1.vmdk"), "{after}");
    assert_eq!(ground.images().len(), before.len() + 1);
    ground.on(None, |node| {
        let mut update = Update::default();
        update.revert = vec!["cores".into(), "scsi1".into()];
        update_vm(node, id(100), &update).unwrap();
    });
    let after = config(&ground);
    assert!(
        after.contains_str("unused0: local:100/vm-100-disk-1.vmdk") && !after.contains_str("PENDING"),
        "{after}"
    );
    let no_disk: &BStr = "scsi7".into();
    ground.on(None, |node| {
        assert!(resize_disk(node, id(100), no_disk, "+1M".into(), ResizeOptions::default()).is_err());
    });
}
