// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names from outside: whatever a volume, a snapshot or a value of storage.cfg is called, nothing is touched outside of
//! where it belongs, and no program gets it as an option.

#![cfg(test)]

use bstr::{BStr, BString, ByteSlice};
use proptest::prelude::*;
use pve_storage::{Hints, MemoryHost, Record, Session, Storage, Storages, StreamFormat, Transfer};
use pve_volid::{ImageFormat, VmId};

/// A part of every name that tries to be an option.
const MARK: &str = "evil";

/// Names of the worst kinds, and ordinary ones into which such are woven.
fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "-evil",
            "--evil=1",
            "..",
            ".",
            "",
            "/",
            "../../etc/passwd",
            "/etc/passwd",
            "a/../../b",
            "x\0y",
            "x\ny",
            "$(evil)",
            "`evil`",
            ";evil",
            "100/../../vm-100-disk-0.raw",
            "100/-evil.raw",
            "100/--evil.qcow2",
            "../100/vm-100-disk-0.raw",
            "100/../vm-100-disk-0.raw/100/vm-100-disk-0.qcow2",
            "iso/../../../x.iso",
            "iso/-evil.iso",
            "backup/..",
            "snippets/..",
            "snippets/-evil",
            "vm-100-disk-0",
            "100/vm-100-disk-0.raw",
            "vm-100-/../../x",
            "base-9-x/../vm-100-disk-0",
        ])
        .prop_map(str::to_owned),
        "(100/)?(vm|base|subvol|snap)-100-[a-z0-9./@:-]{0,10}(\\.raw|\\.qcow2)?",
        "-evil[ -~]{0,6}",
        "[ -~]{0,10}",
    ]
}

/// Storages with hostile values, each of another type.
fn storages(value: &str) -> Storages {
    let storage = |id: &str, kind: &str| {
        Storage::new(id.parse().unwrap(), kind).with("content", "images,iso,backup,snippets")
    };
    [
        storage("dir", "dir").with("path", "/srv/dir"),
        storage("moved", "dir").with("path", "/srv/dir").with("content-dirs", format!("images={value}")),
        storage("chain", "dir").with("path", "/srv/dir").with("snapshot-as-volume-chain", "1"),
        storage("btrfs", "btrfs").with("path", "/srv/dir"),
        storage("nfs", "nfs").with("path", "/srv/dir").with("server", value).with("export", value),
        storage("lvm", "lvm").with("vgname", "vg0"),
        storage("group", "lvm").with("vgname", value),
        storage("thin", "lvmthin").with("vgname", value).with("thinpool", value),
        storage("zfs", "zfspool").with("pool", "tank"),
        storage("pool", "zfspool").with("pool", value),
        storage("rbd", "rbd").with("pool", "rbd"),
        storage("space", "rbd").with("pool", value).with("namespace", value).with("monhost", value),
    ]
    .into_iter()
    .collect()
}

/// Tries everything with such names; most of it fails.
fn try_everything(session: &Session<'_>, storages: &Storages, name: &str, snapshot: &str) {
    let vmid = VmId::new(100).unwrap();
    for storage in storages.iter() {
        let id = storage.id().as_str();
        let volid = BString::from(format!("{id}:{name}"));
        let (volid, snapshot, name) = (volid.as_bstr(), BStr::new(snapshot), BStr::new(name));
        for format in [None, Some(ImageFormat::Raw), Some(ImageFormat::Qcow2), Some(ImageFormat::Subvol)] {
            drop(session.allocate(id, vmid, format, Some(name), 1024));
        }
        drop(session.allocate(id, vmid, None, None, 1024));
        drop(session.activate_volumes(&[volid], None, Hints::default()));
        drop(session.create_snapshot(volid, snapshot));
        drop(session.rollback(volid, snapshot));
        drop(session.delete_snapshot(volid, snapshot, false));
        drop(session.snapshots(volid));
        drop(session.clone_volume(volid, vmid, Some(snapshot)));
        drop(session.clone_volume(volid, vmid, None));
        drop(session.create_base(volid));
        drop(session.rename(volid, vmid, Some(name)));
        drop(session.rename(volid, vmid, None));
        drop(session.resize(volid, None, 1 << 21, false));
        drop(session.size_info(volid));
        drop(session.set_notes(volid, "text"));
        drop(session.set_protected(volid, true));
        let stream = [&4096_u64.to_le_bytes()[..], &[0; 4096]].concat();
        drop(session.import(volid, &Transfer::new(StreamFormat::RawSize), &mut &stream[..]));
        drop(session.export(volid, &Transfer::new(StreamFormat::RawSize), &mut std::io::sink()));
        drop(session.free(volid));
        drop(session.survey(id));
        drop(session.activate_storage(id));
    }
}

/// Whether a path leads up.
fn climbs(path: &[u8]) -> bool {
    path.split_str("/").any(|part| part == b"..")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_stay_where_they_belong(name in hostile(), snapshot in hostile(), value in hostile()) {
        let storages = storages(&value);
        let host = MemoryHost::new();
        let session = Session::new(&storages, &host, "here").assume_active();
        try_everything(&session, &storages, &name, &snapshot);
        for record in host.records() {
            match record {
                Record::Changed(change) => {
                    let path = change.path();
                    let known = [&b"/srv/dir"[..], b"/run/", b"/etc/pve/priv/", b"/var/lock/"];
                    prop_assert!(known.iter().any(|root| path.starts_with(root)), "{change}");
                    prop_assert!(!climbs(path), "{change}");
                }
                Record::Ran(command) => {
                    for arg in command.arguments() {
                        let is_option = arg.starts_with(b"-") && arg.contains_str(MARK) && !arg.contains(&b'=');
                        prop_assert!(!is_option, "{command}");
                        let path = [&b"if="[..], b"of="].iter().find_map(|word| arg.strip_prefix(*word));
                        let path = path.unwrap_or(arg);
                        prop_assert!(!path.starts_with(b"/") || !climbs(path), "{command}");
                        prop_assert!(!arg.contains(&0), "{command}");
                    }
                }
                _ => {}
            }
        }
    }
}
