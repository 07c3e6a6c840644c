// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network cards of a container (options `netN`).

use bstr::BStr;

use crate::format::Scalar;
use crate::property::{Integer, Key, Number, properties, words};
use crate::rule::{Pattern, pattern};

words! {
    /// Kind of network card.
    pub enum NetType {
        /// A pair of virtual Ethernet devices, one end in the container.
        Veth = "veth",
    }
}

/// Name of a network device.
const DEVICE_NAME: Pattern<'static> = pattern!("[-0-9A-Z_a-z.]+");

properties! {
    /// A network card of a container.
    #[derive(Copy)]
    pub struct Net<'t>: NET = "lxc:net" {
        /// Bridge that the card is attached to.
        pub bridge: Option<&'t BStr> = Key::string("bridge").pattern(DEVICE_NAME),
        /// Filter by the rules of the firewall.
        pub firewall: Option<bool> = Key::boolean("firewall"),
        /// Default gateway for IPv4.
        pub gw: Option<&'t BStr> = Key::scalar("gw", Scalar::Ipv4),
        /// Default gateway for IPv6.
        pub gw6: Option<&'t BStr> = Key::scalar("gw6", Scalar::Ipv6),
        /// The host configures the card, not the container.
        pub host_managed: Option<bool> = Key::boolean("host-managed"),
        /// MAC address; the reader of the reference makes one up if it is missing.
        pub hwaddr: Option<&'t BStr> = Key::scalar("hwaddr", Scalar::MacAddress),
        /// IPv4 address with prefix length, `dhcp` or `manual`.
        pub ip: Option<&'t BStr> = Key::scalar("ip", Scalar::Ipv4Config),
        /// IPv6 address with prefix length, `dhcp`, `auto` or `manual`.
        pub ip6: Option<&'t BStr> = Key::scalar("ip6", Scalar::Ipv6Config),
        /// The cable is pulled out.
        pub link_down: Option<bool> = Key::boolean("link_down"),
        /// MTU.
        pub mtu: Option<Integer<'t>> = Key::integer("mtu").min(64.0).max(65535.0),
        /// Name of the card in the container.
        pub name: &'t BStr = Key::string("name").pattern(DEVICE_NAME).required(),
        /// Limit, MB/s.
        pub rate: Option<Number<'t>> = Key::number("rate"),
        /// VLAN of the card's packets.
        pub tag: Option<Integer<'t>> = Key::integer("tag").min(1.0).max(4094.0),
        /// VLANs that pass through the card: numbers separated by `;`.
        pub trunks: Option<&'t BStr> = Key::string("trunks").pattern(pattern!("[0-9]+(;[0-9]+)*")),
        /// Kind; the reader of the reference sets `veth`.
        pub kind: Option<NetType> = Key::string("type").words(NetType::WORDS),
    }
    registered: ["pve-lxc-network"];
    aliases: [];
}
