// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of storages.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::IdError;
use crate::text_id::text_id;

/// The name of a storage, as in `dir: local` of storage.cfg (spec: named formats, `pve-storage-id`).
///
/// A letter, then letters, digits, `-`, `_`, `.`, the last one a letter or digit; at least two characters.
/// Case counts.
///
/// ```
/// use pve_volid::StorageId;
///
/// let id: StorageId = "local-lvm".parse()?;
/// assert_eq!(id.as_str(), "local-lvm");
/// assert!("x".parse::<StorageId>().is_err());
/// # Ok::<(), pve_volid::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageId(Box<str>);

impl StorageId {
    /// Checks `text` and copies it.
    ///
    /// # Errors
    /// [`IdError::StorageId`] if it is not a storage id.
    pub fn from_bytes(text: &[u8]) -> Result<Self, IdError> {
        StorageIdRef::from_bytes(text).map(StorageIdRef::to_owned)
    }

    /// The same id, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> StorageIdRef<'_> {
        StorageIdRef(&self.0)
    }
}

/// A [`StorageId`] that borrows its text: checked, nothing copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorageIdRef<'a>(&'a str);

impl<'a> StorageIdRef<'a> {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`IdError::StorageId`] if it is not a storage id.
    pub fn from_bytes(text: &'a [u8]) -> Result<Self, IdError> {
        Self::read(text).ok_or_else(|| IdError::StorageId(text.into()))
    }

    /// The id, or none without saying why (and without an allocation).
    pub(crate) fn read(text: &'a [u8]) -> Option<Self> {
        let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let [first, middle @ .., last] = text else { return None };
        if first.is_ascii_alphabetic() && middle.iter().all(inner) && last.is_ascii_alphanumeric() {
            std::str::from_utf8(text).ok().map(StorageIdRef)
        } else {
            None
        }
    }

    /// For a text that is the checked part of a volume id.
    pub(crate) fn known(text: &'a [u8]) -> Self {
        StorageIdRef(std::str::from_utf8(text).unwrap_or_default())
    }

    /// The name.
    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> StorageId {
        StorageId(self.0.into())
    }
}

text_id!(StorageId);

impl fmt::Display for StorageIdRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl<'a> From<&'a StorageId> for StorageIdRef<'a> {
    fn from(id: &'a StorageId) -> Self {
        id.borrowed()
    }
}

impl Serialize for StorageIdRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_at_least_two_characters() {
        for good in ["ab", "local", "a.b-c_d9", "Z0"] {
            assert_eq!(good.parse::<StorageId>().unwrap().as_str(), good);
        }
        for bad in ["", "a", "0a", "a-", "a.", "a_", "_a", "a:b", "a b", "ä1", "ab\n", "aä"] {
            assert_eq!(bad.parse::<StorageId>(), Err(IdError::StorageId(bad.into())), "{bad}");
        }
    }
}
