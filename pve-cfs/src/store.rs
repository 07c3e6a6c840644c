// SPDX-License-Identifier: MIT OR Apache-2.0
//! A database opened for change, and changes as transactions.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params};

use crate::database::OpenError;
use crate::engine::Change;
use crate::image;
use crate::load::{self, Loaded};
use crate::row::{self, Row, Table, Text};
use crate::schema::{CREATE_TABLE, LOCK_FILE, VERSION_ROW_NAME};

/// How long another SQLite program may hold the database before a change fails.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

const REPLACE: &str = "REPLACE INTO tree (inode, parent, version, writer, mtime, type, name, data) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
/// The row of an entry and the version row in one statement, which is a transaction by itself.
const REPLACE_BOTH: &str = "REPLACE INTO tree (inode, parent, version, writer, mtime, type, name, data) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8), (0, 0, ?3, ?4, ?9, 8, ?10, NULL)";
const BEGIN: &str = "BEGIN";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";
const DELETE: &str = "DELETE FROM tree WHERE inode = ?1";

/// When a committed change is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// As the reference: the log is synced only when it is copied into the database. A killed daemon loses nothing, a
    /// power failure can lose the newest changes, never the order or the consistency.
    #[default]
    Normal,
    /// Each change is synced before it is acknowledged: a power failure loses nothing that was acknowledged.
    Full,
}

/// How to open a database for change.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// When changes are on the disk.
    pub synchronous: Synchronous,
    /// Take the lock that a running daemon holds, so that only one of both works on the database.
    pub lock: bool,
    /// Times to try for the lock, a second apart; the reference tries eleven times.
    pub lock_tries: u32,
    /// Make the database if there is none.
    pub create: bool,
    /// Copy the database as it is, its write-ahead log applied, to this new file before anything else is done to it.
    pub backup: Option<PathBuf>,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { synchronous: Synchronous::Normal, lock: true, lock_tries: 1, create: true, backup: None }
    }
}

/// A database opened for change. Dropping it closes the database and gives up the lock.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    path: PathBuf,
    /// Held until the connection is closed: fields are dropped in the order of their declaration.
    _open_here: OpenHere,
    _lock: Option<Flock<File>>,
}

impl Store {
    /// Opens the database `path` for change, and loads it. `now` is the time that a missing version row gets.
    ///
    /// What is done, in this order: the lock file beside the database is locked exclusively, as the reference's daemon does;
    /// the file is opened or made, its mode set to 0600; write-ahead logging is switched on; the table is made if there is none.
    ///
    /// # Errors
    /// [`OpenError::InUse`] if a daemon runs on it, [`OpenError::Refused`] with everything that is wrong in it if the
    /// reference would refuse it.
    pub fn open(path: &Path, options: &StoreOptions, now: u32) -> Result<(Self, Loaded), OpenError> {
        let lock = options.lock.then(|| take_lock(path, options.lock_tries)).transpose()?;
        if let Some(backup) = options.backup.as_deref().filter(|_| path.exists()) {
            image::copy(path, backup)?;
        }
        let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
        let system = |source| OpenError::System { path: path.to_owned(), source };
        let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        if options.create {
            flags |= OpenFlags::SQLITE_OPEN_CREATE;
            // a new file is never readable for others, not even before its mode is set
            OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(system)?;
        }
        let open_here = OpenHere::enter(path).map_err(system)?;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).map_err(system)?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(sqlite)?;
        connection.pragma_update(None, "journal_mode", "WAL").map_err(sqlite)?;
        let synchronous = match options.synchronous {
            Synchronous::Normal => "NORMAL",
            Synchronous::Full => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous).map_err(sqlite)?;
        match row::table(&connection).map_err(sqlite)? {
            Table::Missing => connection.execute_batch(CREATE_TABLE).map_err(sqlite)?,
            Table::Present => {}
            Table::Other => return Err(OpenError::NotATable { path: path.to_owned() }),
        }
        for sql in [REPLACE, REPLACE_BOTH, DELETE, BEGIN, COMMIT] {
            connection.prepare_cached(sql).map_err(sqlite)?;
        }
        let rows = row::read_all(&connection).map_err(sqlite)?;
        let mut loaded = load::load(&rows);
        if !loaded.refusals.is_empty() {
            return Err(OpenError::Refused { path: path.to_owned(), findings: loaded.refusals });
        }
        let store = Self { connection, path: path.to_owned(), _open_here: open_here, _lock: lock };
        if !loaded.has_version {
            store.put(&version_row(1, 0, now)).map_err(sqlite)?;
            // in memory the reference changes the version alone
            let (writer, mtime) = (loaded.tree.root().writer(), loaded.tree.root().mtime());
            loaded.tree.set_version(1, writer, mtime);
            loaded.has_version = true;
        }
        Ok((store, loaded))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a change as one transaction: after a crash at any moment the database has all of it or nothing.
    ///
    /// # Errors
    /// What SQLite says; the database is as it was before.
    pub fn commit(&self, change: &Change<'_>) -> rusqlite::Result<()> {
        let Some(inode) = change.removed else { return self.put_all(change) };
        self.run(BEGIN)?;
        let steps = self
            .connection
            .prepare_cached(DELETE)
            .and_then(|mut delete| delete.execute([inode as i64]))
            .and_then(|_| self.put_all(change))
            .and_then(|()| self.run(COMMIT));
        if steps.is_err() && !self.connection.is_autocommit() {
            // some errors have ended the transaction already
            self.run(ROLLBACK)?;
        }
        steps
    }

