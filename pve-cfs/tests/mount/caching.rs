// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the kernel keeps is never stale, and what is open outlives its name.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::{Duration, Instant};

use pve_cfs::mount::{Caching, Mount, MountOptions, is_stale};
use pve_cfs::store::{Store, StoreOptions};

use crate::mounted::Mounted;

/// Waits until `true`: invalidations reach the kernel a moment after the change.
fn soon(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(5), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn changes_from_outside_reach_the_kernel() {
    let Some(node) = Mounted::start() else { return };
    fs::write(node.path("storage.cfg"), "one").unwrap();
    assert_eq!(fs::read(node.path("storage.cfg")).unwrap(), b"one");
    assert!(fs::metadata(node.path("new.cfg")).is_err());
    node.files.truncate(b"storage.cfg", 0).unwrap();
    node.files.write(b"storage.cfg", 0, b"longer than before").unwrap();
    soon("new content", || fs::read(node.path("storage.cfg")).unwrap() == b"longer than before");
    node.files.create(b"new.cfg").unwrap();
    soon("a new name", || fs::metadata(node.path("new.cfg")).is_ok());
    let listed =
        |name: &str| fs::read_dir(node.path("")).unwrap().any(|entry| entry.unwrap().file_name() == name);
    soon("a new name in the listing", || listed("new.cfg"));
    node.files.rename(b"new.cfg", b"moved.cfg").unwrap();
    soon("the old name gone", || fs::metadata(node.path("new.cfg")).is_err() && !listed("new.cfg"));
    soon("the new name", || fs::metadata(node.path("moved.cfg")).is_ok() && listed("moved.cfg"));
    node.files.delete(b"moved.cfg").unwrap();
    soon("a deleted name gone", || fs::metadata(node.path("moved.cfg")).is_err() && !listed("moved.cfg"));
    assert_eq!(fs::metadata(node.path("storage.cfg")).unwrap().mode() & 0o777, 0o640);
    node.files.set_quorate(false);
    soon("read-only modes", || fs::metadata(node.path("storage.cfg")).unwrap().mode() & 0o777 == 0o440);
    assert_eq!(fs::write(node.path("storage.cfg"), "x").unwrap_err().raw_os_error(), Some(13));
    node.files.set_quorate(true);
    soon("writable modes", || fs::metadata(node.path("storage.cfg")).unwrap().mode() & 0o777 == 0o640);
    node.finish();
}

#[test]
fn a_rename_shows_its_time_and_mode_at_once() {
    let Some(node) = Mounted::start() else { return };
    fs::create_dir(node.path("priv")).unwrap();
    fs::write(node.path("a"), "x").unwrap();
    assert_eq!(fs::metadata(node.path("a")).unwrap().mtime(), 1_700_000_000);
    node.clock.set(1_700_000_777);
    fs::rename(node.path("a"), node.path("priv/a")).unwrap();
    let meta = fs::metadata(node.path("priv/a")).unwrap();
    assert_eq!((meta.mtime(), meta.mode() & 0o777), (1_700_000_777, 0o600));
    node.finish();
}

#[test]
fn a_deleted_file_lives_on_for_who_has_it_open() {
    let Some(node) = Mounted::start() else { return };
    let path = node.path("a");
    fs::write(&path, "old content").unwrap();
    let mut old = fs::File::options().read(true).write(true).open(&path).unwrap();
    fs::write(node.path("b"), "new").unwrap();
    fs::rename(node.path("b"), &path).unwrap();
    // who has the replaced file open neither sees nor disturbs the one that took its place
    old.write_at(b"OLD", 0).unwrap();
    let mut text = String::new();
    old.seek(SeekFrom::Start(0)).unwrap();
    old.read_to_string(&mut text).unwrap();
    assert_eq!(text, "OLD content");
    assert_eq!(old.metadata().unwrap().nlink(), 0);
    assert_eq!(fs::read(&path).unwrap(), b"new");
    drop(old);
    let database = node.finish();
    assert_eq!(database.tree().get(b"a").unwrap().content(), b"new");
    assert_eq!(database.tree().len(), 2);
}

#[test]
fn virtual_files_are_never_stale_and_whole() {
    let Some(node) = Mounted::start() else { return };
    fs::create_dir_all(node.path("nodes/pve1/qemu-server")).unwrap();
    for vmid in 100..130 {
        fs::write(node.path(&format!("qemu-server/{vmid}.conf")), "memory: 512\n").unwrap();
        let text = fs::read_to_string(node.path(".vmlist")).unwrap();
        assert!(
            text.contains(&format!("\"{vmid}\": {{ \"node\": \"pve1\"")) && text.ends_with("}\n\n}\n"),
            "{text}"
        );
        assert_eq!(fs::metadata(node.path(".vmlist")).unwrap().len(), text.len() as u64);
    }
    assert_eq!(fs::read(node.path(".debug")).unwrap(), b"0\n");
    fs::write(node.path(".debug"), "1\n").unwrap();
    assert_eq!(fs::read(node.path(".debug")).unwrap(), b"1\n");
    node.finish();
}

#[test]
fn an_expired_lock_disappears_at_once() {
    let Some(node) = Mounted::start() else { return };
    fs::create_dir_all(node.path("priv/lock/vm")).unwrap();
    let ask = || {
        let time = std::time::UNIX_EPOCH;
        let times = fs::FileTimes::new().set_accessed(time).set_modified(time);
        fs::File::open(node.path("priv/lock/vm")).unwrap().set_times(times).unwrap_err().raw_os_error()
    };
    assert_eq!(ask(), Some(13));
    node.clock.set(1_700_000_121);
    assert_eq!(ask(), Some(2));
    assert!(fs::metadata(node.path("priv/lock/vm")).is_err());
    fs::create_dir(node.path("priv/lock/vm")).unwrap();
    node.finish();
}

#[test]
fn numbers_stay_apart_past_the_version_of_a_million() {
    let Some(node) = Mounted::start_with(|database| {
        drop(Store::open(database, &StoreOptions::default(), 7).unwrap());
        let connection = rusqlite::Connection::open(database).unwrap();
        connection.execute("UPDATE tree SET version = 999990 WHERE inode = 0", []).unwrap();
    }) else {
        return;
    };
    for index in 0..40 {
        fs::write(node.path(&format!("f{index}")), "x").unwrap();
    }
    let mut seen = HashSet::new();
    for entry in fs::read_dir(node.path("")).unwrap() {
        let entry = entry.unwrap();
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        assert!(seen.insert(meta.ino()), "{:?} shares its number", entry.path());
    }
    assert!(fs::read_to_string(node.path(".version")).unwrap().starts_with("{\n\"starttime\""));
    assert!(node.finish().tree().version() > 1_000_000);
}

#[test]
fn names_of_all_bytes_and_many_of_them() {
    let Some(node) = Mounted::start() else { return };
    let mut expected = HashSet::new();
    for byte in (1..=255_u8).filter(|byte| ![b'/', b'.'].contains(byte)) {
        let name = std::ffi::OsString::from_vec(vec![b'n', byte, byte]);
        fs::write(node.path("").join(&name), [byte]).unwrap();
        expected.insert(name);
    }
    for index in 0..10_000 {
        let name = std::ffi::OsString::from(format!("many-{index}"));
        fs::File::create(node.path("").join(&name)).unwrap();
        expected.insert(name);
    }
    let listed: HashSet<_> =
        fs::read_dir(node.path("")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(expected.difference(&listed).count(), 0);
    assert_eq!(listed.len(), expected.len() + 10);
    node.finish();
}

/// The kernel takes names of 1024 bytes, newer ones longer names; nothing else limits them, nor the depth.
#[test]
fn long_names() {
    let Some(node) = Mounted::start() else { return };
    let mut expected = Vec::new();
    for (length, letter) in [(255, "a"), (256, "b"), (1023, "c"), (1024, "d")] {
        let name = letter.repeat(length);
        fs::write(node.path(&name), name.as_bytes()).unwrap();
        assert_eq!(fs::read(node.path(&name)).unwrap(), name.as_bytes());
        expected.push(name);
    }
    for length in [1025, 3000, 4096] {
        let name = "e".repeat(length);
        match fs::write(node.path(&name), "x") {
            Ok(()) => {
                assert!(length < 4096 && node.files.attributes(name.as_bytes()).is_ok());
                fs::remove_file(node.path(&name)).unwrap();
            }
            Err(error) => assert_eq!(error.raw_os_error(), Some(nix::errno::Errno::ENAMETOOLONG as i32)),
        }
    }
    let renamed = format!("{}{}", "f".repeat(1000), "\u{e4}".repeat(12));
    fs::rename(node.path(&expected[3]), node.path(&renamed)).unwrap();
    expected[3] = renamed;
    let deep = ["directory-of-some-length"; 60].join("/");
    fs::create_dir_all(node.path(&deep)).unwrap();
    fs::write(node.path(&format!("{deep}/file")), "deep").unwrap();
    let mut listed: Vec<_> = fs::read_dir(node.path(""))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.len() > 200)
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, expected);
    let database = node.finish();
    assert!(expected.iter().all(|name| database.tree().get(name.as_bytes()).is_some()));
    assert_eq!(database.tree().get(format!("{deep}/file").as_bytes()).unwrap().content(), b"deep");
}

