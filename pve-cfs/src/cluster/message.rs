// SPDX-License-Identifier: MIT OR Apache-2.0
//! The messages of both groups as bytes (spec: pmxcfs-cluster, "Message headers"): little-endian, without padding.

use bstr::{BString, ByteSlice};

use crate::checksum::Sha256Digest;
use crate::operation::Operation;
use crate::row::{Content, Row, cut_at_nul};
use crate::schema::{EntryType, VERSION_ROW_NAME};
use crate::tree::{Entry, ROOT};

/// A process on a node: what Corosync calls a member. Members are in the order of their nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId {
    /// Id of the node, never 0.
    pub node: u32,
    /// Id of the process.
    pub process: u32,
}

/// A synchronisation: messages of another one do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epoch(pub(crate) [u8; 16]);

impl Epoch {
    /// The `number`-th synchronisation that `member` has begun, at `time`.
    pub(crate) fn new(number: u32, time: u32, member: MemberId) -> Self {
        let mut bytes = [0; 16];
        for (place, value) in bytes.chunks_exact_mut(4).zip([number, time, member.node, member.process]) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        Self(bytes)
    }
}

/// Numbers of the types of messages.
pub(crate) mod kind {
    pub(crate) const NORMAL: u16 = 0;
    pub(crate) const SYNC_START: u16 = 1;
    pub(crate) const STATE: u16 = 2;
    pub(crate) const UPDATE: u16 = 3;
    pub(crate) const UPDATE_COMPLETE: u16 = 4;
    pub(crate) const VERIFY_REQUEST: u16 = 5;
    pub(crate) const VERIFY: u16 = 6;
}

/// What every message begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) kind: u16,
    pub(crate) subtype: u16,
    /// Version of the group's protocol.
    pub(crate) version: u32,
    /// The sender's clock.
    pub(crate) time: u32,
}

impl Header {
    /// The header and what follows it.
    pub(crate) fn parse(message: &[u8]) -> Option<(Self, Reader<'_>)> {
        let mut reader = Reader(message);
        let (kind, subtype) = (reader.u16()?, reader.u16()?);
        let (version, time) = (reader.u32()?, reader.u32()?);
        reader.u32()?;
        Some((Self { kind, subtype, version, time }, reader))
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&self.kind.to_le_bytes());
        bytes.extend_from_slice(&self.subtype.to_le_bytes());
        for word in [self.version, self.time, 0] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

/// A message of an application, taken out of its envelope.
#[derive(Debug, Clone, Copy)]
pub struct Normal<'m> {
    /// What it is, in its group.
    pub subtype: u16,
    /// The sender's clock in seconds since the epoch.
    pub time: u32,
    /// The number that its sender gave it.
    pub count: u64,
    /// The rest.
    pub payload: &'m [u8],
}

impl<'m> Normal<'m> {
    pub(crate) fn parse(message: &'m [u8]) -> Option<Self> {
        let (header, mut rest) = Header::parse(message)?;
        Some(Self { subtype: header.subtype, time: header.time, count: rest.u64()?, payload: rest.0 })
    }
}

/// Takes numbers from the front of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'b>(pub(crate) &'b [u8]);

impl<'b> Reader<'b> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn epoch(&mut self) -> Option<Epoch> {
        self.array().map(Epoch)
    }

    /// A text of `count` bytes, the last of which is NUL; what is before the first NUL.
    fn text(&mut self, count: usize) -> Option<&'b [u8]> {
        let bytes = self.take(count)?;
        bytes.ends_with(&[0]).then(|| cut_at_nul(bytes).as_bytes())
    }
}

/// A message of the group of the tree (spec: pmxcfs-cluster, "dcdb messages").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TreeMessage<'m> {
    /// A change of the tree. Paths are as they were sent.
    Change(Operation<'m>),
    /// A change of nothing: its path is missing.
    NoPath,
    /// Asks the node with the lowest id whether a lock has expired.
    UnlockRequest {
        /// Digest of the lock as the sender sees it.
        checksum: Sha256Digest,
        /// Its path.
        path: &'m [u8],
    },
    /// Removes an expired lock.
    Unlock {
        /// Digest of the lock that is meant.
        checksum: Sha256Digest,
        /// Its path.
        path: &'m [u8],
    },
}

const UNLOCK_REQUEST: u16 = 7;
const UNLOCK: u16 = 8;

impl<'m> TreeMessage<'m> {
    /// The message with this number and these bytes; `None` if they are none.
    pub fn parse(subtype: u16, payload: &'m [u8]) -> Option<Self> {
        let mut rest = Reader(payload);
        if let UNLOCK_REQUEST | UNLOCK = subtype {
            let checksum = rest.array()?;
            let path = rest.text(rest.0.len())?;
            let request = subtype == UNLOCK_REQUEST;
            return Some(if request {
                Self::UnlockRequest { checksum, path }
            } else {
                Self::Unlock { checksum, path }
            });
        }
        let [size, offset, path_length, to_length, flags] =
            [rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?];
        let mut text = |length: u32| match length {
            0 => Some(None),
            length => rest.text(length as usize).map(Some),
        };
        let (path, to) = (text(path_length)?, text(to_length)?);
        let data = rest.take(size as usize)?;
        if !(1..=6).contains(&subtype) || !rest.0.is_empty() {
            return None;
        }
        let Some(path) = path else { return Some(Self::NoPath) };
        Some(Self::Change(match (subtype, to) {
            (1, _) => Operation::Write { path, offset: offset.into(), data, truncate: flags != 0 },
            (2, _) => Operation::MakeDirectory { path },
            (3, _) => Operation::Delete { path },
            (4, Some(to)) => Operation::Rename { from: path, to },
            // undefined in the reference, and never sent
            (4, None) => return Some(Self::NoPath),
            (5, _) => Operation::Create { path },
            _ => Operation::SetTime { path, mtime: offset },
        }))
    }

