// SPDX-License-Identifier: MIT OR Apache-2.0
//! Network cards (spec: qemu-command-devices, "Network").

use bstr::{BStr, BString, ByteSlice};
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use crate::argument::put;
use crate::assembly::{Assembly, Step, truthy};
use crate::conf::Props;
use crate::error::{NetworkReason, Notice, Reason};
use crate::origin::{Key, Origin, Rule};
use crate::version::Feature;

/// ROM files of old machines: model, file. Other models have none.
const ROM_FILES: &[(&str, &str)] = &[
    ("virtio", "pxe-virtio.rom"),
    ("e1000", "pxe-e1000.rom"),
    ("e1000e", "pxe-e1000e.rom"),
    ("pcnet", "pxe-pcnet.rom"),
    ("rtl8139", "pxe-rtl8139.rom"),
];
/// Longest name of a network interface.
const INTERFACE_NAME: usize = 15;
/// Smallest MTU.
const MTU_LEAST: u32 = 576;
/// The MTU that old machines are not told.
const MTU_USUAL: u32 = 1500;
/// A value of `mtu` that stands for the bridge's.
const MTU_OF_BRIDGE: u32 = 1;

/// A network card.
struct Card<'a> {
    key: Key,
    index: u8,
    model: &'a BStr,
    virtio: bool,
    bridge: Option<&'a BStr>,
    queues: Option<&'a BStr>,
    props: Props<'a>,
}

impl<'a> Assembly<'a> {
    /// All network cards.
    pub(crate) fn put_networks(&mut self) -> Step {
        let cards: SmallVec<[u8; 8]> = self.conf.all("net").map(|(index, _)| index).collect();
        for index in cards.into_iter().filter(|index| *index < crate::boot::NETS) {
            let Some(props) = self.conf.nth_props("net", index) else { continue };
            let Some(model) = props.get("model") else { continue };
            let virtio = model == "virtio";
            let queues = props.truthy("queues").filter(|_| virtio);
            let bridge = props.truthy("bridge");
            let key = Key::nth("net", index);
            self.put_card(&Card { key, index, model, virtio, bridge, queues, props })?;
        }
        Ok(())
    }

    fn put_card(&mut self, card: &Card<'a>) -> Step {
        let key = card.key;
        self.put_netdev(card)?;
        let always_mtu = self.has(Feature::HostMtu);
        let mtu = self.host_mtu(card, always_mtu)?;
        let address = self.address("net", Some(card.index));
        let queues_sized = self.has(Feature::VirtioNetQueues);
        let tunnel = self.host_tunnel(card);
        let boot = self.boot.of_device(key);
        let mac = match card.props.get("macaddr") {
            Some(mac) => mac.to_owned(),
            None => self.made_up_mac(key),
        };
        let rom =
            ROM_FILES.iter().find(|(model, _)| self.rom_files && *model == card.model).map(|(_, file)| *file);

        let mut element = self.devices.option("-device", Rule::NetworkCard.of(key.sub("model")));
        if card.virtio {
            element.put("virtio-net-pci");
        } else {
            element.put(card.model);
        }
        element.because(Rule::MacAddress.of(key.sub("macaddr")));
        put!(element, ",mac=", &mac);
        element.because(Rule::NetworkCard.of(key));
        put!(element, ",netdev=net", card.index);
        if let Some(address) = address {
            element.because(Rule::Address.about(key)).put(address);
        }
        element.because(Rule::NetworkCard.of(key));
        put!(element, ",id=net", card.index);
        let queues = card.queues.and_then(|queues| queues.to_str().ok()?.parse::<u64>().ok());
        if let Some(queues) = queues.filter(|queues| *queues > 1) {
            element.because(Rule::NetworkQueues.of(key.sub("queues")));
            put!(element, ",vectors=", queues * 2 + 2, ",mq=on");
            if queues_sized {
                element.put(",packed=on");
            }
        }
        if card.virtio && queues_sized {
            element.because(Rule::NetworkQueues.about(key)).put(",rx_queue_size=1024,tx_queue_size=256");
        }
        boot.put(&mut element);
        if let Some((mtu, origin)) = mtu {
            element.because(origin);
            put!(element, ",host_mtu=", &mtu);
        }
        if let Some(file) = rom {
            element.because(Rule::NetworkRom.about(key));
            put!(element, ",romfile=", file);
        }
        if let Some(origin) = tunnel {
            element.because(origin).put(",host_tunnel=off");
        }
        Ok(())
    }

