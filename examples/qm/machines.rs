// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machines that run: pid files and sockets in a directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bstr::{BString, ByteSlice};
use pve_qemu::node::{MachineChange, Machines, WorldError};
use pve_qemu::qmp::Qmp;
use pve_qemu::snapshot::RunningMachine;
use pve_volid::VmId;
use serde_json::Value;

/// How long QEMU may take to answer if a command says nothing else.
const PATIENCE: Duration = Duration::from_secs(5);

/// The directory with the pid files and sockets of machines.
pub(crate) struct RunDirectory(PathBuf);

impl RunDirectory {
    pub(crate) fn new(directory: PathBuf) -> Self {
        RunDirectory(directory)
    }

    /// What the memory of a running machine depends on.
    pub(crate) fn running(&self, vmid: VmId) -> Option<RunningMachine> {
        RunningMachine::of_arguments(self.arguments(vmid)?)
    }

    /// The arguments of the process, if it is this machine's.
    fn arguments(&self, vmid: VmId) -> Option<Vec<BString>> {
        let file = self.0.join(format!("{vmid}.pid"));
        let pid: u32 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).ok()?;
        let arguments: Vec<BString> = line.split(|byte| *byte == 0).map(BString::from).collect();
        let program = arguments.first()?;
        let name = program.rsplit_str("/").next().unwrap_or_default();
        let is_qemu = program.ends_with(b"kvm") || name.starts_with(b"qemu-");
        let at = arguments.iter().position(|argument| argument == "-pidfile")?;
        // the number may have gone to another process: this one must have been given the file
        let given = arguments.get(at + 1)?;
        let own =
            [file.as_os_str().as_encoded_bytes(), format!("/var/run/qemu-server/{vmid}.pid").as_bytes()]
                .into_iter()
                .zip([true, self.0 == Path::new("/run/qemu-server")])
                .any(|(path, counts)| counts && *given == path);
        (is_qemu && own).then_some(arguments)
    }
}

impl Machines for RunDirectory {
    fn is_running(&self, vmid: VmId) -> bool {
        self.arguments(vmid).is_some()
    }

    fn qmp(
        &self,
        vmid: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError> {
        let failed = |error: pve_qemu::qmp::QmpError| WorldError::Other(format!("VM {vmid}: {error}"));
        let socket = self.0.join(format!("{vmid}.qmp"));
        let mut qmp = Qmp::connect(&socket, timeout.unwrap_or(PATIENCE)).map_err(failed)?;
        let arguments =
            Some(arguments).filter(|arguments| arguments.as_object().is_some_and(|map| !map.is_empty()));
        qmp.execute(command, arguments).map_err(failed)
    }

    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        Err(WorldError::Other(format!("VM {vmid} runs; stop it first ({change:?})")))
    }
}
