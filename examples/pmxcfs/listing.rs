// SPDX-License-Identifier: MIT OR Apache-2.0
//! Entries and rows as text and as JSON.

use std::io::{self, Write};

use bstr::{BString, ByteSlice};
use pve_cfs::schema::{self, EntryType};
use pve_cfs::tree::Walk;
use pve_cfs::{Entry, Row};
use serde_json::{Value, json};

use crate::output::set_bytes;

/// One line as `ls` shows it. Names are escaped: they may hold any byte, also what would steer a terminal.
pub(crate) fn line(out: &mut impl Write, entry: Entry<'_>) -> io::Result<()> {
    let kind = if entry.is_directory() { 'd' } else { '-' };
    writeln!(out, "{kind} {:>8}  {}  {}", entry.size(), time(entry.mtime()), entry.name().escape_bytes())
}

/// Everything below `entry`, indented by depth.
pub(crate) fn tree(out: &mut impl Write, entry: Entry<'_>) -> io::Result<()> {
    let start = depth(&entry.path().unwrap_or_default());
    for (path, below) in below(entry) {
        let indent = "  ".repeat(depth(&path).saturating_sub(start + 1));
        let slash = if below.is_directory() { "/" } else { "" };
        writeln!(out, "{indent}{}{slash}", below.name().escape_bytes())?;
    }
    Ok(())
}

fn depth(path: &BString) -> usize {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).count()
}

/// Everything below `entry` with its path; a file is itself.
pub(crate) fn below(entry: Entry<'_>) -> Vec<(BString, Entry<'_>)> {
    let path = entry.path().unwrap_or_default();
    if entry.is_directory() { Walk::below(entry, path.as_bstr()).collect() } else { vec![(path, entry)] }
}

/// An entry as JSON.
pub(crate) fn entry(entry: Entry<'_>) -> Value {
    let mut value = json!({
        "type": if entry.is_directory() { "directory" } else { "file" },
        "size": entry.size(),
        "mtime": entry.mtime(),
        "inode": entry.inode(),
        "version": entry.version(),
        "writer": entry.writer(),
    });
    if let (Some(object), Some(path)) = (value.as_object_mut(), entry.path()) {
        set_bytes(object, "path", &path);
    }
    value
}

/// An entry with all below it as JSON; the depth is that of the tree, in which no circle can be reached from the root.
pub(crate) fn nested(at: Entry<'_>) -> Value {
    let mut value = entry(at);
    if at.is_directory() {
        value["children"] = at.children().map(nested).collect();
    }
    value
}

/// A row as JSON, without its content.
pub(crate) fn row(row: &Row) -> Value {
    let mut value = json!({
        "inode": row.inode, "parent": row.parent, "version": row.version, "writer": row.writer,
        "mtime": row.mtime, "type": row.kind, "size": row.data.as_ref().map(|data| data.len()),
    });
    if let Some(object) = value.as_object_mut() {
        set_bytes(object, "name", &row.name);
    }
    value
}

/// The schema and all rows.
pub(crate) fn table(out: &mut impl Write, rows: &[Row]) -> io::Result<()> {
    writeln!(out, "{};\n", schema::CREATE_TABLE)?;
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["inode", "parent", "version", "writer", "mtime", "type", "name", "data"]);
    for row in rows {
        let kind = match row.entry_type() {
            Some(EntryType::Directory) => "4 directory".to_owned(),
            Some(EntryType::File) => "8 file".to_owned(),
            None => format!("{} unknown", row.kind),
        };
        let data =
            row.data.as_ref().map_or_else(|| "NULL".to_owned(), |data| format!("{} bytes", data.len()));
        table.add_row([
            row.inode.to_string(),
            row.parent.to_string(),
            row.version.to_string(),
            row.writer.to_string(),
            time(row.mtime),
            kind,
            row.name.escape_bytes().to_string(),
            data,
        ]);
    }
    writeln!(out, "{table}")
}

/// A time as text.
pub(crate) fn time(seconds: u32) -> String {
    jiff::Timestamp::from_second(i64::from(seconds))
        .map_or_else(|_| seconds.to_string(), |time| time.to_string())
}
