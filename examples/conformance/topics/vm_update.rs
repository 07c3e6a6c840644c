// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_UPDATE: options of a VM are changed, several times in a row.

use std::path::Path;

use bstr::ByteSlice;
use pve_config::guest::{PendingItem, VmConfig};
use pve_qemu::pending::apply_pending;
use pve_qemu::resize::{ResizeOptions, resize_disk};
use pve_qemu::unlock::unlock_vm;
use pve_qemu::update::{Update, update_vm};
use pve_volid::VmId;
use serde_json::{Map, Value, json};

use super::life_world::{World, id};
use crate::{Actual, bytes};

const MASK: &str = "**********";

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let vmid = id(case, "vmid")?;
    let mut steps = Vec::new();
    for step in case["steps"].as_array().ok_or("no steps")? {
        world.set_running(vmid, step["running"] == true);
        let result = operate(&world, vmid, step)?;
        let mut actual = json!({ "config": world.config(vmid), "ops": world.take_ops() });
        match result {
            Ok(Value::Null) => {}
            Ok(result) => actual["result"] = result,
            Err(_) => actual["error"] = json!(true),
        }
        steps.push(actual);
    }
    Ok(json!({
        "steps": steps,
        "new_volumes": world.new_volumes(),
        "removed_volumes": world.removed_volumes(),
    }))
}

/// What an operation returns, or why it does not succeed.
fn operate(world: &World, vmid: VmId, step: &Value) -> Result<Result<Value, String>, String> {
    let node = world.node();
    let parameters = step["params"].as_object().ok_or("no params")?;
    let text = |name: &str| parameters.get(name).and_then(Value::as_str);
    let done = |result: Result<(), String>| Ok(result.map(|()| Value::Null));
    match step["op"].as_str().ok_or("no op")? {
        op @ ("set" | "unlink") => {
            let name = |key: &str| if op == "unlink" && key == "idlist" { "delete" } else { key }.to_owned();
            let parameters =
                parameters.iter().filter_map(|(key, value)| Some((name(key), bytes::read(value)?)));
            let update = Update::of_parameters(parameters);
            done(update_vm(node, vmid, &update).map(drop).map_err(|error| error.to_string()))
        }
        "resize" => {
            let (disk, size) = (text("disk").ok_or("no disk")?, text("size").ok_or("no size")?);
            let mut options = ResizeOptions::default();
            options.digest = text("digest").map(Into::into);
            options.skip_lock = text("skiplock") == Some("1");
            let result = resize_disk(node, vmid, disk.into(), size.into(), options);
            done(result.map(drop).map_err(|error| error.to_string()))
        }
        "apply-pending" => Ok(match apply_pending(node, vmid) {
            Ok(applied) if applied.refused.is_empty() => Ok(Value::Null),
            Ok(applied) => Err(format!("{:?}", applied.refused)),
            Err(error) => Err(error.to_string()),
        }),
        "cloudinit-update" => {
            let result = pve_qemu::cloudinit::refresh(node, vmid);
            done(result.map(drop).map_err(|error| error.to_string()))
        }
        "unlock" => done(unlock_vm(node, vmid).map(drop).map_err(|error| error.to_string())),
        "pending-list" => with_config(world, vmid, |config| {
            config.pending_list().iter().filter(|item| *item.key != "digest").map(shown).collect()
        }),
        "get-config" => with_config(world, vmid, |config| {
            let section = match (text("snapshot"), text("current")) {
                (Some(name), _) => {
                    config.snapshot(name).map(|section| section.borrowed()).unwrap_or_default()
                }
                (None, Some("1")) => config.main.borrowed(),
                (None, _) => config.effective(),
            };
            section
                .iter()
                .map(|(key, value)| (key.to_string(), masked(key, value, MASK)))
                .collect::<Map<_, _>>()
                .into()
        }),
        op => Err(format!("no such operation: {op}")),
    }
}

fn with_config(
    world: &World,
    vmid: VmId,
    show: impl FnOnce(&VmConfig<'_>) -> Value,
) -> Result<Result<Value, String>, String> {
    let (_, text) = world.node().configs.read(vmid).map_err(|e| e.to_string())?.ok_or("no configuration")?;
    Ok(Ok(show(&VmConfig::parse(&text).0)))
}

/// All values are texts here.
fn shown(item: &PendingItem<'_>) -> Value {
    let mut shown = Map::from_iter([("key".to_owned(), bytes::write(&item.key))]);
    if let Some(value) = &item.value {
        shown.insert("value".into(), masked(&item.key, value, MASK));
    }
    if let Some(pending) = item.pending {
        shown.insert("pending".into(), masked(&item.key, pending, "********** "));
    }
    if let Some(delete) = item.delete {
        shown.insert("delete".into(), json!(delete.number()));
    }
    shown.into()
}

fn masked(key: &[u8], value: &[u8], mask: &str) -> Value {
    if key == b"cipassword" { json!(mask) } else { bytes::write(value.as_bytes()) }
}
