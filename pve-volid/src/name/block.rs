// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume names on block storages: lvm, lvmthin, zfspool, zfs, rbd (spec: volumes, "Other types").

use bstr::ByteSlice;
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::combinator::opt;

use super::lexeme::{Piece, is_lvm_name, is_nw, number, vm, vm_or_base, zfs_name};
use super::{BaseName, NameRule, VolumeName};
use crate::{Digits, ImageFormat, VolumeFormat, VolumeType};

/// A volume of a guest, format `raw`.
fn image<'a>(volname: &'a [u8], name: &'a [u8], owner: Digits<'a>, is_base: bool) -> VolumeName<'a> {
    let owner = Some(owner);
    VolumeName { owner, is_base, ..VolumeName::unowned(volname, VolumeType::Images, name) }
}

/// An LVM name and `vm-DIGITS-` NW. There are no templates: `base-…` is refused.
pub(super) fn lvm(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    if !is_lvm_name(volname) {
        return Err(NameRule::LvmName);
    }
    match vm(volname) {
        Ok((rest, owner)) if is_nw(rest) => {
            let qcow2 = volname.ends_with(b".qcow2");
            let format = VolumeFormat::Image(if qcow2 { ImageFormat::Qcow2 } else { ImageFormat::Raw });
            Ok(VolumeName { format, ..image(volname, volname, owner, false) })
        }
        _ => Err(NameRule::Lvm),
    }
}

/// An LVM name and (`vm` | `base`) `-DIGITS-` NW. The name does not tell what a clone is based on.
pub(super) fn lvm_thin(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    if !is_lvm_name(volname) {
        return Err(NameRule::LvmName);
    }
    match vm_or_base(volname) {
        Ok((rest, (is_base, owner))) if is_nw(rest) => Ok(image(volname, volname, owner, is_base)),
        _ => Err(NameRule::LvmThin),
    }
}

/// [ (`base` | `basevol`) `-DIGITS-` NW `/` ] (`base` | `basevol` | `vm` | `subvol`) `-DIGITS-` NW
pub(super) fn zfs(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    fn base(input: &[u8]) -> Piece<'_, Digits<'_>> {
        (alt((tag("basevol"), tag("base"))), number).map(|(_, owner)| owner).parse(input)
    }
    let (base, name, (word, owner)) = linked(volname, base, zfs_name).ok_or(NameRule::Zfs)?;
    let format = if word.ends_with(b"vol") { ImageFormat::Subvol } else { ImageFormat::Raw };
    let is_base = word.starts_with(b"base");
    Ok(VolumeName { base, format: format.into(), ..image(volname, name, owner, is_base) })
}

/// [ `base-DIGITS-` NW `/` ] [`base`] [`vm`] `-DIGITS-` NW
pub(super) fn rbd(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    fn base(input: &[u8]) -> Piece<'_, Digits<'_>> {
        (tag("base"), number).map(|(_, owner)| owner).parse(input)
    }
    fn own(input: &[u8]) -> Piece<'_, (bool, Digits<'_>)> {
        let word = (opt(tag("base")).map(|word| word.is_some()), opt(tag("vm")));
        (word, number).map(|((is_base, _), owner)| (is_base, owner)).parse(input)
    }
    let (base, name, (is_base, owner)) = linked(volname, base, own).ok_or(NameRule::Rbd)?;
    Ok(VolumeName { base, ..image(volname, name, owner, is_base) })
}

/// Splits [ BASE NW `/` ] OWN NW: the base part reaches to the last `/` for which the rest still matches; if there
/// is none, the `/` belongs to the name.
fn linked<'a, T>(
    volname: &'a [u8],
    base: fn(&'a [u8]) -> Piece<'a, Digits<'a>>,
    own: fn(&'a [u8]) -> Piece<'a, T>,
) -> Option<(Option<BaseName<'a>>, &'a [u8], T)> {
    if !is_nw(volname) {
        return None;
    }
    let complete = |name| own(name).ok().filter(|(rest, _)| !rest.is_empty()).map(|(_, owned)| owned);
    if let Ok((tail, owner)) = base(volname) {
        // at least one byte of NW before the slash
        let first = volname.len() - tail.len() + 1;
        for slash in tail.rfind_iter(b"/").map(|at| at + first - 1).take_while(|at| *at >= first) {
            let (left, right) = (volname.get(..slash)?, volname.get(slash + 1..)?);
            if let Some(owned) = complete(right) {
                return Some((Some(BaseName { name: left.as_bstr(), owner }), right, owned));
            }
        }
    }
    complete(volname).map(|owned| (None, volname, owned))
}
