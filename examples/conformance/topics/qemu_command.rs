// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU_COMMAND and QEMU_COMMAND_DEVICES: configuration, storages and host facts to an argument vector.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};

use bstr::BStr;
use pve_config::guest::VmConfig;
use pve_config::storage::StorageConfig;
use pve_qemu::{Builder, Host, Options};
use pve_storage::Storages;
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::{Actual, bytes};

/// Host facts that are merged into those of the profile, member by member.
const MERGED: &[&str] =
    &["qemu", "bridges", "paths", "scsi_inquiry", "zfs_luns", "snapshot_chains", "firmware"];

/// The shared inputs of each folder, read once.
static PROFILES: LazyLock<Mutex<HashMap<PathBuf, Arc<Value>>>> = LazyLock::new(Mutex::default);

pub(crate) fn run(case: &Value, dir: &Path) -> Actual {
    let profiles = profiles(dir)?;
    let host = host(&case["host"], &profiles)?;
    let storage = match &case["storage_cfg"] {
        Value::String(text) => text,
        _ => {
            let name = case["storage"].as_str().ok_or("no storage")?;
            profiles["storages"][name].as_str().ok_or("unknown storage profile")?
        }
    };
    let storages = Storages::from_config(&StorageConfig::parse(storage.as_bytes()));
    let builder = Builder::new(&host, &storages);
    let text = bytes::read(&case["conf"]).ok_or("no conf")?;
    let (config, _) = VmConfig::parse_with(&text, &builder.context());
    let vmid = case["vmid"].as_u64().and_then(|vmid| VmId::new(vmid.try_into().ok()?)).ok_or("no vmid")?;

    let given = &case["options"];
    let option = |name: &str| given[name].as_str().map(BStr::new);
    let mut options = Options::default();
    options.snapshot = option("snapshot");
    options.force_machine = option("force_machine");
    options.force_cpu = option("force_cpu");
    options.nets_host_mtu = option("nets_host_mtu");
    let command = builder.build(vmid, &config, &options).map_err(|error| error.to_string())?;

    let argv: Vec<Value> = command.iter().map(|argument| bytes::write(argument)).collect();
    let mut actual = json!({ "argv": argv, "warnings": command.warnings.len() });
    if !command.notices.is_empty() {
        actual["notices"] = command.notices.len().into();
    }
    if !case["expect"]["showcmd"].is_null() {
        let line = if given["pretty"] == true { command.pretty() } else { command.shell_line() };
        actual["showcmd"] = bytes::write(&line);
    }
    Ok(actual)
}

fn profiles(dir: &Path) -> Result<Arc<Value>, String> {
    let mut read = PROFILES.lock().map_err(|_| "another case panicked")?;
    if let Some(profiles) = read.get(dir) {
        return Ok(profiles.clone());
    }
    let file = dir.join("QEMU_COMMAND.profiles.json");
    let text = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let profiles = Arc::new(serde_json::from_slice(&text).map_err(|error| error.to_string())?);
    read.insert(dir.to_owned(), Arc::clone(&profiles));
    Ok(profiles)
}

/// The facts of the profile that `changes` names, with its other members applied.
fn host(changes: &Value, profiles: &Value) -> Result<Host, String> {
    let name = changes["profile"].as_str().ok_or("no host profile")?;
    let mut facts = profiles["hosts"][name].clone();
    let members = facts.as_object_mut().ok_or("unknown host profile")?;
    // what profiles do not list does not exist
    members.insert("assume".into(), json!({}));
    for (key, value) in changes.as_object().into_iter().flatten().filter(|(key, _)| *key != "profile") {
        match (members.get_mut(key).and_then(Value::as_object_mut), value) {
            (Some(merged), Value::Object(changes)) if MERGED.contains(&key.as_str()) => {
                merged.extend(changes.clone());
            }
            _ => drop(members.insert(key.clone(), value.clone())),
        }
    }
    serde_json::from_value(facts).map_err(|error| error.to_string())
}
