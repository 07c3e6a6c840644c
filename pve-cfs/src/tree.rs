// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree in memory: entries by inode, directories by name; it holds what was loaded and knows no rule about changes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use foldhash::fast::RandomState;

use crate::path;
use crate::row::Content;
use crate::schema::EntryType;

/// Inode of the root directory, which has no row.
pub const ROOT: u64 = 0;

/// All entries of a database, the root included.
#[derive(Debug, Clone)]
pub struct Tree {
    pub(crate) entries: HashMap<u64, Node, RandomState>,
    /// Sum of the sizes of all files.
    pub(crate) bytes: u64,
}

/// One entry as the tree holds it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) inode: u64,
    pub(crate) parent: u64,
    pub(crate) version: u64,
    pub(crate) writer: u32,
    pub(crate) mtime: u32,
    pub(crate) name: BString,
    pub(crate) body: Body,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    File {
        content: Content,
        /// Size that an empty file pretends to have; only with the reference's defect switched on.
        grown: u32,
    },
    Directory(BTreeMap<BString, Child>),
}

/// What a directory knows of an entry in it: all that a listing shows, so that making one looks at no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) inode: u64,
    pub(crate) kind: EntryType,
}

impl Body {
    pub(crate) fn file(content: Content) -> Self {
        Self::File { content, grown: 0 }
    }

    pub(crate) const fn directory() -> Self {
        Self::Directory(BTreeMap::new())
    }

    pub(crate) const fn kind(&self) -> EntryType {
        match self {
            Self::File { .. } => EntryType::File,
            Self::Directory(_) => EntryType::Directory,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File { content, .. } if !content.is_empty() => content.len() as u64,
            Self::File { grown, .. } => u64::from(*grown),
            Self::Directory(_) => 0,
        }
    }
}

impl Node {
    pub(crate) fn root() -> Self {
        Self {
            inode: ROOT,
            parent: ROOT,
            version: 0,
            writer: 0,
            mtime: 0,
            name: BString::default(),
            body: Body::directory(),
        }
    }
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A tree that has nothing but its root.
    pub fn new() -> Self {
        Self { entries: HashMap::from_iter([(ROOT, Node::root())]), bytes: 0 }
    }

    /// The entry at `path`; `.` and the empty path are the root.
    ///
    /// What the virtual entries hide is found here: they are no part of the tree.
    ///
    /// ```
    /// use pve_cfs::tree::Tree;
    /// let tree = Tree::new();
    /// assert!(tree.get(b"/").is_some() && tree.get(b"storage.cfg").is_none());
    /// ```
    pub fn get(&self, path: &[u8]) -> Option<Entry<'_>> {
        if path == b"." {
            return Some(self.root());
        }
        path::components(path).try_fold(self.root(), |directory, name| directory.child(name))
    }

    /// The root directory; its version, writer and mtime are those of the last change of the whole tree.
    pub fn root(&self) -> Entry<'_> {
        // every constructor puts a root in, and nothing takes it out; should that ever break, an empty root is the answer
        static EMPTY: std::sync::LazyLock<Node> = std::sync::LazyLock::new(Node::root);
        Entry { tree: self, node: self.entries.get(&ROOT).unwrap_or(&EMPTY) }
    }

    /// The entry with this inode, reachable or not.
    pub fn by_inode(&self, inode: u64) -> Option<Entry<'_>> {
        Some(Entry { tree: self, node: self.entries.get(&inode)? })
    }

    /// Version of the tree: that of its last change.
    pub fn version(&self) -> u64 {
        self.root().version()
    }

    /// Number of entries, the root and unreachable ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing but the root.
    pub fn is_empty(&self) -> bool {
        self.entries.len() <= 1
    }

    /// Sum of the sizes of all files in bytes.
    pub const fn total_bytes(&self) -> u64 {
        self.bytes
    }

    /// All entries in ascending order of their inodes, the root and unreachable ones included.
    pub fn entries(&self) -> Vec<Entry<'_>> {
        let mut all: Vec<_> = self.entries.values().map(|node| Entry { tree: self, node }).collect();
        all.sort_unstable_by_key(Entry::inode);
        all
    }

    /// Everything below the root that can be reached, with its path, depth first and in the order of the names' bytes.
    pub fn walk(&self) -> Walk<'_> {
        Walk::below(self.root(), BStr::new(""))
    }

    /// The files that can be reached, with their paths, in the order of [`walk`](Self::walk).
    pub fn files(&self) -> impl Iterator<Item = (BString, Entry<'_>)> {
        self.walk().filter(|(_, entry)| !entry.is_directory())
    }
}

