// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files in the directories of other content than images: ISO images, templates, backups, snippets, things to import
//! (spec: volumes, "Volumes by content").

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};

use super::Invisible;
use crate::name::lexeme::is_white_space;
use crate::name::path::{import_file, is_iso, template_compression};
use crate::{ArchiveExtension, ArchiveName, Digits, VolumeType};

/// A file that the listing shows.
///
/// ```
/// use pve_volid::{ContentFile, Invisible, VolumeType};
///
/// let file = ContentFile::judge(VolumeType::Backup, b"vzdump-lxc-101-2023_01_02-03_04_05.tar.zst", None)?;
/// assert_eq!(file.volname, "backup/vzdump-lxc-101-2023_01_02-03_04_05.tar.zst");
/// assert_eq!((file.format.as_ref(), file.owner.unwrap().as_bstr().as_ref()), ("tar.zst", b"101".as_slice()));
///
/// assert_eq!(
///     ContentFile::judge(VolumeType::Iso, b"debian.iso.part", None),
///     Err(Invisible::UnknownExtension),
/// );
/// # Ok::<(), Invisible>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentFile<'a> {
    /// The volume name.
    pub volname: BString,
    /// The format, as the listing calls it.
    pub format: Cow<'a, str>,
    /// The guest that a backup is of, digits as written: the guest asked for, else the first number of a guest between
    /// hyphens in the name.
    pub owner: Option<Digits<'a>>,
    /// A backup whose name can be read; else its type is called `unknown`, and its time is that of the file.
    pub archive: Option<ArchiveName<'a>>,
}

impl<'a> ContentFile<'a> {
    /// Judges `file` (a regular file, or a link to one) in the directory for content `vtype`, listed for `guest` if
    /// given.
    ///
    /// # Errors
    /// The reason why it is not shown; [`Invisible::WrongDepth`] for images, which lie deeper: see
    /// [`ImageFile`](super::ImageFile).
    pub fn judge(vtype: VolumeType, file: &'a [u8], guest: Option<Digits<'a>>) -> Result<Self, Invisible> {
        if file.starts_with(b".") {
            return Err(Invisible::HiddenFile);
        }
        if file.is_empty() || file.contains(&b'/') {
            return Err(Invisible::WrongDepth);
        }
        let format: Cow<'a, str> = match vtype {
            VolumeType::Images => return Err(Invisible::WrongDepth),
            VolumeType::Iso if is_iso(file) => "iso".into(),
            VolumeType::VzTmpl => match template_compression(file) {
                None => return Err(Invisible::UnknownExtension),
                Some(b"") if file.ends_with(b"tar") => "tar".into(),
                // an upper-case `tar` is taken for a compression
                Some(b"") => format!("t{}", file.get(file.len() - 3..).unwrap_or_default().as_bstr()).into(),
                Some(compression) => format!("t{}", compression.as_bstr()).into(),
            },
            VolumeType::Backup => match ArchiveExtension::of(file) {
                None => return Err(Invisible::UnknownExtension),
                Some(extension) => extension.to_string().into(),
            },
            VolumeType::Snippets => "snippet".into(),
            VolumeType::Import => import_format(file)?,
            VolumeType::Iso => return Err(Invisible::UnknownExtension),
        };
        let (owner, archive) = match vtype {
            VolumeType::Backup => {
                if guest.is_some_and(|guest| !names_guest(file, guest)) {
                    return Err(Invisible::NotOfGuest);
                }
                (guest.or_else(|| first_guest(file)), ArchiveName::parse(file).ok())
            }
            VolumeType::Iso | VolumeType::VzTmpl if guest.is_some() => return Err(Invisible::Unowned),
            _ => (None, None),
        };
        let volname = [vtype.as_str().as_bytes(), b"/", file].concat().into();
        Ok(ContentFile { volname, format, owner, archive })
    }

    /// The type of a backup, as the listing calls it: `qemu`, `lxc`, `openvz`, or `unknown`.
    #[must_use]
    pub fn subtype(&self) -> &'static str {
        self.archive.map_or("unknown", |archive| archive.guest.as_str())
    }

    /// The file's name.
    #[must_use]
    pub fn file(&self) -> &BStr {
        self.volname.split_once_str("/").map_or(self.volname.as_bstr(), |(_, file)| file.as_bstr())
    }
}

