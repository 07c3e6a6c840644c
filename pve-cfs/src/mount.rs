// SPDX-License-Identifier: MIT OR Apache-2.0
//! Mounting a [`FileSystem`] through FUSE, keeping the kernel's caches true, and unmounting it again.
//!
//! # What an acknowledged write means
//!
//! Nothing is acknowledged before SQLite has committed it, and a commit is one transaction in the write-ahead log. The reference
//! runs with `synchronous=NORMAL`, as [`Synchronous::Normal`](crate::store::Synchronous::Normal) does: a daemon that is killed
//! loses nothing, since what it wrote is the kernel's already; a power failure can lose the changes since the log was last copied into the
//! database, the newest ones first, and never leaves half of one. `fsync` on the mount succeeds without effect. With
//! [`Synchronous::Full`](crate::store::Synchronous::Full) each change is on the disk before it is acknowledged.
//!
//! The tests kill a daemon while programs write, by default for a few seconds; 2200 kills in a row, with `PVE_TEST_KILLS=2200
//! cargo test -p pve-cfs --features fuse --test mount what_was`, left each database without a finding, every acknowledged
//! change in it, and none torn. Sixteen threads that for ten minutes replaced the same four files, read them, and appended to
//! logs (`PVE_TEST_SECONDS=600`, test `many_writers`) did so 692,048 times; no reader saw a torn file, and no line was missing
//! in the end.
//!
//! # How fast it is
//!
//! `cargo bench -p benches --bench cfs_mount`, as root, measures it: daemon and client on one processor, the database in
//! `/dev/shm`. The first three columns were taken on another, idle machine and are what is to be reached there; the others in
//! one run on a shared virtual machine whose FUSE is about half as fast, so only the ratio between its two columns says
//! something. "In memory" is a file system without rules and database that opens each file by a request.
//!
//! | | reference | in memory | target | measured | in memory |
//! |---|---|---|---|---|---|
//! | create + write 500 B | 15.7k/s | 48k/s | 30k/s | 13.2k/s | 19.1k/s |
//! | overwrite 500 B | 20.7k/s | 64k/s | 40k/s | 36.1k/s | 37.1k/s |
//! | temporary file + rename over | 10.0k/s | 29k/s | 20k/s | 7.3k/s | 10.8k/s |
//! | open + read + close, warm | 47k/s | 84k/s | 80k/s | 192k/s | 55.0k/s |
//! | stat | 142k/s | 187k/s | 180k/s | 92.9k/s | 85.1k/s |
//! | unlink | 33.7k/s | – | – | 25.6k/s | 40.8k/s |
//! | list 1,000 names | 1.16 ms | 0.13 ms | 0.2 ms | 0.13 ms | 0.12 ms |
//! | list 10,000 names, after a change | 131 ms | – | 5 ms | 3.2 ms | 3.3 ms |
//! | list 10,000 names | – | – | 5 ms | 1.2 ms | 1.2 ms |
//! | start with 10,000 files | 1000 ms | – | 20 ms | 18.6 ms | – |
//! | memory with 10,000 files | 22.9 MB | – | 20 MB | 16.3 MB | – |
//! | SQLite's transaction alone | 7.4 µs | – | – | 11.4 µs | – |
//!
//! A replacement by renaming costs 134 µs of processor time here, 1.44 to 1.51 times the file system in memory in different
//! runs, where 1.45 is demanded: about 33 µs of that are three transactions of SQLite.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;

use fuser::{BackgroundSession, Config, INodeNo, Notifier, Session, SessionACL};
use nix::errno::Errno;
use nix::libc::dev_t;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::stat;
use nix::unistd::{getegid, geteuid};

use crate::filesystem::FileSystem;
use crate::node_id::NodeIds;
use crate::projection::{Projection, Shared, Stale};
use crate::replica::Watcher;
use crate::virtual_file::VirtualFile;

/// Where the kernel's FUSE is spoken to; also what the table of mounts names as the source, as the reference's mount does.
const DEVICE: &str = "/dev/fuse";

