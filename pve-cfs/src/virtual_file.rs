// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entries that exist only in the root directory of the mounted file system and in no database.

use crate::guest::GuestKind;

/// A virtual entry of the root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VirtualFile {
    /// `.version`: counters by which clients notice changes.
    Version,
    /// `.members`: the nodes of the cluster.
    Members,
    /// `.vmlist`: the guests of all nodes.
    VmList,
    /// `.rrd`: the latest measurements of all nodes, guests and storages.
    Rrd,
    /// `.clusterlog`: the newest entries of the cluster log.
    ClusterLog,
    /// `.debug`: whether the daemon logs more.
    Debug,
    /// `local`: a symlink to the node's own directory.
    Local,
    /// `qemu-server`, `openvz`, `lxc`: symlinks to the node's directories of guest configurations.
    Guests(GuestKind),
}

impl VirtualFile {
    /// All of them, in the order of their names' bytes.
    pub const ALL: [Self; 10] = [
        Self::ClusterLog,
        Self::Debug,
        Self::Members,
        Self::Rrd,
        Self::Version,
        Self::VmList,
        Self::Local,
        Self::Guests(GuestKind::Lxc),
        Self::Guests(GuestKind::Openvz),
        Self::Guests(GuestKind::Qemu),
    ];

    /// Its name in the root directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => ".version",
            Self::Members => ".members",
            Self::VmList => ".vmlist",
            Self::Rrd => ".rrd",
            Self::ClusterLog => ".clusterlog",
            Self::Debug => ".debug",
            Self::Local => "local",
            Self::Guests(kind) => kind.directory(),
        }
    }

    /// The virtual entry of this name.
    pub fn by_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name().as_bytes() == name)
    }

    /// Whether it is a symlink.
    pub const fn is_symlink(self) -> bool {
        matches!(self, Self::Local | Self::Guests(_))
    }

    /// Target of a symlink on the node `node`; `None` for the files.
    pub fn target(self, node: &str) -> Option<String> {
        match self {
            Self::Local => Some(format!("nodes/{node}")),
            Self::Guests(kind) => Some(format!("nodes/{node}/{}", kind.directory())),
            _ => None,
        }
    }
}
