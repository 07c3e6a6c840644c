// SPDX-License-Identifier: MIT OR Apache-2.0
//! The digests by which nodes compare their trees: of one entry, of the whole tree, and the index of all entries.

use sha2::{Digest, Sha256};

use crate::tree::{Entry, Tree};

/// A SHA-256 digest.
pub type Sha256Digest = [u8; 32];

/// Digest of one entry with its inode, by which a lock is recognised (spec: pmxcfs, "Lock directories").
pub fn entry_checksum(entry: Entry<'_>) -> Sha256Digest {
    let mut hash = Sha256::new();
    update(&mut hash, entry, true);
    hash.finalize().into()
}

/// Digest of the whole tree, unreachable entries included (spec: pmxcfs-cluster, "Verification").
pub fn tree_checksum(tree: &Tree) -> Sha256Digest {
    let mut hash = Sha256::new();
    for entry in tree.entries() {
        update(&mut hash, entry, true);
    }
    hash.finalize().into()
}

/// The index of the tree: a head, then each entry's inode and digest in ascending order of the inodes; the state that
/// nodes exchange to find out what differs (spec: pmxcfs-cluster, "dcdb synchronisation").
pub fn index(tree: &Tree) -> Vec<u8> {
    let entries = tree.entries();
    let size = 32 + 40 * entries.len();
    let root = tree.root();
    let greatest = entries.last().map_or(0, Entry::inode);
    let mut index = Vec::with_capacity(size);
    index.extend_from_slice(&root.version().to_le_bytes());
    index.extend_from_slice(&greatest.to_le_bytes());
    index.extend_from_slice(&root.writer().to_le_bytes());
    index.extend_from_slice(&root.mtime().to_le_bytes());
    index.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    index.extend_from_slice(&(size as u32).to_le_bytes());
    for entry in entries {
        index.extend_from_slice(&entry.inode().to_le_bytes());
        let mut hash = Sha256::new();
        update(&mut hash, entry, false);
        index.extend_from_slice(&hash.finalize());
    }
    index
}

fn update(hash: &mut Sha256, entry: Entry<'_>, with_inode: bool) {
    if with_inode {
        hash.update(entry.inode().to_le_bytes());
    }
    hash.update(entry.version().to_le_bytes());
    hash.update(entry.writer().to_le_bytes());
    hash.update(entry.mtime().to_le_bytes());
    hash.update((entry.content().len() as u32).to_le_bytes());
    hash.update([entry.entry_type() as u8]);
    hash.update(entry.parent().to_le_bytes());
    hash.update(entry.name());
    hash.update(entry.content());
}
