// SPDX-License-Identifier: MIT OR Apache-2.0
//! Snapshots of a VM: making, deleting, going back, and the tree that they form (spec: vm-lifecycle, "Snapshots").
//!
//! A snapshot is a section of the configuration (a copy of the main one) and a snapshot of the same name of every disk.
//! [`create_snapshot`] announces it in the configuration (`snapstate: prepare`), makes the snapshots of the volumes,
//! and commits; [`delete_snapshot`] goes the other way, and shortens the section disk by disk as they are done.
//!
//! # What the order of steps can lose or leak
//!
//! * If the process dies while a snapshot is made, the lock `snapshot` and the section with `snapstate: prepare` stay.
//!   Unlock, then delete the snapshot with `force`: a volume that has none yet is only a warning then.
//! * Deleting without `force` stops at the first volume that refuses, and leaves the lock `snapshot-delete` and the
//!   shortened section. Unlock and repeat. A template's snapshot cannot be deleted, and the attempt leaves the lock.
//! * Deleting with `force` forgets snapshots of volumes that could not be deleted: they stay on the storage, unknown to any
//!   configuration; a disk that only that snapshot named does not even become `unusedN`. [`Deleted::left_behind`] and the audit of [`pve_storage::audit`] name them.
//! * A rollback drops everything pending and the special sections, and frees the cloud-init volume if the snapshot has none.
//!   Disks that were added since become `unusedN`. If a volume refuses, those before it are rolled back already, and the
//!   lock `rollback` stays.
//! * Moving a disk to another storage does not take its snapshots along.

mod create;
mod delete;
mod rollback;
mod running;
mod state;
mod tree;

use bstr::BString;
use pve_config::guest::NoFreeUnused;
use pve_config::vm::DriveId;
use pve_storage::Refusal;
use pve_volid::VmId;

pub use crate::left_behind::LeftBehind;
pub use create::{SnapshotRequest, create_snapshot};
pub use delete::{Deleted, delete_snapshot, set_snapshot_description};
pub use rollback::{RolledBack, StartState, check_rollback, rollback};
pub use running::RunningMachine;
pub(crate) use running::{RUNNING_KEYS, virtio_cards};
pub use state::{STATE_FORMAT, state_kib, state_storage};
pub(crate) use state::{SaveError, allocate, memory, save};
pub use tree::{SnapshotNode, snapshot_tree};

use crate::node::WorldError;
use crate::vm_file::VmFileError;

/// The name that backups give to their snapshot; disks without backup are left alone by it.
const BACKUP_SNAPSHOT: &str = "vzdump";

/// Why a snapshot was not made, deleted, or gone back to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock, a storage or QEMU refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The name, or the state of the snapshot.
    #[error("VM {vmid}: {source}")]
    Name {
        /// The VM.
        vmid: VmId,
        /// Why.
        source: pve_config::guest::SnapshotError,
    },
    /// Templates have no snapshots.
    #[error("VM {vmid} is a template: its disks no longer change, so it has no snapshots")]
    Template {
        /// The VM.
        vmid: VmId,
    },
    /// Memory that cannot be saved.
    #[error("VM {vmid}: the memory cannot be saved while {key} is configured; make a snapshot without it")]
    Memory {
        /// The VM.
        vmid: VmId,
        /// The option in the way.
        key: String,
    },
    /// A disk without snapshots.
    #[error("VM {vmid}: {drive} ({volume}) cannot have snapshots: {source}")]
    Feature {
        /// The VM.
        vmid: VmId,
        /// The drive.
        drive: DriveId,
        /// Its volume.
        volume: BString,
        /// Why.
        source: Refusal,
    },
    /// A running VM's disk whose snapshots are volumes of a chain.
    #[error(
        "VM {vmid}: {volume} ({drive}) keeps snapshots as a chain of volumes, which QEMU would have to switch while the VM runs; shut it down first"
    )]
    RunningChain {
        /// The VM.
        vmid: VmId,
        /// The drive.
        drive: DriveId,
        /// Its volume.
        volume: BString,
    },
    /// Facts about the running machine are needed, and nobody gave them.
    #[error("VM {vmid} runs, but its machine type and CPU are unknown; saving its memory needs them")]
    UnknownMachine {
        /// The VM.
        vmid: VmId,
    },
    /// QEMU could not save the memory.
    #[error("VM {vmid}: QEMU could not save the memory to {volume}: {reason}")]
    State {
        /// The VM.
        vmid: VmId,
        /// The volume.
        volume: BString,
        /// What QEMU said.
        reason: String,
    },
    /// Making the snapshot failed, and so did taking back what was done.
    #[error("{source}; taking the snapshot back failed as well: {undo}")]
    Undo {
        /// Why it failed.
        source: Box<SnapshotError>,
        /// Why it could not be taken back.
        undo: Box<SnapshotError>,
    },
    /// The snapshot is being made or deleted.
    #[error("VM {vmid}: snapshot {name} is incomplete ({state}); delete it")]
    Incomplete {
        /// The VM.
        vmid: VmId,
        /// The snapshot.
        name: BString,
        /// `prepare` or `delete`.
        state: BString,
    },
    /// The VM runs although it was stopped.
    #[error("VM {vmid} was started during the rollback; stop it and repeat")]
    Running {
        /// The VM.
        vmid: VmId,
    },
    /// The lock of the rollback is gone.
    #[error("VM {vmid}: somebody took the lock 'rollback' away (it is now {lock:?})")]
    LostLock {
        /// The VM.
        vmid: VmId,
        /// The lock that is there instead, empty if none.
        lock: BString,
    },
    /// No `unusedN` is left.
    #[error("VM {vmid}: {source}")]
    Full {
        /// The VM.
        vmid: VmId,
        /// The volume.
        source: NoFreeUnused,
    },
    /// No storage can hold the state.
    #[error(
        "VM {vmid}: the saved memory has no place: storage {storage:?} cannot be named; set vmstatestorage"
    )]
    StateStorage {
        /// The VM.
        vmid: VmId,
        /// The storage.
        storage: String,
    },
}
