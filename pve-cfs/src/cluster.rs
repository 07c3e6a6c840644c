// SPDX-License-Identifier: MIT OR Apache-2.0
//! One node of a cluster: the protocol in which nodes keep their trees and their status alike, without its transport
//! (spec: pmxcfs-cluster).
//!
//! The nodes of a cluster are members of two groups of Corosync (CPG, "closed process groups"), which gives all members the
//! same messages in the same order, and between them the same changes of the membership. In the group of the tree
//! ([`tree_group::NAME`]) a change is a message: each node applies it when it is delivered, also the one that sent it, so all
//! trees stay equal. In the group of the status ([`status_group::NAME`]) values by key and entries of the cluster log are
//! messages.
//!
//! When somebody joins, trees may differ. Then all members send what they have ([`Group::state`]), the one with the newest
//! tree sends the others what they lack, and who was behind takes that over. Messages that arrive meanwhile wait. All of that
//! is a [`Machine`]: it is told what Corosync delivers, and says what is to be multicast. It has no socket, no thread and no
//! clock, so what it does can be replayed.
//!
//! | when | call |
//! |---|---|
//! | Corosync says who the members are | [`Machine::members_changed`] |
//! | Corosync delivers a message | [`Machine::deliver`] |
//! | a program wants a change | [`Machine::submit`], [`Machine::set`], [`Machine::log`] |
//! | an hour has passed | [`Machine::verify_timer`], of the tree's group |
//! | after each of these | multicast [`Machine::take_messages`] in their order, answer [`Machine::take_results`] |
//! | then the mode is an error ([`Mode::is_error`]) | leave the group; if [`Mode::may_rejoin`]: [`Machine::rejoin`], and join again |
//!
//! | part | what |
//! |---|---|
//! | [`machine`] | modes, members, order of messages; the same for both groups |
//! | [`tree_group`] | the tree: changes, synchronisation, verification |
//! | [`status_group`] | values by key and the cluster log |
//! | [`message`] | the messages as bytes |
//!
//! What it answers was compared with recorded nodes of the reference, call by call. A transport over Corosync is not part
//! of this crate, and beside real nodes it was never run.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! use std::sync::Arc;
//! use pve_cfs::cluster::{Machine, MemberId, Mode, TreeGroup};
//! use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
//! use pve_cfs::operation::{Fidelity, Operation};
//! use pve_cfs::store::{Store, StoreOptions};
//!
//! let (store, loaded) = Store::open(&folder.path().join("config.db"), &StoreOptions::default(), 1_700_000_000)?;
//! // all nodes must apply a change alike, the reference's defects included
//! let options = FileSystemOptions { fidelity: Fidelity::Exact, ..FileSystemOptions::local("pve1") };
//! let files = Arc::new(FileSystem::new(loaded, Some(store), options));
//! let me = MemberId { node: 1, process: 4711 };
//! let mut machine = Machine::new(me, TreeGroup::new(files.clone()));
//!
//! // Corosync says that this node is the only member
//! machine.members_changed(&[me], true, 1_700_000_000);
//! assert_eq!(machine.mode(), Mode::Synced);
//! // a change is a message first, and is applied when it comes back
//! let number = machine.submit(&Operation::Create { path: b"/storage.cfg" }, 1_700_000_001)?;
//! assert!(files.attributes(b"/storage.cfg").is_err());
//! for message in machine.take_messages() {
//!     machine.deliver(me, &message, 1_700_000_001);
//! }
//! let results = machine.take_results();
//! assert!(results[0].0 == number && results[0].1.is_ok());
//! assert!(files.attributes(b"/storage.cfg").is_ok());
//! # Ok(()) }
//! ```

pub mod machine;
pub mod message;
pub mod status_group;
pub mod tree_group;

pub use machine::{Group, Machine, Mode};
pub use message::{Epoch, MemberId};
pub use status_group::StatusGroup;
pub use tree_group::TreeGroup;
