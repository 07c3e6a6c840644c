// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files and sockets of running VMs: one directory, names that begin with the VM's number.

use std::path::{Path, PathBuf};

use pve_volid::VmId;

/// The directory of pid files, sockets and flags (spec: vm-lifecycle, "Paths").
///
/// ```
/// use pve_qemu::power::{Flag, RunDir};
///
/// let vmid = "100".parse()?;
/// assert_eq!(RunDir::default().pid(vmid).to_str(), Some("/var/run/qemu-server/100.pid"));
/// let trial = RunDir::new("/tmp/trial");
/// assert_eq!(trial.flag(vmid, Flag::Reboot).to_str(), Some("/tmp/trial/100.reboot"));
/// assert_eq!(trial.place("/run/qemu-server/100.vnc".as_ref()).to_str(), Some("/tmp/trial/100.vnc"));
/// # Ok::<(), pve_volid::IdError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDir(PathBuf);

/// A file whose existence says something about a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flag {
    /// The VM is to be started again when it has ended.
    Reboot,
    /// The VM has been started, and its end has not been cleaned up after.
    Cleanup,
}

impl Default for RunDir {
    /// That of the reference.
    fn default() -> Self {
        RunDir::new(RunDir::REFERENCE)
    }
}

impl RunDir {
    /// The directory that the reference uses.
    pub const REFERENCE: &str = "/var/run/qemu-server";
    /// Its two names; `/run` and `/var/run` are one directory there.
    pub(super) const REFERENCE_NAMES: [&str; 2] = [RunDir::REFERENCE, "/run/qemu-server"];

    /// A directory of one's choice.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        RunDir(path.into())
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Whether it is the one that the reference uses, by either of its names.
    #[must_use]
    pub fn is_reference(&self) -> bool {
        RunDir::REFERENCE_NAMES.iter().any(|path| self.0 == Path::new(path))
    }

    /// Where a file is that the reference has at `path`: in this directory, if it is in the reference's.
    #[must_use]
    pub fn place(&self, path: &Path) -> PathBuf {
        match RunDir::REFERENCE_NAMES.iter().find_map(|old| path.strip_prefix(old).ok()) {
            Some(inside) if !self.is_reference() => self.0.join(inside),
            _ => path.to_owned(),
        }
    }

    /// Socket of the event daemon, which is told when a guest shuts down.
    #[must_use]
    pub fn events(&self) -> PathBuf {
        if self.is_reference() { "/var/run/qmeventd.sock".into() } else { self.0.join("qmeventd.sock") }
    }

    /// The file of the firmware's variables of a VM without EFI disk.
    #[must_use]
    pub fn firmware_variables(&self, vmid: VmId) -> PathBuf {
        self.0.join("efidisk").join(format!("{vmid}-ovmf.fd"))
    }

    /// Number of the QEMU process.
    #[must_use]
    pub fn pid(&self, vmid: VmId) -> PathBuf {
        self.file(vmid, "pid")
    }

    /// Socket of the QMP monitor.
    #[must_use]
    pub fn qmp(&self, vmid: VmId) -> PathBuf {
        self.file(vmid, "qmp")
    }

    /// Socket of the guest agent.
    #[must_use]
    pub fn agent(&self, vmid: VmId) -> PathBuf {
        self.file(vmid, "qga")
    }

    /// Socket of the TPM emulator.
    #[must_use]
    pub fn tpm(&self, vmid: VmId) -> PathBuf {
        self.file(vmid, "swtpm")
    }

    /// Number of the TPM emulator's process.
    #[must_use]
    pub fn tpm_pid(&self, vmid: VmId) -> PathBuf {
        self.file(vmid, "swtpm.pid")
    }

    /// What the TPM emulator has to say.
    #[must_use]
    pub fn tpm_log(&self, vmid: VmId) -> PathBuf {
        self.0.join(format!("{vmid}-swtpm.log"))
    }

    /// Number of the storage daemon's process.
    #[must_use]
    pub fn storage_daemon_pid(&self, vmid: VmId) -> PathBuf {
        self.0.join(format!("qsd-{vmid}.pid"))
    }

    /// Socket of the storage daemon.
    #[must_use]
    pub fn storage_daemon(&self, vmid: VmId) -> PathBuf {
        self.file(vmid, "qsd")
    }

    /// A flag.
    #[must_use]
    pub fn flag(&self, vmid: VmId, flag: Flag) -> PathBuf {
        self.file(vmid, flag.extension())
    }

    /// If this file exists, ends of VMs are cleaned up after without looking for [`Flag::Cleanup`]; a node has it
    /// from an update until it is booted.
    #[must_use]
    pub fn legacy_cleanup(&self) -> PathBuf {
        self.0.join("force-legacy-cleanup")
    }

    /// The files that are removed after the end of a VM, in that order.
    #[must_use]
    pub fn leftovers(&self, vmid: VmId) -> [PathBuf; 5] {
        ["mon", "qmp", "pid", "vnc", "qga"].map(|extension| self.file(vmid, extension))
    }

    fn file(&self, vmid: VmId, extension: &str) -> PathBuf {
        self.0.join(format!("{vmid}.{extension}"))
    }
}

impl Flag {
    /// Its ending.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Flag::Reboot => "reboot",
            Flag::Cleanup => "cleanup",
        }
    }
}
