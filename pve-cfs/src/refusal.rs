// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why an operation is refused: one variant per rule, each with the `errno` that a program on the mount gets.

use bstr::BString;
use nix::errno::Errno;

use crate::guest::GuestKind;

/// A refused operation.
///
/// ```
/// use nix::errno::Errno;
/// use pve_cfs::refusal::Refusal;
/// assert_eq!(Refusal::TooBig.errno(), Errno::EFBIG);
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The root directory cannot be the object of this operation.
    #[error("the root directory cannot be changed this way")]
    Root,
    /// A virtual entry cannot be the object of this operation.
    #[error("a virtual entry cannot be used this way")]
    Virtual,
    /// A virtual file that takes no bytes, or not these.
    #[error("a virtual file does not take these bytes")]
    VirtualContent,
    /// A symlink was expected.
    #[error("it is not a symlink")]
    NotALink,
    /// Nothing of this name.
    #[error("no such entry")]
    Missing,
    /// The directory that should hold it does not exist.
    #[error("its directory does not exist")]
    ParentMissing,
    /// What should hold it is a file.
    #[error("its directory is a file")]
    ParentIsFile,
    /// The names `.` and `..` are not for entries.
    #[error("\".\" and \"..\" are no names for entries")]
    DotName,
    /// There is an entry already.
    #[error("it exists already")]
    Exists,
    /// There is a directory where a file was expected.
    #[error("it is a directory")]
    IsDirectory,
    /// The directory has entries.
    #[error("the directory is not empty")]
    NotEmpty,
    /// Only empty directories can be renamed.
    #[error("only files and empty directories can be renamed")]
    RenameNotEmpty,
    /// A rename onto itself, or into a directory below itself.
    #[error("an entry cannot be moved onto or below itself")]
    RenameBelowItself,
    /// Locks cannot be renamed.
    #[error("a lock cannot be renamed")]
    RenameLock,
    /// The time of a lock can only go forward.
    #[error("a lock cannot be set back in time")]
    LockTime,
    /// Another node took the lock.
    #[error("the lock belongs to node {owner}")]
    LockOwner {
        /// Id of the node that made it.
        owner: u32,
    },
    /// The content would exceed the limit.
    #[error("a file can have 1048576 bytes at most")]
    TooBig,
    /// Another guest has this id.
    #[error("VMID {vmid} belongs to a {kind} guest on node {node:?}")]
    VmidTaken {
        /// The id.
        vmid: u32,
        /// Node of the guest that has it.
        node: BString,
        /// Kind of the guest that has it.
        kind: GuestKind,
    },
    /// Mode, owner and group are fixed.
    #[error("mode, owner and group are fixed and cannot be changed")]
    FixedAttributes,
    /// The file system is read-only on a node without quorum.
    #[error("no quorum: the file system is read-only")]
    NoQuorum,
    /// The database was opened for reading only.
    #[error("the file system is mounted read-only")]
    ReadOnly,
    /// An earlier failure left memory and database different.
    #[error(
        "an earlier change failed half way: nothing is changed any more until the database is opened again"
    )]
    Failed,
    /// The inode of a new entry exists: the version of the tree lies behind its entries.
    #[error(
        "inode {inode} exists already: the tree's version is behind its entries; repair the database first"
    )]
    InodeTaken {
        /// The inode that the new entry would get.
        inode: u64,
    },
    /// The database did not take the change.
    #[error("the database did not take the change: {0}")]
    Database(#[from] rusqlite::Error),
    /// The connection to the cluster was lost while the change was on its way; it may have been applied or not.
    #[error("the connection to the cluster was lost: look whether the change was made, and try again")]
    Disconnected,
    /// The cluster delivered the change, but it was not applied: the quorum was lost before.
    #[error("the change was delivered, but not applied, and this node leaves its group")]
    NotApplied,
    /// A change that names no path.
    #[error("the change names no path")]
    NoPath,
    /// A value of the status store is too long.
    #[error("a status value can have 32768 bytes at most")]
    StatusTooBig,
    /// A value of the status store that must be a short text is not.
    #[error("the value must be a text of 1 to {most} bytes that ends in NUL")]
    StatusText {
        /// Greatest length with the NUL.
        most: usize,
    },
}

impl Refusal {
    /// The error number that the reference gives for it.
    ///
    /// A change that the database did not take is `EIO` there, whatever the reason; here a full disk is `ENOSPC` and a read-only
    /// one `EROFS`, which tells who gets it what to do. Nothing else about it differs.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Root
            | Self::Virtual
            | Self::DotName
            | Self::NotALink
            | Self::RenameLock
            | Self::LockTime
            | Self::LockOwner { .. }
            | Self::NoQuorum => Errno::EACCES,
            Self::VirtualContent | Self::Failed | Self::InodeTaken { .. } => Errno::EIO,
            Self::Missing | Self::ParentMissing => Errno::ENOENT,
            Self::ParentIsFile | Self::IsDirectory => Errno::ENOTDIR,
            Self::Exists | Self::VmidTaken { .. } => Errno::EEXIST,
            Self::NotEmpty | Self::RenameNotEmpty => Errno::ENOTEMPTY,
            Self::RenameBelowItself | Self::NoPath => Errno::EINVAL,
            Self::TooBig | Self::StatusTooBig => Errno::EFBIG,
            Self::StatusText { .. } => Errno::ENOMEM,
            Self::FixedAttributes | Self::NotApplied => Errno::EPERM,
            Self::Disconnected => Errno::EBUSY,
            Self::ReadOnly => Errno::EROFS,
            Self::Database(error) => match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::DiskFull) => Errno::ENOSPC,
                Some(rusqlite::ErrorCode::ReadOnly) => Errno::EROFS,
                _ => Errno::EIO,
            },
        }
    }
}
