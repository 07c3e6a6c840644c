// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content directories of path-based storages: ISO images, templates, backups, snippets, things to import (spec:
//! volumes, "Volumes by content").

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ArchiveExtension, ArchiveName, ContentType, Digits, StorageType, VolumeName};

use crate::error::Result;
use crate::host::FileKind;
use crate::listing::{BackupAttributes, Image, ImageFilter};
use crate::plugin::concat;
use crate::session::Session;
use crate::storage::Storage;

/// The files of a content directory that are volumes.
pub(crate) fn list(
    session: &Session<'_>,
    storage: &Storage,
    content: ContentType,
    directory: &BStr,
    filter: &ImageFilter<'_>,
) -> Result<Vec<Image>> {
    let mut found = Vec::new();
    for name in session.list(directory)? {
        let path = concat([directory, b"/", &name]);
        if name.starts_with(b".") {
            continue;
        }
        let Some(meta) = session.host().metadata(path.as_bstr()) else { continue };
        if meta.kind == FileKind::Directory {
            continue;
        }
        let image = match content {
            ContentType::Iso => plain(storage, "iso", &name, Some("iso".into()), filter)?,
            ContentType::VzTmpl => plain(storage, "vztmpl", &name, template_format(&name), filter)?,
            ContentType::Snippets => snippet(storage, &name, filter)?,
            ContentType::Import => import(storage, &name, filter)?,
            ContentType::Backup => backup(session, storage, &name, &path, filter)?,
            _ => None,
        };
        if let Some(image) = image {
            let ctime = image.ctime.or(Some(meta.changed));
            found.push(Image { size: Some(meta.size), ctime, ..image });
        }
    }
    Ok(found)
}

/// Something of a kind that no guest owns: with an owner asked for, there is none.
fn plain(
    storage: &Storage,
    directory: &str,
    name: &BString,
    format: Option<String>,
    filter: &ImageFilter<'_>,
) -> Result<Option<Image>> {
    let volname = concat([directory.as_bytes(), b"/", name]);
    let Some(format) = format.filter(|_| VolumeName::read(StorageType::Dir, &volname).is_ok()) else {
        return Ok(None);
    };
    let volid = storage.volid(&volname)?;
    let wanted = match filter.volids {
        Some(_) => filter.admits(volid.as_bstr(), None),
        None => filter.owner.is_none(),
    };
    Ok(wanted.then(|| Image::new(volid, format)))
}

/// `tar`, or `t` and the compression as written.
fn template_format(name: &[u8]) -> Option<String> {
    let (stem, last) = name.rsplit_once_str(".")?;
    let last = last.to_str().ok()?;
    if last.eq_ignore_ascii_case("tar") {
        return Some(if last == "tar" { "tar".into() } else { format!("t{last}") });
    }
    stem.to_ascii_lowercase().ends_with(b".tar").then(|| format!("t{last}"))
}

fn snippet(storage: &Storage, name: &BString, filter: &ImageFilter<'_>) -> Result<Option<Image>> {
    any_owner(storage, &concat([b"snippets/", name]), "snippet".into(), filter)
}

fn import(storage: &Storage, name: &BString, filter: &ImageFilter<'_>) -> Result<Option<Image>> {
    let volname = concat([b"import/", name]);
    // the listing allows no space, where the name of a volume may have one
    if name.contains(&b' ') {
        return Ok(None);
    }
    match VolumeName::read(StorageType::Dir, &volname) {
        Ok(parsed) => any_owner(storage, &volname, parsed.format.to_string(), filter),
        Err(_) => Ok(None),
    }
}

/// Something that is listed whoever is asked for.
fn any_owner(
    storage: &Storage,
    volname: &BString,
    format: String,
    filter: &ImageFilter<'_>,
) -> Result<Option<Image>> {
    if volname.contains(&b'\n') {
        return Ok(None);
    }
    let volid = storage.volid(volname)?;
    let wanted = filter.volids.is_none() || filter.admits(volid.as_bstr(), None);
    Ok(wanted.then(|| Image::new(volid, format)))
}

