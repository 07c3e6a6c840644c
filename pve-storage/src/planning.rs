// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dry run: a host that looks at the real one and only notes what would be changed.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::CivilTime;
use serde_json::Value;

use crate::ceph::CephConnection;
use crate::command::{Command, Effect, Exit, Output, RunError, Runner, Streams};
use crate::effect::{TreeEffect, effects};
use crate::host::{Change, Event, FileKind, Held, Host, LockError, Metadata, Mount, RemoteError, Space};
use crate::plugin::concat;
use crate::storage::Storage;

/// A step of a plan. Printed, it is a line that can be pasted into a POSIX shell.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// This command would run.
    Run(Command),
    /// This would be changed in the file system.
    Change(Change),
    /// This would be asked then; what the answer would be cannot be known before.
    Ask(Command),
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Run(command) => command.fmt(f),
            Step::Change(change) => change.fmt(f),
            Step::Ask(command) => write!(f, "# asks: {command}"),
        }
    }
}

/// A host for dry runs: questions go to another host, changes are noted and not made.
///
/// What has been noted is taken into account: a file that would have been made exists from then on, one that would
/// have been renamed has its new name, and a question about it is asked under the old one. Locks are not taken.
///
/// ```
/// use pve_storage::{MemoryHost, Output, Planning, Session, Storage, Storages};
///
/// let storages: Storages =
///     [Storage::new("vg".parse()?, "lvm").with("vgname", "vg0")].into_iter().collect();
/// let host = MemoryHost::new();
/// let plan = Planning::new(&host);
/// Session::new(&storages, &plan, "pve1").assume_active().free("vg:vm-100-disk-0".into())?;
/// assert_eq!(plan.to_string(), "/sbin/lvremove -f vg0/vm-100-disk-0\n");
/// assert!(host.commands().is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Planning<'h> {
    host: &'h dyn Host,
    steps: RefCell<Vec<Step>>,
    noted: RefCell<Vec<Noted>>,
}

/// A change that was noted, as far as paths are concerned.
#[derive(Debug)]
enum Noted {
    Made(BString, FileKind),
    Copied(BString, BString),
    Moved(BString, BString),
    Exchanged(BString, BString),
    Removed(BString),
}

/// What stands at a path once everything noted has happened.
enum Standing {
    /// What stands at this path now.
    As(BString),
    /// Something new.
    New(FileKind),
    /// Nothing.
    Nothing,
}

/// What follows `base` in a path at or below it.
fn below<'p>(path: &'p [u8], base: &[u8]) -> Option<&'p [u8]> {
    path.strip_prefix(base).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

impl<'h> Planning<'h> {
    /// A plan for this host, still empty.
    #[must_use]
    pub fn new(host: &'h dyn Host) -> Self {
        Planning { host, steps: RefCell::default(), noted: RefCell::default() }
    }

    /// What would be done, in order.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.steps.borrow().clone()
    }

    fn standing(&self, path: &[u8]) -> Standing {
        let mut path = BString::from(path);
        let mut parent_made = false;
        for noted in self.noted.borrow().iter().rev() {
            match noted {
                Noted::Made(made, kind) => {
                    if *made == path {
                        return Standing::New(*kind);
                    }
                    parent_made |= below(made, &path).is_some();
                }
                Noted::Copied(from, to) => {
                    if let Some(rest) = below(&path, to) {
                        path = concat([from, rest]);
                    }
                }
                Noted::Moved(from, to) => {
                    if let Some(rest) = below(&path, to) {
                        path = concat([from, rest]);
                    } else if below(&path, from).is_some() {
                        return Standing::Nothing;
                    }
                }
                Noted::Exchanged(one, other) => {
                    if let Some(rest) = below(&path, one) {
                        path = concat([other, rest]);
                    } else if let Some(rest) = below(&path, other) {
                        path = concat([one, rest]);
                    }
                }
                Noted::Removed(gone) => {
                    if below(&path, gone).is_some() {
                        return if parent_made {
                            Standing::New(FileKind::Directory)
                        } else {
                            Standing::Nothing
                        };
                    }
                }
            }
        }
        if parent_made && self.host.metadata(path.as_bstr()).is_none() {
            return Standing::New(FileKind::Directory);
        }
        Standing::As(path)
    }

    fn look<T>(
        &self,
        path: &BStr,
        now: impl FnOnce(&BStr) -> Option<T>,
        new: impl FnOnce(FileKind) -> Option<T>,
    ) -> Option<T> {
        match self.standing(path) {
            Standing::As(path) => now(path.as_bstr()),
            Standing::New(kind) => new(kind),
            Standing::Nothing => None,
        }
    }

    /// The question as it can be asked now: things that would be renamed have their old names still.
    fn as_of_now(&self, command: &Command) -> Option<Command> {
        let mut unknown = false;
        let asked = command.map_arguments(|arg| {
            if !arg.starts_with(b"/") {
                return None;
            }
            match self.standing(arg) {
                Standing::As(path) => (path != arg).then_some(path),
                Standing::New(_) | Standing::Nothing => {
                    unknown = true;
                    None
                }
            }
        });
        (!unknown).then_some(asked)
    }

    fn note(&self, step: Step, changes: impl IntoIterator<Item = Noted>) {
        self.steps.borrow_mut().push(step);
        self.noted.borrow_mut().extend(changes);
    }
}

