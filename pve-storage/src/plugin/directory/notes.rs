// SPDX-License-Identifier: MIT OR Apache-2.0
//! Notes and protection of backups: files beside the archive.

use bstr::{BString, ByteSlice};
use pve_volid::VolumeType;

use super::super::{concat, unsupported};
use super::file_path;
use crate::error::Result;
use crate::host::Change;
use crate::session::Session;
use crate::volume::Volume;

fn beside(volume: &Volume<'_>, suffix: &str) -> Result<BString> {
    if volume.vtype != VolumeType::Backup {
        return Err(unsupported(volume.storage(), "keep notes", "only backups have notes and protection"));
    }
    Ok(concat([&file_path(volume, volume.name)?, suffix.as_bytes()]))
}

pub(in super::super) fn read(session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<BString>> {
    session.read(beside(volume, ".notes")?.as_bstr())
}

pub(in super::super) fn write(session: &Session<'_>, volume: &Volume<'_>, notes: &str) -> Result<()> {
    let path = beside(volume, ".notes")?;
    if !notes.is_empty() {
        return session.change(&Change::Write { path, content: notes.into(), mode: 0o644 });
    }
    if session.exists(path.as_bstr()) { session.change(&Change::Unlink { path }) } else { Ok(()) }
}

pub(in super::super) fn protected(session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<bool>> {
    if volume.vtype != VolumeType::Backup {
        return Ok(None);
    }
    Ok(Some(session.exists(beside(volume, ".protected")?.as_bstr())))
}

pub(in super::super) fn set_protected(
    session: &Session<'_>,
    volume: &Volume<'_>,
    protected: bool,
) -> Result<()> {
    let path = beside(volume, ".protected")?;
    match (protected, session.exists(path.as_bstr())) {
        (true, false) => session.change(&Change::Touch { path }),
        (false, true) => session.change(&Change::Unlink { path }),
        _ => Ok(()),
    }
}
