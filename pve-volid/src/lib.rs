// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids and the naming conventions of Proxmox VE storages: parse, name, allocate, and explain what the listing hides.

mod backup;
mod error;
mod format;
mod name;
mod node_name;
mod serde_text;
mod storage_id;
mod storage_type;
mod text_enum;
mod vmid;
mod volume_id;

pub use backup::{ArchiveExtension, ArchiveFormat, BackupType, Compression};
pub use error::IdError;
pub use format::{ImageFormat, VolumeFormat};
pub use name::{BaseName, NameRule, VolumeName, VolumeNameError};
pub use node_name::NodeName;
pub use storage_id::{StorageId, StorageIdRef};
pub use storage_type::{ContentType, StorageType, VolumeType};
pub use vmid::{Digits, VmId};
pub use volume_id::{VolumeId, VolumeIdRef};
