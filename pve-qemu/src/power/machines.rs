// SPDX-License-Identifier: MIT OR Apache-2.0
//! The QEMU processes of this host: who runs, and what they are told over their sockets.

use std::time::Duration;

use bstr::{BString, ByteSlice};
use pve_config::guest::{VmConfig, VmSection};
use pve_storage::Storages;
use pve_volid::VmId;
use serde_json::{Value, json};

use super::dialect::{Surroundings, adapt};
use super::pid_file::Process;
use super::{Dialect, RunDir, plug, saved_state};
use crate::agent::GuestAgent;
use crate::builder::{Builder, Options};
use crate::command_line::CommandLine;
use crate::error::CommandError;
use crate::host::Host;
use crate::node::{MachineChange, Machines, Volumes, WorldError};
use crate::qmp::{Qmp, QmpError, patience};
use crate::snapshot::RunningMachine;
use crate::version::{MachineVersion, highest_revision};

/// The machines that run on this host, by the files of a run directory.
///
/// Every command has a connection of its own, so that nobody else is kept out for long; commands that begin with `guest-`
/// go to the agent in the guest.
///
/// With [`Dialect::Stock`] the commands that save the state of a machine (`savevm-start`, `query-savevm`,
/// `savevm-end`) are carried out by those of any QEMU: the state migrates into the file, after which the machine is
/// paused.
#[derive(Clone)]
pub struct LocalMachines<'a> {
    run_dir: RunDir,
    volumes: &'a dyn Volumes,
    dialect: Dialect,
    facts: Option<Host>,
}

impl<'a> LocalMachines<'a> {
    /// The machines of a run directory. `volumes` tells where the targets of copies are.
    #[must_use]
    pub fn new(run_dir: RunDir, volumes: &'a dyn Volumes, dialect: Dialect) -> Self {
        LocalMachines { run_dir, volumes, dialect, facts: None }
    }

    /// The same with facts of the host, from which the arguments of devices are computed; without, the host is asked when
    /// a device changes.
    #[must_use]
    pub fn with_facts(mut self, facts: Host) -> Self {
        self.facts = Some(facts);
        self
    }

    /// The run directory.
    #[must_use]
    pub fn run_dir(&self) -> &RunDir {
        &self.run_dir
    }

    /// The process of a VM.
    #[must_use]
    pub fn process(&self, vmid: VmId) -> Option<Process> {
        Process::qemu(&self.run_dir, vmid)
    }

    /// A connection to the monitor of a VM. Nobody else has one as long as it lives; answers may take `timeout`.
    ///
    /// # Errors
    /// If the VM does not run, or QEMU does not answer.
    pub fn connect(&self, vmid: VmId, timeout: Duration) -> Result<Qmp, WorldError> {
        let failed = |source| WorldError::Qmp { vmid, source: Box::new(source) };
        if !self.is_running(vmid) {
            return Err(WorldError::NotRunning { vmid });
        }
        Qmp::connect_patiently(&self.run_dir.qmp(vmid), timeout, timeout).map_err(failed)
    }

    /// A connection to the agent in the guest of a VM; without `timeout` each command gets the time it deserves.
    ///
    /// # Errors
    /// If the VM does not run, or no agent answers in it.
    pub fn agent(&self, vmid: VmId, timeout: Option<Duration>) -> Result<GuestAgent, WorldError> {
        if !self.is_running(vmid) {
            return Err(WorldError::NotRunning { vmid });
        }
        GuestAgent::connect(&self.run_dir.agent(vmid), timeout)
            .map_err(|source| WorldError::Qmp { vmid, source: Box::new(source) })
    }

    /// What a VM was started with, by the arguments of its process. A machine type without version is made complete by
    /// what QEMU says that it stands for, so that a state is loaded by the same machine later.
    ///
    /// # Errors
    /// If the VM does not run.
    pub fn running_machine(&self, vmid: VmId) -> Result<RunningMachine, WorldError> {
        let process = self.process(vmid).ok_or(WorldError::NotRunning { vmid })?;
        let mut running = RunningMachine::of_arguments(process.arguments())
            .ok_or_else(|| WorldError::Other(format!("the process of VM {vmid} names no machine type")))?;
        let known = self.qmp(vmid, "query-machines", json!({}), None)?;
        if let Some(name) = versioned(&running.machine, &known) {
            running.machine = name;
        }
        Ok(running)
    }
}

