// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of content types.

use std::fmt;

use pve_volid::ContentType;
use serde::{Serialize, Serializer};

/// What a storage may hold: a set of [`ContentType`]s.
///
/// ```
/// use pve_config::storage::ContentTypes;
/// use pve_volid::ContentType;
///
/// let content: ContentTypes = [ContentType::RootDir, ContentType::Images].into_iter().collect();
/// assert!(content.contains(ContentType::Images));
/// assert_eq!(content.to_string(), "images,rootdir");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ContentTypes(u8);

impl ContentTypes {
    /// Nothing.
    pub const EMPTY: Self = ContentTypes(0);

    /// The set of these types.
    #[must_use]
    pub const fn of(types: &[ContentType]) -> Self {
        let mut bits = 0;
        let mut rest = types;
        while let [first, tail @ ..] = rest {
            bits |= 1 << *first as u8;
            rest = tail;
        }
        ContentTypes(bits)
    }

    /// Whether the set has this type.
    #[must_use]
    pub const fn contains(self, content: ContentType) -> bool {
        self.0 & 1 << content as u8 != 0
    }

    /// Whether the set is empty.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Number of types in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Adds a type.
    pub const fn insert(&mut self, content: ContentType) {
        self.0 |= 1 << content as u8;
    }

    /// The types in ascending order of their names.
    pub fn iter(self) -> impl Iterator<Item = ContentType> {
        const BY_NAME: [ContentType; 8] = [
            ContentType::Backup,
            ContentType::Images,
            ContentType::Import,
            ContentType::Iso,
            ContentType::None,
            ContentType::RootDir,
            ContentType::Snippets,
            ContentType::VzTmpl,
        ];
        BY_NAME.into_iter().filter(move |content| self.contains(*content))
    }
}

impl FromIterator<ContentType> for ContentTypes {
    fn from_iter<T: IntoIterator<Item = ContentType>>(types: T) -> Self {
        let mut set = ContentTypes::EMPTY;
        for content in types {
            set.insert(content);
        }
        set
    }
}

impl fmt::Display for ContentTypes {
    /// The names in ascending order, joined by commas; `none` for the empty set, as in storage.cfg.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (at, content) in self.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            f.write_str(content.as_str())?;
        }
        Ok(())
    }
}

impl Serialize for ContentTypes {
    /// A list of the names in ascending order.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_every_type_by_name() {
        let all = ContentTypes::of(ContentType::ALL);
        assert_eq!(all.to_string(), "backup,images,import,iso,none,rootdir,snippets,vztmpl");
        assert_eq!(all.len(), ContentType::ALL.len());
        assert_eq!(ContentTypes::EMPTY.to_string(), "none");
        assert_eq!(serde_json::to_string(&ContentTypes::of(&[ContentType::Iso])).unwrap(), "[\"iso\"]");
    }
}
