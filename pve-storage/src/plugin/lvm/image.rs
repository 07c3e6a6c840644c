// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making, removing, renaming and resizing logical volumes.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{Digits, ImageFormat};

use super::super::chain::Chain;
use super::super::{concat, free_name_among, kind_of, qemu_img};
use super::report::{groups, lvs};
use super::{device, volume_group};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::operation::{Allocation, SizeInfo, Wipe};
use crate::session::{Session, number, strange};
use crate::storage::Storage;
use crate::volume::Volume;

/// `VG/LV`.
pub(in super::super) fn full_name(storage: &Storage, lv: &[u8]) -> Result<BString> {
    Ok(concat([volume_group(storage)?, b"/", lv]))
}

/// The next free name; every logical volume of the group counts.
pub(in super::super) fn free_name(
    session: &Session<'_>,
    storage: &Storage,
    owner: Digits<'_>,
    format: Option<ImageFormat>,
) -> Result<BString> {
    let lvs = lvs(session, volume_group(storage)?)?;
    free_name_among(storage, owner, format, lvs.iter().map(|lv| lv.lv.as_bytes()))
}

/// Fails if the group is missing or has less free than asked for. The reference compares bytes with KiB here.
pub(in super::super) fn check_group(
    session: &Session<'_>,
    storage: &Storage,
    size_kib: Option<u64>,
) -> Result<()> {
    let name = volume_group(storage)?;
    let groups = groups(session)?;
    let Some(group) = groups.iter().find(|group| group.name == name) else {
        return Err(Error::Missing(concat([b"volume group ", name])));
    };
    match size_kib {
        Some(size) if group.free < size => Err(Error::Request {
            volume: storage.id().as_str().into(),
            reason: format!("not enough free space: {} bytes in volume group '{name}'", group.free),
        }),
        _ => Ok(()),
    }
}

/// Makes a logical volume.
fn create(
    session: &Session<'_>,
    storage: &Storage,
    name: &BStr,
    size_kib: u64,
    tags: &[BString],
) -> Result<()> {
    let mut command = Command::change("/sbin/lvcreate")
        .args(["-aly", "-Wy", "--yes", "--size", &format!("{size_kib}k"), "--name"])
        .operand(name)
        .args(["--setautoactivation", "n"]);
    for tag in tags {
        command = command.arg("--addtag").operand(tag);
    }
    session.run(&command.operand(volume_group(storage)?)).map(drop)
}

/// Removes a logical volume.
pub(in super::super) fn remove(session: &Session<'_>, storage: &Storage, lv: &[u8]) -> Result<()> {
    let command = Command::change("/sbin/lvremove").arg("-f").operand(full_name(storage, lv)?);
    session.run(&command).map(drop)
}

fn rename_command(storage: &Storage, old: &[u8], new: &[u8]) -> Result<Command> {
    Ok(Command::change("/sbin/lvrename").operand(volume_group(storage)?).operand(old).operand(new))
}

/// Renames a logical volume; a name that is taken is an error before anything is tried.
pub(in super::super) fn rename_lv(
    session: &Session<'_>,
    storage: &Storage,
    old: &[u8],
    new: &[u8],
) -> Result<()> {
    refuse_taken(session, storage, new)?;
    session.run(&rename_command(storage, old, new)?).map(drop)
}

fn refuse_taken(session: &Session<'_>, storage: &Storage, name: &[u8]) -> Result<()> {
    let group = volume_group(storage)?;
    match lvs(session, group)?.find(group, name) {
        Some(_) => Err(Error::Exists(full_name(storage, name)?)),
        None => Ok(()),
    }
}

/// What `lvchange` is to work on: the device of a plain volume, or by a filter the qcow2 volume with its snapshots.
fn targets(volume: &Volume<'_>, command: Command) -> Result<Command> {
    let group = volume_group(volume.storage())?;
    let Some(stem) = volume.name.strip_suffix(b".qcow2").filter(|_| volume.is_qcow2()) else {
        return Ok(command.operand(device(volume.storage(), volume.name)?));
    };
    // names are LVM names: the dot is the only character with a meaning in a pattern
    let stem = stem.replace(".", r"\.");
    let filter =
        concat([b"vg_name = \"", group, b"\" && lv_name =~ '^(", &stem, b"|snap_", &stem, br"_.+)\.qcow2$'"]);
    Ok(command.arg("--select").value(filter))
}

