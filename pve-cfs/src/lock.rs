// SPDX-License-Identifier: MIT OR Apache-2.0
//! Ages of the cluster-wide locks: directories below `priv/lock`, which expire when their owner stops renewing them.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};

use crate::checksum::{self, Sha256Digest};
use crate::tree::Tree;

/// Directory that holds the locks.
pub const LOCK_DIRECTORY: &[u8] = b"priv/lock";

/// Age in seconds that a lock must exceed to be taken from its owner.
pub const LOCK_TIMEOUT: u64 = 120;

/// When each lock was first seen in its present state; in memory only (spec: pmxcfs, "Lock directories").
#[derive(Debug, Clone, Default)]
pub struct LockTable {
    records: HashMap<BString, Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    since: u64,
    checksum: Sha256Digest,
}

impl LockTable {
    /// A record for each directory in [`LOCK_DIRECTORY`], all first seen `now`: an age does not survive a restart.
    pub fn of(tree: &Tree, now: u64) -> Self {
        let mut table = Self::default();
        for lock in tree.get(LOCK_DIRECTORY).into_iter().flat_map(|locks| locks.children()) {
            if lock.is_directory() {
                let path: BString = [LOCK_DIRECTORY, b"/", lock.name()].concat().into();
                table.set(path.as_bstr(), checksum::entry_checksum(lock), now);
            }
        }
        table
    }

    /// Notes that the lock at `path` was taken or renewed `now`.
    pub(crate) fn set(&mut self, path: &[u8], checksum: Sha256Digest, now: u64) {
        self.records.insert(path.into(), Record { since: now, checksum });
    }

    /// Forgets the lock at `path`.
    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.records.remove(path.as_bstr());
    }

    /// Whether the lock at `path`, with this checksum, has not changed for more than [`LOCK_TIMEOUT`] seconds. One that was not
    /// known, or has changed, gets a new age.
    pub fn is_expired(&mut self, path: &[u8], checksum: &Sha256Digest, now: u64) -> bool {
        match self.records.get(path.as_bstr()) {
            Some(record) if record.checksum == *checksum => {
                now.checked_sub(record.since).is_some_and(|age| age > LOCK_TIMEOUT)
            }
            _ => {
                self.set(path, *checksum, now);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_expires_when_it_does_not_change() {
        let mut table = LockTable::default();
        let (one, two) = ([1; 32], [2; 32]);
        assert!(!table.is_expired(b"priv/lock/a", &one, 1000));
        assert!(!table.is_expired(b"priv/lock/a", &one, 1120));
        assert!(table.is_expired(b"priv/lock/a", &one, 1121));
        assert!(!table.is_expired(b"priv/lock/a", &one, 900), "a clock that goes back makes nothing expire");
        assert!(!table.is_expired(b"priv/lock/a", &two, 1121));
        assert!(table.is_expired(b"priv/lock/a", &two, 1121 + 121));
    }
}
