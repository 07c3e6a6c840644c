// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of the kernel, translated into operations on the [`FileSystem`], and its answers back.

mod listing;
mod request;

use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::BString;
use fuser::{FileAttr, FileHandle, FileType, FopenFlags, INodeNo};

use crate::attributes::Attributes;
use crate::engine::Event;
use crate::filesystem::{FileSystem, is_listed};
use crate::mount::Caching;
use crate::node_id::{Node, NodeIds};
use crate::path;
use crate::refusal::Refusal;
use crate::replica::Watcher;
use crate::row::Content;
use crate::schema::{BLOCK_SIZE, EntryType, MAX_FILE_SIZE};
use crate::tree::Tree;
use crate::virtual_file::VirtualFile;
use crate::virtual_text::VirtualTexts;
use listing::Listing;

/// How long the kernel may believe what it is told of when it changes.
const FOREVER: Duration = Duration::from_secs(86_400);

const NOTHING: Attributes = Attributes { mode: 0o100_000, nlink: 0, size: 0, blocks: 0, mtime: 0 };

/// What the kernel must forget.
#[derive(Debug)]
pub(crate) enum Stale {
    /// Attributes and content of a node.
    Node(u64),
    /// A name in a directory.
    Name(u64, BString),
    /// Attributes of every node.
    Everything,
    /// Nothing any more: the mount ends.
    End,
}

/// The part of a mount that both the kernel's requests and the file system's changes reach.
#[derive(Debug)]
pub(crate) struct Shared {
    files: Arc<FileSystem>,
    ids: NodeIds,
    known: Mutex<HashMap<u64, Known>>,
    stale: Sender<Stale>,
    /// Attributes of a node can be invalidated at once, since that takes no lock in the kernel.
    notifier: RwLock<Option<fuser::Notifier>>,
}

/// An entry of the tree that the kernel knows: it is open, or its name is being looked at.
#[derive(Debug, Default)]
struct Known {
    /// How often the kernel was told of it, less what it forgot.
    lookups: u64,
    /// Its content since it was deleted: who has it open, or has just found it, can go on reading and writing.
    orphan: Option<Orphan>,
}

#[derive(Debug)]
struct Orphan {
    content: Content,
    mtime: u32,
}

thread_local! {
    /// Whether this thread answers a request of the kernel, which then knows of the change itself.
    static IN_REQUEST: Cell<bool> = const { Cell::new(false) };
}

impl Shared {
    pub(crate) fn new(files: Arc<FileSystem>, stale: Sender<Stale>) -> Self {
        Self { files, ids: NodeIds::default(), known: Mutex::default(), stale, notifier: RwLock::default() }
    }

    pub(crate) fn set_notifier(&self, notifier: Option<fuser::Notifier>) {
        *self.notifier.write().unwrap_or_else(PoisonError::into_inner) = notifier;
    }

    pub(crate) fn files(&self) -> &FileSystem {
        &self.files
    }

    pub(crate) const fn ids(&self) -> &NodeIds {
        &self.ids
    }

    pub(crate) fn stop(&self) {
        self.forget_later(Stale::End);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_later(&self, stale: Stale) {
        // the receiver is gone only when the mount is
        let _ = self.stale.send(stale);
    }
}

impl Watcher for Shared {
    fn changed(&self, event: &Event) {
        let outside = !IN_REQUEST.get();
        if let Some(removed) = &event.removed {
            if let (Some(known), Some(content)) = (self.known().get_mut(&removed.inode), &removed.content) {
                let mtime = self.files.now() as u32;
                known.orphan = Some(Orphan { content: content.clone(), mtime });
            }
            if outside {
                self.forget_later(Stale::Name(self.ids.of_inode(removed.parent), removed.name.clone()));
                self.forget_later(Stale::Node(self.ids.of_inode(removed.parent)));
            }
        }
        let Some(changed) = &event.changed else { return };
        if outside {
            for (parent, name) in changed.left.iter().chain([&(changed.parent, changed.name.clone())]) {
                self.forget_later(Stale::Name(self.ids.of_inode(*parent), name.clone()));
                self.forget_later(Stale::Node(self.ids.of_inode(*parent)));
            }
            self.forget_later(Stale::Node(self.ids.of_inode(changed.inode)));
        } else if changed.left.is_some() && changed.looks_different {
            // the kernel does not expect that a rename changes the time, and perhaps the mode, of what is renamed
            let notifier = self.notifier.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(notifier) = notifier.as_ref() {
                let _ = notifier.inval_inode(INodeNo(self.ids.of_inode(changed.inode)), -1, 0);
            }
        }
    }

