// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine in memory: a tree of files, answers of commands, and a record of everything that was asked of it.

mod effect;
mod tree;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{CivilTime, FixedOffset, LocalZone};
use serde_json::Value;

pub use tree::{Node, NodeKind};

use crate::ceph::CephConnection;
use crate::command::{Command, Exit, Output, RunError, Runner, Streams};
use crate::host::{Change, Event, FileKind, Held, Host, LockError, Metadata, Mount, RemoteError, Space};
use crate::storage::Storage;
use tree::Tree;

/// Something that was asked of a [`MemoryHost`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Record {
    /// A command ran.
    Ran(Command),
    /// The lock of a storage was taken, the cluster's or this machine's.
    Locked {
        /// The storage.
        storage: String,
        /// The cluster's lock.
        shared: bool,
    },
    /// The lock of a storage was given back.
    Unlocked(String),
    /// The file system was changed.
    Changed(Change),
    /// Something was reported.
    Reported(Event),
}

/// A host for tests and rehearsals: files are a tree in memory, commands get prepared answers and have a few effects
/// on the tree, time does not pass while waiting.
///
/// A command without a prepared answer succeeds and prints nothing. The n-th run of a command gets its n-th answer.
///
/// ```
/// use pve_storage::{Host, MemoryHost, Output, Session, Storage, Storages};
/// use pve_volid::VmId;
///
/// let storages: Storages = [
///     Storage::new("local-lvm".parse()?, "lvmthin").with("vgname", "pve").with("thinpool", "data"),
/// ].into_iter().collect();
/// let mut host = MemoryHost::new();
/// host.answer_containing("/sbin/vgs", Output::success("  pve:500000000000:100000000000:3\n"));
/// let session = Session::new(&storages, &host, "pve1").assume_active();
/// let volid = session.allocate("local-lvm", VmId::MIN, None, None, 1024 * 1024)?;
/// assert_eq!(volid.to_string(), "local-lvm:vm-100-disk-0");
/// let ran: Vec<String> = host.commands().iter().map(|command| command.to_string()).collect();
/// assert_eq!(ran[2], "/sbin/lvcreate -aly -V 1048576k --name vm-100-disk-0 --thinpool pve/data");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryHost {
    tree: RefCell<Tree>,
    answers: RefCell<HashMap<Vec<BString>, VecDeque<Output>>>,
    patterns: Vec<(BString, Output)>,
    records: Rc<RefCell<Vec<Record>>>,
    measures_images: bool,
    /// Devices of ZFS volumes do not appear.
    pub no_devices: bool,
    /// The mount table.
    pub mounts: Vec<Mount>,
    /// What every file system tells of its space.
    pub space: Option<Space>,
    /// The kernel's version.
    pub kernel: (u32, u32),
    /// Whether every TCP connection comes about.
    pub reachable: bool,
    /// The address of every host name.
    pub address: Option<IpAddr>,
    /// Answers of the monitors, by command.
    pub monitor: BTreeMap<String, Value>,
    /// The answer of the backup server.
    pub backups: Value,
    /// Programs that are not installed.
    pub missing_programs: Vec<BString>,
    /// The magic number of every file system.
    pub magic: u64,
    /// Seconds since 1970.
    pub clock: i64,
}

impl MemoryHost {
    /// An empty machine with a recent kernel.
    #[must_use]
    pub fn new() -> Self {
        MemoryHost { kernel: (6, 8), magic: 0x9123_683e, clock: 1_700_000_000, ..MemoryHost::default() }
    }

    /// `qemu-img info` without prepared answer tells what the tree knows of an image.
    pub fn measure_images(&mut self) {
        self.measures_images = true;
    }

    /// Puts something into the tree, with the directories above it.
    pub fn insert(&mut self, path: impl AsRef<[u8]>, node: Node) {
        self.tree.get_mut().insert(path.as_ref(), node);
    }

    /// Everything in the tree.
    #[must_use]
    pub fn nodes(&self) -> BTreeMap<BString, Node> {
        self.tree.borrow().nodes().clone()
    }

    /// Prepares the next answer to a command with exactly these arguments, program first.
    pub fn answer<A: AsRef<[u8]>>(&mut self, argv: impl IntoIterator<Item = A>, output: Output) {
        let argv = argv.into_iter().map(|arg| BString::from(arg.as_ref())).collect();
        self.answers.get_mut().entry(argv).or_default().push_back(output);
    }

    /// Prepares the answer to every command whose line contains this text and which has no answer of its own.
    pub fn answer_containing(&mut self, text: impl AsRef<[u8]>, output: Output) {
        self.patterns.push((text.as_ref().into(), output));
    }

    /// Everything that was asked, in order.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.records.borrow().clone()
    }

    /// The commands that ran, in order.
    #[must_use]
    pub fn commands(&self) -> Vec<Command> {
        let ran = |record: &Record| match record {
            Record::Ran(command) => Some(command.clone()),
            _ => None,
        };
        self.records.borrow().iter().filter_map(ran).collect()
    }

    fn record(&self, record: Record) {
        self.records.borrow_mut().push(record);
    }

    fn prepared(&self, command: &Command) -> Option<Output> {
        let argv: Vec<BString> = command.argv().map(ToOwned::to_owned).collect();
        if let Some(output) = self.answers.borrow_mut().get_mut(&argv).and_then(VecDeque::pop_front) {
            return Some(output);
        }
        let line = bstr::join(" ", command.argv());
        self.patterns.iter().find(|(text, _)| line.contains_str(text)).map(|(_, output)| output.clone())
    }
}

