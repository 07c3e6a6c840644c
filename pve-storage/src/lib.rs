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
//!
//! # Operations
//!
//! A [`Session`] carries operations out: on these [`Storages`], as this node, on this [`Host`]. It does what is common to
//! all types: activates the storage, takes its lock, calls the [`Plugin`], and wipes or undoes afterwards. Every command
//! and every change to the file system goes through the host, so that the host decides what happens:
//!
//! - [`LocalHost`] is the machine itself, with the locks that Proxmox VE honours;
//! - [`Planning`] runs questions on another host and only notes changes, in the form of commands to be pasted;
//! - [`MemoryHost`] is a tree of files in memory with prepared answers, for tests;
//! - [`Recording`] and [`Replaying`] keep what the tools answered, and answer from that.
//!
//! ```
//! use pve_storage::{MemoryHost, Planning, Session, Storage, Storages};
//! use pve_volid::{ImageFormat, VmId};
//!
//! let storages: Storages = [Storage::new("disks".parse()?, "dir").with("path", "/srv")].into_iter().collect();
//! let machine = MemoryHost::new();
//! let plan = Planning::new(&machine);
//! let session = Session::new(&storages, &plan, "pve1").assume_active();
//! let disk = session.allocate("disks", "100".parse::<VmId>()?, Some(ImageFormat::Raw), None, 1024)?;
//! assert_eq!(disk.to_string(), "disks:100/vm-100-disk-0.raw");
//! assert!(plan.to_string().contains("qemu-img create -o preallocation=off -f raw"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When something fails midway
//!
//! An operation of several steps takes back what it did, under the same lock. What it could not take back is part of the
//! error: [`Error::LeftBehind`] lists the changes that still stand, as command lines, beside the reason. A process that is
//! killed can tell nothing; whatever it leaves has a name by which the [`audit`] finds it.
//!
//! # A type of your own
//!
//! A storage type is a [`Plugin`]. Nine methods have no default: what names mean, what the type offers, where a volume is,
//! and how to list and measure. Everything else answers that the type does not support it until it is implemented. Effects
//! go through the [`Session`] alone, names from outside through [`Command::operand`], and so planning, undoing and tests
//! come for free:
//!
//! ```
//! use std::sync::Arc;
//!
//! use bstr::{BStr, BString};
//! use pve_config::storage::StorageConfig;
//! use pve_storage::{
//!     Cache, Command, Error, Facts, FeatureRule, Image, Listing, MemoryHost, Output, Plugin, Result, Session, SizeInfo,
//!     Status, Storage, Storages, Volume, Wipe,
//! };
//! use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName, Wanted};
//!
//! /// Volumes of a SAN that one program lists and removes.
//! #[derive(Debug)]
//! struct San;
//!
//! impl San {
//!     /// The lines `NAME SIZE` of the tool.
//!     fn volumes(session: &Session<'_>) -> Result<Vec<(BString, u64)>> {
//!         let output = session.run(&Command::query("/usr/bin/san").arg("list"))?;
//!         let pair = |line: &BStr| {
//!             let (name, size) = std::str::from_utf8(line).ok()?.split_once(' ')?;
//!             Some((name.into(), size.parse().ok()?))
//!         };
//!         Ok(output.lines().filter_map(pair).collect())
//!     }
//! }
//!
//! impl Plugin for San {
//!     // names like those of thin LVM: vm-100-disk-0
//!     fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
//!         let name = VolumeName::parse(StorageType::LvmThin, volname);
//!         name.map_err(|source| Error::Name { storage: storage.id().clone(), source })
//!     }
//!     fn content(&self) -> &'static [ContentType] {
//!         &[ContentType::Images]
//!     }
//!     fn default_content(&self) -> &'static [ContentType] {
//!         &[ContentType::Images]
//!     }
//!     fn formats(&self, _: &Storage) -> Vec<ImageFormat> {
//!         vec![ImageFormat::Raw]
//!     }
//!     fn features(&self) -> &'static [FeatureRule] {
//!         &[]
//!     }
//!     fn path(&self, volume: &Volume<'_>, _: Option<&BStr>, _: &Facts) -> Result<BString> {
//!         Ok(format!("/dev/san/{}", volume.name).into())
//!     }
//!     fn status(&self, _: &Session<'_>, _: &Storage, _: &mut Cache) -> Result<Option<Status>> {
//!         Ok(Some(Status { total: 1 << 40, available: 1 << 39, used: 1 << 39, active: true }))
//!     }
//!     fn list_images(
//!         &self,
//!         session: &Session<'_>,
//!         storage: &Storage,
//!         wanted: Wanted<'_>,
//!         listing: &mut Listing,
//!         _: &mut Cache,
//!     ) -> Result<()> {
//!         for (name, size) in San::volumes(session)? {
//!             let Ok(volume) = storage.volume(&name) else { continue };
//!             match wanted.owner(volume.owner) {
//!                 Ok(()) => {
//!                     let owner = volume.owner.map(|owner| owner.as_bstr().to_owned());
//!                     let image = Image::new(storage.volid(&name)?, "raw");
//!                     listing.show(Image { owner, size: Some(size), ..image });
//!                 }
//!                 Err(reason) => listing.hide(&name, Some(size), reason),
//!             }
//!         }
//!         Ok(())
//!     }
//!     fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
//!         let found = San::volumes(session)?.into_iter().find(|(name, _)| name == volume.name);
//!         let (_, size) = found.ok_or_else(|| Error::Missing(volume.name.to_owned()))?;
//!         Ok(SizeInfo { size, format: "raw".into(), used: size, parent: None, ctime: None })
//!     }
//!     fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
//!         session.run(&Command::change("/usr/bin/san").arg("remove").operand(volume.name))?;
//!         Ok(None)
//!     }
//! }
//!
//! let config = StorageConfig::parse(b"san: fast\n\tcontent images\n");
//! let storages = Storages::from_config_with(&config, |kind| {
//!     (kind == "san").then(|| Arc::new(San) as Arc<dyn Plugin>)
//! });
//! let mut host = MemoryHost::new();
//! host.answer_containing("san list", Output::success("vm-100-disk-0 1073741824\nscratch 4096\n"));
//! let session = Session::new(&storages, &host, "pve1");
//! assert_eq!(session.images("fast", Wanted::Everything)?[0].volid.to_string(), "fast:vm-100-disk-0");
//! session.free("fast:vm-100-disk-0".into())?;
//! let refused = session.create_snapshot("fast:vm-100-disk-0".into(), "before".into()).unwrap_err();
//! assert!(matches!(refused, Error::Unsupported { .. }));
//! # Ok::<(), Error>(())
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