    /// An address for a card that configures none. A real start takes a random one; here it follows from card and
    /// machine, so that the same configuration gives the same command line.
    fn made_up_mac(&mut self, key: Key) -> BString {
        let hash = Sha256::digest(format!("{} {key}", self.vmid.get()));
        let bytes = hash.first_chunk().copied().unwrap_or_default();
        let mac = mac_address(bytes, &self.host.mac_prefix);
        self.effects.made_up_macs.push((key, mac.clone()));
        mac.into()
    }

    /// `-netdev`.
    fn put_netdev(&mut self, card: &Card<'a>) -> Step {
        let key = card.key;
        let interface = format!("tap{}i{}", self.vmid.get(), card.index);
        if interface.len() > INTERFACE_NAME {
            return Err(self.error(key, Reason::from(NetworkReason::InterfaceName(interface))));
        }
        let name = self.guest_name();
        let vhost = self.native && self.host.vhost_net && card.virtio;
        let mut element = self
            .devices
            .option("-netdev", Rule::NetworkBackend.of_or_default(key.sub("bridge"), card.bridge.is_some()));
        if card.bridge.is_some() {
            put!(element, "type=tap,id=net", card.index, ",ifname=", &interface);
            put!(element, ",script=/usr/libexec/qemu-server/pve-bridge");
            put!(element, ",downscript=/usr/libexec/qemu-server/pve-bridgedown");
            if vhost {
                element.because(Rule::VhostNet.host("vhost_net", key)).put(",vhost=on");
            }
        } else {
            put!(element, "type=user,id=net", card.index);
            element.because(Rule::Name.of(Key::new("name")));
            put!(element, ",hostname=", &name);
        }
        if let Some(queues) = card.queues {
            element.because(Rule::NetworkQueues.of(key.sub("queues")));
            put!(element, ",queues=", queues);
        }
        Ok(())
    }

    /// The MTU that the guest is told.
    fn host_mtu(&mut self, card: &Card<'a>, always: bool) -> Step<Option<(BString, Origin)>> {
        let key = card.key;
        let configured = card.props.truthy("mtu");
        let given = self.nets_host_mtu.and_then(|list| listed_mtu(list, card.index));
        let applies = card.virtio && card.bridge.is_some();
        if let Some(mtu) = given.filter(|mtu| applies || !truthy(Some(mtu))) {
            let text = format!("the MTU on the source of the state is {mtu}");
            self.notices.push(Notice { key, text });
        }
        let Some(bridge) = card.bridge.filter(|_| card.virtio && given.is_none_or(|mtu| truthy(Some(mtu))))
        else {
            let silent = given.is_some_and(|mtu| !truthy(Some(mtu)))
                && !always
                && configured.is_some_and(|mtu| mtu == "1500");
            if configured.is_some() && !silent {
                self.warn(key.sub("mtu"), "mtu is ignored: it needs a virtio card on a bridge");
            }
            return Ok(None);
        };
        let known = bridge.to_str().ok().and_then(|name| self.host.bridge_mtu(name));
        let Some(bridge_mtu) = known else {
            let reason = NetworkReason::NoBridge(bridge.to_owned());
            return Err(self.error(key.sub("bridge"), Reason::from(reason)));
        };
        let wanted = given.or(configured);
        let number = wanted.and_then(|mtu| mtu.to_str().ok()?.parse::<u32>().ok());
        let origin = match (given, configured) {
            (Some(_), _) => Rule::HostMtu.caller("MTU list"),
            (None, Some(_)) => Rule::HostMtu.of(key.sub("mtu")),
            (None, None) => Rule::HostMtu.host("bridges", key.sub("bridge")),
        };
        let (number, text, origin) = match (number, wanted) {
            (Some(MTU_OF_BRIDGE), _) | (None, _) | (_, None) => {
                let text = BString::from(bridge_mtu.to_string());
                (bridge_mtu, text, Rule::HostMtu.host("bridges", key.sub("bridge")))
            }
            (Some(mtu), Some(text)) => {
                let shown = text.to_str_lossy().into_owned();
                let reason = if mtu < MTU_LEAST {
                    Some(NetworkReason::MtuTooSmall(shown))
                } else if mtu > bridge_mtu {
                    Some(NetworkReason::MtuTooLarge { mtu: shown, bridge: bridge_mtu })
                } else {
                    None
                };
                if let Some(reason) = reason {
                    return Err(self.error(key.sub("mtu"), Reason::from(reason)));
                }
                (mtu, text.to_owned(), origin)
            }
        };
        Ok((always || given.is_some() || number != MTU_USUAL).then_some((text, origin)))
    }

