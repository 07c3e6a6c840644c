// SPDX-License-Identifier: MIT OR Apache-2.0
//! The rows while they are repaired: finds a remedy for each finding, applies it, and keeps account.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use bstr::{BString, ByteSlice};

use super::remedy::{Remedy, Step};
use crate::database::Database;
use crate::finding::{Finding, Rule};
use crate::guest::GuestPath;
use crate::row::{Content, Row};
use crate::schema::{EntryType, VERSION_ROW_NAME};
use crate::store::version_row;
use crate::tree::{ROOT, Tree};

/// Inodes and versions above this are damage, not the count of any tree: counting on from them could run over.
const LARGEST: u64 = 1 << 62;
/// Most bytes of a name that are kept when something is put behind it.
const KEPT_NAME: usize = 200;

pub(super) struct Workbench {
    rows: Vec<Row>,
    /// Index of the row of each inode: of the last one, as for the loader.
    by_inode: HashMap<u64, usize>,
    steps: Vec<Step>,
    /// Greatest version that is in use.
    last: u64,
    /// What was wrong before the first step: a step for what only other steps brought about has no finding.
    original: Option<Vec<Finding>>,
}

impl Workbench {
    pub(super) fn new(rows: &[Row]) -> Self {
        let numbers = rows.iter().flat_map(|row| [row.inode, row.version]);
        let last = numbers.filter(|number| *number <= LARGEST).max().unwrap_or(0).max(1);
        let (by_inode, steps) = (HashMap::new(), Vec::new());
        let mut bench = Self { rows: rows.to_vec(), by_inode, steps, last, original: None };
        bench.index();
        bench
    }

    fn index(&mut self) {
        self.by_inode = self.rows.iter().enumerate().map(|(index, row)| (row.inode, index)).collect();
    }

    /// The rows as the loader would meet them.
    pub(super) fn database(&self) -> Database {
        let mut rows = self.rows.clone();
        // row ids are signed
        rows.sort_by_key(|row| row.inode as i64);
        Database::from_rows(rows)
    }

    pub(super) fn finish(self) -> (Vec<Row>, Vec<Step>) {
        (self.rows, self.steps)
    }

    /// Mends the findings of the first class that has any; whether anything was done. Classes are in an order in which no remedy brings
    /// back what an earlier class is about.
    pub(super) fn mend(&mut self, database: &Database) -> bool {
        let findings = database.check();
        self.original.get_or_insert_with(|| findings.clone());
        let classes = findings.iter().map(class).filter(|class| *class > 0);
        let Some(first) = classes.min() else { return self.raise_tree_version(database) };
        let before = self.steps.len();
        let mut round = Round::default();
        for finding in findings.iter().filter(|finding| class(finding) == first) {
            self.mend_one(database, finding, &mut round);
        }
        self.index();
        self.steps.len() > before
    }