/// One entry of a [`Tree`].
#[derive(Debug, Clone, Copy)]
pub struct Entry<'t> {
    tree: &'t Tree,
    node: &'t Node,
}

impl<'t> Entry<'t> {
    /// Its inode: the version at which it was created, if the tree's history is in order.
    pub const fn inode(&self) -> u64 {
        self.node.inode
    }

    /// Inode of its directory.
    pub const fn parent(&self) -> u64 {
        self.node.parent
    }

    /// Version of the tree at its last change.
    pub const fn version(&self) -> u64 {
        self.node.version
    }

    /// Node id of its last writer.
    pub const fn writer(&self) -> u32 {
        self.node.writer
    }

    /// Time of its last change in seconds since the epoch.
    pub const fn mtime(&self) -> u32 {
        self.node.mtime
    }

    /// Its name; empty for the root.
    pub fn name(&self) -> &'t BStr {
        self.node.name.as_bstr()
    }

    /// Directory or file.
    pub const fn entry_type(&self) -> EntryType {
        self.node.body.kind()
    }

    /// Whether it is a directory.
    pub const fn is_directory(&self) -> bool {
        matches!(self.node.body, Body::Directory(_))
    }

    /// Bytes of a file; none for a directory.
    pub fn content(&self) -> &'t [u8] {
        match &self.node.body {
            Body::File { content, .. } => content,
            Body::Directory(_) => &[],
        }
    }

    /// Bytes of a file to keep, without a copy.
    pub fn shared_content(&self) -> Content {
        match &self.node.body {
            Body::File { content, .. } => content.clone(),
            Body::Directory(_) => Arc::from([]),
        }
    }

    /// Size in bytes as `stat` shows it; 0 for a directory.
    pub fn size(&self) -> u64 {
        self.node.body.size()
    }

    /// The entries of a directory in the order of their names' bytes; none for a file.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'t> {
        let tree = self.tree;
        self.names().filter_map(move |(_, inode, _)| tree.by_inode(inode))
    }

    /// Names, inodes and types of the entries of a directory, in the order of the names' bytes; none for a file. Cheaper than
    /// [`children`](Self::children): the directory alone is looked at.
    pub fn names(&self) -> impl Iterator<Item = (&'t BStr, u64, EntryType)> + use<'t> {
        let children = match &self.node.body {
            Body::Directory(children) => Some(children),
            Body::File { .. } => None,
        };
        let children = children.into_iter().flatten();
        children.map(|(name, child)| (name.as_bstr(), child.inode, child.kind))
    }

    /// Number of entries of a directory.
    pub fn child_count(&self) -> usize {
        match &self.node.body {
            Body::Directory(children) => children.len(),
            Body::File { .. } => 0,
        }
    }

    /// The entry of this name in a directory.
    pub fn child(&self, name: &[u8]) -> Option<Self> {
        match &self.node.body {
            Body::Directory(children) => self.tree.by_inode(children.get(name.as_bstr())?.inode),
            Body::File { .. } => None,
        }
    }

    /// Its path without a leading slash, empty for the root; `None` if no path leads to it.
    pub fn path(&self) -> Option<BString> {
        let mut names = Vec::new();
        let mut at = *self;
        while at.inode() != ROOT {
            // a circle of directories would never end: no path is deeper than the tree has entries
            if names.len() > self.tree.len() {
                return None;
            }
            let parent = self.tree.by_inode(at.parent())?;
            if parent.child(at.name())?.inode() != at.inode() {
                return None;
            }
            names.push(at.name());
            at = parent;
        }
        names.reverse();
        Some(BString::from(bstr::join("/", names)))
    }

    pub(crate) const fn node(&self) -> &'t Node {
        self.node
    }
}

/// Iterator over the entries below a directory; see [`Tree::walk`].
#[derive(Debug)]
pub struct Walk<'t> {
    /// Entries to come, the next one last.
    pending: Vec<(BString, Entry<'t>)>,
}

impl<'t> Walk<'t> {
    /// Everything below `directory`, whose path is `path`.
    pub fn below(directory: Entry<'t>, path: &BStr) -> Self {
        let mut walk = Self { pending: Vec::new() };
        walk.push_children(directory, path);
        walk
    }

    fn push_children(&mut self, directory: Entry<'t>, path: &BStr) {
        let start = self.pending.len();
        for child in directory.children() {
            let mut below = path.to_owned();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(child.name());
            self.pending.push((below, child));
        }
        self.pending[start..].reverse();
    }
}

impl<'t> Iterator for Walk<'t> {
    type Item = (BString, Entry<'t>);

    fn next(&mut self) -> Option<Self::Item> {
        let (path, entry) = self.pending.pop()?;
        self.push_children(entry, path.as_bstr());
        Some((path, entry))
    }
}
