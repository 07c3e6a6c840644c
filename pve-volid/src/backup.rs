// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of backup archives on path-based storages (spec: volumes, "Backup archive names").

use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use nom::Parser;
use nom::bytes::complete::{tag, take_while_m_n};
use nom::combinator::all_consuming;
use serde::{Serialize, Serializer};

use crate::text_enum::text_enum;
use crate::{CivilTime, Digits, VmId};

/// A backup archive, as its name tells (`archive_info` of the reference).
///
/// ```
/// use pve_volid::{ArchiveName, BackupType, FixedOffset, LocalZone};
///
/// let archive = ArchiveName::parse(b"local:backup/vzdump-qemu-100-2023_01_02-03_04_05.vma.zst")?;
/// assert_eq!(archive.guest, BackupType::Qemu);
/// assert_eq!(archive.decompressor(), Some(["zstd", "-q", "-d", "-c"].as_slice()));
/// assert_eq!(archive.notes_name(), "vzdump-qemu-100-2023_01_02-03_04_05.vma.zst.notes");
///
/// // the name carries local time; which instant that was, a zone must say
/// let standard = archive.standard.unwrap();
/// assert_eq!(standard.vmid.get(), 100);
/// assert_eq!(FixedOffset::UTC.epoch(standard.time), Some(1_672_628_645));
///
/// // somebody renamed this one: still an archive, but of unknown guest and time
/// let renamed = ArchiveName::parse(b"/mnt/dump/vzdump-lxc-before-upgrade.tar")?;
/// assert_eq!(renamed.standard, None);
/// # Ok::<(), pve_volid::ArchiveNameError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub struct ArchiveName<'a> {
    /// The file name, without directories.
    #[serde(serialize_with = "text")]
    pub filename: &'a BStr,
    /// The kind of guest.
    pub guest: BackupType,
    /// How it is packed and compressed.
    pub extension: ArchiveExtension,
    /// What a name given by the backup program says besides; none if somebody renamed the archive.
    pub standard: Option<StandardName>,
}

/// What `VMID-YYYY_MM_DD-hh_mm_ss` in the name of an archive says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct StandardName {
    /// The guest.
    pub vmid: VmId,
    /// When the backup began, by the clock of the node.
    pub time: CivilTime,
}

impl<'a> ArchiveName<'a> {
    /// Reads the name of an archive: a file name, a path or a volume id; what counts is the part behind the last `/`.
    ///
    /// # Errors
    /// [`ArchiveNameError`] if it is not called like a backup archive, or has an impossible time where a time belongs.
    pub fn parse(archive: &'a [u8]) -> Result<Self, ArchiveNameError> {
        let filename = archive.rsplit_once_str("/").map_or(archive, |(_, file)| file);
        let other = || ArchiveNameError::NotAnArchive(filename.into());
        let (guest, rest) = kind(filename).ok_or_else(other)?;
        let (stem, extension) = ArchiveExtension::split(rest).ok_or_else(other)?;
        let standard = match StandardName::parse(stem) {
            Some(Some(standard)) => Some(standard),
            Some(None) => return Err(ArchiveNameError::ImpossibleTime(filename.into())),
            None => None,
        };
        Ok(ArchiveName { filename: filename.as_bstr(), guest, extension, standard })
    }

    /// Whether the file is called as the backup program calls it.
    #[must_use]
    pub fn is_standard(&self) -> bool {
        self.standard.is_some()
    }

    /// The command that unpacks the archive to standard output, or the options of `tar` that do: program and
    /// arguments; none if it is not compressed.
    #[must_use]
    pub fn decompressor(&self) -> Option<&'static [&'static str]> {
        self.extension.decompressor()
    }

    /// The file beside the archive that holds its notes.
    #[must_use]
    pub fn notes_name(&self) -> BString {
        self.beside(".notes")
    }

    /// The empty file beside the archive that protects it from removal.
    #[must_use]
    pub fn protection_name(&self) -> BString {
        self.beside(".protected")
    }

    /// The file beside the archive that holds the log of its creation; only archives with a standard name have one.
    #[must_use]
    pub fn log_name(&self) -> Option<BString> {
        let extension = self.extension.to_string().len();
        let stem = self.filename.get(..self.filename.len().checked_sub(extension + 1)?)?;
        self.standard.map(|_| [stem, b".log"].concat().into())
    }

    fn beside(&self, suffix: &str) -> BString {
        [self.filename.as_bytes(), suffix.as_bytes()].concat().into()
    }
}

