// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Proxmox VE cluster file system (pmxcfs): its SQLite database, the tree and its rules.
//!
//! A Proxmox VE node shows its whole configuration as files below `/etc/pve`: storages, users, guests of all nodes.
//! None of these files exists on a disk. They are rows of one table in `/var/lib/pve-cluster/config.db`, and a daemon,
//! `pmxcfs`, shows them as a file system. This crate is that daemon's inner part as a library: anything that can be done with
//! the files can be done here with the database alone, on any machine.
//!
//! # Reading a database
//!
//! [`Database::open_read_only`] reads the rows, without disturbing a daemon that writes, and forms the [`Tree`] from them:
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("config.db");
//! # rusqlite::Connection::open(&path)?.execute_batch(&format!("{};
//! #     INSERT INTO tree VALUES (0, 0, 4, 0, 1700000000, 8, '__version__', NULL);
//! #     INSERT INTO tree VALUES (2, 0, 2, 0, 1700000000, 4, 'nodes', NULL);
//! #     INSERT INTO tree VALUES (3, 0, 4, 0, 1700000000, 8, 'storage.cfg', CAST('dir: local' AS BLOB));",
//! #     pve_cfs::schema::CREATE_TABLE))?;
//! use pve_cfs::Database;
//!
//! let (database, findings) = Database::open_read_only(&path)?;
//! for finding in &findings {
//!     eprintln!("{}: {finding}", finding.severity());
//! }
//! let storage = database.tree().get(b"storage.cfg").expect("every node has one");
//! assert_eq!(storage.content(), b"dir: local");
//! for (path, entry) in database.tree().walk() {
//!     println!("{path}  {} bytes", entry.size());
//! }
//! # Ok(()) }
//! ```
//!
//! # What the rows mean
//!
//! | column | meaning |
//! |---|---|
//! | `inode` | unique id, equal to the version at which the entry was created; 0 is the *version row* |
//! | `parent` | inode of the directory, 0 is the root, which has no row |
//! | `version` | version of the whole tree when the entry was last changed |
//! | `writer` | id of the node that changed it, 0 without a cluster |
//! | `mtime` | when, in seconds since the epoch |
//! | `type` | 4 a directory, 8 a file |
//! | `name` | one component of the path, any bytes but `/` |
//! | `data` | content of the file |
//!
//! The *version* counts every change of the tree by one. It lives in the version row, named `__version__`, together with
//! writer and time of the last change.
//!
//! A database is not a mere bag of rows: names must be unique in a directory, every parent must exist, a VMID may occur
//! only once in the cluster, and so on. The daemon refuses to start with a database that breaks one of these rules. [`Finding`]
//! names each of them with the place, and [`load`](mod@load) goes on where the daemon gives up.
//!
//! # Changing and rescuing
//!
//! | to | use |
//! |---|---|
//! | change files without a daemon, under its rules, as one transaction | [`draft::Draft`] |
//! | be the daemon: all files as a file system, by path or mounted | [`filesystem::FileSystem`], `mount` (feature `fuse`) |
//! | see what differs between two states, and what changed when | [`diff`](mod@diff), [`history`] |
//! | bring files in from a folder, an archive or another database | [`import`](mod@import) |
//! | mend a database that the daemon refuses, into a new file | [`repair`] |
//! | get the rows out of a file that SQLite cannot read | [`salvage`](mod@salvage) |
//! | be one node of a cluster, whatever carries the messages | [`cluster`] |
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("config.db");
//! use pve_cfs::draft::Draft;
//! use pve_cfs::store::{Store, StoreOptions};
//!
//! // refuses while a daemon holds the lock
//! let (store, loaded) = Store::open(&path, &StoreOptions::default(), 1_700_000_000)?;
//! let mut draft = Draft::new(loaded, 1_700_000_000);
//! draft.make_directories(b"nodes/pve1/qemu-server")?;
//! draft.put(b"nodes/pve1/qemu-server/100.conf", b"name: web\n")?;
//! draft.commit(&store)?;
//! # Ok(()) }
//! ```

pub mod attributes;
pub mod check;
pub mod checksum;
pub mod clock;
pub mod cluster;
pub mod cluster_log;
pub mod database;
pub mod diff;
pub mod draft;
pub mod engine;
pub mod export;
pub mod filesystem;
pub mod finding;
pub mod guest;
pub mod history;
pub mod image;
pub mod import;
pub mod ipc;
pub mod listing;
pub mod load;
pub mod lock;
pub mod log_ring;
#[cfg(feature = "fuse")]
pub mod mount;
#[cfg(feature = "fuse")]
mod node_id;
pub mod observed;
pub mod operation;
pub mod path;
#[cfg(feature = "fuse")]
mod projection;
mod property;
pub mod refusal;
pub mod repair;
pub mod replica;
pub mod row;
pub mod salvage;
pub mod schema;
pub mod source;
pub mod status;
pub mod store;
pub mod tree;
pub mod virtual_file;
#[cfg(feature = "fuse")]
mod virtual_text;
pub mod wal;

pub use database::{Database, OpenError};
pub use finding::{Finding, Rule, Severity};
pub use listing::{Listing, ListingError};
pub use row::Row;
pub use source::{Origin, Source};
pub use tree::{Entry, Tree};
