// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks the storages of a node what is on them, without changing anything.

use std::time::Duration;

use bstr::{BString, ByteSlice};
use pve_volid::{ContentType, ImageFile, ImageFormat, LvLine, StorageType};

use super::report::{FileReport, ImageReport, NodeReport, StorageReport, file_contents};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::FileKind;
use crate::plugin::{self, concat};
use crate::session::{Cache, Session};
use crate::storage::Storage;

/// How long `qemu-img info` may look at one image.
const LOOK: Duration = Duration::from_secs(30);

/// Asks every storage that is enabled on the session's node what is on it: the raw names that the tools tell, and the
/// backing files of images. Only queries are run; nothing is mounted, logged in to or activated, so that a storage that
/// is not ready is [silent](NodeReport::silent), with the reason.
///
/// ```no_run
/// use pve_config::inventory::Inventory;
/// use pve_storage::audit::{audit, collect};
/// use pve_storage::{LocalHost, Session, Storages};
///
/// let files = [("storage.cfg", &b"dir: local\n\tpath /var/lib/vz\n"[..]), ("nodes/pve1/qemu-server/100.conf", b"")];
/// let cluster = Inventory::new(files);
/// let storages = Storages::from_config(&cluster.storages);
/// let host = LocalHost::new(|event| eprintln!("{event:?}"));
/// let found = audit(&cluster, &[collect(&Session::new(&storages, &host, "pve1"))])?;
/// for finding in found.findings {
///     println!("{}:{}: {}", finding.storage, finding.name, finding.trouble);
/// }
/// # Ok::<(), pve_storage::audit::ReportError>(())
/// ```
#[must_use]
pub fn collect(session: &Session<'_>) -> NodeReport {
    let mut report = NodeReport { node: session.node().to_owned(), ..NodeReport::default() };
    let mut cache = Cache::default();
    let mut directories: Vec<(BString, &str)> = Vec::new();
    for storage in session.storages().iter().filter(|storage| storage.is_enabled_on(session.node())) {
        let id = storage.id().as_str();
        if let Err(error) = ask(session, storage, &mut report, &mut cache) {
            report.silent.insert(id.to_owned(), error.to_string());
            continue;
        }
        let Ok(images) = storage.plugin().content_directory(storage, ContentType::Images) else { continue };
        let Some(real) = session.host().real_path(images.as_bstr()) else { continue };
        match directories.iter().find(|(known, _)| *known == real) {
            Some((_, other)) => drop(report.same.insert(id.to_owned(), (*other).to_owned())),
            None => directories.push((real, id)),
        }
    }
    report
}

fn ask(session: &Session<'_>, storage: &Storage, report: &mut NodeReport, cache: &mut Cache) -> Result<()> {
    let told = match storage.storage_type() {
        Some(StorageType::Lvm | StorageType::LvmThin) => {
            return logical_volumes(session, storage, report, cache);
        }
        Some(StorageType::ZfsPool | StorageType::Zfs) => {
            StorageReport::Zfs(plugin::zfs_datasets(session, storage)?)
        }
        Some(StorageType::Rbd) => StorageReport::Rbd(plugin::rbd_images(session, storage)?),
        Some(kind) if kind.is_path_based() && kind != StorageType::Esxi => {
            is_ready(session, storage, cache)?;
            let mut images = Vec::new();
            let files = files(session, storage, kind, &mut images)?;
            report.images.insert(storage.id().as_str().to_owned(), images);
            StorageReport::Directory(files)
        }
        _ => {
            is_ready(session, storage, cache)?;
            StorageReport::Listing(session.survey(storage.id().as_str())?)
        }
    };
    report.storages.insert(storage.id().as_str().to_owned(), told);
    Ok(())
}

/// Fails unless the storage can be used as it is now.
fn is_ready(session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
    let status = storage.plugin().status(session, storage, cache)?;
    if status.is_some_and(|status| status.active) {
        Ok(())
    } else {
        Err(silent(storage, "it is not active here"))
    }
}

fn silent(storage: &Storage, reason: impl Into<String>) -> Error {
    Error::Activation { what: storage.id().as_str().into(), reason: reason.into() }
}

