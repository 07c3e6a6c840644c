// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listing of a directory as it was at one moment, in little memory.

use fuser::FileType;

/// All entries of a directory, `.` and `..` included; the names lie one behind the other.
#[derive(Debug)]
pub(super) struct Listing {
    names: Vec<u8>,
    entries: Vec<Place>,
}

#[derive(Debug)]
struct Place {
    id: u64,
    kind: FileType,
    /// Where its name ends; it begins where the one before ends.
    end: usize,
}

/// One entry of a [`Listing`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listed<'l> {
    pub(super) id: u64,
    pub(super) kind: FileType,
    pub(super) name: &'l [u8],
}

impl Listing {
    pub(super) fn with_capacity(entries: usize) -> Self {
        Self { names: Vec::with_capacity(entries * 12), entries: Vec::with_capacity(entries) }
    }

    pub(super) fn push(&mut self, id: u64, kind: FileType, name: &[u8]) {
        self.names.extend_from_slice(name);
        self.entries.push(Place { id, kind, end: self.names.len() });
    }

    /// The entries from index `first` on, with their indices.
    pub(super) fn from(&self, first: u64) -> impl Iterator<Item = (u64, Listed<'_>)> {
        let first = usize::try_from(first).unwrap_or(usize::MAX).min(self.entries.len());
        let mut start =
            first.checked_sub(1).and_then(|before| self.entries.get(before)).map_or(0, |place| place.end);
        self.entries.iter().enumerate().skip(first).map(move |(index, place)| {
            let name = self.names.get(start..place.end).unwrap_or_default();
            start = place.end;
            (index as u64, Listed { id: place.id, kind: place.kind, name })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_at_any_entry() {
        let mut listing = Listing::with_capacity(3);
        let entries = [(1, &b"."[..]), (7, b"a\xff"), (9, b"longer")];
        for (id, name) in entries {
            listing.push(id, FileType::Directory, name);
        }
        for first in 0..5 {
            let read: Vec<_> =
                listing.from(first).map(|(index, entry)| (index, entry.id, entry.name)).collect();
            let expected: Vec<_> = (0_u64..)
                .zip(entries)
                .map(|(index, (id, name))| (index, id, name))
                .skip(first as usize)
                .collect();
            assert_eq!(read, expected);
        }
        assert_eq!(listing.from(u64::MAX).count(), 0);
    }
}
