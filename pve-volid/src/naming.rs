// SPDX-License-Identifier: MIT OR Apache-2.0
//! The naming convention: what Proxmox VE calls the volumes, templates and snapshots that it creates (spec: volumes,
//! "Naming conventions").

use std::fmt;

use bstr::{BStr, BString, ByteSlice};

use crate::{Digits, ImageFormat, StorageType, VmId};

/// The names that a storage of some type gives to what guests own.
///
/// A *name* is the volume's own (a file name, LV, dataset, image); [`Naming::volname`] makes the volume name of it that
/// goes behind the colon of a volume id.
///
/// ```
/// use pve_volid::{ImageFormat, Naming, StorageType, VmId};
///
/// let vmid = VmId::MIN;
/// let thin = Naming::new(StorageType::LvmThin);
/// assert_eq!(thin.disk(vmid, 0, ImageFormat::Raw), "vm-100-disk-0");
/// assert_eq!(thin.cloudinit(vmid, ImageFormat::Raw), "vm-100-cloudinit");
/// assert_eq!(thin.template(b"vm-100-disk-0").unwrap(), "base-100-disk-0");
///
/// let dir = Naming::new(StorageType::Dir);
/// let disk = dir.disk(vmid, 1, ImageFormat::Qcow2);
/// assert_eq!(dir.volname(vmid, disk.as_bytes(), None), "100/vm-100-disk-1.qcow2");
/// assert_eq!(dir.state(vmid, "before"), "vm-100-state-before.raw");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Naming {
    kind: StorageType,
    chains: bool,
}

impl Naming {
    /// The convention of storages of type `kind` without `snapshot-as-volume-chain`.
    #[must_use]
    pub const fn new(kind: StorageType) -> Self {
        Naming { kind, chains: false }
    }

    /// The same with the storage's `snapshot-as-volume-chain` as given: snapshots are volumes beside the disk then
    /// (dir, nfs, cifs, lvm; other types do not have the option).
    #[must_use]
    pub const fn with_chains(self, chains: bool) -> Self {
        Naming { chains, ..self }
    }

    /// Disk number `number` of a guest: `vm-100-disk-0`, `vm-100-disk-0.qcow2`, `subvol-100-disk-0.subvol`.
    #[must_use]
    pub fn disk(self, owner: impl Owner, number: u32, format: ImageFormat) -> String {
        let prefix = if format == ImageFormat::Subvol { "subvol" } else { "vm" };
        format!("{prefix}-{owner}-disk-{number}{}", self.suffix(format))
    }

    /// The cloud-init drive of a VM.
    #[must_use]
    pub fn cloudinit(self, owner: impl Owner, format: ImageFormat) -> String {
        format!("vm-{owner}-cloudinit{}", self.suffix(format))
    }

    /// The memory of a VM in snapshot `snapshot`, always of format `raw`.
    #[must_use]
    pub fn state(self, owner: impl Owner, snapshot: &str) -> String {
        format!("vm-{owner}-state-{snapshot}{}", self.suffix(ImageFormat::Raw))
    }

    /// The memory of a VM suspended to disk on the day `date` (`2023-01-02`, local time), always of format `raw`.
    #[must_use]
    pub fn suspend_state(self, owner: impl Owner, date: &str) -> String {
        self.state(owner, &format!("suspend-{date}"))
    }

    /// The image that keeps, during a backup, what the guest overwrites.
    #[must_use]
    pub fn fleecing(self, owner: impl Owner, number: u32, format: ImageFormat) -> String {
        format!("vm-{owner}-fleece-{number}{}", self.suffix(format))
    }

