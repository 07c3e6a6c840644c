// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records of a SQLite file as rows of the tree, checked far more strictly than SQLite does: bytes that merely look like a record
//! must not become a row.

use std::ops::Range;
use std::sync::Arc;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::page::varint;
use crate::row::{self, Row};
use crate::schema::{COLUMNS, CREATE_TABLE, TABLE};

/// Where the columns are in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    /// Place of each of [`COLUMNS`].
    places: [usize; 8],
    /// Number of columns.
    count: usize,
}

impl Default for Layout {
    fn default() -> Self {
        Self { places: [0, 1, 2, 3, 4, 5, 6, 7], count: 8 }
    }
}

impl Layout {
    /// As the `CREATE TABLE` statement says that the file has; `None` if it makes no table with the eight columns.
    pub(super) fn of_schema(sql: &str) -> Option<Self> {
        if sql == CREATE_TABLE {
            return Some(Self::default());
        }
        // nothing but a list of columns is given to SQLite: `CREATE TABLE … AS SELECT …` would be run
        let (name, _) = sql.trim_start().get(12..)?.split_once('(')?;
        let name = name.trim().trim_matches(['"', '`', '[', ']', '\'']);
        let statement = sql.trim_start().get(..12)?;
        if !statement.eq_ignore_ascii_case("create table") || !name.eq_ignore_ascii_case(TABLE) {
            return None;
        }
        let connection = Connection::open_in_memory().ok()?;
        connection.execute(sql, []).ok()?;
        let mut query = connection.prepare("SELECT lower(name) FROM pragma_table_info('tree')").ok()?;
        let names: Vec<String> = query.query_map([], |row| row.get(0)).ok()?.flatten().collect();
        let mut places = [0; 8];
        for (place, column) in places.iter_mut().zip(COLUMNS) {
            *place = names.iter().position(|name| name == column)?;
        }
        Some(Self { places, count: names.len() })
    }
}

/// A row as far as it could be decoded from the start of its record.
#[derive(Debug, Clone)]
pub(super) struct Decoded {
    /// The row, without its content unless that was no bytes but a number. What lies behind the start is 0, or cut.
    pub(super) row: Row,
    /// The content in the payload, if it is bytes.
    pub(super) content: Option<Range<usize>>,
    /// A column beside the content, a long name most often, goes on behind the start.
    pub(super) is_partial: bool,
}

