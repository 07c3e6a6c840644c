// SPDX-License-Identifier: MIT OR Apache-2.0
//! High availability: which guests the cluster keeps running, and on which nodes.
//!
//! Three section files below `/etc/pve/ha` say so: `resources.cfg` names the guests, `rules.cfg` and (before Proxmox VE 9)
//! `groups.cfg` the nodes. They are read as they stand: a property that is not known here is kept, and can be asked for.
//! To change one and leave all other bytes alone use [`section::Document`](crate::section::Document).
//!
//! How sections are written, and the forms of resource ids and of nodes with a priority, are those of the reference (spec:
//! section-config; formats, "Access control, HA, replication"). Names and meanings of the properties are those of the
//! public manual page `ha-manager(1)`: no recorded case has them, so they were not checked against the reference.
//!
//! ```
//! use pve_config::ha::{HaResources, HaRules, HaState};
//! use pve_config::section::Document;
//!
//! let text = b"vm: 100\n\tstate started\n\tmax_restart 3\n\nct: 200\n\tstate disabled\n\tcomment not yet\n";
//! let resources = HaResources::parse(text);
//! let web = resources.of_guest(100).unwrap();
//! assert_eq!((web.state(), web.section.text("max_restart")), (Some(HaState::Started), Some("3".into())));
//! assert_eq!(resources.of_guest(200).unwrap().state(), Some(HaState::Disabled));
//!
//! let rules = HaRules::parse(b"node-affinity: fast\n\tresources vm:100,ct:200\n\tnodes pve1:2,pve2\n");
//! let fast = rules.rules().next().unwrap();
//! assert!(fast.resources().eq(["vm:100", "ct:200"]) && fast.nodes().eq(["pve1", "pve2"]));
//!
//! let mut document = Document::parse(text);
//! document.set(b"100", b"state", Some(b"ignored"))?;
//! assert!(document.to_bytes().starts_with(b"vm: 100\n\tstate ignored\n\tmax_restart 3\n"));
//! # Ok::<(), pve_config::section::EditError>(())
//! ```

use std::fmt;

use bstr::{BStr, ByteSlice};
use serde::{Serialize, Serializer};

use crate::format::split_list;
use crate::section::{GuestIndex, Outline, RawSection};

/// What `ha/resources.cfg` says.
#[derive(Debug, Clone, Default)]
pub struct HaResources<'a> {
    outline: Outline<'a>,
    guests: GuestIndex,
}

impl<'a> HaResources<'a> {
    /// The file, below `/etc/pve`.
    pub const PATH: &'static str = "ha/resources.cfg";

    /// Reads a text; nothing in it is fatal.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        let outline = Outline::parse(text).effective();
        let guests = GuestIndex::new(&outline, |section| HaResource { section }.vmid());
        HaResources { outline, guests }
    }

    /// Every resource that counts, in file order.
    pub fn resources(&self) -> impl Iterator<Item = HaResource<'a, '_>> {
        self.outline.sections().map(|section| HaResource { section })
    }

    /// The resource that is this guest: `vm: ID` or `ct: ID`. If a broken file has both, the first.
    #[must_use]
    pub fn of_guest(&self, vmid: u32) -> Option<HaResource<'a, '_>> {
        self.guests.sections(&self.outline, vmid).next().map(|section| HaResource { section })
    }
}

/// A guest that the cluster keeps in a state, or another service.
#[derive(Debug, Clone, Copy)]
pub struct HaResource<'a, 'o> {
    /// The section as it stands in the file.
    pub section: RawSection<'a, 'o>,
}

impl<'a> HaResource<'a, '_> {
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

    /// The group of nodes that it runs on (before Proxmox VE 9).
    #[must_use]
    pub fn group(&self) -> Option<&'a BStr> {
        self.section.text("group")
    }
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
        HaRules { outline: Outline::parse(text).effective() }
    }

    /// Every rule that counts, in file order, disabled ones included.
    pub fn rules(&self) -> impl Iterator<Item = HaRule<'a, '_>> {
        self.outline.sections().map(|section| HaRule { section })
    }
}

/// A rule about where resources run.
#[derive(Debug, Clone, Copy)]
pub struct HaRule<'a, 'o> {
    /// The section as it stands in the file.
    pub section: RawSection<'a, 'o>,
}

impl<'a> HaRule<'a, '_> {
    /// The ids of the resources: `vm:100`.
    pub fn resources(&self) -> impl Iterator<Item = &'a BStr> + use<'a> {
        let list = self.section.text("resources").unwrap_or_default();
        split_list(list).map(BStr::new)
    }

    /// The nodes that the resources run on; none of a rule that is not a `node-affinity`.
    pub fn nodes(&self) -> impl Iterator<Item = &'a BStr> + use<'a> {
        let list = self.section.text("nodes").filter(|_| self.section.kind == "node-affinity");
        nodes(list.unwrap_or_default())
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
        HaGroups { outline: Outline::parse(text).effective() }
    }

    /// Every group that counts, in file order.
    pub fn groups(&self) -> impl Iterator<Item = HaGroup<'a, '_>> {
        self.outline.sections().map(|section| HaGroup { section })
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
    /// The section as it stands in the file.
    pub section: RawSection<'a, 'o>,
}

impl<'a> HaGroup<'a, '_> {
    /// Its nodes.
    pub fn nodes(&self) -> impl Iterator<Item = &'a BStr> + use<'a> {
        nodes(self.section.text("nodes").unwrap_or_default())
    }
}

/// The names of a list of nodes, each `NODE` or `NODE:PRIORITY`. What has another priority than a number is left out.
fn nodes(list: &BStr) -> impl Iterator<Item = &BStr> {
    split_list(list).filter_map(|item| match item.rsplit_once_str(":") {
        Some((name, priority)) => priority.iter().all(u8::is_ascii_digit).then_some(name.as_bstr()),
        None => Some(item.as_bstr()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_does_not_say_has_a_default() {
        let resources = HaResources::parse(b"vm: 100\n\nct: 200\n\tstate sleeping\n\nvm: a\n");
        let found: Vec<_> = resources.resources().collect();
        assert_eq!((found[0].state(), found[1].state()), (Some(HaState::Started), None));
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
            b"resource-affinity: a\n\tresources vm:1 vm:2\n\taffinity negative\n\tnodes x\n\nnode-affinity: c\n",
        );
        let [apart, nowhere] = rules.rules().collect::<Vec<_>>()[..] else { panic!() };
        assert!(apart.resources().eq(["vm:1", "vm:2"]) && apart.nodes().next().is_none());
        assert!(nowhere.resources().next().is_none() && nowhere.nodes().next().is_none());

        let groups = HaGroups::parse(b"group: g\n\tnodes a:10,b,c:x\n\trestricted 1\n");
        assert!(groups.get(b"g").unwrap().nodes().eq(["a", "b"]) && groups.get(b"h").is_none());
    }
}
