// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any bytes read as an interfaces file. Called by the fuzz target, and by `tests/interfaces.rs` with
//! the stable toolchain.

use bstr::{BStr, ByteSlice};
use pve_config::network::{Document, Interface, LineKind, Network, lines};

/// Interfaces that are tried in a document, at most.
const TRIED: usize = 8;

/// Checks `text` as an interfaces file.
pub(crate) fn check(text: &[u8]) {
    lossless(text);
    facts(text);
    edits(text);
}

/// Lines and document keep every byte.
fn lossless(text: &[u8]) {
    let mut rebuilt = Vec::new();
    for line in lines(text) {
        assert_eq!(&text[line.span()], line.text.as_bytes());
        rebuilt.extend_from_slice(line.text);
        rebuilt.push(b'\n');
    }
    if !text.ends_with(b"\n") {
        rebuilt.pop();
    }
    assert_eq!(rebuilt.as_bstr(), text.as_bstr());
    assert_eq!(Document::parse(text).into_bytes().as_bstr(), text.as_bstr());
}

/// Everything that can be asked has an answer, and findings are in the text.
fn facts(text: &[u8]) {
    let network = Network::parse(text);
    for interface in network.interfaces() {
        assert!(!interface.name().is_empty() && !interface.stanzas().is_empty());
        assert!(network.get(interface.name()).is_some_and(|found| found.stanzas() == interface.stanzas()));
        let _ = (interface.kind(), interface.addresses(), interface.gateways(), interface.mtu());
        let _ = (interface.bridge(), interface.bond(), interface.vlan(), interface.ovs(), interface.parts());
        assert!(interface.options().all(|option| !option.value.is_empty()));
    }
    let mut last = 0;
    for found in network.diagnostics() {
        assert!(found.span.end <= text.len() && found.span.start >= last, "{found}");
        let line = text[..found.span.start].iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!(found.line <= line, "{found}");
        last = found.span.start;
    }
}

/// An edit does what it says, and nothing to other interfaces.
fn edits(text: &[u8]) {
    let network = Network::parse(text);
    let others = |bytes: &[u8], name: &BStr| -> Vec<String> {
        let network = Network::parse(bytes);
        let others = network.interfaces().filter(|interface| interface.name() != name);
        // what is inherited may come from the interface that is changed
        let own = |interface: &Interface<'_>| {
            let options = interface.options().filter(|option| !option.inherited);
            options.map(|option| format!("{}={}", option.key, option.value)).collect::<Vec<_>>()
        };
        others.map(|interface| format!("{} {:?}", interface.name(), own(interface))).collect()
    };
    for interface in network.interfaces().take(TRIED) {
        let name = interface.name();
        let before = others(text, name);
        let mut document = Document::parse(text);
        assert_eq!(document.set(name, None, b"zz", b"a  b"), Ok(()));
        assert_eq!(document.get(name, None, b"zz").as_deref(), Some(BStr::new("a  b")));
        assert_eq!(others(document.as_bytes(), name), before);
        assert!(document.unset(name, None, b"zz") > 0);
        assert_eq!(document.get(name, None, b"zz"), None);
        assert_eq!(others(document.as_bytes(), name), before);
        assert_eq!(document.set_auto(name, true), Ok(()));
        assert!(Network::parse(document.as_bytes()).get(name).is_some_and(Interface::is_auto));
        assert_eq!(document.set_auto(name, false), Ok(()));
        assert!(Network::parse(document.as_bytes()).get(name).is_some_and(|interface| !interface.is_auto()));
        let stanzas = document.lines().filter(|line| line.kind == LineKind::Iface).count();
        assert_eq!(document.remove_iface(name), interface.stanzas().len());
        assert_eq!(others(document.as_bytes(), name), before);
        let left = document.lines().filter(|line| line.kind == LineKind::Iface).count();
        assert_eq!(left + interface.stanzas().len(), stanzas);
    }
}
