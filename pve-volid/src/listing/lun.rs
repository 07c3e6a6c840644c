// SPDX-License-Identifier: MIT OR Apache-2.0
//! LUNs of iSCSI targets: as the kernel's /sys shows them, and as `iscsi-ls -s` prints them (spec: volumes, "zfspool,
//! zfs, rbd, iscsi, iscsidirect").

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};
use nom::Parser;
use nom::branch::alt;
use nom::bytes::complete::{tag, take_while, take_while1};
use nom::character::complete::{char, digit1, one_of};
use nom::combinator::{opt, recognize};

use super::{Invisible, Listed, Wanted};
use crate::ImageFormat;
use crate::name::lexeme::{Piece, is_white_space};

/// A SCSI device of an iSCSI session, as /sys describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IscsiLun<'a> {
    /// The channel.
    pub channel: u32,
    /// The id on the channel.
    pub id: u32,
    /// The logical unit.
    pub lun: u64,
    /// The SCSI device type; 0 is a disk.
    pub scsi_type: u32,
    /// Size in bytes of the block device, or of the multipath device that holds it.
    pub size: u64,
    /// What [`stable_link`] chose among the links to that device in /dev/disk/by-id.
    pub link: Option<&'a BStr>,
}

impl IscsiLun<'_> {
    /// Judges the device, as a storage of type `iscsi` does for those of its target.
    ///
    /// # Errors
    /// The reason why it is not shown.
    pub fn judge(&self, wanted: Wanted<'_>) -> Result<Listed<'static>, Invisible> {
        wanted.owner(None)?;
        if self.scsi_type != 0 {
            return Err(Invisible::NotADisk);
        }
        let link = self.link.ok_or(Invisible::NoStableLink)?;
        if self.size == 0 {
            return Err(Invisible::Empty);
        }
        shown(format!("{}.{}.{}.{link}", self.channel, self.id, self.lun).into(), wanted)
    }
}

/// The name by which a LUN is known, among the names of links to its device in /dev/disk/by-id: `scsi-*` or
/// `dm-uuid-mpath-*`, no partition; of several the last in ascending order.
#[must_use]
pub fn stable_link<'a>(links: impl IntoIterator<Item = &'a [u8]>) -> Option<&'a BStr> {
    let is_partition = |link: &[u8]| {
        let stem = link.trim_end_with(|c| c.is_ascii_digit());
        stem.len() < link.len() && stem.ends_with(b"-part")
    };
    let is_stable = |link: &[u8]| link.starts_with(b"scsi-") || link.starts_with(b"dm-uuid-mpath-");
    links.into_iter().filter(|link| is_stable(link) && !is_partition(link)).max().map(BStr::new)
}

/// A LUN in the output of `iscsi-ls -s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DirectLun<'a> {
    /// The number, digits as printed.
    pub lun: &'a BStr,
    /// Size in bytes; the output is rounded, so it may be fractional.
    pub size: f64,
}

impl<'a> DirectLun<'a> {
    /// Finds `Lun:N [NAME] (Size:NUMBER UNIT)` in a line, UNIT being one of k, M, G, T (in steps of 1024), NAME without
    /// white space.
    ///
    /// # Errors
    /// [`Invisible::NoSizedLun`] if there is none: the line is about something else, or the size has another unit.
    pub fn parse(line: &'a [u8]) -> Result<Self, Invisible> {
        line.find_iter("Lun:")
            .find_map(|at| lun(line.get(at..)?).ok())
            .map(|(_, lun)| lun)
            .ok_or(Invisible::NoSizedLun)
    }

