// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with the network of a node, although every line of it can be read.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::Range;

use bstr::BStr;

use super::address::{Address, parse_ip};
use super::interface::{Interface, InterfaceKind, number};
use super::line::words;
use super::stanza::{Iface, IfaceOption, Network};
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::rule::span_in;

/// The methods of each address family. (interfaces(5))
const METHODS: &[(&str, &[&str])] = &[
    ("inet", &["loopback", "static", "manual", "dhcp", "bootp", "tunnel", "ppp", "wvdial", "ipv4ll"]),
    ("inet6", &["auto", "loopback", "static", "manual", "dhcp", "tunnel", "v4tunnel", "6to4"]),
    ("ipx", &["static", "dynamic"]),
    ("can", &["static"]),
];

/// Adds the findings about a file that was read.
pub(super) fn check(text: &[u8], network: &Network<'_>, found: &mut Diagnostics) {
    let mut checker = Checker { text, network, found };
    checker.selections();
    let mut owners = Owners::default();
    for interface in network.interfaces() {
        checker.stanzas(interface);
        checker.parts(interface);
        checker.vlan(interface);
        checker.open_vswitch(interface);
        checker.addresses(interface, &mut owners);
        checker.sharing(interface, &mut owners);
    }
    for mapping in network.mappings().iter().filter(|mapping| mapping.script.is_none()) {
        let place = Place { line: mapping.line, span: mapping.span.clone() };
        let help = "ifupdown cannot bring up any interface that the mapping matches: add a \"script\" line";
        checker.report(
            Severity::Error,
            "mapping-without-script",
            place,
            "a mapping without a script".into(),
            help,
        );
    }
}

/// Who has what only one may have.
#[derive(Default)]
struct Owners<'n> {
    addresses: HashMap<IpAddr, &'n BStr>,
    ports: HashMap<&'n BStr, &'n BStr>,
    /// The interface with the default gateway, of IPv4 and of IPv6.
    gateways: [Option<&'n BStr>; 2],
}

struct Place {
    line: usize,
    span: Range<usize>,
}

struct Checker<'t, 'n, 'a> {
    text: &'t [u8],
    network: &'n Network<'a>,
    found: &'n mut Diagnostics,
}

impl<'n> Checker<'_, 'n, '_> {
    /// Names that are brought up must be defined. Patterns match what the kernel knows.
    fn selections(&mut self) {
        for selection in &self.network.selections {
            let name = selection.name.as_ref();
            if name.contains(&b'/') || name.contains(&b'=') || self.network.get(name).is_some() {
                continue;
            }
            if !self.network.sources().is_empty() || !self.network.mappings().is_empty() {
                continue;
            }
            let place = Place { line: selection.place.0, span: selection.span.clone() };
            let reason = format!("interface {name:?} is to be brought up, but has no stanza");
            self.report(
                Severity::Warning,
                "undefined-interface",
                place,
                reason,
                "add one, or take the name out",
            );
        }
    }

    fn stanzas(&mut self, interface: &'n Interface<'_>) {
        for (at, iface) in interface.stanzas().iter().enumerate() {
            let place = || Place { line: iface.line, span: iface.span.clone() };
            let name = interface.name();
            match (iface.family.as_deref(), iface.method.as_deref()) {
                (None, _) => {
                    if iface.inherits.is_empty() {
                        let reason = format!("interface {name:?} has no address family");
                        let help = "ifupdown2 does without; ifupdown refuses the whole file";
                        self.report(Severity::Note, "no-family", place(), reason, help);
                    }
                }
                (Some(family), method) => match METHODS.iter().find(|(known, _)| family == *known) {
                    None => {
                        let reason = format!("{family:?} is no address family");
                        self.report(
                            Severity::Error,
                            "unknown-family",
                            place(),
                            reason,
                            "write inet or inet6",
                        );
                    }
                    Some((family, methods)) => {
                        if let Some(method) = method
                            && !methods.iter().any(|known| method == *known)
                        {
                            let reason = format!("{method:?} is no method of family {family}");
                            let help = format!("use one of {}", methods.join(", "));
                            self.report(Severity::Error, "unknown-method", place(), reason, &help);
                        }
                    }
                },
            }
            let same =
                |earlier: &&Iface<'_>| earlier.family == iface.family && earlier.method == iface.method;
            // a few stanzas of an interface are usual, many are not worth comparing with each other
            let earlier = interface.stanzas().get(..at.min(16)).unwrap_or_default();
            if let Some(earlier) = earlier.iter().find(same) {
                let reason = format!("interface {name:?} is defined again, after line {}", earlier.line);
                let help = "the options of both apply: put them together";
                self.report(Severity::Note, "repeated-interface", place(), reason, help);
            }
        }
    }

