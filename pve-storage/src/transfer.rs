// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formats of the streams by which volumes travel between storages, and how two storages agree on one.

use std::fmt;
use std::io::{self, Read, Write};

use pve_volid::{ImageFormat, VolumeFormat, VolumeType};
use serde::Serialize;

use crate::command::{Command, Streams};
use crate::error::{Error, Result};
use crate::session::Session;

/// The format of a stream (spec: volumes, "Capabilities"). The `+size` formats begin with the size in bytes as a
/// little-endian 64-bit number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[non_exhaustive]
pub enum StreamFormat {
    /// Size, then the bytes of the disk.
    #[serde(rename = "raw+size")]
    RawSize,
    /// Size, then a qcow2 file with its snapshots.
    #[serde(rename = "qcow2+size")]
    Qcow2Size,
    /// Size, then a vmdk file.
    #[serde(rename = "vmdk+size")]
    VmdkSize,
    /// Size (zero), then a tar archive of a directory.
    #[serde(rename = "tar+size")]
    TarSize,
    /// `zfs send`.
    #[serde(rename = "zfs")]
    Zfs,
    /// `btrfs send`.
    #[serde(rename = "btrfs")]
    Btrfs,
}

impl StreamFormat {
    /// All formats.
    pub const ALL: &'static [StreamFormat] = &[
        StreamFormat::RawSize,
        StreamFormat::Qcow2Size,
        StreamFormat::VmdkSize,
        StreamFormat::TarSize,
        StreamFormat::Zfs,
        StreamFormat::Btrfs,
    ];

    /// The name that the reference uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StreamFormat::RawSize => "raw+size",
            StreamFormat::Qcow2Size => "qcow2+size",
            StreamFormat::VmdkSize => "vmdk+size",
            StreamFormat::TarSize => "tar+size",
            StreamFormat::Zfs => "zfs",
            StreamFormat::Btrfs => "btrfs",
        }
    }

    /// The format of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|format| format.as_str() == name)
    }

    /// Whether the stream begins with the size.
    #[must_use]
    pub const fn has_header(self) -> bool {
        !matches!(self, StreamFormat::Zfs | StreamFormat::Btrfs)
    }
}

impl fmt::Display for StreamFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Which snapshots travel along.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Intermediate {
    /// None.
    #[default]
    None,
    /// All of them.
    All,
    /// Those that the caller lists.
    Listed,
}

/// What is to be transferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TransferScope {
    /// A snapshot of the volume instead of its present content.
    pub snapshot: bool,
    /// Only what changed since another snapshot, which both sides have.
    pub base: bool,
    /// Snapshots that travel along.
    pub with: Intermediate,
}

impl TransferScope {
    pub(crate) fn with_snapshots(self) -> bool {
        self.with != Intermediate::None
    }
}

/// The format in which a volume travels: the first that the source offers and the target takes.
#[must_use]
pub fn negotiate(export: &[StreamFormat], import: &[StreamFormat]) -> Option<StreamFormat> {
    export.iter().copied().find(|format| import.contains(format))
}

/// The formats of volumes that are files or directories, for a scope without snapshot and base.
pub(crate) fn of_files(
    vtype: VolumeType,
    format: VolumeFormat<'_>,
    with_snapshots: bool,
) -> Vec<StreamFormat> {
    match (with_snapshots, format.image()) {
        (true, Some(ImageFormat::Qcow2)) => vec![StreamFormat::Qcow2Size],
        (true, Some(ImageFormat::Vmdk)) => vec![StreamFormat::VmdkSize],
        (true, _) => Vec::new(),
        (false, Some(ImageFormat::Subvol)) => vec![StreamFormat::TarSize],
        (false, _) if vtype == VolumeType::Backup => Vec::new(),
        (false, _) => vec![StreamFormat::RawSize],
    }
}

/// Sizes of images are told in sectors: a file may be shorter than that by less than one.
const SECTOR: u64 = 512;

/// The content of a stream behind its header: counts what is read of it.
pub(crate) struct Content<'a> {
    input: &'a mut (dyn Read + Send),
    read: u64,
}

impl<'a> Content<'a> {
    pub(crate) fn of(input: &'a mut (dyn Read + Send)) -> Self {
        Content { input, read: 0 }
    }

    /// Feeds a command with the content, and fails if less came than the header told: the program that read it took the
    /// early end for the end.
    ///
    /// # Errors
    /// If the command fails, or the stream is too short.
    pub(crate) fn feed(mut self, session: &Session<'_>, command: &Command, least: u64) -> Result<()> {
        session.run_with(command, Streams { input: Some(&mut self), output: None })?;
        if session.host().is_rehearsal() {
            return Ok(());
        }
        // a program that had enough left the rest
        let drained = io::copy(&mut self, &mut io::sink());
        drained.map_err(|source| Error::Io { action: "read the rest of the stream".into(), source })?;
        if self.read < least {
            return Err(Error::ShortStream { got: self.read, expected: least });
        }
        Ok(())
    }
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

/// How many bytes have to follow a header that tells `size`: the disk itself in a raw stream; anything at all where the
/// content is packed.
pub(crate) fn least_content(format: StreamFormat, size: u64) -> u64 {
    match format {
        StreamFormat::RawSize => size.saturating_sub(SECTOR - 1),
        _ => 1,
    }
}

/// Writes what comes through, and knows whether anything did.
pub(crate) struct Touched<'a> {
    pub(crate) output: &'a mut (dyn Write + Send),
    pub(crate) touched: bool,
}

impl Write for Touched<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.touched |= !buffer.is_empty();
        self.output.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes the size at the beginning of a `+size` stream.
pub(crate) fn write_header(output: &mut (dyn Write + Send), size: u64) -> Result<()> {
    let action = "write the size to the stream";
    output.write_all(&size.to_le_bytes()).map_err(|source| Error::Io { action: action.into(), source })
}

/// Reads the size at the beginning of a `+size` stream.
pub(crate) fn read_header(input: &mut (dyn Read + Send)) -> Result<u64> {
    let mut size = [0; 8];
    let action = "read the size from the stream";
    input.read_exact(&mut size).map_err(|source| Error::Io { action: action.into(), source })?;
    Ok(u64::from_le_bytes(size))
}
