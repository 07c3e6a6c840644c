// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why a storage operation failed.

use bstr::BString;
use pve_volid::StorageId;

use crate::command::{Exit, RunError};
use crate::host::{LockError, RemoteError};

/// Why a storage operation failed: what was tried, on what, and the cause below it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// storage.cfg has no such storage.
    #[error("storage '{0}' does not exist")]
    NoSuchStorage(BString),
    /// The storage exists but may not be used on this node.
    #[error(
        "storage '{storage}' is not available on node '{node}' (see 'disable' and 'nodes' in storage.cfg)"
    )]
    NotEnabled {
        /// The storage.
        storage: StorageId,
        /// The node.
        node: String,
    },
    /// Nothing is known of the type.
    #[error("storage '{storage}' has type '{kind}', which no plugin here serves")]
    UnknownType {
        /// The storage.
        storage: StorageId,
        /// The type as written.
        kind: BString,
    },
    /// A text is not an id.
    #[error(transparent)]
    Id(#[from] pve_volid::IdError),
    /// The name is no volume of this type.
    #[error("on storage '{storage}': {source}")]
    Name {
        /// The storage.
        storage: StorageId,
        /// What is wrong with the name.
        source: pve_volid::VolumeNameError,
    },
    /// A name that would leave its directory.
    #[error("'{0}' would leave its directory")]
    Escapes(BString),
    /// Not the name of a snapshot.
    #[error("'{0}' cannot be the name of a snapshot")]
    SnapshotName(BString),
    /// The type, or this kind of volume, cannot do it.
    #[error("storage '{storage}' ({kind}) cannot {operation}: {reason}")]
    Unsupported {
        /// The storage.
        storage: StorageId,
        /// Its type.
        kind: BString,
        /// What was asked for, as in `clone volumes`.
        operation: &'static str,
        /// Why not.
        reason: String,
    },
    /// The section of the storage lacks a value.
    #[error("storage '{storage}': property '{property}' is not set")]
    MissingProperty {
        /// The storage.
        storage: StorageId,
        /// The property.
        property: &'static str,
    },
    /// A value of the section, or of a file that belongs to it, cannot be used.
    #[error("storage '{storage}': {what}: {reason}")]
    Value {
        /// The storage.
        storage: StorageId,
        /// The property or file.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A request whose parts do not fit together.
    #[error("'{volume}': {reason}")]
    Request {
        /// The volume or storage.
        volume: BString,
        /// What does not fit.
        reason: String,
    },
    /// The thing is not there.
    #[error("'{0}' does not exist")]
    Missing(BString),
    /// The name is taken.
    #[error("'{0}' exists already")]
    Exists(BString),
    /// It may not be touched as long as something else holds.
    #[error("'{volume}' is in use: {reason}")]
    InUse {
        /// The volume.
        volume: BString,
        /// By what.
        reason: String,
    },
    /// Every name up to the last number is taken.
    #[error("on storage '{storage}': {source}")]
    NoFreeName {
        /// The storage.
        storage: StorageId,
        /// The names that are taken.
        source: pve_volid::NoFreeName,
    },
    /// A volume cannot go back to a snapshot that is not the newest.
    #[error(
        "'{volume}' cannot go back to snapshot '{snapshot}': there are newer ones ({}), delete them first",
        newer.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
    )]
    RollbackBlocked {
        /// The volume.
        volume: BString,
        /// The snapshot.
        snapshot: BString,
        /// Newer snapshots.
        newer: Vec<BString>,
    },
    /// The lock of the cluster is only promised for a minute, and that is over.
    #[error("not running {command}: the time under the cluster's lock is over")]
    LockExpired {
        /// The command, quoted.
        command: String,
    },
    /// The storage cannot be reached.
    #[error("storage '{0}' is not online")]
    Offline(StorageId),
    /// It could not be made ready.
    #[error("cannot activate '{what}': {reason}")]
    Activation {
        /// A storage or volume.
        what: BString,
        /// Why not.
        reason: String,
    },
    /// A command ended with a failure.
    #[error("{command}: {complaint}")]
    Failed {
        /// The command, quoted.
        command: String,
        /// How it ended.
        exit: Exit,
        /// Its last lines on standard error, or how it ended.
        complaint: String,
    },
    /// A command answered something that cannot be understood.
    #[error("{command}: unexpected answer: {reason}")]
    Answer {
        /// The command, quoted.
        command: String,
        /// What was expected, what came.
        reason: String,
    },
    /// A command could not be run.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A stream ended before all of the volume had come.
    #[error(
        "the stream ends after {got} bytes of content, at least {expected} should come: what sends it may have failed"
    )]
    ShortStream {
        /// Bytes of content that came.
        got: u64,
        /// Bytes that have to come.
        expected: u64,
    },
    /// A file could not be read or changed.
    #[error("{action}: {source}")]
    Io {
        /// What was tried, as a command line.
        action: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Another machine did not answer.
    #[error(transparent)]
    Remote(#[from] RemoteError),
    /// A path or device is needed that only the running system can tell.
    #[error("storage '{storage}': {what} is not known")]
    FactNeeded {
        /// The storage.
        storage: StorageId,
        /// What must be found out.
        what: &'static str,
    },
    /// The operation stopped midway; some of its changes could not be taken back.
    #[error("{source}; left behind: {}", left.join("; "))]
    LeftBehind {
        /// Changes that were made and still stand, as command lines in the order in which they were made.
        left: Vec<String>,
        /// Why it stopped.
        source: Box<Error>,
    },
    /// Several things failed; each was tried.
    #[error("{}", list(.0))]
    Several(Vec<Error>),
}

fn list(errors: &[Error]) -> String {
    errors.iter().map(Error::to_string).collect::<Vec<_>>().join("; ")
}

/// What storage operations return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
