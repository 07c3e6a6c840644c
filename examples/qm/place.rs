// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the program works: the configurations, the storages, the node, and whether changes are made or only rehearsed.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Termination};

use anstyle::AnsiColor;
use bstr::ByteSlice;
use clap::Args;
use examples::whereabouts::{DATABASE, MOUNTED, Whereabouts};
use pve_cfs::Database;
use pve_config::storage::StorageConfig;
use pve_qemu::agent::GuestAgent;
use pve_qemu::cloudinit::Resolver;
use pve_qemu::node::{
    ConfigStore, DatabaseStore, DirectoryStore, Facts, MemoryStore, Node, PlanStep, PlannedVolumes,
    Rehearsal, StoredVolumes, SystemChance,
};
use pve_qemu::power::{
    Dialect, LocalMachines, LocalProcesses, Power, PowerError, RehearsedProcesses, RunDir,
};
use pve_qemu::qmp::QmpError;
use pve_qemu::{Host, LeftBehind};
use pve_storage::{Event, LocalHost, Planning, Session, Storages};
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::facts;
use crate::progress::Progress;
use crate::{Out, Outcome};

pub(crate) use examples::whereabouts::complain;

/// What a node of Proxmox VE has.
const NODE_FILES: &str = "/usr/share/qemu-server";

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// Show the plan, with the commands ready to be pasted, and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Locks, pid files, sockets and temporary files; where Proxmox VE has them for /etc/pve, else beside the root
    #[arg(long, global = true, value_name = "DIR")]
    run_dir: Option<PathBuf>,
}

/// How a change ended that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Nothing is left to do.
    Clean,
    /// Something could not be removed.
    LeftBehind,
}

impl Termination for Ending {
    fn report(self) -> ExitCode {
        match self {
            Ending::Clean => ExitCode::SUCCESS,
            Ending::LeftBehind => ExitCode::from(3),
        }
    }
}

/// What is told of a change that was made.
pub(crate) struct Told {
    /// For people, a line each.
    pub(crate) lines: Vec<String>,
    /// For programs.
    pub(crate) json: Value,
    /// What is left behind.
    pub(crate) left: Vec<String>,
}

impl Told {
    pub(crate) fn new(lines: Vec<String>, json: Value) -> Self {
        Told { lines, json, left: Vec::new() }
    }

    /// The same, with what could not be removed.
    pub(crate) fn leaving<'l>(mut self, left: impl IntoIterator<Item = &'l LeftBehind>) -> Self {
        self.left.extend(left.into_iter().map(ToString::to_string));
        self
    }
}

/// Everything that a changing verb needs.
pub(crate) struct Place {
    cluster: Cluster,
    pub(crate) configs: Box<dyn ConfigStore>,
    storages: Storages,
    facts: Facts,
    host: LocalHost,
    run_dir: RunDir,
    cloudinit: PathBuf,
    progress: Progress,
    dry_run: bool,
    pub(crate) json: bool,
}

impl Place {
    pub(crate) fn open(options: &Options) -> Result<Self, Box<dyn Error>> {
        let root = options.whereabouts.root()?;
        let cluster = Cluster::open(Some(&root))?;
        let node = options.whereabouts.node(&cluster.nodes())?;
        let text = cluster.read("storage.cfg").unwrap_or_default();
        let is_own =
            [MOUNTED, DATABASE].iter().any(|own| root == Path::new(own)) && options.run_dir.is_none();
        let run = std::path::absolute(options.run_dir.clone().unwrap_or_else(|| beside(&root)))?;

        let progress = Progress::new();
        let shown = progress.clone();
        let mut host = LocalHost::new(move |event| match event {
            Event::Warning(text) => shown.suspend(|| complain("warning", &text)),
            Event::Progress { line, .. } => shown.line(&line),
            _ => {}
        });
        let configs: Box<dyn ConfigStore> = match &cluster {
            Cluster::Directory(root) => {
                let store = DirectoryStore::new(root, &node);
                Box::new(if is_own { store } else { store.with_locks_in(run.join("lock")) })
            }
            // what is only rehearsed needs no lock, and leaves no trace
            Cluster::Database(database) if options.dry_run => Box::new(copy_of(database, &node)),
            Cluster::Database(_) => Box::new(DatabaseStore::open(&root, &node)?),
        };
        let mut cloudinit = PathBuf::from("/run/pve/cloudinit");
        let mut run_dir = RunDir::new(RunDir::REFERENCE);
        if !is_own {
            host = host.with_locks_in(run.join("lock"));
            cloudinit = run.join("cloudinit");
            run_dir = RunDir::new(run);
        }
        let mut facts = Facts::of_cluster(&*configs)?;
        facts.resolver = Resolver::parse(&std::fs::read("/etc/resolv.conf").unwrap_or_default());
        Ok(Place {
            cluster,
            facts,
            configs,
            storages: Storages::from_config(&StorageConfig::parse(&text)),
            host,
            run_dir,
            cloudinit,
            progress,
            dry_run: options.dry_run,
            json: options.json,
        })
    }

