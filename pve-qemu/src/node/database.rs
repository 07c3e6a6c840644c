// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations in the database of the cluster file system, without a daemon.

use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::{BStr, BString};
use pve_cfs::OpenError;
use pve_cfs::draft::Draft;
use pve_cfs::load::{Loaded, load};
use pve_cfs::refusal::Refusal;
use pve_cfs::store::{Store, StoreOptions};
use pve_volid::VmId;

use super::files::{Alone, ConfigFiles};
use super::{LockGuard, LockMode, WorldError};

/// A `config.db` that no daemon works on.
///
/// Every change is a transaction: whoever opens the database later finds all of it or nothing. The rules are those of the
/// daemon: an id names one guest of the cluster, and files are limited in size.
///
/// The lock that a daemon would hold is taken for as long as this value lives, so that nobody else changes the database.
/// Hence the locks of single configurations, which lie outside of it, are granted at once.
///
/// ```
/// use pve_qemu::node::{ConfigStore, DatabaseStore};
///
/// let directory = tempfile::tempdir()?;
/// let path = directory.path().join("config.db");
/// let store = DatabaseStore::open(&path, "pve1")?;
/// store.put("storage.cfg", "dir: local\n\tpath /var/lib/vz\n".into())?;
/// store.create("100".parse()?, "name: web\n".into())?;
/// assert!(DatabaseStore::open(&path, "pve1").is_err(), "one at a time");
///
/// let mut found = Vec::new();
/// store.store().query("SELECT name FROM tree WHERE data = CAST('name: web' || char(10) AS BLOB)", |row| {
///     found.push(row.get::<_, String>(0)?);
///     Ok(())
/// })?;
/// assert_eq!(found, ["100.conf"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DatabaseStore {
    node: String,
    draft: RefCell<Draft>,
    store: Store,
}

impl DatabaseStore {
    /// Opens a database for change, as seen from `node`. It is made if there is none.
    ///
    /// # Errors
    /// If somebody else works on it, or it is one that a daemon would refuse.
    pub fn open(path: &Path, node: impl Into<String>) -> Result<Self, OpenError> {
        let (store, loaded) = Store::open(path, &StoreOptions::default(), now())?;
        Ok(DatabaseStore::new(store, loaded, node))
    }

    /// A database that was opened, and what was loaded from it.
    #[must_use]
    pub fn new(store: Store, loaded: Loaded, node: impl Into<String>) -> Self {
        DatabaseStore { node: node.into(), draft: Draft::new(loaded, now()).into(), store }
    }

    /// The database, to look at its rows.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Gives a file this content; it is made, with the directories above it, if there is none.
    ///
    /// # Errors
    /// The rule that refuses it, or what SQLite says.
    pub fn put(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        self.change(path, |draft| {
            make_parent(draft, path)?;
            draft.put(path.as_bytes(), content)
        })
    }

    /// Changes the tree in one transaction; what fails leaves no trace.
    fn change(
        &self,
        path: &str,
        change: impl FnOnce(&mut Draft) -> Result<(), Refusal>,
    ) -> Result<(), WorldError> {
        let failed = |reason: String| WorldError::File { path: path.to_owned(), reason };
        let mut draft = self.draft.borrow_mut();
        draft.set_time(now());
        let done = change(&mut draft).map_err(|error| error.to_string());
        let done = done.and_then(|()| draft.save(&self.store).map_err(|error| error.to_string()));
        done.map_err(|error| {
            match self.store.rows() {
                Ok(rows) => *draft = Draft::new(load(&rows), now()),
                Err(rows) => {
                    return failed(format!("{error}; and reading the database again failed: {rows}"));
                }
            }
            failed(error)
        })
    }
}

fn make_parent(draft: &mut Draft, path: &str) -> Result<(), Refusal> {
    path.rsplit_once('/').map_or(Ok(()), |(directory, _)| draft.make_directories(directory.as_bytes()))
}

/// Seconds since 1970, as the database counts them.
fn now() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}

impl ConfigFiles for DatabaseStore {
    fn own_node(&self) -> &str {
        &self.node
    }

    fn names(&self, directory: &str) -> Result<Vec<String>, WorldError> {
        let draft = self.draft.borrow();
        let children = draft.tree().get(directory.as_bytes()).into_iter().flat_map(|entry| entry.children());
        let mut names: Vec<String> =
            children.filter_map(|child| String::from_utf8(child.name().to_vec()).ok()).collect();
        names.sort();
        Ok(names)
    }

    fn content(&self, path: &str) -> Result<Option<BString>, WorldError> {
        let draft = self.draft.borrow();
        let file = draft.tree().get(path.as_bytes()).filter(|entry| !entry.is_directory());
        Ok(file.map(|file| file.content().into()))
    }

    fn exists(&self, path: &str) -> Result<bool, WorldError> {
        Ok(self.draft.borrow().tree().get(path.as_bytes()).is_some_and(|entry| !entry.is_directory()))
    }

    fn replace(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        self.change(path, |draft| draft.put(path.as_bytes(), content))
    }

    fn add(&self, path: &str, content: &BStr) -> Result<(), WorldError> {
        self.put(path, content)
    }

    fn delete(&self, path: &str) -> Result<(), WorldError> {
        self.change(path, |draft| draft.delete(path.as_bytes()))
    }

    fn rename(&self, from: &str, to: &str) -> Result<(), WorldError> {
        self.change(from, |draft| {
            make_parent(draft, to)?;
            draft.rename(from.as_bytes(), to.as_bytes())
        })
    }

    fn take_lock(&self, _: VmId, _: LockMode, _: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        Ok(Box::new(Alone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::ConfigStore;

    fn id(text: &str) -> VmId {
        VmId::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn laws() {
        let directory = tempfile::tempdir().unwrap();
        let store = DatabaseStore::open(&directory.path().join("config.db"), "pve1").unwrap();
        store.put("datacenter.cfg", "keyboard: de\n".into()).unwrap();
        crate::node::laws::hold(&store);
    }

    #[test]
    fn what_was_written_is_there_when_it_is_opened_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.db");
        let store = DatabaseStore::open(&path, "pve1").unwrap();
        store.create(id("100"), "name: web\n".into()).unwrap();
        store.write(id("100"), "name: db\n".into()).unwrap();
        store.create(id("101"), "".into()).unwrap();
        store.remove(id("101")).unwrap();
        store.move_to(id("100"), "pve2").unwrap();
        drop(store);
        let store = DatabaseStore::open(&path, "pve2").unwrap();
        assert_eq!(store.guests().unwrap().len(), 1);
        assert_eq!(store.read(id("100")).unwrap().unwrap().1, "name: db\n");
        assert_eq!(pve_cfs::Database::from_rows(store.store().rows().unwrap()).check(), []);
    }

    #[test]
    fn a_refused_change_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let store = DatabaseStore::open(&directory.path().join("config.db"), "pve1").unwrap();
        store.create(id("100"), "name: web\n".into()).unwrap();
        let rows = store.store().rows().unwrap();
        let big = vec![b'#'; 1 << 21];
        assert!(store.write(id("100"), BStr::new(&big)).is_err());
        // the directory alone would be made, but the file breaks a rule
        let taken = store.put("nodes/pve2/lxc/100.conf", "".into()).unwrap_err().to_string();
        assert!(taken.contains("VMID 100 belongs to a qemu guest"), "{taken}");
        assert_eq!(store.store().rows().unwrap(), rows);
        store.write(id("100"), "name: db\n".into()).unwrap();
        assert_eq!(store.read(id("100")).unwrap().unwrap().1, "name: db\n");
    }
}
