// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes and machines that die with the program at a step of its choice, as configurations and volumes do.

use std::path::Path;
use std::time::Duration;

use bstr::BStr;
use pve_config::guest::VmConfig;
use pve_qemu::node::{Facts, MachineChange, Machines, Node, SystemChance, WorldError};
use pve_qemu::power::{
    Dialect, Flag, HookPhase, Launch, LaunchError, LocalProcesses, Power, PowerError, Processes, RunDir,
    Signal,
};
use pve_qemu::snapshot::RunningMachine;
use pve_qemu::{CommandLine, Host, Options};
use pve_volid::VmId;
use serde_json::Value;

use super::Ground;
use crate::mortal::Mortal;

impl Ground {
    /// Lets `body` work on the node, until it dies at step `end`.
    pub(crate) fn on_mortal(&self, end: usize, body: impl FnOnce(Power<'_>)) {
        let (volumes, facts) = (self.volumes(), Facts::default());
        let processes = LocalProcesses::new(self.run_dir.clone(), Host::probe(), &volumes, &self.host)
            .with_dialect(Dialect::Stock);
        let node = Mortal::new(self.configs(), self.volumes(), Some(end));
        let machines = MortalProcesses { node: &node, processes: &processes };
        let node = Node {
            configs: &node,
            volumes: &node,
            machines: &machines,
            chance: &SystemChance,
            facts: &facts,
        };
        body(Power::new(node, &machines));
    }
}

struct MortalProcesses<'a> {
    node: &'a Mortal<'a>,
    processes: &'a LocalProcesses<'a>,
}

impl Machines for MortalProcesses<'_> {
    fn is_running(&self, vmid: VmId) -> bool {
        self.processes.machines().is_running(vmid)
    }
    fn qmp(
        &self,
        vmid: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError> {
        self.node.step(|| self.processes.machines().qmp(vmid, command, arguments, timeout))
    }
    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        self.node.step(|| self.processes.machines().change(vmid, change))
    }
}

impl Processes for MortalProcesses<'_> {
    fn run_dir(&self) -> &RunDir {
        self.processes.run_dir()
    }
    fn flag(&self, vmid: VmId, flag: Flag) -> bool {
        self.processes.flag(vmid, flag)
    }
    fn set_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.node.step(|| self.processes.set_flag(vmid, flag))
    }
    fn clear_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.node.step(|| self.processes.clear_flag(vmid, flag))
    }
    fn legacy_cleanup(&self) -> bool {
        self.processes.legacy_cleanup()
    }
    fn end_storage_daemon(&self, vmid: VmId) -> Result<(), PowerError> {
        self.processes.end_storage_daemon(vmid)
    }
    fn hook(&self, vmid: VmId, script: &BStr, phase: HookPhase) -> Result<(), String> {
        self.node.step(|| self.processes.hook(vmid, script, phase))
    }
    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, PowerError> {
        self.processes.command(vmid, config, options)
    }
    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        self.processes.run(program, arguments)
    }
    fn wait_for_unit(&self, unit: &str, patience: Duration) -> Result<(), String> {
        self.processes.wait_for_unit(unit, patience)
    }
    fn launch(&self, launch: &Launch<'_>) -> Result<(), LaunchError> {
        self.node.step(|| self.processes.launch(launch))
    }
    fn kill(&self, vmid: VmId, signal: Signal) -> Result<(), PowerError> {
        self.processes.kill(vmid, signal)
    }
    fn unlink(&self, vmid: VmId, path: &Path) -> Result<(), PowerError> {
        self.processes.unlink(vmid, path)
    }
    fn release_devices(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        self.processes.release_devices(vmid, config)
    }
    fn add_bridge_entries(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        self.processes.add_bridge_entries(vmid, config)
    }
    fn remove_interfaces(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        self.processes.remove_interfaces(vmid, config)
    }
    fn running_machine(&self, vmid: VmId) -> Result<RunningMachine, PowerError> {
        self.processes.running_machine(vmid)
    }
    fn set_save_capabilities(&self, vmid: VmId) -> Result<(), PowerError> {
        self.processes.set_save_capabilities(vmid)
    }
    fn date(&self, time: i64) -> String {
        self.processes.date(time)
    }
    fn warn(&self, message: &str) {
        self.processes.warn(message);
    }
}
