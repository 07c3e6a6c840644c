// SPDX-License-Identifier: MIT OR Apache-2.0
//! A place from which operations are carried out: storages, a host, a node, and what is true while one runs.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::StorageId;

use crate::command::{Command, Effect, Output, Streams};
use crate::error::{Error, Result};
use crate::host::{Change, Event, FileKind, Host, Metadata, Mount};
use crate::plugin::Lvs;
use crate::storage::Storage;
use crate::storages::Storages;
use crate::volume::Volume;

/// How long the protected part of an operation may take under a lock of the cluster.
const CLUSTER_LOCK_TIME: i64 = 60;

/// Carries out operations on storages: the common steps around every plugin (spec: storage-commands, "Common
/// wrappers") and what a plugin needs to do its part.
///
/// With the real machine as host the operations happen; with a [`Planning`](crate::Planning) one they are only
/// noted.
pub struct Session<'a> {
    host: &'a dyn Host,
    storages: &'a Storages,
    node: String,
    assume_active: bool,
    background: bool,
    held: RefCell<BTreeSet<StorageId>>,
    deadline: Cell<Option<i64>>,
    journal: RefCell<Vec<String>>,
    umask: Cell<Option<u32>>,
}

impl<'a> Session<'a> {
    /// A session on node `node`.
    #[must_use]
    pub fn new(storages: &'a Storages, host: &'a dyn Host, node: impl Into<String>) -> Self {
        Session {
            host,
            storages,
            node: node.into(),
            assume_active: false,
            background: false,
            held: RefCell::default(),
            deadline: Cell::new(None),
            journal: RefCell::default(),
            umask: Cell::new(None),
        }
    }

    /// Takes all storages as active: nothing is mounted, scanned or logged in to before an operation.
    #[must_use]
    pub fn assume_active(mut self) -> Self {
        self.assume_active = true;
        self
    }

    /// Nobody waits: commands that have short limits get the long ones of background tasks.
    #[must_use]
    pub fn in_background(mut self) -> Self {
        self.background = true;
        self
    }

