// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives before machine version 10.0: one `-drive` argument each (spec: qemu-command-drives, "Old form (`-drive`), MV
//! < 10.0").

use bstr::{BString, ByteSlice as _};

use super::{Drive, Place};
use crate::argument::put;
use crate::assembly::{Assembly, Step, truthy};
use crate::error::{DriveReason, Reason};
use crate::origin::{Key, Rule};

/// Keys that are passed on as they are.
const VERBATIM: &[&str] = &["media", "cache", "rerror", "werror", "discard"];
/// Keys that are passed on as `on` or `off`: key of the configuration, name in QEMU.
const SWITCHES: &[(&str, &str)] = &[("snapshot", "snapshot"), ("ro", "readonly")];

impl<'a> Assembly<'a> {
    /// `-drive` of a drive.
    pub(crate) fn put_legacy_drive(&mut self, drive: &Drive<'a>) -> Step {
        let place = self.place(drive)?;
        let path = self.legacy_path(drive, place)?;
        self.check_iso(drive, place)?;
        let backing = self.options.live_restore(drive.id.as_bstr());
        if backing.is_some() && drive.is_cdrom() {
            return Err(self.error(drive.key, Reason::from(DriveReason::LiveRestoreCdrom)));
        }
        let format = match place {
            _ if drive.is_cdrom() && path.is_empty() => None,
            _ => Some(self.drive_format(drive, place)?),
        };
        if let (Place::Volume(volume), Some(format)) = (place, &format)
            && format == "qcow2"
            && volume.storage().has_volume_chains()
        {
            return Err(self.error(drive.key, Reason::from(DriveReason::ChainNeedsBlockdev)));
        }
        let direct = self.cache_mode(drive, place).direct;
        let aio = self.aio(drive, place, direct);
        let detect_zeroes = self.detect_zeroes(drive);
        let restore = Rule::LiveRestore.caller("live restore");
        let is_rbd = path.starts_with(b"rbd:");

        if let Some(backing) = backing {
            self.devices.pair("-blockdev", backing.node, restore);
        }
        let mut element = self.devices.option("-drive", drive.origin(Rule::DrivePath, "file"));
        if !path.is_empty() {
            element.put(match (backing.is_some(), is_rbd) {
                (false, _) => "file=",
                (true, true) => "file.filename=",
                (true, false) => "file.file.filename=",
            });
            put!(element, &path, ",");
        }
        element.because(Rule::DriveOld.about(drive.key));
        put!(element, "if=none,id=drive-", &drive.id);
        for key in VERBATIM {
            if let Some(value) = drive.get(key) {
                element.because(Rule::Drive.of(drive.key.sub(key)));
                put!(element, ",", *key, "=", value);
            }
        }
        for (key, name) in SWITCHES {
            if let Some(value) = drive.get(key) {
                element.because(Rule::Drive.of(drive.key.sub(key)));
                put!(element, ",", *name, if truthy(Some(value)) { "=on" } else { "=off" });
            }
        }
        drive.put_throttling(&mut element);
        if let Some(format) = &format {
            element.because(drive.origin(Rule::DriveFormat, "format"));
            match (backing.is_some(), is_rbd) {
                (false, _) => put!(element, ",format=", format),
                (true, true) => put!(element, ",format=alloc-track,file.driver=rbd"),
                (true, false) => put!(element, ",format=alloc-track,file.driver=", format),
            }
        }
        if drive.get("cache").is_none() && direct {
            element.because(drive.origin(Rule::Cache, "cache")).put(",cache=none");
        }
        element.because(drive.origin(Rule::Aio, "aio"));
        put!(element, ",aio=", aio);
        if !drive.is_cdrom() {
            element.because(drive.origin(Rule::DetectZeroes, "detect_zeroes"));
            let name = if backing.is_some() { ",file.detect-zeroes=" } else { ",detect-zeroes=" };
            put!(element, name, detect_zeroes);
        }
        if let Some(backing) = backing {
            element.because(restore);
            put!(element, ",backing=", backing.node_name, ",auto-remove=on");
        }
        if self.template && !matches!(drive.key.name(), "ide" | "sata") {
            element.because(Rule::ReadOnly.of(Key::new("template"))).put(",readonly=on");
        }
        Ok(())
    }

    /// What stands behind `file=`; empty: nothing.
    fn legacy_path(&mut self, drive: &Drive<'a>, place: Place<'a>) -> Step<BString> {
        Ok(match place {
            Place::Volume(volume) => self.locate(drive.key, &volume, None)?.0,
            Place::Path(path) => path.to_owned(),
            Place::Nothing if drive.is_cdrom() => BString::default(),
            Place::HostCdrom if drive.is_cdrom() => self.host_cdrom(drive),
            // a hard disk takes the words as file names
            Place::Nothing | Place::HostCdrom => drive.file.to_owned(),
        })
    }

    /// The host's drive, or nothing, with a warning for the first drive that wants it.
    fn host_cdrom(&mut self, drive: &Drive<'a>) -> BString {
        if let Some(device) = &self.host.cdrom {
            return BString::from(device.as_str());
        }
        if !std::mem::replace(&mut self.missed_cdrom, true) {
            self.warn(drive.key, "the host has no CD-ROM drive");
        }
        BString::default()
    }

    /// Warns of a missing CD-ROM drive in the new form.
    pub(crate) fn check_host_cdrom(&mut self, drive: &Drive<'a>, place: Place<'a>) {
        if matches!(place, Place::HostCdrom) {
            let _ = self.host_cdrom(drive);
        }
    }
}
