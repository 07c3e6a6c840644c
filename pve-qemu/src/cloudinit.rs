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
//! use pve_qemu::cloudinit::{CustomParts, Resolver, Settings};
//!
//! let mut web = Settings::new(100.try_into()?);
//! web.name = Some("web".into());
//! web.user = Some("admin".into());
//! web.search_domain = Some("lan.example".into());
//! web.resolver = Resolver::parse(b"nameserver 192.0.2.53\n");
//!
//! let files = web.files(CustomParts::default())?;
//! assert_eq!(files.kind.label(), "cidata");
//! assert!(files.content("/user-data").is_some_and(|text| text.starts_with(
//!     b"#cloud-config\nhostname: web\nmanage_etc_hosts: true\nfqdn: web.lan.example\nuser: admin\n")));
//!
//! let image = files.image()?;
//! assert_eq!(image.get(0x8028..0x802e), Some(&b"cidata"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Three forms
//!
//! | `citype` | label | files | for |
//! | --- | --- | --- | --- |
//! | `nocloud` | `cidata` | `user-data`, `network-config`, `meta-data`, `vendor-data` | everything but Windows, by default |
//! | `configdrive2` | `config-2` | `openstack/latest/…`, `openstack/content/0000` | Windows, by default |
//! | `opennebula` | `CONTEXT` | `context.sh` | guests with OpenNebula's scripts |
//!
//! Any of the first two's files can be replaced by one of your own with `cicustom` ([`CustomParts`]).
//!
//! # When the guest takes notice
//!
//! The instance id is the SHA-1 of user data and network configuration. So a new password, key, host name or address
//! makes the guest go through its first boot again; new vendor data do not. And since the image is made at start, a
//! change on a running VM takes effect at the next one, unless `hotplug` contains `cloudinit`.
//!
//! # What to know about secrets
//!
//! `cipassword` lies on the CD as it lies in the configuration, readable by everybody in the guest. Changing it through
//! Proxmox VE hashes it ([`stored_password`]), giving it when the VM is created does not.

mod address;
mod config_drive;
mod custom;
mod dump;
mod error;
mod files;
mod kind;
mod nocloud;
mod open_nebula;
mod password;
mod resolver;
mod settings;
mod ssh_keys;
mod text;
mod user_data;

pub use address::{Addresses, IpConfigText, Ipv4, Ipv6};
pub use custom::{CustomParts, CustomVolumes, MAX_PART, SnippetSource};
pub use dump::{DumpPart, MASK};
pub use error::GenerateError;
pub use files::{FileSet, MAX_FILES};
pub use kind::CloudInitType;
pub use password::{Salt, hash_password, is_hashed, stored_password};
pub use resolver::Resolver;
pub use settings::{Interface, Settings, windows_version};
pub use ssh_keys::{SshKeyError, check_ssh_keys, decode_ssh_keys, encode_ssh_keys};
