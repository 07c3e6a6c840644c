// SPDX-License-Identifier: MIT OR Apache-2.0
//! QEMU_CONF: reading and writing guest configurations, pending changes, snapshots, unused volumes.

use std::path::Path;

use bstr::BString;
use pve_config::format::Context;
use pve_config::guest::{
    Config, DeleteList, Guest, GuestKind, Lxc, LxcConfig, Qemu, Section, SectionId, Unused, VmConfig,
};
use serde_json::{Map, Value, json};

use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    match case["kind"].as_str().unwrap_or_default() {
        "conf" => read::<Qemu>(case),
        "lxc-conf" => read::<Lxc>(case),
        "write" => write(case, &vm(&case["conf"])?),
        "lxc-write" => write(case, &container(&case["conf"])?),
        "pending-delete" => pending_delete(case),
        kind => change(case, kind),
    }
}

/// The custom CPU models of the case, which checks need to know.
fn models(case: &Value) -> Vec<BString> {
    let names = case["custom_cpu_models"].as_array().into_iter().flatten();
    names.filter_map(bytes::read).map(BString::from).collect()
}

fn raw(case: &Value, member: &str) -> Result<Vec<u8>, String> {
    bytes::read(&case[member]).ok_or_else(|| format!("no {member} in the case"))
}

fn read<G: Guest>(case: &Value) -> Actual {
    let (raw, models) = (raw(case, "raw")?, models(case));
    let context = Context::default().with_custom_cpu_models(&models);
    let (config, found) = Config::<G>::parse_with(&raw, &context);
    let strict = Config::<G>::parse_strict(&raw, &context);
    let written = config.to_bytes_with(&context).ok().map(|text| bytes::write(&text));
    Ok(json!({
        "conf": whole(&config),
        "warnings": found.warnings(),
        "strict_error": strict.is_err(),
        "written": written,
    }))
}

fn write<G: Guest>(case: &Value, config: &Config<'_, G>) -> Actual {
    let models = models(case);
    let context = Context::default().with_custom_cpu_models(&models);
    let text = config.to_bytes_with(&context).map_err(|error| error.to_string())?;
    Ok(json!({ "written": bytes::write(&text) }))
}

fn pending_delete(case: &Value) -> Actual {
    let mut pending = Section::<Qemu>::new();
    if let Some(text) = bytes::read(&case["text"]) {
        pending.set("delete", text);
    }
    let list: DeleteList = pending.delete_list();
    let parsed: Map<String, Value> =
        list.iter().map(|(key, force)| (key.to_string(), force.into())).collect();
    let mut result = json!({ "parsed": parsed, "printed": bytes::write(&list.to_text()) });
    if let Some(ops) = case["ops"].as_array() {
        let mut after = Vec::new();
        for op in ops {
            let key = op[1].as_str().ok_or("an operation without key")?;
            match op[0].as_str() {
                Some("add") => pending.queue_deletion(key, op[2] == true),
                _ => drop(pending.unqueue_deletion(key)),
            }
            after.push(pending.get("delete").map(|text| bytes::write(text)));
        }
        result["after"] = json!(after);
    }
    Ok(result)
}

/// The kinds that read a configuration and look at it or change it.
fn change(case: &Value, kind: &str) -> Actual {
    let text = raw(case, "raw")?;
    let (mut config, _) = VmConfig::parse(&text);
    let snapshot = case["snapshot"].as_str().unwrap_or_default();
    let written = |config: &VmConfig<'_>| config.to_bytes().ok().map(|text| bytes::write(&text));
    match kind {
        "current" => {
            let section = if case["current"] == true { config.main.borrowed() } else { config.effective() };
            Ok(json!({ "conf": with_digest(&config, map(&section)) }))
        }
        "snapshot-config" => {
            let section = config.require_snapshot(snapshot).map_err(|error| error.to_string())?;
            Ok(json!({ "conf": with_digest(&config, map(section)) }))
        }
        "cleanup-pending" => {
            let changes = config.cleanup_pending();
            Ok(json!({ "changes": changes, "pending": map(&config.pending), "written": written(&config) }))
        }
        "pending-list" => {
            let items = config.pending_list().into_iter().map(|item| {
                let mut shown = Map::new();
                shown.insert("key".into(), bytes::write(&item.key));
                let value = item.value.as_ref().map(|value| bytes::write(value));
                shown.extend(value.map(|value| ("value".into(), value)));
                shown.extend(item.pending.map(|value| ("pending".into(), bytes::write(value))));
                shown.extend(item.delete.map(|delete| ("delete".into(), delete.number().to_string().into())));
                Value::Object(shown)
            });
            Ok(json!({ "items": items.collect::<Value>() }))
        }
        "snapshot-copy" => {
            let copy = config.main.snapshot_copy();
            let shown = map(&copy);
            config.insert_snapshot(snapshot, copy);
            Ok(json!({ "snapshot": shown, "written": written(&config) }))
        }
        "snapshot-apply" => {
            config.apply_snapshot(snapshot).map_err(|error| error.to_string())?;
            let mut conf = map(&config.main);
            conf.insert("snapshots".into(), snapshots(&config));
            Ok(json!({ "conf": conf }))
        }
        "add-unused" => {
            let added = config.add_unused(raw(case, "volid")?).map_err(|error| error.to_string())?;
            let key = match added {
                Unused::Added(key) => Some(key),
                _ => None,
            };
            Ok(json!({ "key": key, "written": written(&config) }))
        }
        other => Err(format!("unknown kind {other}")),
    }
}

