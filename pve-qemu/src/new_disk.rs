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

use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{GuestKind, VmConfig, VmSection, is_cloudinit_volume};
use pve_config::rule::ValueError;
use pve_config::vm::{self, Bus, Drive, DriveId, Media, MsCert};
use pve_storage::{Feature, Storage};
use pve_volid::{ImageFormat, StorageId, VmId, VolumeFormat, VolumeIdRef, VolumeType};

use crate::cloudinit::{VOLUME_KIB, volume_format, volume_name};
use crate::disk;
use crate::disk_copy::{DiskCopy, DiskCopyError, refusal};
use crate::firmware::Variables;
use crate::left_behind::LeftBehind;
use crate::node::naming::has_directory;
use crate::node::{CopyOptions, LockGuard, LockMode, Node, WorldError};
use crate::vm_file::PATIENCE;

/// KiB in a GiB, the unit of `STORAGE:SIZE`.
const KIB_PER_GIB: f64 = 1_048_576.0;
/// Size of the state of a TPM, in KiB.
const TPM_KIB: f64 = 4096.0;

/// Why the value of a drive cannot become a disk. What was allocated for it is freed again, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewDiskError {
    /// The value breaks a rule.
    #[error("{0}")]
    Value(#[source] Box<ValueError>),
    /// It is neither a volume id nor a path.
    #[error("{file} is no volume; write STORAGE:VOLUME, or STORAGE:SIZE in GiB for a new one")]
    NoVolume {
        /// The file.
        file: BString,
    },
    /// No storage has the volume at this path.
    #[error("{path} belongs to no storage; move it there, or import it with import-from")]
    NoStorage {
        /// The path.
        path: BString,
    },
    /// A disk image cannot be used as it should be.
    #[error("{file}: {reason}")]
    Use {
        /// The volume or path.
        file: BString,
        /// Why not.
        reason: Misuse,
    },
    /// The storage does not exist, or is not there for disks.
    #[error("storage {storage} cannot take the disk: {reason}")]
    Target {
        /// The storage.
        storage: BString,
        /// Why.
        reason: String,
    },
    /// The storage has no images of this format.
    #[error("storage {storage} has no images of format {format}; it has {known}")]
    Format {
        /// The storage.
        storage: BString,
        /// The format.
        format: String,
        /// Those that it has.
        known: String,
    },
    /// Something is imported into a disk whose size is given.
    #[error("{file},import-from=…: write STORAGE:0; the size is that of what is imported")]
    ImportSize {
        /// The file.
        file: BString,
    },
    /// What is imported must be described.
    #[error("importing into this drive needs {keys}: what is imported does not tell")]
    ImportNeeds {
        /// The missing sub-options.
        keys: &'static str,
    },
    /// What is imported belongs to a guest of another node.
    #[error("{volume} belongs to guest {owner} on node {node}; import it there, or from a copy")]
    ImportFromNode {
        /// The source.
        volume: BString,
        /// Its owner.
        owner: VmId,
        /// The node.
        node: String,
    },
    /// There can be only one cloud-init drive.
    #[error("{other} is a cloud-init drive already ({file}); remove it first")]
    SecondCloudInit {
        /// The other drive.
        other: DriveId,
        /// Its volume.
        file: BString,
    },
    /// The firmware of this VM keeps no variables.
    #[error(
        "the firmware of a VM whose memory is encrypted this way, or of this architecture, has no EFI disk"
    )]
    NoVariables,
    /// Copying what is imported failed.
    #[error(transparent)]
    Copy(#[from] DiskCopyError),
    /// The new volume could not become a base volume.
    #[error(
        "cannot make the new volume {volume} of the template a base volume: {source}; {volume} is left, free it by hand"
    )]
    Base {
        /// The volume, which is left behind.
        volume: BString,
        /// Why.
        source: Box<WorldError>,
    },
    /// A storage failed.
    #[error(transparent)]
    World(#[from] WorldError),
}

impl From<ValueError> for NewDiskError {
    fn from(error: ValueError) -> Self {
        NewDiskError::Value(Box::new(error))
    }
}

