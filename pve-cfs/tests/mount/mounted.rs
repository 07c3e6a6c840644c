// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mounted file system for a test, in this process or in one of its own, and chance that can be repeated.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pve_cfs::Database;
use pve_cfs::clock::ManualClock;
use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::mount::{Mount, MountOptions};
use pve_cfs::store::{Store, StoreOptions, Synchronous};

/// A file system with its database in a folder of its own, mounted.
pub(crate) struct Mounted {
    pub(crate) mount: Option<Mount>,
    pub(crate) files: Arc<FileSystem>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) folder: tempfile::TempDir,
}

impl Mounted {
    /// `None`, said visibly, where nothing can be mounted; a failure if the environment demands system tests.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(|_| {})
    }

    pub(crate) fn start_with(prepare: impl FnOnce(&Path)) -> Option<Self> {
        Self::start_as(&MountOptions::default(), prepare)
    }

    pub(crate) fn start_as(options: &MountOptions, prepare: impl FnOnce(&Path)) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("config.db");
        prepare(&database);
        let (store, loaded) = Store::open(&database, &StoreOptions::default(), 1_700_000_000).unwrap();
        let clock = Arc::new(ManualClock::new(1_700_000_000));
        let of_files = FileSystemOptions { clock: clock.clone(), ..FileSystemOptions::local("pve1") };
        let files = Arc::new(FileSystem::new(loaded, Some(store), of_files));
        fs::create_dir(folder.path().join("pve")).unwrap();
        match Mount::new(files.clone(), &folder.path().join("pve"), options) {
            Ok(mount) => Some(Self { mount: Some(mount), files, clock, folder }),
            Err(error) => {
                assert!(std::env::var_os("PVE_TEST_SYSTEM").is_none_or(|value| value != "1"), "{error}");
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join("pve").join(path)
    }

    /// Unmounts, closes, and reads the database again: it must be without any finding of the tree.
    pub(crate) fn finish(mut self) -> Database {
        self.mount.take().unwrap().unmount().unwrap();
        let Self { files, folder, .. } = self;
        // a thread that answered the kernel last may let go a moment after the unmount
        let patience = Instant::now() + Duration::from_secs(10);
        while Arc::strong_count(&files) > 1 {
            assert!(Instant::now() < patience, "threads of the mount live on after the unmount");
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(files);
        let (database, _) = Database::open_read_only(&folder.path().join("config.db")).unwrap();
        assert_eq!(database.check(), []);
        database
    }
}

/// Whether something can be mounted here; said visibly if not, and a failure if the environment demands system tests.
pub(crate) fn can_mount() -> bool {
    Mounted::start().is_some_and(|node| {
        node.finish();
        true
    })
}

const FOLDER: &str = "PVE_TEST_DAEMON_FOLDER";

/// A daemon in a process of its own, with database and mount point in a folder.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(folder: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "mounted::daemon", "--ignored", "--nocapture"])
            .env(FOLDER, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().ends_with("serving")), "the daemon did not start");
        // whoever writes to a pipe that nobody reads is killed
        std::thread::spawn(move || lines.for_each(drop));
        Self { child }
    }

    pub(crate) fn id(&self) -> i32 {
        self.child.id() as i32
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it ended by itself and well.
    pub(crate) fn ended_well(mut self) -> bool {
        self.child.wait().unwrap().success()
    }
}

/// The main function of a [`Process`]; by itself it is no test.
#[test]
#[ignore = "is started by other tests"]
fn daemon() {
    let Some(folder) = std::env::var_os(FOLDER).map(PathBuf::from) else { return };
    let options = StoreOptions { synchronous: Synchronous::Full, ..StoreOptions::default() };
    let (store, loaded) = Store::open(&folder.join("config.db"), &options, 1_700_000_000).unwrap();
    let files = Arc::new(FileSystem::new(loaded, Some(store), FileSystemOptions::local("pve1")));
    let mount = Mount::new(files, &folder.join("pve"), &MountOptions::default()).unwrap();
    println!("serving");
    mount.wait().unwrap();
    mount.unmount().unwrap();
}

/// Chance that is the same each time for the same seed (SplitMix64).
pub(crate) struct Chance(pub(crate) u64);

impl Chance {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
