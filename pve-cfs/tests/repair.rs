// SPDX-License-Identifier: MIT OR Apache-2.0
//! Repairing files: only what the plan names changes, and what cannot be read as the reference reads it is left alone.

#![cfg(test)]

use std::path::Path;

use pve_cfs::repair::{Repair, RepairError};
use pve_cfs::{Database, schema};
use rusqlite::Connection;

fn make(path: &Path, sql: &str) {
    Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// All values of all rows with their storage classes, by row id.
fn dump(path: &Path) -> Vec<(i64, String)> {
    let connection = Connection::open(path).unwrap();
    let mut columns = vec![];
    for column in schema::COLUMNS {
        columns.push(format!("typeof({column}) || '=' || quote({column})"));
    }
    let sql = format!("SELECT _rowid_, {} FROM tree", columns.join(" || ' ' || "));
    let mut query = connection.prepare(&sql).unwrap();
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap().map(Result::unwrap).collect()
}

#[test]
fn untouched_rows_are_the_same_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (path, new) = (folder.path().join("config.db"), folder.path().join("new.db"));
    make(
        &path,
        &format!(
            "PRAGMA page_size = 1024; {};
             INSERT INTO tree VALUES (0, 0, 9, 0, 7, 4, '__version__', x'');
             INSERT INTO tree VALUES (2, 0, 2, 0, 7, 4, 'dir', x'');
             INSERT INTO tree VALUES (3, 2, 3, 9, 7, 8, x'6eff', 'text instead of a blob');
             INSERT INTO tree VALUES (4, 2, 4, 0, 4294967296, 264, 'odd numbers', zeroblob(5000));
             INSERT INTO tree VALUES (5, 2, 5, 0, 7, 8, 'twice', x'01');
             INSERT INTO tree VALUES (6, 2, 6, 0, 7, 8, 'twice', x'02');
             CREATE TABLE other (a); INSERT INTO other VALUES ('stays');",
            schema::CREATE_TABLE
        ),
    );
    let repair = Repair::plan(&path).unwrap();
    assert_eq!((repair.steps().len(), repair.untouched()), (2, 4), "{:?}", repair.steps());
    assert_eq!(repair.write(&new).unwrap(), []);
    let (before, after) = (dump(&path), dump(&new));
    let changed: Vec<_> = before.iter().zip(&after).filter(|(before, after)| before != after).collect();
    let changed: Vec<i64> = changed.into_iter().map(|((key, _), _)| *key).collect();
    assert_eq!((before.len(), after.len(), changed), (6, 6, vec![0, 5]));
    let other: String =
        Connection::open(&new).unwrap().query_row("SELECT a FROM other", [], |row| row.get(0)).unwrap();
    assert_eq!(other, "stays");
    let again = repair.write(&new);
    assert!(matches!(again, Err(RepairError::Io { .. })), "{again:?}");
}

#[test]
fn tables_without_a_primary_key() {
    let folder = tempfile::tempdir().unwrap();
    let (path, new) = (folder.path().join("config.db"), folder.path().join("new.db"));
    make(
        &path,
        "CREATE TABLE tree (data, inode, parent, version, writer, mtime, type, name, more);
         INSERT INTO tree VALUES (NULL, 0, 0, 9, 0, 7, 8, '__version__', 1);
         INSERT INTO tree VALUES (x'01', 5, 0, 5, 0, 7, 8, 'first', 2);
         INSERT INTO tree VALUES (x'02', 5, 0, 5, 0, 7, 8, 'second', 3);",
    );
    let repair = Repair::plan(&path).unwrap();
    assert_eq!(repair.write(&new).unwrap(), []);
    let (database, _) = Database::open_read_only(&new).unwrap();
    assert_eq!(database.tree().get(b"first").unwrap().content(), [1]);
    assert_eq!(database.tree().get(b"second").unwrap().inode(), 5);
    assert!(database.tree().get(b"first").unwrap().inode() > 5);
}
