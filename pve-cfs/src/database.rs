// SPDX-License-Identifier: MIT OR Apache-2.0
//! A database opened for reading: its rows, its tree, and everything that is to be said about it.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::check;
use crate::finding::{Finding, Rule, Severity};
use crate::guest::GuestList;
use crate::image::{self, Image, ReadError, WalState};
use crate::load::{self, Loaded};
use crate::row::{self, Row, Table};
use crate::tree::Tree;

/// A database that cannot be opened, for reading or for writing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// SQLite cannot make sense of it.
    #[error("{} is not a usable database: {source}; see whether its rows can be salvaged", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
    /// A file beside it, or its mode, cannot be read or written.
    #[error("{}: {source}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A daemon works on the database.
    #[error("{} is in use: another process holds {}; stop the daemon first", path.display(), lock.display())]
    InUse {
        /// The database.
        path: PathBuf,
        /// The lock file that is held.
        lock: PathBuf,
    },
    /// The reference would refuse to start with it.
    #[error("{} breaks {} of the rules, first: {}", path.display(), findings.len(), First(findings))]
    Refused {
        /// The database.
        path: PathBuf,
        /// Everything that makes the reference refuse it.
        findings: Vec<Finding>,
    },
    /// There is something called `tree` that is no table.
    #[error("{}: \"tree\" is not a table", path.display())]
    NotATable {
        /// The database.
        path: PathBuf,
    },
}

/// Shows the first of some findings.
struct First<'a>(&'a [Finding]);

impl std::fmt::Display for First<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.first().map_or(Ok(()), |finding| write!(f, "{finding}"))
    }
}

/// A state of a database, wholly in memory: nothing of the file stays open or locked.
#[derive(Debug, Clone)]
pub struct Database {
    rows: Vec<Row>,
    loaded: Loaded,
}

impl Database {
    /// Reads the database `path` with its write-ahead log, as a running daemon's clients would see it now, and says all
    /// that is wrong or odd.
    ///
    /// No lock is taken, no file is written, created or removed (see the [`image`] module for how): it is
    /// safe beside a running daemon, on a read-only medium, and on a copy with or without its `-wal`. What a missing or unusable
    /// log means for what is shown is among the findings.
    ///
    /// A database that the reference would refuse is not an error here: the findings of severity
    /// [`Refused`](Severity::Refused) say why it would, and the rest can be used.
    ///
    /// # Errors
    /// The file cannot be read, it is not a database, or it has no table with the eight columns.
    pub fn open_read_only(path: &Path) -> Result<(Self, Vec<Finding>), OpenError> {
        Self::of_image(path, &image::read(path)?)
    }

    /// As [`Database::open_read_only`], of the bytes of a database file that are all there is, without a write-ahead log;
    /// `name` is what messages call it.
    ///
    /// # Errors
    /// It is not a database, or has no table with the eight columns.
    pub fn from_bytes(name: &Path, bytes: Vec<u8>) -> Result<(Self, Vec<Finding>), OpenError> {
        Self::of_image(name, &image::of_bytes(bytes))
    }

    fn of_image(path: &Path, image: &Image) -> Result<(Self, Vec<Finding>), OpenError> {
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let connection = open_image(image).map_err(sqlite)?;
        let table = row::table(&connection).map_err(sqlite)?;
        let rows = match table {
            Table::Missing => Vec::new(),
            Table::Other => return Err(OpenError::NotATable { path: path.to_owned() }),
            Table::Present => row::read_all(&connection).map_err(sqlite)?,
        };
        let mut findings = file_findings(path, image, table);
        let database = Self::from_rows(rows);
        if table == Table::Present {
            findings.extend(database.check());
        }
        Ok((database, findings))
    }

    /// A database of `rows`, which must be in the order of their row ids.
    pub fn from_rows(rows: Vec<Row>) -> Self {
        let loaded = load::load(&rows);
        Self { rows, loaded }
    }

    /// All rows as they are in the table, in the order of their row ids.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The tree that the rows form.
    pub const fn tree(&self) -> &Tree {
        &self.loaded.tree
    }

    /// The guests of all nodes.
    pub const fn guests(&self) -> &GuestList {
        &self.loaded.guests
    }

    /// What was loaded from the rows, to go on with.
    pub fn into_loaded(self) -> Loaded {
        self.loaded
    }

    /// What the reference would refuse the database for; empty if it would start.
    pub fn refusals(&self) -> &[Finding] {
        &self.loaded.refusals
    }

    /// Everything that is wrong or odd in the rows and the tree.
    pub fn check(&self) -> Vec<Finding> {
        check::check(&self.rows, &self.loaded)
    }
}

/// Whether the reference would refuse to start, judging by `findings`.
pub fn would_refuse(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity() == Severity::Refused)
}

/// A connection to the image, which is copied into SQLite's memory.
pub(crate) fn open_image(image: &Image) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    if !image.bytes.is_empty() {
        connection.deserialize_read_exact("main", image.bytes.as_slice(), image.bytes.len(), true)?;
    }
    Ok(connection)
}

fn file_findings(path: &Path, image: &Image, table: Table) -> Vec<Finding> {
    let name_of = |suffix| {
        let full = image::beside(path, suffix);
        full.file_name().unwrap_or_default().to_string_lossy().into_owned()
    };
    let wal = name_of("-wal");
    let mut rules = Vec::new();
    match &image.wal {
        WalState::Absent | WalState::Empty if image.wal_mode && table == Table::Missing => {
            rules.push(Rule::EmptyShell { wal });
        }
        WalState::Absent if image.wal_mode => rules.push(Rule::WalAbsent { wal }),
        WalState::Unusable(reason) => rules.push(Rule::WalUnusable { wal, reason: reason.clone() }),
        WalState::Applied { commits: 0, uncommitted: 0, rest } if *rest > 0 => {
            let reason = "not one frame in it is valid".to_owned();
            rules.push(Rule::WalUnusable { wal, reason });
        }
        WalState::Applied { commits, .. } if *commits > 0 => {
            rules.push(Rule::WalApplied { wal, commits: *commits });
        }
        WalState::Absent | WalState::Empty | WalState::Applied { .. } => {}
    }
    if image.rollback_journal {
        rules.push(Rule::RollbackJournal { journal: name_of("-journal") });
    }
    if table == Table::Missing && !rules.iter().any(|rule| matches!(rule, Rule::EmptyShell { .. })) {
        rules.push(Rule::NoTable);
    }
    rules.into_iter().map(Finding::general).collect()
}
