// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that only look: each reads what it needs from the cluster, asks the crates, and prints.

use std::error::Error;

use bstr::{BStr, BString, ByteSlice};
use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use pve_config::guest::VmConfig;
use pve_config::storage::StorageConfig;
use pve_qemu::{Builder, CommandLine, Host, Options, QemuVersion, Warning, diff};
use pve_storage::{Event, LocalHost, Session, Storages};
use pve_volid::VmId;
use serde_json::json;

use crate::Out;
use crate::cluster::{Cluster, Machine};
use crate::facts::HostArgs;
use crate::output::line;

/// Builds the command line of a machine.
fn build(
    cluster: &Cluster,
    machine: &Machine,
    host: &mut Host,
    probed: bool,
    text: &[u8],
    snapshot: Option<&str>,
) -> Result<CommandLine, String> {
    let storage_text = cluster.read("storage.cfg").unwrap_or_default();
    let storages = Storages::from_config(&StorageConfig::parse(&storage_text));
    let mut options = Options::default();
    options.snapshot = snapshot.map(BStr::new);
    if probed {
        let builder = Builder::new(host, &storages);
        let (config, _) = VmConfig::parse_with(text, &builder.context());
        let paths = builder.consulted(machine.vmid, &config, &options);
        let volumes = builder.volumes(&config, &options);
        host.probe_paths(paths.iter().map(String::as_str));
        let local = LocalHost::new(|event| {
            if let Event::Warning(text) = event {
                anstream::eprintln!("WARN: {text}");
            }
        });
        let session = Session::new(&storages, &local, host.node.clone()).assume_active();
        for (volume, error) in host.probe_volumes(&session, volumes.iter().map(AsRef::as_ref)) {
            anstream::eprintln!("WARN: {volume}: {error}");
        }
    }
    let builder = Builder::new(host, &storages);
    let (config, findings) = VmConfig::parse_with(text, &builder.context());
    for finding in findings.as_slice() {
        anstream::eprintln!("{}.conf: {finding}", machine.vmid);
    }
    builder.build(machine.vmid, &config, &options).map_err(|error| error.to_string())
}

/// Show the command line that would start a virtual machine
#[derive(Args)]
pub(crate) struct Showcmd {
    /// Number of the virtual machine
    vmid: VmId,
    /// A line for each option
    #[arg(long)]
    pretty: bool,
    /// The command line of a snapshot
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// Say of each part why it is there
    #[arg(long, conflicts_with = "pretty")]
    explain: bool,
    #[command(flatten)]
    host: HostArgs,
}

impl Showcmd {
    pub(crate) fn run(&self, cluster: &Cluster, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
        let machine = cluster.machine(self.vmid)?;
        let mut host = self.host.host(cluster, &machine)?;
        let text = cluster.configuration(&machine)?;
        let snapshot = self.snapshot.as_deref();
        let command = build(cluster, &machine, &mut host, self.host.is_probed(), &text, snapshot)?;
        let objections = host.objections(&command);
        for warning in command.warnings.iter().chain(&objections) {
            anstream::eprintln!("WARN: {warning}");
        }
        for notice in &command.notices {
            anstream::eprintln!("{notice}");
        }
        if json {
            let arguments: Vec<String> = command.iter().map(ToString::to_string).collect();
            let explained: Vec<_> = command.explain().collect();
            let texts = |all: &[Warning]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
            let value = json!({
                "arguments": arguments,
                "warnings": texts(&command.warnings),
                "objections": texts(&objections),
                "notices": command.notices.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "effects": command.effects,
                "explain": if self.explain { json!(explained) } else { json!(null) },
            });
            return line(out, format!("{value:#}"));
        }
        if self.explain {
            return command.explain().try_for_each(|explained| line(out, explained.to_string()));
        }
        line(out, if self.pretty { command.pretty() } else { command.shell_line() })
    }
}

/// Show the configuration of a virtual machine, with pending changes applied
#[derive(Args)]
pub(crate) struct Config {
    /// Number of the virtual machine
    vmid: VmId,
    /// The values in effect now, without pending changes
    #[arg(long)]
    current: bool,
    /// The configuration of a snapshot
    #[arg(long, value_name = "NAME", conflicts_with = "current")]
    snapshot: Option<String>,
}

impl Config {
    pub(crate) fn run(&self, cluster: &Cluster, out: &mut Out) -> Result<(), Box<dyn Error>> {
        let machine = cluster.machine(self.vmid)?;
        let text = cluster.configuration(&machine)?;
        let (config, _) = VmConfig::parse(&text);
        let effective = config.effective();
        let section = match &self.snapshot {
            Some(name) => {
                config.snapshot(name).ok_or_else(|| format!("{} has no snapshot {name}", self.vmid))?
            }
            None if self.current => &config.main,
            None => &effective,
        };
        for (key, value) in section.iter() {
            line(out, [key.as_bytes(), b": ", &shown(key, value)].concat())?;
        }
        Ok(())
    }
}

/// A value as the reference shows it: a description on one line, no passwords.
fn shown(key: &BStr, value: &BStr) -> BString {
    match key.as_bytes() {
        b"description" => {
            let mut text = BString::default();
            for byte in value.bytes() {
                match byte {
                    b'%' | b':' | 0..0x20 | 0x7f.. => {
                        text.extend_from_slice(format!("%{byte:02X}").as_bytes());
                    }
                    other => text.push(other),
                }
            }
            text
        }
        b"cipassword" => "**********".into(),
        _ => value.to_owned(),
    }
}

