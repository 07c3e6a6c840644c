// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pending changes become current while a VM does not run (spec: vm-lifecycle, "Applying").

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{Unused, VmConfig, is_cloudinit_volume};
use pve_config::vm::{Drive, DriveId};
use pve_volid::VmId;

use super::{Power, PowerError};
use crate::cloudinit::{Occasion, image_drives};
use crate::disk;
use crate::node::WorldError;

impl Power<'_> {
    /// Applies all pending changes, and returns the configuration as it is then. What cannot be deleted stays pending, with
    /// a warning.
    pub(super) fn apply_pending(
        &self,
        vmid: VmId,
        mut config: VmConfig<'static>,
    ) -> Result<VmConfig<'static>, PowerError> {
        if config.pending.is_empty() {
            return Ok(config);
        }
        let deletes: Vec<(BString, bool)> =
            config.pending.delete_list().iter().map(|(key, force)| (key.to_owned(), force)).collect();
        for (key, force) in deletes {
            if self.tolerate(self.detach(vmid, &mut config, key.as_bstr(), force)).is_some() {
                config.main.remove(&key);
                config.pending.unqueue_deletion(&key);
            }
        }
        config.cleanup_pending();
        let values: Vec<(BString, BString)> = config
            .pending
            .iter()
            .filter(|(key, _)| *key != "delete")
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let mut cloudinit = false;
        for (key, value) in values {
            self.detach(vmid, &mut config, key.as_bstr(), false)?;
            cloudinit |= drive_file(key.as_bstr(), value.as_bstr()).is_some_and(is_cloudinit_volume);
            config.pending.remove(&key);
            config.main.set(key, value);
        }
        self.store(vmid, &config)?;
        let config = self.load(vmid)?;
        if (Occasion::Applied { drive: cloudinit }).makes_image() {
            for (_, volume) in image_drives(&config.main, vmid) {
                self.node.volumes.write_cloudinit(vmid, &config, volume)?;
            }
        }
        Ok(config)
    }

    /// A drive is about to lose its value: its volume is kept as unused, or freed with `force`. Other options have no
    /// volume.
    fn detach(
        &self,
        vmid: VmId,
        config: &mut VmConfig<'static>,
        key: &BStr,
        force: bool,
    ) -> Result<(), PowerError> {
        let Some(value) = config.main.get(key).map(BStr::to_owned) else { return Ok(()) };
        let Some(volume) = drive_file(key, value.as_bstr()) else { return Ok(()) };
        if is_cloudinit_volume(volume) {
            self.tolerate(self.node.volumes.free(volume));
            config.remove_special_section("cloudinit");
            return Ok(());
        }
        let is_cdrom = DriveId::from_key(key)
            .and_then(|id| Drive::read(id, &value).ok())
            .is_some_and(|drive| drive.is_cdrom());
        if is_cdrom || disk::owner(self.node, volume) != Some(vmid) {
            return Ok(());
        }
        if force && !disk::is_in_use(self.node, config, volume, Some(key)) {
            return Ok(self.node.volumes.free(volume)?);
        }
        match config.add_unused(volume) {
            Ok(Unused::Free) => {
                self.tolerate(self.node.volumes.free(volume));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => Err(WorldError::Other(error.to_string()).into()),
        }
    }
}

/// The file of a drive, if the option is one and its value parses.
fn drive_file<'v>(key: &BStr, value: &'v BStr) -> Option<&'v BStr> {
    Some(Drive::read(DriveId::from_key(key)?, value).ok()?.file)
}
