// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result: an argument vector with its reasons, what was odd about it, and what a start has to do first.

use std::path::PathBuf;

use bstr::{BStr, BString};

use crate::argument::{Arguments, Part};
use crate::error::{Notice, Warning};
use crate::origin::Key;
use crate::shell;

/// A command line that would start a virtual machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    arguments: Arguments,
    /// What is odd about the configuration.
    pub warnings: Vec<Warning>,
    /// What the reference mentions besides.
    pub notices: Vec<Notice>,
    /// What must be done before the command is run.
    pub effects: Effects,
}

impl CommandLine {
    pub(crate) fn new(
        arguments: Arguments,
        warnings: Vec<Warning>,
        notices: Vec<Notice>,
        effects: Effects,
    ) -> Self {
        CommandLine { arguments, warnings, notices, effects }
    }

    /// The argument vector, the program first.
    #[must_use]
    pub fn arguments(&self) -> &Arguments {
        &self.arguments
    }

    /// The arguments one by one, the program first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &BStr> + '_ {
        self.arguments.iter()
    }

    /// The parts of the argument at `index`, each with its reason.
    pub fn parts(&self, index: usize) -> impl Iterator<Item = Part<'_>> + '_ {
        self.arguments.parts(index)
    }

    /// The line for a shell, as `qm showcmd` prints it, without the line feed.
    #[must_use]
    pub fn shell_line(&self) -> BString {
        shell::join(self.iter().map(|argument| argument.as_ref()))
    }

    /// The line with every option on a line of its own, as `qm showcmd --pretty` prints it.
    #[must_use]
    pub fn pretty(&self) -> BString {
        shell::pretty(BStr::new(&self.shell_line()))
    }
}

/// What a start has to do besides running the command. Building the command line does none of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Effects {
    /// Files to copy.
    pub copies: Vec<Copy>,
    /// PCI devices to reserve and to bind or create.
    pub pci_devices: Vec<PciPreparation>,
    /// The port for SPICE, to be reserved; the host facts tell which is free.
    pub spice_port: Option<u16>,
    /// A TPM emulator must listen on `/var/run/qemu-server/VMID.swtpm`.
    pub tpm: bool,
    /// Daemons that serve directories.
    pub shared_directories: Vec<SharedDirectory>,
    /// RBD images of EFI disks, whose `rbd_cache_policy` must be `writeback`.
    pub rbd_writeback: Vec<BString>,
    /// The uuid that a start passes with `-uuid`, for NVIDIA's mediated devices.
    pub uuid: Option<BString>,
    /// Addresses made up for network cards that configure none: card, address. A real start takes random ones.
    pub made_up_macs: Vec<(Key, String)>,
}

/// A file to copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// From here.
    pub from: PathBuf,
    /// To here, replacing what is there.
    pub to: PathBuf,
}

/// A PCI device to make ready (spec: qemu-command-devices, "Reservations (real start only)").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PciPreparation {
    /// The option that names it.
    pub key: Key,
    /// Full ids of its functions; of a mediated device its possible parents.
    pub ids: Vec<String>,
    /// Type of the mediated device to create.
    pub mediated_type: Option<BString>,
    /// Uuid of the mediated device to create.
    pub mediated_uuid: Option<String>,
    /// Number of the vGPU type to set, for newer NVIDIA drivers.
    pub nvidia_type: Option<BString>,
    /// The device keeps its driver instead of being bound to VFIO.
    pub keep_driver: bool,
}

/// A daemon that serves a directory (spec: qemu-command-devices, "virtiofs").
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SharedDirectory {
    /// Socket it listens on.
    pub socket: PathBuf,
    /// The directory.
    pub path: BString,
    /// Cache policy, if configured.
    pub cache: Option<BString>,
    /// Extended attributes are passed on.
    pub xattr: bool,
    /// POSIX access control lists are passed on.
    pub acl: bool,
    /// The guest may ask for direct I/O.
    pub direct_io: bool,
    /// The guest is a Windows, which needs stable file handles.
    pub windows: bool,
}
