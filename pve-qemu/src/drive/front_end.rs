// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guest sees of a drive: disk or CD-ROM, and the controller it hangs on (spec: qemu-command-drives, "Front-end
//! devices", "SCSI controllers and iothreads").

use bstr::{BStr, BString, ByteSlice};

use super::{Drive, Place, url_decode};
use crate::argument::{Element, put};
use crate::assembly::{Assembly, Step};
use crate::error::{DriveReason, Reason};
use crate::origin::{Key, Rule};
use crate::version::Feature;

/// Controllers that were emitted.
#[derive(Debug, Default)]
pub(crate) struct Controllers {
    sata: bool,
    scsi: Vec<(&'static str, u8)>,
}

/// Most drives that machines before 4.1+pve2 have.
const FEW_SCSI_DRIVES: u8 = 14;

/// How a SCSI controller holds its drives (spec: qemu-command-drives, "SCSI controllers and iothreads").
#[derive(Debug, Clone, Copy)]
struct ScsiLayout {
    /// Drives per controller.
    drives: u16,
    /// First part of the controllers' ids.
    prefix: &'static str,
    /// Drives are told apart by SCSI id, not by LUN.
    by_id: bool,
    /// Every drive has a controller of its own.
    single: bool,
}

impl ScsiLayout {
    fn of(scsihw: Option<&BStr>) -> Self {
        match scsihw.map(|scsihw| scsihw.as_bytes()) {
            None | Some(b"" | b"0") => ScsiLayout { drives: 7, prefix: "scsihw", by_id: true, single: false },
            Some(name) if name.starts_with(b"lsi") => {
                ScsiLayout { drives: 7, prefix: "scsihw", by_id: true, single: false }
            }
            Some(b"virtio-scsi-single") => {
                ScsiLayout { drives: 1, prefix: "virtioscsi", by_id: false, single: true }
            }
            Some(name) => {
                ScsiLayout { drives: 256, prefix: "scsihw", by_id: name == b"pvscsi", single: false }
            }
        }
    }

    /// Controller and unit of a drive.
    fn place(self, index: u8) -> (u8, u8) {
        let index = u16::from(index);
        ((index / self.drives) as u8, (index % self.drives) as u8)
    }
}

impl<'a> Assembly<'a> {
    /// Threads and the controller of a drive, before the drive itself.
    pub(crate) fn put_controller(&mut self, drive: &Drive<'a>, controllers: &mut Controllers) -> Step {
        let iothread = drive.truthy("iothread").is_some();
        match drive.key.name() {
            "virtio" if iothread => self.put_iothread(drive, "virtio"),
            "scsi" => return self.put_scsi_controller(drive, controllers),
            "sata" if !controllers.sata => {
                controllers.sata = true;
                let address = self.address("ahci0", None);
                let mut element = self.devices.option("-device", Rule::SataController.about(drive.key));
                element.put("ahci,id=ahci0,multifunction=on");
                put_address(&mut element, address);
            }
            _ => {}
        }
        Ok(())
    }

    fn put_iothread(&mut self, drive: &Drive<'a>, prefix: &'static str) {
        let origin = Rule::Iothread.of(drive.key.sub("iothread"));
        put!(self.main.option("-object", origin), "iothread,id=iothread-", prefix, drive.index());
    }

