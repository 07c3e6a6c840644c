// SPDX-License-Identifier: MIT OR Apache-2.0
//! LIST_IMAGES: what a storage lists.

use std::collections::BTreeSet;
use std::path::Path;

use bstr::ByteSlice;
use pve_storage::{Image, Session};
use pve_volid::{ContentType, Digits, VolumeId, Wanted, WantedNames};
use serde_json::{Map, Value, json};

use super::storage_world::{host, list, storages};
use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let storages = storages(case)?;
    let mut host = host(case)?;
    host.measure_images();
    host.backups = case["pbs_snapshots"].clone();
    let session = Session::new(&storages, &host, "localhost").assume_active();
    let storeid = case["storeid"].as_str().ok_or("no storeid")?;
    let id: pve_volid::StorageId = storeid.parse().map_err(|e| format!("{e}"))?;

    let owner = match &case["vmid"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let names = case["vollist"].as_array().map(|_| {
        let ids: Vec<VolumeId> = list(&case["vollist"])
            .iter()
            .filter_map(|id| VolumeId::from_bytes(bytes::read(id)?).ok())
            .collect();
        WantedNames::on(id.borrowed(), ids.iter().map(VolumeId::borrowed))
    });
    let wanted = match (&names, Digits::new(owner.as_bytes())) {
        (Some(names), _) => Wanted::Names(names),
        (None, Some(owner)) => Wanted::Guest(owner),
        (None, None) => Wanted::Everything,
    };
    let images = match case["op"].as_str() {
        Some("list_images") => session.images(storeid, wanted),
        _ => {
            let content = case["content"].as_str().and_then(|text| ContentType::from_bytes(text.as_bytes()));
            session.volumes(storeid, wanted, content, &containers(case))
        }
    };
    let mut volumes: Vec<Image> = images.map_err(|e| e.to_string())?;
    volumes.sort_by_key(|image| (image.volid.as_bstr().to_ascii_lowercase(), image.volid.clone()));
    Ok(json!({ "volumes": volumes.iter().map(entry).collect::<Vec<_>>() }))
}

fn containers(case: &Value) -> BTreeSet<u64> {
    let guests = case["guests"].as_object();
    guests
        .into_iter()
        .flatten()
        .filter(|(_, kind)| *kind == "lxc")
        .filter_map(|(id, _)| id.parse().ok())
        .collect()
}

fn entry(image: &Image) -> Value {
    let mut entry = Map::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            entry.insert(name.into(), value);
        }
    };
    let number = |digits: &bstr::BString| digits.to_str().ok().and_then(|digits| digits.parse::<u64>().ok());
    set("volid", bytes::write(image.volid.as_bstr()));
    set("format", json!(image.format));
    set("vmid", json!(image.owner.as_ref().and_then(number)));
    set("size", image.fractional_size.map_or_else(|| json!(image.size), |size| json!(size)));
    set("approximate-size", json!(image.approximate_size));
    set("used", json!(image.used));
    set("parent", image.parent.as_ref().map_or(Value::Null, |parent| bytes::write(parent)));
    set("ctime", json!(image.ctime));
    set("name", image.name.as_ref().map_or(Value::Null, |name| bytes::write(name)));
    set("content", json!(image.content));
    if let Some(lun) = image.lun {
        set("channel", json!(lun.channel));
        set("id", json!(lun.id));
        set("lun", json!(lun.lun));
    }
    if let Some(backup) = &image.backup {
        set("subtype", json!(backup.subtype));
        set("notes", backup.notes.as_ref().map_or(Value::Null, |notes| bytes::write(notes)));
        set("protected", if backup.protected { json!(1) } else { Value::Null });
        set("verification", json!(backup.verification));
        set("encrypted", json!(backup.encrypted));
    }
    Value::Object(entry)
}
