// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume names on path-based storages: dir, nfs, cifs, cephfs, btrfs (spec: volumes, "Path-based").

use bstr::ByteSlice;

use super::lexeme::is_white_space;
use super::{BaseName, NameRule, VolumeName};
use crate::backup::{self, ArchiveExtension};
use crate::{Digits, ImageFormat, VolumeFormat, VolumeType};

pub(super) fn parse(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    let Some((directory, rest)) = volname.split_once_str("/") else {
        return Err(NameRule::NoContentDirectory);
    };
    if let Some(number) = Digits::new(directory) {
        return image(volname, number, rest);
    }
    let found = |good: bool, vtype, rule| match good && !rest.contains(&b'/') {
        true => Ok(VolumeName::unowned(volname, vtype, rest)),
        false => Err(rule),
    };
    match directory {
        b"iso" => found(is_iso(rest), VolumeType::Iso, NameRule::Iso),
        b"vztmpl" => found(template_compression(rest).is_some(), VolumeType::VzTmpl, NameRule::Template),
        b"backup" => {
            let volume = found(ArchiveExtension::of(rest).is_some(), VolumeType::Backup, NameRule::Backup)?;
            Ok(VolumeName { owner: backup::owner(rest), ..volume })
        }
        b"snippets" => found(!rest.is_empty(), VolumeType::Snippets, NameRule::Snippet),
        b"import" => {
            let format = import_format(rest).ok_or(NameRule::Import)?;
            Ok(VolumeName { format, ..VolumeName::unowned(volname, VolumeType::Import, rest) })
        }
        _ => Err(NameRule::NoContentDirectory),
    }
}

/// `DIGITS / IMG` or `DIGITS / IMG / DIGITS / IMG`; `rest` is what follows the first slash.
///
/// The rule for linked clones is a greedy match of parts that may hold slashes, but both parts must then be image
/// file names, which hold none: so exactly four components, and everything deeper is refused.
fn image<'a>(volname: &'a [u8], first: Digits<'a>, rest: &'a [u8]) -> Result<VolumeName<'a>, NameRule> {
    let volume = |owner, name: &'a [u8], base| {
        let (is_base, format) = image_name(name)?;
        Ok(VolumeName {
            owner: Some(owner),
            base,
            is_base,
            format: VolumeFormat::Image(format),
            ..VolumeName::unowned(volname, VolumeType::Images, name)
        })
    };
    let Some((base, rest)) = rest.split_once_str("/") else {
        return volume(first, rest, None);
    };
    let (owner, name) = rest.split_once_str("/").ok_or(NameRule::ImageDepth)?;
    let owner = Digits::new(owner).filter(|_| !name.contains(&b'/')).ok_or(NameRule::ImageDepth)?;
    image_name(base)?;
    volume(owner, name, Some(BaseName { name: base.as_bstr(), owner: first }))
}

/// `IMG`, the name of an image file: whether it is a template's, and its format.
///
/// The rule for `vm-`, `base-` and `subvol-` names gives what the rule for arbitrary names gives, so one suffices.
pub(crate) fn image_name(file: &[u8]) -> Result<(bool, ImageFormat), NameRule> {
    if file.contains(&b'/') {
        return Err(NameRule::ImageDepth);
    }
    if file.iter().copied().any(is_white_space) {
        return Err(NameRule::ImageWhiteSpace);
    }
    let (stem, extension) = file.rsplit_once_str(".").ok_or(NameRule::ImageExtension)?;
    let format = ImageFormat::from_bytes(extension).ok_or(NameRule::ImageExtension)?;
    if format == ImageFormat::Qcow2 && stem.starts_with(b"snap-") {
        return Err(NameRule::SnapshotFile);
    }
    if stem.is_empty() {
        return Err(NameRule::ImageExtension);
    }
    let is_base = stem.strip_prefix(b"base-").is_some_and(|rest| !rest.is_empty());
    Ok((is_base, format))
}

/// Ends in `.iso` or `.img`, in any case, with something before it.
pub(crate) fn is_iso(file: &[u8]) -> bool {
    [".iso", ".img"].iter().any(|extension| stem_ignoring_case(file, extension).is_some())
}

/// Ends in `.tar`, or that with a compression, in any case, with something before it: the compression as written,
/// empty for none.
pub(crate) fn template_compression(file: &[u8]) -> Option<&[u8]> {
    ["", ".gz", ".xz", ".zst", ".bz2"].iter().find_map(|compression| {
        stem_ignoring_case(stem_ignoring_case(file, compression)?, ".tar").filter(|stem| !stem.is_empty())?;
        file.get(file.len() - compression.len()..)?.strip_prefix(b".").or(Some(b""))
    })
}

/// What is before the ASCII `suffix`, if anything.
fn stem_ignoring_case<'a>(file: &'a [u8], suffix: &str) -> Option<&'a [u8]> {
    let (stem, end) = file.split_at_checked(file.len().checked_sub(suffix.len())?)?;
    (!stem.is_empty() && end.eq_ignore_ascii_case(suffix.as_bytes())).then_some(stem)
}

/// `S+ .ova/ S+ .(qcow2|raw|vmdk)` or `S+ .(ova|ovf|qcow2|raw|vmdk)`, S being a space, letter, digit or one of
/// `-.+=_`.
fn import_format(name: &[u8]) -> Option<VolumeFormat<'static>> {
    match name.split_once_str("/") {
        Some((appliance, disk)) => match (import_file(appliance)?, import_file(disk)?) {
            (VolumeFormat::Ova, VolumeFormat::Image(format)) => Some(VolumeFormat::OvaMember(format)),
            _ => None,
        },
        None => import_file(name),
    }
}

/// `S+ .(ova|ovf|qcow2|raw|vmdk)`
pub(crate) fn import_file(file: &[u8]) -> Option<VolumeFormat<'static>> {
    let allowed =
        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b' ' | b'-' | b'.' | b'+' | b'=' | b'_');
    let (stem, extension) = file.rsplit_once_str(".")?;
    if stem.is_empty() || !stem.iter().all(allowed) {
        return None;
    }
    match extension {
        b"ova" => Some(VolumeFormat::Ova),
        b"ovf" => Some(VolumeFormat::Ovf),
        b"qcow2" => Some(VolumeFormat::Image(ImageFormat::Qcow2)),
        b"raw" => Some(VolumeFormat::Image(ImageFormat::Raw)),
        b"vmdk" => Some(VolumeFormat::Image(ImageFormat::Vmdk)),
        _ => None,
    }
}
