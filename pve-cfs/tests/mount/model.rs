// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations by chance on a mount and on a model in memory: after each, both say the same.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use pve_cfs::mount::{Caching, MountOptions};

use crate::mounted::{Chance, Mounted};

const LIMIT: u64 = 1_048_576;

/// Contents by name.
type Model = BTreeMap<String, Vec<u8>>;

#[test]
fn operations_by_chance_do_what_the_model_does() {
    for (seed, caching) in
        [(1, Caching::Kernel), (2, Caching::None), (3, Caching::Kernel), (4, Caching::None)]
    {
        let options = MountOptions { caching, ..MountOptions::default() };
        let Some(node) = Mounted::start_as(&options, |_| {}) else { return };
        let (mut chance, mut model) = (Chance(seed), Model::new());
        let end = Instant::now() + Duration::from_secs(2);
        let mut count = 0;
        while Instant::now() < end || count < 300 {
            operate(&node.path(""), &mut chance, &mut model);
            count += 1;
        }
        compare(&node.path(""), &model);
        let database = node.finish();
        let found: Model = database
            .tree()
            .files()
            .map(|(path, entry)| (path.to_string(), entry.content().to_vec()))
            .collect();
        assert!(found == model, "seed {seed}: the database differs from the model after {count} operations");
    }
}

/// One operation on both.
fn operate(mount: &Path, chance: &mut Chance, model: &mut Model) {
    let name = format!("f{}", chance.below(8));
    let path = mount.join(&name);
    let content = model.get(&name).cloned();
    let exists = content.is_some();
    let [far, long] = [8, 8].map(|limit| chance.below(limit) == 0);
    let offset = chance.below(if far { LIMIT + 5000 } else { 20_000 });
    let size = chance.below(if long { 300_000 } else { 6000 });
    let letter = b'a' + chance.below(26) as u8;
    match chance.below(9) {
        0 => {
            assert_eq!(File::create_new(&path).is_ok(), !exists);
            model.entry(name.clone()).or_default();
        }
        1 => {
            // several requests of which only the first fit would write a part: too far is tried with one
            let size = if offset + size > LIMIT { size.min(3000) } else { size };
            let data = vec![letter; size as usize];
            let done =
                OpenOptions::new().write(true).open(&path).and_then(|file| file.write_all_at(&data, offset));
            match &done {
                Ok(()) => assert!(exists && (size == 0 || offset + size <= LIMIT)),
                Err(error) if exists => {
                    assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::EFBIG as i32));
                }
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound),
            }
            if done.is_ok() && size > 0 {
                write(model.entry(name.clone()).or_default(), offset, &data);
            } else if exists && offset < LIMIT && offset + size > LIMIT {
                // what lies in the last page may have fitted by itself
                let seen = fs::read(&path).unwrap();
                let fitted = seen.len().saturating_sub(offset as usize).min(size as usize);
                let mut expected = model[&name].clone();
                if seen != expected {
                    write(&mut expected, offset, &data[..fitted]);
                }
                assert!(seen == expected);
                model.insert(name.clone(), seen);
            }
        }
        2 => {
            let done = OpenOptions::new().write(true).open(&path).and_then(|file| file.set_len(offset));
            assert_eq!(
                done.is_ok(),
                exists && offset <= LIMIT,
                "{name} exists: {exists}, to {offset}: {done:?}"
            );
            if done.is_ok() {
                model.entry(name.clone()).or_default().resize(offset as usize, 0);
            }
        }
        3 => {
            let size =
                size.min(LIMIT - content.as_ref().map_or(0, |content| content.len() as u64).min(LIMIT));
            let data = vec![letter; size as usize];
            let done = OpenOptions::new().append(true).open(&path).and_then(|mut file| file.write_all(&data));
            assert_eq!(done.is_ok(), exists);
            if exists {
                model.entry(name.clone()).or_default().extend_from_slice(&data);
            }
        }
        4 => {
            let file = OpenOptions::new().write(true).truncate(true).open(&path);
            assert_eq!(file.is_ok(), exists);
            if exists {
                model.insert(name.clone(), Vec::new());
            }
        }
        5 => {
            let to = format!("f{}", chance.below(8));
            let done = fs::rename(&path, mount.join(&to));
            assert_eq!(done.is_ok(), exists);
            if let Some(content) = model.remove(&name) {
                model.insert(to, content);
            }
        }
        6 if chance.below(3) == 0 => {
            assert_eq!(fs::remove_file(&path).is_ok(), exists);
            model.remove(&name);
        }
        7 => {
            let mut data = vec![0; size as usize];
            let read = File::open(&path).and_then(|file| file.read_at(&mut data, offset));
            let expected = content.as_ref().map(|content| {
                let start = (offset as usize).min(content.len());
                &content[start..(start + size as usize).min(content.len())]
            });
            assert_eq!(read.as_ref().ok().copied(), expected.map(<[u8]>::len));
            assert!(expected.is_none_or(|expected| data.starts_with(expected)));
        }
        _ => {
            let size = fs::metadata(&path).ok().map(|meta| meta.len() as usize);
            assert_eq!(size, content.map(|content| content.len()));
        }
    }
    if chance.below(50) == 0 {
        compare(mount, model);
    }
}

