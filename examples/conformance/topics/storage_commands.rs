// SPDX-License-Identifier: MIT OR Apache-2.0
//! STORAGE_COMMANDS: storage operations, compared by everything they ran, locked and left behind.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use bstr::{BStr, BString};
use pve_storage::{
    Change, Error, Event, Hints, Host, MemoryHost, Node, NodeKind, Record, Session, SizeInfo, SnapshotInfo,
    Status, StreamFormat, Transfer, With,
};
use pve_volid::{Digits, ImageFormat};
use serde_json::{Map, Value, json};

use super::storage_world::{host, list, storages};
use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let storages = storages(case)?;
    let mut host = host(case)?;
    // a case whose last step is the creation of a ZFS volume, and which fails, is about a device that never appears
    let last = list(&case["expect"]["trace"]).iter().rev().find_map(|entry| entry["run"].as_array());
    let creates = last.is_some_and(|argv| argv.first() == Some(&json!("zfs")) && argv.contains(&json!("-V")));
    host.no_devices = case["error"] == true && creates;
    let before = host.nodes();
    let mut session = Session::new(&storages, &host, "localhost");
    if case["activation"] != true {
        session = session.assume_active();
    }
    let mut seen = Map::new();
    let result = operate(case, &session, &mut seen);
    seen.insert("trace".into(), trace(&host));
    differences(&before, &host.nodes(), &mut seen);
    seen.insert("error".into(), json!(result.is_err()));
    if let Err(message) = result {
        seen.insert("message".into(), json!(message));
    }
    compare(case, seen)
}

/// A case that fails still tells what happened until then: the outcome is part of the comparison.
fn compare(case: &Value, mut seen: Map<String, Value>) -> Actual {
    let failed = seen.remove("error") == Some(json!(true));
    let message = seen.remove("message");
    let expected = case["error"] == true;
    if failed != expected {
        let message = message.unwrap_or_else(|| json!("the reference fails"));
        seen.insert("outcome".into(), message);
    }
    let same = case["expect"] == Value::Object(seen.clone());
    match (expected, same) {
        (true, true) => Err("as the reference".into()),
        // differences of a failing case are shown, for the runner looks only at whether it failed
        (true, false) => Ok(json!({"seen": seen, "expected": case["expect"]})),
        (false, _) => Ok(Value::Object(seen)),
    }
}

