// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_CLONE: a VM is cloned.

use std::path::Path;

use pve_qemu::clone::{CloneOptions, clone_vm};
use pve_volid::{ImageFormat, StorageId};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let (vmid, newid) = (id(case, "vmid")?, id(&case["params"], "newid").or_else(|_| id(case, "newid"))?);
    let text = |name: &str| case["params"][name].as_str();
    let storage: Option<StorageId> =
        text("storage").map(|text| text.parse().map_err(|e| format!("{e}"))).transpose()?;
    let mut options = CloneOptions::default();
    options.name = text("name").map(Into::into);
    options.description = text("description").map(Into::into);
    options.full = text("full").map(|text| text == "1");
    options.snapshot = text("snapname").map(Into::into);
    options.storage = storage.as_ref();
    options.format = text("format").and_then(|text| ImageFormat::from_bytes(text.as_bytes()));
    options.target = text("target");
    let result = clone_vm(world.node(), vmid, newid, options);
    let mut actual = json!({
        "config": world.config(newid),
        "source_config": world.config(vmid),
        "ops": world.ops(),
        "new_volumes": world.new_volumes(),
    });
    if result.is_err() {
        actual["error"] = json!(true);
    }
    Ok(actual)
}