    /// Why offloading of tunnels is off, if it is.
    fn host_tunnel(&mut self, card: &Card<'a>) -> Option<Origin> {
        if !card.virtio {
            return None;
        }
        let key = card.key.sub("host-tunnel");
        let configured = card.props.get("host-tunnel");
        let on = configured.is_some_and(|tunnel| truthy(Some(tunnel)));
        let off = if self.has(Feature::TunnelOff) {
            !on
        } else {
            self.has(Feature::TunnelOption) && configured.is_some() && !on
        };
        off.then(|| Rule::HostTunnel.of_or_default(key, configured.is_some()))
    }
}

/// A MAC address of these bytes, made one of a single card that nobody has been given; a prefix takes the place of its
/// first characters (spec: vm-lifecycle, "Generated values").
pub(crate) fn mac_address(bytes: [u8; 6], prefix: &str) -> String {
    let [first, rest @ ..] = bytes;
    let mut address = prefix.to_ascii_uppercase();
    let mut whole = format!("{:02X}", first & 0xfe | 0x02);
    for byte in rest {
        whole.push_str(&format!(":{byte:02X}"));
    }
    address.push_str(whole.get(prefix.len()..).unwrap_or_default());
    address
}

/// The MTU of a card in a list `net0=1500,net1=0`.
fn listed_mtu(list: &BStr, index: u8) -> Option<&BStr> {
    list.split_str(",").find_map(|pair| {
        let (net, mtu) = pair.split_once_str("=")?;
        let number: u8 = net.trim_ascii().strip_prefix(b"net")?.to_str().ok()?.parse().ok()?;
        (number == index).then_some(mtu.trim_ascii().as_bstr())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_take_the_place_of_the_first_characters() {
        let bytes = [0xff, 0x01, 0x02, 0x03, 0x04, 0xab];
        assert_eq!(mac_address(bytes, ""), "FE:01:02:03:04:AB");
        assert_eq!(mac_address(bytes, "bc:24:11"), "BC:24:11:03:04:AB");
        assert_eq!(mac_address(bytes, "BC:24:11:"), "BC:24:11:03:04:AB");
        assert_eq!(mac_address(bytes, "BC:24:11:F"), "BC:24:11:F3:04:AB");
    }

    #[test]
    fn mtu_lists_are_read_by_card() {
        let list = BStr::new("net0=1500, net11=9000");
        assert_eq!(listed_mtu(list, 0), Some(BStr::new("1500")));
        assert_eq!(listed_mtu(list, 11), Some(BStr::new("9000")));
        assert_eq!(listed_mtu(list, 1), None);
    }
}
