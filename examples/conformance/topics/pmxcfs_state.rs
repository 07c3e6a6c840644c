// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the recorded cases of the cluster file system write strings, data, trees and rows.

use base64ct::{Base64, Encoding as _};
use bstr::{BString, ByteSlice};
use pve_cfs::attributes::Attributes;
use pve_cfs::filesystem::FileSystem;
use pve_cfs::path;
use pve_cfs::store::Store;
use pve_cfs::tree::{Entry, Tree};
use pve_cfs::virtual_file::VirtualFile;
use rusqlite::types::ValueRef;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// The bytes of a recorded string or data.
pub(crate) fn bytes(value: &Value) -> Vec<u8> {
    if let Some(text) = value.as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(fill) = value["fill"].as_array() {
        let (byte, count) = (fill[0].as_u64().unwrap_or_default(), fill[1].as_u64().unwrap_or_default());
        return vec![byte as u8; count as usize];
    }
    value["b64"].as_str().and_then(|text| Base64::decode_vec(text).ok()).unwrap_or_default()
}

/// The recorded form of a string.
pub(crate) fn string(bytes: &[u8]) -> Value {
    match bytes.to_str() {
        Ok(text) => Value::from(text),
        Err(_) => json!({ "b64": Base64::encode_string(bytes) }),
    }
}

/// The recorded form of data: a digest if it is longer than `most` bytes.
pub(crate) fn data(bytes: &[u8], most: usize) -> Value {
    if bytes.len() > most {
        return json!({ "len": bytes.len(), "sha256": hex(&Sha256::digest(bytes)) });
    }
    string(bytes)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Longest data that a case writes out.
pub(crate) const SHORT: usize = 300;

/// The attributes of an operation's result.
pub(crate) fn attributes(found: &Attributes, gid: u32) -> Value {
    json!({
        "mode": format!("{:o}", found.mode), "nlink": found.nlink, "uid": 0, "gid": group(gid),
        "size": found.size, "blocks": found.blocks, "mtime": found.mtime,
    })
}

pub(crate) fn group(gid: u32) -> Value {
    match gid {
        33 => "www-data".into(),
        0 => "root".into(),
        other => other.into(),
    }
}

/// Every entry that a path leads to, depth first in the order of bytes; those whose name no path can have are marked.
pub(crate) fn tree(tree: &Tree, quorate: bool) -> Value {
    let mut out = Vec::new();
    below(tree.root(), b"", quorate, &mut out);
    Value::from(out)
}

fn below(directory: Entry<'_>, at: &[u8], quorate: bool, out: &mut Vec<Value>) {
    for entry in directory.children() {
        let name = entry.name();
        let hidden = at.is_empty() && VirtualFile::by_name(name).is_some();
        if name == "." || name == ".." || hidden {
            continue;
        }
        if name.is_empty() || name.contains(&b'/') {
            let dir = if at.is_empty() { b"/" } else { at };
            out.push(json!({ "dir": string(dir), "name": string(name), "unreachable": true }));
            continue;
        }
        let path: BString = [at, b"/", name].concat().into();
        let found = Attributes::of_entry(entry, path::relative(&path), quorate);
        let mut shown = json!({
            "path": string(&path), "mode": format!("{:o}", found.mode), "size": found.size, "mtime": found.mtime,
        });
        if !entry.is_directory() {
            shown["data"] = data(entry.content(), SHORT);
        }
        out.push(shown);
        below(entry, &path, quorate, out);
    }
}

/// The rows of the table as they are.
pub(crate) fn rows(store: &Store) -> Result<Value, String> {
    let mut out = Vec::new();
    let sql = "SELECT inode, parent, version, writer, mtime, type, name, data FROM tree ORDER BY rowid";
    store
        .query(sql, |row| {
            let mut values = Vec::new();
            for column in 0..8 {
                let value = match row.get_ref(column)? {
                    ValueRef::Null => Value::Null,
                    ValueRef::Integer(number) => number.into(),
                    ValueRef::Real(number) => number.into(),
                    ValueRef::Text(text) if column < 6 => json!({ "text": string(text) }),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) if column == 6 => string(bytes),
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => data(bytes, SHORT),
                };
                values.push(value);
            }
            out.push(Value::from(values));
            Ok(())
        })
        .map_err(|error| error.to_string())?;
    Ok(Value::from(out))
}

/// The parsed `.vmlist`.
pub(crate) fn vmlist(files: &FileSystem, with_versions: bool) -> Value {
    let text = files.text(VirtualFile::VmList);
    let mut list: Value =
        serde_json::from_slice(&text).unwrap_or_else(|e| json!({ "unparsable": e.to_string() }));
    if let Some(ids) = list.get_mut("ids").and_then(Value::as_object_mut).filter(|_| !with_versions) {
        for guest in ids.values_mut().filter_map(Value::as_object_mut) {
            guest.remove("version");
        }
    }
    list
}

/// The parsed `.version`, reduced to what cases compare.
pub(crate) fn version(files: &FileSystem) -> Value {
    let text = files.text(VirtualFile::Version);
    let all: Map<String, Value> = match serde_json::from_slice(&text) {
        Ok(Value::Object(all)) => all,
        _ => return json!({ "unparsable": string(&text) }),
    };
    let counters: Map<String, Value> = all
        .iter()
        .filter(|(key, count)| {
            !["vmlist", "clinfo", "starttime", "kvstore"].contains(&key.as_str()) && **count != json!(1)
        })
        .map(|(key, count)| (key.clone(), count.clone()))
        .collect();
    json!({ "vmlist": all["vmlist"], "clinfo": all["clinfo"], "starttime": all["starttime"], "files": counters })
}

/// The names that a directory lists, sorted, with `.` and `..` if asked for.
pub(crate) fn names(mut names: Vec<BString>, dots: bool) -> Value {
    if dots {
        names.extend([".".into(), "..".into()]);
    }
    names.sort();
    names.iter().map(|name| string(name)).collect::<Vec<_>>().into()
}

/// Hexadecimal digits, with runs of 16 or more zero bytes as `*N` between blanks.
pub(crate) fn zero_run_hex(bytes: &[u8]) -> String {
    let mut tokens: Vec<String> = Vec::new();
    let mut plain = String::new();
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros >= 16 {
            if !plain.is_empty() {
                tokens.push(std::mem::take(&mut plain));
            }
            tokens.push(format!("*{zeros}"));
            rest = &rest[zeros..];
        } else {
            let step = zeros.max(1);
            plain.push_str(&hex(if zeros == 0 { std::slice::from_ref(first) } else { &rest[..step] }));
            rest = &rest[step..];
        }
    }
    if !plain.is_empty() {
        tokens.push(plain);
    }
    tokens.join(" ")
}

/// The bytes of such digits.
pub(crate) fn from_zero_run_hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for token in text.split(' ') {
        match token.strip_prefix('*').map(str::parse::<usize>) {
            Some(zeros) => bytes.resize(bytes.len() + zeros.unwrap_or_default(), 0),
            None => bytes.extend(
                token
                    .as_bytes()
                    .chunks(2)
                    .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()),
            ),
        }
    }
    bytes
}