    fn mend_one(&mut self, database: &Database, finding: &Finding, round: &mut Round) {
        let tree = database.tree();
        let inode = finding.inode.unwrap_or_default();
        match &finding.rule {
            Rule::DuplicateInode => self.renumber_earlier(finding, inode),
            Rule::VersionRowName { .. } => self.mend_version_row_name(finding),
            Rule::EmptyName if inode == ROOT => self.clear_version_row(finding),
            Rule::EmptyName => self.rename(finding, inode, &lost(inode)),
            Rule::UnknownType { .. } => {
                let parent = inode != ROOT && self.rows.iter().any(|row| row.parent == inode);
                self.set_type(finding, inode, if parent { EntryType::Directory } else { EntryType::File });
            }
            Rule::DirectoryWithData { .. } => {
                if inode != ROOT && tree.by_inode(inode).is_some_and(|entry| entry.child_count() > 0) {
                    self.move_content(finding, inode);
                } else {
                    self.set_type(finding, inode, EntryType::File);
                }
            }
            Rule::MissingParent { parent } => self.make_directory(finding, *parent, round),
            Rule::ParentIsFile { parent } => self.mend_file_parent(finding, *parent, round),
            Rule::DuplicateName { .. } => self.mend_duplicate_name(finding, inode, tree, round),
            Rule::FileAsGuestDirectory { .. } => {
                self.rename(finding, inode, &self.other_name(inode, "renamed"));
            }
            Rule::DuplicateVmid { vmid, .. } => self.mend_duplicate_vmid(finding, *vmid, tree, round),
            Rule::Unreachable => self.mend_unreachable(finding, inode, tree, round),
            Rule::Shadowed | Rule::DotName { .. } | Rule::NameWithSlash | Rule::NameTooLong { .. } => {
                // one name can break several rules, and gets one new name
                if !round.done.insert(inode) {
                    return;
                }
                self.rename(finding, inode, &self.other_name(inode, "renamed"));
            }
            Rule::NameWithNul { full } => {
                let used = crate::row::cut_at_nul(full);
                let to = if used.is_empty() { lost(inode) } else { used.to_owned() };
                self.rename(finding, inode, &to);
            }
            Rule::VersionRowParent { .. } => self.clear_version_row(finding),
            Rule::VersionRowData { .. } => self.move_content(finding, ROOT),
            Rule::InodeAboveVersion { .. } if inode > LARGEST => self.renumber(finding, inode),
            Rule::VersionAboveTree { version, .. } if *version > LARGEST => {
                let to = self.next();
                self.touch(finding, inode, Remedy::SetVersion { to });
            }
            Rule::VersionAboveTree { .. }
            | Rule::InodeAboveVersion { .. }
            | Rule::VersionRowMissing
            | Rule::VersionRowZero => {
                if !round.done.insert(ROOT) {
                    return;
                }
                let original = self.original.iter().flatten().find(|finding| class(finding) == COUNT);
                self.set_tree_version(original.cloned());
            }
            _ => {}
        }
    }

    /// Every change has a version, and the tree has the greatest.
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn row(&mut self, inode: u64) -> Option<&mut Row> {
        let index = *self.by_inode.get(&inode)?;
        self.rows.get_mut(index)
    }

    fn name_of(&self, inode: u64) -> BString {
        self.by_inode
            .get(&inode)
            .and_then(|index| self.rows.get(*index))
            .map(|row| row.name.clone())
            .unwrap_or_default()
    }

    /// Records a remedy and applies it to the row of `inode`, which gets a new version.
    fn touch(&mut self, finding: &Finding, inode: u64, remedy: Remedy) {
        let version = match remedy {
            Remedy::SetVersion { to } => to,
            _ => self.next(),
        };
        let name = self.name_of(inode);
        let Some(row) = self.row(inode) else { return };
        match &remedy {
            Remedy::Rename { to } => row.name = to.clone(),
            Remedy::Attach { parent, name } => (row.parent, row.name) = (*parent, name.clone()),
            Remedy::SetType { to } => row.kind = *to as u8,
            Remedy::MoveContent { .. } => row.data = None,
            Remedy::ClearVersionRow => (row.parent, row.name) = (ROOT, VERSION_ROW_NAME.into()),
            _ => {}
        }
        // the version row is raised at the end, once
        if inode != ROOT {
            row.version = version;
        }
        self.steps.push(Step { finding: Some(finding.clone()), name, inode, remedy });
    }

    fn rename(&mut self, finding: &Finding, inode: u64, wanted: &BString) {
        let parent = self.row(inode).map_or(ROOT, |row| row.parent);
        let to = self.free_name(parent, wanted);
        self.touch(finding, inode, Remedy::Rename { to });
    }

    fn set_type(&mut self, finding: &Finding, inode: u64, to: EntryType) {
        self.touch(finding, inode, Remedy::SetType { to });
    }

