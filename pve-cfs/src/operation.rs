// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations that change the tree, as values: what nodes of a cluster send to each other, and all apply alike.

use crate::filesystem::tree_path;
use crate::refusal::Refusal;

/// A change that somebody asks for. Paths are relative to the root, without a leading slash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation<'a> {
    /// Makes a directory.
    MakeDirectory {
        /// Its path.
        path: &'a [u8],
    },
    /// Makes an empty file.
    Create {
        /// Its path.
        path: &'a [u8],
    },
    /// Writes bytes into a file, or cuts it, or both.
    Write {
        /// Path of the file.
        path: &'a [u8],
        /// Where the bytes go; the file is extended with zeros up to here.
        offset: u64,
        /// The bytes; none is a change too.
        data: &'a [u8],
        /// The file ends where the bytes end: with no bytes it gets the size `offset`.
        truncate: bool,
    },
    /// Removes a file or an empty directory; the type does not matter.
    Delete {
        /// Its path.
        path: &'a [u8],
    },
    /// Moves a file or an empty directory; a file or an empty directory that is in the place is replaced.
    Rename {
        /// Its path.
        from: &'a [u8],
        /// Its path afterwards.
        to: &'a [u8],
    },
    /// Sets the time of the last change.
    SetTime {
        /// Path of the entry.
        path: &'a [u8],
        /// Seconds since the epoch.
        mtime: u32,
    },
}

impl<'a> Operation<'a> {
    /// The same with paths as the tree has them, of an operation with paths as programs address them.
    ///
    /// # Errors
    /// [`Refusal::Root`] and [`Refusal::Virtual`]: what is no part of the tree, or not to be changed.
    pub(crate) fn in_tree(&self) -> Result<Self, Refusal> {
        Ok(match *self {
            Self::MakeDirectory { path } => Self::MakeDirectory { path: tree_path(path)? },
            Self::Create { path } => Self::Create { path: tree_path(path)? },
            Self::Write { path, offset, data, truncate } => {
                Self::Write { path: tree_path(path)?, offset, data, truncate }
            }
            Self::Delete { path } => Self::Delete { path: tree_path(path)? },
            Self::Rename { from, to } => Self::Rename { from: tree_path(from)?, to: tree_path(to)? },
            Self::SetTime { path, mtime } => Self::SetTime { path: tree_path(path)?, mtime },
        })
    }

    /// Path of what is changed; of a rename, where it is before.
    pub const fn path(&self) -> &'a [u8] {
        match *self {
            Self::MakeDirectory { path }
            | Self::Create { path }
            | Self::Write { path, .. }
            | Self::Delete { path }
            | Self::Rename { from: path, .. }
            | Self::SetTime { path, .. } => path,
        }
    }
}

/// Who makes a change, and when; the same on all nodes that apply it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Id of the node; 0 without a cluster.
    pub writer: u32,
    /// Its clock, in seconds since the epoch.
    pub time: u32,
}

/// Whether the defects of the reference are reproduced.
///
/// All nodes of a cluster must apply a change alike, defects included. Alone, a node is better off without them:
///
/// - A rename of a non-empty directory onto something that exists is refused, but what existed is gone from memory (not from
///   the database) nevertheless.
/// - An empty file that is made longer shows the new size but has no bytes.
/// - Deleting a *directory* called like a guest's configuration takes the real guest of that id from the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fidelity {
    /// Without the defects: the refused rename changes nothing, the file gets zeros, the guest stays listed.
    #[default]
    Mended,
    /// With the defects, except that nothing crashes.
    Exact,
}
