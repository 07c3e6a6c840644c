// SPDX-License-Identifier: MIT OR Apache-2.0
//! Audits the storages of a node, or of a cluster from the saved output of the listing tools: who owns which volume, and
//! which volumes and references nobody accounts for.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bstr::ByteSlice;
use clap::Parser;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use examples::ending::exit_code;
use examples::whereabouts::Whereabouts;
use pve_cfs::Source;
use pve_config::inventory::Inventory;
use pve_storage::audit::{
    Audit, Finding, ImageReport, NodeReport, StorageReport, Unreported, audit, collect,
};
use pve_storage::{Event, LocalHost, Session, Storages, quote};
use serde_json::{Value, json};

/// Audits the storages of this node, or of a cluster from the saved output of the listing tools.
///
/// Nothing is changed, mounted or activated: the commands that would put things right are only shown. A word VMID in them
/// stands for a guest to choose. A storage that does not answer is named, and nothing is said about its volumes.
#[derive(Parser)]
#[command(name = "audit", after_help = COLLECT)]
struct Args {
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// Ask no tools, but read what they printed: a folder with a folder for each node
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    from_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

const COLLECT: &str = "\
How to collect, on each node (what is left out is not judged):
  mkdir -p audit/$(hostname); cd audit/$(hostname)
  lvs --separator : --noheadings --units b --unbuffered --nosuffix --options vg_name,lv_name,lv_size,lv_attr,pool_lv,data_percent,metadata_percent,snap_percent,uuid,tags,metadata_size,time --config 'report/time_format=\"%s\"' >lvs.txt
  for each zfspool:      zfs list -o name,volsize,origin,type,refquota -t volume,filesystem -d1 -Hp POOL >>zfs-list.txt
  for each rbd:          rbd ls -l --format json --pool POOL >rbd-ls-STORAGE.json
  for each directory:    find PATH -mindepth 1 -maxdepth 3 -printf '%y %s %P\\n' >files-STORAGE.txt
                         find PATH/images -name '*.qcow2' -exec qemu-img info -U --output=json -f qcow2 {} \\; >qemu-img-STORAGE.json
and once: cp /var/lib/pve-cluster/config.db* .";

fn main() -> ExitCode {
    exit_code("audit", run(&Args::parse()))
}

fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let source = Source::read(&args.whereabouts.root()?)?;
    let mut cluster = Inventory::new(source.listing.files());
    // a node without any file is one all the same
    let nodes = source.listing.directories().filter_map(|path| path.strip_prefix(b"nodes/"));
    cluster.add_nodes(nodes.filter(|name| !name.contains(&b'/')));
    let reports = match &args.from_dir {
        Some(folder) => reports(folder)?,
        None => vec![live(&cluster, &args.whereabouts)?],
    };
    let found = audit(&cluster, &reports)?;
    let mut out = anstream::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &document(&found))?;
        writeln!(out)?;
    } else {
        text(&mut out, &found)?;
    }
    Ok(())
}

/// Asks the tools of this machine.
fn live(cluster: &Inventory<'_>, whereabouts: &Whereabouts) -> Result<NodeReport, String> {
    let nodes: Vec<String> = cluster.nodes.iter().map(ToString::to_string).collect();
    let node = whereabouts.node(&nodes)?;
    let storages = Storages::from_config(&cluster.storages);
    let host = LocalHost::new(|event| {
        if let Event::Warning(text) = event {
            anstream::eprintln!("audit: {text}");
        }
    });
    Ok(collect(&Session::new(&storages, &host, node)))
}

/// Reads a folder for each node.
fn reports(dir: &Path) -> Result<Vec<NodeReport>, Box<dyn std::error::Error>> {
    let mut reports = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let node = entry.file_name().to_string_lossy().into_owned();
        let mut report = NodeReport { node, ..NodeReport::default() };
        for file in std::fs::read_dir(entry.path())? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            let content = || std::fs::read(file.path());
            let between = |start, end| name.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
            if name == "lvs.txt" {
                report.lvs = Some(content()?.into());
            } else if name == "zfs-list.txt" {
                report.zfs = Some(content()?.into());
            } else if let Some(storage) = between("rbd-ls-", ".json") {
                report.storages.insert(storage.to_owned(), StorageReport::Rbd(content()?.into()));
            } else if let Some(storage) = between("files-", ".txt") {
                report.storages.insert(storage.to_owned(), StorageReport::Files(content()?.into()));
            } else if let Some(storage) = between("qemu-img-", ".json") {
                report.images.insert(storage.to_owned(), ImageReport::read(&content()?)?);
            } else {
                anstream::eprintln!("audit: {} is not a file that is known here", file.path().display());
            }
        }
        reports.push(report);
    }
    reports.sort_by(|a, b| a.node.cmp(&b.node));
    Ok(reports)
}

fn commands(finding: &Finding) -> Vec<String> {
    let line =
        |words: &Vec<_>| words.iter().map(|word: &bstr::BString| quote(word)).collect::<Vec<_>>().join(" ");
    finding.fix.iter().map(line).collect()
}

/// Bytes with a unit, rounded to a tenth.
fn human(size: u64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.iter().find(|(unit, _)| size >= *unit) {
        Some((unit, name)) => format!("{:.1} {name}", size as f64 / *unit as f64),
        None => format!("{size} B"),
    }
}

fn text(out: &mut impl Write, found: &Audit) -> std::io::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["STORAGE", "NODE", "VOLUME", "TAKES", "WASTED", "FINDING"]);
    let size = |size: Option<u64>| size.map_or_else(|| "-".to_owned(), human);
    for finding in &found.findings {
        table.add_row([
            finding.storage.clone(),
            finding.node.clone().unwrap_or_else(|| "(shared)".to_owned()),
            finding.name.to_str_lossy().into_owned(),
            size(finding.size),
            size(finding.wasted()),
            finding.trouble.to_string(),
        ]);
    }
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out, "\nWhat to do")?;
    for finding in &found.findings {
        let node = finding.node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        writeln!(out, "  {}:{}{node}", finding.storage, finding.name.to_str_lossy())?;
        for command in commands(finding) {
            writeln!(out, "    {command}")?;
        }
    }
    let wasted: u64 = found.findings.iter().filter_map(Finding::wasted).sum();
    let (findings, volumes) = (found.findings.len(), found.volumes);
    writeln!(out, "\n{findings} findings, {volumes} volumes, {} wasted at least", human(wasted))?;
    for Unreported { storage, node, reason, .. } in &found.unreported {
        let node = node.as_ref().map(|node| format!(" on {node}")).unwrap_or_default();
        writeln!(
            out,
            "not judged: {storage}{node}: {}",
            reason.as_deref().unwrap_or("nothing was collected")
        )?;
    }
    Ok(())
}

fn document(found: &Audit) -> Value {
    let finding = |finding: &Finding| {
        let fix = finding.fix.iter().map(|words| words.iter().map(|word| word.to_str_lossy()).collect());
        json!({
            "storage": finding.storage,
            "node": finding.node,
            "volume": finding.name.to_str_lossy(),
            "size": finding.size,
            "wasted": finding.wasted(),
            "finding": finding.trouble.to_string(),
            "fix": fix.collect::<Vec<Vec<_>>>(),
        })
    };
    let unreported = |silent: &Unreported| json!({ "storage": silent.storage, "node": silent.node, "reason": silent.reason });
    json!({
        "findings": found.findings.iter().map(finding).collect::<Vec<_>>(),
        "volumes": found.volumes,
        "not-judged": found.unreported.iter().map(unreported).collect::<Vec<_>>(),
    })
}
