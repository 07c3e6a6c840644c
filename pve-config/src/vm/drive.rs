// SPDX-License-Identifier: MIT OR Apache-2.0
//! Drives: disks, CD-ROMs, EFI variables and TPM state (options `ideN`, `sataN`, `scsiN`, `virtioN`, `efidisk0`,
//! `tpmstate0`, `unusedN`).

use std::fmt;

use bstr::{BStr, BString};

use crate::format::{Context, Scalar, is_falsy};
use crate::property::{
    Alias, Integer, Key, Number, ParseOptions, Properties, PropertyFormat, TypedProperties, Value, bit,
    print_typed, properties, words,
};
use crate::rule::{Pattern, Reason, ValueError, pattern, span_in};

words! {
    /// What a drive is attached to. The order is that in which the reference walks through drives.
    pub enum Bus {
        /// IDE, 4 slots.
        Ide = "ide",
        /// SCSI, 31 slots.
        Scsi = "scsi",
        /// virtio-blk, 16 slots.
        Virtio = "virtio",
        /// SATA, 6 slots.
        Sata = "sata",
        /// The EFI variables, one slot.
        Efidisk = "efidisk",
        /// The state of a TPM, one slot.
        Tpmstate = "tpmstate",
        /// Nothing: a volume that was detached, 256 slots.
        Unused = "unused",
    }
}

// members of the family of drive formats
const ON_IDE: u8 = 1;
const ON_SATA: u8 = 2;
const ON_SCSI: u8 = 4;
const ON_VIRTIO: u8 = 8;
const ON_EFIDISK: u8 = 16;
const ON_TPMSTATE: u8 = 32;
/// Disks and CD-ROMs.
const ON_DISK: u8 = ON_IDE | ON_SATA | ON_SCSI | ON_VIRTIO;
const ON_ANY: u8 = ON_DISK | ON_EFIDISK | ON_TPMSTATE;

impl Bus {
    /// Every bus.
    const ALL: [Bus; 7] =
        [Bus::Ide, Bus::Scsi, Bus::Virtio, Bus::Sata, Bus::Efidisk, Bus::Tpmstate, Bus::Unused];

    /// Number of slots.
    #[must_use]
    pub const fn slots(self) -> u16 {
        match self {
            Bus::Ide => 4,
            Bus::Scsi => 31,
            Bus::Virtio => 16,
            Bus::Sata => 6,
            Bus::Efidisk | Bus::Tpmstate => 1,
            Bus::Unused => 256,
        }
    }

    /// The format of the drives on it.
    #[must_use]
    pub fn format(self) -> &'static PropertyFormat {
        match self {
            Bus::Ide => &IDE,
            Bus::Scsi => &SCSI,
            Bus::Virtio => &VIRTIO,
            Bus::Sata => &SATA,
            Bus::Efidisk => &EFIDISK,
            Bus::Tpmstate => &TPMSTATE,
            Bus::Unused => &UNUSED,
        }
    }
}

/// The key of a drive in a configuration: `scsi0`.
///
/// ```
/// use pve_config::vm::{Bus, DriveId};
///
/// let id = DriveId::from_key(b"virtio15").unwrap();
/// assert_eq!((id.bus, id.index), (Bus::Virtio, 15));
/// assert_eq!(id.to_string(), "virtio15");
/// assert!(DriveId::from_key(b"virtio16").is_none() && DriveId::from_key(b"scsi00").is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct DriveId {
    /// What the drive is attached to.
    pub bus: Bus,
    /// The slot, below [`Bus::slots`].
    pub index: u16,
}

impl DriveId {
    /// The drive that a key of a configuration names, `unusedN` included.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let letters = key.iter().position(u8::is_ascii_digit)?;
        let (name, digits) = key.split_at(letters);
        let bus = Bus::from_word(name)?;
        let canonical = digits.len() == 1 || digits.first() != Some(&b'0');
        let index: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (canonical && index < bus.slots()).then_some(DriveId { bus, index })
    }

    /// The slot `index` of `bus`, if there is one.
    #[must_use]
    pub fn new(bus: Bus, index: u16) -> Option<Self> {
        (index < bus.slots()).then_some(DriveId { bus, index })
    }

    /// Every drive that a VM may have, in the order in which the reference walks through them; without `unusedN`.
    pub fn all() -> impl Iterator<Item = DriveId> {
        let used = Bus::ALL.into_iter().filter(|bus| *bus != Bus::Unused);
        used.flat_map(|bus| (0..bus.slots()).map(move |index| DriveId { bus, index }))
    }
}

