// SPDX-License-Identifier: MIT OR Apache-2.0
//! Recording a request as pending changes, option by option (spec: vm-lifecycle, "Recording deletes" and "Recording
//! values").

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmConfig, VmSection, is_cloudinit_volume};
use pve_config::vm::{Boot, Bus, Drive, DriveId, TpmVersion};
use pve_volid::VmId;

use super::{Request, UpdateError};
use crate::boot_order;
use crate::cloudinit::{is_hashed, windows_version};
use crate::left_behind::LeftBehind;
use crate::new_disk::{NewDiskError, NewDisks, other_cloudinit};
use crate::node::Node;
use crate::option_rules::{self, OptionError, drive_id};
use crate::pending;
use crate::release::Release;
use crate::vm_file;

/// A request on its way into the pending section. The file is written, and read again, after every option.
pub(super) struct Recorder<'a> {
    node: Node<'a>,
    vmid: VmId,
    config: VmConfig<'static>,
    request: &'a Request,
    release: Release<'a>,
    /// The devices of the VM's explicit boot order; it loses those that are deleted, and gains new CD-ROM drives.
    boot: Option<Vec<String>>,
    ignored: Vec<BString>,
}

/// A request that is recorded.
pub(super) struct Recorded {
    pub(super) config: VmConfig<'static>,
    pub(super) ignored: Vec<BString>,
    pub(super) left_behind: Vec<LeftBehind>,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(node: Node<'a>, vmid: VmId, config: VmConfig<'static>, request: &'a Request) -> Self {
        let boot = config.main.get("boot").and_then(|text| Boot::parse(text).ok());
        let boot = boot.filter(|boot| boot.legacy.is_none() && boot.order.is_some());
        let boot = boot.map(|boot| boot.devices().map(ToString::to_string).collect());
        let release = Release::new(node, vmid);
        Recorder { node, vmid, config, request, release, boot, ignored: Vec::new() }
    }

    pub(super) fn record(mut self) -> Result<Recorded, UpdateError> {
        for key in &self.request.delete {
            self.delete(key)?;
        }
        // a boot order that is asked for comes last, so that it stands although a new drive extends the old one
        let (boot, others): (Vec<_>, Vec<_>) = self.request.set.iter().partition(|(key, _)| *key == "boot");
        for (key, value) in others.into_iter().chain(boot) {
            if self.config.pending.get(key) != Some(value.as_bstr()) {
                self.set(key, value)?;
            }
        }
        if self.config.cleanup_pending() {
            self.store()?;
        }
        Ok(Recorded { config: self.config, ignored: self.ignored, left_behind: self.release.left_behind })
    }

    fn store(&mut self) -> Result<(), UpdateError> {
        self.config = vm_file::store(self.node, self.vmid, &self.config)?;
        Ok(())
    }

    fn delete(&mut self, key: &BString) -> Result<(), UpdateError> {
        let current = self.config.main.get(key).map(BStr::to_owned);
        let pending = self.config.pending.remove(key);
        let Some(value) = current.as_ref().or(pending.as_ref()) else {
            self.ignored.push(key.clone());
            return Ok(());
        };
        if let Some(devices) = &mut self.boot
            && devices.iter().any(|device| key == device.as_str())
        {
            devices.retain(|device| key != device.as_str());
            self.config.pending.set("boot", boot_order::value_of(devices));
        }
        match (DriveId::from_key(key), key.as_bytes()) {
            (Some(DriveId { bus: Bus::Unused, .. }), _) | (None, b"vmstate") => {
                self.require_unprotected()?;
                let id = DriveId::from_key(key);
                let volume = match id.map(|id| Drive::read(id, value)) {
                    Some(drive) => drive.map(|drive| drive.file).unwrap_or_default(),
                    None => value.as_bstr(),
                };
                let freed = self.release.free(&self.config, key.as_bstr(), volume);
                freed.map_err(|source| UpdateError::Release { key: key.clone(), source })?;
                self.config.main.remove(key);
            }
            (Some(_), _) => {
                self.require_unprotected()?;
                if current.is_none()
                    && let Some(drive) = pending::drive(key.as_bstr(), value)
                {
                    let kept = self.release.keep(&mut self.config, &drive);
                    kept.map_err(|source| UpdateError::full(key, source))?;
                }
                self.config.pending.queue_deletion(key.as_bstr(), self.request.force);
            }
            (None, b"tags") => drop(self.config.main.remove(key)),
            (None, _) => self.config.pending.queue_deletion(key.as_bstr(), self.request.force),
        }
        self.store()
    }

    fn require_unprotected(&self) -> Result<(), UpdateError> {
        if self.config.main.is_protected() {
            return Err(UpdateError::Protected { vmid: self.vmid });
        }
        Ok(())
    }

    fn set(&mut self, key: &BString, value: &BString) -> Result<(), UpdateError> {
        match (DriveId::from_key(key), key.as_bytes()) {
            (Some(id), _) if id.bus != Bus::Unused => return self.set_drive(id, key, value),
            (_, b"boot") => {
                let value = self.boot_value(value)?;
                self.config.pending.set("boot", value);
            }
            (_, b"ostype") => {
                self.pin_machine(value.as_bstr())?;
                self.config.pending.set("ostype", value.as_bstr());
            }
            (_, b"cipassword") => {
                let is_windows =
                    self.config.main.get("ostype").is_some_and(|ostype| windows_version(ostype) > 0);
                let is_kept = is_windows || is_hashed(value);
                let stored = if is_kept { value.clone() } else { self.node.chance.crypt(value) };
                self.config.main.set("cipassword", stored);
            }
            (_, name) => {
                let value = match name {
                    b"tags" => option_rules::unique_tags(value.as_bstr()),
                    _ => value.clone(),
                };
                if name == b"machine" {
                    self.stored_machine(Some(value.as_bstr()), None)?;
                }
                self.config.pending.set(key.as_bstr(), value);
            }
        }
        self.config.pending.unqueue_deletion(key);
        self.store()
    }

