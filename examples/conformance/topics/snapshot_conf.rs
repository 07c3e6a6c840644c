// SPDX-License-Identifier: MIT OR Apache-2.0
//! SNAPSHOT_CONF: snapshots are made, deleted, and gone back to.

use std::path::Path;

use bstr::{BStr, BString};
use pve_qemu::snapshot::{
    RunningMachine, SnapshotError, SnapshotRequest, StartState, create_snapshot, delete_snapshot, rollback,
};
use serde_json::{Value, json};

use super::life_world::{World, id};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = World::of_case(case)?;
    let vmid = id(case, "vmid")?;
    let failed = operate(&world, case)?.is_err();
    let mut actual =
        json!({ "config": world.config(vmid), "writes": world.writes(vmid), "ops": world.ops() });
    if failed {
        actual["error"] = json!(true);
    }
    Ok(actual)
}

fn operate(world: &World, case: &Value) -> Result<Result<(), SnapshotError>, String> {
    let (node, vmid) = (world.node(), id(case, "vmid")?);
    let params = &case["params"];
    let name = BStr::new(params["snapname"].as_str().ok_or("no snapname")?);
    Ok(match case["op"].as_str() {
        Some("create") => {
            let mut request = SnapshotRequest::new(name).with_memory(params["vmstate"] == "1");
            if let Some(text) = params["description"].as_str() {
                request = request.described(text.into());
            }
            create_snapshot(node, vmid, request, running(&case["running"]).as_ref())
        }
        Some("delete") => delete_snapshot(node, vmid, name, params["force"] == "1").map(drop),
        Some("rollback") => {
            let stop = || {
                world.stop(vmid);
                Ok(())
            };
            rollback(node, vmid, name, stop).map(|done| match done.start {
                Some(start) => world.note(shown(&start)),
                None if params["start"] == "1" => world.note("vm-start"),
                None => {}
            })
        }
        other => return Err(format!("unknown operation {other:?}")),
    })
}

fn running(facts: &Value) -> Option<RunningMachine> {
    let text = |name: &str| BString::from(facts[name].as_str().unwrap_or_default());
    facts.as_object()?;
    let mtus = facts["host_mtu"].as_object().into_iter().flatten();
    let host_mtu =
        mtus.filter_map(|(card, mtu)| Some((card.as_str().into(), u32::try_from(mtu.as_u64()?).ok()?)));
    Some(RunningMachine { machine: text("machine"), cpu: text("cpu"), host_mtu: host_mtu.collect() })
}

fn shown(start: &StartState) -> String {
    let or_dash = |value: &Option<BString>| value.as_ref().map_or("-".to_owned(), ToString::to_string);
    format!(
        "vm-start statefile={} machine={} cpu={} nets-host-mtu={}",
        start.volume,
        or_dash(&start.machine),
        or_dash(&start.cpu),
        or_dash(&start.host_mtu)
    )
}