impl fmt::Display for DriveId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.bus, self.index)
    }
}

words! {
    /// How QEMU does asynchronous I/O.
    pub enum Aio {
        /// Linux AIO.
        Native = "native",
        /// A pool of threads.
        Threads = "threads",
        /// io_uring.
        IoUring = "io_uring",
    }
}

words! {
    /// How the host caches a drive.
    pub enum Cache {
        /// No host cache, writes may stay in the drive's cache.
        None = "none",
        /// Host cache for reads, writes reach the disk.
        Writethrough = "writethrough",
        /// Host cache for reads and writes.
        Writeback = "writeback",
        /// As `writeback`, ignoring flushes of the guest.
        Unsafe = "unsafe",
        /// No host cache, writes reach the disk.
        Directsync = "directsync",
    }
}

words! {
    /// What happens to discards of the guest.
    pub enum Discard {
        /// They are ignored.
        Ignore = "ignore",
        /// They free space of the volume.
        On = "on",
    }
}

words! {
    /// Size of the EFI variable store.
    pub enum EfiType {
        /// 2 MiB, deprecated.
        TwoMiB = "2m",
        /// 4 MiB, needed for Secure Boot.
        FourMiB = "4m",
    }
}

words! {
    /// Format of an image.
    pub enum ImageFormat {
        /// Raw.
        Raw = "raw",
        /// QEMU copy-on-write, version 1.
        Qcow = "qcow",
        /// QEMU enhanced disk.
        Qed = "qed",
        /// QEMU copy-on-write, version 2.
        Qcow2 = "qcow2",
        /// VMware.
        Vmdk = "vmdk",
        /// Compressed loop.
        Cloop = "cloop",
    }
}

words! {
    /// Kind of medium.
    pub enum Media {
        /// CD-ROM.
        Cdrom = "cdrom",
        /// Hard disk.
        Disk = "disk",
    }
}

words! {
    /// Which of Microsoft's certificates are enrolled for Secure Boot.
    pub enum MsCert {
        /// That of 2011.
        Y2011 = "2011",
        /// Those of 2023 too.
        Y2023 = "2023",
        /// That of 2023 for Windows too.
        Y2023w = "2023w",
        /// Those of 2023 and the key exchange key.
        Y2023k = "2023k",
    }
}

words! {
    /// What happens after a read error.
    pub enum OnReadError {
        /// Nothing.
        Ignore = "ignore",
        /// The guest is told.
        Report = "report",
        /// The VM is paused.
        Stop = "stop",
    }
}

words! {
    /// What happens after a write error.
    pub enum OnWriteError {
        /// The VM is paused if there is no space, otherwise the guest is told.
        Enospc = "enospc",
        /// Nothing.
        Ignore = "ignore",
        /// The guest is told.
        Report = "report",
        /// The VM is paused.
        Stop = "stop",
    }
}

words! {
    /// Version of the TPM interface.
    pub enum TpmVersion {
        /// TPM 1.2.
        V1_2 = "v1.2",
        /// TPM 2.0, needed by Windows 11.
        V2_0 = "v2.0",
    }
}

/// Text of the length given that a SCSI inquiry can return.
const INQUIRY_8: Pattern<'static> = pattern!(r"[-0-9A-Z_a-z \t\n\r\x0b\x0c]{0,8}");
const INQUIRY_16: Pattern<'static> = pattern!(r"[-0-9A-Z_a-z \t\n\r\x0b\x0c]{0,16}");

