// SPDX-License-Identifier: MIT OR Apache-2.0
//! Putting an image into its volume, whatever the storage.

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_config::vm::DriveId;
use pve_storage::{Change, Command, Hints, Session};
use pve_volid::{ImageFormat, VmId, VolumeIdRef};
use thiserror::Error;

use super::{
    CustomParts, FileSet, GenerateError, Resolver, Settings, StoredSnippets, VOLUME_KIB, image_drives,
};

/// An image that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenImage {
    /// The drive.
    pub drive: DriveId,
    /// Its volume.
    pub volid: BString,
    /// Path of the volume, or its address in QEMU's notation.
    pub path: BString,
    /// The label of the image.
    pub label: &'static str,
}

/// Why a VM's images are not in their volumes.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// There is no image to write.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The volume is too small. (The reference writes what fits, and leaves the guest a damaged image.)
    #[error(
        "the image has {needed} bytes, the volume {volid} only {size}; delete the drive and add it again"
    )]
    TooSmall {
        /// The volume.
        volid: BString,
        /// Size of the volume, in bytes.
        size: u64,
        /// Size of the image, in bytes.
        needed: u64,
    },
    /// The storage refused, or copying failed.
    #[error("cannot write the cloud-init image into {volid}")]
    Storage {
        /// The volume.
        volid: BString,
        /// Why.
        source: pve_storage::Error,
    },
}

/// Makes the images of a VM and writes them into the volumes of its cloud-init drives, in the order of drives; a VM
/// without such a drive gets none, and that is no error. `folder` holds the temporary file while it is needed; the
/// reference uses `/run/pve/cloudinit/VMID`.
///
/// A volume that is missing is made, of 4 MiB. One that exists is neither made anew nor cut: what lies behind the
/// image stays (spec: cloud-init, "Image writing"). On a planning host nothing happens but the plan.
///
/// ```
/// use pve_config::guest::VmConfig;
/// use pve_qemu::cloudinit::{Resolver, write_images};
/// use pve_storage::{MemoryHost, Output, Session, Storage, Storages};
///
/// let storages: Storages = [Storage::new("local".parse()?, "dir").with("path", "/var/lib/vz")].into_iter().collect();
/// let mut host = MemoryHost::new();
/// host.answer_containing("info", Output::success(r#"{"virtual-size":4194304,"format":"qcow2"}"#));
/// let session = Session::new(&storages, &host, "pve1").assume_active();
///
/// let (config, _) = VmConfig::parse(b"name: web\nide2: local:100/vm-100-cloudinit.qcow2,media=cdrom\n");
/// let folder = "/run/pve/cloudinit/100".into();
/// let written = write_images(&session, &config.main, 100.try_into()?, Resolver::default(), folder)?;
/// assert_eq!(written[0].label, "cidata");
/// let last = host.commands().last().map(ToString::to_string);
/// assert_eq!(last.as_deref(), Some(
///     "/usr/bin/qemu-img convert -n -f raw -O qcow2 /run/pve/cloudinit/100/image.iso \
///      /var/lib/vz/images/100/vm-100-cloudinit.qcow2"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// The first image that cannot be made or written.
pub fn write_images(
    session: &Session<'_>,
    main: &VmSection<'_>,
    vmid: VmId,
    resolver: Resolver,
    folder: &BStr,
) -> Result<Vec<WrittenImage>, WriteError> {
    let drives: Vec<_> = image_drives(main, vmid).collect();
    if drives.is_empty() {
        return Ok(Vec::new());
    }
    let custom = CustomParts::of_config(main, &mut StoredSnippets(session))?;
    let files = Settings::of_config(main, vmid, resolver).files(custom)?;
    drives
        .into_iter()
        .map(|(drive, volid)| write_image(session, vmid, &files, drive, volid, folder))
        .collect()
}

fn write_image(
    session: &Session<'_>,
    vmid: VmId,
    files: &FileSet,
    drive: DriveId,
    volid: &BStr,
    folder: &BStr,
) -> Result<WrittenImage, WriteError> {
    let image = files.image()?;
    let storage = |source| WriteError::Storage { volid: volid.to_owned(), source };
    let volume = make_ready(session, vmid, volid).map_err(storage)?;
    let needed = u64::try_from(image.len()).unwrap_or(u64::MAX);
    if needed > volume.size {
        return Err(WriteError::TooSmall { volid: volid.to_owned(), size: volume.size, needed });
    }
    copy(session, image, &volume, folder).map_err(storage)?;
    let label = files.kind.label();
    Ok(WrittenImage { drive, volid: volid.to_owned(), path: volume.path, label })
}

/// A volume that can be written to.
struct ReadyVolume {
    path: BString,
    format: ImageFormat,
    /// What the guest sees, in bytes.
    size: u64,
}

/// Activates the volume; makes it if it is missing.
fn make_ready(session: &Session<'_>, vmid: VmId, volid: &BStr) -> pve_storage::Result<ReadyVolume> {
    let id = VolumeIdRef::from_bytes(volid)?;
    let format = session.storages().require(id.storage().as_str())?.volume(id.volname())?.format.image();
    let format = format.unwrap_or(ImageFormat::Raw);
    let activated = session.activate_volumes(&[volid], None, Hints::default());
    let mut size = session.size_info(volid).map_or(0, |info| info.size);
    if size == 0 {
        let name = id.volname().rsplit_str("/").next().unwrap_or_default().as_bstr();
        session.allocate(id.storage().as_str(), vmid, Some(format), Some(name), VOLUME_KIB)?;
        session.activate_volumes(&[volid], None, Hints::default())?;
        size = VOLUME_KIB * 1024;
    } else {
        activated?;
    }
    Ok(ReadyVolume { path: session.path(volid, None)?, format, size })
}