    fn run(&self, sql: &str) -> rusqlite::Result<()> {
        self.connection.prepare_cached(sql)?.execute([]).map(drop)
    }

    /// The row of the changed entry, if there is one, and the version row. Both have version and writer of the change.
    fn put_all(&self, change: &Change<'_>) -> rusqlite::Result<()> {
        match &change.put {
            Some(row) => self.put_both(row, change),
            None => self.put(&version_row(change.version, change.writer, change.mtime)),
        }
    }

    fn put_both(&self, row: &Row, change: &Change<'_>) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(REPLACE_BOTH)?;
        statement.execute(params![
            row.inode as i64,
            row.parent as i64,
            row.version as i64,
            row.writer,
            row.mtime,
            row.kind,
            Text(&row.name),
            row.data.as_deref(),
            change.mtime,
            Text(VERSION_ROW_NAME),
        ])?;
        Ok(())
    }

    fn put(&self, row: &Row) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare_cached(REPLACE)?;
        row.execute(&mut statement)
    }

    /// Deletes the rows of `deleted` and writes `written` as one transaction, provided that the tree is at version `expected`; the
    /// version that it was at is returned, and if it is another one nothing was changed.
    ///
    /// # Errors
    /// What SQLite says; the database is as it was before.
    pub(crate) fn replace_rows(
        &self,
        expected: u64,
        deleted: &[u64],
        written: &[&Row],
    ) -> rusqlite::Result<u64> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        let version = transaction
            .query_row("SELECT version FROM tree WHERE inode = 0", [], |row| row.get::<_, i64>(0))
            .optional()?
            .unwrap_or(0) as u64;
        if version == expected {
            for inode in deleted {
                transaction.prepare_cached(DELETE)?.execute([*inode as i64])?;
            }
            for row in written {
                self.put(row)?;
            }
        }
        transaction.commit()?;
        Ok(version)
    }

    /// Deletes the rows whose inodes are not in `kept`, writes `rows`, and loads the result, as one transaction. `None` if it does not
    /// `fit`; then the database is as it was before.
    ///
    /// # Errors
    /// What SQLite says; the database is as it was before.
    pub(crate) fn take_over(
        &self,
        kept: &HashSet<u64>,
        rows: &[Row],
        fits: impl FnOnce(&Loaded) -> bool,
    ) -> rusqlite::Result<Option<Loaded>> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        for own in row::read_all(&transaction)? {
            if !kept.contains(&own.inode) {
                transaction.prepare_cached(DELETE)?.execute([own.inode as i64])?;
            }
        }
        for row in rows {
            self.put(row)?;
        }
        let loaded = load::load(&row::read_all(&transaction)?);
        if !fits(&loaded) {
            transaction.rollback()?;
            return Ok(None);
        }
        transaction.commit()?;
        Ok(Some(loaded))
    }

    /// All rows as they are in the database now.
    pub fn rows(&self) -> rusqlite::Result<Vec<Row>> {
        row::read_all(&self.connection)
    }

    /// Runs a read-only query and hands each row to `take`; for looking at the table as it is.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn query(
        &self,
        sql: &str,
        mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            take(row)?;
        }
        Ok(())
    }

    /// Copies the write-ahead log into the database file and empties it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }
}

/// The row with inode 0.
pub(crate) fn version_row(version: u64, writer: u32, mtime: u32) -> Row {
    Row { inode: 0, parent: 0, version, writer, mtime, kind: 8, name: VERSION_ROW_NAME.into(), data: None }
}

/// Locks the file that a daemon on the same database would hold.
fn take_lock(database: &Path, tries: u32) -> Result<Flock<File>, OpenError> {
    let path = database.with_file_name(LOCK_FILE);
    let system = |source| OpenError::System { path: path.clone(), source };
    let mut file =
        OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path).map_err(system)?;
    for attempt in 1.. {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => file,
            Err((_, error)) => return Err(system(error.into())),
        };
        if attempt >= tries {
            break;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    Err(OpenError::InUse { path: database.to_owned(), lock: path })
}

/// Whether a daemon holds the lock of the database `path` at this moment; it is not taken.
pub fn is_in_use(path: &Path) -> bool {
    let lock = path.with_file_name(LOCK_FILE);
    let Ok(file) = OpenOptions::new().read(true).open(lock) else { return false };
    matches!(Flock::lock(file, FlockArg::LockSharedNonblock), Err((_, nix::errno::Errno::EWOULDBLOCK)))
}

/// Device and inode of the databases that this process has open for writing: reading one as a plain file would give up the
/// locks that SQLite holds on it.
static OPEN_HERE: Mutex<Vec<(u64, u64)>> = Mutex::new(Vec::new());

fn open_here() -> MutexGuard<'static, Vec<(u64, u64)>> {
    OPEN_HERE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct OpenHere((u64, u64));

impl OpenHere {
    fn enter(path: &Path) -> std::io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        let key = (meta.dev(), meta.ino());
        open_here().push(key);
        Ok(Self(key))
    }
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        let mut open = open_here();
        if let Some(at) = open.iter().position(|key| *key == self.0) {
            open.swap_remove(at);
        }
    }
}

/// Whether this process has the database `path` open for writing.
pub(crate) fn is_open_here(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| open_here().contains(&(meta.dev(), meta.ino())))
}
