// SPDX-License-Identifier: MIT OR Apache-2.0
//! Cloud-init: addresses of the network cards and files of one's own (options `ipconfigN`, `cicustom`).

use bstr::BStr;

use crate::format::{Scalar, is_falsy};
use crate::property::{Key, properties};
use crate::rule::ValueError;

properties! {
    /// Addresses that cloud-init gives to a network card.
    #[derive(Copy, Default)]
    pub struct IpConfig<'t>: IPCONFIG = "vm:ipconfig" {
        /// Default gateway for IPv4; needs an address.
        pub gw: Option<&'t BStr> = Key::scalar("gw", Scalar::Ipv4).requires("ip"),
        /// Default gateway for IPv6; needs an address.
        pub gw6: Option<&'t BStr> = Key::scalar("gw6", Scalar::Ipv6).requires("ip6"),
        /// IPv4 address with prefix length, `dhcp` or `manual`.
        pub ip: Option<&'t BStr> = Key::scalar("ip", Scalar::Ipv4Config).default("dhcp"),
        /// IPv6 address with prefix length, `dhcp`, `auto` or `manual`.
        pub ip6: Option<&'t BStr> = Key::scalar("ip6", Scalar::Ipv6Config).default("dhcp"),
    }
    registered: ["pve-qm-ipconfig"];
    aliases: [];
}

/// Addresses that cloud-init cannot use, although they are valid in the file.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IpConfigError {
    /// The text is not valid.
    #[error(transparent)]
    Invalid(#[from] ValueError),
    /// A gateway for IPv4 together with DHCP.
    #[error("gateway {gw:?} given, but the IPv4 address comes from DHCP")]
    GatewayWithDhcp {
        /// The gateway.
        gw: bstr::BString,
    },
    /// A gateway for IPv6 without a fixed address.
    #[error("gateway {gw6:?} given, but no fixed IPv6 address")]
    GatewayWithoutIpv6 {
        /// The gateway.
        gw6: bstr::BString,
    },
}

impl<'t> IpConfig<'t> {
    /// The addresses as cloud-init gets them: both by DHCP if neither is given (spec: VM configuration, "Typed
    /// readers").
    ///
    /// # Errors
    ///
    /// A text that is not valid, or a gateway without a fixed address.
    ///
    /// ```
    /// use pve_config::vm::IpConfig;
    ///
    /// let config = IpConfig::read(b"ip=10.0.0.5/24,gw=10.0.0.1").unwrap();
    /// assert_eq!(config.ip.unwrap(), "10.0.0.5/24");
    /// assert_eq!(IpConfig::read(b"").unwrap().ip6.unwrap(), "dhcp");
    /// assert!(IpConfig::read(b"ip=dhcp,gw=10.0.0.1").is_err());
    /// ```
    pub fn read(text: &'t [u8]) -> Result<Self, IpConfigError> {
        let mut config = Self::parse(text)?;
        let set = |value: Option<&'t BStr>| value.filter(|value| !is_falsy(value));
        if let (Some(gw), Some(ip)) = (set(config.gw), config.ip)
            && ip == "dhcp"
        {
            return Err(IpConfigError::GatewayWithDhcp { gw: gw.into() });
        }
        if let Some(gw6) = set(config.gw6)
            && !config.ip6.is_some_and(starts_with_ipv6)
        {
            return Err(IpConfigError::GatewayWithoutIpv6 { gw6: gw6.into() });
        }
        if set(config.ip).is_none() && set(config.ip6).is_none() {
            config.ip = Some(BStr::new("dhcp"));
            config.ip6 = Some(BStr::new("dhcp"));
        }
        Ok(config)
    }
}

/// A value of `ip6` is a word or an address with a prefix length; only addresses contain a colon.
fn starts_with_ipv6(value: &BStr) -> bool {
    value.contains(&b':')
}

properties! {
    /// Files of one's own in place of those that are generated for cloud-init.
    #[derive(Copy, Default)]
    pub struct CiCustom<'t>: CICUSTOM = "vm:cicustom" {
        /// Meta data.
        pub meta: Option<&'t BStr> = Key::scalar("meta", Scalar::VolumeId),
        /// Network configuration.
        pub network: Option<&'t BStr> = Key::scalar("network", Scalar::VolumeId),
        /// User data.
        pub user: Option<&'t BStr> = Key::scalar("user", Scalar::VolumeId),
        /// Vendor data.
        pub vendor: Option<&'t BStr> = Key::scalar("vendor", Scalar::VolumeId),
    }
    registered: ["pve-qm-cicustom"];
    aliases: [];
}
