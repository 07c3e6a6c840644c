// SPDX-License-Identifier: MIT OR Apache-2.0
//! Locks of storages, as Proxmox VE takes them (spec: storage-commands, "Locks").

use std::fs::{self, DirBuilder, File, FileTimes, OpenOptions};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::bytes;
use crate::host::{Held, LockError};

/// How long a lock is tried to be had.
const PATIENCE: Duration = Duration::from_secs(10);

/// A lock of this machine: a file.
struct FileLock {
    _file: Flock<File>,
}

impl Held for FileLock {}

/// A lock of the cluster: a directory, which the cluster file system lets only one node make.
struct DirectoryLock {
    path: PathBuf,
}

impl Held for DirectoryLock {}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // if it is gone, somebody had it expire
        let _ = fs::remove_dir(&self.path);
    }
}

fn failed(path: &Path, source: io::Error) -> LockError {
    LockError::Io { name: bytes(path.to_owned()), source }
}

fn busy(path: &Path) -> LockError {
    LockError::Busy { name: bytes(path.to_owned()), waited: PATIENCE }
}

/// Locks a file exclusively.
pub(super) fn local(directory: &Path, name: &str) -> Result<Box<dyn Held>, LockError> {
    let path = directory.join(name);
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(directory)
        .map_err(|source| failed(directory, source))?;
    let open = OpenOptions::new().append(true).create(true).open(&path);
    let mut file = open.map_err(|source| failed(&path, source))?;
    let end = Instant::now() + PATIENCE;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(held) => return Ok(Box::new(FileLock { _file: held })),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) => file = back,
            Err((_, error)) => return Err(failed(&path, error.into())),
        }
        if Instant::now() >= end {
            return Err(busy(&path));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Makes the lock's directory. While it is there, it is asked to expire: the cluster file system removes it when its
/// holder has not renewed it for a while.
pub(super) fn cluster(path: &Path) -> Result<Box<dyn Held>, LockError> {
    let end = Instant::now() + PATIENCE;
    loop {
        match fs::create_dir(path) {
            Ok(()) => return Ok(Box::new(DirectoryLock { path: path.to_owned() })),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(path, error)),
        }
        if let Ok(directory) = File::open(path) {
            // a holder that renews it in time keeps it: a failure here changes nothing
            let _ = directory.set_times(FileTimes::new().set_accessed(UNIX_EPOCH).set_modified(UNIX_EPOCH));
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(busy(path));
        }
        let steps = u32::try_from(left.as_secs() + 1).unwrap_or(10).min(10);
        std::thread::sleep(Duration::from_millis(100) * steps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let held = local(directory.path(), "pve-storage-local").unwrap();
        let file = OpenOptions::new().append(true).open(directory.path().join("pve-storage-local")).unwrap();
        assert!(Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err());
        drop(held);
        assert!(local(directory.path(), "pve-storage-local").is_ok());
    }

    #[test]
    fn the_directory_of_a_cluster_lock_goes_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("storage-nas");
        let held = cluster(&path).unwrap();
        assert!(path.is_dir());
        drop(held);
        assert!(!path.exists());
        assert!(matches!(cluster(&directory.path().join("none/x")), Err(LockError::Io { .. })));
    }

    #[test]
    fn a_lock_that_is_given_back_in_time_is_had() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("storage-nas");
        let held = cluster(&path).unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| cluster(&path).is_ok());
            std::thread::sleep(Duration::from_millis(200));
            drop(held);
            assert!(second.join().unwrap());
        });
    }
}
