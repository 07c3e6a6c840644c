// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of section files: read and printed as the reference's dynamic language does it.

use std::fmt;

use serde::{Serialize, Serializer};

/// The number that a boolean, integer or number property holds.
///
/// A number is kept in the form that the reference keeps it in, because that decides how it is written back: `007`
/// becomes `7`, `1.50` becomes `1.5`, `1e3` becomes `1000`, an integer beyond 64 bits becomes `1e+20`.
///
/// ```
/// use pve_config::section::Number;
///
/// let printed = |text: &str| Number::parse(text.as_bytes()).unwrap().to_string();
/// assert_eq!(printed("+5"), "5");
/// assert_eq!(printed("1.5e3"), "1500");
/// assert_eq!(printed(".50"), "0.5");
/// assert_eq!(printed("100000000000000000000"), "1e+20");
/// assert!(Number::parse(b"5 apples").is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// An integer that fits 64 bits with sign.
    Signed(i64),
    /// A larger integer that fits 64 bits without sign.
    Unsigned(u64),
    /// Anything else, as a double.
    Float(f64),
}

impl Number {
    /// Reads `[+-]? (DIGITS . DIGITS | DIGITS . | . DIGITS | DIGITS) ([eE][+-]?DIGITS)?`; anything else is `None`.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (negative, magnitude) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let (whole, fraction, exponent) = parts(magnitude)?;
        if fraction.is_none()
            && exponent.is_none()
            && let Some(number) = integer(negative, whole)
        {
            return Some(number);
        }
        let value: f64 = std::str::from_utf8(magnitude).ok()?.parse().ok()?;
        let value = if negative { -value } else { value };
        // the reference takes a text with an exponent, but not one with a mere point, for an integer where it is one
        if exponent.is_some()
            && let Some(number) = whole_double(value)
        {
            return Some(number);
        }
        Some(Number::Float(value))
    }

    /// The number as a double; integers beyond 2^53 are rounded.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self {
            Number::Signed(value) => value as f64,
            Number::Unsigned(value) => value as f64,
            Number::Float(value) => value,
        }
    }

    /// The number as an integer, if it is one in the range of `i64`.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Number::Signed(value) => Some(value),
            Number::Unsigned(value) => i64::try_from(value).ok(),
            Number::Float(value) => whole_double(value).and_then(|number| match number {
                Number::Signed(value) => Some(value),
                _ => None,
            }),
        }
    }

    /// Whether the number counts as true, which is: not zero.
    #[must_use]
    pub fn is_true(self) -> bool {
        self.as_f64() != 0.0
    }
}

impl From<bool> for Number {
    fn from(value: bool) -> Self {
        Number::Signed(i64::from(value))
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Number::Signed(value) => write!(f, "{value}"),
            Number::Unsigned(value) => write!(f, "{value}"),
            Number::Float(value) => fifteen_digits(value, f),
        }
    }
}

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Number::Signed(value) => serializer.serialize_i64(value),
            Number::Unsigned(value) => serializer.serialize_u64(value),
            Number::Float(value) => serializer.serialize_f64(value),
        }
    }
}

