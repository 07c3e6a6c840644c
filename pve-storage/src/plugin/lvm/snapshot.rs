// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of qcow2 volumes as chains of logical volumes (spec: storage-commands, "Snapshots on lvm").

use bstr::{BStr, ByteSlice};

use super::image::{activate, put_on_top, read_chain, remove_or_put_aside, rename_lv, resize};
use super::{Lvm, device, snapshot_lv};
use crate::error::{Error, Result};
use crate::operation::SnapshotInfo;
use crate::plugin::Plugin;
use crate::plugin::qemu_img;
use crate::session::Session;
use crate::volume::Volume;

fn refuse(volume: &Volume<'_>) -> Error {
    volume.unsupported("have snapshots", "only qcow2 volumes have snapshots on lvm")
}

pub(super) fn create(session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
    let storage = volume.storage();
    session.locked(storage, || {
        if !volume.is_qcow2() {
            return Err(refuse(volume));
        }
        activate(session, volume)?;
        let below = snapshot_lv(volume.name, snapshot);
        rename_lv(session, storage, volume.name, &below)?;
        session.undoing(
            || put_on_top(session, volume, &below),
            || rename_lv(session, storage, &below, volume.name),
        )
    })
}

pub(super) fn check_rollback(session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
    if !volume.is_qcow2() {
        return Err(refuse(volume));
    }
    activate(session, volume)?;
    read_chain(session, volume)?.check_rollback(volume, snapshot)
}

pub(super) fn rollback(session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
    let storage = volume.storage();
    if !volume.is_qcow2() {
        return Err(refuse(volume));
    }
    let wipe = session.locked(storage, || {
        let wipe = remove_or_put_aside(session, storage, [volume.name.to_owned()])?;
        put_on_top(session, volume, &snapshot_lv(volume.name, snapshot))?;
        Ok(wipe)
    })?;
    wipe_away(session, volume, wipe)
}

/// Wipes what was put aside, without the lock.
fn wipe_away(session: &Session<'_>, volume: &Volume<'_>, wipe: Option<crate::operation::Wipe>) -> Result<()> {
    match wipe {
        Some(wipe) => session.job("imgdel", || Lvm.wipe(session, volume.storage(), &wipe)),
        None => Ok(()),
    }
}

pub(super) fn delete(
    session: &Session<'_>,
    volume: &Volume<'_>,
    snapshot: &BStr,
    running: bool,
) -> Result<()> {
    let storage = volume.storage();
    if !volume.is_qcow2() {
        return Err(refuse(volume));
    }
    let lv = snapshot_lv(volume.name, snapshot);
    if running {
        let wipe = session.locked(storage, || remove_or_put_aside(session, storage, [lv]))?;
        return wipe_away(session, volume, wipe);
    }
    activate(session, volume)?;
    let chain = read_chain(session, volume)?;
    let link = chain.require(volume, snapshot)?;
    let child = link.child.as_ref().ok_or_else(|| volume.request("nothing is based on the snapshot"))?;
    let child_lv = snapshot_lv(volume.name, child.as_bstr());
    let child_file = device(storage, &child_lv)?;
    if let Some(parent) = &link.parent {
        let backing = snapshot_lv(volume.name, parent.as_bstr());
        session.run(&qemu_img::rebase(backing.as_bstr(), child_file.as_bstr()))?;
        let wipe = session.locked(storage, || remove_or_put_aside(session, storage, [lv]))?;
        return wipe_away(session, volume, wipe);
    }
    let child_size = chain.require(volume, child.as_bstr())?.virtual_size;
    if let Some(size) = child_size.filter(|size| link.virtual_size.is_some_and(|own| *size > own)) {
        resize(session, volume, device(storage, &lv)?.as_bstr(), size, false)?;
    }
    session.run(&qemu_img::commit(child_file.as_bstr()))?;
    let (wipe, renamed) = session.locked(storage, || {
        let wipe = remove_or_put_aside(session, storage, [child_lv.clone()])?;
        Ok((wipe, rename_lv(session, storage, &lv, &child_lv)))
    })?;
    wipe_away(session, volume, wipe)?;
    renamed
}

pub(super) fn list(session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
    Ok(read_chain(session, volume)?.0)
}
