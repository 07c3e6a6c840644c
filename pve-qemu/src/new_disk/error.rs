// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why there is no new disk.

use std::fmt;

use bstr::BString;
use pve_config::rule::ValueError;
use pve_config::vm::DriveId;
use pve_volid::{VmId, VolumeType};

use crate::disk_copy::DiskCopyError;
use crate::node::WorldError;

/// Why the value of a drive cannot become a disk. What was allocated for it is freed again, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewDiskError {
    /// The value breaks a rule.
    #[error("{0}")]
    Value(#[source] Box<ValueError>),
    /// It is neither a volume id nor a path.
    #[error("{file} is no volume; write STORAGE:VOLUME, or STORAGE:SIZE in GiB for a new one")]
    NoVolume {
        /// The file.
        file: BString,
    },
    /// No storage has the volume at this path.
    #[error("{path} belongs to no storage; move it there, or import it with import-from")]
    NoStorage {
        /// The path.
        path: BString,
    },
    /// A disk image cannot be used as it should be.
    #[error("{file}: {reason}")]
    Use {
        /// The volume or path.
        file: BString,
        /// Why not.
        reason: Misuse,
    },
    /// The storage does not exist, or is not there for disks.
    #[error("storage {storage} cannot take the disk: {reason}")]
    Target {
        /// The storage.
        storage: BString,
        /// Why.
        reason: String,
    },
    /// The storage has no images of this format.
    #[error("storage {storage} has no images of format {format}; it has {known}")]
    Format {
        /// The storage.
        storage: BString,
        /// The format.
        format: String,
        /// Those that it has.
        known: String,
    },
    /// Something is imported into a disk whose size is given.
    #[error("{file},import-from=…: write STORAGE:0; the size is that of what is imported")]
    ImportSize {
        /// The file.
        file: BString,
    },
    /// What is imported must be described.
    #[error("importing into this drive needs {keys}: what is imported does not tell")]
    ImportNeeds {
        /// The missing sub-options.
        keys: &'static str,
    },
    /// What is imported belongs to a guest of another node.
    #[error("{volume} belongs to guest {owner} on node {node}; import it there, or from a copy")]
    ImportFromNode {
        /// The source.
        volume: BString,
        /// Its owner.
        owner: VmId,
        /// The node.
        node: String,
    },
    /// There can be only one cloud-init drive.
    #[error("{other} is a cloud-init drive already ({file}); remove it first")]
    SecondCloudInit {
        /// The other drive.
        other: DriveId,
        /// Its volume.
        file: BString,
    },
    /// The firmware of this VM keeps no variables.
    #[error(
        "the firmware of a VM whose memory is encrypted this way, or of this architecture, has no EFI disk"
    )]
    NoVariables,
    /// Copying what is imported failed.
    #[error(transparent)]
    Copy(#[from] DiskCopyError),
    /// The new volume could not become a base volume.
    #[error(
        "cannot make the new volume {volume} of the template a base volume: {source}; {volume} is left, free it by hand"
    )]
    Base {
        /// The volume, which is left behind.
        volume: BString,
        /// Why.
        source: Box<WorldError>,
    },
    /// A storage failed.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl From<ValueError> for NewDiskError {
    fn from(error: ValueError) -> Self {
        NewDiskError::Value(Box::new(error))
    }
}

/// Why a volume or path cannot be used by a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// Its storage is not configured, or does not take the name.
    Unknown,
    /// It is neither a disk image nor a CD image.
    Content(VolumeType),
    /// A CD image in a disk.
    IsoAsDisk,
    /// The option `format` names another format than the volume's.
    Format {
        /// The volume's.
        actual: String,
        /// The option's.
        wanted: &'static str,
    },
    /// It does not exist, or has no size.
    Empty,
    /// A cloud-init image is made, not imported.
    CloudInit,
    /// It is a virtual appliance as a whole.
    Appliance,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::Unknown => f.write_str("its storage is not configured, or knows no such name"),
            Misuse::Content(content) => write!(f, "a volume of content '{content}' is no disk"),
            Misuse::IsoAsDisk => f.write_str("a CD image needs media=cdrom"),
            Misuse::Format { actual, wanted } => {
                write!(f, "its format is {actual}, not {wanted}; leave format out")
            }
            Misuse::Empty => f.write_str("it does not exist, or its size is 0 or unknown"),
            Misuse::CloudInit => {
                f.write_str("a cloud-init image is not imported; write STORAGE:cloudinit for a new one")
            }
            Misuse::Appliance => {
                f.write_str("a virtual appliance is no disk; name a disk in it: STORAGE:import/NAME.ova/DISK")
            }
        }
    }
}
