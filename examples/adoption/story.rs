// SPDX-License-Identifier: MIT OR Apache-2.0
//! The story, chapter by chapter.

use bstr::{BStr, BString, ByteSlice};
use pve_cfs::Row;
use pve_config::guest::VmConfig;
use pve_qemu::create::{CreateRequest, create_vm};
use pve_qemu::destroy::{DestroyOptions, destroy_vm};
use pve_qemu::node::Node;
use pve_qemu::rescan::{RescanFinding, RescanMode, rescan};
use pve_qemu::update::{Update, update_vm};
use pve_qemu::{Builder, Host, Options};
use pve_storage::{Planning, Session};
use pve_volid::{ImageFormat, VmId, VolumeId, Wanted};

use crate::Outcome;
use crate::ground::{Ground, NODE};
use crate::layers;
use crate::teller::Teller;

/// The VM that adopts.
pub(crate) const VM: u32 = 9999;
/// The VM that the volume is given to for a while.
pub(crate) const OTHER: u32 = 8888;
/// Size of the volume, in KiB.
const SIZE: u64 = 1 << 20;

pub(crate) fn tell(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.place()?;
    let volume = allocate(ground, teller)?;
    nothing_knows(ground, teller)?;
    listed(ground, teller)?;
    let volume = given_away_and_back(ground, teller, &volume)?;
    created(ground, teller)?;
    not_adopted(ground, teller)?;
    rescanned(ground, teller)?;
    attached(ground, teller, &volume)?;
    in_the_end(ground, teller)?;
    destroyed(ground, teller)
}

fn allocate(ground: &Ground, teller: &mut Teller<'_>) -> Outcome<VolumeId> {
    teller.chapter(&format!("A volume is allocated for VM {VM}, which does not exist"))?;
    let name = format!("vm-{VM}-disk-0{}", ground.suffix());
    teller.typed(&format!("pvesm alloc {} {VM} {name} 1G", ground.storage()))?;
    let owner = vmid(VM)?;
    let volume = on_storage(ground, teller, |session| {
        session.allocate(ground.storage(), owner, Some(ImageFormat::Raw), Some(name.as_str().into()), SIZE)
    })?;
    layers::show(ground, teller)?;
    Ok(volume)
}

fn nothing_knows(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.chapter("The database knows nothing of it")?;
    teller.typed(
        "sqlite3 $NODE/config.db 'SELECT inode, parent, version, type, name, length(data) FROM tree'",
    )?;
    for row in ground.configs.store().rows()? {
        let length = row.content().len();
        let (inode, parent, version, kind) = (row.inode, row.parent, row.version, row.kind);
        teller.shown(&format!(
            "{inode:>2} {parent:>2} {version:>2} {kind} {:15} {length:>3}",
            row.used_name().to_string()
        ))?;
    }
    teller.remark("There is no list of volumes anywhere: a storage is asked, every time, and names decide.")
}

fn listed(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.chapter("The storage lists it all the same: its name says whose it is")?;
    list(ground, teller)
}

fn list(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.typed(&format!("pvesm list {}", ground.storage()))?;
    for image in ground.session().images(ground.storage(), Wanted::Everything)? {
        let owner = image.owner.unwrap_or_default();
        teller.shown(&format!(
            "{}  {}  {}  owner {owner}",
            image.volid,
            image.format,
            image.size.unwrap_or(0)
        ))?;
    }
    Ok(())
}

fn given_away_and_back(ground: &Ground, teller: &mut Teller<'_>, volume: &VolumeId) -> Outcome<VolumeId> {
    teller.chapter(&format!("Renamed, it belongs to VM {OTHER}; renamed again, to VM {VM}"))?;
    let mut volume = volume.clone();
    for owner in [OTHER, VM] {
        let name = format!("vm-{owner}-disk-0{}", ground.suffix());
        teller.typed(&format!("pvesm rename {volume} {owner} {name}"))?;
        let owner = vmid(owner)?;
        volume = on_storage(ground, teller, |session| {
            session.rename(volume.as_bstr(), owner, Some(BStr::new(&name)))
        })?;
        list(ground, teller)?;
        layers::show(ground, teller)?;
    }
    teller.remark("No configuration was read or written. Whoever may rename a volume, may give it away.")?;
    Ok(volume)
}

fn created(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.chapter(&format!("VM {VM} is created"))?;
    teller
        .typed(&format!("qm create {VM} --name The-Adoption-Test --memory 512 --net0 virtio,bridge=vmbr0"))?;
    let request = CreateRequest::new()
        .set("name", "The-Adoption-Test")
        .set("memory", "512")
        .set("net0", "virtio,bridge=vmbr0");
    in_database(ground, teller, |node| Ok(create_vm(node, vmid(VM)?, request).map(drop)?))
}

fn not_adopted(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.chapter("It did not pick up the disk that bears its number")?;
    teller.typed(&format!("qm config {VM}"))?;
    let text = ground.text()?.unwrap_or_default();
    teller.shown(&text.to_string())?;
    layers::show(ground, teller)?;
    teller.remark("Both layers know the number, and neither knows of the other.")
}

fn rescanned(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.chapter("A rescan finds it: adopted, and attached to nothing")?;
    teller.typed(&format!("qm disk rescan --vmid {VM}"))?;
    let mut adopted = Vec::new();
    in_database(ground, teller, |node| {
        let found = rescan(node, Some(vmid(VM)?), RescanMode::Apply)?;
        let findings = found.into_iter().flat_map(|vm| vm.findings);
        adopted.extend(findings.filter_map(|finding| match finding {
            RescanFinding::Adopted { key, volume } => {
                Some(format!("{volume}, which nothing named, is {key}"))
            }
            _ => None,
        }));
        Ok(())
    })?;
    adopted.iter().try_for_each(|line| teller.shown(line))
}