    /// `.FORMAT`, where names carry it: on path-based storages, and for qcow2 on LVM.
    fn suffix(self, format: ImageFormat) -> &'static str {
        match format {
            ImageFormat::Qcow2 if self.kind.is_path_based() || self.kind == StorageType::Lvm => ".qcow2",
            _ if !self.kind.is_path_based() => "",
            ImageFormat::Qcow2 => ".qcow2",
            ImageFormat::Raw => ".raw",
            ImageFormat::Vmdk => ".vmdk",
            ImageFormat::Subvol => ".subvol",
        }
    }

    /// What volume `name` is called once it belongs to a template; the same name where the type has no other for it (a
    /// container's directory on a path-based storage keeps `subvol-`). None on types without templates.
    #[must_use]
    pub fn template(self, name: &[u8]) -> Option<BString> {
        let renamed = match self.kind {
            StorageType::ZfsPool | StorageType::Zfs => {
                swap_prefix(name, "vm-", "base-").or_else(|| swap_prefix(name, "subvol-", "basevol-"))
            }
            StorageType::LvmThin | StorageType::Rbd => swap_prefix(name, "vm-", "base-"),
            kind if kind.is_path_based() => swap_prefix(name, "vm-", "base-"),
            _ => return None,
        };
        Some(renamed.unwrap_or_else(|| name.into()))
    }

    /// The volume name of the volume called `name`: on path-based storages with the directory of its owner before it;
    /// with the base of a linked clone before that, where the type writes it (not lvmthin, and on btrfs only for
    /// formats other than raw and subvol).
    ///
    /// ```
    /// use pve_volid::{Naming, StorageType, VmId};
    ///
    /// let (clone, template) = (VmId::MIN, VmId::new(9000).unwrap());
    /// let name = |kind, name: &str, base: &str| {
    ///     Naming::new(kind).volname(clone, name.as_bytes(), Some((template, base.as_bytes()))).to_string()
    /// };
    /// assert_eq!(
    ///     name(StorageType::Dir, "vm-100-disk-0.qcow2", "base-9000-disk-0.qcow2"),
    ///     "9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2",
    /// );
    /// assert_eq!(name(StorageType::Rbd, "vm-100-disk-0", "base-9000-disk-0"), "base-9000-disk-0/vm-100-disk-0");
    /// assert_eq!(name(StorageType::LvmThin, "vm-100-disk-0", "base-9000-disk-0"), "vm-100-disk-0");
    /// assert_eq!(name(StorageType::Btrfs, "vm-100-disk-0.raw", "base-9000-disk-0.raw"), "100/vm-100-disk-0.raw");
    /// ```
    #[must_use]
    pub fn volname<O: Owner>(self, owner: O, name: &[u8], base: Option<(O, &[u8])>) -> BString {
        let own_format = name.rsplit_once_str(".").and_then(|(_, format)| ImageFormat::from_bytes(format));
        let base = base.filter(|_| match self.kind {
            StorageType::LvmThin => false,
            StorageType::Btrfs => !matches!(own_format, Some(ImageFormat::Raw | ImageFormat::Subvol)),
            _ => true,
        });
        let mut volname = Vec::new();
        if self.kind.is_path_based() {
            for (owner, name) in base.into_iter().chain([(owner, name)]) {
                let separator: &[u8] = if volname.is_empty() { b"" } else { b"/" };
                volname.extend([separator, owner.to_string().as_bytes(), b"/", name].concat());
            }
        } else {
            volname.extend(base.map(|(_, base)| [base, b"/"].concat()).unwrap_or_default());
            volname.extend(name);
        }
        volname.into()
    }

    /// Where the storage keeps snapshot `snapshot` of the volume called `name`; none if the type has no snapshots of
    /// such a volume.
    #[must_use]
    pub fn snapshot(self, name: &[u8], snapshot: &[u8]) -> Option<SnapshotPlace> {
        let at = || SnapshotPlace::Beside([name, b"@", snapshot].concat().into());
        match self.kind {
            StorageType::Dir | StorageType::Nfs | StorageType::Cifs | StorageType::CephFs => {
                let (_, extension) = name.rsplit_once_str(".")?;
                match (extension == b"qcow2", self.chains) {
                    (false, _) => None,
                    (true, false) => Some(SnapshotPlace::Inside),
                    (true, true) => {
                        Some(SnapshotPlace::Beside([b"snap-", snapshot, b"-", name].concat().into()))
                    }
                }
            }
            StorageType::Lvm => {
                let stem = name.strip_suffix(b".qcow2").filter(|_| self.chains)?;
                Some(SnapshotPlace::Beside([b"snap_", stem, b"_", snapshot, b".qcow2"].concat().into()))
            }
            StorageType::LvmThin => {
                Some(SnapshotPlace::Beside([b"snap_", name, b"_", snapshot].concat().into()))
            }
            StorageType::ZfsPool | StorageType::Zfs | StorageType::Rbd => Some(at()),
            StorageType::Btrfs => match name.rsplit_once_str(".")? {
                (subvolume, b"raw") => {
                    Some(SnapshotPlace::Beside([subvolume, b"@", snapshot].concat().into()))
                }
                (_, b"subvol") => Some(at()),
                (_, b"qcow2") => Some(SnapshotPlace::Inside),
                _ => None,
            },
            StorageType::Iscsi | StorageType::IscsiDirect | StorageType::Pbs | StorageType::Esxi => None,
        }
    }

    /// The snapshot that `found`, a name on the storage, is of the volume called `name`: the inverse of
    /// [`Naming::snapshot`]. The volume itself is the pseudo snapshot `current`.
    ///
    /// ```
    /// use pve_volid::{Naming, StorageType};
    ///
    /// let lvm = Naming::new(StorageType::Lvm).with_chains(true);
    /// let snapshot_of = |found: &[u8]| lvm.snapshot_of(b"vm-100-disk-0.qcow2", found).map(|name| name.to_string());
    /// assert_eq!(snapshot_of(b"snap_vm-100-disk-0_s1.qcow2").as_deref(), Some("s1"));
    /// assert_eq!(snapshot_of(b"vm-100-disk-0.qcow2").as_deref(), Some("current"));
    /// assert_eq!(snapshot_of(b"snap_vm-100-disk-1_s1.qcow2"), None);
    /// ```
    #[must_use]
    pub fn snapshot_of<'f>(self, name: &[u8], found: &'f [u8]) -> Option<&'f BStr> {
        if name == found {
            return Some(BStr::new("current"));
        }
        // the name of a snapshot has one gap, where the snapshot's name is
        let SnapshotPlace::Beside(frame) = self.snapshot(name, b"\n")? else { return None };
        let (before, after) = frame.split_once_str("\n")?;
        found.strip_prefix(before)?.strip_suffix(after).map(BStr::new)
    }
}