    fn attributes_changed(&self) {
        self.forget_later(Stale::Everything);
    }

    fn replaced(&self, before: &Tree) {
        let mut known = self.known();
        let engine = self.files.replica().engine();
        for entry in before.entries() {
            let now = engine.tree().by_inode(entry.inode());
            if now.is_none()
                && !entry.is_directory()
                && let Some(known) = known.get_mut(&entry.inode())
            {
                known.orphan = Some(Orphan { content: entry.shared_content(), mtime: entry.mtime() });
            }
        }
        for entry in before.entries().into_iter().chain(engine.tree().entries()) {
            self.forget_later(Stale::Name(self.ids.of_inode(entry.parent()), entry.name().to_owned()));
            self.forget_later(Stale::Node(self.ids.of_inode(entry.inode())));
        }
    }
}

/// A mounted [`FileSystem`] as the kernel sees it.
#[derive(Debug)]
pub(crate) struct Projection {
    shared: Arc<Shared>,
    caching: Caching,
    /// Whether the kernel is to ask before it opens a file; not if it can do without.
    opens_are_asked_for: bool,
    next_handle: AtomicU64,
    texts: VirtualTexts,
    /// Listing of each directory, as it was when reading began, by handle.
    listings: Mutex<HashMap<u64, Arc<Listing>>>,
}

/// Marks this thread as answering the kernel, until dropped.
struct InRequest;

impl InRequest {
    fn enter() -> Self {
        IN_REQUEST.set(true);
        Self
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        IN_REQUEST.set(false);
    }
}

impl Projection {
    pub(crate) fn new(shared: Arc<Shared>, caching: Caching) -> Self {
        Self {
            shared,
            caching,
            opens_are_asked_for: true,
            next_handle: AtomicU64::new(1),
            texts: VirtualTexts::default(),
            listings: Mutex::default(),
        }
    }

    fn files(&self) -> &FileSystem {
        &self.shared.files
    }

    fn node(&self, id: INodeNo) -> Result<Node, Refusal> {
        self.shared.ids.node(id.0).ok_or(Refusal::Missing)
    }

    /// The entries that the kernel knows, once a change that is on its way is known to them: an entry leaves the tree a moment before
    /// its content is kept for them.
    fn orphans(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        drop(self.files().replica().store());
        self.shared.known()
    }

    fn handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    /// Path of the directory `parent` with `name` behind it, as programs address it.
    fn path(&self, parent: INodeNo, name: &OsStr) -> Result<BString, Refusal> {
        let Node::Tree(inode) = self.node(parent)? else { return Err(Refusal::Virtual) };
        let mut path = self.files().path_of(inode).ok_or(Refusal::Missing)?;
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.as_bytes());
        Ok(path)
    }

    fn path_of(&self, node: Node) -> Result<BString, Refusal> {
        match node {
            Node::Virtual(file) => Ok(file.name().into()),
            Node::Tree(inode) => self.files().path_of(inode).ok_or(Refusal::Missing),
        }
    }

    /// How long the kernel may believe what it is told about this entry. Virtual files change by themselves, and locks are there to
    /// be looked at by everybody.
    fn lifetime(&self, path: &[u8]) -> Duration {
        match self.caching {
            Caching::Kernel if !path.starts_with(b"priv/lock") => FOREVER,
            Caching::Kernel | Caching::None => Duration::ZERO,
        }
    }

