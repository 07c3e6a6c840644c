// SPDX-License-Identifier: MIT OR Apache-2.0
//! CLOUDINIT: the files of a VM's cloud-init image, its drives, and what the commands `dump` and `pending` print.

use std::io;
use std::path::Path;

use bstr::{BStr, ByteSlice};
use pve_config::guest::VmConfig;
use pve_qemu::cloudinit::{
    CustomParts, DumpPart, FileSet, GenerateError, PendingCloudInit, Resolver, Settings, image_drives,
    pending_changes,
};
use pve_volid::VmId;
use serde_json::{Map, Value, json};

use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let vmid =
        case["vmid"].as_u64().and_then(|id| VmId::try_from(u32::try_from(id).ok()?).ok()).ok_or("no vmid")?;
    let text = bytes::read(&case["config"]).ok_or("no config")?;
    let (config, _) = VmConfig::parse(&text);
    let settings = Settings::of_config(&config.main, vmid, resolver(&case["host_resolv"]));
    let dump =
        |part| settings.dump(part).map_or_else(|_| json!({ "error": true }), |text| bytes::write(&text));
    let masked = settings.masked().dump(DumpPart::User).map_err(|error| error.to_string())?;
    let mut actual = Map::new();
    actual.insert("citype".into(), settings.kind().map_err(|error| error.to_string())?.as_str().into());
    actual.insert(
        "dump".into(),
        json!({
            "user": dump(DumpPart::User), "network": dump(DumpPart::Network), "meta": dump(DumpPart::Meta),
            "user_masked": bytes::write(&masked),
        }),
    );
    actual.insert("pending".into(), pending_changes(&config).iter().map(pending).collect());
    match generate(case, &config, &settings) {
        Err(_) => drop(actual.insert("error".into(), true.into())),
        Ok(files) => {
            let drives = image_drives(&config.main, vmid).map(|(_, volid)| bytes::write(volid));
            let drives: Vec<Value> = drives.collect();
            if !drives.is_empty() {
                show(&files, &case["expect"], &mut actual);
            }
            actual.insert("disks".into(), drives.into());
        }
    }
    Ok(actual.into())
}

fn resolver(host: &Value) -> Resolver {
    let text = |name: &str| host[name].as_str().map(Into::into);
    Resolver { search: text("search"), servers: [text("dns1"), text("dns2"), text("dns3")] }
}

fn generate(case: &Value, config: &VmConfig<'_>, settings: &Settings) -> Result<FileSet, GenerateError> {
    let mut snippets = |volid: &BStr, _limit: usize| {
        let content = volid.to_str().ok().and_then(|volid| bytes::read(&case["snippets"][volid]));
        content.ok_or_else(|| io::ErrorKind::NotFound.into())
    };
    settings.files(CustomParts::of_config(&config.main, &mut snippets)?)
}

/// Files, label and instance id.
fn show(files: &FileSet, expect: &Value, actual: &mut Map<String, Value>) {
    let json_files = &expect["json_files"];
    let mut contents = Map::new();
    for (path, content) in &files.files {
        let recorded = &expect["files"][path];
        let is_json = json_files.as_array().is_some_and(|paths| paths.iter().any(|json| json == path));
        let same = is_json && same_document(recorded, content);
        contents.insert((*path).to_owned(), if same { recorded.clone() } else { bytes::write(content) });
    }
    actual.insert("files".into(), contents.into());
    actual.insert("label".into(), files.kind.label().into());
    if !json_files.is_null() {
        actual.insert("json_files".into(), json_files.clone());
    }
    if let Some(id) = &files.instance_id {
        actual.insert("instance_id".into(), id.as_str().into());
    }
}

/// Whether two JSON texts say the same: the order of keys is free.
fn same_document(recorded: &Value, content: &[u8]) -> bool {
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    let recorded = bytes::read(recorded).and_then(|text| read(&text));
    recorded.is_some() && recorded == read(content)
}

fn pending(item: &PendingCloudInit) -> Value {
    let mut entry = Map::new();
    entry.insert("key".into(), bytes::write(&item.key));
    for (name, value) in [("value", &item.value), ("pending", &item.pending)] {
        entry.extend(value.as_ref().map(|value| (name.to_owned(), bytes::write(value))));
    }
    if item.delete {
        entry.insert("delete".into(), 1.into());
    }
    entry.into()
}