pub(super) fn activate(session: &Session<'_>, volume: &Volume<'_>) -> Result<()> {
    session.run(&targets(volume, Command::change("/sbin/lvchange").arg("-aey"))?)?;
    session.run(&targets(volume, Command::change("/sbin/lvchange").arg("--refresh"))?)?;
    Ok(())
}

pub(super) fn deactivate(session: &Session<'_>, volume: &Volume<'_>) -> Result<()> {
    session.run(&targets(volume, Command::change("/sbin/lvchange").arg("-aln"))?).map(drop)
}

pub(super) fn allocate(
    session: &Session<'_>,
    storage: &Storage,
    request: &Allocation<'_>,
) -> Result<BString> {
    let format = request.format;
    let name = match request.name {
        Some(name) => name.to_owned(),
        None => free_name(session, storage, request.owner, Some(format))?,
    };
    let volume = storage.volume(&name)?;
    let qcow2 = format == ImageFormat::Qcow2;
    if volume.format.image() != Some(format) || (qcow2 && !storage.has_volume_chains()) {
        return Err(
            volume.request(format!("format '{format}' is not possible for this name on this storage"))
        );
    }
    check_group(session, storage, Some(request.size_kib))?;
    let owner_tag = owner_tag(request.owner);
    if !qcow2 {
        create(session, storage, name.as_bstr(), request.size_kib, &[owner_tag])?;
        return Ok(name);
    }
    let lv_size = qemu_img::measure(session, request.size_kib, false)?.div_ceil(1024);
    let tags = [owner_tag, concat([b"@pve-", &name])];
    create(session, storage, name.as_bstr(), lv_size, &tags)?;
    let file = device(storage, &name)?;
    session.undoing(
        || {
            activate(session, &volume)?;
            session.run(&qemu_img::create(storage, format, file.as_bstr(), request.size_kib)).map(drop)
        },
        || remove(session, storage, &name),
    )?;
    Ok(name.clone())
}

fn owner_tag(owner: Digits<'_>) -> BString {
    concat([b"pve-vm-", owner.as_bstr()])
}

/// Makes a qcow2 volume anew, empty, on top of the logical volume of one of its snapshots.
pub(super) fn put_on_top(session: &Session<'_>, volume: &Volume<'_>, below: &BString) -> Result<()> {
    let storage = volume.storage();
    let owner = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
    let limit = Some(std::time::Duration::from_secs(5));
    let below_file = device(storage, below)?;
    let size = qemu_img::require_size(session, below_file.as_bstr(), ImageFormat::Qcow2, limit)?.size;
    let size_kib = size / 1024;
    check_group(session, storage, Some(size_kib))?;
    let lv_size = qemu_img::measure(session, size_kib, true)?.div_ceil(1024);
    let tags = [owner_tag(owner), concat([b"@pve-", volume.name])];
    create(session, storage, volume.name, lv_size, &tags)?;
    let (file, qcow2) = (device(storage, volume.name)?, ImageFormat::Qcow2);
    session.undoing(
        || {
            activate(session, volume)?;
            let command = qemu_img::create_on_top(storage, below.as_bstr(), qcow2, file.as_bstr(), qcow2);
            session.run(&command).map(drop)
        },
        || remove(session, storage, volume.name),
    )
}

/// The chain of a qcow2 volume; empty without volume chains.
pub(super) fn read_chain(session: &Session<'_>, volume: &Volume<'_>) -> Result<Chain> {
    let storage = volume.storage();
    if !storage.has_volume_chains() || !volume.is_qcow2() {
        return Ok(Chain::default());
    }
    let file = device(storage, volume.name)?;
    Chain::read(session, volume, kind_of(storage)?, file.as_bstr())
}