    fn put_scsi_controller(&mut self, drive: &Drive<'a>, controllers: &mut Controllers) -> Step {
        let key = Key::new("scsihw");
        if drive.index() >= FEW_SCSI_DRIVES && !self.has(Feature::ManyScsiDrives) {
            return Err(self.error(drive.key, Reason::from(DriveReason::TooManyScsi)));
        }
        let scsihw = self.conf.get("scsihw");
        let layout = ScsiLayout::of(scsihw);
        let (controller, _) = layout.place(drive.index());
        let iothread = drive.truthy("iothread").is_some();
        if iothread && layout.single {
            self.put_iothread(drive, layout.prefix);
        } else if iothread {
            self.warn(drive.key.sub("iothread"), "iothread is ignored: it needs scsihw virtio-scsi-single");
        }
        if controllers.scsi.contains(&(layout.prefix, controller)) {
            return Ok(());
        }
        controllers.scsi.push((layout.prefix, controller));
        let address = self.address(layout.prefix, Some(controller));
        let scsihw = self.conf.truthy("scsihw");
        let mut element =
            self.devices.option("-device", Rule::ScsiController.of_or_default(key, scsihw.is_some()));
        match scsihw {
            _ if layout.single => element.put("virtio-scsi-pci"),
            Some(name) => element.put(name),
            None => element.put("lsi"),
        };
        put!(element, ",id=", layout.prefix, controller);
        put_address(&mut element, address);
        if layout.single {
            if iothread {
                element.because(Rule::Iothread.of(drive.key.sub("iothread")));
                put!(element, ",iothread=iothread-", layout.prefix, drive.index());
            }
            if let Some(queues) = drive.truthy("queues") {
                element.because(Rule::ScsiController.of(drive.key.sub("queues")));
                put!(element, ",num_queues=", queues);
            }
        }
        Ok(())
    }

    /// `-device` of a drive.
    pub(crate) fn put_front_end(&mut self, drive: &Drive<'a>) -> Step {
        match drive.key.name() {
            "virtio" => self.put_virtio(drive),
            "scsi" => return self.put_scsi(drive),
            _ => self.put_ide(drive),
        }
        Ok(())
    }

    fn put_virtio(&mut self, drive: &Drive<'a>) {
        let address = self.address("virtio", Some(drive.index()));
        let (new, boot) = (self.front_end_is_new(), self.boot.of_device(drive.key));
        let mut element = self.devices.option("-device", Rule::FrontEnd.about(drive.key));
        element.put("virtio-blk-pci");
        put_reference(&mut element, drive, new);
        put!(element, ",id=", &drive.id);
        put_address(&mut element, address);
        if drive.truthy("iothread").is_some() {
            element.because(Rule::Iothread.of(drive.key.sub("iothread")));
            put!(element, ",iothread=iothread-", &drive.id);
        }
        boot.put(&mut element);
        put_tail(&mut element, drive, new, !drive.is_cdrom());
    }

    fn put_scsi(&mut self, drive: &Drive<'a>) -> Step {
        let kind = self.scsi_kind(drive)?;
        let layout = ScsiLayout::of(self.conf.get("scsihw"));
        let (controller, unit) = layout.place(drive.index());
        let (new, boot) = (self.front_end_is_new(), self.boot.of_device(drive.key));
        let disk_like = matches!(kind, "hd" | "cd");
        let mut element = self.devices.option("-device", Rule::FrontEnd.about(drive.key));
        put!(element, "scsi-", kind, ",bus=", layout.prefix, controller, ".0,");
        if layout.by_id {
            put!(element, "scsi-id=", unit);
        } else {
            put!(element, "channel=0,scsi-id=0,lun=", drive.index());
        }
        put_reference(&mut element, drive, new);
        put!(element, ",id=", &drive.id);
        if new && disk_like {
            put!(element, ",device_id=drive-", &drive.id);
        }
        if matches!(kind, "hd" | "block") && drive.truthy("ssd").is_some() {
            element.because(Rule::Rotation.of(drive.key.sub("ssd"))).put(",rotation_rate=1");
        }
        put_identity(&mut element, drive, "wwn");
        if disk_like {
            put_identity(&mut element, drive, "vendor");
            put_identity(&mut element, drive, "product");
        }
        boot.put(&mut element);
        let has_cache = !drive.is_cdrom() && !matches!(kind, "block" | "generic");
        put_tail(&mut element, drive, new, has_cache);
        Ok(())
    }