    /// Judges the LUN, as a storage of type `iscsidirect` does. The target is not looked at: LUNs of all targets of the
    /// portal are shown, and of several with the same number one.
    ///
    /// # Errors
    /// The reason why it is not shown.
    pub fn judge(&self, wanted: Wanted<'_>) -> Result<Listed<'static>, Invisible> {
        wanted.owner(None)?;
        shown(format!("lun{}", self.lun).into(), wanted)
    }
}

fn shown(volname: BString, wanted: Wanted<'_>) -> Result<Listed<'static>, Invisible> {
    wanted.volname(&volname)?;
    Ok(Listed { volname: Cow::Owned(volname), owner: None, format: ImageFormat::Raw, parent: None })
}

fn lun(input: &[u8]) -> Piece<'_, DirectLun<'_>> {
    fn blank(input: &[u8]) -> Piece<'_, &[u8]> {
        take_while1(is_white_space)(input)
    }
    fn word(input: &[u8]) -> Piece<'_, &[u8]> {
        take_while(|byte| !is_white_space(byte))(input)
    }
    let number = recognize((digit1, opt((char('.'), digit1))))
        .map_opt(|text: &[u8]| text.to_str().ok()?.parse::<f64>().ok());
    // white space on both sides of the name, which may be missing: then two of it
    let gap = alt(((blank, word, blank).map(|_| ()), (one_of(" \t\r\n\x0b\x0c"), blank).map(|_| ())));
    let size = (tag("(Size:"), number, one_of("kMGT"), char(')'));
    let (rest, (_, lun, _, (_, number, unit, _))) = (tag("Lun:"), digit1, gap, size).parse(input)?;
    let factor = 1024f64.powi(match unit {
        'k' => 1,
        'M' => 2,
        'G' => 3,
        _ => 4,
    });
    Ok((rest, DirectLun { lun: lun.as_bstr(), size: number * factor }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Digits;

    #[test]
    fn lines_of_iscsi_ls() {
        let parse =
            |line: &'static str| DirectLun::parse(line.as_bytes()).map(|lun| (lun.lun.to_string(), lun.size));
        let is = |lun: &str, size: f64| Ok((lun.to_owned(), size));
        assert_eq!(parse("Lun:0    Type:DIRECT_ACCESS (Size:1G)"), is("0", 1_073_741_824.0));
        assert_eq!(parse(" Lun:2 X (Size:1.5T)"), is("2", 1_649_267_441_664.0));
        assert_eq!(parse("\tLun:1      (Size:1.5k)"), is("1", 1536.0));
        assert_eq!(parse("Lun:7 x_y-z.1:2 (Size:3M) trailing"), is("7", 3_145_728.0));
        assert_eq!(parse("Lun:x Lun:8  X  (Size:0k)"), is("8", 0.0));
        for line in [
            "Target:iqn.a Portal:10.0.0.3:3260,1",
            "Lun:3 (Size:1G)",
            "Lun:4 A (Size:12)",
            "Lun:6 CD ROM (Size:1G)",
            "Lun:6 A (Size:1B)",
            "Lun:6 A (Size:.5G)",
            "Lun:",
            "",
        ] {
            assert_eq!(parse(line), Err(Invisible::NoSizedLun), "{line}");
        }
    }

    #[test]
    fn links() {
        let link = |links: &[&'static str]| {
            stable_link(links.iter().map(|link| link.as_bytes())).map(BStr::to_string)
        };
        let found = |name: &str| Some(name.to_owned());
        assert_eq!(link(&["scsi-S1", "scsi-S0", "wwn-0x1", "scsi-S2-part1"]), found("scsi-S1"));
        assert_eq!(link(&["dm-uuid-mpath-3", "dm-name-mpatha", "scsi-3"]), found("scsi-3"));
        assert_eq!(link(&["scsi-a-part", "scsi-A"]), found("scsi-a-part"));
        assert_eq!(link(&["ata-x", "scsi-1-part12"]), None);
    }

    #[test]
    fn devices() {
        let lun =
            IscsiLun { channel: 0, id: 0, lun: 1, scsi_type: 0, size: 512, link: Some("scsi-3".into()) };
        let judged =
            |lun: IscsiLun<'_>| lun.judge(Wanted::Everything).map(|volume| volume.volname.to_string());
        assert_eq!(judged(lun), Ok("0.0.1.scsi-3".to_owned()));
        assert_eq!(judged(IscsiLun { scsi_type: 5, ..lun }), Err(Invisible::NotADisk));
        assert_eq!(judged(IscsiLun { link: None, ..lun }), Err(Invisible::NoStableLink));
        assert_eq!(judged(IscsiLun { size: 0, ..lun }), Err(Invisible::Empty));
        let guest = Wanted::Guest(Digits::new(b"100").unwrap());
        assert_eq!(lun.judge(guest), Err(Invisible::Unowned));
    }
}
