// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volumes on storages: what operations on guests ask for, done by a session of `pve-storage` and by `qemu-img`.

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmConfig, is_cloudinit_volume};
use pve_storage::{Command, Hints, Image, Session, Storage, Storages};
use pve_volid::{
    Digits, ImageFormat, StorageId, StorageType, VmId, VolumeFormat, VolumeId, VolumeIdRef, VolumeType,
    Wanted,
};
use serde_json::{Value, json};

use super::appliance::{self, Member};
use super::{CopyOptions, ListedVolume, Volumes, WorldError};
use crate::cloudinit::{Resolver, write_images};

/// The program that copies images.
const QEMU_IMG: &str = "/usr/bin/qemu-img";
/// Where the files of cloud-init images are while they are copied.
const CLOUDINIT: &str = "/run/pve/cloudinit";

/// The volumes of a session's storages.
pub struct StoredVolumes<'a> {
    session: Session<'a>,
    resolver: Resolver,
    cloudinit: BString,
}

/// A volume, snapshot, file or device as `qemu-img` is told of it.
struct Place {
    path: BString,
    format: ImageFormat,
    /// On a zpool, whose cache is not the kernel's.
    is_zfs: bool,
    /// Keeps snapshots inside the image.
    has_inner_snapshots: bool,
    /// Where in the file it is, if that is an appliance.
    member: Option<Member>,
}

impl Place {
    /// A file or device of the host.
    fn of_path(path: BString, format: ImageFormat) -> Self {
        Place { path, format, is_zfs: false, has_inner_snapshots: false, member: None }
    }

    /// What QEMU opens, as a node of its block layer.
    fn node(&self) -> Value {
        let file = json!({ "driver": "file", "filename": self.path.to_str_lossy() });
        let file = match self.member {
            Some(Member { offset, size }) => {
                json!({ "driver": "raw", "offset": offset, "size": size, "file": file })
            }
            None => file,
        };
        json!({ "driver": self.format.as_str(), "file": file })
    }
}

impl<'a> StoredVolumes<'a> {
    /// The volumes of these storages; `resolver` is what cloud-init tells guests of name servers if they configure none.
    #[must_use]
    pub fn new(session: Session<'a>, resolver: Resolver) -> Self {
        StoredVolumes { session, resolver, cloudinit: CLOUDINIT.into() }
    }

    /// The same with the files of cloud-init images in another directory while they are needed.
    #[must_use]
    pub fn with_cloudinit_in(mut self, directory: impl Into<BString>) -> Self {
        self.cloudinit = directory.into();
        self
    }