/// Who has a file open when the quorum is lost can read on, cannot write, and can again when it is back.
#[test]
fn the_quorum_is_lost_while_files_are_open() {
    for caching in [Caching::Kernel, Caching::None] {
        let options = MountOptions { caching, ..MountOptions::default() };
        let Some(node) = Mounted::start_as(&options, |_| {}) else { return };
        fs::write(node.path("a"), "kept").unwrap();
        let open = |write: bool| fs::File::options().read(true).write(write).open(node.path("a"));
        let (writer, reader) = (open(true).unwrap(), open(false).unwrap());
        let refused = |result: std::io::Result<()>| {
            assert_eq!(
                result.unwrap_err().raw_os_error(),
                Some(nix::errno::Errno::EACCES as i32),
                "{caching:?}"
            );
        };
        node.files.set_quorate(false);
        let version = node.files.replica().engine().tree().version();
        refused(writer.write_at(b"lost", 0).map(drop));
        refused(writer.set_len(1));
        refused(fs::File::create_new(node.path("b")).map(drop));
        refused(fs::create_dir(node.path("d")));
        refused(fs::rename(node.path("a"), node.path("b")));
        refused(fs::remove_file(node.path("a")));
        for file in [&writer, &reader] {
            let mut text = [0; 10];
            assert_eq!(file.read_at(&mut text, 0).unwrap(), 4);
            assert!(text.starts_with(b"kept"), "{caching:?}: {text:?}");
            assert_eq!(file.metadata().unwrap().len(), 4);
        }
        assert_eq!(node.files.replica().engine().tree().version(), version);
        soon("the sign that programs look for", || {
            fs::symlink_metadata(node.path("local")).unwrap().mode() & 0o200 == 0
        });
        node.files.set_quorate(true);
        writer.write_at(b"new!", 0).unwrap();
        assert_eq!(fs::read(node.path("a")).unwrap(), b"new!");
        fs::remove_file(node.path("a")).unwrap();
        assert_eq!(node.finish().tree().len(), 1);
    }
}

