// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images in the directories of guests (spec: volumes, "dir, nfs, cifs (and cephfs)" and "btrfs").

use bstr::ByteSlice;
use pve_volid::{ContentType, Digits, ImageFile, ImageFormat, Invisible, StorageType, Wanted};

use super::super::{concat, kind_of, qemu_img};
use super::content_directory;
use crate::error::Result;
use crate::host::FileKind;
use crate::listing::{Image, Listing};
use crate::session::Session;
use crate::storage::Storage;

/// The images of a storage, in the order in which a shell would name their files.
pub(in super::super) fn list(
    session: &Session<'_>,
    storage: &Storage,
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    let images = content_directory(storage, ContentType::Images)?;
    for directory in session.list(images.as_bstr())? {
        let owner = Digits::new(&directory);
        if !listing.explains() && (owner.is_none() || directory.len() < 2 || wanted.owner(owner).is_err()) {
            continue;
        }
        let path = concat([&images, b"/", &directory]);
        if session.kind(path.as_bstr()) != Some(FileKind::Directory) {
            listing.hide(&directory, None, Invisible::WrongDepth);
            continue;
        }
        for file in session.list(path.as_bstr())? {
            list_file(session, storage, &directory, &file, wanted, listing)?;
        }
    }
    Ok(())
}

fn list_file(
    session: &Session<'_>,
    storage: &Storage,
    directory: &[u8],
    file: &[u8],
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    let images = content_directory(storage, ContentType::Images)?;
    let name = concat([directory, b"/", file]);
    let kind = kind_of(storage)?;
    let judged = ImageFile::judge(kind, directory, file).and_then(|image| {
        wanted.owner(Some(image.owner))?;
        Ok(image)
    });
    let image = match judged {
        Ok(image) => image,
        Err(reason) => {
            let meta = || session.host().metadata(concat([&images, b"/", &name]).as_bstr());
            let size = if listing.explains() { meta().map(|meta| meta.size) } else { None };
            listing.hide(&name, size, reason);
            return Ok(());
        }
    };
    if kind == StorageType::Btrfs {
        // no base is ever part of the name here: what is not wanted need not be measured
        let listed = image.listed(None);
        if let Err(reason) = wanted.volname(&listed.volname) {
            listing.hide(&name, None, reason);
            return Ok(());
        }
        if image.format == ImageFormat::Subvol {
            listing.show(Image { size: Some(0), used: Some(0), ..Image::of(storage, &listed)? });
            return Ok(());
        }
    }
    let path = concat([&images, b"/", &image.data_file()]);
    let Some(info) = qemu_img::measure_file(session, path.as_bstr(), image.format, None)? else {
        let exists = session.exists(concat([&images, b"/", &name]).as_bstr());
        let reason = match (exists, session.exists(path.as_bstr())) {
            (false, _) => Invisible::Dangling,
            (true, false) => Invisible::NoDiskFile,
            (true, true) => Invisible::Unmeasurable,
        };
        listing.hide(&name, None, reason);
        return Ok(());
    };
    let listed = image.listed(info.parent.as_ref().map(|parent| parent.as_bytes()));
    if let Err(reason) = wanted.volname(&listed.volname) {
        listing.hide(&name, Some(info.size), reason);
        return Ok(());
    }
    listing.show(Image {
        format: info.format,
        size: Some(info.size),
        used: Some(info.used),
        ctime: info.ctime,
        ..Image::of(storage, &listed)?
    });
    Ok(())
}