    /// The session.
    #[must_use]
    pub fn session(&self) -> &Session<'a> {
        &self.session
    }

    fn place(&self, volume: &BStr, snapshot: Option<&BStr>) -> Result<Place, WorldError> {
        if volume.starts_with(b"/") {
            let (_, format) = self.size(volume)?;
            return Ok(Place::of_path(volume.to_owned(), format));
        }
        let id = VolumeIdRef::from_bytes(volume).map_err(pve_storage::Error::from)?;
        let storage = self.session.storages().require(id.storage().as_str())?;
        let format = storage.volume(id.volname())?.format;
        if let VolumeFormat::OvaMember(format) = format {
            return self.place_in_appliance(volume, format);
        }
        let format = format.image().unwrap_or(ImageFormat::Raw);
        let has_inner_snapshots = has_inner_snapshots(storage, format);
        let path = self.session.path(volume, snapshot.filter(|_| !has_inner_snapshots))?;
        let is_zfs = storage.storage_type() == Some(StorageType::ZfsPool);
        Ok(Place { path, format, is_zfs, has_inner_snapshots, member: None })
    }

    /// As [`Self::place`], made usable.
    fn usable(&self, volume: &BStr, snapshot: Option<&BStr>) -> Result<Place, WorldError> {
        if !volume.starts_with(b"/") {
            let id = VolumeIdRef::from_bytes(volume).map_err(pve_storage::Error::from)?;
            let storage = self.session.storages().require(id.storage().as_str())?;
            let format = storage.volume(id.volname())?.format;
            if let VolumeFormat::OvaMember(_) = format {
                self.session.activate_storage(id.storage().as_str())?;
            } else {
                let format = format.image().unwrap_or(ImageFormat::Raw);
                let snapshot = snapshot.filter(|_| !has_inner_snapshots(storage, format));
                self.session.activate_volumes(&[volume], snapshot, Hints::default())?;
            }
        }
        self.place(volume, snapshot)
    }

    /// A disk in an appliance, which is an archive: it need not be taken out to be read.
    fn place_in_appliance(&self, volume: &BStr, format: ImageFormat) -> Result<Place, WorldError> {
        let path = self.session.path(volume, None)?;
        let missing = || WorldError::Other(format!("there is no volume {volume}"));
        let (archive, name) = path.rsplit_once_str("/").ok_or_else(missing)?;
        let failed = |error: std::io::Error| WorldError::File {
            path: archive.as_bstr().to_string(),
            reason: error.to_string(),
        };
        let member = appliance::find(archive.as_bstr(), name.as_bstr()).map_err(failed)?;
        let member = Some(member.ok_or_else(missing)?);
        Ok(Place { member, ..Place::of_path(archive.into(), format) })
    }

    /// Size and format of something to import. It comes from outside, so it must not refer to other files, whose content
    /// would be imported with it.
    fn size_to_import(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        let place = self.place(volume, None)?;
        let (info, size) = self.info(BString::from(format!("json:{}", place.node())).as_bstr())?;
        match appliance::foreign_file(&info) {
            None => Ok((size, place.format)),
            Some(other) => Err(WorldError::Other(format!(
                "{volume} refers to another file ({other}); convert it to an image that stands alone first"
            ))),
        }
    }

    /// Asks `qemu-img` about a file or device.
    fn ask_about(&self, path: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        let (info, size) = self.info(path)?;
        let format = info["format"].as_str().and_then(|text| ImageFormat::from_bytes(text.as_bytes()));
        Ok((size, format.unwrap_or(ImageFormat::Raw)))
    }

    /// What `qemu-img` says of a file or device, and the size that a guest sees.
    fn info(&self, path: &BStr) -> Result<(Value, u64), WorldError> {
        let command = Command::query(QEMU_IMG).args(["info", "--output=json"]).operand(path);
        let output = self.session.ask(&command)?;
        let complaint =
            || WorldError::Other(format!("{path}: qemu-img cannot tell its size: {}", output.complaint()));
        let info: Value = serde_json::from_slice(&output.stdout).map_err(|_| complaint())?;
        let size = info["virtual-size"].as_u64().ok_or_else(complaint)?;
        Ok((info, size))
    }

    fn convert(&self, source: &[BString], target: &Place, options: CopyOptions) -> Result<(), WorldError> {
        let mut command = Command::change(QEMU_IMG).args(["convert", "-p", "-n"]);
        if target.is_zfs {
            command = command.args(["-t", "none"]);
        }
        if let Some(limit) = options.bwlimit {
            command = command.arg("-r").arg(format!("{limit}K"));
        }
        if options.sparse && target.format == ImageFormat::Raw {
            // the reference writes to `zeroinit:`, which only its own QEMU knows; this is the same to every QEMU since 5.0
            command = command.arg("--target-is-zero");
        }
        command = command.args(["-O", target.format.as_str()]).args(source).operand(&target.path);
        self.session.run(&command.progress().without_timeout())?;
        Ok(())
    }
}

