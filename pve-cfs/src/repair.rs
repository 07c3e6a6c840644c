// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plans the smallest changes that make the reference start with a database again, and writes the result to a new file.
//!
//! Nothing is ever thrown away: what cannot stay where it is gets another name, and what no path leads to is attached to the
//! root directory under a name that begins with `lost+found-`. The database itself is not touched.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::{ToSqlOutput, ValueRef};

use crate::database::{Database, OpenError, would_refuse};
use crate::finding::{Finding, Severity};
use crate::image::{self, Image};
use crate::row::{self, Row, Table};

mod remedy;
mod workbench;

pub use remedy::{Remedy, Step};
use workbench::Workbench;

/// A database with a plan of its repair.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("config.db");
/// # rusqlite::Connection::open(&path)?.execute_batch(&format!("{};
/// #     INSERT INTO tree VALUES (0, 0, 4, 0, 1700000000, 8, '__version__', NULL);
/// #     INSERT INTO tree VALUES (2, 0, 2, 0, 1700000000, 8, 'storage.cfg', CAST('old' AS BLOB));
/// #     INSERT INTO tree VALUES (3, 0, 4, 0, 1700000000, 8, 'storage.cfg', CAST('new' AS BLOB));",
/// #     pve_cfs::schema::CREATE_TABLE))?;
/// use pve_cfs::repair::Repair;
///
/// // the reference says "found entry with duplicate name" and refuses to start
/// let repair = Repair::plan(&path)?;
/// assert_eq!(
///     repair.steps()[0].to_string(),
///     "rename \"storage.cfg\" (inode 2) to \"storage.cfg.duplicate-2\"",
/// );
/// let repaired = folder.path().join("repaired.db");
/// assert!(repair.write(&repaired)?.is_empty());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Repair {
    path: PathBuf,
    image: Image,
    /// Keys of the rows in the table, in the order of `before`.
    keys: Vec<i64>,
    key_column: &'static str,
    before: Vec<Row>,
    /// The rows afterwards: those that were there, in their order, then new ones.
    after: Vec<Row>,
    steps: Vec<Step>,
    remaining: Vec<Finding>,
}

/// A repair that cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The new file cannot be written; most often because it exists.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The new file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused a change, or cannot read the result.
    #[error("the repaired database cannot be made: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The result cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Some violations have no remedy.
    #[error("{} violations remain that make the reference refuse the database", .0.len())]
    Unrepaired(Vec<Finding>),
}

impl Repair {
    /// Reads the database `path`, as [`Database::open_read_only`] does, and plans its repair.
    ///
    /// # Errors
    /// The database cannot be read, or has no usable table: then its rows must be salvaged first.
    pub fn plan(path: &Path) -> Result<Self, OpenError> {
        let image = image::read(path)?;
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let connection = connect(&image).map_err(sqlite)?;
        let (mut before, mut keys, mut key_column) = (Vec::new(), Vec::new(), "_rowid_");
        let table = row::table(&connection).map_err(sqlite)?;
        match table {
            Table::Missing => {}
            Table::Other => return Err(OpenError::NotATable { path: path.to_owned() }),
            Table::Present => {
                before = row::read_all(&connection).map_err(sqlite)?;
                let read = |column| read_keys(&connection, column);
                keys = match read(key_column) {
                    Ok(keys) => keys,
                    // a table WITHOUT ROWID has its primary key alone
                    Err(_) => {
                        key_column = "inode";
                        read(key_column).map_err(sqlite)?
                    }
                };
            }
        }
        let planned = match table {
            // the reference makes the table: an empty file is no violation
            Table::Missing => Planned { rows: Vec::new(), steps: Vec::new(), remaining: Vec::new() },
            _ => plan(&before),
        };
        Ok(Self {
            path: path.to_owned(),
            image,
            keys,
            key_column,
            before,
            after: planned.rows,
            steps: planned.steps,
            remaining: planned.remaining,
        })
    }

    /// What is to be done, in this order; nothing if nothing is wrong.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What is still wrong or odd afterwards.
    pub fn remaining(&self) -> &[Finding] {
        &self.remaining
    }

    /// The database that is repaired.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All rows afterwards; the reference reads them in the order of their inodes.
    pub fn rows(&self) -> &[Row] {
        &self.after
    }

    /// Number of rows that stay as they are, bit for bit.
    pub fn untouched(&self) -> usize {
        self.before.iter().zip(&self.after).filter(|(before, after)| before == after).count()
    }