impl LocalMachines<'_> {
    pub(super) fn volumes(&self) -> &dyn Volumes {
        self.volumes
    }

    /// The arguments that a VM would be started with, if these were its options and the machine of the same version as
    /// that which runs.
    pub(super) fn arguments(&self, vmid: VmId, section: &VmSection<'_>) -> Result<Vec<BString>, WorldError> {
        let failed = |error: CommandError| WorldError::Config { vmid, reason: error.to_string() };
        let mut facts = self.facts.clone().unwrap_or_else(Host::probe);
        let mut machine = self.running_machine(vmid)?.machine;
        if self.dialect == Dialect::Stock
            && let Some(version) = MachineVersion::of_type(&machine).filter(|_| !machine.contains_str("+pve"))
        {
            // the revision that was left out when it was started
            machine.extend_from_slice(
                format!("+pve{}", highest_revision(version.major, version.minor)).as_bytes(),
            );
        }
        let mut config = VmConfig::new();
        config.main = section.borrowed();
        let options = Options { force_machine: Some(machine.as_bstr()), ..Options::default() };
        let command =
            command_line(&mut facts, self.volumes.storages(), vmid, &config, &options).map_err(failed)?;
        let around =
            Surroundings { exists: &|path| path.exists(), has_event_daemon: true, arch: &facts.arch };
        Ok(adapt(&command, self.dialect, &self.run_dir, around).arguments)
    }
}

/// The command line of a configuration, with what is found at the paths that it depends on.
pub(super) fn command_line(
    facts: &mut Host,
    storages: &Storages,
    vmid: VmId,
    config: &VmConfig<'_>,
    options: &Options<'_>,
) -> Result<CommandLine, CommandError> {
    let consulted = Builder::new(facts, storages).consulted(vmid, config, options);
    facts.probe_paths(consulted.iter().map(String::as_str));
    Builder::new(facts, storages).build(vmid, config, options)
}

/// The machine type that another is an alias of, with the revision that came with the alias.
fn versioned(machine: &BString, known: &Value) -> Option<BString> {
    let at = machine.find("+pve").unwrap_or(machine.len());
    let (name, revision) = machine.split_at(at);
    let found = known.as_array()?.iter().find(|entry| {
        let alias = entry["alias"].as_str();
        alias.is_some_and(|alias| alias.as_bytes() == name)
    })?;
    Some([found["name"].as_str()?.as_bytes(), revision].concat().into())
}

impl Machines for LocalMachines<'_> {
    fn is_running(&self, vmid: VmId) -> bool {
        self.process(vmid).is_some()
    }

    fn qmp(
        &self,
        vmid: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError> {
        let failed = |source: QmpError| WorldError::Qmp { vmid, source: Box::new(source) };
        let arguments =
            Some(arguments).filter(|arguments| arguments.as_object().is_none_or(|map| !map.is_empty()));
        if command.starts_with("guest-") {
            return self.agent(vmid, timeout)?.execute(command, arguments).map_err(failed);
        }
        let mut qmp = self.connect(vmid, timeout.unwrap_or_else(|| patience(command)))?;
        if self.dialect == Dialect::Stock
            && let Some(done) = saved_state::execute(&mut qmp, command, arguments.as_ref())
        {
            return done.map_err(failed);
        }
        qmp.execute(command, arguments).map_err(failed)
    }

    fn machine_version(&self, vmid: VmId) -> Option<MachineVersion> {
        let running = RunningMachine::of_arguments(self.process(vmid)?.arguments())?;
        // a type without version is that of the QEMU that runs, which need not be the one that facts tell of
        let complete = || MachineVersion::of_type(&self.running_machine(vmid).ok()?.machine);
        MachineVersion::of_type(&running.machine).or_else(complete)
    }

    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        plug::change(self, vmid, change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_stands_for_a_version() {
        let known =
            json!([{ "name": "pc-i440fx-7.2", "alias": "pc" }, { "name": "pc-q35-7.2", "alias": "q35" }]);
        assert_eq!(versioned(&"pc".into(), &known), Some("pc-i440fx-7.2".into()));
        assert_eq!(versioned(&"q35+pve0".into(), &known), Some("pc-q35-7.2+pve0".into()));
        assert_eq!(versioned(&"pc-q35-7.1".into(), &known), None);
    }
}
