// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a name found on a storage stands for, by the naming convention (spec: volumes, "Naming conventions").

use std::borrow::Cow;

use bstr::{BStr, ByteSlice};

use crate::{Digits, ImageFormat, StorageType};

/// What a name found on a storage stands for, by the convention alone: no type is asked whether it would list it.
///
/// ```
/// use pve_volid::{RawName, Role, StorageType};
///
/// let name = |name: &'static str| RawName::classify(StorageType::LvmThin, name.as_bytes());
/// let RawName::Volume { role, owner, template, .. } = name("base-100-disk-7") else { panic!() };
/// assert_eq!((role, owner.to_string().as_str(), template), (Role::Disk("7".into()), "100", true));
///
/// assert!(matches!(name("vm-100-state-s1"), RawName::Volume { role: Role::SnapshotState(_), .. }));
/// assert_eq!(
///     name("snap_vm-100-disk-0_s1"),
///     RawName::Snapshot { volume: Some("vm-100-disk-0".into()), snapshot: "s1".into() },
/// );
/// assert_eq!(name("root"), RawName::Foreign);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RawName<'a> {
    /// A volume of a guest.
    Volume {
        /// The guest.
        owner: Digits<'a>,
        /// What for.
        role: Role<'a>,
        /// Whether the name says that it belongs to a template (`base-`, `basevol-`).
        template: bool,
        /// Whether the name says that it is a container's file system (`subvol-`, `basevol-`).
        subvol: bool,
        /// The format in the extension, where names of the type have one.
        extension: Option<ImageFormat>,
    },
    /// A snapshot of a volume, kept under a name of its own.
    Snapshot {
        /// The volume; none where the name does not tell where it begins.
        volume: Option<&'a BStr>,
        /// The snapshot.
        snapshot: &'a BStr,
    },
    /// A removed volume that waits to be wiped (`lvm` with `saferemove`).
    Deleted {
        /// What it was called.
        volume: &'a BStr,
    },
    /// Nothing that Proxmox VE would have named.
    Foreign,
}

