// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which names volumes get, as far as that can be told without making them: for plans, and for models of storages.

use bstr::{BStr, BString, ByteSlice};
use pve_storage::{Storage, Volume};
use pve_volid::{ContentType, FreeName, ImageFormat, NoFreeName, StorageType, VmId};

/// Whether volumes of the storage are files of a directory.
#[must_use]
pub fn has_directory(storage: &Storage) -> bool {
    storage.plugin().content_directory(storage, ContentType::Images).is_ok()
}

/// The name that the next disk of `owner` gets, given the names of all volumes of the storage.
///
/// # Errors
/// If all numbers are taken.
pub fn free_name<'n>(
    storage: &Storage,
    owner: VmId,
    format: ImageFormat,
    taken: impl IntoIterator<Item = &'n BStr>,
) -> Result<String, NoFreeName> {
    let kind = storage.storage_type().unwrap_or(StorageType::Dir);
    let mut free = FreeName::for_allocation(kind, owner, Some(format));
    taken.into_iter().for_each(|name| free.see(name));
    free.name()
}

/// The volume name of a new file or volume `file` of `owner`.
#[must_use]
pub fn new_volume(storage: &Storage, owner: VmId, file: &BStr) -> BString {
    if has_directory(storage) { format!("{owner}/{file}").into() } else { file.to_owned() }
}

/// The format that linked clones on a storage have.
#[must_use]
pub fn clone_format(storage: &Storage) -> ImageFormat {
    if has_directory(storage) { ImageFormat::Qcow2 } else { ImageFormat::Raw }
}

/// The volume name of a linked clone of `base` (or of a snapshot of it) called `file` (spec: vm-lifecycle, "Disks (sorted
/// key order)").
#[must_use]
pub fn linked_clone(base: &Volume<'_>, of_snapshot: bool, owner: VmId, file: &str) -> BString {
    match base.storage().storage_type() {
        _ if has_directory(base.storage()) => {
            let directory = base.owner.map(|digits| digits.as_bstr().to_string()).unwrap_or_default();
            format!("{directory}/{}/{owner}/{file}", base.name).into()
        }
        Some(StorageType::LvmThin) => file.into(),
        Some(StorageType::Rbd) if of_snapshot => file.into(),
        _ => format!("{}/{file}", base.name).into(),
    }
}

/// The volume name of a volume that became a base (spec: vm-lifecycle, "Base volume").
#[must_use]
pub fn base_volume(volname: &BStr) -> BString {
    let (before, file) = split(volname);
    [before, &file.replacen("vm-", "base-", 1)].concat().into()
}

/// The volume name of a volume that was given to `owner` and is called `file` now; its base stays.
#[must_use]
pub fn renamed(storage: &Storage, volname: &BStr, owner: VmId, file: &str) -> BString {
    let (before, _) = split(volname);
    if !has_directory(storage) {
        return [before, file.as_bytes()].concat().into();
    }
    // DIRECTORY/FILE, or BASE-DIRECTORY/BASE/DIRECTORY/FILE
    let parts: Vec<&[u8]> = before.split_str("/").filter(|part| !part.is_empty()).collect();
    let mut name = BString::default();
    for part in parts.split_last().map(|(_, base)| base).unwrap_or_default() {
        name.extend_from_slice(part);
        name.push(b'/');
    }
    name.extend_from_slice(format!("{owner}/{file}").as_bytes());
    name
}

/// What stands before the file name, and the file name.
fn split(volname: &[u8]) -> (&[u8], &[u8]) {
    let slash = volname.rfind_byte(b'/').map_or(0, |at| at + 1);
    volname.split_at_checked(slash).unwrap_or((b"", volname))
}
