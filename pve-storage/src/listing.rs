// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on a storage: entries of a listing, and which of them are wanted.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, VolumeId};
use serde::Serialize;
use serde_json::Value;

use crate::operation::optional_text;

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
    pub backup: Option<BackupAttributes>,
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

/// Which entries are wanted.
#[derive(Debug, Clone, Copy, Default)]
pub struct ImageFilter<'a> {
    /// Only volumes of this guest.
    pub owner: Option<Digits<'a>>,
    /// Only these volume ids; the owner does not count then.
    pub volids: Option<&'a [BString]>,
}

impl<'a> ImageFilter<'a> {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        ImageFilter::default()
    }

    /// The volumes of a guest.
    #[must_use]
    pub fn of(owner: Digits<'a>) -> Self {
        ImageFilter { owner: Some(owner), volids: None }
    }

    /// These volumes.
    #[must_use]
    pub fn only(volids: &'a [BString]) -> Self {
        ImageFilter { owner: None, volids: Some(volids) }
    }

    /// Whether the entry `volid` with this owner (digits as written) is wanted.
    #[must_use]
    pub fn admits(&self, volid: &BStr, owner: Option<&[u8]>) -> bool {
        match (self.volids, self.owner) {
            (Some(volids), _) => volids.iter().any(|wanted| wanted == volid),
            (None, Some(wanted)) => owner == Some(wanted.as_bstr().as_bytes()),
            (None, None) => true,
        }
    }

    /// Whether an entry whose volume id ends in this text can be wanted, as far as that can be told early.
    pub(crate) fn may_admit(&self, tail: &[u8], owner: &[u8]) -> bool {
        match (self.volids, self.owner) {
            (Some(volids), _) => volids.iter().any(|wanted| wanted.ends_with(tail)),
            (None, Some(wanted)) => wanted.as_bstr() == owner,
            (None, None) => true,
        }
    }
}