fn operate(case: &Value, session: &Session<'_>, seen: &mut Map<String, Value>) -> Result<(), String> {
    let text = |name: &str| bytes::read(&case[name]).map(BString::from);
    let say = |e: Error| e.to_string();
    let volid = text("volid").unwrap_or_default();
    let volid = BStr::new(&volid);
    let storeid = case["storeid"].as_str().unwrap_or_default();
    let volname = text("volname");
    let volname = volname.as_ref().map(BStr::new);
    let snapshot = text("snapshot");
    let snapshot = snapshot.as_ref().map(BStr::new);
    let named = snapshot.unwrap_or_default();
    let running = case["running"] == true;
    let hints = Hints {
        guest_is_windows: truthy(&case["hints"]["guest-is-windows"]),
        may_deactivate: truthy(&case["hints"]["plugin-may-deactivate-volume"]),
    };
    let owner_text = match &case["vmid"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let owner = || Digits::new(owner_text.as_bytes()).ok_or_else(|| format!("'{owner_text}' is no VM id"));
    let mut result = |value: Value| {
        seen.insert("result".into(), value);
    };
    match case["op"].as_str().unwrap_or_default() {
        "alloc" => {
            let format = match case["format"].as_str() {
                Some(text) => Some(text.parse::<ImageFormat>().map_err(|e| e.to_string())?),
                None => None,
            };
            let size = case["size_kib"].as_u64().unwrap_or(0);
            let made = session.allocate(storeid, owner()?, format, volname, size).map_err(say)?;
            result(bytes::write(made.as_bstr()));
        }
        "free" => session.free(volid).map_err(say)?,
        "clone" => {
            let made = session.clone_volume(volid, owner()?, snapshot).map_err(say)?;
            result(bytes::write(made.as_bstr()));
        }
        "create_base" => {
            let made = session.create_base(volid).map_err(say)?;
            result(bytes::write(made.as_bstr()));
        }
        "rename" => {
            let made = session.rename(volid, owner()?, volname).map_err(say)?;
            result(bytes::write(made.as_bstr()));
        }
        "resize" => {
            let size = case["size"].as_u64().unwrap_or(0);
            session.resize(volid, snapshot, size, running).map_err(say)?;
        }
        "size_info" => result(size_info(&session.size_info(volid).map_err(say)?)),
        "snapshot" => session.create_snapshot(volid, named).map_err(say)?,
        "rollback" => session.rollback(volid, named).map_err(say)?,
        "rollback_possible" => {
            let outcome = session.check_rollback(volid, named);
            let newer = match &outcome {
                Err(Error::RollbackBlocked { newer, .. }) => newer.as_slice(),
                _ => &[],
            };
            let newer: Vec<Value> = newer.iter().map(|name| bytes::write(name)).collect();
            seen.insert("blockers".into(), json!(newer));
            outcome.map_err(say)?;
        }
        "delete_snapshot" => session.delete_snapshot(volid, named, running).map_err(say)?,
        "snapshot_info" => {
            let snapshots = session.snapshots(volid).map_err(say)?;
            let table: Map<String, Value> = snapshots
                .iter()
                .map(|entry| (entry.name.to_string(), snapshot_info(&storeid_of(volid), entry)))
                .collect();
            result(Value::Object(table));
        }
        "activate_storage" => session.activate_storage(storeid).map_err(say)?,
        "deactivate_storage" => session.deactivate_storage(storeid).map_err(say)?,
        "activate_volumes" => session.activate_volumes(&volids(case), snapshot, hints).map_err(say)?,
        "deactivate_volumes" => session.deactivate_volumes(&volids(case), snapshot).map_err(say)?,
        "status" => {
            if let Some(status) = session.status(storeid).map_err(say)? {
                result(status_of(&status));
            }
        }
        "path" => result(bytes::write(&session.path(volid, snapshot).map_err(say)?)),
        "map" => result(bytes::write(&session.map(volid, snapshot, hints).map_err(say)?)),
        "export" => {
            let mut stream = Vec::new();
            transfer(case, |transfer| session.export(volid, transfer, &mut stream).map_err(say))?;
            let format = case["format"].as_str().and_then(StreamFormat::from_name);
            let header = format.filter(|format| format.has_header()).and_then(|_| stream.first_chunk::<8>());
            result(json!({ "header": header.map(|header| u64::from_le_bytes(*header)) }));
        }
        "import" => {
            let size = case["stream_size"].as_u64().unwrap_or(0).to_le_bytes();
            let content = case["stream_size"].as_u64().unwrap_or(0).max(1);
            let mut stream = Read::chain(&size[..], std::io::repeat(0).take(content));
            let made = transfer(case, |transfer| session.import(volid, transfer, &mut stream).map_err(say))?;
            result(bytes::write(made.as_bstr()));
        }
        other => return Err(format!("unknown operation {other}")),
    }
    Ok(())
}

fn truthy(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false)) && *value != 0
}

fn storeid_of(volid: &BStr) -> String {
    volid.to_string().split(':').next().unwrap_or_default().to_owned()
}

fn volids(case: &Value) -> Vec<Vec<u8>> {
    list(&case["volids"]).iter().filter_map(bytes::read).collect()
}

