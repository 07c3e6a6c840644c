// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree together with its database: operations are applied to both, one after the other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::checksum;
use crate::engine::{Change, Engine, Event};
use crate::load::Loaded;
use crate::operation::{Operation, Origin};
use crate::refusal::Refusal;
use crate::row::Row;
use crate::store::Store;
use crate::tree::Tree;

/// One node's copy of the cluster file system.
///
/// Reads see the tree as the last applied operation left it and never wait for the database. Operations are applied one at a
/// time: what is applied in which order is up to who calls [`apply`](Self::apply), see [`Sequencer`].
#[derive(Debug)]
pub struct Replica {
    engine: RwLock<Engine>,
    /// `None`: nothing can be changed. Locked during the whole of a change, so it also puts changes in order.
    store: Option<Mutex<Store>>,
    watchers: RwLock<Vec<Arc<dyn Watcher>>>,
}

/// Somebody who wants to know of each applied change at once.
pub trait Watcher: Send + Sync + std::fmt::Debug {
    /// A change was applied. The next one waits until this returns.
    fn changed(&self, event: &Event);

    /// The permission bits of everything changed, with the quorum.
    fn attributes_changed(&self);

    /// The whole tree was replaced by another; `before` is as it was.
    fn replaced(&self, before: &Tree);
}

/// An operation, and on which entry its author means it to be.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The operation.
    pub operation: Operation<'a>,
    /// The inode that must be at the path of the operation when it is applied: between the look at the tree that gave the path and the
    /// change, another entry may have taken the place. `None`: whatever is there.
    pub inode: Option<u64>,
}

impl Replica {
    /// A copy of what was loaded from `store`; without one it is read-only.
    pub fn new(engine: Engine, store: Option<Store>) -> Self {
        Self { engine: RwLock::new(engine), store: store.map(Mutex::new), watchers: RwLock::default() }
    }

    /// Applies the operation of `request`: checks the rules, commits the change to the database, and brings it into memory. `now`
    /// is this node's own clock, for the ages of locks.
    ///
    /// # Errors
    /// The rule that refuses it. Then neither memory nor database have changed (with the exceptions that
    /// [`Fidelity::Exact`](crate::operation::Fidelity) names).
    pub fn apply(&self, request: &Request<'_>, origin: Origin, now: u64) -> Result<(), Refusal> {
        let store = self.store.as_ref().ok_or(Refusal::ReadOnly)?;
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let planned = self.plan(request, origin);
        let change = match planned {
            Ok(change) => change,
            Err(refusal) => {
                if let (Refusal::RenameNotEmpty, Operation::Rename { from, to }) =
                    (&refusal, request.operation)
                {
                    self.engine_mut().note_refused_rename(from, to);
                }
                return Err(refusal);
            }
        };
        store.commit(&change)?;
        let event = self.engine_mut().apply(&change, now);
        for watcher in self.watchers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            watcher.changed(&event);
        }
        Ok(())
    }

    /// Takes over the tree of another node: of the own entries those in `kept` stay, unless `rows` has newer ones. The result
    /// must have the index `index`.
    ///
    /// # Errors
    /// It has not, breaks a rule of loading, or the database does not take it: everything is as before. Or two guests have the
    /// same id: then it was taken over. In all cases the error flag is set.
    pub(crate) fn take_over(
        &self,
        kept: &HashSet<u64>,
        rows: &[Row],
        index: &[u8],
        now: u64,
    ) -> Result<(), Refusal> {
        let store = self.store.as_ref().ok_or(Refusal::ReadOnly)?;
        let store = store.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |loaded: &Loaded| {
            loaded.refusals.iter().all(|finding| finding.rule.is_about_guests())
                && checksum::index(&loaded.tree) == index
        };
        let taken = store.take_over(kept, rows, fits).map_err(Refusal::from);
        let replaced = match taken.and_then(|loaded| loaded.ok_or(Refusal::Failed)) {
            Ok(loaded) => self.engine_mut().replace(loaded.tree, now),
            Err(refusal) => {
                self.engine_mut().fail();
                return Err(refusal);
            }
        };
        for watcher in self.watchers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            watcher.replaced(&replaced.before);
        }
        if replaced.has_conflicts { Err(Refusal::Failed) } else { Ok(()) }
    }

    fn plan<'a>(&self, request: &Request<'a>, origin: Origin) -> Result<Change<'a>, Refusal> {
        let engine = self.engine();
        if let Some(inode) = request.inode
            && engine.tree().get(request.operation.path()).is_none_or(|entry| entry.inode() != inode)
        {
            return Err(Refusal::Missing);
        }
        engine.plan(&request.operation, origin)
    }

    /// Has `watcher` told of every change from now on.
    pub fn watch(&self, watcher: Arc<dyn Watcher>) {
        self.watchers.write().unwrap_or_else(PoisonError::into_inner).push(watcher);
    }

    /// Tells all watchers that the permission bits of everything changed.
    pub(crate) fn attributes_changed(&self) {
        for watcher in self.watchers.read().unwrap_or_else(PoisonError::into_inner).iter() {
            watcher.attributes_changed();
        }
    }

    /// Tells `watcher` no more.
    pub fn unwatch(&self, watcher: &Arc<dyn Watcher>) {
        let mut watchers = self.watchers.write().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|other| !Arc::ptr_eq(other, watcher));
    }

    /// The tree and what is kept beside it.
    pub fn engine(&self) -> RwLockReadGuard<'_, Engine> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same for change; for what is not an operation.
    pub(crate) fn engine_mut(&self) -> RwLockWriteGuard<'_, Engine> {
        self.engine.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database, if it is open for change. While it is held no operation is applied.
    pub fn store(&self) -> Option<MutexGuard<'_, Store>> {
        Some(self.store.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether nothing can be changed.
    pub const fn is_read_only(&self) -> bool {
        self.store.is_none()
    }
}

/// How a change gets from who asks for it to the replica, and with which writer and time.
///
/// A node by itself applies it at once: [`Local`]. In a cluster it is sent to all nodes and applied by each when it is
/// delivered; what the sender gets is the result of its own delivery.
pub trait Sequencer: Send + Sync + std::fmt::Debug {
    /// Has `request` applied to `replica`, and waits for the result.
    ///
    /// # Errors
    /// What [`Replica::apply`] says, or why the operation could not be put in order.
    fn submit(&self, replica: &Replica, request: &Request<'_>, now: u64) -> Result<(), Refusal>;

    /// Asks to remove the lock at `path` if it has expired. `Ok(true)`: it is gone, and the request ends there;
    /// `Ok(false)`: the request goes on as an ordinary change of the time.
    ///
    /// # Errors
    /// The lock has expired, but cannot be removed.
    fn request_unlock(&self, replica: &Replica, path: &[u8], now: u64) -> Result<bool, Refusal>;
}

/// A node by itself: changes are applied at once, with writer 0 and its own clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct Local;

impl Sequencer for Local {
    fn submit(&self, replica: &Replica, request: &Request<'_>, now: u64) -> Result<(), Refusal> {
        replica.apply(request, Origin { writer: 0, time: now as u32 }, now)
    }

    fn request_unlock(&self, replica: &Replica, path: &[u8], now: u64) -> Result<bool, Refusal> {
        if replica.engine_mut().lock_expired(path, now) != Some(true) {
            return Ok(false);
        }
        self.submit(replica, &Request { operation: Operation::Delete { path }, inode: None }, now)?;
        Ok(true)
    }
}
