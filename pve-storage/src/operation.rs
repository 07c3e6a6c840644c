// SPDX-License-Identifier: MIT OR Apache-2.0
//! What operations are asked for and what they answer, as plain values.

use bstr::{BStr, BString};
use pve_volid::{Digits, ImageFormat};
use serde::Serialize;

use crate::transfer::{Intermediate, StreamFormat, TransferScope};

/// A new volume.
#[derive(Debug, Clone, Copy)]
pub struct Allocation<'a> {
    /// The guest that owns it.
    pub owner: Digits<'a>,
    /// Its format.
    pub format: ImageFormat,
    /// Its own name, without a directory; `None`: the next free one.
    pub name: Option<&'a BStr>,
    /// Its size in KiB.
    pub size_kib: u64,
}

/// The space of a storage, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    /// Its size.
    pub total: u64,
    /// What is free.
    pub available: u64,
    /// What is used.
    pub used: u64,
    /// Whether it can be used now.
    pub active: bool,
}

/// The size of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SizeInfo {
    /// Size that the guest sees, in bytes.
    pub size: u64,
    /// Its format.
    pub format: String,
    /// Space that it takes, in bytes.
    pub used: u64,
    /// What it is based on, as the storage tells.
    #[serde(serialize_with = "optional_text")]
    pub parent: Option<BString>,
    /// When it was made or last changed, in seconds since 1970.
    pub ctime: Option<i64>,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SnapshotInfo {
    /// Its name; `current` is the volume itself at the top of a chain.
    pub name: BString,
    /// An id of the storage's own (`guid` of ZFS).
    pub id: Option<BString>,
    /// When it was made, in seconds since 1970.
    pub timestamp: Option<i64>,
    /// Its part in a volume chain.
    pub link: Option<ChainLink>,
}

/// A part of a volume chain.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainLink {
    /// How far from the volume itself: 0 is the volume, the highest is the oldest snapshot.
    pub order: usize,
    /// Its file or device.
    pub file: BString,
    /// Its name as a volume.
    pub volname: BString,
    /// Size that the guest sees, in bytes.
    pub virtual_size: Option<u64>,
    /// The snapshot below, which it is based on.
    pub parent: Option<BString>,
    /// The snapshot above, which is based on it.
    pub child: Option<BString>,
}

/// What callers know of the guest that will use a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hints {
    /// The guest runs Windows.
    pub guest_is_windows: bool,
    /// A volume that is in use already in another way may be taken down and up again.
    pub may_deactivate: bool,
}

/// Snapshots that travel with a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum With<'a> {
    /// None.
    #[default]
    Nothing,
    /// All.
    All,
    /// These.
    Listed(&'a [BString]),
}

/// An export or import of a volume as a stream.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    /// The stream's format.
    pub format: StreamFormat,
    /// The snapshot that is transferred; `None`: the present content.
    pub snapshot: Option<&'a BStr>,
    /// The snapshot that both sides have: only the difference travels.
    pub base: Option<&'a BStr>,
    /// Snapshots that travel along.
    pub with: With<'a>,
    /// Import: take another name if the wanted one is taken.
    pub allow_rename: bool,
}

impl<'a> Transfer<'a> {
    /// The present content in this format.
    #[must_use]
    pub fn new(format: StreamFormat) -> Transfer<'a> {
        Transfer { format, snapshot: None, base: None, with: With::Nothing, allow_rename: false }
    }

    /// What decides about the formats.
    #[must_use]
    pub fn scope(&self) -> TransferScope {
        TransferScope {
            snapshot: self.snapshot.is_some(),
            base: self.base.is_some(),
            with: match self.with {
                With::Nothing => Intermediate::None,
                With::All => Intermediate::All,
                With::Listed(_) => Intermediate::Listed,
            },
        }
    }
}

/// Work that remains after a volume was freed, to be done without the lock: volumes to be overwritten with zeros
/// before they are removed for good.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wipe {
    /// Names of the volumes as they are now called.
    pub volumes: Vec<BString>,
}

pub(crate) fn optional_text<S: serde::Serializer>(
    text: &Option<BString>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match text {
        Some(text) => serializer.collect_str(text),
        None => serializer.serialize_none(),
    }
}

pub(crate) fn text<S: serde::Serializer>(text: &BString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(text)
}
