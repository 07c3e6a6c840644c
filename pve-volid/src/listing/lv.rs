// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logical volumes, as `lvs` reports them (spec: volumes, "LVM").

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};

use super::{Invisible, Listed, Wanted};
use crate::name::lexeme::{is_lvm_name, is_white_space, vm, vm_or_base};
use crate::{Digits, ImageFormat};

/// A line of `lvs --separator : --noheadings --units b --nosuffix` with the options `vg_name,lv_name,lv_size,lv_attr,
/// pool_lv,data_percent,metadata_percent,snap_percent,uuid,tags,metadata_size,time`, fields as printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LvLine<'a> {
    /// The volume group.
    pub vg: &'a BStr,
    /// The logical volume.
    pub lv: &'a BStr,
    /// Size in bytes, as printed.
    pub lv_size: &'a BStr,
    /// The attribute string: kind, permissions, allocation, minor, state …
    pub attr: &'a BStr,
    /// The thin pool of a thin volume.
    pub pool: &'a BStr,
    /// How full a thin pool is, in percent, as printed.
    pub data_percent: &'a BStr,
    /// How full its metadata is, in percent, as printed.
    pub metadata_percent: &'a BStr,
    /// Tags, joined by commas.
    pub tags: &'a BStr,
    /// Size of the metadata in bytes, as printed.
    pub metadata_size: &'a BStr,
    /// When it was created, seconds since 1970, as printed; empty if unknown.
    pub time: &'a BStr,
}

impl<'a> LvLine<'a> {
    /// Splits a line. None for lines without name of a volume group or logical volume, which the listing skips.
    #[must_use]
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let start = line.iter().take_while(|byte| is_white_space(**byte)).count();
        let end = line.iter().rev().take_while(|byte| is_white_space(**byte)).count();
        let line = line.get(start..line.len() - end)?;
        let mut colons = memchr::memchr_iter(b':', line);
        let mut from = 0;
        let mut next = || {
            let to = colons.next().unwrap_or(line.len());
            let field = line.get(from..to).unwrap_or_default();
            from = to + 1;
            field.as_bstr()
        };
        let line = LvLine {
            vg: next(),
            lv: next(),
            lv_size: next(),
            attr: next(),
            pool: next(),
            data_percent: next(),
            metadata_percent: next(),
            // behind snap_percent and uuid
            tags: {
                next();
                next();
                next()
            },
            metadata_size: next(),
            time: next(),
        };
        (!line.vg.is_empty() && !line.lv.is_empty()).then_some(line)
    }

    /// Size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        leading_number(self.lv_size)
    }

    /// The kind of logical volume: first character of the attributes.
    #[must_use]
    pub fn kind(&self) -> Option<u8> {
        self.attr.first().copied()
    }

    /// Whether it is active: fifth character of the attributes.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.attr.get(4) == Some(&b'a')
    }

    /// When it was created, seconds since 1970.
    #[must_use]
    pub fn created(&self) -> Option<i64> {
        self.time.to_str().ok()?.parse().ok()
    }

    /// Bytes in use in a thin pool.
    #[must_use]
    pub fn used(&self) -> u64 {
        share(self.data_percent, self.size())
    }

    /// Bytes in use of a thin pool's metadata.
    #[must_use]
    pub fn metadata_used(&self) -> u64 {
        share(self.metadata_percent, leading_number(self.metadata_size))
    }

    /// Whether one of the tags is `pve-vm-DIGITS`.
    #[must_use]
    pub fn has_guest_tag(&self) -> bool {
        let is_guest = |tag: &[u8]| tag.strip_prefix(b"pve-vm-").and_then(Digits::new).is_some();
        self.tags.split(|byte| *byte == b',').any(is_guest)
    }

    /// What a storage in volume group `vg` sees first: others' volumes, and pools instead of volumes.
    fn is_volume_of(&self, vg: &BStr) -> Result<(), Invisible> {
        match self.kind() {
            _ if self.vg != vg => Err(Invisible::OtherVolumeGroup),
            Some(b't') => Err(Invisible::ThinPool),
            _ => Ok(()),
        }
    }

    /// Why something of that kind is not listed as a thick volume.
    fn kind_but_thick(&self) -> Option<Invisible> {
        match self.kind() {
            Some(b'-' | b'm' | b'M' | b'r' | b'R') => None,
            Some(b'V') => Some(Invisible::ThinVolume),
            Some(b's' | b'S') => Some(Invisible::ClassicSnapshot),
            Some(b'o' | b'O') => Some(Invisible::SnapshotOrigin),
            Some(b'C') => Some(Invisible::Cached),
            Some(b'p' | b'c') => Some(Invisible::Moving),
            _ => Some(Invisible::OtherLvType),
        }
    }
}