/// Why a volume or path cannot be used by a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// Its storage is not configured, or does not take the name.
    Unknown,
    /// It is neither a disk image nor a CD image.
    Content(VolumeType),
    /// A CD image in a disk.
    IsoAsDisk,
    /// The option `format` names another format than the volume's.
    Format {
        /// The volume's.
        actual: String,
        /// The option's.
        wanted: &'static str,
    },
    /// It does not exist, or has no size.
    Empty,
    /// A cloud-init image is made, not imported.
    CloudInit,
    /// It is a virtual appliance as a whole.
    Appliance,
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::Unknown => f.write_str("its storage is not configured, or knows no such name"),
            Misuse::Content(content) => write!(f, "a volume of content '{content}' is no disk"),
            Misuse::IsoAsDisk => f.write_str("a CD image needs media=cdrom"),
            Misuse::Format { actual, wanted } => {
                write!(f, "its format is {actual}, not {wanted}; leave format out")
            }
            Misuse::Empty => f.write_str("it does not exist, or its size is 0 or unknown"),
            Misuse::CloudInit => {
                f.write_str("a cloud-init image is not imported; write STORAGE:cloudinit for a new one")
            }
            Misuse::Appliance => {
                f.write_str("a virtual appliance is no disk; name a disk in it: STORAGE:import/NAME.ova/DISK")
            }
        }
    }
}

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

    /// A new volume with the content of another one, or of a file.
    fn import(
        &mut self,
        id: DriveId,
        drive: &Drive<'_>,
        source: &BStr,
        storage: &str,
        main: &VmSection<'_>,
    ) -> Result<Made, NewDiskError> {
        match id.bus {
            Bus::Efidisk if drive.efitype.is_none() || drive.pre_enrolled_keys.is_none() => {
                return Err(NewDiskError::ImportNeeds { keys: "efitype and pre-enrolled-keys" });
            }
            Bus::Tpmstate if drive.version.is_none() => {
                return Err(NewDiskError::ImportNeeds { keys: "version" });
            }
            _ => {}
        }
        let target = self.target(storage)?;
        if source.starts_with(b"/") {
            return self.import_file(drive, source, target, None);
        }
        self.import_volume(id, drive, source, target, main)
    }

    /// Imports something that belongs to nobody; in the format `preferred` if the option names none and the storage has
    /// it.
    fn import_file(
        &mut self,
        drive: &Drive<'_>,
        source: &BStr,
        target: &Storage,
        preferred: Option<ImageFormat>,
    ) -> Result<Made, NewDiskError> {
        let volumes = self.node.volumes;
        let (size, _) = volumes.size(source)?;
        if size == 0 {
            return Err(NewDiskError::Use { file: source.to_owned(), reason: Misuse::Empty });
        }
        let wanted = drive.format.and_then(image_format).or(preferred);
        let format = wanted.filter(|wanted| target.formats().contains(wanted));
        let format = format.unwrap_or(target.default_format());
        #[expect(clippy::cast_precision_loss, reason = "disks are far smaller than 2^53 bytes")]
        let volume = self.allocate(target, format, None, size as f64 / 1024.0)?;
        let sparse = disk::can(self.node, volume.as_bstr(), Feature::SparseInit, None);
        let options = CopyOptions { bwlimit: self.bwlimit, sparse, limit: None };
        volumes.copy(source, None, volume.as_bstr(), options)?;
        let (size, _) = volumes.size(volume.as_bstr())?;
        Ok(Made { volume, size, becomes_base: true })
    }

    fn import_volume(
        &mut self,
        id: DriveId,
        drive: &Drive<'_>,
        source: &BStr,
        target: &Storage,
        main: &VmSection<'_>,
    ) -> Result<Made, NewDiskError> {
        let misuse = |reason| Err(NewDiskError::Use { file: source.to_owned(), reason });
        let Some(volume) = disk::volume(self.node, source) else { return misuse(Misuse::Unknown) };
        match volume.vtype {
            VolumeType::Images | VolumeType::Import => {}
            other => return misuse(Misuse::Content(other)),
        }
        let member = match volume.format {
            VolumeFormat::Image(_) => None,
            VolumeFormat::OvaMember(format) => Some(format),
            _ => return misuse(Misuse::Appliance),
        };
        if is_cloudinit_volume(source) {
            return misuse(Misuse::CloudInit);
        }
        self.node.volumes.activate_storage(volume.storage().id())?;
        if self.node.volumes.size(source)?.0 == 0 {
            return misuse(Misuse::Empty);
        }
        if let Some(format) = member {
            return Ok(Made {
                becomes_base: false,
                ..self.import_file(drive, source, target, Some(format))?
            });
        }
        let origin = self.origin(source)?;
        let copy = DiskCopy {
            node: self.node,
            source: origin.owner.unwrap_or(self.vmid),
            section: main,
            snapshot: None,
            owner: self.vmid,
            storage: Some(target.id()),
            format: drive.format.and_then(image_format),
            bwlimit: self.bwlimit,
            switch: false,
        };
        let from = Drive { file: source, ..*drive };
        copy.check(id, &from)?;
        let (volume, size) = copy.run_from(origin.live, id, &from)?;
        self.made.push(volume.clone());
        Ok(Made { volume, size, becomes_base: false })
    }

    /// Whose the source is; its owner is locked for as long as this value lives.
    fn origin(&self, source: &BStr) -> Result<Origin, NewDiskError> {
        let mut origin = Origin { owner: None, live: None, _guard: None };
        let Some(owner) = disk::owner(self.node, source) else { return Ok(origin) };
        let Some((entry, text)) = self.node.configs.read(owner)? else { return Ok(origin) };
        if entry.node != self.node.configs.node() {
            let (volume, node) = (source.to_owned(), entry.node);
            return Err(NewDiskError::ImportFromNode { volume, owner, node });
        }
        if entry.kind != GuestKind::Qemu {
            return Ok(origin);
        }
        let is_running = self.node.machines.is_running(owner);
        let mode = if is_running { LockMode::Exclusive } else { LockMode::Shared };
        origin._guard = Some(self.node.configs.lock(owner, mode, PATIENCE)?);
        origin.owner = Some(owner);
        if is_running {
            let (config, _) = VmConfig::parse(&text);
            let path = disk::path(self.node, source);
            let mut drives = config.main.drives().filter(|(_, drive)| !drive.is_cdrom());
            let used = drives.find(|(_, drive)| disk::path(self.node, drive.file) == path);
            origin.live = used.map(|(id, _)| id);
        }
        Ok(origin)
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

/// Whose volume is imported.
struct Origin {
    /// The VM.
    owner: Option<VmId>,
    /// Its drive, if it runs.
    live: Option<DriveId>,
    _guard: Option<Box<dyn LockGuard>>,
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
