// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxmox VE storage types: volume paths, features and the external commands behind every operation, planned or executed.
//!
//! A *storage* is a section of `/etc/pve/storage.cfg`: a type (`dir`, `lvmthin`, `rbd` …), an id and some values. A
//! *volume* is a name on it, nothing more: no database says which disks exist. Where a volume is, what it can do and
//! which programs make or remove it follows from the type of the storage, its values, and the name.
//!
//! ```
//! use pve_storage::{Facts, Feature, FileKind, Storage};
//!
//! let storage = Storage::new("local".parse()?, "dir").with("path", "/var/lib/vz");
//! let volume = storage.volume("100/vm-100-disk-0.qcow2")?;
//!
//! // where it is, and how QEMU is told so: pure functions of names, values and facts about the host
//! let facts = Facts { file: Some(FileKind::File), ..Facts::default() };
//! assert_eq!(volume.path(None, &facts)?, "/var/lib/vz/images/100/vm-100-disk-0.qcow2");
//! assert_eq!(volume.block_device(None, &facts)?.driver(), "file");
//!
//! // what it can do, and why not
//! assert!(volume.can(Feature::Snapshot, None, None).is_ok());
//! assert_eq!(
//!     volume.can(Feature::Clone, None, None).unwrap_err().to_string(),
//!     "an ordinary volume on a storage of type 'dir' does not have feature 'clone', but a base volume does",
//! );
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![doc = include_str!("../docs/real-tools.md")]

pub mod audit;
mod block_device;
mod ceph;
mod command;
mod content;
mod effect;
mod error;
mod features;
mod host;
mod lifecycle;
mod listing;
#[cfg(unix)]
mod local;
mod memory;
mod operation;
mod planning;
pub mod plugin;
mod recording;
pub mod scan;
mod session;
mod storage;
mod storages;
mod time;
mod transfer;
mod volume;
mod volumes;
mod words;

pub use block_device::{BlockDevice, BlockValue};
pub use ceph::{CephConnection, CephFacts};
pub use command::{Command, ENVIRONMENT, Effect, Exit, Output, RunError, Runner, Streams, lines, quote};
pub use error::{Error, Result};
pub use features::{Feature, FeatureRule, Features, Refusal, SnapshotMethod, VolumeState};
pub use host::{Change, Event, FileKind, Held, Host, LockError, Metadata, Mount, RemoteError, Space};
pub use listing::{BackupAttributes, Hidden, Image, Listing, LunAddress};
#[cfg(unix)]
pub use local::LocalHost;
pub use memory::{ImageFile, MemoryHost, Node, NodeKind, Record};
pub use operation::{Allocation, ChainLink, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe, With};
pub use planning::{Planning, Step};
pub use plugin::Plugin;
pub use recording::{Recorded, Recording, Replaying};
pub use session::{Cache, Session};
pub use storage::Storage;
pub use storages::Storages;
pub use transfer::{Intermediate, StreamFormat, TransferScope, negotiate};
pub use volume::{Facts, Volume};
pub use volumes::DisksWanted;
