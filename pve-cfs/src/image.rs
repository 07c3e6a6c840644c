// SPDX-License-Identifier: MIT OR Apache-2.0
//! One consistent state of a database file and its write-ahead log, read without disturbing who writes them.
//!
//! Opening a database through SQLite, even read-only, takes locks, may create a `-shm` file beside it, and, when it is the
//! last to close, checkpoints and removes the `-wal`; `immutable=1` avoids all that but ignores the `-wal`, in which
//! a running daemon keeps everything it wrote lately. So the two files are read here as plain bytes, and the committed
//! frames of the log are put over the pages in memory.
//!
//! Why that is one state, while a daemon writes: the main file changes only when pages are copied into it from the log,
//! and the log is only appended to, until all of it has been copied; then it starts anew with another salt in its header.
//! So if the salt is the same before the main file was read, before the log was read and after it, every page that was copied meanwhile
//! (even one torn by reading it half way) is also in the log that was read, which goes over it. If the salt changed, or
//! there is no log and the main file changed, reading starts again.
//!
//! Reading opens and closes the files, and POSIX locks are given up by a process when it closes *any* descriptor of
//! the locked file. So a process must not read, this way, a database that it has open for writing itself:
//! [`Store`](crate::store::Store) keeps a register of those, and [`read`] refuses them.

use std::fs::{File, Metadata};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::database::OpenError;
use crate::wal::{self, Header, WalError};

/// Tries before a file that changes all the time is given up.
const TRIES: usize = 50;
/// Bytes of pages that are in neither file (SQLite does not write pages that hold nothing) and are made up as zeros.
const MOST_EMPTY: usize = 64 << 20;

/// A database file that cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The file itself cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Every attempt met a change of the files.
    #[error("{} changed during each of {TRIES} attempts to read it: try again when less is written", path.display())]
    Busy {
        /// The database.
        path: PathBuf,
    },
    /// This very process has the database open for writing; reading would give up its locks.
    #[error("{} is open for writing in this process: read it there", path.display())]
    OpenHere {
        /// The database.
        path: PathBuf,
    },
}

/// What was found beside the database file.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WalState {
    /// There is no log. After a clean stop that is how it should be.
    Absent,
    /// The log has no byte: everything is in the database file.
    Empty,
    /// Committed changes of the log were put over the database file.
    Applied {
        /// Transactions applied.
        commits: usize,
        /// Valid frames of a transaction that was not finished, left out as SQLite does.
        uncommitted: usize,
        /// Bytes behind the last valid frame.
        rest: usize,
    },
    /// There is a log, but what it holds cannot be used, and the database file is shown alone.
    Unusable(String),
}

/// The bytes of a database, log applied.
#[derive(Debug, Clone)]
pub struct Image {
    /// A database file in rollback mode, readable without any other file.
    pub bytes: Vec<u8>,
    /// Size of the database file itself, in bytes.
    pub file_size: u64,
    /// The database file says that it is used with a write-ahead log.
    pub wal_mode: bool,
    /// What the write-ahead log contributed.
    pub wal: WalState,
    /// A rollback journal lies beside the file: its last writer died, or writes now, in another journal mode than the
    /// reference's.
    pub rollback_journal: bool,
}

/// Reads one consistent state of the database `path` and of `path-wal`.
pub fn read(path: &Path) -> Result<Image, ReadError> {
    let failed = |source| ReadError::Io { path: path.to_owned(), source };
    let log_path = beside(path, "-wal");
    if crate::store::is_open_here(path) {
        return Err(ReadError::OpenHere { path: path.to_owned() });
    }
    for attempt in 0..TRIES {
        let before = log_identity(&log_path);
        let mut file = File::open(path).map_err(failed)?;
        let stamp = Stamp::of(&file.metadata().map_err(failed)?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        let log = read_log(&log_path);
        let unchanged = match &log {
            Log::Absent | Log::Unreadable(_) => {
                Stamp::of(&std::fs::metadata(path).map_err(failed)?) == stamp
                    && before == log_identity(&log_path)
            }
            Log::Bytes(_, identity) => Some(identity) == before.as_ref() && before == log_identity(&log_path),
        };
        if unchanged {
            let file_size = bytes.len() as u64;
            let (wal_mode, wal) = apply(&mut bytes, &log);
            let rollback_journal =
                std::fs::metadata(beside(path, "-journal")).is_ok_and(|journal| journal.len() > 0);
            return Ok(Image { bytes, file_size, wal_mode, wal, rollback_journal });
        }
        std::thread::sleep(std::time::Duration::from_millis(attempt as u64));
    }
    Err(ReadError::Busy { path: path.to_owned() })
}

/// Copies the database `path`, its write-ahead log applied, into the new file `copy`, which needs no other file and which only its owner
/// can read.
pub(crate) fn copy(path: &Path, copy: &Path) -> Result<(), OpenError> {
    write_new(copy, &read(path)?.bytes).map_err(|source| OpenError::System { path: copy.to_owned(), source })
}

/// Writes a new file to the disk that only its owner can read.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// The image that the bytes of a database file are, without a write-ahead log: there is no place where one could be missing.
pub(crate) fn of_bytes(mut bytes: Vec<u8>) -> Image {
    let file_size = bytes.len() as u64;
    let (wal_mode, _) = apply(&mut bytes, &Log::Absent);
    Image { bytes, file_size, wal_mode, wal: WalState::Empty, rollback_journal: false }
}

/// `path` with `suffix` behind its name, as SQLite names the files that belong to a database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.len(),
            changed: (meta.ctime(), meta.ctime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
        }
    }
}

