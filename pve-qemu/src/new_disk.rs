// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options that name new disks, and the volumes that they become (spec: vm-lifecycle, "Disk parameters in requests").
//!
//! | value | what is done |
//! |---|---|
//! | `STORAGE:SIZE` | a volume of SIZE GiB is allocated; for `efidisk0` one for the firmware's variables, for `tpmstate0` one of 4 MiB |
//! | `STORAGE:0,import-from=SOURCE` | a volume is allocated and filled from a volume or file |
//! | `STORAGE:0,import-from=STORAGE:import/NAME.ova/DISK` | the same; the disk is read where it is, without a working storage |
//! | `STORAGE:cloudinit` | a volume for a cloud-init image is allocated |
//! | a volume id, or a path below `/dev` | it is there already: its size is noted |
//! | another path | as the volume at this path |
//! | `none`, `cdrom` | no volume |

mod error;
mod import;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmSection, is_cloudinit_volume};
use pve_config::vm::{self, Bus, Drive, DriveId, Media, MsCert};
use pve_storage::Storage;
use pve_volid::{ImageFormat, StorageId, VmId, VolumeIdRef, VolumeType};

pub use error::{Misuse, NewDiskError};

use crate::cloudinit::{VOLUME_KIB, volume_format, volume_name};
use crate::disk;
use crate::disk_copy::refusal;
use crate::firmware::Variables;
use crate::left_behind::LeftBehind;
use crate::node::naming::has_directory;
use crate::node::{CopyOptions, Node};

/// KiB in a GiB, the unit of `STORAGE:SIZE`.
const KIB_PER_GIB: f64 = 1_048_576.0;
/// Size of the state of a TPM, in KiB.
const TPM_KIB: f64 = 4096.0;

/// What the file of a drive asks for.
enum Form<'v> {
    /// No volume.
    Nothing,
    /// A path, of a device most of the time.
    Path,
    /// A cloud-init drive.
    CloudInit(&'v str),
    /// A volume of so many GiB.
    New(&'v str, f64),
    /// A volume that exists.
    Volume,
}

impl<'v> Form<'v> {
    fn of(file: &'v BStr) -> Result<Self, NewDiskError> {
        if file == "none" || file == "cdrom" {
            return Ok(Form::Nothing);
        }
        if file.starts_with(b"/") {
            return Ok(Form::Path);
        }
        let volume =
            VolumeIdRef::from_bytes(file).map_err(|_| NewDiskError::NoVolume { file: file.to_owned() })?;
        let storage = volume.storage().as_str();
        Ok(match (volume.volname().as_bytes(), gib(volume.volname())) {
            (b"cloudinit", _) => Form::CloudInit(storage),
            (_, Some(size)) => Form::New(storage, size),
            _ => Form::Volume,
        })
    }
}

/// A size in GiB: `digits` or `digits.digits`, and nothing else.
fn gib(text: &BStr) -> Option<f64> {
    let mut parts = text.splitn_str(2, ".");
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let plain = digits(parts.next()?) && parts.next().is_none_or(digits);
    if plain { text.to_str().ok()?.parse().ok() } else { None }
}

/// The value of a drive as a request is taken: paths become volumes, empty CD-ROM drives are marked as such, and sub-options
/// come in their order.
pub(crate) fn normalise(node: Node<'_>, id: DriveId, value: &BStr) -> Result<BString, NewDiskError> {
    let mut drive = Drive::read_with(id, value, true)?;
    let volume: BString;
    if drive.file == "none" || drive.file == "cdrom" {
        drive.media.get_or_insert(Media::Cdrom);
    } else if drive.file.starts_with(b"/") && !drive.file.starts_with(b"/dev/") {
        let found = node.volumes.volume_at(drive.file)?;
        volume =
            found.ok_or_else(|| NewDiskError::NoStorage { path: drive.file.to_owned() })?.into_bytes().into();
        if disk::volume(node, volume.as_bstr()).is_some_and(|volume| volume.vtype == VolumeType::Iso)
            && drive.media.get_or_insert(Media::Cdrom) != &Media::Cdrom
        {
            return Err(NewDiskError::Use { file: volume, reason: Misuse::IsoAsDisk });
        }
        drive.file = volume.as_bstr();
    }
    Ok(drive.print()?)
}

/// A cloud-init drive among these sections that is not `id`.
pub(crate) fn other_cloudinit<'s>(
    sections: impl IntoIterator<Item = &'s VmSection<'s>>,
    id: DriveId,
) -> Option<(DriveId, &'s BStr)> {
    let drives = sections.into_iter().flat_map(VmSection::drives);
    let mut others = drives.filter(|(other, drive)| *other != id && is_cloudinit_volume(drive.file));
    others.next().map(|(other, drive)| (other, drive.file))
}