/// Copies the image to the start of the volume, by way of a file. The reference does it with a program of its own
/// making; `qemu-img convert -n` does the same to files, block devices and network images alike.
fn copy(
    session: &Session<'_>,
    image: Vec<u8>,
    volume: &ReadyVolume,
    folder: &BStr,
) -> pve_storage::Result<()> {
    let file: BString = [folder.as_bytes(), b"/image.iso"].concat().into();
    let command = Command::change("/usr/bin/qemu-img")
        .args(["convert", "-n", "-f", "raw", "-O", volume.format.as_str()])
        .operand(&file)
        .operand(&volume.path);
    session.make_directories(folder)?;
    let copied = session
        .change(&Change::Write { path: file.clone(), content: image.into(), mode: 0o600 })
        .and_then(|()| session.run(&command).map(drop));
    let removed = session.change(&Change::Unlink { path: file });
    copied.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pve_config::guest::VmConfig;
    use pve_storage::{Exit, MemoryHost, Node, Output, Record, Storage, Storages};

    const CONFIG: &[u8] =
        b"cicustom: user=local:snippets/u.yaml\nide2: lvm:vm-100-cloudinit,media=cdrom\nname: web\n";

    fn storages() -> Storages {
        let dir = Storage::new("local".parse().unwrap(), "dir").with("path", "/var/lib/vz");
        let lvm = Storage::new("lvm".parse().unwrap(), "lvm").with("vgname", "pve");
        [dir, lvm].into_iter().collect()
    }

    fn run(host: &MemoryHost, config: &[u8]) -> Result<Vec<WrittenImage>, WriteError> {
        let storages = storages();
        let session = Session::new(&storages, host, "pve1").assume_active();
        let (config, _) = VmConfig::parse(config);
        let vmid = VmId::from_bytes(b"100").unwrap();
        write_images(&session, &config.main, vmid, Resolver::default(), "/run/ci".into())
    }

    /// A machine on which `/sbin/lvs` tells the size of the volume.
    fn host(size: &str) -> MemoryHost {
        let mut host = MemoryHost::new();
        host.answer_containing("lv_size", Output::success(format!("  {size}\n")));
        host.insert("/var/lib/vz/snippets/u.yaml", Node::file("#cloud-config\n"));
        host
    }

    fn removals(host: &MemoryHost) -> usize {
        host.records()
            .iter()
            .filter(|record| matches!(record, Record::Changed(Change::Unlink { .. })))
            .count()
    }

    #[test]
    fn nothing_happens_without_a_cloudinit_drive() {
        let host = host("4194304");
        assert_eq!(run(&host, b"cicustom: user=local:snippets/missing\nname: web\n").unwrap(), []);
        assert!(host.records().is_empty());
    }

    #[test]
    fn the_image_is_copied_and_the_file_removed() {
        let host = host("4194304");
        let written = run(&host, CONFIG).unwrap();
        assert_eq!(written[0].path, "/dev/pve/vm-100-cloudinit");
        let last = host.commands().last().unwrap().to_string();
        let copy = "/usr/bin/qemu-img convert -n -f raw -O raw /run/ci/image.iso /dev/pve/vm-100-cloudinit";
        assert_eq!((last.as_str(), removals(&host)), (copy, 1));
    }

    #[test]
    fn a_missing_volume_is_made() {
        let mut host = host("0");
        host.answer_containing("/sbin/vgs", Output::success("  pve:500000000000:100000000000:3\n"));
        run(&host, CONFIG).unwrap();
        let made =
            host.commands().iter().map(ToString::to_string).find(|command| command.contains("lvcreate"));
        assert!(made.is_some_and(|command| command.contains("4096k --name vm-100-cloudinit")));
    }

    #[test]
    fn a_failed_copy_leaves_no_file_and_a_small_volume_is_refused() {
        let mut host = host("4194304");
        let failed = Output { exit: Exit::Code(1), stdout: "".into(), stderr: "no space\n".into() };
        host.answer_containing("convert", failed);
        assert!(matches!(run(&host, CONFIG), Err(WriteError::Storage { .. })));
        assert_eq!(removals(&host), 1);
        let error = run(&self::host("4096"), CONFIG).unwrap_err();
        assert!(matches!(error, WriteError::TooSmall { size: 4096, .. }), "{error}");
    }

    #[test]
    fn custom_parts_must_be_snippets_of_a_bearable_size() {
        let error = |config: &str, size: u64| {
            let mut host = host("4194304");
            host.insert("/var/lib/vz/snippets/big", Node::sized(size));
            run(&host, format!("{config}\nide2: lvm:vm-100-cloudinit\n").as_bytes()).err()
        };
        let big = "cicustom: meta=local:snippets/big";
        assert!(matches!(
            error(big, (1 << 20) + 1),
            Some(WriteError::Generate(GenerateError::PartTooLarge { part: "meta", .. }))
        ));
        assert!(matches!(
            error("cicustom: user=local:iso/x.iso", 0),
            Some(WriteError::Generate(GenerateError::NotASnippet { part: "user", .. }))
        ));
        assert!(matches!(
            error("cicustom: vendor=local:snippets/none", 0),
            Some(WriteError::Generate(GenerateError::Unreadable { part: "vendor", .. }))
        ));
    }
}
