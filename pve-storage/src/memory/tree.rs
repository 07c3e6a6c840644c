// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree of files of a machine in memory.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use bstr::{BStr, BString, ByteSlice};

use super::{ImageFile, file_kind};
use crate::host::{Change, FileKind, Metadata};
use crate::plugin::concat;

/// What stands at a path of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permission bits.
    pub mode: u32,
    /// When it last changed, in seconds since 1970.
    pub changed: i64,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NodeKind {
    /// A file.
    File {
        /// Its size in bytes.
        size: u64,
        /// Its content, where that matters.
        content: BString,
        /// What `qemu-img` tells of it; `None`: a raw image of its size.
        image: Option<ImageFile>,
    },
    /// A directory.
    Directory,
    /// A block device.
    Block,
    /// A symbolic link.
    Link {
        /// Where it leads, as written.
        target: BString,
    },
}

impl Node {
    /// A directory with mode 0755.
    #[must_use]
    pub fn directory() -> Self {
        Node { kind: NodeKind::Directory, mode: 0o755, changed: 1_700_000_000 }
    }

    /// A file with this content.
    #[must_use]
    pub fn file(content: impl AsRef<[u8]>) -> Self {
        let content = BString::from(content.as_ref());
        let size = content.len() as u64;
        Node { kind: NodeKind::File { size, content, image: None }, mode: 0o644, changed: 1_700_000_000 }
    }

    /// A file of a size, of which nothing else is known.
    #[must_use]
    pub fn sized(size: u64) -> Self {
        let kind = NodeKind::File { size, content: BString::default(), image: None };
        Node { kind, mode: 0o644, changed: 1_700_000_000 }
    }

    /// A block device.
    #[must_use]
    pub fn block() -> Self {
        Node { kind: NodeKind::Block, mode: 0o660, changed: 1_700_000_000 }
    }

    /// A symbolic link.
    #[must_use]
    pub fn link(target: impl AsRef<[u8]>) -> Self {
        let kind = NodeKind::Link { target: target.as_ref().into() };
        Node { kind, mode: 0o777, changed: 1_700_000_000 }
    }
}

/// Most links that are followed on one path.
const LINK_LIMIT: usize = 40;

#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: BTreeMap<BString, Node>,
}

fn parent(path: &[u8]) -> Option<&[u8]> {
    path.rsplit_once_str("/").map(|(parent, _)| parent).filter(|parent| !parent.is_empty())
}

impl Tree {
    pub(super) fn nodes(&self) -> &BTreeMap<BString, Node> {
        &self.nodes
    }

    pub(super) fn insert(&mut self, path: &[u8], node: Node) {
        self.make_parents(path, 0o755);
        self.nodes.insert(path.into(), node);
    }

    fn make_parents(&mut self, path: &[u8], mode: u32) {
        let mut above = parent(path);
        while let Some(path) = above {
            if !self.nodes.contains_key(BStr::new(path)) {
                self.nodes.insert(path.into(), Node { mode, ..Node::directory() });
            }
            above = parent(path);
        }
    }

    pub(super) fn get(&self, path: &BStr) -> Option<&Node> {
        self.nodes.get(path)
    }

    /// The path without links; `None` if nothing is there.
    pub(super) fn resolve(&self, path: &BStr) -> Option<BString> {
        self.walk(path, true)
    }

    /// The path with the links above its last part resolved.
    pub(super) fn resolve_parent(&self, path: &BStr) -> Option<BString> {
        self.walk(path, false)
    }

