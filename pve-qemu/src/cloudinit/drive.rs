// SPDX-License-Identifier: MIT OR Apache-2.0
//! The drives that carry images: which ones an image is made for, and what their volumes are like.

use bstr::{BStr, ByteSlice};
use pve_config::guest::VmSection;
use pve_config::vm::DriveId;
use pve_volid::{ImageFormat, VmId, VolumeIdRef};

/// Size that is asked for when the volume of a cloud-init drive is allocated, in KiB.
pub const VOLUME_KIB: u64 = 4096;

/// The drives that an image is made for, in the reference's order of drives, with their volume ids: those on a
/// managed volume whose name contains `vm-VMID-cloudinit` (spec: cloud-init, "Which drives are (re)generated").
/// Neither `media=cdrom` nor being the only one is required; a volume of another VM is left alone.
///
/// ```
/// use pve_config::guest::VmConfig;
/// use pve_qemu::cloudinit::image_drives;
///
/// let text = b"ide2: local-lvm:vm-100-cloudinit,media=cdrom\nide3: local-lvm:vm-7-cloudinit,media=cdrom\n";
/// let (config, _) = VmConfig::parse(text);
/// let drives: Vec<_> = image_drives(&config.main, 100.try_into()?).collect();
/// assert_eq!(drives.len(), 1);
/// assert_eq!(drives[0].1, "local-lvm:vm-100-cloudinit");
/// # Ok::<(), pve_volid::IdError>(())
/// ```
pub fn image_drives<'s>(main: &'s VmSection<'_>, vmid: VmId) -> impl Iterator<Item = (DriveId, &'s BStr)> {
    let name = format!("vm-{vmid}-cloudinit");
    main.drives().map(|(id, drive)| (id, drive.file)).filter(move |(_, file)| {
        VolumeIdRef::from_bytes(file).is_ok_and(|volume| volume.volname().contains_str(&name))
    })
}

/// The format of a new cloud-init volume: what the drive's option `format` says; else qcow2 where volumes are files,
/// or LVs with `snapshot-as-volume-chain`, and raw elsewhere (spec: cloud-init, "Volume: name, size, format").
#[must_use]
pub fn volume_format(option: Option<ImageFormat>, is_directory: bool, has_chains: bool) -> ImageFormat {
    option.unwrap_or(if is_directory || has_chains { ImageFormat::Qcow2 } else { ImageFormat::Raw })
}

/// The name of a new cloud-init volume, without the directory of its owner (spec: cloud-init, "Volume: name, size,
/// format").
///
/// ```
/// use pve_qemu::cloudinit::volume_name;
/// use pve_volid::ImageFormat::{Qcow2, Raw};
///
/// assert_eq!(volume_name(100.try_into()?, Raw, true), "vm-100-cloudinit.raw");
/// assert_eq!(volume_name(100.try_into()?, Raw, false), "vm-100-cloudinit");
/// assert_eq!(volume_name(100.try_into()?, Qcow2, false), "vm-100-cloudinit.qcow2");
/// # Ok::<(), pve_volid::IdError>(())
/// ```
#[must_use]
pub fn volume_name(owner: VmId, format: ImageFormat, is_directory: bool) -> String {
    // without a directory, qcow2 is only where a volume chain names its members by it
    let named = is_directory || format == ImageFormat::Qcow2;
    format!("vm-{owner}-cloudinit{}", if named { format!(".{format}") } else { String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pve_config::guest::VmConfig;

    #[test]
    fn drives_come_in_their_order_and_only_those_of_the_vm() {
        let text = b"sata0: local:100/vm-100-cloudinit.qcow2\nscsi10: x:base-1/vm-100-cloudinit-old\n\
            scsi9: lvm:vm-100-cloudinit,media=cdrom\nide0: lvm:vm-1001-cloudinit\nide1: none,media=cdrom\n\
            ide3: lvm:vm-100-cloudinit,secs=x\nunused0: lvm:vm-100-cloudinit\nvirtio0: /dev/vm-100-cloudinit\n";
        let (config, _) = VmConfig::parse(text);
        let drives = image_drives(&config.main, VmId::from_bytes(b"100").unwrap());
        let keys: Vec<String> = drives.map(|(id, _)| id.to_string()).collect();
        assert_eq!(keys, ["scsi9", "sata0"]);
    }

    #[test]
    fn formats() {
        assert_eq!(volume_format(None, true, false), ImageFormat::Qcow2);
        assert_eq!(volume_format(None, false, true), ImageFormat::Qcow2);
        assert_eq!(volume_format(None, false, false), ImageFormat::Raw);
        assert_eq!(volume_format(Some(ImageFormat::Raw), true, true), ImageFormat::Raw);
    }
}