fn backup(
    session: &Session<'_>,
    storage: &Storage,
    name: &BString,
    path: &BString,
    filter: &ImageFilter<'_>,
) -> Result<Option<Image>> {
    let Some(extension) = ArchiveExtension::of(name) else { return Ok(None) };
    if name.contains(&b'\n') {
        return Ok(None);
    }
    if let Some(owner) = filter.owner
        && filter.volids.is_none()
        && !has_number(name, owner)
    {
        return Ok(None);
    }
    let volid = storage.volid(&concat([b"backup/", name]))?;
    if filter.volids.is_some() && !filter.admits(volid.as_bstr(), None) {
        return Ok(None);
    }
    let archive = ArchiveName::parse(name).ok();
    let ctime = archive.and_then(|archive| session.host().local_epoch(archive.standard?.time));
    let notes = session.read(concat([path, b".notes"]).as_bstr())?;
    let notes = notes.filter(|notes| !notes.is_empty());
    let notes = notes.map(|notes| notes.lines().next().unwrap_or_default().into());
    let owner = match filter.owner.filter(|_| filter.volids.is_none()) {
        Some(owner) => Some(owner.as_bstr().to_owned()),
        None => first_vmid(name).map(BString::from),
    };
    Ok(Some(Image {
        owner,
        ctime,
        backup: Some(BackupAttributes {
            subtype: archive.map_or("unknown", |archive| archive.guest.as_str()),
            notes,
            protected: session.exists(concat([path, b".protected"]).as_bstr()),
            ..BackupAttributes::default()
        }),
        ..Image::new(volid, extension.to_string())
    }))
}

/// Whether a name contains a byte, `-NUMBER-`, and another byte, none of them white space.
fn has_number(name: &[u8], owner: Digits<'_>) -> bool {
    let wanted = concat([b"-", owner.as_bstr(), b"-"]);
    let visible =
        |byte: Option<&u8>| byte.is_some_and(|byte| !byte.is_ascii_whitespace() && *byte != b'\x0b');
    name.find_iter(&wanted).any(|at| {
        let before = at.checked_sub(1).and_then(|at| name.get(at));
        visible(before) && visible(name.get(at + wanted.len()))
    })
}

/// The first `-NUMBER-` in a name, with a number of 3 to 9 digits that does not begin with 0.
fn first_vmid(name: &[u8]) -> Option<&[u8]> {
    let mut rest = name;
    while let Some(at) = rest.find_byte(b'-') {
        rest = rest.get(at + 1..)?;
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let number = rest.get(..digits)?;
        if (3..=9).contains(&digits) && !number.starts_with(b"0") && rest.get(digits) == Some(&b'-') {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_of_templates() {
        let format = |name: &str| template_format(name.as_bytes());
        assert_eq!(format("a.tar").as_deref(), Some("tar"));
        assert_eq!(format("a.TAR").as_deref(), Some("tTAR"));
        assert_eq!(format("a.tar.GZ").as_deref(), Some("tGZ"));
        assert_eq!(format("a.tar.zst").as_deref(), Some("tzst"));
        assert_eq!(format("a.zip"), None);
    }

    #[test]
    fn the_owner_of_an_archive() {
        assert_eq!(first_vmid(b"vzdump-qemu-100-2020_01_01.vma"), Some(&b"100"[..]));
        assert_eq!(first_vmid(b"x-12-0345-1234567890-678-a"), Some(&b"678"[..]));
        assert_eq!(first_vmid(b"foo.tgz"), None);
        assert!(has_number(b"a-100-b", Digits::new(b"100").unwrap()));
        assert!(!has_number(b"-100-b", Digits::new(b"100").unwrap()));
        assert!(!has_number(b"a-100- b", Digits::new(b"100").unwrap()));
    }
}