    /// The machine.
    #[must_use]
    pub fn host(&self) -> &'a dyn Host {
        self.host
    }

    /// All storages.
    #[must_use]
    pub fn storages(&self) -> &'a Storages {
        self.storages
    }

    /// The node's name.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// Whether nobody waits for the result.
    #[must_use]
    pub fn is_background(&self) -> bool {
        self.background
    }

    /// Whether storages are taken as active.
    pub(crate) fn assumes_active(&self) -> bool {
        self.assume_active
    }

    // ---- for plugins: commands

    /// Runs a command; another exit than code 0 is an error.
    ///
    /// # Errors
    /// If it cannot be run or fails.
    pub fn run(&self, command: &Command) -> Result<Output> {
        self.run_with(command, Streams::none())
    }

    /// Runs a command with streams of data; another exit than code 0 is an error.
    ///
    /// # Errors
    /// If it cannot be run or fails.
    pub fn run_with(&self, command: &Command, streams: Streams<'_>) -> Result<Output> {
        let output = self.ask_with(command, streams)?;
        if output.succeeded() { Ok(output) } else { Err(failed(command, &output)) }
    }

    /// Runs a command and returns how it ended, well or not.
    ///
    /// # Errors
    /// If it cannot be run, or takes too long.
    pub fn ask(&self, command: &Command) -> Result<Output> {
        self.ask_with(command, Streams::none())
    }

    fn ask_with(&self, command: &Command, streams: Streams<'_>) -> Result<Output> {
        let mut command = command.clone();
        if let Some(mask) = self.umask.get() {
            command = command.umask(mask);
        }
        if let Some(deadline) = self.deadline.get() {
            let left = u64::try_from(deadline - self.host.now()).unwrap_or(0);
            if left == 0 {
                return Err(Error::LockExpired { command: command.to_string() });
            }
            let left = Duration::from_secs(left);
            let limit = command.time_limit().map_or(left, |limit| limit.min(left));
            command = command.timeout(limit);
        }
        let output = self.host.run(&command, streams)?;
        if command.effect() == Effect::Change && output.succeeded() {
            self.journal.borrow_mut().push(command.to_string());
        }
        Ok(output)
    }

    /// Runs a command whose failure is only worth a warning; whether it succeeded.
    pub fn attempt(&self, command: &Command) -> bool {
        match self.run(command) {
            Ok(_) => true,
            Err(error) => {
                self.warn(error.to_string());
                false
            }
        }
    }

    /// Reports something that does not stop the operation.
    pub fn warn(&self, message: impl Into<String>) {
        self.host.report(Event::Warning(message.into()));
    }

    // ---- for plugins: files

    /// Carries out a change to the file system.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn change(&self, change: &Change) -> Result<()> {
        self.host.change(change).map_err(|source| Error::Io { action: change.to_string(), source })?;
        self.journal.borrow_mut().push(change.to_string());
        Ok(())
    }

    /// Carries out a change whose failure is only worth a warning.
    pub fn attempt_change(&self, change: &Change) -> bool {
        match self.change(change) {
            Ok(()) => true,
            Err(error) => {
                self.warn(error.to_string());
                false
            }
        }
    }

    /// Carries out a change whose failure does not matter at all.
    pub(crate) fn try_change(&self, change: &Change) {
        if self.host.change(change).is_ok() {
            self.journal.borrow_mut().push(change.to_string());
        }
    }

    /// Makes a directory and those above it; one that is there is fine. Nothing happens, not even in a plan, if it
    /// exists.
    ///
    /// # Errors
    /// If something else stands there, or the operating system refuses.
    pub fn make_directories(&self, path: &BStr) -> Result<()> {
        if self.kind(path) == Some(FileKind::Directory) {
            return Ok(());
        }
        let mode = 0o777 & !self.umask.get().unwrap_or(0o022);
        self.change(&Change::MakeDirectories { path: path.to_owned(), mode })
    }

    /// What stands at a path, links followed.
    #[must_use]
    pub fn kind(&self, path: &BStr) -> Option<FileKind> {
        self.host.metadata(path).map(|meta: Metadata| meta.kind)
    }

    /// Whether anything stands at a path, links followed.
    #[must_use]
    pub fn exists(&self, path: &BStr) -> bool {
        self.host.metadata(path).is_some()
    }

    /// The content of a file; `None` if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(&self, path: &BStr) -> Result<Option<BString>> {
        self.host.read(path).map_err(|source| Error::Io { action: format!("read {path}"), source })
    }

    /// The names in a directory; none if it does not exist.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn list(&self, path: &BStr) -> Result<Vec<BString>> {
        let names =
            self.host.list(path).map_err(|source| Error::Io { action: format!("ls {path}"), source })?;
        Ok(names.unwrap_or_default())
    }

    // ---- for plugins: locks and undo

    /// Does something under the lock of a storage; nested, the lock is taken once.
    ///
    /// # Errors
    /// If the lock cannot be had, or what is done fails.
    pub fn locked<T>(&self, storage: &Storage, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let id = storage.id();
        if self.held.borrow().contains(id) {
            return body();
        }
        let held = self.host.lock_storage(id.as_str(), storage.is_shared())?;
        self.held.borrow_mut().insert(id.clone());
        let outer = self.deadline.get();
        if storage.is_shared() {
            let deadline = self.host.now() + CLUSTER_LOCK_TIME;
            self.deadline.set(Some(outer.map_or(deadline, |outer| outer.min(deadline))));
        }
        let result = body();
        self.deadline.set(outer);
        self.held.borrow_mut().remove(id);
        drop(held);
        result
    }

    /// Does something with new files and directories closed to others (umask 037).
    pub(crate) fn with_tight_mask<T>(&self, body: impl FnOnce() -> Result<T>) -> Result<T> {
        let outer = self.umask.replace(Some(0o037));
        let result = body();
        self.umask.set(outer);
        result
    }

    /// Does something and, if it fails, something that takes its changes back. Changes that `undo` makes without an
    /// error count as taken back.
    ///
    /// # Errors
    /// Why `body` failed.
    pub fn undoing<T>(
        &self,
        body: impl FnOnce() -> Result<T>,
        undo: impl FnOnce() -> Result<()>,
    ) -> Result<T> {
        self.undoing_since(self.mark(), body, undo)
    }

    /// How far the operation has come: what [`Session::undoing_since`] takes back begins here.
    pub(crate) fn mark(&self) -> usize {
        self.journal.borrow().len()
    }

    /// [`Session::undoing`] where `undo` takes back what was done since `mark` too.
    pub(crate) fn undoing_since<T>(
        &self,
        mark: usize,
        body: impl FnOnce() -> Result<T>,
        undo: impl FnOnce() -> Result<()>,
    ) -> Result<T> {
        let error = match body() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        // what has to be taken back may well take longer than the lock was promised for
        self.deadline
            .set(self.deadline.get().map(|deadline| deadline.max(self.host.now() + CLUSTER_LOCK_TIME)));
        match undo() {
            Ok(()) => self.journal.borrow_mut().truncate(mark),
            Err(failure) => self.warn(format!("cannot take back: {failure}")),
        }
        Err(error)
    }

    /// Marks the changes so far as done for good: they are no leftovers if a later step fails.
    pub(crate) fn settle(&self) {
        self.journal.borrow_mut().clear();
    }

    /// Ends an operation: a failure tells which changes still stand.
    pub(crate) fn conclude<T>(&self, result: Result<T>) -> Result<T> {
        let left = std::mem::take(&mut *self.journal.borrow_mut());
        match result {
            Err(source) if !left.is_empty() => Err(Error::LeftBehind { left, source: Box::new(source) }),
            other => other,
        }
    }

    /// The volume that a volume id names.
    ///
    /// # Errors
    /// If it is none, or its storage does not exist, or the name leaves its directory.
    pub(crate) fn with_volume<T>(
        &self,
        volid: &BStr,
        body: impl FnOnce(&Volume<'_>) -> Result<T>,
    ) -> Result<T> {
        let id = pve_volid::VolumeIdRef::from_bytes(volid)?;
        let storage = self.storages.require(id.storage().as_str())?;
        let volume = storage.volume(id.volname())?;
        volume.check_names(None)?;
        body(&volume)
    }

    /// A limit for a command: `short` if somebody waits, else at least `long`.
    pub(crate) fn limit(&self, short: u64, long: u64) -> Duration {
        Duration::from_secs(if self.background { long.max(short) } else { short })
    }

    /// Begins and ends what the reference runs as a background task.
    pub(crate) fn job<T>(&self, kind: &'static str, body: impl FnOnce() -> Result<T>) -> Result<T> {
        self.host.report(Event::JobBegins(kind));
        let result = body();
        self.host.report(Event::JobEnds(kind));
        result
    }
}

