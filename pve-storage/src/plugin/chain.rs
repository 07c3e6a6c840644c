// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume chains: snapshots as qcow2 images of their own, each the backing file of the next (dir, nfs, cifs, lvm).

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{Naming, StorageType};
use serde_json::Value;

use super::qemu_img;
use crate::error::{Error, Result};
use crate::operation::{ChainLink, SnapshotInfo};
use crate::session::Session;
use crate::volume::Volume;

/// The pseudo snapshot at the top of a chain: the volume itself.
pub(super) const CURRENT: &str = "current";

/// The parts of a volume's chain, from the volume down to the oldest snapshot.
#[derive(Debug, Default)]
pub(super) struct Chain(pub(super) Vec<SnapshotInfo>);

impl Chain {
    /// Reads the chain of the image at `file`; parts that do not belong to the volume (the template below a linked
    /// clone) are left out.
    pub(super) fn read(
        session: &Session<'_>,
        volume: &Volume<'_>,
        kind: StorageType,
        file: &BStr,
    ) -> Result<Self> {
        let Some(value) = qemu_img::info(session, file, None, true, Some(Duration::from_secs(10)))? else {
            return Ok(Chain::default());
        };
        let naming = Naming::new(kind).with_chains(true);
        let own = volume.name;
        let mut links = Vec::new();
        for part in value.as_array().map(Vec::as_slice).unwrap_or_default() {
            let Some(path) = part.get("filename").and_then(Value::as_str).map(str::as_bytes) else {
                continue;
            };
            let found = path.rsplit_once_str("/").map_or(path, |(_, name)| name);
            let Some(name) = naming.snapshot_of(own, found) else { continue };
            let directory = volume.volname.strip_suffix(own.as_bytes()).unwrap_or_default();
            // a linked clone's snapshots lie beside it: their volume name has no base
            let directory = match (volume.base, volume.owner) {
                (Some(_), Some(owner)) if kind.is_path_based() => format!("{owner}/").into_bytes(),
                _ => directory.to_vec(),
            };
            let volname = if found == own.as_bytes() {
                volume.volname.to_owned()
            } else {
                super::concat([&directory, found])
            };
            links.push((
                name.to_owned(),
                ChainLink {
                    order: links.len(),
                    file: path.into(),
                    volname,
                    virtual_size: part.get("virtual-size").and_then(Value::as_u64),
                    parent: None,
                    child: None,
                },
            ));
        }
        let names: Vec<BString> = links.iter().map(|(name, _)| name.clone()).collect();
        let chain = links.into_iter().enumerate().map(|(at, (name, mut link))| {
            link.parent = names.get(at + 1).cloned();
            link.child = at.checked_sub(1).and_then(|above| names.get(above)).cloned();
            SnapshotInfo { name, link: Some(link), ..SnapshotInfo::default() }
        });
        Ok(Chain(chain.collect()))
    }

    /// The part of this name.
    pub(super) fn link(&self, name: &BStr) -> Option<&ChainLink> {
        self.0.iter().find(|part| part.name == name).and_then(|part| part.link.as_ref())
    }

    /// The part of this name; an error if there is none.
    pub(super) fn require(&self, volume: &Volume<'_>, name: &BStr) -> Result<&ChainLink> {
        self.link(name).ok_or_else(|| Error::Missing(super::concat([&volume.volid(), b"@", name])))
    }

    /// Fails if the volume has snapshots, which a rename would leave behind.
    pub(super) fn refuse_rename(&self, volume: &Volume<'_>) -> Result<()> {
        match self.link(BStr::new(CURRENT)).and_then(|link| link.parent.as_ref()) {
            Some(snapshot) => Err(Error::InUse {
                volume: volume.volid(),
                reason: format!("it is based on its snapshot '{snapshot}', delete its snapshots before"),
            }),
            None => Ok(()),
        }
    }

    /// Fails unless this is the newest snapshot.
    pub(super) fn check_rollback(&self, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        let order = self.require(volume, snapshot)?.order;
        let newer: Vec<BString> = self
            .0
            .iter()
            .filter(|part| part.name != CURRENT && part.link.as_ref().is_some_and(|link| link.order < order))
            .map(|part| part.name.clone())
            .collect();
        if newer.is_empty() {
            return Ok(());
        }
        Err(Error::RollbackBlocked { volume: volume.volid(), snapshot: snapshot.to_owned(), newer })
    }
}
