// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files and directories as streams.

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ImageFormat, VolumeType};

use super::super::concat;
use super::{file_path, image};
use crate::command::{Command, Streams};
use crate::error::{Error, Result};
use crate::host::Change;
use crate::operation::{Allocation, Transfer};
use crate::session::Session;
use crate::storage::Storage;
use crate::transfer::{Content, StreamFormat, Touched, least_content, read_header, write_header};
use crate::volume::Volume;

/// What `tar` keeps of a container's file system.
const TAR_OPTIONS: [&str; 9] = [
    "--one-file-system",
    "-p",
    "--sparse",
    "--numeric-owner",
    "--acls",
    "--xattrs",
    "--xattrs-include=user.*",
    "--xattrs-include=security.capability",
    "--warning=no-file-ignored",
];
const TAR_LAST_OPTION: &str = "--warning=no-xattr-write";

fn tar(effect_change: bool) -> Command {
    let command = if effect_change { Command::change("tar") } else { Command::query("tar") };
    command.args(TAR_OPTIONS).arg(TAR_LAST_OPTION)
}

pub(in super::super) fn export(
    session: &Session<'_>,
    volume: &Volume<'_>,
    transfer: &Transfer<'_>,
    output: &mut (dyn Write + Send),
) -> Result<()> {
    let refuse = |reason: &str| Err(volume.unsupported("be exported", reason));
    if transfer.snapshot.is_some() || transfer.base.is_some() {
        return refuse("files are exported as they are now, without snapshot");
    }
    let with = transfer.scope().with_snapshots();
    if with && volume.storage().has_volume_chains() {
        return refuse("its snapshots are files of their own");
    }
    let path = file_path(volume, volume.name)?;
    let size = match transfer.format {
        StreamFormat::RawSize | StreamFormat::Qcow2Size | StreamFormat::VmdkSize | StreamFormat::TarSize => {
            image::size_info(session, volume)?.size
        }
        _ => return refuse("the stream format does not fit"),
    };
    let format = volume.format.image();
    let command = match transfer.format {
        StreamFormat::RawSize if with || format == Some(ImageFormat::Subvol) => {
            return refuse("a raw stream holds neither snapshots nor directories");
        }
        StreamFormat::RawSize => match format {
            Some(ImageFormat::Raw) | None => copy(path.as_bstr()),
            Some(format) => Command::query("qemu-img")
                .args(["convert", "-f", format.as_str(), "-O", "raw"])
                .operand(&path)
                .arg("/dev/stdout"),
        },
        StreamFormat::Qcow2Size | StreamFormat::VmdkSize => {
            let wanted = if transfer.format == StreamFormat::Qcow2Size {
                ImageFormat::Qcow2
            } else {
                ImageFormat::Vmdk
            };
            if !with || format != Some(wanted) {
                return refuse("the stream holds an image of its format with its snapshots");
            }
            copy(path.as_bstr())
        }
        _ => {
            if format != Some(ImageFormat::Subvol) || with {
                return refuse("a tar stream holds a directory");
            }
            tar(false).args(["-cf", "-", "-C"]).operand(&path).arg(".")
        }
    };
    write_header(output, size)?;
    let mut touched = Touched { output, touched: false };
    let result = session.run_with(&command, Streams { input: None, output: Some(&mut touched) });
    match result {
        // `qemu-img` as it is released writes to nothing but files and devices
        Err(Error::Failed { complaint, .. }) if complaint.contains("/dev/stdout") && !touched.touched => {
            let spooled = command.spooled();
            session.run_with(&spooled, Streams { input: None, output: Some(&mut touched) }).map(drop)
        }
        other => other.map(drop),
    }
}

fn copy(path: &BStr) -> Command {
    Command::query("dd").value(concat([b"if=", path])).args(["bs=4k", "status=progress"]).progress()
}

pub(in super::super) fn import(
    session: &Session<'_>,
    volume: &Volume<'_>,
    transfer: &Transfer<'_>,
    input: &mut (dyn Read + Send),
) -> Result<BString> {
    let storage = volume.storage();
    let refuse = |reason: String| Err(volume.unsupported("be imported", reason));
    if transfer.base.is_some() {
        return refuse("files are imported whole".into());
    }
    let with = transfer.scope().with_snapshots();
    let content = match (transfer.format, with) {
        (StreamFormat::RawSize, false) => ImageFormat::Raw,
        (StreamFormat::TarSize, false) => ImageFormat::Subvol,
        (StreamFormat::Qcow2Size, true) => ImageFormat::Qcow2,
        (StreamFormat::VmdkSize, true) => ImageFormat::Vmdk,
        (format, _) => return refuse(format!("a stream of format '{format}' does not fit")),
    };
    let path = file_path(volume, volume.name)?;
    match volume.vtype {
        VolumeType::Images if volume.format.image() != Some(content) => {
            return refuse(format!("the stream holds format '{content}'"));
        }
        VolumeType::Images => {}
        VolumeType::Backup => return refuse("backups are not imported as streams".into()),
        _ if transfer.format != StreamFormat::RawSize => {
            return refuse(format!("a stream of format '{}' does not fit", transfer.format));
        }
        _ => {}
    }
    let taken = session.exists(path.as_bstr());
    if volume.vtype != VolumeType::Images {
        if taken {
            return Err(Error::Exists(path));
        }
        let least = least_content(transfer.format, read_header(input)?);
        let command = Command::change("dd").value(concat([b"of=", &path])).args(["conv=excl", "bs=64k"]);
        session.undoing(
            || Content::of(input).feed(session, &command, least),
            || match session.exists(path.as_bstr()) {
                true => session.change(&Change::Unlink { path: path.clone() }),
                false => Ok(()),
            },
        )?;
        return Ok(volume.volname.to_owned());
    }
    let owner = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
    let name = match (taken, transfer.allow_rename) {
        (false, _) => Some(volume.name),
        (true, false) => return Err(Error::Exists(path)),
        (true, true) => {
            session.warn(format!("'{}' exists already, importing under another name", volume.volid()));
            None
        }
    };
    let size = read_header(input)?;
    let request = Allocation { owner, format: content, name, size_kib: size.div_ceil(1024) };
    let least = least_content(transfer.format, size);
    allocate_and_fill(session, storage, &request, least, input).map(|volname| with_base(volume, volname))
}

/// The volume name of an import keeps the base of the wanted name.
fn with_base(volume: &Volume<'_>, volname: BString) -> BString {
    match volume.base {
        Some(base) => concat([base.owner.as_bstr(), b"/", base.name, b"/", &volname]),
        None => volname,
    }
}

fn allocate_and_fill(
    session: &Session<'_>,
    storage: &Storage,
    request: &Allocation<'_>,
    least: u64,
    input: &mut (dyn Read + Send),
) -> Result<BString> {
    let mark = session.mark();
    let volname = image::allocate(session, storage, request)?;
    let made = storage.volume(&volname)?;
    let path = file_path(&made, made.name)?;
    let command = if request.format == ImageFormat::Subvol {
        tar(true).arg("-C").operand(&path).args(["-xf", "-"])
    } else {
        Command::change("dd").value(concat([b"of=", &path])).args(["conv=sparse", "bs=64k"])
    };
    session.undoing_since(
        mark,
        || Content::of(input).feed(session, &command, least),
        || image::free(session, &made),
    )?;
    Ok(volname.clone())
}
