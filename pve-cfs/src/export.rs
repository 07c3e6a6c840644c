// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing a tree as ordinary files into a new folder, from which no name can escape.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use bstr::{BStr, BString};

use crate::tree::Tree;

/// An export that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// An entry has a name that is no name of a file; nothing was written.
    #[error("{path:?} has a name that cannot be a file's; rename the entry first")]
    Name {
        /// Path of the entry in the tree.
        path: BString,
    },
    /// The folder has entries already; nothing was written.
    #[error("{} is not empty: export into a new folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
    },
    /// The system refused. What was written before is left in place.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Exported {
    /// Number of files.
    pub files: usize,
    /// Number of directories below the folder.
    pub directories: usize,
    /// Sum of the sizes of the files in bytes.
    pub bytes: u64,
}

/// Writes everything in `tree` that a path leads to into `folder`, which is created, or must be empty.
///
/// Files keep their content and mtime. Folders and files can be accessed by their owner alone, as there are private keys
/// among them. Nothing is ever overwritten, and all names are checked before anything is written.
///
/// # Errors
/// A name would escape, the folder is not empty, or the system refuses.
///
/// ```
/// let folder = tempfile::tempdir().unwrap();
/// let tree = pve_cfs::Tree::new();
/// let written = pve_cfs::export::export(&tree, &folder.path().join("pve")).unwrap();
/// assert_eq!(written.files, 0);
/// ```
pub fn export(tree: &Tree, folder: &Path) -> Result<Exported, ExportError> {
    for (path, entry) in tree.walk() {
        if !is_safe(entry.name()) {
            return Err(ExportError::Name { path });
        }
    }
    let failed = |path: &Path, source| ExportError::Io { path: path.to_owned(), source };
    match make_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if fs::read_dir(folder).map_err(|error| failed(folder, error))?.next().is_some() {
                return Err(ExportError::NotEmpty { path: folder.to_owned() });
            }
        }
        other => other.map_err(|error| failed(folder, error))?,
    }
    let mut written = Exported::default();
    for (path, entry) in tree.walk() {
        let target = folder.join(OsStr::from_bytes(&path));
        if entry.is_directory() {
            make_folder(&target).map_err(|error| failed(&target, error))?;
            written.directories += 1;
        } else {
            write_file(&target, entry.content(), entry.mtime()).map_err(|error| failed(&target, error))?;
            written.files += 1;
            written.bytes += entry.content().len() as u64;
        }
    }
    Ok(written)
}

fn is_safe(name: &BStr) -> bool {
    !name.is_empty() && name != "." && name != ".." && !name.contains(&b'/') && !name.contains(&0)
}

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn write_file(path: &Path, content: &[u8], mtime: u32) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.set_modified(UNIX_EPOCH + Duration::from_secs(u64::from(mtime)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Database, Row};

    fn row(inode: u64, parent: u64, kind: u8, name: &str, data: &[u8]) -> Row {
        let data = (kind == 8).then(|| Arc::from(data));
        Row { inode, parent, version: inode, writer: 0, mtime: 1_700_000_000, kind, name: name.into(), data }
    }

    fn database(name: &str) -> Database {
        let version = Row { version: 9, ..row(0, 0, 8, "__version__", b"") };
        Database::from_rows(vec![version, row(2, 0, 4, "priv", b""), row(3, 2, 8, name, b"text")])
    }

    #[test]
    fn writes_once_and_never_over() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("pve");
        let written = export(database("key").tree(), &target).unwrap();
        assert_eq!(written, Exported { files: 1, directories: 1, bytes: 4 });
        let file = target.join("priv/key");
        assert_eq!(fs::read(&file).unwrap(), b"text");
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        assert_eq!(modified, UNIX_EPOCH + Duration::from_secs(1_700_000_000));
        let again = export(database("key").tree(), &target);
        assert!(matches!(again, Err(ExportError::NotEmpty { .. })));
    }

    #[test]
    fn names_that_would_escape_are_refused_before_anything_is_written() {
        for name in ["..", ".", "../../x", "a/b"] {
            let folder = tempfile::tempdir().unwrap();
            let target = folder.path().join("pve");
            let result = export(database(name).tree(), &target);
            assert!(matches!(result, Err(ExportError::Name { .. })), "{name}: {result:?}");
            assert!(!target.exists());
        }
    }
}
