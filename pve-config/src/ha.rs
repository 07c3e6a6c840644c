// SPDX-License-Identifier: MIT OR Apache-2.0
//! High availability: which guests the cluster keeps running, on which nodes, and together with which others.
//!
//! Three section files below `/etc/pve/ha` say so: `resources.cfg` names the guests, `rules.cfg` and (before Proxmox VE 9)
//! `groups.cfg` the nodes. They are read as they stand: a property that is not known here is kept, and can be asked for.
//! To change one and leave all other bytes alone use [`section::Document`](crate::section::Document).
//!
//! ```
//! use pve_config::ha::{HaResources, HaRules, HaState, RuleKind};
//! use pve_config::section::Document;
//!
//! let text = b"vm: 100\n\tstate started\n\tmax_restart 3\n\nct: 200\n\tstate disabled\n\tcomment not yet\n";
//! let resources = HaResources::parse(text);
//! let web = resources.of_guest(100).unwrap();
//! assert_eq!((web.state(), web.max_restart(), web.max_relocate()), (Some(HaState::Started), Some(3), Some(1)));
//! assert_eq!(resources.of_guest(200).unwrap().state(), Some(HaState::Disabled));
//!
//! let rules = HaRules::parse(b"node-affinity: fast\n\tresources vm:100,ct:200\n\tnodes pve1:2,pve2\n\tstrict 1\n");
//! let fast = rules.of_resource("vm:100").next().unwrap();
//! let RuleKind::NodeAffinity { nodes, strict } = fast.kind().unwrap() else { panic!() };
//! assert_eq!((nodes[0].name, nodes[0].priority, nodes[1].priority, strict), ("pve1".into(), 2, 0, true));
//!
//! let mut document = Document::parse(text);
//! document.set(b"100", b"state", Some(b"ignored"))?;
//! assert!(document.to_bytes().starts_with(b"vm: 100\n\tstate ignored\n\tmax_restart 3\n"));
//! # Ok::<(), pve_config::section::EditError>(())
//! ```

use std::collections::HashMap;
use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::{Serialize, Serializer};

use crate::format::split_list;
use crate::section::{Outline, RawSection};

/// What `ha/resources.cfg` says.
#[derive(Debug, Clone, Default)]
pub struct HaResources<'a> {
    outline: Outline<'a>,
    /// Places of the sections that count.
    effective: Vec<usize>,
    guests: HashMap<u32, usize>,
}

impl<'a> HaResources<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "ha/resources.cfg";

    /// Reads a text; nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        let outline = Outline::parse(text);
        let effective = outline.effective_places();
        let vmid = |at: &usize| HaResource { section: outline.section_at(*at)? }.vmid();
        // of two guests with the same number, which only a broken file has, the first is found
        let guests = effective.iter().rev().filter_map(|at| Some((vmid(at)?, *at))).collect();
        HaResources { outline, effective, guests }
    }

    /// Every resource that counts, in file order.
    pub fn resources(&self) -> impl Iterator<Item = HaResource<'a, '_>> {
        let sections = self.effective.iter().filter_map(|at| self.outline.section_at(*at));
        sections.map(|section| HaResource { section })
    }

    /// The resource that is this guest: `vm: ID` or `ct: ID`.
    #[must_use]
    pub fn of_guest(&self, vmid: u32) -> Option<HaResource<'a, '_>> {
        Some(HaResource { section: self.outline.section_at(*self.guests.get(&vmid)?)? })
    }
}

/// A guest that the cluster keeps in a state, or another service.
#[derive(Debug, Clone, Copy)]
pub struct HaResource<'a, 'o> {
    section: RawSection<'a, 'o>,
}

impl<'a, 'o> HaResource<'a, 'o> {
    /// The section as it stands in the file.
    #[must_use]
    pub fn section(&self) -> RawSection<'a, 'o> {
        self.section
    }

