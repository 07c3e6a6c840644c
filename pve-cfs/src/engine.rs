// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rules of change: whether an operation is allowed, what it changes in the database, and what it leaves in memory.
//!
//! An operation goes three steps: [`Engine::plan`] checks the rules and describes the change, the database takes the change as one
//! transaction, [`Engine::apply`] brings it into memory. So nothing is in memory that the database does not have.

use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};

use crate::checksum;
use crate::guest::{Conflicts, GuestList, GuestPath};
use crate::load::Loaded;
use crate::lock::{LOCK_DIRECTORY, LockTable};
use crate::observed::Observed;
use crate::operation::{Fidelity, Operation, Origin};
use crate::path;
use crate::refusal::Refusal;
use crate::row::{Content, Row};
use crate::schema::{EntryType, MAX_FILE_SIZE};
use crate::tree::{Body, Child, Entry, Node, ROOT, Tree};

/// The tree with everything that is kept beside it.
#[derive(Debug, Clone)]
pub struct Engine {
    tree: Tree,
    guests: GuestList,
    locks: LockTable,
    observed: Observed,
    fidelity: Fidelity,
    failed: bool,
}

/// What an operation changes: the rows of one transaction.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The new version of the tree.
    pub version: u64,
    /// Writer that the version row gets.
    pub writer: u32,
    /// Time that the version row gets.
    pub mtime: u32,
    /// Inode whose row is deleted first.
    pub removed: Option<u64>,
    /// Row that is inserted or replaced.
    pub put: Option<Row>,
    operation: Operation<'a>,
    /// Size that an empty file pretends to have, with the reference's defect.
    grown: u32,
}

/// What an applied change did to the tree.
#[derive(Debug, Clone)]
pub struct Event {
    /// The entry that is gone.
    pub removed: Option<Removed>,
    /// The entry that is new, changed or elsewhere.
    pub changed: Option<Changed>,
}

/// An entry that was deleted or replaced.
#[derive(Debug, Clone)]
pub struct Removed {
    /// Its inode.
    pub inode: u64,
    /// Inode of the directory that it was in.
    pub parent: u64,
    /// The name that it had.
    pub name: BString,
    /// Its last content; `None` for a directory.
    pub content: Option<Content>,
}

/// An entry that was made or changed.
#[derive(Debug, Clone)]
pub struct Changed {
    /// Its inode.
    pub inode: u64,
    /// Inode of its directory.
    pub parent: u64,
    /// Its name.
    pub name: BString,
    /// Directory and name that it had before, if it was moved.
    pub left: Option<(u64, BString)>,
    /// A rename gave it another time, or permission bits that it did not have where it was. Always `true` for other changes.
    pub looks_different: bool,
}

/// A tree that had to give way to another.
pub(crate) struct Replaced {
    /// The tree as it was.
    pub(crate) before: Tree,
    /// The other tree has guests with the same id, or files in the place of their directories.
    pub(crate) has_conflicts: bool,
}

impl Engine {
    /// The state after loading; `now` is the age of all locks.
    pub fn new(loaded: Loaded, fidelity: Fidelity, now: u64) -> Self {
        let mut observed = Observed::default();
        observed.count_all();
        let locks = LockTable::of(&loaded.tree, now);
        Self { tree: loaded.tree, guests: loaded.guests, locks, observed, fidelity, failed: false }
    }

    /// The tree.
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The guests of all nodes.
    pub const fn guests(&self) -> &GuestList {
        &self.guests
    }

    /// The counters of the observed files.
    pub const fn observed(&self) -> &Observed {
        &self.observed
    }

    /// Whether the error flag is set: memory and database, or this node and others, may differ, and nothing is changed any more.
    pub const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Sets the error flag.
    pub fn fail(&mut self) {
        self.failed = true;
    }

