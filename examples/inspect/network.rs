// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network of a node, from a file that is not part of the cluster file system.

use pve_config::network::{Interface, InterfaceKind, Network};

/// A file `/etc/network/interfaces` of a node.
pub(crate) struct File {
    /// The node that it belongs to.
    pub(crate) node: String,
    /// Where it was read from.
    pub(crate) path: String,
    pub(crate) text: Vec<u8>,
}

/// The file and what it says.
pub(crate) struct NodeNetwork<'f> {
    pub(crate) file: &'f File,
    pub(crate) network: Network<'f>,
}

impl<'f> NodeNetwork<'f> {
    pub(crate) fn read(file: &'f File) -> Self {
        NodeNetwork { file, network: Network::parse(&file.text) }
    }
}

/// The kind in words.
pub(crate) fn kind(interface: &Interface<'_>) -> &'static str {
    match interface.kind() {
        InterfaceKind::Loopback => "loopback",
        InterfaceKind::Bridge => "bridge",
        InterfaceKind::Bond => "bond",
        InterfaceKind::Vlan => "vlan",
        InterfaceKind::Alias => "alias",
        InterfaceKind::OvsBridge => "ovs bridge",
        InterfaceKind::OvsBond => "ovs bond",
        InterfaceKind::OvsPort => "ovs port",
        InterfaceKind::OvsIntPort => "ovs internal port",
        _ => "interface",
    }
}

/// What else is worth knowing of an interface: `at boot; VLAN-aware`.
pub(crate) fn remarks(interface: &Interface<'_>) -> String {
    let mut remarks = Vec::new();
    if interface.is_auto() {
        remarks.push("at boot".to_owned());
    }
    if interface.bridge().is_some_and(|bridge| bridge.vlan_aware) {
        remarks.push("VLAN-aware".to_owned());
    }
    if let Some(mode) = interface.bond().and_then(|bond| bond.mode) {
        remarks.push(format!("mode {mode}"));
    }
    if let Some(id) = interface.vlan().and_then(|vlan| vlan.id) {
        remarks.push(format!("VLAN {id}"));
    }
    if let Some(mtu) = interface.mtu() {
        remarks.push(format!("MTU {mtu}"));
    }
    remarks.join("; ")
}