    /// The id that rules name it by: `vm:100`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}:{}", self.section.kind, self.section.id)
    }

    /// The guest, if it is one.
    #[must_use]
    pub fn vmid(&self) -> Option<u32> {
        let is_guest = self.section.kind == "vm" || self.section.kind == "ct";
        self.section.id.to_str().ok().filter(|_| is_guest)?.parse().ok()
    }

    /// The state that it is kept in; [`HaState::Started`] if the file does not say. `None` for a word that is no state.
    #[must_use]
    pub fn state(&self) -> Option<HaState> {
        self.section.text("state").map_or(Some(HaState::Started), HaState::from_bytes)
    }

    /// How often a start that failed is tried again on the same node; 1 if the file does not say.
    #[must_use]
    pub fn max_restart(&self) -> Option<u64> {
        count(self.section, "max_restart")
    }

    /// How often it is moved to another node when it does not start; 1 if the file does not say.
    #[must_use]
    pub fn max_relocate(&self) -> Option<u64> {
        count(self.section, "max_relocate")
    }

    /// Whether it goes back to a node that it prefers as soon as that is there.
    #[must_use]
    pub fn fails_back(&self) -> bool {
        self.section.switch("failback").unwrap_or(true)
    }

    /// The group of nodes that it runs on (before Proxmox VE 9).
    #[must_use]
    pub fn group(&self) -> Option<&'a BStr> {
        self.section.text("group")
    }
}

fn count(section: RawSection<'_, '_>, key: &str) -> Option<u64> {
    section.text(key).map_or(Some(1), |text| text.to_str().ok()?.parse().ok())
}

/// The state that a resource is kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HaState {
    /// It runs, and is started elsewhere when its node fails. Also written `enabled`.
    Started,
    /// It does not run, but is moved when its node fails.
    Stopped,
    /// It does not run, and stays where it is.
    Disabled,
    /// It is left alone.
    Ignored,
}

impl HaState {
    /// The state with this name.
    #[must_use]
    pub fn from_bytes(name: &BStr) -> Option<Self> {
        Some(match &**name {
            b"started" | b"enabled" => HaState::Started,
            b"stopped" => HaState::Stopped,
            b"disabled" => HaState::Disabled,
            b"ignored" => HaState::Ignored,
            _ => return None,
        })
    }

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HaState::Started => "started",
            HaState::Stopped => "stopped",
            HaState::Disabled => "disabled",
            HaState::Ignored => "ignored",
        }
    }
}

impl fmt::Display for HaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for HaState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A node that resources run on by preference: `NODE` or `NODE:PRIORITY`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct HaNode<'a> {
    /// The node.
    pub name: &'a BStr,
    /// How much it is preferred: the node with the highest number is taken. 0 if none is given.
    pub priority: u64,
}

impl<'a> HaNode<'a> {
    /// The nodes of a list. What is no node with a priority is left out.
    pub fn list(text: &'a BStr) -> impl Iterator<Item = HaNode<'a>> {
        split_list(text).filter_map(|item| match item.rsplit_once_str(":") {
            Some((name, priority)) => {
                let priority = priority.to_str().ok()?.parse().ok()?;
                Some(HaNode { name: name.as_bstr(), priority })
            }
            None => Some(HaNode { name: item.as_bstr(), priority: 0 }),
        })
    }
}

/// What `ha/rules.cfg` says.
#[derive(Debug, Clone, Default)]
pub struct HaRules<'a> {
    outline: Outline<'a>,
}

impl<'a> HaRules<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "ha/rules.cfg";

    /// Reads a text; nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        HaRules { outline: Outline::parse(text) }
    }

    /// Every rule that counts, in file order, disabled ones included.
    pub fn rules(&self) -> impl Iterator<Item = HaRule<'a, '_>> {
        self.outline.effective().map(|section| HaRule { section })
    }

    /// The rules about a resource, given as `vm:100`.
    pub fn of_resource(&self, id: &str) -> impl Iterator<Item = HaRule<'a, '_>> {
        self.rules().filter(move |rule| rule.resources().any(|resource| resource == id))
    }
}

/// A rule about where resources run.
#[derive(Debug, Clone, Copy)]
pub struct HaRule<'a, 'o> {
    section: RawSection<'a, 'o>,
}

/// What a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum RuleKind<'a> {
    /// `node-affinity`: the resources run on these nodes.
    NodeAffinity {
        /// The nodes.
        nodes: Vec<HaNode<'a>>,
        /// They run nowhere else, even if none of the nodes is there.
        strict: bool,
    },
    /// `resource-affinity`: the resources run on one node, or each on another.
    ResourceAffinity {
        /// On one node.
        together: bool,
    },
}

impl<'a, 'o> HaRule<'a, 'o> {
    /// The section as it stands in the file.
    #[must_use]
    pub fn section(&self) -> RawSection<'a, 'o> {
        self.section
    }

    /// The ids of the resources: `vm:100`.
    pub fn resources(&self) -> impl Iterator<Item = &'a BStr> + use<'a> {
        let list = self.section.text("resources").unwrap_or_default();
        split_list(list).map(BStr::new)
    }

