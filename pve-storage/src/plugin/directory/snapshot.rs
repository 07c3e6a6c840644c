// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of files: inside the qcow2 image, or as a chain of files.

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ImageFormat, SnapshotPlace};
use serde_json::Value;

use super::super::chain::Chain;
use super::super::{kind_of, qemu_img};
use super::file_path;
use crate::error::{Error, Result};
use crate::host::Change;
use crate::operation::SnapshotInfo;
use crate::session::Session;
use crate::volume::Volume;

/// The file that holds a snapshot in a volume chain; `current` is the volume itself.
pub(super) fn snapshot_file(volume: &Volume<'_>, snapshot: &BStr) -> Result<BString> {
    if snapshot == super::super::chain::CURRENT {
        return file_path(volume, volume.name);
    }
    file_path(volume, &snapshot_name(volume, snapshot)?)
}

fn snapshot_name(volume: &Volume<'_>, snapshot: &BStr) -> Result<BString> {
    let naming = pve_volid::Naming::new(kind_of(volume.storage())?).with_chains(true);
    match naming.snapshot(volume.name, snapshot) {
        Some(SnapshotPlace::Beside(name)) => Ok(name),
        _ => Err(refuse(volume)),
    }
}

fn refuse(volume: &Volume<'_>) -> Error {
    volume.unsupported("have snapshots", format!("format '{}' has none", volume.format))
}

pub(in super::super) fn create(session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
    if !volume.is_qcow2() {
        return Err(refuse(volume));
    }
    let path = file_path(volume, volume.name)?;
    if !volume.storage().has_volume_chains() {
        session.run(&qemu_img::snapshot("-c", snapshot, path.as_bstr()))?;
        return Ok(());
    }
    let below = snapshot_file(volume, snapshot)?;
    if session.exists(below.as_bstr()) {
        return Err(Error::Exists(below));
    }
    session.change(&Change::Rename { from: path.clone(), to: below.clone() })?;
    session.undoing(
        || put_on_top(session, volume, snapshot),
        || {
            session.try_change(&Change::Unlink { path: path.clone() });
            session.change(&Change::Rename { from: below.clone(), to: path.clone() })
        },
    )
}

/// Makes the volume anew, empty, on top of one of its snapshots.
fn put_on_top(session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
    let path = file_path(volume, volume.name)?;
    let backing = snapshot_name(volume, snapshot)?;
    let qcow2 = ImageFormat::Qcow2;
    let command = qemu_img::create_on_top(volume.storage(), backing.as_bstr(), qcow2, path.as_bstr(), qcow2);
    let directory = path.rsplit_once_str("/").map_or(&b"/"[..], |(directory, _)| directory);
    session.run(&command.directory(directory))?;
    Ok(())
}

pub(in super::super) fn check_rollback(
    session: &Session<'_>,
    volume: &Volume<'_>,
    snapshot: &BStr,
) -> Result<()> {
    if volume.storage().has_volume_chains() {
        read_chain(session, volume)?.check_rollback(volume, snapshot)
    } else {
        Ok(())
    }
}

fn read_chain(session: &Session<'_>, volume: &Volume<'_>) -> Result<Chain> {
    let path = file_path(volume, volume.name)?;
    Chain::read(session, volume, kind_of(volume.storage())?, path.as_bstr())
}

pub(in super::super) fn rollback(session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
    if !volume.is_qcow2() {
        return Err(refuse(volume));
    }
    let path = file_path(volume, volume.name)?;
    if volume.storage().has_volume_chains() {
        session.change(&Change::Unlink { path })?;
        put_on_top(session, volume, snapshot)
    } else {
        session.run(&qemu_img::snapshot("-a", snapshot, path.as_bstr()))?;
        Ok(())
    }
}

pub(in super::super) fn delete(
    session: &Session<'_>,
    volume: &Volume<'_>,
    snapshot: &BStr,
    running: bool,
) -> Result<()> {
    if !volume.is_qcow2() {
        return Err(refuse(volume));
    }
    let path = file_path(volume, volume.name)?;
    if !volume.storage().has_volume_chains() {
        if !running {
            session.run(&qemu_img::snapshot("-d", snapshot, path.as_bstr()))?;
        }
        return Ok(());
    }
    let file = snapshot_file(volume, snapshot)?;
    if running {
        return session.change(&Change::Unlink { path: file });
    }
    let chain = read_chain(session, volume)?;
    if !session.exists(file.as_bstr()) {
        return Err(Error::Missing(file));
    }
    let link = chain.require(volume, snapshot)?;
    let child = link.child.as_ref().ok_or_else(|| volume.request("nothing is based on the snapshot"))?;
    let child_file = snapshot_file(volume, child.as_bstr())?;
    match &link.parent {
        None => {
            session.run(&qemu_img::commit(child_file.as_bstr()))?;
            session.change(&Change::Rename { from: file, to: child_file })
        }
        Some(parent) => {
            let backing = snapshot_name(volume, parent.as_bstr())?;
            session.run(&qemu_img::rebase(backing.as_bstr(), child_file.as_bstr()))?;
            session.change(&Change::Unlink { path: file })
        }
    }
}

pub(in super::super) fn list(session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
    if volume.storage().has_volume_chains() {
        return Ok(read_chain(session, volume)?.0);
    }
    let path = file_path(volume, volume.name)?;
    let limit = Some(Duration::from_secs(10));
    let value = qemu_img::info(session, path.as_bstr(), None, false, limit)?.unwrap_or_default();
    let snapshots = value.get("snapshots").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let read = |snapshot: &Value| {
        Some(SnapshotInfo {
            name: snapshot.get("name")?.as_str()?.into(),
            timestamp: snapshot.get("date-sec").and_then(Value::as_i64),
            ..SnapshotInfo::default()
        })
    };
    Ok(snapshots.iter().filter_map(read).collect())
}
