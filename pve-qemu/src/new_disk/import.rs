// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks that are filled from a volume, or from a file that belongs to nobody (`import-from`).

use bstr::{BStr, ByteSlice};
use pve_config::guest::{GuestKind, VmConfig, VmSection, is_cloudinit_volume};
use pve_config::vm::{Bus, Drive, DriveId};
use pve_storage::{Feature, Storage};
use pve_volid::{ImageFormat, VmId, VolumeFormat, VolumeType};

use super::{Made, Misuse, NewDiskError, NewDisks, image_format};
use crate::disk;
use crate::disk_copy::DiskCopy;
use crate::node::{CopyOptions, LockGuard, LockMode};
use crate::vm_file::PATIENCE;

impl NewDisks<'_> {
    /// A new volume with the content of another one, or of a file.
    pub(super) fn import(
        &mut self,
        id: DriveId,
        drive: &Drive<'_>,
        source: &BStr,
        storage: &str,
        main: &VmSection<'_>,
    ) -> Result<Made, NewDiskError> {
        match id.bus {
            Bus::Efidisk if drive.efitype.is_none() || drive.pre_enrolled_keys.is_none() => {
                return Err(NewDiskError::ImportNeeds { keys: "efitype and pre-enrolled-keys" });
            }
            Bus::Tpmstate if drive.version.is_none() => {
                return Err(NewDiskError::ImportNeeds { keys: "version" });
            }
            _ => {}
        }
        let target = self.target(storage)?;
        if source.starts_with(b"/") {
            return self.import_file(drive, source, target, None);
        }
        self.import_volume(id, drive, source, target, main)
    }

    /// Imports something that belongs to nobody; in the format `preferred` if the option names none and the storage has
    /// it.
    fn import_file(
        &mut self,
        drive: &Drive<'_>,
        source: &BStr,
        target: &Storage,
        preferred: Option<ImageFormat>,
    ) -> Result<Made, NewDiskError> {
        let volumes = self.node.volumes;
        let (size, _) = volumes.size(source)?;
        if size == 0 {
            return Err(NewDiskError::Use { file: source.to_owned(), reason: Misuse::Empty });
        }
        let wanted = drive.format.and_then(image_format).or(preferred);
        let format = wanted.filter(|wanted| target.formats().contains(wanted));
        let format = format.unwrap_or(target.default_format());
        #[expect(clippy::cast_precision_loss, reason = "disks are far smaller than 2^53 bytes")]
        let volume = self.allocate(target, format, None, size as f64 / 1024.0)?;
        let sparse = disk::can(self.node, volume.as_bstr(), Feature::SparseInit, None);
        let options = CopyOptions { bwlimit: self.bwlimit, sparse, limit: None };
        volumes.copy(source, None, volume.as_bstr(), options)?;
        let (size, _) = volumes.size(volume.as_bstr())?;
        Ok(Made { volume, size, becomes_base: true })
    }

    fn import_volume(
        &mut self,
        id: DriveId,
        drive: &Drive<'_>,
        source: &BStr,
        target: &Storage,
        main: &VmSection<'_>,
    ) -> Result<Made, NewDiskError> {
        let misuse = |reason| Err(NewDiskError::Use { file: source.to_owned(), reason });
        let Some(volume) = disk::volume(self.node, source) else { return misuse(Misuse::Unknown) };
        match volume.vtype {
            VolumeType::Images | VolumeType::Import => {}
            other => return misuse(Misuse::Content(other)),
        }
        let member = match volume.format {
            VolumeFormat::Image(_) => None,
            VolumeFormat::OvaMember(format) => Some(format),
            _ => return misuse(Misuse::Appliance),
        };
        if is_cloudinit_volume(source) {
            return misuse(Misuse::CloudInit);
        }
        self.node.volumes.activate_storage(volume.storage().id())?;
        if self.node.volumes.size(source)?.0 == 0 {
            return misuse(Misuse::Empty);
        }
        if let Some(format) = member {
            return Ok(Made {
                becomes_base: false,
                ..self.import_file(drive, source, target, Some(format))?
            });
        }
        let origin = self.origin(source)?;
        let copy = DiskCopy {
            node: self.node,
            source: origin.owner.unwrap_or(self.vmid),
            section: main,
            snapshot: None,
            owner: self.vmid,
            storage: Some(target.id()),
            format: drive.format.and_then(image_format),
            bwlimit: self.bwlimit,
            switch: false,
        };
        let from = Drive { file: source, ..*drive };
        copy.check(id, &from)?;
        let (volume, size) = copy.run_from(origin.live, id, &from)?;
        self.made.push(volume.clone());
        Ok(Made { volume, size, becomes_base: false })
    }

    /// Whose the source is; its owner is locked for as long as this value lives.
    fn origin(&self, source: &BStr) -> Result<Origin, NewDiskError> {
        let mut origin = Origin { owner: None, live: None, _guard: None };
        let Some(owner) = disk::owner(self.node, source) else { return Ok(origin) };
        let Some((entry, text)) = self.node.configs.read(owner)? else { return Ok(origin) };
        if entry.node != self.node.configs.node() {
            let (volume, node) = (source.to_owned(), entry.node);
            return Err(NewDiskError::ImportFromNode { volume, owner, node });
        }
        if entry.kind != GuestKind::Qemu {
            return Ok(origin);
        }
        let is_running = self.node.machines.is_running(owner);
        let mode = if is_running { LockMode::Exclusive } else { LockMode::Shared };
        origin._guard = Some(self.node.configs.lock(owner, mode, PATIENCE)?);
        origin.owner = Some(owner);
        if is_running {
            let (config, _) = VmConfig::parse(&text);
            let path = disk::path(self.node, source);
            let mut drives = config.main.drives().filter(|(_, drive)| !drive.is_cdrom());
            let used = drives.find(|(_, drive)| disk::path(self.node, drive.file) == path);
            origin.live = used.map(|(id, _)| id);
        }
        Ok(origin)
    }
}

/// Whose volume is imported.
struct Origin {
    /// The VM.
    owner: Option<VmId>,
    /// Its drive, if it runs.
    live: Option<DriveId>,
    _guard: Option<Box<dyn LockGuard>>,
}
