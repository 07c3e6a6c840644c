// SPDX-License-Identifier: MIT OR Apache-2.0
//! BACKUP_NAMES: what the name of a backup archive says.

use std::path::Path;

use jiff::tz::TimeZone;
use pve_volid::{ArchiveName, LocalZone};
use serde_json::{Map, Value, json};

use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let text = bytes::read(&case["archive"]).ok_or("no archive")?;
    let archive = ArchiveName::parse(&text).map_err(|e| e.to_string())?;
    let mut seen = Map::new();
    seen.insert("filename".into(), bytes::write(archive.filename));
    seen.insert("type".into(), json!(archive.guest));
    seen.insert("format".into(), json!(archive.extension.format));
    seen.insert("is_std_name".into(), json!(u8::from(archive.is_standard())));
    if let Some(compression) = archive.extension.compression {
        seen.insert("compression".into(), json!(compression));
    }
    if let Some(command) = archive.decompressor() {
        seen.insert("decompressor".into(), json!(command));
    }
    if let Some(standard) = archive.standard {
        let zone = zone(case)?;
        seen.insert("vmid".into(), json!(standard.vmid));
        seen.insert("ctime".into(), json!(zone.epoch(standard.time).ok_or("no such time in that zone")?));
        seen.insert("notesfilename".into(), bytes::write(&archive.notes_name()));
        seen.extend(archive.log_name().map(|log| ("logfilename".to_owned(), bytes::write(&log))));
    }
    Ok(Value::Object(seen))
}

/// The local time zone of a case.
pub(crate) fn zone(case: &Value) -> Result<TimeZone, String> {
    TimeZone::get(case["tz"].as_str().unwrap_or("UTC")).map_err(|e| e.to_string())
}
