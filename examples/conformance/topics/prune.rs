// SPDX-License-Identifier: MIT OR Apache-2.0
//! PRUNE: which of the backups in a directory are kept.

use std::path::Path;

use pve_config::cluster::PruneBackups;
use pve_volid::{ContentFile, Digits, PruneCandidate, VolumeType, prune};
use serde_json::{Map, Value, json};

use super::backup_names::zone;
use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let zone = zone(case)?;
    let keep = case["keep"].as_str().or(case["config"].as_str()).ok_or("nothing says what to keep")?;
    let retention = PruneBackups::parse(keep.as_bytes()).map_err(|e| e.to_string())?.retention();
    let guest = case["vmid"].as_u64().map(|vmid| vmid.to_string());
    let guest = guest.as_ref().and_then(|vmid| Digits::new(vmid.as_bytes()));

    // in the order in which a listing gives them
    let mut backups: Vec<(Vec<u8>, &Value)> = Vec::new();
    for backup in case["backups"].as_array().into_iter().flatten() {
        backups.push((bytes::read(&backup["file"]).ok_or("no file")?, backup));
    }
    backups.sort_by_key(|(file, _)| file.to_ascii_lowercase());
    let mut files = Vec::new();
    for (file, backup) in &backups {
        let Ok(found) = ContentFile::judge(VolumeType::Backup, file, guest) else { continue };
        if case["type"].as_str().is_some_and(|kind| kind != found.subtype()) {
            continue;
        }
        let changed = backup["ctime"].as_i64().unwrap_or(1_600_000_000);
        let candidate = PruneCandidate::of(found.archive.as_ref(), changed, &zone);
        files.push((found, PruneCandidate { protected: backup["protected"] == json!(true), ..candidate }));
    }

    let candidates: Vec<PruneCandidate> = files.iter().map(|(_, candidate)| *candidate).collect();
    let marks = prune(&candidates, &retention, &zone);
    let mut list: Vec<_> = files.iter().zip(marks).collect();
    list.sort_by(|((a, _), _), ((b, _), _)| a.volname.cmp(&b.volname));
    let entry = |((file, candidate), mark): (&(ContentFile<'_>, PruneCandidate), _)| {
        let mut entry = Map::new();
        entry.insert("volid".into(), bytes::write(&[b"bak:", file.volname.as_slice()].concat()));
        entry.insert("ctime".into(), json!(candidate.ctime));
        entry.insert("type".into(), json!(file.subtype()));
        entry.insert("mark".into(), json!(mark));
        entry.extend(file.owner.map(|owner| ("vmid".to_owned(), json!(owner.number()))));
        Value::Object(entry)
    };
    Ok(json!({ "list": list.into_iter().map(entry).collect::<Vec<_>>() }))
}
