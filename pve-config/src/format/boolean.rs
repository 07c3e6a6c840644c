// SPDX-License-Identifier: MIT OR Apache-2.0
//! Boolean words, and truth as the reference sees it.

use super::chomp;

/// The truth value of a boolean word: `1 on yes true` or `0 off no false`, in any case. `None` for anything else.
///
/// ```
/// use pve_config::format::parse_boolean;
///
/// assert_eq!(parse_boolean(b"Yes"), Some(true));
/// assert_eq!(parse_boolean(b"off"), Some(false));
/// assert_eq!(parse_boolean(b"enabled"), None);
/// ```
#[must_use]
pub fn parse_boolean(text: &[u8]) -> Option<bool> {
    match text {
        b"1" => return Some(true),
        b"0" => return Some(false),
        _ => {}
    }
    let text = chomp(text);
    let is = |word: &str| text.eq_ignore_ascii_case(word.as_bytes());
    if ["1", "on", "yes", "true"].into_iter().any(is) {
        Some(true)
    } else if ["0", "off", "no", "false"].into_iter().any(is) {
        Some(false)
    } else {
        None
    }
}

/// `1` or `0`, as booleans are stored and written.
#[must_use]
pub(crate) const fn boolean_word(value: bool) -> &'static [u8] {
    if value { b"1" } else { b"0" }
}

/// Whether the reference takes `value` for false: empty, or exactly `0`.
#[must_use]
pub(crate) fn is_falsy(value: &[u8]) -> bool {
    matches!(value, b"" | b"0")
}
