// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations in a directory laid out like `/etc/pve`: the real one, one mounted from a database, or a plain copy.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use bstr::{BStr, BString};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use pve_config::guest::GuestKind;
use pve_volid::VmId;

use super::{ConfigStore, GuestEntry, LockGuard, LockMode, WorldError};

/// Where Proxmox VE keeps the locks of configurations.
const LOCKS: &str = "/var/lock/qemu-server";
/// How often a lock that is held is tried again.
const RETRY: Duration = Duration::from_millis(20);
const KINDS: [GuestKind; 2] = [GuestKind::Qemu, GuestKind::Lxc];

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

    fn path(&self, node: &str, kind: GuestKind, vmid: VmId) -> PathBuf {
        self.root.join("nodes").join(node).join(kind.directory()).join(format!("{vmid}.conf"))
    }

    fn own(&self, vmid: VmId) -> PathBuf {
        self.path(&self.node, GuestKind::Qemu, vmid)
    }

    /// The nodes, the own one first.
    fn nodes(&self) -> Result<Vec<String>, WorldError> {
        let mut nodes = vec![self.node.clone()];
        for name in names(&self.root.join("nodes"))? {
            if name != self.node {
                nodes.push(name);
            }
        }
        Ok(nodes)
    }

    /// Where a guest is.
    fn find(&self, vmid: VmId) -> Result<Option<GuestEntry>, WorldError> {
        for node in self.nodes()? {
            for kind in KINDS {
                if self.path(&node, kind, vmid).exists() {
                    return Ok(Some(GuestEntry { vmid, kind, node }));
                }
            }
        }
        Ok(None)
    }
}

impl ConfigStore for DirectoryStore {
    fn node(&self) -> &str {
        &self.node
    }

    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        let mut guests = Vec::new();
        for node in self.nodes()? {
            for kind in KINDS {
                let directory = self.root.join("nodes").join(&node).join(kind.directory());
                for name in names(&directory)? {
                    let digits = name.strip_suffix(".conf").unwrap_or_default();
                    if let Ok(vmid) = VmId::from_bytes(digits.as_bytes()) {
                        guests.push(GuestEntry { vmid, kind, node: node.clone() });
                    }
                }
            }
        }
        guests.sort_by_key(|guest| guest.vmid);
        Ok(guests)
    }

    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError> {
        let Some(entry) = self.find(vmid)? else { return Ok(None) };
        let text = fs::read(self.path(&entry.node, entry.kind, vmid)).map_err(|e| config(vmid, &e))?;
        Ok(Some((entry, text.into())))
    }

    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        let path = self.own(vmid);
        if !path.exists() {
            return Err(not_here(vmid, &self.node));
        }
        let beside = path.with_extension(format!("conf.tmp.{}", std::process::id()));
        let written = fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path));
        written.map_err(|error| {
            // the error to report is the first one
            let _ = fs::remove_file(&beside);
            config(vmid, &error)
        })
    }

    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        if let Some(entry) = self.find(vmid)? {
            let reason = format!("the id is taken on node {}; choose another", entry.node);
            return Err(WorldError::Config { vmid, reason });
        }
        let path = self.own(vmid);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all);
        let opened = made.and_then(|()| OpenOptions::new().write(true).create_new(true).open(&path));
        opened.and_then(|mut file| file.write_all(text)).map_err(|error| config(vmid, &error))
    }

    fn remove(&self, vmid: VmId) -> Result<(), WorldError> {
        fs::remove_file(self.own(vmid)).map_err(|error| config(vmid, &error))
    }

    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError> {
        if !matches!(Path::new(node).components().collect::<Vec<_>>().as_slice(), [Component::Normal(_)]) {
            return Err(WorldError::Config { vmid, reason: format!("{node:?} is no name of a node") });
        }
        let target = self.path(node, GuestKind::Qemu, vmid);
        let made = target.parent().map_or(Ok(()), fs::create_dir_all);
        made.and_then(|()| fs::rename(self.own(vmid), &target)).map_err(|error| config(vmid, &error))
    }

    fn file(&self, path: &str) -> Result<Option<BString>, WorldError> {
        let failed = |reason: String| WorldError::File { path: path.to_owned(), reason };
        if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(failed("the path leaves the directory".into()));
        }
        match fs::read(self.root.join(path)) {
            Ok(text) => Ok(Some(text.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    fn lock(&self, vmid: VmId, mode: LockMode, patience: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
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

/// The names in a directory that are texts, sorted; none if there is no such directory.
fn names(directory: &Path) -> Result<Vec<String>, WorldError> {
    let failed = |error: io::Error| WorldError::File {
        path: directory.display().to_string(),
        reason: error.to_string(),
    };
    let entries = match fs::read_dir(directory) {
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

fn config(vmid: VmId, error: &io::Error) -> WorldError {
    WorldError::Config { vmid, reason: error.to_string() }
}

fn not_here(vmid: VmId, node: &str) -> WorldError {
    WorldError::Config { vmid, reason: format!("it is not on node {node}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(directory: &Path) -> DirectoryStore {
        DirectoryStore::new(directory, "pve1").with_locks_in(directory.join("lock"))
    }

    fn id(text: &str) -> VmId {
        VmId::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn an_id_is_unique_over_nodes_and_kinds() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("nodes/pve2/lxc")).unwrap();
        fs::write(directory.path().join("nodes/pve2/lxc/101.conf"), "").unwrap();
        let store = store(directory.path());
        let error = store.create(id("101"), "".into()).unwrap_err().to_string();
        assert_eq!(error, "configuration of guest 101: the id is taken on node pve2; choose another");
        assert!(store.write(id("101"), "".into()).is_err());
        assert_eq!(store.guests().unwrap().len(), 1);
    }

    #[test]
    fn a_moved_file_is_found_on_the_other_node() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(directory.path());
        store.create(id("100"), "memory: 512\n".into()).unwrap();
        assert!(store.move_to(id("100"), "../x").is_err());
        store.move_to(id("100"), "pve2").unwrap();
        assert_eq!(store.read(id("100")).unwrap().unwrap().0.node, "pve2");
        assert!(store.file("nodes/../x").is_err());
        assert_eq!(store.file("datacenter.cfg").unwrap(), None);
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
