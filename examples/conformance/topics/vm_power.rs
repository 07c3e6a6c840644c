// SPDX-License-Identifier: MIT OR Apache-2.0
//! VM_POWER: starting and stopping, as a trace of what is done to volumes, processes and files, with a simulated clock.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use bstr::BStr;
use pve_config::guest::VmConfig;
use pve_qemu::node::{MachineChange, Machines, Node, Volumes, WorldError};
use pve_qemu::power::{
    Flag, HookPhase, Launch, LaunchError, Power, PowerError, Processes, Property, Reboot, RunDir, Shutdown,
    Signal, Start, Stop, Suspend,
};
use pve_qemu::snapshot::RunningMachine;
use pve_qemu::{Builder, CommandLine, Host, Options};
use pve_volid::{FixedOffset, LocalZone as _, StorageId, VmId};
use serde_json::{Map, Value, json};

use super::life_world::{self, World};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let world = PowerWorld::of_case(case)?;
    let vmid = life_world::id(case, "vmid")?;
    let power = Power::new(world.node(), &world);
    let text = |name: &str| case["params"][name].as_str();
    let flag = |name: &str| matches!(text(name), Some(value) if value != "0");
    let timeout = match text("timeout") {
        Some(seconds) => Some(Duration::from_secs(seconds.parse().map_err(|_| "no number as timeout")?)),
        None => None,
    };
    let storage = match text("statestorage") {
        Some(id) => Some(StorageId::from_bytes(id.as_bytes()).map_err(|error| error.to_string())?),
        None => None,
    };
    let skip_lock = flag("skiplock");
    let done = match case["op"].as_str().unwrap_or_default() {
        "start" => {
            let mut start = Start::default();
            (start.skip_lock, start.timeout, start.paused) = (skip_lock, timeout, flag("paused"));
            power.start(vmid, &start)
        }
        "stop" => {
            let mut stop = Stop::default();
            (stop.skip_lock, stop.timeout, stop.keep_active) = (skip_lock, timeout, flag("keepActive"));
            power.stop(vmid, &stop)
        }
        "shutdown" => {
            let mut shutdown = Shutdown::default();
            (shutdown.skip_lock, shutdown.timeout) = (skip_lock, timeout);
            (shutdown.keep_active, shutdown.force_stop) = (flag("keepActive"), flag("forceStop"));
            power.shutdown(vmid, &shutdown)
        }
        "reboot" => {
            let mut reboot = Reboot::default();
            reboot.timeout = timeout;
            power.reboot(vmid, &reboot)
        }
        "reset" => power.reset(vmid, skip_lock),
        "suspend" => {
            let mut suspend = Suspend::default();
            (suspend.skip_lock, suspend.to_disk) = (skip_lock, flag("todisk"));
            suspend.state_storage = storage.as_ref();
            power.suspend(vmid, &suspend)
        }
        "resume" => power.resume(vmid, skip_lock),
        other => return Err(format!("unknown operation {other}")),
    };
    let mut actual = Map::new();
    actual.insert("trace".into(), world.base.ops());
    actual.insert("elapsed".into(), world.base.clock().into());
    actual.insert("config".into(), world.base.config(vmid));
    if done.is_err() {
        actual.insert("error".into(), true.into());
    }
    Ok(actual.into())
}

/// The world of a case: guests and volumes as in the other topics, and a QEMU that does what the case says.
struct PowerWorld<'c> {
    base: World,
    facts: &'c Value,
    run_dir: RunDir,
    runs: Cell<bool>,
    /// When the process will be gone, in seconds since the case began.
    ends_at: Cell<Option<u64>>,
    reboot: Cell<bool>,
    cleanup: Cell<bool>,
    /// How often `query-savevm` was asked.
    asked: Cell<u32>,
}

impl<'c> PowerWorld<'c> {
    fn of_case(case: &'c Value) -> Result<Self, String> {
        let runs = !matches!(case["running"], Value::Null | Value::Bool(false));
        Ok(PowerWorld {
            base: World::of_case(case)?.noting_use(),
            facts: &case["facts"],
            run_dir: RunDir::new("/run/qemu-server"),
            runs: Cell::new(runs),
            ends_at: Cell::new(None),
            reboot: Cell::new(false),
            cleanup: Cell::new(runs),
            asked: Cell::new(0),
        })
    }

    fn node(&self) -> Node<'_> {
        Node { machines: self, ..self.base.node() }
    }

    fn note(&self, entry: impl Into<String>) {
        self.base.note(entry);
    }

    fn is(&self, fact: &str) -> bool {
        !matches!(&self.facts[fact], Value::Null | Value::Bool(false))
            && self.facts[fact] != 0
            && self.facts[fact] != "0"
    }

    /// The process ends so many seconds from now, if the case says so.
    fn end_after(&self, fact: &str) {
        if let Some(seconds) = self.facts[fact].as_u64() {
            self.ends_at.set(Some(self.base.clock() + seconds));
        }
    }

    fn answer(&self, command: &str) -> Result<Value, WorldError> {
        let refused = |fact: &str| {
            if self.is(fact) { Err(WorldError::Other(format!("{command} fails"))) } else { Ok(()) }
        };
        match command {
            "query-status" => {
                return Ok(json!({ "status": self.facts["status"].as_str().unwrap_or("running") }));
            }
            "query-version" => return Ok(json!({ "qemu": { "major": 10, "minor": 1, "micro": 2 } })),
            "query-savevm" => {
                self.asked.set(self.asked.get() + 1);
                let status = match self.asked.get() {
                    _ if self.is("savevm_fails") => "failed",
                    1 | 2 => "active",
                    _ => "completed",
                };
                return Ok(json!({ "status": status }));
            }
            "qom-get" => return Ok(1500.into()),
            "guest-ping" if !self.is("agent_responds") => {
                return Err(WorldError::Other("the agent does not answer".to_owned()));
            }
            "quit" | "system_powerdown" | "guest-shutdown" => {
                refused("shutdown_cmd_fails")?;
                self.end_after("exits_after");
            }
            _ => {}
        }
        Ok(json!({}))
    }
}