properties! {
    /// A drive of a VM. Which fields a drive may have depends on its bus; the key itself ([`DriveId`]) is not part of
    /// it.
    ///
    /// ```
    /// use pve_config::vm::{Discard, Drive, DriveId};
    ///
    /// let id = DriveId::from_key(b"scsi0").unwrap();
    /// let drive = Drive::read(id, b"local-lvm:vm-100-disk-0,size=32G,ssd=1,discard=on").unwrap();
    /// assert_eq!(drive.file, "local-lvm:vm-100-disk-0");
    /// assert_eq!(drive.size, Some(32 << 30));
    /// assert_eq!(drive.discard, Some(Discard::On));
    /// assert_eq!(drive.print().unwrap(), "local-lvm:vm-100-disk-0,discard=on,size=32G,ssd=1");
    ///
    /// // a virtio disk cannot pretend to be a solid state disk
    /// let virtio = DriveId::from_key(b"virtio0").unwrap();
    /// assert!(Drive::read(virtio, b"local-lvm:vm-100-disk-0,ssd=1").is_err());
    /// ```
    #[derive(Copy, Default)]
    pub struct Drive<'t>: keys {
        /// How QEMU does asynchronous I/O.
        pub aio: Option<Aio> = Key::string("aio").words(Aio::WORDS).on(ON_DISK),
        /// Include the drive in backups.
        pub backup: Option<bool> = Key::boolean("backup").on(ON_DISK),
        /// Limit, bytes/s; the reader turns it into `mbps`.
        pub bps: Option<Integer<'t>> = Key::integer("bps").on(ON_DISK),
        /// Longest burst, s.
        pub bps_max_length: Option<Integer<'t>> = Key::integer("bps_max_length").min(1.0).on(ON_DISK),
        /// Limit of reading, bytes/s; the reader turns it into `mbps_rd`.
        pub bps_rd: Option<Integer<'t>> = Key::integer("bps_rd").on(ON_DISK),
        /// Longest burst of reading, s.
        pub bps_rd_max_length: Option<Integer<'t>> = Key::integer("bps_rd_max_length").min(1.0).on(ON_DISK),
        /// Limit of writing, bytes/s; the reader turns it into `mbps_wr`.
        pub bps_wr: Option<Integer<'t>> = Key::integer("bps_wr").on(ON_DISK),
        /// Longest burst of writing, s.
        pub bps_wr_max_length: Option<Integer<'t>> = Key::integer("bps_wr_max_length").min(1.0).on(ON_DISK),
        /// How the host caches the drive.
        pub cache: Option<Cache> = Key::string("cache").words(Cache::WORDS).on(ON_DISK),
        /// Look for writes of zeroes, which need no space.
        pub detect_zeroes: Option<bool> = Key::boolean("detect_zeroes").on(ON_DISK),
        /// What happens to discards of the guest.
        pub discard: Option<Discard> = Key::string("discard").words(Discard::WORDS).on(ON_DISK),
        /// Size of the EFI variable store.
        pub efitype: Option<EfiType> =
            Key::string("efitype").words(EfiType::WORDS).default("2m").on(ON_EFIDISK),
        /// Volume id, absolute path, `none` (an empty CD-ROM drive) or `cdrom` (the drive of the host).
        pub file: &'t BStr = Key::scalar("file", Scalar::VolumeIdOrQmPath).required().default_key().on(ON_ANY),
        /// Format of the image; usually found out from the volume.
        pub format: Option<ImageFormat> = Key::string("format").words(ImageFormat::WORDS).on(ON_ANY),
        /// Volume or file to copy into the new volume.
        pub import_from: Option<&'t BStr> =
            Key::scalar("import-from", Scalar::VolumeIdOrAbsolutePath).alloc_only().on(ON_ANY),
        /// Limit, operations/s.
        pub iops: Option<Integer<'t>> = Key::integer("iops").on(ON_DISK),
        /// Limit in bursts, operations/s.
        pub iops_max: Option<Integer<'t>> = Key::integer("iops_max").on(ON_DISK),
        /// Longest burst, s.
        pub iops_max_length: Option<Integer<'t>> = Key::integer("iops_max_length").min(1.0).on(ON_DISK),
        /// Limit of reading, operations/s.
        pub iops_rd: Option<Integer<'t>> = Key::integer("iops_rd").on(ON_DISK),
        /// Limit of reading in bursts, operations/s.
        pub iops_rd_max: Option<Integer<'t>> = Key::integer("iops_rd_max").on(ON_DISK),
        /// Longest burst of reading, s.
        pub iops_rd_max_length: Option<Integer<'t>> = Key::integer("iops_rd_max_length").min(1.0).on(ON_DISK),
        /// Limit of writing, operations/s.
        pub iops_wr: Option<Integer<'t>> = Key::integer("iops_wr").on(ON_DISK),
        /// Limit of writing in bursts, operations/s.
        pub iops_wr_max: Option<Integer<'t>> = Key::integer("iops_wr_max").on(ON_DISK),
        /// Longest burst of writing, s.
        pub iops_wr_max_length: Option<Integer<'t>> = Key::integer("iops_wr_max_length").min(1.0).on(ON_DISK),
        /// Give the drive a thread of its own.
        pub iothread: Option<bool> = Key::boolean("iothread").on(ON_SCSI | ON_VIRTIO),
        /// Limit, MB/s.
        pub mbps: Option<Number<'t>> = Key::number("mbps").on(ON_DISK),
        /// Limit in bursts, MB/s.
        pub mbps_max: Option<Number<'t>> = Key::number("mbps_max").on(ON_DISK),
        /// Limit of reading, MB/s.
        pub mbps_rd: Option<Number<'t>> = Key::number("mbps_rd").on(ON_DISK),
        /// Limit of reading in bursts, MB/s.
        pub mbps_rd_max: Option<Number<'t>> = Key::number("mbps_rd_max").on(ON_DISK),
        /// Limit of writing, MB/s.
        pub mbps_wr: Option<Number<'t>> = Key::number("mbps_wr").on(ON_DISK),
        /// Limit of writing in bursts, MB/s.
        pub mbps_wr_max: Option<Number<'t>> = Key::number("mbps_wr_max").on(ON_DISK),
        /// Kind of medium.
        pub media: Option<Media> = Key::string("media").words(Media::WORDS).default("disk").on(ON_DISK),
        /// Model name that the guest sees, url-encoded, at most 40 bytes after decoding.
        pub model: Option<&'t BStr> = Key::scalar("model", Scalar::UrlEncoded).max_length(120).on(ON_IDE),
        /// Which of Microsoft's certificates are enrolled.
        pub ms_cert: Option<MsCert> = Key::string("ms-cert").words(MsCert::WORDS).default("2011").on(ON_EFIDISK),
        /// Use a template of EFI variables with keys for Secure Boot.
        pub pre_enrolled_keys: Option<bool> = Key::boolean("pre-enrolled-keys").default("0").on(ON_EFIDISK),
        /// Product name that the guest sees, up to 16 bytes.
        pub product: Option<&'t BStr> = Key::string("product").pattern(INQUIRY_16).on(ON_SCSI),
        /// Number of queues.
        pub queues: Option<Integer<'t>> = Key::integer("queues").min(2.0).on(ON_SCSI),
        /// Include the drive in replication jobs.
        pub replicate: Option<bool> = Key::boolean("replicate").default("1").on(ON_DISK),
        /// What happens after a read error.
        pub rerror: Option<OnReadError> = Key::string("rerror").words(OnReadError::WORDS).on(ON_DISK),
        /// The guest can only read.
        pub ro: Option<bool> = Key::boolean("ro").on(ON_SCSI | ON_VIRTIO),
        /// Pass a whole SCSI device of the host.
        pub scsiblock: Option<bool> = Key::boolean("scsiblock").default("0").on(ON_SCSI),
        /// Serial number that the guest sees, url-encoded, at most 20 bytes after decoding.
        pub serial: Option<&'t BStr> = Key::scalar("serial", Scalar::UrlEncoded).max_length(60).on(ON_DISK),
        /// The volume is the same on all nodes, although the storage does not say so.
        pub shared: Option<bool> = Key::boolean("shared").default("0").on(ON_DISK),
        /// Size of the volume, bytes; informational.
        pub size: Option<u64> = Key::scalar("size", Scalar::DiskSize).on(ON_ANY),
        /// Changes are thrown away when the VM stops.
        pub snapshot: Option<bool> = Key::boolean("snapshot").on(ON_DISK),
        /// Pretend to be a solid state disk.
        pub ssd: Option<bool> = Key::boolean("ssd").on(ON_IDE | ON_SATA | ON_SCSI),
        /// Vendor name that the guest sees, up to 8 bytes.
        pub vendor: Option<&'t BStr> = Key::string("vendor").pattern(INQUIRY_8).on(ON_SCSI),
        /// Version of the TPM interface.
        pub version: Option<TpmVersion> =
            Key::string("version").words(TpmVersion::WORDS).default("v1.2").on(ON_TPMSTATE),
        /// What happens after a write error.
        pub werror: Option<OnWriteError> = Key::string("werror").words(OnWriteError::WORDS).on(ON_DISK),
        /// World wide name that the guest sees.
        pub wwn: Option<&'t BStr> =
            Key::string("wwn").pattern(pattern!("0x[0-9A-Fa-f]{16}")).on(ON_IDE | ON_SATA | ON_SCSI),
    }
}

