// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume names: what the part behind the colon of a volume id means on a storage of some type.

mod block;
pub(crate) mod lexeme;
pub(crate) mod path;
mod remote;

use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::{Digits, StorageType, VolumeFormat, VolumeType};

/// What a volume name says, borrowed from it (spec: volumes, "parse_volname: result").
///
/// ```
/// use pve_volid::{ImageFormat, StorageType, VolumeFormat, VolumeName, VolumeType};
///
/// // a linked clone on a directory: the template's file, then the clone's own
/// let name = b"9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2";
/// let volume = VolumeName::parse(StorageType::Dir, name)?;
/// assert_eq!(volume.vtype, VolumeType::Images);
/// assert_eq!(volume.name, "vm-100-disk-0.qcow2");
/// assert_eq!(volume.owner.unwrap().vmid().unwrap().get(), 100);
/// assert_eq!(volume.base.unwrap().name, "base-9000-disk-0.qcow2");
/// assert_eq!(volume.format, VolumeFormat::Image(ImageFormat::Qcow2));
///
/// // the same name means nothing on LVM, and the error says why
/// let error = VolumeName::parse(StorageType::Lvm, name).unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "'9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2' is not a volume name on a storage of type lvm: \
///      an LVM name has at least 2 letters, digits, '-', '_', '.', the first and last a letter or digit"
/// );
/// # Ok::<(), pve_volid::VolumeNameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct VolumeName<'a> {
    /// The whole volume name, as parsed.
    #[serde(serialize_with = "text")]
    pub volname: &'a BStr,
    /// What kind of thing it is.
    pub vtype: VolumeType,
    /// The volume's own name: a file name, LV, dataset, image, LUN.
    #[serde(serialize_with = "text")]
    pub name: &'a BStr,
    /// The guest that owns it, digits as written; `0` for everything on `esxi`.
    pub owner: Option<Digits<'a>>,
    /// The template's disk that a linked clone is based on.
    pub base: Option<BaseName<'a>>,
    /// Whether the volume is itself the disk of a template.
    pub is_base: bool,
    /// The format that the name implies.
    pub format: VolumeFormat<'a>,
}

/// The disk of a template, named in the volume name of a linked clone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct BaseName<'a> {
    /// The name of the base volume, without its directory.
    #[serde(serialize_with = "text")]
    pub name: &'a BStr,
    /// The template, digits as written.
    pub owner: Digits<'a>,
}

impl<'a> VolumeName<'a> {
    /// Reads `volname` as a storage of type `kind` does. Nothing is copied unless the name is refused.
    ///
    /// # Errors
    /// [`VolumeNameError`] says which rule of the type's grammar refused the name.
    pub fn parse(kind: StorageType, volname: &'a [u8]) -> Result<Self, VolumeNameError> {
        Self::read(kind, volname).map_err(|rule| VolumeNameError {
            storage_type: kind,
            volname: volname.into(),
            rule,
        })
    }

    /// As [`VolumeName::parse`], for callers that know which name they asked about: the error is the bare rule,
    /// and costs no allocation.
    ///
    /// # Errors
    /// The rule that refused the name.
    pub fn read(kind: StorageType, volname: &'a [u8]) -> Result<Self, NameRule> {
        if volname.contains(&b'\n') {
            return Err(NameRule::LineFeed);
        }
        match kind {
            StorageType::Dir
            | StorageType::Nfs
            | StorageType::Cifs
            | StorageType::CephFs
            | StorageType::Btrfs => path::parse(volname),
            StorageType::Lvm => block::lvm(volname),
            StorageType::LvmThin => block::lvm_thin(volname),
            StorageType::ZfsPool | StorageType::Zfs => block::zfs(volname),
            StorageType::Rbd => block::rbd(volname),
            StorageType::Iscsi => remote::iscsi(volname),
            StorageType::IscsiDirect => remote::iscsi_direct(volname),
            StorageType::Pbs => remote::pbs(volname),
            StorageType::Esxi => remote::esxi(volname),
        }
    }

    /// A volume of `vtype` that belongs to nobody, with format `raw`.
    fn unowned(volname: &'a [u8], vtype: VolumeType, name: &'a [u8]) -> Self {
        VolumeName {
            volname: volname.as_bstr(),
            vtype,
            name: name.as_bstr(),
            owner: None,
            base: None,
            is_base: false,
            format: VolumeFormat::Image(crate::ImageFormat::Raw),
        }
    }
}

/// The name as it was parsed.
impl fmt::Display for VolumeName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.volname.fmt(f)
    }
}

