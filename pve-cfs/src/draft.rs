// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to a database without a daemon: checked one by one under its rules in memory, then committed together.

use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};

use crate::engine::Engine;
use crate::filesystem::tree_path;
use crate::load::Loaded;
use crate::operation::{Fidelity, Operation, Origin};
use crate::path;
use crate::refusal::Refusal;
use crate::row::Row;
use crate::store::{Store, version_row};
use crate::tree::{Tree, Walk};

/// Changes that are collected in memory.
///
/// Each obeys the rules that a running daemon has, sees those before it, and counts the version as it would there. Nothing reaches
/// the database before [`commit`](Self::commit), which writes all of them as one transaction.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pve_cfs::draft::Draft;
/// use pve_cfs::store::{Store, StoreOptions};
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("config.db");
/// let (store, loaded) = Store::open(&path, &StoreOptions::default(), 1_700_000_000)?;
/// let mut draft = Draft::new(loaded, 1_700_000_000);
/// draft.make_directories(b"nodes/pve1/qemu-server")?;
/// draft.put(b"nodes/pve1/qemu-server/100.conf", b"name: web\n")?;
/// // one id, one guest
/// let refused = draft.make_directories(b"nodes/pve2/lxc").and_then(|()| draft.put(b"nodes/pve2/lxc/100.conf", b""));
/// assert_eq!(refused.unwrap_err().to_string(), "VMID 100 belongs to a qemu guest on node \"pve1\"");
/// draft.commit(&store)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct Draft {
    engine: Engine,
    origin: Origin,
    /// Version of the tree that the draft is based on.
    base: u64,
    /// Rows to write, and `None` for those to delete.
    rows: BTreeMap<u64, Option<Row>>,
    version: Row,
}

