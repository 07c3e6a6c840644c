// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows of the table, typed as the reference's loader types them, and reading them from a connection.

use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Statement, ToSql, params};

use crate::schema::{self, EntryType};

/// Content of a file: shared, so that readers keep what they read while it is replaced.
pub type Content = Arc<[u8]>;

/// One row of the table (spec: pmxcfs, "Data base").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Unique id; 0 is the version row.
    pub inode: u64,
    /// Inode of the directory; 0 is the root.
    pub parent: u64,
    /// Version of the whole tree at which this entry was last changed.
    pub version: u64,
    /// Node id of the last writer; 0 in local mode and for imports.
    pub writer: u32,
    /// Time of the last change in seconds since the epoch.
    pub mtime: u32,
    /// Number of the type, low eight bits; [`EntryType`] names those that have a meaning.
    pub kind: u8,
    /// Last path component as the table has it, NUL bytes and what follows them included.
    pub name: BString,
    /// Content; `None` is SQL's NULL, which an empty file has.
    pub data: Option<Content>,
}

/// Bytes that are a text for SQLite, whatever their encoding.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl ToSql for Text<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Text(self.0)))
    }
}

impl Row {
    /// The type, if it is one of the two that the reference knows.
    pub const fn entry_type(&self) -> Option<EntryType> {
        EntryType::from_column(self.kind as i64)
    }

    /// The name as the reference uses it: cut at the first NUL byte.
    pub fn used_name(&self) -> &BStr {
        cut_at_nul(&self.name)
    }

    /// Carries out a statement whose parameters are the eight columns, in the order of the fields.
    pub(crate) fn execute(&self, statement: &mut Statement<'_>) -> rusqlite::Result<()> {
        statement.execute(params![
            self.inode as i64,
            self.parent as i64,
            self.version as i64,
            self.writer,
            self.mtime,
            self.kind,
            Text(&self.name),
            self.data.as_deref(),
        ])?;
        Ok(())
    }

    /// The bytes of the content, none for NULL.
    pub fn content(&self) -> &[u8] {
        self.data.as_deref().unwrap_or_default()
    }
}

/// `name` up to its first NUL byte.
pub(crate) fn cut_at_nul(name: &[u8]) -> &BStr {
    name.split(|byte| *byte == 0).next().unwrap_or_default().as_bstr()
}

/// Whether the database has a table that the reference could use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Table {
    /// Nothing of the name: it would be created.
    Missing,
    /// A table.
    Present,
    /// A view, or something else, of the name.
    Other,
}

pub(crate) fn table(connection: &Connection) -> rusqlite::Result<Table> {
    let mut query = connection.prepare("SELECT type FROM sqlite_schema WHERE lower(name) = 'tree'")?;
    let mut rows = query.query([])?;
    let mut found = Table::Missing;
    while let Some(row) = rows.next()? {
        match row.get_ref(0)? {
            ValueRef::Text(b"table") => return Ok(Table::Present),
            ValueRef::Text(b"view") => found = Table::Other,
            _ => {}
        }
    }
    Ok(found)
}

/// Reads all rows in the order of their row ids.
pub(crate) fn read_all(connection: &Connection) -> rusqlite::Result<Vec<Row>> {
    let mut found = Vec::new();
    each(connection, |row| found.push(row))?;
    Ok(found)
}

/// Hands all rows to `take`, in the order of their row ids; what was read before an error has been handed over.
pub(crate) fn each(connection: &Connection, mut take: impl FnMut(Row)) -> rusqlite::Result<()> {
    let mut query = connection.prepare(schema::SELECT_ROWS)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        take(Row {
            inode: integer(connection, row.get_ref(0)?)? as u64,
            parent: integer(connection, row.get_ref(1)?)? as u64,
            version: integer(connection, row.get_ref(2)?)? as u64,
            writer: integer(connection, row.get_ref(3)?)? as u32,
            mtime: integer(connection, row.get_ref(4)?)? as u32,
            kind: integer(connection, row.get_ref(5)?)? as u8,
            name: text(connection, row.get_ref(6)?)?.into(),
            data: blob(connection, row.get_ref(7)?)?,
        });
    }
    Ok(())
}

/// A value as `sqlite3_column_int64` gives it: anything that is no integer is cast by SQLite itself.
pub(crate) fn integer(connection: &Connection, value: ValueRef<'_>) -> rusqlite::Result<i64> {
    match value {
        ValueRef::Integer(number) => Ok(number),
        ValueRef::Null => Ok(0),
        other => cast(connection, "SELECT CAST(?1 AS INTEGER)", other, |row| row.get(0)),
    }
}

/// A value as `sqlite3_column_text` gives it; NULL is the empty text.
pub(crate) fn text(connection: &Connection, value: ValueRef<'_>) -> rusqlite::Result<Vec<u8>> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Ok(bytes.to_vec()),
        ValueRef::Null => Ok(Vec::new()),
        number => cast(connection, "SELECT CAST(?1 AS BLOB)", number, |row| row.get(0)),
    }
}

/// A value as `sqlite3_column_blob` gives it.
fn blob(connection: &Connection, value: ValueRef<'_>) -> rusqlite::Result<Option<Content>> {
    match value {
        ValueRef::Null => Ok(None),
        other => Ok(Some(text(connection, other)?.into())),
    }
}

fn cast<T>(
    connection: &Connection,
    sql: &str,
    value: ValueRef<'_>,
    get: impl FnOnce(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.query_row(sql, [ToSqlOutput::Borrowed(value)], get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_other_types_are_read_as_sqlite_converts_them() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "CREATE TABLE tree (inode INTEGER PRIMARY KEY, parent, version, writer, mtime, type, name, data);
                 INSERT INTO tree VALUES (-1, '7abc', 2.9, NULL, 4294967297, '264', 12, 34);
                 INSERT INTO tree VALUES (5, x'', 'x', 1e3, -1, 8, x'61ff', 'text');",
            )
            .unwrap();
        let rows = read_all(&connection).unwrap();
        let first = Row {
            inode: u64::MAX,
            parent: 7,
            version: 2,
            writer: 0,
            mtime: 1,
            kind: 8,
            name: "12".into(),
            data: Some(Arc::from(&b"34"[..])),
        };
        assert_eq!(rows[0], first);
        assert_eq!((rows[1].parent, rows[1].version, rows[1].writer, rows[1].mtime), (0, 0, 1000, u32::MAX));
        assert_eq!(rows[1].name, b"a\xff");
        assert_eq!(rows[1].content(), b"text");
    }
}