/// Lists the virtual machines.
pub(crate) fn list(cluster: &Cluster, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["VMID", "NAME", "NODE", "MEM(MB)", "BOOTDISK(GB)", "TEMPLATE"]);
    for column in [0, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut records = Vec::new();
    for machine in cluster.machines() {
        let text = cluster.configuration(&machine)?;
        let (config, _) = VmConfig::parse(&text);
        let name =
            config.main.get("name").map_or_else(|| format!("VM {}", machine.vmid), ToString::to_string);
        let memory = config.main.memory().ok().and_then(|memory| memory.current.get()).unwrap_or(512);
        let boot = pve_qemu::boot_disk(&config.main).map(|disk| disk.option());
        let disk =
            config.main.drives().find(|(id, _)| boot.as_ref().is_some_and(|boot| *boot == id.to_string()));
        let bytes = disk.and_then(|(_, drive)| drive.size).unwrap_or(0);
        let gigabytes = bytes as f64 / f64::from(1 << 30);
        let template = config.main.is_template();
        if json {
            records.push(json!({
                "vmid": machine.vmid.get(), "name": name, "node": machine.node, "memory": memory,
                "bootdisk": gigabytes, "template": template,
            }));
            continue;
        }
        table.add_row([
            machine.vmid.to_string(),
            name,
            machine.node,
            memory.to_string(),
            format!("{gigabytes:.2}"),
            if template { "yes".to_owned() } else { String::new() },
        ]);
    }
    if json { line(out, format!("{:#}", json!(records))) } else { line(out, table.to_string()) }
}

/// Show the configuration with current and pending values
#[derive(Args)]
pub(crate) struct Pending {
    /// Number of the virtual machine
    vmid: VmId,
}

impl Pending {
    pub(crate) fn run(&self, cluster: &Cluster, out: &mut Out) -> Result<(), Box<dyn Error>> {
        let machine = cluster.machine(self.vmid)?;
        let text = cluster.configuration(&machine)?;
        let (config, _) = VmConfig::parse(&text);
        let mut items = config.pending_list();
        items.retain(|item| *item.key != "digest");
        items.sort_by(|a, b| a.key.cmp(&b.key));
        for item in &items {
            let key: &BStr = &item.key;
            let mut print = |mark: &str, value: Option<&BStr>| match value {
                Some(value) => line(out, [mark.as_bytes(), b" ", key, b": ", &shown(key, value)].concat()),
                None => line(out, [mark.as_bytes(), b" ", key.as_bytes()].concat()),
            };
            match (&item.value, item.pending, item.delete) {
                (Some(value), None, None) => print("cur", Some(value.as_ref()))?,
                (value, pending, delete) => {
                    if let Some(value) = value {
                        print(if delete.is_some() { "del" } else { "cur" }, Some(value.as_ref()))?;
                    } else if delete.is_some() {
                        print("del", None)?;
                    }
                    if let Some(pending) = pending {
                        print("new", Some(pending))?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Show what would be different in the command line on the next start
#[derive(Args)]
pub(crate) struct Diff {
    /// Number of the virtual machine
    vmid: VmId,
    /// The version of QEMU that is compared with
    #[arg(long, value_name = "VERSION")]
    from_qemu: Option<QemuVersion>,
    /// The version of QEMU of the new command line
    #[arg(long, value_name = "VERSION")]
    to_qemu: Option<QemuVersion>,
    /// Compare with a snapshot instead of the current configuration
    #[arg(long, value_name = "NAME")]
    snapshot: Option<String>,
    /// Apply this change (`OPTION=VALUE`, or `OPTION=` to delete it) besides pending ones
    #[arg(long, value_name = "OPTION=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    host: HostArgs,
}

impl Diff {
    pub(crate) fn run(&self, cluster: &Cluster, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
        let machine = cluster.machine(self.vmid)?;
        let text = cluster.configuration(&machine)?;
        let host = self.host.host(cluster, &machine)?;
        let on = |version: Option<QemuVersion>| match version {
            Some(version) => host.clone().with_qemu_version(version),
            None => host.clone(),
        };
        let changed = self.changed(&text)?;
        let probed = self.host.is_probed();
        let old = build(cluster, &machine, &mut on(self.from_qemu), probed, &text, self.snapshot.as_deref())?;
        let new = build(cluster, &machine, &mut on(self.to_qemu), probed, &changed, None)?;
        let differences = diff(&old, &new);
        if json {
            return line(out, format!("{:#}", json!(differences)));
        }
        if differences.is_empty() {
            return line(out, "the command lines mean the same");
        }
        differences.iter().try_for_each(|difference| line(out, difference.to_string()))
    }

    /// The configuration with pending and given changes applied.
    fn changed(&self, text: &[u8]) -> Result<Vec<u8>, String> {
        let (config, _) = VmConfig::parse(text);
        let mut changed = VmConfig::new();
        changed.main = config.effective().into_owned();
        for edit in &self.set {
            let (key, value) = edit.split_once('=').ok_or_else(|| format!("{edit:?} is not OPTION=VALUE"))?;
            if value.is_empty() {
                changed.main.remove(key);
            } else {
                changed.main.set(key, value);
            }
        }
        changed.to_bytes().map_err(|error| error.to_string())
    }
}
