// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids and the naming conventions of Proxmox VE storages: parse, name, allocate, and explain what the listing hides.

mod backup;
mod civil;
mod error;
mod format;
mod free_name;
mod listing;
mod name;
mod naming;
mod node_name;
mod prune;
mod serde_text;
mod storage_id;
mod storage_type;
mod text_enum;
mod vmid;
mod volume_id;

pub use backup::{
    ArchiveExtension, ArchiveFormat, ArchiveName, ArchiveNameError, BackupType, Compression, StandardName,
};
pub use civil::{CivilTime, FixedOffset, LocalZone};
pub use error::IdError;
pub use format::{ImageFormat, VolumeFormat};
pub use free_name::{FreeName, FreeNameSource, NoFreeName};
pub use listing::{
    ContentFile, DirectLun, ImageFile, Invisible, IscsiLun, Listed, LvLine, LvmFilter, LvmThinFilter,
    RbdFilter, RbdImage, Wanted, WantedNames, ZfsDataset, ZfsFilter, stable_link,
};
pub use name::{BaseName, NameRule, VolumeName, VolumeNameError};
pub use naming::{
    BASE_SNAPSHOT, MIGRATION_SNAPSHOT, Naming, Owner, REPLICATION_SNAPSHOT_PREFIX, RawName, Role,
    SnapshotPlace,
};
pub use node_name::NodeName;
pub use prune::{PruneCandidate, PruneMark, Retention, prune};
pub use storage_id::{StorageId, StorageIdRef};
pub use storage_type::{ContentType, StorageType, VolumeType};
pub use vmid::{Digits, VmId};
pub use volume_id::{VolumeId, VolumeIdRef};
