// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives: what the configuration says of each, where its data is, and how the reference treats it by default.

mod blockdev;
mod front_end;
mod legacy;
mod node;
mod throttle;

use bstr::{BStr, BString, ByteSlice};
use pve_config::rule::Reason as ValueReason;
use pve_config::vm;
use pve_storage::{Facts, FileKind, Storage, Volume};
use pve_volid::{ContentType, StorageType, VolumeIdRef};

pub(crate) use blockdev::NodeOptions;
pub(crate) use node::Node;

use crate::assembly::{Assembly, Step, truthy};
use crate::conf::{Conf, Props};
use crate::error::{DriveReason, Reason, VolumeReason};
use crate::host::FileType;
use crate::origin::{Key, Origin, Rule};

/// Buses in the order in which drives are visited, with the number of drives on each.
const BUSES: &[(&str, u8)] = &[("ide", 4), ("scsi", 31), ("virtio", 16), ("sata", 6)];
/// Drives that are no disks of the guest.
const SPECIAL: &[&str] = &["efidisk0", "tpmstate0"];
/// Formats of images that QEMU reads.
const IMAGE_FORMATS: &[&str] = &["raw", "qcow", "qcow2", "qed", "vmdk", "cloop"];

/// A drive of the configuration that can be used (spec: qemu-command-drives, "Second-stage checks").
#[derive(Clone)]
pub(crate) struct Drive<'a> {
    /// `scsi0`, `efidisk0`.
    pub(crate) key: Key,
    /// Name of the drive in QEMU, as in the configuration.
    pub(crate) id: BString,
    pub(crate) file: &'a BStr,
    props: Props<'a>,
    /// `media=cdrom`.
    cdrom: bool,
    /// `bps`, `bps_rd`, `bps_wr` is given: the reference makes a limit of zero of it.
    lost_limits: [bool; 3],
}

/// All usable drives in the order in which they are visited, the special ones last.
#[derive(Clone, Default)]
pub(crate) struct Drives<'a> {
    list: Vec<Drive<'a>>,
}

impl<'a> Drives<'a> {
    /// Reads all drives of a configuration; also those that are left out with a warning, and why.
    pub(crate) fn read(conf: &Conf<'a>) -> (Self, Vec<(Key, String)>) {
        let (mut list, mut dropped) = (Vec::new(), Vec::new());
        let mut add = |key: Key, text: &'a BStr| match Drive::read(conf, key, text) {
            Ok(drive) => list.push(drive),
            Err(Some(why)) => dropped.push((key, why)),
            Err(None) => {}
        };
        for (bus, count) in BUSES {
            for (index, text) in conf.all(bus).filter(|(index, _)| index < count) {
                add(Key::nth(bus, index), text);
            }
        }
        for name in SPECIAL {
            if let Some(text) = conf.get(name) {
                add(Key::new(name), text);
            }
        }
        (Drives { list }, dropped)
    }

    /// All of them, EFI disk and TPM state included.
    pub(crate) fn visited(&self) -> impl Iterator<Item = &Drive<'a>> {
        self.list.iter()
    }

    /// The disks and CD-ROMs of the guest.
    pub(crate) fn guest_drives(&self) -> impl Iterator<Item = &Drive<'a>> {
        self.list.iter().filter(|drive| drive.key.index().is_some())
    }

    /// A special drive.
    pub(crate) fn special(&self, name: &str) -> Option<&Drive<'a>> {
        self.list.iter().find(|drive| drive.key.name() == name)
    }
}

