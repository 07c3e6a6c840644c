// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values of storage definitions.

use super::{address, all_digits, chomp, is_white_space, name};

/// Only the beginning is tested: `/` and a byte other than LF, `;`, `(`, `)`.
pub(super) fn is_storage_path(value: &[u8]) -> bool {
    matches!(value, [b'/', second, ..] if !matches!(second, b';' | b'(' | b')'))
}

pub(super) fn is_storage_path_in_property_string(value: &[u8]) -> bool {
    is_storage_path(value) && !matches!(value, [_, b',' | b'=', ..])
}

/// `HOST[:PORT]`, `[ADDRESS][:PORT]`, or `IPV6[.PORT]`.
pub(super) fn is_portal(value: &[u8]) -> bool {
    let value = chomp(value);
    if let Some(rest) = value.strip_prefix(b"[") {
        let Some(close) = rest.iter().position(|byte| *byte == b']') else { return false };
        let (address, port) = rest.split_at(close);
        let port = port.get(1..).unwrap_or_default();
        return (is_host(address) || is_ipv6(address))
            && (port.is_empty() || port.strip_prefix(b":").is_some_and(all_digits));
    }
    let host_and_port = match value.iter().position(|byte| *byte == b':') {
        None => is_host(value),
        Some(colon) => {
            let (host, port) = value.split_at(colon);
            is_host(host) && all_digits(port.get(1..).unwrap_or_default())
        }
    };
    // the last dot may belong to an embedded IPv4 address or start a port
    let before_dot = value.iter().rposition(|byte| *byte == b'.').map(|dot| value.split_at(dot));
    host_and_port
        || is_ipv6(value)
        || before_dot
            .is_some_and(|(address, port)| is_ipv6(address) && all_digits(port.get(1..).unwrap_or_default()))
}

fn is_host(host: &[u8]) -> bool {
    !host.is_empty() && host.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

fn is_ipv6(address: &[u8]) -> bool {
    !address.ends_with(b"\n") && address::is_ipv6(address)
}

pub(super) fn is_volume_group(value: &[u8]) -> bool {
    let value = chomp(value);
    value.len() >= 2
        && [value.first(), value.last()].iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && value.iter().all(|byte| name::is_name_byte(*byte))
}

pub(super) fn is_content(value: &[u8]) -> bool {
    matches!(
        value,
        b"images" | b"rootdir" | b"vztmpl" | b"iso" | b"backup" | b"snippets" | b"none" | b"import"
    )
}

pub(super) fn is_image_format(value: &[u8]) -> bool {
    matches!(value, b"raw" | b"qcow2" | b"vmdk" | b"subvol")
}

pub(super) fn is_options(value: &[u8]) -> bool {
    let value = chomp(value);
    !value.is_empty() && !value.iter().any(|byte| is_white_space(*byte))
}

/// `CONTENT=PATH`: PATH has a byte other than a dot, never two dots in a row, none at its end.
pub(super) fn is_dir_override(value: &[u8]) -> bool {
    let value = chomp(value);
    let Some(equals) = value.iter().position(|byte| *byte == b'=') else { return false };
    let (content, path) = value.split_at(equals);
    let path = path.get(1..).unwrap_or_default();
    is_content(content)
        && path.iter().any(|byte| *byte != b'.')
        && !path.ends_with(b".")
        && !path.windows(2).any(|pair| pair == b"..")
        && !path.contains(&b'\n')
        && path.len() <= 1022
        && path.split(|byte| *byte == b'/').all(|component| component.len() <= 254)
}

/// Power of two from 512 to 16 MiB, without leading zeros, with optional `k` or `m`.
pub(super) fn is_zfs_block_size(value: &[u8]) -> bool {
    let value = chomp(value);
    let (digits, shift) = match value {
        [digits @ .., b'k' | b'K'] => (digits, 10),
        [digits @ .., b'm' | b'M'] => (digits, 20),
        _ => (value, 0),
    };
    if !all_digits(digits) || digits.first() == Some(&b'0') || digits.len() > 8 {
        return false;
    }
    let number = digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    let bytes = number << shift;
    bytes.is_power_of_two() && (512..=16 << 20).contains(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portals_come_in_three_shapes() {
        for good in [
            "host",
            "host:3260",
            "1.2.3.4:1",
            "[::1]",
            "[::1]:3300",
            "[host]:1",
            "::1",
            "fe80::1.6789",
            "::1.2.3.4",
            "::1.2.3.4.5",
        ] {
            assert!(is_portal(good.as_bytes()), "{good}");
        }
        for bad in ["", "host:", "[::1", "[::1]x", "[::1]:", "a_b", "::1:x", "[]", "host:1:2"] {
            assert!(!is_portal(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn block_sizes_are_powers_of_two() {
        for good in ["512", "8k", "16K", "1m", "16M", "16777216", "16384k"] {
            assert!(is_zfs_block_size(good.as_bytes()), "{good}");
        }
        for bad in ["", "256", "08k", "32m", "3k", "k", "8kb", "-8k", "99999999999999999999"] {
            assert!(!is_zfs_block_size(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn overrides_name_a_content_type_and_a_tame_path() {
        for good in ["iso=/a", "images=a.b/c", "backup=x=y", "iso=.a"] {
            assert!(is_dir_override(good.as_bytes()), "{good}");
        }
        for bad in ["iso", "iso=", "foo=/a", "iso=..", "iso=a/../b", "iso=a.", "ISO=/a", "iso=."] {
            assert!(!is_dir_override(bad.as_bytes()), "{bad}");
        }
        assert!(!is_dir_override(format!("iso={}", "a".repeat(255)).as_bytes()));
        assert!(!is_dir_override(format!("iso={}", "a/".repeat(600)).as_bytes()));
    }
}
