// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests as the file system knows them: the paths of their configuration files, and the list of all of them.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice};

use crate::path::{is_node_name, is_number_from_one};
use crate::schema::EntryType;
use crate::tree::Tree;

/// The kinds of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestKind {
    /// A virtual machine.
    Qemu,
    /// A container.
    Lxc,
    /// A container of the system before LXC.
    Openvz,
}

impl GuestKind {
    /// All kinds, in the order in which the directories of a node are scanned.
    pub const ALL: [Self; 3] = [Self::Qemu, Self::Openvz, Self::Lxc];

    /// Name of the directory below `nodes/NODE` that holds the configurations.
    pub const fn directory(self) -> &'static str {
        match self {
            Self::Qemu => "qemu-server",
            Self::Lxc => "lxc",
            Self::Openvz => "openvz",
        }
    }

    /// The kind whose directory has this name.
    pub fn of_directory(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.directory().as_bytes() == name)
    }

    /// The word for it in `.vmlist`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qemu => "qemu",
            Self::Lxc => "lxc",
            Self::Openvz => "openvz",
        }
    }
}

impl std::fmt::Display for GuestKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The path of a guest's configuration, taken apart (spec: pmxcfs, "Guest list and .vmlist").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuestPath<'a> {
    /// Name of the node.
    pub node: &'a BStr,
    /// Kind of the guest.
    pub kind: GuestKind,
    /// Id, from 1.
    pub vmid: u32,
}

impl<'a> GuestPath<'a> {
    /// Parses `nodes/NODE/KIND/VMID.conf`; exactly that, without a leading slash.
    ///
    /// ```
    /// use pve_cfs::guest::{GuestKind, GuestPath};
    /// let path = GuestPath::parse(b"nodes/pve1/qemu-server/100.conf").unwrap();
    /// assert_eq!((path.node, path.kind, path.vmid), (b"pve1".into(), GuestKind::Qemu, 100));
    /// assert!(GuestPath::parse(b"nodes/pve1/qemu-server/0100.conf").is_none());
    /// ```
    pub fn parse(path: &'a [u8]) -> Option<Self> {
        let mut parts = path.split(|byte| *byte == b'/');
        if parts.next() != Some(b"nodes") {
            return None;
        }
        let node = parts.next().filter(|name| is_node_name(name))?.as_bstr();
        let kind = GuestKind::of_directory(parts.next()?)?;
        let vmid = vmid_of_file(parts.next()?)?;
        parts.next().is_none().then_some(Self { node, kind, vmid })
    }
}

/// The id in a file name `VMID.conf`.
pub(crate) fn vmid_of_file(name: &[u8]) -> Option<u32> {
    let digits = name.strip_suffix(b".conf").filter(|digits| is_number_from_one(digits))?;
    digits.to_str().ok()?.parse().ok()
}

/// What the list knows of a guest.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Guest {
    /// The node that it is on.
    #[serde(serialize_with = "lossy")]
    pub node: BString,
    /// Its kind.
    pub kind: GuestKind,
    /// Changes with each change of its configuration.
    pub version: u32,
}

fn lossy<S: serde::Serializer>(text: &BString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_str_lossy())
}

/// A VMID that two configuration files claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The id.
    pub vmid: u32,
    /// The guest that keeps it.
    pub kept: Guest,
    /// Inode of the second file.
    pub inode: u64,
}

/// A regular file in the place of a directory of configurations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDirectory {
    /// The kind whose directory it is.
    pub kind: GuestKind,
    /// Inode of the file.
    pub inode: u64,
}

/// What building the list met that makes the reference refuse the database.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conflicts {
    /// Ids met twice.
    pub duplicates: Vec<Duplicate>,
    /// Files in the place of directories.
    pub no_directories: Vec<NoDirectory>,
}

/// The guests of all nodes by VMID; no id occurs twice in a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuestList {
    version: u32,
    last_entry_version: u32,
    guests: BTreeMap<u32, Guest>,
}

