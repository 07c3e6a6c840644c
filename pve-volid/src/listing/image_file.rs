// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files below the directory of images on path-based storages (spec: volumes, "dir, nfs, cifs (and cephfs)" and "btrfs").

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};

use super::{Invisible, Listed};
use crate::name::NameRule;
use crate::name::lexeme::is_white_space;
use crate::name::path::image_name;
use crate::{Digits, ImageFormat, StorageType};

/// A file or directory that the listing takes for an image, before it is measured.
///
/// ```
/// use pve_volid::{ImageFile, Invisible, StorageType};
///
/// let image = ImageFile::at(StorageType::Dir, b"102/vm-102-disk-0.qcow2")?;
/// // `qemu-img info` tells the backing file; with it the id of a linked clone is complete
/// let volume = image.listed(Some(b"../9000/base-9000-disk-0.qcow2"));
/// assert_eq!(volume.volname.to_string(), "9000/base-9000-disk-0.qcow2/102/vm-102-disk-0.qcow2");
///
/// assert_eq!(ImageFile::at(StorageType::Dir, b"102/disk.img"), Err(Invisible::UnknownExtension));
/// assert_eq!(ImageFile::at(StorageType::Nfs, b"5/vm-5-disk-0.raw"), Err(Invisible::OneDigitDirectory));
/// # Ok::<(), Invisible>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageFile<'a> {
    kind: StorageType,
    /// The owner: the directory, digits as written.
    pub owner: Digits<'a>,
    /// The file in it.
    pub file: &'a BStr,
    /// The format that its name implies.
    pub format: ImageFormat,
}

impl<'a> ImageFile<'a> {
    /// Judges `path`, relative to the directory of images of a storage of type `kind`.
    ///
    /// # Errors
    /// The reason why the listing does not take it for an image.
    pub fn at(kind: StorageType, path: &'a [u8]) -> Result<Self, Invisible> {
        let (directory, file) = path.split_once_str("/").ok_or(Invisible::WrongDepth)?;
        Self::judge(kind, directory, file)
    }

    /// Judges `file` in `directory` below the directory of images of a storage of type `kind`.
    ///
    /// # Errors
    /// The reason why the listing does not take it for an image.
    pub fn judge(kind: StorageType, directory: &'a [u8], file: &'a [u8]) -> Result<Self, Invisible> {
        if directory.starts_with(b".") || file.starts_with(b".") {
            return Err(Invisible::HiddenFile);
        }
        if file.is_empty() || file.contains(&b'/') {
            return Err(Invisible::WrongDepth);
        }
        let owner = Digits::new(directory).ok_or(Invisible::NoGuestDirectory)?;
        if directory.len() == 1 {
            return Err(Invisible::OneDigitDirectory);
        }
        let format = if kind == StorageType::Btrfs { btrfs_format(file) } else { format(kind, file) }?;
        Ok(ImageFile { kind, owner, file: file.as_bstr(), format })
    }

    /// The file to measure, relative to the directory of images: a raw volume on btrfs is a directory, and its data are
    /// in `disk.raw` there.
    #[must_use]
    pub fn data_file(&self) -> BString {
        let inner: &[u8] = if self.is_raw_directory() { b"/disk.raw" } else { b"" };
        [self.owner.as_bstr().as_bytes(), b"/", self.file.as_bytes(), inner].concat().into()
    }

    fn is_raw_directory(&self) -> bool {
        self.kind == StorageType::Btrfs && self.format == ImageFormat::Raw
    }

