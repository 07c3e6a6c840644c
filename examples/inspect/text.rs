// SPDX-License-Identifier: MIT OR Apache-2.0
//! The inventory as tables and trees, for people.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use bstr::{BStr, ByteSlice};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, Table};
use pve_cfs::{Origin, Severity, Source};
use pve_config::format::format_size;
use pve_config::guest::{GuestKind, VolumeRole};
use pve_config::inventory::{Guest, Inventory, LooseEnd, Referenced, Target};
use pve_config::storage::Storage;

use crate::network::NodeNetwork;
use crate::{excerpt, network};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const BAD: Style = AnsiColor::Red.on_default();
const ODD: Style = AnsiColor::Yellow.on_default();

/// Names up to this length are lined up, characters.
const WIDE: usize = 48;

fn styled(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Writes everything that is known.
pub(crate) fn write(
    out: &mut impl Write,
    source: &Source,
    cluster: &Inventory<'_>,
    loose: &[LooseEnd],
    networks: &[NodeNetwork<'_>],
) -> io::Result<()> {
    head(out, source, cluster)?;
    section(out, "Storages")?;
    if !cluster.has_storage_cfg {
        writeln!(
            out,
            "{}",
            styled(ODD, "there is no storage.cfg; without it there is only the built-in storage")
        )?;
    }
    write!(out, "{}", storages(cluster))?;
    section(out, "Guests")?;
    if cluster.guests.is_empty() {
        writeln!(out, "none")?;
    } else {
        write!(out, "{}", guests(cluster))?;
        section(out, "Volumes")?;
        for guest in &cluster.guests {
            volumes(out, guest)?;
        }
        section(out, "Network cards")?;
        write!(out, "{}", cards(cluster, networks))?;
    }
    for node in networks {
        section(out, format_args!("Network of {}", node.file.node))?;
        write!(out, "{}", interfaces(node))?;
    }
    problems(out, cluster, loose)?;
    findings(out, source, cluster, networks)
}

fn section(out: &mut impl Write, title: impl std::fmt::Display) -> io::Result<()> {
    writeln!(out, "\n{}", styled(BOLD, title))
}

fn head(out: &mut impl Write, source: &Source, cluster: &Inventory<'_>) -> io::Result<()> {
    let kind = match source.origin {
        Origin::Database { version } => format!("database, version {version}"),
        _ => "folder".to_owned(),
    };
    writeln!(
        out,
        "{}  ({kind}, {} files)",
        styled(BOLD, source.path.display()),
        source.listing.files().count()
    )?;
    for finding in &source.findings {
        let style = match finding.severity() {
            Severity::Refused => BAD,
            Severity::Odd => ODD,
            _ => DIM,
        };
        writeln!(out, "{}: {finding}", styled(style, finding.severity()))?;
    }
    for left in source.listing.missed() {
        writeln!(out, "{}: {} is left out: {}", styled(ODD, "odd"), left.path.escape_bytes(), left.reason)?;
    }
    let nodes: Vec<String> = cluster.nodes.iter().map(|node| node_summary(cluster, node)).collect();
    writeln!(out, "nodes: {}", if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") })
}

/// `alpha (4 VMs, 1 container)`
fn node_summary(cluster: &Inventory<'_>, node: &[u8]) -> String {
    let count =
        |kind| cluster.guests.iter().filter(|guest| guest.node == node && guest.kind() == kind).count();
    let counted = |number: usize, one: &str| format!("{number} {one}{}", if number == 1 { "" } else { "s" });
    let (vms, containers) =
        (counted(count(GuestKind::Qemu), "VM"), counted(count(GuestKind::Lxc), "container"));
    format!("{} ({vms}, {containers})", node.to_str_lossy())
}

fn table(columns: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(columns.iter().map(|column| styled(DIM, column)));
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn storages(cluster: &Inventory<'_>) -> String {
    let mut table = table(&["ID", "TYPE", "HOLDS", "NODES", "SHARED", "WHERE"], &[]);
    for storage in cluster.storages.storages() {
        let content: Vec<&str> = storage.content().iter().map(|content| content.as_str()).collect();
        let nodes = match storage.nodes() {
            _ if storage.is_disabled() => styled(ODD, "disabled"),
            None => "all".to_owned(),
            Some(nodes) => nodes.map(|node| node.to_str_lossy().into_owned()).collect::<Vec<_>>().join(","),
        };
        let shared = if storage.is_shared() { "yes" } else { "no" };
        let place = place(&storage);
        table.add_row([
            storage.id().as_str(),
            storage.kind().as_str(),
            &content.join(","),
            &nodes,
            shared,
            &place,
        ]);
    }
    for id in cluster.storages.broken() {
        let why = styled(BAD, "broken: see the findings below");
        table.add_row([&*id.to_str_lossy(), "?", &why, "", "", ""]);
    }
    for section in cluster.storages.unknown() {
        let why = styled(ODD, "ignored: see the findings below");
        table.add_row([&*section.id.to_str_lossy(), &*section.kind.to_str_lossy(), &why, "", "", ""]);
    }
    lines(&table)
}

/// What the storage lies on: the properties that say so.
fn place(storage: &Storage<'_>) -> String {
    const PLACES: [&str; 14] = [
        "server",
        "portal",
        "export",
        "share",
        "target",
        "path",
        "vgname",
        "thinpool",
        "pool",
        "namespace",
        "datastore",
        "fs-name",
        "monhost",
        "mountpoint",
    ];
    let parts = PLACES.iter().filter_map(|key| Some(format!("{key}={}", storage.text(key)?)));
    parts.collect::<Vec<_>>().join(" ")
}

fn guests(cluster: &Inventory<'_>) -> String {
    let mut table =
        table(&["VMID", "NODE", "TYPE", "NAME", "CPUS", "MEMORY", "DISKS", "REMARKS"], &[0, 4, 5, 6]);
    for guest in &cluster.guests {
        let disks: u64 =
            guest.volumes.iter().filter(|volume| is_disk(volume)).filter_map(|volume| volume.size).sum();
        table.add_row([
            guest.vmid.to_string(),
            guest.node.to_string(),
            if guest.kind() == GuestKind::Qemu { "vm" } else { "ct" }.to_owned(),
            guest.name().map_or_else(|| styled(DIM, "-"), |name| name.to_str_lossy().into_owned()),
            guest.cpus().map_or_else(|| "all".to_owned(), |cpus| cpus.to_string()),
            guest.memory().map_or_else(|| styled(BAD, "?"), mebibytes),
            if disks == 0 { "-".to_owned() } else { format_size(disks) },
            remarks(cluster, guest),
        ]);
    }
    lines(&table)
}

/// Whether it counts as disk space of the guest's current state.
fn is_disk(volume: &Referenced) -> bool {
    let role = matches!(volume.role, VolumeRole::Disk | VolumeRole::RootDisk | VolumeRole::MountPoint);
    role && volume.section.is_empty() && matches!(volume.target, Target::Volume(_))
}

fn mebibytes(size: u64) -> String {
    format_size(size.saturating_mul(1 << 20))
}

fn remarks(cluster: &Inventory<'_>, guest: &Guest<'_>) -> String {
    let mut remarks = Vec::new();
    if guest.is_template() {
        remarks.push("template".to_owned());
    }
    if let Some(lock) = guest.lock() {
        remarks.push(styled(ODD, format_args!("locked: {}", lock.to_str_lossy())));
    }
    let snapshots = guest.snapshots();
    if !snapshots.is_empty() {
        let names: Vec<_> = snapshots.iter().map(|name| name.to_str_lossy()).collect();
        remarks.push(format!("snapshots: {}", names.join(", ")));
    }
    if guest.pending_changes() > 0 {
        remarks.push(format!("{} pending", guest.pending_changes()));
    }
    for (key, remark) in [("protection", "protected"), ("onboot", "starts at boot")] {
        if guest.option(key).is_some_and(|value| value == "1") {
            remarks.push(remark.to_owned());
        }
    }
    if let Some(resource) = cluster.ha_resources.of_guest(guest.vmid) {
        remarks.push(match resource.state() {
            Some(state) => format!("HA: {state}"),
            None => styled(ODD, "HA: unknown state"),
        });
    }
    let jobs = cluster.replication.of_guest(guest.vmid).filter(|job| !job.is_disabled());
    remarks.extend(jobs.filter_map(|job| Some(format!("replicated to {}", job.target()?))));
    let backups: Vec<_> =
        cluster.jobs.backups_of(guest.vmid, &guest.node).map(|job| job.id().to_string()).collect();
    if !backups.is_empty() {
        remarks.push(format!("backed up by {}", backups.join(", ")));
    }
    remarks.join("; ")
}

/// A row for each network card.
fn cards(cluster: &Inventory<'_>, networks: &[NodeNetwork<'_>]) -> String {
    let mut table = table(&["VMID", "CARD", "MODEL", "ADDRESS", "BRIDGE", "VLAN"], &[0, 5]);
    let text = |text: Option<&BStr>| text.map_or("-".to_owned(), |text| text.to_string());
    for (guest, card) in cluster.cards() {
        let of_node = networks.iter().find(|node| guest.node == node.file.node.as_bytes());
        let is_missing = of_node.is_some_and(|node| card.hangs(&node.network));
        let bridge = text(card.bridge);
        table.add_row([
            guest.vmid.to_string(),
            format!("net{}", card.index),
            card.model.to_owned(),
            text(card.address),
            if is_missing { styled(BAD, format_args!("{bridge} (not on {})", guest.node)) } else { bridge },
            card.vlan.map_or("-".to_owned(), |vlan| vlan.to_string()),
        ]);
    }
    if table.is_empty() { "none\n".to_owned() } else { lines(&table) }
}

/// A row for each interface of a node.
fn interfaces(node: &NodeNetwork<'_>) -> String {
    let mut table = table(&["INTERFACE", "KIND", "ADDRESSES", "GATEWAY", "PORTS", "REMARKS"], &[]);
    let or_none = |list: Vec<String>| if list.is_empty() { "-".to_owned() } else { list.join(" ") };
    for interface in node.network.interfaces() {
        table.add_row([
            interface.name().to_string(),
            network::kind(interface).to_owned(),
            or_none(interface.addresses().iter().map(ToString::to_string).collect()),
            or_none(interface.gateways().iter().map(ToString::to_string).collect()),
            or_none(interface.parts().iter().map(ToString::to_string).collect()),
            network::remarks(interface),
        ]);
    }
    if table.is_empty() { "none\n".to_owned() } else { lines(&table) }
}

fn volumes(out: &mut impl Write, guest: &Guest<'_>) -> io::Result<()> {
    if guest.volumes.is_empty() {
        return Ok(());
    }
    let name = guest.name().map(|name| format!(" {}", name.to_str_lossy())).unwrap_or_default();
    let place = styled(DIM, format_args!("on {}", guest.node));
    writeln!(out, "{}{name} {place}", styled(BOLD, guest.vmid))?;
    let width = guest.volumes.iter().map(|volume| label(volume).len()).max().unwrap_or(0);
    let target = |volume: &Referenced| volume.target.as_bytes().to_str_lossy().into_owned();
    // one long name does not push the others' meaning out of sight
    let widths = guest.volumes.iter().map(|volume| target(volume).chars().count());
    let targets = widths.filter(|width| *width <= WIDE).max().unwrap_or(0);
    let last = guest.volumes.len() - 1;
    for (number, volume) in guest.volumes.iter().enumerate() {
        let branch = if number == last { "└─" } else { "├─" };
        let (label, target, meaning) = (label(volume), target(volume), styled(DIM, meaning(volume)));
        writeln!(out, "{branch} {label:<width$}  {target:<targets$}  {meaning}")?;
        let stem = if number == last { " " } else { "│" };
        for problem in &volume.problems {
            let style = if problem.is_dangling() { BAD } else { ODD };
            writeln!(out, "{stem}  {:<width$}  {}", "", styled(style, format_args!("! {problem}")))?;
        }
    }
    Ok(())
}

/// `scsi0`, or `initial/scsi0` in a section.
fn label(volume: &Referenced) -> String {
    if volume.section.is_empty() {
        volume.key.to_string()
    } else {
        format!("{}/{}", volume.section, volume.key)
    }
}

/// What the reference means, in words: `disk, raw, 8G`.
fn meaning(volume: &Referenced) -> String {
    let mut parts = vec![
        match volume.role {
            VolumeRole::Disk => "disk",
            VolumeRole::Cdrom => "medium",
            VolumeRole::CloudInit => "cloud-init drive",
            VolumeRole::Efi => "EFI variables",
            VolumeRole::Tpm => "TPM state",
            VolumeRole::RootDisk => "root file system",
            VolumeRole::MountPoint => "mount point",
            VolumeRole::Unused => "detached",
            VolumeRole::State => "saved memory",
            VolumeRole::Hookscript => "hook script",
            VolumeRole::CustomCloudInit => "cloud-init file",
            VolumeRole::Fleecing => "fleecing image",
            _ => "volume",
        }
        .to_owned(),
    ];
    match &volume.target {
        Target::Volume(target) => {
            parts.extend(target.format.clone());
            parts.extend(volume.size.map(format_size));
            parts.extend(target.storage_type.map(|kind| format!("on {kind}")));
            parts.extend(target.is_base.then(|| "base of linked clones".to_owned()));
            parts.extend(target.base.as_ref().map(|base| format!("linked clone of {base}")));
        }
        Target::Path(_) => parts.push("a path of the host".to_owned()),
        _ => {}
    }
    parts.join(", ")
}

fn problems(out: &mut impl Write, cluster: &Inventory<'_>, loose: &[LooseEnd]) -> io::Result<()> {
    let duplicates: Vec<_> = cluster.duplicate_ids().collect();
    let dangling = cluster.problems().filter(|(_, _, problem)| problem.is_dangling()).count();
    let other = cluster.problems().count() - dangling;
    section(out, "References that do not fit")?;
    if dangling + other + duplicates.len() + loose.len() == 0 {
        return writeln!(out, "none");
    }
    for (one, next) in duplicates {
        let text = format_args!("guest {} is claimed by {} and {}", one.vmid, one.path, next.path);
        writeln!(out, "{}", styled(BAD, text))?;
    }
    let mut volumes = table(&["VMID", "OPTION", "VOLUME", "PROBLEM"], &[0]);
    for (guest, volume, problem) in cluster.problems() {
        let style = if problem.is_dangling() { BAD } else { ODD };
        let target = volume.target.as_bytes().to_str_lossy().into_owned();
        volumes.add_row([guest.vmid.to_string(), label(volume), target, styled(style, problem)]);
    }
    if !volumes.is_empty() {
        write!(out, "{}", lines(&volumes))?;
    }
    let mut others = table(&["FILE", "LINE", "SECTION", "PROBLEM"], &[1]);
    for end in loose {
        let problem = styled(BAD, &end.reason);
        others.add_row([end.file, &end.line.to_string(), &*end.section.to_str_lossy(), &problem]);
    }
    if !others.is_empty() {
        write!(out, "{}", lines(&others))?;
    }
    writeln!(out, "{} dangling, {other} other", dangling + loose.len())
}

fn findings(
    out: &mut impl Write,
    source: &Source,
    cluster: &Inventory<'_>,
    networks: &[NodeNetwork<'_>],
) -> io::Result<()> {
    section(out, "Findings in the files")?;
    let mut count = 0;
    let storage_cfg = source.listing.file(b"storage.cfg").unwrap_or_default();
    for finding in cluster.storages.diagnostics() {
        writeln!(out, "{}", excerpt::render("storage.cfg", storage_cfg, finding))?;
        count += 1;
    }
    for guest in &cluster.guests {
        let path = guest.path.to_str_lossy();
        for finding in &guest.diagnostics {
            writeln!(out, "{}", excerpt::render(&path, guest.text, finding))?;
            count += 1;
        }
    }
    for (path, finding) in &cluster.other_diagnostics {
        let content = source.listing.file(path.as_bytes()).unwrap_or_default();
        writeln!(out, "{}", excerpt::render(path, content, finding))?;
        count += 1;
    }
    for node in networks {
        for finding in node.network.diagnostics() {
            writeln!(out, "{}", excerpt::render(&node.file.path, &node.file.text, finding))?;
            count += 1;
        }
    }
    if count == 0 { writeln!(out, "none") } else { Ok(()) }
}

/// The lines of a table, without blanks at their ends.
fn lines(table: &Table) -> String {
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}
