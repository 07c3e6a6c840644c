// SPDX-License-Identifier: MIT OR Apache-2.0
//! A dry run of starts and stops: processes are only asked, and what would be done to them becomes part of the plan.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bstr::BStr;
use pve_config::guest::VmConfig;
use pve_volid::VmId;

use super::{Flag, HookPhase, Launch, LaunchError, PowerError, ProcessFacts, Processes, RunDir, Signal};
use crate::builder::Options;
use crate::command_line::CommandLine;
use crate::node::{PlanStep, Rehearsal};
use crate::snapshot::RunningMachine;

/// Processes that nothing happens to. The steps are added to those of the rehearsal whose node the operation works on.
///
/// ```no_run
/// # use pve_qemu::node::Node;
/// # use pve_qemu::power::Processes;
/// # fn example(node: Node<'_>, processes: &dyn Processes) -> Result<(), Box<dyn std::error::Error>> {
/// use pve_qemu::node::Rehearsal;
/// use pve_qemu::power::{Power, RehearsedProcesses, Start};
///
/// let rehearsal = Rehearsal::new(node);
/// let rehearsed = RehearsedProcesses::new(&rehearsal, processes);
/// Power::new(rehearsal.node(), &rehearsed).start("100".parse()?, &Start::default())?;
/// for step in rehearsal.steps() {
///     println!("{step}");
/// }
/// # Ok(())
/// # }
/// ```
pub struct RehearsedProcesses<'a> {
    rehearsal: &'a Rehearsal<'a>,
    processes: &'a dyn Processes,
    /// Flags that would have been set or cleared.
    flags: RefCell<BTreeMap<(VmId, &'static str), bool>>,
}

impl<'a> RehearsedProcesses<'a> {
    /// Processes for a rehearsal; `processes` are those that are asked.
    #[must_use]
    pub fn new(rehearsal: &'a Rehearsal<'a>, processes: &'a dyn Processes) -> Self {
        RehearsedProcesses { rehearsal, processes, flags: RefCell::default() }
    }

    fn plan(&self, vmid: VmId, what: impl Into<String>) {
        self.rehearsal.plan(PlanStep::Process { vmid, what: what.into() });
    }

    fn change_flag(&self, vmid: VmId, flag: Flag, on: bool) {
        // clearing what is not set changes nothing
        if on || self.flag(vmid, flag) {
            let path = self.run_dir().flag(vmid, flag);
            self.plan(vmid, format!("{} {}", if on { "write" } else { "remove" }, path.display()));
        }
        self.flags.borrow_mut().insert((vmid, flag.extension()), on);
    }
}

impl Processes for RehearsedProcesses<'_> {
    fn run_dir(&self) -> &RunDir {
        self.processes.run_dir()
    }

    fn flag(&self, vmid: VmId, flag: Flag) -> bool {
        let planned = self.flags.borrow().get(&(vmid, flag.extension())).copied();
        planned.unwrap_or_else(|| self.processes.flag(vmid, flag))
    }

    fn set_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.change_flag(vmid, flag, true);
        Ok(())
    }

    fn clear_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.change_flag(vmid, flag, false);
        Ok(())
    }

    fn legacy_cleanup(&self) -> bool {
        self.processes.legacy_cleanup()
    }

    fn end_storage_daemon(&self, vmid: VmId) -> Result<(), PowerError> {
        let file = self.run_dir().storage_daemon_pid(vmid);
        if file.exists() {
            self.plan(vmid, format!("end the storage daemon of {}", file.display()));
        }
        Ok(())
    }

    fn hook(&self, vmid: VmId, script: &BStr, phase: HookPhase) -> Result<(), String> {
        self.plan(vmid, format!("run hook script {script} {vmid} {phase}"));
        Ok(())
    }

    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, PowerError> {
        self.processes.command(vmid, config, options)
    }

    /// What is only run to make room for a scope is not worth a step.
    fn run(&self, _: &str, _: &[&str]) -> Result<(), String> {
        Ok(())
    }

    fn wait_for_unit(&self, _: &str, _: Duration) -> Result<(), String> {
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), LaunchError> {
        let vmid = launch.vmid;
        if launch.command.effects.tpm {
            self.plan(vmid, format!("run a TPM emulator at {}", self.run_dir().tpm(vmid).display()));
        }
        for share in &launch.command.effects.shared_directories {
            self.plan(vmid, format!("serve directory {} at {}", share.path, share.socket.display()));
        }
        for copy in &launch.command.effects.copies {
            self.plan(vmid, format!("copy {} to {}", copy.from.display(), copy.to.display()));
        }
        self.plan(vmid, format!("run {}", launch.command.shell_line()));
        self.rehearsal.set_running(vmid, true);
        Ok(())
    }

    fn kill(&self, vmid: VmId, signal: Signal) -> Result<(), PowerError> {
        self.plan(vmid, format!("send {signal:?} to the process of VM {vmid}"));
        self.rehearsal.set_running(vmid, false);
        Ok(())
    }

    fn facts(&self, vmid: VmId) -> Option<ProcessFacts> {
        self.processes.facts(vmid)
    }

    fn unlink(&self, vmid: VmId, path: &Path) -> Result<(), PowerError> {
        if path.exists() {
            self.plan(vmid, format!("remove {}", path.display()));
        }
        Ok(())
    }

    fn release_devices(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        Ok(())
    }

    fn add_bridge_entries(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        Ok(())
    }

    fn remove_interfaces(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        Ok(())
    }

    fn running_machine(&self, vmid: VmId) -> Result<RunningMachine, PowerError> {
        self.processes.running_machine(vmid)
    }

    fn set_save_capabilities(&self, vmid: VmId) -> Result<(), PowerError> {
        self.plan(vmid, format!("tell VM {vmid} how its state is saved"));
        Ok(())
    }

    fn date(&self, time: i64) -> String {
        self.processes.date(time)
    }

    fn warn(&self, message: &str) {
        self.processes.warn(message);
    }
}
