// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the rows of a database that SQLite cannot read any more, or only in part: cut off, overwritten with zeros, with
//! flipped bits, without its write-ahead log or with a damaged one.
//!
//! A SQLite file is a tree of pages. Rows are cells on its leaf pages, found through pointers on the pages above; contents,
//! and long names, that are too big for a page go on in chains of overflow pages. One damaged page near the root cuts off
//! everything below it, and SQLite then gives up. Here the pages are read one by one:
//!
//! 1. along the tree, as far as it goes ([`Place::Tree`]);
//! 2. if that did not reach everything, on leaf pages that no path leads to and that are not on the list of free pages
//!    ([`Place::CutOff`]);
//! 3. in the older copies of damaged pages, which the file has if the newer one was in the log ([`Place::OlderCopy`]);
//! 4. byte by byte on damaged pages ([`Place::Carved`]).
//!
//! Frames of the log that are intact by themselves are used even behind a damaged one, where SQLite stops.
//!
//! # What can be trusted
//!
//! A record is taken for a row only if everything about it fits: the kinds and sizes of all columns, the end of the payload
//! to the byte, the length of the chain, and no other row may claim one of its pages. What fails is listed as [`Lost`], with
//! what is known of it. What nobody can see is a changed byte *within* a name or a content: SQLite keeps no checksums. Rows
//! that look as if that had happened have [`Doubt`]s. Rows of an older copy, and carved ones, can be older than the last
//! state of the database, or of entries that had been deleted.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bstr::BString;

use crate::image;
use crate::repair::RepairError;
use crate::row::Row;
use crate::schema::CREATE_TABLE;
use crate::wal::WalError;

mod page;
mod pages;
mod record;
mod search;
mod settle;

use pages::Pages;
use search::Search;

/// What could be read of a damaged database.
#[derive(Debug, Clone)]
pub struct Salvage {
    /// One row for each inode, in the order of the inodes.
    pub rows: Vec<Recovered>,
    /// Rows of which something is known, but not all.
    pub lost: Vec<Lost>,
    /// What is wrong with the file and its log.
    pub problems: Vec<Problem>,
    /// Number of pages of the database.
    pub pages: u32,
    /// Whether the whole tree of pages was read, and every row in it: then nothing is missing but what a problem of the log says.
    pub complete: bool,
}

/// A row that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// The row.
    pub row: Row,
    /// How it was found.
    pub place: Place,
    /// The page that it is on.
    pub page: u32,
    /// Where it is on the page, in bytes.
    pub cell: Range<usize>,
    /// The page was taken from the log, whose checksums show that it is as it was written.
    pub verified: bool,
    /// The pages that it goes on on: its content, and the end of a long name.
    pub chain: Vec<u32>,
    /// Signs that its bytes are not all as they were written.
    pub doubts: Vec<Doubt>,
}

/// How a row was found, the surest way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Along the tree of pages.
    Tree,
    /// On a page that the damage cut off.
    CutOff,
    /// By searching a damaged page byte by byte.
    Carved,
    /// In an older copy of a damaged page.
    OlderCopy,
}

/// Signs that a row is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Doubt {
    /// Its inode is not between those around it.
    #[error("its inode does not fit among those around it")]
    OutOfOrder,
    /// An entry is never older than its inode, and never newer than the tree.
    #[error("its version does not fit its inode, or that of the tree")]
    Version,
    /// Configuration has no NUL bytes; a run of them is what zeroed sectors look like.
    #[error("its content has a run of NUL bytes")]
    Zeros,
    /// Neither directory nor file.
    #[error("its type is neither directory nor file")]
    Type,
}

/// A row that cannot be read as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// What is known of the row; its content, and a name that goes on on other pages, is what could be read of the beginning.
    pub row: Row,
    /// How it was found.
    pub place: Place,
    /// The page that it is on.
    pub page: u32,
    /// Size of its content in bytes.
    pub size: usize,
    /// Why it cannot be read.
    pub reason: Reason,
}

/// Why the content of a row cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// A page of the chain is missing, blank, or used for something else.
    #[error("page {page} of its content is missing, blank or used for something else")]
    Chain {
        /// The page.
        page: u32,
    },
    /// The chain ends before the content does, or goes on behind it.
    #[error("the chain of its pages does not have the right length")]
    Length,
    /// Another row has a page of the chain, too.
    #[error("another row claims the same pages for its content")]
    Contested,
    /// It was found apart from the tree, and its name or content is no text: perhaps the remains of a row that was partly
    /// overwritten.
    #[error(
        "its name or content is no text, so that it may be the remains of a row that was partly overwritten"
    )]
    NoText,
    /// The content belongs to an older state, and its pages were written to since.
    #[error("its content was overwritten since")]
    Overwritten,
}

