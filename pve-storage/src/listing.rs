// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a storage: entries of a listing, and which of them are wanted.

use bstr::{BStr, BString};
use pve_volid::{ContentType, Invisible, Listed, VolumeId};
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;
use crate::operation::optional_text;
use crate::storage::Storage;

/// An entry of a listing (spec: volumes, "Listing images" and "Volumes by content").
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Image {
    /// The volume.
    pub volid: VolumeId,
    /// Its format; `invalid` for a file that is not what its name says.
    pub format: String,
    /// The guest that owns it, digits as written.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    pub owner: Option<BString>,
    /// Size that the guest sees, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The size with its fraction, where the tool told a fraction of a unit (`iscsidirect`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fractional_size: Option<f64>,
    /// Size of the container of an image that cannot be asked now (an inactive qcow2 LV), in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approximate_size: Option<u64>,
    /// Space that it takes, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// What it is based on, as the storage tells it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    pub parent: Option<BString>,
    /// When it was made or last changed, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctime: Option<i64>,
    /// Its name, where listings of the type carry it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    pub name: Option<BString>,
    /// Where it is on its bus (`iscsi`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lun: Option<LunAddress>,
    /// What it is used for; only told by [`Session::volumes`](crate::Session::volumes).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<ContentType>,
    /// Attributes of a backup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<Box<BackupAttributes>>,
}

/// Address of a LUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LunAddress {
    /// Channel.
    pub channel: u64,
    /// Target.
    pub id: u64,
    /// LUN.
    pub lun: u64,
}

/// What a listing tells of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct BackupAttributes {
    /// `qemu`, `lxc`, `openvz` or `unknown`.
    pub subtype: &'static str,
    /// The first line of its notes.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional_text")]
    pub notes: Option<BString>,
    /// Whether it is protected against removal.
    pub protected: bool,
    /// How the last verification ended (backup server).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<Value>,
    /// Fingerprint of the key it is encrypted with, or `1` (backup server).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<String>,
}

impl Image {
    /// What the naming convention tells of a listed volume.
    ///
    /// # Errors
    /// If its name can be in no volume id.
    pub fn of(storage: &Storage, listed: &Listed<'_>) -> Result<Self> {
        let volid = listed.volume_id(storage.id())?;
        Ok(Image {
            owner: listed.owner.map(|owner| owner.as_bstr().to_owned()),
            parent: listed.parent.as_deref().map(BStr::to_owned),
            ..Image::new(volid, listed.format.as_str())
        })
    }

    /// An entry without anything optional.
    #[must_use]
    pub fn new(volid: VolumeId, format: impl Into<String>) -> Self {
        Image {
            volid,
            format: format.into(),
            owner: None,
            size: None,
            fractional_size: None,
            approximate_size: None,
            used: None,
            parent: None,
            ctime: None,
            name: None,
            lun: None,
            content: None,
            backup: None,
        }
    }
}

/// Something that is on a storage and not listed: a blind spot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hidden {
    /// What the tool, or the directory, calls it.
    #[serde(serialize_with = "crate::operation::text")]
    pub name: BString,
    /// Its size in bytes, as far as it was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why it is not listed.
    pub reason: Invisible,
}

/// What a listing has found.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// What is listed.
    pub images: Vec<Image>,
    hidden: Option<Vec<Hidden>>,
}

impl Listing {
    /// A listing that keeps what is listed alone.
    #[must_use]
    pub fn new() -> Self {
        Listing::default()
    }

    /// A listing that keeps what is hidden too, with the reasons.
    #[must_use]
    pub fn explaining() -> Self {
        Listing { images: Vec::new(), hidden: Some(Vec::new()) }
    }

    /// What is hidden, in the order in which it was found.
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        self.hidden.as_deref().unwrap_or_default()
    }

    /// Whether what is hidden is kept, so that it is worth looking for.
    #[must_use]
    pub fn explains(&self) -> bool {
        self.hidden.is_some()
    }

    /// Takes notice of something that is hidden.
    pub fn hide(&mut self, name: impl AsRef<[u8]>, size: Option<u64>, reason: Invisible) {
        if let Some(hidden) = &mut self.hidden {
            hidden.push(Hidden { name: name.as_ref().into(), size, reason });
        }
    }

    /// Makes room for this many more entries.
    pub fn reserve(&mut self, count: usize) {
        self.images.reserve(count);
    }

    /// Takes an entry in.
    pub fn show(&mut self, image: Image) {
        self.images.push(image);
    }
}
