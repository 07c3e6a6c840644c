// SPDX-License-Identifier: MIT OR Apache-2.0
//! The processes of this host: QEMU is really run, and what it needs around it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;
use pve_config::vm::Net;
use pve_storage::{Command, Streams};
use pve_volid::{FixedOffset, LocalZone as _, VmId};
use serde_json::{Map, Value, json};

use super::auxiliary::Auxiliaries;
use super::dialect::{Adapted, Surroundings, adapt};
use super::machines::command_line;
use super::pid_file::{Process, ProcessFacts};
use super::{
    Dialect, Flag, HookPhase, Launch, LaunchError, LocalMachines, PowerError, Processes, Property, RunDir,
    Signal, saved_state,
};
use crate::builder::Options;
use crate::command_line::{CommandLine, PciPreparation};
use crate::host::Host;
use crate::node::{Machines, Volumes, WorldError};
use crate::qmp::patience;
use crate::snapshot::RunningMachine;

/// How long a storage daemon may take to end.
const DAEMON_PATIENCE: Duration = Duration::from_secs(10);
/// What a program may take longer than QEMU itself before it is given up.
const GRACE: Duration = Duration::from_secs(5);
/// Capabilities of a migration that are on when a state is saved; all others are off.
const SAVE_CAPABILITIES: [&str; 3] = ["auto-converge", "xbzrle", "dirty-bitmaps"];

/// The processes of this host.
///
/// With the run directory of the reference a VM is run as there: in a systemd scope, where systemd is there. With another
/// one nothing of the host is touched but that directory, so nobody needs to be root for a trial, and a VM of the same
/// number that Proxmox VE runs is left alone.
///
/// ```no_run
/// use pve_qemu::Host;
/// use pve_qemu::node::{DirectoryStore, Facts, Node, StoredVolumes, SystemChance};
/// use pve_qemu::power::{Dialect, LocalProcesses, Power, RunDir, Start, Stop};
/// use pve_storage::{LocalHost, Session, Storage, Storages};
///
/// let configs = DirectoryStore::new("/tmp/trial/pve", "pve1").with_locks_in("/tmp/trial/lock");
/// let disks = Storage::new("local".parse()?, "dir").with("path", "/tmp/trial/vz").with("content", "images");
/// let storages: Storages = [disks].into_iter().collect();
/// let local = LocalHost::new(|event| eprintln!("{event:?}")).with_locks_in("/tmp/trial/lock");
/// let volumes = StoredVolumes::new(Session::new(&storages, &local, "pve1"), Default::default())
///     .with_cloudinit_in("/tmp/trial/cloudinit");
///
/// let processes = LocalProcesses::new(RunDir::new("/tmp/trial/run"), Host::probe(), &volumes, &local)
///     .with_dialect(Dialect::Stock)
///     .with_listener(|message| eprintln!("{message}"));
/// let facts = Facts::default();
/// let node = Node {
///     configs: &configs,
///     volumes: &volumes,
///     machines: processes.machines(),
///     chance: &SystemChance,
///     facts: &facts,
/// };
/// let power = Power::new(node, &processes);
/// power.start("100".parse()?, &Start::default())?;
/// println!("{:?}", power.status("100".parse()?)?);
/// power.stop("100".parse()?, &Stop::default())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct LocalProcesses<'a> {
    run_dir: RunDir,
    facts: Host,
    volumes: &'a dyn Volumes,
    host: &'a dyn pve_storage::Host,
    machines: LocalMachines<'a>,
    dialect: Dialect,
    scopes: bool,
    listener: Box<dyn Fn(&str) + 'a>,
}

impl<'a> LocalProcesses<'a> {
    /// The processes that have their files in a run directory. `facts` are what command lines are computed from
    /// ([`Host::probe`]); `host` runs programs.
    #[must_use]
    pub fn new(
        run_dir: RunDir,
        facts: Host,
        volumes: &'a dyn Volumes,
        host: &'a dyn pve_storage::Host,
    ) -> Self {
        let dialect = Dialect::default();
        LocalProcesses {
            scopes: run_dir.is_reference() && has_systemd(),
            machines: LocalMachines::new(run_dir.clone(), volumes, dialect).with_facts(facts.clone()),
            listener: Box::new(|_| {}),
            run_dir,
            facts,
            volumes,
            host,
            dialect,
        }
    }