    fn clear_version_row(&mut self, finding: &Finding) {
        self.touch(finding, ROOT, Remedy::ClearVersionRow);
    }

    /// A row with inode 0 that has content, or lies in a directory, is an entry that lost its inode; otherwise it is the version row
    /// that lost its name.
    fn mend_version_row_name(&mut self, finding: &Finding) {
        match self.row(ROOT) {
            Some(row) if !row.content().is_empty() || row.parent != ROOT => self.renumber(finding, ROOT),
            _ => self.clear_version_row(finding),
        }
    }

    fn move_content(&mut self, finding: &Finding, inode: u64) {
        let Some((parent, content)) = self.row(inode).map(|row| (row.parent, row.data.clone())) else {
            return;
        };
        let new = self.next();
        let parent = if inode == ROOT { ROOT } else { parent };
        let name = self.free_name(parent, &lost(inode));
        self.touch(finding, inode, Remedy::MoveContent { inode: new, name: name.clone() });
        self.insert(new, parent, EntryType::File, name, content);
    }

    fn insert(&mut self, inode: u64, parent: u64, kind: EntryType, name: BString, data: Option<Content>) {
        let version = if (self.last..=LARGEST).contains(&inode) { inode } else { self.next() };
        self.last = self.last.max(version);
        self.by_inode.insert(inode, self.rows.len());
        let (writer, mtime) = (0, self.newest_time());
        self.rows.push(Row { inode, parent, version, writer, mtime, kind: kind as u8, name, data });
    }

    /// The time of the newest change: the one in the version row, or the greatest there is.
    fn newest_time(&self) -> u32 {
        let root = self.rows.iter().find(|row| row.inode == ROOT).map(|row| row.mtime);
        root.or_else(|| self.rows.iter().map(|row| row.mtime).max()).unwrap_or_default()
    }

    /// The rows stay as they are: the directory that they miss is made, under their root.
    fn make_directory(&mut self, finding: &Finding, inode: u64, round: &mut Round) {
        if !round.done.insert(inode) {
            return;
        }
        let name = self.free_name(ROOT, &lost(inode));
        self.insert(inode, ROOT, EntryType::Directory, name.clone(), None);
        self.steps.push(Step { finding: Some(finding.clone()), name, inode, remedy: Remedy::MakeDirectory });
    }

    /// What lies "in" a file: an empty file was a directory; otherwise all of it goes into a new directory.
    fn mend_file_parent(&mut self, finding: &Finding, file: u64, round: &mut Round) {
        if !round.done.insert(file) {
            return;
        }
        if self.row(file).is_some_and(|row| row.content().is_empty()) {
            self.set_type(finding, file, EntryType::Directory);
            return;
        }
        let directory = self.next();
        let name = self.free_name(ROOT, &lost(file));
        let remedy = Remedy::MakeDirectory;
        self.insert(directory, ROOT, EntryType::Directory, name.clone(), None);
        self.steps.push(Step { finding: Some(finding.clone()), name, inode: directory, remedy });
        let children: Vec<(u64, BString)> = self
            .rows
            .iter()
            .filter(|row| row.parent == file && row.inode != ROOT)
            .map(|row| (row.inode, row.name.clone()))
            .collect();
        for (child, name) in children {
            self.touch(finding, child, Remedy::Attach { parent: directory, name });
        }
    }

    /// Of several entries of one name, a directory with entries keeps it, or else the one that was changed last.
    fn mend_duplicate_name(&mut self, finding: &Finding, inode: u64, tree: &Tree, round: &mut Round) {
        if round.namesakes.is_empty() {
            for row in self.rows.iter().filter(|row| row.inode != ROOT) {
                let place = (row.parent, row.used_name().to_owned());
                round.namesakes.entry(place).or_default().push(row.inode);
            }
        }
        let Some(place) = self.row(inode).map(|row| (row.parent, row.used_name().to_owned())) else { return };
        let Some(mut alike) = round.namesakes.insert(place, Vec::new()) else { return };
        alike.sort_by_key(|inode| {
            let entry = tree.by_inode(*inode);
            let full = entry.is_some_and(|entry| entry.child_count() > 0);
            Reverse((full, entry.map(|entry| entry.version()), Reverse(*inode)))
        });
        for inode in alike.into_iter().skip(1) {
            self.rename(finding, inode, &self.other_name(inode, "duplicate"));
        }
    }