    /// The order, if all its devices exist; `bootdisk` means nothing beside it and goes.
    fn boot_value(&mut self, value: &BString) -> Result<BString, UpdateError> {
        let boot = Boot::parse(value).map_err(|source| OptionError::value("boot".into(), source))?;
        if boot.order.is_none() {
            return Ok(value.clone());
        }
        let devices: Vec<&BStr> = boot.devices().collect();
        for device in &devices {
            let exists = self.config.main.contains(device)
                || self.config.pending.contains(device)
                || self.request.set.contains_key(*device);
            if !exists || self.request.delete.iter().any(|key| key == device) {
                return Err(UpdateError::BootDevice { device: BString::from(device.as_bytes()) });
            }
        }
        if self.config.main.contains("bootdisk") {
            self.config.pending.queue_deletion("bootdisk", false);
        }
        Ok([&b"order="[..], &bstr::join(";", devices)].concat().into())
    }

    /// Windows is given a machine whose version stays.
    fn pin_machine(&mut self, ostype: &BStr) -> Result<(), UpdateError> {
        let VmConfig { main, pending, .. } = &self.config;
        let is_given = self.request.set.contains_key(BStr::new("machine"))
            || pending.contains("machine")
            || pending.delete_list().contains("machine");
        if is_given {
            return Ok(());
        }
        if let Some(machine) = self.stored_machine(main.get("machine"), Some(ostype))? {
            self.config.pending.set("machine", machine);
        }
        Ok(())
    }

    fn stored_machine(
        &self,
        machine: Option<&BStr>,
        ostype: Option<&BStr>,
    ) -> Result<Option<BString>, OptionError> {
        let facts = self.node.facts;
        let arch = self.config.main.truthy("arch").unwrap_or(facts.arch.as_str().into());
        option_rules::stored_machine(facts, arch, ostype, machine)
    }

    fn set_drive(&mut self, id: DriveId, key: &BString, value: &BString) -> Result<(), UpdateError> {
        let fail = |source: NewDiskError| UpdateError::Disk { key: key.clone(), source: Box::new(source) };
        let new = Drive::read_with(id, value, true).map_err(|source| fail(source.into()))?;
        self.check_drive(id, &new)?;
        let pending = self.config.pending.get(key).map(BStr::to_owned);
        if let Some(old) = pending.as_ref().and_then(|old| pending::drive(key.as_bstr(), old)) {
            let kept = self.release.keep(&mut self.config, &old);
            kept.map_err(|source| UpdateError::full(key, source))?;
        }
        if is_cloudinit_volume(new.file) {
            let wanted = drives_of(self.request);
            let sections = [&self.config.main, &self.config.pending, &wanted];
            if let Some((other, file)) = other_cloudinit(sections, id) {
                return Err(fail(NewDiskError::SecondCloudInit { other, file: file.to_owned() }));
            }
        }
        let mut disks = NewDisks::new(self.node, self.vmid, self.request.bwlimit);
        let recorded = disks.make(id, value.as_bstr(), &self.config.main).map_err(fail).and_then(|made| {
            self.extend_boot_order(id, &made);
            self.config.pending.set(key.as_bstr(), made);
            self.config.pending.unqueue_deletion(key);
            self.store()
        });
        recorded.map_err(|error| match disks.give_up() {
            left_behind if left_behind.is_empty() => error,
            left_behind => UpdateError::Left { source: Box::new(error), left_behind },
        })
    }

    fn check_drive(&self, id: DriveId, new: &Drive<'_>) -> Result<(), UpdateError> {
        let contradiction = |reason| Err(UpdateError::Contradiction { key: id.to_string().into(), reason });
        let version = |drive: &Drive<'_>| drive.version.unwrap_or(TpmVersion::V1_2);
        if id.bus == Bus::Tpmstate
            && let Ok(Some(old)) = self.config.main.drive(id)
            && old.file == new.file
            && version(&old) != version(new)
        {
            return contradiction("the state of a TPM has the version that it was made with");
        }
        let is_passed_through = new.scsiblock == Some(true) && new.file.starts_with(b"/");
        if is_passed_through && (new.product.is_some() || new.vendor.is_some()) {
            return contradiction("product and vendor of a device that is passed through are its own");
        }
        Ok(())
    }

    /// A new CD-ROM drive can be booted from.
    fn extend_boot_order(&mut self, id: DriveId, made: &BString) {
        let is_cdrom =
            Drive::read(id, made).is_ok_and(|drive| drive.is_cdrom() && !is_cloudinit_volume(drive.file));
        let name = id.to_string();
        if let Some(devices) = self.boot.as_mut().filter(|devices| is_cdrom && !devices.contains(&name)) {
            devices.push(name);
            self.config.pending.set("boot", boot_order::value_of(devices));
        }
    }
}

/// The drives that a request sets.
fn drives_of(request: &Request) -> VmSection<'static> {
    let mut section = VmSection::new();
    for (key, value) in &request.set {
        if drive_id(key.as_bstr()).is_some() {
            section.set(key.as_bstr(), value.as_bstr());
        }
    }
    section
}