const ALIASES: &[Alias] = &[
    Alias::new("bps_rd_length", "bps_rd_max_length").on(ON_DISK),
    Alias::new("bps_wr_length", "bps_wr_max_length").on(ON_DISK),
    Alias::new("iops_rd_length", "iops_rd_max_length").on(ON_DISK),
    Alias::new("iops_wr_length", "iops_wr_max_length").on(ON_DISK),
    Alias::new("volume", "file").on(ON_ANY),
];

const fn drive_format(
    name: &'static str,
    registered: &'static [&'static str],
    keys: &'static [Key],
    bus: u8,
) -> PropertyFormat {
    PropertyFormat::member(name, registered, keys, ALIASES, bus)
}

/// The format `vm:ide`.
pub static IDE: PropertyFormat = drive_format("vm:ide", &["pve-qm-ide"], Drive::KEYS, ON_IDE);
/// The format `vm:sata`.
pub static SATA: PropertyFormat = drive_format("vm:sata", &[], Drive::KEYS, ON_SATA);
/// The format `vm:scsi`.
pub static SCSI: PropertyFormat = drive_format("vm:scsi", &[], Drive::KEYS, ON_SCSI);
/// The format `vm:virtio`.
pub static VIRTIO: PropertyFormat = drive_format("vm:virtio", &[], Drive::KEYS, ON_VIRTIO);
/// The format `vm:efidisk`.
pub static EFIDISK: PropertyFormat = drive_format("vm:efidisk", &[], Drive::KEYS, ON_EFIDISK);
/// The format `vm:tpmstate`.
pub static TPMSTATE: PropertyFormat = drive_format("vm:tpmstate", &[], TPMSTATE_KEYS, ON_TPMSTATE);
/// The union of the formats of all buses, which drives are printed with: no key is refused for being on the wrong
/// bus.
pub static PRINT_DRIVE: PropertyFormat = drive_format("print-drive", &[], Drive::KEYS, ON_ANY);
/// The format `vm:unused`: a volume and nothing else.
pub static UNUSED: PropertyFormat =
    PropertyFormat::new("vm:unused", &[], UNUSED_KEYS, &[Alias::new("volume", "file")]);