    /// Of several configurations of one guest, the one that was changed last keeps its name.
    fn mend_duplicate_vmid(&mut self, finding: &Finding, vmid: u32, tree: &Tree, round: &mut Round) {
        if round.guests.is_empty() {
            for (path, entry) in tree.files() {
                if let Some(guest) = GuestPath::parse(&path) {
                    round.guests.entry(guest.vmid).or_default().push((entry.version(), entry.inode()));
                }
            }
        }
        let mut alike = round.guests.insert(vmid, Vec::new()).unwrap_or_default();
        alike.sort_by_key(|(version, inode)| (Reverse(*version), *inode));
        for (_, inode) in alike.into_iter().skip(1) {
            self.rename(finding, inode, &self.other_name(inode, "duplicate"));
        }
    }

    /// Above an entry that no path leads to is a file, or a circle of directories, which is opened at its oldest one.
    fn mend_unreachable(&mut self, finding: &Finding, inode: u64, tree: &Tree, round: &mut Round) {
        let mut above: Vec<u64> = Vec::new();
        let mut at = tree.by_inode(inode);
        while let Some(entry) = at.filter(|entry| entry.inode() != ROOT) {
            if round.seen.contains(&entry.inode()) {
                // a branch of what was looked at in this round
                round.seen.extend(above);
                return;
            }
            if let Some(start) = above.iter().position(|seen| *seen == entry.inode()) {
                let oldest = above[start..].iter().copied().min().unwrap_or(inode);
                let name = self.free_name(ROOT, &lost(oldest));
                self.touch(finding, oldest, Remedy::Attach { parent: ROOT, name });
                break;
            }
            above.push(entry.inode());
            let parent = tree.by_inode(entry.parent());
            if parent.is_some_and(|parent| !parent.is_directory()) {
                self.mend_file_parent(finding, entry.parent(), round);
                break;
            }
            at = parent;
        }
        round.seen.extend(above);
    }

    /// Rows of an inode that a later row has, too, get inodes of their own.
    fn renumber_earlier(&mut self, finding: &Finding, inode: u64) {
        let Some(last) = self.by_inode.get(&inode).copied() else { return };
        let earlier: Vec<usize> = self.rows[..last]
            .iter()
            .enumerate()
            .filter(|(_, row)| row.inode == inode)
            .map(|(at, _)| at)
            .collect();
        for at in earlier {
            let to = self.next();
            if let Some(row) = self.rows.get_mut(at) {
                (row.inode, row.version) = (to, to);
                let (finding, name) = (Some(finding.clone()), row.name.clone());
                self.steps.push(Step { finding, name, inode, remedy: Remedy::Renumber { to } });
            }
        }
    }

    /// Gives an entry a new inode, which those in it name as their directory from then on.
    fn renumber(&mut self, finding: &Finding, inode: u64) {
        let name = self.name_of(inode);
        let to = self.next();
        if let Some(row) = self.row(inode) {
            (row.inode, row.version) = (to, to);
        }
        // those in the root directory are not in the row that has its inode by mistake
        for row in self.rows.iter_mut().filter(|row| row.parent == inode && inode != ROOT) {
            row.parent = to;
        }
        self.by_inode.clear();
        self.index();
        let finding = Some(finding.clone());
        self.steps.push(Step { finding, name, inode, remedy: Remedy::Renumber { to } });
    }

