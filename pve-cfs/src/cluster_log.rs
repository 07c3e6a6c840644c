// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cluster log: entries as they are packed, and the live log of one node.

use std::borrow::Cow;
use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use crate::log_ring::Ring;
use crate::row::cut_at_nul;

/// Number of entries that `.clusterlog` shows.
pub const SHOWN_ENTRIES: usize = 50;
/// Greatest priority; entries above are dropped.
pub const MAX_PRIORITY: u8 = 7;
/// Greatest size of a packed entry in bytes.
pub const MAX_ENTRY_SIZE: usize = 4096;
/// Bytes before the texts of a packed entry.
pub(crate) const ENTRY_HEAD: usize = 44;
/// Size of a packed entry without its texts: four unused bytes follow the message.
pub(crate) const ENTRY_BASE: usize = 48;

/// An entry before it is packed.
#[derive(Debug, Clone, Copy)]
pub struct LogEntry<'a> {
    /// Node that it is from.
    pub node: &'a [u8],
    /// User.
    pub ident: &'a [u8],
    /// Program.
    pub tag: &'a [u8],
    /// Process id.
    pub pid: u32,
    /// Seconds since the epoch.
    pub time: u32,
    /// Priority as syslog has it, 0 to 7.
    pub priority: u8,
    /// The message in any encoding.
    pub message: &'a [u8],
}

impl LogEntry<'_> {
    /// The entry in its binary form, as the process's `uid`-th (spec: pmxcfs-cluster, "Entry"). `None` for a priority that is not logged.
    pub fn pack(&self, uid: u32) -> Option<Vec<u8>> {
        if self.priority > MAX_PRIORITY {
            return None;
        }
        let texts = [self.node, self.ident, self.tag].map(cut_at_nul);
        let lengths = texts.map(|text| (text.len() + 1).min(255));
        let used: usize = lengths.iter().sum();
        let message = ascii(cut_at_nul(self.message), Some(MAX_ENTRY_SIZE - ENTRY_HEAD - used), true);
        let message_length = (message.len() + 1).min(MAX_ENTRY_SIZE - ENTRY_BASE - used);
        let mut entry = Vec::with_capacity(ENTRY_BASE + used + message_length);
        entry.extend_from_slice(&[0; 8]);
        entry.extend_from_slice(&uid.to_le_bytes());
        entry.extend_from_slice(&self.time.to_le_bytes());
        entry.extend_from_slice(&digest(texts[0]).to_le_bytes());
        entry.extend_from_slice(&digest(texts[1]).to_le_bytes());
        entry.extend_from_slice(&self.pid.to_le_bytes());
        entry.push(self.priority);
        entry.extend(lengths.map(|length| length as u8));
        entry.extend_from_slice(&(message_length as u32).to_le_bytes());
        for (text, length) in texts.into_iter().zip(lengths) {
            entry.extend_from_slice(&text[..length - 1]);
            entry.push(0);
        }
        entry.extend(message.into_iter().chain([0]).take(message_length));
        entry.extend_from_slice(&[0; 4]);
        Some(entry)
    }
}

/// Digest of a user's or node's name: 64-bit FNV-1a over at most 255 bytes of the text and its NUL.
pub fn digest(text: &[u8]) -> u64 {
    text.iter().chain(&[0]).take(255).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A message in printable ASCII (spec: pmxcfs-cluster, "Text conversion"), cut so that it fits into `buffer` bytes; with
/// `quote`, quotation marks are escaped for JSON.
pub fn ascii(message: &[u8], buffer: Option<usize>, quote: bool) -> Vec<u8> {
    let room = buffer.map_or(usize::MAX, |size| size.saturating_sub(7));
    let mut out = Vec::with_capacity(message.len());
    match message.to_str() {
        Ok(text) => {
            for character in text.chars() {
                if out.len() >= room {
                    break;
                }
                match u32::from(character) {
                    0x22 if quote => out.extend_from_slice(b"\\\""),
                    code @ (0..32 | 127) => out.extend_from_slice(format!("#{code:03}").as_bytes()),
                    code @ 32..127 => out.push(code as u8),
                    code @ 128..0x1_0000 => out.extend_from_slice(format!("\\u{code:04x}").as_bytes()),
                    _ => {}
                }
            }
        }
        Err(_) => {
            for byte in message {
                if out.len() >= room {
                    break;
                }
                match byte {
                    b'"' if quote => out.extend_from_slice(b"\\\""),
                    0..32 => out.extend_from_slice(format!("#0{byte:02}").as_bytes()),
                    32..127 => out.push(*byte),
                    _ => out.push(b'?'),
                }
            }
        }
    }
    out
}

/// Which entries of a node are new: per node the newest one accepted.
#[derive(Debug, Clone, Default)]
pub struct DuplicateFilter {
    newest: HashMap<u64, (u32, u32)>,
}

impl DuplicateFilter {
    /// Accepts an entry that is newer than all accepted before from the same node.
    pub(crate) fn accept(&mut self, node: u64, time: u32, uid: u32) -> bool {
        if self.newest.get(&node).is_some_and(|newest| (time, uid) <= *newest) {
            return false;
        }
        self.newest.insert(node, (time, uid));
        true
    }
}

/// The live log of a node.
#[derive(Debug, Clone)]
pub struct ClusterLog {
    node: BString,
    ring: Ring,
    filter: DuplicateFilter,
    last_uid: u32,
}

impl ClusterLog {
    /// An empty log of the node `node`.
    pub fn new(node: BString) -> Self {
        Self { node, ring: Ring::new(), filter: DuplicateFilter::default(), last_uid: 0 }
    }

    /// Logs an entry of this node; the packed entry is returned, to be sent to others. `None` if the priority is not logged.
    pub fn log(
        &mut self,
        ident: &[u8],
        tag: &[u8],
        priority: u8,
        message: &[u8],
        pid: u32,
        time: u32,
    ) -> Option<Vec<u8>> {
        let entry = LogEntry { node: &self.node, ident, tag, pid, time, priority, message };
        let packed = entry.pack(self.last_uid.wrapping_add(1))?;
        self.last_uid = self.last_uid.wrapping_add(1);
        self.insert(&packed);
        Some(packed)
    }

    /// Enters a packed entry, unless its node sent a newer one before. Something that is no entry is left out.
    pub fn insert(&mut self, packed: &[u8]) {
        self.ring.insert_filtered(packed, &mut self.filter);
    }

    /// The newest `max` entries as JSON, newest first; with `user`, only that user's.
    pub fn text(&self, max: usize, user: Option<&[u8]>) -> Vec<u8> {
        self.ring.text(max, user)
    }

    /// Sorts the log by time and returns it whole, as nodes exchange it.
    pub fn state(&mut self) -> &[u8] {
        self.ring.sort();
        self.ring.bytes()
    }

    /// Replaces the log by the merge of `states`, the logs of all members in their order; `own` is the place of this node's, for
    /// which the live log is taken.
    pub fn merge(&mut self, states: &[&[u8]], own: Option<usize>) {
        let rings: Vec<Cow<'_, Ring>> = states
            .iter()
            .enumerate()
            .filter_map(|(index, state)| match own {
                Some(own) if own == index => Some(Cow::Borrowed(&self.ring)),
                _ => Ring::from_state(state).map(Cow::Owned),
            })
            .collect();
        let (ring, filter) = Ring::merge(&rings);
        self.ring = ring;
        self.filter = filter;
    }
}
