// SPDX-License-Identifier: MIT OR Apache-2.0
//! RESCAN: sizes and unused volumes after a rescan.

use std::path::Path;

use pve_qemu::rescan::{RescanMode, rescan};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let dry_run = case["dryrun"] == true || case["dryrun"] == 1;
    let mode = if dry_run { RescanMode::DryRunOfReference } else { RescanMode::Apply };
    let result = rescan(world.node(), id(case, "vmid").ok(), mode);
    let mut actual = json!({
        "configs": world.configs(),
        "written": world.written(),
        "freed": world.removed_volumes(),
    });
    if result.is_err() {
        actual["error"] = json!(true);
    }
    Ok(actual)
}