/// What a volume is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Role<'a> {
    /// A disk (or EFI variables, TPM state, a container's volume) with its number, digits as written.
    Disk(&'a BStr),
    /// The cloud-init drive.
    CloudInit,
    /// The memory in a snapshot of this name.
    SnapshotState(&'a BStr),
    /// The memory of a VM suspended to disk on this day (`2023-01-02`).
    SuspendState(&'a BStr),
    /// A fleecing image with its number, digits as written.
    Fleecing(&'a BStr),
    /// Anything else: what follows the owner.
    Other(&'a BStr),
}

impl<'a> RawName<'a> {
    /// Classifies the name of a file, LV, dataset or image as found on a storage of type `kind`.
    #[must_use]
    pub fn classify(kind: StorageType, name: &'a [u8]) -> Self {
        Self::deleted(kind, name)
            .or_else(|| Self::snapshot(kind, name))
            .or_else(|| Self::volume(kind, name))
            .unwrap_or(RawName::Foreign)
    }

    fn deleted(kind: StorageType, name: &'a [u8]) -> Option<Self> {
        let volume = name.strip_prefix(b"del-").filter(|_| kind == StorageType::Lvm)?;
        Self::volume(kind, volume.strip_prefix(b"snap_").unwrap_or(volume))?;
        Some(RawName::Deleted { volume: volume.as_bstr() })
    }

    /// Where the name of the volume begins or ends is told by the volume's prefix resp. the first `_` or `@` behind it:
    /// names that the convention makes contain neither.
    fn snapshot(kind: StorageType, name: &'a [u8]) -> Option<Self> {
        let found = |volume: Option<&'a [u8]>, snapshot: &'a [u8]| {
            Some(RawName::Snapshot { volume: volume.map(BStr::new), snapshot: snapshot.as_bstr() })
        };
        match kind {
            StorageType::Lvm | StorageType::LvmThin => {
                let rest = name.strip_prefix(b"snap_")?;
                let rest = match kind {
                    StorageType::Lvm => rest.strip_suffix(b".qcow2")?,
                    _ => rest,
                };
                let (volume, snapshot) = rest.split_once_str("_")?;
                Self::volume(kind, volume)?;
                found(Some(volume), snapshot)
            }
            StorageType::ZfsPool | StorageType::Zfs | StorageType::Rbd | StorageType::Btrfs => {
                let (volume, snapshot) = name.split_once_str("@")?;
                Self::volume(kind, volume)?;
                found(Some(volume), snapshot)
            }
            StorageType::Dir | StorageType::Nfs | StorageType::Cifs | StorageType::CephFs => {
                let rest = name.strip_prefix(b"snap-").filter(|rest| rest.ends_with(b".qcow2"))?;
                let split = rest
                    .rfind_iter("-")
                    .filter_map(|at| Some((rest.get(..at)?, rest.get(at + 1..)?)))
                    .find(|(_, volume)| Self::volume(kind, volume).is_some());
                match split {
                    Some((snapshot, volume)) => found(Some(volume), snapshot),
                    None => found(None, rest.strip_suffix(b".qcow2")?),
                }
            }
            StorageType::Iscsi | StorageType::IscsiDirect | StorageType::Pbs | StorageType::Esxi => None,
        }
    }

    fn volume(kind: StorageType, name: &'a [u8]) -> Option<Self> {
        let (stem, extension) = match name.rsplit_once_str(".") {
            Some((stem, format)) if kind.is_path_based() || kind == StorageType::Lvm => {
                match ImageFormat::from_bytes(format) {
                    Some(format) => (stem, Some(format)),
                    None => (name, None),
                }
            }
            _ => (name, None),
        };
        let (prefix, rest) = stem.split_once_str("-")?;
        let (template, subvol) = match prefix {
            b"vm" => (false, false),
            b"base" => (true, false),
            b"subvol" => (false, true),
            b"basevol" => (true, true),
            _ => return None,
        };
        let (owner, rest) = rest.split_once_str("-")?;
        let owner = Digits::new(owner)?;
        Some(RawName::Volume { owner, role: Role::read(rest)?, template, subvol, extension })
    }
}

impl<'a> Role<'a> {
    /// The role of a volume from what follows `PREFIX-VMID-` in its name, without extension; none if nothing follows.
    fn read(rest: &'a [u8]) -> Option<Self> {
        let numbered =
            |word: &str| rest.strip_prefix(word.as_bytes()).and_then(Digits::new).map(Digits::as_bstr);
        if rest.is_empty() {
            None
        } else if let Some(number) = numbered("disk-") {
            Some(Role::Disk(number))
        } else if rest == b"cloudinit" {
            Some(Role::CloudInit)
        } else if let Some(date) = rest.strip_prefix(b"state-suspend-") {
            Some(Role::SuspendState(date.as_bstr()))
        } else if let Some(snapshot) = rest.strip_prefix(b"state-") {
            Some(Role::SnapshotState(snapshot.as_bstr()))
        } else if let Some(number) = numbered("fleece-") {
            Some(Role::Fleecing(number))
        } else {
            Some(Role::Other(rest.as_bstr()))
        }
    }

    /// What the volume is for, in a few words.
    #[must_use]
    pub fn describe(&self) -> Cow<'static, str> {
        match self {
            Role::Disk(number) => format!("disk {number}").into(),
            Role::CloudInit => "cloud-init drive".into(),
            Role::SnapshotState(snapshot) => format!("memory of snapshot {snapshot}").into(),
            Role::SuspendState(date) => format!("memory of the machine suspended on {date}").into(),
            Role::Fleecing(number) => format!("fleecing image {number}").into(),
            Role::Other(_) => "volume of a guest".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use StorageType::{Btrfs, Dir, Lvm, LvmThin, Rbd, ZfsPool};

    #[test]
    fn raw_names() {
        let snapshot = |kind, name: &'static str| match RawName::classify(kind, name.as_bytes()) {
            RawName::Snapshot { volume, snapshot } => {
                Some((volume.map(BStr::to_string).unwrap_or_default(), snapshot.to_string()))
            }
            _ => None,
        };
        let is = |volume: &str, snapshot: &str| Some((volume.to_owned(), snapshot.to_owned()));
        assert_eq!(snapshot(Dir, "snap-a-b-vm-1-disk-0.qcow2"), is("vm-1-disk-0.qcow2", "a-b"));
        assert_eq!(snapshot(Dir, "snap-a-foo.qcow2"), is("", "a-foo"));
        assert_eq!(snapshot(Dir, "snap-a-vm-1-disk-0.raw"), None);
        assert_eq!(snapshot(Lvm, "snap_vm-1-disk-0_a_b.qcow2"), is("vm-1-disk-0", "a_b"));
        assert_eq!(snapshot(Btrfs, "vm-1-disk-0@a"), is("vm-1-disk-0", "a"));
        assert_eq!(snapshot(ZfsPool, "foo@a"), None);
        let classify = |kind, name: &'static str| RawName::classify(kind, name.as_bytes());
        assert_eq!(classify(Lvm, "del-vm-1-disk-0"), RawName::Deleted { volume: "vm-1-disk-0".into() });
        assert_eq!(classify(LvmThin, "del-vm-1-disk-0"), RawName::Foreign);
        for name in ["vm-1-", "vm--a", "vm-disk-0", "xvm-1-a", "", "vm-1"] {
            assert_eq!(classify(Rbd, name), RawName::Foreign, "{name}");
        }
    }

    #[test]
    fn roles() {
        let role = |rest: &'static str| Role::read(rest.as_bytes()).unwrap();
        assert_eq!(role("disk-01"), Role::Disk("01".into()));
        assert_eq!(role("disk-1x"), Role::Other("disk-1x".into()));
        assert_eq!(role("state-suspend-2023-01-02"), Role::SuspendState("2023-01-02".into()));
        assert_eq!(role("fleece-0").describe(), "fleecing image 0");
        assert_eq!(role("cloudinit").describe(), "cloud-init drive");
    }
}
