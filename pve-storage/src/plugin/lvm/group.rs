// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a volume group on a LUN of a base storage.

use bstr::{BStr, ByteSlice};

use super::volume_group;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::Change;
use crate::session::Session;
use crate::storage::Storage;

/// Makes the storage's volume group on a device, unless it is there already (spec: storage-commands, "create VG on
/// `base`").
///
/// # Errors
/// If the device belongs to another group, or the tools refuse.
pub fn create_volume_group(session: &Session<'_>, storage: &Storage, device: &BStr) -> Result<()> {
    let group = volume_group(storage)?;
    let looks = session.run(&Command::query("/usr/bin/file").args(["-L", "-s"]).operand(device))?;
    if looks.stdout.contains_str("LVM2") {
        let command = Command::query("/sbin/pvs")
            .args(["--separator", ":", "--noheadings", "--units", "k", "--unbuffered", "--nosuffix"])
            .args(["--options", "pv_name,pv_size,vg_name,pv_uuid"])
            .operand(device);
        let output = session.run(&command)?;
        let found = output.lines().filter_map(|line| line.trim_ascii().split_str(":").nth(2)).next();
        match found.map(BStr::new).filter(|found| !found.is_empty()) {
            Some(found) if found == group => return Ok(()),
            Some(found) => {
                return Err(Error::InUse {
                    volume: device.to_owned(),
                    reason: format!("it belongs to volume group '{found}'"),
                });
            }
            None => {}
        }
    }
    session.change(&Change::BlankStart { path: device.to_owned(), length: 512 })?;
    session.run(&Command::change("/sbin/pvcreate").args(["--metadatasize", "250k"]).operand(device))?;
    session.run(&Command::change("/sbin/vgcreate").operand(group).operand(device))?;
    Ok(())
}
