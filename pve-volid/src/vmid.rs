// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers of guests, and digits that may or may not be one.

use std::fmt;
use std::str::FromStr;

use bstr::{BStr, ByteSlice};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::IdError;

/// The number of a virtual machine or container, 100 ..= 999,999,999 (spec: named formats, `pve-vmid`).
///
/// ```
/// use pve_volid::VmId;
///
/// let vmid: VmId = "100".parse()?;
/// assert_eq!(vmid.get(), 100);
/// assert!("99".parse::<VmId>().is_err());
/// assert!("0100".parse::<VmId>().is_err());
/// # Ok::<(), pve_volid::IdError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VmId(u32);

impl VmId {
    /// The smallest id.
    pub const MIN: VmId = VmId(100);
    /// The largest id.
    pub const MAX: VmId = VmId(999_999_999);

    /// The id with this number, if it is in range.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number >= Self::MIN.0 && number <= Self::MAX.0 { Some(VmId(number)) } else { None }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Reads an id: 3 to 9 digits, the first not `0`.
    ///
    /// # Errors
    /// [`IdError::VmId`] for anything else.
    pub fn from_bytes(text: &[u8]) -> Result<Self, IdError> {
        Self::read(text).ok_or_else(|| IdError::VmId(text.into()))
    }

    /// Writes the id into `buffer`, for calls that compare owners as text.
    ///
    /// ```
    /// use pve_volid::{Digits, VmId, Wanted};
    ///
    /// let mut buffer = [0; 9];
    /// let wanted = Wanted::Guest(VmId::MIN.digits(&mut buffer));
    /// assert!(wanted.owner(Digits::new(b"100")).is_ok());
    /// ```
    #[must_use]
    pub fn digits(self, buffer: &mut [u8; 9]) -> Digits<'_> {
        let count = self.0.ilog10() as usize + 1;
        let mut rest = self.0;
        let text = buffer.get_mut(..count).unwrap_or_default();
        for byte in text.iter_mut().rev() {
            *byte = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        Digits::known(text)
    }

    fn read(text: &[u8]) -> Option<Self> {
        if !(3..=9).contains(&text.len())
            || text.first() == Some(&b'0')
            || !text.iter().all(u8::is_ascii_digit)
        {
            return None;
        }
        Some(VmId(text.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0'))))
    }
}

impl fmt::Display for VmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for VmId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::from_bytes(text.as_bytes())
    }
}

impl TryFrom<u32> for VmId {
    type Error = IdError;

    fn try_from(number: u32) -> Result<Self, IdError> {
        Self::new(number).ok_or_else(|| IdError::VmId(number.to_string().into()))
    }
}

impl From<VmId> for u32 {
    fn from(vmid: VmId) -> u32 {
        vmid.0
    }
}

/// As a number.
impl Serialize for VmId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

/// From a number, or from its decimal text (so that an id can be the key of a JSON object).
impl<'de> Deserialize<'de> for VmId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl serde::de::Visitor<'_> for Number {
            type Value = VmId;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number from 100 to 999999999")
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<VmId, E> {
                u32::try_from(number)
                    .ok()
                    .and_then(VmId::new)
                    .ok_or_else(|| E::custom(IdError::VmId(number.to_string().into())))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<VmId, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<VmId, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Number)
    }
}

/// One or more ASCII digits as they stand in a name: the owner of a volume.
///
/// Names are compared as text, so the digits are kept as written: a volume in the directory `0100` belongs to
/// nobody, not to guest 100 (spec: volumes, "parse_volname: result").
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digits<'a>(&'a BStr);

impl<'a> Digits<'a> {
    /// The digits of `text`, if it is nothing but digits and at least one.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Option<Self> {
        (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(Digits(text.as_bstr()))
    }

    /// For texts that a grammar has already found to be digits.
    pub(crate) fn known(text: &'a [u8]) -> Self {
        Digits(text.as_bstr())
    }

    /// The digits as written.
    #[must_use]
    pub fn as_bstr(self) -> &'a BStr {
        self.0
    }

    /// The guest that these digits name: none for `0100`, `7` or `1234567890`.
    #[must_use]
    pub fn vmid(self) -> Option<VmId> {
        VmId::read(self.0)
    }

    /// The value as an integer, as a call of the storage layer converts it (`0100` is 100); none if it is
    /// larger than `u64::MAX`.
    #[must_use]
    pub fn number(self) -> Option<u64> {
        self.0
            .iter()
            .try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
    }
}

impl fmt::Display for Digits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// As text, as written.
impl Serialize for Digits<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::serde_text::bytes(self.0, serializer)
    }
}

/// Compares as text.
impl PartialEq<VmId> for Digits<'_> {
    fn eq(&self, vmid: &VmId) -> bool {
        self.vmid() == Some(*vmid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vmid_has_three_to_nine_digits() {
        for (text, number) in [("100", 100), ("999999999", 999_999_999), ("5000", 5000)] {
            let vmid: VmId = text.parse().unwrap();
            assert_eq!((vmid.get(), vmid.to_string().as_str()), (number, text));
            assert_eq!(vmid.digits(&mut [0; 9]).as_bstr(), text);
        }
        for text in ["", "99", "099", "0100", "1000000000", "10a", " 100", "100\n", "-100", "+100"] {
            assert_eq!(text.parse::<VmId>(), Err(IdError::VmId(text.into())));
        }
        assert_eq!(VmId::new(99), None);
        assert_eq!(VmId::new(1_000_000_000), None);
    }

    #[test]
    fn digits_stay_as_written() {
        let digits = Digits::new(b"0100").unwrap();
        assert_eq!((digits.to_string().as_str(), digits.vmid(), digits.number()), ("0100", None, Some(100)));
        assert_eq!(Digits::new(b"100").unwrap(), VmId::MIN);
        assert_eq!(Digits::new(b"99999999999999999999").unwrap().number(), None);
        assert_eq!(Digits::new(b""), None);
        assert_eq!(Digits::new("١".as_bytes()), None);
    }

    #[test]
    fn travels_as_a_number() {
        assert_eq!(serde_json::to_string(&VmId::MIN).unwrap(), "100");
        assert_eq!(serde_json::from_str::<VmId>("100").unwrap(), VmId::MIN);
        assert_eq!(serde_json::from_str::<VmId>("\"100\"").unwrap(), VmId::MIN);
        for bad in ["99", "-1", "\"x\"", "1e3", "4294967396", "null"] {
            assert!(serde_json::from_str::<VmId>(bad).is_err(), "{bad}");
        }
    }
}
