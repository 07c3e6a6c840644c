// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume that a guest refers to, with what its name says.

use bstr::{BString, ByteSlice};
use pve_volid::{StorageType, VolumeId, VolumeName, VolumeType};
use serde::{Serialize, Serializer};

use super::Problem;
use crate::guest::VolumeRole;

/// A reference of a guest: where it stands, what it points at, and what is wrong with it.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Referenced {
    /// Snapshot or other section that it stands in, as text; empty for the current configuration.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub section: String,
    /// The option.
    #[serde(serialize_with = "lossy")]
    pub key: BString,
    /// What the guest uses it as.
    pub role: VolumeRole,
    /// What it points at.
    pub target: Target,
    /// Size that the configuration records, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// What is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
}

/// What a reference points at.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Target {
    /// A file, directory or device of the host.
    #[serde(serialize_with = "lossy")]
    Path(BString),
    /// A volume of a storage.
    Volume(Volume),
    /// Neither.
    #[serde(serialize_with = "lossy")]
    Other(BString),
}

impl Target {
    /// The text as it stands in the configuration.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Target::Path(text) | Target::Other(text) => text,
            Target::Volume(volume) => volume.id.as_bstr(),
        }
    }
}

/// A volume and what its name says.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Volume {
    /// The volume id.
    pub id: VolumeId,
    /// Type of its storage; `None` if the storage is not declared.
    #[serde(rename = "storage-type")]
    pub storage_type: Option<StorageType>,
    /// What kind of thing it is; this and the rest is absent where the name cannot be understood.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub vtype: Option<VolumeType>,
    /// Format that the name implies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The guest that the name says is the owner, as written.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy_option")]
    pub owner: Option<BString>,
    /// The template's volume that it is a linked clone of.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lossy_option")]
    pub base: Option<BString>,
    /// Whether it is the disk of a template.
    #[serde(rename = "is-base")]
    pub is_base: bool,
}

impl Volume {
    /// A volume, with what its name says on a storage of that type.
    pub(super) fn new(id: VolumeId, storage_type: Option<StorageType>) -> Self {
        let bare =
            Volume { storage_type, vtype: None, format: None, owner: None, base: None, is_base: false, id };
        let Some(name) = storage_type.and_then(|kind| VolumeName::read(kind, bare.id.volname()).ok()) else {
            return bare;
        };
        Volume {
            vtype: Some(name.vtype),
            format: Some(name.format.to_string()),
            owner: name.owner.map(|owner| owner.as_bstr().to_owned()),
            base: name.base.map(|base| base.name.to_owned()),
            is_base: name.is_base,
            ..bare.clone()
        }
    }
}

fn lossy<S: Serializer>(text: &BString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_str_lossy())
}

fn lossy_option<S: Serializer>(text: &Option<BString>, serializer: S) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => lossy(text, serializer),
        None => serializer.serialize_none(),
    }
}