/// Digits before the point, behind it, and the exponent; `None` if `text` is no number.
#[expect(clippy::type_complexity)]
fn parts(text: &[u8]) -> Option<(&[u8], Option<&[u8]>, Option<&[u8]>)> {
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    let mut mantissa = text.splitn(2, |byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = (mantissa.next()?, mantissa.next());
    let mut halves = mantissa.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (halves.next()?, halves.next());
    let unsigned = exponent.map(|exponent| match exponent {
        [b'+' | b'-', rest @ ..] => rest,
        _ => exponent,
    });
    let good = digits(whole)
        && fraction.is_none_or(digits)
        && !(whole.is_empty() && fraction.is_none_or(<[u8]>::is_empty))
        && unsigned.is_none_or(|exponent| !exponent.is_empty() && digits(exponent));
    good.then_some((whole, fraction, exponent))
}

fn integer(negative: bool, digits: &[u8]) -> Option<Number> {
    let magnitude = digits.iter().try_fold(0_u64, |sum, digit| {
        sum.checked_mul(10)?.checked_add(u64::from(digit.wrapping_sub(b'0')))
    })?;
    match (negative, i64::try_from(magnitude)) {
        (false, Ok(value)) => Some(Number::Signed(value)),
        (true, Ok(value)) => Some(Number::Signed(-value)),
        (true, Err(_)) if magnitude == i64::MIN.unsigned_abs() => Some(Number::Signed(i64::MIN)),
        (true, Err(_)) => None,
        (false, Err(_)) => Some(Number::Unsigned(magnitude)),
    }
}

/// A double that is an integer of 64 bits.
fn whole_double(value: f64) -> Option<Number> {
    const TWO_63: f64 = 9_223_372_036_854_775_808.0;
    if value.fract() != 0.0 {
        None
    } else if (-TWO_63..TWO_63).contains(&value) {
        Some(Number::Signed(value as i64))
    } else if (TWO_63..2.0 * TWO_63).contains(&value) {
        Some(Number::Unsigned(value as u64))
    } else {
        None
    }
}

/// Prints like `%.15g` of the C library, but zero without a sign and infinity as `Inf`.
fn fifteen_digits(value: f64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const PRECISION: i32 = 15;
    if value == 0.0 {
        return f.write_str("0");
    }
    if !value.is_finite() {
        let sign = if value < 0.0 { "-" } else { "" };
        return write!(f, "{sign}{}", if value.is_nan() { "NaN" } else { "Inf" });
    }
    let scientific = format!("{value:.14e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..PRECISION).contains(&exponent) {
        let decimals = usize::try_from(PRECISION - 1 - exponent).unwrap_or(0);
        f.write_str(without_trailing_zeros(&format!("{value:.decimals$}")))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(f, "{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.unsigned_abs())
    }
}

fn without_trailing_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts and what Perl 5.36 prints for `$text + 0`.
    #[test]
    fn prints_as_perl_does() {
        for (text, expected) in [
            ("-0", "0"),
            ("-0.0", "0"),
            ("007", "7"),
            ("-007", "-7"),
            ("1e3", "1000"),
            ("1e16", "10000000000000000"),
            ("1.5e18", "1500000000000000000"),
            ("1e19", "10000000000000000000"),
            ("2e19", "2e+19"),
            ("1e20", "1e+20"),
            ("1.8446744073709552e19", "1.84467440737096e+19"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.84467440737096e+19"),
            ("-9223372036854775808", "-9223372036854775808"),
            ("-9223372036854775809", "-9.22337203685478e+18"),
            ("-9.223372036854775808e18", "-9223372036854775808"),
            ("1234567890123456.0", "1.23456789012346e+15"),
            ("900719925474099.15e1", "9007199254740992"),
            ("123456789.123456789", "123456789.123457"),
            ("123456789012345.6", "123456789012346"),
            ("99999999999999999.0", "1e+17"),
            ("0.30000000000000004", "0.3"),
            ("0.0001", "0.0001"),
            ("1.0e-5", "1e-05"),
            ("5.", "5"),
            (".5e1", "5"),
            ("1e400", "Inf"),
            ("-1e400", "-Inf"),
            ("1e-400", "0"),
        ] {
            let number = Number::parse(text.as_bytes()).unwrap();
            assert_eq!(number.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_number() {
        for text in
            ["", "+", ".", "1 ", " 1", "1e", "1e+", "0x10", "1_000", "Inf", "NaN", "1.2.3", "--1", "e5"]
        {
            assert!(Number::parse(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[test]
    fn integers_are_whole() {
        let whole = |text: &str| Number::parse(text.as_bytes()).unwrap().as_i64();
        assert_eq!(whole("5.0"), Some(5));
        assert_eq!(whole("5.5"), None);
        assert_eq!(whole("18446744073709551615"), None);
        assert!(!Number::parse(b"0.0").unwrap().is_true());
    }
}
