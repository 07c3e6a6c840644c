// SPDX-License-Identifier: MIT OR Apache-2.0
//! The measured daemons as processes of their own: this program started again, which says when it serves and ends with its parent.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::mount::{Mount, MountOptions};
use pve_cfs::store::{Store, StoreOptions};

use crate::floor::Floor;

/// First argument of a daemon's process.
pub(crate) const ARGUMENT: &str = "serve";

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The cluster file system.
    Cfs,
    /// The file system in memory.
    Floor,
}

/// A running daemon; dropping it unmounts.
pub(crate) struct Daemon {
    child: Child,
    /// Mount point.
    pub(crate) path: PathBuf,
    /// Time from its start until the first request was answered.
    pub(crate) start: Duration,
}

impl Daemon {
    /// Starts a daemon in `folder`, where its database `config.db` lies, and waits until the file `probe` has been found.
    pub(crate) fn start(kind: Kind, folder: &Path, probe: &str) -> Self {
        let path = folder.join(format!("{kind:?}"));
        std::fs::create_dir_all(&path).expect("a mount point");
        let kind = if kind == Kind::Cfs { "cfs" } else { "floor" };
        let start = Instant::now();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([ARGUMENT, kind])
            .args([folder, &path])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut line = String::new();
        let output = child.stdout.take().expect("it was asked for");
        BufReader::new(output).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n", "the daemon did not start");
        std::fs::symlink_metadata(path.join(probe)).expect("the first request");
        Self { child, path, start: start.elapsed() }
    }

    /// Processor time of all its threads so far.
    pub(crate) fn processor_time(&self) -> Duration {
        processor_time(self.child.id())
    }

    /// Resident memory now, in bytes, and the part of it that is no file's.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("its status");
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("a line of the status");
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
        };
        (of("VmRSS:"), of("RssAnon:"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let status = self.child.wait().expect("its end");
        assert!(status.success(), "the daemon ended with {status}");
    }
}

/// Processor time of the threads of a process, in nanoseconds exact (`/proc/PID/task/TID/schedstat`).
pub(crate) fn processor_time(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let nanoseconds = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// Main function of a daemon's process: `KIND FOLDER MOUNTPOINT`.
pub(crate) fn serve(arguments: &[String]) {
    let [kind, folder, path] = arguments else { panic!("a daemon takes three arguments") };
    let path = Path::new(path);
    match kind.as_str() {
        "cfs" => {
            let database = Path::new(folder).join("config.db");
            let (store, loaded) =
                Store::open(&database, &StoreOptions::default(), 1_700_000_000).expect("a database");
            let files = Arc::new(FileSystem::new(loaded, Some(store), FileSystemOptions::local("pve1")));
            let mount = Mount::new(files, path, &MountOptions::default()).expect("a mount");
            until_the_parent_ends();
            mount.unmount().expect("unmounting");
        }
        "floor" => {
            let mut config = fuser::Config::default();
            config.n_threads = Some(2);
            config.clone_fd = true;
            config.mount_options = vec![fuser::MountOption::DefaultPermissions];
            let session = fuser::spawn_mount(Floor::new(), path, &config).expect("a mount");
            until_the_parent_ends();
            session.umount_and_join().expect("unmounting");
        }
        other => panic!("no daemon is called {other}"),
    }
}

fn until_the_parent_ends() {
    println!("ready");
    std::io::stdout().flush().expect("a parent");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}
