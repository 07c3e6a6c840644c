// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_CREATE: a VM is created.

use std::path::Path;

use pve_qemu::create::{CreateRequest, create_vm};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    // an id out of range is refused before there is a request
    let Ok(vmid) = id(case, "vmid") else {
        return Ok(json!({ "error": true, "config": null, "ops": [], "new_volumes": {} }));
    };
    let mut request = CreateRequest::new();
    for (key, value) in case["params"].as_object().into_iter().flatten() {
        // where a restored VM goes
        if key != "storage" {
            request = request.set(key.as_str(), value.as_str().ok_or("a value that is no text")?);
        }
    }
    let result = create_vm(world.node(), vmid, request);
    let mut actual = json!({
        "config": world.config(vmid),
        "ops": world.ops(),
        "new_volumes": world.new_volumes(),
    });
    if result.is_err() {
        actual["error"] = json!(true);
    }
    Ok(actual)
}