    /// Which SCSI device stands for a drive: `hd`, `cd`, `block`, `generic`.
    fn scsi_kind(&self, drive: &Drive<'a>) -> Step<&'static str> {
        if drive.is_cdrom() || drive.is_cloudinit() {
            return Ok("cd");
        }
        let place = self.place(drive)?;
        let volume = match place {
            Place::Nothing | Place::HostCdrom => {
                return Err(self.error(drive.key.sub("file"), Reason::from(DriveReason::NoVolume)));
            }
            Place::Path(path) => {
                let path = path.to_str().unwrap_or_default();
                self.note_path(path);
                let device = self.host.scsi_inquiry.get(path);
                return Ok(match device {
                    Some(0) if drive.truthy("scsiblock").is_some() => "block",
                    Some(1) => "generic",
                    _ => "hd",
                });
            }
            Place::Volume(volume) => volume,
        };
        if self.front_end_version >= Feature::PlainIscsi.threshold().since {
            return Ok("hd");
        }
        let path: BString = self.locate(drive.key, &volume, None)?.0;
        Ok(if path.starts_with(b"iscsi://") { "generic" } else { "hd" })
    }

    fn put_ide(&mut self, drive: &Drive<'a>) {
        let cdrom = drive.is_cdrom() || self.template;
        let (new, boot) = (self.front_end_is_new(), self.boot.of_device(drive.key));
        let q35 = self.q35;
        let mut element = self.devices.option("-device", Rule::FrontEnd.about(drive.key));
        put!(element, "ide-", if cdrom { "cd" } else { "hd" });
        if drive.key.name() == "ide" {
            let (bus, unit) = (drive.index() / 2, drive.index() % 2);
            // a q35 has no second drive on a bus
            let (bus, unit) = if q35 { (bus + 2 * unit, 0) } else { (bus, unit) };
            put!(element, ",bus=ide.", bus, ",unit=", unit);
        } else {
            put!(element, ",bus=ahci0.", drive.index());
        }
        put_reference(&mut element, drive, new);
        put!(element, ",id=", &drive.id);
        if !cdrom {
            if let Some(model) = drive.truthy("model").filter(|_| drive.key.name() == "ide") {
                element.because(Rule::DiskIdentity.of(drive.key.sub("model")));
                put!(element, ",model=", url_decode(model).replace(",", ",,"));
            }
            if drive.truthy("ssd").is_some() {
                element.because(Rule::Rotation.of(drive.key.sub("ssd"))).put(",rotation_rate=1");
            }
        }
        put_identity(&mut element, drive, "wwn");
        boot.put(&mut element);
        put_tail(&mut element, drive, new, !drive.is_cdrom());
    }
}

fn put_address(element: &mut Element<'_>, address: Option<crate::pci::Address>) {
    if let Some(address) = address {
        element.because(Rule::Address.rule()).put(address);
    }
}

/// `,drive=…`, unless there is nothing to refer to.
fn put_reference(element: &mut Element<'_>, drive: &Drive<'_>, new: bool) {
    if !new || drive.file != "none" {
        put!(*element, ",drive=drive-", &drive.id);
    }
}

/// A key that is passed on as it is.
fn put_identity(element: &mut Element<'_>, drive: &Drive<'_>, key: &'static str) {
    if let Some(value) = drive.truthy(key) {
        element.because(Rule::DiskIdentity.of(drive.key.sub(key)));
        put!(*element, ",", key, "=", value);
    }
}

/// Serial number, and from machine version 10.0 on write cache and error policy.
fn put_tail(element: &mut Element<'_>, drive: &Drive<'_>, new: bool, has_cache: bool) {
    if let Some(serial) = drive.truthy("serial") {
        element.because(Rule::Serial.of(drive.key.sub("serial")));
        put!(*element, ",serial=", url_decode(serial).replace(",", ",,"));
    }
    if !new {
        return;
    }
    if has_cache {
        let through = drive
            .get("cache")
            .is_some_and(|cache| matches!(cache.as_bytes(), b"writethrough" | b"directsync"));
        element.because(drive.origin(Rule::WriteCache, "cache"));
        element.put(if through { ",write-cache=off" } else { ",write-cache=on" });
    }
    for key in ["rerror", "werror"] {
        if let Some(policy) = drive.get(key) {
            element.because(Rule::ErrorPolicy.of(drive.key.sub(key)));
            put!(*element, ",", key, "=", policy);
        }
    }
}
