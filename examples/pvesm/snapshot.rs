// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pvesm snapshot`: the snapshots of a volume.

use bstr::{BStr, ByteSlice};
use clap::Subcommand;
use examples::moment;
use pve_storage::SnapshotInfo;
use serde_json::{Value, json};

use crate::place::Place;
use crate::{Out, Outcome};

/// The snapshots of a volume. Those of a guest are more: its configuration and memory, kept together by `qm` and `pct`.
#[derive(Subcommand)]
pub(crate) enum Snapshot {
    /// List the snapshots of a volume
    List {
        /// The volume, STORAGE:VOLNAME
        volume: String,
    },
    /// Make a snapshot
    Create(Named),
    /// Remove a snapshot
    Delete(Named),
    /// Take a volume back to a snapshot; its present content is lost
    Rollback(Named),
}

#[derive(clap::Args)]
pub(crate) struct Named {
    /// The volume, STORAGE:VOLNAME
    volume: String,
    /// Name of the snapshot
    name: String,
}

impl Snapshot {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        match self {
            Snapshot::List { volume } => list(place, out, volume),
            Snapshot::Create(Named { volume, name }) => {
                place.change(out, "made snapshot of '{}'", |session| {
                    session.create_snapshot(BStr::new(volume), BStr::new(name)).map(|()| volume)
                })
            }
            Snapshot::Delete(Named { volume, name }) => {
                place.change(out, "removed snapshot of '{}'", |session| {
                    session.delete_snapshot(BStr::new(volume), BStr::new(name), false).map(|()| volume)
                })
            }
            Snapshot::Rollback(Named { volume, name }) => place.change(out, "took '{}' back", |session| {
                session.rollback(BStr::new(volume), BStr::new(name)).map(|()| volume)
            }),
        }
    }
}

fn list(place: &Place, out: &mut Out, volume: &str) -> Outcome {
    let snapshots = place.ask(|session| session.snapshots(BStr::new(volume)))?;
    if place.json {
        writeln!(out, "{:#}", snapshots.iter().map(document).collect::<Value>())?;
        return Ok(());
    }
    let widest = snapshots.iter().map(|snapshot| snapshot.name.chars().count()).max().unwrap_or(0).max(4);
    let mut line = |name: &str, made: &str, based: &str| {
        writeln!(out, "{}", format_args!("{name:widest$} {made:19} {based}").to_string().trim_end())
    };
    line("Name", "Made", "Based on")?;
    for snapshot in &snapshots {
        let parent = snapshot.link.as_ref().and_then(|link| link.parent.as_ref());
        let parent = parent.map(ToString::to_string).unwrap_or_default();
        line(&snapshot.name.to_str_lossy(), &moment::local(snapshot.timestamp), &parent)?;
    }
    Ok(())
}

fn document(snapshot: &SnapshotInfo) -> Value {
    let chain = snapshot.link.as_ref().map(|link| {
        json!({
            "order": link.order,
            "file": link.file.to_str_lossy(),
            "volname": link.volname.to_str_lossy(),
            "virtual-size": link.virtual_size,
            "parent": link.parent.as_ref().map(|parent| parent.to_str_lossy()),
            "child": link.child.as_ref().map(|child| child.to_str_lossy()),
        })
    });
    json!({
        "name": snapshot.name.to_str_lossy(),
        "id": snapshot.id.as_ref().map(|id| id.to_str_lossy()),
        "timestamp": snapshot.timestamp,
        "chain": chain,
    })
}