fn new_metadata(kind: FileKind) -> Metadata {
    Metadata { kind, size: 0, changed: 0, inode: if kind == FileKind::Directory { 256 } else { 1 } }
}

/// The whole plan, a step a line.
impl fmt::Display for Planning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.steps.borrow().iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

impl fmt::Debug for Planning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Planning").field("steps", &self.steps.borrow()).finish_non_exhaustive()
    }
}

impl Runner for Planning<'_> {
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError> {
        if let Some(operand) = command.refused() {
            return Err(RunError::Refused { command: command.to_string(), operand: operand.to_owned() });
        }
        let silence = Output { exit: Exit::Code(0), stdout: BString::default(), stderr: BString::default() };
        if command.effect() == Effect::Change || streams.input.is_some() || streams.output.is_some() {
            let noted = effects(command).into_iter().map(|effect| match effect {
                TreeEffect::File(path) => Noted::Made(path, FileKind::File),
                TreeEffect::Directory(path, _) => Noted::Made(path, FileKind::Directory),
                TreeEffect::LogicalVolume { directory, name } => {
                    Noted::Made(concat([&directory, b"/", &name]), FileKind::Block)
                }
                TreeEffect::ZfsDevice(path) => Noted::Made(path, FileKind::Block),
                TreeEffect::Copied(from, to) => Noted::Copied(from, to),
                TreeEffect::Moved(from, to) => Noted::Moved(from, to),
                TreeEffect::Removed(path) => Noted::Removed(path),
            });
            self.note(Step::Run(command.clone()), noted);
            return Ok(silence);
        }
        let unchanged = self.steps.borrow().is_empty();
        let answer = self.as_of_now(command).map(|question| self.host.run(&question, Streams::none()));
        match answer {
            Some(Ok(output)) if unchanged || output.succeeded() => Ok(output),
            Some(Err(error)) if unchanged => Err(error),
            // it is about something that does not exist before the plan is carried out
            _ => {
                self.note(Step::Ask(command.clone()), None);
                Ok(silence)
            }
        }
    }
}

impl Host for Planning<'_> {
    fn metadata(&self, path: &BStr) -> Option<Metadata> {
        self.look(path, |path| self.host.metadata(path), |kind| Some(new_metadata(kind)))
    }

    fn link_metadata(&self, path: &BStr) -> Option<Metadata> {
        self.look(path, |path| self.host.link_metadata(path), |kind| Some(new_metadata(kind)))
    }

    fn read(&self, path: &BStr) -> io::Result<Option<BString>> {
        match self.standing(path) {
            Standing::As(path) => self.host.read(path.as_bstr()),
            _ => Ok(None),
        }
    }

    fn list(&self, path: &BStr) -> io::Result<Option<Vec<BString>>> {
        match self.standing(path) {
            Standing::As(path) => self.host.list(path.as_bstr()),
            Standing::New(FileKind::Directory) => Ok(Some(Vec::new())),
            _ => Ok(None),
        }
    }

    fn real_path(&self, path: &BStr) -> Option<BString> {
        self.look(path, |path| self.host.real_path(path), |_| Some(path.to_owned()))
    }

    fn link_target(&self, path: &BStr) -> Option<BString> {
        self.look(path, |path| self.host.link_target(path), |_| None)
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

    fn sleep(&self, _time: Duration) {}

    fn process_id(&self) -> u32 {
        self.host.process_id()
    }

    fn change(&self, change: &Change) -> io::Result<()> {
        let noted = match change {
            Change::MakeDirectories { path, .. } | Change::MakeDirectory { path, .. } => {
                Some(Noted::Made(path.clone(), FileKind::Directory))
            }
            Change::RemoveDirectory { path } | Change::RemoveTree { path } | Change::Unlink { path } => {
                Some(Noted::Removed(path.clone()))
            }
            Change::Rename { from, to } if from == to => None,
            Change::Rename { from, to } | Change::RenameNoReplace { from, to } => {
                Some(Noted::Moved(from.clone(), to.clone()))
            }
            Change::Exchange { one, other } => Some(Noted::Exchanged(one.clone(), other.clone())),
            Change::CreateSparse { path, .. } | Change::Write { path, .. } | Change::Touch { path } => {
                Some(Noted::Made(path.clone(), FileKind::File))
            }
            Change::SetMode { .. } | Change::BlankStart { .. } => None,
        };
        // an attempt that would fail is not part of the plan
        if let Change::RemoveDirectory { path } = change
            && self.would_stay(path)
        {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.note(Step::Change(change.clone()), noted);
        Ok(())
    }

    fn lock_storage(&self, _storage: &str, _shared: bool) -> Result<Box<dyn Held + '_>, LockError> {
        Ok(Box::new(NoLock))
    }

    fn is_rehearsal(&self) -> bool {
        true
    }

    fn report(&self, event: Event) {
        self.host.report(event);
    }
}

