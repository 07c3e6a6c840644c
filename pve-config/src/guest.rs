// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest configurations: `qemu-server/VMID.conf` and `lxc/VMID.conf`.
//!
//! A guest's configuration is lines `KEY: VALUE`; comment lines, which are the guest's description; and sections for
//! pending changes, for snapshots and, with virtual machines, for a few special things:
//!
//! ```text
//! #web server of the shop
//! cores: 2
//! name: web
//! scsi0: local-lvm:vm-100-disk-0,size=32G
//!
//! [PENDING]
//! cores: 4
//!
//! [before-upgrade]
//! cores: 2
//! name: web
//! scsi0: local-lvm:vm-100-disk-0,size=32G
//! snaptime: 1700000000
//! ```
//!
//! There are three floors, each of which can be used alone.
//!
//! **Lines.** [`lines`] says of each line what it is and where its key and value are. Nothing is copied.
//!
//! ```
//! use pve_config::guest::{GuestKind, lines};
//!
//! let text = b"cores: 2\nname: web\n";
//! let names = lines(GuestKind::Qemu, text).filter(|line| line.key == "name").map(|line| line.value);
//! assert_eq!(names.collect::<Vec<_>>(), ["web"]);
//! ```
//!
//! **The lossless document.** [`Document`] changes a key or a section and leaves every other byte alone, which the
//! reference does not: whenever it saves a configuration it sorts, moves comments and drops what it does not know.
//!
//! ```
//! use pve_config::guest::{Document, GuestKind, SectionId};
//!
//! let mut document = Document::parse(GuestKind::Qemu, b"# my VM\nname:  web\nfoo=1\ncores: 2\n");
//! document.set(SectionId::Main, "cores", "4")?;
//! assert_eq!(document.as_bytes(), b"# my VM\nname:  web\nfoo=1\ncores: 4\n");
//! # Ok::<(), pve_config::guest::EditError>(())
//! ```
//!
//! **The reference's view.** [`VmConfig`] and [`LxcConfig`] are what the reference makes of the text: options checked
//! against their schema, booleans and integers normalised, bad lines reported and left out. They know pending changes,
//! snapshots and unused volumes, give typed values, and write the file byte for byte as the reference would.
//!
//! ```
//! use pve_config::guest::VmConfig;
//!
//! let text = b"cores: 02\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nscsi0: local:100/vm-100-disk-0.qcow2,size=4G\ncoers: 3\n";
//! let (mut config, findings) = VmConfig::parse(text);
//! assert_eq!(
//!     findings[0].to_string(),
//!     "line 4, column 1: error: unknown option (did you mean \"cores\"?)"
//! );
//!
//! let (_, net) = config.main.nets().next().unwrap();
//! assert_eq!(net?.bridge.unwrap(), "vmbr0");
//! let (id, drive) = config.main.drives().next().unwrap();
//! assert_eq!((id.to_string().as_str(), drive.size), ("scsi0", Some(4 << 30)));
//!
//! config.pending.set("cores", "4");
//! config.pending.queue_deletion("net0", false);
//! assert!(config.effective().get("net0").is_none());
//! let written = config.to_bytes()?;
//! assert!(written.starts_with(b"cores: 2\nnet0: ") && written.ends_with(b"\n\n[PENDING]\ncores: 4\ndelete: net0\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the reference loses silently on the way — a second section of one name empties the first, `#0` is no description
//! once it is written again, `args: … snapstate: delete` loses the arguments — is reported as a
//! [`Note`](crate::Severity::Note).

mod backup;
mod check;
mod cloudinit;
mod config;
mod description;
mod document;
mod drive;
mod json;
mod kind;
mod line;
mod lint;
mod lock;
mod losses;
mod parse;
mod pending;
mod raw;
mod references;
mod section;
mod snapshot;
mod typed;
mod unused;
mod value;
mod write;

pub use backup::{DiskOrigin, backup_copy};
pub use cloudinit::is_cloudinit_option;
pub use config::{Config, LxcConfig, VmConfig};
pub use document::{Document, EditError};
pub use drive::is_cloudinit_volume;
pub use json::Secrets;
pub use kind::{Guest, GuestKind, Lxc, Qemu, SectionId};
pub use line::{Line, LineKind, Lines, lines};
pub use lint::Lint;
pub use lock::LockError;
pub use pending::{DeleteList, Deletion, PendingItem};
pub use references::{VolumeMention, VolumeReference, VolumeRole, volume_mentions};
pub use section::{LxcSection, Section, VmSection};
pub use snapshot::{NewSnapshot, SnapshotError, is_snapshot_name};
pub use typed::{OptionError, OptionErrorSource, Typed};
pub use unused::{NoFreeUnused, Unused, is_generated_cloudinit};
pub use value::{OptionLine, OptionLines, OptionValue, option_lines};
pub use write::WriteError;
