// SPDX-License-Identifier: MIT OR Apache-2.0
//! Root disk, mount points and detached volumes of a container (options `rootfs`, `mpN`, `unusedN`).

use std::fmt;

use bstr::{BStr, BString, ByteSlice};

use crate::format::{Context, Scalar};
use crate::property::{Key, PropertyFormat, TypedProperties, print_typed, properties};
use crate::rule::{Pattern, ValueError, pattern};

/// The key of a volume in the configuration of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum VolumeKey {
    /// `rootfs`
    Rootfs,
    /// `mpN`
    MountPoint(u32),
    /// `unusedN`
    Unused(u32),
}

impl VolumeKey {
    /// Number of mount points that the schema has. The reader of the reference takes higher indexes too.
    pub const MOUNT_POINTS: u32 = 256;

    /// The volume that a key of a configuration names.
    ///
    /// ```
    /// use pve_config::container::VolumeKey;
    ///
    /// assert_eq!(VolumeKey::from_key(b"mp12"), Some(VolumeKey::MountPoint(12)));
    /// assert_eq!(VolumeKey::from_key(b"net0"), None);
    /// ```
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let index = |digits: &[u8]| {
            let digits = std::str::from_utf8(digits).ok().filter(|text| !text.starts_with('+'))?;
            digits.parse().ok()
        };
        match key {
            b"rootfs" => Some(VolumeKey::Rootfs),
            [b'm', b'p', digits @ ..] => index(digits).map(VolumeKey::MountPoint),
            _ => index(key.strip_prefix(b"unused")?).map(VolumeKey::Unused),
        }
    }

    /// `rootfs` and all mount points, in the order in which the reference walks through them.
    pub fn all() -> impl Iterator<Item = VolumeKey> {
        [VolumeKey::Rootfs].into_iter().chain((0..Self::MOUNT_POINTS).map(VolumeKey::MountPoint))
    }

    /// The format of the value.
    #[must_use]
    pub fn format(self) -> &'static PropertyFormat {
        match self {
            VolumeKey::Rootfs => &ROOTFS,
            VolumeKey::MountPoint(_) => &MP,
            VolumeKey::Unused(_) => &UNUSED,
        }
    }
}

impl fmt::Display for VolumeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VolumeKey::Rootfs => f.write_str("rootfs"),
            VolumeKey::MountPoint(index) => write!(f, "mp{index}"),
            VolumeKey::Unused(index) => write!(f, "unused{index}"),
        }
    }
}

// members of the family of volume formats
const ON_ROOTFS: u8 = 1;
const ON_MP: u8 = 2;
const ON_BOTH: u8 = ON_ROOTFS | ON_MP;

const ID_MAP: Pattern<'static> =
    pattern!("passthrough|[gu]:[0-9]+:[0-9]+:[1-9][0-9]*(;[gu]:[0-9]+:[0-9]+:[1-9][0-9]*)*");
const MOUNT_OPTIONS: Pattern<'static> = pattern!(
    "(discard|lazytime|noatime|nodev|noexec|nosuid)(;(discard|lazytime|noatime|nodev|noexec|nosuid))*"
);

properties! {
    /// A volume of a container and where it is mounted. `rootfs` is mounted at `/`; a detached volume nowhere.
    #[derive(Copy, Default)]
    pub struct MountPoint<'t>: keys {
        /// Use POSIX ACLs.
        pub acl: Option<bool> = Key::boolean("acl").on(ON_BOTH),
        /// Include the volume in backups.
        pub backup: Option<bool> = Key::boolean("backup").on(ON_MP),
        /// Mapping of users and groups: `passthrough`, or entries separated by `;`, see [`MountPoint::id_map`].
        pub idmap: Option<&'t BStr> = Key::string("idmap").pattern(ID_MAP).on(ON_BOTH),
        /// Keep owner and mode of the directory that the volume is mounted on.
        pub keepattrs: Option<bool> = Key::boolean("keepattrs").default("0").on(ON_MP),
        /// Options of the mount, separated by `;`.
        pub mountoptions: Option<&'t BStr> = Key::string("mountoptions").pattern(MOUNT_OPTIONS).on(ON_BOTH),
        /// Where the volume is mounted in the container.
        pub mp: &'t BStr = Key::scalar("mp", Scalar::LxcMountPoint).required().on(ON_MP),
        /// Use quotas inside the container.
        pub quota: Option<bool> = Key::boolean("quota").on(ON_BOTH),
        /// Include the volume in replication jobs.
        pub replicate: Option<bool> = Key::boolean("replicate").default("1").on(ON_BOTH),
        /// The container can only read.
        pub ro: Option<bool> = Key::boolean("ro").on(ON_BOTH),
        /// The volume is the same on all nodes, although the storage does not say so.
        pub shared: Option<bool> = Key::boolean("shared").default("0").on(ON_BOTH),
        /// Size of the volume, bytes; informational.
        pub size: Option<u64> = Key::scalar("size", Scalar::DiskSize).on(ON_BOTH),
        /// Volume id, device of the host, or directory of the host.
        pub volume: &'t BStr = Key::scalar("volume", Scalar::LxcMountPoint).required().default_key().on(ON_BOTH),
    }
}

/// The format `lxc:rootfs`.
pub static ROOTFS: PropertyFormat =
    PropertyFormat::member("lxc:rootfs", &[], MountPoint::KEYS, &[], ON_ROOTFS);