const UNUSED_KEYS: &[Key] = &[Key::scalar("file", Scalar::VolumeId)
    .required()
    .default_key()
    .documented("Volume that was detached from the VM.")];

/// The keys of a drive, but with the image formats that hold the state of a TPM.
const TPMSTATE_KEYS: &[Key] = &{
    let mut keys = [Drive::KEYS[0]; Drive::KEYS.len()];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = Drive::KEYS[at];
        if crate::name_index::same(keys[at].name, "format") {
            keys[at] = keys[at].words(&["raw", "qcow2", "vmdk"]);
        }
        at += 1;
    }
    keys
};

/// Keys of times when disks had a geometry: ignored by the reader, refused by the check of the file.
const GEOMETRY: &[&str] = &["cyls", "heads", "secs", "trans"];

/// Limits in bytes, and the limits in megabytes that the reader makes of them.
const BYTE_LIMITS: [(&str, &str); 3] = [("bps", "mbps"), ("bps_rd", "mbps_rd"), ("bps_wr", "mbps_wr")];

/// Keys that have an effect only beside another.
const NEEDS: [(&str, &str); 9] = [
    ("mbps_max", "mbps"),
    ("mbps_rd_max", "mbps_rd"),
    ("mbps_wr_max", "mbps_wr"),
    ("bps_max_length", "mbps_max"),
    ("bps_rd_max_length", "mbps_rd_max"),
    ("bps_wr_max_length", "mbps_wr_max"),
    ("iops_max_length", "iops_max"),
    ("iops_rd_max_length", "iops_rd_max"),
    ("iops_wr_max_length", "iops_wr_max"),
];