    /// The volume, once its backing file is known (as stored in the image; none if it has none).
    #[must_use]
    pub fn listed(&self, backing: Option<&'a [u8]>) -> Listed<'a> {
        let extension: &[u8] = if self.is_raw_directory() { b".raw" } else { b"" };
        let owner = self.owner.as_bstr().as_bytes();
        let mut volname = [owner, b"/", self.file.as_bytes(), extension].concat();
        if let Some(base) = backing.and_then(|backing| self.base(backing)) {
            volname = [base, b"/", &volname].concat();
        }
        // the listing does not tell of backing files whose names it could not write down
        let parent = backing.filter(|backing| !backing.iter().copied().any(is_white_space));
        Listed {
            volname: Cow::Owned(volname.into()),
            owner: Some(self.owner),
            format: self.format,
            parent: parent.map(|parent| Cow::Borrowed(parent.as_bstr())),
        }
    }

    /// `DIGITS/X.EXT` of a backing file `../DIGITS/X.EXT` (any two characters will do for the dots); on btrfs no volume
    /// is listed as a linked clone.
    fn base(&self, backing: &'a [u8]) -> Option<&'a [u8]> {
        let (dots, base) = backing.split_at_checked(3)?;
        let (owner, file) = base.split_once_str("/")?;
        let (stem, extension) = file.rsplit_once_str(".")?;
        let known = self.kind != StorageType::Btrfs
            && !backing.iter().copied().any(is_white_space)
            && dots.ends_with(b"/")
            && Digits::new(owner).is_some()
            && !stem.is_empty()
            && !file.contains(&b'/')
            && ImageFormat::from_bytes(extension).is_some_and(|format| has_format(self.kind, format));
        known.then_some(base)
    }
}

/// Whether storages of type `kind` can have images of `format` (spec: storage.cfg, "Derived facts").
fn has_format(kind: StorageType, format: ImageFormat) -> bool {
    match kind.image_formats() {
        [] => format == ImageFormat::Raw,
        formats => formats.contains(&format),
    }
}

fn format(kind: StorageType, file: &[u8]) -> Result<ImageFormat, Invisible> {
    let (_, format) = image_name(file).map_err(|rule| match rule {
        NameRule::ImageWhiteSpace => Invisible::WhiteSpace,
        NameRule::SnapshotFile => Invisible::Snapshot,
        _ => Invisible::UnknownExtension,
    })?;
    if has_format(kind, format) { Ok(format) } else { Err(Invisible::FormatNotOfType) }
}

/// X or X`.`(`qcow2` | `vmdk` | `subvol`) with X free of `@` and `.`; without extension it is raw.
fn btrfs_format(file: &[u8]) -> Result<ImageFormat, Invisible> {
    if file.contains(&b'@') {
        return Err(Invisible::Snapshot);
    }
    let Some((stem, extension)) = file.rsplit_once_str(".") else {
        return Ok(ImageFormat::Raw);
    };
    if stem.contains(&b'.') {
        return Err(Invisible::DotInName);
    }
    match ImageFormat::from_bytes(extension) {
        Some(ImageFormat::Raw) => Err(Invisible::RawFileOnBtrfs),
        Some(format) => Ok(format),
        None => Err(Invisible::UnknownExtension),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StorageType::{Btrfs, CephFs, Dir, Nfs};

    fn judged(kind: StorageType, path: &str) -> String {
        match ImageFile::at(kind, path.as_bytes()) {
            Ok(image) => format!("{} {}", image.listed(None).volname, image.format),
            Err(reason) => reason.code().to_owned(),
        }
    }

    #[test]
    fn files() {
        for (path, expected) in [
            ("100/vm-100-disk-0.raw", "100/vm-100-disk-0.raw raw"),
            ("0107/anything.subvol", "0107/anything.subvol subvol"),
            ("100/a.img", "unknown-extension"),
            ("100/a.QCOW2", "unknown-extension"),
            ("100/raw", "unknown-extension"),
            ("100/a b.raw", "white-space"),
            ("100/snap-s1-vm-100-disk-0.qcow2", "snapshot"),
            ("100/.a.raw", "hidden-file"),
            (".100/a.raw", "hidden-file"),
            ("100/x/a.raw", "wrong-depth"),
            ("a.raw", "wrong-depth"),
            ("100/", "wrong-depth"),
            ("100x/a.raw", "no-guest-directory"),
            ("/a.raw", "no-guest-directory"),
            ("7/a.raw", "one-digit-directory"),
        ] {
            assert_eq!(judged(Dir, path), expected, "{path}");
        }
        assert_eq!(judged(Nfs, "100/a.subvol"), "format-not-of-type");
        assert_eq!(judged(CephFs, "100/a.qcow2"), "format-not-of-type");
        assert_eq!(judged(CephFs, "100/a.raw"), "100/a.raw raw");
    }

    #[test]
    fn btrfs() {
        for (path, expected) in [
            ("100/vm-100-disk-0", "100/vm-100-disk-0.raw raw"),
            ("100/a b", "100/a b.raw raw"),
            ("100/x.qcow2", "100/x.qcow2 qcow2"),
            ("100/subvol-100-disk-0.subvol", "100/subvol-100-disk-0.subvol subvol"),
            ("100/vm-100-disk-0@s1", "snapshot"),
            ("100/a.subvol@s1", "snapshot"),
            ("100/x.raw", "raw-file-on-btrfs"),
            ("100/x.y.qcow2", "dot-in-name"),
            ("100/x.img", "unknown-extension"),
        ] {
            assert_eq!(judged(Btrfs, path), expected, "{path}");
        }
        let data =
            |path: &'static str| ImageFile::at(Btrfs, path.as_bytes()).unwrap().data_file().to_string();
        assert_eq!(data("100/vm-100-disk-0"), "100/vm-100-disk-0/disk.raw");
        assert_eq!(data("100/x.qcow2"), "100/x.qcow2");
    }

    #[test]
    fn backing_files() {
        let clone = |kind, backing: &'static str| {
            let volume = ImageFile::at(kind, b"10/a.qcow2").unwrap().listed(Some(backing.as_bytes()));
            (volume.volname.to_string(), volume.parent.map(|parent| parent.to_string()))
        };
        let plain = |parent: &str| ("10/a.qcow2".to_owned(), Some(parent.to_owned()));
        assert_eq!(clone(Dir, "../9/b.raw").0, "9/b.raw/10/a.qcow2");
        assert_eq!(clone(Dir, "xy/9/b.raw").0, "9/b.raw/10/a.qcow2");
        for backing in
            ["../9/b.img", "../9/c/b.raw", "/9/b.raw", "../x/b.raw", "../9/.raw", "snap-s-a.qcow2", ".."]
        {
            assert_eq!(clone(Dir, backing), plain(backing));
        }
        assert_eq!(clone(Nfs, "../9/b.subvol"), plain("../9/b.subvol"));
        assert_eq!(clone(Btrfs, "../9/b.raw"), plain("../9/b.raw"));
        assert_eq!(clone(Dir, "../9/a b.raw"), ("10/a.qcow2".to_owned(), None));
    }
}
