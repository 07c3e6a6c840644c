// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pages of a SQLite file as bytes: the headers, cell pointers and cells of table b-trees, and nothing that trusts them.
//!
//! The layout is the public one of SQLite's file format documentation ("B-tree Pages"). Every number can be damaged; whatever
//! does not fit is `None`.

use std::ops::Range;

/// Size of the header of a database file, which the first page begins with.
pub(super) const FILE_HEADER: usize = 100;

/// Sizes that all pages of a file share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes of a page.
    pub(super) size: usize,
    /// Bytes of a page that hold data.
    pub(super) usable: usize,
}

impl Geometry {
    /// With this page size, and nothing reserved.
    pub(super) const fn of_size(size: usize) -> Self {
        Self { size, usable: size }
    }

    /// As the header of a database file says.
    pub(super) fn parse(file: &[u8]) -> Option<Self> {
        if !file.starts_with(b"SQLite format 3\0") {
            return None;
        }
        let size = match u16_at(file, 16)? {
            1 => 65536,
            size => usize::from(size),
        };
        let usable = size.checked_sub(usize::from(*file.get(20)?))?;
        (size.is_power_of_two() && (512..=65536).contains(&size) && usable >= 480)
            .then_some(Self { size, usable })
    }

    /// Bytes of a payload that lie in the cell itself.
    fn local_size(self, payload: usize) -> usize {
        let most = self.usable - 35;
        if payload <= most {
            return payload;
        }
        let least = (self.usable - 12) * 32 / 255 - 23;
        let wanted = least + (payload - least) % (self.usable - 4);
        if wanted <= most { wanted } else { least }
    }

    /// The cell of a table's leaf page at offset `at`.
    pub(super) fn leaf_cell(self, page: &[u8], at: usize) -> Option<Cell> {
        let (payload, after) = varint(page, at)?;
        let (rowid, start) = varint(page, after)?;
        // the longest row that SQLite writes
        let payload = usize::try_from(payload).ok().filter(|size| *size <= 1_000_000_000)?;
        let local = self.local_size(payload);
        let stop = start.checked_add(local)?;
        let (end, overflow) = if local == payload {
            (stop, None)
        } else {
            (stop + 4, Some(u32_at(page, stop)?).filter(|number| *number > 0))
        };
        let missing = local != payload && overflow.is_none();
        (end <= self.usable && end <= page.len() && !missing).then_some(Cell {
            range: at..end,
            rowid: rowid as i64,
            payload,
            local: start..stop,
            overflow,
        })
    }
}

/// A cell of a leaf page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cell {
    /// All of its bytes in the page.
    pub(super) range: Range<usize>,
    pub(super) rowid: i64,
    /// Size of the whole payload.
    pub(super) payload: usize,
    /// The part of the payload in the page.
    pub(super) local: Range<usize>,
    /// The page with the next part.
    pub(super) overflow: Option<u32>,
}

/// Kinds of pages of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Leaf,
    Interior,
}

/// The header of a page of a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageHeader {
    pub(super) kind: Kind,
    pub(super) cells: usize,
    /// Where the array of cell pointers begins.
    pointers: usize,
    /// The last child of an interior page.
    pub(super) right: u32,
}

impl PageHeader {
    /// The header at `at`: 0, or behind the header of the file in the first page.
    pub(super) fn parse(page: &[u8], at: usize) -> Option<Self> {
        let kind = match page.get(at)? {
            0x0d => Kind::Leaf,
            0x05 => Kind::Interior,
            _ => return None,
        };
        let cells = usize::from(u16_at(page, at + 3)?);
        let size = if kind == Kind::Leaf { 8 } else { 12 };
        let right = if kind == Kind::Leaf { 0 } else { u32_at(page, at + 8)? };
        let pointers = at + size;
        // a cell has four bytes at least
        (pointers + 6 * cells <= page.len()).then_some(Self { kind, cells, pointers, right })
    }

    /// Offsets of the cells, in the order of their keys.
    pub(super) fn offsets(self, page: &[u8]) -> impl Iterator<Item = usize> {
        (0..self.cells).filter_map(move |index| u16_at(page, self.pointers + 2 * index)).map(usize::from)
    }

    /// First byte behind the cell pointers.
    pub(super) const fn end(self) -> usize {
        self.pointers + 2 * self.cells
    }
}

/// The left child and the greatest key in it, of a cell of an interior page.
pub(super) fn interior_cell(page: &[u8], at: usize) -> Option<(u32, i64)> {
    let (key, _) = varint(page, at + 4)?;
    Some((u32_at(page, at)?, key as i64))
}

/// A number of one to nine bytes, and the offset behind it.
pub(super) fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut value = 0_u64;
    for index in 0..8 {
        let byte = *bytes.get(at.checked_add(index)?)?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, at + index + 1));
        }
    }
    let last = *bytes.get(at + 8)?;
    Some((value << 8 | u64::from(last), at + 9))
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
        assert_eq!(varint(&[0, 0x81, 0x00], 1), Some((128, 3)));
        assert_eq!(varint(&[0xff; 9], 0), Some((u64::MAX, 9)));
        assert_eq!(varint(&[0xff; 8], 0), None);
        assert_eq!(varint(&[], 0), None);
        assert_eq!(varint(&[0], usize::MAX), None);
    }

    #[test]
    fn how_much_of_a_payload_is_local() {
        let geometry = Geometry::of_size(4096);
        // from the file format documentation: X = U-35, M = ((U-12)*32/255)-23, K = M+((P-M)%(U-4))
        assert_eq!(geometry.local_size(4061), 4061);
        assert_eq!(geometry.local_size(4062), 489);
        assert_eq!(geometry.local_size(489 + 4092), 489);
        assert_eq!(geometry.local_size(489 + 4092 + 100), 589);
    }

    #[test]
    fn headers_that_cannot_be() {
        assert_eq!(Geometry::parse(b"SQLite format 3"), None);
        let mut header = [0_u8; 100];
        header[..16].copy_from_slice(b"SQLite format 3\0");
        for (size, reserved, good) in [(4096_u16, 0, true), (1, 0, true), (4095, 0, false), (512, 40, false)]
        {
            header[16..18].copy_from_slice(&size.to_be_bytes());
            header[20] = reserved;
            assert_eq!(Geometry::parse(&header).is_some(), good, "{size} {reserved}");
        }
    }
}
