// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids and the naming conventions of Proxmox VE storages: parse, name, allocate, and explain what the listing
//! hides.
//!
//! This crate is pure: it reads no file, runs no command, looks at no clock. What a storage reported comes in as bytes,
//! what it means comes out as values that borrow from them.
//!
//! # Volume ids
//!
//! Proxmox VE knows a disk, an ISO image or a backup by a *volume id*: the name of a storage, a colon, and a *volume
//! name*. It is what stands in the configuration of a guest (`scsi0: local-lvm:vm-100-disk-0,size=32G`), and all that
//! stands there: neither a path nor a size that could be relied on.
//!
//! ```
//! use pve_volid::VolumeId;
//!
//! let volid: VolumeId = "local-lvm:vm-100-disk-0".parse()?;
//! assert_eq!(volid.storage().as_str(), "local-lvm");
//! assert_eq!(volid.volname(), "vm-100-disk-0");
//! # Ok::<(), pve_volid::IdError>(())
//! ```
//!
//! [`VolumeId`] owns its text, [`VolumeIdRef`] borrows it; the name may be any bytes but a line feed. [`VmId`],
//! [`StorageId`] and [`NodeName`] are the other names that are checked once and then trusted.
//!
//! # What a volume name means
//!
//! That depends on the type of the storage, which storage.cfg tells. [`VolumeName::parse`] knows the grammar of every
//! built-in [`StorageType`], and says what kind of thing the name names, who owns it, what it was cloned from, whether
//! it belongs to a template, and in which format it is:
//!
//! ```
//! use pve_volid::{ImageFormat, StorageType, VolumeFormat, VolumeName, VolumeType};
//!
//! let disk = VolumeName::parse(StorageType::LvmThin, b"vm-100-disk-0")?;
//! assert_eq!((disk.vtype, disk.owner.unwrap().to_string()), (VolumeType::Images, "100".to_owned()));
//!
//! let template = VolumeName::parse(StorageType::ZfsPool, b"basevol-9000-disk-0")?;
//! assert!(template.is_base);
//! assert_eq!(template.format, VolumeFormat::Image(ImageFormat::Subvol));
//!
//! // on Ceph a linked clone names its base; the base part ends at the last slash that makes sense
//! let clone = VolumeName::parse(StorageType::Rbd, b"base-9000-disk-0/vm-100-disk-0")?;
//! assert_eq!(clone.base.unwrap().name, "base-9000-disk-0");
//! assert_eq!(clone.name, "vm-100-disk-0");
//!
//! let iso = VolumeName::parse(StorageType::Nfs, b"iso/debian-13.iso")?;
//! assert_eq!((iso.vtype, iso.owner), (VolumeType::Iso, None));
//! # Ok::<(), pve_volid::VolumeNameError>(())
//! ```
//!
//! The same text may be a name on one type and none on another. An error says which rule refused it:
//!
//! ```
//! use pve_volid::{NameRule, StorageType, VolumeName};
//!
//! assert!(VolumeName::parse(StorageType::LvmThin, b"base-9000-disk-0").is_ok());
//! let error = VolumeName::parse(StorageType::Lvm, b"base-9000-disk-0").unwrap_err();
//! assert_eq!(error.rule, NameRule::Lvm);
//! assert_eq!(error.rule.to_string(), "a volume on LVM is called 'vm-VMID-NAME'");
//! ```
//!
//! # The name is the owner
//!
//! **Nothing but its name ties a volume to a guest.** Rename the logical volume `vm-101-disk-0` to `vm-100-disk-7`, and
//! it is guest 100's: it turns up among its unused disks, and is destroyed along with it. So names matter, and they
//! follow a convention, which [`Naming`] knows in both directions:
//!
//! | | block storages | files |
//! | --- | --- | --- |
//! | disk of a VM | `vm-100-disk-0` | `100/vm-100-disk-0.qcow2` |
//! | file system of a container | `subvol-100-disk-0` (ZFS) | `100/subvol-100-disk-0.subvol` |
//! | disk of a template | `base-100-disk-0`, `basevol-100-disk-0` | `100/base-100-disk-0.qcow2` |
//! | linked clone | `base-9000-disk-0/vm-100-disk-0` | `9000/base-9000-disk-0.qcow2/100/vm-100-disk-0.qcow2` |
//! | cloud-init drive | `vm-100-cloudinit` | `100/vm-100-cloudinit.qcow2` |
//! | memory in snapshot `s` | `vm-100-state-s` | `100/vm-100-state-s.raw` |
//! | fleecing image of a backup | `vm-100-fleece-0` | `100/vm-100-fleece-0.raw` |
//!
//! ```
//! use pve_volid::{FreeName, ImageFormat, Naming, RawName, Role, StorageType, VmId};
//!
//! let vmid: VmId = "100".parse()?;
//! let zfs = Naming::new(StorageType::ZfsPool);
//! assert_eq!(zfs.disk(vmid, 0, ImageFormat::Subvol), "subvol-100-disk-0");
//! assert_eq!(zfs.state(vmid, "before"), "vm-100-state-before");
//!
//! // what might this be?
//! match RawName::classify(StorageType::LvmThin, b"vm-100-state-suspend-2023-01-02") {
//!     RawName::Volume { role: Role::SuspendState(date), .. } => assert_eq!(date, "2023-01-02"),
//!     other => panic!("{other:?}"),
//! }
//!
//! // and what is the next disk called?
//! let mut search = FreeName::for_allocation(StorageType::LvmThin, vmid, None);
//! for lv in ["vm-100-disk-0", "base-100-disk-1", "vm-101-disk-2"] {
//!     search.see(lv.as_bytes());
//! }
//! assert_eq!(search.name()?, "vm-100-disk-2");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Blind spots
//!
//! Proxmox VE finds the volumes on a storage by listing it and matching names. Whatever does not match is not shown:
//! not in the GUI, not by `pvesm list`, not as an unused disk. It takes up space all the same. The filters of this
//! crate answer both questions: which volume is this, or why will nobody ever see it?
//!
//! ```
//! use pve_volid::{LvLine, LvmThinFilter, Wanted};
//!
//! // what `lvs` prints, in the columns that the storage layer asks for
//! let lvs = "\
//!   pve:data:147203293184:twi-aotz--::3.52:1.25::Zx1:::
//!   pve:root:71806484480:-wi-ao----:::::Zx2:::
//!   pve:vm-100-disk-0:34359738368:Vwi-aotz--:data:12.50:::Zx3:::1700000101
//!   pve:snap_vm-100-disk-0_s1:34359738368:Vri---tz-k:data::::Zx4:::
//!   pve:vm-200-disk-0:4194304:Vwi-a-tz--:other:1:::Zx5:::";
//!
//! let filter = LvmThinFilter { vg: "pve".into(), pool: "data".into(), wanted: Wanted::Everything };
//! let mut report = Vec::new();
//! for lv in lvs.lines().filter_map(|line| LvLine::parse(line.as_bytes())) {
//!     report.push(match filter.judge(&lv) {
//!         Ok(volume) => format!("{} belongs to {}", volume.volname, volume.owner.unwrap()),
//!         Err(reason) => format!("{} is hidden: {reason}", lv.lv),
//!     });
//! }
//! assert_eq!(
//!     report,
//!     [
//!         "data is hidden: it is a thin pool",
//!         "root is hidden: its name is not that of a guest's volume",
//!         "vm-100-disk-0 belongs to 100",
//!         "snap_vm-100-disk-0_s1 is hidden: it is a snapshot of a volume, not a volume",
//!         "vm-200-disk-0 is hidden: it lies in another thin pool",
//!     ],
//! );
//! ```
//!
//! [`Invisible`] lists every reason. There is a filter for each kind of storage: [`ImageFile`] and [`ContentFile`] for
//! directories, [`LvmFilter`] and [`LvmThinFilter`], [`ZfsFilter`], [`RbdFilter`], [`IscsiLun`] and [`DirectLun`].
//!
//! # Backups
//!
//! A backup archive tells by its name alone which guest it is of and when it was made, in the local time of the node
//! that made it. [`ArchiveName`] reads it, [`prune`] chooses which backups to keep. Both need to know where the node's
//! clock stands: a [`LocalZone`], which is [`FixedOffset`] or, with the feature `tz`, a time zone of the crate `jiff`.
//!
//! ```
//! use pve_volid::{ArchiveName, FixedOffset, PruneCandidate, Retention, prune};
//!
//! let names = ["2023_01_01-01_00_00", "2023_01_02-01_00_00", "2023_01_02-13_00_00"]
//!     .map(|time| format!("vzdump-lxc-101-{time}.tar.zst"));
//! let retention = Retention { keep_daily: 2, ..Retention::default() };
//!
//! let mut backups = Vec::new();
//! for name in &names {
//!     let archive = ArchiveName::parse(name.as_bytes())?;
//!     // (the time of the file counts only where the name tells none)
//!     backups.push(PruneCandidate::of(Some(&archive), 0, &FixedOffset::UTC));
//! }
//! let marks = prune(&backups, &retention, &FixedOffset::UTC);
//! assert_eq!(marks.iter().map(|mark| mark.as_str()).collect::<Vec<_>>(), ["keep", "remove", "keep"]);
//! # Ok::<(), pve_volid::ArchiveNameError>(())
//! ```