    /// Ports of bridges and slaves of bonds.
    fn parts(&mut self, interface: &'n Interface<'_>) {
        let (key, what) = match interface.kind() {
            InterfaceKind::Bridge => ("bridge-ports", "port"),
            InterfaceKind::Bond => ("bond-slaves", "slave"),
            InterfaceKind::OvsBridge => ("ovs_ports", "port"),
            InterfaceKind::OvsBond => ("ovs_bonds", "slave"),
            _ => return,
        };
        let whole = if what == "port" { "bridge" } else { "bond" };
        for part in interface.parts() {
            let place = || name_place(interface, key, part);
            if part == interface.name() {
                let reason = format!("{whole} {part:?} is a {what} of itself");
                self.report_at(Severity::Error, "own-port", place, reason, "take it out");
            } else if self.network.get(part).is_none() {
                let reason = format!("{what} {part:?} of {whole} {:?} has no stanza", interface.name());
                let help = format!("add \"iface {part} inet manual\" if there is such an interface");
                self.report_at(Severity::Note, "undefined-port", place, reason, &help);
            }
        }
    }

    fn sharing(&mut self, interface: &'n Interface<'_>, owners: &mut Owners<'n>) {
        let (key, what) = match interface.kind() {
            InterfaceKind::Bridge => ("bridge-ports", "port"),
            InterfaceKind::Bond => ("bond-slaves", "slave"),
            _ => return,
        };
        for part in interface.parts() {
            match owners.ports.insert(part, interface.name()) {
                Some(other) if other != interface.name() => {
                    let place = || name_place(interface, key, part);
                    let reason = format!("{what} {part:?} belongs to {other:?} already");
                    let help = "an interface can be a part of one bridge or bond only";
                    self.report_at(Severity::Warning, "shared-port", place, reason, help);
                }
                _ => {}
            }
        }
    }

    fn vlan(&mut self, interface: &'n Interface<'_>) {
        let Some(vlan) = interface.vlan() else { return };
        let name = interface.name();
        if !vlan.id.is_some_and(|id| (1..=4094).contains(&id)) {
            let place = last_place(interface, "vlan-id");
            let reason = match vlan.id {
                Some(id) => format!("VLAN {name:?} has number {id}"),
                None => format!("VLAN {name:?} has no number"),
            };
            let help = "give it a \"vlan-id\" of 1 to 4094, or a name such as eno1.5";
            self.report(Severity::Warning, "vlan-number", place, reason, help);
        }
        match vlan.raw_device {
            None => {
                let place = last_place(interface, "vlan-raw-device");
                let reason = format!("VLAN {name:?} does not say which interface it is a VLAN of");
                let help = "add \"vlan-raw-device\", or name it like eno1.5";
                self.report(Severity::Warning, "vlan-without-device", place, reason, help);
            }
            Some(device) if self.network.get(device).is_none() => {
                let place = last_place(interface, "vlan-raw-device");
                let reason = format!("device {device:?} of VLAN {name:?} has no stanza");
                let help = format!("add \"iface {device} inet manual\" if there is such an interface");
                self.report(Severity::Note, "undefined-port", place, reason, &help);
            }
            Some(_) => {}
        }
    }

