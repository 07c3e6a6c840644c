// SPDX-License-Identifier: MIT OR Apache-2.0
//! The addresses of one interface: what `ipconfigN` comes to.

use std::net::Ipv4Addr;

use bstr::{BStr, BString, ByteSlice};
use pve_config::vm::IpConfig;

/// The addresses of an interface. Both absent: the guest gets the interface without any address.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// How the interface gets its IPv4 address, if it is to have one.
    pub ipv4: Option<Ipv4>,
    /// How the interface gets its IPv6 address, if it is to have one.
    pub ipv6: Option<Ipv6>,
}

/// How an interface gets its IPv4 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipv4 {
    /// From a DHCP server.
    Dhcp,
    /// Not by cloud-init. The option takes this word, but no image can be made of it.
    Manual,
    /// A fixed address.
    Static {
        /// The address, without prefix length.
        address: BString,
        /// Length of the network prefix, 8 to 32.
        prefix: u8,
        /// The default gateway, if there is one.
        gateway: Option<BString>,
    },
}

/// How an interface gets its IPv6 address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ipv6 {
    /// From router advertisements (SLAAC).
    Auto,
    /// From a DHCPv6 server.
    Dhcp,
    /// A fixed address. The word `manual` is put here as well: the reference writes it into the image as if it were
    /// an address.
    Static {
        /// `ADDRESS/PREFIX`, as written in the configuration.
        cidr: BString,
        /// The default gateway, if there is one.
        gateway: Option<BString>,
    },
}

impl From<IpConfig<'_>> for Addresses {
    /// The addresses of an option as [`IpConfig::read`] understands it.
    fn from(config: IpConfig<'_>) -> Self {
        Addresses {
            ipv4: config.ip.map(|value| Ipv4::read(value, config.gw)),
            ipv6: config.ip6.map(|value| Ipv6::read(value, config.gw6)),
        }
    }
}

impl Ipv4 {
    fn read(value: &BStr, gateway: Option<&BStr>) -> Self {
        match (value.as_bytes(), value.split_once_str("/")) {
            (b"dhcp", _) => Ipv4::Dhcp,
            (_, Some((address, prefix))) => Ipv4::Static {
                address: address.into(),
                prefix: prefix.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(32),
                gateway: gateway.map(BString::from),
            },
            _ => Ipv4::Manual,
        }
    }
}

impl Ipv6 {
    fn read(value: &BStr, gateway: Option<&BStr>) -> Self {
        match value.as_bytes() {
            b"auto" => Ipv6::Auto,
            b"dhcp" => Ipv6::Dhcp,
            _ => Ipv6::Static { cidr: value.into(), gateway: gateway.map(BString::from) },
        }
    }
}

/// Address and prefix length of an `ADDRESS/PREFIX`; the length is empty where there is none (`manual`).
pub(super) fn split_cidr(cidr: &[u8]) -> (&[u8], &[u8]) {
    cidr.split_once_str("/").unwrap_or((cidr, b""))
}

/// The dotted network mask of a prefix length.
pub(super) fn dotted_mask(prefix: u8) -> String {
    let bits = u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0);
    Ipv4Addr::from_bits(bits).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Addresses {
        IpConfig::read(text.as_bytes()).map_or_else(|_| Addresses::default(), Addresses::from)
    }

    #[test]
    fn a_gateway_without_a_fixed_address_voids_the_option() {
        assert_eq!(addresses("ip=dhcp,gw=192.0.2.1,ip6=auto"), Addresses::default());
        for ip6 in ["auto", "dhcp", "manual"] {
            let text = format!("ip=dhcp,ip6={ip6},gw6=2001:db8::1");
            assert_eq!(addresses(&text), Addresses::default(), "{text}");
        }
        assert_eq!(addresses("ip=manual,gw=192.0.2.1").ipv4, Some(Ipv4::Manual));
    }

    #[test]
    fn nothing_set_means_dhcp() {
        assert_eq!(addresses(","), Addresses { ipv4: Some(Ipv4::Dhcp), ipv6: Some(Ipv6::Dhcp) });
    }

    #[test]
    fn masks_of_every_length() {
        assert_eq!(dotted_mask(8), "255.0.0.0");
        assert_eq!(dotted_mask(23), "255.255.254.0");
        assert_eq!(dotted_mask(32), "255.255.255.255");
        assert_eq!((dotted_mask(0), dotted_mask(255)), ("0.0.0.0".to_owned(), "255.255.255.255".to_owned()));
    }
}
