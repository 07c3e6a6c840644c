// SPDX-License-Identifier: MIT OR Apache-2.0
//! VOLUME_NAMES: a volume name on a storage, and everything that follows from it.

use std::path::Path;

use pve_storage::{
    CephFacts, Facts, Feature, FileKind, Intermediate, Storage, StreamFormat, TransferScope, Volume,
};
use pve_volid::{ImageFormat, StorageType, VolumeType};
use serde_json::{Map, Value, json};

use super::storage_entry;
use crate::{Actual, bytes};

/// The snapshot that the cases ask about.
const SNAPSHOT: &[u8] = b"s1";

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let storage = storage_entry::read(case)?;
    let volname = bytes::read(&case["volname"]).ok_or("no volname")?;
    let volume = storage.volume(&volname).map_err(|e| e.to_string())?;
    Ok(describe(&storage, &volume, &facts(case, &storage)))
}

fn facts(case: &Value, storage: &Storage) -> Facts {
    let env = &case["env"];
    let flag = |name: &str| env[name].as_bool().unwrap_or(false);
    Facts {
        file: Some(match storage.storage_type() {
            Some(StorageType::Iscsi) => FileKind::Block,
            _ => FileKind::File,
        }),
        ceph: CephFacts {
            keyring_exists: flag("keyring_exists"),
            conf_exists: flag("conf_exists"),
            fsid: env["ceph_conf_fsid"].as_str().map(Into::into),
            older_device: false,
        },
        lun: None,
    }
}

fn describe(storage: &Storage, volume: &Volume<'_>, facts: &Facts) -> Value {
    let mut seen = Map::new();
    seen.insert(
        "parse".into(),
        json!({
            "vtype": volume.vtype,
            "name": bytes::write(volume.name),
            "vmid": volume.owner,
            "basename": volume.base.map(|base| bytes::write(base.name)),
            "basevmid": volume.base.map(|base| base.owner),
            "is_base": volume.is_base,
            "format": volume.format.to_string(),
        }),
    );
    let snapshots = [("", None), ("_snap", Some(SNAPSHOT.into()))];
    if storage.storage_type() != Some(StorageType::Zfs) {
        for (suffix, snapshot) in snapshots {
            let path = volume.path(snapshot, facts).map(|path| bytes::write(&path));
            seen.insert(format!("path{suffix}"), or_error(path));
            if matches!(volume.vtype, VolumeType::Images | VolumeType::Iso | VolumeType::Import) {
                let device = volume.block_device(snapshot, facts).map(|device| json!(device));
                seen.insert(format!("blockdev{suffix}"), or_error(device));
            }
        }
    }
    seen.insert("features".into(), features(volume));
    seen.insert("snapshot_method".into(), json!(volume.snapshot_method()));
    seen.insert("export_formats".into(), streams(|scope| volume.export_formats(scope)));
    seen.insert("import_formats".into(), streams(|scope| volume.import_formats(scope)));
    Value::Object(seen)
}

fn features(volume: &Volume<'_>) -> Value {
    let mut table = Map::new();
    for feature in Feature::ALL {
        let answers =
            [None, Some(SNAPSHOT.into())].map(|snapshot| volume.can(*feature, snapshot, None).is_ok());
        table.insert(feature.to_string(), json!(answers));
    }
    let raw = volume.can(Feature::Clone, None, Some(&[ImageFormat::Raw])).is_ok();
    table.insert("clone_raw_target".into(), json!(raw));
    Value::Object(table)
}

fn streams(formats: impl Fn(TransferScope) -> pve_storage::Result<Vec<StreamFormat>>) -> Value {
    let with = Intermediate::All;
    let scopes = [
        ("plain", TransferScope::default()),
        ("with", TransferScope { with, ..TransferScope::default() }),
        ("snap", TransferScope { snapshot: true, ..TransferScope::default() }),
        ("snap_with", TransferScope { snapshot: true, with, ..TransferScope::default() }),
        ("snap_base", TransferScope { snapshot: true, base: true, ..TransferScope::default() }),
        ("snap_base_with", TransferScope { snapshot: true, base: true, with }),
    ];
    scopes.into_iter().map(|(name, scope)| (name, or_error(formats(scope).map(|list| json!(list))))).collect()
}

fn or_error<E>(value: Result<Value, E>) -> Value {
    value.unwrap_or_else(|_| json!({"error": true}))
}