    /// Attributes of the node `id`, and how long they last.
    fn attributes(&self, id: INodeNo) -> Result<(FileAttr, Duration), Refusal> {
        let inode = match self.node(id)? {
            Node::Virtual(file) => return self.virtual_attributes(file, id.0),
            Node::Tree(inode) => inode,
        };
        let engine = self.files().replica().engine();
        let Some(entry) = engine.tree().by_inode(inode) else {
            drop(engine);
            return self.orphan_attributes(inode);
        };
        let path = entry.path().ok_or(Refusal::Missing)?;
        let found = Attributes::of_entry(entry, &path, self.files().is_quorate());
        Ok((self.file_attr(id.0, &found), self.lifetime(&path)))
    }

    /// Attributes of a virtual entry with the text that `id` stands for. The name is to be looked up again each time, since then it may
    /// lead to another text; targets of symlinks never change.
    fn virtual_attributes(&self, file: VirtualFile, id: u64) -> Result<(FileAttr, Duration), Refusal> {
        let (size, lifetime) = match file.target(self.files().node()) {
            Some(target) => (target.len(), self.lifetime(file.name().as_bytes())),
            None => (self.texts.get(id).ok_or(Refusal::Missing)?.len(), Duration::ZERO),
        };
        let found = Attributes::of_virtual(file, size as u64, self.files().is_quorate());
        Ok((self.file_attr(id, &found), lifetime))
    }

    fn orphan_attributes(&self, inode: u64) -> Result<(FileAttr, Duration), Refusal> {
        let known = self.orphans();
        let orphan = known.get(&inode).and_then(|known| known.orphan.as_ref()).ok_or(Refusal::Missing)?;
        let size = orphan.content.len() as u64;
        let blocks = size.div_ceil(u64::from(BLOCK_SIZE));
        let found = Attributes { mode: 0o100_640, nlink: 0, size, blocks, mtime: orphan.mtime };
        Ok((self.file_attr(self.shared.ids.of_inode(inode), &found), Duration::ZERO))
    }

    fn file_attr(&self, id: u64, found: &Attributes) -> FileAttr {
        let time = UNIX_EPOCH + Duration::from_secs(u64::from(found.mtime));
        let kind = if found.is_directory() {
            FileType::Directory
        } else if found.is_symlink() {
            FileType::Symlink
        } else {
            FileType::RegularFile
        };
        FileAttr {
            ino: INodeNo(id),
            size: found.size,
            blocks: found.blocks,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: UNIX_EPOCH,
            kind,
            perm: (found.mode & 0o7777) as u16,
            nlink: found.nlink,
            uid: 0,
            gid: self.files().group(),
            rdev: 0,
            blksize: BLOCK_SIZE,
            flags: 0,
        }
    }

    /// The entry `name` in the directory `parent`.
    fn look_up(&self, parent: INodeNo, name: &OsStr) -> Result<(FileAttr, Duration), Refusal> {
        let Node::Tree(directory) = self.node(parent)? else { return Err(Refusal::Missing) };
        if directory == crate::tree::ROOT
            && let Some(file) = VirtualFile::by_name(name.as_bytes())
        {
            let id = if file.is_symlink() {
                NodeIds::of_virtual(file, 0)
            } else {
                self.texts.look_up(file, self.files().text(file))
            };
            return self.virtual_attributes(file, id);
        }
        let path = self.path(parent, name)?;
        let quorate = self.files().is_quorate();
        let engine = self.files().replica().engine();
        let directory = engine.tree().by_inode(directory).ok_or(Refusal::Missing)?;
        let entry = directory.child(name.as_bytes()).ok_or(Refusal::Missing)?;
        let found = Attributes::of_entry(entry, &path, quorate);
        // counted while the tree cannot change: from here on the kernel knows the entry
        self.shared.known().entry(entry.inode()).or_default().lookups += 1;
        Ok((self.file_attr(self.shared.ids.of_inode(entry.inode()), &found), self.lifetime(&path)))
    }

