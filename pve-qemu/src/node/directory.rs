// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations in a directory laid out like `/etc/pve`: the real one, one mounted from a database, or a plain copy.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use pve_volid::VmId;

use super::files::ConfigFiles;
use super::{LockGuard, LockMode, WorldError};

/// Where Proxmox VE keeps the locks of configurations.
const LOCKS: &str = "/var/lock/qemu-server";
/// How often a lock that is held is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// A directory laid out like `/etc/pve`.
///
/// A file is replaced in one step: the new text is written beside it and renamed over it. What a power failure leaves is
/// up to the file system; the cluster file system has written it to its database by then.
///
/// ```
/// use pve_qemu::node::{ConfigStore, DirectoryStore};
///
/// let directory = tempfile::tempdir()?;
/// let store = DirectoryStore::new(directory.path(), "pve1").with_locks_in(directory.path().join("lock"));
/// store.create("100".parse()?, "name: web\n".into())?;
/// let (entry, text) = store.read("100".parse()?)?.unwrap();
/// assert_eq!((entry.node.as_str(), text), ("pve1", "name: web\n".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct DirectoryStore {
    root: PathBuf,
    node: String,
    locks: PathBuf,
    held: RefCell<BTreeMap<VmId, Weak<Flock<File>>>>,
}

impl DirectoryStore {
    /// The configurations below `root`, seen from `node`.
    pub fn new(root: impl Into<PathBuf>, node: impl Into<String>) -> Self {
        DirectoryStore { root: root.into(), node: node.into(), locks: LOCKS.into(), held: RefCell::default() }
    }

    /// The same with locks elsewhere: away from where Proxmox VE looks for them, they keep only those out who agree.
    #[must_use]
    pub fn with_locks_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.locks = directory.into();
        self
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

impl ConfigFiles for DirectoryStore {
    fn own_node(&self) -> &str {
        &self.node
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, WorldError> {
        let failed = |error: io::Error| failed(directory, &error);
        let entries = match fs::read_dir(self.path(directory)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn content(&self, path: &str) -> Result<Option<BString>, WorldError> {
        match fs::read(self.path(path)) {
            Ok(text) => Ok(Some(text.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn exists(&self, path: &str) -> Result<bool, WorldError> {
        self.path(path).try_exists().map_err(|error| failed(path, &error))
    }

    fn replace(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        let target = self.path(path);
        let beside = target.with_extension(format!("conf.tmp.{}", std::process::id()));
        let written = fs::write(&beside, content).and_then(|()| fs::rename(&beside, &target));
        written.map_err(|error| {
            // the error to report is the first one
            let _ = fs::remove_file(&beside);
            failed(path, &error)
        })
    }

    fn add(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        let target = self.path(path);
        let made = make_parent(&target);
        let opened = made.and_then(|()| OpenOptions::new().write(true).create_new(true).open(&target));
        opened.and_then(|mut file| file.write_all(content)).map_err(|error| failed(path, &error))
    }

    fn delete(&self, path: &str) -> Result<(), WorldError> {
        fs::remove_file(self.path(path)).map_err(|error| failed(path, &error))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), WorldError> {
        let target = self.path(to);
        let free = match target.try_exists() {
            Ok(true) => Err(io::Error::from(io::ErrorKind::AlreadyExists)),
            other => other.map(drop),
        };
        let moved =
            free.and_then(|()| make_parent(&target)).and_then(|()| fs::rename(self.path(from), &target));
        moved.map_err(|error| failed(from, &error))
    }

    fn take_lock(
        &self,
        vmid: VmId,
        mode: LockMode,
        patience: Duration,
    ) -> Result<Box<dyn LockGuard>, WorldError> {
        if let Some(lock) = self.held.borrow().get(&vmid).and_then(Weak::upgrade) {
            return Ok(Box::new(Held { _lock: lock }));
        }
        let path = self.locks.join(format!("lock-{vmid}.conf"));
        let failed = |error: io::Error| WorldError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        };
        DirBuilder::new().recursive(true).mode(0o755).create(&self.locks).map_err(failed)?;
        let mut file = OpenOptions::new().append(true).create(true).open(&path).map_err(failed)?;
        let how = match mode {
            LockMode::Exclusive => FlockArg::LockExclusiveNonblock,
            LockMode::Shared => FlockArg::LockSharedNonblock,
        };
        let end = Instant::now() + patience;
        loop {
            match Flock::lock(file, how) {
                Ok(lock) => {
                    let lock = Rc::new(lock);
                    self.held.borrow_mut().insert(vmid, Rc::downgrade(&lock));
                    return Ok(Box::new(Held { _lock: lock }));
                }
                Err((back, Errno::EWOULDBLOCK)) if Instant::now() < end => file = back,
                Err((_, Errno::EWOULDBLOCK)) => return Err(WorldError::Locked { vmid, patience }),
                Err((_, error)) => return Err(failed(error.into())),
            }
            std::thread::sleep(RETRY);
        }
    }
}

/// A lock that is held; the kernel gives it up with the file, also when the process dies.
struct Held {
    _lock: Rc<Flock<File>>,
}

impl LockGuard for Held {}

fn make_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), fs::create_dir_all)
}

fn failed(path: &str, error: &io::Error) -> WorldError {
    WorldError::File { path: path.to_owned(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ConfigStore;

    fn store(directory: &Path) -> DirectoryStore {
        DirectoryStore::new(directory, "pve1").with_locks_in(directory.join("lock"))
    }

    fn id(text: &str) -> VmId {
        VmId::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn laws() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("datacenter.cfg"), "keyboard: de\n").unwrap();
        crate::node::laws::hold(&store(directory.path()));
    }

    #[test]
    fn an_id_is_unique_over_nodes_and_kinds() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("nodes/pve2/lxc")).unwrap();
        fs::write(directory.path().join("nodes/pve2/lxc/101.conf"), "").unwrap();
        let store = store(directory.path());
        let error = store.create(id("101"), "".into()).unwrap_err().to_string();
        assert_eq!(error, "configuration of guest 101: the id is taken on node pve2; choose another");
        let error = store.write(id("101"), "".into()).unwrap_err().to_string();
        assert_eq!(error, "configuration of guest 101: it is a container, not a VM");
    }

    #[test]
    fn a_file_that_should_not_be_there_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        store.create(id("100"), "name: web\n".into()).unwrap();
        let other = directory.path().join("nodes/pve2/qemu-server/100.conf");
        fs::create_dir_all(other.parent().unwrap()).unwrap();
        fs::write(&other, "name: another\n").unwrap();
        assert!(store.move_to(id("100"), "pve2").is_err());
        assert_eq!(fs::read(&other).unwrap(), b"name: another\n");
        assert_eq!(store.read(id("100")).unwrap().unwrap().1, "name: web\n");
    }

    #[test]
    fn locks_keep_other_holders_out_and_let_the_own_one_in() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (store(directory.path()), store(directory.path()));
        let guard = one.lock(id("100"), LockMode::Exclusive, Duration::ZERO).unwrap();
        let again = one.lock(id("100"), LockMode::Exclusive, Duration::ZERO).unwrap();
        let refused = |mode| other.lock(id("100"), mode, Duration::from_millis(30)).err();
        assert!(matches!(refused(LockMode::Shared), Some(WorldError::Locked { .. })));
        drop(guard);
        assert!(refused(LockMode::Exclusive).is_some(), "one of the two guards still lives");
        drop(again);
        let _shared = one.lock(id("100"), LockMode::Shared, Duration::ZERO).unwrap();
        assert!(refused(LockMode::Shared).is_none());
        assert!(refused(LockMode::Exclusive).is_some());
    }
}
