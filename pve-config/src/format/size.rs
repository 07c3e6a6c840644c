// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sizes of disks: numbers with binary units.

use std::str;

use bstr::BString;

use super::{all_digits, chomp};

/// A text that is not a size, or one too large.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// Not `DIGITS[.DIGITS][UNIT]`.
    #[error("{0:?} is not a size; write a number with an optional unit K, M, G or T")]
    Malformed(BString),
    /// More than fits into 64 bits.
    #[error("size {0:?} is larger than 2^64 bytes")]
    TooLarge(BString),
}

/// The number of bytes that `text` stands for: `DIGITS[.DIGITS][UNIT]` with UNIT one of `K M G T KiB MiB GiB TiB`,
/// all powers of 1024. Decimals are multiplied as IEEE doubles, and the product is truncated, as in the reference.
///
/// # Errors
///
/// [`SizeError::Malformed`] for any other text, [`SizeError::TooLarge`] from 2^64 bytes on.
///
/// ```
/// use pve_config::format::parse_size;
///
/// assert_eq!(parse_size(b"32G"), Ok(32 << 30));
/// assert_eq!(parse_size(b"0.1K"), Ok(102));
/// assert!(parse_size(b"32g").is_err());
/// ```
pub fn parse_size(text: &[u8]) -> Result<u64, SizeError> {
    let Some((number, shift)) = split_size(text) else {
        return Err(SizeError::Malformed(text.into()));
    };
    let too_large = || SizeError::TooLarge(text.into());
    if all_digits(number) {
        let number = number
            .iter()
            .try_fold(0_u64, |sum, digit| sum.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        return number.and_then(|number| number.checked_mul(1 << shift)).ok_or_else(too_large);
    }
    let number: f64 =
        str::from_utf8(number).ok().and_then(|number| number.parse().ok()).ok_or_else(too_large)?;
    let product = number * (1_u64 << shift) as f64;
    // the cast truncates; 2^64 is the first double that does not fit
    if product < 18_446_744_073_709_551_616.0 { Ok(product as u64) } else { Err(too_large()) }
}

/// Number and power of two of a size; `None` if the text is not one.
fn split_size(text: &[u8]) -> Option<(&[u8], u32)> {
    let text = chomp(text);
    let body = text.strip_suffix(b"iB").unwrap_or(text);
    let (number, shift) = match body {
        [number @ .., b'K'] => (number, 10),
        [number @ .., b'M'] => (number, 20),
        [number @ .., b'G'] => (number, 30),
        [number @ .., b'T'] => (number, 40),
        _ if body.len() == text.len() => (body, 0),
        _ => return None,
    };
    let well_formed = match number.iter().position(|byte| *byte == b'.') {
        None => all_digits(number),
        Some(point) => {
            let (whole, fraction) = number.split_at(point);
            all_digits(whole) && all_digits(fraction.get(1..).unwrap_or_default())
        }
    };
    well_formed.then_some((number, shift))
}

pub(super) fn is_size(text: &[u8]) -> bool {
    split_size(text).is_some()
}

/// `bytes` with the largest unit that divides it, as the reference writes sizes. Zero is `0T`.
///
/// ```
/// use pve_config::format::format_size;
///
/// assert_eq!(format_size(34_359_738_368), "32G");
/// assert_eq!(format_size(1536), "1536");
/// assert_eq!(format_size(0), "0T");
/// ```
#[must_use]
pub fn format_size(bytes: u64) -> String {
    let mut out = Vec::with_capacity(20);
    write_size(bytes, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// Appends what [`format_size`] returns.
pub(crate) fn write_size(bytes: u64, out: &mut Vec<u8>) {
    let mut rest = bytes;
    let mut unit: &[u8] = b"";
    for next in [b"K", b"M", b"G", b"T"] {
        if !rest.is_multiple_of(1024) {
            break;
        }
        rest /= 1024;
        unit = next;
    }
    out.extend_from_slice(itoa::Buffer::new().format(rest).as_bytes());
    out.extend_from_slice(unit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_up_to_the_limit_are_exact() {
        assert_eq!(parse_size(b"18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_size(b"9007199254740993"), Ok(9_007_199_254_740_993));
        assert!(matches!(parse_size(b"18446744073709551616"), Err(SizeError::TooLarge(_))));
        assert!(matches!(parse_size(b"16777216T"), Err(SizeError::TooLarge(_))));
        assert!(matches!(parse_size(b"16777216.5T"), Err(SizeError::TooLarge(_))));
        assert!(matches!(parse_size(b"1iB"), Err(SizeError::Malformed(_))));
    }

    #[test]
    fn formatting_is_the_inverse() {
        for bytes in [0, 1, 1023, 1024, 1536, 1 << 20, (1 << 30) + 1024, 1 << 50, u64::MAX] {
            assert_eq!(parse_size(format_size(bytes).as_bytes()), Ok(bytes));
        }
    }
}
