// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cases of the volume name grammars that the recorded vectors do not pin down, or that read well as documentation.

use super::*;
use crate::ImageFormat;

/// `vtype name owner base base-owner B|- format`, or the refusing rule.
fn parsed(kind: StorageType, volname: &str) -> String {
    match VolumeName::read(kind, volname.as_bytes()) {
        Ok(volume) => {
            assert_eq!(volume.to_string(), volname);
            let owner = volume.owner.map_or("-".into(), |owner| owner.to_string());
            let base = volume.base.map_or("- -".into(), |base| format!("{} {}", base.name, base.owner));
            let is_base = if volume.is_base { "B" } else { "-" };
            format!("{} {} {owner} {base} {is_base} {}", volume.vtype, volume.name, volume.format)
        }
        Err(rule) => format!("{rule:?}"),
    }
}

#[test]
fn the_base_part_reaches_to_the_last_possible_slash() {
    let zfs = |volname| parsed(StorageType::ZfsPool, volname);
    assert_eq!(zfs("base-9-a/b/vm-1-c"), "images vm-1-c 1 base-9-a/b 9 - raw");
    assert_eq!(zfs("base-1-a/vm-2-b/vm-3-c"), "images vm-3-c 3 base-1-a/vm-2-b 1 - raw");
    assert_eq!(zfs("base-9-a/vm-1-b/x"), "images vm-1-b/x 1 base-9-a 9 - raw");
    assert_eq!(zfs("base-9-/vm-1-c"), "images base-9-/vm-1-c 9 - - B raw");
    assert_eq!(zfs("base-9-x/vm-1-"), "images base-9-x/vm-1- 9 - - B raw");
    assert_eq!(zfs("basevol-9-x//vm-1-c"), "images vm-1-c 1 basevol-9-x/ 9 - raw");
    assert_eq!(zfs("base-9-x/vm-1-a b"), "Zfs");
    let rbd = |volname| parsed(StorageType::Rbd, volname);
    assert_eq!(rbd("base-9-x/base-8-y"), "images base-8-y 8 base-9-x 9 B raw");
    assert_eq!(rbd("base-9-x/basevm-1-y"), "images basevm-1-y 1 base-9-x 9 B raw");
    assert_eq!(rbd("base-9-x/-1-y"), "images -1-y 1 base-9-x 9 - raw");
    assert_eq!(rbd("basevm-9-x/vm-1-y"), "images basevm-9-x/vm-1-y 9 - - B raw");
}

#[test]
fn image_files() {
    let dir = |volname: &str| parsed(StorageType::Dir, volname);
    assert_eq!(dir("100/base-.raw"), "images base-.raw 100 - - - raw");
    assert_eq!(dir("100/base-1-.raw"), "images base-1-.raw 100 - - B raw");
    assert_eq!(dir("100/.raw"), "ImageExtension");
    assert_eq!(dir("100/snap-.qcow2"), "SnapshotFile");
    assert_eq!(dir("100/snap-a.raw.qcow2"), "SnapshotFile");
    assert_eq!(dir("100/a\u{b}.raw"), "ImageWhiteSpace");
    assert_eq!(dir("100/a.raw\n"), "LineFeed");
    assert_eq!(dir("100/a.raw/b.raw"), "ImageDepth");
    assert_eq!(dir("100//a.raw"), "ImageDepth");
    assert_eq!(dir("1/a/2/b.raw"), "ImageExtension");
    assert_eq!(dir("100"), "NoContentDirectory");
}

#[test]
fn files_of_other_content() {
    let dir = |volname: &str| parsed(StorageType::CephFs, volname);
    assert_eq!(dir("vztmpl/.tar"), "Template");
    assert_eq!(dir("vztmpl/.tar.tar"), "vztmpl .tar.tar - - - - raw");
    assert_eq!(dir("vztmpl/.gz"), "Template");
    assert_eq!(dir("backup/.tgz"), "Backup");
    assert_eq!(dir("backup/.vma.gz"), "Backup");
    assert_eq!(dir("backup/..vma.gz"), "backup ..vma.gz - - - - raw");
    assert_eq!(dir("backup/a/b.vma"), "Backup");
    assert_eq!(dir("snippets/"), "Snippet");
    assert_eq!(dir("import/.ova"), "Import");
    assert_eq!(dir("import/x.ova/.raw"), "Import");
    assert_eq!(dir("import/x.ova/y.ova"), "Import");
    assert_eq!(dir("import/x.ova/y.ova/z.raw"), "Import");
    assert_eq!(dir("import/a.qcow2/b.raw"), "Import");
}

#[test]
fn backup_server() {
    let pbs = |volname: &str| parsed(StorageType::Pbs, volname);
    let time = "2020-01-01T00:00:00Z";
    let is = |name: &str, rest: &str| format!("backup {name}/{time} {rest}");
    assert_eq!(pbs(&format!("backup/a/b//{time}")), is("a/b/", "- - - - pbs-a"));
    assert_eq!(pbs(&format!("backup//a/b/{time}")), is("/a/b", "- - - - pbs-/a"));
    assert_eq!(pbs(&format!("backup/vm/100/{time}x")), "Pbs");
}

#[test]
fn an_error_names_type_text_and_rule() {
    let error = VolumeName::parse(StorageType::IscsiDirect, b"lunx").unwrap_err();
    assert_eq!(
        error.to_string(),
        "'lunx' is not a volume name on a storage of type iscsidirect: a LUN is called 'lunNUMBER'"
    );
}

#[test]
fn formats_print_as_the_reference_spells_them() {
    let json = serde_json::to_value(VolumeName::parse(StorageType::Dir, b"import/a.ova/b.vmdk").unwrap());
    assert_eq!(json.unwrap()["format"], "ova+vmdk");
    assert_eq!(VolumeFormat::from(ImageFormat::Raw).image(), Some(ImageFormat::Raw));
    assert_eq!(VolumeFormat::Vmx.image(), None);
}
