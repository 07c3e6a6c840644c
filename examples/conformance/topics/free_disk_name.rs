// SPDX-License-Identifier: MIT OR Apache-2.0
//! FREE_DISK_NAME: the next free name for a disk, among given texts (`next`) or on a storage that holds given things
//! (`find`).

use std::path::Path;

use pve_volid::{
    Digits, FreeName, FreeNameSource, ImageFile, ImageFormat, Listed, RbdFilter, RbdImage, StorageType,
    Wanted, ZfsDataset, ZfsFilter,
};
use serde_json::{Value, json};

use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let vmid = match &case["vmid"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let owner = Digits::new(vmid.as_bytes()).ok_or("vmid is not a number")?;
    let format =
        case["format"].as_str().map(str::parse::<ImageFormat>).transpose().map_err(|e| e.to_string())?;
    let mut search = match case["op"].as_str() {
        Some("next") => FreeName::new(kind(&case["type"])?, owner, format, case["suffixed"] == json!(true)),
        Some("find") => FreeName::for_allocation(kind(&case["storage"]["type"])?, owner, format),
        _ => return Err("unknown op".to_owned()),
    };
    let texts = if case["op"] == "find" { searched(case, owner)? } else { strings(&case["list"])? };
    for text in texts {
        search.see(&text);
    }
    Ok(json!({ "name": search.name().map_err(|e| e.to_string())? }))
}

fn kind(name: &Value) -> Result<StorageType, String> {
    name.as_str().unwrap_or_default().parse().map_err(|e| format!("{e}"))
}

fn strings(list: &Value) -> Result<Vec<Vec<u8>>, String> {
    list.as_array()
        .into_iter()
        .flatten()
        .map(|text| bytes::read(text).ok_or("not a text".to_owned()))
        .collect()
}

/// What allocation looks at on a storage that holds `existing`.
fn searched(case: &Value, owner: Digits<'_>) -> Result<Vec<Vec<u8>>, String> {
    let existing = strings(&case["existing"])?;
    let kind = kind(&case["storage"]["type"])?;
    match kind.free_name_source().ok_or("nothing can be allocated there")? {
        FreeNameSource::EveryName => Ok(existing),
        FreeNameSource::ListedVolumes => {
            // not a `StorageId`: the cases have one-letter ids too
            let id = case["storeid"].as_str().ok_or("no storeid")?;
            let pool = case["storage"]["pool"].as_str().unwrap_or_default();
            let volumes = existing.iter().filter_map(|name| listed(kind, pool, owner, name));
            Ok(volumes.map(|volname| [id.as_bytes(), b":", &volname].concat()).collect())
        }
        other => Err(format!("unknown source {other:?}")),
    }
}

/// The volume name of the thing called `name`, if a listing for `owner` shows it.
fn listed(kind: StorageType, pool: &str, owner: Digits<'_>, name: &[u8]) -> Option<Vec<u8>> {
    let wanted = Wanted::Guest(owner);
    let volname = |volume: Listed<'_>| volume.volname.into_owned().into();
    match kind {
        StorageType::ZfsPool | StorageType::Zfs => {
            let dataset = [pool.as_bytes(), b"/", name].concat();
            let is_filesystem = name.windows(4).any(|part| part == b"vol-");
            let entry = ZfsDataset {
                dataset: dataset.as_slice().into(),
                volsize: "1".into(),
                origin: "-".into(),
                kind: if is_filesystem { "filesystem" } else { "volume" }.into(),
                refquota: "-".into(),
            };
            ZfsFilter { pool: pool.into(), wanted }.judge(&entry).ok().map(volname)
        }
        StorageType::Rbd => {
            let image = RbdImage { image: name.into(), snapshot: None, parent: None };
            RbdFilter { wanted }.judge(&image).ok().map(volname)
        }
        _ => {
            let image = ImageFile::at(kind, name).ok()?;
            wanted.owner(Some(image.owner)).ok()?;
            Some(volname(image.listed(None)))
        }
    }
}
