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
    let word = word.to_ascii_lowercase();
    let limit = word.len().max(3) / 3;
    candidates
        .into_iter()
        .filter(|name| name.len() <= LONGEST && name.len().abs_diff(word.len()) <= limit)
        .map(|name| (distance(&word, &name.as_bytes().to_ascii_lowercase()), name))
        .filter(|(edits, _)| *edits <= limit)
        .min()
        .map(|(_, name)| name)
}

/// Number of edits from `a` to `b` (optimal string alignment).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let width = b.len() + 1;
    let mut before: Vec<usize> = vec![0; width];
    let mut previous: Vec<usize> = (0..width).collect();
    for (row, &from) in a.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, &to) in b.iter().enumerate() {
            let cell = |cells: &[usize], at: usize| cells.get(at).copied().unwrap_or(usize::MAX / 2);
            let replaced = cell(&previous, column) + usize::from(from != to);
            let mut best = replaced.min(cell(&previous, column + 1) + 1).min(cell(&current, column) + 1);
            let crossed =
                row > 0 && column > 0 && a.get(row - 1) == Some(&to) && b.get(column - 1) == Some(&from);
            if crossed {
                best = best.min(cell(&before, column - 1) + 1);
            }
            current.push(best);
        }
        before = std::mem::replace(&mut previous, current);
    }
    previous.last().copied().unwrap_or(usize::MAX)
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
