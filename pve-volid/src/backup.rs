// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names of backup archives on path-based storages (spec: volumes, "Backup archive names").

use bstr::ByteSlice;

use crate::Digits;
use crate::text_enum::text_enum;

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
    #[non_exhaustive]
    pub enum ArchiveFormat: "archive format" {
        /// A tar archive: containers.
        Tar = "tar",
        /// Proxmox's format for virtual machines.
        Vma = "vma",
    }
}

text_enum! {
    /// How a backup archive is compressed.
    #[non_exhaustive]
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
    /// The extension of `file` (case counts), if it has one of them and anything before it.
    #[must_use]
    pub fn of(file: &[u8]) -> Option<Self> {
        let (stem, last) = file.rsplit_once_str(".")?;
        if last == b"tgz" {
            let tgz = ArchiveExtension {
                format: ArchiveFormat::Tar,
                compression: Some(Compression::Gz),
                short: true,
            };
            return (!stem.is_empty()).then_some(tgz);
        }
        let (stem, format, compression) = match Compression::from_bytes(last) {
            Some(compression) => {
                let (stem, format) = stem.rsplit_once_str(".")?;
                (stem, format, Some(compression))
            }
            None => (stem, last, None),
        };
        let format = ArchiveFormat::from_bytes(format).filter(|_| !stem.is_empty())?;
        Some(ArchiveExtension { format, compression, short: false })
    }
}

/// The digits in `vzdump-TYPE-DIGITS-` and at least one byte.
pub(crate) fn owner(file: &[u8]) -> Option<Digits<'_>> {
    let (_, rest) = kind(file)?;
    let (digits, rest) = rest.split_once_str("-")?;
    Digits::new(digits).filter(|_| !rest.is_empty())
}

/// The type in `vzdump-TYPE-`, and what follows.
fn kind(file: &[u8]) -> Option<(BackupType, &[u8])> {
    let (kind, rest) = file.strip_prefix(b"vzdump-")?.split_once_str("-")?;
    Some((BackupType::from_bytes(kind)?, rest))
}
