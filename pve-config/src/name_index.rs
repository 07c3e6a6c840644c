// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding a name in a table declared in the source: a hash index computed by the compiler.
//!
//! The tables of this crate (options, keys of property strings, CPU models) are written down once, as arrays. The
//! index beside each of them is a constant computed from that array, so nothing has to be kept in step by hand and
//! nothing is built when the program starts.

/// Positions of the names of a table, found by hashing; `SLOTS` is a power of two, at least twice the table's size.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameIndex<const SLOTS: usize> {
    /// Position in the table plus one; 0 marks a free slot.
    slots: [u8; SLOTS],
}

impl<const SLOTS: usize> NameIndex<SLOTS> {
    /// An index without any name.
    pub(crate) const fn new() -> Self {
        assert!(SLOTS.is_power_of_two());
        NameIndex { slots: [0; SLOTS] }
    }

    /// The index with `name` at `position` added. A table with more than 254 names, or too many for `SLOTS`, does
    /// not compile.
    pub(crate) const fn with(mut self, name: &str, position: usize) -> Self {
        assert!(position < 255);
        let mut slot = hash(name.as_bytes()) & (SLOTS - 1);
        let mut tried = 0;
        while self.slots[slot] != 0 {
            slot = (slot + 1) & (SLOTS - 1);
            tried += 1;
            assert!(tried < SLOTS / 2);
        }
        self.slots[slot] = position as u8 + 1;
        self
    }

    /// The position of `name`, where `at(position)` tells the name at a position.
    #[inline]
    pub(crate) fn find<'n>(&self, name: &[u8], at: impl Fn(usize) -> Option<&'n str>) -> Option<usize> {
        let mut slot = hash(name) & (SLOTS - 1);
        loop {
            let position = usize::from(*self.slots.get(slot)?).checked_sub(1)?;
            if at(position)?.as_bytes() == name {
                return Some(position);
            }
            slot = (slot + 1) & (SLOTS - 1);
        }
    }
}

/// Length, ends and middle tell the names of one table apart well enough; a collision costs one more comparison.
#[inline]
const fn hash(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let first = name[0] as usize;
    let last = name[length - 1] as usize;
    let middle = name[length / 2] as usize;
    let third = name[length / 3] as usize;
    let mixed = length.wrapping_mul(0x9e37) ^ first.wrapping_mul(0x85eb) ^ last.wrapping_mul(0xc2b3);
    let mixed = mixed ^ middle.wrapping_mul(0x27d5) ^ third.wrapping_mul(0x1657);
    mixed ^ (mixed >> 7)
}

/// Whether `a` comes before `b` by byte value; for checking tables while compiling.
pub(crate) const fn sorts_before(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() {
        if a[at] != b[at] {
            return a[at] < b[at];
        }
        at += 1;
    }
    a.len() < b.len()
}

/// Whether `a` and `b` are the same; for looking up names while compiling.
pub(crate) const fn same(a: &str, b: &str) -> bool {
    !sorts_before(a, b) && !sorts_before(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["net", "netx", "", "abc"];
    const INDEX: NameIndex<16> =
        NameIndex::new().with(NAMES[0], 0).with(NAMES[1], 1).with(NAMES[2], 2).with(NAMES[3], 3);

    #[test]
    fn finds_every_name_and_no_other() {
        let at = |position: usize| NAMES.get(position).copied();
        for (position, name) in NAMES.iter().enumerate() {
            assert_eq!(INDEX.find(name.as_bytes(), at), Some(position));
        }
        for name in ["ne", "net0", "abcd", "x"] {
            assert_eq!(INDEX.find(name.as_bytes(), at), None);
        }
    }
}