    /// After all other steps the tree is at the version of the last one.
    fn raise_tree_version(&mut self, database: &Database) -> bool {
        if self.steps.is_empty() || database.tree().version() >= self.last {
            return false;
        }
        self.set_tree_version(None);
        true
    }

    fn set_tree_version(&mut self, finding: Option<Finding>) {
        // the last step's version, unless the tree has it already
        let now = self.row(ROOT).map_or(0, |row| row.version);
        let to = if self.last > now { self.last } else { self.next() };
        let mtime = self.newest_time();
        let from = self.row(ROOT).map(|row| std::mem::replace(&mut row.version, to));
        if from.is_none() {
            self.by_inode.insert(ROOT, self.rows.len());
            self.rows.push(version_row(to, 0, mtime));
        }
        let from = from.filter(|from| *from != 0);
        let (name, inode) = (BString::from(VERSION_ROW_NAME), ROOT);
        self.steps.push(Step { finding, name, inode, remedy: Remedy::SetTreeVersion { from, to } });
    }

    /// Another name for an entry: its own as far as it can be used, with a word and the inode behind it.
    fn other_name(&self, inode: u64, word: &str) -> BString {
        let name = self.name_of(inode);
        let kept = name.get(..KEPT_NAME).unwrap_or(&name);
        let mut other = BString::from(kept.replace(b"/", b"_"));
        other.retain(|byte| *byte != 0);
        other.extend_from_slice(format!(".{word}-{inode}").as_bytes());
        other
    }

    /// `wanted`, with a number behind it if the directory has an entry of that name.
    fn free_name(&self, parent: u64, wanted: &BString) -> BString {
        let taken = |name: &BString| {
            self.rows.iter().any(|row| row.parent == parent && row.inode != ROOT && row.used_name() == name)
        };
        let mut name = wanted.clone();
        let mut number = 1_u32;
        while taken(&name) {
            number += 1;
            name = wanted.clone();
            name.extend_from_slice(format!("-{number}").as_bytes());
        }
        name
    }
}

/// What was done in one round already.
#[derive(Default)]
struct Round {
    done: HashSet<u64>,
    seen: HashSet<u64>,
    /// Inodes of all entries by directory and name; emptied where they have been mended.
    namesakes: HashMap<(u64, BString), Vec<u64>>,
    guests: BTreeMap<u32, Vec<(u64, u64)>>,
}

fn lost(inode: u64) -> BString {
    BString::from(format!("lost+found-{inode}"))
}

/// The class of findings for which the tree's version must be raised: the last.
const COUNT: u8 = 13;

/// The class of a finding, from 1; 0: there is no remedy, or no need for one.
fn class(finding: &Finding) -> u8 {
    let insane = finding.inode.is_some_and(|inode| inode > LARGEST);
    match &finding.rule {
        Rule::DuplicateInode
        | Rule::VersionRowName { .. }
        | Rule::EmptyName
        | Rule::UnknownType { .. }
        | Rule::DirectoryWithData { .. } => 1,
        Rule::MissingParent { .. } => 2,
        Rule::ParentIsFile { .. } => 3,
        Rule::DuplicateName { .. } => 4,
        Rule::NameWithNul { .. } => 5,
        Rule::FileAsGuestDirectory { .. } => 6,
        Rule::DuplicateVmid { .. } => 7,
        Rule::Unreachable => 8,
        Rule::Shadowed | Rule::NameWithSlash | Rule::DotName { .. } | Rule::NameTooLong { .. } => 9,
        Rule::VersionRowParent { .. } | Rule::VersionRowData { .. } => 10,
        Rule::InodeAboveVersion { .. } if insane => 11,
        Rule::VersionAboveTree { version, .. } if *version > LARGEST => 12,
        Rule::VersionAboveTree { .. }
        | Rule::InodeAboveVersion { .. }
        | Rule::VersionRowMissing
        | Rule::VersionRowZero => COUNT,
        _ => 0,
    }
}
