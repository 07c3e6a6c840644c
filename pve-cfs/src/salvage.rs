// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reads the rows of a database that SQLite cannot read any more, or only in part: cut off, overwritten with zeros, with flipped bits,
//! without its write-ahead log or with a damaged one.
//!
//! A SQLite file is a tree of pages. Rows are cells on its leaf pages, found through pointers on the pages above; contents that are too big
//! for a page go on in chains of overflow pages. One damaged page near the root cuts off everything below it, and
//! SQLite then gives up. Here the pages are read one by one:
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
//! A record is taken for a row only if everything about it fits: the kinds and sizes of all columns, the end of the payload to the byte, the
//! length of the chain, and no other row may claim one of its pages. What fails is listed as [`Lost`], with what is known of
//! it. What nobody can see is a changed byte *within* a name or a content: SQLite keeps no checksums. Rows that look as if that had
//! happened have [`Doubt`]s. Rows of an older copy, and carved ones, can be older than the last state of the database, or of
//! entries that had been deleted.
//!
//! A name that is so long that it does not fit on the page of its row (some hundred bytes at least, with pages of the usual size) is not
//! followed to other pages: such a row counts as a cell that cannot be read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bstr::BString;

use crate::image;
use crate::repair::RepairError;
use crate::row::Row;
use crate::schema::{CREATE_TABLE, VERSION_ROW_NAME};
use crate::wal::WalError;

mod page;
mod pages;
mod record;
mod search;

use page::u32_at;
use pages::{Origin, Pages};
use record::is_text;
use search::{Candidate, Search};

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
    /// The pages that its content goes on on.
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
    /// What is known of the row; its content is what could be read of the beginning.
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
    /// It was found byte by byte, and its content is no text: perhaps the remains of a row that was partly overwritten.
    #[error("its content is no text, so that it may be the remains of a row that was partly overwritten")]
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
    settle(&pages, search, &mut result);
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

/// What came of reading the content of a candidate.
struct Read {
    payload: Vec<u8>,
    chain: Vec<u32>,
    failed: Option<Reason>,
}

