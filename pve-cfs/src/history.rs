// SPDX-License-Identifier: MIT OR Apache-2.0
//! What changed when, from copies of a database that somebody kept.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use bstr::BString;

use crate::database::Database;
use crate::diff::{Difference, Kind, Lines, diff};
use crate::listing::Listing;

/// Folders within folders that are looked into.
const DEPTH: usize = 4;

/// The copies of a database in a folder.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The copies, the oldest first: by the time of the last change in each, then by its version.
    pub copies: Vec<Copy>,
    /// Databases that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// One copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// The file.
    pub path: PathBuf,
    /// Version of the tree.
    pub version: u64,
    /// Time of the last change of the tree, in seconds since the epoch.
    pub changed: u32,
    /// The reference would refuse it; what can be reached in it counts nevertheless.
    pub refused: bool,
}

/// A change of one path between a copy and the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The path.
    pub path: BString,
    /// The path before, if it was moved.
    pub moved_from: Option<BString>,
    /// What happened.
    pub kind: Kind,
    /// It is about a directory.
    pub directory: bool,
    /// Index of the first copy that has the change.
    pub copy: usize,
    /// When, in seconds since the epoch: the mtime that the change left. A removal leaves none: it was before the
    /// last change of the copy.
    pub time: Option<u32>,
    /// Version of the tree after the last change of the path; `None` for a removal.
    pub version: Option<u64>,
    /// Id of the node that made the last change of the path; `None` for a removal.
    pub writer: Option<u32>,
    /// The lines that differ; [`Lines::Same`] if they were not asked for.
    pub lines: Lines,
}

impl History {
    /// Finds the databases in `folder` and the folders in it, whatever their names are: files that begin as a database does. A copy
    /// without its write-ahead log shows the state that it has by itself.
    ///
    /// # Errors
    /// The folder itself cannot be read.
    pub fn read(folder: &Path) -> std::io::Result<Self> {
        let mut history = Self::default();
        let mut pending = vec![(folder.to_owned(), 0)];
        while let Some((place, depth)) = pending.pop() {
            let entries = match std::fs::read_dir(&place) {
                Ok(entries) => entries,
                Err(error) if depth == 0 => return Err(error),
                Err(error) => {
                    history.unreadable.push((place, error.to_string()));
                    continue;
                }
            };
            for entry in entries {
                let entry = entry?;
                let kind = entry.file_type()?;
                if kind.is_dir() && depth < DEPTH {
                    pending.push((entry.path(), depth + 1));
                } else if kind.is_file() && is_database(&entry.path()) {
                    history.add(entry.path());
                }
            }
        }
        history.copies.sort_by(|one, other| {
            (one.changed, one.version, &one.path).cmp(&(other.changed, other.version, &other.path))
        });
        history.unreadable.sort();
        Ok(history)
    }

    fn add(&mut self, path: PathBuf) {
        match Database::open_read_only(&path) {
            Ok((database, _)) => {
                let root = database.tree().root();
                let (version, changed) = (root.version(), root.mtime());
                self.copies.push(Copy { path, version, changed, refused: !database.refusals().is_empty() });
            }
            Err(error) => self.unreadable.push((path, error.to_string())),
        }
    }

    /// All changes from copy to copy whose path `wanted` accepts, in the order of the copies and then of time. Two copies are in memory
    /// at a time. With `context` the lines that differ are found, too.
    ///
    /// # Errors
    /// A copy cannot be read any more.
    pub fn events(
        &self,
        wanted: impl Fn(&[u8]) -> bool,
        context: Option<usize>,
    ) -> Result<Vec<Event>, crate::OpenError> {
        let mut events: Vec<Event> = Vec::new();
        let mut before: Option<Listing> = None;
        for (index, copy) in self.copies.iter().enumerate() {
            let (database, _) = Database::open_read_only(&copy.path)?;
            let after = Listing::of_tree(database.tree());
            if let Some(before) = &before {
                let found = diff(before, &after);
                let found = found
                    .iter()
                    .filter(|found| wanted(found.path) || found.moved_from.is_some_and(|from| wanted(from)));
                let mut new: Vec<Event> = found.map(|found| event(found, index, context)).collect();
                new.sort_by_key(|event| (event.time.unwrap_or(copy.changed), event.version));
                events.append(&mut new);
            }
            before = Some(after);
        }
        Ok(events)
    }
}

fn event(found: &Difference<'_>, copy: usize, context: Option<usize>) -> Event {
    let row = found.after.and_then(|item| item.row);
    Event {
        path: found.path.to_owned(),
        moved_from: found.moved_from.map(ToOwned::to_owned),
        kind: found.kind(),
        directory: found.is_directory(),
        copy,
        time: found.after.map(|item| item.mtime),
        version: row.map(|row| row.version),
        writer: row.map(|row| row.writer),
        lines: context.map_or(Lines::Same, |context| found.lines(context)),
    }
}

fn is_database(path: &Path) -> bool {
    let mut start = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == *b"SQLite format 3\0"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draft::Draft;
    use crate::store::{Store, StoreOptions};

    #[test]
    fn what_changed_when() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        let keep = folder.path().join("copies");
        std::fs::create_dir_all(keep.join("older")).unwrap();
        let change = |now: u32, copy: &str, apply: &dyn Fn(&mut Draft)| {
            let (store, loaded) = Store::open(&path, &StoreOptions::default(), now).unwrap();
            let mut draft = Draft::new(loaded, now);
            apply(&mut draft);
            draft.commit(&store).unwrap();
            drop(store);
            std::fs::copy(&path, keep.join(copy)).unwrap();
        };
        // the names are not in the order of time
        change(100, "older/z.db", &|draft| {
            draft.make_directories(b"nodes/a/lxc").unwrap();
            draft.make_directories(b"nodes/b/lxc").unwrap();
            draft.put(b"nodes/a/lxc/200.conf", b"memory: 512\n").unwrap();
        });
        change(200, "b", &|draft| draft.put(b"nodes/a/lxc/200.conf", b"memory: 1024\n").unwrap());
        change(300, "c.db", &|draft| {
            draft.rename(b"nodes/a/lxc/200.conf", b"nodes/b/lxc/200.conf").unwrap();
            draft.put(b"user.cfg", b"user:root@pam:1:0:::\n").unwrap();
        });
        change(400, "a.db", &|draft| draft.delete(b"nodes/b/lxc/200.conf").unwrap());
        std::fs::write(keep.join("notes.txt"), "no database").unwrap();
        std::fs::write(keep.join("broken.db"), b"SQLite format 3\0 and nothing else").unwrap();

        let history = History::read(&keep).unwrap();
        let names: Vec<_> = history.copies.iter().map(|copy| copy.path.file_name().unwrap()).collect();
        assert_eq!(names, ["z.db", "b", "c.db", "a.db"]);
        assert_eq!(history.unreadable.len(), 1);
        let events = history.events(|path| path.ends_with(b"200.conf"), Some(3)).unwrap();
        let told: Vec<_> = events.iter().map(|event| (event.copy, event.kind, event.time)).collect();
        let expected = [(1, Kind::Changed, Some(200)), (2, Kind::Moved, Some(300)), (3, Kind::Removed, None)];
        assert_eq!(told, expected);
        assert!(matches!(&events[0].lines, Lines::Text(text) if text.ends_with(b"+memory: 1024\n")));
        assert_eq!(history.events(|_| true, None).unwrap().len(), 4);
        assert!(History::read(&folder.path().join("none")).is_err());
    }
}
