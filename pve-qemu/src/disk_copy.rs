// SPDX-License-Identifier: MIT OR Apache-2.0
//! A full copy of one drive's volume: where it goes, in which format and size, and how the content gets there
//! (spec: vm-lifecycle, "Disks (sorted key order)").

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmSection, is_cloudinit_volume};
use pve_config::vm::{Bus, Drive, DriveId, EfiType};
use pve_storage::{Feature, Refusal, Storage};
use pve_volid::{ContentType, ImageFormat, StorageId, VmId, VolumeIdRef};

use crate::disk;
use crate::node::naming::has_directory;
use crate::node::{CopyOptions, MachineChange, Node, WorldError};

/// Size of the state of a TPM, and of a cloud-init image, in bytes.
const SMALL: u64 = 4 << 20;

/// Why a drive cannot be copied, or was not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskCopyError {
    /// It is a path or something else that no storage manages.
    #[error("{drive} ({volume}) is no volume of a storage; import it, or copy its content by hand")]
    NotManaged {
        /// The drive.
        drive: DriveId,
        /// Its file.
        volume: BString,
    },
    /// The storage cannot do it with this volume.
    #[error("{drive} ({volume}): {source}")]
    Feature {
        /// The drive.
        drive: DriveId,
        /// Its volume.
        volume: BString,
        /// Why.
        source: Refusal,
    },
    /// The target storage does not exist, or is not there for disks.
    #[error("storage {storage} cannot take the disk: {reason}")]
    Target {
        /// The storage.
        storage: BString,
        /// Why.
        reason: String,
    },
    /// The state of a TPM that is in use.
    #[error(
        "{drive}: the state of a TPM cannot be copied while the VM runs; shut it down, or take a snapshot"
    )]
    RunningTpm {
        /// The drive.
        drive: DriveId,
    },
    /// A storage, or QEMU, failed.
    #[error("{drive} ({volume}): {source}")]
    World {
        /// The drive.
        drive: DriveId,
        /// Its volume.
        volume: BString,
        /// Why.
        source: Box<WorldError>,
    },
    /// The copy failed, and the new volume could not be freed.
    #[error("{source}; the new volume {volume} could not be freed: {free}; free it by hand")]
    Leak {
        /// Why the copy failed.
        source: Box<DiskCopyError>,
        /// The new volume.
        volume: BString,
        /// Why it could not be freed.
        free: Box<WorldError>,
    },
}

/// A drive to be copied in full.
pub(crate) struct DiskCopy<'a> {
    pub(crate) node: Node<'a>,
    /// The VM that the drive belongs to.
    pub(crate) source: VmId,
    /// Its section: main, or a snapshot's.
    pub(crate) section: &'a VmSection<'a>,
    /// The snapshot whose content is copied.
    pub(crate) snapshot: Option<&'a BStr>,
    /// The VM that the new volume will belong to.
    pub(crate) owner: VmId,
    /// Where it goes; `None`: the storage it is on.
    pub(crate) storage: Option<&'a StorageId>,
    /// In which format; `None`: the one it has, if the storage takes that.
    pub(crate) format: Option<ImageFormat>,
    /// Limit in KiB per second.
    pub(crate) bwlimit: Option<u64>,
    /// Whether a running machine goes on with the copy.
    pub(crate) switch: bool,
}

