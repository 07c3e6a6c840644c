// SPDX-License-Identifier: MIT OR Apache-2.0
//! Integers and numbers as property strings and section files write them.

use std::str;

use super::{all_digits, chomp};

/// Whether `value` is `[+-]?[0-9]+`, as the type `integer` wants inside property strings and section files.
#[must_use]
pub fn is_integer(value: &[u8]) -> bool {
    all_digits(unsigned(chomp(value)))
}

/// Whether `value` is a decimal number with optional sign, fraction and exponent, as the type `number` wants
/// inside property strings and section files.
///
/// ```
/// use pve_config::format::is_number;
///
/// assert!([&b"5"[..], b"+.5", b"5.", b"-1e3"].into_iter().all(is_number));
/// assert!([&b""[..], b".", b"1 ", b"0x10", b"inf"].into_iter().all(|text| !is_number(text)));
/// ```
#[must_use]
pub fn is_number(value: &[u8]) -> bool {
    let value = unsigned(chomp(value));
    let exponent = value.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match exponent {
        Some(at) => {
            let (mantissa, rest) = value.split_at(at);
            (mantissa, rest.get(1..))
        }
        None => (value, None),
    };
    let digits = mantissa.iter().filter(|byte| byte.is_ascii_digit()).count();
    let points = mantissa.iter().filter(|byte| **byte == b'.').count();
    digits > 0
        && points <= 1
        && digits + points == mantissa.len()
        && exponent.is_none_or(|exponent| all_digits(unsigned(exponent)))
}

/// The value of a text that [`is_number`], as a double: how the reference compares numbers. `None` for other texts.
pub(crate) fn numeric_value(value: &[u8]) -> Option<f64> {
    let value = chomp(value);
    if !value.is_empty() && value.len() <= 15 && value.iter().all(u8::is_ascii_digit) {
        let number = value.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
        return Some(number as f64);
    }
    if !is_number(value) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

fn unsigned(value: &[u8]) -> &[u8] {
    match value {
        [b'+' | b'-', rest @ ..] => rest,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_doubles() {
        for (text, value) in
            [("007", 7.0), ("+5", 5.0), ("-0", 0.0), ("5.", 5.0), (".5", 0.5), ("1e3", 1000.0)]
        {
            assert_eq!(numeric_value(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(numeric_value(b"18446744073709551616"), Some(18446744073709551616.0));
        assert_eq!(numeric_value(b"1e999"), Some(f64::INFINITY));
        assert_eq!(numeric_value(b"nan"), None);
    }
}
