// SPDX-License-Identifier: MIT OR Apache-2.0
//! The pieces that volume names are made of.

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::digit1;
use nom::sequence::delimited;
use nom::{IResult, Parser};

use crate::Digits;

/// What a piece was, and the bytes behind it.
pub(crate) type Piece<'a, T> = IResult<&'a [u8], T, ()>;

/// `-DIGITS-`
pub(crate) fn number(input: &[u8]) -> Piece<'_, Digits<'_>> {
    delimited(tag("-"), digit1, tag("-")).map(Digits::known).parse(input)
}

/// `vm-DIGITS-`
pub(crate) fn vm(input: &[u8]) -> Piece<'_, Digits<'_>> {
    (tag("vm"), number).map(|(_, owner)| owner).parse(input)
}

/// (`base` | `vm`) `-DIGITS-`; true for `base`.
pub(crate) fn vm_or_base(input: &[u8]) -> Piece<'_, (bool, Digits<'_>)> {
    (alt((tag("vm"), tag("base"))).map(|word: &[u8]| word == b"base"), number).parse(input)
}

/// (`vm` | `subvol` | `basevol` | `base`) `-DIGITS-`; the word as written.
pub(crate) fn zfs_name(input: &[u8]) -> Piece<'_, (&[u8], Digits<'_>)> {
    (alt((tag("vm"), tag("subvol"), tag("basevol"), tag("base"))), number).parse(input)
}

/// One of space, tab, LF, CR, VT, FF.
pub(crate) const fn is_white_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// `NW`: one or more bytes that are not white space.
pub(crate) fn is_nw(text: &[u8]) -> bool {
    !text.is_empty() && !text.iter().copied().any(is_white_space)
}

/// Spec: storage.cfg, "Property schemas": *LVM name*.
pub(crate) fn is_lvm_name(text: &[u8]) -> bool {
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let [first, middle @ .., last] = text else { return false };
    first.is_ascii_alphanumeric() && middle.iter().all(inner) && last.is_ascii_alphanumeric()
}