impl Decoded {
    /// The row with the content from the whole payload.
    pub(super) fn complete(self, payload: &[u8]) -> Option<Row> {
        if self.is_partial {
            return None;
        }
        let data = match self.content {
            None => self.row.data.clone(),
            Some(range) => Some(Arc::from(payload.get(range)?)),
        };
        Some(Row { data, ..self.row })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serial {
    Null,
    /// Bytes of a big-endian number.
    Integer(usize),
    /// A number that needs no bytes.
    Constant(i64),
    Real,
    Text(usize),
    Blob(usize),
}

impl Serial {
    fn parse(code: u64) -> Option<Self> {
        Some(match code {
            0 => Self::Null,
            1..=4 => Self::Integer(code as usize),
            5 => Self::Integer(6),
            6 => Self::Integer(8),
            7 => Self::Real,
            8 | 9 => Self::Constant(code as i64 - 8),
            12.. => {
                let size = usize::try_from((code - 12) / 2).ok()?;
                if code.is_multiple_of(2) { Self::Blob(size) } else { Self::Text(size) }
            }
            // reserved
            _ => return None,
        })
    }

    const fn size(self) -> usize {
        match self {
            Self::Null | Self::Constant(_) => 0,
            Self::Real => 8,
            Self::Integer(size) | Self::Text(size) | Self::Blob(size) => size,
        }
    }
}

/// Whether values of other types than the schema has are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Types {
    /// Only what the reference and its schema let in.
    Exact,
    /// All, converted as SQLite converts them for the reference's loader.
    Any,
}

/// Decodes the record that `prefix` is the start of, and that has `total` bytes.
pub(super) fn decode(
    rowid: i64,
    prefix: &[u8],
    total: usize,
    layout: &Layout,
    types: Types,
) -> Option<Decoded> {
    let columns = columns(prefix, total, layout.count)?;
    let column = |index: usize| columns.get(*layout.places.get(index)?).cloned();
    let is_behind = |range: &Range<usize>| range.end > prefix.len();
    let integer = |index: usize| match column(index)? {
        (Serial::Constant(value), _) => Some(value),
        (Serial::Integer(_), range) if is_behind(&range) => Some(0),
        (Serial::Integer(_), range) => big_endian(prefix.get(range)?),
        (serial, range) => convert(types, serial, prefix.get(range)?, row::integer),
    };
    let bytes =
        |(serial, range): (Serial, Range<usize>)| convert(types, serial, prefix.get(range)?, row::text);
    let inode = match column(0)? {
        // the key of the table is stored as NULL, since the cell has it
        (Serial::Null, _) => rowid,
        _ => integer(0)?,
    };
    let name = match column(6)? {
        (Serial::Text(_) | Serial::Blob(_), range) => {
            prefix.get(range.start.min(prefix.len())..range.end.min(prefix.len()))?.into()
        }
        other => bytes(other)?.into(),
    };
    let (content, data) = match column(7) {
        None | Some((Serial::Null, _)) => (None, None),
        Some((Serial::Text(_) | Serial::Blob(_), range)) => (Some(range), None),
        Some(other) => (None, Some(Arc::from(bytes(other)?))),
    };
    let row = Row {
        inode: inode as u64,
        parent: integer(1)? as u64,
        version: integer(2)? as u64,
        writer: integer(3)? as u32,
        mtime: integer(4)? as u32,
        kind: integer(5)? as u8,
        name,
        data,
    };
    let is_partial = (0..7).filter_map(column).any(|(_, range)| is_behind(&range));
    Some(Decoded { row, content, is_partial })
}

/// Types and places of the columns of a record that has `most` at most; they must fill it to the byte.
fn columns(prefix: &[u8], total: usize, most: usize) -> Option<Vec<(Serial, Range<usize>)>> {
    let (header, mut at) = varint(prefix, 0)?;
    let header = usize::try_from(header).ok().filter(|size| *size <= total && *size <= prefix.len())?;
    let mut columns = Vec::with_capacity(most);
    let mut offset = header;
    while at < header {
        // more columns than the table has: that is no record of it
        if columns.len() == most {
            return None;
        }
        let (code, after) = varint(prefix, at)?;
        // SQLite writes a number in as few bytes as it needs
        if after - at > 1 && prefix.get(at) == Some(&0x80) {
            return None;
        }
        let serial = Serial::parse(code)?;
        let end = offset.checked_add(serial.size())?;
        columns.push((serial, offset..end));
        (offset, at) = (end, after);
    }
    (at == header && offset == total).then_some(columns)
}

/// A value as SQLite converts it.
fn convert<T>(
    types: Types,
    serial: Serial,
    bytes: &[u8],
    how: impl FnOnce(&Connection, ValueRef<'_>) -> rusqlite::Result<T>,
) -> Option<T> {
    // opened once: a damaged file can have many such values
    thread_local!(static CONNECTION: Option<Connection> = Connection::open_in_memory().ok());
    if types == Types::Exact {
        return None;
    }
    let value = match serial {
        Serial::Null => ValueRef::Null,
        Serial::Constant(value) => ValueRef::Integer(value),
        Serial::Integer(_) => ValueRef::Integer(big_endian(bytes)?),
        Serial::Real => ValueRef::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
        Serial::Text(_) => ValueRef::Text(bytes),
        Serial::Blob(_) => ValueRef::Blob(bytes),
    };
    CONNECTION.with(|connection| how(connection.as_ref()?, value).ok())
}

fn big_endian(bytes: &[u8]) -> Option<i64> {
    let negative = bytes.first()? & 0x80 != 0;
    let start = if negative { -1_i64 } else { 0 };
    Some(bytes.iter().fold(start, |value, byte| value << 8 | i64::from(*byte)))
}

/// Whether a row could be one of a database that only the reference wrote. Demanded of rows in places where not every record is one.
pub(super) fn is_plausible(row: &Row) -> bool {
    let numbers =
        row.inode <= i64::MAX as u64 && row.parent <= i64::MAX as u64 && row.version <= i64::MAX as u64;
    let name = !row.name.is_empty() && !row.name.contains(&0) && !row.name.contains(&b'/');
    numbers && row.inode <= row.version && row.entry_type().is_some() && name
}

/// Whether bytes are a text, as all configuration is. Demanded of what is found byte by byte: remains of a cell that was partly
/// overwritten by another have the other's header in them, which is no text.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..))
}

/// The row of the schema table that matters: root page and statement of the table `tree`.
pub(super) fn schema_entry(payload: &[u8]) -> Option<(u32, String)> {
    let (header, mut at) = varint(payload, 0)?;
    let mut offset = usize::try_from(header).ok()?;
    let end = offset;
    let mut columns = Vec::new();
    while at < end && columns.len() < 5 {
        let (code, after) = varint(payload, at)?;
        let serial = Serial::parse(code)?;
        let stop = offset.checked_add(serial.size())?;
        columns.push((serial, payload.get(offset..stop)?));
        (offset, at) = (stop, after);
    }
    let [(_, kind), (_, name), _, (root, number), (_, sql)] = columns.as_slice() else { return None };
    if *kind != b"table" || !name.eq_ignore_ascii_case(b"tree") {
        return None;
    }
    let root = match root {
        Serial::Constant(value) => *value,
        Serial::Integer(_) => big_endian(number)?,
        _ => return None,
    };
    Some((u32::try_from(root).ok()?, String::from_utf8(sql.to_vec()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::CREATE_TABLE;

    #[test]
    fn a_record_and_its_look_alikes() {
        // NULL, 0, 5, 0, 7, 8, "ab", x'0102'
        let record = [9, 0, 8, 1, 8, 1, 1, 17, 16, 5, 7, 8, b'a', b'b', 1, 2];
        let layout = Layout::default();
        let row = |bytes: &[u8]| {
            decode(3, bytes, bytes.len(), &layout, Types::Exact).and_then(|found| found.complete(bytes))
        };
        let good = row(&record).unwrap();
        assert_eq!((good.inode, good.version, good.mtime, good.name.as_slice()), (3, 5, 7, &b"ab"[..]));
        assert_eq!(good.content(), [1, 2]);
        assert_eq!(row(&record[..15]), None);
        let mut longer = record.to_vec();
        longer.push(0);
        assert_eq!(row(&longer), None);
        // a number in the place of the content: only where it is a row for certain
        let number = [9, 0, 8, 1, 8, 1, 1, 17, 1, 5, 7, 8, b'a', b'b', 42];
        assert_eq!(row(&number), None);
        let lenient = decode(3, &number, 15, &layout, Types::Any).unwrap();
        assert_eq!(lenient.complete(&number).unwrap().content(), b"42");
        for (at, byte) in [(0, 8), (1, 7), (2, 10), (6, 0), (7, 1), (8, 1)] {
            let mut other = record;
            other[at] = byte;
            assert_eq!(row(&other), None, "{at}");
        }
        // the content may lie elsewhere
        let prefix = decode(3, &record[..14], 16, &layout, Types::Exact).unwrap();
        assert_eq!(prefix.content, Some(14..16));
        // the end of the name, too
        let name = decode(3, &record[..13], 16, &layout, Types::Exact).unwrap();
        assert!(name.is_partial && name.row.name == "a");
        assert!(name.complete(&record).is_none());
        assert!(decode(3, &record[..8], 16, &layout, Types::Exact).is_none());
    }

    #[test]
    fn layouts() {
        assert_eq!(Layout::of_schema(CREATE_TABLE), Some(Layout::default()));
        let other = "create table tree (data, inode, parent, version, writer, mtime, type, name, more)";
        assert_eq!(Layout::of_schema(other), Some(Layout { places: [1, 2, 3, 4, 5, 6, 7, 0], count: 9 }));
        assert_eq!(Layout::of_schema("create table tree (inode)"), None);
        assert_eq!(Layout::of_schema("drop table tree"), None);
        let endless = "create table tree as with recursive c(x) as (select 1 union all select x + 1 from c) select x from c";
        assert_eq!(Layout::of_schema(endless), None);
        assert_eq!(Layout::of_schema(""), None);
    }
}