impl DiskCopy<'_> {
    /// That the drive can be copied, as far as can be told before anything is allocated.
    pub(crate) fn check(&self, id: DriveId, drive: &Drive<'_>) -> Result<(), DiskCopyError> {
        let target = self.target(id, drive)?;
        // asked of cloud-init volumes too, although nothing of them is copied
        let copied = disk::require(self.node, drive.file, Feature::Copy, self.snapshot);
        copied.map_err(|source| DiskCopyError::Feature {
            drive: id,
            volume: drive.file.to_owned(),
            source,
        })?;
        if id.bus == Bus::Tpmstate && self.snapshot.is_none() && self.is_running() {
            return Err(DiskCopyError::RunningTpm { drive: id });
        }
        let refuse = |reason: &str| {
            let storage = target.id().as_str().into();
            Err(DiskCopyError::Target { storage, reason: reason.to_owned() })
        };
        refusal(self.node, target).map_or(Ok(()), refuse)
    }

    /// Copies the drive; returns the volume, and its size in bytes.
    pub(crate) fn run(&self, id: DriveId, drive: &Drive<'_>) -> Result<(BString, u64), DiskCopyError> {
        let live = self.is_running() && self.snapshot.is_none() && id.bus != Bus::Unused;
        self.run_from(live.then_some(id), id, drive)
    }

    /// Copies the volume of `drive` for the option `id`; `live` is the drive of the running source that QEMU copies it
    /// from.
    pub(crate) fn run_from(
        &self,
        live: Option<DriveId>,
        id: DriveId,
        drive: &Drive<'_>,
    ) -> Result<(BString, u64), DiskCopyError> {
        let world = |source| DiskCopyError::World {
            drive: id,
            volume: drive.file.to_owned(),
            source: Box::new(source),
        };
        let target = self.target(id, drive)?;
        let (size, source_format) = self.node.volumes.size(drive.file).map_err(world)?;
        let format = self.format_on(target, source_format);
        let wanted = match id.bus {
            _ if is_cloudinit_volume(drive.file) => SMALL,
            Bus::Tpmstate => SMALL,
            Bus::Efidisk => firmware_size(self.node, self.section, drive),
            _ => size,
        };
        let name = is_cloudinit_volume(drive.file).then(|| cloudinit_name(self.owner, target, format));
        #[expect(clippy::cast_precision_loss, reason = "disks are far smaller than 2^53 bytes")]
        let kib = wanted as f64 / 1024.0;
        let name = name.as_ref().map(|name| name.as_bstr());
        let volume = self.node.volumes.allocate(target.id(), self.owner, format, name, kib).map_err(world)?;
        let volume = BString::from(volume.into_bytes());
        match self.fill(live, id, drive, volume.as_bstr(), wanted) {
            Ok(actual) => Ok((volume, actual)),
            Err(source) => Err(self.give_up(world(source), volume)),
        }
    }

    /// Copies the content; returns the size of the new volume.
    fn fill(
        &self,
        live: Option<DriveId>,
        id: DriveId,
        drive: &Drive<'_>,
        target: &BStr,
        wanted: u64,
    ) -> Result<u64, WorldError> {
        let volumes = self.node.volumes;
        if is_cloudinit_volume(drive.file) {
            // its image is made at the start
        } else if let Some(live) = live {
            let key = BString::from(live.to_string());
            let (source, switch) = (drive.file, self.switch);
            let mirror = MachineChange::Mirror { key: key.as_bstr(), source, target, switch };
            self.node.machines.change(self.source, &mirror)?;
        } else {
            let sparse = disk::can(self.node, target, Feature::SparseInit, None);
            let limit = (id.bus == Bus::Efidisk).then_some(wanted);
            let options = CopyOptions { bwlimit: self.bwlimit, sparse, limit };
            volumes.copy(drive.file, self.snapshot, target, options)?;
        }
        Ok(volumes.size(target)?.0)
    }

    fn give_up(&self, source: DiskCopyError, volume: BString) -> DiskCopyError {
        match self.node.volumes.free(volume.as_bstr()) {
            Ok(()) => source,
            Err(free) => DiskCopyError::Leak { source: Box::new(source), volume, free: Box::new(free) },
        }
    }

    fn is_running(&self) -> bool {
        self.node.machines.is_running(self.source)
    }

    fn target(&self, id: DriveId, drive: &Drive<'_>) -> Result<&Storage, DiskCopyError> {
        let not_managed = || DiskCopyError::NotManaged { drive: id, volume: drive.file.to_owned() };
        let own = VolumeIdRef::from_bytes(drive.file).map_err(|_| not_managed())?;
        let wanted = self.storage.map_or(own.storage().as_str(), |storage| storage.as_str());
        self.node.volumes.storages().get(wanted).ok_or_else(|| DiskCopyError::Target {
            storage: wanted.into(),
            reason: "it is not configured".into(),
        })
    }

    fn format_on(&self, target: &Storage, source: ImageFormat) -> ImageFormat {
        let valid = target.formats();
        let wanted = self.format.unwrap_or(source);
        if valid.contains(&wanted) { wanted } else { target.default_format() }
    }
}

/// Why no disk can be made on a storage; `None` if one can.
pub(crate) fn refusal(node: Node<'_>, target: &Storage) -> Option<&'static str> {
    if !target.has_content(ContentType::Images) {
        return Some("its content does not include 'images'");
    }
    (!target.is_enabled_on(node.configs.node())).then_some("it is disabled, or not of this node")
}

/// Size of the firmware's variables that an EFI disk is made for, in bytes (spec: vm-lifecycle, "Disk parameters in
/// requests", 10).
fn firmware_size(node: Node<'_>, section: &VmSection<'_>, drive: &Drive<'_>) -> u64 {
    let arch = section.get("arch").map_or(node.facts.arch.as_bytes(), |arch| arch.as_bytes());
    match (arch, drive.efitype) {
        (b"aarch64", _) => 64 << 20,
        (_, Some(EfiType::FourMiB)) => 528 << 10,
        _ => 128 << 10,
    }
}

fn cloudinit_name(owner: VmId, target: &Storage, format: ImageFormat) -> BString {
    let name = format!("vm-{owner}-cloudinit");
    if has_directory(target) { format!("{name}.{}", format.as_str()).into() } else { name.into() }
}