impl std::fmt::Debug for Session<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The error of a command that ended badly.
pub(crate) fn failed(command: &Command, output: &Output) -> Error {
    Error::Failed { command: command.to_string(), exit: output.exit, complaint: output.complaint() }
}

/// The error of a command whose answer makes no sense.
pub(crate) fn strange(command: &Command, reason: impl Into<String>) -> Error {
    Error::Answer { command: command.to_string(), reason: reason.into() }
}

/// What was found out during one call and need not be asked again within it.
#[derive(Debug, Default)]
pub struct Cache {
    pub(crate) activated: BTreeSet<StorageId>,
    pub(crate) mounts: Option<Vec<Mount>>,
    pub(crate) groups: Option<Vec<crate::plugin::VolumeGroup>>,
    pub(crate) scanned: bool,
    pub(crate) lvs: Option<Lvs>,
    pub(crate) iscsi_sessions: Option<Vec<crate::plugin::IscsiSession>>,
    pub(crate) events: Option<u64>,
}

impl Cache {
    /// The mount table, read once.
    pub(crate) fn mounts(&mut self, session: &Session<'_>) -> Result<&[Mount]> {
        if self.mounts.is_none() {
            let table = session.host().mounts();
            let table = table.map_err(|source| Error::Io { action: "read /proc/mounts".into(), source })?;
            self.mounts = Some(table);
        }
        Ok(self.mounts.as_deref().unwrap_or_default())
    }
}

/// Reads a number that a command printed.
pub(crate) fn number(text: &BStr) -> Option<u64> {
    text.trim_ascii().to_str().ok()?.parse().ok()
}