    fn volumes<'a>(&'a self, host: &'a dyn pve_storage::Host) -> StoredVolumes<'a> {
        let session = Session::new(&self.storages, host, self.configs.node());
        let cloudinit = self.cloudinit.as_os_str().as_encoded_bytes();
        StoredVolumes::new(session, self.facts.resolver.clone()).with_cloudinit_in(cloudinit)
    }

    /// Asks the agent in a guest.
    pub(crate) fn ask_agent<T>(
        &self,
        vmid: VmId,
        ask: impl FnOnce(&mut GuestAgent) -> Result<T, QmpError>,
    ) -> Result<T, Box<dyn Error>> {
        let volumes = self.volumes(&self.host);
        let machines = LocalMachines::new(self.run_dir.clone(), &volumes, dialect());
        Ok(ask(&mut machines.agent(vmid, None)?)?)
    }

    /// Makes a change and tells of it; in a dry run it is rehearsed, and the plan told.
    pub(crate) fn change<T, E: Error + 'static>(
        &self,
        out: &mut Out,
        change: impl FnOnce(Node<'_>) -> Result<T, E>,
        tell: impl FnOnce(&T) -> Told,
    ) -> Outcome {
        // no command line is computed
        self.operate(out, Host::default(), |power| change(power.node), tell)
    }

    /// The same for what starts and stops machines, with the facts of this one.
    pub(crate) fn power<T, E: Error + 'static>(
        &self,
        out: &mut Out,
        change: impl FnOnce(Power<'_>) -> Result<T, E>,
        tell: impl FnOnce(&T) -> Told,
    ) -> Outcome {
        let mut facts = Host::probe();
        self.configs.node().clone_into(&mut facts.node);
        facts::add_cluster(&mut facts, &self.cluster);
        self.operate(out, facts, change, tell)
    }

