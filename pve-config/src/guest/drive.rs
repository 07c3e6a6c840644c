// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which options name volumes that are attached, and which of them hold cloud-init data.

use std::collections::BTreeSet;

use bstr::BStr;

use super::section::is_truthy;

use crate::container::{MountPoint, VolumeKey, VolumeKind};
use crate::format::{Context, Scalar};
use crate::vm::{Bus, Drive, DriveId};

/// The volume or path of a drive of a virtual machine, if the key is one of a drive (`unusedN` is none) and the
/// reference's reader accepts the value.
pub(super) fn file<'v>(key: &[u8], value: &'v [u8]) -> Option<&'v BStr> {
    let id = DriveId::from_key(key).filter(|id| id.bus != Bus::Unused)?;
    Some(Drive::read(id, value).ok()?.file)
}

/// The volume of a mount point of a container, if the reference's reader accepts the value and it is a volume of a
/// storage.
pub(super) fn mounted_volume<'v>(key: &[u8], value: &'v [u8]) -> Option<&'v BStr> {
    let mount = MountPoint::read(mount_key(key)?, value).ok()?;
    let volume =
        mount.kind() == VolumeKind::Volume && Scalar::VolumeId.accepts(mount.volume, &Context::default());
    volume.then_some(mount.volume)
}

/// The volumes of all drives among the options; a volume that counts as false is none.
pub(super) fn attached<'o>(options: impl Iterator<Item = (&'o BStr, &'o BStr)>) -> BTreeSet<&'o BStr> {
    options.filter_map(|(key, value)| file(key, value)).filter(|file| is_truthy(file)).collect()
}

/// The volumes of all mount points among the options.
pub(super) fn mounted<'o>(options: impl Iterator<Item = (&'o BStr, &'o BStr)>) -> BTreeSet<&'o BStr> {
    options.filter_map(|(key, value)| mounted_volume(key, value)).collect()
}

/// The key `rootfs` or `mpN` as the schema spells it.
pub(super) fn mount_key(key: &[u8]) -> Option<VolumeKey> {
    let key_of_file = VolumeKey::from_key(key)?;
    let canonical = match key_of_file {
        VolumeKey::Rootfs => true,
        VolumeKey::MountPoint(index) => {
            index < VolumeKey::MOUNT_POINTS && key_of_file.to_string().as_bytes() == key
        }
        VolumeKey::Unused(_) => false,
    };
    canonical.then_some(key_of_file)
}

/// Whether a drive's file is a cloud-init volume by its name: `cloudinit`, after `:` or `/` and perhaps `vm-DIGITS-`,
/// with or without the extension of an image format (spec: qemu-conf, "Cloud-init drive").
///
/// ```
/// use pve_config::guest::is_cloudinit_volume;
///
/// assert!(is_cloudinit_volume("local-lvm:vm-100-cloudinit"));
/// assert!(is_cloudinit_volume("local:100/vm-100-cloudinit.qcow2"));
/// assert!(is_cloudinit_volume("local:cloudinit"));
/// assert!(!is_cloudinit_volume("local:iso/my-cloudinit.iso"));
/// ```
#[must_use]
pub fn is_cloudinit_volume<V: AsRef<[u8]>>(file: V) -> bool {
    let file = file.as_ref();
    let extensions: [&[u8]; 6] = [b".raw", b".qcow", b".qcow2", b".qed", b".vmdk", b".cloop"];
    let stem = extensions.iter().find_map(|extension| file.strip_suffix(*extension)).unwrap_or(file);
    let Some(before) = stem.strip_suffix(b"cloudinit") else { return false };
    let owner = before.strip_suffix(b"-").and_then(|before| {
        let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        before.get(..before.len() - digits).filter(|_| digits > 0)?.strip_suffix(b"vm-")
    });
    matches!(owner.unwrap_or(before).last(), Some(b':' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloudinit_volumes() {
        for file in ["a:cloudinit", "a:x/cloudinit.cloop", "a:vm-7-cloudinit", "/dev/x/vm-100-cloudinit.raw"]
        {
            assert!(is_cloudinit_volume(file), "{file}");
        }
        for file in [
            "cloudinit",
            "a:xcloudinit",
            "a:vm--cloudinit",
            "a:vm-7-cloudinit.img",
            "a:cloudinit.raw.raw",
            "",
        ] {
            assert!(!is_cloudinit_volume(file), "{file}");
        }
    }

    #[test]
    fn mount_keys() {
        assert_eq!(mount_key(b"mp255"), Some(VolumeKey::MountPoint(255)));
        assert_eq!(mount_key(b"rootfs"), Some(VolumeKey::Rootfs));
        for key in ["mp256", "mp00", "mp", "unused0", "rootfs0"] {
            assert_eq!(mount_key(key.as_bytes()), None, "{key}");
        }
    }
}
