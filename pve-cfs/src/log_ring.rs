// SPDX-License-Identifier: MIT OR Apache-2.0
//! The ring in which log entries lie, byte for byte as nodes exchange it (spec: pmxcfs-cluster, "Ring").

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::cluster_log::{DuplicateFilter, ENTRY_BASE, ENTRY_HEAD, MAX_ENTRY_SIZE, digest};

/// Size of the ring in bytes.
pub const RING_SIZE: usize = 131_072;
/// Offset of the first entry.
const FIRST: usize = 8;

/// The ring: u32 size, u32 offset of the newest entry, then entries, each with the offset of the one before.
#[derive(Debug, Clone)]
pub struct Ring {
    bytes: Vec<u8>,
}

/// The fields of an entry that order it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    time: u32,
    node: u64,
    uid: u32,
}

impl Key {
    /// The order of entries: by differences of 32 bits, which go around, so it need not be transitive.
    fn compare(&self, other: &Self) -> Ordering {
        let sign = |difference: u32| (difference as i32).cmp(&0);
        if self.time != other.time {
            return sign(self.time.wrapping_sub(other.time));
        }
        if self.node != other.node {
            return sign(self.node.wrapping_sub(other.node) as u32);
        }
        sign(self.uid.wrapping_sub(other.uid))
    }
}

impl Ring {
    /// An empty ring.
    pub fn new() -> Self {
        let mut bytes = vec![0; RING_SIZE];
        bytes[..4].copy_from_slice(&(RING_SIZE as u32).to_le_bytes());
        Self { bytes }
    }

    /// The ring that another node sent; `None` if it is none, or its size field is wrong.
    pub(crate) fn from_state(state: &[u8]) -> Option<Self> {
        (state.len() > FIRST && word(state, 0) as usize == state.len())
            .then(|| Self { bytes: state.to_vec() })
    }

    /// The ring as it is exchanged.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Offset of the newest entry, 0 if there is none.
    fn newest(&self) -> usize {
        word(&self.bytes, 4) as usize
    }

    /// The entry at `offset`, if a whole one can lie there.
    fn entry(&self, offset: usize) -> Option<&[u8]> {
        let head = self.bytes.get(offset..offset.checked_add(ENTRY_HEAD)?)?;
        let texts: usize = head[37..40].iter().map(|length| usize::from(*length)).sum();
        let size = ENTRY_BASE.checked_add(texts)?.checked_add(word(head, 40) as usize)?;
        if offset < FIRST || size > MAX_ENTRY_SIZE {
            return None;
        }
        self.bytes.get(offset..offset.checked_add(size)?)
    }

    /// Enters `packed` if it is a well-formed entry that `filter` accepts.
    pub(crate) fn insert_filtered(&mut self, packed: &[u8], filter: &mut DuplicateFilter) {
        if !is_entry(packed) {
            return;
        }
        let key = key(packed);
        if filter.accept(key.node, key.time, key.uid) {
            self.insert(packed);
        }
    }

    fn insert(&mut self, packed: &[u8]) {
        let slot = packed.len().next_multiple_of(8);
        let newest = self.newest();
        let mut position = FIRST;
        if newest != 0 {
            position = word(&self.bytes, newest + 4) as usize;
            if position + slot >= self.bytes.len() {
                position = FIRST;
            }
        }
        let Some(place) = self.bytes.get_mut(position..position + packed.len()) else { return };
        place[..4].copy_from_slice(&(newest as u32).to_le_bytes());
        place[4..8].copy_from_slice(&((position + slot) as u32).to_le_bytes());
        place[8..].copy_from_slice(&packed[8..]);
        self.bytes[4..8].copy_from_slice(&(position as u32).to_le_bytes());
    }

    /// Offset of the entry before the one at `at` (0 if none), and whether it lies in what was overwritten.
    fn before(&self, at: usize) -> (usize, bool) {
        let previous = word(&self.bytes, at) as usize;
        (previous, at < previous && previous <= self.newest())
    }

    /// Whether an entry can still be at `at`, seen from the newest.
    fn in_reach(&self, at: usize) -> bool {
        at != 0 && (at <= self.newest() || at > self.newest() + MAX_ENTRY_SIZE)
    }

    /// The newest `max` entries as JSON, newest first; with `user`, only that user's.
    pub(crate) fn text(&self, max: usize, user: Option<&[u8]>) -> Vec<u8> {
        let user = user.map(digest);
        let mut text = b"{\n\"data\": [\n".to_vec();
        let mut count = 0;
        let mut at = self.newest();
        while count < max && self.in_reach(at) {
            let Some(entry) = self.entry(at) else { break };
            let (previous, wrapped) = self.before(at);
            if wrapped {
                break;
            }
            if user.is_none_or(|user| long(entry, 24) == user) {
                if count > 0 {
                    text.extend_from_slice(b",\n");
                }
                describe(entry, &mut text);
                count += 1;
            }
            at = previous;
        }
        if count > 0 {
            text.push(b'\n');
        }
        text.extend_from_slice(b"]\n}\n");
        text
    }

    /// Sorts the entries by time; an empty ring stays as it is.
    pub(crate) fn sort(&mut self) {
        if self.newest() == 0 {
            return;
        }
        let mut sorted = Sorted::default();
        let mut at = self.newest();
        while self.in_reach(at) {
            let Some(entry) = self.entry(at) else { break };
            sorted.insert(key(entry), entry);
            let (previous, wrapped) = self.before(at);
            if wrapped {
                break;
            }
            at = previous;
        }
        *self = sorted.into_ring();
    }

