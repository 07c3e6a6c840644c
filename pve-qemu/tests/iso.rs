// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images read back by programs that were not written with this crate in mind.
#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use proptest::prelude::*;
use pve_qemu::iso;

/// A file whose name is beyond what plain ISO 9660 and Joliet can hold.
const LONG: &str =
    "/a-rather-long-name-of-a-file.in.lower.case.with-dots-that-goes-on-for-more-than-64-characters.json";

type Files = Vec<(String, Vec<u8>)>;

fn config_drive() -> Files {
    let file = |path: &str, content: &[u8]| (path.to_owned(), content.to_vec());
    vec![
        file("/openstack/latest/user_data", b"#cloud-config\n"),
        file("/openstack/content/0000", b"auto lo\n"),
        file("/openstack/latest/meta_data.json", &[b'x'; 5000]),
        file("/openstack/latest/vendor_data.json", b""),
        file("/openstack/latest/deeper/and/deeper/still", b"\0\xff"),
        file(LONG, b"long\n"),
    ]
}

/// Whether the program is installed; says so if not, and fails where the environment promises it.
fn installed(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: no {program} on this machine");
        assert!(
            std::env::var_os("PVE_TEST_SYSTEM").is_none(),
            "PVE_TEST_SYSTEM is set, but there is no {program}"
        );
    }
    found
}

fn output(program: &str, arguments: &[&str], image: &Path) -> Vec<u8> {
    let output = Command::new(program).args(arguments).arg(image).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn write_image(folder: &Path, label: &str, files: &Files) -> PathBuf {
    let path = folder.join("image.iso");
    std::fs::write(&path, iso::image(label, files).unwrap()).unwrap();
    path
}

#[test]
fn isoinfo_reads_both_trees() {
    if !installed("isoinfo") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = config_drive();
    let image = write_image(folder.path(), "config-2", &files);

    let summary = String::from_utf8(output("isoinfo", &["-d", "-i"], &image)).unwrap();
    for line in [
        "Volume id: config-2",
        "Logical block size is: 2048",
        "Joliet with UCS level 3 found",
        "Rock Ridge signatures version 1 found",
    ] {
        assert!(summary.contains(line), "{line:?} not in\n{summary}");
    }
    assert!(!summary.contains("El Torito"), "a boot record in\n{summary}");

    let names = |tree: &str| String::from_utf8(output("isoinfo", &[tree, "-f", "-i"], &image)).unwrap();
    let (rock_ridge, joliet) = (names("-R"), names("-J"));
    for (path, content) in &files {
        assert!(rock_ridge.lines().any(|line| line == path), "{path} not in\n{rock_ridge}");
        let extracted =
            Command::new("isoinfo").arg("-R").arg("-x").arg(path).arg("-i").arg(&image).output().unwrap();
        assert_eq!(&extracted.stdout, content, "{path}");
        if path != LONG {
            assert!(joliet.lines().any(|line| line == path), "{path} not in\n{joliet}");
        }
    }
}

#[test]
fn blkid_tells_label_and_type() {
    if !installed("blkid") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for label in ["cidata", "config-2", "CONTEXT"] {
        let image = write_image(folder.path(), label, &config_drive());
        let found = String::from_utf8(output("blkid", &["-p", "-o", "export"], &image)).unwrap();
        for line in [format!("LABEL={label}"), "TYPE=iso9660".to_owned(), "BLOCK_SIZE=2048".to_owned()] {
            assert!(found.lines().any(|given| given == line), "{line} not in\n{found}");
        }
    }
}

#[test]
fn xorriso_finds_every_file_and_no_fault() {
    if !installed("xorriso") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let files = config_drive();
    let image = write_image(folder.path(), "config-2", &files);
    let copy = folder.path().join("copy");
    let status = Command::new("xorriso")
        .args(["-abort_on", "WARNING", "-osirrox", "on", "-indev"])
        .arg(&image)
        .args(["-extract", "/"])
        .arg(&copy)
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    for (path, content) in &files {
        assert_eq!(&std::fs::read(copy.join(path.trim_start_matches('/'))).unwrap(), content, "{path}");
    }
}

/// The reader of the crate that writes the images, but on the finished, settled bytes.
fn read_back(image: Vec<u8>) -> BTreeMap<String, Vec<u8>> {
    use hadris_iso::read::IsoImage;
    let opened = IsoImage::open(std::io::Cursor::new(image)).unwrap();
    let mut found = BTreeMap::new();
    for entry in opened.root_dir().iter(&opened).entries() {
        let entry = entry.unwrap();
        if !entry.is_special() {
            let name = entry.display_name().into_owned();
            found.insert(name, opened.read_file(&entry).unwrap());
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_flat_files_come_back(files in proptest::collection::btree_map("[a-z0-9._-]{1,40}", proptest::collection::vec(any::<u8>(), 0..5000), 1..12)) {
        let files: BTreeMap<_, _> = files.into_iter().filter(|(name, _)| name != "." && name != "..").collect();
        let list: Files = files.clone().into_iter().collect();
        let image = iso::image("cidata", &list).unwrap();
        prop_assert_eq!(image.len() % iso::BLOCK, 0);
        prop_assert_eq!(&iso::image("cidata", &list).unwrap(), &image);
        prop_assert_eq!(read_back(image), files);
    }

    #[test]
    fn no_path_panics(paths in proptest::collection::vec("[a/.\\PC]{0,12}", 0..6), label in "\\PC{0,20}") {
        let files: Vec<_> = paths.iter().map(|path| (path, b"content")).collect();
        let _ = iso::image(&label, &files);
    }
}
