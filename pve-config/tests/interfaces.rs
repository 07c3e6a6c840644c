// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any interfaces file: the checks of the fuzz target, with texts in which much is right and something
//! wrong, with damaged and arbitrary ones, and with some that are extreme.

#[cfg(test)]
#[path = "../fuzz/checks/interfaces.rs"]
mod interfaces;

mod laws;

use interfaces::check;
use laws::{SIZE, laws, numbered, repeated};
use proptest::prelude::*;
use pve_config::network::{Document, Network};

fn lines() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "iface (e0|e1|b|v5|e0\\.5|vlan7)( (inet|inet6)( (static|dhcp|manual|loopback))?)?( inherits e0)?",
        2 => "(auto|allow-hotplug|no-scripts) (e0|b)( e1)?",
        3 => "[ \t](address|gateway) (10\\.0\\.0\\.[0-9](/24)?|fd00::[0-9](/64)?|x)",
        3 => "[ \t](bridge[-_]ports|bond-slaves|ovs_ports) (none|e0|e1 b)",
        1 => " (mtu|vlan-id|netmask) [0-9]{1,4}| vlan-raw-device (b|e0)| ovs_type OVS(Bridge|Port)| ovs_bridge b",
        1 => "(mapping e\\*|script /x|map a|source /x|rename a=b)",
        1 => "|#.?| |.{0,3}\\\\|mtu 5\r",
        1 => "\\PC{0,8}",
    ]
}

laws!(lines, 20, check);

/// Long lines, many lines, many stanzas: read without loss of time or data. The sizes are such that a cost that grows
/// with the square would be felt.
#[test]
fn extreme_texts() {
    let texts = [
        repeated("a"),
        repeated("\n"),
        repeated("\\\n"),
        repeated("\\"),
        repeated("auto a\n"),
        repeated("iface a\n"),
        repeated("iface a inherits a\n b c\n"),
        [b"iface a\n b c\niface d inherits ".to_vec(), repeated("a ")].concat(),
        [b"auto ".to_vec(), repeated("a ")].concat(),
        [b"iface a\n".to_vec(), repeated(" bridge-ports x y\n")].concat(),
        [b"iface a\n".to_vec(), repeated(" address 1.2.3.4/24\n gateway 1.2.3.4\n")].concat(),
        [b"iface a\n bridge-ports ".to_vec(), repeated("x ")].concat(),
        repeated("mapping a\n"),
        numbered(SIZE / 16, |number| format!("auto e{number}\niface e{number} inet dhcp\n")),
        numbered(SIZE / 16, |number| {
            format!("iface e{number} inet dhcp inherits e{}\n up x\n", number.wrapping_sub(1))
        }),
        numbered(SIZE / 16, |number| format!("allow-c{number} e\n")),
        vec![0xff; SIZE],
    ];
    for text in &texts {
        let network = Network::parse(text);
        assert!(network.diagnostics().len() <= pve_config::Diagnostics::MOST);
        assert!(Document::parse(text).as_bytes() == &text[..]);
    }
}