mod backup;
mod civil;
mod error;
mod format;
mod free_name;
mod listing;
mod name;
mod naming;
mod node_name;
mod prune;
mod raw_name;
mod serde_text;
mod storage_id;
mod storage_type;
mod text_enum;
mod text_id;
mod vmid;
mod volume_id;

pub use backup::{
    ArchiveExtension, ArchiveFormat, ArchiveName, ArchiveNameError, BackupType, Compression, StandardName,
};
pub use civil::{CivilTime, FixedOffset, LocalZone};
pub use error::IdError;
pub use format::{ImageFormat, VolumeFormat};
pub use free_name::{FreeName, FreeNameSource, NoFreeName};
pub use listing::{
    ContentFile, DirectLun, ImageFile, Invisible, IscsiLun, Listed, LvLine, LvmFilter, LvmThinFilter,
    RbdFilter, RbdImage, Wanted, WantedNames, ZfsDataset, ZfsFilter, stable_link,
};
pub use name::{BaseName, NameRule, VolumeName, VolumeNameError};
pub use naming::{
    BASE_SNAPSHOT, MIGRATION_SNAPSHOT, Naming, Owner, REPLICATION_SNAPSHOT_PREFIX, SnapshotPlace,
};
pub use node_name::NodeName;
pub use prune::{PruneCandidate, PruneMark, Retention, prune};
pub use raw_name::{RawName, Role};
pub use storage_id::{StorageId, StorageIdRef};
pub use storage_type::{ContentType, StorageType, VolumeType};
pub use vmid::{Digits, VmId};
pub use volume_id::{VolumeId, VolumeIdRef};
