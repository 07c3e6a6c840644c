// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images among logical volumes (spec: volumes, "LVM").

use bstr::ByteSlice;
use pve_volid::{ImageFormat, LvmFilter, LvmThinFilter, Wanted};

use super::super::qemu_img;
use super::report::{Lvs, all_lvs};
use super::{device, volume_group};
use crate::error::{Error, Result};
use crate::listing::{Image, Listing};
use crate::session::{Cache, Session};
use crate::storage::Storage;

/// Images on `lvm`.
pub(in super::super) fn thick(
    session: &Session<'_>,
    storage: &Storage,
    wanted: Wanted<'_>,
    listing: &mut Listing,
    cache: &mut Cache,
) -> Result<()> {
    let tagged_only = storage.flag("tagged_only");
    let filter = LvmFilter { vg: volume_group(storage)?, tagged_only, wanted };
    for lv in all_lvs(session, cache)?.iter() {
        let listed = match filter.judge(&lv) {
            Ok(listed) => listed,
            Err(reason) if reason.fails_listing() => {
                return Err(Error::Request { volume: lv.lv.to_owned(), reason: reason.to_string() });
            }
            Err(reason) => {
                listing.hide(lv.lv, Some(lv.size()), reason);
                continue;
            }
        };
        let image = Image { ctime: lv.created(), ..Image::of(storage, &listed)? };
        if listed.format != ImageFormat::Qcow2 {
            listing.show(Image { size: Some(lv.size()), ..image });
            continue;
        }
        let info = if lv.is_active() {
            let path = device(storage, lv.lv)?;
            qemu_img::measure_file(session, path.as_bstr(), ImageFormat::Qcow2, None)?
        } else {
            None
        };
        listing.show(match info {
            Some(info) => Image { size: Some(info.size), ..image },
            None => Image { approximate_size: Some(lv.size()), ..image },
        });
    }
    Ok(())
}

/// Images in the pool of `lvmthin`, among what `lvs` reported.
///
/// # Errors
/// If the section of the storage lacks its volume group or pool.
pub fn thin_volumes(lvs: &Lvs, storage: &Storage, wanted: Wanted<'_>, listing: &mut Listing) -> Result<()> {
    let filter = LvmThinFilter { vg: volume_group(storage)?, pool: storage.require("thinpool")?, wanted };
    listing.reserve(lvs.count());
    for lv in lvs.iter() {
        match filter.judge(&lv) {
            Ok(listed) => {
                let image = Image::of(storage, &listed)?;
                listing.show(Image { size: Some(lv.size()), ctime: lv.created(), ..image });
            }
            Err(reason) => listing.hide(lv.lv, Some(lv.size()), reason),
        }
    }
    Ok(())
}