fn text<S: serde::Serializer>(text: &BStr, serializer: S) -> Result<S::Ok, S::Error> {
    crate::serde_text::bytes(text, serializer)
}

/// A text that is no volume name on a storage of that type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{volname}' is not a volume name on a storage of type {storage_type}: {rule}")]
pub struct VolumeNameError {
    /// The type of the storage.
    pub storage_type: StorageType,
    /// The text.
    pub volname: BString,
    /// The rule that refused it.
    pub rule: NameRule,
}

/// The rule of a volume name grammar that refused a text (spec: volumes, "parse_volname: result").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum NameRule {
    /// A line feed somewhere: no volume id can hold it.
    #[error("it contains a line feed")]
    LineFeed,
    /// Path-based: the first component is neither a guest's number nor a content directory.
    #[error(
        "the first component must be a guest's number or one of 'iso', 'vztmpl', 'backup', 'snippets', 'import'"
    )]
    NoContentDirectory,
    /// Path-based image: neither `VMID/FILE` nor `VMID/BASE/VMID/FILE`.
    #[error("an image is VMID/FILE, or BASEVMID/BASEFILE/VMID/FILE for a linked clone")]
    ImageDepth,
    /// Image file: white space in the name.
    #[error("the name of an image must not contain white space")]
    ImageWhiteSpace,
    /// Image file: unknown or upper-case extension, or nothing before it.
    #[error(
        "the name of an image must end in '.raw', '.qcow2', '.vmdk' or '.subvol', in lower case, with a name before it"
    )]
    ImageExtension,
    /// Image file: the file of a snapshot in a volume chain.
    #[error("'snap-*.qcow2' is the file of a snapshot, not a volume")]
    SnapshotFile,
    /// `iso/`: sub-directory or other extension.
    #[error("a CD image is 'iso/NAME.iso' or 'iso/NAME.img', without sub-directory")]
    Iso,
    /// `vztmpl/`: sub-directory or other extension.
    #[error(
        "a container template is 'vztmpl/NAME.tar', '.tar.gz', '.tar.xz', '.tar.zst' or '.tar.bz2', without sub-directory"
    )]
    Template,
    /// `backup/`: sub-directory or other extension.
    #[error(
        "a backup archive is 'backup/NAME.tgz', '.tar' or '.vma', the latter two also with '.gz', '.lzo', '.zst' \
         or '.bz2', in lower case, without sub-directory"
    )]
    Backup,
    /// `snippets/`: empty, or in a sub-directory.
    #[error("a snippet is 'snippets/NAME', without sub-directory")]
    Snippet,
    /// `import/`: bad character, sub-directory or extension.
    #[error(
        "something to import is 'import/NAME' ending in '.ova', '.ovf', '.qcow2', '.raw' or '.vmdk', or a disk in \
         'import/NAME.ova/', of letters, digits, space and '-.+=_' only"
    )]
    Import,
    /// LVM: not the name of a logical volume that Proxmox VE accepts.
    #[error(
        "an LVM name has at least 2 letters, digits, '-', '_', '.', the first and last a letter or digit"
    )]
    LvmName,
    /// `lvm`: does not begin with `vm-VMID-`.
    #[error("a volume on LVM is called 'vm-VMID-NAME'")]
    Lvm,
    /// `lvmthin`: does not begin with `vm-VMID-` or `base-VMID-`.
    #[error("a volume in a thin pool is called 'vm-VMID-NAME' or 'base-VMID-NAME'")]
    LvmThin,
    /// `zfspool`, `zfs`.
    #[error(
        "a volume on ZFS is called 'vm-VMID-NAME', 'base-VMID-NAME', 'subvol-VMID-NAME' or 'basevol-VMID-NAME', a \
         linked clone BASE/NAME, without white space"
    )]
    Zfs,
    /// `rbd`.
    #[error(
        "an RBD image is called 'vm-VMID-NAME' or 'base-VMID-NAME', a linked clone BASE/NAME, without white space"
    )]
    Rbd,
    /// `iscsi`.
    #[error("a LUN is called CHANNEL.ID.LUN.NAME, three numbers and a name without '/' and white space")]
    Iscsi,
    /// `iscsidirect`.
    #[error("a LUN is called 'lunNUMBER'")]
    IscsiDirect,
    /// `pbs`.
    #[error(
        "a backup snapshot is 'backup/TYPE/ID/YYYY-MM-DDThh:mm:ssZ', type and id without white space and '_'"
    )]
    Pbs,
    /// `esxi`.
    #[error("a file of an ESXi host is DATACENTER/DATASTORE/PATH")]
    Esxi,
}

#[cfg(test)]
mod tests;