impl Volumes for StoredVolumes<'_> {
    fn storages(&self) -> &Storages {
        self.session.storages()
    }

    fn images(&self, storage: &StorageId, owner: Option<VmId>) -> Result<Vec<ListedVolume>, WorldError> {
        let mut buffer = [0; 9];
        let wanted = owner.map_or(Wanted::Everything, |owner| Wanted::Guest(owner.digits(&mut buffer)));
        let images = self.session.images(storage.as_str(), wanted)?;
        Ok(images.into_iter().map(listed).collect())
    }

    fn size(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError> {
        if volume.starts_with(b"/") {
            return self.ask_about(volume);
        }
        let id = VolumeIdRef::from_bytes(volume).map_err(pve_storage::Error::from)?;
        let storage = self.session.storages().require(id.storage().as_str())?;
        let (named, vtype) = {
            let volume = storage.volume(id.volname())?;
            (volume.format, volume.vtype)
        };
        if vtype == VolumeType::Import {
            return self.size_to_import(volume);
        }
        let info = self.session.size_info(volume)?;
        if info.size == 0 {
            return Err(WorldError::Other(format!(
                "volume {volume} does not exist, or its size is not known"
            )));
        }
        let format = match named {
            VolumeFormat::Image(format) => format,
            _ => ImageFormat::from_bytes(info.format.as_bytes()).unwrap_or(ImageFormat::Raw),
        };
        Ok((info.size, format))
    }

    fn path(&self, volume: &BStr) -> Result<BString, WorldError> {
        if volume.starts_with(b"/") {
            return Ok(volume.to_owned());
        }
        Ok(self.session.path(volume, None)?)
    }

    fn volume_at(&self, path: &BStr) -> Result<Option<VolumeId>, WorldError> {
        Ok(self.session.volume_at(path)?.map(|(_, volume)| volume))
    }

    fn allocate(
        &self,
        storage: &StorageId,
        owner: VmId,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<VolumeId, WorldError> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size that was made of bytes"
        )]
        let kib = kib.max(0.0).ceil() as u64;
        Ok(self.session.allocate(storage.as_str(), owner, Some(format), name, kib)?)
    }

    fn free(&self, volume: &BStr) -> Result<(), WorldError> {
        Ok(self.session.free(volume)?)
    }

    fn clone_linked(
        &self,
        base: &BStr,
        snapshot: Option<&BStr>,
        owner: VmId,
    ) -> Result<VolumeId, WorldError> {
        Ok(self.session.clone_volume(base, owner, snapshot)?)
    }

    fn copy(
        &self,
        source: &BStr,
        snapshot: Option<&BStr>,
        target: &BStr,
        options: CopyOptions,
    ) -> Result<(), WorldError> {
        let (from, to) = (self.usable(source, snapshot)?, self.usable(target, None)?);
        let mut arguments: Vec<BString> = Vec::new();
        if let Some(name) = snapshot.filter(|_| from.has_inner_snapshots) {
            arguments.extend([BString::from("-l"), format!("snapshot.name={name}").into()]);
        }
        if from.is_zfs {
            arguments.extend(["-T", "none"].map(BString::from));
        }
        match options.limit {
            // the source is seen through a window of that size
            Some(limit) => {
                let window = json!({ "driver": "raw", "size": limit, "file": from.node() });
                arguments.push(format!("json:{window}").into());
            }
            None if from.member.is_some() => arguments.push(format!("json:{}", from.node()).into()),
            None => {
                arguments.extend(["-f", from.format.as_str()].map(BString::from));
                arguments.push(from.path);
            }
        }
        self.convert(&arguments, &to, options)
    }

    fn create_base(&self, volume: &BStr) -> Result<VolumeId, WorldError> {
        Ok(self.session.create_base(volume)?)
    }

    fn rename(&self, volume: &BStr, owner: VmId, name: Option<&BStr>) -> Result<VolumeId, WorldError> {
        Ok(self.session.rename(volume, owner, name)?)
    }

    fn resize(&self, volume: &BStr, size: u64, running: bool) -> Result<(), WorldError> {
        Ok(self.session.resize(volume, None, size, running)?)
    }

    fn create_snapshot(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        Ok(self.session.create_snapshot(volume, snapshot)?)
    }

    fn delete_snapshot(&self, volume: &BStr, snapshot: &BStr, running: bool) -> Result<(), WorldError> {
        Ok(self.session.delete_snapshot(volume, snapshot, running)?)
    }

    fn check_rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        Ok(self.session.check_rollback(volume, snapshot)?)
    }

    fn rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError> {
        Ok(self.session.rollback(volume, snapshot)?)
    }

    fn activate_storage(&self, storage: &StorageId) -> Result<(), WorldError> {
        Ok(self.session.activate_storage(storage.as_str())?)
    }

    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        let volumes: Vec<&[u8]> = volumes.iter().map(|volume| volume.as_bytes()).collect();
        Ok(self.session.activate_volumes(&volumes, None, Hints::default())?)
    }

    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError> {
        let volumes: Vec<&[u8]> = volumes.iter().map(|volume| volume.as_bytes()).collect();
        Ok(self.session.deactivate_volumes(&volumes, None)?)
    }

    fn write_cloudinit(&self, vmid: VmId, config: &VmConfig<'_>, volume: &BStr) -> Result<(), WorldError> {
        // only this one of the cloud-init drives
        let others: Vec<String> = config
            .main
            .drives()
            .filter(|(_, drive)| is_cloudinit_volume(drive.file) && drive.file != volume)
            .map(|(id, _)| id.to_string())
            .collect();
        let mut main = config.main.borrowed();
        for key in others {
            main.remove(key);
        }
        let folder: BString = [self.cloudinit.as_slice(), format!("/{vmid}").as_bytes()].concat().into();
        write_images(&self.session, &main, vmid, self.resolver.clone(), folder.as_bstr())
            .map(drop)
            .map_err(|error| WorldError::Other(error.to_string()))
    }
}

/// Whether snapshots of a volume are inside its image.
fn has_inner_snapshots(storage: &Storage, format: ImageFormat) -> bool {
    format == ImageFormat::Qcow2 && !storage.has_volume_chains()
}

fn listed(image: Image) -> ListedVolume {
    let owner = image.owner.as_ref().and_then(|owner| Digits::new(owner)?.vmid());
    let format = ImageFormat::from_bytes(image.format.as_bytes()).unwrap_or(ImageFormat::Raw);
    let size = image.size.or(image.approximate_size).unwrap_or(0);
    let is_exact = image.size.is_some();
    ListedVolume { volid: image.volid, owner, size, is_exact, format, parent: image.parent }
}