    /// Whether the lock at `path` is old enough to be taken; `None` if there is no such directory.
    pub fn lock_expired(&mut self, path: &[u8], now: u64) -> Option<bool> {
        let entry = self.tree.get(path).filter(|entry| path::is_lock(path) && entry.is_directory())?;
        let checksum = checksum::entry_checksum(entry);
        Some(self.locks.is_expired(path, &checksum, now))
    }

    /// Checks `operation` against the rules and describes the change; nothing is changed.
    ///
    /// # Errors
    /// The first rule that the reference would refuse it by (spec: pmxcfs, "Operations of the daemon").
    pub fn plan<'a>(&self, operation: &Operation<'a>, origin: Origin) -> Result<Change<'a>, Refusal> {
        if self.failed {
            return Err(Refusal::Failed);
        }
        let mut change = Change {
            version: self.tree.version().wrapping_add(1),
            writer: origin.writer,
            mtime: origin.time,
            removed: None,
            put: None,
            operation: *operation,
            grown: 0,
        };
        match *operation {
            Operation::MakeDirectory { path } => self.plan_new(path, EntryType::Directory, &mut change)?,
            Operation::Create { path } => self.plan_new(path, EntryType::File, &mut change)?,
            Operation::Write { path, offset, data, truncate } => {
                self.plan_write(path, offset, data, truncate, &mut change)?;
            }
            Operation::Delete { path } => {
                let entry = self.tree.get(path).ok_or(Refusal::Missing)?;
                refuse_root(entry)?;
                if entry.child_count() > 0 {
                    return Err(Refusal::NotEmpty);
                }
                change.removed = Some(entry.inode());
            }
            Operation::Rename { from, to } => self.plan_rename(from, to, &mut change)?,
            Operation::SetTime { path, mtime } => self.plan_set_time(path, mtime, &mut change)?,
        }
        Ok(change)
    }

    fn plan_new(&self, path: &[u8], kind: EntryType, change: &mut Change<'_>) -> Result<(), Refusal> {
        let (parent, name) = self.place(path)?;
        if kind == EntryType::File {
            self.refuse_taken_vmid(path)?;
        }
        match parent.child(name) {
            Some(entry) if kind == EntryType::File && entry.is_directory() => {
                return Err(Refusal::IsDirectory);
            }
            Some(_) => return Err(Refusal::Exists),
            None => {}
        }
        if self.tree.by_inode(change.version).is_some() {
            return Err(Refusal::InodeTaken { inode: change.version });
        }
        change.put = Some(Row {
            inode: change.version,
            parent: parent.inode(),
            version: change.version,
            writer: change.writer,
            mtime: change.mtime,
            kind: kind as u8,
            name: name.to_owned(),
            data: None,
        });
        Ok(())
    }

    fn plan_write(
        &self,
        path: &[u8],
        offset: u64,
        data: &[u8],
        truncate: bool,
        change: &mut Change<'_>,
    ) -> Result<(), Refusal> {
        let end = offset.saturating_add(data.len() as u64);
        if end > MAX_FILE_SIZE as u64 {
            return Err(Refusal::TooBig);
        }
        let (parent, name) = self.place(path)?;
        self.refuse_taken_vmid(path)?;
        let entry = parent.child(name).ok_or(Refusal::Missing)?;
        if entry.is_directory() {
            return Err(Refusal::IsDirectory);
        }
        let exact = self.fidelity == Fidelity::Exact;
        let content = if exact && truncate && data.is_empty() && entry.content().is_empty() {
            change.grown = end as u32;
            Content::default()
        } else {
            written(entry, offset as usize, data, truncate)
        };
        change.put = Some(self.changed_row(entry, change, Some(content)));
        Ok(())
    }

    fn plan_rename(&self, from: &[u8], to: &[u8], change: &mut Change<'_>) -> Result<(), Refusal> {
        let entry = self.tree.get(from).ok_or(Refusal::Missing)?;
        refuse_root(entry)?;
        if !entry.is_directory()
            && let Some(target) = GuestPath::parse(to)
            && GuestPath::parse(from).is_none_or(|source| source.vmid != target.vmid)
        {
            self.refuse_taken_vmid(to)?;
        }
        if entry.is_directory() && path::is_lock(from) {
            return Err(Refusal::RenameLock);
        }
        let (directory, name) = path::split(to);
        let parent = self.tree.get(directory);
        let replaced = parent.and_then(|parent| parent.child(name));
        if let Some(replaced) = replaced {
            if replaced.inode() == entry.inode() {
                return Err(Refusal::RenameBelowItself);
            }
            if replaced.child_count() > 0 {
                return Err(Refusal::NotEmpty);
            }
            change.removed = Some(replaced.inode());
        }
        let parent = parent.ok_or(Refusal::ParentMissing)?;
        if !parent.is_directory() {
            return Err(Refusal::ParentIsFile);
        }
        refuse_dots(name)?;
        if self.lies_below(parent, entry) {
            return Err(Refusal::RenameBelowItself);
        }
        if entry.child_count() > 0 {
            return Err(Refusal::RenameNotEmpty);
        }
        let row = self.changed_row(entry, change, None);
        change.put = Some(Row { parent: parent.inode(), name: name.to_owned(), ..row });
        change.grown = grown(entry);
        Ok(())
    }

    fn plan_set_time(&self, path: &[u8], mtime: u32, change: &mut Change<'_>) -> Result<(), Refusal> {
        let (parent, name) = self.place(path)?;
        let entry = parent.child(name).ok_or(Refusal::Missing)?;
        if is_lock_entry(path) && entry.is_directory() {
            if mtime < entry.mtime() {
                return Err(Refusal::LockTime);
            }
            if entry.writer() != change.writer {
                return Err(Refusal::LockOwner { owner: entry.writer() });
            }
        }
        // the version row gets the time that was asked for, too, not that of the change
        change.mtime = mtime;
        change.put = Some(self.changed_row(entry, change, None));
        change.grown = grown(entry);
        Ok(())
    }

    /// The row of `entry` after `change`, with `content` or its own.
    fn changed_row(&self, entry: Entry<'_>, change: &Change<'_>, content: Option<Content>) -> Row {
        let data = if entry.is_directory() {
            // NULL after it was made, an empty blob after any other change (spec: pmxcfs, "Data base")
            Some(Content::default())
        } else {
            Some(content.unwrap_or_else(|| entry.shared_content())).filter(|content| !content.is_empty())
        };
        Row {
            inode: entry.inode(),
            parent: entry.parent(),
            version: change.version,
            writer: change.writer,
            mtime: change.mtime,
            kind: entry.entry_type() as u8,
            name: entry.name().to_owned(),
            data,
        }
    }

    /// Directory and name for an operation on `path`.
    fn place<'p>(&self, path: &'p [u8]) -> Result<(Entry<'_>, &'p BStr), Refusal> {
        let (directory, name) = path::split(path);
        let parent = self.tree.get(directory).ok_or(Refusal::ParentMissing)?;
        if !parent.is_directory() {
            return Err(Refusal::ParentIsFile);
        }
        refuse_dots(name)?;
        Ok((parent, name))
    }

    fn refuse_taken_vmid(&self, path: &[u8]) -> Result<(), Refusal> {
        let Some(path) = GuestPath::parse(path) else { return Ok(()) };
        match self.guests.conflict(&path) {
            Some(guest) => {
                Err(Refusal::VmidTaken { vmid: path.vmid, node: guest.node.clone(), kind: guest.kind })
            }
            None => Ok(()),
        }
    }

    /// Whether `entry` is `above` or lies below it.
    fn lies_below(&self, entry: Entry<'_>, above: Entry<'_>) -> bool {
        let mut at = Some(entry);
        // `entry` was found by its path, so its parents end at the root
        while let Some(directory) = at {
            if directory.inode() == above.inode() {
                return true;
            }
            at = (directory.inode() != ROOT).then(|| self.tree.by_inode(directory.parent())).flatten();
        }
        false
    }

    /// Brings a planned change, which the database has taken, into memory, and says what is where now.
    pub fn apply(&mut self, change: &Change<'_>, now: u64) -> Event {
        // only one change is planned at a time; a second plan for the same version must not be applied over the first
        debug_assert_eq!(change.version, self.tree.version().wrapping_add(1));
        let removed_directory = change
            .removed
            .and_then(|inode| self.tree.by_inode(inode))
            .is_some_and(|entry| entry.is_directory());
        let moved_file = matches!(change.operation, Operation::Rename { .. })
            && change.put.as_ref().is_some_and(|row| row.kind == EntryType::File as u8);
        let removed = change.removed.and_then(|inode| self.tree.remove(inode)).map(|node| Removed {
            inode: node.inode,
            parent: node.parent,
            name: node.name,
            content: match node.body {
                Body::File { content, .. } => Some(content),
                Body::Directory(_) => None,
            },
        });
        let changed = change.put.as_ref().map(|row| Changed {
            inode: row.inode,
            parent: row.parent,
            name: row.name.clone(),
            looks_different: self.looks_different(change.operation, row),
            left: self.tree.put(row, change.grown),
        });
        self.tree.set_version(change.version, change.writer, change.mtime);
        match change.operation {
            Operation::MakeDirectory { path } => self.renew_lock(path, now),
            Operation::Create { path } | Operation::Write { path, .. } => {
                self.observed.count(path);
                if let Some(guest) = GuestPath::parse(path) {
                    self.guests.enter(&guest);
                }
            }
            Operation::Delete { path } => {
                self.observed.count(path);
                if removed_directory {
                    self.locks.remove(path);
                }
                if let Some(guest) = GuestPath::parse(path)
                    && (!removed_directory || self.fidelity == Fidelity::Exact)
                {
                    self.guests.remove(guest.vmid);
                }
            }
            Operation::Rename { from, to } => {
                self.count_rename(from, to);
                if moved_file {
                    if let Some(guest) = GuestPath::parse(from) {
                        self.guests.remove(guest.vmid);
                    }
                    if let Some(guest) = GuestPath::parse(to) {
                        self.guests.enter(&guest);
                    }
                }
            }
            Operation::SetTime { path, .. } => {
                self.observed.count(path);
                self.renew_lock(path, now);
            }
        }
        Event { removed, changed }
    }

    /// Whether time or permission bits of the entry change with its row.
    fn looks_different(&self, operation: Operation<'_>, row: &Row) -> bool {
        let (Operation::Rename { from, to }, Some(before)) = (operation, self.tree.by_inode(row.inode))
        else {
            return true;
        };
        before.mtime() != row.mtime
            || path::is_private(from) != path::is_private(to)
            || path::is_openvz_script(before.name()) != path::is_openvz_script(&row.name)
    }

    /// Puts another tree in the place of this one; the guests and locks follow.
    pub(crate) fn replace(&mut self, tree: Tree, now: u64) -> Replaced {
        let before = std::mem::replace(&mut self.tree, tree);
        self.observed.count_all();
        let has_conflicts = self.guests.rebuild(&self.tree) != Conflicts::default();
        self.failed |= has_conflicts;
        self.locks = LockTable::of(&self.tree, now);
        Replaced { before, has_conflicts }
    }

    /// What a rename leaves behind although its last check refused it: it is counted, and with the reference's defect what was in
    /// the place is gone from memory.
    pub(crate) fn note_refused_rename(&mut self, from: &[u8], to: &[u8]) {
        self.count_rename(from, to);
        if self.fidelity == Fidelity::Exact
            && let Some(lost) = self.tree.get(to).map(|entry| entry.inode())
        {
            self.tree.remove(lost);
        }
    }

    fn count_rename(&mut self, from: &[u8], to: &[u8]) {
        self.observed.count(from);
        self.observed.count(to);
    }

    fn renew_lock(&mut self, path: &[u8], now: u64) {
        if is_lock_entry(path)
            && let Some(entry) = self.tree.get(path).filter(|entry| entry.is_directory())
        {
            self.locks.set(path, checksum::entry_checksum(entry), now);
        }
    }
}

