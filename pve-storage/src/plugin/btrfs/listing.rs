// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images on btrfs (spec: volumes, "btrfs").

use bstr::ByteSlice;
use pve_volid::ImageFormat;

use super::super::directory::{images_directory, listing::candidates};
use super::super::{concat, qemu_img};
use crate::error::Result;
use crate::listing::{Image, ImageFilter};
use crate::session::Session;
use crate::storage::Storage;

pub(super) fn list(session: &Session<'_>, storage: &Storage, filter: &ImageFilter<'_>) -> Result<Vec<Image>> {
    let by_owner = |owner: &[u8]| filter.volids.is_some() || filter.may_admit(b"", owner);
    let mut images = Vec::new();
    for (owner, name) in candidates(session, storage, by_owner)? {
        let (stem, format) = match name.rsplit_once_str(".") {
            None => (name.as_bytes(), ImageFormat::Raw),
            Some((stem, extension)) => match ImageFormat::from_bytes(extension) {
                None | Some(ImageFormat::Raw) => continue,
                Some(format) => (stem, format),
            },
        };
        if stem.is_empty() || stem.iter().any(|b| matches!(b, b'@' | b'.')) {
            continue;
        }
        let suffix: &[u8] = if format == ImageFormat::Raw { b".raw" } else { b"" };
        let volid = storage.volid(&concat([&owner, b"/", &name, suffix]))?;
        if !filter.admits(volid.as_bstr(), Some(&owner)) {
            continue;
        }
        let path = concat([&images_directory(storage, &owner)?, b"/", &name]);
        let image = Image { owner: Some(owner), ..Image::new(volid, format.to_string()) };
        if format == ImageFormat::Subvol {
            images.push(Image { size: Some(0), used: Some(0), ..image });
            continue;
        }
        let file = if format == ImageFormat::Raw { concat([&path, b"/disk.raw"]) } else { path };
        let Some(info) = qemu_img::measure_file(session, file.as_bstr(), format, None)? else { continue };
        images.push(Image {
            format: info.format,
            size: Some(info.size),
            used: Some(info.used),
            parent: info.parent,
            ctime: info.ctime,
            ..image
        });
    }
    Ok(images)
}
