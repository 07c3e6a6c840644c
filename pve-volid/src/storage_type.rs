// SPDX-License-Identifier: MIT OR Apache-2.0
//! The built-in types of storages and what a storage can hold.

use crate::ImageFormat;
use crate::text_enum::text_enum;

text_enum! {
    /// A built-in type of storage, as in `dir: local` of storage.cfg (spec: storage.cfg, "Section header").
    ///
    /// Types that Proxmox VE does not ship (third-party plugins, the removed `glusterfs`) are not in the list:
    /// whoever meets one keeps it as text.
    #[non_exhaustive]
    pub enum StorageType: "storage type" {
        /// A directory.
        Dir = "dir",
        /// An NFS export.
        Nfs = "nfs",
        /// A Windows share.
        Cifs = "cifs",
        /// A CephFS file system.
        CephFs = "cephfs",
        /// A directory on btrfs, volumes being subvolumes.
        Btrfs = "btrfs",
        /// An LVM volume group.
        Lvm = "lvm",
        /// An LVM thin pool.
        LvmThin = "lvmthin",
        /// A local ZFS dataset below which volumes and file systems are created.
        ZfsPool = "zfspool",
        /// ZFS over iSCSI: volumes on another machine.
        Zfs = "zfs",
        /// A pool of Ceph block devices.
        Rbd = "rbd",
        /// LUNs of an iSCSI target, through the kernel.
        Iscsi = "iscsi",
        /// LUNs of an iSCSI target, through libiscsi.
        IscsiDirect = "iscsidirect",
        /// A datastore of a Proxmox Backup Server.
        Pbs = "pbs",
        /// The virtual machines of a VMware ESXi host, for import.
        Esxi = "esxi",
    }
}

impl StorageType {
    /// Whether volumes are files below one directory, with content directories (`images`, `template/iso` …).
    #[must_use]
    pub const fn is_path_based(self) -> bool {
        matches!(self, Self::Dir | Self::Nfs | Self::Cifs | Self::CephFs | Self::Btrfs)
    }

    /// The image formats that `format` of storage.cfg may name, the default first; empty for types that know no
    /// choice (spec: storage.cfg, "Types at a glance"). `lvm` offers `qcow2` only with
    /// `snapshot-as-volume-chain`, where it becomes the default.
    #[must_use]
    pub const fn image_formats(self) -> &'static [ImageFormat] {
        use ImageFormat::{Qcow2, Raw, Subvol, Vmdk};
        match self {
            Self::Dir => &[Raw, Qcow2, Vmdk, Subvol],
            Self::Nfs | Self::Cifs | Self::Esxi => &[Raw, Qcow2, Vmdk],
            Self::Btrfs | Self::ZfsPool => &[Raw, Subvol],
            Self::Lvm => &[Raw, Qcow2],
            Self::CephFs
            | Self::LvmThin
            | Self::Zfs
            | Self::Rbd
            | Self::Iscsi
            | Self::IscsiDirect
            | Self::Pbs => &[],
        }
    }
}

text_enum! {
    /// What a storage may be used for: the words of the property `content` in storage.cfg.
    ///
    /// A volume itself is of a [`VolumeType`]; `rootdir` is what the disk of a container is called when it is
    /// listed, and `none` declares that a storage holds nothing.
    #[non_exhaustive]
    pub enum ContentType: "content type" {
        /// Disks of virtual machines.
        Images = "images",
        /// Disks of containers.
        RootDir = "rootdir",
        /// Container templates.
        VzTmpl = "vztmpl",
        /// CD images.
        Iso = "iso",
        /// Backup archives.
        Backup = "backup",
        /// Snippets: hook scripts, cloud-init data.
        Snippets = "snippets",
        /// Foreign disks and machines to import.
        Import = "import",
        /// Nothing.
        None = "none",
    }
}

text_enum! {
    /// What kind of thing a volume name names (`vtype` of the reference).
    ///
    /// There is no `rootdir`: disks of containers are [`Images`](VolumeType::Images) too.
    #[non_exhaustive]
    pub enum VolumeType: "volume type" {
        /// A disk of a guest.
        Images = "images",
        /// A CD image.
        Iso = "iso",
        /// A container template.
        VzTmpl = "vztmpl",
        /// A backup archive.
        Backup = "backup",
        /// A snippet.
        Snippets = "snippets",
        /// Something to import.
        Import = "import",
    }
}

impl From<VolumeType> for ContentType {
    fn from(vtype: VolumeType) -> Self {
        match vtype {
            VolumeType::Images => ContentType::Images,
            VolumeType::Iso => ContentType::Iso,
            VolumeType::VzTmpl => ContentType::VzTmpl,
            VolumeType::Backup => ContentType::Backup,
            VolumeType::Snippets => ContentType::Snippets,
            VolumeType::Import => ContentType::Import,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_goes_both_ways() {
        assert_eq!(StorageType::ALL.len(), 14);
        for kind in StorageType::ALL {
            assert_eq!(kind.as_str().parse::<StorageType>().unwrap(), *kind);
            let json = serde_json::to_string(kind).unwrap();
            assert_eq!(serde_json::from_str::<StorageType>(&json).unwrap(), *kind);
        }
        let error = "glusterfs".parse::<StorageType>().unwrap_err().to_string();
        assert!(
            error.starts_with("unknown storage type 'glusterfs', expected one of: dir, nfs, "),
            "{error}"
        );
        assert!("DIR".parse::<StorageType>().is_err());
    }
}
