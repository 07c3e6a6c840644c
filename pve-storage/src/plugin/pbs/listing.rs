// SPDX-License-Identifier: MIT OR Apache-2.0
//! Backup snapshots of a datastore as volumes (spec: volumes, "Volumes by content").

use pve_volid::{Digits, Invisible, Wanted};
use serde_json::Value;

use crate::error::Result;
use crate::listing::{BackupAttributes, Image, Listing};
use crate::plugin::concat;
use crate::session::Session;
use crate::storage::Storage;
use crate::time::utc_text;

pub(super) fn backups(
    session: &Session<'_>,
    storage: &Storage,
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    let owner = match wanted {
        Wanted::Guest(owner) => Some(owner.as_bstr()),
        _ => None,
    };
    let answer = session.host().backup_snapshots(storage, owner)?;
    for snapshot in answer.as_array().map(Vec::as_slice).unwrap_or_default() {
        list_one(storage, snapshot, wanted, listing)?;
    }
    Ok(())
}

fn list_one(storage: &Storage, snapshot: &Value, wanted: Wanted<'_>, listing: &mut Listing) -> Result<()> {
    let text = |member: &str| snapshot.get(member).and_then(Value::as_str).unwrap_or_default();
    let (kind, id) = (text("backup-type"), text("backup-id"));
    let time = snapshot.get("backup-time").and_then(Value::as_i64);
    let written = time.and_then(utc_text).unwrap_or_default();
    let size = snapshot.get("size").and_then(Value::as_u64);
    let volname = concat([b"backup/", kind.as_bytes(), b"/", id.as_bytes(), b"/", written.as_bytes()]);
    let subtype = match kind {
        "vm" => Ok("qemu"),
        "ct" => Ok("lxc"),
        _ => Err(Invisible::NoMatch),
    };
    let judged = subtype.and_then(|subtype| {
        let owner = Digits::new(id.as_bytes()).ok_or(Invisible::NoMatch)?;
        wanted.owner(Some(owner))?;
        wanted.volname(&volname)?;
        if written.is_empty() { Err(Invisible::NoMatch) } else { Ok((subtype, owner)) }
    });
    let (subtype, owner) = match judged {
        Ok(found) => found,
        Err(reason) => {
            listing.hide(&volname, size, reason);
            return Ok(());
        }
    };
    let notes = Some(text("comment")).filter(|comment| !comment.is_empty());
    listing.show(Image {
        owner: Some(owner.as_bstr().to_owned()),
        size: Some(size.unwrap_or(1)),
        ctime: time,
        backup: Some(Box::new(BackupAttributes {
            subtype,
            notes: notes.map(Into::into),
            protected: snapshot.get("protected").and_then(Value::as_bool).unwrap_or(false),
            verification: snapshot.get("verification").filter(|state| !state.is_null()).cloned(),
            encrypted: encryption(snapshot),
        })),
        ..Image::new(storage.volid(&volname)?, format!("pbs-{kind}"))
    });
    Ok(())
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