impl StandardName {
    /// The file name of a new archive.
    ///
    /// ```
    /// use pve_volid::{ArchiveExtension, ArchiveFormat, BackupType, CivilTime, Compression, StandardName, VmId};
    ///
    /// let extension = ArchiveExtension::new(ArchiveFormat::Vma, Some(Compression::Zst));
    /// let time = CivilTime::new(2023, 1, 2, 3, 4, 5).unwrap();
    /// let name = StandardName { vmid: VmId::MIN, time }.filename(BackupType::Qemu, extension);
    /// assert_eq!(name, "vzdump-qemu-100-2023_01_02-03_04_05.vma.zst");
    /// ```
    #[must_use]
    pub fn filename(&self, guest: BackupType, extension: ArchiveExtension) -> String {
        format!("vzdump-{guest}-{self}.{extension}")
    }

    /// `VMID-YYYY_MM_DD-hh_mm_ss`; `Some(None)` if it looks so but there is no such time.
    fn parse(stem: &[u8]) -> Option<Option<Self>> {
        fn number<'a>(digits: usize) -> impl Parser<&'a [u8], Output = u16, Error = ()> {
            take_while_m_n(digits, digits, |byte: u8| byte.is_ascii_digit())
                .map(|text: &[u8]| text.iter().fold(0, |value, digit| value * 10 + u16::from(digit - b'0')))
        }
        let (vmid, time) = stem.split_once_str("-")?;
        let vmid = Digits::new(vmid)?.vmid()?;
        let date = (number(4), tag("_"), number(2), tag("_"), number(2));
        let clock = (number(2), tag("_"), number(2), tag("_"), number(2));
        let (_, ((year, _, month, _, day), _, (hour, _, minute, _, second))) =
            all_consuming((date, tag("-"), clock)).parse(time).ok()?;
        let [month, day, hour, minute, second] =
            [month, day, hour, minute, second].map(|two| u8::try_from(two).unwrap_or(u8::MAX));
        let time = CivilTime::new(year, month, day, hour, minute, second);
        Some(time.map(|time| StandardName { vmid, time }))
    }
}

/// `VMID-YYYY_MM_DD-hh_mm_ss`
impl fmt::Display for StandardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = self.time;
        write!(f, "{}-{:04}_{:02}_{:02}", self.vmid, time.year(), time.month(), time.day())?;
        write!(f, "-{:02}_{:02}_{:02}", time.hour(), time.minute(), time.second())
    }
}

/// The extension of a backup archive: `tgz`, or `tar` or `vma` with an optional compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ArchiveExtension {
    /// How the guest is packed.
    pub format: ArchiveFormat,
    /// How the archive is compressed.
    pub compression: Option<Compression>,
    /// `tgz` instead of `tar.gz`.
    short: bool,
}

impl ArchiveExtension {
    /// `FORMAT` or `FORMAT.COMPRESSION`.
    #[must_use]
    pub const fn new(format: ArchiveFormat, compression: Option<Compression>) -> Self {
        ArchiveExtension { format, compression, short: false }
    }

    /// The extension of `file` (case counts), if it has one of them and anything before it.
    #[must_use]
    pub fn of(file: &[u8]) -> Option<Self> {
        Self::split(file).map(|(_, extension)| extension)
    }

    /// What is before the dot, and the extension.
    pub(crate) fn split(file: &[u8]) -> Option<(&[u8], Self)> {
        let (stem, last) = file.rsplit_once_str(".")?;
        let (stem, extension) = match Compression::from_bytes(last) {
            Some(compression) => {
                let (stem, format) = stem.rsplit_once_str(".")?;
                (stem, Self::new(ArchiveFormat::from_bytes(format)?, Some(compression)))
            }
            None if last == b"tgz" => (
                stem,
                ArchiveExtension { short: true, ..Self::new(ArchiveFormat::Tar, Some(Compression::Gz)) },
            ),
            None => (stem, Self::new(ArchiveFormat::from_bytes(last)?, None)),
        };
        (!stem.is_empty()).then_some((stem, extension))
    }

    /// See [`ArchiveName::decompressor`].
    #[must_use]
    pub const fn decompressor(self) -> Option<&'static [&'static str]> {
        use ArchiveFormat::{Tar, Vma};
        use Compression::{Bz2, Gz, Lzo, Zst};
        let Some(compression) = self.compression else { return None };
        Some(match (self.format, compression) {
            (Tar, Gz) => &["tar", "-z"],
            (Tar, Lzo) => &["tar", "--lzop"],
            (Tar, Zst) => &["tar", "--zstd"],
            (Tar, Bz2) => &["tar", "--bzip2"],
            (Vma, Gz) => &["zcat"],
            (Vma, Lzo) => &["lzop", "-d", "-c"],
            (Vma, Zst) => &["zstd", "-q", "-d", "-c"],
            (Vma, Bz2) => &["bzcat", "-q"],
        })
    }
}

/// Without the leading dot: `vma.zst`, `tgz`.
impl fmt::Display for ArchiveExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.compression {
            Some(_) if self.short => f.write_str("tgz"),
            Some(compression) => write!(f, "{}.{compression}", self.format),
            None => self.format.fmt(f),
        }
    }
}

