// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of a cluster, whether they lie in its database or in a directory.

use std::fs;
use std::path::{Path, PathBuf};

use examples::whereabouts::SAMPLE;
use pve_cfs::Database;
use pve_volid::VmId;

/// The configuration files of a cluster.
pub(crate) enum Cluster {
    /// In the database of the cluster file system.
    Database(Box<Database>),
    /// In a directory like `/etc/pve`.
    Directory(PathBuf),
}

/// A virtual machine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Machine {
    pub(crate) vmid: VmId,
    /// The node that it belongs to.
    pub(crate) node: String,
}

impl Cluster {
    /// Opens a database or directory, or the sample.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, String> {
        let opened = match path {
            Some(path) if path.is_dir() => return Ok(Cluster::Directory(path.to_owned())),
            Some(path) => Database::open_read_only(path),
            None => Database::from_bytes(Path::new("(sample)"), SAMPLE.to_vec()),
        };
        let (database, findings) = opened.map_err(|error| error.to_string())?;
        for finding in &findings {
            anstream::eprintln!("{}: {finding}", finding.severity());
        }
        Ok(Cluster::Database(Box::new(database)))
    }

    /// The content of a file, by its path below `/etc/pve`; `None` if there is no such file.
    pub(crate) fn read(&self, path: &str) -> Option<Vec<u8>> {
        match self {
            Cluster::Database(database) => Some(database.tree().get(path.as_bytes())?.content().to_vec()),
            Cluster::Directory(root) => fs::read(root.join(path)).ok(),
        }
    }

    /// A file that is text, empty if there is none.
    pub(crate) fn read_text(&self, path: &str) -> String {
        self.read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// All virtual machines, by number.
    pub(crate) fn machines(&self) -> Vec<Machine> {
        let mut machines: Vec<Machine> = self
            .names("nodes")
            .into_iter()
            .flat_map(|node| {
                let files = self.names(&format!("nodes/{node}/qemu-server"));
                files.into_iter().filter_map(move |file| {
                    let vmid = VmId::from_bytes(file.strip_suffix(".conf")?.as_bytes()).ok()?;
                    Some(Machine { vmid, node: node.clone() })
                })
            })
            .collect();
        machines.sort();
        machines
    }

    /// A virtual machine by its number.
    pub(crate) fn machine(&self, vmid: VmId) -> Result<Machine, String> {
        let found = self.machines().into_iter().find(|machine| machine.vmid == vmid);
        found
            .ok_or_else(|| format!("the cluster has no virtual machine {vmid}; `qm list` shows those it has"))
    }

    /// The text of a machine's configuration.
    pub(crate) fn configuration(&self, machine: &Machine) -> Result<Vec<u8>, String> {
        let path = format!("nodes/{}/qemu-server/{}.conf", machine.node, machine.vmid);
        self.read(&path).ok_or_else(|| format!("cannot read {path}"))
    }

    /// The names of the nodes.
    pub(crate) fn nodes(&self) -> Vec<String> {
        self.names("nodes")
    }

    /// Names in a directory, sorted.
    fn names(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = match self {
            Cluster::Database(database) => {
                let entry = database.tree().get(directory.as_bytes());
                entry
                    .iter()
                    .flat_map(|entry| entry.children())
                    .map(|child| child.name().to_string())
                    .collect()
            }
            Cluster::Directory(root) => {
                let entries = fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
                entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
            }
        };
        names.sort();
        names
    }
}
