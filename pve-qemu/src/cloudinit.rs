// SPDX-License-Identifier: MIT OR Apache-2.0
//! cloud-init: what a VM's configuration tells its guest, and the small CD image that carries it.
//!
//! A VM cloned from a template wakes up as a copy: same host name, same keys, no address of its own. What makes it
//! somebody is a CD of a few kilobytes in a virtual drive. cloud-init (on Windows cloudbase-init) looks for a CD with
//! a certain *label* early at boot, reads the files on it, and sets host name, user, password, keys, addresses and
//! name servers. It remembers the *instance id* it found there: the same id at the next boot means nothing is to be
//! done, another one means that this is a new machine.
//!
//! Proxmox VE makes that CD from the VM's options `ciuser`, `cipassword`, `sshkeys`, `ipconfigN`, `nameserver`,
//! `searchdomain`, `name` … whenever the VM starts. [`Settings`] holds those options, [`Settings::files`] computes the
//! files, and [`FileSet::image`] puts them into an image:
//!
//! ```
//! use pve_config::guest::VmConfig;
//! use pve_qemu::cloudinit::{CustomParts, Resolver, Settings};
//!
//! let (config, _) = VmConfig::parse(
//!     b"name: web\nciuser: admin\nsearchdomain: lan.example\nide2: local-lvm:vm-100-cloudinit,media=cdrom\n\
//!       net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\nipconfig0: ip=192.0.2.10/24,gw=192.0.2.1\n",
//! );
//! // guests without name servers of their own get those of the host
//! let host = Resolver::parse(b"nameserver 192.0.2.53\n");
//! let settings = Settings::of_config(&config.main, 100.try_into()?, host);
//! let files = settings.files(CustomParts::default())?;
//!
//! assert_eq!(files.kind.label(), "cidata");
//! assert_eq!(
//!     files.content("/user-data").map(String::from_utf8_lossy).as_deref(),
//!     Some("#cloud-config\nhostname: web\nmanage_etc_hosts: true\nfqdn: web.lan.example\nuser: admin\n\
//!           chpasswd:\n  expire: False\nusers:\n  - default\npackage_upgrade: true\n"),
//! );
//! let network = files.content("/network-config").map(String::from_utf8_lossy).unwrap_or_default();
//! assert!(network.contains("address: '192.0.2.10'\n        netmask: '255.255.255.0'\n"));
//! assert!(network.contains("- type: nameserver\n      address:\n      - '192.0.2.53'\n"));
//!
//! let image = files.image()?;
//! assert_eq!(image.get(0x8028..0x802e), Some(&b"cidata"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`write_images`] does all of that for a VM on a machine with storages: it reads custom parts from where `cicustom`
//! says, makes the volume if it is missing, and writes the image into it, be it a qcow2 file, a logical volume or an
//! image in a Ceph cluster. Nothing is escaped or quoted on the way: a host name with a colon gives user data that no
//! guest can parse, here as there.
//!
//! # Three forms
//!
//! | `citype` | label | files | for |
//! | --- | --- | --- | --- |
//! | `nocloud` | `cidata` | `user-data`, `network-config`, `meta-data`, `vendor-data` | everything but Windows, by default |
//! | `configdrive2` | `config-2` | `openstack/latest/…`, `openstack/content/0000` | Windows, by default |
//! | `opennebula` | `CONTEXT` | `context.sh` | guests with OpenNebula's scripts |
//!
//! Each file of the first two forms can be replaced by one of your own with `cicustom` ([`CustomParts`]).
//!
//! # When the guest takes notice
//!
//! The instance id is the SHA-1 of user data and network configuration. So a new password, key, host name or address
//! makes the guest go through its first boot again; new vendor data do not. And since the image is made at start, a
//! change on a running VM takes effect at the next one, unless `hotplug` contains `cloudinit`: [`Occasion`] tells when
//! images are made. What changed since the last one is recorded in the configuration's section `cloudinit` and listed
//! by [`pending_changes`].
//!
//! That a real guest understands all this is tested with a Debian that boots from a linked clone; what it answered is
//! printed in `docs/real-guest.md`.
//!
//! # What to know about secrets
//!
//! `cipassword` lies on the CD as it lies in the configuration, readable by everybody in the guest. Changing it through
//! Proxmox VE hashes it ([`stored_password`]), giving it when the VM is created does not.

mod address;
mod config_drive;
mod custom;
mod drive;
mod dump;
mod error;
mod files;
mod kind;
mod nocloud;
mod occasion;
mod open_nebula;
mod password;
mod pending;
mod refresh;
mod resolver;
mod settings;
mod snippet;
mod ssh_keys;
mod text;
mod user_data;
mod volume;

pub use address::{Addresses, Ipv4, Ipv6};
pub use custom::{CustomParts, MAX_PART, SnippetSource};
pub use drive::{VOLUME_KIB, image_drives, volume_format, volume_name};
pub use dump::{DumpPart, MASK};
pub use error::GenerateError;
pub use files::{FileSet, MAX_FILES};
pub use kind::CloudInitType;
pub use occasion::Occasion;
pub use password::{Salt, hash_password, is_hashed, stored_password};
pub use pending::{PendingCloudInit, pending_changes};
pub use refresh::{RefreshError, refresh};
pub use resolver::Resolver;
pub use settings::{Interface, Settings, windows_version};
pub use snippet::StoredSnippets;
pub use ssh_keys::{SshKeyError, check_ssh_keys, decode_ssh_keys, encode_ssh_keys};
pub use volume::{WriteError, WrittenImage, write_images};
