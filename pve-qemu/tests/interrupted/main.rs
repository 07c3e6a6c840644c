// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on guests that die, on a directory with real images: SIGKILL before and after every step, a full storage, a
//! configuration that somebody else changed, a lock that was left behind.
//!
//! After each death every volume must be named by a configuration or by the audit, and the disk of the source be there.
#![cfg(unix)]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::field_reassign_with_default,
    reason = "a failed step fails the test"
)]

mod ground;
mod mortal;
mod update;

use std::fs;
use std::process::Command;

use bstr::ByteSlice;
use pve_config::guest::VmConfig;
use pve_qemu::clone::{CloneOptions, clone_vm};
use pve_qemu::create::{CreateRequest, create_vm};
use pve_qemu::destroy::{DestroyOptions, destroy_vm};
use pve_qemu::disk_move::{MoveOptions, move_disk};
use pve_qemu::node::Node;
use pve_qemu::snapshot::{SnapshotRequest, create_snapshot, delete_snapshot};
use pve_qemu::template::{TemplateOptions, convert_to_template};
use pve_storage::Storage;
use pve_volid::{ImageFormat, StorageId};

use crate::ground::{Ground, MARK, has_qemu_img, id, run, skip, text};
use crate::mortal::{sentence, survives};

/// What is interrupted.
fn operate(case: &str, node: Node<'_>) {
    match case {
        "linked clone" => {
            clone_vm(node, id(100), id(200), CloneOptions::default()).unwrap();
        }
        "full clone" => {
            let mut options = CloneOptions::default();
            options.full = Some(true);
            clone_vm(node, id(100), id(200), options).unwrap();
        }
        "template" => {
            convert_to_template(node, id(100), TemplateOptions::default()).unwrap();
        }
        "create" => {
            create_vm(node, id(200), new_vm()).unwrap();
        }
        "snapshot" => create_snapshot(node, id(100), SnapshotRequest::new("before"), None).unwrap(),
        other => update::operate(other, node),
    }
}

/// A VM with an empty disk of 4 MiB, a copy of the disk of VM 100, and a cloud-init drive.
fn new_vm() -> CreateRequest {
    CreateRequest::new()
        .set("name", "new")
        .set("ide2", "local:cloudinit")
        .set("scsi0", "local:0.00390625,format=qcow2")
        .set("scsi1", "local:0,import-from=local:100/vm-100-disk-0.raw")
}

/// Kills `case` before and after each of its steps; `prepare` makes the ground, `recover` cleans up as documented.
pub(crate) fn kill_everywhere(case: &str, prepare: impl Fn(&Ground), recover: impl Fn(&Ground)) {
    if !has_qemu_img() {
        return;
    }
    for step in 0.. {
        let ground = Ground::new();
        prepare(&ground);
        let finished = survives("victim", case, step, &ground.root);
        ground.check(&format!("{case}, killed at {step}"));
        recover(&ground);
        ground.check(&format!("{case}, recovered after {step}"));
        if finished {
            assert!(step > 2, "{case} has steps");
            eprintln!("{case}: survived {step} deaths");
            return;
        }
    }
}

#[test]
#[ignore = "the process that the other tests kill"]
fn victim() {
    let Some((case, step, root)) = sentence() else { return };
    // the ground must not be tidied up here
    let ground = std::mem::ManuallyDrop::new(Ground::at(root));
    ground.on(Some(step), |node| operate(&case, node));
}

#[test]
fn a_killed_linked_clone() {
    let prepare = |ground: &Ground| {
        ground.make_vm(ImageFormat::Qcow2);
        ground.on(None, |node| convert_to_template(node, id(100), TemplateOptions::default()).unwrap());
    };
    kill_everywhere("linked clone", prepare, destroy_the_new_vm);
}

#[test]
fn a_killed_full_clone() {
    kill_everywhere("full clone", |ground| ground.make_vm(ImageFormat::Raw), destroy_the_new_vm);
}

#[test]
fn a_killed_creation() {
    kill_everywhere("create", |ground| ground.make_vm(ImageFormat::Raw), destroy_the_new_vm);
}

/// Measures, so it is only run when asked for: 1,000 linked clones of a template with a cloud-init drive.
#[test]
#[ignore = "measures: run it with --release --ignored --nocapture"]
fn a_thousand_linked_clones() {
    let Some(ground) = Ground::with_vm(ImageFormat::Qcow2) else { return };
    ground.on(None, |node| convert_to_template(node, id(100), TemplateOptions::default()).unwrap());
    let begin = std::time::Instant::now();
    let of_storages = ground.timed(|node| {
        for number in 1000..2000 {
            clone_vm(node, id(100), id(number), CloneOptions::default()).unwrap();
        }
    });
    let all = begin.elapsed();
    eprintln!(
        "1000 linked clones: {all:?}, of which {of_storages:?} in storages and qemu-img; {:?} of our own each",
        (all - of_storages) / 1000
    );
    assert_eq!(ground.on(None, |node| node.configs.guests().unwrap().len()), 1001);
}

