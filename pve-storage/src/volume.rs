// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume on a storage: its parsed name beside the storage it lies on, and what follows from the two.

use std::ops::Deref;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ImageFormat, VolumeId, VolumeName, VolumeType};

use crate::block_device::BlockDevice;
use crate::ceph::CephFacts;
use crate::error::{Error, Result};
use crate::features::{Feature, Features, Refusal, SnapshotMethod, VolumeState};
use crate::host::FileKind;
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};

/// What must be known of the world to name and describe a volume. Everything else follows from its name and the
/// section of its storage.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// What stands at the volume's path; `None`: nothing. Asked for block device descriptions of path-based
    /// types, `iscsi` and `esxi` only.
    pub file: Option<FileKind>,
    /// `rbd` and `cephfs`: how the cluster is reached.
    pub ceph: CephFacts,
    /// `zfs` (over iSCSI): the volume's LUN, which only the other machine knows.
    pub lun: Option<u64>,
}

/// A volume: a storage and the parsed name of something on it.
#[derive(Debug, Clone, Copy)]
pub struct Volume<'a> {
    storage: &'a Storage,
    name: VolumeName<'a>,
}

impl<'a> Volume<'a> {
    /// The storage.
    #[must_use]
    pub fn storage(&self) -> &'a Storage {
        self.storage
    }

    /// The parsed name.
    #[must_use]
    pub fn parsed(&self) -> &VolumeName<'a> {
        &self.name
    }

    /// `STORAGE:VOLNAME`.
    #[must_use]
    pub fn volid(&self) -> BString {
        let mut text = BString::from(self.storage.id().as_str());
        text.push(b':');
        text.extend_from_slice(self.volname);
        text
    }

    /// Where it is: a path, or an address that QEMU understands (spec: volumes, "path(volume, snapshot)").
    ///
    /// # Errors
    /// If the type has no such thing as a snapshot's path, if a fact is needed that `facts` lacks, or if the name
    /// would leave its directory.
    pub fn path(&self, snapshot: Option<&BStr>, facts: &Facts) -> Result<BString> {
        self.check_names(snapshot)?;
        self.storage.plugin().path(self, snapshot, facts)
    }

    /// How QEMU is told where it is (spec: volumes, "QEMU block device description"), before
    /// [`BlockDevice::restrict`].
    ///
    /// # Errors
    /// As [`Volume::path`]; if nothing is there; if the volume is neither an image nor something to boot or import
    /// from.
    pub fn block_device(&self, snapshot: Option<&BStr>, facts: &Facts) -> Result<BlockDevice> {
        self.check_names(snapshot)?;
        if !matches!(self.vtype, VolumeType::Images | VolumeType::Iso | VolumeType::Import) {
            return Err(self.unsupported("be attached", format!("it is of type '{}'", self.vtype)));
        }
        self.storage.plugin().block_device(self, snapshot, facts)
    }

    /// Whether the volume, or one of its snapshots, can do something, and if not, why. `targets` are the formats
    /// that the caller accepts for a clone; `None`: any.
    ///
    /// # Errors
    /// The reason.
    pub fn can(
        &self,
        feature: Feature,
        snapshot: Option<&BStr>,
        targets: Option<&[ImageFormat]>,
    ) -> Result<(), Refusal> {
        let state = match snapshot {
            Some(_) => VolumeState::Snapshot,
            None if self.is_base => VolumeState::Base,
            None => VolumeState::Current,
        };
        self.storage.plugin().has_feature(self, feature, state, targets)
    }

    /// Who makes snapshots of it while its guest runs.
    #[must_use]
    pub fn snapshot_method(&self) -> SnapshotMethod {
        self.storage.plugin().snapshot_method(self)
    }

    /// The stream formats that it can be exported in, the preferred one first.
    ///
    /// # Errors
    /// For types that never export.
    pub fn export_formats(&self, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        self.storage.plugin().export_formats(self, scope)
    }

    /// The stream formats that a volume of this name can be imported from.
    ///
    /// # Errors
    /// For types that never import.
    pub fn import_formats(&self, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        self.storage.plugin().import_formats(self, scope)
    }

    /// Refuses names that would leave their directory.
    pub(crate) fn check_names(&self, snapshot: Option<&BStr>) -> Result<()> {
        let dots = |part: &[u8]| matches!(part, b"." | b"..");
        if self.volname.contains(&0) || self.volname.split_str("/").any(dots) {
            return Err(Error::Escapes(self.volid()));
        }
        match snapshot {
            Some(name)
                if name.is_empty() || dots(name) || name.iter().any(|b| matches!(b, b'/' | 0 | b'\n')) =>
            {
                Err(Error::SnapshotName(name.to_owned()))
            }
            _ => Ok(()),
        }
    }

    /// The error that says that this volume cannot do it.
    pub(crate) fn unsupported(&self, operation: &'static str, reason: impl Into<String>) -> Error {
        Error::Request { volume: self.volid(), reason: format!("cannot {operation}: {}", reason.into()) }
    }

    /// The error about a request that does not fit this volume.
    pub(crate) fn request(&self, reason: impl Into<String>) -> Error {
        Error::Request { volume: self.volid(), reason: reason.into() }
    }

    /// Whether it is a qcow2 image.
    pub(crate) fn is_qcow2(&self) -> bool {
        self.format.image() == Some(ImageFormat::Qcow2)
    }

    /// Whether it is a directory or dataset.
    pub(crate) fn is_subvol(&self) -> bool {
        self.format.image() == Some(ImageFormat::Subvol)
    }
}

