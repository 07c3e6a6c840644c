// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives of a running VM (spec: vm-lifecycle, "Hot-plug": drives, cloud-init drive).

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::is_cloudinit_volume;
use pve_config::vm::{Bus, Drive, DriveId, HotplugFeature};

use super::{Hotplug, HotplugError, Outcome};
use crate::boot_order;
use crate::cloudinit::Occasion;
use crate::node::MachineChange;
use crate::pending;
use crate::release::ReleaseError;

/// Whether drives come and go on the bus while the guest runs.
fn is_pluggable(bus: Bus) -> bool {
    matches!(bus, Bus::Scsi | Bus::Virtio)
}

impl Hotplug<'_> {
    pub(super) fn delete_drive(
        &mut self,
        id: DriveId,
        key: &BStr,
        force: bool,
    ) -> Result<Outcome, HotplugError> {
        if !self.has(HotplugFeature::Disk) || !is_pluggable(id.bus) {
            return Ok(Outcome::Later);
        }
        self.unplug_disk(key)?;
        if let Some(value) = self.config.main.get(key).map(BStr::to_owned)
            && let Some(drive) = pending::drive(key, &value)
        {
            self.release.detach(&mut self.config, key, &drive, force)?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn set_drive(
        &mut self,
        id: DriveId,
        key: &BStr,
        value: &BString,
    ) -> Result<Outcome, HotplugError> {
        if matches!(id.bus, Bus::Efidisk | Bus::Tpmstate) {
            return Ok(Outcome::Later);
        }
        let new = Drive::read(id, value)?;
        if is_cloudinit_volume(new.file) && Occasion::Plugged.makes_image() {
            let mut config = self.config.clone();
            config.main.set(key, value.as_bstr());
            pending::write_images(self.node, self.vmid, &config)?;
        }
        let old = self.config.main.get(key).map(BStr::to_owned);
        if let Some(old) = old.as_ref().and_then(|old| Drive::read(id, old).ok()) {
            if old.is_cdrom() != new.is_cdrom() {
                return Err(HotplugError::MediaType);
            }
            if old.is_cdrom() {
                return self.change_medium(key, value, &old, &new);
            }
            if old.file == new.file {
                return self.change_options(key, value, &old, &new);
            }
            if !self.has(HotplugFeature::Disk) {
                return Ok(Outcome::Later);
            }
            self.unplug_disk(key)?;
            self.release.keep(&mut self.config, &old).map_err(ReleaseError::from)?;
        }
        self.plug_disk(id, key, value, &new)
    }

    fn plug_disk(
        &mut self,
        id: DriveId,
        key: &BStr,
        value: &BString,
        new: &Drive<'_>,
    ) -> Result<Outcome, HotplugError> {
        if !self.has(HotplugFeature::Disk) || !is_pluggable(id.bus) {
            return Ok(Outcome::Later);
        }
        if new.file.contains(&b':') && !new.file.starts_with(b"/") {
            self.node.volumes.activate(&[new.file])?;
        }
        self.plug(key, &self.with(key, value.as_bstr()))?;
        Ok(Outcome::Done)
    }

    /// Unplugs a drive, unless the VM boots from it.
    fn unplug_disk(&self, key: &BStr) -> Result<(), HotplugError> {
        if boot_order::boot_disks(&self.config.main).iter().any(|disk| key == disk.as_str()) {
            return Err(HotplugError::BootDisk);
        }
        Ok(self.unplug(key)?)
    }

    fn change_medium(
        &mut self,
        key: &BStr,
        value: &BString,
        old: &Drive<'_>,
        new: &Drive<'_>,
    ) -> Result<Outcome, HotplugError> {
        let section = self.with(key, value.as_bstr());
        self.tell(&MachineChange::Medium { key, file: new.file, section: &section })?;
        if new.file == "none" && is_cloudinit_volume(old.file) {
            self.release.free_or_leave(old.file);
        }
        Ok(Outcome::Done)
    }

    /// The same volume with other options.
    fn change_options(
        &mut self,
        key: &BStr,
        value: &BString,
        old: &Drive<'_>,
        new: &Drive<'_>,
    ) -> Result<Outcome, HotplugError> {
        if is_other_device(old, new) {
            return Ok(Outcome::Later);
        }
        if limits(old) != limits(new) {
            let section = self.with(key, value.as_bstr());
            self.tell(&MachineChange::Throttle { key, section: &section })?;
        }
        Ok(Outcome::Done)
    }
}

/// Whether options differ that a block device is made with.
fn is_other_device(old: &Drive<'_>, new: &Drive<'_>) -> bool {
    let is_set = |flag: Option<bool>| flag == Some(true);
    old.aio != new.aio
        || old.discard != new.discard
        || is_set(old.iothread) != is_set(new.iothread)
        || old.queues != new.queues
        || old.product != new.product
        || old.cache != new.cache
        || is_set(old.ssd) != is_set(new.ssd)
        || old.vendor != new.vendor
        || is_set(old.ro) != is_set(new.ro)
}

/// The limits of throughput, and of bursts.
fn limits<'t>(drive: &Drive<'t>) -> impl PartialEq + use<'t> {
    let rates =
        [drive.mbps, drive.mbps_rd, drive.mbps_wr, drive.mbps_max, drive.mbps_rd_max, drive.mbps_wr_max];
    let operations =
        [drive.iops, drive.iops_rd, drive.iops_wr, drive.iops_max, drive.iops_rd_max, drive.iops_wr_max];
    let lengths = [
        drive.bps_max_length,
        drive.bps_rd_max_length,
        drive.bps_wr_max_length,
        drive.iops_max_length,
        drive.iops_rd_max_length,
        drive.iops_wr_max_length,
    ];
    (rates, operations, lengths)
}
