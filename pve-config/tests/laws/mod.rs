// SPDX-License-Identifier: MIT OR Apache-2.0
//! Texts of lines on which the checks of the fuzz targets run: likely, damaged, arbitrary, and long ones.

use proptest::prelude::*;

/// Size of the long texts, in bytes.
pub(crate) const SIZE: usize = 1 << 20;

/// Texts of fewer than `most` lines, with or without an end of the last.
pub(crate) fn texts(line: impl Strategy<Value = String>, most: usize) -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(line, 0..most), any::<bool>())
        .prop_map(|(lines, end)| (lines.join("\n") + if end { "\n" } else { "" }).into_bytes())
}

/// `text` with another byte somewhere.
pub(crate) fn damaged(mut text: Vec<u8>, at: prop::sample::Index, byte: u8) -> Vec<u8> {
    if !text.is_empty() {
        let at = at.index(text.len());
        text[at] = byte;
    }
    text
}

/// A text of [`SIZE`] that is `unit` again and again.
pub(crate) fn repeated(unit: &str) -> Vec<u8> {
    unit.repeat(SIZE / unit.len()).into_bytes()
}

/// A text of `count` different pieces.
pub(crate) fn numbered(count: usize, unit: impl Fn(usize) -> String) -> Vec<u8> {
    (0..count).map(unit).collect::<String>().into_bytes()
}

/// The tests `likely_texts`, `damaged_texts` and `arbitrary_bytes`: `$check` on texts of the strategy `$lines`.
macro_rules! laws {
    ($lines:ident, $most:literal, $check:ident) => {
        proptest::proptest! {
            #[test]
            fn likely_texts(text in laws::texts($lines(), $most)) {
                $check(&text);
            }

            #[test]
            fn damaged_texts(
                text in laws::texts($lines(), $most),
                at in proptest::prelude::any::<proptest::sample::Index>(),
                byte: u8,
            ) {
                $check(&laws::damaged(text, at, byte));
            }

            #[test]
            fn arbitrary_bytes(text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
                $check(&text);
            }
        }
    };
}
pub(crate) use laws;
