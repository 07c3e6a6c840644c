// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine on which this process dies at a given step of an operation.

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bstr::{BStr, BString};
use nix::sys::signal::{Signal, raise};
use pve_storage::{
    CephConnection, Change, Command, Effect, Event, Held, Host, LocalHost, LockError, Metadata, Mount,
    Output, RemoteError, RunError, Runner, Space, Storage, Streams,
};
use pve_volid::CivilTime;
use serde_json::Value;

use crate::tree::tree;

/// When the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before the step.
    Before,
    /// While the step is carried out, as soon as anything of it can be seen.
    During,
    /// After the step.
    After,
}

impl Moment {
    pub(crate) const ALL: [Moment; 3] = [Moment::Before, Moment::During, Moment::After];
}

/// The real machine, up to the step at which the process dies. Steps are commands that change something and changes
/// of files; they count from 1.
pub(crate) struct Mortal {
    host: LocalHost,
    storage: PathBuf,
    fatal: usize,
    moment: Moment,
    step: Cell<usize>,
}

impl Mortal {
    pub(crate) fn new(host: LocalHost, storage: &Path, fatal: usize, moment: Moment) -> Self {
        Mortal { host, storage: storage.to_owned(), fatal, moment, step: Cell::new(0) }
    }

    /// Carries out a step, or what death leaves of it.
    fn step<T>(&self, torn: impl FnOnce(), whole: impl FnOnce() -> T) -> T {
        self.step.set(self.step.get() + 1);
        if self.step.get() != self.fatal {
            return whole();
        }
        match self.moment {
            Moment::Before => {}
            Moment::During => torn(),
            Moment::After => drop(whole()),
        }
        die()
    }

    /// Runs a command that is killed when it has changed something that can be seen.
    fn tear_command(&self, command: &Command) {
        let before = tree(&self.storage);
        let mut process = std::process::Command::new(path(command.program()));
        process.args(command.arguments().iter().map(|word| OsStr::from_bytes(word)));
        if let Some(directory) = command.working_directory() {
            process.current_dir(path(directory));
        }
        let mut child = process.spawn().unwrap();
        while child.try_wait().unwrap().is_none() && tree(&self.storage) == before {}
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn die() -> ! {
    raise(Signal::SIGKILL).unwrap();
    unreachable!("SIGKILL cannot be ignored")
}

fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// What is there in the middle of a change that takes more than one call.
fn tear_change(change: &Change) {
    match change {
        Change::CreateSparse { path: file, .. } => drop(std::fs::File::create_new(path(file)).unwrap()),
        Change::MakeDirectories { path: folder, .. } => {
            // the topmost one that is missing
            let missing = path(folder).ancestors().take_while(|folder| !folder.exists()).last();
            std::fs::create_dir(missing.unwrap()).unwrap();
        }
        // the system does these in one piece
        _ => {}
    }
}

impl Runner for Mortal {
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError> {
        match command.effect() {
            Effect::Query => self.host.run(command, streams),
            Effect::Change => self.step(|| self.tear_command(command), || self.host.run(command, streams)),
        }
    }
}

impl Host for Mortal {
    fn change(&self, change: &Change) -> io::Result<()> {
        self.step(|| tear_change(change), || self.host.change(change))
    }

    fn metadata(&self, path: &BStr) -> Option<Metadata> {
        self.host.metadata(path)
    }

    fn link_metadata(&self, path: &BStr) -> Option<Metadata> {
        self.host.link_metadata(path)
    }

    fn read(&self, path: &BStr) -> io::Result<Option<BString>> {
        self.host.read(path)
    }

    fn list(&self, path: &BStr) -> io::Result<Option<Vec<BString>>> {
        self.host.list(path)
    }

    fn real_path(&self, path: &BStr) -> Option<BString> {
        self.host.real_path(path)
    }

    fn link_target(&self, path: &BStr) -> Option<BString> {
        self.host.link_target(path)
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        self.host.mounts()
    }

    fn space(&self, path: &BStr) -> Option<Space> {
        self.host.space(path)
    }

    fn file_system_magic(&self, path: &BStr) -> Option<u64> {
        self.host.file_system_magic(path)
    }

    fn is_executable(&self, path: &BStr) -> bool {
        self.host.is_executable(path)
    }

    fn kernel(&self) -> (u32, u32) {
        self.host.kernel()
    }

    fn reachable(&self, host: &str, port: u16, limit: Duration) -> bool {
        self.host.reachable(host, port, limit)
    }

    fn resolve(&self, name: &str) -> Option<IpAddr> {
        self.host.resolve(name)
    }

    fn ask_monitor(&self, connection: &CephConnection, command: &str) -> Result<Value, RemoteError> {
        self.host.ask_monitor(connection, command)
    }

    fn backup_snapshots(&self, storage: &Storage, id: Option<&BStr>) -> Result<Value, RemoteError> {
        self.host.backup_snapshots(storage, id)
    }

    fn local_epoch(&self, time: CivilTime) -> Option<i64> {
        self.host.local_epoch(time)
    }

    fn now(&self) -> i64 {
        self.host.now()
    }

    fn sleep(&self, time: Duration) {
        self.host.sleep(time);
    }

    fn process_id(&self) -> u32 {
        self.host.process_id()
    }

    fn lock_storage(&self, storage: &str, shared: bool) -> Result<Box<dyn Held + '_>, LockError> {
        self.host.lock_storage(storage, shared)
    }

    fn report(&self, event: Event) {
        self.host.report(event);
    }
}