fn write(content: &mut Vec<u8>, offset: u64, data: &[u8]) {
    let offset = offset as usize;
    content.resize(content.len().max(offset + data.len()), 0);
    content[offset..offset + data.len()].copy_from_slice(data);
}

fn compare(mount: &Path, model: &Model) {
    let mut found = Model::new();
    for entry in fs::read_dir(mount).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.starts_with('f') {
            let mut content = Vec::new();
            File::open(mount.join(&name)).unwrap().read_to_end(&mut content).unwrap();
            found.insert(name, content);
        }
    }
    assert!(found == *model, "{:?} and {:?}", found.keys(), model.keys());
}

/// A file is written byte by byte in an order by chance, and read so, beside a writer whose bytes lie between them.
#[test]
fn single_bytes() {
    for caching in [Caching::Kernel, Caching::None] {
        let options = MountOptions { caching, ..MountOptions::default() };
        let Some(node) = Mounted::start_as(&options, |_| {}) else { return };
        let path = node.path("a");
        let content: Vec<u8> = (0..5000_u32).map(|at| (at % 251) as u8 + 1).collect();
        File::create_new(&path).unwrap();
        std::thread::scope(|scope| {
            for half in 0..2 {
                let (path, content) = (&path, &content);
                scope.spawn(move || {
                    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
                    // 7 has no common divisor with the number of places
                    for step in 0..content.len() / 2 {
                        let at = (step * 7 % (content.len() / 2)) * 2 + half;
                        assert_eq!(file.write_at(&content[at..=at], at as u64).unwrap(), 1);
                        let mut byte = [0];
                        assert_eq!(file.read_at(&mut byte, at as u64).unwrap(), 1);
                        assert_eq!(byte[0], content[at], "{caching:?}, byte {at}");
                    }
                });
            }
        });
        let file = File::open(&path).unwrap();
        let mut byte = [0];
        for (at, expected) in content.iter().enumerate() {
            assert_eq!(file.read_at(&mut byte, at as u64).unwrap(), 1);
            assert_eq!(byte[0], *expected);
        }
        assert_eq!(file.read_at(&mut byte, content.len() as u64).unwrap(), 0);
        let database = node.finish();
        assert_eq!(database.tree().get(b"a").unwrap().content(), content);
        // each write is a change
        assert_eq!(database.tree().version(), 2 + content.len() as u64);
    }
}

/// Each open with `O_TRUNC` is a change by itself, even of an empty file; bytes go to the end with `O_APPEND`, whoever wrote before.
#[test]
fn opening_to_cut_and_to_append() {
    let Some(node) = Mounted::start() else { return };
    let version = || node.files.replica().engine().tree().version();
    let path = node.path("a");
    File::create_new(&path).unwrap();
    let before = version();
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    assert_eq!(version(), before + 1);
    let mut handles: Vec<_> = (0..2).map(|_| OpenOptions::new().append(true).open(&path).unwrap()).collect();
    for round in 0..20 {
        handles[round % 2].write_all(format!("{round:02}\n").as_bytes()).unwrap();
    }
    let expected: String = (0..20).map(|round| format!("{round:02}\n")).collect();
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    node.finish();
}

/// Who lists a directory while others make and delete files in it sees each file that is there all the time, once.
#[test]
fn listing_while_files_come_and_go() {
    let Some(node) = Mounted::start() else { return };
    fs::create_dir(node.path("d")).unwrap();
    for index in 0..1000 {
        File::create(node.path(&format!("d/stays-{index:04}"))).unwrap();
    }
    let end = Instant::now() + Duration::from_secs(2);
    std::thread::scope(|scope| {
        for id in 0..2 {
            let node = &node;
            scope.spawn(move || {
                for round in 0.. {
                    let path = node.path(&format!("d/{}-{id}", ["a", "t", "stays-0500"][round % 3]));
                    File::create_new(&path).unwrap();
                    fs::remove_file(&path).unwrap();
                    if Instant::now() > end {
                        break;
                    }
                }
            });
        }
        while Instant::now() < end {
            let mut staying: Vec<_> = fs::read_dir(node.path("d"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name.starts_with("stays-") && name.len() == 10)
                .collect();
            staying.sort_unstable();
            assert_eq!(staying.len(), 1000);
            staying.dedup();
            assert_eq!(staying.len(), 1000);
        }
    });
    node.finish();
}
