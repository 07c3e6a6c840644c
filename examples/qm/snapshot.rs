// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs around snapshots of a VM: its disks, its configuration, and its memory if wanted.

use std::error::Error;

use bstr::{BStr, ByteSlice};
use clap::builder::BoolishValueParser;
use examples::moment;
use pve_config::guest::VmConfig;
use pve_qemu::snapshot::{
    Deleted, RolledBack, SnapshotNode, SnapshotRequest, delete_snapshot, snapshot_tree,
};
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::place::{Place, Told};
use crate::{Out, Outcome, given};

/// Make a snapshot: of the configuration, the disks, and the memory if wanted
///
/// Disks that are left out of backups (backup=0) are part of it all the same. A name is a letter and at least one more
/// letter, digit, - or _.
#[derive(clap::Args)]
pub(crate) struct Snapshot {
    /// The virtual machine
    vmid: VmId,
    /// Name of the snapshot
    snapname: String,
    /// What it is for
    #[arg(long)]
    description: Option<String>,
    /// Save the memory too, if the virtual machine runs
    #[arg(long, value_name = "0|1", num_args = 0..=1, default_missing_value = "1", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    vmstate: Option<bool>,
}

/// Remove a snapshot
///
/// Disks that only the snapshot had become unused ones.
#[derive(clap::Args)]
pub(crate) struct Delsnapshot {
    /// The virtual machine
    vmid: VmId,
    /// Name of the snapshot
    snapname: String,
    /// Remove it from the configuration even if a storage refuses
    #[arg(long)]
    force: bool,
}

/// Take a virtual machine back to a snapshot; what came after is lost
///
/// Disks that the snapshot does not have become unused ones.
#[derive(clap::Args)]
pub(crate) struct Rollback {
    /// The virtual machine
    vmid: VmId,
    /// Name of the snapshot
    snapname: String,
    /// Start it afterwards; a snapshot with the memory goes on in any case
    #[arg(long)]
    start: bool,
}

/// Show the snapshots as a tree
#[derive(clap::Args)]
pub(crate) struct Listsnapshot {
    /// The virtual machine
    vmid: VmId,
}

impl Snapshot {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut request = SnapshotRequest::new(&self.snapname).with_memory(self.vmstate.unwrap_or(false));
        if let Some(description) = given(self.description.as_ref()) {
            request = request.described(description);
        }
        place.power(
            out,
            |power| power.create_snapshot(self.vmid, request),
            |()| {
                let line = format!("made snapshot {} of VM {}", self.snapname, self.vmid);
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "snapshot": self.snapname }))
            },
        )
    }
}

impl Delsnapshot {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let name = BStr::new(&self.snapname);
        place.change(
            out,
            |node| delete_snapshot(node, self.vmid, name, self.force),
            |done: &Deleted| {
                let line = format!("removed snapshot {name} of VM {}", self.vmid);
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "snapshot": self.snapname }))
                    .leaving(&done.left_behind)
            },
        )
    }
}

impl Rollback {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let name = BStr::new(&self.snapname);
        place.power(out, |power| power.rollback(self.vmid, name, self.start), |done| self.tell(done))
    }

    fn tell(&self, done: &RolledBack) -> Told {
        let mut lines: Vec<String> = done
            .unused
            .iter()
            .map(|(key, volume)| format!("{volume}, which the snapshot does not have, is kept as {key}"))
            .collect();
        lines.extend(
            done.freed.iter().map(|volume| format!("removed {volume}, which the snapshot does not have")),
        );
        if let Some(start) = &done.start {
            lines.push(format!("it goes on with the memory of the snapshot, {}", start.volume));
        }
        lines.push(format!("VM {} is back at snapshot {}", self.vmid, self.snapname));
        let unused: Value = done
            .unused
            .iter()
            .map(|(key, volume)| json!({ "option": key, "volume": volume.to_string() }))
            .collect();
        let json = json!({ "vmid": self.vmid.get(), "snapshot": self.snapname, "unused": unused });
        Told::new(lines, json).leaving(&done.left_behind)
    }
}

impl Listsnapshot {
    pub(crate) fn run(&self, cluster: &Cluster, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
        let machine = cluster.machine(self.vmid)?;
        let text = cluster.configuration(&machine)?;
        let (config, _) = VmConfig::parse(&text);
        let tree = snapshot_tree(&config);
        if json {
            writeln!(out, "{:#}", tree.iter().map(document).collect::<Value>())?;
            return Ok(());
        }
        let width = tree.iter().map(|node| node.depth + node.name.chars().count()).max().unwrap_or(0);
        for node in &tree {
            writeln!(out, "{}", row(node, width).trim_end())?;
        }
        Ok(())
    }
}

/// `` `-> name   2026-01-31 12:00:00   description``, a step to the right for each parent.
fn row(node: &SnapshotNode<'_>, width: usize) -> String {
    let indent = node.depth + 1;
    let rest = width + 4 - node.depth;
    let name = node.name.to_string();
    let made = moment::local(node.time);
    let mut about = match node.description {
        Some(text) => text.to_string().lines().next().unwrap_or_default().to_owned(),
        None if node.time.is_none() => "You are here!".to_owned(),
        None => "no-description".to_owned(),
    };
    if node.with_memory {
        about.push_str(" (with memory)");
    }
    if let Some(state) = node.state {
        about.push_str(&format!(" (unusable: {state})"));
    }
    format!("{:>indent$}-> {name:rest$} {made:19}  {about}", "`")
}

fn document(node: &SnapshotNode<'_>) -> Value {
    json!({
        "name": node.name.to_string(),
        "depth": node.depth,
        "snaptime": node.time,
        "description": node.description.map(ToString::to_string),
        "vmstate": node.with_memory,
        "snapstate": node.state.map(ToString::to_string),
    })
}