impl Machines for PowerWorld<'_> {
    fn is_running(&self, _: VmId) -> bool {
        self.runs.get() && self.ends_at.get().is_none_or(|end| self.base.clock() < end)
    }

    fn qmp(
        &self,
        _: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError> {
        if command != "qom-get" {
            let timeout = timeout.map(|timeout| format!(" timeout={}", timeout.as_secs()));
            self.note(format!("qmp {command} {arguments}{}", timeout.unwrap_or_default()));
        }
        self.answer(command)
    }

    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError> {
        self.base.change(vmid, change)
    }
}

impl Processes for PowerWorld<'_> {
    fn run_dir(&self) -> &RunDir {
        &self.run_dir
    }

    fn flag(&self, _: VmId, flag: Flag) -> bool {
        self.state_of(flag).1.get()
    }

    fn set_flag(&self, _: VmId, flag: Flag) -> Result<(), PowerError> {
        self.change_flag(flag, true);
        Ok(())
    }

    fn clear_flag(&self, _: VmId, flag: Flag) -> Result<(), PowerError> {
        self.change_flag(flag, false);
        Ok(())
    }

    fn legacy_cleanup(&self) -> bool {
        self.is("legacy_cleanup")
    }

    fn end_storage_daemon(&self, _: VmId) -> Result<(), PowerError> {
        Ok(())
    }

    fn hook(&self, _: VmId, _: &BStr, phase: HookPhase) -> Result<(), String> {
        self.note(format!("hookscript {phase}"));
        if self.facts["hook_fail"] == phase.to_string().as_str() { Err("exit code 1".into()) } else { Ok(()) }
    }

    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, PowerError> {
        let shown = |forced: Option<&BStr>| forced.map_or_else(|| "-".to_owned(), ToString::to_string);
        self.note(format!(
            "build-command force-machine={} force-cpu={} nets-host-mtu={}",
            shown(options.force_machine),
            shown(options.force_cpu),
            shown(options.nets_host_mtu)
        ));
        if self.is("command_fail") {
            return Err(WorldError::Other("no command line".to_owned()).into());
        }
        let host = Host::default();
        Ok(Builder::new(&host, self.base.storages()).build(vmid, config, options)?)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        self.note(format!("run {program} {}", arguments.join(" ")));
        Ok(())
    }

    fn wait_for_unit(&self, unit: &str, patience: Duration) -> Result<(), String> {
        self.note(format!("wait-unit-removed {unit} timeout={}", patience.as_secs()));
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), LaunchError> {
        let mut properties = Map::new();
        properties.insert("description".into(), launch.scope.description().into());
        for (name, value) in launch.scope.properties() {
            let value = match value {
                Property::Text(text) => Value::from(text),
                Property::Units(units) => units.into(),
            };
            properties.insert(name.into(), value);
        }
        self.note(format!("enter-scope {} {}", launch.vmid, Value::from(properties)));
        if launch.command.effects.tpm {
            self.note("start-swtpm");
        }
        let timeout = launch.timeout.map_or_else(|| "-".to_owned(), |timeout| timeout.as_secs().to_string());
        self.note(format!("run-qemu extra=[] timeout={timeout} umask={:04o}", Launch::UMASK));
        if self.is("qemu_fail") {
            return Err(LaunchError::Failed {
                program: "kvm".into(),
                status: "exit code 1".into(),
                said: String::new(),
            });
        }
        self.runs.set(true);
        Ok(())
    }

    fn kill(&self, _: VmId, signal: Signal) -> Result<(), PowerError> {
        match signal {
            Signal::Terminate => {
                self.note("kill 15");
                self.end_after("exits_after_sigterm");
            }
            Signal::Kill => {
                self.note("kill 9");
                self.runs.set(false);
            }
        }
        Ok(())
    }

    fn unlink(&self, _: VmId, path: &Path) -> Result<(), PowerError> {
        self.note(format!("unlink {}", path.display()));
        Ok(())
    }

    fn release_devices(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        self.note("cleanup-pci");
        Ok(())
    }

    fn add_bridge_entries(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        self.note("bridge-fdb-add");
        Ok(())
    }

    fn remove_interfaces(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        Ok(())
    }

    fn running_machine(&self, _: VmId) -> Result<RunningMachine, PowerError> {
        let (machine, cpu) = ("pc-i440fx-10.1+pve1".into(), "kvm64,+sep".into());
        Ok(RunningMachine { machine, cpu, host_mtu: Vec::new() })
    }

    fn set_save_capabilities(&self, _: VmId) -> Result<(), PowerError> {
        self.note("set-migration-caps savevm=1");
        Ok(())
    }

    fn date(&self, time: i64) -> String {
        let date = FixedOffset::UTC.civil(time);
        let date = date.map(|time| format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day()));
        date.unwrap_or_default()
    }

    fn warn(&self, _: &str) {}
}

impl PowerWorld<'_> {
    fn change_flag(&self, flag: Flag, on: bool) {
        let (name, state) = self.state_of(flag);
        state.set(on);
        self.note(format!("{name}-flag {}", if on { "create" } else { "clear" }));
    }

    fn state_of(&self, flag: Flag) -> (&'static str, &Cell<bool>) {
        if flag == Flag::Reboot { ("reboot", &self.reboot) } else { ("cleanup", &self.cleanup) }
    }
}
