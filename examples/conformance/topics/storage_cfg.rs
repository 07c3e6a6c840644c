// SPDX-License-Identifier: MIT OR Apache-2.0
//! STORAGE_CFG: storage.cfg read, written and changed.

use std::borrow::Cow;
use std::path::Path;

use pve_config::cluster::BwLimit;
use pve_config::section::Section;
use pve_config::storage::{
    Answer, LimitedOperation, Privileges, Rehearsal, Storage, StorageConfig, Transfer, Update, create,
    delete, update,
};
use serde_json::{Map, Value, json};

use super::section_config;
use crate::{Actual, bytes};

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let text = bytes::read(&case["text"]).ok_or("no text")?;
    let config = StorageConfig::parse(&text);
    match case["op"].as_str() {
        Some("parse") => Ok(parse(case, &config)),
        Some("create" | "update" | "delete") => change(case, &text),
        Some("bwlimit") => bwlimit(case, &config),
        other => Err(format!("unknown op {other:?}")),
    }
}

fn parse(case: &Value, config: &StorageConfig<'_>) -> Value {
    let sections = config.sections();
    let mut seen = section_config::sections(&sections);
    let errors = sections.errors().iter();
    let errors = errors
        .map(|error| json!({ "section": bytes::write(&error.section), "key": bytes::write(&error.key) }));
    seen.insert("errors".into(), errors.collect());
    // left out where the reference's number depends on chance
    if case["expect"].get("warnings").is_some() {
        seen.insert("warnings".into(), sections.warnings().into());
    }
    seen.insert("enabled".into(), per_storage(config, |storage| enabled(case, storage)));
    seen.insert("formats".into(), per_storage(config, formats));
    match config.write() {
        Ok(text) => seen.insert("written".into(), bytes::write(&text)),
        Err(_) => seen.insert("write_error".into(), true.into()),
    };
    Value::Object(seen)
}

fn per_storage(config: &StorageConfig<'_>, fact: impl Fn(&Storage<'_>) -> Option<Value>) -> Value {
    let facts =
        config.storages().filter_map(|storage| Some((storage.id().as_str().to_owned(), fact(&storage)?)));
    Value::Object(facts.collect())
}

/// Node by node whether it can use the storage; no name and `localhost` stand for the local node.
fn enabled(case: &Value, storage: &Storage<'_>) -> Option<Value> {
    let local = case["local_node"].as_str().unwrap_or_default();
    let nodes = case["nodes"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let answers: Map<_, _> = nodes
        .chain(["", "localhost"])
        .map(|name| {
            let node = if matches!(name, "" | "localhost") { local } else { name };
            (name.to_owned(), storage.is_enabled_on(node).into())
        })
        .collect();
    Some(answers.into())
}

fn formats(storage: &Storage<'_>) -> Option<Value> {
    // the cases leave out the types that hold no images
    if matches!(storage.kind().as_str(), "cephfs" | "pbs") {
        return None;
    }
    let formats = storage.formats();
    let mut valid: Vec<&str> = formats.valid.iter().map(|format| format.as_str()).collect();
    valid.sort_unstable();
    Some(json!({ "default": formats.default, "valid": valid }))
}

/// `create`, `update`, `delete`: the new text, what was written beside it, and the commands that were run.
fn change(case: &Value, text: &[u8]) -> Actual {
    let id = case["params"]["storage"].as_str().ok_or("no storage")?.as_bytes();
    let mut host = Rehearsal::default();
    for (path, content) in case["files"].as_object().into_iter().flatten() {
        host.files.insert(path.clone(), bytes::read(content).ok_or("no content")?.into());
    }
    host.answer = Some(Box::new(|command: &[String]| answer(case, command)));
    let param = |name: &str| case["params"][name].as_str().unwrap_or_default();
    let change = match case["op"].as_str() {
        Some("create") => create(text, id, values(case, param("type"))?, None, &mut host),
        Some("update") => {
            let set = values(case, "")?;
            update(
                text,
                id,
                Update { set, delete: param("delete").as_bytes(), digest: param("digest") },
                &mut host,
            )
        }
        _ => delete(text, id, &mut host),
    };
    let change = change.map_err(|error| error.to_string())?;
    let side_files: Map<_, _> = host
        .changed
        .iter()
        .map(|(path, file)| {
            let file = file.as_ref().map(|file| {
                let mode = file.mode.unwrap_or(0o666 & !0o022);
                json!({ "content": bytes::write(&file.content), "mode": format!("{mode:04o}") })
            });
            (path.clone(), json!(file))
        })
        .collect();
    Ok(json!({ "written": bytes::write(&change.text), "side_files": side_files, "run": host.commands }))
}

fn values(case: &Value, kind: &str) -> Result<Section<'static>, String> {
    let mut values = Section::new(Cow::Owned(kind.into()));
    for (key, value) in case["params"].as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "storage" | "type" | "delete" | "digest") {
            values.set(Cow::Owned(key.as_str().into()), section_config::value(value)?);
        }
    }
    Ok(values)
}

fn answer(case: &Value, command: &[String]) -> Answer {
    match &case["commands"][command.join(" ")] {
        Value::Null => Answer::new("", 1),
        canned => {
            let code = canned["rc"].as_i64().unwrap_or_default();
            Answer::new(canned["stdout"].as_str().unwrap_or_default(), code.try_into().unwrap_or(1))
        }
    }
}

fn bwlimit(case: &Value, config: &StorageConfig<'_>) -> Actual {
    let operation = case["operation"].as_str().unwrap_or_default();
    let operation = LimitedOperation::from_bytes(operation.as_bytes()).ok_or("no operation")?;
    let storages = case["storages"].as_array().into_iter().flatten();
    let storages: Vec<&[u8]> = storages.filter_map(|id| id.as_str().map(str::as_bytes)).collect();
    let cluster = case["datacenter_bwlimit"].as_str().map(|text| BwLimit::parse(text.as_bytes())).transpose();
    let cluster = cluster.map_err(|error| error.to_string())?;
    let transfer = Transfer { operation, storages: &storages, requested: case["requested"].as_f64() };
    let limit = config.bandwidth_limit(transfer, Privileges::none(), cluster.as_ref());
    Ok(json!({ "limit": limit.map_err(|error| error.to_string())? }))
}
