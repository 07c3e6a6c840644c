// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding a name among those of a schema: hashing with a function that fits short names.

/// Positions of names in a table that lives elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct KeyTable {
    /// Position of the name plus one; 0 marks a free slot. The length is a power of two, at least twice the number
    /// of names.
    slots: Vec<u32>,
}

impl KeyTable {
    /// The positions of `names`. Of equal names, the first is found.
    pub(super) fn new<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> Self {
        let mut table = KeyTable { slots: vec![0; (names.len() * 2).next_power_of_two().max(2)] };
        for (position, name) in (1_u32..).zip(names) {
            let mut slot = table.first_slot(name.as_bytes());
            while let Some(taken) = table.slots.get_mut(slot) {
                if *taken == 0 {
                    *taken = position;
                    break;
                }
                slot = table.next_slot(slot);
            }
        }
        table
    }

    /// The position of `name`, where `at(position)` tells the name at a position.
    #[inline]
    pub(super) fn find<'n>(&self, name: &[u8], at: impl Fn(usize) -> Option<&'n str>) -> Option<usize> {
        let mut slot = self.first_slot(name);
        loop {
            let position = (*self.slots.get(slot)? as usize).checked_sub(1)?;
            if at(position)?.as_bytes() == name {
                return Some(position);
            }
            slot = self.next_slot(slot);
        }
    }

    #[inline]
    fn first_slot(&self, name: &[u8]) -> usize {
        let byte = |at: usize| name.get(at).map_or(0, |byte| usize::from(*byte));
        let length = name.len();
        let mixed = length.wrapping_mul(0x9e37)
            ^ byte(0).wrapping_mul(0x85eb)
            ^ byte(length.wrapping_sub(1)).wrapping_mul(0xc2b3)
            ^ byte(length / 2).wrapping_mul(0x27d5)
            ^ byte(length / 3).wrapping_mul(0x1657);
        (mixed ^ (mixed >> 7)) & self.slots.len().wrapping_sub(1)
    }

    #[inline]
    fn next_slot(&self, slot: usize) -> usize {
        (slot + 1) & self.slots.len().wrapping_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_name_and_no_other() {
        let names: Vec<String> = (0..300).map(|number| format!("name{number}")).collect();
        let table = KeyTable::new(names.iter().map(String::as_str));
        let at = |position: usize| names.get(position).map(String::as_str);
        for (position, name) in names.iter().enumerate() {
            assert_eq!(table.find(name.as_bytes(), at), Some(position));
        }
        assert_eq!(table.find(b"name300", at), None);
        assert_eq!(table.find(b"", at), None);
        assert_eq!(KeyTable::default().find(b"x", at), None);
    }
}