/// The map that the reference makes of a file.
fn whole<G: Guest>(config: &Config<'_, G>) -> Value {
    let mut conf = with_digest(config, map(&config.main));
    conf.insert("pending".into(), map(&config.pending).into());
    conf.insert("snapshots".into(), snapshots(config));
    if G::KIND == GuestKind::Qemu {
        let special = config.sections().filter_map(|(id, section)| match id {
            SectionId::Special(name) => Some((name.to_string(), map(section).into())),
            _ => None,
        });
        conf.insert("special-sections".into(), special.collect::<Map<_, Value>>().into());
    }
    conf.into()
}

fn with_digest<G: Guest>(config: &Config<'_, G>, mut conf: Map<String, Value>) -> Map<String, Value> {
    conf.extend(config.digest().map(|digest| ("digest".into(), digest.to_string().into())));
    conf
}

fn map<G: Guest>(section: &Section<'_, G>) -> Map<String, Value> {
    let mut map: Map<String, Value> =
        section.iter().map(|(key, value)| (key.to_string(), bytes::write(value))).collect();
    if section.raw().len() > 0 {
        let pairs = section.raw().map(|(key, value)| json!([bytes::write(key), bytes::write(value)]));
        map.insert("lxc".into(), pairs.collect());
    }
    map
}

fn snapshots<G: Guest>(config: &Config<'_, G>) -> Value {
    config
        .snapshots()
        .map(|(name, section)| (name.to_string(), map(section).into()))
        .collect::<Map<_, Value>>()
        .into()
}

/// The configuration that a recorded map stands for.
fn vm(conf: &Value) -> Result<VmConfig<'static>, String> {
    let mut config = VmConfig::new();
    config.main = section(conf)?;
    config.pending = section(&conf["pending"])?;
    for (name, map) in members(&conf["snapshots"]) {
        config.insert_snapshot(name.as_str(), section(map)?);
    }
    for (name, map) in members(&conf["special-sections"]) {
        *config.special_section_mut(name.as_str()) = section(map)?;
    }
    Ok(config)
}

/// The container's configuration that a recorded map stands for.
fn container(conf: &Value) -> Result<LxcConfig<'static>, String> {
    let mut config = LxcConfig::new();
    config.main = section_with_raw(conf)?;
    config.pending = section_with_raw(&conf["pending"])?;
    for (name, map) in members(&conf["snapshots"]) {
        config.insert_snapshot(name.as_str(), section_with_raw(map)?);
    }
    Ok(config)
}

fn members(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The options among the members of a recorded map; maps and lists are something else.
fn section<G: Guest>(map: &Value) -> Result<Section<'static, G>, String> {
    let mut section = Section::new();
    for (key, value) in members(map) {
        match bytes::read(value) {
            Some(value) => drop(section.set(key.as_str(), value)),
            None if value.is_null() => return Err(format!("{key} is undefined, which no option can be")),
            None => {}
        }
    }
    Ok(section)
}

fn section_with_raw(map: &Value) -> Result<Section<'static, Lxc>, String> {
    let mut section = section(map)?;
    for pair in map["lxc"].as_array().into_iter().flatten() {
        if let (Some(key), Some(value)) = (bytes::read(&pair[0]), bytes::read(&pair[1])) {
            section.push_raw(key, value);
        }
    }
    Ok(section)
}
