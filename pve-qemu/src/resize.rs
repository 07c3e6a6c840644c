// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making a disk larger (spec: vm-lifecycle, "Resize").
//!
//! The storage's own size counts, not the one that the configuration remembers; afterwards the configuration remembers
//! the new one. If the process dies in between, the disk is larger than the configuration says: `rescan` corrects that.

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::rule::ValueError;
use pve_volid::VmId;
use serde_json::json;

use crate::node::{LockMode, Node, WorldError};
use crate::option_rules::drive_id;
use crate::version::Feature;
use crate::vm_file::{self, PATIENCE, VmFileError};

/// How long QEMU may take to notice the new size.
const QMP_PATIENCE: Duration = Duration::from_secs(60);

/// A new size of a disk: absolute, or so much more.
///
/// ```
/// use pve_qemu::resize::NewSize;
///
/// assert_eq!(NewSize::parse(b"10.5G").unwrap().of(8 << 30), (10 << 30) + (512 << 20));
/// assert_eq!(NewSize::parse(b"+512M").unwrap().of(8 << 30), (8 << 30) + (512 << 20));
/// assert!(NewSize::parse(b"10GB").is_none() && NewSize::parse(b"-1G").is_none());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NewSize {
    is_more: bool,
    number: f64,
    unit: f64,
}

impl NewSize {
    /// Reads a number with an optional fraction, optionally `+` before it and a unit `K`, `M`, `G` or `T` behind it; without
    /// unit it is bytes.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (is_more, text) = text.strip_prefix(b"+").map_or((false, text), |rest| (true, rest));
        let (unit, digits) = match text.split_last()? {
            (b'K', rest) => (10, rest),
            (b'M', rest) => (20, rest),
            (b'G', rest) => (30, rest),
            (b'T', rest) => (40, rest),
            _ => (0, text),
        };
        let mut parts = digits.splitn_str(2, ".");
        let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
        if !is_number(parts.next()?) || !parts.next().is_none_or(is_number) {
            return None;
        }
        let number = digits.to_str().ok()?.parse().ok()?;
        Some(NewSize { is_more, number, unit: f64::from(unit).exp2() })
    }

    /// The new size of a disk that has `current` bytes, in bytes.
    #[must_use]
    pub fn of(self, current: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "not negative; truncated as in the reference, and beyond the range no storage has room"
        )]
        let bytes = (self.number * self.unit) as u64;
        if self.is_more { current.saturating_add(bytes) } else { bytes }
    }
}

/// How a disk is resized.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ResizeOptions<'a> {
    /// Digest of the configuration that the request was made for.
    pub digest: Option<&'a BStr>,
    /// Although another operation has locked the VM.
    pub skip_lock: bool,
}

/// Why a disk was not resized.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock, a storage, or QEMU refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// There is no such drive.
    #[error("VM {vmid} has no disk {key}")]
    NoDisk {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// It holds a medium.
    #[error("VM {vmid}: {key} is a CD-ROM drive, whose medium has the size it has")]
    Cdrom {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
    },
    /// The text is no size.
    #[error(
        "{size:?} is no size; write a number with an optional unit K, M, G or T, after + for so much more"
    )]
    Size {
        /// The text.
        size: BString,
    },
    /// A guest would lose what is behind the new end.
    #[error("VM {vmid}: {key} has {current} bytes, and disks cannot be made smaller ({wanted} bytes)")]
    Smaller {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
        /// The size now, in bytes.
        current: u64,
        /// The size asked for, in bytes.
        wanted: u64,
    },
    /// The drive cannot be written with its new size.
    #[error("VM {vmid}: cannot write {key} with its new size: {source}")]
    Value {
        /// The VM.
        vmid: VmId,
        /// The option.
        key: BString,
        /// Why.
        source: Box<ValueError>,
    },
}

/// Makes a disk larger; returns its new size in bytes. If it has that size already, nothing happens.
///
/// # Errors
/// Nothing has changed then, except after an error of QEMU or in writing the configuration: then the volume is larger.
pub fn resize_disk(
    node: Node<'_>,
    vmid: VmId,
    key: &BStr,
    size: &BStr,
    options: ResizeOptions<'_>,
) -> Result<u64, ResizeError> {
    let new = NewSize::parse(size).ok_or_else(|| ResizeError::Size { size: size.to_owned() })?;
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config =
        if options.skip_lock { vm_file::load(node, vmid)? } else { vm_file::load_unlocked(node, vmid)? };
    vm_file::check_digest(vmid, &config, options.digest)?;
    let no_disk = || ResizeError::NoDisk { vmid, key: key.to_owned() };
    let id = drive_id(key).ok_or_else(no_disk)?;
    let mut drive = config.main.drive(id).ok().flatten().ok_or_else(no_disk)?;
    if drive.is_cdrom() {
        return Err(ResizeError::Cdrom { vmid, key: key.to_owned() });
    }
    node.volumes.activate(&[drive.file])?;
    let (current, _) = node.volumes.size(drive.file)?;
    let wanted = new.of(current);
    if wanted < current {
        return Err(ResizeError::Smaller { vmid, key: key.to_owned(), current, wanted });
    }
    if wanted == current {
        return Ok(current);
    }
    let running = node.machines.is_running(vmid);
    // in bytes: the storage rounds to what it can
    node.volumes.resize(drive.file, wanted, running)?;
    if running {
        let whole = wanted.next_multiple_of(1024);
        // the topmost node of the drive has the name that the drive itself has before machine version 10.0
        let name = if node.has_feature(vmid, Feature::Blockdev) { "node-name" } else { "device" };
        let arguments = json!({ name: format!("drive-{id}"), "size": whole });
        node.machines.qmp(vmid, "block_resize", arguments, Some(QMP_PATIENCE))?;
    }
    drive.size = Some(wanted);
    let value = drive.print().map_err(|source| ResizeError::Value {
        vmid,
        key: key.to_owned(),
        source: Box::new(source),
    })?;
    config.main.set(key, value);
    vm_file::store(node, vmid, &config)?;
    Ok(wanted)
}
