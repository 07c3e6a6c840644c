// SPDX-License-Identifier: MIT OR Apache-2.0
//! The status store: what nodes tell each other and no database keeps. Members, values by key, measurements, the cluster log.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use crate::cluster_log::ClusterLog;
use crate::refusal::Refusal;

/// Longest value in bytes.
pub const MAX_VALUE: usize = 32_768;
/// Age in seconds after which a measurement is dropped.
const RRD_TIMEOUT: u64 = 300;
/// Age in seconds up to which the text of all measurements is given out again.
const RRD_TEXT_LIFETIME: u64 = 2;

/// A cluster as its configuration describes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Its name.
    pub name: BString,
    /// Version of its configuration.
    pub version: u64,
    /// Its nodes.
    pub nodes: Vec<Member>,
}

/// A node of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: BString,
    /// Its id, never 0.
    pub id: u32,
    /// Whether it takes part at the moment.
    pub online: bool,
}

/// A value and how often it changed since it was set first.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Value {
    version: u32,
    bytes: Vec<u8>,
}

type KeyTable = BTreeMap<BString, Value>;

/// The status of this node and what it knows of the others (spec: pmxcfs, "Status store").
#[derive(Debug)]
pub struct Status {
    node: BString,
    cluster: Option<ClusterInfo>,
    cluster_version: u32,
    addresses: BTreeMap<BString, BString>,
    local: KeyTable,
    others: BTreeMap<BString, KeyTable>,
    rrd: BTreeMap<BString, (u64, Vec<u8>)>,
    rrd_text: Option<(u64, Vec<u8>)>,
    log: ClusterLog,
}

impl Status {
    /// The status of the node `node` right after the start of its process `process` at `now`.
    pub fn new(node: &BStr, process: u32, now: u64) -> Self {
        let mut log = ClusterLog::new(node.to_owned());
        log.log(b"root", b"cluster", 6, b"starting cluster log", process, now as u32);
        Self {
            node: node.to_owned(),
            cluster: None,
            cluster_version: 0,
            addresses: BTreeMap::new(),
            local: KeyTable::new(),
            others: BTreeMap::new(),
            rrd: BTreeMap::new(),
            rrd_text: None,
            log,
        }
    }

    /// Sets `key` of this node. The key is cut at 255 bytes and at its first NUL.
    ///
    /// # Errors
    /// The value is too long, or not what the key asks for.
    pub fn set(&mut self, key: &[u8], value: &[u8], now: u64) -> Result<(), Refusal> {
        let node = self.node.clone();
        self.set_at(&node, key, value, now)
    }

    /// What the node with this id says of itself: as [`set`](Self::set), but what does not fit is passed over, and so is a node that
    /// the cluster does not have.
    pub fn set_of(&mut self, node: u32, key: &[u8], value: &[u8], now: u64) {
        let member =
            self.cluster.as_ref().and_then(|cluster| cluster.nodes.iter().find(|known| known.id == node));
        if let Some(name) = member.map(|member| member.name.clone()) {
            // the sender cannot be told
            let _ = self.set_at(&name, key, value, now);
        }
    }

    fn set_at(&mut self, node: &BString, key: &[u8], value: &[u8], now: u64) -> Result<(), Refusal> {
        if value.len() > MAX_VALUE {
            return Err(Refusal::StatusTooBig);
        }
        let key = crate::row::cut_at_nul(key.get(..255).unwrap_or(key));
        if let Some(rrd_key) = key.strip_prefix(b"rrd/") {
            let text = status_text(value, 4095)?;
            self.rrd.insert(rrd_key.into(), (now, text.to_vec()));
        } else if key == "nodeip" {
            let address = status_text(value, 255)?.as_bstr().to_owned();
            if self.addresses.get(node) != Some(&address) {
                self.addresses.insert(node.clone(), address);
                self.cluster_version = self.cluster_version.wrapping_add(1);
            }
        } else if value.is_empty() {
            let table = if *node == self.node { Some(&mut self.local) } else { self.others.get_mut(node) };
            table.and_then(|table| table.remove(key));
        } else {
            let table = if *node == self.node {
                &mut self.local
            } else {
                self.others.entry(node.clone()).or_default()
            };
            if let Some(old) = table.get_mut(key) {
                old.version = old.version.wrapping_add(1);
                old.bytes = value.to_vec();
            } else {
                table.insert(key.to_owned(), Value { version: 0, bytes: value.to_vec() });
            }
        }
        Ok(())
    }

    /// The keys of this node with their values.
    pub fn values(&self) -> impl Iterator<Item = (&BStr, &[u8])> {
        self.local.iter().map(|(key, value)| (key.as_bstr(), value.bytes.as_slice()))
    }

    /// The address of this node, as it said itself.
    pub fn address(&self) -> Option<&BStr> {
        self.addresses.get(&self.node).map(|address| address.as_bstr())
    }

    /// The value of `key` of the node `node`; an empty name means this node.
    pub fn get(&self, node: &[u8], key: &[u8]) -> Option<&[u8]> {
        let table = if node.is_empty() || node == self.node {
            &self.local
        } else {
            self.others.get(node.as_bstr())?
        };
        Some(&table.get(key.as_bstr())?.bytes)
    }