/// A volume is used like its parsed name.
impl<'a> Deref for Volume<'a> {
    type Target = VolumeName<'a>;

    fn deref(&self) -> &VolumeName<'a> {
        &self.name
    }
}

impl Storage {
    /// The volume called `volname` here; whether it exists is another question.
    ///
    /// # Errors
    /// If the type's grammar refuses the name.
    pub fn volume<'a>(&'a self, volname: &'a (impl AsRef<[u8]> + ?Sized)) -> Result<Volume<'a>> {
        let name = self.plugin().parse(self, volname.as_ref())?;
        Ok(Volume { storage: self, name })
    }

    /// The volume id of `volname` here.
    ///
    /// # Errors
    /// If `volname` is empty or contains a line feed.
    pub fn volid(&self, volname: &[u8]) -> Result<VolumeId> {
        Ok(VolumeId::new(self.id(), volname)?)
    }

    /// What this storage offers.
    #[must_use]
    pub fn features(&self) -> Features {
        let plugin = self.plugin();
        Features {
            content: plugin.content(),
            default_content: plugin.default_content(),
            formats: self.formats(),
            rules: plugin.features(),
            shared: self.is_shared(),
        }
    }

    /// The valid formats of new images here, the default first (spec: storage.cfg, "Derived facts").
    #[must_use]
    pub fn formats(&self) -> Vec<ImageFormat> {
        let mut valid = self.plugin().formats(self);
        if valid.is_empty() {
            valid.push(ImageFormat::Raw);
        }
        let chosen = self.get("format").and_then(|text| ImageFormat::from_bytes(text));
        if let Some(at) = chosen.and_then(|format| valid.iter().position(|valid| *valid == format)) {
            let format = valid.remove(at);
            valid.insert(0, format);
        }
        valid
    }

    /// The default format of new images.
    #[must_use]
    pub fn default_format(&self) -> ImageFormat {
        self.formats().first().copied().unwrap_or(ImageFormat::Raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> Storage {
        Storage::new("local".parse().unwrap(), "dir").with("path", "/var/lib/vz")
    }

    #[test]
    fn names_never_leave_their_directory() {
        let storage = dir();
        let volume = storage.volume("snippets/..").unwrap();
        assert!(matches!(volume.path(None, &Facts::default()), Err(Error::Escapes(_))));
        let esxi = Storage::new("esx".parse().unwrap(), "esxi");
        let volume = esxi.volume("dc/store/../../../etc/shadow").unwrap();
        assert!(matches!(volume.path(None, &Facts::default()), Err(Error::Escapes(_))));
        let image = storage.volume("100/vm-100-disk-0.qcow2").unwrap();
        for bad in ["", "..", "a/b", "a\nb"] {
            let error = image.path(Some(bad.into()), &Facts::default()).unwrap_err();
            assert!(matches!(error, Error::SnapshotName(_)), "{bad}: {error}");
        }
    }

    #[test]
    fn a_refusal_says_what_would_do() {
        let storage = dir();
        let raw = storage.volume("100/vm-100-disk-0.raw").unwrap();
        assert_eq!(
            raw.can(Feature::Snapshot, None, None).unwrap_err().to_string(),
            "an ordinary volume in format 'raw' does not have feature 'snapshot' (formats that have it: qcow2)"
        );
        assert_eq!(
            raw.can(Feature::Clone, None, None).unwrap_err().to_string(),
            "an ordinary volume on a storage of type 'dir' does not have feature 'clone', but a base volume does"
        );
        assert_eq!(
            raw.can(Feature::Replicate, None, None).unwrap_err().to_string(),
            "no volume of a storage of type 'dir' has feature 'replicate'"
        );
        let base = storage.volume("100/base-100-disk-0.raw").unwrap();
        assert_eq!(base.can(Feature::Clone, None, None), Ok(()));
        let target = base.can(Feature::Clone, None, Some(&[ImageFormat::Raw]));
        assert_eq!(target, Err(Refusal::Target { result: ImageFormat::Qcow2 }));
    }

    #[test]
    fn an_unknown_type_answers_with_its_name() {
        let storage = Storage::new("old".parse().unwrap(), "glusterfs");
        let error = storage.volume("100/vm-100-disk-0.raw").unwrap_err();
        assert_eq!(error.to_string(), "storage 'old' has type 'glusterfs', which no plugin here serves");
        assert!(!storage.is_shared());
    }

    #[test]
    fn the_format_option_chooses_the_default() {
        assert_eq!(dir().default_format(), ImageFormat::Raw);
        let storage = dir().with("format", "vmdk");
        assert_eq!(
            storage.formats(),
            [ImageFormat::Vmdk, ImageFormat::Raw, ImageFormat::Qcow2, ImageFormat::Subvol]
        );
        let lvm = Storage::new("vg".parse().unwrap(), "lvm").with("snapshot-as-volume-chain", "1");
        assert_eq!(lvm.default_format(), ImageFormat::Qcow2);
    }

    #[test]
    fn a_device_must_exist() {
        let storage = dir();
        let volume = storage.volume("iso/debian.iso").unwrap();
        assert!(matches!(volume.block_device(None, &Facts::default()), Err(Error::Missing(_))));
        let facts = Facts { file: Some(FileKind::File), ..Facts::default() };
        assert_eq!(
            serde_json::to_string(&volume.block_device(None, &facts).unwrap()).unwrap(),
            r#"{"driver":"file","filename":"/var/lib/vz/template/iso/debian.iso"}"#
        );
    }
}
