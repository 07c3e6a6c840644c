// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations on raw images and container roots that are subvolumes.

use std::sync::LazyLock;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{Digits, ImageFormat, Naming, StorageType};
use regex::bytes::Regex;

use super::super::concat;
use super::super::directory::{image, images_directory};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::{Change, FileKind};
use crate::operation::{Allocation, SnapshotInfo};
use crate::session::Session;
use crate::storage::Storage;
use crate::volume::Volume;

/// Inode number of the root of every subvolume.
const SUBVOLUME_INODE: u64 = 256;

/// `btrfs -q` and its sub-commands.
pub(super) fn btrfs(words: &[&str]) -> Command {
    Command::change("btrfs").arg("-q").args(words)
}

/// The directory of an image: its name without `.raw`.
fn directory_name(name: &BStr) -> &[u8] {
    name.strip_suffix(b".raw").unwrap_or(name.as_bytes())
}

pub(super) fn allocate(
    session: &Session<'_>,
    storage: &Storage,
    request: &Allocation<'_>,
) -> Result<BString> {
    let directory = images_directory(storage, &request.owner)?;
    session.make_directories(directory.as_bstr())?;
    let name = image::new_name(session, storage, request)?;
    let path = concat([&directory, b"/", directory_name(name.as_bstr())]);
    if session.exists(path.as_bstr()) {
        return Err(Error::Exists(path));
    }
    if request.format == ImageFormat::Subvol && request.size_kib != 0 {
        let reason = "a subvolume has no size of its own: ask for 0".into();
        return Err(Error::Request { volume: name, reason });
    }
    session.run(&btrfs(&["subvolume", "create", "--"]).operand(&path))?;
    if request.format == ImageFormat::Raw {
        let file = Change::CreateSparse {
            path: concat([&path, b"/disk.raw"]),
            size: request.size_kib.saturating_mul(1024),
            nocow: storage.flag("nocow"),
        };
        session.undoing(|| session.change(&file), || delete(session, &path))?;
    }
    Ok(concat([request.owner.as_bstr(), b"/", &name]))
}

/// Removes a subvolume.
pub(super) fn delete(session: &Session<'_>, path: &BString) -> Result<()> {
    session.run(&btrfs(&["subvolume", "delete", "--"]).operand(path)).map(drop)
}

/// The snapshots that lie beside a subvolume: paths.
pub(super) fn snapshot_paths(session: &Session<'_>, path: &BString) -> Result<Vec<BString>> {
    static SNAPSHOT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?-u)^(?:vm|base|subvol)-[0-9]+-disk-[0-9]+(?:\.subvol)?@[^ \t\n\r\x0b\x0c]+$").ok()
    });
    let Some((directory, name)) = path.rsplit_once_str("/") else { return Ok(Vec::new()) };
    let mine = concat([name, b"@"]);
    let mut paths = Vec::new();
    for found in session.list(directory.as_bstr())? {
        let named = found.starts_with(&mine) && SNAPSHOT.as_ref().is_some_and(|rule| rule.is_match(&found));
        let path = concat([directory, b"/", &found]);
        let is_subvolume = |path: &BString| {
            session
                .host()
                .link_metadata(path.as_bstr())
                .is_some_and(|meta| meta.kind == FileKind::Directory && meta.inode == SUBVOLUME_INODE)
        };
        if named && is_subvolume(&path) {
            paths.push(path);
        }
    }
    Ok(paths)
}

pub(super) fn free(session: &Session<'_>, path: &BString) -> Result<()> {
    let mut command = btrfs(&["subvolume", "delete", "--"]);
    for snapshot in snapshot_paths(session, path)? {
        command = command.operand(snapshot);
    }
    session.run(&command.operand(path))?;
    if let Some((directory, _)) = path.rsplit_once_str("/") {
        session.try_change(&Change::RemoveDirectory { path: directory.into() });
    }
    Ok(())
}

pub(super) fn clone_volume(
    session: &Session<'_>,
    volume: &Volume<'_>,
    path: &BString,
    owner: Digits<'_>,
) -> Result<BString> {
    let storage = volume.storage();
    let directory = images_directory(storage, &owner)?;
    session.make_directories(directory.as_bstr())?;
    let name = image::free_name(session, storage, owner, image::image_format(volume)?)?;
    let target = concat([&directory, b"/", directory_name(name.as_bstr())]);
    session.run(&btrfs(&["subvolume", "snapshot", "--"]).operand(path).operand(target))?;
    Ok(concat([owner.as_bstr(), b"/", &name]))
}

pub(super) fn create_base(session: &Session<'_>, volume: &Volume<'_>, path: &BString) -> Result<BString> {
    let name =
        Naming::new(StorageType::Btrfs).template(volume.name).unwrap_or_else(|| volume.name.to_owned());
    let directory = path.rsplit_once_str("/").map_or(&b""[..], |(directory, _)| directory);
    let target = concat([directory, b"/", directory_name(name.as_bstr())]);
    session.change(&Change::Rename { from: path.clone(), to: target.clone() })?;
    session.attempt(&btrfs(&["property", "set"]).operand(&target).args(["ro", "true"]));
    Ok(concat([volume.volname.strip_suffix(volume.name.as_bytes()).unwrap_or_default(), &name]))
}

pub(super) fn rename(
    session: &Session<'_>,
    volume: &Volume<'_>,
    path: BString,
    owner: Digits<'_>,
    name: Option<&BStr>,
) -> Result<BString> {
    let storage = volume.storage();
    let name = match name {
        Some(name) => name.to_owned(),
        None => image::free_name(session, storage, owner, image::image_format(volume)?)?,
    };
    let directory = images_directory(storage, &owner)?;
    session.make_directories(directory.as_bstr())?;
    let Some(stem) = name.strip_suffix(b".raw").filter(|_| volume.name.ends_with(b".raw")) else {
        return Err(volume.unsupported("be renamed", "on btrfs only raw images can be renamed"));
    };
    let target = concat([&directory, b"/", stem]);
    if session.exists(target.as_bstr()) {
        return Err(Error::Exists(target));
    }
    session.change(&Change::Rename { from: path, to: target })?;
    Ok(concat([owner.as_bstr(), b"/", &name]))
}

pub(super) fn snapshot(session: &Session<'_>, path: &BString, snapshot: &BStr) -> Result<()> {
    let target = concat([path, b"@", snapshot]);
    session.run(&btrfs(&["subvolume", "snapshot", "-r", "--"]).operand(path).operand(target)).map(drop)
}

pub(super) fn rollback(session: &Session<'_>, path: &BString, snapshot: &BStr) -> Result<()> {
    let source = concat([path, b"@", snapshot]);
    let fresh = concat([path, b".tmp.", session.host().process_id().to_string().as_bytes()]);
    session.run(&btrfs(&["subvolume", "snapshot", "--"]).operand(source).operand(&fresh))?;
    session.undoing(
        || session.change(&Change::Exchange { one: fresh.clone(), other: path.clone() }),
        || delete(session, &fresh),
    )?;
    session.attempt(&btrfs(&["subvolume", "delete", "--"]).operand(&fresh));
    Ok(())
}

pub(super) fn snapshots(session: &Session<'_>, path: &BString) -> Result<Vec<SnapshotInfo>> {
    let prefix = concat([path, b"@"]);
    let names = snapshot_paths(session, path)?.into_iter().filter_map(|found| {
        let name = found.strip_prefix(prefix.as_bytes())?.into();
        Some(SnapshotInfo { name, ..SnapshotInfo::default() })
    });
    Ok(names.collect())
}