    fn open_vswitch(&mut self, interface: &'n Interface<'_>) {
        let Some(ovs) = interface.ovs() else { return };
        let (name, kind) = (interface.name(), interface.kind());
        let needs_bridge =
            matches!(kind, InterfaceKind::OvsPort | InterfaceKind::OvsIntPort | InterfaceKind::OvsBond);
        match ovs.bridge {
            None if needs_bridge => {
                let place = last_place(interface, "ovs_type");
                let reason = format!("{name:?} does not say which Open vSwitch bridge it belongs to");
                self.report(Severity::Warning, "ovs-without-bridge", place, reason, "add \"ovs_bridge\"");
            }
            Some(bridge) => {
                let known = self.network.get(bridge).map(Interface::kind);
                if known != Some(InterfaceKind::OvsBridge) {
                    let place = last_place(interface, "ovs_bridge");
                    let reason = format!("{bridge:?} is not an Open vSwitch bridge of this file");
                    let help = "add its stanza with \"ovs_type OVSBridge\"";
                    self.report(Severity::Warning, "unknown-ovs-bridge", place, reason, help);
                }
            }
            None => {}
        }
    }

    fn addresses(&mut self, interface: &'n Interface<'_>, owners: &mut Owners<'n>) {
        let name = interface.name();
        let addresses = interface.addresses();
        for option in interface.options().filter(|option| !option.inherited) {
            if option.is("address") {
                self.address(option, name, owners);
            } else if option.is("netmask") {
                let any = |ip: &str| ip.parse().ok().map(|ip| Address { ip, prefix: None });
                let fits = [any("0.0.0.0"), any("::")]
                    .into_iter()
                    .flatten()
                    .any(|address| address.with_mask(&option.value).is_ok());
                if !fits {
                    let reason = format!("{:?} is no network mask", option.value);
                    let help = "write the number of bits, such as 24";
                    self.report(Severity::Error, "invalid-netmask", option_place(option), reason, help);
                }
            } else if option.is("gateway") {
                self.gateway(option, name, &addresses, owners);
            } else if option.is("mtu")
                && !number(&option.value).is_some_and(|mtu| (68..=65535).contains(&mtu))
            {
                let reason = format!("mtu {:?} is not a number of 68 to 65535", option.value);
                self.report(Severity::Error, "invalid-mtu", option_place(option), reason, "");
            }
        }
        for iface in interface.stanzas() {
            let is_static = iface.method.as_deref() == Some(BStr::new("static"))
                && iface.family.as_deref().is_some_and(|family| family == "inet" || family == "inet6");
            if is_static && iface.all("address").next().is_none() {
                let place = Place { line: iface.line, span: iface.span.clone() };
                let reason = format!("{name:?} has the method \"static\", but no address");
                let help = "add an \"address\", or use the method \"manual\"";
                self.report(Severity::Warning, "static-without-address", place, reason, help);
            }
        }
    }

    fn address(&mut self, option: &IfaceOption<'_>, name: &'n BStr, owners: &mut Owners<'n>) {
        match Address::parse(&option.value) {
            Err(error) => {
                let help = "write it like 192.0.2.10/24 or 2001:db8::10/64";
                self.report(
                    Severity::Error,
                    "invalid-address",
                    option_place(option),
                    error.to_string(),
                    help,
                );
            }
            Ok(address) => match owners.addresses.insert(address.ip, name) {
                Some(other) if other != name => {
                    let reason = format!("address {} belongs to {other:?} already", address.ip);
                    let help = "give each interface an address of its own";
                    self.report(Severity::Warning, "shared-address", option_place(option), reason, help);
                }
                _ => {}
            },
        }
    }

