// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of the kernel, translated into operations on the [`FileSystem`], and its answers back.

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
use crate::filesystem::{EntryKind, FileSystem};
use crate::mount::Caching;
use crate::node_id::{Node, NodeIds};
use crate::path;
use crate::refusal::Refusal;
use crate::replica::Watcher;
use crate::row::Content;
use crate::schema::{BLOCK_SIZE, MAX_FILE_SIZE};
use crate::virtual_file::VirtualFile;

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
        } else if changed.left.is_some() {
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
}

/// A mounted [`FileSystem`] as the kernel sees it.
#[derive(Debug)]
pub(crate) struct Projection {
    shared: Arc<Shared>,
    caching: Caching,
    next_handle: AtomicU64,
    /// Text of each virtual file, as it was when it was opened, by handle.
    texts: Mutex<HashMap<u64, Content>>,
    /// Listing of each directory, as it was when reading began, by handle.
    listings: Mutex<HashMap<u64, Arc<Vec<Listed>>>>,
}

#[derive(Debug)]
struct Listed {
    id: u64,
    kind: FileType,
    name: BString,
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
            next_handle: AtomicU64::new(1),
            texts: Mutex::default(),
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
    fn lifetime(&self, node: Node, path: &[u8]) -> Duration {
        match (self.caching, node) {
            (Caching::None, _) | (_, Node::Virtual(_)) => Duration::ZERO,
            (Caching::Kernel, Node::Tree(_)) if path.starts_with(b"priv/lock") => Duration::ZERO,
            (Caching::Kernel, Node::Tree(_)) => Duration::from_secs(86_400),
        }
    }

    /// Attributes of `node`, and how long they last.
    fn attributes(&self, node: Node) -> Result<(FileAttr, Duration), Refusal> {
        let path = match self.path_of(node) {
            Err(Refusal::Missing) => return self.orphan_attributes(node),
            path => path?,
        };
        let found = self.files().attributes(&path)?;
        Ok((self.file_attr(self.id(node), &found), self.lifetime(node, &path)))
    }

    fn orphan_attributes(&self, node: Node) -> Result<(FileAttr, Duration), Refusal> {
        let Node::Tree(inode) = node else { return Err(Refusal::Missing) };
        let known = self.orphans();
        let orphan = known.get(&inode).and_then(|known| known.orphan.as_ref()).ok_or(Refusal::Missing)?;
        let size = orphan.content.len() as u64;
        let blocks = size.div_ceil(u64::from(BLOCK_SIZE));
        let found = Attributes { mode: 0o100_640, nlink: 0, size, blocks, mtime: orphan.mtime };
        Ok((self.file_attr(self.id(node), &found), Duration::ZERO))
    }

    fn id(&self, node: Node) -> u64 {
        match node {
            Node::Tree(inode) => self.shared.ids.of_inode(inode),
            Node::Virtual(file) => NodeIds::of_virtual(file),
        }
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
            return self.attributes(Node::Virtual(file));
        }
        let path = self.path(parent, name)?;
        let quorate = self.files().is_quorate();
        let engine = self.files().replica().engine();
        let directory = engine.tree().by_inode(directory).ok_or(Refusal::Missing)?;
        let entry = directory.child(name.as_bytes()).ok_or(Refusal::Missing)?;
        let found = Attributes::of_entry(entry, &path, quorate);
        let node = Node::Tree(entry.inode());
        // counted while the tree cannot change: from here on the kernel knows the entry
        self.shared.known().entry(entry.inode()).or_default().lookups += 1;
        Ok((self.file_attr(self.id(node), &found), self.lifetime(node, &path)))
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

    /// The content of a file that is open as `handle`.
    fn content(&self, node: Node, handle: FileHandle) -> Result<Content, Refusal> {
        match node {
            Node::Virtual(_) => lock(&self.texts).get(&handle.0).cloned().ok_or(Refusal::Missing),
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

    fn open_node(&self, node: Node) -> Result<(FileHandle, FopenFlags), Refusal> {
        match node {
            Node::Virtual(file) => {
                self.files().open(file.name().as_bytes())?;
                let handle = self.handle();
                lock(&self.texts).insert(handle, self.files().text(file).into());
                Ok((FileHandle(handle), FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_NOFLUSH))
            }
            Node::Tree(inode) => {
                let exists = self.files().replica().engine().tree().by_inode(inode).is_some();
                if exists || self.orphans().get(&inode).is_some_and(|known| known.orphan.is_some()) {
                    Ok((FileHandle(0), self.open_flags()))
                } else {
                    Err(Refusal::Missing)
                }
            }
        }
    }

    fn open_flags(&self) -> FopenFlags {
        FopenFlags::FOPEN_NOFLUSH
            | match self.caching {
                Caching::None => FopenFlags::FOPEN_DIRECT_IO,
                Caching::Kernel => FopenFlags::FOPEN_KEEP_CACHE,
            }
    }

    /// The listing that is read through `handle`, made when reading begins.
    fn listing(&self, id: INodeNo, handle: FileHandle, restart: bool) -> Result<Arc<Vec<Listed>>, Refusal> {
        if !restart && let Some(listing) = lock(&self.listings).get(&handle.0) {
            return Ok(listing.clone());
        }
        let Node::Tree(inode) = self.node(id)? else { return Err(Refusal::Virtual) };
        let path = self.files().path_of(inode).ok_or(Refusal::Missing)?;
        let entries = self.files().read_directory(&path)?;
        let engine = self.files().replica().engine();
        let directory = engine.tree().by_inode(inode).ok_or(Refusal::Missing)?;
        let parent = self.shared.ids.of_inode(directory.parent());
        let mut listing = Vec::with_capacity(entries.len() + 2);
        listing.push(Listed { id: id.0, kind: FileType::Directory, name: ".".into() });
        listing.push(Listed { id: parent, kind: FileType::Directory, name: "..".into() });
        for entry in entries {
            let (id, kind) = match entry.kind {
                EntryKind::Virtual(file) if file.is_symlink() => {
                    (NodeIds::of_virtual(file), FileType::Symlink)
                }
                EntryKind::Virtual(file) => (NodeIds::of_virtual(file), FileType::RegularFile),
                EntryKind::Directory | EntryKind::File => {
                    // gone since the entries were listed
                    let Some(child) = directory.child(&entry.name) else { continue };
                    let kind = if child.is_directory() { FileType::Directory } else { FileType::RegularFile };
                    (self.shared.ids.of_inode(child.inode()), kind)
                }
            };
            listing.push(Listed { id, kind, name: entry.name });
        }
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
