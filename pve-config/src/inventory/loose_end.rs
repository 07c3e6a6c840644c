// SPDX-License-Identifier: MIT OR Apache-2.0
//! References of the cluster's other files that lead nowhere: high availability, jobs, replication.

use std::collections::HashSet;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::ContentType;
use serde::{Serialize, Serializer};

use super::Inventory;
use crate::guest::GuestKind;
use crate::ha::{HaGroups, HaResources, HaRules};
use crate::job::{Jobs, ReplicationJobs, Selection};
use crate::section::RawSection;

/// A reference that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LooseEnd {
    /// Path of the file, below `/etc/pve`.
    pub file: &'static str,
    /// Number of the line with the header of the section, counted from 1.
    pub line: usize,
    /// The section: type and id.
    pub section: BString,
    /// What is wrong.
    pub reason: LooseReason,
}

/// Why a reference leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LooseReason {
    /// There is no guest with that id.
    #[error("there is no guest {vmid}")]
    NoGuest {
        /// The id.
        vmid: u32,
    },
    /// The guest is of the other kind than the section says.
    #[error("guest {vmid} is a {}", match kind { GuestKind::Qemu => "virtual machine", GuestKind::Lxc => "container" })]
    OtherKind {
        /// The guest.
        vmid: u32,
        /// What it is.
        kind: GuestKind,
    },
    /// There is no such node.
    #[error("there is no node {node:?}")]
    NoNode {
        /// The node.
        node: BString,
    },
    /// There is no such storage.
    #[error("there is no storage {storage:?}")]
    NoStorage {
        /// The storage.
        storage: BString,
    },
    /// The storage is not configured for backups.
    #[error("storage {storage:?} is not configured for backups")]
    NoBackups {
        /// The storage.
        storage: BString,
    },
    /// There is no such group.
    #[error("there is no group {group:?}")]
    NoGroup {
        /// The group.
        group: BString,
    },
    /// There is no such resource.
    #[error("{resource:?} is no resource of high availability")]
    NoResource {
        /// The resource.
        resource: BString,
    },
    /// The id of a replication job must begin with the guest.
    #[error("the id does not name a guest: it is VMID-NUMBER")]
    JobId,
}

impl LooseReason {
    /// Stable name of the rule, in kebab case.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            LooseReason::NoGuest { .. } => "no-guest",
            LooseReason::OtherKind { .. } => "other-kind",
            LooseReason::NoNode { .. } => "no-node",
            LooseReason::NoStorage { .. } => "no-storage",
            LooseReason::NoBackups { .. } => "no-backups",
            LooseReason::NoGroup { .. } => "no-group",
            LooseReason::NoResource { .. } => "no-resource",
            LooseReason::JobId => "job-id",
        }
    }
}

impl Serialize for LooseEnd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut out = serializer.serialize_struct("LooseEnd", 5)?;
        out.serialize_field("file", self.file)?;
        out.serialize_field("line", &self.line)?;
        out.serialize_field("section", &self.section.to_str_lossy())?;
        out.serialize_field("code", self.reason.code())?;
        out.serialize_field("message", &self.reason.to_string())?;
        out.end()
    }
}

impl Inventory<'_> {
    /// The references of high availability, jobs and replication that lead nowhere, file by file. Of a cluster that is not
    /// known whole (no node at all), nodes are not missed.
    ///
    /// ```
    /// use pve_config::inventory::Inventory;
    ///
    /// let files = [
    ///     ("nodes/pve1/qemu-server/100.conf", &b""[..]),
    ///     ("jobs.cfg", b"vzdump: nightly\n\tvmid 100,101\n\tstorage nas\n"),
    /// ];
    /// let cluster = Inventory::new(files);
    /// let loose: Vec<String> = cluster.loose_ends().iter().map(|end| end.reason.to_string()).collect();
    /// assert_eq!(loose, ["there is no guest 101", "there is no storage \"nas\""]);
    /// ```
    #[must_use]
    pub fn loose_ends(&self) -> Vec<LooseEnd> {
        let mut found = Found { cluster: self, ends: Vec::new() };
        for resource in self.ha_resources.resources() {
            let at = (HaResources::PATH, resource.section);
            let wanted = if resource.section.kind == "ct" { GuestKind::Lxc } else { GuestKind::Qemu };
            if let Some(vmid) = resource.vmid() {
                found.guest(at, vmid, Some(wanted));
            }
            if let Some(group) = resource.group().filter(|group| self.ha_groups.get(group).is_none()) {
                found.add(at, LooseReason::NoGroup { group: group.to_owned() });
            }
        }
        let resources: HashSet<BString> =
            self.ha_resources.resources().map(|resource| resource.id().into()).collect();
        for rule in self.ha_rules.rules() {
            let at = (HaRules::PATH, rule.section);
            for id in rule.resources() {
                if !resources.contains(id) {
                    found.add(at, LooseReason::NoResource { resource: id.to_owned() });
                }
            }
            rule.nodes().for_each(|node| found.node(at, node));
        }
        for group in self.ha_groups.groups() {
            group.nodes().for_each(|node| found.node((HaGroups::PATH, group.section), node));
        }
        for job in self.jobs.backups() {
            let at = (Jobs::PATH, job.section);
            if let Selection::Guests(guests) = job.selection() {
                guests.iter().for_each(|vmid| found.guest(at, *vmid, None));
            }
            if let Some(node) = job.node() {
                found.node(at, node);
            }
            if let Some(storage) = job.storage() {
                found.backup_storage(at, storage);
            }
        }
        for job in self.replication.jobs() {
            let at = (ReplicationJobs::PATH, job.section);
            match job.vmid() {
                Some(vmid) => found.guest(at, vmid, None),
                None => found.add(at, LooseReason::JobId),
            }
            if let Some(node) = job.target() {
                found.node(at, node);
            }
        }
        found.ends
    }
}

