// SPDX-License-Identifier: MIT OR Apache-2.0
//! Descriptions: how free text of any content is kept in comment lines.
//!
//! The decoded text is bytes in *lax* UTF-8: UTF-8 in which surrogates and code points above U+10FFFF may occur
//! (spec: VM configuration, "Description").

use bstr::BString;

/// U+FFFD, which stands for an ill-formed piece.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

/// The text that a comment line or a `description:` line stands for: `%HH` becomes that byte, then the whole is read
/// as lax UTF-8, every ill-formed piece becoming one U+FFFD.
///
/// ```
/// use pve_config::format::decode_text;
///
/// assert_eq!(decode_text(b"100%25 caf%C3%A9"), "100% café");
/// assert_eq!(decode_text(b"%E4 %zz"), "\u{fffd} %zz");
/// ```
#[must_use]
pub fn decode_text(text: &[u8]) -> BString {
    let bytes = unescape(text);
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes.as_slice();
    while let Some(&first) = rest.first() {
        let plain = rest.iter().position(|byte| !byte.is_ascii()).unwrap_or(rest.len());
        let taken = if plain > 0 {
            out.extend_from_slice(rest.get(..plain).unwrap_or_default());
            plain
        } else {
            let (length, well_formed) = sequence(first, rest.get(1..).unwrap_or_default());
            out.extend_from_slice(if well_formed {
                rest.get(..length).unwrap_or_default()
            } else {
                REPLACEMENT
            });
            length
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    BString::from(out)
}

fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (before, after) = rest.split_at(at);
        out.extend_from_slice(before);
        let escaped = match after {
            [_, high, low, ..] => hex_digit(*high).zip(hex_digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(escaped.unwrap_or(b'%'));
        rest = after.get(if escaped.is_some() { 3 } else { 1 }..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

fn hex_digit(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Length of the piece that starts with the non-ASCII byte `first`, followed by `rest`, and whether it is
/// well-formed.
fn sequence(first: u8, rest: &[u8]) -> (usize, bool) {
    // bytes in all, payload bits in the first byte, smallest code point that needs this length
    let (wanted, bits, smallest): (usize, u32, u128) = match first {
        0xc0..=0xdf => (2, 5, 1 << 7),
        0xe0..=0xef => (3, 4, 1 << 11),
        0xf0..=0xf7 => (4, 3, 1 << 16),
        0xf8..=0xfb => (5, 2, 1 << 21),
        0xfc..=0xfd => (6, 1, 1 << 26),
        0xfe => (7, 0, 1 << 31),
        0xff => (13, 0, 1 << 36),
        _ => return (1, false),
    };
    let continuation = rest.iter().take(wanted - 1).take_while(|byte| **byte & 0xc0 == 0x80);
    let (mut found, mut code) = (1, u128::from(first) & ((1 << bits) - 1));
    for byte in continuation {
        code = code << 6 | u128::from(byte & 0x3f);
        found += 1;
    }
    // the longest form could hold more than the reference's integers
    (found, found == wanted && code >= smallest && code <= i64::MAX as u128)
}

/// The text as it is kept in comment lines: every byte except 0x20-0x24, 0x26-0x39 and 0x3B-0x7E becomes `%XX`.
///
/// ```
/// use pve_config::format::encode_text;
///
/// assert_eq!(encode_text("100%: café".as_bytes()), "100%25%3A caf%C3%A9");
/// ```
#[must_use]
pub fn encode_text(text: &[u8]) -> BString {
    let mut out = Vec::with_capacity(text.len());
    for &byte in text {
        if matches!(byte, 0x20..=0x24 | 0x26..=0x39 | 0x3b..=0x7e) {
            out.push(byte);
        } else {
            const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
            let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    BString::from(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keeps_what_only_lax_utf_8_allows() {
        for kept in ["eda080", "f4908080", "f888808080", "fc8480808080", "fe828080808080"] {
            let bytes: Vec<u8> = (0..kept.len() / 2)
                .map(|at| u8::from_str_radix(&kept[at * 2..at * 2 + 2], 16).unwrap())
                .collect();
            assert_eq!(decode_text(&bytes), bytes, "{kept}");
        }
    }

    #[test]
    fn replaces_each_ill_formed_piece_once() {
        assert_eq!(decode_text(b"\xe2\x82"), "\u{fffd}");
        assert_eq!(decode_text(b"\x80 a"), "\u{fffd} a");
        assert_eq!(decode_text(b"\xc0\x80x"), "\u{fffd}x");
        assert_eq!(decode_text(b"\xff\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80 "), "\u{fffd} ");
    }

    proptest! {
        #[test]
        fn encoding_is_undone_by_decoding(text in any::<String>()) {
            prop_assert_eq!(decode_text(&encode_text(text.as_bytes())), text);
        }

        #[test]
        fn decoding_twice_changes_nothing_more(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let once = decode_text(&bytes);
            prop_assert_eq!(decode_text(&encode_text(&once)), once);
        }
    }
}