    /// Number and bytes of the message.
    pub fn write(&self) -> (u16, Vec<u8>) {
        let operation = match self {
            Self::UnlockRequest { checksum, path } => {
                return (UNLOCK_REQUEST, [checksum, *path, &[0]].concat());
            }
            Self::Unlock { checksum, path } => return (UNLOCK, [checksum, *path, &[0]].concat()),
            Self::NoPath => return (1, vec![0; 20]),
            Self::Change(operation) => operation,
        };
        // the offset is cut to 32 bits, as the reference does
        let (subtype, offset, data, flags): (u16, u32, &[u8], u32) = match *operation {
            Operation::Write { offset, data, truncate, .. } => (1, offset as u32, data, truncate.into()),
            Operation::MakeDirectory { .. } => (2, 0, b"", 0),
            Operation::Delete { .. } => (3, 0, b"", 0),
            Operation::Rename { .. } => (4, 0, b"", 0),
            Operation::Create { .. } => (5, 0, b"", 0),
            Operation::SetTime { mtime, .. } => (6, mtime, b"", 0),
        };
        let ended = |text: &[u8]| [text, &[0]].concat();
        let path = ended(operation.path());
        let to = if let Operation::Rename { to, .. } = operation { ended(to) } else { Vec::new() };
        let mut payload = Vec::with_capacity(20 + path.len() + to.len() + data.len());
        for word in [data.len() as u32, offset, path.len() as u32, to.len() as u32, flags] {
            payload.extend_from_slice(&word.to_le_bytes());
        }
        payload.extend_from_slice(&path);
        payload.extend_from_slice(&to);
        payload.extend_from_slice(data);
        (subtype, payload)
    }
}

/// An entry as the newest member sends it to those that lack it.
pub(crate) fn write_update(entry: Entry<'_>) -> Vec<u8> {
    let (name, content) = (entry.name(), entry.content());
    let mut bytes = Vec::with_capacity(41 + name.len() + 1 + content.len());
    for number in [entry.parent(), entry.inode(), entry.version()] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for word in [entry.writer(), entry.mtime(), content.len() as u32, name.len() as u32 + 1] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.push(entry.entry_type() as u8);
    bytes.extend_from_slice(name);
    bytes.push(0);
    bytes.extend_from_slice(content);
    bytes
}

/// The row that such an entry becomes; `None` if it is none.
pub(crate) fn parse_update(payload: &[u8]) -> Option<Row> {
    let mut rest = Reader(payload);
    let (parent, inode, version) = (rest.u64()?, rest.u64()?, rest.u64()?);
    let (writer, mtime, size, name_length) = (rest.u32()?, rest.u32()?, rest.u32()?, rest.u32()?);
    let kind = rest.u8()?;
    EntryType::from_column(kind.into())?;
    let name = rest.text(name_length as usize)?;
    let content = rest.take(size as usize)?;
    if !rest.0.is_empty() {
        return None;
    }
    let name = if inode == ROOT { VERSION_ROW_NAME } else { name };
    let data = (!content.is_empty()).then(|| Content::from(content));
    Some(Row { inode, parent, version, writer, mtime, kind, name: BString::from(name), data })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn changes_come_back() {
        let checksum = [7; 32];
        let messages = [
            TreeMessage::Change(Operation::Write { path: b"a", offset: 5, data: b"xyz", truncate: false }),
            TreeMessage::Change(Operation::Write { path: b"a", offset: 9, data: b"", truncate: true }),
            TreeMessage::Change(Operation::MakeDirectory { path: b"d\xff" }),
            TreeMessage::Change(Operation::Delete { path: b"d" }),
            TreeMessage::Change(Operation::Rename { from: b"a", to: b"d/b" }),
            TreeMessage::Change(Operation::Create { path: b"n" }),
            TreeMessage::Change(Operation::SetTime { path: b"n", mtime: u32::MAX }),
            TreeMessage::NoPath,
            TreeMessage::UnlockRequest { checksum, path: b"priv/lock/a" },
            TreeMessage::Unlock { checksum, path: b"priv/lock/a" },
        ];
        for message in messages {
            let (subtype, payload) = message.write();
            assert_eq!(TreeMessage::parse(subtype, &payload), Some(message));
            assert_eq!(TreeMessage::parse(subtype, &payload[..payload.len() - 1]), None);
            assert_eq!(TreeMessage::parse(9, &payload), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes(subtype in 0_u16..10, bytes in proptest::collection::vec(prop_oneof![Just(0_u8), 0_u8..8, any::<u8>()], 0..80)) {
            if let Some(TreeMessage::Change(operation)) = TreeMessage::parse(subtype, &bytes) {
                let (subtype, payload) = TreeMessage::Change(operation).write();
                prop_assert_eq!(TreeMessage::parse(subtype, &payload), Some(TreeMessage::Change(operation)));
            }
            if let Some(row) = parse_update(&bytes) {
                prop_assert!(row.entry_type().is_some());
            }
            let _ = Normal::parse(&bytes);
        }
    }
}