/// Keys that exclude each other.
const EXCLUDES: [(&str, &str); 4] =
    [("mbps", "mbps_rd"), ("mbps", "mbps_wr"), ("iops", "iops_rd"), ("iops", "iops_wr")];

/// Bits of the keys without which no rule across keys is broken.
const CONTRADICTING: u64 = {
    let mut bits = bit(Drive::KEYS, "media");
    let mut at = 0;
    while at < NEEDS.len() {
        bits |= bit(Drive::KEYS, NEEDS[at].0);
        if at < EXCLUDES.len() {
            bits |= bit(Drive::KEYS, EXCLUDES[at].0);
        }
        if at < BYTE_LIMITS.len() {
            bits |= bit(Drive::KEYS, BYTE_LIMITS[at].0);
        }
        at += 1;
    }
    bits
};

impl<'t> Drive<'t> {
    /// A drive with this volume, path, `none` or `cdrom`, and nothing else.
    #[must_use]
    pub fn new(file: &'t BStr) -> Self {
        Drive { file, ..Self::default() }
    }

    /// Reads the value of the key `id` as the reference does when it works with drives: geometry is ignored, limits in
    /// bytes are turned into limits in megabytes, and contradictions are refused (spec: VM configuration, "Drives").
    ///
    /// # Errors
    ///
    /// What is wrong with the text, a contradiction between keys, or a size of 2^64 bytes or more.
    pub fn read(id: DriveId, text: &'t [u8]) -> Result<Self, ValueError> {
        Self::read_with(id, text, false)
    }

    /// As [`Drive::read`]; with `alloc`, the text comes from a request that may allocate a volume, and may have
    /// `import-from`.
    ///
    /// # Errors
    ///
    /// As [`Drive::read`].
    pub fn read_with(id: DriveId, text: &'t [u8], alloc: bool) -> Result<Self, ValueError> {
        let options = ParseOptions::default().skipping(GEOMETRY).allocating(alloc);
        let properties = id.bus.format().parse_options(text, &options)?;
        Self::read_parsed(id, text, &properties)
    }

    /// As [`Drive::read`], for a text that was parsed already with the format of the drive's bus.
    ///
    /// # Errors
    ///
    /// As [`Drive::read`].
    pub fn read_parsed(id: DriveId, text: &'t [u8], properties: &Properties<'t>) -> Result<Self, ValueError> {
        let mut drive = Self::default();
        if id.bus == Bus::Unused {
            drive.file = properties.get("file").unwrap_or_default();
            return Ok(drive);
        }
        drive.fill(properties, text)?;
        // few drives have a key that others could contradict
        if properties.has_any(CONTRADICTING) {
            if let Some((key, reason)) = contradiction(properties, id.bus) {
                let value: &[u8] = properties.get(key).map_or(text, |value| value);
                return Err(ValueError::new(span_in(text, value), value, reason).within(0, key));
            }
            drive.convert_byte_limits();
        }
        Ok(drive)
    }

    /// Prints the drive in the reference's order.
    ///
    /// # Errors
    ///
    /// A value that breaks the rule of its key, or contains a comma.
    pub fn print(&self) -> Result<BString, ValueError> {
        print_typed(self, &PRINT_DRIVE, &[], &Context::default())
    }

