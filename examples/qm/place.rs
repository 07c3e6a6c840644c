// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the program works: the configurations, the storages, the node, and whether changes are made or only rehearsed.

use std::error::Error;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use pve_config::storage::StorageConfig;
use pve_qemu::cloudinit::Resolver;
use pve_qemu::node::{
    ConfigStore, DirectoryStore, Facts, Node, PlanStep, PlannedVolumes, Rehearsal, StoredVolumes,
    SystemChance,
};
use pve_qemu::snapshot::LeftBehind;
use pve_storage::{Event, LocalHost, Planning, Session, Storages};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::machines::RunDirectory;
use crate::progress::Progress;
use crate::{Out, Outcome};

/// Where the cluster file system is mounted.
const MOUNTED: &str = "/etc/pve";
/// Its database.
const DATABASE: &str = "/var/lib/pve-cluster/config.db";
/// Where Proxmox VE keeps pid files and sockets.
const RUN: &str = "/run/qemu-server";

#[derive(Args)]
pub(crate) struct Options {
    /// A folder like /etc/pve, or a config.db; the one of this machine if left out
    #[arg(long, visible_alias = "cluster", global = true, value_name = "PATH")]
    root: Option<PathBuf>,
    /// Work as this node; this machine if left out, or the only node that there is
    #[arg(long, global = true, value_name = "NODE")]
    node: Option<String>,
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
        self.left.extend(left.into_iter().map(|left| {
            let snapshot =
                left.snapshot.as_ref().map(|name| format!("snapshot {name} of ")).unwrap_or_default();
            format!("{snapshot}{} could not be removed: {}", left.volume, left.error)
        }));
        self
    }
}

/// Everything that a changing verb needs.
pub(crate) struct Place {
    configs: Box<dyn ConfigStore>,
    storages: Storages,
    facts: Facts,
    host: LocalHost,
    pub(crate) machines: RunDirectory,
    cloudinit: PathBuf,
    progress: Progress,
    dry_run: bool,
    json: bool,
}

impl Place {
    pub(crate) fn open(options: &Options) -> Result<Self, Box<dyn Error>> {
        let root = root(options)?
            .ok_or_else(|| format!("neither {MOUNTED} nor {DATABASE} exists here: say --root PATH"))?;
        let cluster = Cluster::open(Some(&root))?;
        let node = node(options.node.as_deref(), &cluster.nodes())?;
        let text = cluster.read("storage.cfg").unwrap_or_default();
        let is_own = root == Path::new(MOUNTED) && options.run_dir.is_none();
        let run = options.run_dir.clone().unwrap_or_else(|| beside(&root));
        let run = if is_own { PathBuf::from(RUN) } else { std::path::absolute(run)? };

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
            Cluster::Database(_) => {
                return Err(format!(
                    "{} is a database, and this program changes folders: mount it (pmxcfs mount), or give it a folder",
                    root.display()
                )
                .into());
            }
        };
        let mut cloudinit = PathBuf::from("/run/pve/cloudinit");
        if !is_own {
            host = host.with_locks_in(run.join("lock"));
            cloudinit = run.join("cloudinit");
        }
        let mut facts = Facts::of_cluster(&*configs)?;
        facts.resolver = Resolver::parse(&std::fs::read("/etc/resolv.conf").unwrap_or_default());
        Ok(Place {
            facts,
            configs,
            storages: Storages::from_config(&StorageConfig::parse(&text)),
            host,
            machines: RunDirectory::new(run),
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

    /// Makes a change and tells of it; in a dry run it is rehearsed, and the plan told.
    pub(crate) fn change<T, E: Error + 'static>(
        &self,
        out: &mut Out,
        change: impl FnOnce(Node<'_>) -> Result<T, E>,
        tell: impl FnOnce(&T) -> Told,
    ) -> Outcome {
        let volumes = self.volumes(&self.host);
        let node = Node {
            configs: &*self.configs,
            volumes: &volumes,
            machines: &self.machines,
            chance: &SystemChance,
            facts: &self.facts,
        };
        if self.dry_run {
            let plan = Planning::new(&self.host);
            let planned = PlannedVolumes::new(self.volumes(&plan), &plan);
            let rehearsal = Rehearsal::new(node).with_commands(&planned);
            let result = change(rehearsal.node());
            self.show_plan(&rehearsal.steps(), out)?;
            return result.map(|_| Ending::Clean).map_err(Into::into);
        }
        let result = change(node);
        self.progress.clear();
        let told = tell(&result?);
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
        PlanStep::Machine { vmid, command } => {
            json!({ "step": "machine", "vmid": vmid.get(), "command": command })
        }
        other => json!({ "step": other.to_string() }),
    }
}

/// Writes a remark to standard error.
pub(crate) fn complain(kind: &str, text: &str) {
    let style: Style = match kind {
        "error" | "left behind" => AnsiColor::Red.on_default().bold(),
        _ => AnsiColor::Yellow.on_default(),
    };
    anstream::eprintln!("{style}{kind}:{style:#} {text}");
}

/// The configuration files to look at: those asked for, those of this machine, or else a sample.
pub(crate) fn cluster(options: &Options) -> Result<Cluster, String> {
    Cluster::open(root(options)?.as_deref())
}

fn root(options: &Options) -> Result<Option<PathBuf>, String> {
    match &options.root {
        Some(root) if root.exists() => Ok(Some(root.clone())),
        Some(root) => Err(format!("{} does not exist", root.display())),
        None => Ok([MOUNTED, DATABASE].map(PathBuf::from).into_iter().find(|path| path.exists())),
    }
}

/// `/srv/pve` has `/srv/pve.run` beside it.
fn beside(root: &Path) -> PathBuf {
    let mut name = root.components().collect::<PathBuf>().into_os_string();
    name.push(".run");
    name.into()
}

/// The node to work as: the one asked for, this machine, or the only one that there is.
fn node(wanted: Option<&str>, nodes: &[String]) -> Result<String, String> {
    let name = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
    let name = name.unwrap_or_default();
    let here = name.split('.').next().unwrap_or_default();
    let is_known = |node: &str| nodes.is_empty() || nodes.iter().any(|known| known == node);
    match (wanted, nodes) {
        (Some(node), _) if is_known(node) => Ok(node.to_owned()),
        (Some(node), _) => Err(format!("there is no node '{node}', only {}", nodes.join(", "))),
        (None, _) if is_known(here) => Ok(here.to_owned()),
        (None, [only]) => Ok(only.clone()),
        (None, _) => {
            Err(format!("'{here}' is no node of the cluster: say --node with one of {}", nodes.join(", ")))
        }
    }
}
