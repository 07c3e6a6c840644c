// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a client does on a mount, with the figures to reach and those of the reference's daemon.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Files that most workloads work on, of [`SIZE`] bytes each.
const FILES: u64 = 2000;
const SIZE: usize = 500;

/// One line of the table. They run one after the other, each on what the one before left in the directory.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) known: Known,
    /// What must be before the measurement.
    pub(crate) prepare: fn(&Path),
    /// Does the work, and says how many operations it was.
    pub(crate) run: fn(&Path) -> u32,
}

/// Figures of one machine, in the unit of the workload; on another one only their ratio to its own file system in memory counts.
#[derive(Clone, Copy, Default)]
pub(crate) struct Known {
    /// What is to be reached.
    pub(crate) target: Option<f64>,
    /// The reference's daemon.
    pub(crate) reference: Option<f64>,
    /// A file system in memory.
    pub(crate) floor: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Thousands of operations a second.
    Rate,
    Milliseconds,
}

const UNKNOWN: Known = Known { target: None, reference: None, floor: None };

const fn known(target: f64, reference: f64, floor: f64) -> Known {
    Known { target: Some(target), reference: Some(reference), floor: Some(floor) }
}

pub(crate) const WORKLOADS: &[Workload] = &[
    rate("create + write 500 B", known(30.0, 15.7, 48.0), nothing, create),
    rate("overwrite (open, write, close)", known(40.0, 20.7, 64.0), nothing, overwrite),
    rate("rewrite (open with O_TRUNC, write, close)", UNKNOWN, nothing, rewrite),
    rate("temporary file + rename over", known(20.0, 10.0, 29.0), nothing, replace),
    rate("open + read + close, warm", known(80.0, 47.0, 84.0), read_once, read),
    rate("stat", known(180.0, 142.0, 187.0), nothing, stat),
    rate("look for what is not there", UNKNOWN, nothing, miss),
    time("list 1,000 names, after a change", UNKNOWN, thousand, list_thousand),
    time("list 1,000 names", known(0.2, 1.16, 0.13), thousand, list_thousand_again),
    time(
        "list 10,000 names, after a change",
        Known { target: Some(5.0), reference: Some(131.0), floor: None },
        ten_thousand,
        list_ten_thousand,
    ),
    time("list 10,000 names", Known { target: Some(5.0), ..UNKNOWN }, nothing, list_ten_thousand),
    time("list 10,000 names, with attributes", UNKNOWN, nothing, list_with_attributes),
    rate("unlink", Known { reference: Some(33.7), ..UNKNOWN }, nothing, unlink),
];

const fn rate(name: &'static str, known: Known, prepare: fn(&Path), run: fn(&Path) -> u32) -> Workload {
    Workload { name, unit: Unit::Rate, known, prepare, run }
}

const fn time(name: &'static str, known: Known, prepare: fn(&Path), run: fn(&Path) -> u32) -> Workload {
    Workload { name, unit: Unit::Milliseconds, known, prepare, run }
}

/// Replaces each of the files by a new one.
pub(crate) fn replace_all(directory: &Path, files: u64) {
    for file in 0..files {
        replace_one(directory, &directory.join(format!("file-{file}")));
    }
}

fn nothing(_: &Path) {}

/// The paths are made before, so that no time goes into them.
fn each(directory: &Path, mut step: impl FnMut(&Path)) -> u32 {
    let paths: Vec<PathBuf> = (0..FILES).map(|file| directory.join(format!("file-{file}"))).collect();
    for path in &paths {
        step(path);
    }
    FILES as u32
}

fn create(directory: &Path) -> u32 {
    each(directory, |path| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).expect("a new file");
        file.write_all(&[b'a'; SIZE]).expect("a write");
    })
}

fn overwrite(directory: &Path) -> u32 {
    each(directory, |path| {
        let mut file = OpenOptions::new().write(true).open(path).expect("a file");
        file.write_all(&[b'b'; SIZE]).expect("a write");
    })
}

fn rewrite(directory: &Path) -> u32 {
    each(directory, |path| {
        let mut file = OpenOptions::new().write(true).truncate(true).open(path).expect("a file");
        file.write_all(&[b'c'; SIZE]).expect("a write");
    })
}

fn replace(directory: &Path) -> u32 {
    each(directory, |path| replace_one(directory, path))
}

fn replace_one(directory: &Path, path: &Path) {
    let temporary = directory.join("file.tmp.1");
    let mut file = OpenOptions::new().write(true).create_new(true).open(&temporary).expect("a new file");
    file.write_all(&[b'd'; SIZE]).expect("a write");
    drop(file);
    fs::rename(&temporary, path).expect("a rename");
}

fn read_once(directory: &Path) {
    read(directory);
}

fn read(directory: &Path) -> u32 {
    let mut buffer = [0; 4096];
    each(directory, |path| {
        let count = File::open(path).expect("a file").read(&mut buffer).expect("a read");
        assert_eq!(count, SIZE);
    })
}

fn stat(directory: &Path) -> u32 {
    each(directory, |path| {
        assert_eq!(fs::symlink_metadata(path).expect("attributes").len(), SIZE as u64);
    })
}

fn miss(directory: &Path) -> u32 {
    let path = directory.join("nothing");
    for _ in 0..FILES {
        assert!(fs::symlink_metadata(&path).is_err());
    }
    FILES as u32
}

/// Has the directory `name` beside the files, with so many of them, and changes it.
fn has_files(directory: &Path, name: &str, files: u64) {
    let below = directory.join(name);
    if fs::create_dir(&below).is_ok() {
        for file in 0..files - 1 {
            File::create(below.join(format!("file-{file}"))).expect("a new file");
        }
    } else {
        fs::remove_file(below.join("last")).expect("the last file");
    }
    File::create(below.join("last")).expect("a new file");
}

fn thousand(directory: &Path) {
    has_files(directory, "thousand", 1000);
}

fn ten_thousand(directory: &Path) {
    has_files(directory, "ten-thousand", 10_000);
}

fn list(directory: &Path) -> usize {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").file_name()).filter(|name| !name.is_empty()).count()
}

fn list_thousand(directory: &Path) -> u32 {
    assert_eq!(list(&directory.join("thousand")), 1000);
    1
}

fn list_thousand_again(directory: &Path) -> u32 {
    for _ in 0..100 {
        list_thousand(directory);
    }
    100
}

fn list_ten_thousand(directory: &Path) -> u32 {
    assert_eq!(list(&directory.join("ten-thousand")), 10_000);
    1
}

fn list_with_attributes(directory: &Path) -> u32 {
    for entry in fs::read_dir(directory.join("ten-thousand")).expect("a directory") {
        assert_eq!(entry.expect("an entry").metadata().expect("attributes").len(), 0);
    }
    1
}

fn unlink(directory: &Path) -> u32 {
    each(directory, |path| fs::remove_file(path).expect("the file"))
}
