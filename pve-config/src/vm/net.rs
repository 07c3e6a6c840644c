// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network cards (options `netN`).

use bstr::BStr;

use crate::format::Scalar;
use crate::property::{Alias, Integer, Key, Number, properties, words};
use crate::rule::pattern;

words! {
    /// The network card that the guest sees.
    pub enum NetModel {
        /// Intel 82540EM.
        E1000 = "e1000",
        /// Intel 82540EM, by its number.
        E1000_82540em = "e1000-82540em",
        /// Intel 82544GC.
        E1000_82544gc = "e1000-82544gc",
        /// Intel 82545EM.
        E1000_82545em = "e1000-82545em",
        /// Intel 82574L.
        E1000e = "e1000e",
        /// Intel 82551.
        I82551 = "i82551",
        /// Intel 82557B.
        I82557b = "i82557b",
        /// Intel 82559ER.
        I82559er = "i82559er",
        /// NE2000 on the ISA bus.
        Ne2kIsa = "ne2k_isa",
        /// NE2000 on the PCI bus.
        Ne2kPci = "ne2k_pci",
        /// AMD PCnet.
        Pcnet = "pcnet",
        /// Realtek RTL8139.
        Rtl8139 = "rtl8139",
        /// Paravirtualised.
        Virtio = "virtio",
        /// VMware VMXNET3.
        Vmxnet3 = "vmxnet3",
    }
}

properties! {
    /// A network card.
    #[derive(Copy)]
    pub struct Net<'t>: NET = "vm:net" {
        /// Bridge that the card is attached to; without it, a network of QEMU's own with NAT.
        pub bridge: Option<&'t BStr> = Key::scalar("bridge", Scalar::BridgeId),
        /// Filter by the rules of the firewall.
        pub firewall: Option<bool> = Key::boolean("firewall"),
        /// Leave segmentation of encapsulated packets to the host.
        pub host_tunnel: Option<bool> = Key::boolean("host-tunnel"),
        /// The cable is pulled out.
        pub link_down: Option<bool> = Key::boolean("link_down"),
        /// MAC address; the reader of the reference makes one up if it is missing.
        pub macaddr: Option<&'t BStr> = Key::scalar("macaddr", Scalar::MacAddress),
        /// The network card that the guest sees.
        pub model: NetModel = Key::string("model").words(NetModel::WORDS).required().default_key(),
        /// MTU (model `virtio`); 1 takes that of the bridge.
        pub mtu: Option<Integer<'t>> = Key::integer("mtu").min(1.0).max(65520.0),
        /// Number of packet queues.
        pub queues: Option<Integer<'t>> = Key::integer("queues").min(0.0).max(64.0),
        /// Limit, MB/s.
        pub rate: Option<Number<'t>> = Key::number("rate").min(0.0),
        /// VLAN of the card's packets.
        pub tag: Option<Integer<'t>> = Key::integer("tag").min(1.0).max(4094.0),
        /// VLANs that pass through the card: numbers and ranges separated by `;`.
        pub trunks: Option<&'t BStr> =
            Key::string("trunks").pattern(pattern!("[0-9]+(-[0-9]+)?(;[0-9]+(-[0-9]+)?)*")),
    }
    registered: [];
    aliases: [
        model_alias(0), model_alias(1), model_alias(2), model_alias(3), model_alias(4), model_alias(5), model_alias(6),
        model_alias(7), model_alias(8), model_alias(9), model_alias(10), model_alias(11), model_alias(12),
        model_alias(13)
    ];
}

/// `MODEL=MAC` stands for `model=MODEL,macaddr=MAC`.
const fn model_alias(position: usize) -> Alias {
    Alias::new(NetModel::WORDS[position], "macaddr").with_key_alias("model")
}

impl Net<'_> {
    /// Number of network cards that a VM may have.
    pub const SLOTS: u16 = 32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_an_alias() {
        let aliases: Vec<&str> = NET.aliases().map(|alias| alias.name).collect();
        assert_eq!(aliases, NetModel::WORDS);
    }
}