fn logical_volumes(
    session: &Session<'_>,
    storage: &Storage,
    report: &mut NodeReport,
    cache: &mut Cache,
) -> Result<()> {
    let group = storage.require("vgname")?;
    is_ready(session, storage, cache)?;
    let lvs = plugin::lvm::all_lvs(session, cache)?;
    report.lvs.get_or_insert_with(|| lvs.as_bytes().into());
    let chained = |lv: &LvLine<'_>| lv.vg == group && lv.lv.ends_with(b".qcow2") && lv.is_active();
    let images = lvs.iter().filter(chained).filter_map(|lv| {
        let device = concat([b"/dev/", group, b"/", lv.lv]);
        session.exists(device.as_bstr()).then(|| image(session, device, ImageFormat::Qcow2))
    });
    report.images.insert(storage.id().as_str().to_owned(), images.collect());
    Ok(())
}

/// Everything in the content directories, and what is known of each image among it.
fn files(
    session: &Session<'_>,
    storage: &Storage,
    kind: StorageType,
    images: &mut Vec<ImageReport>,
) -> Result<Vec<FileReport>> {
    let mut found = Vec::new();
    for content in file_contents() {
        let directory = storage.plugin().content_directory(storage, content)?;
        for name in session.list(directory.as_bstr())? {
            let entry = look(session, &directory, content, name);
            if content != ContentType::Images || entry.kind != FileKind::Directory {
                found.push(entry);
                continue;
            }
            let guest = concat([&directory, b"/", &entry.path]);
            for file in session.list(guest.as_bstr())? {
                let entry = look(session, &directory, content, concat([&entry.path, b"/", &file]));
                images.extend(measured(session, &directory, kind, &entry));
                found.push(entry);
            }
        }
    }
    Ok(found)
}

fn look(session: &Session<'_>, directory: &BString, content: ContentType, path: BString) -> FileReport {
    let meta = session.host().metadata(concat([directory, b"/", &path]).as_bstr());
    let kind = meta.map_or(FileKind::Link, |meta| meta.kind);
    let size = meta.filter(|meta| meta.kind == FileKind::File).map(|meta| meta.size);
    FileReport { content, path, kind, size }
}

/// What is known of an image, or of a snapshot in a chain.
fn measured(
    session: &Session<'_>,
    directory: &BString,
    kind: StorageType,
    entry: &FileReport,
) -> Option<ImageReport> {
    let (path, format) = match ImageFile::at(kind, &entry.path) {
        Ok(file) if file.format == ImageFormat::Subvol => return None,
        Ok(file) => (file.data_file(), file.format),
        Err(_) => {
            let (_, file) = entry.path.rsplit_once_str("/")?;
            let in_chain = file.starts_with(b"snap-") && file.ends_with(b".qcow2");
            if !in_chain {
                return None;
            }
            (entry.path.clone(), ImageFormat::Qcow2)
        }
    };
    let path = concat([directory, b"/", &path]);
    (session.kind(path.as_bstr()) == Some(FileKind::File)).then(|| image(session, path, format))
}

/// Asks `qemu-img` about one image. The format is that of the name: what a guest writes into a raw disk must not be
/// taken for the header of another format. Images of running guests are locked, which does not matter to a look.
fn image(session: &Session<'_>, file: BString, format: ImageFormat) -> ImageReport {
    let command = Command::query("/usr/bin/qemu-img")
        .args(["info", "-U", "--output=json", "-f", format.as_str()])
        .operand(&file)
        .timeout(LOOK);
    let told = session.run(&command).map_err(|error| match error {
        Error::Failed { complaint, .. } => complaint,
        error => error.to_string(),
    });
    let told = told.and_then(|output| ImageReport::read(&output.stdout).map_err(|error| error.to_string()));
    match told.map(|told| told.into_iter().next()) {
        Ok(Some(mut told)) => {
            told.file = file;
            let local = told.backing.as_ref().filter(|backing| backing.starts_with(b"/"));
            told.backing_exists = local.map(|backing| session.exists(backing.as_bstr()));
            told
        }
        Ok(None) => ImageReport {
            file,
            complaint: Some("qemu-img tells nothing".to_owned()),
            ..ImageReport::default()
        },
        Err(complaint) => ImageReport { file, complaint: Some(complaint), ..ImageReport::default() },
    }
}