/// What a drive's `file` is.
#[derive(Clone, Copy)]
pub(crate) enum Place<'a> {
    /// `none`: nothing.
    Nothing,
    /// `cdrom`: the host's drive.
    HostCdrom,
    /// A volume of a storage.
    Volume(Volume<'a>),
    /// Anything else: a path.
    Path(&'a BStr),
}

impl<'a> Drive<'a> {
    /// A raw EFI disk in a file.
    pub(crate) fn efidisk(key: Key, file: &'a BStr) -> Option<Self> {
        let props = Props::parse(&vm::EFIDISK, file)?;
        Some(Drive { key, id: key.option().into(), file, props, cdrom: false, lost_limits: [false; 3] })
    }

    /// Reads a drive as the reference does; an error is why it cannot be used, with the text of the warning if the
    /// reference prints one.
    fn read(conf: &Conf<'a>, key: Key, text: &'a BStr) -> Result<Self, Option<String>> {
        let id = key.option();
        let drive_id = vm::DriveId::from_key(id.as_bytes()).ok_or(None)?;
        let props = match key.index() {
            Some(number) => conf.nth_props(key.name(), number),
            None => conf.props(key.name()),
        };
        let props = props.ok_or(None)?;
        if let Err(error) = props.drive(drive_id, text) {
            let bytes = error.key.as_ref().is_some_and(|key| key.starts_with(b"bps"));
            let warns = match error.reason {
                ValueReason::Needs { .. } => true,
                ValueReason::Conflict { .. } => bytes,
                _ => false,
            };
            return Err(warns.then(|| error.to_string()));
        }
        let file = props.get("file").ok_or(None)?;
        let lost_limits = ["bps", "bps_rd", "bps_wr"].map(|key| props.get(key).is_some());
        let cdrom = props.get("media").is_some_and(|media| media == "cdrom");
        Ok(Drive { key, id: id.into(), file, props, cdrom, lost_limits })
    }

    /// A key's value as written.
    pub(crate) fn get(&self, key: &str) -> Option<&'a BStr> {
        if self.lost_limits != [false; 3] {
            let lost = ["mbps", "mbps_rd", "mbps_wr"].iter().position(|limit| *limit == key);
            if lost.and_then(|at| self.lost_limits.get(at)).copied().unwrap_or(false) {
                return Some(BStr::new("0.000"));
            }
        }
        self.props.get(key)
    }

    /// A key's value, if it counts.
    pub(crate) fn truthy(&self, key: &str) -> Option<&'a BStr> {
        self.get(key).filter(|value| truthy(Some(value)))
    }

    /// The keys that have a value.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.props.keys()
    }

    /// `media=cdrom`.
    pub(crate) fn is_cdrom(&self) -> bool {
        self.cdrom
    }

    /// Whether the volume is a cloud-init image.
    pub(crate) fn is_cloudinit(&self) -> bool {
        let file = self.file.as_bytes();
        let stem = IMAGE_FORMATS
            .iter()
            .find_map(|format| file.strip_suffix(format.as_bytes())?.strip_suffix(b"."))
            .unwrap_or(file);
        let Some(before) = stem.strip_suffix(b"cloudinit") else { return false };
        let owner = before.strip_suffix(b"-").and_then(|before| {
            let digits = before.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let prefix = before.get(..before.len() - digits).filter(|_| digits > 0)?;
            prefix.strip_suffix(b"vm-")
        });
        let bounded = |text: &[u8]| matches!(text.last(), Some(b':' | b'/'));
        bounded(before) || owner.is_some_and(bounded)
    }

    /// Whether the drive is the one with this name.
    pub(crate) fn is_called(&self, name: &[u8]) -> bool {
        self.id == name
    }

    /// Number on its bus.
    pub(crate) fn index(&self) -> u8 {
        self.key.index().unwrap_or(0)
    }

    /// Where the reason for a value lies.
    pub(crate) fn origin(&self, rule: Rule, sub: &'static str) -> Origin {
        rule.of_or_default(self.key.sub(sub), self.props.get(sub).is_some())
    }
}

/// How writes reach the medium (spec: qemu-command-drives, "Cache").
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheMode {
    pub(crate) direct: bool,
    pub(crate) no_flush: bool,
}

impl<'a> Assembly<'a> {
    /// Reads all drives; those that cannot be used are left out.
    pub(crate) fn read_drives(&mut self) {
        let (drives, dropped) = Drives::read(&self.conf);
        for (key, why) in dropped {
            self.warn(key, format!("the drive is left out: {why}"));
        }
        self.drives = drives;
    }

    /// Every volume is where it may be (spec: qemu-command, "Callers").
    pub(crate) fn check_volumes(&self) -> Step {
        for drive in self.drives.visited() {
            self.check_volume(drive.key, drive.file)?;
        }
        match self.conf.truthy("vmstate") {
            Some(volume) => self.check_volume(Key::new("vmstate"), volume),
            None => Ok(()),
        }
    }

    fn check_volume(&self, key: Key, file: &'a BStr) -> Step {
        let Ok(id) = VolumeIdRef::from_bytes(file) else { return Ok(()) };
        let volume = self.volume(key, id)?;
        let content = ContentType::from(volume.parsed().vtype);
        let storage = volume.storage();
        if !storage.has_content(content) {
            let reason = VolumeReason::Content { volume: file.to_owned(), content: content.as_str() };
            return Err(self.error(key, Reason::from(reason)));
        }
        if !storage.is_enabled_on(&self.host.node) {
            let reason = VolumeReason::NotAvailable { volume: file.to_owned(), node: self.host.node.clone() };
            return Err(self.error(key, Reason::from(reason)));
        }
        Ok(())
    }