    /// Whether it is switched off.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.section.switch("disable").unwrap_or(false)
    }

    /// What it asks for; `None` for a rule of a type that is not known here, or that does not say what it must.
    #[must_use]
    pub fn kind(&self) -> Option<RuleKind<'a>> {
        match &**self.section.kind {
            b"node-affinity" => Some(RuleKind::NodeAffinity {
                nodes: HaNode::list(self.section.text("nodes")?).collect(),
                strict: self.section.switch("strict").unwrap_or(false),
            }),
            b"resource-affinity" => match &**self.section.text("affinity")? {
                b"positive" => Some(RuleKind::ResourceAffinity { together: true }),
                b"negative" => Some(RuleKind::ResourceAffinity { together: false }),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What `ha/groups.cfg` says, which rules have taken the place of.
#[derive(Debug, Clone, Default)]
pub struct HaGroups<'a> {
    outline: Outline<'a>,
}

impl<'a> HaGroups<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "ha/groups.cfg";

    /// Reads a text; nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        HaGroups { outline: Outline::parse(text) }
    }

    /// Every group that counts, in file order.
    pub fn groups(&self) -> impl Iterator<Item = HaGroup<'a, '_>> {
        self.outline.effective().map(|section| HaGroup { section })
    }

    /// The group with this name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<HaGroup<'a, '_>> {
        self.groups().find(|group| group.section.id == name)
    }
}

/// A group of nodes.
#[derive(Debug, Clone, Copy)]
pub struct HaGroup<'a, 'o> {
    section: RawSection<'a, 'o>,
}

impl<'a, 'o> HaGroup<'a, 'o> {
    /// The section as it stands in the file.
    #[must_use]
    pub fn section(&self) -> RawSection<'a, 'o> {
        self.section
    }

    /// Its nodes.
    pub fn nodes(&self) -> impl Iterator<Item = HaNode<'a>> + use<'a> {
        HaNode::list(self.section.text("nodes").unwrap_or_default())
    }

    /// Whether its resources run nowhere else.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.section.switch("restricted").unwrap_or(false)
    }

    /// Whether its resources go back to the node of the highest priority as soon as that is there.
    #[must_use]
    pub fn fails_back(&self) -> bool {
        !self.section.switch("nofailback").unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_does_not_say_has_a_default() {
        let resources = HaResources::parse(
            b"vm: 100\n\nct: 200\n\tstate sleeping\n\tmax_restart x\n\tfailback 0\n\nvm: a\n",
        );
        let found: Vec<_> = resources.resources().collect();
        assert_eq!(found[0].state(), Some(HaState::Started));
        assert_eq!((found[0].max_restart(), found[0].fails_back()), (Some(1), true));
        assert_eq!((found[1].state(), found[1].max_restart(), found[1].fails_back()), (None, None, false));
        assert_eq!((found[2].vmid(), found[2].id()), (None, "vm:a".to_owned()));
        assert_eq!(HaState::from_bytes("enabled".into()).unwrap().to_string(), "started");
    }

    #[test]
    fn the_last_section_of_an_id_counts() {
        let resources = HaResources::parse(b"vm: 100\n\tstate stopped\n\nvm: 100\n\tgroup g\n");
        assert_eq!(resources.resources().count(), 1);
        assert_eq!(resources.of_guest(100).unwrap().group(), Some("g".into()));
        assert!(resources.of_guest(101).is_none());
    }

    #[test]
    fn rules_and_groups() {
        let rules = HaRules::parse(
            b"resource-affinity: a\n\tresources vm:1 vm:2\n\taffinity negative\n\tdisable\n\nresource-affinity: b\n\
            \taffinity x\n\nnode-affinity: c\n\nother: d\n\tresources vm:1\n",
        );
        let kinds: Vec<_> = rules.rules().map(|rule| rule.kind()).collect();
        assert_eq!(kinds, [Some(RuleKind::ResourceAffinity { together: false }), None, None, None]);
        assert!(rules.rules().next().unwrap().is_disabled());
        assert_eq!(rules.of_resource("vm:1").count(), 2);

        let groups = HaGroups::parse(b"group: g\n\tnodes a:10,b,c:x\n\trestricted 1\n\tnofailback\n");
        let group = groups.get(b"g").unwrap();
        let nodes: Vec<_> = group.nodes().map(|node| (node.name.to_string(), node.priority)).collect();
        assert_eq!(nodes, [("a".to_owned(), 10), ("b".to_owned(), 0)]);
        assert!(group.is_restricted() && !group.fails_back());
    }
}
