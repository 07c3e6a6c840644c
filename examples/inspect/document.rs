// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inventory as JSON, for programs.

use bstr::ByteSlice;
use pve_cfs::Source;
use pve_cfs::listing::LeftOut;
use pve_config::Diagnostic;
use pve_config::guest::Secrets;
use pve_config::inventory::{Guest, GuestConfig, Inventory};
use serde_json::{Value, json};

/// Everything that is known.
pub(crate) fn cluster(source: &Source, cluster: &Inventory<'_>) -> Value {
    json!({
        "source": {
            "path": source.path,
            "kind": source.origin,
            "files": source.listing.files().count(),
            "findings": source.findings,
            "skipped": source.listing.missed().map(missed).collect::<Vec<_>>(),
        },
        "nodes": cluster.nodes.iter().map(|node| node.to_str_lossy()).collect::<Vec<_>>(),
        "storage-cfg": cluster.has_storage_cfg,
        "storages": cluster.storages,
        "broken-storages": cluster.storages.broken().map(|id| id.to_str_lossy()).collect::<Vec<_>>(),
        "ignored-storages": cluster.storages.unknown().map(|section| section.id.to_str_lossy()).collect::<Vec<_>>(),
        "storage-diagnostics": cluster.storages.diagnostics().iter().collect::<Vec<_>>(),
        "guests": cluster.guests.iter().map(guest).collect::<Vec<_>>(),
        "duplicate-ids": cluster.duplicate_ids().map(|(guest, _)| guest.vmid).collect::<Vec<_>>(),
    })
}

fn missed(left: &LeftOut) -> Value {
    json!({ "path": left.path.to_str_lossy(), "reason": left.reason.to_string() })
}

fn guest(guest: &Guest<'_>) -> Value {
    let diagnostics: &[Diagnostic] = &guest.diagnostics;
    json!({
        "vmid": guest.vmid,
        "node": guest.node.to_str_lossy(),
        "type": guest.kind(),
        "name": guest.name().map(|name| name.to_str_lossy()),
        "template": guest.is_template(),
        "lock": guest.lock().map(|lock| lock.to_str_lossy()),
        "cpus": guest.cpus(),
        "memory-mib": guest.memory(),
        "snapshots": guest.snapshots().iter().map(|name| name.to_str_lossy()).collect::<Vec<_>>(),
        "pending-changes": guest.pending_changes(),
        "config": match &guest.config {
            GuestConfig::Vm(config) => Value::Object(config.main.to_json(Secrets::Masked)),
            GuestConfig::Container(config) => Value::Object(config.main.to_json(Secrets::Masked)),
            _ => Value::Null,
        },
        "volumes": guest.volumes,
        "diagnostics": diagnostics,
    })
}
