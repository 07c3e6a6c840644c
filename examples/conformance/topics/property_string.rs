// SPDX-License-Identifier: MIT OR Apache-2.0
//! Property strings, scalar formats, options and sizes, as configuration files and requests hold them.

use std::path::Path;

use bstr::BString;
use pve_config::container::{IdMap, MountPoint, VolumeKey};
use pve_config::format::{self, Context, Format, Scalar};
use pve_config::property::{ParseOptions, Properties, PropertyFormat};
use pve_config::schema::{self, Schema};
use pve_config::vm::{Drive, DriveId};
use serde_json::{Map, Value, json};

use crate::Actual;
use crate::bytes;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let custom: Vec<BString> = case["custom_cpu_models"]
        .as_array()
        .map(|names| names.iter().filter_map(bytes::read).map(BString::from).collect())
        .unwrap_or_default();
    let context = Context::default().with_custom_cpu_models(&custom);
    match case["kind"].as_str().unwrap_or_default() {
        "property" => property(case, &context),
        "print" => print(case, &context),
        "drive" => drive(case),
        "lxc-volume" => lxc_volume(case),
        "check" => {
            let format = named(case)?;
            Ok(json!({ "ok": format.accepts(&text(case, "text")?, &context) }))
        }
        "option" => option(case, &schema::VM, &context, true),
        "lxc-option" => {
            let settable =
                schema::CONTAINER.find(&text(case, "option")?).is_some_and(|found| found.0.settable);
            option(case, &schema::CONTAINER, &context, settable)
        }
        "parse-size" => {
            let bytes = format::parse_size(&text(case, "text")?).map_err(|e| e.to_string())?;
            Ok(json!({ "bytes": bytes.to_string() }))
        }
        "format-size" => {
            let bytes = case["bytes"].as_str().and_then(|text| text.parse().ok()).ok_or("bytes")?;
            Ok(json!({ "text": format::format_size(bytes) }))
        }
        "boolean" => match format::parse_boolean(&text(case, "text")?) {
            Some(value) => Ok(json!({ "value": if value { "1" } else { "0" } })),
            None => Err("not a boolean".to_owned()),
        },
        "encode-text" => Ok(json!({ "text": bytes::write(&format::encode_text(&text(case, "text")?)) })),
        "decode-text" => Ok(json!({ "text": bytes::write(&format::decode_text(&text(case, "text")?)) })),
        "split-list" => {
            let text = text(case, "text")?;
            let items: Vec<Value> = format::split_list(&text).map(bytes::write).collect();
            Ok(json!({ "items": items }))
        }
        other => Err(format!("unknown kind {other:?}")),
    }
}

fn text(case: &Value, member: &str) -> Result<Vec<u8>, String> {
    bytes::read(&case[member]).ok_or_else(|| format!("no text {member:?} in the case"))
}

fn named(case: &Value) -> Result<Format, String> {
    let name = case["format"].as_str().unwrap_or_default();
    Format::named(name).ok_or_else(|| format!("unknown format {name:?}"))
}

fn property_format(case: &Value) -> Result<&'static PropertyFormat, String> {
    match named(case)? {
        Format::Properties(format) => Ok(format),
        _ => Err("not a property string".to_owned()),
    }
}

fn property(case: &Value, context: &Context<'_>) -> Actual {
    let text = text(case, "text")?;
    let options = ParseOptions::default().within(*context);
    let parsed = property_format(case)?.parse_options(&text, &options).map_err(|e| e.to_string())?;
    let mut result = json!({ "parsed": map(&parsed) });
    let has_size = parsed.iter().any(|(key, _)| {
        let rule = parsed.format().key(key.as_bytes()).map(|key| key.rule.format);
        matches!(rule, Some(Some(Format::Scalar(Scalar::DiskSize))))
    });
    if !has_size {
        let printed = parsed.print_with(&[], context);
        result["printed"] = printed.map_or(Value::Null, |text| bytes::write(&text));
    }
    Ok(result)
}

fn map(properties: &Properties<'_>) -> Map<String, Value> {
    properties.iter().map(|(key, value)| (key.to_owned(), bytes::write(value))).collect()
}

fn print(case: &Value, context: &Context<'_>) -> Actual {
    let data = case["data"].as_object().ok_or("no data in the case")?;
    let data = data.iter().filter(|(_, value)| !value.is_null());
    let data = data.map(|(key, value)| (key.as_str(), bytes::read(value).unwrap_or_default()));
    let printed = property_format(case)?.print(data, &[], context).map_err(|e| e.to_string())?;
    Ok(json!({ "printed": bytes::write(&printed) }))
}

fn drive(case: &Value) -> Actual {
    let id = DriveId::from_key(&text(case, "key")?).ok_or("not a drive")?;
    let text = text(case, "text")?;
    let alloc = case["with_alloc"] == Value::Bool(true);
    let drive = Drive::read_with(id, &text, alloc).map_err(|e| e.to_string())?;
    let printed = drive.print().map_err(|e| e.to_string())?;
    // what the struct holds, by its own string; a size is a number of bytes there
    let format = id.bus.format();
    let options = ParseOptions::default().allocating(alloc);
    let mut parsed = Map::new();
    match format.parse_options(&printed, &options) {
        Ok(properties) => parsed.extend(map(&properties)),
        // a file name with "=" cannot be read back without its key
        Err(_) => {
            let again = [&b"file="[..], &printed].concat();
            parsed.extend(map(&format.parse_options(&again, &options).map_err(|e| e.to_string())?));
        }
    }
    if let Some(size) = drive.size {
        parsed.insert("size".to_owned(), Value::from(size.to_string()));
    }
    parsed.insert("interface".to_owned(), Value::from(id.bus.as_str()));
    parsed.insert("index".to_owned(), Value::from(id.index.to_string()));
    Ok(json!({ "parsed": parsed, "printed": bytes::write(&printed) }))
}

fn lxc_volume(case: &Value) -> Actual {
    let key = VolumeKey::from_key(&text(case, "key")?).ok_or("not a volume")?;
    let text = text(case, "text")?;
    let mount = MountPoint::read(key, &text).map_err(|e| e.to_string())?;
    let printed = mount.print(key).map_err(|e| e.to_string())?;
    let mut parsed = map(&key.format().parse(&printed).map_err(|e| e.to_string())?);
    if let Some(size) = mount.size {
        parsed.insert("size".to_owned(), Value::from(size.to_string()));
    }
    if !matches!(key, VolumeKey::Unused(_)) {
        parsed.insert("mp".to_owned(), bytes::write(mount.mp));
    }
    parsed.insert("type".to_owned(), Value::from(mount.kind().as_str()));
    if let Some(IdMap::Entries(entries)) = mount.id_map() {
        let entries = entries.iter().map(|entry| {
            let parts = [entry.kind, entry.container, entry.disk, entry.count];
            Value::from(parts.map(|part| bytes::write(part)).to_vec())
        });
        parsed.insert("idmap".to_owned(), entries.collect());
    }
    Ok(json!({ "parsed": parsed, "printed": bytes::write(&printed) }))
}

fn option(case: &Value, schema: &Schema, context: &Context<'_>, with_api: bool) -> Actual {
    let (key, value) = (text(case, "option")?, text(case, "text")?);
    let file = schema.check(&key, &value, context);
    let mut result = json!({ "file": file.map_or(Value::Null, |text| bytes::write(&text)) });
    if with_api {
        result["api"] = Value::from(schema.check_request(&key, &value, context).is_ok());
    }
    Ok(result)
}