    /// Describes the cluster anew. Whether nodes are online, and what is known of them, is carried over by their ids.
    pub fn set_cluster(&mut self, mut cluster: Option<ClusterInfo>) {
        let before = self.cluster.take();
        let mut tables = std::mem::take(&mut self.others);
        for node in cluster.iter_mut().flat_map(|cluster| &mut cluster.nodes) {
            let known = before.iter().flat_map(|before| &before.nodes).find(|known| known.id == node.id);
            if let Some(known) = known {
                node.online = known.online;
                if let Some(table) = tables.remove(&known.name) {
                    self.others.insert(node.name.clone(), table);
                }
            }
        }
        self.cluster = cluster;
        self.cluster_version = self.cluster_version.wrapping_add(1);
    }

    /// Says which nodes take part at the moment, by their ids.
    pub fn set_online(&mut self, is_online: impl Fn(u32) -> bool) {
        for node in self.cluster.iter_mut().flat_map(|cluster| &mut cluster.nodes) {
            node.online = is_online(node.id);
        }
        self.cluster_version = self.cluster_version.wrapping_add(1);
    }

    /// The cluster as it was described last.
    pub const fn cluster(&self) -> Option<&ClusterInfo> {
        self.cluster.as_ref()
    }

    /// Number of changes of what `.members` shows.
    pub const fn cluster_version(&self) -> u32 {
        self.cluster_version
    }

    /// The cluster log.
    pub const fn log(&self) -> &ClusterLog {
        &self.log
    }

    /// The cluster log, to write to.
    pub const fn log_mut(&mut self) -> &mut ClusterLog {
        &mut self.log
    }

    /// The text of `.members`.
    pub fn members_text(&self, quorate: bool) -> Vec<u8> {
        let mut text = Text::default();
        text.line(&[b"{"]);
        text.line(&[b"\"nodename\": \"", &self.node, b"\","]);
        let version = self.cluster_version.to_string();
        let Some(cluster) = &self.cluster else {
            text.line(&[b"\"version\": ", version.as_bytes()]);
            text.line(&[b"}"]);
            return text.0;
        };
        text.line(&[b"\"version\": ", version.as_bytes(), b","]);
        let facts = format!(
            "\", \"version\": {}, \"nodes\": {}, \"quorate\": {} }},",
            cluster.version,
            cluster.nodes.len(),
            u8::from(quorate)
        );
        text.line(&[b"\"cluster\": { \"name\": \"", &cluster.name, facts.as_bytes()]);
        text.line(&[b"\"nodelist\": {"]);
        for (index, node) in cluster.nodes.iter().enumerate() {
            if index > 0 {
                text.line(&[b","]);
            }
            let facts = format!("\": {{ \"id\": {}, \"online\": {}", node.id, u8::from(node.online));
            text.add(&[b"  \"", &node.name, facts.as_bytes()]);
            if let Some(address) = self.addresses.get(&node.name) {
                text.add(&[b", \"ip\": \"", address, b"\""]);
            }
            text.add(&[b"}"]);
        }
        text.line(&[]);
        text.line(&[b"  }"]);
        text.line(&[b"}"]);
        text.0
    }

    /// The part of `.version` about values by key.
    pub fn keys_text(&self) -> Vec<u8> {
        let mut text = Text::default();
        text.line(&[b"\"kvstore\": {"]);
        text.table(&self.node, &self.local);
        for (node, table) in &self.others {
            text.line(&[b","]);
            text.table(node, table);
        }
        text.line(&[b"}"]);
        text.0
    }

    /// The text of `.rrd`, and whether it was produced now (`true`) or is that of less than two seconds ago.
    pub fn rrd_text(&mut self, now: u64) -> (&[u8], bool) {
        let age = self.rrd_text.as_ref().and_then(|(produced, _)| now.checked_sub(*produced));
        let fresh = age.is_none_or(|age| age >= RRD_TEXT_LIFETIME);
        if fresh {
            self.rrd.retain(|_, (arrived, _)| now.saturating_sub(*arrived) <= RRD_TIMEOUT);
            let mut text = Text::default();
            for (key, (_, value)) in &self.rrd {
                text.line(&[key, b":", value]);
            }
            self.rrd_text = Some((now, text.0));
        }
        (self.rrd_text.as_ref().map_or(&[], |(_, text)| text), fresh)
    }
}

/// The text of a value that must have 1 to `most` bytes and end in NUL.
fn status_text(value: &[u8], most: usize) -> Result<&[u8], Refusal> {
    match value {
        [.., 0] if value.len() <= most => Ok(crate::row::cut_at_nul(value)),
        _ => Err(Refusal::StatusText { most }),
    }
}

/// Text that is put together from bytes.
#[derive(Default)]
struct Text(Vec<u8>);

impl Text {
    fn add(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.0.extend_from_slice(part);
        }
    }

    fn line(&mut self, parts: &[&[u8]]) {
        self.add(parts);
        self.0.push(b'\n');
    }

    fn table(&mut self, node: &BString, table: &KeyTable) {
        self.line(&[b"\"", node, b"\": {"]);
        for (index, (key, value)) in table.iter().enumerate() {
            if index > 0 {
                self.line(&[b","]);
            }
            self.add(&[b"\"", key, b"\": ", value.version.to_string().as_bytes()]);
        }
        if !table.is_empty() {
            self.line(&[]);
        }
        self.line(&[b"}"]);
    }
}