    /// The same with another kind of QEMU.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.dialect = dialect;
        let machines = LocalMachines::new(self.run_dir.clone(), self.volumes, dialect);
        self.machines = machines.with_facts(self.facts.clone());
        self
    }

    /// The same with somebody who is told what is odd, and what was changed in a command line for another QEMU.
    #[must_use]
    pub fn with_listener(mut self, listener: impl Fn(&str) + 'a) -> Self {
        self.listener = Box::new(listener);
        self
    }

    /// The same with or without systemd scopes. They are named by the number of the VM alone: with another run directory
    /// than the reference's, a start would end the scope of a VM of the same number that Proxmox VE runs.
    #[must_use]
    pub fn with_scopes(mut self, scopes: bool) -> Self {
        self.scopes = scopes;
        self
    }

    /// The running machines, for [`Node::machines`](crate::node::Node).
    #[must_use]
    pub fn machines(&self) -> &LocalMachines<'a> {
        &self.machines
    }

    /// Whether an event daemon listens, which ends QEMU when a guest has shut down, and cleans up. Where there is none,
    /// whoever sees a VM end calls [`Power::cleanup`](super::Power::cleanup); so does whoever has rebooted one.
    #[must_use]
    pub fn has_event_daemon(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.run_dir.events()).is_ok()
    }

    /// The command line as it is run here.
    #[must_use]
    pub fn adapt(&self, command: &CommandLine) -> Adapted {
        let around = Surroundings {
            exists: &|path| path.exists(),
            has_event_daemon: self.dialect == Dialect::Proxmox || self.has_event_daemon(),
            arch: &self.facts.arch,
        };
        adapt(command, self.dialect, &self.run_dir, around)
    }

    /// Makes the run directory and the files that the command line names.
    fn prepare(&self, launch: &Launch<'_>, adapted: &Adapted) -> Result<(), LaunchError> {
        let failed = |path: &Path, error: std::io::Error| LaunchError::Preparation {
            what: path.display().to_string(),
            reason: error.to_string(),
        };
        let directory = self.run_dir.path();
        // a comma or a quotation mark would end the name for QEMU
        if directory.to_str().is_none_or(|path| path.contains([',', '"', '\\', '\n'])) {
            return Err(LaunchError::Preparation {
                what: format!("run directory {}", directory.display()),
                reason: "its name cannot be part of a command line; choose one of letters and digits".into(),
            });
        }
        make_directory(directory).map_err(|error| failed(directory, error))?;
        for (path, content) in &adapted.files {
            fs::write(path, content).map_err(|error| failed(path, error))?;
        }
        let effects = &launch.command.effects;
        for copy in &effects.copies {
            let to = self.run_dir.place(&copy.to);
            let made = to.parent().map_or(Ok(()), make_directory);
            made.and_then(|()| fs::copy(&copy.from, &to).map(drop)).map_err(|error| failed(&to, error))?;
        }
        for image in &effects.rbd_writeback {
            let command = Command::change("/usr/bin/rbd")
                .args(["config", "image", "set"])
                .operand(image)
                .args(["rbd_cache_policy", "writeback"]);
            self.succeed(&command)?;
        }
        effects.pci_devices.first().map_or(Ok(()), refuse_pci)
    }

    /// Runs a program that must succeed.
    fn succeed(&self, command: &Command) -> Result<(), LaunchError> {
        LaunchError::check(command.program().to_string(), self.host.run(command, Streams::none()))
    }

    /// The command with its scope around it.
    fn scoped(&self, launch: &Launch<'_>, arguments: &[BString]) -> Command {
        let (program, rest) = match arguments {
            [program, rest @ ..] => (program.to_string(), rest),
            [] => (String::new(), arguments),
        };
        let command = if self.scopes {
            let mut command = Command::change("/usr/bin/systemd-run")
                .args(["--scope", "--quiet"])
                .arg(format!("--unit={}", launch.scope.unit()))
                .arg(format!("--description={}", launch.scope.description()));
            for (name, value) in launch.scope.properties() {
                let value = match value {
                    Property::Text(text) if name == "CPUQuota" => format!("{text}%"),
                    Property::Text(text) => text,
                    Property::Units(units) => units.join(" "),
                };
                // the property is in microseconds, the setting is not
                let name = if name == "TimeoutStopUSec" { "TimeoutStopSec" } else { name };
                command = command.arg("-p").arg(format!("{name}={value}"));
            }
            command.arg("--").arg(program)
        } else {
            Command::change(&program)
        };
        let command = command.args(rest).umask(Launch::UMASK);
        match launch.timeout {
            Some(limit) => command.timeout(limit + GRACE),
            None => command.without_timeout(),
        }
    }

    /// Runs QEMU until it is a daemon.
    fn run_qemu(&self, launch: &Launch<'_>, adapted: &Adapted) -> Result<(), LaunchError> {
        let program = adapted.arguments.first().map(ToString::to_string).unwrap_or_default();
        let command = self.scoped(launch, &adapted.arguments);
        let (run_dir, vmid) = (self.run_dir.clone(), launch.vmid);
        let (ended, end) = channel::<()>();
        let limit = launch.timeout;
        // the daemon is no child of ours any more, and holds the pipes until it is done: it is ended by its pid file
        let watch = std::thread::spawn(move || {
            let Some(limit) = limit else { return false };
            if end.recv_timeout(limit) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            if let Some(process) = Process::qemu(&run_dir, vmid) {
                // if it cannot be killed, the program itself is given up in a moment
                let _ = process.kill(Signal::Kill);
            }
            true
        });
        let run = self.host.run(&command, Streams::none());
        drop(ended);
        let slow = watch.join().unwrap_or(false);
        let seconds = limit.unwrap_or_default().as_secs();
        match run {
            Ok(output) if output.succeeded() => Ok(()),
            _ if slow => Err(LaunchError::Slow { program, seconds }),
            run => LaunchError::check(program, run),
        }
    }

    /// Gives the machine the state that it begins in.
    fn load_state(&self, vmid: VmId, state: &BStr) -> Result<(), LaunchError> {
        let loaded = self.machines.connect(vmid, patience("query-migrate")).and_then(|mut qmp| {
            saved_state::load(&mut qmp, state)
                .map_err(|source| WorldError::Qmp { vmid, source: Box::new(source) })
        });
        loaded.map_err(|error| LaunchError::Preparation {
            what: format!("saved state {state}"),
            reason: error.to_string(),
        })
    }

    fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> PowerError + '_ {
        move |source| PowerError::File { path: path.display().to_string(), source }
    }
}

