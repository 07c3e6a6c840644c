// SPDX-License-Identifier: MIT OR Apache-2.0
//! Typed values of the options of a container: network cards, root disk, mount points, devices, features.
//!
//! ```
//! use pve_config::container::{MountPoint, VolumeKey, VolumeKind};
//!
//! let key = VolumeKey::from_key(b"mp0").unwrap();
//! let mount = MountPoint::read(key, b"local-lvm:vm-100-disk-1,mp=/data,size=8G").unwrap();
//! assert_eq!(mount.mp, "/data");
//! assert_eq!(mount.kind(), VolumeKind::Volume);
//! assert_eq!(mount.print(key).unwrap(), "local-lvm:vm-100-disk-1,mp=/data,size=8G");
//! ```

mod device;
mod features;
mod mount_point;
mod net;

pub use device::{DEV, Device};
pub use features::{FEATURES, Features};
pub use mount_point::{IdMap, IdMapEntry, MP, MountPoint, ROOTFS, UNUSED, VolumeKey, VolumeKind};
pub use net::{NET, Net, NetType};
