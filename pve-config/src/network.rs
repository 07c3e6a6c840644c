// SPDX-License-Identifier: MIT OR Apache-2.0
//! The network of a node: `/etc/network/interfaces`, with its bridges, bonds, VLANs and addresses.
//!
//! # The format
//!
//! The file belongs to ifupdown or ifupdown2, and is described in `interfaces(5)` and `ifupdown-addons-interfaces(5)`.
//! It is made of stanzas. `iface NAME FAMILY METHOD` opens the definition of an interface, whose options follow on the
//! lines below it; `auto` and `allow-CLASS` say which interfaces are brought up, and when:
//!
//! ```text
//! auto lo
//! iface lo inet loopback
//!
//! iface eno1 inet manual
//!
//! auto vmbr0
//! iface vmbr0 inet static
//!         address 192.0.2.10/24
//!         gateway 192.0.2.1
//!         bridge-ports eno1
//!         bridge-stp off
//!         bridge-fd 0
//! # the bridge of the guests
//! ```
//!
//! Indentation means nothing, and a stanza goes on until the next one starts. A line whose first byte behind white
//! space is `#` is a comment; a `#` elsewhere is data. A line that ends with a backslash goes on in the next one, but a
//! comment does not. An interface may have several stanzas: all of them apply.
//!
//! # Two floors above the lines
//!
//! * [`Document`] keeps every byte, and changes one option, or adds or removes one interface, without touching anything
//!   else.
//! * [`Network`] says what the file means: each [`Interface`] with its [`kind`](Interface::kind), addresses, ports; and
//!   what is wrong with it, in located [diagnostics](crate::Diagnostic).
//!
//! ```
//! use pve_config::network::{Document, InterfaceKind, Network};
//!
//! let text = b"iface eno1 inet manual\n\nauto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.10/24\n\
//!     \tgateway 192.0.2.1\n\tbridge-ports eno1 eno2\n";
//! let network = Network::parse(text);
//! let bridge = network.get(b"vmbr0").unwrap();
//! assert_eq!(bridge.kind(), InterfaceKind::Bridge);
//! assert_eq!(bridge.bridge().unwrap().ports, ["eno1", "eno2"]);
//! assert_eq!(bridge.addresses()[0].to_string(), "192.0.2.10/24");
//! assert_eq!(
//!     network.diagnostics()[0].to_string(),
//!     "line 7, column 2: note: port \"eno2\" of bridge \"vmbr0\" has no stanza (add \"iface eno2 inet manual\" if there \
//!      is such an interface)"
//! );
//!
//! let mut document = Document::parse(text);
//! document.set(b"vmbr0", None, b"bridge-ports", b"eno1")?;
//! assert!(document.as_bytes().ends_with(b"\tgateway 192.0.2.1\n\tbridge-ports eno1\n"));
//! # Ok::<(), pve_config::network::EditError>(())
//! ```

mod address;
mod check;
mod document;
mod interface;
mod line;
mod stanza;

pub use address::{Address, AddressError};
pub use document::{Document, EditError};
pub use interface::{Bond, Bridge, Interface, InterfaceKind, Ovs, Vlan};
pub use line::{Line, LineKind, Lines, lines};
pub use stanza::{Iface, IfaceOption, Mapping, Network, Source};