/// What the kernel may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Caching {
    /// Names, attributes, listings and contents. What changes otherwise than through the mount is invalidated at once; virtual
    /// files and locks are never kept.
    #[default]
    Kernel,
    /// Nothing: every access is a request.
    None,
}

/// How to mount.
#[derive(Debug, Clone)]
pub struct MountOptions {
    /// What the kernel may keep.
    pub caching: Caching,
    /// Threads that answer requests.
    pub threads: usize,
    /// Mount read-only.
    pub read_only: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(2, |count| count.get().clamp(2, 8));
        Self { caching: Caching::Kernel, threads, read_only: false }
    }
}

/// A mount that failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The directory has entries, which the mount would hide.
    #[error("{} is not empty: mount on an empty directory", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Something is mounted there, and its daemon is gone; it could not be unmounted.
    #[error("{} is a stale mount that cannot be unmounted: {source}", path.display())]
    Stale {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: Errno,
    },
    /// The system refused.
    #[error("cannot mount on {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A mounted file system. Dropping it unmounts.
#[derive(Debug)]
pub struct Mount {
    session: Option<BackgroundSession>,
    path: PathBuf,
    /// Device number of the mounted file system: what is at the path later need not be this mount any more.
    device: dev_t,
    files: Arc<FileSystem>,
    shared: Arc<Shared>,
    watcher: Arc<dyn Watcher>,
    invalidator: Option<JoinHandle<()>>,
}

impl Mount {
    /// Mounts `files` on the empty directory `path`, with the options of the reference: the kernel checks permissions
    /// (`default_permissions`), and all users have access (`allow_other`). A stale mount on the directory, whose daemon died, is
    /// unmounted first.
    ///
    /// # Errors
    /// The directory does not fit, or the system refuses, most often because the caller is not root or `/dev/fuse` is missing.
    pub fn new(files: Arc<FileSystem>, path: &Path, options: &MountOptions) -> Result<Self, MountError> {
        remove_stale(path)?;
        let failed = |source| MountError::Io { path: path.to_owned(), source };
        if std::fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(MountError::NotEmpty { path: path.to_owned() });
        }
        let device = mount_device(path, options.read_only).map_err(failed)?;
        Self::serve(files, path, device, options).map_err(|error| {
            // the error that led here says more than one of this
            let _ = umount2(path, MntFlags::MNT_DETACH);
            failed(error)
        })
    }

    /// Answers what the kernel asks through `device`, which is mounted on `path`.
    fn serve(
        files: Arc<FileSystem>,
        path: &Path,
        device: OwnedFd,
        options: &MountOptions,
    ) -> std::io::Result<Self> {
        let (stale, invalidations) = mpsc::channel();
        let shared = Arc::new(Shared::new(files.clone(), stale));
        let mut config = Config::default();
        config.n_threads = Some(options.threads.max(1));
        config.clone_fd = options.threads > 1;
        let projection = Projection::new(shared.clone(), options.caching);
        let session = Session::from_fd(projection, device, SessionACL::All, config)?.spawn()?;
        let device = stat(path)?.st_dev;
        let notifier = session.notifier();
        let mut invalidator = None;
        if options.caching == Caching::Kernel {
            shared.set_notifier(Some(notifier.clone()));
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name("invalidate".to_owned());
            invalidator = Some(thread.spawn(move || invalidate(&shared, &notifier, &invalidations))?);
        }
        let watcher: Arc<dyn Watcher> = shared.clone();
        files.replica().watch(watcher.clone());
        Ok(Self {
            session: Some(session),
            path: path.to_owned(),
            device,
            files,
            shared,
            watcher,
            invalidator,
        })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file system.
    pub const fn files(&self) -> &Arc<FileSystem> {
        &self.files
    }

    /// Waits until the process gets `SIGTERM`, `SIGINT` or `SIGHUP`, or until somebody else unmounts.
    ///
    /// # Errors
    /// The signals cannot be caught.
    pub fn wait(&self) -> std::io::Result<()> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])?;
        loop {
            let ended = self.session.as_ref().is_none_or(|session| session.guard.is_finished());
            if ended || signals.pending().next().is_some() {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// Unmounts, and returns when the last request is answered. Programs that still have files open, or work in the directory, do
    /// not prevent that: from then on they get errors. If somebody else has unmounted already, whatever is mounted on the directory
    /// since then is left alone.
    ///
    /// # Errors
    /// The system refuses.
    pub fn unmount(mut self) -> std::io::Result<()> {
        self.end()
    }

    fn end(&mut self) -> std::io::Result<()> {
        let Some(session) = self.session.take() else { return Ok(()) };
        self.files.replica().unwatch(&self.watcher);
        self.shared.set_notifier(None);
        let is_ours = || stat(&self.path).is_ok_and(|found| found.st_dev == self.device);
        let result = if session.guard.is_finished() {
            session.join()
        } else if is_ours() {
            let unmounted = match umount2(&self.path, MntFlags::empty()) {
                Err(Errno::EBUSY) => umount2(&self.path, MntFlags::MNT_DETACH | MntFlags::MNT_FORCE),
                other => other,
            };
            unmounted.map_err(std::io::Error::from).and_then(|()| session.join())
        } else {
            // it was detached while files were open, and ends when they are closed
            Ok(())
        };
        self.shared.stop();
        if let Some(invalidator) = self.invalidator.take() {
            // a panic of that thread has been reported already
            let _ = invalidator.join();
        }
        result
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // who wants to know how it went calls `unmount`
        let _ = self.end();
    }
}

/// Opens a device to the kernel's FUSE and mounts it on `path`, with the options of the reference.
///
/// `fuser` could do that, but unmounts again when it is dropped, whatever is mounted there by then.
fn mount_device(path: &Path, read_only: bool) -> std::io::Result<OwnedFd> {
    let device = File::options().read(true).write(true).open(DEVICE)?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        device.as_raw_fd(),
        geteuid(),
        getegid()
    );
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    flags.set(MsFlags::MS_RDONLY, read_only);
    mount(Some(DEVICE), path, Some("fuse"), flags, Some(options.as_str()))?;
    Ok(device.into())
}