/// What is wrong with the file or the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A part of a file cannot be read from its medium.
    #[error("{} bytes of {} from {offset} cannot be read: {message}", length, path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// How many bytes.
        length: usize,
        /// What the system said.
        message: String,
    },
    /// The file does not begin like a database.
    #[error("the header of the file is damaged; pages of {page_size} bytes are assumed")]
    FileHeader {
        /// The page size that was assumed, in bytes.
        page_size: usize,
    },
    /// The file ends within a page.
    #[error("the file ends within page {page}, after {bytes} bytes of it")]
    Cut {
        /// The page.
        page: u32,
        /// Bytes of it that are there.
        bytes: usize,
    },
    /// The header of the log is damaged.
    #[error("the header of the write-ahead log is damaged: {0}")]
    LogHeader(WalError),
    /// The log belongs to another database.
    #[error("the write-ahead log has pages of {log} bytes, the file has pages of {file}: it is not used")]
    LogPageSize {
        /// Page size of the log, in bytes.
        log: usize,
        /// Page size of the file, in bytes.
        file: usize,
    },
    /// Frames of the log are damaged.
    #[error("{damaged} frames of the write-ahead log are damaged, {intact} are intact")]
    LogFrames {
        /// Number of damaged frames.
        damaged: usize,
        /// Number of usable frames.
        intact: usize,
    },
    /// The schema cannot be read, so nothing says where the tree begins.
    #[error("the schema of the database cannot be read")]
    Schema,
    /// The list of free pages is damaged: leftovers of deleted rows may be taken for rows.
    #[error("the list of free pages is damaged at page {page}")]
    FreeList {
        /// The page.
        page: u32,
    },
    /// A pointer to a page that is not there, or that is used already.
    #[error("page {page} is pointed to, but does not exist or has another place; it should have {}", Keys(*keys))]
    Child {
        /// The page.
        page: u32,
        /// Keys that should be on it or below it: greater than the first, up to the second.
        keys: (i64, i64),
    },
    /// A page of the tree is none.
    #[error("page {page} of the tree is {}; it had {}", if *blank { "blank" } else { "damaged" }, Keys(*keys))]
    Page {
        /// The page.
        page: u32,
        /// It has nothing but zeros.
        blank: bool,
        /// Keys that were on it or below it: greater than the first, up to the second.
        keys: (i64, i64),
    },
    /// Cells of a page cannot be read.
    #[error("{unreadable} of {cells} cells of page {page} cannot be read in place")]
    Cells {
        /// The page.
        page: u32,
        /// Number of cells that cannot be read.
        unreadable: usize,
        /// Number of cells that the page says it has.
        cells: usize,
    },
}

/// Says which rows have keys greater than the first, up to the second.
struct Keys((i64, i64));

impl std::fmt::Display for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            (i64::MIN, i64::MAX) => f.write_str("all rows"),
            (i64::MIN, last) => write!(f, "the rows with inodes up to {last}"),
            (before, i64::MAX) => write!(f, "the rows with inodes above {before}"),
            (before, last) => write!(f, "the rows with inodes above {before} up to {last}"),
        }
    }
}

/// Reads every row that can be read from the bytes of a database file, and of its write-ahead log.
///
/// Never fails, whatever the bytes are, and takes time in proportion to them.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("config.db");
/// # let db = rusqlite::Connection::open(&path)?;
/// # db.execute_batch(&format!("{};
/// #     INSERT INTO tree VALUES (0, 0, 2, 0, 1700000000, 8, '__version__', NULL);
/// #     INSERT INTO tree VALUES (2, 0, 2, 0, 1700000000, 8, 'storage.cfg', CAST('dir: local' AS BLOB));",
/// #     pve_cfs::schema::CREATE_TABLE))?;
/// let mut bytes = std::fs::read(&path)?;
/// // the first page, with the schema, is gone: "file is not a database"
/// bytes[..4096].fill(0);
/// let found = pve_cfs::salvage::salvage(&bytes, None);
/// assert_eq!(found.rows[1].row.content(), b"dir: local");
/// # Ok(()) }
/// ```
pub fn salvage(file: &[u8], log: Option<&[u8]>) -> Salvage {
    let mut problems = Vec::new();
    let pages = Pages::new(file, log, &mut problems);
    let search = Search::run(&pages);
    problems.extend(search.problems.iter().cloned());
    let mut result = Salvage {
        rows: Vec::new(),
        lost: Vec::new(),
        problems,
        pages: pages.count,
        complete: search.complete,
    };
    settle::settle(&pages, search, &mut result);
    result.complete &= result.lost.is_empty();
    result
}

/// [`salvage`] of the file `path` and of the log beside it. Parts that the medium does not give are taken for zeros and named.
///
/// # Errors
/// The file cannot be opened.
pub fn salvage_file(path: &Path) -> std::io::Result<Salvage> {
    let mut problems = Vec::new();
    let file = read_what_can_be_read(path, &mut problems)?;
    let log_path = image::beside(path, "-wal");
    let log = match read_what_can_be_read(&log_path, &mut problems) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        other => Some(other?),
    };
    let mut found = salvage(&file, log.as_deref());
    found.complete &= problems.is_empty();
    problems.append(&mut found.problems);
    found.problems = problems;
    Ok(found)
}