/// Whether `path` lies directly in the directory of locks.
fn is_lock_entry(path: &[u8]) -> bool {
    path::split(path).0 == LOCK_DIRECTORY
}

fn refuse_root(entry: Entry<'_>) -> Result<(), Refusal> {
    if entry.inode() == ROOT { Err(Refusal::Root) } else { Ok(()) }
}

fn refuse_dots(name: &BStr) -> Result<(), Refusal> {
    if name == "." || name == ".." { Err(Refusal::DotName) } else { Ok(()) }
}

/// Size that an empty file pretends to have.
fn grown(entry: Entry<'_>) -> u32 {
    match entry.node().body {
        Body::File { grown, .. } => grown,
        Body::Directory(_) => 0,
    }
}

/// The content of `entry` after a write. The end is within the limit already.
fn written(entry: Entry<'_>, offset: usize, data: &[u8], truncate: bool) -> Content {
    let old = entry.content();
    let end = offset + data.len();
    if data.is_empty() && (if truncate { old.len() == end } else { old.len() >= end }) {
        return entry.shared_content();
    }
    if offset == 0 && (truncate || end >= old.len()) {
        return Arc::from(data);
    }
    let size = if truncate { end } else { old.len().max(end) };
    let mut new = Vec::with_capacity(size);
    new.extend_from_slice(old.get(..offset).unwrap_or(old));
    new.resize(offset, 0);
    new.extend_from_slice(data);
    if !truncate {
        new.extend_from_slice(old.get(end..).unwrap_or_default());
    }
    Arc::from(new)
}

