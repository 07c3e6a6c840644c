// SPDX-License-Identifier: MIT OR Apache-2.0
//! A storage as the recorded cases give it: the decoded section of storage.cfg as a JSON object.

use pve_storage::Storage;
use serde_json::Value;

/// The storage of members `storeid` and `storage`.
pub(crate) fn read(case: &Value) -> Result<Storage, String> {
    let id = case["storeid"].as_str().ok_or("no storeid")?.parse().map_err(|e| format!("{e}"))?;
    let entry = case["storage"].as_object().ok_or("no storage")?;
    let kind = entry.get("type").and_then(Value::as_str).ok_or("no type")?;
    let mut storage = Storage::new(id, kind);
    for (property, value) in entry.iter().filter(|(property, _)| *property != "type") {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Object(members) => {
                let pair = |(name, value): (&String, &Value)| Some(format!("{name}={}", value.as_str()?));
                members.iter().filter_map(pair).collect::<Vec<_>>().join(",")
            }
            other => other.to_string(),
        };
        storage = storage.with(property, text);
    }
    Ok(storage)
}
