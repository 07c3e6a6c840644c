// SPDX-License-Identifier: MIT OR Apache-2.0
//! A file system in memory without rules and without a database: what the kernel, its FUSE and the way to a process and back cost by
//! themselves on this machine.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

const LIFETIME: Duration = Duration::from_secs(86_400);

#[derive(Default)]
struct Node {
    content: Vec<u8>,
    /// Of a directory.
    children: Option<BTreeMap<OsString, u64>>,
}

/// The file system.
pub(crate) struct Floor {
    nodes: Mutex<Nodes>,
}

struct Nodes {
    last: u64,
    by_number: HashMap<u64, Node>,
}

impl Floor {
    /// With nothing but its root.
    pub(crate) fn new() -> Self {
        let root = Node { children: Some(BTreeMap::new()), ..Node::default() };
        Self { nodes: Mutex::new(Nodes { last: 1, by_number: HashMap::from([(1, root)]) }) }
    }

    fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes {
    fn attr(&self, number: u64) -> Option<FileAttr> {
        let node = self.by_number.get(&number)?;
        let kind = if node.children.is_some() { FileType::Directory } else { FileType::RegularFile };
        Some(FileAttr {
            ino: INodeNo(number),
            size: node.content.len() as u64,
            blocks: 1,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind,
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn children(&mut self, number: u64) -> Option<&mut BTreeMap<OsString, u64>> {
        self.by_number.get_mut(&number)?.children.as_mut()
    }

    fn child(&mut self, parent: u64, name: &OsStr) -> Option<u64> {
        self.children(parent)?.get(name).copied()
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Option<FileAttr> {
        self.last += 1;
        let number = self.last;
        self.by_number.insert(number, node);
        self.children(parent)?.insert(name.to_owned(), number);
        self.attr(number)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Option<()> {
        let number = self.children(parent)?.remove(name)?;
        self.by_number.remove(&number).map(|_| ())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let number = self.children(from.0)?.remove(from.1)?;
        if let Some(replaced) = self.children(to.0)?.insert(to.1.to_owned(), number) {
            self.by_number.remove(&replaced);
        }
        Some(())
    }
}

impl Filesystem for Floor {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let mut nodes = self.nodes();
        match nodes.child(parent.0, name).and_then(|number| nodes.attr(number)) {
            Some(attr) => reply.entry(&LIFETIME, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, id: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.nodes().attr(id.0) {
            Some(attr) => reply.attr(&LIFETIME, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        id: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut nodes = self.nodes();
        if let (Some(node), Some(size)) = (nodes.by_number.get_mut(&id.0), size) {
            node.content.resize(size as usize, 0);
        }
        match nodes.attr(id.0) {
            Some(attr) => reply.attr(&LIFETIME, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let node = Node { children: Some(BTreeMap::new()), ..Node::default() };
        match self.nodes().make(parent.0, name, node) {
            Some(attr) => reply.entry(&LIFETIME, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        match self.nodes().make(parent.0, name, Node::default()) {
            Some(attr) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH;
                reply.created(&LIFETIME, &attr, Generation(0), FileHandle(0), flags);
            }
            None => reply.error(Errno::ENOENT),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        match self.nodes().remove(parent.0, name) {
            Some(()) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        match self.nodes().rename((parent.0, name), (new_parent.0, new_name)) {
            Some(()) => reply.ok(),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH);
    }

    fn read(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let nodes = self.nodes();
        let Some(node) = nodes.by_number.get(&id.0) else { return reply.error(Errno::ENOENT) };
        let rest = node.content.get(offset as usize..).unwrap_or_default();
        reply.data(rest.get(..size as usize).unwrap_or(rest));
    }

    fn write(
        &self,
        _: &Request,
        id: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut nodes = self.nodes();
        let Some(node) = nodes.by_number.get_mut(&id.0) else { return reply.error(Errno::ENOENT) };
        let start = offset as usize;
        node.content.resize(node.content.len().max(start + data.len()), 0);
        node.content[start..start + data.len()].copy_from_slice(data);
        reply.written(data.len() as u32);
    }

    fn opendir(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn readdir(&self, _: &Request, id: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let mut nodes = self.nodes();
        let Some(children) = nodes.children(id.0) else { return reply.error(Errno::ENOTDIR) };
        for (index, (name, number)) in children.iter().enumerate().skip(offset as usize) {
            if reply.add(INodeNo(*number), index as u64 + 1, FileType::RegularFile, name) {
                break;
            }
        }
        reply.ok();
    }
}