/// Makes the disks that the options of a request name, and remembers what it allocated.
pub(crate) struct NewDisks<'a> {
    node: Node<'a>,
    vmid: VmId,
    bwlimit: Option<u64>,
    made: Vec<BString>,
}

impl<'a> NewDisks<'a> {
    /// Disks of a VM; what is imported is copied with at most `bwlimit` KiB per second.
    pub(crate) fn new(node: Node<'a>, vmid: VmId, bwlimit: Option<u64>) -> Self {
        NewDisks { node, vmid, bwlimit, made: Vec::new() }
    }

    /// Makes the disk that the (normalised) value of `id` names; returns the value for the configuration. `main` holds the
    /// options that decide about firmware and template.
    pub(crate) fn make(
        &mut self,
        id: DriveId,
        value: &BStr,
        main: &VmSection<'_>,
    ) -> Result<BString, NewDiskError> {
        let drive = Drive::read_with(id, value, true)?;
        let form = Form::of(drive.file)?;
        if drive.import_from.is_some() && !matches!(form, Form::New(_, size) if size == 0.0) {
            return Err(NewDiskError::ImportSize { file: drive.file.to_owned() });
        }
        let mut made = Drive { format: None, import_from: None, ..drive };
        let file: BString;
        match form {
            Form::Nothing => return Ok(Drive { size: None, ..drive }.print()?),
            Form::Path | Form::Volume => {
                let size = Some(self.existing_size(&drive)?);
                return Ok(Drive { size, ..drive }.print()?);
            }
            Form::CloudInit(storage) => {
                file = self.cloudinit(storage, &drive)?;
                (made.media, made.size) = (Some(Media::Cdrom), None);
            }
            Form::New(storage, gib) => {
                let volume = match (drive.import_from, id.bus) {
                    (Some(source), _) => self.import(id, &drive, source, storage, main)?,
                    (None, Bus::Efidisk) => {
                        let (volume, has_ca) = self.firmware(&drive, storage, main)?;
                        if has_ca {
                            made.ms_cert = Some(MsCert::Y2023k);
                        }
                        volume
                    }
                    (None, Bus::Tpmstate) => self.empty(&drive, storage, TPM_KIB)?,
                    (None, _) => self.empty(&drive, storage, (gib * KIB_PER_GIB).ceil())?,
                };
                file = self.settle(volume.volume, volume.becomes_base && main.is_template())?;
                made.size = Some(volume.size);
            }
        }
        made.file = file.as_bstr();
        Ok(made.print()?)
    }

    /// Frees everything that was allocated; returns what could not be freed.
    pub(crate) fn give_up(self) -> Vec<LeftBehind> {
        let free = |volume: BString| {
            let error = self.node.volumes.free(volume.as_bstr()).err()?;
            Some(LeftBehind::volume(volume, error))
        };
        self.made.into_iter().filter_map(free).collect()
    }

    /// Size of a volume or device that exists, in bytes.
    fn existing_size(&self, drive: &Drive<'_>) -> Result<u64, NewDiskError> {
        let misuse = |reason| NewDiskError::Use { file: drive.file.to_owned(), reason };
        if !drive.file.starts_with(b"/") {
            let volume = disk::volume(self.node, drive.file).ok_or_else(|| misuse(Misuse::Unknown))?;
            match volume.vtype {
                VolumeType::Images => {}
                VolumeType::Iso if drive.is_cdrom() => {}
                VolumeType::Iso => return Err(misuse(Misuse::IsoAsDisk)),
                other => return Err(misuse(Misuse::Content(other))),
            }
            let actual = volume.format.image().map(|format| format.to_string()).unwrap_or_default();
            if let Some(wanted) = drive.format.map(vm::ImageFormat::as_str).filter(|wanted| *wanted != actual)
            {
                return Err(misuse(Misuse::Format { actual, wanted }));
            }
            self.node.volumes.activate(&[drive.file])?;
        }
        match self.node.volumes.size(drive.file)? {
            (0, _) => Err(misuse(Misuse::Empty)),
            (size, _) => Ok(size),
        }
    }

    /// A volume for a cloud-init image, which is made at the start.
    fn cloudinit(&mut self, storage: &str, drive: &Drive<'_>) -> Result<BString, NewDiskError> {
        let target = self.target(storage)?;
        let is_directory = has_directory(target);
        let option = drive.format.map(|format| known_format(target, format)).transpose()?;
        let format = volume_format(option, is_directory, target.has_volume_chains());
        let name = volume_name(self.vmid, format, is_directory);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        self.allocate(target, format, Some(name.as_str().into()), VOLUME_KIB as f64)
    }