/// A draft that the database did not take; it is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Somebody else changed the tree since the draft was begun.
    #[error(
        "the database changed meanwhile: it is at version {found}, the changes were checked against {expected}; try again"
    )]
    Changed {
        /// Version that the draft is based on.
        expected: u64,
        /// Version that the database has.
        found: u64,
    },
    /// SQLite refused.
    #[error("the database did not take the changes: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl Draft {
    /// Starts from what was loaded; `now` is the time that all changes get, in seconds since the epoch.
    pub fn new(loaded: Loaded, now: u32) -> Self {
        let root = loaded.tree.root();
        let version = version_row(root.version(), root.writer(), root.mtime());
        Self {
            base: loaded.tree.version(),
            engine: Engine::new(loaded, Fidelity::Mended, u64::from(now)),
            origin: Origin { writer: 0, time: now },
            rows: BTreeMap::new(),
            version,
        }
    }

    /// The tree with the changes.
    pub const fn tree(&self) -> &Tree {
        self.engine.tree()
    }

    /// Whether nothing was changed.
    pub fn is_empty(&self) -> bool {
        self.version.version == self.base
    }

    /// The rows that [`commit`](Self::commit) will write, the version row last, and the inodes of those that it will delete.
    pub fn rows(&self) -> (Vec<&Row>, Vec<u64>) {
        let mut written: Vec<&Row> = self.rows.values().flatten().collect();
        if !self.is_empty() {
            written.push(&self.version);
        }
        let deleted = self.rows.iter().filter(|(_, row)| row.is_none()).map(|(inode, _)| *inode).collect();
        (written, deleted)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// The rule that refuses it; nothing has changed then.
    pub fn make_directory(&mut self, path: &[u8]) -> Result<(), Refusal> {
        self.perform(Operation::MakeDirectory { path: tree_path(path)? })
    }

    /// Makes a directory and those that it lies in, where they do not exist.
    ///
    /// # Errors
    /// The rule that refuses one of them; those above it have been made.
    pub fn make_directories(&mut self, path: &[u8]) -> Result<(), Refusal> {
        let path = tree_path(path)?;
        let mut at = BString::default();
        for name in path::components(path) {
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(name);
            match self.tree().get(&at) {
                Some(entry) if entry.is_directory() => {}
                Some(_) => return Err(Refusal::ParentIsFile),
                None => self.perform(Operation::MakeDirectory { path: &at })?,
            }
        }
        Ok(())
    }

    /// Gives the file at `path` this content; it is made if it does not exist. As on a mount, these are two changes: the file is
    /// created (or cut), and the bytes are written. A file that has the content already is not changed.
    ///
    /// # Errors
    /// The rule that refuses it; nothing has changed then.
    pub fn put(&mut self, path: &[u8], content: &[u8]) -> Result<(), Refusal> {
        let path = tree_path(path)?;
        // a size that will be refused must not leave an empty file behind
        if content.len() > crate::schema::MAX_FILE_SIZE {
            return Err(Refusal::TooBig);
        }
        match self.tree().get(path) {
            Some(entry) if !entry.is_directory() && entry.content() == content => return Ok(()),
            None => self.perform(Operation::Create { path })?,
            Some(_) => {}
        }
        if content.is_empty()
            && self.tree().get(path).is_some_and(|entry| entry.size() == 0 && !entry.is_directory())
        {
            return Ok(());
        }
        self.perform(Operation::Write { path, offset: 0, data: content, truncate: true })
    }

    /// Removes a file or an empty directory.
    ///
    /// # Errors
    /// The rule that refuses it; nothing has changed then.
    pub fn delete(&mut self, path: &[u8]) -> Result<(), Refusal> {
        self.perform(Operation::Delete { path: tree_path(path)? })
    }

    /// Removes a directory with everything in it, or a file; the number of entries removed is returned.
    ///
    /// # Errors
    /// The rule that refuses it, with nothing changed.
    pub fn delete_all(&mut self, path: &[u8]) -> Result<usize, Refusal> {
        let path = tree_path(path)?;
        let entry = self.tree().get(path).ok_or(Refusal::Missing)?;
        let mut inside: Vec<BString> =
            Walk::below(entry, normal(path).as_bstr()).map(|(path, _)| path).collect();
        inside.reverse();
        for path in &inside {
            self.perform(Operation::Delete { path })?;
        }
        self.perform(Operation::Delete { path })?;
        Ok(inside.len() + 1)
    }

    /// Moves a file or an empty directory; what is in the place is replaced, unless it is a directory with entries.
    ///
    /// # Errors
    /// The rule that refuses it; nothing has changed then.
    pub fn rename(&mut self, from: &[u8], to: &[u8]) -> Result<(), Refusal> {
        self.perform(Operation::Rename { from: tree_path(from)?, to: tree_path(to)? })
    }

    fn perform(&mut self, operation: Operation<'_>) -> Result<(), Refusal> {
        let change = self.engine.plan(&operation, self.origin)?;
        self.engine.apply(&change, u64::from(self.origin.time));
        if let Some(inode) = change.removed {
            self.rows.insert(inode, None);
        }
        self.version = version_row(change.version, change.writer, change.mtime);
        if let Some(row) = change.put {
            self.rows.insert(row.inode, Some(row));
        }
        Ok(())
    }

    /// Writes all changes to the database that the draft was loaded from, as one transaction.
    ///
    /// # Errors
    /// The database was changed by somebody else meanwhile, or SQLite refuses; nothing has been written then.
    pub fn commit(&self, store: &Store) -> Result<(), CommitError> {
        if self.is_empty() {
            return Ok(());
        }
        let (written, deleted) = self.rows();
        let found = store.replace_rows(self.base, &deleted, &written)?;
        if found == self.base { Ok(()) } else { Err(CommitError::Changed { expected: self.base, found }) }
    }

    /// As [`commit`](Self::commit), and goes on from there: what is changed from now on is the next transaction.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use pve_cfs::draft::Draft;
    /// use pve_cfs::store::{Store, StoreOptions};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let (store, loaded) = Store::open(&folder.path().join("config.db"), &StoreOptions::default(), 1_700_000_000)?;
    /// let mut draft = Draft::new(loaded, 1_700_000_000);
    /// draft.put(b"user.cfg", b"user:root@pam:1:0:::::\n")?;
    /// draft.save(&store)?;
    /// draft.set_time(1_700_000_060);
    /// draft.put(b"datacenter.cfg", b"keyboard: de\n")?;
    /// draft.save(&store)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`commit`](Self::commit); the changes stay in the draft.
    pub fn save(&mut self, store: &Store) -> Result<(), CommitError> {
        self.commit(store)?;
        self.base = self.version.version;
        self.rows.clear();
        Ok(())
    }

    /// The time that further changes get, in seconds since the epoch.
    pub const fn set_time(&mut self, now: u32) {
        self.origin.time = now;
    }
}