    /// The newest entries of all rings, each once, in order, with the filter for what comes after.
    pub(crate) fn merge(rings: &[Cow<'_, Self>]) -> (Self, DuplicateFilter) {
        let mut filter = DuplicateFilter::default();
        let mut sorted = Sorted::default();
        let mut positions: Vec<usize> = rings.iter().map(|ring| ring.newest()).collect();
        let mut sum = 0;
        loop {
            let mut best: Option<(usize, u32)> = None;
            for (index, (ring, at)) in rings.iter().zip(&positions).enumerate() {
                if let Some(entry) = Some(*at).filter(|at| *at != 0).and_then(|at| ring.entry(at))
                    && key(entry).time > best.map_or(0, |(_, time)| time)
                {
                    best = Some((index, key(entry).time));
                }
            }
            let Some((index, _)) = best else { break };
            let (ring, at) = (&rings[index], positions[index]);
            let Some(entry) = ring.entry(at) else { break };
            let key = key(entry);
            if sorted.insert_new(key, entry) {
                filter.accept(key.node, key.time, key.uid);
                sum += (word(entry, 4) as usize).saturating_sub(at);
                if sum >= RING_SIZE - FIRST - MAX_ENTRY_SIZE {
                    break;
                }
            }
            let (previous, wrapped) = ring.before(at);
            positions[index] = if wrapped || !ring.in_reach(previous) { 0 } else { previous };
        }
        (sorted.into_ring(), filter)
    }
}

impl Default for Ring {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether `packed` is one whole entry with all its texts ended.
fn is_entry(packed: &[u8]) -> bool {
    let Some(head) = packed.get(..ENTRY_HEAD) else { return false };
    let texts: usize = head[37..40].iter().map(|length| usize::from(*length)).sum();
    ENTRY_BASE.checked_add(texts).and_then(|size| size.checked_add(word(head, 40) as usize))
        == Some(packed.len())
        && packed.len() <= MAX_ENTRY_SIZE
}

/// Whether `packed` is a whole entry, and each of its four texts ends in NUL.
pub(crate) fn is_sound(packed: &[u8]) -> bool {
    let lengths = packed.get(37..40).unwrap_or_default().iter().map(|length| usize::from(*length));
    let mut end = ENTRY_HEAD;
    is_entry(packed)
        && lengths.chain([word(packed, 40) as usize]).all(|length| {
            end += length;
            length > 0 && packed.get(end - 1) == Some(&0)
        })
}

fn key(entry: &[u8]) -> Key {
    Key { time: word(entry, 12), node: long(entry, 16), uid: word(entry, 8) }
}

/// One entry as JSON; nothing is escaped beyond what packing did.
fn describe(entry: &[u8], text: &mut Vec<u8>) {
    let mut rest = entry.get(ENTRY_HEAD..).unwrap_or_default();
    let mut take = |length: usize| {
        let (taken, after) = rest.split_at(length.min(rest.len()));
        rest = after;
        crate::row::cut_at_nul(taken)
    };
    let node = take(usize::from(entry[37]));
    let ident = take(usize::from(entry[38]));
    let tag = take(usize::from(entry[39]));
    // the message may lack its NUL; then it goes on into the unused bytes after it, which are zero
    let message = take(word(entry, 40) as usize + (ENTRY_BASE - ENTRY_HEAD));
    let number = |at| word(entry, at).to_string();
    text.extend_from_slice(b"{\"uid\": ");
    text.extend_from_slice(number(8).as_bytes());
    text.extend_from_slice(b", \"time\": ");
    text.extend_from_slice(number(12).as_bytes());
    text.extend_from_slice(format!(", \"pri\": {}, \"tag\": \"", entry[36]).as_bytes());
    text.extend_from_slice(tag);
    text.extend_from_slice(b"\", \"pid\": ");
    text.extend_from_slice(number(32).as_bytes());
    text.extend_from_slice(b", \"node\": \"");
    text.extend_from_slice(node);
    text.extend_from_slice(b"\", \"user\": \"");
    text.extend_from_slice(ident);
    text.extend_from_slice(b"\", \"msg\": \"");
    text.extend_from_slice(message);
    text.extend_from_slice(b"\"}");
}

/// Entries in their order. An entry that compares equal to another is the same.
#[derive(Default)]
struct Sorted<'a> {
    entries: Vec<(Key, &'a [u8])>,
}

impl<'a> Sorted<'a> {
    fn insert(&mut self, key: Key, entry: &'a [u8]) {
        match self.entries.binary_search_by(|(other, _)| other.compare(&key)) {
            Ok(at) => self.entries[at] = (key, entry),
            Err(at) => self.entries.insert(at, (key, entry)),
        }
    }

    fn insert_new(&mut self, key: Key, entry: &'a [u8]) -> bool {
        match self.entries.binary_search_by(|(other, _)| other.compare(&key)) {
            Ok(_) => false,
            Err(at) => {
                self.entries.insert(at, (key, entry));
                true
            }
        }
    }

    fn into_ring(self) -> Ring {
        let mut ring = Ring::new();
        for (_, entry) in self.entries {
            ring.insert(entry);
        }
        ring
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}