    /// A new volume without content.
    fn empty(&mut self, drive: &Drive<'_>, storage: &str, kib: f64) -> Result<Made, NewDiskError> {
        let target = self.target(storage)?;
        let format = format_on(target, drive)?;
        let volume = self.allocate(target, format, None, kib)?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative, and beyond the range it is no size that could be allocated"
        )]
        let size = (kib as u64).saturating_mul(1024);
        Ok(Made { volume, size, becomes_base: true })
    }

    /// A new volume with the firmware's variables, and whether they hold the certificate authority of 2023.
    fn firmware(
        &mut self,
        drive: &Drive<'_>,
        storage: &str,
        main: &VmSection<'_>,
    ) -> Result<(Made, bool), NewDiskError> {
        let volumes = self.node.volumes;
        let variables = Variables::of_new_disk(&self.node.facts.arch, main, drive);
        let source = variables.path(|path| volumes.size(path).is_ok()).ok_or(NewDiskError::NoVariables)?;
        let (size, _) = volumes.size(source.as_bstr())?;
        let target = self.target(storage)?;
        let format = format_on(target, drive)?;
        #[expect(clippy::cast_precision_loss, reason = "the firmware is small")]
        let volume = self.allocate(target, format, None, size.div_ceil(1024) as f64)?;
        self.node.volumes.copy(source.as_bstr(), None, volume.as_bstr(), CopyOptions::default())?;
        let (actual, _) = volumes.size(volume.as_bstr())?;
        let file = source.rsplit_str("/").next().unwrap_or_default();
        let known = &self.node.facts.firmware_with_ca_2023;
        let has_ca =
            drive.pre_enrolled_keys == Some(true) && known.iter().any(|known| known.as_bytes() == file);
        Ok((Made { volume, size: actual / 1024 * 1024, becomes_base: true }, has_ca))
    }

    /// Turns a volume into a base volume if it should be one.
    fn settle(&mut self, volume: BString, as_base: bool) -> Result<BString, NewDiskError> {
        if !as_base {
            return Ok(volume);
        }
        self.made.retain(|made| *made != volume);
        match self.node.volumes.create_base(volume.as_bstr()) {
            Ok(base) => {
                let base = BString::from(base.into_bytes());
                self.made.push(base.clone());
                Ok(base)
            }
            // as in the reference, whoever frees what was made does not know this one any more
            Err(source) => Err(NewDiskError::Base { volume, source: Box::new(source) }),
        }
    }

    fn target(&self, storage: &str) -> Result<&'a Storage, NewDiskError> {
        let refuse =
            |reason: &str| NewDiskError::Target { storage: storage.into(), reason: reason.to_owned() };
        let target =
            self.node.volumes.storages().get(storage).ok_or_else(|| refuse("it is not configured"))?;
        refusal(self.node, target).map_or(Ok(target), |reason| Err(refuse(reason)))
    }

    fn allocate(
        &mut self,
        target: &Storage,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<BString, NewDiskError> {
        let storage: &StorageId = target.id();
        let volume = self.node.volumes.allocate(storage, self.vmid, format, name, kib)?;
        let volume = BString::from(volume.into_bytes());
        self.made.push(volume.clone());
        Ok(volume)
    }
}

/// A volume that was made.
struct Made {
    volume: BString,
    /// Size to note, in bytes.
    size: u64,
    /// On a template it becomes a base volume.
    becomes_base: bool,
}

fn image_format(format: vm::ImageFormat) -> Option<ImageFormat> {
    ImageFormat::from_bytes(format.as_str().as_bytes())
}

/// The format of the option, if the storage has it.
fn known_format(target: &Storage, format: vm::ImageFormat) -> Result<ImageFormat, NewDiskError> {
    let known = target.formats();
    image_format(format).filter(|format| known.contains(format)).ok_or_else(|| NewDiskError::Format {
        storage: target.id().as_str().into(),
        format: format.as_str().to_owned(),
        known: known.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// The format that a drive asks for, else that of new images.
fn format_on(target: &Storage, drive: &Drive<'_>) -> Result<ImageFormat, NewDiskError> {
    drive.format.map_or(Ok(target.default_format()), |format| known_format(target, format))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_plain_numbers() {
        for (text, size) in [("32", 32.0), ("007", 7.0), ("0.5", 0.5), ("4.25", 4.25), ("0", 0.0)] {
            assert_eq!(gib(text.into()), Some(size), "{text}");
        }
        for text in ["", "10.", ".5", "1e3", "32G", "-1", "1.2.3", "+1", "inf", "0x10"] {
            assert_eq!(gib(text.into()), None, "{text}");
        }
    }
}
