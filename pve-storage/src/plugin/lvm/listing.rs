// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images among logical volumes (spec: volumes, "LVM").

use bstr::{BStr, ByteSlice};
use pve_volid::{Digits, ImageFormat};

use super::super::qemu_img;
use super::report::{Lv, Lvs, all_lvs};
use super::{device, volume_group};
use crate::error::Result;
use crate::listing::{Image, ImageFilter};
use crate::session::{Cache, Session};
use crate::storage::Storage;

/// The owner in `PREFIX-DIGITS-…`.
fn owner<'a>(name: &'a BStr, prefixes: &[&str]) -> Option<Digits<'a>> {
    let (prefix, rest) = name.split_once_str("-")?;
    let (owner, _) = rest.split_once_str("-")?;
    prefixes.iter().any(|wanted| wanted.as_bytes() == prefix).then(|| Digits::new(owner)).flatten()
}

/// Whether the tags contain `pve-vm-DIGITS`, one whole tag.
fn is_tagged(lv: &Lv<'_>) -> bool {
    lv.tags
        .split_str(",")
        .any(|tag| tag.strip_prefix(b"pve-vm-").is_some_and(|owner| Digits::new(owner).is_some()))
}

/// Images on `lvm`.
pub(in super::super) fn thick(
    session: &Session<'_>,
    storage: &Storage,
    filter: &ImageFilter<'_>,
    cache: &mut Cache,
) -> Result<Vec<Image>> {
    let group = volume_group(storage)?;
    let tagged_only = storage.flag("tagged_only");
    let mut images = Vec::new();
    for lv in all_lvs(session, cache)?.iter().filter(|lv| lv.group == group) {
        let Some(owner) = owner(lv.name, &["vm"]) else { continue };
        if !matches!(lv.kind(), b'-' | b'm' | b'M' | b'r' | b'R') || (tagged_only && !is_tagged(&lv)) {
            continue;
        }
        let volid = storage.volid(lv.name)?;
        if !filter.admits(volid.as_bstr(), Some(owner.as_bstr())) {
            continue;
        }
        // a name that begins like a volume and is none fails the listing, as in the reference
        let volume = storage.volume(lv.name)?;
        let image = Image {
            owner: Some(owner.as_bstr().to_owned()),
            ctime: lv.created(),
            ..Image::new(volid, volume.format.to_string())
        };
        if !volume.is_qcow2() {
            images.push(Image { size: Some(lv.size), ..image });
            continue;
        }
        let path = device(storage, lv.name)?;
        let info = if lv.is_active() {
            qemu_img::measure_file(session, path.as_bstr(), ImageFormat::Qcow2, None)?
        } else {
            None
        };
        images.push(match info {
            Some(info) => Image { size: Some(info.size), ..image },
            None => Image { approximate_size: Some(lv.size), ..image },
        });
    }
    Ok(images)
}

/// Images in the pool of `lvmthin`.
pub(in super::super) fn thin(
    session: &Session<'_>,
    storage: &Storage,
    filter: &ImageFilter<'_>,
    cache: &mut Cache,
) -> Result<Vec<Image>> {
    thin_among(all_lvs(session, cache)?, storage, filter)
}

/// Images of a thin pool among what `lvs` reported.
pub(in super::super) fn thin_among(
    lvs: &Lvs,
    storage: &Storage,
    filter: &ImageFilter<'_>,
) -> Result<Vec<Image>> {
    let (group, pool) = (volume_group(storage)?, storage.require("thinpool")?);
    let mut images = Vec::new();
    for lv in lvs.iter().filter(|lv| lv.group == group && lv.kind() == b'V' && lv.pool == pool) {
        let Some(owner) = owner(lv.name, &["vm", "base"]) else { continue };
        let volid = storage.volid(lv.name)?;
        if filter.admits(volid.as_bstr(), Some(owner.as_bstr())) {
            images.push(Image {
                owner: Some(owner.as_bstr().to_owned()),
                size: Some(lv.size),
                ctime: lv.created(),
                ..Image::new(volid, "raw")
            });
        }
    }
    Ok(images)
}
