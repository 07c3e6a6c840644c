// SPDX-License-Identifier: MIT OR Apache-2.0
//! Addresses of networks and network cards.

use super::{all_digits, chomp, name};

pub(super) fn is_address(value: &[u8]) -> bool {
    value != b"0" && (is_ip(value) || name::is_dns_name(value))
}

pub(super) fn is_ip(value: &[u8]) -> bool {
    is_ipv4(value) || is_ipv6(value)
}

pub(super) fn is_ipv4(value: &[u8]) -> bool {
    dotted_quad(chomp(value)).is_some()
}

/// The four bytes of a dotted address without leading zeros.
fn dotted_quad(value: &[u8]) -> Option<[u8; 4]> {
    let mut quad = [0; 4];
    let mut parts = value.split(|byte| *byte == b'.');
    for slot in &mut quad {
        let part = parts.next()?;
        if !all_digits(part) || part.len() > 3 || (part.len() > 1 && part.first() == Some(&b'0')) {
            return None;
        }
        let number = part.iter().fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        *slot = u8::try_from(number).ok()?;
    }
    parts.next().is_none().then_some(quad)
}

pub(super) fn is_ipv6(value: &[u8]) -> bool {
    let value = chomp(value);
    match value.windows(2).position(|pair| pair == b"::") {
        None => groups(value, true) == Some(8),
        Some(at) => {
            let before = value.get(..at).unwrap_or_default();
            let after = value.get(at + 2..).unwrap_or_default();
            let count = |side: &[u8], last| if side.is_empty() { Some(0) } else { groups(side, last) };
            // the gap stands for at least one group, as in the grammar of RFC 3986
            matches!((count(before, false), count(after, true)), (Some(a), Some(b)) if a + b <= 7)
        }
    }
}

/// Number of 16-bit groups in `value`; an IPv4 address counts for two, and only at the end.
fn groups(value: &[u8], may_end_in_ipv4: bool) -> Option<usize> {
    let mut count = 0;
    let mut parts = value.split(|byte| *byte == b':').peekable();
    while let Some(part) = parts.next() {
        if part.len() <= 4 && !part.is_empty() && part.iter().all(u8::is_ascii_hexdigit) {
            count += 1;
        } else if may_end_in_ipv4 && parts.peek().is_none() && dotted_quad(part).is_some() {
            count += 2;
        } else {
            return None;
        }
    }
    Some(count)
}

pub(super) fn is_ipv4_mask(value: &[u8]) -> bool {
    dotted_quad(value).is_some_and(|quad| {
        let mask = u32::from_be_bytes(quad);
        mask.leading_ones() + mask.trailing_zeros() >= 32
    })
}

pub(super) fn is_cidr_v4(value: &[u8]) -> bool {
    is_cidr(value, is_ipv4, 32)
}

pub(super) fn is_cidr_v6(value: &[u8]) -> bool {
    is_cidr(value, is_ipv6, 128)
}

/// `ADDRESS/LENGTH` with a length from 8 to `longest`; leading zeros are fine.
fn is_cidr(value: &[u8], is_address: fn(&[u8]) -> bool, longest: u32) -> bool {
    let value = chomp(value);
    let Some(slash) = value.iter().position(|byte| *byte == b'/') else { return false };
    let (address, length) = value.split_at(slash);
    let length = length.get(1..).unwrap_or_default();
    if address.ends_with(b"\n") || !is_address(address) || !all_digits(length) {
        return false;
    }
    let bits = length.iter().fold(0_u32, |sum, digit| (sum * 10 + u32::from(digit - b'0')).min(1000));
    (8..=longest).contains(&bits)
}

pub(super) fn is_ipv4_config(value: &[u8]) -> bool {
    matches!(chomp(value), b"dhcp" | b"manual") || is_cidr_v4(value)
}

pub(super) fn is_ipv6_config(value: &[u8]) -> bool {
    matches!(chomp(value), b"auto" | b"dhcp" | b"manual") || is_cidr_v6(value)
}

pub(super) fn is_ip_with_link_local_interface(value: &[u8]) -> bool {
    if is_ip(value) {
        return true;
    }
    let Some(percent) = value.iter().position(|byte| *byte == b'%') else { return false };
    let (address, interface) = value.split_at(percent);
    address.starts_with(b"fe80:")
        && is_ip(address)
        && !address.ends_with(b"\n")
        && name::is_interface(interface.get(1..).unwrap_or_default())
}

pub(super) fn is_mac_address(value: &[u8]) -> bool {
    let value = chomp(value);
    value.len() == 17
        && value.iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => *byte == b':',
            _ if at == 1 => is_even_hex_digit(*byte),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Hex digit, even hex digit, up to two `:HH`, and the beginning of another.
pub(super) fn is_mac_prefix(value: &[u8]) -> bool {
    let value = chomp(value);
    (2..=10).contains(&value.len())
        && value.iter().enumerate().all(|(at, byte)| match at % 3 {
            2 => *byte == b':',
            _ if at == 1 => is_even_hex_digit(*byte),
            _ => byte.is_ascii_hexdigit(),
        })
}

/// The lowest bit of the first byte tells unicast from multicast.
fn is_even_hex_digit(byte: u8) -> bool {
    matches!(byte.to_ascii_lowercase(), b'0' | b'2' | b'4' | b'6' | b'8' | b'a' | b'c' | b'e')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_follows_the_grammar_of_rfc_3986() {
        for good in
            ["::", "::1", "1::", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:1.2.3.4", "::1.2.3.4", "1:2:3:4:5:6:7::"]
        {
            assert!(is_ipv6(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            ":",
            "1",
            "1:2",
            ":1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:8:",
            "1.2.3.4::",
            "::1:",
            ":::",
            "1::2::3",
            "1:2:3:4:5:6:7::8",
            "::1:2:3:4:5:6:7:8",
            "1:2:3:4:5:6:7:1.2.3.4",
            "fe80::1%eth0",
            "12345::",
            "::1.2.3.04",
        ] {
            assert!(!is_ipv6(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn masks_are_contiguous() {
        let good = (0..=32).map(|ones| u32::MAX.checked_shl(32 - ones).unwrap_or(0));
        for mask in good {
            let [a, b, c, d] = mask.to_be_bytes();
            assert!(is_ipv4_mask(format!("{a}.{b}.{c}.{d}").as_bytes()));
        }
        assert!(!is_ipv4_mask(b"255.0.255.0"));
    }

    #[test]
    fn a_huge_prefix_length_does_not_overflow() {
        assert!(!is_cidr_v4(b"1.2.3.4/99999999999999999999999999"));
        assert!(is_cidr_v4(b"1.2.3.4/000000000000000000000000024"));
    }

    #[test]
    fn mac_prefixes_end_where_the_fourth_byte_could() {
        for good in ["02", "02:1", "02:11", "02:11:", "02:11:2", "02:11:22", "02:11:22:", "02:11:22:3"] {
            assert!(is_mac_prefix(good.as_bytes()), "{good}");
        }
        for bad in ["0", "01", "02:11:22:33", "0211"] {
            assert!(!is_mac_prefix(bad.as_bytes()), "{bad}");
        }
    }
}
