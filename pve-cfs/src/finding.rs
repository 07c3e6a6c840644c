// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong or odd in a database: each rule that it breaks, and where.

use bstr::{BStr, BString, ByteSlice};

use crate::guest::GuestKind;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Good to know; nothing is wrong.
    Note,
    /// The reference loads it, but something in it cannot be reached, or will surprise.
    Odd,
    /// The reference refuses to start with this database.
    Refused,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Odd => "odd",
            Self::Refused => "refused",
        })
    }
}

/// One broken rule, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The entry; `None` where it is about the file or the whole tree.
    pub inode: Option<u64>,
    /// Name of the entry.
    pub name: Option<BString>,
    /// Path of the entry from the root; `None` also if no path leads to it.
    pub path: Option<BString>,
    /// What it breaks.
    pub rule: Rule,
}

impl Finding {
    /// A finding about the file or the whole tree.
    pub(crate) const fn general(rule: Rule) -> Self {
        Self { inode: None, name: None, path: None, rule }
    }

    /// A finding about one entry.
    pub(crate) fn of(inode: u64, name: &BStr, path: Option<BString>, rule: Rule) -> Self {
        Self { inode: Some(inode), name: Some(name.to_owned()), path, rule }
    }

    /// How bad it is.
    pub const fn severity(&self) -> Severity {
        self.rule.severity()
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.path, &self.name) {
            (Some(path), _) => write!(f, "{path:?}")?,
            (None, Some(name)) => write!(f, "{name:?} (no path leads to it)")?,
            (None, None) => {}
        }
        if let Some(inode) = self.inode {
            write!(f, " (inode {inode})")?;
        }
        if self.inode.is_some() || self.path.is_some() {
            f.write_str(": ")?;
        }
        write!(f, "{}", self.rule)
    }
}

impl serde::Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("Finding", 6)?;
        out.serialize_field("severity", &self.severity())?;
        out.serialize_field("rule", self.rule.name())?;
        out.serialize_field("inode", &self.inode)?;
        out.serialize_field("name", &self.name.as_ref().map(|name| name.to_str_lossy()))?;
        out.serialize_field("path", &self.path.as_ref().map(|path| path.to_str_lossy()))?;
        out.serialize_field("message", &self.rule.to_string())?;
        out.end()
    }
}

/// The rules (spec: pmxcfs, "Loading" and "Start-up refusals in one place"), and what is worth saying of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Rule {
    // what makes the reference refuse to start
    /// A name of no bytes, or NULL.
    #[error("the name is empty")]
    EmptyName,
    /// A type other than directory and regular file.
    #[error("type {found} is neither a directory (4) nor a file (8)")]
    UnknownType {
        /// Value of the column, low eight bits.
        found: u8,
    },
    /// A directory row with content.
    #[error("a directory has {size} bytes of content")]
    DirectoryWithData {
        /// Size of the content.
        size: usize,
    },
    /// Inode 0 is not called `__version__`.
    #[error("the version row must be called __version__, not {found:?}")]
    VersionRowName {
        /// Its name.
        found: BString,
    },
    /// The parent does not exist.
    #[error("its directory, inode {parent}, does not exist")]
    MissingParent {
        /// Inode of the parent.
        parent: u64,
    },
    /// The parent is a regular file.
    #[error("its directory, inode {parent}, is a file")]
    ParentIsFile {
        /// Inode of the parent.
        parent: u64,
    },
    /// The directory has two entries of one name.
    #[error("its directory has an entry of this name already, inode {first}")]
    DuplicateName {
        /// Inode of the other entry.
        first: u64,
    },
    /// Two guests have one id.
    #[error("VMID {vmid} belongs to a {kind} guest on node {node:?} already")]
    DuplicateVmid {
        /// The id.
        vmid: u32,
        /// Node of the other guest.
        node: BString,
        /// Kind of the other guest.
        kind: GuestKind,
    },
    /// A regular file in the place of `qemu-server`, `lxc` or `openvz` of a node.
    #[error("a file stands where the directory of the node's {kind} guests belongs")]
    FileAsGuestDirectory {
        /// The kind of guests.
        kind: GuestKind,
    },

    // what loads, but is odd
    /// No row with inode 0: the reference starts counting from 1 again.
    #[error("the version row is missing: the tree's version starts from 1 again")]
    VersionRowMissing,
    /// The version row has version 0, which the reference replaces.
    #[error("the version row has version 0: the tree's version starts from 1 again")]
    VersionRowZero,
    /// The version row has a parent, which is ignored.
    #[error("the version row has parent {parent}, which is ignored")]
    VersionRowParent {
        /// Its parent.
        parent: u64,
    },
    /// The version row has content, which is ignored.
    #[error("the version row has {size} bytes of content, which are ignored")]
    VersionRowData {
        /// Size of the content.
        size: usize,
    },
    /// An entry is newer than the tree: its version will be given out again.
    #[error("version {version} is greater than the tree's, {tree}")]
    VersionAboveTree {
        /// Version of the entry.
        version: u64,
        /// Version of the tree.
        tree: u64,
    },
    /// An inode that will be given out again.
    #[error("the inode is greater than the tree's version, {tree}: a new entry can get the same one")]
    InodeAboveVersion {
        /// Version of the tree.
        tree: u64,
    },
    /// Two rows have one inode (only in a table of another schema).
    #[error("the inode occurs twice; the later row counts")]
    DuplicateInode,
    /// No path leads from the root to the entry: its directories form a circle, or a file took the place of one.
    #[error("no path leads from the root to it")]
    Unreachable,
    /// The virtual entry of this name hides it.
    #[error("the virtual entry of this name hides it")]
    Shadowed,
    /// A name that contains a slash cannot be addressed.
    #[error("a name with a slash cannot be addressed")]
    NameWithSlash,
    /// The names `.` and `..` cannot be addressed.
    #[error("the name {name:?} cannot be addressed")]
    DotName {
        /// The name.
        name: BString,
    },
    /// What follows a NUL byte is not used.
    #[error("the name {full:?} is used only up to its NUL byte")]
    NameWithNul {
        /// The name in the table.
        full: BString,
    },
    /// A name longer than file systems on Linux allow.
    #[error("the name has {length} bytes, which no program on Linux can use")]
    NameTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// A file greater than the limit for writing.
    #[error("the file has {size} bytes, more than can be written (1048576)")]
    Oversize {
        /// Size in bytes.
        size: usize,
    },

    // the file and what lies beside it
    /// No table at all: the reference would create it.
    #[error("there is no table: the tree is empty, and the reference would create it")]
    NoTable,
    /// The file is an empty shell that its log filled.
    #[error(
        "the file holds no table but says that a write-ahead log belongs to it: everything that was written is in the \
         missing {wal}; copy that file too, from where this one came"
    )]
    EmptyShell {
        /// Name of the log.
        wal: String,
    },
    /// A database of a daemon that is running, or was killed, without its log?
    #[error(
        "there is no {wal}: complete after a clean stop; if the file was copied while a daemon ran, its newest changes are missing"
    )]
    WalAbsent {
        /// Name of the log.
        wal: String,
    },
    /// The log cannot be used.
    #[error("{wal} cannot be used ({reason}): what is shown lacks the changes in it")]
    WalUnusable {
        /// Name of the log.
        wal: String,
        /// Why.
        reason: String,
    },
    /// The log was read.
    #[error("{commits} transactions were read from {wal}")]
    WalApplied {
        /// Name of the log.
        wal: String,
        /// Transactions that it had.
        commits: usize,
    },
    /// A rollback journal is present.
    #[error(
        "{journal} exists: a writer died or is writing in another journal mode; its change may be shown half done"
    )]
    RollbackJournal {
        /// Name of the journal.
        journal: String,
    },
}