fn transfer<T>(case: &Value, body: impl FnOnce(&Transfer<'_>) -> Result<T, String>) -> Result<T, String> {
    let format = case["format"].as_str().and_then(StreamFormat::from_name).ok_or("no stream format")?;
    let text = |name: &str| bytes::read(&case[name]).map(BString::from);
    let (snapshot, base) = (text("snapshot"), text("base"));
    let names: Vec<BString> =
        list(&case["with_snapshots"]).iter().filter_map(bytes::read).map(BString::from).collect();
    let with = match &case["with_snapshots"] {
        Value::Array(_) => With::Listed(&names),
        other if truthy(other) => With::All,
        _ => With::Nothing,
    };
    body(&Transfer {
        snapshot: snapshot.as_ref().map(BStr::new),
        base: base.as_ref().map(BStr::new),
        with,
        allow_rename: truthy(&case["allow_rename"]),
        ..Transfer::new(format)
    })
}

fn size_info(info: &SizeInfo) -> Value {
    json!({
        "size": info.size,
        "format": info.format,
        "used": info.used,
        "parent": info.parent.as_ref().map(|parent| bytes::write(parent)),
    })
}

fn status_of(status: &Status) -> Value {
    json!({
        "total": status.total,
        "avail": status.available,
        "used": status.used,
        "active": u8::from(status.active),
    })
}

fn snapshot_info(storeid: &str, info: &SnapshotInfo) -> Value {
    let mut entry = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            entry.insert(name.into(), value);
        }
    };
    set("id", json!(info.id.as_ref().map(|id| bytes::write(id))));
    set("timestamp", json!(info.timestamp));
    if let Some(link) = &info.link {
        set("order", json!(link.order));
        set("file", bytes::write(&link.file));
        set("volname", bytes::write(&link.volname));
        set("volid", json!(format!("{storeid}:{}", link.volname)));
        set("virtual-size", json!(link.virtual_size));
        set("parent", json!(link.parent.as_ref().map(|name| bytes::write(name))));
        set("child", json!(link.child.as_ref().map(|name| bytes::write(name))));
    }
    Value::Object(entry)
}

fn trace(host: &MemoryHost) -> Value {
    let pid = host.process_id().to_string();
    let plain = |text: &BStr| match text.to_string().strip_suffix(&format!(".tmp.{pid}")) {
        Some(stem) => json!(format!("{stem}.tmp.PID")),
        None => bytes::write(text),
    };
    let entry = |record: &Record| {
        Some(match record {
            Record::Ran(command) => json!({ "run": command.argv().map(plain).collect::<Vec<_>>() }),
            Record::Locked { storage, shared } => json!({ "lock": storage, "shared": shared }),
            Record::Unlocked(storage) => json!({ "unlock": storage }),
            Record::Changed(Change::Exchange { one, other }) => {
                json!({ "exchange": [plain(BStr::new(one)), plain(BStr::new(other))] })
            }
            Record::Reported(Event::JobBegins(kind)) => json!({ "job": kind }),
            Record::Reported(Event::JobEnds(kind)) => json!({ "job_end": kind }),
            _ => return None,
        })
    };
    host.records().iter().filter_map(entry).collect()
}

/// What has come and gone below the directories that the recording looked at.
fn differences(
    before: &BTreeMap<BString, Node>,
    after: &BTreeMap<BString, Node>,
    seen: &mut Map<String, Value>,
) {
    let looked_at = |path: &BString| {
        ["/srv/", "/mnt/pve/", "/run/", "/etc/pve/priv/"].iter().any(|root| path.starts_with(root.as_bytes()))
    };
    let became_read_only = |path: &BString, node: &Node| {
        node.mode == 0o444 && before.get(path).is_some_and(|old| old.mode != 0o444)
    };
    let added: Vec<Value> = after
        .iter()
        .filter(|(path, node)| {
            looked_at(path) && (!before.contains_key(*path) || became_read_only(path, node))
        })
        .map(|(path, node)| added_node(path, node))
        .collect();
    if !added.is_empty() {
        seen.insert("added".into(), json!(added));
    }
    let removed: Vec<Value> = before
        .keys()
        .filter(|path| looked_at(path) && !after.contains_key(*path))
        .map(|path| bytes::write(path))
        .collect();
    if !removed.is_empty() {
        seen.insert("removed".into(), json!(removed));
    }
}

fn added_node(path: &BString, node: &Node) -> Value {
    let mut entry = Map::new();
    entry.insert("path".into(), bytes::write(path));
    match &node.kind {
        NodeKind::Directory => {
            entry.insert("kind".into(), json!("dir"));
            entry.insert("mode".into(), json!(format!("{:04o}", node.mode)));
        }
        NodeKind::File { content, .. } => {
            entry.insert("kind".into(), json!("file"));
            if node.mode == 0o444 {
                entry.insert("mode".into(), json!("0444"));
            }
            if path.starts_with(b"/run/systemd/") {
                entry.insert("text".into(), bytes::write(content));
            }
        }
        NodeKind::Block => {
            entry.insert("kind".into(), json!("block"));
        }
        _ => {
            entry.insert("kind".into(), json!("link"));
        }
    }
    Value::Object(entry)
}
