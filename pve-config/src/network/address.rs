// SPDX-License-Identifier: MIT OR Apache-2.0
//! IP addresses of interfaces, with the length of their network prefix.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use bstr::{BStr, BString, ByteSlice};
use serde::{Serialize, Serializer};
use thiserror::Error;

/// An address of an interface.
///
/// ```
/// use pve_config::network::Address;
///
/// let address = Address::parse(b"192.0.2.10/24")?;
/// assert_eq!(address.prefix, Some(24));
/// assert_eq!(address.contains("192.0.2.1".parse().unwrap()), Some(true));
/// assert_eq!(address.contains("198.51.100.1".parse().unwrap()), Some(false));
/// assert_eq!(Address::parse(b"2001:db8::1")?.to_string(), "2001:db8::1");
/// # Ok::<(), pve_config::network::AddressError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// Length of the network prefix in bits, if it is given: at most 32 for IPv4, 128 for IPv6.
    pub prefix: Option<u8>,
}

/// Why a text is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Not an IP address.
    #[error("{text:?} is not an IP address")]
    Ip {
        /// The text.
        text: BString,
    },
    /// The part behind the `/`, or the `netmask`, is neither a number of bits nor a mask.
    #[error("{text:?} is no network mask: write the number of bits, such as 24")]
    Mask {
        /// The text.
        text: BString,
    },
}

impl Address {
    /// Reads `ADDRESS`, `ADDRESS/BITS` or `ADDRESS/MASK`.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(text: &[u8]) -> Result<Self, AddressError> {
        match text.split_once_str("/") {
            Some((ip, mask)) => Address::bare(ip)?.with_mask(mask),
            None => Address::bare(text),
        }
    }

    fn bare(text: &[u8]) -> Result<Self, AddressError> {
        let ip = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
        ip.map(|ip| Address { ip, prefix: None }).ok_or_else(|| AddressError::Ip { text: text.into() })
    }

    /// The same with the network mask of the option `netmask`: a number of bits, or for IPv4 a dotted mask.
    ///
    /// # Errors
    /// [`AddressError::Mask`].
    pub fn with_mask(self, mask: &[u8]) -> Result<Self, AddressError> {
        let error = || AddressError::Mask { text: mask.into() };
        let text = std::str::from_utf8(mask).map_err(|_| error())?;
        let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = match self.ip {
            IpAddr::V4(_) if !all_digits => {
                let mask: Ipv4Addr = text.parse().map_err(|_| error())?;
                let bits = mask.to_bits();
                if bits.leading_ones() + bits.trailing_zeros() < u32::BITS {
                    return Err(error());
                }
                bits.leading_ones() as u8
            }
            _ => text.parse().ok().filter(|_| all_digits).ok_or_else(error)?,
        };
        if prefix > self.most_bits() {
            return Err(error());
        }
        Ok(Address { prefix: Some(prefix), ..self })
    }

    /// Whether `ip` is in the network of this address. `None` if the prefix is not known, or `ip` is of the other
    /// family.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> Option<bool> {
        let left = |bits: u8| u32::from(self.most_bits() - bits.min(self.most_bits()));
        let left = left(self.prefix?);
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                Some((own.to_bits() ^ other.to_bits()).checked_shr(left).unwrap_or(0) == 0)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                Some((own.to_bits() ^ other.to_bits()).checked_shr(left).unwrap_or(0) == 0)
            }
            _ => None,
        }
    }

    fn most_bits(&self) -> u8 {
        if self.ip.is_ipv4() { 32 } else { 128 }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix {
            Some(prefix) => write!(f, "{}/{prefix}", self.ip),
            None => write!(f, "{}", self.ip),
        }
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An IP address without a prefix.
pub(super) fn parse_ip(text: &BStr) -> Option<IpAddr> {
    text.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_come_as_bits_or_dotted() {
        let read = |text: &str| Address::parse(text.as_bytes()).map(|address| address.prefix);
        assert_eq!(read("10.0.0.1/255.255.255.0"), Ok(Some(24)));
        assert_eq!(read("10.0.0.1/0"), Ok(Some(0)));
        assert_eq!(read("10.0.0.1/0.0.0.0"), Ok(Some(0)));
        assert_eq!(read("fe80::1/64"), Ok(Some(64)));
        for bad in
            ["10.0.0.1/33", "10.0.0.1/255.0.255.0", "fe80::1/129", "::1/ffff::", "10.0.0.1/", "1.2.3.4/+8"]
        {
            assert!(matches!(read(bad), Err(AddressError::Mask { .. })), "{bad}");
        }
        for bad in ["", "10.0.0", "010.0.0.1", "fe80::1%eth0", "host/24"] {
            assert!(matches!(read(bad), Err(AddressError::Ip { .. })), "{bad}");
        }
    }

    #[test]
    fn networks_contain_their_gateway() {
        let contains = |network: &str, ip: &str| {
            Address::parse(network.as_bytes()).unwrap().contains(ip.parse().unwrap())
        };
        assert_eq!(contains("10.0.0.1/0", "192.0.2.1"), Some(true));
        assert_eq!(contains("10.0.0.1/32", "10.0.0.1"), Some(true));
        assert_eq!(contains("10.0.0.1/31", "10.0.0.2"), Some(false));
        assert_eq!(contains("2001:db8::1/0", "::1"), Some(true));
        assert_eq!(contains("2001:db8::1/64", "2001:db8:0:1::1"), Some(false));
        assert_eq!(contains("10.0.0.1/8", "::1"), None);
        assert_eq!(contains("10.0.0.1", "10.0.0.1"), None);
    }
}
