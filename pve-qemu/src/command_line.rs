// SPDX-License-Identifier: MIT OR Apache-2.0
//! The result: an argument vector with its reasons, what was odd about it, and what a start has to do first.

use std::path::PathBuf;

use bstr::{BStr, BString};
use serde::{Serialize, Serializer};

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
///
/// As JSON it is for people and programs that want to do it themselves; bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
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
    #[serde(serialize_with = "texts")]
    pub rbd_writeback: Vec<BString>,
    /// The uuid that a start passes with `-uuid`, for NVIDIA's mediated devices.
    #[serde(serialize_with = "optional_text")]
    pub uuid: Option<BString>,
    /// Addresses made up for network cards that configure none: card, address. A real start takes random ones.
    #[serde(serialize_with = "by_option")]
    pub made_up_macs: Vec<(Key, String)>,
}

/// A file to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Copy {
    /// From here.
    pub from: PathBuf,
    /// To here, replacing what is there.
    pub to: PathBuf,
}

/// A PCI device to make ready (spec: qemu-command-devices, "Reservations (real start only)").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct PciPreparation {
    /// The option that names it.
    #[serde(serialize_with = "display")]
    pub key: Key,
    /// Full ids of its functions; of a mediated device its possible parents.
    pub ids: Vec<String>,
    /// Type of the mediated device to create.
    #[serde(serialize_with = "optional_text")]
    pub mediated_type: Option<BString>,
    /// Uuid of the mediated device to create.
    pub mediated_uuid: Option<String>,
    /// Number of the vGPU type to set, for newer NVIDIA drivers.
    #[serde(serialize_with = "optional_text")]
    pub nvidia_type: Option<BString>,
    /// The device keeps its driver instead of being bound to VFIO.
    pub keep_driver: bool,
}

/// A daemon that serves a directory (spec: qemu-command-devices, "virtiofs").
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SharedDirectory {
    /// Socket it listens on.
    pub socket: PathBuf,
    /// The directory.
    #[serde(serialize_with = "display")]
    pub path: BString,
    /// Cache policy, if configured.
    #[serde(serialize_with = "optional_text")]
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

fn display<S: Serializer>(value: &impl std::fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn optional_text<S: Serializer>(text: &Option<BString>, serializer: S) -> Result<S::Ok, S::Error> {
    text.as_ref().map(ToString::to_string).serialize(serializer)
}

fn texts<S: Serializer>(texts: &[BString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(ToString::to_string))
}

fn by_option<S: Serializer>(values: &[(Key, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(values.iter().map(|(key, value)| (key.to_string(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effects_are_told_as_json() {
        let effects = Effects {
            copies: vec![Copy { from: "/a".into(), to: "/b".into() }],
            tpm: true,
            rbd_writeback: vec!["ceph:x".into()],
            made_up_macs: vec![(Key::nth("net", 3), "02:00:00:00:00:01".into())],
            pci_devices: vec![PciPreparation {
                key: Key::nth("hostpci", 0),
                ids: vec!["0000:01:00.0".into()],
                mediated_type: Some("nvidia-63".into()),
                mediated_uuid: None,
                nvidia_type: None,
                keep_driver: false,
            }],
            ..Effects::default()
        };
        let json = serde_json::to_value(&effects).unwrap();
        assert_eq!(json["copies"][0]["to"], "/b");
        assert_eq!(json["rbd_writeback"][0], "ceph:x");
        assert_eq!(json["made_up_macs"]["net3"], "02:00:00:00:00:01");
        assert_eq!(json["pci_devices"][0]["key"], "hostpci0");
        assert_eq!(json["pci_devices"][0]["mediated_type"], "nvidia-63");
        assert!(json["uuid"].is_null() && json["spice_port"].is_null());
    }
}