/// Reads the contents, and takes the best candidate for each inode.
fn settle(pages: &Pages<'_>, search: Search<'_, '_>, result: &mut Salvage) {
    let mut candidates = search.candidates;
    candidates.sort_by_key(|candidate| (candidate.place, std::cmp::Reverse(candidate.decoded.row.version)));
    // each page belongs to one content, so more reading than this goes in circles
    let budget = pages.count as usize * 8 + 1024;
    let mut chains =
        Chains { pages, tree: &search.tree, free: &search.free, origins: pages.origins(), budget };
    let mut reads: Vec<Read> = candidates.iter().map(|candidate| chains.read(candidate)).collect();
    let mut owners: HashMap<u32, Vec<(Place, u64)>> = HashMap::new();
    for (candidate, read) in candidates.iter().zip(&reads) {
        for page in &read.chain {
            let owners = owners.entry(*page).or_default();
            let owner = (candidate.place, candidate.decoded.row.inode);
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
    }
    for (candidate, read) in candidates.iter().zip(&mut reads) {
        let contested = read
            .chain
            .iter()
            .filter_map(|page| owners.get(page))
            .flatten()
            .any(|(place, inode)| *inode != candidate.decoded.row.inode && *place <= candidate.place);
        if contested && read.failed.is_none() {
            read.failed = Some(Reason::Contested);
        }
    }
    let mut rows: BTreeMap<i64, Recovered> = BTreeMap::new();
    let mut lost: BTreeMap<i64, Lost> = BTreeMap::new();
    for (candidate, read) in candidates.into_iter().zip(reads) {
        let (key, page, place) = (candidate.decoded.row.inode as i64, candidate.page, candidate.place);
        if rows.contains_key(&key) {
            continue;
        }
        let mut failed = read.failed;
        if failed.is_none()
            && place == Place::Carved
            && !is_text(
                read.payload.get(candidate.decoded.content.clone().unwrap_or_default()).unwrap_or_default(),
            )
        {
            failed = Some(Reason::NoText);
        }
        match failed {
            Some(reason) => {
                lost.entry(key).or_insert_with(|| partial(candidate, &read.payload, reason));
            }
            None => {
                let (out_of_order, cell) = (candidate.out_of_order, candidate.cell.range);
                if let Some(row) = candidate.decoded.complete(&read.payload) {
                    let doubts = if out_of_order { vec![Doubt::OutOfOrder] } else { Vec::new() };
                    let verified = place != Place::OlderCopy && pages.is_in_log(page);
                    rows.insert(
                        key,
                        Recovered { row, place, page, cell, verified, chain: read.chain, doubts },
                    );
                }
            }
        }
    }
    lost.retain(|key, _| !rows.contains_key(key));
    let version = rows
        .get(&0)
        .filter(|version| version.row.name == VERSION_ROW_NAME)
        .map_or(u64::MAX, |version| version.row.version);
    for recovered in rows.values_mut() {
        add_doubts(recovered, version);
    }
    result.rows = rows.into_values().collect();
    result.lost = lost.into_values().collect();
}

fn partial(candidate: Candidate<'_>, payload: &[u8], reason: Reason) -> Lost {
    let Candidate { place, page, decoded, .. } = candidate;
    let range = decoded.content.clone().unwrap_or_default();
    let read = payload.get(range.start..range.end.min(payload.len())).unwrap_or_default();
    Lost { row: Row { data: Some(read.into()), ..decoded.row }, place, page, size: range.len(), reason }
}

fn add_doubts(recovered: &mut Recovered, tree_version: u64) {
    let Recovered { row, doubts, .. } = recovered;
    if row.inode != 0 && (row.inode > row.version || row.version > tree_version) {
        doubts.push(Doubt::Version);
    }
    if row.content().windows(16).any(|run| run.iter().all(|byte| *byte == 0)) {
        doubts.push(Doubt::Zeros);
    }
    if row.entry_type().is_none() {
        doubts.push(Doubt::Type);
    }
}

/// Reads contents that go on on other pages.
struct Chains<'s, 'a> {
    pages: &'s Pages<'a>,
    tree: &'s HashSet<u32>,
    free: &'s HashSet<u32>,
    origins: HashMap<&'a [u8], Origin>,
    /// Pages that may still be read.
    budget: usize,
}

impl<'a> Chains<'_, 'a> {
    fn read(&mut self, candidate: &Candidate<'a>) -> Read {
        let mut read = Read { payload: candidate.local.to_vec(), chain: Vec::new(), failed: None };
        let origin = self.origins.get(candidate.bytes).copied().unwrap_or(Origin::File);
        let mut next = candidate.cell.overflow.unwrap_or(0);
        let mut seen = HashSet::new();
        while read.payload.len() < candidate.cell.payload {
            let Some(budget) = self.budget.checked_sub(1).filter(|_| seen.insert(next)) else {
                read.failed = Some(Reason::Contested);
                return read;
            };
            self.budget = budget;
            let wanted = (candidate.cell.payload - read.payload.len()).min(self.pages.geometry.usable - 4);
            let zeros = read.payload.last() == Some(&0);
            let page = match self.page(next, origin, zeros) {
                Ok(page) => page,
                Err(reason) => {
                    read.failed = Some(reason);
                    return read;
                }
            };
            let Some(part) = page.get(4..4 + wanted) else {
                read.failed = Some(Reason::Chain { page: next });
                return read;
            };
            read.chain.push(next);
            read.payload.extend_from_slice(part);
            next = u32_at(page, 0).unwrap_or(0);
            if (read.payload.len() == candidate.cell.payload) != (next == 0) {
                read.failed = Some(Reason::Length);
                return read;
            }
        }
        read
    }

    /// A page of a content. One that is blank has been overwritten, unless the content has `zeros` before it, too.
    fn page(&self, number: u32, origin: Origin, zeros: bool) -> Result<&'a [u8], Reason> {
        let bad = Reason::Chain { page: number };
        if number < 2 || number > self.pages.count {
            return Err(bad);
        }
        // what the page is used for now says nothing about an older copy of it
        let is_newest = origin == Origin::File && !self.pages.is_in_log(number);
        if is_newest && (self.tree.contains(&number) || self.free.contains(&number)) {
            return Err(bad);
        }
        let page = self.pages.at_origin(number, origin);
        let page = page.ok_or(if origin == Origin::File { bad } else { Reason::Overwritten })?;
        if !zeros && page.iter().all(|byte| *byte == 0) { Err(bad) } else { Ok(page) }
    }
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
