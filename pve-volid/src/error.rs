// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a text is not an id.

use bstr::BString;

/// A text that is not what it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdError {
    /// Not a guest's number.
    #[error("'{0}' is not a VM id: expected a number from 100 to 999999999 without leading zeros")]
    VmId(BString),
    /// Not a storage id.
    #[error(
        "'{0}' is not a storage id: expected a letter, then letters, digits, '-', '_' or '.', the last one a \
         letter or digit (at least 2 characters)"
    )]
    StorageId(BString),
    /// Not a volume id: no `:` at all.
    #[error("'{0}' is not a volume id: expected STORAGE:VOLUME")]
    NoColon(BString),
    /// Not a volume id: nothing behind the `:`, or a line feed there.
    #[error("'{0}' is not a volume id: the volume name must not be empty and must not contain a line feed")]
    VolumeName(BString),
    /// Not the name of a node.
    #[error(
        "'{0}' is not a node name: expected letters, digits and '-', the first and last a letter or digit"
    )]
    NodeName(BString),
    /// Not one of the names of a closed list.
    #[error("unknown {what} '{text}', expected one of: {}", known.join(", "))]
    Unknown {
        /// What was looked for, such as `storage type`.
        what: &'static str,
        /// The text found.
        text: BString,
        /// The names that exist.
        known: &'static [&'static str],
    },
}
