// SPDX-License-Identifier: MIT OR Apache-2.0
//! Finding the end of a line, quick for the short lines of configuration files.

use memchr::memchr;

/// Lines up to this length are searched word by word; the rest of a longer one is worth a call of `memchr`.
const SHORT: usize = 64;

/// The place of the first LF.
#[inline]
pub(crate) fn line_end(text: &[u8]) -> Option<usize> {
    const WORD: usize = size_of::<u64>();
    const LOW: u64 = u64::from_ne_bytes([0x01; WORD]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; WORD]);
    const LF: u64 = u64::from_ne_bytes([b'\n'; WORD]);
    let (words, _) = text.as_chunks::<WORD>();
    let words = words.get(..SHORT / WORD).unwrap_or(words);
    for (index, word) in words.iter().enumerate() {
        // a byte is zero where an LF is; of the zero bytes, the lowest is marked for certain
        let word = u64::from_le_bytes(*word) ^ LF;
        let found = word.wrapping_sub(LOW) & !word & HIGH;
        if found != 0 {
            return Some(index * WORD + found.trailing_zeros() as usize / 8);
        }
    }
    let searched = words.len() * WORD;
    memchr(b'\n', text.get(searched..)?).map(|at| searched + at)
}

/// Cuts the first line off `rest`, and its LF.
#[inline]
pub(crate) fn take_line<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let all = *rest;
    let (line, after) = match line_end(all).and_then(|at| all.split_at_checked(at)) {
        Some((line, after)) => (line, after.get(1..).unwrap_or_default()),
        None => (all, &[][..]),
    };
    *rest = after;
    line
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_memchr_finds(
            text in prop::collection::vec(prop_oneof![8 => Just(b'a'), 1 => Just(b'\n'), 1 => Just(0x0b), 4 => any::<u8>()], 0..200),
            from in 0_usize..100,
        ) {
            let text = text.get(from..).unwrap_or_default();
            prop_assert_eq!(line_end(text), memchr(b'\n', text));
        }
    }
}