    /// Says that there is no such entry, and that the kernel may believe it until told otherwise.
    fn missing(&self, parent: INodeNo, name: &OsStr, reply: fuser::ReplyEntry) {
        match self.path(parent, name).map(|path| self.lifetime(&path)) {
            // a number of 0 stands for nothing
            Ok(FOREVER) => reply.entry(&FOREVER, &self.file_attr(0, &NOTHING), fuser::Generation(0)),
            _ => reply.error(fuser::Errno::ENOENT),
        }
    }

    fn make(
        &self,
        parent: INodeNo,
        name: &OsStr,
        make: impl FnOnce(&FileSystem, &[u8]) -> Result<(), Refusal>,
    ) -> Result<(FileAttr, Duration), Refusal> {
        let _in_request = InRequest::enter();
        let path = self.path(parent, name)?;
        make(self.files(), &path)?;
        self.look_up(parent, name)
    }

    fn delete(&self, parent: INodeNo, name: &OsStr) -> Result<(), Refusal> {
        let _in_request = InRequest::enter();
        self.files().delete(&self.path(parent, name)?)
    }

    fn set_attributes(&self, node: Node, wanted: &Wanted) -> Result<(), Refusal> {
        let _in_request = InRequest::enter();
        let path = match self.path_of(node) {
            Err(Refusal::Missing) => return self.set_orphan_size(node, wanted),
            path => path?,
        };
        let files = self.files();
        if let Some(mode) = wanted.mode {
            files.set_mode(&path, mode)?;
        }
        files.set_owner(wanted.uid, wanted.gid)?;
        if let Some(size) = wanted.size {
            match node {
                Node::Tree(inode) if inode != crate::tree::ROOT => files.truncate_inode(inode, size)?,
                _ => files.truncate(&path, size)?,
            }
        }
        if let Some(mtime) = wanted.mtime {
            files.set_time(&path, mtime)?;
            if path::is_lock(&path)
                && files.attributes(&path).is_err()
                && let (Some(slash), Node::Tree(_)) = (path.iter().rposition(|byte| *byte == b'/'), node)
                && let Some(parent) =
                    files.replica().engine().tree().get(&path[..slash]).map(|parent| parent.inode())
            {
                // an expired lock was removed: the kernel asked for a new time only and still believes in it
                self.shared
                    .forget_later(Stale::Name(self.shared.ids.of_inode(parent), path[slash + 1..].into()));
            }
        }
        Ok(())
    }

    fn set_orphan_size(&self, node: Node, wanted: &Wanted) -> Result<(), Refusal> {
        let Node::Tree(inode) = node else { return Err(Refusal::Missing) };
        let mut known = self.orphans();
        let orphan = known.get_mut(&inode).and_then(|known| known.orphan.as_mut()).ok_or(Refusal::Missing)?;
        if let Some(size) = wanted.size {
            let size =
                usize::try_from(size).ok().filter(|size| *size <= MAX_FILE_SIZE).ok_or(Refusal::TooBig)?;
            let mut content = orphan.content.to_vec();
            content.resize(size, 0);
            orphan.content = content.into();
        }
        Ok(())
    }

    fn write_orphan(&self, inode: u64, offset: u64, data: &[u8]) -> Result<usize, Refusal> {
        let mut known = self.orphans();
        let orphan = known.get_mut(&inode).and_then(|known| known.orphan.as_mut()).ok_or(Refusal::Missing)?;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.checked_add(data.len()).filter(|end| *end <= MAX_FILE_SIZE).ok_or(Refusal::TooBig)?;
        let mut content = orphan.content.to_vec();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(data);
        orphan.content = content.into();
        Ok(data.len())
    }