fn attached(ground: &Ground, teller: &mut Teller<'_>, volume: &VolumeId) -> Outcome {
    teller.chapter("Attached, it is a disk")?;
    teller.typed(&format!("qm set {VM} --scsi0 {volume}"))?;
    let update = Update::default().with("scsi0", volume.to_string());
    in_database(ground, teller, |node| Ok(update_vm(node, vmid(VM)?, &update).map(drop)?))?;
    layers::show(ground, teller)
}

fn in_the_end(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    teller.chapter(
        "In the end: the configuration, its row in the database, and the process that it would become",
    )?;
    teller.typed(&format!("qm config {VM}"))?;
    let text = ground.text()?.unwrap_or_default();
    teller.shown(&text.to_string())?;
    teller
        .typed(&format!("sqlite3 -line $NODE/config.db \"SELECT * FROM tree WHERE name = '{VM}.conf'\""))?;
    let rows = ground.configs.store().rows()?;
    for row in rows.iter().filter(|row| row.used_name() == format!("{VM}.conf").as_str()) {
        show_row(row, teller)?;
    }
    teller.typed(&format!("qm showcmd {VM} --pretty"))?;
    let mut host = Host::default();
    NODE.clone_into(&mut host.node);
    let builder = Builder::new(&host, &ground.storages);
    let (config, _) = VmConfig::parse_with(&text, &builder.context());
    let command = builder.build(vmid(VM)?, &config, &Options::default())?;
    teller.shown(&command.pretty().to_string())
}

fn show_row(row: &Row, teller: &mut Teller<'_>) -> Outcome {
    let (inode, parent, version, writer) = (row.inode, row.parent, row.version, row.writer);
    teller
        .shown(&format!("  inode = {inode}\n parent = {parent}\nversion = {version}\n writer = {writer}"))?;
    teller.shown(&format!(
        "  mtime = {}\n   type = {}\n   name = {}",
        row.mtime,
        row.kind,
        row.used_name()
    ))?;
    let mut mark = "   data = ";
    for line in row.content().lines() {
        teller.shown(&format!("{mark}{}", line.as_bstr()))?;
        mark = "          ";
    }
    Ok(())
}

fn destroyed(ground: &Ground, teller: &mut Teller<'_>) -> Outcome {
    if ground.is_kept() {
        return Ok(());
    }
    teller.chapter("Destroyed, it leaves nothing in either layer")?;
    teller.typed(&format!("qm destroy {VM}"))?;
    let volume = ground.session().images(ground.storage(), Wanted::Everything)?.into_iter().next();
    if let Some(image) = volume {
        planned(ground, teller, |session| session.free(image.volid.as_bstr()))?;
    }
    in_database(
        ground,
        teller,
        |node| Ok(destroy_vm(node, vmid(VM)?, DestroyOptions::default()).map(drop)?),
    )?;
    layers::show(ground, teller)
}

/// Changes the storage, and shows the commands of the change before.
fn on_storage<T>(
    ground: &Ground,
    teller: &mut Teller<'_>,
    change: impl Fn(&Session<'_>) -> Result<T, pve_storage::Error>,
) -> Outcome<T> {
    planned(ground, teller, &change)?;
    Ok(change(&ground.session())?)
}

/// Shows the commands of a change.
fn planned<T>(
    ground: &Ground,
    teller: &mut Teller<'_>,
    change: impl FnOnce(&Session<'_>) -> Result<T, pve_storage::Error>,
) -> Outcome {
    let plan = Planning::new(&ground.host);
    change(&Session::new(&ground.storages, &plan, NODE))?;
    plan.steps().iter().try_for_each(|step| teller.below(&step.to_string()))
}

/// Changes the database, and shows the rows that were written, and the lines of the configuration that changed.
fn in_database(
    ground: &Ground,
    teller: &mut Teller<'_>,
    change: impl FnOnce(Node<'_>) -> Outcome,
) -> Outcome {
    let rows = || ground.configs.store().rows();
    let (before, text) = (rows()?, ground.text()?);
    ground.on(change)?;
    let after = rows()?;
    let version = |rows: &[Row]| rows.iter().map(|row| row.version).max().unwrap_or(0);
    teller.below(&format!("config.db, tree version {} -> {}", version(&before), version(&after)))?;
    for row in after.iter().filter(|row| row.inode != 0 && !before.contains(row)) {
        teller.below(&format!("row written: {}", layers::described(row)))?;
    }
    for row in before.iter().filter(|row| !after.iter().any(|other| other.inode == row.inode)) {
        teller.below(&format!("row deleted: {}", layers::described(row)))?;
    }
    let (old, new) = (text.unwrap_or_default(), ground.text()?.unwrap_or_default());
    let missing = |text: &BString, line: &[u8]| !text.lines().any(|other| other == line);
    for line in old.lines().filter(|line| missing(&new, line)) {
        teller.changed(&format!("- {}", line.as_bstr()))?;
    }
    for line in new.lines().filter(|line| missing(&old, line)) {
        teller.changed(&format!("+ {}", line.as_bstr()))?;
    }
    Ok(())
}

/// A number of the story as the id that it is.
fn vmid(number: u32) -> Outcome<VmId> {
    Ok(number.try_into()?)
}