    fn gateway(
        &mut self,
        option: &IfaceOption<'_>,
        name: &'n BStr,
        addresses: &[Address],
        owners: &mut Owners<'n>,
    ) {
        let Some(ip) = parse_ip(&option.value) else {
            let reason = format!("gateway {:?} is not an IP address", option.value);
            let help = "write an address without a prefix";
            return self.report(Severity::Error, "invalid-gateway", option_place(option), reason, help);
        };
        let [v4, v6] = &mut owners.gateways;
        let slot = if ip.is_ipv4() { v4 } else { v6 };
        let earlier = *slot.get_or_insert(name);
        if earlier != name {
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let reason = format!("{earlier:?} has a default gateway for {family} already");
            let help = "only one default route is used: remove the other gateway";
            self.report(Severity::Warning, "two-gateways", option_place(option), reason, help);
        }
        // a link-local gateway needs no address of its network
        let is_link_local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
        let mut known = addresses.iter().take(64).filter_map(|address| address.contains(ip)).peekable();
        if !is_link_local && known.peek().is_some() && !known.any(|inside| inside) {
            let reason = format!("gateway {ip} is in no network of {name:?}");
            let help = "check the address and its prefix";
            self.report(Severity::Warning, "gateway-outside", option_place(option), reason, help);
        }
    }

    fn report(&mut self, severity: Severity, code: &'static str, place: Place, reason: String, help: &str) {
        self.report_at(severity, code, || place, reason, help);
    }

    /// The same where the place must be looked for, which is done only for a finding that is kept.
    fn report_at(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: impl FnOnce() -> Place,
        reason: String,
        help: &str,
    ) {
        let text = self.text;
        self.found.add(severity, || {
            let place = place();
            let start = place.span.start;
            let line = text.get(place.span).unwrap_or_default();
            let shown = span_in(text, line.trim_ascii());
            let found = Diagnostic::on_line(severity, code, text, shown, (place.line, start), reason);
            if help.is_empty() { found } else { found.with_help(help) }
        });
    }
}

fn option_place(option: &IfaceOption<'_>) -> Place {
    Place { line: option.line, span: option.span() }
}

/// The last line with this option, or the first line of the interface.
fn last_place(interface: &Interface<'_>, key: &str) -> Place {
    let option = interface.options().filter(|option| option.is(key)).last();
    match (option, interface.stanzas().first()) {
        (Some(option), _) => option_place(option),
        (None, Some(iface)) => Place { line: iface.place.0, span: iface.span.clone() },
        (None, None) => Place { line: 1, span: 0..0 },
    }
}

