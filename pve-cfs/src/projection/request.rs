// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's requests as fuser hands them over: each is taken apart, given to the [`Projection`] and answered.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    Errno, FileHandle, FopenFlags, Generation, INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::{InRequest, Projection, Wanted, lock, seconds};
use crate::filesystem::FileSystem;
use crate::mount::Caching;
use crate::node_id::Node;
use crate::refusal::Refusal;

/// The error for a node that the kernel found by its name a moment ago: where it is gone, the kernel looks the name up again and
/// finds what took its place, instead of telling the program that there is nothing.
fn errno_of_node(refusal: &Refusal) -> Errno {
    if matches!(refusal, Refusal::Missing) { Errno::ESTALE } else { errno(refusal) }
}

fn errno(refusal: &Refusal) -> Errno {
    Errno::from_i32(refusal.errno() as i32)
}

impl fuser::Filesystem for Projection {
    fn init(&mut self, _request: &Request, config: &mut fuser::KernelConfig) -> std::io::Result<()> {
        // as the reference: a greater write arrives as several changes
        let _ = config.set_max_write(131_072);
        // lookups and listings of one directory need not wait for each other
        let _ = config.add_capabilities(fuser::InitFlags::FUSE_PARALLEL_DIROPS);
        if self.caching == Caching::Kernel {
            let _ = config.add_capabilities(fuser::InitFlags::FUSE_CACHE_SYMLINKS);
            let no_open = fuser::InitFlags::FUSE_NO_OPEN_SUPPORT;
            self.opens_are_asked_for = !config.capabilities().contains(no_open);
        }
        Ok(())
    }

    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.look_up(parent, name) {
            Ok((attr, lifetime)) => reply.entry(&lifetime, &attr, Generation(0)),
            Err(Refusal::Missing) => self.missing(parent, name, reply),
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn forget(&self, _request: &Request, id: INodeNo, lookups: u64) {
        let inode = match self.node(id) {
            Ok(Node::Tree(inode)) => inode,
            Ok(Node::Virtual(_)) => return self.texts.forget(id.0, lookups),
            Err(_) => return,
        };
        let mut known = self.shared.known();
        if let Some(entry) = known.get_mut(&inode) {
            entry.lookups = entry.lookups.saturating_sub(lookups);
            if entry.lookups == 0 {
                known.remove(&inode);
            }
        }
    }

    fn getattr(&self, _request: &Request, id: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(id) {
            Ok((attr, lifetime)) => reply.attr(&lifetime, &attr),
            Err(refusal) => reply.error(errno_of_node(&refusal)),
        }
    }

    fn setattr(
        &self,
        _request: &Request,
        id: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mtime = mtime.map(|mtime| match mtime {
            TimeOrNow::SpecificTime(time) => seconds(time),
            TimeOrNow::Now => self.files().now() as u32,
        });
        let wanted = Wanted { mode, uid, gid, size, mtime };
        let set = self.node(id).and_then(|node| self.set_attributes(node, &wanted));
        match set.map(|()| self.attributes(id)) {
            Ok(Ok((attr, lifetime))) => reply.attr(&lifetime, &attr),
            // set, and gone by that: an expired lock
            Ok(Err(refusal)) => reply.error(errno(&refusal)),
            Err(refusal) => reply.error(errno_of_node(&refusal)),
        }
    }

    fn readlink(&self, _request: &Request, id: INodeNo, reply: ReplyData) {
        let target = self.node(id).and_then(|node| self.files().read_link(&self.path_of(node)?));
        match target {
            Ok(target) => reply.data(target.as_bytes()),
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn mknod(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _rdev: u32,
        reply: ReplyEntry,
    ) {
        const TYPE: u32 = 0o170_000;
        if ![0, 0o100_000].contains(&(mode & TYPE)) {
            reply.error(Errno::ENOSYS);
            return;
        }
        match self.make(parent, name, FileSystem::create) {
            Ok((attr, lifetime)) => reply.entry(&lifetime, &attr, Generation(0)),
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn mkdir(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        match self.make(parent, name, FileSystem::make_directory) {
            Ok((attr, lifetime)) => reply.entry(&lifetime, &attr, Generation(0)),
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn create(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(parent, name, FileSystem::create) {
            Ok((attr, lifetime)) => {
                reply.created(&lifetime, &attr, Generation(0), FileHandle(0), self.open_flags());
            }
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn unlink(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        finish(self.delete(parent, name), reply);
    }

    fn rmdir(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        finish(self.delete(parent, name), reply);
    }

    fn symlink(
        &self,
        _request: &Request,
        _parent: INodeNo,
        _name: &OsStr,
        _target: &Path,
        reply: ReplyEntry,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn link(&self, _request: &Request, _id: INodeNo, _parent: INodeNo, _name: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn rename(
        &self,
        _request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        if !flags.is_empty() {
            reply.error(Errno::EINVAL);
            return;
        }
        let _in_request = InRequest::enter();
        let result = self
            .path(parent, name)
            .and_then(|from| self.files().rename(&from, &self.path(new_parent, new_name)?));
        finish(result, reply);
    }

    fn open(&self, _request: &Request, id: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        match self.open_node(id) {
            Ok(()) if self.opens_are_asked_for => reply.opened(FileHandle(0), self.open_flags()),
            Ok(()) => reply.error(Errno::ENOSYS),
            Err(refusal) => reply.error(errno_of_node(&refusal)),
        }
    }

    fn read(
        &self,
        _request: &Request,
        id: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.content(id) {
            Ok(content) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
                let end = start.saturating_add(size as usize).min(content.len());
                reply.data(&content[start..end]);
            }
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn write(
        &self,
        _request: &Request,
        id: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.node(id).and_then(|node| self.write_node(node, offset, data)) {
            Ok(count) => reply.written(count as u32),
            Err(refusal) => reply.error(errno(&refusal)),
        }
    }

    fn flush(
        &self,
        _request: &Request,
        _id: INodeNo,
        _handle: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _request: &Request,
        _id: INodeNo,
        _handle: FileHandle,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(&self, _request: &Request, _id: INodeNo, _handle: FileHandle, _data: bool, reply: ReplyEmpty) {
        // the kernel takes this as success and asks no more; what a commit means for the disk is up to the store
        reply.error(Errno::ENOSYS);
    }

    fn fsyncdir(
        &self,
        _request: &Request,
        _id: INodeNo,
        _handle: FileHandle,
        _data: bool,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn opendir(&self, _request: &Request, _id: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let flags = match self.caching {
            Caching::None => FopenFlags::empty(),
            Caching::Kernel => FopenFlags::FOPEN_CACHE_DIR | FopenFlags::FOPEN_KEEP_CACHE,
        };
        reply.opened(FileHandle(self.handle()), flags);
    }

    fn readdir(
        &self,
        _request: &Request,
        id: INodeNo,
        handle: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listing = match self.listing(id, handle, offset == 0) {
            Ok(listing) => listing,
            Err(refusal) => {
                reply.error(errno(&refusal));
                return;
            }
        };
        for (index, entry) in listing.from(offset) {
            if reply.add(INodeNo(entry.id), index + 1, entry.kind, OsStr::from_bytes(entry.name)) {
                break;
            }
        }
        reply.ok();
    }

    fn releasedir(
        &self,
        _request: &Request,
        _id: INodeNo,
        handle: FileHandle,
        _flags: OpenFlags,
        reply: ReplyEmpty,
    ) {
        lock(&self.listings).remove(&handle.0);
        reply.ok();
    }

    fn statfs(&self, _request: &Request, _id: INodeNo, reply: ReplyStatfs) {
        let found = self.files().statistics();
        let (free, size) = (found.free_blocks, found.block_size);
        reply.statfs(
            found.blocks,
            free,
            free,
            found.inodes,
            found.free_inodes,
            size,
            found.name_length,
            size,
        );
    }

    fn getxattr(&self, _request: &Request, _id: INodeNo, _name: &OsStr, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn setxattr(
        &self,
        _request: &Request,
        _id: INodeNo,
        _name: &OsStr,
        _value: &[u8],
        _flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _request: &Request, _id: INodeNo, _size: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _request: &Request, _id: INodeNo, _name: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }
}

fn finish(result: Result<(), Refusal>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(errno(&refusal)),
    }
}
