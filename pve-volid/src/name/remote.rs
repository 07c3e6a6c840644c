// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume names on storages behind a network protocol: iscsi, iscsidirect, pbs, esxi (spec: volumes, "Other types").

use bstr::ByteSlice;
use nom::Parser;
use nom::bytes::complete::{tag, take_while_m_n};
use nom::character::complete::digit1;
use nom::combinator::all_consuming;

use super::lexeme::{Piece, is_nw};
use super::{NameRule, VolumeName};
use crate::{Digits, ImageFormat, VolumeFormat, VolumeType};

/// `DIGITS.DIGITS.DIGITS.` X, X without `/` and white space.
pub(super) fn iscsi(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    fn address(input: &[u8]) -> Piece<'_, ()> {
        (digit1, tag("."), digit1, tag("."), digit1, tag(".")).map(|_| ()).parse(input)
    }
    match address(volname) {
        Ok((name, ())) if is_nw(name) && !name.contains(&b'/') => {
            Ok(VolumeName::unowned(volname, VolumeType::Images, name))
        }
        _ => Err(NameRule::Iscsi),
    }
}

/// `lun` DIGITS
pub(super) fn iscsi_direct(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    volname
        .strip_prefix(b"lun")
        .and_then(Digits::new)
        .map(|lun| VolumeName::unowned(volname, VolumeType::Images, lun.as_bstr()))
        .ok_or(NameRule::IscsiDirect)
}

/// `backup/` T `/` I `/` time, T and I without white space and `_`; T as long as possible.
pub(super) fn pbs(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    let name = volname.strip_prefix(b"backup/").ok_or(NameRule::Pbs)?;
    let (group, time) = name.rsplit_once_str("/").ok_or(NameRule::Pbs)?;
    if snapshot_time(time).is_err() || !is_nw(group) || group.contains(&b'_') {
        return Err(NameRule::Pbs);
    }
    let (kind, id) = group
        .rfind_iter("/")
        .filter_map(|slash| Some((group.get(..slash)?, group.get(slash + 1..)?)))
        .find(|(kind, id)| !kind.is_empty() && !id.is_empty())
        .ok_or(NameRule::Pbs)?;
    Ok(VolumeName {
        owner: Digits::new(id),
        format: VolumeFormat::Pbs(kind.as_bstr()),
        ..VolumeName::unowned(volname, VolumeType::Backup, name)
    })
}

/// `YYYY-MM-DDThh:mm:ssZ`, of which only the digits are checked.
fn snapshot_time(input: &[u8]) -> Piece<'_, ()> {
    fn digits<'a>(count: usize) -> impl Parser<&'a [u8], Output = &'a [u8], Error = ()> {
        take_while_m_n(count, count, |byte: u8| byte.is_ascii_digit())
    }
    let date = (digits(4), tag("-"), digits(2), tag("-"), digits(2));
    let time = (digits(2), tag(":"), digits(2), tag(":"), digits(2));
    all_consuming((date, tag("T"), time, tag("Z"))).map(|_| ()).parse(input)
}

/// SEG `/` SEG `/` at least one byte. The machine's configuration is what one imports; owner `0` throughout.
pub(super) fn esxi(volname: &[u8]) -> Result<VolumeName<'_>, NameRule> {
    let mut parts = volname.splitn_str(3, "/");
    if !(0..3).all(|_| parts.next().is_some_and(|part| !part.is_empty())) {
        return Err(NameRule::Esxi);
    }
    let (vtype, format) = if volname.ends_with(b".vmx") {
        (VolumeType::Import, VolumeFormat::Vmx)
    } else if volname.ends_with(b".vmdk") {
        (VolumeType::Images, VolumeFormat::Image(ImageFormat::Vmdk))
    } else {
        (VolumeType::Images, VolumeFormat::Image(ImageFormat::Raw))
    };
    let owner = Some(Digits::known(b"0"));
    Ok(VolumeName { owner, format, ..VolumeName::unowned(volname, vtype, volname) })
}