/// Notes the release of a lock when it is dropped.
struct MemoryLock {
    storage: String,
    records: Rc<RefCell<Vec<Record>>>,
}

impl Held for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.records.borrow_mut().push(Record::Unlocked(std::mem::take(&mut self.storage)));
    }
}

impl Runner for MemoryHost {
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError> {
        if let Some(operand) = command.refused() {
            return Err(RunError::Refused { command: command.to_string(), operand: operand.to_owned() });
        }
        self.record(Record::Ran(command.clone()));
        let prepared = self.prepared(command);
        let output = match prepared {
            Some(output) => output,
            None if self.measures_images => {
                self.tree.borrow().measure(command).unwrap_or_else(|| Output::success(""))
            }
            None => Output::success(""),
        };
        if output.exit == Exit::Code(0) {
            self.tree.borrow_mut().effect(command, self.clock, !self.no_devices);
        }
        let moved = |source| RunError::Stream { command: command.to_string(), source };
        if let Some(input) = streams.input {
            io::copy(input, &mut io::sink()).map_err(moved)?;
        }
        if let Some(sink) = streams.output {
            sink.write_all(&output.stdout).map_err(moved)?;
            return Ok(Output { stdout: BString::default(), ..output });
        }
        Ok(output)
    }
}

impl Host for MemoryHost {
    fn metadata(&self, path: &BStr) -> Option<Metadata> {
        let tree = self.tree.borrow();
        let real = tree.resolve(path)?;
        tree.metadata(real.as_bstr())
    }

    fn link_metadata(&self, path: &BStr) -> Option<Metadata> {
        let tree = self.tree.borrow();
        let at = tree.resolve_parent(path)?;
        tree.metadata(at.as_bstr())
    }

    fn read(&self, path: &BStr) -> io::Result<Option<BString>> {
        let tree = self.tree.borrow();
        Ok(tree.resolve(path).and_then(|real| tree.content(real.as_bstr())))
    }

    fn list(&self, path: &BStr) -> io::Result<Option<Vec<BString>>> {
        let tree = self.tree.borrow();
        Ok(tree.resolve(path).and_then(|real| tree.list(real.as_bstr())))
    }

    fn real_path(&self, path: &BStr) -> Option<BString> {
        self.tree.borrow().resolve(path)
    }

    fn link_target(&self, path: &BStr) -> Option<BString> {
        let tree = self.tree.borrow();
        tree.link_target(tree.resolve_parent(path)?.as_bstr())
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        Ok(self.mounts.clone())
    }

    fn space(&self, _path: &BStr) -> Option<Space> {
        self.space
    }

    fn file_system_magic(&self, _path: &BStr) -> Option<u64> {
        Some(self.magic)
    }

    fn is_executable(&self, path: &BStr) -> bool {
        !self.missing_programs.iter().any(|program| program == path)
    }

    fn kernel(&self) -> (u32, u32) {
        self.kernel
    }

    fn reachable(&self, _host: &str, _port: u16, _limit: Duration) -> bool {
        self.reachable
    }

    fn resolve(&self, name: &str) -> Option<IpAddr> {
        name.parse().ok().or(self.address)
    }

    fn ask_monitor(&self, _connection: &CephConnection, command: &str) -> Result<Value, RemoteError> {
        let answer = self.monitor.get(command).cloned();
        answer.ok_or_else(|| RemoteError(format!("no monitor answers to '{command}'")))
    }

    fn backup_snapshots(&self, _storage: &Storage, _id: Option<&BStr>) -> Result<Value, RemoteError> {
        Ok(self.backups.clone())
    }

    fn local_epoch(&self, time: CivilTime) -> Option<i64> {
        FixedOffset::UTC.epoch(time)
    }

    fn now(&self) -> i64 {
        self.clock
    }

    fn sleep(&self, _time: Duration) {}

    fn process_id(&self) -> u32 {
        4711
    }

    fn change(&self, change: &Change) -> io::Result<()> {
        self.tree.borrow_mut().change(change, self.clock)?;
        self.record(Record::Changed(change.clone()));
        Ok(())
    }

    fn lock_storage(&self, storage: &str, shared: bool) -> Result<Box<dyn Held + '_>, LockError> {
        self.record(Record::Locked { storage: storage.to_owned(), shared });
        Ok(Box::new(MemoryLock { storage: storage.to_owned(), records: Rc::clone(&self.records) }))
    }

    fn report(&self, event: Event) {
        self.record(Record::Reported(event));
    }
}

/// What an image file in memory tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ImageFile {
    /// Its format.
    pub format: String,
    /// Size that the guest sees, in bytes; `None`: as the file.
    pub virtual_size: Option<u64>,
    /// Space that it takes, in bytes; `None`: as the file.
    pub actual_size: Option<u64>,
    /// Its backing file, as stored.
    pub backing: Option<BString>,
    /// `qemu-img` fails with this text.
    pub error: Option<BString>,
    /// `qemu-img` fails without a word.
    pub silent: bool,
    /// `qemu-img` prints something that is no JSON.
    pub garbage: bool,
}

/// Whether a path is of this kind.
#[must_use]
pub(crate) fn file_kind(kind: &NodeKind) -> FileKind {
    match kind {
        NodeKind::File { .. } => FileKind::File,
        NodeKind::Directory => FileKind::Directory,
        NodeKind::Block => FileKind::Block,
        NodeKind::Link { .. } => FileKind::Link,
    }
}