impl Rule {
    /// Whether it is broken by the list of guests, not by the tree itself.
    pub(crate) const fn is_about_guests(&self) -> bool {
        matches!(self, Self::DuplicateVmid { .. } | Self::FileAsGuestDirectory { .. })
    }

    /// How bad it is when it is broken.
    pub const fn severity(&self) -> Severity {
        match self {
            Self::EmptyName
            | Self::UnknownType { .. }
            | Self::DirectoryWithData { .. }
            | Self::VersionRowName { .. }
            | Self::MissingParent { .. }
            | Self::ParentIsFile { .. }
            | Self::DuplicateName { .. }
            | Self::DuplicateVmid { .. }
            | Self::FileAsGuestDirectory { .. } => Severity::Refused,
            Self::WalAbsent { .. } | Self::WalApplied { .. } => Severity::Note,
            _ => Severity::Odd,
        }
    }

    /// A short fixed name, for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::EmptyName => "empty-name",
            Self::UnknownType { .. } => "unknown-type",
            Self::DirectoryWithData { .. } => "directory-with-data",
            Self::VersionRowName { .. } => "version-row-name",
            Self::MissingParent { .. } => "missing-parent",
            Self::ParentIsFile { .. } => "parent-is-file",
            Self::DuplicateName { .. } => "duplicate-name",
            Self::DuplicateVmid { .. } => "duplicate-vmid",
            Self::FileAsGuestDirectory { .. } => "file-as-guest-directory",
            Self::VersionRowMissing => "version-row-missing",
            Self::VersionRowZero => "version-row-zero",
            Self::VersionRowParent { .. } => "version-row-parent",
            Self::VersionRowData { .. } => "version-row-data",
            Self::VersionAboveTree { .. } => "version-above-tree",
            Self::InodeAboveVersion { .. } => "inode-above-version",
            Self::DuplicateInode => "duplicate-inode",
            Self::Unreachable => "unreachable",
            Self::Shadowed => "shadowed",
            Self::NameWithSlash => "name-with-slash",
            Self::DotName { .. } => "dot-name",
            Self::NameWithNul { .. } => "name-with-nul",
            Self::NameTooLong { .. } => "name-too-long",
            Self::Oversize { .. } => "oversize",
            Self::NoTable => "no-table",
            Self::EmptyShell { .. } => "empty-shell",
            Self::WalAbsent { .. } => "wal-absent",
            Self::WalUnusable { .. } => "wal-unusable",
            Self::WalApplied { .. } => "wal-applied",
            Self::RollbackJournal { .. } => "rollback-journal",
        }
    }
}