/// Which logical volumes a storage of type `lvm` shows.
#[derive(Debug, Clone, Copy)]
pub struct LvmFilter<'f> {
    /// The volume group of the storage.
    pub vg: &'f BStr,
    /// The storage's option `tagged_only`.
    pub tagged_only: bool,
    /// What the caller asked for.
    pub wanted: Wanted<'f>,
}

impl LvmFilter<'_> {
    /// Judges one logical volume.
    ///
    /// # Errors
    /// The reason why it is not shown. If that [fails the listing](Invisible::fails_listing), nothing is shown at all.
    pub fn judge<'a>(&self, lv: &LvLine<'a>) -> Result<Listed<'a>, Invisible> {
        lv.is_volume_of(self.vg)?;
        let name = lv.lv.as_bytes();
        let Ok((_, owner)) = vm(name) else {
            return Err(if name.starts_with(b"snap_") {
                Invisible::Snapshot
            } else if name.starts_with(b"del-") {
                Invisible::AwaitsWiping
            } else if vm_or_base(name).is_ok() {
                Invisible::TemplateOnLvm
            } else {
                Invisible::NoMatch
            });
        };
        if let Some(reason) = lv.kind_but_thick() {
            return Err(reason);
        }
        if self.tagged_only && !lv.has_guest_tag() {
            return Err(Invisible::Untagged);
        }
        self.wanted.owner(Some(owner))?;
        self.wanted.volname(name)?;
        // only now: a name that nobody asked for does no harm
        if !is_lvm_name(name) {
            return Err(Invisible::NotLvmName);
        }
        let format = if name.ends_with(b".qcow2") { ImageFormat::Qcow2 } else { ImageFormat::Raw };
        Ok(Listed { volname: Cow::Borrowed(lv.lv), owner: Some(owner), format, parent: None })
    }
}

/// Which logical volumes a storage of type `lvmthin` shows.
#[derive(Debug, Clone, Copy)]
pub struct LvmThinFilter<'f> {
    /// The volume group of the storage.
    pub vg: &'f BStr,
    /// The thin pool of the storage.
    pub pool: &'f BStr,
    /// What the caller asked for.
    pub wanted: Wanted<'f>,
}

impl LvmThinFilter<'_> {
    /// Judges one logical volume.
    ///
    /// # Errors
    /// The reason why it is not shown.
    pub fn judge<'a>(&self, lv: &LvLine<'a>) -> Result<Listed<'a>, Invisible> {
        lv.is_volume_of(self.vg)?;
        let name = lv.lv.as_bytes();
        let Ok((_, (_, owner))) = vm_or_base(name) else {
            return Err(if name.starts_with(b"snap_") { Invisible::Snapshot } else { Invisible::NoMatch });
        };
        match lv.kind_but_thick() {
            Some(Invisible::ThinVolume) => {}
            Some(reason) => return Err(reason),
            None => return Err(Invisible::ThickVolume),
        }
        if lv.pool != self.pool {
            return Err(Invisible::OtherPool);
        }
        self.wanted.owner(Some(owner))?;
        self.wanted.volname(name)?;
        let format = ImageFormat::Raw;
        Ok(Listed { volname: Cow::Borrowed(lv.lv), owner: Some(owner), format, parent: None })
    }
}

