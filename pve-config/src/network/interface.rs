// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the stanzas of an interface mean: its kind, addresses, ports and parents.

use std::borrow::Cow;
use std::net::IpAddr;

use bstr::{BStr, ByteSlice};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::address::{Address, parse_ip};
use super::line::words;
use super::stanza::{Iface, IfaceOption};

/// An interface: all stanzas with its name.
#[derive(Debug, Clone)]
pub struct Interface<'a> {
    stanzas: Vec<Iface<'a>>,
    /// The classes that it is allowed for; `auto` for those that are brought up at boot.
    pub(super) classes: Vec<Cow<'a, BStr>>,
}

/// What an interface is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum InterfaceKind {
    /// The loopback interface.
    Loopback,
    /// A Linux bridge.
    Bridge,
    /// A Linux bond.
    Bond,
    /// A VLAN of another interface.
    Vlan,
    /// A second set of addresses of another interface: `eth0:1`.
    Alias,
    /// A bridge of Open vSwitch.
    OvsBridge,
    /// A bond of Open vSwitch.
    OvsBond,
    /// A port of an Open vSwitch bridge.
    OvsPort,
    /// An internal port of an Open vSwitch bridge.
    OvsIntPort,
    /// Anything else: a network card, or what another program makes.
    Other,
}

/// A Linux bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bridge<'i> {
    /// The interfaces that are its ports, as written; none for `none`. `regex` and `glob` forms of ifupdown2 stand
    /// here word by word, with [`Bridge::has_pattern`] set.
    pub ports: Vec<&'i BStr>,
    /// The ports are given by patterns.
    pub has_pattern: bool,
    /// Whether it tells VLANs apart (`bridge-vlan-aware`).
    pub vlan_aware: bool,
    /// The VLANs that all ports carry, as written.
    pub vids: Option<&'i BStr>,
    /// Whether it speaks the spanning tree protocol, if that is set.
    pub stp: Option<bool>,
    /// Forward delay in seconds, as written.
    pub forward_delay: Option<&'i BStr>,
}

/// A Linux bond.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bond<'i> {
    /// The interfaces that it is made of; none for `none`.
    pub slaves: Vec<&'i BStr>,
    /// Its mode: `balance-rr`, `active-backup`, `802.3ad` … or the number of one.
    pub mode: Option<&'i BStr>,
    /// The interface that is preferred, for `active-backup`.
    pub primary: Option<&'i BStr>,
    /// Milliseconds between checks of the links, as written.
    pub miimon: Option<&'i BStr>,
    /// What the choice of a slave depends on.
    pub xmit_hash_policy: Option<&'i BStr>,
}

/// A VLAN of another interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vlan<'i> {
    /// Its number, if that is known.
    pub id: Option<u32>,
    /// The interface that it is a VLAN of, if that is known.
    pub raw_device: Option<&'i BStr>,
}

/// What Open vSwitch knows of an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ovs<'i> {
    /// The bridge that it belongs to.
    pub bridge: Option<&'i BStr>,
    /// The ports of a bridge.
    pub ports: Vec<&'i BStr>,
    /// The interfaces that a bond is made of.
    pub bonds: Vec<&'i BStr>,
    /// Arguments of `ovs-vsctl`, as written.
    pub options: Option<&'i BStr>,
    /// The VLAN of a port: `tag=` in the arguments.
    pub tag: Option<u32>,
}

impl<'a> Interface<'a> {
    pub(super) fn new(iface: Iface<'a>) -> Self {
        Interface { stanzas: vec![iface], classes: Vec::new() }
    }

    pub(super) fn add(&mut self, iface: Iface<'a>) {
        self.stanzas.push(iface);
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &BStr {
        self.stanzas.first().map(|iface| iface.name.as_ref()).unwrap_or_default()
    }

    /// Its stanzas in file order: at least one.
    #[must_use]
    pub fn stanzas(&self) -> &[Iface<'a>] {
        &self.stanzas
    }

    /// Whether it is brought up at boot.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        self.classes.iter().any(|class| **class == "auto")
    }

