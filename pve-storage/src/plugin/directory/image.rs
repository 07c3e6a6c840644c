// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making, removing, cloning and renaming files and directories that are volumes.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{Digits, ImageFormat, Naming, StorageType, VolumeName, VolumeType, Wanted};

use super::super::chain::Chain;
use super::super::{concat, free_name_among, kind_of, qemu_img};
use super::{file_path, images_directory};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::{Change, FileKind};
use crate::listing::Listing;
use crate::operation::{Allocation, SizeInfo};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::volume::Volume;

/// The next free file name of a guest, given what is listed of it.
pub(in super::super) fn free_name(
    session: &Session<'_>,
    storage: &Storage,
    owner: Digits<'_>,
    format: ImageFormat,
) -> Result<BString> {
    let mut listing = Listing::new();
    let plugin = storage.plugin();
    plugin.list_images(session, storage, Wanted::Guest(owner), &mut listing, &mut Cache::default())?;
    let volids: Vec<&[u8]> = listing.images.iter().map(|image| image.volid.as_bstr().as_bytes()).collect();
    free_name_among(storage, owner, Some(format), volids)
}

/// The name of a new image: the wanted one, checked, or the next free one.
pub(in super::super) fn new_name(
    session: &Session<'_>,
    storage: &Storage,
    request: &Allocation<'_>,
) -> Result<BString> {
    let Some(name) = request.name else {
        return free_name(session, storage, request.owner, request.format);
    };
    let volname = concat([request.owner.as_bstr(), b"/", name]);
    let parsed = VolumeName::parse(kind_of(storage)?, &volname)
        .map_err(|source| Error::Name { storage: storage.id().clone(), source })?;
    if parsed.format.image() == Some(request.format) && parsed.base.is_none() {
        return Ok(name.to_owned());
    }
    Err(Error::Request {
        volume: name.to_owned(),
        reason: format!("the name does not fit format '{}'", request.format),
    })
}

pub(in super::super) fn allocate(
    session: &Session<'_>,
    storage: &Storage,
    request: &Allocation<'_>,
) -> Result<BString> {
    let directory = images_directory(storage, &request.owner)?;
    session.make_directories(directory.as_bstr())?;
    let name = new_name(session, storage, request)?;
    let path = concat([&directory, b"/", &name]);
    if session.exists(path.as_bstr()) {
        return Err(Error::Exists(path));
    }
    if request.format == ImageFormat::Subvol {
        if request.size_kib != 0 {
            return Err(Error::Request {
                volume: name,
                reason: "a directory has no size of its own: ask for 0".into(),
            });
        }
        session.change(&Change::MakeDirectory { path, mode: 0o755 })?;
    } else {
        let command = qemu_img::create(storage, request.format, path.as_bstr(), request.size_kib).progress();
        session.undoing(
            || session.run(&command),
            || {
                session.try_change(&Change::Unlink { path: path.clone() });
                session.try_change(&Change::RemoveDirectory { path: directory.clone() });
                Ok(())
            },
        )?;
    }
    Ok(concat([request.owner.as_bstr(), b"/", &name]))
}

/// Whether a backup is protected.
pub(super) fn is_protected(session: &Session<'_>, volume: &Volume<'_>) -> Result<bool> {
    let path = concat([&file_path(volume, volume.name)?, b".protected"]);
    Ok(volume.vtype == VolumeType::Backup && session.exists(path.as_bstr()))
}

pub(in super::super) fn free(session: &Session<'_>, volume: &Volume<'_>) -> Result<()> {
    let storage = volume.storage();
    if is_protected(session, volume)? {
        return Err(Error::InUse {
            volume: volume.volid(),
            reason: "it is protected against removal".into(),
        });
    }
    let path = file_path(volume, volume.name)?;
    if volume.is_base {
        session.attempt(&Command::change("/usr/bin/chattr").arg("-i").operand(&path));
    }
    if volume.is_subvol() {
        session.change(&Change::RemoveTree { path: path.clone() })?;
    } else {
        let kind = session.host().link_metadata(path.as_bstr()).map(|meta| meta.kind);
        if !matches!(kind, Some(FileKind::File | FileKind::Link)) {
            session.warn(format!("{path} is no file or link, nothing is removed"));
            return Ok(());
        }
        let chains = storage.has_volume_chains() && volume.is_qcow2();
        let chain = match chains {
            true => Chain::read(session, volume, kind_of(storage)?, path.as_bstr())?,
            false => Chain::default(),
        };
        session.change(&Change::Unlink { path: path.clone() })?;
        // highest order first: from the oldest up
        for link in chain.0.iter().skip(1).rev().filter_map(|part| part.link.as_ref()) {
            session.attempt_change(&Change::Unlink { path: link.file.clone() });
        }
        if volume.vtype == VolumeType::Backup {
            remove_side_files(session, volume, &path);
        }
    }
    if let Some((directory, _)) = path.rsplit_once_str("/") {
        session.try_change(&Change::RemoveDirectory { path: directory.into() });
    }
    Ok(())
}

/// Log and notes of a removed backup.
fn remove_side_files(session: &Session<'_>, volume: &Volume<'_>, path: &BString) {
    let Ok(archive) = pve_volid::ArchiveName::parse(volume.name) else { return };
    let directory = path.rsplit_once_str("/").map_or(&b""[..], |(directory, _)| directory);
    for name in archive.log_name().into_iter().chain(Some(archive.notes_name())) {
        let path = concat([directory, b"/", &name]);
        if session.exists(path.as_bstr()) {
            session.attempt_change(&Change::Unlink { path });
        }
    }
}

