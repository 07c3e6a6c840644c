// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images mapped by the kernel.

use bstr::{BStr, BString, ByteSlice};

use super::image::Tool;
use super::{Rbd, device};
use crate::command::{Command, Effect};
use crate::error::Result;
use crate::host::FileKind;
use crate::operation::Hints;
use crate::plugin::Plugin;
use crate::plugin::concat;
use crate::session::Session;
use crate::volume::Volume;

/// The device of a mapped image.
fn path(session: &Session<'_>, volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<BString> {
    device(volume, snapshot, &super::facts(session, volume, snapshot, true)?.ceph)
}

/// Maps an image, unless it is mapped; returns its device.
pub(super) fn map(
    session: &Session<'_>,
    volume: &Volume<'_>,
    snapshot: Option<&BStr>,
    hints: Hints,
) -> Result<BString> {
    let path = path(session, volume, snapshot)?;
    if session.kind(path.as_bstr()) == Some(FileKind::Block) {
        if !hints.guest_is_windows || has_rxbounce(session, path.as_bstr())? {
            return Ok(path);
        }
        if !hints.may_deactivate {
            session.warn(format!(
                "'{}' is mapped without 'rxbounce', which Windows guests need",
                volume.volid()
            ));
            return Ok(path);
        }
        unmap(session, volume, snapshot)?;
    }
    let tool = Tool::new(session, volume.storage())?;
    adapt_features(session, &tool, volume.name)?;
    let name = match snapshot {
        Some(snapshot) => concat([volume.name, b"@", snapshot]),
        None => volume.name.to_owned(),
    };
    let mut command = tool.command(Effect::Change, &["map"]).operand(name);
    if hints.guest_is_windows {
        command = command.args(["--options", "rxbounce"]);
    }
    tool.run(session, &command)?;
    Ok(path)
}

/// Whether a mapped device has the option `rxbounce`.
fn has_rxbounce(session: &Session<'_>, path: &BStr) -> Result<bool> {
    let Some(real) = session.host().real_path(path) else { return Ok(false) };
    let Some(number) = real.strip_prefix(b"/dev/rbd") else { return Ok(false) };
    let file = concat([b"/sys/devices/rbd/", number, b"/config_info"]);
    Ok(session.read(file.as_bstr())?.is_some_and(|text| text.contains_str("rxbounce")))
}

/// Switches off what the kernel does not know and on what it does.
fn adapt_features(session: &Session<'_>, tool: &Tool<'_>, name: &BStr) -> Result<()> {
    let info = tool.info(session, name, None)?;
    let kernel = session.host().kernel();
    let has = |feature: &&str| info.features.iter().any(|found| found == feature);
    let change = |action: &str, features: &[&str]| -> Command {
        tool.command(Effect::Change, &["feature", action]).operand(name).arg(features.join(","))
    };
    let mut disable = Vec::new();
    let mut enable = Vec::new();
    if kernel < (5, 3) {
        disable.extend(["fast-diff", "object-map", "deep-flatten"].iter().filter(|f| has(f)));
    } else {
        enable.extend(["fast-diff", "object-map"].iter().filter(|f| !has(f)));
    }
    if kernel < (5, 0) {
        disable.extend(["exclusive-lock"].iter().filter(|f| has(f)));
    } else {
        enable.extend(["exclusive-lock"].iter().filter(|f| !has(f)));
    }
    if !disable.is_empty() {
        tool.run(session, &change("disable", &disable))?;
    }
    if !enable.is_empty() {
        session.attempt(&change("enable", &enable));
    }
    Ok(())
}

/// Unmaps an image, if it is mapped.
pub(super) fn unmap(session: &Session<'_>, volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<()> {
    let path = path(session, volume, snapshot)?;
    if session.kind(path.as_bstr()) == Some(FileKind::Block) {
        let tool = Tool::new(session, volume.storage())?;
        tool.run(session, &tool.command(Effect::Change, &["unmap"]).operand(&path))?;
    }
    Ok(())
}

/// Unmaps an image where a failure is only worth a warning.
pub(super) fn try_unmap(session: &Session<'_>, volume: &Volume<'_>) {
    if let Err(error) = Rbd.unmap_volume(session, volume, None) {
        session.warn(error.to_string());
    }
}