/// `.EXT` of a file to import; spaces, which volume names may contain, are not listed.
fn import_format(file: &[u8]) -> Result<Cow<'static, str>, Invisible> {
    match import_file(file) {
        Some(_) if file.contains(&b' ') => Err(Invisible::WhiteSpace),
        Some(format) => Ok(format.to_string().into()),
        None => {
            let (_, extension) = file.rsplit_once_str(".").ok_or(Invisible::UnknownExtension)?;
            let known = import_file(&[b"x.", extension].concat()).is_some();
            Err(if known { Invisible::ForbiddenCharacter } else { Invisible::UnknownExtension })
        }
    }
}

/// NW `-VMID-` NW somewhere in the name.
fn names_guest(file: &[u8], guest: Digits<'_>) -> bool {
    let needle = format!("-{guest}-");
    let is_nw = |byte: Option<&u8>| byte.is_some_and(|byte| !is_white_space(*byte));
    file.find_iter(&needle).any(|at| {
        is_nw(at.checked_sub(1).and_then(|before| file.get(before))) && is_nw(file.get(at + needle.len()))
    })
}

/// The first `-N-` in the name with N the number of a guest.
fn first_guest(file: &[u8]) -> Option<Digits<'_>> {
    let mut parts = file.split(|byte| *byte == b'-');
    parts.next_back();
    parts.skip(1).find_map(|part| Digits::new(part).filter(|digits| digits.vmid().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(vtype: VolumeType, file: &str, guest: Option<&str>) -> String {
        let guest = guest.and_then(|guest| Digits::new(guest.as_bytes()));
        match ContentFile::judge(vtype, file.as_bytes(), guest) {
            Ok(found) => {
                assert_eq!(found.file(), file);
                match (vtype, found.owner) {
                    (VolumeType::Backup, Some(vmid)) => {
                        format!("{} {} {vmid}", found.format, found.subtype())
                    }
                    (VolumeType::Backup, None) => format!("{} {}", found.format, found.subtype()),
                    _ => found.format.into_owned(),
                }
            }
            Err(reason) => reason.code().to_owned(),
        }
    }

    #[test]
    fn files() {
        use VolumeType::{Images, Import, Iso, Snippets, VzTmpl};
        for (vtype, file, expected) in [
            (Iso, "a b.IMG", "iso"),
            (Iso, ".iso", "hidden-file"),
            (Iso, "x.iso.part", "unknown-extension"),
            (Iso, "d/x.iso", "wrong-depth"),
            (VzTmpl, "x.tar", "tar"),
            (VzTmpl, "x.TAR", "tTAR"),
            (VzTmpl, "x.tar.GZ", "tGZ"),
            (VzTmpl, "x.tgz", "unknown-extension"),
            (Snippets, "any thing", "snippet"),
            (Import, "a.ova", "ova"),
            (Import, "a b.ova", "white-space"),
            (Import, "a(1).ova", "forbidden-character"),
            (Import, "a.OVA", "unknown-extension"),
            (Import, "a", "unknown-extension"),
            (Images, "a.raw", "wrong-depth"),
        ] {
            assert_eq!(judged(vtype, file, None), expected, "{vtype} {file}");
        }
        assert_eq!(judged(Iso, "a.iso", Some("100")), "unowned");
        assert_eq!(judged(VzTmpl, "a.tar", Some("100")), "unowned");
        assert_eq!(judged(Snippets, "a", Some("100")), "snippet");
    }

    #[test]
    fn backups() {
        let backup = |file: &str| judged(VolumeType::Backup, file, None);
        assert_eq!(backup("vzdump-qemu-100-x.vma.zst"), "vma.zst qemu 100");
        assert_eq!(backup("vzdump-qemu-99-x-100-y.tgz"), "tgz qemu 100");
        assert_eq!(backup("bak-100.tgz"), "tgz unknown");
        assert_eq!(backup("vzdump-qemu-100-2023_13_02-03_04_05.vma"), "vma unknown 100");
        assert_eq!(backup("vzdump-qemu-1000000000-2023_01_02-03_04_05.vma"), "vma qemu");
        assert_eq!(backup("x.VMA"), "unknown-extension");
        assert_eq!(backup("x.vma.notes"), "unknown-extension");
        let of_100 = |file: &str| judged(VolumeType::Backup, file, Some("100"));
        assert_eq!(of_100("a-100-b.tar"), "tar unknown 100");
        assert_eq!(of_100("vzdump-qemu-101-x-100-y.tar"), "tar qemu 100");
        assert_eq!(of_100("-100-b.tar"), "not-of-guest");
        assert_eq!(of_100("a -100- b.tar"), "not-of-guest");
        assert_eq!(of_100("a-1000-b.tar"), "not-of-guest");
    }
}
