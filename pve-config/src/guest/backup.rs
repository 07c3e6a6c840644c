// SPDX-License-Identifier: MIT OR Apache-2.0
//! The copy of a virtual machine's configuration that goes into a backup.

use bstr::BStr;

use super::line::{is_space, trimmed_end};

/// Where a disk of the backed-up VM was, for the restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskOrigin<'m> {
    /// Drive key, such as `scsi0`.
    pub drive: &'m BStr,
    /// Name of the device in the archive, such as `drive-scsi0`.
    pub device: &'m BStr,
    /// Storage id.
    pub storage: &'m BStr,
    /// Image format, empty if unknown.
    pub format: &'m BStr,
}

/// The configuration text without what must not come back on a restore: snapshots, pending and special sections, the
/// lock, the parent snapshot, unused volumes, notes of earlier backups; with a note for every disk at its end
/// (spec: qemu-conf, "Copy made for backups").
///
/// The text is filtered line by line and not understood, so all other lines stay as they are.
///
/// ```
/// use pve_config::guest::{DiskOrigin, backup_copy};
///
/// let text = b"lock: backup\nname: web\nparent: before\nscsi0: local-lvm:vm-100-disk-0,size=8G\n\n[before]\nname: old\n";
/// let disk = DiskOrigin {
///     drive: "scsi0".into(),
///     device: "drive-scsi0".into(),
///     storage: "local-lvm".into(),
///     format: "raw".into(),
/// };
/// assert_eq!(
///     backup_copy(text, &[disk]),
///     b"name: web\nscsi0: local-lvm:vm-100-disk-0,size=8G\n\n#qmdump#map:scsi0:drive-scsi0:local-lvm:raw:\n"
/// );
/// ```
#[must_use]
pub fn backup_copy(text: &[u8], disks: &[DiskOrigin<'_>]) -> Vec<u8> {
    let mut copy = Vec::with_capacity(text.len());
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        if is_header(line) {
            break;
        }
        if !is_dropped(line) {
            copy.extend_from_slice(line);
        }
    }
    if !disks.is_empty() && !copy.is_empty() && !copy.ends_with(b"\n") {
        copy.push(b'\n');
    }
    for disk in disks {
        copy.extend_from_slice(b"#qmdump#map:");
        for part in [disk.drive, disk.device, disk.storage, disk.format] {
            copy.extend_from_slice(part);
            copy.push(b':');
        }
        copy.push(b'\n');
    }
    copy
}

/// `[…]` and nothing but white space behind it.
fn is_header(line: &[u8]) -> bool {
    let line = line.get(..trimmed_end(line)).unwrap_or_default();
    line.starts_with(b"[") && line.ends_with(b"]")
}

fn is_dropped(line: &[u8]) -> bool {
    if [&b"#vzdump#"[..], b"#qmdump#", b"lock:", b"parent:"].iter().any(|start| line.starts_with(start)) {
        return true;
    }
    let Some(rest) = line.strip_prefix(b"unused") else { return false };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let value = rest.get(digits..).and_then(|rest| rest.strip_prefix(b":"));
    digits > 0 && value.is_some_and(|value| !value.iter().all(|byte| is_space(*byte)))
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::*;

    #[test]
    fn filters_lines() {
        let text = b"#vzdump#x\n#qmdump#map:a:\n#note\nlock: backup\nlocks: 1\nparent:a\nunused0: a:b\nunused1:\nunusedx: 1\r\nname: b";
        assert_eq!(backup_copy(text, &[]).as_bstr(), "#note\nlocks: 1\nunused1:\nunusedx: 1\r\nname: b");
        assert_eq!(backup_copy(b"a: 1\n[] \nb: 2\n", &[]), b"a: 1\n");
        assert_eq!(backup_copy(b"a: 1\n[x\nb: 2\n", &[]), b"a: 1\n[x\nb: 2\n");
    }
}
