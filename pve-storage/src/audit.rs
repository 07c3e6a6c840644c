// SPDX-License-Identifier: MIT OR Apache-2.0
//! The audit: which volumes no guest accounts for, and which references point at nothing.
//!
//! Nothing is run or read here. The configurations come as an [`Inventory`], what lies on the storages as the saved
//! [output of the listing tools](NodeReport), node by node. A volume on a shared storage is one volume whatever node
//! reports it; one on a local storage is another on each node, although the storage has one entry.
//!
//! ```
//! use pve_config::inventory::Inventory;
//! use pve_storage::audit::{NodeReport, Trouble, audit};
//!
//! let files = [
//!     ("storage.cfg", &b"lvmthin: local-lvm\n\tvgname pve\n\tthinpool data\n\tcontent images\n"[..]),
//!     ("nodes/pve1/qemu-server/100.conf", b"scsi0: local-lvm:vm-100-disk-0,size=1G\n"),
//! ];
//! let lvs = "pve:vm-100-disk-0:1073741824:Vwi-a-tz--:data:50:::u:::\npve:vm-101-disk-0:4096:Vwi-a-tz--:data:50:::u:::\n";
//! let report = NodeReport { node: "pve1".into(), lvs: Some(lvs.into()), ..NodeReport::default() };
//! let found = audit(&Inventory::new(files), &[report])?.findings;
//! assert_eq!(found.len(), 1);
//! assert_eq!((&found[0].trouble, found[0].wasted()), (&Trouble::NoGuest { owner: "101".into() }, Some(2048)));
//! # Ok::<(), pve_storage::audit::ReportError>(())
//! ```

mod fix;
mod judge;
mod report;

use bstr::BString;
use pve_config::inventory::Inventory;
use pve_volid::Invisible;

pub use report::{NodeReport, ReportError, StorageReport};

/// What an audit found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Audit {
    /// What is wrong or odd, sorted by storage, node and name.
    pub findings: Vec<Finding>,
    /// Volumes that were looked at; a shared one counts once.
    pub volumes: usize,
    /// Storages (with the node, unless shared) that guests refer to or that are enabled there, but of which nothing
    /// was reported: nothing is said about them.
    pub unreported: Vec<(String, Option<String>)>,
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
    let stock = report::Stock::take(cluster, reports)?;
    Ok(judge::Judge::new(cluster, &stock).run())
}
