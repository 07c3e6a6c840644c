// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logical volumes as raw streams.

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::ImageFormat;

use super::super::{block_device_size, concat};
use super::report::lvs;
use super::{device, volume_group};
use crate::command::{Command, Streams};
use crate::error::{Error, Result};
use crate::operation::{Allocation, Transfer};
use crate::session::Session;
use crate::transfer::{Content, StreamFormat, least_content, read_header, write_header};
use crate::volume::Volume;

pub(in super::super) fn export(
    session: &Session<'_>,
    volume: &Volume<'_>,
    transfer: &Transfer<'_>,
    output: &mut (dyn Write + Send),
) -> Result<()> {
    if transfer.format != StreamFormat::RawSize || super::export_formats(transfer.scope()).is_empty() {
        return Err(volume.unsupported("be exported", "only its present content can, as raw stream"));
    }
    export_device(session, device(volume.storage(), volume.name)?.as_bstr(), output)
}

/// Writes the size and the content of a block device to a stream.
pub(in super::super) fn export_device(
    session: &Session<'_>,
    path: &BStr,
    output: &mut (dyn Write + Send),
) -> Result<()> {
    let size = block_device_size(session, path)?;
    write_header(output, size)?;
    let command =
        Command::query("dd").value(concat([b"if=", path])).args(["bs=64k", "status=progress"]).progress();
    session.run_with(&command, Streams { input: None, output: Some(output) })?;
    Ok(())
}

/// Imports a raw stream; `sparse` leaves zeros out.
pub(in super::super) fn import(
    session: &Session<'_>,
    volume: &Volume<'_>,
    transfer: &Transfer<'_>,
    input: &mut (dyn Read + Send),
    sparse: bool,
) -> Result<BString> {
    let storage = volume.storage();
    let fits =
        transfer.format == StreamFormat::RawSize && !super::import_formats(transfer.scope()).is_empty();
    if !fits || volume.format.image() != Some(ImageFormat::Raw) {
        return Err(volume.unsupported("be imported", "only a raw stream into a raw volume can"));
    }
    let owner = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
    let mark = session.mark();
    let (volname, size) = session.locked(storage, || {
        let group = volume_group(storage)?;
        let mut name = Some(volume.name);
        if lvs(session, group)?.find(group, volume.name).is_some() {
            if !transfer.allow_rename {
                return Err(Error::Exists(volume.volid()));
            }
            session.warn(format!("'{}' exists already, importing under another name", volume.volid()));
            name = None;
        }
        let size = read_header(input)?;
        let request = Allocation { owner, format: ImageFormat::Raw, name, size_kib: size.div_ceil(1024) };
        Ok((storage.plugin().allocate(session, storage, &request)?, size))
    })?;
    let path = device(storage, &volname)?;
    let mut command = Command::change("dd").value(concat([b"of=", &path]));
    if sparse {
        command = command.arg("conv=sparse");
    }
    let made = storage.volume(&volname)?;
    session.undoing_since(
        mark,
        || Content::of(input).feed(session, &command.arg("bs=64k"), least_content(transfer.format, size)),
        || session.locked(storage, || storage.plugin().free(session, &made).map(drop)),
    )?;
    Ok(volname.clone())
}