    fn walk(&self, path: &BStr, last: bool) -> Option<BString> {
        let mut rest: Vec<BString> =
            path.rsplit_str("/").filter(|part| !part.is_empty()).map(BString::from).collect();
        let mut at = BString::default();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.as_slice() {
                b"." => continue,
                b".." => {
                    at = parent(&at).unwrap_or_default().into();
                    continue;
                }
                _ => {}
            }
            let next = concat([&at, b"/", &part]);
            let node = self.nodes.get(&next)?;
            match &node.kind {
                NodeKind::Link { target } if last || !rest.is_empty() => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return None;
                    }
                    if target.starts_with(b"/") {
                        at = BString::default();
                    }
                    rest.extend(target.rsplit_str("/").filter(|part| !part.is_empty()).map(BString::from));
                }
                _ => at = next,
            }
        }
        Some(if at.is_empty() { "/".into() } else { at })
    }

    pub(super) fn metadata(&self, path: &BStr) -> Option<Metadata> {
        if path == "/" {
            return Some(Metadata { kind: FileKind::Directory, size: 0, changed: 0, inode: 2 });
        }
        let node = self.nodes.get(path)?;
        let size = match &node.kind {
            NodeKind::File { size, .. } => *size,
            _ => 0,
        };
        // every directory could be a subvolume
        let inode = if node.kind == NodeKind::Directory { 256 } else { 1 };
        Some(Metadata { kind: file_kind(&node.kind), size, changed: node.changed, inode })
    }

    pub(super) fn content(&self, path: &BStr) -> Option<BString> {
        match &self.nodes.get(path)?.kind {
            NodeKind::File { content, .. } => Some(content.clone()),
            _ => None,
        }
    }

    pub(super) fn link_target(&self, path: &BStr) -> Option<BString> {
        match &self.nodes.get(path)?.kind {
            NodeKind::Link { target } => Some(target.clone()),
            _ => None,
        }
    }

    /// The nodes below a directory.
    fn below<'t>(&'t self, path: &[u8]) -> impl Iterator<Item = (&'t BString, &'t Node)> {
        let prefix = if path == b"/" { BString::from("/") } else { concat([path, b"/"]) };
        let from = prefix.clone();
        self.nodes.range(from..).take_while(move |(path, _)| path.starts_with(&prefix))
    }

    pub(super) fn list(&self, path: &BStr) -> Option<Vec<BString>> {
        if path != "/" && self.nodes.get(path)?.kind != NodeKind::Directory {
            return None;
        }
        let skip = if path == "/" { 1 } else { path.len() + 1 };
        let names = self.below(path).filter_map(|(path, _)| {
            let name = path.get(skip..)?;
            (!name.contains(&b'/')).then(|| BString::from(name))
        });
        let mut names: Vec<BString> = names.collect();
        names.sort();
        Some(names)
    }

    /// Moves a node with everything below it.
    pub(super) fn rename(&mut self, from: &[u8], to: &[u8]) {
        let moved: Vec<BString> = self.below(from).map(|(path, _)| path.clone()).collect();
        for old in moved.into_iter().chain([BString::from(from)]) {
            if let Some(node) = self.nodes.remove(&old) {
                let rest = old.get(from.len()..).unwrap_or_default();
                self.nodes.insert(concat([to, rest]), node);
            }
        }
    }

    /// Copies a node with everything below it.
    pub(super) fn copy(&mut self, from: &[u8], to: &[u8]) {
        let copied: Vec<(BString, Node)> =
            self.below(from).map(|(path, node)| (path.clone(), node.clone())).collect();
        let own = self.nodes.get(BStr::new(from)).cloned().map(|node| (BString::from(from), node));
        for (old, node) in copied.into_iter().chain(own) {
            let rest = old.get(from.len()..).unwrap_or_default();
            self.nodes.insert(concat([to, rest]), node);
        }
    }

    /// Removes a node with everything below it.
    pub(super) fn remove(&mut self, path: &[u8]) {
        let gone: Vec<BString> = self.below(path).map(|(path, _)| path.clone()).collect();
        for path in gone {
            self.nodes.remove(&path);
        }
        self.nodes.remove(BStr::new(path));
    }

    fn require(&self, path: &BString) -> io::Result<&Node> {
        self.nodes.get(path).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn change(&mut self, change: &Change, now: i64) -> io::Result<()> {
        match change {
            Change::MakeDirectories { path, mode } => {
                self.make_parents(path, *mode);
                match self.nodes.get(path).map(|node| &node.kind) {
                    Some(NodeKind::Directory) => {}
                    Some(_) => return Err(ErrorKind::AlreadyExists.into()),
                    None => {
                        self.nodes
                            .insert(path.clone(), Node { mode: *mode, changed: now, ..Node::directory() });
                    }
                }
            }
            Change::MakeDirectory { path, mode } => {
                if self.nodes.contains_key(path) {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                self.nodes.insert(path.clone(), Node { mode: *mode, changed: now, ..Node::directory() });
            }
            Change::RemoveDirectory { path } => {
                if self.require(path)?.kind != NodeKind::Directory {
                    return Err(ErrorKind::NotADirectory.into());
                }
                if self.below(path).next().is_some() {
                    return Err(ErrorKind::DirectoryNotEmpty.into());
                }
                self.nodes.remove(path);
            }
            Change::RemoveTree { path } => self.remove(path),
            Change::Unlink { path } => {
                if self.require(path)?.kind == NodeKind::Directory {
                    return Err(ErrorKind::IsADirectory.into());
                }
                self.nodes.remove(path);
            }
            Change::Rename { from, to } => {
                self.require(from)?;
                if from != to {
                    self.remove(to);
                    self.rename(from, to);
                }
            }
            Change::RenameNoReplace { from, to } => {
                self.require(from)?;
                if self.nodes.contains_key(to) {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                self.rename(from, to);
            }
            // the effects of commands are only sketched here: what one should have made may be missing
            Change::Exchange { one, other }
                if self.nodes.contains_key(one) && self.nodes.contains_key(other) =>
            {
                let aside = concat([one, b"\0"]);
                self.rename(one, &aside);
                self.rename(other, one);
                self.rename(&aside, other);
            }
            Change::Exchange { .. } => {}
            Change::SetMode { path, mode } => {
                let node = self.nodes.get_mut(path).ok_or(ErrorKind::NotFound)?;
                node.mode = *mode;
            }
            Change::CreateSparse { path, size, .. } => {
                if self.nodes.contains_key(path) {
                    return Err(ErrorKind::AlreadyExists.into());
                }
                self.nodes.insert(path.clone(), Node { changed: now, ..Node::sized(*size) });
            }
            Change::Write { path, content, mode } => {
                self.nodes.insert(path.clone(), Node { mode: *mode, changed: now, ..Node::file(content) });
            }
            Change::BlankStart { path, .. } => {
                self.require(path)?;
            }
            Change::Touch { path } => {
                let fresh = Node { changed: now, ..Node::file("") };
                self.nodes.entry(path.clone()).or_insert(fresh).changed = now;
            }
        }
        Ok(())
    }
}
