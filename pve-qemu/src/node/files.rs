// SPDX-License-Identifier: MIT OR Apache-2.0
//! Configurations as files of a tree laid out like `/etc/pve`, whatever keeps the tree.

use std::time::Duration;

use bstr::{BStr, BString};
use pve_config::guest::GuestKind;
use pve_volid::VmId;

use super::{ConfigStore, GuestEntry, LockGuard, LockMode, WorldError};

const KINDS: [GuestKind; 2] = [GuestKind::Qemu, GuestKind::Lxc];

/// A tree of files. Paths are relative to `/etc/pve`.
pub(super) trait ConfigFiles {
    /// The node that looks at the tree.
    fn own_node(&self) -> &str;

    /// The names in a directory, sorted; none if there is no such directory.
    fn names(&self, directory: &str) -> Result<Vec<String>, WorldError>;

    /// What is in a file; `None` if there is none.
    fn content(&self, path: &str) -> Result<Option<BString>, WorldError>;

    /// Whether there is a file.
    fn exists(&self, path: &str) -> Result<bool, WorldError>;

    /// Gives a file that exists another content, in one step.
    fn replace(&self, path: &str, content: &BStr) -> Result<(), WorldError>;

    /// Makes a file that does not exist, and the directories above it.
    fn add(&self, path: &str, content: &BStr) -> Result<(), WorldError>;

    /// Removes a file.
    fn delete(&self, path: &str) -> Result<(), WorldError>;

    /// Moves a file to where none is; the directories above it are made.
    fn rename(&self, from: &str, to: &str) -> Result<(), WorldError>;

    /// As [`ConfigStore::lock`].
    fn take_lock(
        &self,
        vmid: VmId,
        mode: LockMode,
        patience: Duration,
    ) -> Result<Box<dyn LockGuard>, WorldError>;
}

impl<F: ConfigFiles> ConfigStore for F {
    fn node(&self) -> &str {
        self.own_node()
    }

    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError> {
        let mut guests = Vec::new();
        for node in nodes(self)? {
            for kind in KINDS {
                for name in self.names(&format!("nodes/{node}/{}", kind.directory()))? {
                    let digits = name.strip_suffix(".conf").unwrap_or_default();
                    if let Ok(vmid) = VmId::from_bytes(digits.as_bytes()) {
                        guests.push(GuestEntry { vmid, kind, node: node.clone() });
                    }
                }
            }
        }
        guests.sort_by_key(|guest| guest.vmid);
        Ok(guests)
    }

    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError> {
        let Some(entry) = find(self, vmid)? else { return Ok(None) };
        // it may be gone by now
        let text = self.content(&path(&entry.node, entry.kind, vmid))?;
        Ok(text.map(|text| (entry, text)))
    }

    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        self.replace(&own(self, vmid)?, text)
    }

    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError> {
        if let Some(entry) = find(self, vmid)? {
            return Err(taken(&entry));
        }
        self.add(&path(self.own_node(), GuestKind::Qemu, vmid), text)
    }

    fn remove(&self, vmid: VmId) -> Result<(), WorldError> {
        self.delete(&own(self, vmid)?)
    }

    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError> {
        let from = own(self, vmid)?;
        check_move(vmid, self.own_node(), node)?;
        self.rename(&from, &path(node, GuestKind::Qemu, vmid))
    }

    fn file(&self, path: &str) -> Result<Option<BString>, WorldError> {
        if !is_plain(path) {
            let reason = "the path leaves the directory".into();
            return Err(WorldError::File { path: path.to_owned(), reason });
        }
        self.content(path)
    }

    fn lock(&self, vmid: VmId, mode: LockMode, patience: Duration) -> Result<Box<dyn LockGuard>, WorldError> {
        self.take_lock(vmid, mode, patience)
    }
}

/// The guard of a store that nobody else can change while it is open.
pub(super) struct Alone;

impl LockGuard for Alone {}

/// Where the file of a guest is.
fn path(node: &str, kind: GuestKind, vmid: VmId) -> String {
    format!("nodes/{node}/{}/{vmid}.conf", kind.directory())
}

/// Where the file of a VM of the own node is.
fn own(files: &impl ConfigFiles, vmid: VmId) -> Result<String, WorldError> {
    let path = path(files.own_node(), GuestKind::Qemu, vmid);
    if files.exists(&path)? {
        return Ok(path);
    }
    Err(not_own(vmid, find(files, vmid)?.as_ref(), files.own_node()))
}

/// Why a guest is not this node's to change.
pub(super) fn not_own(vmid: VmId, found: Option<&GuestEntry>, own_node: &str) -> WorldError {
    let reason = match found {
        Some(GuestEntry { kind: GuestKind::Lxc, .. }) => "it is a container, not a VM".to_owned(),
        Some(entry) => format!("it is on node {}, not on {own_node}", entry.node),
        None => "there is no such VM".to_owned(),
    };
    WorldError::Config { vmid, reason }
}

/// Why no guest can be made with the id of this one.
pub(super) fn taken(entry: &GuestEntry) -> WorldError {
    let reason = format!("the id is taken on node {}; choose another", entry.node);
    WorldError::Config { vmid: entry.vmid, reason }
}

/// That a VM can go from the own node to another.
pub(super) fn check_move(vmid: VmId, own_node: &str, node: &str) -> Result<(), WorldError> {
    let reason = if !is_plain(node) || node.contains('/') {
        format!("{node:?} is no name of a node")
    } else if node == own_node {
        format!("it is on node {node} already")
    } else {
        return Ok(());
    };
    Err(WorldError::Config { vmid, reason })
}

/// The guest whose file is at a path.
pub(super) fn guest_at(file: &str) -> Option<GuestEntry> {
    let [node, kind, name] = file.strip_prefix("nodes/")?.split('/').collect::<Vec<_>>().try_into().ok()?;
    let kind = KINDS.into_iter().find(|known| known.directory() == kind)?;
    let vmid = VmId::from_bytes(name.strip_suffix(".conf")?.as_bytes()).ok()?;
    Some(GuestEntry { vmid, kind, node: node.to_owned() })
}

/// The nodes, the own one first.
fn nodes(files: &impl ConfigFiles) -> Result<Vec<String>, WorldError> {
    let mut nodes = vec![files.own_node().to_owned()];
    nodes.extend(files.names("nodes")?.into_iter().filter(|name| name != files.own_node()));
    Ok(nodes)
}

/// Where a guest is.
fn find(files: &impl ConfigFiles, vmid: VmId) -> Result<Option<GuestEntry>, WorldError> {
    for node in nodes(files)? {
        for kind in KINDS {
            if files.exists(&path(&node, kind, vmid))? {
                return Ok(Some(GuestEntry { vmid, kind, node }));
            }
        }
    }
    Ok(None)
}

/// A relative path without steps up, or sideways.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | "..")) && !path.contains('\0')
}