impl GuestList {
    /// Builds the list from all directories `nodes/NODE`. Without a directory `nodes` it stays as it is.
    pub fn rebuild(&mut self, tree: &Tree) -> Conflicts {
        let mut conflicts = Conflicts::default();
        let Some(nodes) = tree.get(b"nodes").filter(|entry| entry.is_directory()) else { return conflicts };
        self.guests.clear();
        self.version = self.version.wrapping_add(1);
        for node in nodes.children().filter(|entry| entry.is_directory() && is_node_name(entry.name())) {
            for kind in GuestKind::ALL {
                match node.child(kind.directory().as_bytes()) {
                    None => {}
                    Some(entry) if entry.entry_type() == EntryType::File => {
                        conflicts.no_directories.push(NoDirectory { kind, inode: entry.inode() });
                    }
                    Some(directory) => {
                        for file in directory.children().filter(|entry| !entry.is_directory()) {
                            let Some(vmid) = vmid_of_file(file.name()) else { continue };
                            if let Some(kept) = self.guests.get(&vmid) {
                                let kept = kept.clone();
                                conflicts.duplicates.push(Duplicate { vmid, kept, inode: file.inode() });
                            } else {
                                self.set(vmid, node.name(), kind);
                            }
                        }
                    }
                }
            }
        }
        conflicts
    }

    /// Number of changes of the list since the start.
    pub const fn version(&self) -> u32 {
        self.version
    }

    /// All guests in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (u32, &Guest)> {
        self.guests.iter().map(|(vmid, guest)| (*vmid, guest))
    }

    /// The guest with this id.
    pub fn get(&self, vmid: u32) -> Option<&Guest> {
        self.guests.get(&vmid)
    }

    /// The guest, if it is listed with another node or of another kind than `path` says: then nothing may be written there.
    pub fn conflict(&self, path: &GuestPath<'_>) -> Option<&Guest> {
        self.guests.get(&path.vmid).filter(|guest| guest.node != path.node || guest.kind != path.kind)
    }

    /// Enters the guest at `path`, replacing what the list had.
    pub(crate) fn enter(&mut self, path: &GuestPath<'_>) {
        self.version = self.version.wrapping_add(1);
        self.set(path.vmid, path.node, path.kind);
    }

    /// Takes the guest with this id from the list.
    pub(crate) fn remove(&mut self, vmid: u32) {
        self.version = self.version.wrapping_add(1);
        self.guests.remove(&vmid);
    }

    fn set(&mut self, vmid: u32, node: &BStr, kind: GuestKind) {
        self.last_entry_version = self.last_entry_version.wrapping_add(1);
        let guest = Guest { node: node.to_owned(), kind, version: self.last_entry_version };
        self.guests.insert(vmid, guest);
    }

    /// The text of `.vmlist`.
    pub fn text(&self) -> Vec<u8> {
        let mut text = format!("{{\n\"version\": {}", self.version).into_bytes();
        if self.guests.is_empty() {
            text.extend_from_slice(b"\n\n}\n");
            return text;
        }
        text.extend_from_slice(b",\n\"ids\": {\n");
        for (index, (vmid, guest)) in self.guests.iter().enumerate() {
            let comma = if index == 0 { "" } else { ",\n" };
            text.extend_from_slice(format!("{comma}\"{vmid}\": {{ \"node\": \"").as_bytes());
            text.extend_from_slice(&guest.node);
            let rest = format!("\", \"type\": \"{}\", \"version\": {} }}", guest.kind, guest.version);
            text.extend_from_slice(rest.as_bytes());
        }
        text.extend_from_slice(b"}\n\n}\n");
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_configurations() {
        let good = GuestPath::parse(b"nodes/a-1/lxc/4294967295.conf").unwrap();
        assert_eq!((good.node, good.kind, good.vmid), ("a-1".into(), GuestKind::Lxc, u32::MAX));
        for path in [
            "/nodes/a/lxc/1.conf",
            "nodes/a/lxc/4294967296.conf",
            "nodes/a/lxc/01.conf",
            "nodes/a/lxc/.conf",
            "nodes/a/lxc/1.conf/x",
            "nodes/a/lxc/1.conf/",
            "nodes//lxc/1.conf",
            "nodes/a./lxc/1.conf",
            "nodes/a/kvm/1.conf",
            "nodes/a/lxc/1.conf.tmp",
            "nodes/a/lxc/+1.conf",
        ] {
            assert_eq!(GuestPath::parse(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn the_text_of_the_list() {
        let mut list = GuestList::default();
        assert_eq!(list.text().as_bstr(), "{\n\"version\": 0\n\n}\n");
        list.version = 2;
        list.set(200, b"a".into(), GuestKind::Lxc);
        list.set(100, b"b".into(), GuestKind::Qemu);
        let expected = "{\n\"version\": 2,\n\"ids\": {\n\
            \"100\": { \"node\": \"b\", \"type\": \"qemu\", \"version\": 2 },\n\
            \"200\": { \"node\": \"a\", \"type\": \"lxc\", \"version\": 1 }}\n\n}\n";
        assert_eq!(list.text().as_bstr(), expected);
    }
}
