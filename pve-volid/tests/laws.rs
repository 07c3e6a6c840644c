// SPDX-License-Identifier: MIT OR Apache-2.0
//! Property tests: the laws on generated texts, the naming convention against the parser, and the parser against the
//! grammars written as regular expressions.

#[cfg(test)]
#[path = "laws/grammars.rs"]
mod grammars;
#[cfg(test)]
#[path = "laws/mod.rs"]
mod laws;

use bstr::{BStr, ByteSlice};
use proptest::prelude::*;
use pve_volid::{
    ImageFormat, NameRule, Naming, SnapshotPlace, StorageType, VmId, VolumeFormat, VolumeName, VolumeType,
};

/// Texts made of pieces that names are made of, with a few bytes changed: they reach deep into the grammars.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        12 => prop::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(piece, 0..9).prop_map(|pieces| pieces.concat())
}

/// Pieces that names are made of.
const PIECES: &[&str] = &[
    "vm-",
    "base-",
    "subvol-",
    "basevol-",
    "snap-",
    "snap_",
    "del-",
    "100",
    "9000",
    "0100",
    "7",
    "-",
    "/",
    ".",
    "_",
    "@",
    ":",
    " ",
    "\n",
    "<",
    "../",
    "disk-",
    "0",
    "12",
    "cloudinit",
    "state-",
    "fleece-",
    ".raw",
    ".qcow2",
    ".vmdk",
    ".subvol",
    ".QCOW2",
    "iso/",
    "vztmpl/",
    "backup/",
    "snippets/",
    "import/",
    ".iso",
    ".IMG",
    ".tar",
    ".TAR",
    ".gz",
    ".zst",
    ".tgz",
    ".vma",
    ".ova",
    ".ovf",
    "vzdump-",
    "qemu-",
    "lxc-",
    "lun",
    "Lun:1 X (Size:1G)",
    "2020-01-01T00:00:00Z",
    "-2023_01_02-03_04_05",
    ".vmx",
    "x",
    "ü",
    "\t-\t-\tvolume\t-",
    "vg:",
    ":1:-wi-a-----",
    "__base__",
    "pve-vm-",
    "local",
    "+",
];

/// Types on which guests' volumes are created.
fn kinds() -> impl Strategy<Value = StorageType> {
    use StorageType::{Btrfs, CephFs, Cifs, Dir, Lvm, LvmThin, Nfs, Rbd, Zfs, ZfsPool};
    prop::sample::select(&[Dir, Nfs, Cifs, CephFs, Btrfs, Lvm, LvmThin, ZfsPool, Zfs, Rbd][..])
}

fn vmids() -> impl Strategy<Value = VmId> {
    (100u32..=999_999_999).prop_filter_map("a number out of range", VmId::new)
}

fn all_laws(text: &[u8]) {
    laws::volume_id(text);
    laws::volume_name(text);
    laws::listing(text);
    laws::archive_name(text);
    laws::free_name(text);
    laws::raw_name(text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(4000), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn laws_hold(text in texts()) {
        all_laws(&text);
    }

    #[test]
    fn laws_hold_for_any_bytes(text in prop::collection::vec(any::<u8>(), 0..60)) {
        all_laws(&text);
    }

    #[test]
    fn named_volumes_are_read_as_meant(kind in kinds(), vmid in vmids(), number in 0u32..2000, chains: bool) {
        let naming = Naming::new(kind).with_chains(chains);
        for format in kind.image_formats().iter().copied().chain([ImageFormat::Raw]) {
            for name in [
                naming.disk(vmid, number, format),
                naming.fleecing(vmid, number, format),
                naming.cloudinit(vmid, format),
            ] {
                let volname = naming.volname(vmid, name.as_bytes(), None);
                let volume = VolumeName::parse(kind, &volname).unwrap();
                prop_assert_eq!(volume.owner.unwrap(), vmid);
                prop_assert_eq!(volume.name, name.as_str());
                let is_block_subvol = format == ImageFormat::Subvol && !name.starts_with("subvol");
                if kind.is_path_based() || !is_block_subvol {
                    prop_assert_eq!(volume.format, VolumeFormat::Image(format));
                }
            }
        }
    }

    #[test]
    fn templates_and_their_clones_are_read_as_meant(kind in kinds(), vmid in vmids(), of in vmids(), number in 0u32..9) {
        let naming = Naming::new(kind);
        let Some(base) = naming.template(naming.disk(of, number, ImageFormat::Raw).as_bytes()) else {
            prop_assert_eq!(kind, StorageType::Lvm);
            return Ok(());
        };
        let volname = naming.volname(of, &base, None);
        prop_assert!(VolumeName::parse(kind, &volname).unwrap().is_base);
        let clone = naming.disk(vmid, number, ImageFormat::Raw);
        let volname = naming.volname(vmid, clone.as_bytes(), Some((of, base.as_slice())));
        let volume = VolumeName::parse(kind, &volname).unwrap();
        prop_assert_eq!((volume.name, volume.is_base), (BStr::new(&clone), false));
        let told = !matches!(kind, StorageType::LvmThin | StorageType::Btrfs);
        prop_assert_eq!(volume.base.map(|base| (base.name, base.owner.vmid())), told.then_some((base.as_bstr(), Some(of))));
    }

    #[test]
    fn snapshots_are_found_again(kind in kinds(), vmid in vmids(), chains: bool, snapshot in "[a-z][a-z0-9_-]{1,8}") {
        let naming = Naming::new(kind).with_chains(chains);
        for format in kind.image_formats().iter().copied().chain([ImageFormat::Raw]) {
            let name = naming.disk(vmid, 0, format);
            prop_assert_eq!(naming.snapshot_of(name.as_bytes(), name.as_bytes()).unwrap(), "current");
            if let Some(SnapshotPlace::Beside(place)) = naming.snapshot(name.as_bytes(), snapshot.as_bytes()) {
                prop_assert_eq!(naming.snapshot_of(name.as_bytes(), &place).unwrap(), snapshot.as_str());
                let other = naming.disk(vmid, 1, format);
                prop_assert_eq!(naming.snapshot_of(other.as_bytes(), &place), None);
            }
        }
    }

    #[test]
    fn the_parser_is_the_regular_language(text in texts()) {
        for (kind, grammar) in grammars::all() {
            let expected = grammar(&text);
            let parsed = VolumeName::read(kind, &text).ok().map(grammars::Parsed::from);
            prop_assert_eq!(parsed, expected, "{} {}", kind, text.as_bstr());
        }
    }
}

#[test]
fn very_long_names_take_linear_time() {
    let slashes = [b"base-1-x".to_vec(), b"/vm-1-".repeat(200_000)].concat();
    let digits = [b"base-1-x/vm-".to_vec(), b"1".repeat(1_000_000)].concat();
    let numbers = b"100/a.raw/".repeat(100_000);
    for name in [&slashes, &digits, &numbers] {
        for kind in StorageType::ALL {
            let started = std::time::Instant::now();
            let read = VolumeName::read(*kind, name);
            assert!(read.is_err() || read.is_ok_and(|volume| volume.vtype == VolumeType::Images));
            assert!(started.elapsed().as_secs() < 5, "{kind} needs {:?}", started.elapsed());
        }
    }
    assert_eq!(VolumeName::read(StorageType::Dir, &numbers), Err(NameRule::ImageDepth));
}
