// SPDX-License-Identifier: MIT OR Apache-2.0
//! "Did you mean": the name that was probably meant by a mistyped one.

use bstr::ByteSlice;

/// Longest name that is compared; real names are far shorter, and the work grows with the square of the length.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if it is near enough to be worth suggesting: at most one edit (insertion,
/// deletion, replacement, exchange of neighbours) for every three bytes, not counting upper and lower case.
///
/// ```
/// use pve_config::suggestion::nearest;
///
/// assert_eq!(nearest(b"iothreads", ["aio", "iothread", "ssd"]), Some("iothread"));
/// assert_eq!(nearest(b"SSD", ["aio", "iothread", "ssd"]), Some("ssd"));
/// assert_eq!(nearest(b"colour", ["aio", "iothread", "ssd"]), None);
/// ```
pub fn nearest<'c>(word: &[u8], candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    if word.len() > LONGEST {
        return None;
    }
    let limit = word.len().max(3) / 3;
    let used = bytes_used(word);
    candidates
        .into_iter()
        .filter(|name| name.len() <= LONGEST && name.len().abs_diff(word.len()) <= limit)
        // an edit changes at most one byte, so this rules most candidates out without counting edits
        .filter(|name| {
            let theirs = bytes_used(name.as_bytes());
            let missing = (used & !theirs).count_ones().max((theirs & !used).count_ones());
            missing as usize <= limit
        })
        .map(|name| (distance(word, name.as_bytes()), name))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Which bytes occur in `text`, as bits; bytes that differ in case only, and some others, share a bit.
fn bytes_used(text: &[u8]) -> u32 {
    text.iter().fold(0, |bits, byte| bits | 1 << (byte & 0x1f))
}

/// Number of edits from `a` to `b`, neither longer than [`LONGEST`] (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    // the last three rows of the table; cells outside it are never the cheapest
    let [mut before, mut previous] = [[u8::MAX; LONGEST + 1]; 2];
    for (cell, cost) in previous.iter_mut().zip(0_u8..).take(b.len() + 1) {
        *cell = cost;
    }
    let cell = |row: &[u8], at: usize| row.get(at).copied().unwrap_or(u8::MAX);
    let same =
        |x: Option<&u8>, y: Option<&u8>| matches!((x, y), (Some(x), Some(y)) if x.eq_ignore_ascii_case(y));
    for (row, row_number) in (0..a.len()).zip(1_u8..) {
        let mut current = [u8::MAX; LONGEST + 1];
        let mut left = row_number;
        if let Some(first) = current.first_mut() {
            *first = row_number;
        }
        for column in 0..b.len() {
            let replaced = cell(&previous, column).saturating_add(u8::from(!same(a.get(row), b.get(column))));
            let mut best = replaced.min(cell(&previous, column + 1).saturating_add(1)).min(left + 1);
            let crossed = row > 0
                && column > 0
                && same(a.get(row - 1), b.get(column))
                && same(b.get(column - 1), a.get(row));
            if crossed {
                best = best.min(cell(&before, column - 1).saturating_add(1));
            }
            if let Some(cell) = current.get_mut(column + 1) {
                *cell = best;
            }
            left = best;
        }
        before = std::mem::replace(&mut previous, current);
    }
    usize::from(cell(&previous, b.len()))
}

/// ` (did you mean "x"?)`, or nothing.
pub(crate) fn question(suggestion: Option<&str>) -> String {
    suggestion.map(|name| format!(" (did you mean {:?}?)", name.as_bytes().as_bstr())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_edits() {
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"size", b"szie"), 1);
        assert_eq!(distance(b"cache", b"cahe"), 1);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(nearest(b"szie", ["size", "ssd"]), Some("size"));
        assert_eq!(nearest(b"x", ["size", "ssd"]), None);
        assert_eq!(nearest(&[b'a'; 500], ["size"]), None);
    }
}
