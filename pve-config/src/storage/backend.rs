// SPDX-License-Identifier: MIT OR Apache-2.0
//! What only storages of one type have, as a struct for each type.

use bstr::BStr;
use pve_volid::StorageType;

use super::entry::Storage;

/// A field of the struct of a storage type, read from a storage.
trait Field<'s> {
    /// Whether the section must have the property.
    #[cfg(test)]
    const REQUIRED: bool = false;

    fn read(storage: &Storage<'s>, name: &str) -> Self;
}

/// A required property. It is always there in a section that passed the final check.
impl<'s> Field<'s> for &'s BStr {
    #[cfg(test)]
    const REQUIRED: bool = true;

    fn read(storage: &Storage<'s>, name: &str) -> Self {
        storage.text(name).unwrap_or_default()
    }
}

impl<'s> Field<'s> for Option<&'s BStr> {
    fn read(storage: &Storage<'s>, name: &str) -> Self {
        storage.text(name)
    }
}

impl<'s> Field<'s> for bool {
    fn read(storage: &Storage<'s>, name: &str) -> Self {
        storage.switch(name) == Some(true)
    }
}

impl<'s> Field<'s> for Option<u16> {
    fn read(storage: &Storage<'s>, name: &str) -> Self {
        storage.integer(name).and_then(|number| number.try_into().ok())
    }
}

/// Declares a struct for each type, with the properties that are not read through [`Storage`](super::Storage). Which
/// properties a type has, and what they look like, stands in [`STORAGE_TYPES`](crate::schema::STORAGE_TYPES); a test
/// keeps both in step.
macro_rules! backends {
    ($($(#[$doc:meta])* $variant:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $name:literal,)* })+) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            #[non_exhaustive]
            pub struct $variant<'s> { $($(#[$field_doc])* pub $field: $type,)* }

            impl<'s> $variant<'s> {
                #[cfg(test)]
                const FIELDS: &'static [(&'static str, bool)] = &[$(($name, <$type as Field<'s>>::REQUIRED)),*];

                fn read(storage: &Storage<'s>) -> Self {
                    $variant { $($field: Field::read(storage, $name),)* }
                }
            }
        )+

        /// A storage by its type, with the properties that are not common to many types.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Backend<'s> { $($(#[$doc])* $variant($variant<'s>),)+ }

        impl<'s> Backend<'s> {
            /// The properties of a storage; `None` for a type that is not declared here.
            pub(super) fn read(storage: &Storage<'s>) -> Option<Self> {
                match storage.kind() {
                    $(StorageType::$variant => Some(Backend::$variant($variant::read(storage))),)+
                    _ => None,
                }
            }
        }

        /// The properties of the struct of a type, and whether they are required.
        #[cfg(test)]
        fn fields(kind: StorageType) -> &'static [(&'static str, bool)] {
            match kind {
                $(StorageType::$variant => $variant::FIELDS,)+
                _ => &[],
            }
        }
    };
}

