// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUNs through libiscsi, without the kernel.

use std::io::Write;
use std::sync::LazyLock;

use bstr::{BStr, BString, ByteSlice};
use regex::bytes::Regex;
use serde_json::Value;

use super::super::concat;
use crate::command::{Command, Streams};
use crate::error::{Error, Result};
use crate::listing::{Image, ImageFilter};
use crate::operation::SizeInfo;
use crate::session::{Session, failed, strange};
use crate::storage::Storage;
use crate::transfer::write_header;
use crate::volume::Volume;

/// A LUN of the portal.
struct Lun {
    number: BString,
    /// Bytes; the tool may print a fraction of a unit.
    size: f64,
}

/// The LUNs of all targets of the portal, later ones replacing earlier ones of the same number: the target is not
/// looked at, as in the reference.
fn luns(session: &Session<'_>, storage: &Storage) -> Result<Vec<Lun>> {
    static LINE: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?-u)Lun:([0-9]+)[ \t]+([A-Za-z0-9_.:-]*)[ \t]*\(Size:([0-9.]*)(k|M|G|T)\)").ok()
    });
    let portal = storage.require("portal")?;
    let command = Command::query("/usr/bin/iscsi-ls").arg("-s").value(concat([b"iscsi://", portal]));
    let output = session.ask(&command)?;
    if !output.succeeded() && !output.stderr.contains_str("TESTUNITREADY failed with SENSE KEY") {
        return Err(failed(&command, &output));
    }
    let mut luns: Vec<Lun> = Vec::new();
    for line in output.lines() {
        let Some(found) = LINE.as_ref().and_then(|rule| rule.captures(line)) else { continue };
        let part = |at: usize| found.get(at).map_or(&b""[..], |part| part.as_bytes());
        let unit: f64 = match part(4) {
            b"k" => 1024.0,
            b"M" => 1024.0 * 1024.0,
            b"G" => 1024.0 * 1024.0 * 1024.0,
            _ => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        };
        let size: f64 = BStr::new(part(3)).to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
        luns.retain(|lun| lun.number != part(1));
        luns.push(Lun { number: part(1).into(), size: size * unit });
    }
    Ok(luns)
}

/// Bytes without the fraction of a byte.
fn whole(size: f64) -> u64 {
    size as u64
}

pub(super) fn list(session: &Session<'_>, storage: &Storage, filter: &ImageFilter<'_>) -> Result<Vec<Image>> {
    let mut images = Vec::new();
    for lun in luns(session, storage)? {
        let name = concat([b"lun", &lun.number]);
        let volid = storage.volid(&name)?;
        let wanted = match filter.volids {
            Some(_) => filter.admits(volid.as_bstr(), None),
            None => filter.owner.is_none(),
        };
        if wanted {
            images.push(Image {
                size: Some(whole(lun.size)),
                fractional_size: (lun.size.fract() != 0.0).then_some(lun.size),
                name: Some(name),
                ..Image::new(volid, "raw")
            });
        }
    }
    Ok(images)
}

pub(super) fn size_info(session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
    let lun = luns(session, volume.storage())?.into_iter().find(|lun| lun.number == volume.name);
    let lun = lun.ok_or_else(|| Error::Missing(volume.volid()))?;
    let size = whole(lun.size);
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
