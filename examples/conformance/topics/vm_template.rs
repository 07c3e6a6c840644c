// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_TEMPLATE: a VM becomes a template.

use std::path::Path;

use pve_qemu::template::{TemplateOptions, convert_to_template};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let vmid = id(case, "vmid")?;
    let disk = case["params"]["disk"].as_str();
    let options = disk.map_or(TemplateOptions::default(), |disk| TemplateOptions::only(disk.into()));
    let result = convert_to_template(world.node(), vmid, options);
    let mut actual = json!({
        "configs": world.configs(),
        "writes": world.writes(vmid),
        "ops": world.ops(),
        "new_volumes": world.new_volumes(),
        "removed_volumes": world.removed_volumes(),
    });
    if result.is_err() {
        actual["error"] = json!(true);
    }
    Ok(actual)
}