    fn write_node(&self, node: Node, offset: u64, data: &[u8]) -> Result<usize, Refusal> {
        let _in_request = InRequest::enter();
        match node {
            Node::Virtual(file) => self.files().write(file.name().as_bytes(), offset, data),
            Node::Tree(inode) => match self.files().write_inode(inode, offset, data) {
                Err(Refusal::Missing) => self.write_orphan(inode, offset, data),
                result => result,
            },
        }
    }

    /// The content of the file `id`.
    fn content(&self, id: INodeNo) -> Result<Content, Refusal> {
        match self.node(id)? {
            Node::Virtual(_) => self.texts.get(id.0).ok_or(Refusal::Missing),
            Node::Tree(inode) => {
                if let Some(entry) = self.files().replica().engine().tree().by_inode(inode) {
                    return Ok(entry.shared_content());
                }
                let known = self.orphans();
                let orphan = known.get(&inode).and_then(|known| known.orphan.as_ref());
                orphan.map(|orphan| orphan.content.clone()).ok_or(Refusal::Missing)
            }
        }
    }

    /// What the kernel may do with a file that is open. With its caches on it is told that files need not be opened at all: it sends
    /// neither this request nor the one at the end any more, and keeps the content.
    fn open_flags(&self) -> FopenFlags {
        FopenFlags::FOPEN_NOFLUSH
            | match self.caching {
                Caching::None => FopenFlags::FOPEN_DIRECT_IO,
                Caching::Kernel => FopenFlags::FOPEN_KEEP_CACHE,
            }
    }

    fn open_node(&self, id: INodeNo) -> Result<(), Refusal> {
        match self.node(id)? {
            Node::Virtual(file) => self.files().open(file.name().as_bytes()),
            Node::Tree(inode) => {
                let exists = self.files().replica().engine().tree().by_inode(inode).is_some();
                let orphan = || self.orphans().get(&inode).is_some_and(|known| known.orphan.is_some());
                if exists || orphan() { Ok(()) } else { Err(Refusal::Missing) }
            }
        }
    }

    /// The listing that is read through `handle`, made when reading begins.
    fn listing(&self, id: INodeNo, handle: FileHandle, restart: bool) -> Result<Arc<Listing>, Refusal> {
        if !restart && let Some(listing) = lock(&self.listings).get(&handle.0) {
            return Ok(listing.clone());
        }
        let Node::Tree(inode) = self.node(id)? else { return Err(Refusal::Virtual) };
        let ids = &self.shared.ids;
        let engine = self.files().replica().engine();
        let directory = engine.tree().by_inode(inode).ok_or(Refusal::Missing)?;
        let mut listing = Listing::with_capacity(directory.child_count() + 2);
        listing.push(id.0, FileType::Directory, b".");
        listing.push(ids.of_inode(directory.parent()), FileType::Directory, b"..");
        let root = inode == crate::tree::ROOT;
        for file in VirtualFile::ALL.into_iter().filter(|_| root) {
            let kind = if file.is_symlink() { FileType::Symlink } else { FileType::RegularFile };
            listing.push(self.texts.latest(file), kind, file.name().as_bytes());
        }
        for (name, inode, kind) in directory.names().filter(|(name, ..)| is_listed(name, root)) {
            let kind = match kind {
                EntryType::Directory => FileType::Directory,
                EntryType::File => FileType::RegularFile,
            };
            listing.push(ids.of_inode(inode), kind, name);
        }
        drop(engine);
        let listing = Arc::new(listing);
        lock(&self.listings).insert(handle.0, listing.clone());
        Ok(listing)
    }
}

/// What a program wants to be set.
struct Wanted {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u64>,
    mtime: Option<u32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since the epoch, their low 32 bits, as the reference takes them.
fn seconds(time: SystemTime) -> u32 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs() as u32,
        Err(before) => {
            let before = before.duration();
            let whole = before.as_secs() as i64 + i64::from(before.subsec_nanos() > 0);
            whole.wrapping_neg() as u32
        }
    }
}