/// A section and its file.
type Place<'p> = (&'static str, RawSection<'p, 'p>);

struct Found<'i> {
    cluster: &'i Inventory<'i>,
    ends: Vec<LooseEnd>,
}

impl Found<'_> {
    fn add(&mut self, (file, section): Place<'_>, reason: LooseReason) {
        let name = [section.kind.as_bytes(), b": ", section.id].concat().into();
        self.ends.push(LooseEnd { file, line: section.line, section: name, reason });
    }

    fn guest(&mut self, at: Place<'_>, vmid: u32, wanted: Option<GuestKind>) {
        match self.cluster.guest(vmid) {
            None => self.add(at, LooseReason::NoGuest { vmid }),
            Some(guest) if wanted.is_some_and(|wanted| guest.kind() != wanted) => {
                self.add(at, LooseReason::OtherKind { vmid, kind: guest.kind() });
            }
            Some(_) => {}
        }
    }

    fn node(&mut self, at: Place<'_>, node: &BStr) {
        let nodes = &self.cluster.nodes;
        if !nodes.is_empty() && !nodes.iter().any(|known| known == node) {
            self.add(at, LooseReason::NoNode { node: node.to_owned() });
        }
    }

    fn backup_storage(&mut self, at: Place<'_>, storage: &BStr) {
        match self.cluster.storages.get(storage) {
            None => self.add(at, LooseReason::NoStorage { storage: storage.to_owned() }),
            Some(found) if !found.holds(ContentType::Backup) => {
                self.add(at, LooseReason::NoBackups { storage: storage.to_owned() });
            }
            Some(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_is_followed() {
        let files = [
            ("storage.cfg", &b"lvm: fast\n\tvgname vg\n"[..]),
            ("nodes/a/qemu-server/100.conf", b""),
            ("nodes/a/lxc/200.conf", b""),
            ("ha/resources.cfg", b"vm: 100\n\tgroup gone\n\nvm: 200\n\nct: 201\n\nvm: fs\n"),
            ("ha/rules.cfg", b"node-affinity: r\n\tresources vm:100,ct:7\n\tnodes a:1,b\n"),
            ("ha/groups.cfg", b"group: g\n\tnodes c\n"),
            (
                "jobs.cfg",
                b"vzdump: j\n\tstorage fast\n\tvmid 100,9\n\tnode d\n\nvzdump: k\n\tall 1\n\tstorage local\n",
            ),
            ("replication.cfg", b"local: 100-0\n\ttarget e\n\nlocal: x\n\nlocal: 300-1\n\ttarget a\n"),
        ];
        let cluster = Inventory::new(files);
        let ends: Vec<String> = cluster
            .loose_ends()
            .iter()
            .map(|end| format!("{}:{} {} {}", end.file, end.line, end.section, end.reason.code()))
            .collect();
        assert_eq!(
            ends,
            [
                "ha/resources.cfg:1 vm: 100 no-group",
                "ha/resources.cfg:4 vm: 200 other-kind",
                "ha/resources.cfg:6 ct: 201 no-guest",
                "ha/rules.cfg:1 node-affinity: r no-resource",
                "ha/rules.cfg:1 node-affinity: r no-node",
                "ha/groups.cfg:1 group: g no-node",
                "jobs.cfg:1 vzdump: j no-guest",
                "jobs.cfg:1 vzdump: j no-node",
                "jobs.cfg:1 vzdump: j no-backups",
                "replication.cfg:1 local: 100-0 no-node",
                "replication.cfg:4 local: x job-id",
                "replication.cfg:6 local: 300-1 no-guest",
            ]
        );
        assert_eq!(
            LooseReason::OtherKind { vmid: 2, kind: GuestKind::Lxc }.to_string(),
            "guest 2 is a container"
        );
    }
}