    /// A volume by its id.
    pub(crate) fn volume<'t>(&self, key: Key, id: VolumeIdRef<'t>) -> Step<Volume<'t>>
    where
        'a: 't,
    {
        let Some(storage) = self.builder.storage(id.storage().as_str()) else {
            let storage = id.storage().as_str().to_owned();
            let reason = VolumeReason::NoStorage { volume: id.as_bstr().to_owned(), storage };
            return Err(self.error(key, Reason::from(reason)));
        };
        storage.volume(id.volname()).map_err(|error| self.error(key, error))
    }

    /// What a drive's `file` is.
    pub(crate) fn place<'t>(&self, drive: &Drive<'t>) -> Step<Place<'t>>
    where
        'a: 't,
    {
        Ok(match drive.file.as_bytes() {
            b"none" => Place::Nothing,
            b"cdrom" => Place::HostCdrom,
            file => match VolumeIdRef::from_bytes(file) {
                Ok(id) => Place::Volume(self.volume(drive.key, id)?),
                Err(_) => Place::Path(drive.file),
            },
        })
    }

    /// What is known of the host for a volume, without what stands at its path.
    pub(crate) fn volume_facts(&self, volume: &Volume<'_>) -> Facts {
        let storage = volume.storage();
        let mut facts = Facts::default();
        match storage.storage_type() {
            Some(StorageType::Rbd) => {
                let id = storage.id().as_str();
                let exists = |suffix: &str| {
                    self.file_type(&format!("/etc/pve/priv/ceph/{id}.{suffix}")) != FileType::Missing
                };
                facts.ceph.keyring_exists = exists("keyring");
                facts.ceph.conf_exists = exists("conf");
                facts.ceph.fsid = Some(self.host.ceph_fsid.clone().into());
            }
            Some(StorageType::Zfs) => {
                facts.lun = Some(self.host.zfs_lun(&volume.name.to_str_lossy()).into());
            }
            _ => {}
        }
        facts
    }

    /// Facts and path of a volume or its snapshot.
    pub(crate) fn locate(
        &self,
        key: Key,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
    ) -> Step<(BString, Facts)> {
        let mut facts = self.volume_facts(volume);
        let path = |facts: &Facts| volume.path(snapshot, facts).map_err(|error| self.error(key, error));
        let mut found = path(&facts)?;
        let kind = |path: &BString| path.to_str().map_or(FileType::File, |path| self.file_type(path));
        if kernel_rbd(volume.storage()) && kind(&found) == FileType::Missing {
            let mut older = facts.clone();
            older.ceph.older_device = true;
            let older_path = path(&older)?;
            if kind(&older_path) != FileType::Missing {
                (found, facts) = (older_path, older);
            }
        }
        facts.file = match kind(&found) {
            FileType::Missing => None,
            FileType::File => Some(FileKind::File),
            FileType::Dir => Some(FileKind::Directory),
            FileType::Block => Some(FileKind::Block),
            FileType::Char => Some(FileKind::Character),
        };
        Ok((found, facts))
    }

    /// Path of something that is a volume id or an absolute path.
    pub(crate) fn volume_path(&self, key: Key, file: &BStr) -> Step<BString> {
        match VolumeIdRef::from_bytes(file) {
            Ok(id) => Ok(self.locate(key, &self.volume(key, id)?, None)?.0),
            Err(_) if file.starts_with(b"/") => Ok(file.to_owned()),
            Err(_) => Err(self.error(key, Reason::from(VolumeReason::NotAVolume(file.to_owned())))),
        }
    }

    /// The format of a volume's image.
    pub(crate) fn volume_format(&self, key: Key, volume: &Volume<'_>) -> Step<String> {
        let format = volume.parsed().format.to_string();
        let image = format.strip_prefix("ova+").unwrap_or(&format);
        if IMAGE_FORMATS.contains(&image) {
            return Ok(image.to_owned());
        }
        let reason = DriveReason::Format { volume: volume.volid(), format };
        Err(self.error(key, Reason::from(reason)))
    }

    /// The format of a drive's image (spec: qemu-command-drives, "Format").
    pub(crate) fn drive_format(&self, drive: &Drive<'_>, place: Place<'_>) -> Step<BString> {
        let configured = drive.truthy("format");
        let Place::Volume(volume) = place else {
            return Ok(configured.map_or_else(|| "raw".into(), BStr::to_owned));
        };
        let actual = self.volume_format(drive.key, &volume)?;
        match configured {
            Some(configured) if *configured != actual.as_str() => {
                let reason = DriveReason::FormatMismatch { configured: configured.to_owned(), actual };
                Err(self.error(drive.key.sub("format"), Reason::from(reason)))
            }
            _ => Ok(actual.into()),
        }
    }

    /// The cache mode of a drive.
    pub(crate) fn cache_mode(&self, drive: &Drive<'_>, place: Place<'_>) -> CacheMode {
        let direct = match drive.get("cache").map(|cache| cache.as_bytes()) {
            Some(cache) => matches!(cache, b"none" | b"directsync"),
            None if drive.is_cdrom() => false,
            None => !is_copy_on_write(place),
        };
        CacheMode { direct, no_flush: drive.get("cache").is_some_and(|cache| cache == "unsafe") }
    }

    /// How requests are made (spec: qemu-command-drives, "AIO").
    pub(crate) fn aio<'t>(&self, drive: &Drive<'t>, place: Place<'t>, direct: bool) -> &'t BStr {
        if let Some(aio) = drive.get("aio") {
            return aio;
        }
        let storage = match place {
            Place::Volume(volume) => volume.storage(),
            _ => return BStr::new("io_uring"),
        };
        BStr::new(match storage.storage_type() {
            Some(StorageType::Rbd) if storage.flag("krbd") && !direct => "threads",
            Some(StorageType::Lvm | StorageType::Cifs) if direct => "native",
            Some(StorageType::Lvm | StorageType::Cifs) => "threads",
            _ => "io_uring",
        })
    }

    /// What happens to zeroes that are written (spec: qemu-command-drives, "Detect-zeroes").
    pub(crate) fn detect_zeroes(&self, drive: &Drive<'_>) -> &'static str {
        if drive.get("detect_zeroes").is_some_and(|detect| !truthy(Some(detect))) {
            "off"
        } else if drive.get("discard").is_some_and(|discard| discard == "on") {
            "unmap"
        } else {
            "on"
        }
    }

    /// An ISO image is no disk unless it is said to be one.
    pub(crate) fn check_iso(&self, drive: &Drive<'_>, place: Place<'_>) -> Step {
        match place {
            Place::Volume(volume)
                if volume.parsed().vtype == pve_volid::VolumeType::Iso && drive.get("media").is_none() =>
            {
                Err(self.error(drive.key.sub("media"), Reason::from(DriveReason::IsoWithoutMedia)))
            }
            _ => Ok(()),
        }
    }

    /// Emits all drives (spec: qemu-command-drives, "Order and skeleton").
    pub(crate) fn put_drives(&mut self) -> Step {
        if let Some(name) = &self.host.iscsi_initiator {
            let origin = Rule::IscsiInitiator.host("iscsi_initiator", Key::NONE);
            crate::argument::put!(self.devices.option("-iscsi", origin), "initiator-name=", name);
        }
        let drives = std::mem::take(&mut self.drives);
        let mut controllers = front_end::Controllers::default();
        for drive in drives.guest_drives() {
            self.put_controller(drive, &mut controllers)?;
            if self.has(crate::version::Feature::Blockdev) {
                self.put_blockdev(drive)?;
            } else {
                self.put_legacy_drive(drive)?;
            }
            self.put_front_end(drive)?;
        }
        self.drives = drives;
        Ok(())
    }
}

/// Whether the volume lies on a file system that copies on write, where direct I/O is not safe.
fn is_copy_on_write(place: Place<'_>) -> bool {
    match place {
        Place::Volume(volume) => {
            volume.storage().storage_type() == Some(StorageType::Btrfs) && !volume.storage().flag("nocow")
        }
        _ => false,
    }
}

/// Whether a storage maps RBD images as kernel block devices.
fn kernel_rbd(storage: &Storage) -> bool {
    storage.storage_type() == Some(StorageType::Rbd) && storage.flag("krbd")
}

/// Decodes `%XX`.
pub(crate) fn url_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).filter(|_| *first == b'%').and_then(|hex| hex.to_str().ok());
        let code = code.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        match code.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}