/// `to` instead of `from` at the beginning of `name`.
fn swap_prefix(name: &[u8], from: &str, to: &str) -> Option<BString> {
    name.strip_prefix(from.as_bytes()).map(|rest| [to.as_bytes(), rest].concat().into())
}

/// Where a storage keeps a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SnapshotPlace {
    /// Inside the qcow2 image.
    Inside,
    /// Under a name of its own, in the same directory, volume group, dataset or pool.
    Beside(BString),
}

/// The snapshot below which templates keep what linked clones are made from (zfspool, zfs, rbd).
pub const BASE_SNAPSHOT: &str = "__base__";
/// The snapshot that the migration of a volume leaves for its time.
pub const MIGRATION_SNAPSHOT: &str = "__migration__";
/// What the names of replication snapshots begin with.
pub const REPLICATION_SNAPSHOT_PREFIX: &str = "__replicate_";

/// A guest's number where names are made of it: a [`VmId`], or [`Digits`] as found in a name.
pub trait Owner: fmt::Display + Copy + private::Sealed {}

impl Owner for VmId {}
impl Owner for Digits<'_> {}

mod private {
    pub trait Sealed {}
    impl Sealed for crate::VmId {}
    impl Sealed for crate::Digits<'_> {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use StorageType::{Btrfs, Dir, Lvm, LvmThin, Nfs, Rbd, ZfsPool};

    const VMID: VmId = VmId::MIN;

