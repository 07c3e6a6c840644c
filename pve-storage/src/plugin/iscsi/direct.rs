// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUNs through libiscsi, without the kernel.

use std::io::Write;

use bstr::{BStr, ByteSlice};
use pve_volid::{DirectLun, Wanted};
use serde_json::Value;

use super::super::concat;
use crate::command::{Command, Output, Streams};
use crate::error::{Error, Result};
use crate::listing::{Image, Listing};
use crate::operation::SizeInfo;
use crate::session::{Session, failed, strange};
use crate::storage::Storage;
use crate::transfer::write_header;
use crate::volume::Volume;

/// What `iscsi-ls` prints about the portal.
fn report(session: &Session<'_>, storage: &Storage) -> Result<Output> {
    let portal = storage.require("portal")?;
    let command = Command::query("/usr/bin/iscsi-ls").arg("-s").value(concat([b"iscsi://", portal]));
    let output = session.ask(&command)?;
    if !output.succeeded() && !output.stderr.contains_str("TESTUNITREADY failed with SENSE KEY") {
        return Err(failed(&command, &output));
    }
    Ok(output)
}

/// Bytes without the fraction of a byte.
fn whole(size: f64) -> u64 {
    size as u64
}

pub(super) fn list(
    session: &Session<'_>,
    storage: &Storage,
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    for line in report(session, storage)?.lines() {
        let judged = DirectLun::parse(line).and_then(|lun| Ok((lun, lun.judge(wanted)?)));
        match judged {
            Ok((lun, listed)) => {
                let image = Image {
                    size: Some(whole(lun.size)),
                    fractional_size: (lun.size.fract() != 0.0).then_some(lun.size),
                    name: Some(listed.volname.to_vec().into()),
                    ..Image::of(storage, &listed)?
                };
                // of LUNs with the same number, the last one reported counts
                listing.images.retain(|known| known.volid != image.volid);
                listing.show(image);
            }
            Err(reason) => listing.hide(line, None, reason),
        }
    }
    Ok(())
}

pub(super) fn size_info(session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
    let output = report(session, volume.storage())?;
    let luns = output.lines().filter_map(|line| DirectLun::parse(line).ok());
    let lun = luns.filter(|lun| lun.lun == volume.name).last();
    let size = whole(lun.ok_or_else(|| Error::Missing(volume.volid()))?.size);
    Ok(SizeInfo { size, format: "raw".into(), used: 0, parent: None, ctime: None })
}

pub(super) fn export(session: &Session<'_>, url: &BStr, output: &mut (dyn Write + Send)) -> Result<()> {
    let command =
        Command::query("/usr/bin/qemu-img").args(["info", "-f", "raw", "--output=json"]).operand(url);
    let answer = session.run(&command)?;
    let value: Value =
        serde_json::from_slice(&answer.stdout).map_err(|e| strange(&command, format!("not JSON: {e}")))?;
    let size = value.get("virtual-size").and_then(Value::as_u64);
    write_header(output, size.ok_or_else(|| strange(&command, "'virtual-size' is no whole number"))?)?;
    let copy = Command::query("qemu-img")
        .args(["dd", "bs=64k"])
        .value(concat([b"if=", url]))
        .args(["-f", "raw", "-O", "raw"])
        .progress();
    session.run_with(&copy, Streams { input: None, output: Some(output) }).map(drop)
}