impl Tree {
    /// Takes the entry from its directory and from the tree.
    fn remove(&mut self, inode: u64) -> Option<Node> {
        let node = self.entries.remove(&inode)?;
        self.bytes -= node.body.size();
        self.unlink(node.parent, node.name.as_bstr(), inode);
        Some(node)
    }

    fn unlink(&mut self, parent: u64, name: &BStr, inode: u64) {
        if let Some(Node { body: Body::Directory(children), .. }) = self.entries.get_mut(&parent)
            && children.get(name).is_some_and(|child| child.inode == inode)
        {
            children.remove(name);
        }
    }

    /// Enters or changes the entry as `row` says; the directory and name that it had, if it has others now.
    fn put(&mut self, row: &Row, grown: u32) -> Option<(u64, BString)> {
        let content = row.data.clone().unwrap_or_default();
        let file = Body::File { content, grown };
        let (old_place, body) = match self.entries.remove(&row.inode) {
            Some(node) => {
                self.bytes -= node.body.size();
                let moved = node.parent != row.parent || node.name != row.name;
                let body = if let Body::Directory(_) = node.body { node.body } else { file };
                (moved.then_some((node.parent, node.name)), body)
            }
            None if row.kind == EntryType::Directory as u8 => (None, Body::directory()),
            None => (None, file),
        };
        if let Some((parent, name)) = &old_place {
            self.unlink(*parent, name.as_bstr(), row.inode);
        }
        self.bytes += body.size();
        let child = Child { inode: row.inode, kind: body.kind() };
        if let Some(Node { body: Body::Directory(children), .. }) = self.entries.get_mut(&row.parent)
            && children.get(&row.name) != Some(&child)
        {
            children.insert(row.name.clone(), child);
        }
        let node = Node {
            inode: row.inode,
            parent: row.parent,
            version: row.version,
            writer: row.writer,
            mtime: row.mtime,
            name: row.name.clone(),
            body,
        };
        self.entries.insert(row.inode, node);
        old_place
    }

    pub(crate) fn set_version(&mut self, version: u64, writer: u32, mtime: u32) {
        if let Some(root) = self.entries.get_mut(&ROOT) {
            (root.version, root.writer, root.mtime) = (version, writer, mtime);
        }
    }
}