backends! {
    /// A directory on each node, or on a file system that somebody mounts there.
    Dir {
        /// The directory, in canonical form.
        path: &'s BStr = "path",
    }

    /// A directory on btrfs, whose raw volumes are subvolumes.
    Btrfs {
        /// The directory, in canonical form.
        path: &'s BStr = "path",
        /// Whether new images are made with the attribute "no copy on write".
        nocow: bool = "nocow",
    }

    /// An NFS export.
    Nfs {
        /// The server: an IP address or a DNS name.
        server: &'s BStr = "server",
        /// The exported path on the server.
        export: &'s BStr = "export",
        /// Where it is mounted; `/mnt/pve/ID` if the section does not say.
        path: &'s BStr = "path",
        /// Mount options.
        options: Option<&'s BStr> = "options",
    }

    /// A Windows share.
    Cifs {
        /// The server: an IP address or a DNS name.
        server: &'s BStr = "server",
        /// The name of the share.
        share: &'s BStr = "share",
        /// Where it is mounted; `/mnt/pve/ID` if the section does not say.
        path: &'s BStr = "path",
        /// The directory in the share to mount.
        subdir: Option<&'s BStr> = "subdir",
        /// The user; a guest without one.
        username: Option<&'s BStr> = "username",
        /// The password, if somebody wrote it into storage.cfg: it belongs into a file of its own.
        password: Option<&'s BStr> = "password",
        /// The domain of the user.
        domain: Option<&'s BStr> = "domain",
        /// The version of the protocol: `default`, `2.0`, `2.1`, `3`, `3.0`, `3.11`.
        smbversion: Option<&'s BStr> = "smbversion",
        /// Mount options.
        options: Option<&'s BStr> = "options",
    }

    /// A CephFS file system.
    CephFs {
        /// Where it is mounted; `/mnt/pve/ID` if the section does not say.
        path: &'s BStr = "path",
        /// Addresses of the monitors, as a list; those of the local cluster without.
        monhost: Option<&'s BStr> = "monhost",
        /// The directory in the file system to mount.
        subdir: Option<&'s BStr> = "subdir",
        /// The Ceph user.
        username: Option<&'s BStr> = "username",
        /// The name of the file system.
        fs_name: Option<&'s BStr> = "fs-name",
        /// Whether it is mounted through FUSE instead of by the kernel.
        fuse: bool = "fuse",
        /// The secret, if somebody wrote it into storage.cfg: it belongs into a file of its own.
        keyring: Option<&'s BStr> = "keyring",
        /// Mount options.
        options: Option<&'s BStr> = "options",
    }

    /// An LVM volume group.
    Lvm {
        /// The volume group.
        vgname: &'s BStr = "vgname",
        /// The iSCSI volume on which the volume group lies.
        base: Option<&'s BStr> = "base",
        /// Whether removed volumes are overwritten with zeros.
        saferemove: bool = "saferemove",
        /// How much is overwritten at once, in MiB: 1, 2, 4, 8, 16 or 32; 32 if unset.
        saferemove_stepsize: Option<u16> = "saferemove-stepsize",
        /// How fast it is overwritten, as `cstream -t` takes it.
        saferemove_throughput: Option<&'s BStr> = "saferemove_throughput",
        /// Whether only volumes with the tag `pve-vm-ID` count.
        tagged_only: bool = "tagged_only",
    }

    /// An LVM thin pool.
    LvmThin {
        /// The volume group.
        vgname: &'s BStr = "vgname",
        /// The pool in it.
        thinpool: &'s BStr = "thinpool",
    }

    /// A local ZFS dataset below which volumes and file systems are created.
    ZfsPool {
        /// The dataset.
        pool: &'s BStr = "pool",
        /// Block size of new volumes.
        blocksize: Option<&'s BStr> = "blocksize",
        /// Whether new volumes reserve no space.
        sparse: bool = "sparse",
        /// Where the dataset is mounted.
        mountpoint: Option<&'s BStr> = "mountpoint",
    }

    /// ZFS over iSCSI: volumes on another machine.
    Zfs {
        /// The dataset on the other machine.
        pool: &'s BStr = "pool",
        /// The iSCSI portal, which is also the machine to log in to.
        portal: &'s BStr = "portal",
        /// The iSCSI target.
        target: &'s BStr = "target",
        /// The iSCSI target software: `comstar`, `istgt`, `iet` or `LIO`.
        iscsiprovider: &'s BStr = "iscsiprovider",
        /// Block size of new volumes.
        blocksize: &'s BStr = "blocksize",
        /// Whether LUNs are made without write cache.
        nowritecache: bool = "nowritecache",
        /// Whether new volumes reserve no space.
        sparse: bool = "sparse",
        /// Host group (comstar).
        comstar_hg: Option<&'s BStr> = "comstar_hg",
        /// Target group (comstar).
        comstar_tg: Option<&'s BStr> = "comstar_tg",
        /// Target portal group (LIO).
        lio_tpg: Option<&'s BStr> = "lio_tpg",
        /// Where the other machine has the devices of the volumes.
        zfs_base_path: Option<&'s BStr> = "zfs-base-path",
    }

    /// A pool of Ceph block devices.
    Rbd {
        /// Addresses of the monitors, as a list; those of the local cluster without.
        monhost: Option<&'s BStr> = "monhost",
        /// The pool; `rbd` if unset.
        pool: Option<&'s BStr> = "pool",
        /// The pool for the data of new images (erasure coding).
        data_pool: Option<&'s BStr> = "data-pool",
        /// The namespace in the pool.
        namespace: Option<&'s BStr> = "namespace",
        /// The Ceph user; `admin` if unset.
        username: Option<&'s BStr> = "username",
        /// Whether the kernel maps the images, instead of QEMU opening them.
        krbd: bool = "krbd",
        /// The keyring, if somebody wrote it into storage.cfg: it belongs into a file of its own.
        keyring: Option<&'s BStr> = "keyring",
    }

    /// LUNs of an iSCSI target, through the kernel.
    Iscsi {
        /// The portal.
        portal: &'s BStr = "portal",
        /// The target.
        target: &'s BStr = "target",
    }

    /// LUNs of an iSCSI target, through libiscsi.
    IscsiDirect {
        /// The portal.
        portal: &'s BStr = "portal",
        /// The target.
        target: &'s BStr = "target",
    }

    /// A datastore of a Proxmox Backup Server.
    Pbs {
        /// The server: an IP address or a DNS name.
        server: &'s BStr = "server",
        /// The datastore.
        datastore: &'s BStr = "datastore",
        /// The namespace in the datastore.
        namespace: Option<&'s BStr> = "namespace",
        /// The port of the server; 8007 if unset.
        port: Option<u16> = "port",
        /// The user or API token; `root@pam` if unset.
        username: Option<&'s BStr> = "username",
        /// The password, if somebody wrote it into storage.cfg: it belongs into a file of its own.
        password: Option<&'s BStr> = "password",
        /// Fingerprint of the key that backups are encrypted with, or `1` for a key without one.
        encryption_key: Option<&'s BStr> = "encryption-key",
        /// `1` if there is a master key, for which each backup's key is encrypted too.
        master_pubkey: Option<&'s BStr> = "master-pubkey",
        /// SHA-256 fingerprint of the server's certificate.
        fingerprint: Option<&'s BStr> = "fingerprint",
    }

    /// The virtual machines of a VMware ESXi host, for import.
    Esxi {
        /// The host: an IP address or a DNS name.
        server: &'s BStr = "server",
        /// The user.
        username: &'s BStr = "username",
        /// The password, if somebody wrote it into storage.cfg: it belongs into a file of its own.
        password: Option<&'s BStr> = "password",
        /// Whether any certificate of the host will do.
        skip_cert_verification: bool = "skip-cert-verification",
        /// The port of the host; 443 if unset.
        port: Option<u16> = "port",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::STORAGE_TYPES;

    /// Properties that [`Storage`](crate::storage::Storage) has methods for.
    const COMMON: &[&str] = &[
        "bwlimit",
        "content",
        "content-dirs",
        "create-base-path",
        "create-subdirs",
        "disable",
        "format",
        "is_mountpoint",
        "max-protected-backups",
        "mkdir",
        "nodes",
        "preallocation",
        "prune-backups",
        "shared",
        "snapshot-as-volume-chain",
    ];

    #[test]
    fn every_property_of_a_type_has_its_place() {
        assert_eq!(STORAGE_TYPES.len(), StorageType::ALL.len());
        for spec in STORAGE_TYPES {
            let fields = fields(StorageType::from_bytes(spec.name.as_bytes()).unwrap());
            let mut seen: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
            seen.extend(COMMON.iter().filter(|name| spec.option(name.as_bytes()).is_some()));
            seen.sort_unstable();
            assert_eq!(
                seen,
                spec.options.iter().map(|option| option.name).collect::<Vec<_>>(),
                "{}",
                spec.name
            );
            for (name, required) in fields {
                assert_eq!(spec.option(name.as_bytes()).unwrap().required, *required, "{} {name}", spec.name);
            }
        }
    }
}
