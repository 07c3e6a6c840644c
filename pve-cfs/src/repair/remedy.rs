// SPDX-License-Identifier: MIT OR Apache-2.0
//! What can be done about a violation, in words.

use bstr::BString;

use crate::finding::Finding;
use crate::schema::EntryType;

/// One step of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What it is for; `None` for what follows from other steps.
    pub finding: Option<Finding>,
    /// Name of the entry that is changed, as it was.
    pub name: BString,
    /// Inode of the entry that is changed or made, as it was.
    pub inode: u64,
    /// What is done.
    pub remedy: Remedy,
}

/// The remedies.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Remedy {
    /// Another name in the same directory.
    Rename {
        /// The new name.
        to: BString,
    },
    /// Another directory and name.
    Attach {
        /// Inode of the directory; 0 is the root.
        parent: u64,
        /// The new name.
        name: BString,
    },
    /// A new directory in the root, with the inode that others name as their directory.
    MakeDirectory,
    /// Another type.
    SetType {
        /// The type.
        to: EntryType,
    },
    /// The content of what must have none goes into a new file.
    MoveContent {
        /// Inode of the new file.
        inode: u64,
        /// Name of the new file.
        name: BString,
    },
    /// Another inode; what lies in the directory follows.
    Renumber {
        /// The new inode.
        to: u64,
    },
    /// Another version of an entry.
    SetVersion {
        /// The new version.
        to: u64,
    },
    /// The version row gets its place back.
    ClearVersionRow,
    /// The tree gets this version: the version row is changed, or made if there is none.
    SetTreeVersion {
        /// The version before; `None` without a usable version row.
        from: Option<u64>,
        /// The new version.
        to: u64,
    },
}

impl Remedy {
    /// A short fixed name, for programs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rename { .. } => "rename",
            Self::Attach { .. } => "attach",
            Self::MakeDirectory => "make-directory",
            Self::SetType { .. } => "set-type",
            Self::MoveContent { .. } => "move-content",
            Self::Renumber { .. } => "renumber",
            Self::SetVersion { .. } => "set-version",
            Self::ClearVersionRow => "clear-version-row",
            Self::SetTreeVersion { .. } => "set-tree-version",
        }
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { name, inode, .. } = self;
        match &self.remedy {
            Remedy::Rename { to } => write!(f, "rename {name:?} (inode {inode}) to {to:?}"),
            Remedy::Attach { parent: 0, name: new } => {
                write!(f, "attach {name:?} (inode {inode}) to the root directory as {new:?}")
            }
            Remedy::Attach { parent, name: new } => {
                write!(f, "attach {name:?} (inode {inode}) to directory {parent} as {new:?}")
            }
            Remedy::MakeDirectory => {
                write!(f, "make the directory {name:?} (inode {inode}) in the root directory")
            }
            Remedy::SetType { to: EntryType::Directory } => {
                write!(f, "make a directory of {name:?} (inode {inode})")
            }
            Remedy::SetType { to: EntryType::File } => write!(f, "make a file of {name:?} (inode {inode})"),
            Remedy::MoveContent { inode: new, name: file } => {
                write!(
                    f,
                    "move the content of {name:?} (inode {inode}) into the new file {file:?} (inode {new})"
                )
            }
            Remedy::Renumber { to } => write!(f, "give {name:?} (inode {inode}) the inode {to}"),
            Remedy::SetVersion { to } => write!(f, "give {name:?} (inode {inode}) the version {to}"),
            Remedy::ClearVersionRow => write!(f, "give the version row its name and place back"),
            Remedy::SetTreeVersion { from: Some(from), to } => {
                write!(f, "raise the version of the tree from {from} to {to}")
            }
            Remedy::SetTreeVersion { from: None, to } => write!(f, "make the version row, with version {to}"),
        }
    }
}