/// As text, without the leading dot.
impl Serialize for ArchiveExtension {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

text_enum! {
    /// The kind of guest in a backup archive, as in `vzdump-qemu-…`.
    #[non_exhaustive]
    pub enum BackupType: "backup type" {
        /// A virtual machine.
        Qemu = "qemu",
        /// A container.
        Lxc = "lxc",
        /// A container of Proxmox VE 3 and older.
        OpenVz = "openvz",
    }
}

text_enum! {
    /// How the guest is packed in a backup archive.
    pub enum ArchiveFormat: "archive format" {
        /// A tar archive: containers.
        Tar = "tar",
        /// Proxmox's format for virtual machines.
        Vma = "vma",
    }
}

text_enum! {
    /// How a backup archive is compressed.
    pub enum Compression: "compression" {
        /// gzip.
        Gz = "gz",
        /// LZO.
        Lzo = "lzo",
        /// Zstandard.
        Zst = "zst",
        /// bzip2.
        Bz2 = "bz2",
    }
}

/// A file that is not called like a backup archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveNameError {
    /// Not `vzdump-TYPE-…` with the extension of an archive.
    #[error(
        "'{0}' is not called like a backup archive: expected 'vzdump-qemu-', 'vzdump-lxc-' or 'vzdump-openvz-', a \
         name, and '.tgz', '.tar' or '.vma', the latter two also with '.gz', '.lzo', '.zst' or '.bz2'"
    )]
    NotAnArchive(BString),
    /// A standard name with a date or time that does not exist.
    #[error("the date or time in '{0}' does not exist")]
    ImpossibleTime(BString),
}

/// The digits in `vzdump-TYPE-DIGITS-` and at least one byte.
pub(crate) fn owner(file: &[u8]) -> Option<Digits<'_>> {
    let (_, rest) = kind(file)?;
    let (digits, rest) = rest.split_once_str("-")?;
    Digits::new(digits).filter(|_| !rest.is_empty())
}

/// The type in `vzdump-TYPE-`, and what follows.
pub(crate) fn kind(file: &[u8]) -> Option<(BackupType, &[u8])> {
    let (kind, rest) = file.strip_prefix(b"vzdump-")?.split_once_str("-")?;
    Some((BackupType::from_bytes(kind)?, rest))
}

fn text<S: Serializer>(text: &BStr, serializer: S) -> Result<S::Ok, S::Error> {
    crate::serde_text::bytes(text, serializer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_last_slash_counts() {
        for path in ["vzdump-lxc-x.tar", "/a/vzdump-lxc-x.tar", "local:backup/vzdump-lxc-x.tar"] {
            assert_eq!(ArchiveName::parse(path.as_bytes()).unwrap().filename, "vzdump-lxc-x.tar");
        }
        for path in
            ["", "dump/", "st:vzdump-lxc-x.tar", "vzdump-lxc-.tar", "vzdump-lxc-.tar.gz", "vzdump-lxc"]
        {
            let error = ArchiveName::parse(path.as_bytes()).unwrap_err();
            assert!(matches!(error, ArchiveNameError::NotAnArchive(_)), "{path}");
        }
    }

    #[test]
    fn a_standard_name_is_exact() {
        let standard = |name: &str| ArchiveName::parse(name.as_bytes()).map(|archive| archive.is_standard());
        assert_eq!(standard("vzdump-qemu-100-2023_01_02-03_04_05.tgz"), Ok(true));
        for name in [
            "vzdump-qemu-100-2023_01_02-03_04_05-x.tgz",
            "vzdump-qemu-0100-2023_01_02-03_04_05.tgz",
            "vzdump-qemu-100-2023_1_02-03_04_05.tgz",
            "vzdump-qemu-100-2023_01_02-03_04_05.tar.vma",
        ] {
            assert_eq!(standard(name), Ok(false), "{name}");
        }
        assert!(matches!(
            standard("vzdump-qemu-100-2023_02_30-03_04_05.tgz"),
            Err(ArchiveNameError::ImpossibleTime(_))
        ));
    }

    #[test]
    fn names_print_as_parsed() {
        for name in
            ["vzdump-qemu-100-2023_01_02-03_04_05.tgz", "vzdump-openvz-999-0001_12_31-00_00_00.tar.bz2"]
        {
            let archive = ArchiveName::parse(name.as_bytes()).unwrap();
            assert_eq!(archive.standard.unwrap().filename(archive.guest, archive.extension), name);
        }
        let archive = ArchiveName::parse(b"vzdump-qemu-100-2023_01_02-03_04_05.tgz").unwrap();
        assert_eq!(archive.log_name().unwrap(), "vzdump-qemu-100-2023_01_02-03_04_05.log");
        assert_eq!(archive.protection_name(), "vzdump-qemu-100-2023_01_02-03_04_05.tgz.protected");
        assert_eq!(ArchiveName::parse(b"vzdump-qemu-x.vma").unwrap().log_name(), None);
    }
}
