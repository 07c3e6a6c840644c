// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed values of keys, and how the structs made from declarations read and write them.

use std::fmt;
use std::str;

use bstr::{BStr, BString};

use super::parse::Properties;
use super::print::Printer;
use super::table::{Key, PropertyFormat};
use crate::format::size::write_size;
use crate::format::{Context, chomp, numeric_value, parse_size};
use crate::rule::{Reason, Rule, ValueError, span_in};

/// An integer, as it was written or as a number.
///
/// The reference keeps the text of integers (`+08` stays `+08` when the string is written back), so this does too.
///
/// ```
/// use pve_config::property::Integer;
///
/// let mtu = Integer::from(1400);
/// assert_eq!(mtu.get(), Some(1400));
/// assert_eq!(mtu.to_string(), "1400");
/// ```
#[derive(Clone, Copy)]
pub struct Integer<'t>(Repr<'t>);

#[derive(Clone, Copy)]
enum Repr<'t> {
    Text(&'t [u8]),
    Number(i64),
}

impl<'t> Integer<'t> {
    /// The number; `None` if it does not fit.
    #[must_use]
    pub fn get(self) -> Option<i64> {
        match self.0 {
            Repr::Number(number) => Some(number),
            Repr::Text(text) => str::from_utf8(chomp(text)).ok()?.parse().ok(),
        }
    }

    /// The number as `T`; `None` if it does not fit.
    #[must_use]
    pub fn to<T: TryFrom<i64>>(self) -> Option<T> {
        T::try_from(self.get()?).ok()
    }

    /// The number as a double, which always exists.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        match self.0 {
            Repr::Number(number) => number as f64,
            Repr::Text(text) => numeric_value(text).unwrap_or_default(),
        }
    }

    /// Whether the reference takes the value for false: `0`, but not `00`.
    #[must_use]
    pub fn is_falsy(self) -> bool {
        match self.0 {
            Repr::Number(number) => number == 0,
            Repr::Text(text) => crate::format::is_falsy(text),
        }
    }
}

impl From<i64> for Integer<'_> {
    fn from(number: i64) -> Self {
        Integer(Repr::Number(number))
    }
}

/// A decimal number, as it was written.
///
/// ```
/// use pve_config::property::Number;
///
/// let rate: Number = "12.50".try_into().unwrap();
/// assert_eq!(rate.get(), 12.5);
/// assert_eq!(rate.to_string(), "12.50");
/// assert!(Number::try_from("fast").is_err());
/// ```
#[derive(Clone, Copy)]
pub struct Number<'t>(&'t [u8]);

impl Number<'_> {
    /// The number as a double, which is how the reference computes with it.
    #[must_use]
    pub fn get(self) -> f64 {
        numeric_value(self.0).unwrap_or_default()
    }

    /// Whether the reference takes the value for false: `0`, but not `0.0`.
    #[must_use]
    pub fn is_falsy(self) -> bool {
        crate::format::is_falsy(self.0)
    }
}

impl<'t> TryFrom<&'t str> for Number<'t> {
    type Error = ValueError;

    /// A number from its text.
    fn try_from(text: &'t str) -> Result<Self, ValueError> {
        Rule::number().check(text.as_bytes(), &Context::default())?;
        Ok(Number(text.as_bytes()))
    }
}

macro_rules! written {
    ($($type:ident),+) => { $(
        impl fmt::Display for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut text = Vec::with_capacity(20);
                self.write(&mut text);
                f.pad(&String::from_utf8_lossy(&text))
            }
        }

        impl fmt::Debug for $type<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl PartialEq for $type<'_> {
            /// Whether both are written the same.
            fn eq(&self, other: &Self) -> bool {
                let (mut a, mut b) = (Vec::with_capacity(20), Vec::with_capacity(20));
                self.write(&mut a);
                other.write(&mut b);
                a == b
            }
        }

        impl Eq for $type<'_> {}
    )+ };
}

written!(Integer, Number);

/// A value of a key: how it is read from text that passed the key's rule, and written back.
pub(crate) trait Value<'t>: Sized {
    /// Stands in until the value is read; never seen, since a required key has a value.
    fn blank() -> Self;

    /// The value of `text`, which passed the rule of the key. `None` for a size that does not fit, the only values that
    /// have a narrower type than the rule.
    fn read(text: &'t [u8]) -> Option<Self>;

    /// Appends the text of the value.
    fn write(&self, out: &mut Vec<u8>);
}

impl<'t> Value<'t> for bool {
    #[inline]
    fn blank() -> Self {
        false
    }

    #[inline]
    fn read(text: &'t [u8]) -> Option<Self> {
        Some(text == b"1")
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.push(if *self { b'1' } else { b'0' });
    }
}