impl Planning<'_> {
    /// Whether a directory would still hold something.
    fn would_stay(&self, path: &BString) -> bool {
        let names = self.host.list(path.as_bstr()).ok().flatten().unwrap_or_default();
        let stays = |name: &BString| self.metadata(concat([path, b"/", name]).as_bstr()).is_some();
        let arrived = self.noted.borrow().iter().any(|noted| match noted {
            Noted::Made(to, _) | Noted::Copied(_, to) | Noted::Moved(_, to) => {
                below(to, path).is_some_and(|rest| !rest.is_empty()) && self.metadata(to.as_bstr()).is_some()
            }
            _ => false,
        });
        arrived || names.iter().any(stays)
    }
}

/// A plan keeps nobody out.
struct NoLock;

impl Held for NoLock {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::{MemoryHost, Node};
    use crate::{Session, Storages};

    fn storages() -> Storages {
        [
            Storage::new("dd".parse().unwrap(), "dir")
                .with("path", "/srv/d")
                .with("snapshot-as-volume-chain", "1"),
            Storage::new("vg".parse().unwrap(), "lvm")
                .with("vgname", "vg0")
                .with("snapshot-as-volume-chain", "1"),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn a_snapshot_is_planned_through_its_own_renames() {
        let storages = storages();
        let mut host = MemoryHost::new();
        host.insert("/srv/d/images/100/vm-100-disk-0.qcow2", Node::sized(1));
        let before = host.nodes();
        let plan = Planning::new(&host);
        let session = Session::new(&storages, &plan, "pve1").assume_active();
        session.create_snapshot("dd:100/vm-100-disk-0.qcow2".into(), "s1".into()).unwrap();
        session.free("dd:100/vm-100-disk-0.qcow2".into()).unwrap();
        assert_eq!(
            plan.to_string(),
            "mv -T /srv/d/images/100/vm-100-disk-0.qcow2 /srv/d/images/100/snap-s1-vm-100-disk-0.qcow2\n\
             cd /srv/d/images/100 && /usr/bin/qemu-img create -F qcow2 -b snap-s1-vm-100-disk-0.qcow2 -f qcow2 \
             /srv/d/images/100/vm-100-disk-0.qcow2 -o extended_l2=on,cluster_size=128k,preallocation=metadata\n\
             # asks: /usr/bin/qemu-img info --output=json /srv/d/images/100/vm-100-disk-0.qcow2 --backing-chain\n\
             rm /srv/d/images/100/vm-100-disk-0.qcow2\n"
        );
        assert_eq!(host.nodes(), before);
    }

    #[test]
    fn questions_use_the_old_name_of_what_would_be_renamed() {
        let storages = storages();
        let mut host = MemoryHost::new();
        host.insert("/dev/vg0/vm-100-disk-0.qcow2", Node::block());
        host.answer_containing("vgs", Output::success("  vg0:536870912000:322122547200:3\n"));
        host.answer_containing(
            "info --output=json /dev/vg0/vm-100-disk-0.qcow2",
            Output::success("{\"virtual-size\":1048576,\"actual-size\":1}"),
        );
        host.answer_containing("measure", Output::success("{\"fully-allocated\":2097152}"));
        let plan = Planning::new(&host);
        let session = Session::new(&storages, &plan, "pve1").assume_active();
        session.create_snapshot("vg:vm-100-disk-0.qcow2".into(), "s1".into()).unwrap();
        assert!(plan.to_string().contains("--size 2048k --name vm-100-disk-0.qcow2"));
        assert!(host.commands().iter().all(|command| command.effect() == Effect::Query));
    }

    #[test]
    fn an_empty_directory_goes_with_its_last_file() {
        let storages = storages();
        let mut host = MemoryHost::new();
        host.insert("/srv/d/images/100/vm-100-disk-0.raw", Node::sized(1));
        host.insert("/srv/d/images/100/vm-100-disk-1.raw", Node::sized(1));
        let plan = Planning::new(&host);
        let session = Session::new(&storages, &plan, "pve1").assume_active();
        session.free("dd:100/vm-100-disk-0.raw".into()).unwrap();
        assert_eq!(plan.steps().len(), 1);
        session.free("dd:100/vm-100-disk-1.raw".into()).unwrap();
        assert!(plan.to_string().ends_with("rmdir /srv/d/images/100\n"));
    }
}
