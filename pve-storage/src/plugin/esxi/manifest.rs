// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of the host's machines: made by a tool, kept in a file.

use bstr::{BString, ByteSlice};
use pve_volid::Wanted;
use serde_json::Value;

use super::{password_file, run_directory};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::Change;
use crate::listing::{Image, Listing};
use crate::plugin::concat;
use crate::session::Session;
use crate::storage::Storage;

/// A manifest of this age is made anew, in seconds.
const OLD: i64 = 30;

pub(super) fn file(storage: &Storage) -> BString {
    concat([&run_directory(storage), b"/manifest.json"])
}

/// Has the manifest made if it is missing or old.
pub(super) fn refresh(session: &Session<'_>, storage: &Storage) -> Result<()> {
    let file = file(storage);
    let age = session.host().metadata(file.as_bstr()).map(|meta| session.host().now() - meta.changed);
    if age.is_some_and(|age| age <= OLD) {
        return Ok(());
    }
    let mut command = Command::query("/usr/libexec/pve-esxi-import-tools/listvms.py");
    if storage.flag("skip-cert-verification") {
        command = command.arg("--skip-cert-verification");
    }
    if let Some(port) = storage.get("port") {
        command = command.arg("--port").operand(port);
    }
    let command = command
        .operand(storage.require("server")?)
        .operand(storage.require("username")?)
        .operand(password_file(storage));
    let output = session.run(&command)?;
    session.make_directories(run_directory(storage).as_bstr())?;
    session.change(&Change::Write { path: file, content: output.stdout, mode: 0o644 })
}

/// The host's machines, an entry each.
pub(super) fn machines(
    session: &Session<'_>,
    storage: &Storage,
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    let file = file(storage);
    let text = session.read(file.as_bstr())?.ok_or_else(|| Error::Missing(file.clone()))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|e| Error::Value {
        storage: storage.id().clone(),
        what: file.to_string(),
        reason: format!("not JSON: {e}"),
    })?;
    for (center, content) in manifest.as_object().into_iter().flatten() {
        for (name, machine) in content.get("vms").and_then(Value::as_object).into_iter().flatten() {
            let config = |member: &str| machine.get("config")?.get(member)?.as_str();
            let (Some(datastore), Some(path)) = (config("datastore"), config("path")) else { continue };
            let volname = format!("{center}/{datastore}/{path}");
            match wanted.volname(volname.as_bytes()) {
                Ok(()) => {
                    let image = Image::new(storage.volid(volname.as_bytes())?, "vmx");
                    listing.show(Image { size: Some(0), name: Some(name.as_str().into()), ..image });
                }
                Err(reason) => listing.hide(volname, None, reason),
            }
        }
    }
    Ok(())
}