/// Lines that a writer's log has before the next one is begun: a write is a change of the whole file.
const LOG_LINES: usize = 2000;

/// Writers replace files by renaming, append, and rewrite; readers never see a torn one, and nothing is lost. For
/// `PVE_TEST_SECONDS` seconds; without it, for a few.
#[test]
fn many_writers_and_readers() {
    let Some(node) = Mounted::start() else { return };
    let seconds = std::env::var("PVE_TEST_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(8);
    let end = Instant::now() + Duration::from_secs(seconds);
    let node_ref = &node;
    let counts: Vec<(usize, usize)> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..16)
            .map(|id: usize| {
                scope.spawn(move || {
                    let shared = node_ref.path(&format!("shared-{}", id % 4));
                    let open = |number: usize| {
                        let path = node_ref.path(&format!("log-{id}-{number}"));
                        fs::File::options().create(true).append(true).open(path).unwrap()
                    };
                    let mut log = open(0);
                    let (mut rounds, mut reads) = (0, 0);
                    while Instant::now() < end {
                        let temporary = node_ref.path(&format!("shared-{}.tmp.{id}", id % 4));
                        let content =
                            vec![b'a' + (rounds % 26) as u8; 100 + (rounds * 37 + id * 1000) % 9000];
                        fs::write(&temporary, &content).unwrap();
                        fs::rename(&temporary, &shared).unwrap();
                        if rounds > 0 && rounds.is_multiple_of(LOG_LINES) {
                            log = open(rounds / LOG_LINES);
                        }
                        log.write_all(format!("{id} {rounds:06}\n").as_bytes()).unwrap();
                        let seen = fs::read(&shared).unwrap();
                        assert!(seen.iter().all(|byte| *byte == seen[0]), "torn");
                        assert!((100..9100).contains(&seen.len()), "{} bytes", seen.len());
                        reads += 1;
                        rounds += 1;
                    }
                    (rounds, reads)
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert!(counts.iter().all(|(rounds, reads)| *rounds > 0 && reads == rounds), "{counts:?}");
    let database = node.finish();
    for (id, (rounds, _)) in counts.iter().enumerate() {
        for (number, first) in (0..*rounds).step_by(LOG_LINES).enumerate() {
            let log = database.tree().get(format!("log-{id}-{number}").as_bytes()).unwrap().content();
            let lines = first..(first + LOG_LINES).min(*rounds);
            let expected: String = lines.map(|round| format!("{id} {round:06}\n")).collect();
            assert!(log == expected.as_bytes(), "log {number} of writer {id}");
        }
    }
    eprintln!(
        "{} replacements and as many appended lines",
        counts.iter().map(|count| count.0).sum::<usize>()
    );
}

/// Who unmounts from outside and mounts again at once does not lose the new mount to the end of the old one.
#[test]
fn the_end_of_a_mount_spares_the_next_one() {
    let (Some(mut node), Some(other)) = (Mounted::start(), Mounted::start()) else { return };
    fs::write(other.path("a"), "x").unwrap();
    nix::mount::umount2(&node.path(""), nix::mount::MntFlags::empty()).unwrap();
    let next = Mount::new(other.files.clone(), &node.path(""), &MountOptions::default()).unwrap();
    let path = node.path("a");
    node.mount.take().unwrap().unmount().unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
    next.unmount().unwrap();
    assert!(!path.exists());
    other.finish();
}

/// A mount ends when it is asked to, whoever is in it.
#[test]
fn open_files_do_not_keep_a_mount() {
    let Some(node) = Mounted::start() else { return };
    fs::write(node.path("a"), "x").unwrap();
    let file = fs::File::open(node.path("a")).unwrap();
    node.finish();
    assert_eq!(file.metadata().unwrap_err().raw_os_error(), Some(nix::errno::Errno::ENOTCONN as i32));
}

#[test]
fn a_mount_point_must_be_empty_and_is_not_stale() {
    let Some(node) = Mounted::start() else { return };
    let other = node.folder.path().join("other");
    fs::create_dir_all(other.join("x")).unwrap();
    let refused = Mount::new(node.files.clone(), &other, &MountOptions::default()).unwrap_err();
    assert!(refused.to_string().contains("is not empty"), "{refused}");
    assert!(!is_stale(&node.path("")));
    node.finish();
}
