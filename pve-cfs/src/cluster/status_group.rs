// SPDX-License-Identifier: MIT OR Apache-2.0
//! The group in which nodes tell each other their status (spec: pmxcfs-cluster, "Status group messages").

use std::sync::Arc;

use bstr::BString;

use super::machine::{Delivered, Group, Machine, Outbox, Place};
use super::message::{MemberId, Normal, Reader};
use crate::filesystem::FileSystem;
use crate::log_ring::is_sound;
use crate::refusal::Refusal;
use crate::row::cut_at_nul;

/// Name of the group.
pub const NAME: &str = "pve_kvstore_v1";

const UPDATE: u16 = 1;
const LOG: u16 = 3;
/// Bytes of the field with the key.
const KEY: usize = 256;

/// The status of a [`FileSystem`] as a part of a cluster.
#[derive(Debug)]
pub struct StatusGroup {
    files: Arc<FileSystem>,
    address: BString,
}

impl StatusGroup {
    /// The status of `files`; `address` is the node's IP address as it was found at the start.
    pub const fn new(files: Arc<FileSystem>, address: BString) -> Self {
        Self { files, address }
    }
}

fn update(key: &[u8], value: &[u8]) -> Vec<u8> {
    let key = cut_at_nul(key.get(..KEY - 1).unwrap_or(key));
    let mut payload = Vec::with_capacity(KEY + value.len());
    payload.extend_from_slice(key);
    payload.resize(KEY, 0);
    payload.extend_from_slice(value);
    payload
}

impl Group for StatusGroup {
    const VERSION: u32 = 0;

    fn state(&mut self) -> Vec<u8> {
        self.files.status().log_mut().state().to_vec()
    }

    fn deliver(&mut self, from: MemberId, at: Place, message: &Normal<'_>, _: &mut Outbox) -> Delivered {
        // what this node says of itself it knows already
        if from.node != at.me.node {
            let now = self.files.now();
            let mut status = self.files.status();
            let mut rest = Reader(message.payload);
            match message.subtype {
                UPDATE => {
                    if let Some(key) = rest.take(KEY).filter(|key| key.contains(&0)) {
                        status.set_of(from.node, cut_at_nul(key), rest.0, now);
                    }
                }
                LOG if is_sound(message.payload) => status.log_mut().insert(message.payload),
                _ => {}
            }
        }
        Delivered::Applied(Ok(()))
    }

    fn decide(&mut self, states: &[(MemberId, &[u8])], own: usize, out: &mut Outbox) -> Option<Vec<bool>> {
        let logs: Vec<&[u8]> = states.iter().map(|(_, state)| *state).collect();
        let mut status = self.files.status();
        status.log_mut().merge(&logs, Some(own));
        for (key, value) in status.values() {
            out.send(UPDATE, &update(key, value));
        }
        // the logs are merged, and each member tells its own keys: everybody is up to date
        Some(vec![true; states.len()])
    }

    fn members_changed(&mut self, members: &[MemberId]) {
        self.files.status().set_online(|node| members.iter().any(|member| member.node == node));
    }

    fn synced(&mut self, out: &mut Outbox) {
        let mut status = self.files.status();
        let mut value = status.address().map_or_else(|| self.address.to_vec(), |address| address.to_vec());
        value.push(0);
        // an address that is none is not told
        if status.set(b"nodeip", &value, self.files.now()).is_ok() {
            out.send(UPDATE, &update(b"nodeip", &value));
        }
    }
}

impl Machine<StatusGroup> {
    /// Sets `key` of this node at `now`, and tells the others.
    ///
    /// # Errors
    /// As [`Status::set`](crate::status::Status::set); then nobody is told.
    pub fn set(&mut self, key: &[u8], value: &[u8], now: u32) -> Result<(), Refusal> {
        let files = self.group().files.clone();
        files.status().set(key, value, files.now())?;
        self.outbox(now).send(UPDATE, &update(key, value));
        Ok(())
    }

    /// Logs `message` at `now`, as [`ClusterLog::log`](crate::cluster_log::ClusterLog::log), and tells the others; the entry,
    /// if the priority is one that is logged.
    pub fn log(
        &mut self,
        ident: &[u8],
        tag: &[u8],
        priority: u8,
        message: &[u8],
        process: u32,
        now: u32,
    ) -> Option<Vec<u8>> {
        let files = self.group().files.clone();
        let entry = files.status().log_mut().log(ident, tag, priority, message, process, now)?;
        self.outbox(now).send(LOG, &entry);
        Some(entry)
    }
}