    /// Looks at machines; that changes nothing in any case.
    pub(crate) fn look<T>(
        &self,
        look: impl FnOnce(Power<'_>) -> Result<T, PowerError>,
        tell: impl FnOnce(&T) -> Told,
        out: &mut Out,
    ) -> Outcome {
        let volumes = self.volumes(&self.host);
        let processes = LocalProcesses::new(self.run_dir.clone(), Host::default(), &volumes, &self.host);
        let seen = look(Power::new(self.node(&volumes, &processes), &processes))?;
        self.show(&tell(&seen), out)
    }

    fn node<'a>(&'a self, volumes: &'a StoredVolumes<'a>, processes: &'a LocalProcesses<'a>) -> Node<'a> {
        let machines = processes.machines();
        Node { configs: &*self.configs, volumes, machines, chance: &SystemChance, facts: &self.facts }
    }

    fn operate<T, E: Error + 'static>(
        &self,
        out: &mut Out,
        facts: Host,
        change: impl FnOnce(Power<'_>) -> Result<T, E>,
        tell: impl FnOnce(&T) -> Told,
    ) -> Outcome {
        let volumes = self.volumes(&self.host);
        let processes = LocalProcesses::new(self.run_dir.clone(), facts, &volumes, &self.host)
            .with_dialect(dialect())
            .with_listener(|message| self.progress.suspend(|| complain("note", message)));
        let node = self.node(&volumes, &processes);
        if self.dry_run {
            let plan = Planning::new(&self.host);
            let planned = PlannedVolumes::new(self.volumes(&plan), &plan);
            let rehearsal = Rehearsal::new(node).with_commands(&planned);
            let rehearsed = RehearsedProcesses::new(&rehearsal, &processes);
            let result = change(Power::new(rehearsal.node(), &rehearsed));
            self.show_plan(&rehearsal.steps(), out)?;
            return result.map(|_| Ending::Clean).map_err(Into::into);
        }
        let result = change(Power::new(node, &processes));
        self.progress.clear();
        self.show(&tell(&result?), out)
    }

    /// Tells of what was done.
    pub(crate) fn show(&self, told: &Told, out: &mut Out) -> Outcome {
        if self.json {
            writeln!(out, "{:#}", told.json)?;
        } else {
            told.lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
        }
        told.left.iter().for_each(|left| complain("left behind", left));
        Ok(if told.left.is_empty() { Ending::Clean } else { Ending::LeftBehind })
    }

    fn show_plan(&self, steps: &[PlanStep], out: &mut Out) -> std::io::Result<()> {
        if self.json {
            let steps: Value = steps.iter().map(document).collect();
            return writeln!(out, "{:#}", json!({ "plan": steps }));
        }
        if steps.is_empty() {
            return writeln!(out, "nothing to do");
        }
        steps.iter().try_for_each(|step| writeln!(out, "{}", painted(step)))
    }
}

/// A step in the colours of a change.
fn painted(step: &PlanStep) -> String {
    let text = step.to_string();
    let mut lines = text.lines();
    let mut shown = lines.next().unwrap_or_default().to_owned();
    for line in lines {
        let style = match (step, line.trim_start().chars().next()) {
            (PlanStep::Write { .. }, Some('+')) => AnsiColor::Green.on_default(),
            (PlanStep::Write { .. }, Some('-')) => AnsiColor::Red.on_default(),
            _ => AnsiColor::Cyan.on_default(),
        };
        shown.push_str(&format!("\n{style}{line}{style:#}"));
    }
    shown
}

fn document(step: &PlanStep) -> Value {
    match step {
        PlanStep::Write { vmid, before, after } => {
            let before = before.as_ref().map(ToString::to_string);
            json!({ "step": "write", "vmid": vmid.get(), "before": before, "after": after.to_string() })
        }
        PlanStep::Remove { vmid } => json!({ "step": "remove", "vmid": vmid.get() }),
        PlanStep::MoveTo { vmid, node } => json!({ "step": "move", "vmid": vmid.get(), "node": node }),
        PlanStep::Volume { action, volume, detail, commands } => json!({
            "step": action, "volume": volume.to_string(), "detail": detail, "commands": commands,
        }),
        PlanStep::Process { vmid, what } => json!({ "step": "process", "vmid": vmid.get(), "what": what }),
        PlanStep::Machine { vmid, command } => {
            json!({ "step": "machine", "vmid": vmid.get(), "command": command })
        }
        other => json!({ "step": other.to_string() }),
    }
}

/// The configuration files to look at: those asked for, those of this machine, or else a sample.
pub(crate) fn cluster(options: &Options) -> Result<Cluster, String> {
    match options.whereabouts.root() {
        Err(_) if options.whereabouts.root.is_none() => Cluster::open(None),
        root => Cluster::open(Some(&root?)),
    }
}

/// `/srv/pve` has `/srv/pve.run` beside it.
fn beside(root: &Path) -> PathBuf {
    let mut name = root.components().collect::<PathBuf>().into_os_string();
    name.push(".run");
    name.into()
}

/// The QEMU of this machine: that of Proxmox VE comes with the files of a node.
fn dialect() -> Dialect {
    if Path::new(NODE_FILES).exists() { Dialect::Proxmox } else { Dialect::Stock }
}

/// The files of a database in memory: whatever happens to them, the database stays as it is.
fn copy_of(database: &Database, node: &str) -> MemoryStore {
    let files = database.tree().files();
    files.fold(MemoryStore::new(node), |store, (path, file)| {
        store.with_file(path.to_str_lossy().into_owned(), file.content())
    })
}
