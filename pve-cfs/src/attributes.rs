// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `stat` shows: types, permission bits by path and quorum, sizes and times.

use crate::path;
use crate::schema::{ANNOUNCED_INODES, ANNOUNCED_NAME_LENGTH, ANNOUNCED_TOTAL_SIZE, BLOCK_SIZE, EntryType};
use crate::tree::{Entry, ROOT, Tree};
use crate::virtual_file::VirtualFile;

/// Attributes of an entry. The owner is always root, the group always the one that the file system was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Type and permission bits, as `st_mode` has them.
    pub mode: u32,
    /// Number of links.
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Blocks of 4096 bytes (the unit that the reference counts in, although `stat` means 512).
    pub blocks: u64,
    /// Seconds since the epoch; the times of access and of attribute change are the same.
    pub mtime: u32,
}

/// Type bits of `st_mode`.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;

impl Attributes {
    /// Attributes of `entry`, which lies at `path`.
    pub fn of_entry(entry: Entry<'_>, path: &[u8], quorate: bool) -> Self {
        let private = path::is_private(path);
        if entry.inode() == ROOT {
            return Self { mode: DIRECTORY | 0o755, nlink: 2, size: 0, blocks: 0, mtime: 0 };
        }
        let (kind, mut bits, nlink) = match entry.entry_type() {
            EntryType::Directory => (DIRECTORY, 0o755, 2),
            EntryType::File if path::is_openvz_script(entry.name()) => (FILE, 0o740, 1),
            EntryType::File => (FILE, 0o640, 1),
        };
        if private {
            bits &= 0o700;
        }
        if !quorate {
            bits &= !0o200;
        }
        let size = entry.size();
        let blocks = size.div_ceil(u64::from(BLOCK_SIZE));
        Self { mode: kind | bits, nlink, size, blocks, mtime: entry.mtime() }
    }

    /// Attributes of a virtual entry whose text or target has `size` bytes.
    pub const fn of_virtual(file: VirtualFile, size: u64, quorate: bool) -> Self {
        let mode = match file {
            VirtualFile::Debug => FILE | 0o640,
            VirtualFile::Local | VirtualFile::Guests(_) if quorate => SYMLINK | 0o755,
            VirtualFile::Local | VirtualFile::Guests(_) => SYMLINK | 0o555,
            _ => FILE | 0o440,
        };
        Self { mode, nlink: 1, size, blocks: 0, mtime: 0 }
    }

    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        self.mode & 0o170_000 == DIRECTORY
    }

    /// Whether it is a symlink.
    pub const fn is_symlink(&self) -> bool {
        self.mode & 0o170_000 == SYMLINK
    }
}

/// What `statfs` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Statistics {
    /// Size of a block in bytes.
    pub block_size: u32,
    /// Blocks in total.
    pub blocks: u64,
    /// Free blocks; below zero it wraps around, as in the reference.
    pub free_blocks: u64,
    /// Entries in total.
    pub inodes: u64,
    /// Free entries; below zero it wraps around, as in the reference.
    pub free_inodes: u64,
    /// Longest name in bytes.
    pub name_length: u32,
}

impl Statistics {
    /// The statistics of `tree` (spec: pmxcfs, "Limits").
    pub fn of(tree: &Tree) -> Self {
        let blocks = ANNOUNCED_TOTAL_SIZE / u64::from(BLOCK_SIZE);
        Self {
            block_size: BLOCK_SIZE,
            blocks,
            free_blocks: blocks.wrapping_sub(tree.total_bytes().div_ceil(u64::from(BLOCK_SIZE))),
            inodes: ANNOUNCED_INODES,
            free_inodes: ANNOUNCED_INODES.wrapping_sub(tree.len() as u64),
            name_length: ANNOUNCED_NAME_LENGTH as u32,
        }
    }
}

/// Whether permission bits can be "set" at `path`: only to what files there have (spec: pmxcfs, "Operations of the
/// daemon").
pub fn mode_is_allowed(path: &[u8], mode: u32) -> bool {
    mode & 0o7777 == if path::is_private(path) { 0o600 } else { 0o640 }
}