/// An unfinished VM goes with everything that it owns.
fn destroy_the_new_vm(ground: &Ground) {
    ground.on(None, |node| {
        let mut options = DestroyOptions::default();
        options.skip_lock = true;
        options.unreferenced = true;
        if node.configs.read(id(200)).unwrap().is_some() {
            let destroyed = destroy_vm(node, id(200), options).unwrap();
            assert!(destroyed.left_behind.is_empty(), "{destroyed:?}");
        }
    });
    let left: Vec<_> = ground.images().into_iter().filter(|image| image.starts_with(b"200/")).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_killed_template() {
    kill_everywhere("template", |ground| ground.make_vm(ImageFormat::Qcow2), |_| {});
}

#[test]
fn a_killed_snapshot() {
    let recover = |ground: &Ground| {
        ground.on(None, |node| {
            let (_, before) = node.configs.read(id(100)).unwrap().unwrap();
            let (mut config, _) = VmConfig::parse(&before);
            if config.snapshot("before").is_some() {
                config.main.remove("lock");
                node.configs.write(id(100), config.to_bytes().unwrap().as_bstr()).unwrap();
                delete_snapshot(node, id(100), "before".into(), true).unwrap();
            }
            let (_, after) = node.configs.read(id(100)).unwrap().unwrap();
            assert!(!after.contains_str("before") && !after.contains_str("lock"), "{after}");
        });
    };
    kill_everywhere("snapshot", |ground| ground.make_vm(ImageFormat::Qcow2), recover);
}

#[test]
fn a_full_storage_leaves_nothing_of_the_clone() {
    on_a_full_storage(|node, small| {
        let mut options = CloneOptions::default();
        options.storage = Some(small);
        clone_vm(node, id(100), id(200), options).unwrap_err().to_string()
    });
}

#[test]
fn a_full_storage_leaves_nothing_of_a_new_vm() {
    on_a_full_storage(|node, small| {
        let request = CreateRequest::new()
            .set("scsi0", format!("{small}:0.00390625"))
            .set("scsi1", format!("{small}:0,import-from=local:100/vm-100-disk-0.qcow2"));
        create_vm(node, id(200), request).unwrap_err().to_string()
    });
}

/// That an operation which makes VM 200 with a copy of the disk of VM 100 fails as it should on a storage that is too small.
fn on_a_full_storage(operation: impl FnOnce(Node<'_>, &StorageId) -> String) {
    let Some(mut ground) = Ground::with_vm(ImageFormat::Qcow2) else { return };
    let target = ground.root.join("small");
    fs::create_dir(&target).unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&target).output().unwrap();
    if !mounted.status.success() {
        skip(&format!("cannot mount a small file system: {}", mounted.stderr.as_bstr()));
        return;
    }
    // content that no copy can leave out
    let raw = ground.root.join("mark.raw");
    let noise: Vec<u8> = (0_u32..1 << 20).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    fs::write(&raw, [MARK, &noise[MARK.len()..]].concat()).unwrap();
    let disk = ground.root.join("images/100/vm-100-disk-0.qcow2");
    run(Command::new("qemu-img").args(["convert", "-n", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(disk));
    let storage: StorageId = "small".parse().unwrap();
    let small = Storage::new(storage.clone(), "dir").with("path", text(&target)).with("content", "images");
    ground.storages.insert(small);

    let error = ground.on(None, |node| operation(node, &storage));
    let left = fs::read_dir(target.join("images/200")).map(Iterator::count).unwrap_or(0);
    let config = ground.on(None, |node| node.configs.read(id(200)).unwrap());
    run(Command::new("umount").arg(&target));
    assert!(error.contains("No space left on device"), "{error}");
    assert_eq!((left, config), (0, None));
    ground.check("full storage");
}

#[test]
fn a_changed_configuration_and_a_stale_lock_stop_everything() {
    let Some(ground) = Ground::with_vm(ImageFormat::Raw) else { return };
    let before = ground.images();
    ground.on(None, |node| {
        let (_, text) = node.configs.read(id(100)).unwrap().unwrap();
        let seen = pve_config::Digest::of(&text).to_string();
        // somebody else writes
        node.configs.write(id(100), [text.as_slice(), b"memory: 512\n"].concat().as_bstr()).unwrap();
        let mut options = MoveOptions::default();
        options.format = Some(ImageFormat::Qcow2);
        options.digest = Some(seen.as_str().into());
        let error = move_disk(node, id(100), "scsi0".into(), options).unwrap_err().to_string();
        assert!(error.contains("changed by somebody else") && error.contains("read it again"), "{error}");

        node.configs.write(id(100), [b"lock: clone\n", text.as_slice()].concat().as_bstr()).unwrap();
        let error = clone_vm(node, id(100), id(200), CloneOptions::default()).unwrap_err().to_string();
        assert!(error.contains("locked (clone)") && error.contains("unlock"), "{error}");
        assert!(node.configs.read(id(200)).unwrap().is_none());
    });
    assert_eq!(ground.images(), before);
}