/// Whether `path` is a mount whose daemon is gone.
pub fn is_stale(path: &Path) -> bool {
    std::fs::metadata(path).is_err_and(|error| error.raw_os_error() == Some(Errno::ENOTCONN as i32))
}

fn remove_stale(path: &Path) -> Result<(), MountError> {
    if !is_stale(path) {
        return Ok(());
    }
    umount2(path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH)
        .map_err(|source| MountError::Stale { path: path.to_owned(), source })
}

/// Has the kernel forget what changed otherwise than by its own requests. Runs in a thread of its own: the kernel may hold a lock
/// during a request that it needs to forget something.
fn invalidate(shared: &Shared, notifier: &Notifier, stale: &Receiver<Stale>) {
    // an error means that the kernel does not know the node, or that the mount is gone
    while let Ok(stale) = stale.recv() {
        match stale {
            Stale::Node(id) => {
                let _ = notifier.inval_inode(INodeNo(id), 0, 0);
            }
            Stale::Name(parent, name) => {
                let _ = notifier.inval_entry(INodeNo(parent), OsStr::from_bytes(&name));
            }
            Stale::Everything => {
                let inodes: Vec<u64> = {
                    let engine = shared.files().replica().engine();
                    engine.tree().entries().iter().map(|entry| entry.inode()).collect()
                };
                let symlinks = VirtualFile::ALL.into_iter().filter(|file| file.is_symlink());
                let ids = inodes
                    .into_iter()
                    .map(|inode| shared.ids().of_inode(inode))
                    .chain(symlinks.map(|file| NodeIds::of_virtual(file, 0)));
                for id in ids {
                    let _ = notifier.inval_inode(INodeNo(id), -1, 0);
                }
            }
            Stale::End => return,
        }
    }
}