impl Salvage {
    /// Writes the rows to the new database `target`, which only its owner can read.
    ///
    /// The rows are written as they are: if directories were lost, the reference will refuse them, until the new database has been
    /// [repaired](crate::repair).
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn write(&self, target: &Path) -> Result<(), RepairError> {
        let connection = rusqlite::Connection::open_in_memory()?;
        connection.pragma_update(None, "page_size", 4096)?;
        connection.execute_batch(CREATE_TABLE)?;
        let transaction = connection.unchecked_transaction()?;
        for Recovered { row, .. } in &self.rows {
            crate::repair::insert(&transaction, row)?;
        }
        transaction.commit()?;
        let bytes = connection.serialize("main")?;
        image::write_new(target, &bytes).map_err(|source| RepairError::Io { path: target.to_owned(), source })
    }
}

/// Bytes that are read at once from a damaged medium: the usual size of a physical sector.
const BLOCK: usize = 4096;

fn read_what_can_be_read(path: &Path, problems: &mut Vec<Problem>) -> std::io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let size = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; size];
    if file.read_exact_at(&mut bytes, 0).is_ok() {
        return Ok(bytes);
    }
    for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
        let offset = (index * BLOCK) as u64;
        if let Err(error) = file.read_exact_at(block, offset) {
            block.fill(0);
            let (path, message, length) = (path.to_owned(), error.to_string(), block.len());
            problems.push(Problem::Unreadable { path, offset, length, message });
        }
    }
    Ok(bytes)
}

impl Lost {
    /// Its name.
    pub fn name(&self) -> &BString {
        &self.row.name
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bytes that begin as pages do, so that they are looked into.
    fn page() -> impl Strategy<Value = Vec<u8>> {
        let cell = proptest::collection::vec(prop_oneof![0_u8..20, any::<u8>()], 0..40);
        (
            prop_oneof![Just(0x0d_u8), Just(0x05), Just(0)],
            0_u16..6,
            proptest::collection::vec(any::<u16>(), 6),
            cell,
        )
            .prop_map(|(kind, cells, pointers, cell)| {
                let mut page = vec![kind, 0, 0];
                page.extend_from_slice(&cells.to_be_bytes());
                page.extend_from_slice(&[0; 3]);
                page.extend(pointers.iter().flat_map(|pointer| (pointer % 520).to_be_bytes()));
                page.resize(512 - cell.len(), 0);
                page.extend(cell);
                page
            })
    }

    proptest! {
        #[test]
        fn pages_of_any_content_are_read_to_the_end(
            pages in proptest::collection::vec(page(), 0..6),
            cut in 0_usize..600,
            log in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..2000)),
        ) {
            let mut file = vec![0_u8; 512];
            file[..18].copy_from_slice(b"SQLite format 3\0\x02\0");
            file.extend(pages.concat());
            file.truncate(file.len().saturating_sub(cut));
            let found = salvage(&file, log.as_deref());
            prop_assert!(found.rows.windows(2).all(|pair| (pair[0].row.inode as i64) < pair[1].row.inode as i64));
            prop_assert!(!found.complete);
        }
    }

    #[test]
    fn a_medium_with_nothing_on_it() {
        let found = salvage(b"", None);
        assert!(found.rows.is_empty() && found.problems.is_empty());
        assert!(salvage_file(Path::new("/nonexistent")).is_err());
    }

    #[test]
    fn a_long_name_goes_on_on_other_pages() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.execute_batch(CREATE_TABLE).unwrap();
        let (name, data) = ("n".repeat(1000), vec![b'x'; 4096 - 500]);
        let row = (2, 0, 2, 0, 7, 8, &name, &data);
        connection.execute("INSERT INTO tree VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row).unwrap();
        drop(connection);
        let mut bytes = std::fs::read(path).unwrap();
        // nothing leads to the page of the row any more
        bytes[..4096].fill(0);
        let found = salvage(&bytes, None);
        let [recovered] = found.rows.as_slice() else { panic!("{found:?}") };
        assert_eq!(recovered.place, Place::CutOff);
        assert!(recovered.row.name == name && recovered.row.content() == data);
        // and the page with the end of the name is blank
        let chain = recovered.chain[0] as usize;
        bytes[(chain - 1) * 4096..chain * 4096].fill(0);
        let found = salvage(&bytes, None);
        let [lost] = found.lost.as_slice() else { panic!("{found:?}") };
        assert!(
            found.rows.is_empty() && lost.name().len() < 1000 && name.as_bytes().starts_with(lost.name())
        );
        assert_eq!(lost.size, data.len());
    }

    #[test]
    fn rows_are_written_as_they_were_read() {
        let folder = tempfile::tempdir().unwrap();
        let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sample/config.db");
        let target = folder.path().join("new.db");
        salvage_file(&sample).unwrap().write(&target).unwrap();
        let rows = |path: &Path| crate::Database::open_read_only(path).unwrap().0.rows().to_vec();
        assert_eq!(rows(&target), rows(&sample));
        assert!(salvage_file(&sample).unwrap().write(&target).is_err());
    }
}