/// Removes logical volumes, or puts them aside for wiping.
pub(super) fn remove_or_put_aside(
    session: &Session<'_>,
    storage: &Storage,
    lvs: impl IntoIterator<Item = BString>,
) -> Result<Option<Wipe>> {
    let mut wipe = Wipe::default();
    let saferemove = storage.flag("saferemove");
    for lv in lvs {
        if saferemove {
            let aside = concat([b"del-", &lv]);
            session.run(&rename_command(storage, &lv, &aside)?)?;
            wipe.volumes.push(aside);
        } else {
            remove(session, storage, &lv)?;
        }
    }
    Ok(saferemove.then_some(wipe))
}

pub(super) fn free(session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
    let mut lvs = vec![volume.name.to_owned()];
    if volume.is_qcow2() {
        activate(session, volume)?;
        let chain = read_chain(session, volume)?;
        lvs.extend(chain.0.iter().skip(1).filter_map(|part| Some(part.link.as_ref()?.volname.clone())));
    }
    remove_or_put_aside(session, volume.storage(), lvs)
}

pub(in super::super) fn rename(
    session: &Session<'_>,
    volume: &Volume<'_>,
    owner: Digits<'_>,
    name: Option<&BStr>,
) -> Result<BString> {
    let storage = volume.storage();
    if volume.is_qcow2() {
        activate(session, volume)?;
        read_chain(session, volume)?.refuse_rename(volume)?;
    }
    let name = match name {
        Some(name) => name.to_owned(),
        None => free_name(session, storage, owner, volume.format.image())?,
    };
    refuse_taken(session, storage, &name)?;
    rename_lv(session, storage, volume.name, &name)?;
    let mut command = Command::change("lvchange");
    let mut retag = |new: BString, old: BString| {
        command = command.clone().arg("--addtag").operand(new).arg("--deltag").operand(old);
    };
    let (new_number, old_owner) = (owner.number(), volume.owner);
    let moved = old_owner.filter(|old| old.number() != new_number);
    if let Some(old) = moved {
        retag(owner_tag(owner), owner_tag(old));
    }
    // created with `@pve-…`, retagged without the `@`, as the reference does
    if volume.is_qcow2() {
        retag(concat([b"pve-", &name]), concat([b"pve-", volume.name]));
    }
    if moved.is_some() || volume.is_qcow2() {
        session.attempt(&command.operand(full_name(storage, &name)?));
    }
    Ok(name)
}

pub(in super::super) fn resize(
    session: &Session<'_>,
    volume: &Volume<'_>,
    path: &BStr,
    size: u64,
    running: bool,
) -> Result<()> {
    let storage = volume.storage();
    let mut lv_size = size / 1024;
    if volume.is_qcow2() {
        lv_size = qemu_img::measure(session, lv_size, false)?.div_ceil(1024);
    }
    let extend = Command::change("/sbin/lvextend").args(["-L", &format!("{lv_size}k")]).operand(path);
    session.locked(storage, || session.run(&extend))?;
    if volume.is_qcow2() && !running {
        session.run(&qemu_img::resize(storage, ImageFormat::Qcow2, path, size))?;
    }
    Ok(())
}

pub(in super::super) fn size_info(session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
    let path = device(volume.storage(), volume.name)?;
    if volume.is_qcow2() {
        return qemu_img::require_size(session, path.as_bstr(), ImageFormat::Qcow2, None);
    }
    let command = Command::query("/sbin/lvs")
        .args(["--separator", ":", "--noheadings", "--units", "b", "--unbuffered", "--nosuffix"])
        .args(["--options", "lv_size"])
        .operand(&path);
    let output = session.run(&command)?;
    let size = output.lines().filter(|line| !line.trim_ascii().is_empty()).last().and_then(number);
    let size = size.ok_or_else(|| strange(&command, "expected a size in bytes"))?;
    Ok(SizeInfo { size, format: volume.format.to_string(), used: 0, parent: None, ctime: None })
}
