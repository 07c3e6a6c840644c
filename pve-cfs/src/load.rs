// SPDX-License-Identifier: MIT OR Apache-2.0
//! From rows to the tree, in the order and with the rules of the reference's loader.

use std::collections::{HashMap, HashSet};

use bstr::ByteSlice;

use crate::finding::{Finding, Rule};
use crate::guest::GuestList;
use crate::row::Row;
use crate::schema::{EntryType, VERSION_ROW_NAME};
use crate::tree::{Body, Child, Node, ROOT, Tree};

/// A loaded tree, and what the reference would have refused it for.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The tree; an entry that broke a rule is in it if it has a type, but no path may lead to it.
    pub tree: Tree,
    /// The guests of all nodes.
    pub guests: GuestList,
    /// A version row was there and had a version other than 0.
    pub has_version: bool,
    /// What makes the reference refuse the database, in the order in which it meets it; empty if it starts.
    pub refusals: Vec<Finding>,
}

/// Loads `rows`, which must be in the order of their row ids (spec: pmxcfs, "Loading").
///
/// The reference stops at the first broken rule. This goes on, so that all are named and everything else can be used.
pub fn load(rows: &[Row]) -> Loaded {
    let mut loader = Loader { tree: Tree::new(), placeholders: HashSet::new(), broken: Vec::new() };
    loader.tree.entries.reserve(rows.len());
    for row in rows {
        loader.add(row);
    }
    loader.finish(rows)
}

struct Loader {
    tree: Tree,
    /// Directories that were made because an entry named them as its parent, and that did not come yet.
    placeholders: HashSet<u64>,
    broken: Vec<(u64, bstr::BString, Rule)>,
}

impl Loader {
    fn add(&mut self, row: &Row) {
        if row.name.is_empty() {
            self.refuse(row, Rule::EmptyName);
            return;
        }
        let body = match row.entry_type() {
            Some(EntryType::File) => Body::file(row.data.clone().unwrap_or_default()),
            Some(EntryType::Directory) => {
                if !row.content().is_empty() {
                    self.refuse(row, Rule::DirectoryWithData { size: row.content().len() });
                }
                Body::directory()
            }
            None => {
                self.refuse(row, Rule::UnknownType { found: row.kind });
                return;
            }
        };
        if row.inode == ROOT { self.add_version_row(row) } else { self.add_entry(row, body) }
    }

    fn add_version_row(&mut self, row: &Row) {
        if row.used_name() != VERSION_ROW_NAME {
            self.refuse(row, Rule::VersionRowName { found: row.name.clone() });
        } else if let Some(root) = self.tree.entries.get_mut(&ROOT) {
            root.version = row.version;
            root.writer = row.writer;
            root.mtime = row.mtime;
        }
    }

    fn add_entry(&mut self, row: &Row, body: Body) {
        let parent = self.tree.entries.entry(row.parent).or_insert_with(|| {
            self.placeholders.insert(row.parent);
            Node { inode: row.parent, ..Node::root() }
        });
        let kind = body.kind();
        let rule = match &mut parent.body {
            Body::File { .. } => Some(Rule::ParentIsFile { parent: row.parent }),
            Body::Directory(children) => match children.get(row.used_name()) {
                Some(first) => Some(Rule::DuplicateName { first: first.inode }),
                None => {
                    children.insert(row.used_name().to_owned(), Child { inode: row.inode, kind });
                    None
                }
            },
        };
        if let Some(rule) = rule {
            self.refuse(row, rule);
        }
        self.insert(row, body);
    }

    /// Enters the node; a directory takes over what its placeholder collected, a file loses it.
    fn insert(&mut self, row: &Row, mut body: Body) {
        self.tree.bytes += body.size();
        let was_placeholder = !self.placeholders.is_empty() && self.placeholders.remove(&row.inode);
        if was_placeholder
            && let (Body::Directory(children), Some(Node { body: Body::Directory(collected), .. })) =
                (&mut body, self.tree.entries.get_mut(&row.inode))
        {
            std::mem::swap(children, collected);
        }
        let node = Node {
            inode: row.inode,
            parent: row.parent,
            version: row.version,
            writer: row.writer,
            mtime: row.mtime,
            name: row.used_name().to_owned(),
            body,
        };
        self.tree.entries.insert(row.inode, node);
    }

    fn refuse(&mut self, row: &Row, rule: Rule) {
        self.broken.push((row.inode, row.name.clone(), rule));
    }

    fn finish(mut self, rows: &[Row]) -> Loaded {
        if !self.placeholders.is_empty() {
            for row in rows.iter().filter(|row| self.placeholders.contains(&row.parent)) {
                self.broken.push((row.inode, row.name.clone(), Rule::MissingParent { parent: row.parent }));
            }
        }
        for placeholder in &self.placeholders {
            self.tree.entries.remove(placeholder);
        }
        let tree = self.tree;
        let located = |(inode, name, rule): (u64, bstr::BString, Rule)| {
            let path =
                tree.by_inode(inode).filter(|entry| entry.inode() != ROOT).and_then(|entry| entry.path());
            Finding::of(inode, name.as_bstr(), path, rule)
        };
        let mut refusals: Vec<Finding> = self.broken.into_iter().map(located).collect();
        let mut guests = GuestList::default();
        let conflicts = guests.rebuild(&tree);
        let name_of = |inode| tree.by_inode(inode).map(|entry| entry.name().to_owned()).unwrap_or_default();
        for file in conflicts.no_directories {
            refusals.push(located((
                file.inode,
                name_of(file.inode),
                Rule::FileAsGuestDirectory { kind: file.kind },
            )));
        }
        for duplicate in conflicts.duplicates {
            let rule = Rule::DuplicateVmid {
                vmid: duplicate.vmid,
                node: duplicate.kept.node,
                kind: duplicate.kept.kind,
            };
            refusals.push(located((duplicate.inode, name_of(duplicate.inode), rule)));
        }
        let has_version = tree.version() != 0;
        Loaded { tree, guests, has_version, refusals }
    }
}

/// A map of how often each inode occurs would be costly for every load: only odd tables have one twice.
pub(crate) fn repeated_inodes(rows: &[Row]) -> Vec<&Row> {
    let mut seen = HashMap::with_capacity(rows.len());
    rows.iter().filter(|row| seen.insert(row.inode, ()).is_some()).collect()
}
