// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_MOVE: a disk is moved to another storage, or to another VM.

use std::path::Path;

use pve_qemu::disk_move::{MoveOptions, move_disk, reassign_disk};
use pve_volid::{ImageFormat, StorageId};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let done = operate(&world, case)?;
    let mut actual = json!({
        "configs": world.configs(),
        "ops": world.ops(),
        "new_volumes": world.new_volumes(),
        "removed_volumes": world.removed_volumes(),
    });
    if !done {
        actual["error"] = json!(true);
    }
    Ok(actual)
}

/// Whether the operation succeeds.
fn operate(world: &World, case: &Value) -> Result<bool, String> {
    let (node, vmid) = (world.node(), id(case, "vmid")?);
    let text = |name: &str| case["params"][name].as_str();
    let key = text("disk").ok_or("no disk")?.into();
    let storage: Option<StorageId> =
        text("storage").map(|text| text.parse().map_err(|e| format!("{e}"))).transpose()?;
    Ok(match id(&case["params"], "target-vmid") {
        // the program refuses a request for both
        Ok(_) if storage.is_some() => false,
        Ok(target) => {
            let target_key = text("target-disk").map(Into::into);
            let digests = [text("digest").map(Into::into), text("target-digest").map(Into::into)];
            reassign_disk(node, vmid, key, target, target_key, digests).is_ok()
        }
        Err(_) => {
            let mut options = MoveOptions::default();
            options.storage = storage.as_ref();
            options.format = text("format").and_then(|text| ImageFormat::from_bytes(text.as_bytes()));
            options.delete = text("delete") == Some("1");
            options.digest = text("digest").map(Into::into);
            move_disk(node, vmid, key, options).is_ok()
        }
    })
}