    /// The classes of the lines `allow-CLASS` that name it; `auto` is one.
    pub fn classes(&self) -> impl Iterator<Item = &BStr> {
        self.classes.iter().map(Cow::as_ref)
    }

    /// Its options in file order, those that it inherits included.
    pub fn options(&self) -> impl Iterator<Item = &IfaceOption<'a>> {
        self.stanzas.iter().flat_map(|iface| &iface.options)
    }

    /// The value of an option: the last one, which overrides one that is inherited. `bridge_ports` and `bridge-ports`
    /// are the same option.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&BStr> {
        self.options().filter(|option| option.is(key)).last().map(|option| option.value.as_ref())
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> InterfaceKind {
        if let Some(kind) = self.get("ovs_type") {
            match kind.as_bytes() {
                b"OVSBridge" => return InterfaceKind::OvsBridge,
                b"OVSBond" => return InterfaceKind::OvsBond,
                b"OVSPort" => return InterfaceKind::OvsPort,
                b"OVSIntPort" => return InterfaceKind::OvsIntPort,
                _ => {}
            }
        }
        let has = |key| self.get(key).is_some();
        if self.stanzas.iter().any(|iface| iface.method.as_deref() == Some(BStr::new("loopback"))) {
            InterfaceKind::Loopback
        } else if has("bridge-ports") || has("bridge-vlan-aware") {
            InterfaceKind::Bridge
        } else if has("bond-slaves") || has("bond-mode") {
            InterfaceKind::Bond
        } else if has("vlan-raw-device") || has("vlan-id") || vlan_by_name(self.name()).is_some() {
            InterfaceKind::Vlan
        } else if self.name().contains(&b':') {
            InterfaceKind::Alias
        } else {
            InterfaceKind::Other
        }
    }

    /// Its addresses, as far as they can be read; a `netmask` belongs to the addresses of its stanza.
    #[must_use]
    pub fn addresses(&self) -> Vec<Address> {
        let of_stanza = |iface: &Iface<'a>| -> Vec<Address> {
            let mask = iface.all("netmask").last();
            let read = iface.all("address").filter_map(|text| {
                let address = Address::parse(text).ok()?;
                match (address.prefix, mask) {
                    (None, Some(mask)) => address.with_mask(mask).ok(),
                    _ => Some(address),
                }
            });
            read.collect()
        };
        self.stanzas.iter().flat_map(of_stanza).collect()
    }

    /// The default gateways that it leads to, as far as they can be read.
    #[must_use]
    pub fn gateways(&self) -> Vec<IpAddr> {
        let values = self.options().filter(|option| option.is("gateway"));
        values.filter_map(|option| parse_ip(&option.value)).collect()
    }

    /// The largest packet in bytes, if it is set to a number.
    #[must_use]
    pub fn mtu(&self) -> Option<u32> {
        self.get("mtu").and_then(number)
    }

    /// Its hardware address, if it is set; `ether` before it is no part of it.
    #[must_use]
    pub fn hardware_address(&self) -> Option<&BStr> {
        self.get("hwaddress").and_then(|text| words(text).last())
    }

    /// What it is as a Linux bridge.
    #[must_use]
    pub fn bridge(&self) -> Option<Bridge<'_>> {
        (self.kind() == InterfaceKind::Bridge).then(|| {
            let ports = self.names("bridge-ports");
            Bridge {
                has_pattern: ports.iter().any(|port| matches!(port.as_bytes(), b"regex" | b"glob" | b"all")),
                ports,
                vlan_aware: self.get("bridge-vlan-aware").and_then(switch) == Some(true),
                vids: self.get("bridge-vids"),
                stp: self.get("bridge-stp").and_then(switch),
                forward_delay: self.get("bridge-fd"),
            }
        })
    }

    /// What it is as a Linux bond.
    #[must_use]
    pub fn bond(&self) -> Option<Bond<'_>> {
        (self.kind() == InterfaceKind::Bond).then(|| Bond {
            slaves: self.names("bond-slaves"),
            mode: self.get("bond-mode"),
            primary: self.get("bond-primary"),
            miimon: self.get("bond-miimon"),
            xmit_hash_policy: self.get("bond-xmit-hash-policy"),
        })
    }

    /// What it is as a VLAN: by its options, or by a name like `eno1.5` (VLAN 5 of `eno1`) or `vlan5`.
    #[must_use]
    pub fn vlan(&self) -> Option<Vlan<'_>> {
        (self.kind() == InterfaceKind::Vlan).then(|| {
            let by_name = vlan_by_name(self.name()).unwrap_or(Vlan { id: None, raw_device: None });
            Vlan {
                id: self.get("vlan-id").map_or(by_name.id, number),
                raw_device: self.get("vlan-raw-device").or(by_name.raw_device),
            }
        })
    }

    /// What Open vSwitch knows of it.
    #[must_use]
    pub fn ovs(&self) -> Option<Ovs<'_>> {
        self.get("ovs_type")?;
        let options = self.get("ovs_options");
        let tag = options.and_then(|options| words(options).find_map(|word| word.strip_prefix(b"tag=")));
        Some(Ovs {
            bridge: self.get("ovs_bridge"),
            ports: self.names("ovs_ports"),
            bonds: self.names("ovs_bonds"),
            options,
            tag: tag.map(BStr::new).and_then(number),
        })
    }

    /// The interfaces that it is made of or lies on: ports of a bridge, slaves of a bond, the device of a VLAN.
    #[must_use]
    pub fn parts(&self) -> Vec<&BStr> {
        match self.kind() {
            InterfaceKind::Bridge if self.bridge().is_some_and(|bridge| bridge.has_pattern) => Vec::new(),
            InterfaceKind::Bridge => self.names("bridge-ports"),
            InterfaceKind::Bond => self.names("bond-slaves"),
            InterfaceKind::OvsBridge => self.names("ovs_ports"),
            InterfaceKind::OvsBond => self.names("ovs_bonds"),
            InterfaceKind::Vlan => self.vlan().and_then(|vlan| vlan.raw_device).into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// The names that the values of an option list; `none` stands for no name.
    fn names(&self, key: &str) -> Vec<&BStr> {
        let values = self.options().filter(|option| option.is(key));
        values.flat_map(|option| words(&option.value)).filter(|name| *name != "none").collect()
    }
}

impl Serialize for Interface<'_> {
    /// Name, kind, whether it is brought up at boot, what it is made of, and all its options as written.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", &self.name().to_str_lossy())?;
        map.serialize_entry("type", &self.kind())?;
        map.serialize_entry("auto", &self.is_auto())?;
        map.serialize_entry("addresses", &self.addresses())?;
        map.serialize_entry("gateways", &self.gateways())?;
        let parts: Vec<_> = self.parts().into_iter().map(|part| part.to_str_lossy()).collect();
        map.serialize_entry("parts", &parts)?;
        let options = self.options().map(|option| (option.key.to_str_lossy(), option.value.to_str_lossy()));
        map.serialize_entry("options", &options.collect::<Vec<_>>())?;
        map.end()
    }
}

