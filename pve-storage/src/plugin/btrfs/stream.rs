// SPDX-License-Identifier: MIT OR Apache-2.0
//! `btrfs send` and `btrfs receive`.

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};

use super::super::concat;
use super::super::directory::{image, images_directory};
use super::subvolume::{btrfs, delete, snapshot_paths};
use crate::command::{Command, Streams};
use crate::error::{Error, Result};
use crate::host::Change;
use crate::operation::{Transfer, With};
use crate::session::Session;
use crate::transfer::StreamFormat;
use crate::volume::Volume;

fn refuse(volume: &Volume<'_>) -> Error {
    volume.unsupported(
        "travel as a btrfs stream",
        "the stream holds a snapshot of a raw image or container root",
    )
}

/// The subvolume and the snapshot that travels.
fn subject<'t>(volume: &Volume<'_>, transfer: &Transfer<'t>) -> Result<(BString, &'t BStr)> {
    let offered = super::stream_formats(volume, transfer.scope()).contains(&StreamFormat::Btrfs);
    match (super::subvolume(volume, None)?, transfer.snapshot) {
        (Some(path), Some(snapshot)) if offered => Ok((path, snapshot)),
        _ => Err(refuse(volume)),
    }
}

pub(super) fn export(
    session: &Session<'_>,
    volume: &Volume<'_>,
    transfer: &Transfer<'_>,
    output: &mut (dyn Write + Send),
) -> Result<()> {
    let (path, snapshot) = subject(volume, transfer)?;
    let at = |name: &[u8]| concat([&path, b"@", name]);
    let mut command = Command::query("btrfs").args(["-q", "send", "-e"]);
    if let Some(base) = transfer.base {
        command = command.arg("-p").operand(at(base));
    }
    command = command.arg("--");
    match transfer.with {
        With::Listed(names) => {
            for name in names {
                command = command.operand(at(name));
            }
            if transfer.base.is_none() {
                command = command.operand(&path);
            }
        }
        With::All => {
            let wanted = at(snapshot);
            for found in snapshot_paths(session, &path)?.into_iter().filter(|found| *found != wanted) {
                command = command.operand(found);
            }
        }
        With::Nothing => {}
    }
    session.run_with(&command.operand(at(snapshot)), Streams { input: None, output: Some(output) })?;
    Ok(())
}

pub(super) fn import(
    session: &Session<'_>,
    volume: &Volume<'_>,
    transfer: &Transfer<'_>,
    input: &mut (dyn Read + Send),
) -> Result<BString> {
    let storage = volume.storage();
    let (mut path, snapshot) = subject(volume, transfer)?;
    let owner = volume.owner.ok_or_else(|| refuse(volume))?;
    let directory = images_directory(storage, &owner)?;
    session.make_directories(directory.as_bstr())?;
    let mut volname = volume.volname.to_owned();
    if session.exists(path.as_bstr()) {
        if !transfer.allow_rename {
            return Err(Error::Exists(path));
        }
        session.warn(format!("'{}' exists already, importing under another name", volume.volid()));
        let name = image::free_name(session, storage, owner, image::image_format(volume)?)?;
        path = concat([&directory, b"/", name.strip_suffix(b".raw").unwrap_or(&name)]);
        volname = concat([owner.as_bstr(), b"/", &name]);
    }
    let received = concat([&directory, b"/recv.", owner.as_bstr(), b".tmp"]);
    session.change(&Change::MakeDirectory { path: received.clone(), mode: 0o755 })?;
    let result = receive(session, &received, &path, snapshot, input);
    for left in session.list(received.as_bstr()).unwrap_or_default() {
        let left = concat([&received, b"/", &left]);
        session.attempt(&btrfs(&["subvolume", "delete", "--"]).operand(left));
    }
    session.attempt_change(&Change::RemoveDirectory { path: received });
    result.map(|()| volname)
}

fn receive(
    session: &Session<'_>,
    received: &BString,
    path: &BString,
    snapshot: &BStr,
    input: &mut (dyn Read + Send),
) -> Result<()> {
    let command = btrfs(&["receive", "-e", "--"]).operand(received);
    session.run_with(&command, Streams { input: Some(input), output: None })?;
    let answer = |reason: String| Error::Answer { command: command.to_string(), reason };
    let mut disk: Option<BString> = None;
    let mut snapshots = Vec::new();
    for found in session.list(received.as_bstr())? {
        let Some((name, snapshot)) = found.split_once_str("@") else { continue };
        match &disk {
            Some(disk) if *disk != name => {
                return Err(answer(format!(
                    "the stream holds several disks: '{disk}', '{}'",
                    BStr::new(name)
                )));
            }
            _ => disk = Some(name.into()),
        }
        snapshots.push(BString::from(snapshot));
    }
    let disk = disk.filter(|_| snapshots.iter().any(|name| name == snapshot));
    let disk = disk.ok_or_else(|| answer(format!("the stream does not hold snapshot '{snapshot}'")))?;
    let came = |name: &BStr| concat([received, b"/", &disk, b"@", name]);
    let writable = |path: &BString| btrfs(&["property", "set", "-f"]).operand(path).args(["ro", "false"]);

    let main = came(snapshot);
    session.run(&writable(&main))?;
    session.change(&Change::RenameNoReplace { from: main, to: path.clone() })?;
    session.undoing(
        || {
            let kept = concat([path, b"@", snapshot]);
            session.run(&btrfs(&["subvolume", "snapshot", "-r", "--"]).operand(path).operand(kept))?;
            for name in snapshots.iter().filter(|name| *name != snapshot) {
                let (from, to) = (came(name.as_bstr()), concat([path, b"@", name]));
                session.run(&writable(&from))?;
                session.change(&Change::RenameNoReplace { from, to: to.clone() })?;
                session.attempt(&btrfs(&["property", "set"]).operand(&to).args(["ro", "true"]));
            }
            Ok(())
        },
        || delete(session, path),
    )
}