    #[test]
    fn suffixes() {
        let names = |naming: Naming| {
            let format = ImageFormat::Qcow2;
            [
                naming.disk(VMID, 0, format),
                naming.cloudinit(VMID, format),
                naming.suspend_state(VMID, "2023-01-02"),
                naming.fleecing(VMID, 1, format),
            ]
        };
        let state = "vm-100-state-suspend-2023-01-02";
        assert_eq!(
            names(Naming::new(Dir)),
            [
                "vm-100-disk-0.qcow2",
                "vm-100-cloudinit.qcow2",
                &format!("{state}.raw"),
                "vm-100-fleece-1.qcow2"
            ]
        );
        assert_eq!(
            names(Naming::new(Lvm).with_chains(true)),
            ["vm-100-disk-0.qcow2", "vm-100-cloudinit.qcow2", state, "vm-100-fleece-1.qcow2"]
        );
        assert_eq!(
            names(Naming::new(ZfsPool)),
            ["vm-100-disk-0", "vm-100-cloudinit", state, "vm-100-fleece-1"]
        );
        let subvol = ImageFormat::Subvol;
        assert_eq!(Naming::new(Dir).disk(VMID, 2, subvol), "subvol-100-disk-2.subvol");
        assert_eq!(Naming::new(ZfsPool).disk(VMID, 2, subvol), "subvol-100-disk-2");
    }

    #[test]
    fn templates() {
        let template = |kind, name: &str| Naming::new(kind).template(name.as_bytes()).map(|n| n.to_string());
        assert_eq!(template(Dir, "vm-1-disk-0.raw").as_deref(), Some("base-1-disk-0.raw"));
        assert_eq!(template(Dir, "subvol-1-disk-0.subvol").as_deref(), Some("subvol-1-disk-0.subvol"));
        assert_eq!(template(ZfsPool, "subvol-1-disk-0").as_deref(), Some("basevol-1-disk-0"));
        assert_eq!(template(Rbd, "vm-1-disk-0").as_deref(), Some("base-1-disk-0"));
        assert_eq!(template(Lvm, "vm-1-disk-0"), None);
        assert_eq!(template(StorageType::Iscsi, "x"), None);
    }

    #[test]
    fn snapshots_and_back() {
        let beside = |naming: Naming, name: &str| match naming.snapshot(name.as_bytes(), b"s-1_x") {
            Some(SnapshotPlace::Beside(place)) => {
                let back = naming.snapshot_of(name.as_bytes(), &place);
                assert_eq!(back, Some(BStr::new("s-1_x")), "{place}");
                place.to_string()
            }
            Some(SnapshotPlace::Inside) => "inside".to_owned(),
            None => "none".to_owned(),
        };
        let chains = |kind| Naming::new(kind).with_chains(true);
        assert_eq!(beside(Naming::new(Dir), "vm-1-disk-0.qcow2"), "inside");
        assert_eq!(beside(Naming::new(Nfs), "vm-1-disk-0.raw"), "none");
        assert_eq!(beside(chains(Nfs), "vm-1-disk-0.qcow2"), "snap-s-1_x-vm-1-disk-0.qcow2");
        assert_eq!(beside(chains(Lvm), "vm-1-disk-0.qcow2"), "snap_vm-1-disk-0_s-1_x.qcow2");
        assert_eq!(beside(chains(Lvm), "vm-1-disk-0"), "none");
        assert_eq!(beside(Naming::new(LvmThin), "vm-1-disk-0"), "snap_vm-1-disk-0_s-1_x");
        assert_eq!(beside(Naming::new(Rbd), "vm-1-disk-0"), "vm-1-disk-0@s-1_x");
        assert_eq!(beside(Naming::new(Btrfs), "vm-1-disk-0.raw"), "vm-1-disk-0@s-1_x");
        assert_eq!(beside(Naming::new(Btrfs), "subvol-1-disk-0.subvol"), "subvol-1-disk-0.subvol@s-1_x");
    }

    #[test]
    fn snapshot_of_needs_room_for_both_ends() {
        let dir = Naming::new(Dir).with_chains(true);
        assert_eq!(dir.snapshot_of(b"a.qcow2", b"snap-a.qcow2"), None);
        assert_eq!(dir.snapshot_of(b"a.qcow2", b"snap--a.qcow2"), Some(BStr::new("")));
    }
}
