// SPDX-License-Identifier: MIT OR Apache-2.0
//! The group in which nodes keep their trees alike (spec: pmxcfs-cluster, "dcdb messages" and "dcdb synchronisation").

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::machine::{Delivered, Group, Machine, Outbox, Place};
use super::message::{MemberId, Normal, Reader, TreeMessage, parse_update, write_update};
use crate::checksum::{self, Sha256Digest};
use crate::filesystem::FileSystem;
use crate::operation::{Operation, Origin};
use crate::path;
use crate::refusal::Refusal;
use crate::replica::Request;
use crate::row::Row;

/// Name of the group.
pub const NAME: &str = "pve_dcdb_v1";

/// The tree of a [`FileSystem`] as a part of a cluster.
#[derive(Debug)]
pub struct TreeGroup {
    files: Arc<FileSystem>,
    sync: Option<Sync>,
}

/// What this node gets from the newest one.
#[derive(Debug)]
struct Sync {
    /// The index that its tree will have.
    index: Vec<u8>,
    rows: Vec<Row>,
}

impl TreeGroup {
    /// The tree of `files`, which should have the reference's defects ([`Fidelity::Exact`](crate::operation::Fidelity)): a
    /// change must have the same result on all nodes.
    pub const fn new(files: Arc<FileSystem>) -> Self {
        Self { files, sync: None }
    }

    fn apply(&self, from: MemberId, time: u32, operation: Operation<'_>) -> Result<(), Refusal> {
        let replica = self.files.replica();
        let request = Request { operation, inode: None };
        let result = replica.apply(&request, Origin { writer: from.node, time }, self.files.now());
        if matches!(result, Err(Refusal::Database(_))) {
            // the others have applied it
            replica.engine_mut().fail();
        }
        result
    }

    /// Whether the lock at `path` is the one that is meant.
    fn is_lock(&self, path: &[u8], checksum: &Sha256Digest) -> bool {
        self.lock_checksum(path) == Some(*checksum)
    }

    fn lock_checksum(&self, path: &[u8]) -> Option<Sha256Digest> {
        let engine = self.files.replica().engine();
        let lock = engine.tree().get(path).filter(|entry| path::is_lock(path) && entry.is_directory())?;
        Some(checksum::entry_checksum(lock))
    }

    /// Sends the others what this node, which is the newest, has and they have not.
    fn send_updates(&self, states: &[(MemberId, &[u8])], own: &[u8], out: &mut Outbox) {
        let theirs: Vec<HashMap<u64, &[u8]>> = states
            .iter()
            .filter(|(_, state)| *state != own)
            .map(|(_, state)| entries(state).collect())
            .collect();
        let engine = self.files.replica().engine();
        for (inode, digest) in entries(own) {
            // the root is no exception, although the specification says that it is always sent: recorded nodes send it if it
            // differs
            let is_lacking = |known: &HashMap<u64, &[u8]>| known.get(&inode) != Some(&digest);
            if theirs.iter().any(is_lacking)
                && let Some(entry) = engine.tree().by_inode(inode)
            {
                out.update(&write_update(entry));
            }
        }
        out.update_complete();
    }
}

/// What decides whose state is the newest: version, then time.
fn rank(state: &[u8]) -> Option<(u64, u32)> {
    let mut head = Reader(state);
    let (version, _, _, mtime) = (head.u64()?, head.u64()?, head.u32()?, head.u32()?);
    let (_, size) = (head.u32()?, head.u32()?);
    (size as usize == state.len()).then_some((version, mtime))
}

/// Inodes and digests of an index.
fn entries(index: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let entries = index.get(32..).unwrap_or_default().chunks_exact(40);
    entries.filter_map(|entry| {
        let (inode, digest) = entry.split_first_chunk()?;
        Some((u64::from_le_bytes(*inode), digest))
    })
}

impl Group for TreeGroup {
    const VERSION: u32 = 1;

    fn state(&mut self) -> Vec<u8> {
        checksum::index(self.files.replica().engine().tree())
    }

    fn deliver(&mut self, from: MemberId, at: Place, message: &Normal<'_>, out: &mut Outbox) -> Delivered {
        let Some(parsed) = TreeMessage::parse(message.subtype, message.payload) else {
            return Delivered::Misfit;
        };
        if !self.files.is_quorate() {
            return Delivered::Misfit;
        }
        Delivered::Applied(match parsed {
            TreeMessage::NoPath => Err(Refusal::NoPath),
            TreeMessage::Change(operation) => self.apply(from, message.time, operation),
            TreeMessage::UnlockRequest { checksum, path } => {
                let now = self.files.now();
                if at.is_lowest
                    && self.is_lock(path, &checksum)
                    && self.files.replica().engine_mut().lock_expired(path, now) == Some(true)
                {
                    let (subtype, payload) = TreeMessage::Unlock { checksum, path }.write();
                    out.send(subtype, &payload);
                }
                Ok(())
            }
            TreeMessage::Unlock { checksum, path } if self.is_lock(path, &checksum) => {
                self.apply(from, message.time, Operation::Delete { path })
            }
            TreeMessage::Unlock { .. } => Ok(()),
        })
    }

    fn decide(&mut self, states: &[(MemberId, &[u8])], own: usize, out: &mut Outbox) -> Option<Vec<bool>> {
        let ranks: Vec<(u64, u32)> = states.iter().map(|(_, state)| rank(state)).collect::<Option<_>>()?;
        // of equals the first
        let newest = (0..ranks.len()).rev().max_by_key(|index| ranks.get(*index))?;
        let (_, leading) = states.get(newest)?;
        if newest == own {
            self.send_updates(states, leading, out);
        }
        self.sync = Some(Sync { index: leading.to_vec(), rows: Vec::new() });
        Some(states.iter().map(|(_, state)| state == leading).collect())
    }

    fn update(&mut self, payload: &[u8]) -> bool {
        let (Some(sync), Some(row)) = (&mut self.sync, parse_update(payload)) else { return false };
        sync.rows.push(row);
        true
    }

    fn commit(&mut self) -> bool {
        let Some(sync) = self.sync.take() else { return false };
        let kept: HashSet<u64> = entries(&sync.index).map(|(inode, _)| inode).collect();
        let replica = self.files.replica();
        replica.take_over(&kept, &sync.rows, &sync.index, self.files.now()).is_ok()
    }

    fn drop_sync(&mut self) {
        self.sync = None;
    }

    fn checksum(&self) -> Option<Sha256Digest> {
        Some(checksum::tree_checksum(self.files.replica().engine().tree()))
    }

    fn has_failed(&self) -> bool {
        self.files.replica().engine().has_failed()
    }
}

impl Machine<TreeGroup> {
    /// Asks for a change at `now`, with paths as programs address them; the number under which its result comes.
    ///
    /// The time 0 for a lock also asks that it be removed if it has expired.
    ///
    /// # Errors
    /// What is refused at once and sent to nobody: no quorum, the root, a virtual entry.
    pub fn submit(&mut self, operation: &Operation<'_>, now: u32) -> Result<u64, Refusal> {
        let operation = operation.in_tree()?;
        if !self.group().files.is_quorate() {
            return Err(Refusal::NoQuorum);
        }
        if let Operation::SetTime { path, mtime: 0 } = operation
            && let Some(checksum) = self.group().lock_checksum(path)
        {
            let (subtype, payload) = TreeMessage::UnlockRequest { checksum, path }.write();
            self.outbox(now).send(subtype, &payload);
        }
        let (subtype, payload) = TreeMessage::Change(operation).write();
        Ok(self.send(subtype, &payload, now))
    }
}
