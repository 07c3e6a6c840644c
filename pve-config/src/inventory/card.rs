// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network cards of guests, and what they are attached to.

use bstr::{BStr, ByteSlice};
use serde::{Serialize, Serializer};

use super::{Guest, GuestConfig, Inventory};
use crate::container;
use crate::network::Network;
use crate::vm;

/// A network card of a guest of either kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Card<'g> {
    /// Number of the option `netN`.
    pub index: u32,
    /// What the guest sees: `virtio`, `e1000` … of a virtual machine, `veth` of a container.
    pub model: &'static str,
    /// MAC address.
    #[serde(serialize_with = "lossy")]
    pub address: Option<&'g BStr>,
    /// Bridge; without it, a virtual machine has a network of QEMU's own, and a container none.
    #[serde(serialize_with = "lossy")]
    pub bridge: Option<&'g BStr>,
    /// VLAN.
    pub vlan: Option<u16>,
}

impl<'f> Guest<'f> {
    /// Its network cards; one that cannot be read is left out.
    #[must_use]
    pub fn cards(&self) -> Vec<Card<'_>> {
        match &self.config {
            GuestConfig::Vm(config) => {
                let cards = config.main.numbered("net").filter_map(|(index, text)| {
                    let net = vm::Net::parse(text).ok()?;
                    let (address, bridge) = (net.macaddr, net.bridge);
                    let vlan = net.tag.and_then(|tag| tag.to());
                    Some(Card { index, model: net.model.as_str(), address, bridge, vlan })
                });
                cards.collect()
            }
            GuestConfig::Container(config) => {
                let cards = config.main.numbered("net").filter_map(|(index, text)| {
                    let net = container::Net::parse(text).ok()?;
                    let (address, bridge) = (net.hwaddr, net.bridge);
                    let vlan = net.tag.and_then(|tag| tag.to());
                    Some(Card { index, model: "veth", address, bridge, vlan })
                });
                cards.collect()
            }
        }
    }
}

impl<'f> Inventory<'f> {
    /// Every network card with its guest, guests in their order.
    pub fn cards(&self) -> impl Iterator<Item = (&Guest<'f>, Card<'_>)> {
        self.guests.iter().flat_map(|guest| guest.cards().into_iter().map(move |card| (guest, card)))
    }

    /// The cards of guests on `node` that hang in the air there: see [`Card::hangs`].
    pub fn hanging_cards<'i>(
        &'i self,
        node: &'i [u8],
        network: &'i Network<'_>,
    ) -> impl Iterator<Item = (&'i Guest<'f>, Card<'i>)> {
        self.cards().filter(move |(guest, card)| guest.node == node && card.hangs(network))
    }
}

impl Card<'_> {
    /// Whether the card's bridge is no interface of a node with this network. If the file of the node includes others, as
    /// it does for the bridges of the software-defined network, that cannot be said.
    #[must_use]
    pub fn hangs(&self, network: &Network<'_>) -> bool {
        self.bridge.is_some_and(|bridge| network.get(bridge).is_none() && network.sources().is_empty())
    }
}

fn lossy<S: Serializer>(text: &Option<&BStr>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => serializer.serialize_some(&text.to_str_lossy()),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_of_both_kinds() {
        let files = [
            (
                "nodes/a/qemu-server/100.conf",
                &b"net0: virtio=BC:24:11:00:00:01,bridge=vmbr0,tag=7\nnet1: e1000\nnet2: ,\n"[..],
            ),
            ("nodes/a/lxc/101.conf", b"net0: name=eth0,bridge=vmbr9,hwaddr=BC:24:11:00:00:02\n"),
        ];
        let cluster = Inventory::new(files);
        let cards: Vec<_> =
            cluster.cards().map(|(guest, card)| (guest.vmid, card.index, card.model)).collect();
        assert_eq!(cards, [(100, 0, "virtio"), (100, 1, "e1000"), (101, 0, "veth")]);
        let first = cluster.guests[0].cards()[0];
        assert_eq!((first.vlan, first.address), (Some(7), Some("BC:24:11:00:00:01".into())));

        let network = Network::parse(b"iface vmbr0 inet manual\n\tbridge-ports none\n");
        let missing: Vec<_> = cluster.hanging_cards(b"a", &network).map(|(guest, _)| guest.vmid).collect();
        assert_eq!(missing, [101]);
        assert_eq!(cluster.hanging_cards(b"b", &network).count(), 0);
        let network = Network::parse(b"source /etc/network/interfaces.d/*\n");
        assert_eq!(cluster.hanging_cards(b"a", &network).count(), 0);
    }
}