/// `path` with single slashes and none at its ends.
pub(crate) fn normal(path: &[u8]) -> BString {
    BString::from(bstr::join("/", path::components(path)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Database;
    use crate::store::StoreOptions;

    fn open(path: &std::path::Path) -> (Store, Draft) {
        let (store, loaded) = Store::open(path, &StoreOptions::default(), 5).unwrap();
        (store, Draft::new(loaded, 6))
    }

    #[test]
    fn many_changes_are_one_transaction() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        let (store, mut draft) = open(&path);
        draft.make_directories(b"/a//b/").unwrap();
        draft.put(b"a/b/file", b"one").unwrap();
        draft.put(b"a/b/gone", b"x").unwrap();
        draft.rename(b"a/b/file", b"a/file").unwrap();
        draft.delete(b"a/b/gone").unwrap();
        assert_eq!(store.rows().unwrap().len(), 1);
        draft.commit(&store).unwrap();
        assert_eq!(Database::from_rows(store.rows().unwrap()).check(), []);
        drop(store);
        let (database, _) = Database::open_read_only(&path).unwrap();
        assert_eq!(database.tree().get(b"a/file").unwrap().content(), b"one");
        // two directories, twice a creation and a write, a move, a removal
        assert_eq!((database.tree().version(), database.rows().len()), (9, 4));
    }

    #[test]
    fn refusals_leave_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let (store, mut draft) = open(&folder.path().join("config.db"));
        draft.put(b"file", b"text").unwrap();
        let version = draft.tree().version();
        assert!(matches!(draft.put(b"big", &vec![1; 1_048_577]), Err(Refusal::TooBig)));
        assert!(matches!(draft.put(b".version", b""), Err(Refusal::Virtual)));
        assert!(matches!(draft.put(b"local/x", b""), Err(Refusal::Virtual)));
        assert!(matches!(draft.put(b"file/x", b""), Err(Refusal::ParentIsFile)));
        assert!(matches!(draft.put(b"none/x", b""), Err(Refusal::ParentMissing)));
        assert!(matches!(draft.make_directories(b"file/x"), Err(Refusal::ParentIsFile)));
        assert!(matches!(draft.delete_all(b"/"), Err(Refusal::Root)));
        draft.put(b"file", b"text").unwrap();
        assert_eq!(draft.tree().version(), version);
        draft.commit(&store).unwrap();
    }

    #[test]
    fn a_database_that_went_on_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        let (store, mut first) = open(&path);
        let mut second = first.clone();
        first.put(b"a", b"1").unwrap();
        first.commit(&store).unwrap();
        second.put(b"b", b"2").unwrap();
        let refused = second.commit(&store);
        assert!(matches!(refused, Err(CommitError::Changed { expected: 1, found: 3 })), "{refused:?}");
        assert_eq!(store.rows().unwrap().len(), 2);
    }

    #[test]
    fn a_whole_directory_goes() {
        let folder = tempfile::tempdir().unwrap();
        let (_, mut draft) = open(&folder.path().join("config.db"));
        draft.make_directories(b"a/b/c").unwrap();
        draft.put(b"a/b/file", b"x").unwrap();
        assert_eq!(draft.delete_all(b"/a/").unwrap(), 4);
        assert!(draft.tree().is_empty());
        assert_eq!(draft.rows().1.len(), 4);
    }
}
