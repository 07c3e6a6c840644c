// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inventory as JSON, for programs.

use bstr::ByteSlice;
use pve_cfs::Source;
use pve_cfs::listing::LeftOut;
use pve_config::Diagnostic;
use pve_config::guest::Secrets;
use pve_config::inventory::{Guest, GuestConfig, Inventory, LooseEnd};
use serde_json::{Value, json};

use crate::network::NodeNetwork;

/// Everything that is known.
pub(crate) fn cluster(
    source: &Source,
    cluster: &Inventory<'_>,
    loose: &[LooseEnd],
    networks: &[NodeNetwork<'_>],
) -> Value {
    let other = cluster.other_diagnostics.iter();
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
        "guests": cluster.guests.iter().map(|one| guest(cluster, one)).collect::<Vec<_>>(),
        "networks": networks.iter().map(|node| network(cluster, node)).collect::<Vec<_>>(),
        "loose-ends": loose,
        "other-diagnostics": other.map(|(path, found)| json!({ "file": path, "diagnostic": found })).collect::<Vec<_>>(),
        "duplicate-ids": cluster.duplicate_ids().map(|(guest, _)| guest.vmid).collect::<Vec<_>>(),
    })
}

fn missed(left: &LeftOut) -> Value {
    json!({ "path": left.path.to_str_lossy(), "reason": left.reason.to_string() })
}

fn network(cluster: &Inventory<'_>, node: &NodeNetwork<'_>) -> Value {
    let missing = cluster.hanging_cards(node.file.node.as_bytes(), &node.network);
    json!({
        "node": node.file.node,
        "path": node.file.path,
        "interfaces": node.network.interfaces().collect::<Vec<_>>(),
        "hanging-cards": missing.map(|(guest, card)| json!({ "vmid": guest.vmid, "card": card })).collect::<Vec<_>>(),
        "diagnostics": node.network.diagnostics().iter().collect::<Vec<_>>(),
    })
}

fn guest(cluster: &Inventory<'_>, guest: &Guest<'_>) -> Value {
    let diagnostics: &[Diagnostic] = &guest.diagnostics;
    let replicas = cluster.replication.of_guest(guest.vmid).filter(|job| !job.is_disabled());
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
        "cards": guest.cards(),
        "ha": cluster.ha_resources.of_guest(guest.vmid).map(|resource| json!({
            "state": resource.state(),
            "group": resource.group().map(|group| group.to_str_lossy()),
        })),
        "backup-jobs": cluster.jobs.backups_of(guest.vmid, &guest.node).map(|job| job.id().to_str_lossy()).collect::<Vec<_>>(),
        "replicated-to": replicas.filter_map(|job| Some(job.target()?.to_str_lossy())).collect::<Vec<_>>(),
        "diagnostics": diagnostics,
    })
}