/// `eno1.5` is VLAN 5 of `eno1`; `vlan5` is VLAN 5 of an interface that must be told.
fn vlan_by_name(name: &BStr) -> Option<Vlan<'_>> {
    if let Some((device, id)) = name.rsplit_once_str(".") {
        let id = number(id.as_bstr())?;
        return (!device.is_empty()).then_some(Vlan { id: Some(id), raw_device: Some(device.as_bstr()) });
    }
    let id = number(name.strip_prefix(b"vlan")?.as_bstr())?;
    Some(Vlan { id: Some(id), raw_device: None })
}

/// A number of decimal digits that fits.
pub(super) fn number(text: &BStr) -> Option<u32> {
    let digits = text.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// `yes`, `on` and `1`, or `no`, `off` and `0`.
fn switch(text: &BStr) -> Option<bool> {
    match text.as_bytes() {
        b"yes" | b"on" | b"1" | b"true" => Some(true),
        b"no" | b"off" | b"0" | b"false" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Network;
    use super::*;

    const TEXT: &[u8] = b"auto lo\niface lo inet loopback\niface eno1 inet manual\nauto bond0\n\
        iface bond0 inet manual\n bond_slaves eno1 eno2\n bond-mode 4\niface bond0.7 inet manual\n\
        iface vlan8 inet static\n vlan-raw-device bond0\n address 10.0.0.1\n netmask 255.255.0.0\n\
        allow-ovs vmbr1\niface vmbr1 inet manual\n ovs_type OVSBridge\n ovs_ports eno3 tap\n\
        allow-vmbr1 tap\niface tap inet static\n ovs_type OVSIntPort\n ovs_bridge vmbr1\n ovs_options vlan_mode=access tag=9\n\
        iface vmbr0\n bridge-ports none\n bridge-vlan-aware yes\n address 10.1.0.1/24\n address fd00::1/64\n\
        iface vmbr0 inet6 static\n address fd01::1/64\n gateway fd01::ff\n mtu 9000\niface lo:1 inet static\n address 127.1.1.1/8\n";

    #[test]
    fn interfaces_are_what_their_options_say() {
        use InterfaceKind::{Alias, Bond, Bridge, Loopback, Other, OvsBridge, OvsIntPort, Vlan};
        let network = Network::parse(TEXT);
        let kinds: Vec<_> = network.interfaces().map(|interface| interface.kind()).collect();
        assert_eq!(kinds, [Loopback, Other, Bond, Vlan, Vlan, OvsBridge, OvsIntPort, Bridge, Alias]);
        let get = |name: &str| network.get(name.as_bytes()).unwrap();
        assert_eq!(get("bond0").bond().unwrap().slaves, ["eno1", "eno2"]);
        let vlan = |name| get(name).vlan().map(|vlan| (vlan.id, vlan.raw_device)).unwrap();
        assert_eq!(vlan("bond0.7"), (Some(7), Some("bond0".into())));
        assert_eq!(vlan("vlan8"), (Some(8), Some("bond0".into())));
        assert_eq!(get("vlan8").addresses()[0].to_string(), "10.0.0.1/16");
        let ovs = get("tap").ovs().unwrap();
        assert_eq!((ovs.bridge, ovs.tag), (Some("vmbr1".into()), Some(9)));
        assert_eq!(get("vmbr1").parts(), ["eno3", "tap"]);
        let bridge = get("vmbr0").bridge().unwrap();
        assert!(bridge.ports.is_empty() && bridge.vlan_aware);
        let addresses: Vec<_> = get("vmbr0").addresses().iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.1.0.1/24", "fd00::1/64", "fd01::1/64"]);
        assert_eq!((get("vmbr0").mtu(), get("vmbr0").gateways().len()), (Some(9000), 1));
        assert!(get("lo").is_auto() && !get("eno1").is_auto());
        assert_eq!(get("vmbr1").classes().collect::<Vec<_>>(), ["ovs"]);
        let json = serde_json::to_value(get("vmbr0")).unwrap();
        assert_eq!((&json["type"], &json["gateways"][0]), (&"bridge".into(), &"fd01::ff".into()));
    }

    #[test]
    fn options_are_inherited_from_above() {
        let network = Network::parse(
            b"iface lan inet manual\n mtu 1400\n up a\niface e0 inet static inherits lan\n mtu 1500\niface e1 inherits lan e0\n",
        );
        assert_eq!(network.get(b"e0").unwrap().mtu(), Some(1500));
        let e1: Vec<_> =
            network.get(b"e1").unwrap().options().map(|option| option.value.to_string()).collect();
        assert_eq!(e1, ["1400", "a", "1400", "a", "1500"]);
        assert!(network.get(b"e1").unwrap().options().all(|option| option.inherited));
    }
}
