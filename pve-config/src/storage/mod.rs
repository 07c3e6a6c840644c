// SPDX-License-Identifier: MIT OR Apache-2.0
//! storage.cfg: which storages a cluster has, and what each of them can do.
//!
//! Every storage is a section of `/etc/pve/storage.cfg` ([`crate::section`] explains the format). Its type says which
//! properties it has; the tables of types and properties are [`STORAGE_TYPES`](crate::schema::STORAGE_TYPES) and
//! [`STORAGE_PROPERTIES`](crate::schema::STORAGE_PROPERTIES).
//!
//! ```
//! use pve_config::storage::{Backend, StorageConfig};
//! use pve_volid::ContentType;
//!
//! let text = b"\
//! dir: local
//! \tpath /var/lib/vz
//! \tcontent iso,vztmpl,backup
//!
//! lvmthin: local-lvm
//! \tvgname pve
//! \tthinpool data
//! \tcontent rootdir,images
//! ";
//! let config = StorageConfig::parse(text);
//! for storage in config.storages() {
//!     println!("{}: {} holds {}", storage.id(), storage.kind(), storage.content());
//! }
//! let thin = config.require(b"local-lvm", "pve1")?;
//! assert!(thin.holds(ContentType::Images) && !thin.is_shared());
//! let Some(Backend::LvmThin(pool)) = thin.backend() else { panic!("{thin:?}") };
//! assert_eq!((pool.vgname, pool.thinpool), ("pve".into(), "data".into()));
//! # Ok::<(), pve_config::storage::UnusableStorage>(())
//! ```
//!
//! # What a reader of the file should know
//!
//! * There is always a storage `local`: a `dir` at `/var/lib/vz`. If the file has none, or another one, it is put there.
//! * `content` decides what may be allocated, and defaults to something different for each type.
//! * `shared` means that all nodes see the same volumes. For most network types it is implied; for `dir`, `btrfs`, `lvm`
//!   and `esxi` the section must say so.
//! * `nodes` limits a storage to some nodes; `disable` switches it off. See [`Storage::is_enabled_on`].
//! * Two storages may lie on the same directory or volume group. Nobody checks that.
//! * Passwords, keyrings and keys are not in storage.cfg, but in files below `/etc/pve/priv`.
//!
//! # Changing it
//!
//! [`create`], [`update`] and [`delete`] are what the reference's API does: they check the values, write secrets to their
//! files, ask the machine what a type needs to know, and give the new text. What they do beside that goes through a
//! [`Host`]; a [`Rehearsal`] is one that only writes down what would happen.
//!
//! ```
//! use pve_config::section::{Section, Value};
//! use pve_config::storage::{Rehearsal, Update, update};
//!
//! let text = b"lvmthin: fast\n\tvgname pve\n\tthinpool data\n";
//! let mut set = Section::new(bstr::BStr::new("lvmthin"));
//! set.set(bstr::BStr::new("nodes"), Value::text(b"pve2,pve1"));
//! let change = Update { set, delete: b"", digest: "" };
//! let changed = update(text, b"fast", change, &mut Rehearsal::default())?;
//! assert!(changed.text.starts_with(
//!     b"lvmthin: fast\n\tthinpool data\n\tvgname pve\n\tcontent images,rootdir\n\tnodes pve1,pve2\n"
//! ));
//!
//! // the volume group is fixed when the storage is made
//! let mut set = Section::new(bstr::BStr::new("lvmthin"));
//! set.set(bstr::BStr::new("vgname"), Value::text(b"other"));
//! let change = Update { set, delete: b"", digest: "" };
//! let error = update(text, b"fast", change, &mut Rehearsal::default()).unwrap_err();
//! assert_eq!(error.to_string(), "property \"vgname\" cannot be changed: it is fixed when the section is created");
//! # Ok::<(), pve_config::storage::ChangeError>(())
//! ```

mod backend;
mod change;
mod config;
mod content;
mod dialect;
mod entry;
mod hook;
mod host;
mod limit;
mod record;
mod schema;

pub use backend::{
    Backend, Btrfs, CephFs, Cifs, Dir, Esxi, Iscsi, IscsiDirect, Lvm, LvmThin, Nfs, Pbs, Rbd, Zfs, ZfsPool,
};
pub use change::{Change, ChangeError, Update, create, delete, update};
pub use config::StorageConfig;
pub use content::ContentTypes;
pub use dialect::StorageDialect;
pub use entry::{Formats, Preallocation, Storage, UnusableStorage, parse_retention};
pub use host::{Answer, Host, Rehearsal, WrittenFile};
pub use limit::{LimitedOperation, Privileges, Transfer};
pub use schema::format;
