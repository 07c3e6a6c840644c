// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_DESTROY: a VM is destroyed. The order in which volumes go does not count.

use std::path::Path;

use pve_qemu::destroy::{DestroyOptions, destroy_vm};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let vmid = id(case, "vmid")?;
    let flag = |name: &str| case["params"][name] == "1";
    let mut options = DestroyOptions::default();
    options.purge = flag("purge");
    options.unreferenced = flag("destroy-unreferenced-disks");
    options.skip_lock = flag("skiplock");
    let result = destroy_vm(world.node(), vmid, options);
    if result.is_ok() {
        world.note(format!("remove-config {vmid}"));
    }
    let mut ops: Vec<String> = serde_json::from_value(world.ops()).map_err(|e| e.to_string())?;
    ops.sort();
    let mut actual = json!({
        "configs": world.configs(),
        "ops": ops,
        "new_volumes": world.new_volumes(),
        "removed_volumes": world.removed_volumes(),
    });
    if result.is_err() {
        actual["error"] = json!(true);
    }
    Ok(actual)
}
