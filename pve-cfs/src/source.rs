// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration files from wherever they are: a `config.db`, or a folder laid out like `/etc/pve`.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bstr::{BStr, BString};

use crate::database::{Database, OpenError};
use crate::finding::Finding;

/// The files of a cluster, read into memory once.
///
/// ```
/// # fn main() -> Result<(), pve_cfs::SourceError> {
/// let dir = tempfile::tempdir().unwrap();
/// std::fs::create_dir_all(dir.path().join("nodes/pve1/qemu-server")).unwrap();
/// std::fs::write(dir.path().join("nodes/pve1/qemu-server/100.conf"), "name: web\n").unwrap();
///
/// let source = pve_cfs::Source::read(dir.path())?;
/// let files: Vec<_> = source.files().map(|(path, content)| (path.to_string(), content.len())).collect();
/// assert_eq!(files, [("nodes/pve1/qemu-server/100.conf".to_owned(), 10)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    origin: Origin,
    path: PathBuf,
    files: Vec<(BString, Vec<u8>)>,
    folders: Vec<BString>,
    findings: Vec<Finding>,
    skipped: Vec<(PathBuf, String)>,
}

/// What a [`Source`] was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Origin {
    /// A database.
    Database {
        /// The version of the tree, which counts its changes.
        version: u64,
    },
    /// A folder.
    Folder,
}

/// A source that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The path cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] OpenError),
}

/// Files above this size are not configuration: the cluster file system holds none (spec: pmxcfs, "Limits").
const LARGEST: u64 = 1 << 20;

impl Source {
    /// Reads a database (a file) or a folder. Nothing is written or locked; see [`Database::open_read_only`].
    ///
    /// In a folder, symbolic links are not followed, and hidden files at the top are passed over: on a mounted cluster
    /// file system those are views of what is there anyway. What cannot be read is in [`Source::skipped`].
    ///
    /// # Errors
    /// The path cannot be read, or is a file that is no database.
    pub fn read(path: &Path) -> Result<Self, SourceError> {
        let io = |source| SourceError::Io { path: path.to_owned(), source };
        if fs::metadata(path).map_err(io)?.is_dir() {
            let mut source = Source::empty(path, Origin::Folder);
            source.read_folder(path, &BString::default()).map_err(io)?;
            source.files.sort();
            source.folders.sort();
            return Ok(source);
        }
        let (database, findings) = Database::open_read_only(path)?;
        let mut source = Source::of_database(path, &database);
        source.findings = findings;
        Ok(source)
    }

    /// The files of a database that is open already; `path` is what it is called.
    #[must_use]
    pub fn of_database(path: &Path, database: &Database) -> Self {
        let tree = database.tree();
        let mut source = Source::empty(path, Origin::Database { version: tree.version() });
        source.files = tree.files().map(|(path, entry)| (path, entry.content().to_vec())).collect();
        source.folders =
            tree.walk().filter(|(_, entry)| entry.is_directory()).map(|(path, _)| path).collect();
        source
    }

    fn empty(path: &Path, origin: Origin) -> Self {
        let path = path.to_owned();
        Source {
            origin,
            path,
            files: Vec::new(),
            folders: Vec::new(),
            findings: Vec::new(),
            skipped: Vec::new(),
        }
    }

    fn read_folder(&mut self, folder: &Path, below: &BString) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.as_bytes();
            if below.is_empty() && name.starts_with(b".") {
                continue;
            }
            let mut path = below.clone();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            if let Err(error) = self.read_entry(&entry, path) {
                self.skipped.push((entry.path(), error.to_string()));
            }
        }
        Ok(())
    }

    fn read_entry(&mut self, entry: &fs::DirEntry, path: BString) -> io::Result<()> {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            self.folders.push(path.clone());
            self.read_folder(&entry.path(), &path)?;
        } else if kind.is_file() {
            if entry.metadata()?.len() > LARGEST {
                return Err(io::Error::other("larger than any file of the cluster file system (1 MiB)"));
            }
            self.files.push((path, fs::read(entry.path())?));
        }
        Ok(())
    }

    /// What it was read from.
    #[must_use]
    pub const fn origin(&self) -> Origin {
        self.origin
    }

    /// The path it was read from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files with their contents, sorted by path; paths have no leading slash.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&BStr, &[u8])> {
        self.files.iter().map(|(path, content)| (BStr::new(path), content.as_slice()))
    }

    /// The content of one file; a leading slash does not matter.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&[u8]> {
        let path = path.trim_start_matches('/');
        self.files().find(|(name, _)| *name == path).map(|(_, content)| content)
    }

    /// The folders, sorted by path.
    pub fn folders(&self) -> impl ExactSizeIterator<Item = &BStr> {
        self.folders.iter().map(BStr::new)
    }

    /// What is wrong or odd in the database.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Files of a folder that could not be read, with the reason.
    #[must_use]
    pub fn skipped(&self) -> &[(PathBuf, String)] {
        &self.skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_its_views() {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["nodes/a/lxc", "priv"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for file in ["storage.cfg", ".vmlist", "nodes/a/lxc/100.conf", "nodes/a/.keep"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("nodes/a", dir.path().join("local")).unwrap();
        fs::write(dir.path().join("big"), vec![0; LARGEST as usize + 1]).unwrap();
        let source = Source::read(dir.path()).unwrap();
        let files: Vec<&BStr> = source.files().map(|(path, _)| path).collect();
        assert_eq!(files, ["nodes/a/.keep", "nodes/a/lxc/100.conf", "storage.cfg"]);
        assert_eq!(source.folders().count(), 4);
        assert_eq!(source.file("/storage.cfg"), Some(&b"storage.cfg"[..]));
        assert_eq!(source.skipped().len(), 1);
        assert!(matches!(Source::read(&dir.path().join("none")), Err(SourceError::Io { .. })));
    }
}
