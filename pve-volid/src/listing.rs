// SPDX-License-Identifier: MIT OR Apache-2.0
//! The listing filter: which of the things on a storage the listing shows as volumes, and why it hides the rest (spec:
//! volumes, "Listing images").
//!
//! Nothing is read here. Whoever runs `lvs`, `zfs list` or reads a directory hands in entry after entry as the storage
//! reported it, and gets a [`Listed`] volume or the reason why the entry is [`Invisible`]. A filter costs well under a
//! microsecond an entry and, but for linked clones and files, no allocation.

mod content_file;
mod image_file;
mod invisible;
mod lun;
mod lv;
mod rbd_image;
mod zfs_dataset;

use std::borrow::Cow;
use std::collections::HashSet;

use bstr::{BStr, BString};

pub use content_file::ContentFile;
pub use image_file::ImageFile;
pub use invisible::Invisible;
pub use lun::{DirectLun, IscsiLun, stable_link};
pub use lv::{LvLine, LvmFilter, LvmThinFilter};
pub use rbd_image::{RbdFilter, RbdImage};
pub use zfs_dataset::{ZfsDataset, ZfsFilter};

use crate::{Digits, ImageFormat, StorageIdRef, VolumeId, VolumeIdRef};

/// A volume that the listing shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The volume name, with the base of a linked clone where the listing can tell it.
    pub volname: Cow<'a, BStr>,
    /// The guest that owns it, digits as written; none for the LUNs of iSCSI targets.
    pub owner: Option<Digits<'a>>,
    /// The format.
    pub format: ImageFormat,
    /// What the volume was cloned from or is an overlay of, as the storage tells.
    pub parent: Option<Cow<'a, BStr>>,
}

impl Listed<'_> {
    /// The id of the volume on `storage`.
    ///
    /// # Errors
    /// [`IdError::VolumeName`](crate::IdError::VolumeName) if the name contains a line feed.
    pub fn volume_id<'s>(&self, storage: impl Into<StorageIdRef<'s>>) -> Result<VolumeId, crate::IdError> {
        VolumeId::new(storage, &self.volname)
    }
}

/// Which volumes a caller asked for.
///
/// ```
/// use pve_volid::{Digits, Invisible, VolumeId, Wanted, WantedNames};
///
/// let guest = Wanted::Guest(Digits::new(b"100").unwrap());
/// assert_eq!(guest.owner(Digits::new(b"101")), Err(Invisible::OtherOwner));
/// // owners are compared as text
/// assert_eq!(guest.owner(Digits::new(b"0100")), Err(Invisible::OtherOwner));
///
/// let ids: Vec<VolumeId> = vec!["local-lvm:vm-100-disk-0".parse()?, "other:vm-100-disk-1".parse()?];
/// let storage = ids[0].storage();
/// let names = WantedNames::on(storage, ids.iter().map(VolumeId::borrowed));
/// let wanted = Wanted::Names(&names);
/// assert_eq!(wanted.volname(b"vm-100-disk-0"), Ok(()));
/// assert_eq!(wanted.volname(b"vm-100-disk-1"), Err(Invisible::NotAskedFor));
/// # Ok::<(), pve_volid::IdError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub enum Wanted<'f> {
    /// All volumes.
    #[default]
    Everything,
    /// The volumes of one guest.
    Guest(Digits<'f>),
    /// These volumes, whoever owns them.
    Names(&'f WantedNames),
}

/// The names of volumes that a caller asked for by id.
#[derive(Debug, Clone, Default)]
pub struct WantedNames(HashSet<BString>);

impl WantedNames {
    /// The names of those of `ids` that lie on `storage`.
    pub fn on<'a>(storage: StorageIdRef<'_>, ids: impl IntoIterator<Item = VolumeIdRef<'a>>) -> Self {
        let here = ids.into_iter().filter(|id| id.storage() == storage);
        WantedNames(here.map(|id| id.volname().to_owned()).collect())
    }
}

impl Wanted<'_> {
    /// Whether volumes of `owner` can be among those asked for. To be asked before a volume is measured.
    ///
    /// # Errors
    /// [`Invisible::OtherOwner`], or [`Invisible::Unowned`] where volumes of a guest are asked for and there is no owner.
    pub fn owner(&self, owner: Option<Digits<'_>>) -> Result<(), Invisible> {
        match (self, owner) {
            (Wanted::Guest(guest), Some(owner)) if *guest != owner => Err(Invisible::OtherOwner),
            (Wanted::Guest(_), None) => Err(Invisible::Unowned),
            _ => Ok(()),
        }
    }

    /// Whether the volume called `volname` can be among those asked for.
    ///
    /// # Errors
    /// [`Invisible::NotAskedFor`] if names were asked for, and not this one.
    pub fn volname(&self, volname: &[u8]) -> Result<(), Invisible> {
        match self {
            Wanted::Names(names) if !names.0.contains(BStr::new(volname)) => Err(Invisible::NotAskedFor),
            _ => Ok(()),
        }
    }
}

/// `BASE/NAME`, or just the name.
fn on_base<'a>(base: Option<&[u8]>, name: &'a [u8]) -> Cow<'a, BStr> {
    match base {
        Some(base) => Cow::Owned([base, b"/", name].concat().into()),
        None => Cow::Borrowed(BStr::new(name)),
    }
}