pub(in super::super) fn create_base(session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
    if volume.vtype != VolumeType::Images {
        return Err(volume.unsupported("become a base volume", "it is no image"));
    }
    if volume.is_base {
        return Err(volume.unsupported("become a base volume", "it is one already"));
    }
    let path = file_path(volume, volume.name)?;
    let format = image_format(volume)?;
    let info = qemu_img::require_size(session, path.as_bstr(), format, None)?;
    if let Some(base) = volume.base {
        let expected = concat([b"../", base.owner.as_bstr(), b"/", base.name]);
        if info.parent.as_ref() != Some(&expected) {
            return Err(volume.request(format!(
                "its backing file should be '{expected}', but is '{}'",
                info.parent.unwrap_or_default()
            )));
        }
    }
    let name = Naming::new(StorageType::Dir).template(volume.name).unwrap_or_else(|| volume.name.to_owned());
    let new = file_path(volume, &name)?;
    if session.kind(new.as_bstr()) == Some(FileKind::File) {
        return Err(Error::Exists(new));
    }
    session.change(&Change::Rename { from: path.clone(), to: new.clone() })?;
    session.undoing(
        || session.change(&Change::SetMode { path: new.clone(), mode: 0o444 }),
        || session.change(&Change::Rename { from: new.clone(), to: path.clone() }),
    )?;
    session.attempt(&Command::change("/usr/bin/chattr").arg("+i").operand(&new));
    Ok(concat([volume.volname.strip_suffix(volume.name.as_bytes()).unwrap_or_default(), &name]))
}

pub(in super::super) fn clone_volume(
    session: &Session<'_>,
    volume: &Volume<'_>,
    owner: Digits<'_>,
    snapshot: Option<&BStr>,
) -> Result<BString> {
    if volume.vtype != VolumeType::Images || !volume.is_base {
        return Err(volume.unsupported("be cloned", "it is no base volume"));
    }
    if volume.is_subvol() {
        return Err(volume.unsupported("be cloned", "it is a directory"));
    }
    if snapshot.is_some() {
        return Err(volume.unsupported("be cloned", "a snapshot cannot be the base of a linked clone here"));
    }
    let storage = volume.storage();
    let template = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
    let format = image_format(volume)?;
    let directory = images_directory(storage, &owner)?;
    session.make_directories(directory.as_bstr())?;
    let name = free_name(session, storage, owner, ImageFormat::Qcow2)?;
    let path = concat([&directory, b"/", &name]);
    let backing = concat([b"../", template.as_bstr(), b"/", volume.name]);
    let command = qemu_img::create_on_top(storage, backing.as_bstr(), format, path.as_bstr(), format);
    session.undoing(
        || session.run(&command.directory(&directory)),
        || {
            session.try_change(&Change::Unlink { path: path.clone() });
            Ok(())
        },
    )?;
    Ok(concat([template.as_bstr(), b"/", volume.name, b"/", owner.as_bstr(), b"/", &name]))
}

pub(in super::super) fn rename(
    session: &Session<'_>,
    volume: &Volume<'_>,
    owner: Digits<'_>,
    name: Option<&BStr>,
) -> Result<BString> {
    let storage = volume.storage();
    let path = file_path(volume, volume.name)?;
    if storage.has_volume_chains() {
        Chain::read(session, volume, kind_of(storage)?, path.as_bstr())?.refuse_rename(volume)?;
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => free_name(session, storage, owner, image_format(volume)?)?,
    };
    let directory = images_directory(storage, &owner)?;
    session.make_directories(directory.as_bstr())?;
    let target = concat([&directory, b"/", &name]);
    if session.exists(target.as_bstr()) {
        return Err(Error::Exists(target));
    }
    session.change(&Change::Rename { from: path, to: target })?;
    let own = concat([owner.as_bstr(), b"/", &name]);
    Ok(match volume.base {
        Some(base) => concat([base.owner.as_bstr(), b"/", base.name, b"/", &own]),
        None => own,
    })
}

pub(in super::super) fn resize(
    session: &Session<'_>,
    volume: &Volume<'_>,
    path: &BStr,
    size: u64,
    running: bool,
) -> Result<()> {
    let Some(format @ (ImageFormat::Raw | ImageFormat::Qcow2)) = volume.format.image() else {
        return Err(volume.unsupported("be resized", format!("it has format '{}'", volume.format)));
    };
    if !running {
        session.run(&qemu_img::resize(volume.storage(), format, path, size))?;
    }
    Ok(())
}

pub(in super::super) fn size_info(session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
    let path = file_path(volume, volume.name)?;
    qemu_img::require_size(session, path.as_bstr(), measured_format(volume), None)
}

/// The format in which a file is measured: things that are no disk image count as raw.
pub(in super::super) fn measured_format(volume: &Volume<'_>) -> ImageFormat {
    volume.format.image().unwrap_or(ImageFormat::Raw)
}

/// The format of an image.
pub(in super::super) fn image_format(volume: &Volume<'_>) -> Result<ImageFormat> {
    volume.format.image().ok_or_else(|| volume.request(format!("'{}' is no image format", volume.format)))
}