    /// Whether the drive is a CD-ROM drive.
    #[must_use]
    pub fn is_cdrom(&self) -> bool {
        self.media == Some(Media::Cdrom)
    }

    /// `bps` and its like become `mbps` and its like. Their value is lost: the reference makes `0.000` of any.
    fn convert_byte_limits(&mut self) {
        let limits = [
            (&mut self.bps, &mut self.mbps),
            (&mut self.bps_rd, &mut self.mbps_rd),
            (&mut self.bps_wr, &mut self.mbps_wr),
        ];
        for (bytes, megabytes) in limits {
            if bytes.take().is_some() {
                *megabytes = Number::read(b"0.000");
            }
        }
    }
}

/// The first rule across keys that a drive on `bus` breaks: the key, and why.
#[cold]
fn contradiction(properties: &Properties<'_>, bus: Bus) -> Option<(&'static str, Reason)> {
    let has = |key: &str| properties.get(key).is_some();
    if let Some((key, other)) =
        BYTE_LIMITS.into_iter().find(|(bytes, megabytes)| has(bytes) && has(megabytes))
    {
        return Some((key, Reason::Conflict { other }));
    }
    let is_truthy = |key: &str| {
        // any limit in bytes becomes 0.000, which is true
        properties.get(key).is_some_and(|value| !is_falsy(value))
            || BYTE_LIMITS.iter().any(|(bytes, megabytes)| *megabytes == key && has(bytes))
    };
    if let Some((key, other)) = NEEDS.into_iter().find(|(key, other)| is_truthy(key) && !is_truthy(other)) {
        return Some((key, Reason::Needs { other }));
    }
    if let Some((key, other)) = EXCLUDES.into_iter().find(|(key, other)| is_truthy(key) && is_truthy(other)) {
        return Some((key, Reason::Conflict { other }));
    }
    if properties.get("media").is_some_and(|media| media == Media::Cdrom.as_str()) {
        let excluded = ["snapshot", "format"].into_iter().find(|key| is_truthy(key));
        let excluded = excluded.or((bus == Bus::Virtio).then_some("media"));
        return excluded.map(|key| (key, Reason::OnCdrom));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'t>(key: &str, text: &'t str) -> Result<Drive<'t>, ValueError> {
        Drive::read(DriveId::from_key(key.as_bytes()).unwrap(), text.as_bytes())
    }

    #[test]
    fn slots_are_walked_in_the_order_of_the_reference() {
        let all: Vec<String> = DriveId::all().map(|id| id.to_string()).collect();
        assert_eq!(all.len(), 4 + 31 + 16 + 6 + 2);
        assert_eq!((all[0].as_str(), all[4].as_str(), all[58].as_str()), ("ide0", "scsi0", "tpmstate0"));
    }

    #[test]
    fn contradictions_are_located() {
        let error = read("scsi0", "local:x,mbps=10,mbps_rd=5").unwrap_err();
        assert_eq!(error.to_string(), "key \"mbps\": \"10\" excludes \"mbps_rd\"");
        assert_eq!(error.span, 13..15);
        assert_eq!(read("virtio0", "local:x,media=cdrom").unwrap_err().code(), "not-on-cdrom");
    }

    #[test]
    fn a_huge_size_is_an_error_of_its_own() {
        let error = read("scsi0", "local:x,size=99999999T").unwrap_err();
        assert_eq!((error.reason, error.span), (Reason::SizeTooLarge, 13..22));
    }

    #[test]
    fn byte_limits_lose_their_value() {
        let drive = read("scsi0", "local:x,bps_rd=1000000").unwrap();
        assert_eq!(drive.print().unwrap(), "local:x,mbps_rd=0.000");
    }

    #[test]
    fn tpm_state_has_fewer_formats() {
        assert!(read("tpmstate0", "local:x,format=qcow2").is_ok());
        assert!(read("tpmstate0", "local:x,format=qed").is_err());
        assert!(read("efidisk0", "local:x,format=qed").is_ok());
    }

    #[test]
    fn a_new_drive_has_only_a_file() {
        assert_eq!(Drive::new("none".into()).print().unwrap(), "none");
    }
}
