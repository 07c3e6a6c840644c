// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names and ids.

use super::{all_digits, chomp};

/// `[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?` joined by `.`
pub(super) fn is_dns_name(value: &[u8]) -> bool {
    chomp(value).split(|byte| *byte == b'.').all(is_label)
}

pub(super) fn is_node(value: &[u8]) -> bool {
    is_label(chomp(value))
}

pub(super) fn is_label(label: &[u8]) -> bool {
    let ends = [label.first(), label.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && label.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
}

pub(super) fn is_bridge_id(value: &[u8]) -> bool {
    let value = chomp(value);
    !value.is_empty() && value.iter().all(|byte| is_name_byte(*byte))
}

#[inline]
pub(super) fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

pub(super) fn is_config_id(value: &[u8]) -> bool {
    let value = chomp(value);
    value.len() >= 2
        && value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Letter, 1 to 20 of letters, digits, `_`, optionally `:` or `.` and digits.
pub(super) fn is_interface(value: &[u8]) -> bool {
    let value = chomp(value);
    let length = value.iter().position(|byte| matches!(byte, b':' | b'.')).unwrap_or(value.len());
    let (base, suffix) = value.split_at(length);
    (2..=21).contains(&base.len())
        && base.first().is_some_and(u8::is_ascii_alphabetic)
        && base.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && suffix.get(1..).is_none_or(all_digits)
}

pub(super) fn is_storage_id(value: &[u8]) -> bool {
    is_storage_name(chomp(value))
}

/// A storage id without the trailing line feed that a whole value may have.
#[inline]
pub(super) fn is_storage_name(value: &[u8]) -> bool {
    value.len() >= 2
        && value.first().is_some_and(u8::is_ascii_alphabetic)
        && value.last().is_some_and(u8::is_ascii_alphanumeric)
        && value.iter().all(|byte| is_name_byte(*byte))
}

pub(super) fn is_tag(value: &[u8]) -> bool {
    let value = chomp(value);
    value.first().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        && value.iter().all(|byte| is_name_byte(*byte) || *byte == b'+')
}

pub(super) fn is_url_encoded(value: &[u8]) -> bool {
    chomp(value)
        .iter()
        .all(|byte| is_name_byte(*byte) || matches!(byte, b'!' | b'~' | b'*' | b'\'' | b'(' | b')' | b'%'))
}

pub(super) fn is_vm_id(value: &[u8]) -> bool {
    let value = chomp(value);
    (3..=9).contains(&value.len()) && all_digits(value) && value.first() != Some(&b'0')
}