impl<'t> Value<'t> for &'t BStr {
    #[inline]
    fn blank() -> Self {
        BStr::new(b"")
    }

    #[inline]
    fn read(text: &'t [u8]) -> Option<Self> {
        Some(BStr::new(text))
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<'t> Value<'t> for Integer<'t> {
    #[inline]
    fn blank() -> Self {
        Integer(Repr::Number(0))
    }

    #[inline]
    fn read(text: &'t [u8]) -> Option<Self> {
        Some(Integer(Repr::Text(text)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self.0 {
            Repr::Text(text) => out.extend_from_slice(text),
            Repr::Number(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        }
    }
}

impl<'t> Value<'t> for Number<'t> {
    #[inline]
    fn blank() -> Self {
        Number(b"0")
    }

    #[inline]
    fn read(text: &'t [u8]) -> Option<Self> {
        Some(Number(text))
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}

/// A number of bytes, written as a size (`32G`).
impl<'t> Value<'t> for u64 {
    #[inline]
    fn blank() -> Self {
        0
    }

    #[inline]
    fn read(text: &'t [u8]) -> Option<Self> {
        parse_size(text).ok()
    }

    #[inline]
    fn write(&self, out: &mut Vec<u8>) {
        write_size(*self, out);
    }
}

/// A field of a struct made from a declaration: a value, or an optional one.
pub(crate) trait Field<'t>: Sized {
    /// The field before anything is read.
    fn unread() -> Self;

    /// Sets the field from text that passed the rule of the key. Returns whether the value fits.
    fn set(&mut self, text: &'t [u8]) -> bool;

    /// Whether there is something to write.
    fn is_present(&self) -> bool;

    /// Appends the text of the value.
    fn write_field(&self, out: &mut Vec<u8>);
}

impl<'t, V: Value<'t>> Field<'t> for V {
    #[inline]
    fn unread() -> Self {
        V::blank()
    }

    #[inline]
    fn set(&mut self, text: &'t [u8]) -> bool {
        let value = V::read(text);
        let fits = value.is_some();
        *self = value.unwrap_or_else(V::blank);
        fits
    }

    #[inline]
    fn is_present(&self) -> bool {
        true
    }

    #[inline]
    fn write_field(&self, out: &mut Vec<u8>) {
        self.write(out);
    }
}

impl<'t, V: Value<'t>> Field<'t> for Option<V> {
    #[inline]
    fn unread() -> Self {
        None
    }

    #[inline]
    fn set(&mut self, text: &'t [u8]) -> bool {
        *self = V::read(text);
        self.is_some()
    }

    #[inline]
    fn is_present(&self) -> bool {
        self.is_some()
    }

    #[inline]
    fn write_field(&self, out: &mut Vec<u8>) {
        if let Some(value) = self {
            value.write(out);
        }
    }
}

/// A struct made from the declaration of a format.
pub(crate) trait TypedProperties<'t>: Sized {
    /// The struct before anything is read.
    fn unread() -> Self;

    /// Sets the fields of the values of `properties`, which are in a format with the keys of the declaration, and were
    /// read from `text`, where errors are located.
    fn fill(&mut self, properties: &Properties<'t>, text: &[u8]) -> Result<(), ValueError>;

    /// Bits of the keys that have a value, by position in the declaration.
    fn present(&self) -> u64;

    /// Appends the text of the value at `position` in the declaration.
    fn write_at(&self, position: usize, out: &mut Vec<u8>);
}

/// The error of `value`, a size of the key at `position` among `keys`, in `text`.
#[cold]
pub(crate) fn size_too_large(keys: &[Key], position: usize, value: &[u8], text: &[u8]) -> ValueError {
    let key = keys.get(position).map(|key| key.name).unwrap_or_default();
    ValueError::new(span_in(text, value), value, Reason::SizeTooLarge).within(0, key)
}

/// Reads `text`, a string of `format`.
#[inline]
pub(crate) fn parse_typed<'t, T: TypedProperties<'t>>(
    format: &'static PropertyFormat,
    text: &'t [u8],
    context: &Context<'_>,
) -> Result<T, ValueError> {
    let properties = format.parse_with(text, context)?;
    let mut value = T::unread();
    value.fill(&properties, text)?;
    Ok(value)
}

/// Appends `value` as a string of `format`, without the keys of `skip`.
pub(crate) fn print_typed<'t, T: TypedProperties<'t>>(
    value: &T,
    format: &'static PropertyFormat,
    skip: &[&str],
    context: &Context<'_>,
) -> Result<BString, ValueError> {
    let mut out = Vec::with_capacity(64);
    let mut printer = Printer::new(format, value.present(), skip, &mut out);
    while let Some(position) = printer.next_position() {
        printer.value(position, |out| value.write_at(position, out));
    }
    printer.finish(context)?;
    Ok(BString::from(out))
}