/// What tells one use of a log from the next: the file, and its header with the salts.
#[derive(Debug, PartialEq, Eq)]
struct LogIdentity {
    device: u64,
    inode: u64,
    header: Vec<u8>,
}

enum Log {
    Absent,
    Unreadable(std::io::Error),
    Bytes(Vec<u8>, LogIdentity),
}

fn log_identity(path: &Path) -> Option<LogIdentity> {
    let file = File::open(path).ok()?;
    let meta = file.metadata().ok()?;
    let mut header = Vec::new();
    (&file).take(wal::HEADER_SIZE as u64).read_to_end(&mut header).ok()?;
    Some(LogIdentity { device: meta.dev(), inode: meta.ino(), header })
}

fn read_log(path: &Path) -> Log {
    let read = || -> std::io::Result<(Vec<u8>, LogIdentity)> {
        let mut file = File::open(path)?;
        let meta = file.metadata()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let header = bytes.get(..wal::HEADER_SIZE).unwrap_or(&bytes).to_vec();
        Ok((bytes, LogIdentity { device: meta.dev(), inode: meta.ino(), header }))
    };
    match read() {
        Ok((bytes, identity)) => Log::Bytes(bytes, identity),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Log::Absent,
        Err(error) => Log::Unreadable(error),
    }
}

/// Puts the committed pages of `log` over `bytes`, and makes the result readable without a log.
fn apply(bytes: &mut Vec<u8>, log: &Log) -> (bool, WalState) {
    // bytes 18 and 19: "file format write/read version", 2 = write-ahead log
    let wal_mode = bytes.get(18..20).is_some_and(|versions| versions.contains(&2));
    let state = match log {
        Log::Absent => WalState::Absent,
        Log::Unreadable(error) => WalState::Unusable(error.to_string()),
        Log::Bytes(log, _) if log.is_empty() => WalState::Empty,
        // SQLite deletes the log of a database without pages instead of using it
        Log::Bytes(..) if bytes.is_empty() => {
            WalState::Unusable("the database file is empty, and SQLite ignores its log then".to_owned())
        }
        Log::Bytes(log, _) => match overlay(bytes, log) {
            Ok(state) => state,
            Err(error) => WalState::Unusable(error.to_string()),
        },
    };
    let wal_mode = wal_mode || bytes.get(18..20).is_some_and(|versions| versions.contains(&2));
    if let Some(versions) = bytes.get_mut(18..20)
        && wal_mode
    {
        versions.fill(1);
    }
    (wal_mode, state)
}

fn overlay(bytes: &mut Vec<u8>, log: &[u8]) -> Result<WalState, WalError> {
    let header = Header::parse(log)?;
    let committed = wal::committed(log, &header);
    let last = committed.frames.last().map_or(0, |frame| frame.pages_after_commit as usize);
    // a crafted log could announce 16 TiB: pages that neither file holds are not worth that much memory
    let pages = last.min((bytes.len() + log.len() + MOST_EMPTY) / header.page_size);
    for frame in committed.frames.iter().filter(|frame| frame.page_number as usize <= pages) {
        let start = (frame.page_number as usize - 1) * header.page_size;
        let end = start + header.page_size;
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(frame.page);
    }
    if last > 0 {
        bytes.resize(pages * header.page_size, 0);
    }
    Ok(WalState::Applied {
        commits: committed.commits,
        uncommitted: committed.uncommitted,
        rest: committed.rest,
    })
}
