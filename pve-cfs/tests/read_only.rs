// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a database beside a daemon: nothing is touched, and always one consistent state is shown.

#![cfg(test)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use pve_cfs::finding::Rule;
use pve_cfs::{Database, schema};
use rusqlite::Connection;

fn writer(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "NORMAL").unwrap();
    connection.execute_batch(schema::CREATE_TABLE).unwrap();
    connection
        .execute_batch(
            "INSERT INTO tree VALUES (0, 0, 1, 0, 7, 8, '__version__', NULL);
             INSERT INTO tree VALUES (2, 0, 1, 0, 7, 8, 'a', NULL);
             INSERT INTO tree VALUES (3, 0, 1, 0, 7, 8, 'b', NULL);",
        )
        .unwrap();
    connection
}

/// Names, sizes and times of everything in the folder.
fn listing(folder: &Path) -> BTreeMap<PathBuf, (u64, std::time::SystemTime, Vec<u8>)> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.metadata().unwrap();
        found.insert(path.clone(), (meta.len(), meta.modified().unwrap(), std::fs::read(&path).unwrap()));
    }
    found
}

fn rules(findings: &[pve_cfs::Finding]) -> Vec<&'static str> {
    findings.iter().map(|finding| finding.rule.name()).collect()
}

#[test]
fn the_log_counts_and_nothing_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let daemon = writer(&path);
    daemon.execute("UPDATE tree SET data = CAST('new' AS BLOB), version = 9 WHERE inode = 2", []).unwrap();
    daemon.execute_batch("BEGIN IMMEDIATE; UPDATE tree SET data = CAST('unfinished' AS BLOB)").unwrap();
    let before = listing(folder.path());
    let (database, findings) = Database::open_read_only(&path).unwrap();
    assert_eq!(database.tree().get(b"a").unwrap().content(), b"new");
    assert!(rules(&findings).contains(&"wal-applied"), "{findings:?}");
    assert_eq!(listing(folder.path()), before);
    // the daemon can go on
    daemon.execute_batch("COMMIT").unwrap();
}

#[test]
fn a_shell_without_its_log_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let daemon = writer(&path);
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    drop(daemon);
    assert_eq!(std::fs::metadata(&copy).unwrap().len(), 4096);
    let (database, findings) = Database::open_read_only(&copy).unwrap();
    assert!(database.tree().is_empty());
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].rule, Rule::EmptyShell { wal: "copy.db-wal".to_owned() });
    // after a clean stop the log is gone and nothing is missing
    let (database, findings) = Database::open_read_only(&path).unwrap();
    assert_eq!(database.tree().len(), 3);
    assert_eq!(rules(&findings), ["wal-absent"]);
}

#[test]
fn a_damaged_log_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let daemon = writer(&path);
    let copy = folder.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    let mut log = std::fs::read(folder.path().join("config.db-wal")).unwrap();
    drop(daemon);
    let whole = log.clone();
    log[3] ^= 0x40;
    std::fs::write(folder.path().join("copy.db-wal"), &log).unwrap();
    assert!(rules(&Database::open_read_only(&copy).unwrap().1).contains(&"wal-unusable"));
    // any byte flipped, any length: never a panic, and never a row that was not there
    for at in (0..whole.len()).step_by(97) {
        let mut log = whole.clone();
        log[at] ^= 0x55;
        std::fs::write(folder.path().join("copy.db-wal"), &log).unwrap();
        if let Ok((database, _)) = Database::open_read_only(&copy) {
            assert!(database.rows().iter().all(|row| [0, 2, 3].contains(&row.inode)), "{at}");
        }
        std::fs::write(folder.path().join("copy.db-wal"), &whole[..at]).unwrap();
        let _ = Database::open_read_only(&copy);
    }
}

/// A writer that keeps two rows equal in every transaction, checkpoints and restarts its log all the time; readers
/// never see them differ.
#[test]
fn a_reader_beside_a_writer_sees_one_state() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.db");
    let daemon = writer(&path);
    daemon.pragma_update(None, "wal_autocheckpoint", 4).unwrap();
    let stop = AtomicBool::new(false);
    let (reads, last) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            let mut last = 0;
            while !stop.load(Ordering::Relaxed) {
                let (database, _) = match Database::open_read_only(&path) {
                    Ok(opened) => opened,
                    Err(pve_cfs::OpenError::Read(pve_cfs::image::ReadError::Busy { .. })) => continue,
                    Err(other) => panic!("{other}"),
                };
                let tree = database.tree();
                let (a, b) = (tree.get(b"a").unwrap(), tree.get(b"b").unwrap());
                assert_eq!(a.content(), b.content());
                assert_eq!(a.version(), b.version());
                assert!(a.version() >= last, "went back from {last} to {}", a.version());
                last = a.version();
                reads += 1;
            }
            (reads, last)
        });
        for version in 1..1500 {
            let content = vec![version as u8; (version % 7) as usize * 3000];
            daemon
                .execute(
                    "UPDATE tree SET data = ?1, version = ?2 WHERE inode > 0",
                    rusqlite::params![content, version],
                )
                .unwrap();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        stop.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 0 && last > 1, "{reads} reads, last version {last}");
}
