// SPDX-License-Identifier: MIT OR Apache-2.0
//! From a Proxmox VE virtual machine configuration to the exact QEMU command line.
//!
//! A virtual machine of Proxmox VE is a text of options (`nodes/NODE/qemu-server/VMID.conf`) and some volumes. What runs is
//! a QEMU process whose command line is made anew at every start, from the configuration, the storages, and the host. This
//! crate computes that command line as values, byte for byte as `qm showcmd` prints it, on any machine:
//!
//! ```
//! use pve_config::guest::VmConfig;
//! use pve_config::storage::StorageConfig;
//! use pve_qemu::{Builder, Host, Options};
//! use pve_storage::Storages;
//!
//! let storages = Storages::from_config(&StorageConfig::parse(b"lvmthin: fast\n\tvgname pve\n\tthinpool data\n"));
//! let host = Host::default(); // a plain current node; or Host::probe(), or JSON
//! let builder = Builder::new(&host, &storages);
//!
//! let text = b"cores: 2\nmemory: 2048\nscsi0: fast:vm-100-disk-0,discard=on\nnet0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n";
//! let (config, findings) = VmConfig::parse_with(text, &builder.context());
//! assert!(findings.is_empty());
//! let command = builder.build("100".parse()?, &config, &Options::default())?;
//!
//! assert!(command.shell_line().starts_with(b"/usr/bin/kvm -id 100 -name vm100 -no-shutdown"));
//! assert!(command.iter().any(|argument| argument == "2,sockets=1,cores=2,maxcpus=2"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a command line depends on
//!
//! * **The configuration**: a section of it, main or a snapshot's ([`Options::snapshot`]).
//! * **The storages**: they know where a volume is and how QEMU is told so.
//! * **The host**: the version of QEMU, CPU models, bridges, PCI and USB devices, what paths are. All of that is one plain
//!   value, [`Host`], that can be written by hand, kept as JSON, or probed from a machine.
//! * **The caller**: whether a migration or a saved state dictates machine and CPU ([`Options`]).
//!
//! Nothing else: [`Builder::build`] touches no file, no clock and no process. What a start has to do besides running the
//! command (copy firmware variables, reserve PCI devices, start a TPM) is listed in [`CommandLine::effects`].
//!
//! # Machine versions
//!
//! The command line of the same configuration differs from version to version, but a running guest must not notice: the
//! *machine type* (`pc-i440fx-9.2+pve1`) freezes what it sees. [`Feature`] is the table of everything that depends on a
//! version; adding one is adding a line. [`pci`] is the table of the places that devices have for good.
//!
//! # Why is that there?
//!
//! Every part of every argument remembers which option, default or fact of the host it comes from, and under which rule:
//! see [`CommandLine::explain`]. [`diff`] compares two command lines by meaning: what a newer QEMU or an edit of the
//! configuration would change on the next start.
//!
//! # Talking to QEMU
//!
//! [`qmp`] is a small client for the protocol that a running QEMU is controlled by, [`agent`] one for the agent in a
//! guest. [`emulator`] asks an installed one which machine types and CPU models it has, to warn of command lines that it
//! would refuse. [`cloudinit`] makes the files and images from which a guest configures itself at its first boot.
//!
//! # Operations on guests
//!
//! [`create`], [`update`], [`pending`], [`hotplug`], [`resize`], [`disk_import`], [`disk_move`], [`template`], [`clone`],
//! [`snapshot`], [`rescan`], [`relocation`], [`unlock`] and [`destroy`] change configurations and volumes as the reference
//! does, step by step. [`power`] starts and stops VMs, and looks at those that run. Each module names the places where the
//! order of the reference's steps can lose or leak something.
//!
//! They see the world through [`node::Node`]: configurations, volumes, running machines, and chance.
//! [`node::DirectoryStore`] and [`node::StoredVolumes`] are the real ones; [`node::Rehearsal`] lets the same operation run
//! without changing anything and says what it would do.

pub mod agent;
mod argument;
mod assembly;
mod boot;
pub mod boot_order;
mod bridge;
mod builder;
mod clock;
pub mod clone;
pub mod cloudinit;
mod command_line;
mod conf;
mod confidential;
pub mod cpu;
pub mod create;
pub mod destroy;
mod diff;
mod disk;
mod disk_copy;
pub mod disk_import;
pub mod disk_move;
mod display;
mod drive;
pub mod emulator;
mod error;
mod explain;
mod firmware;
pub mod guest_id;
pub mod host;
pub mod hotplug;
pub mod iso;
mod left_behind;
mod machine;
mod mapping;
mod memory;
mod network;
mod new_disk;
pub mod node;
mod option_rules;
mod origin;
mod passthrough;
pub mod pci;
pub mod pending;
mod peripheral;
pub mod power;
mod process;
pub mod qmp;
mod release;
pub mod relocation;
pub mod rescan;
pub mod resize;
mod sharing;
pub mod shell;
pub mod snapshot;
pub mod template;
mod topology;
pub mod unlock;
pub mod update;
mod usb;
pub mod version;
mod vm_file;

pub use argument::{Arguments, Part};
pub use boot::boot_disk;
pub use builder::{Builder, Launch, LiveRestore, Options, State};
pub use command_line::{CommandLine, Copy, Effects, PciPreparation, SharedDirectory};
pub use diff::{Change, Difference, diff};
pub use disk_copy::DiskCopyError;
pub use error::{
    CommandError, DriveReason, MemoryReason, NetworkReason, Notice, PassthroughReason, Reason, ShareReason,
    UsbReason, VolumeReason, Warning,
};
pub use explain::Explained;
pub use host::Host;
pub use left_behind::LeftBehind;
pub use new_disk::{Misuse, NewDiskError};
pub use option_rules::OptionError;
pub use origin::{Description, Key, Origin, Rule, Source};
pub use version::{Feature, MachineVersion, QemuVersion, QemuVersionError};
pub use vm_file::VmFileError;