/// The format `lxc:mp`.
pub static MP: PropertyFormat =
    PropertyFormat::member("lxc:mp", &["pve-ct-mountpoint"], MountPoint::KEYS, &[], ON_MP);
/// The format `lxc:unused`: a volume and nothing else.
pub static UNUSED: PropertyFormat = PropertyFormat::new("lxc:unused", &[], UNUSED_KEYS, &[]);

const UNUSED_KEYS: &[Key] = &[Key::scalar("volume", Scalar::VolumeId)
    .required()
    .default_key()
    .documented("Volume that was detached from the container.")];

/// What the volume of a mount point is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VolumeKind {
    /// A volume of a storage.
    Volume,
    /// A block device of the host.
    Device,
    /// A directory of the host.
    Bind,
}

impl VolumeKind {
    /// The word of the reference.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            VolumeKind::Volume => "volume",
            VolumeKind::Device => "device",
            VolumeKind::Bind => "bind",
        }
    }
}

/// How users and groups of a volume are mapped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdMap<'t> {
    /// Ids on the volume are those of the host.
    Passthrough,
    /// Ranges of ids.
    Entries(Vec<IdMapEntry<'t>>),
}

/// A range of ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdMapEntry<'t> {
    /// `u` for users, `g` for groups.
    pub kind: &'t BStr,
    /// First id in the container, decimal digits.
    pub container: &'t BStr,
    /// First id on the disk, decimal digits.
    pub disk: &'t BStr,
    /// Number of ids, decimal digits.
    pub count: &'t BStr,
}

impl<'t> MountPoint<'t> {
    /// Reads the value of `key` as the reference does when it works with volumes (spec: container configuration, "Mount
    /// points and devices").
    ///
    /// # Errors
    ///
    /// What is wrong with the text, or a size of 2^64 bytes or more.
    pub fn read(key: VolumeKey, text: &'t [u8]) -> Result<Self, ValueError> {
        let properties = key.format().parse(text)?;
        let mut mount = Self::default();
        match key {
            VolumeKey::Unused(_) => mount.volume = properties.get("volume").unwrap_or_default(),
            _ => mount.fill(&properties, text)?,
        }
        if key == VolumeKey::Rootfs {
            mount.mp = BStr::new("/");
        }
        Ok(mount)
    }

    /// Prints the value of `key` in the reference's order.
    ///
    /// # Errors
    ///
    /// A value that breaks the rule of its key, or contains a comma.
    pub fn print(&self, key: VolumeKey) -> Result<BString, ValueError> {
        let context = Context::default();
        match key {
            VolumeKey::Unused(_) => UNUSED.print([("volume", self.volume)], &[], &context),
            VolumeKey::Rootfs => print_typed(self, &MP, &["mp"], &context),
            VolumeKey::MountPoint(_) => print_typed(self, &MP, &[], &context),
        }
    }

    /// What the volume is: a device if it is below `/dev/`, a directory if it is another path.
    #[must_use]
    pub fn kind(&self) -> VolumeKind {
        if self.volume.starts_with_str("/dev/") {
            VolumeKind::Device
        } else if self.volume.starts_with_str("/") {
            VolumeKind::Bind
        } else {
            VolumeKind::Volume
        }
    }

    /// How users and groups are mapped; `None` if nothing is said about it.
    ///
    /// ```
    /// use pve_config::container::{IdMap, MountPoint, VolumeKey};
    ///
    /// let mount = MountPoint::read(VolumeKey::Rootfs, b"local:x,idmap=u:0:100000:65536").unwrap();
    /// let Some(IdMap::Entries(entries)) = mount.id_map() else { panic!() };
    /// assert_eq!((entries[0].kind, entries[0].count), ("u".into(), "65536".into()));
    /// ```
    #[must_use]
    pub fn id_map(&self) -> Option<IdMap<'t>> {
        let text: &'t [u8] = self.idmap?;
        if crate::format::chomp(text) == b"passthrough" {
            return Some(IdMap::Passthrough);
        }
        let entries = text.split(|byte| *byte == b';').filter_map(|entry| {
            let mut parts = entry.split(|byte| *byte == b':').map(BStr::new);
            Some(IdMapEntry {
                kind: parts.next()?,
                container: parts.next()?,
                disk: parts.next()?,
                count: parts.next()?,
            })
        });
        Some(IdMap::Entries(entries.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_disk_is_printed_without_its_mount_point() {
        let mount = MountPoint::read(VolumeKey::Rootfs, b"local:x,size=8G,ro=1").unwrap();
        assert_eq!(mount.mp, "/");
        assert_eq!(mount.print(VolumeKey::Rootfs).unwrap(), "local:x,ro=1,size=8G");
        assert!(MountPoint::read(VolumeKey::Rootfs, b"local:x,mp=/y").is_err());
    }

    #[test]
    fn keys_are_read_and_printed() {
        for key in ["rootfs", "mp0", "mp255", "unused3"] {
            assert_eq!(VolumeKey::from_key(key.as_bytes()).unwrap().to_string(), key);
        }
        for bad in ["mp", "mpX", "mp+1", "unused", "scsi0", ""] {
            assert_eq!(VolumeKey::from_key(bad.as_bytes()), None, "{bad}");
        }
    }
}