    /// Writes the repaired database to the new file `target`, which only its owner can read and which needs no other file, and says
    /// what is still wrong or odd in it. Only the changed columns of the changed rows are written; all else stays as it is.
    ///
    /// # Errors
    /// The file exists or cannot be written, or some violation that makes the reference refuse has no remedy; nothing is
    /// left behind then.
    pub fn write(&self, target: &Path) -> Result<Vec<Finding>, RepairError> {
        if would_refuse(&self.remaining) {
            let refused = self.remaining.iter().filter(|finding| finding.severity() == Severity::Refused);
            return Err(RepairError::Unrepaired(refused.cloned().collect()));
        }
        let connection = connect(&self.image)?;
        for ((key, before), after) in self.keys.iter().zip(&self.before).zip(&self.after) {
            self.update(&connection, *key, before, after)?;
        }
        for row in self.after.iter().skip(self.before.len()) {
            insert(&connection, row)?;
        }
        let bytes = connection.serialize("main")?;
        let (database, _) = Database::from_bytes(target, bytes.to_vec())?;
        if !database.refusals().is_empty() {
            return Err(RepairError::Unrepaired(database.refusals().to_vec()));
        }
        image::write_new(target, &bytes)
            .map_err(|source| RepairError::Io { path: target.to_owned(), source })?;
        Ok(database.check())
    }

    fn update(&self, connection: &Connection, key: i64, before: &Row, after: &Row) -> rusqlite::Result<()> {
        let integer = |value: u64| ToSqlOutput::Borrowed(ValueRef::Integer(value as i64));
        let data = after.data.as_deref().map_or(ValueRef::Null, ValueRef::Blob);
        // the inode last: it may be the key
        let columns = [
            ("parent", before.parent != after.parent, integer(after.parent)),
            ("version", before.version != after.version, integer(after.version)),
            ("type", before.kind != after.kind, integer(after.kind.into())),
            ("name", before.name != after.name, ToSqlOutput::Borrowed(ValueRef::Text(&after.name))),
            ("data", before.data != after.data, ToSqlOutput::Borrowed(data)),
            ("inode", before.inode != after.inode, integer(after.inode)),
        ];
        for (column, _, value) in columns.into_iter().filter(|(_, changed, _)| *changed) {
            let sql = format!("UPDATE tree SET {column} = ?2 WHERE {} = ?1", self.key_column);
            connection.execute(&sql, rusqlite::params![key, value])?;
        }
        Ok(())
    }
}

/// Inserts a row as it is.
pub(crate) fn insert(connection: &Connection, row: &Row) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO tree (inode, parent, version, writer, mtime, type, name, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    row.execute(&mut statement)
}

/// A connection to a copy of the image that can be changed.
fn connect(image: &Image) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    // a trigger in the file must not change what the plan does not name
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    if !image.bytes.is_empty() {
        connection.deserialize_read_exact("main", image.bytes.as_slice(), image.bytes.len(), false)?;
    }
    Ok(connection)
}

fn read_keys(connection: &Connection, column: &str) -> rusqlite::Result<Vec<i64>> {
    let mut query = connection.prepare(&format!("SELECT {column}, name, data FROM tree"))?;
    query.query_map([], |row| row.get(0))?.collect()
}

/// A plan for some rows.
#[derive(Debug, Clone)]
pub struct Planned {
    /// The rows afterwards: those that were there, in their order, then new ones.
    pub rows: Vec<Row>,
    /// What is to be done.
    pub steps: Vec<Step>,
    /// What is still wrong or odd afterwards.
    pub remaining: Vec<Finding>,
}

