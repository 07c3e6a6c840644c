// SPDX-License-Identifier: MIT OR Apache-2.0
//! The numbers by which the kernel knows entries.
//!
//! The kernel reserves 1 for the root; inodes of the tree start at 2 and count up with every change, so they are used as they are.
//! Virtual entries get numbers from 2^63 up, which no counter reaches, and their texts another one each time they changed: the low
//! byte says which entry it is, the bits above it which text. Inodes that a crafted database puts elsewhere (1, or greater than any
//! counter) get numbers from 2^62 up, in the order in which they are met.

use std::sync::{Mutex, PoisonError};

use crate::tree::ROOT;
use crate::virtual_file::VirtualFile;

const KERNEL_ROOT: u64 = 1;
const FIRST_VIRTUAL: u64 = 1 << 63;
const FIRST_ODD: u64 = 1 << 62;
const TEXT_SHIFT: u32 = 8;

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// An entry of the tree, the root included.
    Tree(u64),
    Virtual(VirtualFile),
}

/// The numbers of one mount.
#[derive(Debug, Default)]
pub(crate) struct NodeIds {
    odd: Mutex<Vec<u64>>,
}

impl NodeIds {
    pub(crate) fn of_inode(&self, inode: u64) -> u64 {
        match inode {
            ROOT => KERNEL_ROOT,
            2..FIRST_ODD => inode,
            _ => {
                let mut odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
                let index = odd.iter().position(|known| *known == inode).unwrap_or_else(|| {
                    odd.push(inode);
                    odd.len() - 1
                });
                FIRST_ODD + index as u64
            }
        }
    }

    /// Number of a virtual entry with the text number `text`; symlinks have no text and always number 0.
    pub(crate) fn of_virtual(file: VirtualFile, text: u64) -> u64 {
        let index = VirtualFile::ALL.iter().position(|other| *other == file).unwrap_or_default();
        FIRST_VIRTUAL | (text << TEXT_SHIFT & (FIRST_VIRTUAL - 1)) | index as u64
    }

    pub(crate) fn node(&self, id: u64) -> Option<Node> {
        match id {
            KERNEL_ROOT => Some(Node::Tree(ROOT)),
            FIRST_VIRTUAL.. => {
                let index = (id & ((1 << TEXT_SHIFT) - 1)) as usize;
                VirtualFile::ALL.get(index).copied().map(Node::Virtual)
            }
            FIRST_ODD..FIRST_VIRTUAL => {
                let odd = self.odd.lock().unwrap_or_else(PoisonError::into_inner);
                odd.get(usize::try_from(id - FIRST_ODD).ok()?).copied().map(Node::Tree)
            }
            _ => Some(Node::Tree(id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_entries_share_a_number() {
        let ids = NodeIds::default();
        let inodes = [ROOT, 1, 2, 3, 1_000_000, 1_000_001, FIRST_ODD - 1, FIRST_ODD, FIRST_VIRTUAL, u64::MAX];
        let mut seen = std::collections::HashSet::new();
        for inode in inodes {
            let id = ids.of_inode(inode);
            assert!(seen.insert(id), "{inode}");
            assert_eq!(ids.of_inode(inode), id);
            assert_eq!(ids.node(id), Some(Node::Tree(inode)));
        }
        for file in VirtualFile::ALL {
            for text in [0, 1, 1_000_000, u64::MAX >> 9] {
                let id = NodeIds::of_virtual(file, text);
                assert!(seen.insert(id), "{file:?}");
                assert_eq!(ids.node(id), Some(Node::Virtual(file)));
            }
        }
    }
}
