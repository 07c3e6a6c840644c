// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit: which volumes no guest accounts for, and which references point at nothing.
//!
//! The configurations come as an [`Inventory`], what lies on the storages as a [`NodeReport`] of each node: the saved
//! output of the listing tools, or what [`collect`] asked them. [`audit`] itself runs and reads nothing. A volume on a
//! shared storage is one volume whatever node reports it; one on a local storage is another on each node, although the
//! storage has one entry.
//!
//! # What is easily got wrong
//!
//! - Cloud-init drives, EFI variables, TPM state, the memory of snapshots and fleecing images are volumes like others, and
//!   belong to the guests that refer to them: in the current configuration, in changes that wait, in any snapshot.
//! - Containers own volumes too, and so do templates; a guest may refer to a volume by its path.
//! - A base has to stay as long as a linked clone is based on it, whoever refers to it. What an image is based on is told
//!   by the image; a volume id may name a base that the image was detached from long ago. On thin LVM and btrfs a clone
//!   does not need its base.
//! - Two storages may have one backend: what the guests refer to by one of them is no orphan of the other, and is counted
//!   once.
//! - Replication keeps copies on nodes where the guest is not; a migration or clone makes volumes before a configuration
//!   refers to them.
//! - A storage that nobody asked, or that did not answer, is no empty storage: nothing dangles there.
//!
//! ```
//! use pve_config::inventory::Inventory;
//! use pve_storage::audit::{NodeReport, Trouble, audit};
//!
//! let files = [
//!     ("storage.cfg", &b"lvmthin: local-lvm\n\tvgname pve\n\tthinpool data\n\tcontent images\n"[..]),
//!     ("nodes/pve1/qemu-server/100.conf", b"scsi0: local-lvm:vm-100-disk-0,size=1G\n"),
//! ];
//! let lvs = "pve:data:107374182400:twi-aotz--::3.5:1.2::u::4194304:\npve:vm-100-disk-0:1073741824:Vwi-a-tz--:data:50:::u:::\npve:vm-101-disk-0:4096:Vwi-a-tz--:data:50:::u:::\n";
//! let report = NodeReport { node: "pve1".into(), lvs: Some(lvs.into()), ..NodeReport::default() };
//! let found = audit(&Inventory::new(files), &[report])?.findings;
//! assert_eq!(found.len(), 1);
//! assert_eq!((&found[0].trouble, found[0].wasted()), (&Trouble::NoGuest { owner: "101".into() }, Some(2048)));
//! # Ok::<(), pve_storage::audit::ReportError>(())
//! ```

mod collect;
mod fix;
mod judge;
mod reader;
mod report;
mod stock;

use bstr::BString;
use pve_config::inventory::Inventory;
use pve_volid::Invisible;

pub use collect::collect;
pub use report::{FileReport, ImageReport, NodeReport, ReportError, StorageReport};

/// What an audit found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Audit {
    /// What is wrong or odd, sorted by storage, node and name.
    pub findings: Vec<Finding>,
    /// Volumes that were looked at; a shared one counts once.
    pub volumes: usize,
    /// Storages that guests refer to or that are enabled somewhere, but of which nothing was reported: nothing is said
    /// about them. Sorted by storage and node.
    pub unreported: Vec<Unreported>,
}

/// A storage that was not judged.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreported {
    /// The storage.
    pub storage: String,
    /// The node; none for a shared storage, and for one of a type that is not known.
    pub node: Option<String>,
    /// Why it said nothing, if it was asked.
    pub reason: Option<String>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What it is.
    pub trouble: Trouble,
    /// The storage.
    pub storage: String,
    /// The node; none for a shared storage.
    pub node: Option<String>,
    /// The volume: its name on the storage as the tool reported it, or as the configuration refers to it.
    pub name: BString,
    /// Bytes that the volume takes up, as far as the tool tells: what is allocated in a thin pool, else its size.
    pub size: Option<u64>,
    /// The commands that put it right, as lists of arguments, to be run in this order on [`Finding::node`]. A word `VMID` stands for
    /// a guest to choose. Where data could be lost, they only show more about it.
    pub fix: Vec<Vec<BString>>,
}

impl Finding {
    /// Bytes that nobody uses: the size of orphans and leftovers. `None` where nothing is wasted or it is not known.
    #[must_use]
    pub fn wasted(&self) -> Option<u64> {
        let is_waste = matches!(
            self.trouble,
            Trouble::NoGuest { .. }
                | Trouble::Unreferenced { .. }
                | Trouble::OtherNode { .. }
                | Trouble::StateWithoutSnapshot { .. }
                | Trouble::SnapshotOfNothing { .. }
                | Trouble::AwaitsWiping { .. }
                | Trouble::Temporary { .. }
        );
        self.size.filter(|_| is_waste)
    }
}

