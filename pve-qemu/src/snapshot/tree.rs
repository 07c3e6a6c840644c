// SPDX-License-Identifier: MIT OR Apache-2.0
//! The tree that the snapshots of a VM form.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, ByteSlice};
use pve_config::guest::{VmConfig, VmSection};

/// A snapshot in the tree, or the current state, which is the child of the last one that was made or gone back to.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotNode<'c> {
    /// Name of the snapshot; `current` is the state now.
    pub name: &'c BStr,
    /// Number of snapshots above it.
    pub depth: usize,
    /// When it was made, in seconds since 1970.
    pub time: Option<i64>,
    /// Its description.
    pub description: Option<&'c BStr>,
    /// Whether it has the memory.
    pub with_memory: bool,
    /// Why it is not usable: `prepare` or `delete`.
    pub state: Option<&'c BStr>,
}

/// The snapshots, parents before their children, siblings by time and name, the current state last among its siblings.
///
/// A snapshot whose parent does not exist is a root; so is one of a circle of parents, which only a hand-made
/// configuration has.
///
/// ```
/// use pve_config::guest::VmConfig;
/// use pve_qemu::snapshot::snapshot_tree;
///
/// let text = b"parent: s2\n\n[s1]\nsnaptime: 1\n\n[s2]\nparent: s1\nsnaptime: 2\n\n[s3]\nparent: s1\nsnaptime: 3\n";
/// let (config, _) = VmConfig::parse(text);
/// let tree: Vec<String> = snapshot_tree(&config).iter().map(|node| format!("{}{}", " ".repeat(node.depth), node.name)).collect();
/// assert_eq!(tree, ["s1", " s2", "  current", " s3"]);
/// ```
#[must_use]
pub fn snapshot_tree<'c>(config: &'c VmConfig<'_>) -> Vec<SnapshotNode<'c>> {
    let mut children: BTreeMap<Option<&BStr>, Vec<(bool, i64, &BStr)>> = BTreeMap::new();
    let known: BTreeSet<&BStr> = config.snapshots().map(|(name, _)| name).collect();
    let parent = |section: &'c VmSection<'_>| section.truthy("parent").filter(|name| known.contains(name));
    for (name, section) in config.snapshots() {
        let time = time(section).unwrap_or(0);
        children.entry(parent(section)).or_default().push((false, time, name));
    }
    let current = BStr::new("current");
    children.entry(parent(&config.main)).or_default().push((true, 0, current));
    children.values_mut().for_each(|siblings| siblings.sort());

    let mut walk = Walk { config, children, seen: BTreeSet::new(), nodes: Vec::new() };
    walk.visit(None, 0);
    // whoever was not reached hangs on a circle
    for (name, _) in config.snapshots() {
        if !walk.seen.contains(name) {
            walk.add(name, 0);
            walk.visit(Some(name), 1);
        }
    }
    walk.nodes
}

struct Walk<'c, 't> {
    config: &'c VmConfig<'t>,
    children: BTreeMap<Option<&'c BStr>, Vec<(bool, i64, &'c BStr)>>,
    seen: BTreeSet<&'c BStr>,
    nodes: Vec<SnapshotNode<'c>>,
}

impl<'c> Walk<'c, '_> {
    fn visit(&mut self, parent: Option<&'c BStr>, depth: usize) {
        // taken out: a circle ends here
        let mut waiting: Vec<(usize, &'c BStr, bool)> = Vec::new();
        let push = |waiting: &mut Vec<_>, children: Option<Vec<(bool, i64, &'c BStr)>>, depth| {
            let children = children.unwrap_or_default();
            waiting.extend(children.into_iter().rev().map(|(is_current, _, name)| (depth, name, is_current)));
        };
        push(&mut waiting, self.children.remove(&parent), depth);
        while let Some((depth, name, is_current)) = waiting.pop() {
            if is_current {
                let (time, description, state) = (None, None, None);
                let with_memory = false;
                self.nodes.push(SnapshotNode { name, depth, time, description, with_memory, state });
            } else if self.add(name, depth) {
                push(&mut waiting, self.children.remove(&Some(name)), depth + 1);
            }
        }
    }

    fn add(&mut self, name: &'c BStr, depth: usize) -> bool {
        let Some(section) = self.config.snapshot(name).filter(|_| self.seen.insert(name)) else {
            return false;
        };
        self.nodes.push(SnapshotNode {
            name,
            depth,
            time: time(section),
            description: section.truthy("description"),
            with_memory: section.truthy("vmstate").is_some(),
            state: section.truthy("snapstate"),
        });
        true
    }
}

fn time(section: &VmSection<'_>) -> Option<i64> {
    section.get("snaptime")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &[u8]) -> String {
        let (config, _) = VmConfig::parse(text);
        let tree = snapshot_tree(&config);
        tree.iter().map(|node| format!("{}{} ", node.depth, node.name)).collect()
    }

    #[test]
    fn missing_parents_and_circles() {
        assert_eq!(shown(b"parent: gone\n[a1]\nparent: gone\n"), "0a1 0current ");
        assert_eq!(shown(b"[a1]\nparent: b1\n[b1]\nparent: a1\n"), "0current 0a1 1b1 ");
        assert_eq!(shown(b"parent: a1\n[a1]\nparent: a1\n"), "0a1 1current ");
    }
}
