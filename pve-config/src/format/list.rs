// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lists in one value: what the `-list` formats, `delete` parameters and hotplug features are split by.

use std::iter::FusedIterator;

/// The items of a list in one value.
///
/// If the text has a NUL, it is split at NULs only, and trailing empty items are dropped. Otherwise items are
/// separated by any run of `,`, `;` and white space, so no item is empty. White space includes the bytes 0x85 and
/// 0xA0 here (spec: VM configuration, "Sizes and booleans").
///
/// ```
/// use pve_config::format::split_list;
///
/// let items: Vec<&[u8]> = split_list(b" a,b;; c").collect();
/// assert_eq!(items, [b"a", b"b", b"c"]);
/// let items: Vec<&[u8]> = split_list(b"a b\0c\0").collect();
/// assert_eq!(items, [&b"a b"[..], b"c"]);
/// ```
#[must_use]
pub fn split_list(text: &[u8]) -> ListItems<'_> {
    if memchr::memchr(0, text).is_none() {
        return ListItems { rest: Some(text), at_nul: false };
    }
    let end = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let rest = text.get(..end).filter(|kept| !kept.is_empty());
    ListItems { rest, at_nul: true }
}

/// The iterator that [`split_list`] returns.
#[derive(Debug, Clone)]
pub struct ListItems<'t> {
    /// What is left to split; `None` when nothing is.
    rest: Option<&'t [u8]>,
    at_nul: bool,
}

impl<'t> Iterator for ListItems<'t> {
    type Item = &'t [u8];

    fn next(&mut self) -> Option<&'t [u8]> {
        let rest = self.rest?;
        if self.at_nul {
            let end = memchr::memchr(0, rest).unwrap_or(rest.len());
            self.rest = rest.get(end + 1..);
            return rest.get(..end);
        }
        let start = rest.iter().position(|byte| !is_separator(*byte));
        let rest = start.and_then(|start| rest.get(start..)).unwrap_or_default();
        let end = rest.iter().position(|byte| is_separator(*byte)).unwrap_or(rest.len());
        let (item, rest) = rest.split_at(end);
        self.rest = (!item.is_empty()).then_some(rest);
        self.rest.map(|_| item)
    }
}

impl FusedIterator for ListItems<'_> {}

fn is_separator(byte: u8) -> bool {
    is_white_space(byte) || matches!(byte, b',' | b';' | 0x85 | 0xa0)
}

/// White space everywhere else: TAB, LF, VT, FF, CR and space.
#[inline]
pub(crate) fn is_white_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | 0x0b | 0x0c | b'\r' | b' ')
}