/// Plans the repair of `rows`, which must be in the order of their row ids.
///
/// What the reference refuses is mended, and of what it accepts that which cannot be reached or will collide. A file that is too big
/// stays, as cutting it would lose bytes. The version of the tree is raised, so that in a cluster the repaired tree is the newest.
pub fn plan(rows: &[Row]) -> Planned {
    let mut bench = Workbench::new(rows);
    // each round mends what the one before uncovered, and every step removes what it is for, so that rounds end; the limit is for
    // what nobody thought of
    for _ in 0..=rows.len().saturating_add(16) {
        let database = bench.database();
        if !bench.mend(&database) {
            break;
        }
    }
    let database = bench.database();
    let remaining = database.check();
    let (rows, steps) = bench.finish();
    Planned { rows, steps, remaining }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::finding::Rule;

    fn row(inode: u64, parent: u64, kind: u8, name: &str, data: &str) -> Row {
        let data = (!data.is_empty()).then(|| data.as_bytes().into());
        Row { inode, parent, version: inode, writer: 0, mtime: 7, kind, name: name.into(), data }
    }

    fn version_row(version: u64) -> Row {
        Row { version, ..row(0, 0, 8, "__version__", "") }
    }

    /// The steps for `rows` behind a version row, in words; nothing may be left to do afterwards.
    fn steps(rows: Vec<Row>) -> Vec<String> {
        let mut all = vec![version_row(50)];
        all.extend(rows);
        all.sort_by_key(|row| row.inode);
        let planned = plan(&all);
        assert_eq!(planned.remaining, []);
        let mut steps: Vec<_> = planned.steps.iter().map(ToString::to_string).collect();
        if !steps.is_empty() {
            assert!(steps.pop().unwrap().starts_with("raise the version of the tree from 50 to "));
        }
        steps
    }

    #[test]
    fn one_remedy_for_each_violation() {
        assert_eq!(steps(vec![row(2, 0, 4, "nodes", "")]), [""; 0]);
        assert_eq!(
            steps(vec![row(2, 0, 8, "a", "old"), row(3, 0, 8, "a", "new"), row(4, 0, 8, "a", "newest")]),
            ["rename \"a\" (inode 3) to \"a.duplicate-3\"", "rename \"a\" (inode 2) to \"a.duplicate-2\""]
        );
        // the directory has entries, so it keeps its name although it is older
        assert_eq!(
            steps(vec![row(2, 0, 4, "a", ""), row(3, 2, 8, "x", ""), row(4, 0, 8, "a", "new")]),
            ["rename \"a\" (inode 4) to \"a.duplicate-4\""]
        );
        assert_eq!(
            steps(vec![row(3, 2, 8, "x", ""), row(4, 2, 8, "y", "")]),
            ["make the directory \"lost+found-2\" (inode 2) in the root directory"]
        );
        assert_eq!(
            steps(vec![row(2, 0, 8, "file", "text"), row(3, 2, 8, "x", "")]),
            [
                "make the directory \"lost+found-2\" (inode 51) in the root directory",
                "attach \"x\" (inode 3) to directory 51 as \"x\""
            ]
        );
        assert_eq!(
            steps(vec![row(2, 0, 8, "was a directory", ""), row(3, 2, 8, "x", "")]),
            ["make a directory of \"was a directory\" (inode 2)"]
        );
        assert_eq!(
            steps(vec![row(2, 4, 4, "a", ""), row(3, 2, 4, "b", ""), row(4, 3, 4, "c", "")]),
            ["attach \"a\" (inode 2) to the root directory as \"lost+found-2\""]
        );
        assert_eq!(
            steps(vec![row(2, 2, 4, "itself", "")]),
            ["attach \"itself\" (inode 2) to the root directory as \"lost+found-2\""]
        );
        assert_eq!(steps(vec![row(2, 0, 8, "", "x")]), ["rename \"\" (inode 2) to \"lost+found-2\""]);
        assert_eq!(steps(vec![row(2, 0, 3, "a", "x")]), ["make a file of \"a\" (inode 2)"]);
        assert_eq!(
            steps(vec![row(2, 0, 3, "a", ""), row(3, 2, 8, "x", "")]),
            ["make a directory of \"a\" (inode 2)"]
        );
        assert_eq!(steps(vec![row(2, 0, 4, "a", "x")]), ["make a file of \"a\" (inode 2)"]);
        assert_eq!(
            steps(vec![row(2, 0, 4, "a", "text"), row(3, 2, 8, "x", "")]),
            ["move the content of \"a\" (inode 2) into the new file \"lost+found-2\" (inode 51)"]
        );
        assert_eq!(
            steps(vec![row(2, 0, 8, ".version", "x"), row(3, 0, 8, "a/b", "")]),
            [
                "rename \".version\" (inode 2) to \".version.renamed-2\"",
                "rename \"a/b\" (inode 3) to \"a_b.renamed-3\""
            ]
        );
    }

    #[test]
    fn guests_keep_their_newest_configuration() {
        let node = |inode, name| [row(inode, 2, 4, name, ""), row(inode + 1, inode, 4, "qemu-server", "")];
        let mut rows = vec![row(2, 0, 4, "nodes", "")];
        rows.extend(node(10, "a"));
        rows.extend(node(20, "b"));
        rows.extend([row(30, 11, 8, "100.conf", "old"), row(31, 21, 8, "100.conf", "new")]);
        assert_eq!(steps(rows), ["rename \"100.conf\" (inode 30) to \"100.conf.duplicate-30\""]);
        let rows = vec![row(2, 0, 4, "nodes", ""), row(3, 2, 4, "a", ""), row(4, 3, 8, "lxc", "x")];
        assert_eq!(steps(rows), ["rename \"lxc\" (inode 4) to \"lxc.renamed-4\""]);
    }

    #[test]
    fn the_version_row() {
        let last = |rows: &[Row]| {
            let planned = plan(rows);
            assert_eq!(planned.remaining, []);
            planned.steps.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(last(&[row(5, 0, 8, "a", "")]), ["make the version row, with version 5"]);
        assert_eq!(
            last(&[version_row(3), row(5, 0, 8, "a", "")]),
            ["raise the version of the tree from 3 to 5"]
        );
        let misnamed = Row { name: "x".into(), ..version_row(3) };
        assert_eq!(
            last(&[misnamed.clone(), row(2, 0, 8, "a", "")]),
            ["give the version row its name and place back", "raise the version of the tree from 3 to 4"]
        );
        let entry = Row { data: Some(b"text"[..].into()), ..misnamed };
        assert_eq!(
            last(&[entry, row(2, 0, 8, "a", "")]),
            ["give \"x\" (inode 0) the inode 4", "make the version row, with version 4"]
        );
        assert_eq!(last(&[version_row(3), row(2, 0, 8, "a", "")]), [""; 0]);
        // counting on from such a number would run over
        let far = [version_row(3), row(2, u64::MAX - 1, 8, "a", "x"), row(u64::MAX - 1, 0, 4, "d", "")];
        assert_eq!(
            last(&far),
            [
                "give \"d\" (inode 18446744073709551614) the inode 4",
                "raise the version of the tree from 3 to 4"
            ]
        );
    }

    #[test]
    fn too_big_a_file_stays_whole() {
        let big = Row { data: Some(vec![b'x'; 1_048_577].into()), ..row(2, 0, 8, "big", "") };
        let planned = plan(&[version_row(2), big]);
        assert!(planned.steps.is_empty());
        assert!(matches!(planned.remaining[0].rule, Rule::Oversize { .. }));
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let name = prop_oneof![
            Just(""),
            Just("a"),
            Just("b"),
            Just("nodes"),
            Just("qemu-server"),
            Just("100.conf"),
            Just("__version__"),
            Just("."),
            Just("a/b"),
            Just("a\0b"),
            Just("\0"),
            Just("local"),
            Just("lxc")
        ];
        let number = || prop_oneof![9 => 0_u64..14, 1 => any::<u64>()];
        let kind = prop_oneof![4 => Just(4_u8), 4 => Just(8_u8), 1 => any::<u8>()];
        (number(), number(), number(), kind, name, prop_oneof![Just(""), Just("x"), Just("y")]).prop_map(
            |(inode, parent, version, kind, name, data)| Row {
                version,
                ..row(inode, parent, kind, name, data)
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn whatever_the_rows_nothing_is_left_to_do_and_nothing_is_lost(
            mut rows in proptest::collection::vec(any_row(), 0..14),
            unique in any::<bool>(),
        ) {
            rows.sort_by_key(|row| row.inode as i64);
            if unique {
                rows.dedup_by_key(|row| row.inode);
            }
            let planned = plan(&rows);
            prop_assert_eq!(&planned.remaining, &[]);
            // every content is in a file that a path leads to
            let mut wanted: Vec<_> = rows.iter().map(Row::content).filter(|data| !data.is_empty()).collect();
            let mut sorted = planned.rows;
            sorted.sort_by_key(|row| row.inode as i64);
            prop_assert_eq!(plan(&sorted).steps.len(), 0);
            let database = Database::from_rows(sorted);
            let mut found: Vec<_> =
                database.tree().files().map(|(_, file)| file.content()).filter(|data| !data.is_empty()).collect();
            wanted.sort_unstable();
            found.sort_unstable();
            prop_assert_eq!(found, wanted);
        }
    }
}