/// What is wrong with a volume or a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Trouble {
    /// The guest in its name does not exist.
    #[error("orphan: guest {owner} does not exist")]
    NoGuest {
        /// The guest, as written.
        owner: BString,
    },
    /// Its owner exists but does not refer to it.
    #[error("orphan: guest {owner} does not refer to it{}", named.as_ref().map(|named| format!(" (it lies in the directory of {owner}, although its name says {named})")).unwrap_or_default())]
    Unreferenced {
        /// The guest that owns it.
        owner: BString,
        /// Another guest that the file name mentions; the directory decides.
        named: Option<BString>,
    },
    /// Its owner is on another node, where this volume does not exist.
    #[error("orphan: guest {owner} is on node {home}, this storage is local")]
    OtherNode {
        /// The guest.
        owner: BString,
        /// Where it is.
        home: BString,
    },
    /// A guest refers to it, but it does not exist.
    #[error("dangling: {key}{} of guest {guest} refers to it, but it does not exist", if section.is_empty() { String::new() } else { format!(" ({section})") })]
    Dangling {
        /// The guest.
        guest: u32,
        /// The option.
        key: BString,
        /// The section; empty for the current configuration.
        section: String,
    },
    /// A guest refers to a volume on a storage that no storage.cfg declares.
    #[error("dangling: {key}{} of guest {guest} refers to it, but there is no such storage", if section.is_empty() { String::new() } else { format!(" ({section})") })]
    NoStorage {
        /// The guest.
        guest: u32,
        /// The option.
        key: BString,
        /// The section; empty for the current configuration.
        section: String,
    },
    /// No configuration refers to it, but a line that is not read (a mistyped option, a section that is skipped) names
    /// it.
    #[error(
        "not read: line {line} of guest {guest} ({key}) names it, but Proxmox VE does not read that line"
    )]
    Mentioned {
        /// The guest.
        guest: u32,
        /// The key of the line.
        key: BString,
        /// The line, counted from 1.
        line: usize,
    },
    /// Its owner does not refer to it (or is on another node), but is locked: an operation may be making or removing it
    /// right now.
    #[error("under way: guest {owner} does not refer to it, but is locked ({lock})")]
    UnderWay {
        /// The guest.
        owner: BString,
        /// The lock.
        lock: BString,
    },
    /// A guest refers to a volume of another.
    #[error("owner mismatch: {key} of guest {guest} refers to it, its name says {owner}, {}", if *exists { "another guest" } else { "which does not exist" })]
    OwnerMismatch {
        /// The guest that refers to it.
        guest: u32,
        /// The option.
        key: BString,
        /// The owner by its name.
        owner: BString,
        /// Whether there is such a guest.
        exists: bool,
    },
    /// A linked clone whose base is not there.
    #[error("linked clone: its base {base} is not there")]
    BaseMissing {
        /// The base.
        base: BString,
    },
    /// An image whose backing file is not there, so that it cannot be read.
    #[error("broken: its backing file {file} is not there")]
    BackingMissing {
        /// The backing file.
        file: BString,
    },
    /// No guest refers to it, but it must stay: a linked clone is based on it.
    #[error("base: guest {owner} does not refer to it, but {clone} is based on it")]
    BaseOfClone {
        /// The owner by its name.
        owner: BString,
        /// What is based on it.
        clone: BString,
    },
    /// An image that is not what its name says, or cannot be read.
    #[error("cannot be read: {reason}")]
    Unreadable {
        /// What the tool said.
        reason: String,
    },
    /// The memory of a snapshot that the guest does not have.
    #[error("leftover: memory of snapshot {snapshot}, which guest {owner} does not have")]
    StateWithoutSnapshot {
        /// The guest.
        owner: BString,
        /// The snapshot.
        snapshot: BString,
    },
    /// A snapshot of a volume that is gone.
    #[error("leftover: snapshot {snapshot} of {volume}, which does not exist")]
    SnapshotOfNothing {
        /// The volume.
        volume: BString,
        /// The snapshot.
        snapshot: BString,
    },
    /// A snapshot that the configuration of the guest does not know.
    #[error("leftover: snapshot {snapshot} of {volume} is in no configuration")]
    UnknownSnapshot {
        /// The volume.
        volume: BString,
        /// The snapshot.
        snapshot: BString,
    },
    /// A removed volume that waits to be wiped.
    #[error("leftover: {volume} was removed, and was never wiped to the end")]
    AwaitsWiping {
        /// The name before it was removed.
        volume: BString,
    },
    /// A temporary name.
    #[error("leftover: temporary name, to which guest {owner} does not refer")]
    Temporary {
        /// The guest.
        owner: BString,
    },
    /// Present, but never listed.
    #[error("blind spot: {0}")]
    Invisible(Invisible),
    /// Seen through another storage as well.
    #[error("seen twice: storage {other} shows it as well")]
    SeenTwice {
        /// The other storage.
        other: String,
    },
    /// A backup of a guest that no longer exists. It may well be kept for that very reason.
    #[error("backup of guest {owner}, which does not exist (it may be kept on purpose)")]
    BackupOfNoGuest {
        /// The guest.
        owner: BString,
    },
    /// A backup that belongs to nobody by its name, so that pruning never considers it.
    #[error("backup whose name tells neither guest nor time: it is never pruned")]
    UnreadableBackup,
}

/// Audits the volumes in `reports` against the configurations.
///
/// # Errors
/// [`ReportError`] if the saved output of a tool cannot be read.
pub fn audit(cluster: &Inventory<'_>, reports: &[NodeReport]) -> Result<Audit, ReportError> {
    let stock = stock::Stock::take(cluster, reports)?;
    Ok(judge::Judge::new(cluster, &stock).run())
}
