// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configuration files from where somebody has them, a `config.db` or a folder laid out like `/etc/pve`, with what is to be said
//! about that place.

use std::fs;
use std::path::{Path, PathBuf};

use crate::database::Database;
use crate::finding::Finding;
use crate::listing::{Listing, ListingError};

/// The files of a cluster, read into memory once.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// std::fs::create_dir_all(dir.path().join("nodes/pve1/qemu-server"))?;
/// std::fs::write(dir.path().join("nodes/pve1/qemu-server/100.conf"), "name: web\n")?;
///
/// let source = pve_cfs::Source::read(dir.path())?;
/// let files: Vec<_> = source.listing.files().map(|(path, content)| (path.to_string(), content.len())).collect();
/// assert_eq!(files, [("nodes/pve1/qemu-server/100.conf".to_owned(), 10)]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Source {
    /// What it was read from.
    pub origin: Origin,
    /// The path it was read from.
    pub path: PathBuf,
    /// The files and directories, and what could not be read.
    pub listing: Listing,
    /// What is wrong or odd in the database; nothing for a folder.
    pub findings: Vec<Finding>,
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

impl Source {
    /// Reads a database (a file) or a folder, see [`Database::open_read_only`] and [`Listing::of_folder`]. Nothing is written or
    /// locked.
    ///
    /// # Errors
    /// The path cannot be read, or is a file that is no database.
    pub fn read(path: &Path) -> Result<Self, ListingError> {
        let meta = fs::metadata(path).map_err(|source| ListingError::Io { path: path.to_owned(), source })?;
        if meta.is_dir() {
            let listing = Listing::of_folder(path)?;
            return Ok(Self { origin: Origin::Folder, path: path.to_owned(), listing, findings: Vec::new() });
        }
        Ok(Self::of_database(path, Database::open_read_only(path)?))
    }

    /// The files of a database that is all there is, see [`Database::from_bytes`]; `path` is what it is called.
    ///
    /// # Errors
    /// It is no database.
    pub fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ListingError> {
        Ok(Self::of_database(path, Database::from_bytes(path, bytes)?))
    }

    fn of_database(path: &Path, (database, findings): (Database, Vec<Finding>)) -> Self {
        let tree = database.tree();
        let origin = Origin::Database { version: tree.version() };
        Self { origin, path: path.to_owned(), listing: Listing::of_tree(tree), findings }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreOptions};

    #[test]
    fn places_without_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Source::read(&dir.path().join("none")), Err(ListingError::Io { .. })));
        assert!(Source::read(dir.path()).unwrap().listing.is_empty());
        fs::write(dir.path().join("text"), "no database, and more bytes than a header has".repeat(9))
            .unwrap();
        assert!(matches!(Source::read(&dir.path().join("text")), Err(ListingError::Database(_))));
    }

    #[test]
    fn only_a_file_can_lack_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.db");
        drop(Store::open(&path, &StoreOptions::default(), 1_700_000_000).unwrap());
        let names = |source: Source| -> Vec<_> {
            source.findings.iter().map(|finding| finding.rule.name()).collect()
        };
        assert_eq!(names(Source::read(&path).unwrap()), ["wal-absent"]);
        let bytes = fs::read(&path).unwrap();
        assert!(names(Source::from_bytes(Path::new("(sample)"), bytes).unwrap()).is_empty());
    }
}
