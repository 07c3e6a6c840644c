// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxmox VE configuration files: storage.cfg and every other section file, VM and container configurations, property
//! strings; typed, lossless, with located diagnostics.
//!
//! Everything that Proxmox VE knows of a cluster stands in text files below `/etc/pve`. There are two languages, a
//! third one inside of both, and one more outside of it:
//!
//! | what | files | module |
//! | --- | --- | --- |
//! | guests: lines `KEY: VALUE`, description, pending changes, snapshots | `nodes/NODE/qemu-server/VMID.conf`, `nodes/NODE/lxc/VMID.conf` | [`guest`] |
//! | sections: a header `TYPE: ID` and indented properties | `storage.cfg`, `jobs.cfg`, `ha/resources.cfg` … | [`section`]; typed: [`storage`], [`mapping`], [`vm::CustomModels`], [`ha`], [`job`] |
//! | the network of a node: stanzas of ifupdown | `/etc/network/interfaces` of each node, not below `/etc/pve` | [`network`] |
//! | property strings: `local-lvm:vm-100-disk-0,size=32G,ssd=1` | values in both | [`property`]; typed: [`vm`], [`container`], [`cluster`] |
//!
//! Which options exist, with their types, bounds and defaults, is declared once, in [`schema`]; what a single value may
//! look like in [`format`](mod@format) and [`rule`]. [`inventory`] puts all files of a cluster together.
//!
//! Of each language there are several floors: lines that borrow from the text, a lossless document whose edits leave all
//! other bytes alone, and the view of the reference, which knows the schema and writes what Proxmox VE would write. Pick
//! the lowest that does the job.
//!
//! ```
//! use pve_config::guest::{Document, GuestKind, SectionId, VmConfig};
//!
//! let text = b"# web server\ncores: 2\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nscsi0: local-lvm:vm-100-disk-0,size=32G\n";
//!
//! // what Proxmox VE makes of it
//! let (config, findings) = VmConfig::parse(text);
//! for finding in &findings {
//!     eprintln!("100.conf: {finding}");
//! }
//! for (id, drive) in config.main.drives() {
//!     println!("{id}: {}, {} bytes", drive.file, drive.size.unwrap_or(0));
//! }
//!
//! // one value changed, everything else as it was
//! let mut document = Document::parse(GuestKind::Qemu, text);
//! document.set(SectionId::Main, "cores", "4")?;
//! assert!(document.as_bytes().starts_with(b"# web server\ncores: 4\nnet0: "));
//! # Ok::<(), pve_config::guest::EditError>(())
//! ```
//!
//! # What holds everywhere
//!
//! * **Bytes.** Files are bytes, and so are keys and values (`&BStr`): nothing need be UTF-8, nothing is lost for not
//!   being it.
//! * **Lenient, but not silent.** Where Proxmox VE skips or repairs something, so does this crate, and says so in a
//!   [`Diagnostic`] with line, column, reason and, where known, the remedy. What Proxmox VE loses without a word is a
//!   [`Severity::Note`].
//! * **No input panics**, and the cost grows with the size of the input only, also for a line of 64 MB or a million
//!   sections.
//! * **No I/O.** Text comes in, text goes out: reading files is for other crates.

pub mod cluster;
pub mod container;
mod diagnostic;
mod digest;
pub mod format;
pub mod guest;
pub mod ha;
pub mod inventory;
pub mod job;
mod line_end;
pub mod mapping;
mod name_index;
pub mod network;
pub mod property;
pub mod rule;
pub mod schema;
pub mod section;
pub mod storage;
pub mod suggestion;
pub mod vm;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use digest::Digest;
