// SPDX-License-Identifier: MIT OR Apache-2.0
//! Backup snapshots of a datastore as volumes (spec: volumes, "Volumes by content").

use pve_volid::Digits;
use serde_json::Value;

use crate::error::Result;
use crate::listing::{BackupAttributes, Image, ImageFilter};
use crate::plugin::concat;
use crate::session::Session;
use crate::storage::Storage;
use crate::time::utc_text;

pub(super) fn backups(
    session: &Session<'_>,
    storage: &Storage,
    filter: &ImageFilter<'_>,
) -> Result<Vec<Image>> {
    let owner = filter.owner.map(|owner| owner.as_bstr());
    let answer = session.host().backup_snapshots(storage, owner)?;
    let mut images = Vec::new();
    for snapshot in answer.as_array().map(Vec::as_slice).unwrap_or_default() {
        images.extend(entry(storage, snapshot, filter)?);
    }
    Ok(images)
}

fn entry(storage: &Storage, snapshot: &Value, filter: &ImageFilter<'_>) -> Result<Option<Image>> {
    let text = |member: &str| snapshot.get(member).and_then(Value::as_str);
    let subtype = match text("backup-type") {
        Some("vm") => "qemu",
        Some("ct") => "lxc",
        _ => return Ok(None),
    };
    let (Some(kind), Some(id), Some(time)) = (
        text("backup-type"),
        text("backup-id").and_then(|id| Digits::new(id.as_bytes())),
        snapshot.get("backup-time").and_then(Value::as_i64),
    ) else {
        return Ok(None);
    };
    if filter.owner.is_some_and(|owner| owner != id) {
        return Ok(None);
    }
    let volname = concat([b"backup/", kind.as_bytes(), b"/", id.as_bstr(), b"/", utc_text(time).as_bytes()]);
    let volid = storage.volid(&volname)?;
    if filter.volids.is_some() && !filter.admits(volid.as_bstr(), None) {
        return Ok(None);
    }
    Ok(Some(Image {
        owner: Some(id.as_bstr().to_owned()),
        size: Some(snapshot.get("size").and_then(Value::as_u64).unwrap_or(1)),
        ctime: Some(time),
        backup: Some(BackupAttributes {
            subtype,
            notes: text("comment").filter(|comment| !comment.is_empty()).map(Into::into),
            protected: snapshot.get("protected").and_then(Value::as_bool).unwrap_or(false),
            verification: snapshot.get("verification").filter(|state| !state.is_null()).cloned(),
            encrypted: encryption(snapshot),
        }),
        ..Image::new(volid, format!("pbs-{kind}"))
    }))
}

/// The key's fingerprint; `1` if every file that can be is encrypted, and there is one.
fn encryption(snapshot: &Value) -> Option<String> {
    if let Some(fingerprint) = snapshot.get("fingerprint").and_then(Value::as_str) {
        return Some(fingerprint.to_owned());
    }
    let files = snapshot.get("files").and_then(Value::as_array)?;
    let text = |file: &Value, member: &str| file.get(member).and_then(Value::as_str).map(str::to_owned);
    let mut counted = files
        .iter()
        .filter(|file| {
            !matches!(text(file, "filename").as_deref(), Some("client.log.blob" | "index.json.blob"))
        })
        .peekable();
    counted.peek()?;
    counted.all(|file| text(file, "crypt-mode").as_deref() == Some("encrypt")).then(|| "1".to_owned())
}
