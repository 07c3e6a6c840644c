// SPDX-License-Identifier: MIT OR Apache-2.0
//! The words of a line.

/// The parts of `line` between runs of white space.
pub(crate) fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|byte| byte.is_ascii_whitespace() || *byte == b'\x0b').filter(|word| !word.is_empty())
}
