// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images in the directories of guests (spec: volumes, "dir, nfs, cifs (and cephfs)").

use bstr::{BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, StorageType, VolumeName};

use super::super::{concat, qemu_img};
use super::content_directory;
use crate::error::Result;
use crate::listing::{Image, ImageFilter};
use crate::session::{Cache, Session};
use crate::storage::Storage;

/// The files and directories in the directories of guests: `(DIGITS, name)`, in the order of the shell.
pub(in super::super) fn candidates(
    session: &Session<'_>,
    storage: &Storage,
    wanted: impl Fn(&[u8]) -> bool,
) -> Result<Vec<(BString, BString)>> {
    let images = content_directory(storage, ContentType::Images)?;
    let mut found = Vec::new();
    for directory in session.list(images.as_bstr())? {
        // the reference looks for names that begin with two digits, and keeps those that are digits alone
        if directory.len() < 2 || Digits::new(&directory).is_none() || !wanted(&directory) {
            continue;
        }
        let path = concat([&images, b"/", &directory]);
        for name in session.list(path.as_bstr())? {
            if !name.starts_with(b".") {
                found.push((directory.clone(), name));
            }
        }
    }
    Ok(found)
}

/// The images of the storage.
pub(in super::super) fn list(
    session: &Session<'_>,
    storage: &Storage,
    filter: &ImageFilter<'_>,
    _cache: &mut Cache,
) -> Result<Vec<Image>> {
    let directory = content_directory(storage, ContentType::Images)?;
    let formats = storage.formats();
    let by_owner = |owner: &[u8]| filter.volids.is_some() || filter.may_admit(b"", owner);
    let mut images = Vec::new();
    for (owner, name) in candidates(session, storage, by_owner)? {
        let own = concat([&owner, b"/", &name]);
        let Some(format) = image_format(&own).filter(|format| formats.contains(format)) else { continue };
        if !filter.may_admit(&own, &owner) {
            continue;
        }
        let path = concat([&directory, b"/", &own]);
        let Some(info) = qemu_img::measure_file(session, path.as_bstr(), format, None)? else { continue };
        let volname = match info.parent.as_ref().and_then(|parent| base_in(parent)) {
            Some(base) => concat([base, b"/", &own]),
            None => own,
        };
        let volid = storage.volid(&volname)?;
        if !filter.admits(volid.as_bstr(), Some(&owner)) {
            continue;
        }
        images.push(Image {
            owner: Some(owner),
            size: Some(info.size),
            used: Some(info.used),
            parent: info.parent,
            ctime: info.ctime,
            ..Image::new(volid, info.format)
        });
    }
    Ok(images)
}

/// The format of an image file, if `DIGITS/FILE` names one.
fn image_format(volname: &[u8]) -> Option<ImageFormat> {
    let name = VolumeName::read(StorageType::Dir, volname).ok()?;
    name.base.is_none().then_some(name.format.image()).flatten()
}

/// `DIGITS/BASE` in the backing file `../DIGITS/BASE`; the two dots may be any two characters.
fn base_in(parent: &[u8]) -> Option<&[u8]> {
    let base = parent.get(2..)?.strip_prefix(b"/")?;
    let (owner, file) = base.split_once_str("/")?;
    let (stem, extension) = file.rsplit_once_str(".")?;
    let fits = Digits::new(owner).is_some()
        && !stem.is_empty()
        && !file.contains(&b'/')
        && ImageFormat::from_bytes(extension).is_some();
    fits.then_some(base)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_base_of_a_linked_clone() {
        assert_eq!(base_in(b"../9000/base-9000-disk-0.qcow2"), Some(&b"9000/base-9000-disk-0.qcow2"[..]));
        assert_eq!(base_in(b"ab/1/x.raw"), Some(&b"1/x.raw"[..]));
        for other in
            [&b"/srv/9000/base.qcow2"[..], b"snap-s1-vm-100-disk-0.qcow2", b"../x/y.raw", b"../1/y.img", b""]
        {
            assert_eq!(base_in(other), None, "{}", bstr::BStr::new(other));
        }
    }
}