/// The line with this option that lists this name.
fn name_place(interface: &Interface<'_>, key: &str, name: &BStr) -> Place {
    let lists = |option: &&IfaceOption<'_>| option.is(key) && words(&option.value).any(|word| word == name);
    match interface.options().find(lists) {
        Some(option) => option_place(option),
        None => last_place(interface, key),
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::*;

    fn codes(text: &str) -> Vec<(&'static str, usize)> {
        let network = Network::parse(text.as_bytes());
        network.diagnostics().iter().map(|found| (found.code, found.line)).collect()
    }

    #[test]
    fn a_usual_file_is_fine() {
        let text = "auto lo\niface lo inet loopback\n\niface eno1 inet manual\n\nauto vmbr0\niface vmbr0 inet static\n\
            \taddress 192.0.2.2/24\n\tgateway 192.0.2.1\n\tbridge-ports eno1\n\tbridge-stp off\n\tbridge-fd 0\n\n\
            auto vlan5\niface vlan5 inet static\n\tvlan-raw-device vmbr0\n\taddress 198.51.100.1/24\n\n\
            iface vmbr0 inet6 static\n\taddress 2001:db8::2/64\n\tgateway fe80::1\n\nsource /etc/network/interfaces.d/*\n";
        assert_eq!(codes(text), []);
    }

    #[test]
    fn tells_what_is_wrong() {
        for (text, expected) in [
            ("auto e0\n", vec![("undefined-interface", 1)]),
            ("auto /e*\n", vec![]),
            ("iface e0 inet dhcp\niface e0 inet dhcp\n", vec![("repeated-interface", 2)]),
            ("iface e0 inet dhcp\niface e0 inet6 auto\n", vec![]),
            ("iface e0\n address 1.2.3.4/24\n", vec![("no-family", 1)]),
            (
                "iface e0 inet foo\niface e1 inet5 static\n",
                vec![("unknown-method", 1), ("unknown-family", 2)],
            ),
            ("iface b inet manual\n bridge-ports e0\n", vec![("undefined-port", 2)]),
            ("iface b inet manual\n bridge-ports none\n", vec![]),
            ("iface b inet manual\n bridge_ports b\n", vec![("own-port", 2)]),
            (
                "iface e inet manual\niface b inet manual\n bridge-ports e\niface o inet manual\n bond-slaves e\n",
                vec![("shared-port", 5)],
            ),
            ("iface vlan5 inet manual\n", vec![("vlan-without-device", 1)]),
            ("iface e inet manual\niface e.5000 inet manual\n", vec![("vlan-number", 2)]),
            ("iface v inet manual\n vlan-raw-device e\n", vec![("vlan-number", 1), ("undefined-port", 2)]),
            ("iface p inet manual\n ovs_type OVSPort\n", vec![("ovs-without-bridge", 2)]),
            ("iface p inet manual\n ovs_type OVSPort\n ovs_bridge x\n", vec![("unknown-ovs-bridge", 3)]),
            ("iface e inet static\n", vec![("static-without-address", 1)]),
            ("iface e inet static\n address 1.2.3\n", vec![("invalid-address", 2)]),
            ("iface e inet static\n address 1.2.3.4\n netmask 255.0.255.0\n", vec![("invalid-netmask", 3)]),
            ("iface e inet dhcp\n mtu 9k\n", vec![("invalid-mtu", 2)]),
            ("iface e inet static\n address 1.2.3.4/24\n gateway 1.2.4.1\n", vec![("gateway-outside", 3)]),
            (
                "iface e inet static\n address 1.2.3.4/24\n gateway 1.2.3.1\niface f inet static\n address 5.6.7.8/8\n gateway 5.1.1.1\n",
                vec![("two-gateways", 6)],
            ),
            (
                "iface e inet static\n address 1.2.3.4/24\niface f inet static\n address 1.2.3.4/8\n",
                vec![("shared-address", 4)],
            ),
            ("mapping e*\n map a\n", vec![("mapping-without-script", 1)]),
            ("mapping e*\n script a\n foo a\n", vec![("misplaced-option", 3)]),
            ("\n mtu 5\n", vec![("misplaced-option", 2)]),
            ("iface\n mtu 5\n", vec![("unnamed-interface", 1)]),
            ("iface e inet dhcp\n mtu\n", vec![("empty-option", 2)]),
            ("iface e inet dhcp x y\n", vec![("extra-word", 1), ("extra-word", 1)]),
            ("iface e inet dhcp inherits x\n", vec![("unknown-template", 1)]),
            ("iface e inet dhcp\n up a\\", vec![("continued-last-line", 2)]),
        ] {
            assert_eq!(codes(text), expected, "{text}");
        }
    }

    #[test]
    fn findings_have_their_place() {
        let network = Network::parse(b"iface e0 inet static\n\taddress  1.2.3 \n");
        let found = &network.diagnostics()[0];
        assert_eq!((found.line, found.column, found.text.as_bstr()), (2, 2, BStr::new("address  1.2.3")));
        assert_eq!(found.reason, "\"1.2.3\" is not an IP address");
    }

    /// A chain of heirs of heirs would double its options at every step.
    #[test]
    fn heirs_of_heirs_stay_small() {
        let mut text = String::from("iface t0 inet manual\n up a\n");
        for number in 1..200 {
            text.push_str(&format!("iface t{number} inet manual inherits t{0} t{0}\n up a\n", number - 1));
        }
        let network = Network::parse(text.as_bytes());
        let most = network.interfaces().map(|interface| interface.options().count()).max();
        assert_eq!(most, Some(Iface::MOST_INHERITED + 1));
    }
}