impl Processes for LocalProcesses<'_> {
    fn run_dir(&self) -> &RunDir {
        &self.run_dir
    }

    fn flag(&self, vmid: VmId, flag: Flag) -> bool {
        self.run_dir.flag(vmid, flag).exists()
    }

    fn set_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        let path = self.run_dir.flag(vmid, flag);
        let made = make_directory(self.run_dir.path());
        made.and_then(|()| fs::write(&path, self.host.now().to_string())).map_err(Self::file_error(&path))
    }

    fn clear_flag(&self, vmid: VmId, flag: Flag) -> Result<(), PowerError> {
        self.unlink(vmid, &self.run_dir.flag(vmid, flag))
    }

    fn legacy_cleanup(&self) -> bool {
        self.run_dir.legacy_cleanup().exists()
    }

    fn end_storage_daemon(&self, vmid: VmId) -> Result<(), PowerError> {
        let file = self.run_dir.storage_daemon_pid(vmid);
        let Some(daemon) = Process::auxiliary(&file, "qemu-storage-daemon") else { return Ok(()) };
        daemon.end(DAEMON_PATIENCE).map_err(Self::file_error(&file))
    }

    fn hook(&self, vmid: VmId, script: &BStr, phase: HookPhase) -> Result<(), String> {
        let path = self.volumes.path(script).map_err(|error| error.to_string())?;
        if !self.host.is_executable(path.as_bstr()) {
            return Err(format!("{path} is not there, or may not be executed"));
        }
        let command = Command::change(&path.to_str_lossy())
            .arg(vmid.to_string())
            .arg(phase.to_string())
            .without_timeout();
        match self.host.run(&command, Streams::none()) {
            Ok(output) if output.succeeded() => Ok(()),
            Ok(output) => Err(output.complaint()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn command(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, PowerError> {
        let command = command_line(&mut self.facts.clone(), self.volumes.storages(), vmid, config, options)?;
        for warning in &command.warnings {
            self.warn(&warning.to_string());
        }
        Ok(command)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        // without scopes systemd has nothing of ours
        if !self.scopes {
            return Ok(());
        }
        let command = Command::change(program).args(arguments);
        match self.host.run(&command, Streams::none()) {
            Ok(output) if output.succeeded() => Ok(()),
            Ok(output) => Err(output.complaint()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn wait_for_unit(&self, unit: &str, patience: Duration) -> Result<(), String> {
        const STEP: Duration = Duration::from_millis(200);
        if !self.scopes {
            return Ok(());
        }
        let ask = Command::query("/usr/bin/systemctl").args(["is-active", "--quiet", unit]);
        let mut waited = Duration::ZERO;
        while self.host.run(&ask, Streams::none()).is_ok_and(|output| output.succeeded()) {
            if waited >= patience {
                return Err(format!("systemd still has unit {unit}"));
            }
            std::thread::sleep(STEP);
            waited += STEP;
        }
        Ok(())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<(), LaunchError> {
        let adapted = self.adapt(launch.command);
        for change in &adapted.changes {
            self.warn(change);
        }
        self.prepare(launch, &adapted)?;
        let auxiliaries = Auxiliaries::start(self.host, self.volumes, &self.run_dir, launch)?;
        let mut launched = self.run_qemu(launch, &adapted);
        if launched.is_ok()
            && let Some(state) = &adapted.state
        {
            launched = self.load_state(launch.vmid, state.as_bstr());
        }
        if launched.is_err() {
            if let Some(process) = Process::qemu(&self.run_dir, launch.vmid)
                && let Err(error) = process.end(Duration::from_secs(1))
            {
                self.warn(&error.to_string());
            }
            auxiliaries.end();
        }
        launched
    }

    fn kill(&self, vmid: VmId, signal: Signal) -> Result<(), PowerError> {
        let Some(process) = self.machines.process(vmid) else { return Ok(()) };
        process.kill(signal).map_err(Self::file_error(&self.run_dir.pid(vmid)))
    }

    fn facts(&self, vmid: VmId) -> Option<ProcessFacts> {
        self.machines.process(vmid)?.facts()
    }

    fn unlink(&self, _: VmId, path: &Path) -> Result<(), PowerError> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Self::file_error(path)(error)),
            _ => Ok(()),
        }
    }

    /// No devices are made ready ([`Processes::launch`] refuses configurations that need it), so there are none.
    fn release_devices(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        Ok(())
    }

    /// Bridges learn addresses by themselves; those that the cluster's software-defined networks tell not to are not
    /// known here.
    fn add_bridge_entries(&self, _: VmId, _: &VmConfig<'_>) -> Result<(), PowerError> {
        Ok(())
    }

    fn remove_interfaces(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), PowerError> {
        // with a run directory of one's own, interfaces of this name belong to somebody else
        if !self.run_dir.is_reference() {
            return Ok(());
        }
        for (number, value) in config.main.numbered("net") {
            let name = format!("tap{vmid}i{number}");
            let bridged = Net::parse(value).is_ok_and(|net| net.bridge.is_some());
            if !bridged || !Path::new("/sys/class/net").join(&name).exists() {
                continue;
            }
            let command = Command::change("/sbin/ip").args(["link", "delete", "dev"]).operand(&name);
            match self.host.run(&command, Streams::none()) {
                Ok(output) if output.succeeded() => {}
                Ok(output) => return Err(WorldError::Other(format!("{name}: {}", output.complaint())).into()),
                Err(error) => return Err(WorldError::Other(error.to_string()).into()),
            }
        }
        Ok(())
    }

    fn running_machine(&self, vmid: VmId) -> Result<RunningMachine, PowerError> {
        Ok(self.machines.running_machine(vmid)?)
    }

    fn set_save_capabilities(&self, vmid: VmId) -> Result<(), PowerError> {
        let known = self.machines.qmp(vmid, "query-migrate-capabilities", json!({}), None)?;
        let names = known.as_array().into_iter().flatten().filter_map(|entry| entry["capability"].as_str());
        let list: Vec<Value> = names
            .map(|name| {
                let mut entry = Map::new();
                entry.insert("capability".into(), name.into());
                entry.insert("state".into(), SAVE_CAPABILITIES.contains(&name).into());
                entry.into()
            })
            .collect();
        self.machines.qmp(vmid, "migrate-set-capabilities", json!({ "capabilities": list }), None)?;
        Ok(())
    }

    fn date(&self, time: i64) -> String {
        // how far the clock on the wall is ahead
        let ahead = |time: i64| Some(time - self.host.local_epoch(FixedOffset::UTC.civil(time)?)?);
        let local = FixedOffset::UTC.civil(time + ahead(time).unwrap_or(0));
        let date = local.map(|time| format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day()));
        date.unwrap_or_default()
    }

    fn warn(&self, message: &str) {
        (self.listener)(message);
    }
}

/// Making devices of the host ready needs the kernel's drivers in the right state, and is not done.
fn refuse_pci(device: &PciPreparation) -> Result<(), LaunchError> {
    Err(LaunchError::Preparation {
        what: device.key.to_string(),
        reason: format!(
            "taking {} from its driver is not supported; start this VM with Proxmox VE, or remove the option",
            device.ids.join(", ")
        ),
    })
}

/// Makes a directory that only its owner and group see into, if it is not there.
fn make_directory(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// Whether systemd runs this host.
fn has_systemd() -> bool {
    Path::new("/run/systemd/system").is_dir()
}
