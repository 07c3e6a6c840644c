// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names everything that is wrong or odd in loaded rows: what the reference refuses, and what it silently accepts.

use bstr::{BStr, ByteSlice};

use crate::finding::{Finding, Rule};
use crate::load::{Loaded, repeated_inodes};
use crate::row::Row;
use crate::schema::MAX_FILE_SIZE;
use crate::tree::{Entry, ROOT};
use crate::virtual_file::VirtualFile;

/// Longest name that the kernel passes on, in bytes (spec: pmxcfs, "Limits").
const LONGEST_NAME: usize = 1024;

/// All findings about `rows` and the tree that was loaded from them; those that the reference refuses come first.
pub fn check(rows: &[Row], loaded: &Loaded) -> Vec<Finding> {
    let mut found = loaded.refusals.clone();
    version_row(rows, &mut found);
    for row in repeated_inodes(rows) {
        found.push(Finding::of(row.inode, row.name.as_bstr(), None, Rule::DuplicateInode));
    }
    for row in rows.iter().filter(|row| row.name.len() != row.used_name().len()) {
        let rule = Rule::NameWithNul { full: row.name.clone() };
        found.push(Finding::of(row.inode, row.used_name(), path_of(loaded, row.inode), rule));
    }
    for entry in loaded.tree.entries().into_iter().filter(|entry| entry.inode() != ROOT) {
        entry_rules(loaded, entry, &mut found);
    }
    found
}

fn path_of(loaded: &Loaded, inode: u64) -> Option<bstr::BString> {
    loaded.tree.by_inode(inode)?.path()
}

fn version_row(rows: &[Row], found: &mut Vec<Finding>) {
    let Some(row) = rows.iter().find(|row| row.inode == ROOT) else {
        found.push(Finding::general(Rule::VersionRowMissing));
        return;
    };
    let mut add = |rule| found.push(Finding { path: None, ..Finding::of(ROOT, row.used_name(), None, rule) });
    if row.version == 0 {
        add(Rule::VersionRowZero);
    }
    if row.parent != 0 {
        add(Rule::VersionRowParent { parent: row.parent });
    }
    if !row.content().is_empty() {
        add(Rule::VersionRowData { size: row.content().len() });
    }
}

fn entry_rules(loaded: &Loaded, entry: Entry<'_>, found: &mut Vec<Finding>) {
    let tree = loaded.tree.version();
    let path = entry.path();
    let name: &BStr = entry.name();
    let refused = || loaded.refusals.iter().any(|refusal| refusal.inode == Some(entry.inode()));
    let mut rules = Vec::new();
    if path.is_none() && !refused() {
        rules.push(Rule::Unreachable);
    }
    if entry.parent() == ROOT && VirtualFile::by_name(name).is_some() {
        rules.push(Rule::Shadowed);
    }
    if name.contains(&b'/') {
        rules.push(Rule::NameWithSlash);
    }
    if name == "." || name == ".." {
        rules.push(Rule::DotName { name: name.to_owned() });
    }
    if name.len() > LONGEST_NAME {
        rules.push(Rule::NameTooLong { length: name.len() });
    }
    if entry.content().len() > MAX_FILE_SIZE {
        rules.push(Rule::Oversize { size: entry.content().len() });
    }
    // without a version row the reference starts from 1, and then everything is newer: said once, not for each entry
    if tree > 1 && entry.version() > tree {
        rules.push(Rule::VersionAboveTree { version: entry.version(), tree });
    }
    if tree > 1 && entry.inode() > tree {
        rules.push(Rule::InodeAboveVersion { tree });
    }
    found.extend(rules.into_iter().map(|rule| Finding::of(entry.inode(), name, path.clone(), rule)));
}