/// The digits at the beginning of `text` as a number: sizes are cut to integers. 0 if there are none or too many.
pub(super) fn leading_number(text: &[u8]) -> u64 {
    let mut digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits
        .try_fold(0u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')))
        .unwrap_or(0)
}

/// `percent` of `size`, cut to an integer.
fn share(percent: &BStr, size: u64) -> u64 {
    let percent: f64 = percent.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(0.0);
    (percent * size as f64 / 100.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thick(line: &str, wanted: Wanted<'_>) -> String {
        let filter = LvmFilter { vg: "vg0".into(), tagged_only: false, wanted };
        verdict(filter.judge(&LvLine::parse(line.as_bytes()).unwrap()))
    }

    fn verdict(judged: Result<Listed<'_>, Invisible>) -> String {
        judged.map_or_else(
            |reason| reason.code().to_owned(),
            |volume| format!("{} {} {}", volume.volname, volume.owner.unwrap(), volume.format),
        )
    }

    #[test]
    fn fields() {
        let lv = LvLine::parse(b" pve:data:147203293184:twi-aotz--::3.52:1.25::u::1506803712:1690000000\n")
            .unwrap();
        assert_eq!((lv.size(), lv.used(), lv.metadata_used()), (147_203_293_184, 5_181_555_920, 18_835_046));
        assert_eq!((lv.kind(), lv.is_active(), lv.created()), (Some(b't'), true, Some(1_690_000_000)));
        assert_eq!(LvLine::parse(b"  :x:1"), None);
        assert_eq!(LvLine::parse(b"vg0::1"), None);
        let short = LvLine::parse(b"vg0:x").unwrap();
        assert_eq!((short.size(), short.kind(), short.created(), short.used()), (0, None, None, 0));
    }

    #[test]
    fn a_bad_name_fails_only_those_who_ask_for_it() {
        let line = "vg0:vm-200-a+b:1:-wi-a-----";
        assert_eq!(thick(line, Wanted::Everything), "not-an-lvm-name");
        assert_eq!(thick(line, Wanted::Guest(Digits::new(b"100").unwrap())), "other-owner");
        assert_eq!(thick(line, Wanted::Names(&super::super::WantedNames::default())), "not-asked-for");
        assert!(Invisible::NotLvmName.fails_listing());
    }

    #[test]
    fn thick_volumes() {
        for (line, expected) in [
            ("vg0:vm-100-disk-0:1:-wi-a-----", "vm-100-disk-0 100 raw"),
            ("vg0:vm-100-disk-0.qcow2:1:rwi-a-----", "vm-100-disk-0.qcow2 100 qcow2"),
            ("vg1:vm-100-disk-0:1:-wi-a-----", "other-volume-group"),
            ("vg0:data:1:twi-a-----", "thin-pool"),
            ("vg0:root:1:-wi-a-----", "no-match"),
            ("vg0:base-100-disk-0:1:-wi-a-----", "template-on-lvm"),
            ("vg0:del-vm-100-disk-0:1:-wi-a-----", "awaits-wiping"),
            ("vg0:snap_vm-100-disk-0_s.qcow2:1:-wi-a-----", "snapshot"),
            ("vg0:vm-100-disk-0:1:Vwi-a-----", "thin-volume"),
            ("vg0:vm-100-disk-0:1:swi-a-----", "classic-snapshot"),
            ("vg0:vm-100-disk-0:1:Owi-a-----", "snapshot-origin"),
            ("vg0:vm-100-disk-0:1:Cwi-a-----", "cached"),
            ("vg0:vm-100-disk-0:1:cwi-a-----", "moving"),
            ("vg0:vm-100-disk-0:1:vwi-a-----", "other-lv-type"),
            ("vg0:vm-100-disk-0", "other-lv-type"),
        ] {
            assert_eq!(thick(line, Wanted::Everything), expected, "{line}");
        }
    }

    #[test]
    fn tags() {
        let filter = LvmFilter { vg: "vg0".into(), tagged_only: true, wanted: Wanted::Everything };
        for (tags, shown) in [
            ("a,pve-vm-7,b", true),
            ("pve-vm-", false),
            ("xpve-vm-1", false),
            ("pve-vm-1x", false),
            ("", false),
        ] {
            let line = format!("vg0:vm-100-disk-0:1:-wi-a-----:::::u:{tags}::");
            let judged = filter.judge(&LvLine::parse(line.as_bytes()).unwrap()).map(|_| ());
            assert_eq!(judged, if shown { Ok(()) } else { Err(Invisible::Untagged) }, "{tags}");
        }
    }

    #[test]
    fn thin_volumes() {
        let filter = LvmThinFilter { vg: "pve".into(), pool: "data".into(), wanted: Wanted::Everything };
        for (line, expected) in [
            ("pve:vm-100-disk-0:1:Vwi---tz--:data", "vm-100-disk-0 100 raw"),
            ("pve:base-100-disk-0:1:Vri---tz-k:data", "base-100-disk-0 100 raw"),
            ("pve:vm-100-a+b:1:Vri---tz-k:data", "vm-100-a+b 100 raw"),
            ("pve:vm-100-disk-0:1:Vwi---tz--:other", "other-pool"),
            ("pve:vm-100-disk-0:1:-wi-------:", "thick-volume"),
            ("pve:snap_vm-100-disk-0_s:1:Vri---tz-k:data", "snapshot"),
            ("pve:subvol-100-disk-0:1:Vri---tz-k:data", "no-match"),
            ("pve:data:1:twi-aotz--:", "thin-pool"),
            ("other:vm-100-disk-0:1:Vwi---tz--:data", "other-volume-group"),
        ] {
            assert_eq!(verdict(filter.judge(&LvLine::parse(line.as_bytes()).unwrap())), expected, "{line}");
        }
    }
}
