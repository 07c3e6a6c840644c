// SPDX-License-Identifier: MIT OR Apache-2.0
//! Requests of local programs to the daemon: a request's bytes in, the answer's bytes out. How they are transported is not
//! here.

use bstr::ByteSlice;
use nix::errno::Errno;

use crate::cluster_log::SHOWN_ENTRIES;
use crate::filesystem::FileSystem;
use crate::path;
use crate::property;
use crate::row::cut_at_nul;
use crate::virtual_file::VirtualFile;

/// Size of the header before a request's payload: operation and total size, each padded to eight bytes.
pub const REQUEST_HEADER: usize = 16;
/// Size of the header before an answer's data: operation, total size and error, each padded to eight bytes.
pub const RESPONSE_HEADER: usize = 24;
/// Size of the field of a key or a node's name.
const NAME_FIELD: usize = 256;

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Process id.
    pub pid: u32,
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
}

impl Peer {
    /// Whether its connection is accepted at all: root, or the group of the file system.
    pub const fn is_accepted(&self, group: u32) -> bool {
        (self.uid == 0 && self.gid == 0) || self.gid == group
    }

    /// Whether it may not change anything and sees nothing private.
    pub const fn is_read_only(&self, group: u32) -> bool {
        self.gid == group
    }
}

/// The answer to request `operation` with `payload` (spec: pmxcfs, "IPC").
///
/// # Errors
/// The error number that the answer carries instead of data.
pub fn answer(files: &FileSystem, peer: Peer, operation: i32, payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let without_payload = |file| if payload.is_empty() { Ok(files.text(file)) } else { Err(Errno::EINVAL) };
    let read_only = peer.is_read_only(files.group());
    let changes = || if read_only { Err(Errno::EPERM) } else { Ok(()) };
    match operation {
        1 => without_payload(VirtualFile::Version),
        2 => without_payload(VirtualFile::Members),
        3 => without_payload(VirtualFile::VmList),
        4 => {
            changes()?;
            let (key, value) = payload.split_at_checked(NAME_FIELD).ok_or(Errno::EINVAL)?;
            let now = files.now();
            files.status().set(name_field(key), value, now).map_err(|refusal| refusal.errno())?;
            Ok(Vec::new())
        }
        5 => {
            let (key, rest) = payload.split_at_checked(NAME_FIELD).ok_or(Errno::EINVAL)?;
            let node = rest.get(..NAME_FIELD).ok_or(Errno::EINVAL)?;
            let status = files.status();
            status.get(name_field(node), name_field(key)).map(<[u8]>::to_vec).ok_or(Errno::ENOENT)
        }
        6 => config(files, read_only, payload),
        7 => {
            changes()?;
            log(files, peer, payload)
        }
        8 => log_text(files, payload),
        10 => {
            if !payload.is_empty() {
                return Err(Errno::EINVAL);
            }
            let mut status = files.status();
            let (text, fresh) = status.rrd_text(files.now());
            let mut data = text.to_vec();
            // the reference sends the terminating NUL along, but only with a text that it has just made
            data.extend(fresh.then_some(0));
            Ok(data)
        }
        11 => {
            let (vmid, property) = vmid(files, payload)?;
            let (_, property) = property.split_last().ok_or(Errno::EINVAL)?;
            property::text(files, vmid, &[cut_at_nul(property).as_bytes()])
        }
        12 => verify_token(files, payload),
        13 => {
            let (vmid, rest) = vmid(files, payload)?;
            let (count, names) = rest.split_first().ok_or(Errno::EINVAL)?;
            let names = property_names(*count, names)?;
            property::text(files, vmid, &names)
        }
        _ => Err(Errno::ECHRNG),
    }
}

/// The name in a fixed field: up to the first NUL, the last byte of the field being one.
fn name_field(field: &[u8]) -> &[u8] {
    cut_at_nul(field.get(..NAME_FIELD - 1).unwrap_or(field))
}

fn config(files: &FileSystem, read_only: bool, payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let (_, path) = payload.split_last().ok_or(Errno::EINVAL)?;
    let path = path::relative(cut_at_nul(path));
    if read_only && path::is_private(path) {
        return Err(Errno::EPERM);
    }
    let engine = files.replica().engine();
    match engine.tree().get(path) {
        Some(entry) if !entry.is_directory() => Ok(entry.content().to_vec()),
        _ => Err(Errno::ENOENT),
    }
}

fn log(files: &FileSystem, peer: Peer, payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let [priority, ident_length, tag_length, texts @ ..] = payload else { return Err(Errno::EINVAL) };
    let (ident, rest) = texts.split_at_checked(usize::from(*ident_length)).ok_or(Errno::EINVAL)?;
    let (tag, message) = rest.split_at_checked(usize::from(*tag_length)).ok_or(Errno::EINVAL)?;
    let ended = |text: &[u8]| text.last() == Some(&0);
    if message.is_empty() || !ended(ident) || !ended(tag) {
        return Err(Errno::EINVAL);
    }
    let now = files.now() as u32;
    files.status().log_mut().log(ident, tag, *priority, message, peer.pid, now);
    Ok(Vec::new())
}

fn log_text(files: &FileSystem, payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let (numbers, user) = payload.split_at_checked(16).ok_or(Errno::EINVAL)?;
    if user.is_empty() {
        return Err(Errno::EINVAL);
    }
    let max = match numbers.first_chunk::<4>().map(|max| u32::from_le_bytes(*max)) {
        Some(0) | None => SHOWN_ENTRIES,
        Some(max) => max as usize,
    };
    let user = cut_at_nul(user).as_bytes();
    Ok(files.status().log().text(max, (!user.is_empty()).then_some(user)))
}

/// The VMID that a request starts with, checked, and the rest.
fn vmid<'p>(files: &FileSystem, payload: &'p [u8]) -> Result<(u32, &'p [u8]), Errno> {
    let (number, rest) = payload.split_first_chunk::<4>().ok_or(Errno::EINVAL)?;
    let vmid = u32::from_le_bytes(*number);
    match vmid {
        0 => {}
        1..=99 => return Err(Errno::EINVAL),
        _ if files.replica().engine().guests().get(vmid).is_none() => return Err(Errno::ENOENT),
        _ => {}
    }
    Ok((vmid, rest))
}

fn property_names(count: u8, mut names: &[u8]) -> Result<Vec<&[u8]>, Errno> {
    if count == 0 || names.len() < 2 {
        return Err(Errno::EINVAL);
    }
    let mut found = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let (name, rest) = names.split_once_str("\0").ok_or(Errno::EINVAL)?;
        if !name.first().is_some_and(u8::is_ascii_lowercase) {
            return Err(Errno::EINVAL);
        }
        found.push(name);
        names = rest;
    }
    if names.is_empty() { Ok(found) } else { Err(Errno::EINVAL) }
}

fn verify_token(files: &FileSystem, payload: &[u8]) -> Result<Vec<u8>, Errno> {
    let token = payload.strip_suffix(b"\0").ok_or(Errno::EINVAL)?;
    if token.is_empty() || token.contains(&0) || token.contains(&b'\n') {
        return Err(Errno::EINVAL);
    }
    let engine = files.replica().engine();
    let tokens = engine.tree().get(b"priv/token.cfg").filter(|entry| !entry.is_directory());
    match tokens {
        Some(file) if file.content().split(|byte| *byte == b'\n').any(|line| line == token) => Ok(Vec::new()),
        _ => Err(Errno::ENOENT),
    }
}
