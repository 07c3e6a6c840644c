// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations of recorded cases as system calls below a mount point, with the credentials that a case names.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bstr::BString;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::pmxcfs::{errno, gid, mode, uid};
use super::pmxcfs_state as state;

/// The result of `operation` below `mount`, run by a thread with the credentials of its member `as`, else by root.
pub(crate) fn run(mount: &Path, operation: &Value) -> Result<Value, String> {
    if operation["as"].is_null() {
        return Ok(result(mount, operation));
    }
    let thread = || {
        become_user(&operation["as"])
            .map_err(|error| format!("cannot change the user of a thread: {error}"))?;
        Ok(result(mount, operation))
    };
    std::thread::scope(|scope| scope.spawn(thread).join()).map_err(|_| "a system call panicked".to_owned())?
}

/// Changes the credentials of this thread alone; there is no way back, so it must end afterwards.
fn become_user(user: &Value) -> Result<(), Errno> {
    let id = |value: &Value| value.as_u64().unwrap_or_default() as u32;
    let groups: Vec<Gid> =
        user["groups"].as_array().into_iter().flatten().map(|group| Gid::from_raw(id(group))).collect();
    let (uid, gid) = (Uid::from_raw(id(&user["uid"])), Gid::from_raw(id(&user["gid"])));
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

fn result(mount: &Path, operation: &Value) -> Value {
    match call(mount, operation) {
        Ok(value) => value,
        Err(error) => errno(nix::errno::Errno::from_raw(error.raw_os_error().unwrap_or_default())),
    }
}

/// `path` of a case below the mount point.
fn below(mount: &Path, path: &Value) -> PathBuf {
    let mut full = mount.as_os_str().as_bytes().to_vec();
    full.extend_from_slice(&state::bytes(path));
    OsString::from_vec(full).into()
}

fn call(mount: &Path, operation: &Value) -> std::io::Result<Value> {
    let path = below(mount, &operation["path"]);
    let number = |field: &str| operation[field].as_u64().unwrap_or_default();
    let data = || state::bytes(&operation["data"]);
    let target = || below(mount, &operation["to"]);
    let write_only = || std::fs::OpenOptions::new().write(true).to_owned();
    Ok(match operation["op"].as_str().unwrap_or_default() {
        "mkdir" => done(rustix::fs::mkdir(&path, Mode::from_raw_mode(0o777)))?,
        "rmdir" => done(rustix::fs::rmdir(&path))?,
        "unlink" => done(rustix::fs::unlink(&path))?,
        "create" => {
            write_only().create_new(true).open(&path)?;
            json!(0)
        }
        "open" => {
            let flags = flags(&operation["flags"]);
            rustix::fs::open(&path, flags, Mode::from_raw_mode(0o666))?;
            json!(0)
        }
        "put" => write_all(&write_only().create(true).truncate(true).open(&path)?, &data())?,
        "append" => write_all(&std::fs::OpenOptions::new().append(true).open(&path)?, &data())?,
        "write" => json!(write_only().open(&path)?.write_at(&data(), number("offset"))?),
        "read" => {
            let file = std::fs::File::open(&path)?;
            let mut buffer = vec![0; number("size") as usize];
            let count = file.read_at(&mut buffer, number("offset"))?;
            json!({ "data": state::data(&buffer[..count], state::SHORT) })
        }
        "truncate" => {
            nix::unistd::truncate(&path, number("size") as i64)?;
            json!(0)
        }
        "rename" => done(rustix::fs::rename(&path, target()))?,
        "rename2" => {
            let flags = RenameFlags::from_bits_retain(number("flags") as u32);
            done(rustix::fs::renameat_with(CWD, &path, CWD, target(), flags))?
        }
        "utimens" => {
            let time = Timespec { tv_sec: operation["mtime"].as_i64().unwrap_or_default(), tv_nsec: 0 };
            let flags =
                if operation["follow"] == false { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
            let times = Timestamps { last_access: time, last_modification: time };
            done(rustix::fs::utimensat(CWD, &path, &times, flags))?
        }
        "chmod" => done(rustix::fs::chmod(&path, Mode::from_raw_mode(mode(operation))))?,
        "chown" => {
            let (uid, gid) = (uid(operation).map(Uid::from_raw), gid(operation).map(Gid::from_raw));
            done(rustix::fs::chownat(CWD, &path, uid, gid, AtFlags::empty()))?
        }
        "stat" => attributes(&std::fs::metadata(&path)?),
        "lstat" => attributes(&std::fs::symlink_metadata(&path)?),
        "readdir" => {
            let mut names: Vec<BString> = Vec::new();
            for entry in std::fs::read_dir(&path)? {
                names.push(entry?.file_name().into_vec().into());
            }
            state::names(names, false)
        }
        "readlink" => json!({ "target": state::string(std::fs::read_link(&path)?.as_os_str().as_bytes()) }),
        "statfs" => {
            let found = rustix::fs::statvfs(&path)?;
            json!({
                "bsize": found.f_bsize, "blocks": found.f_blocks, "bfree": found.f_bfree,
                "bavail": found.f_bavail, "files": found.f_files, "ffree": found.f_ffree,
                "namemax": found.f_namemax,
            })
        }
        "symlink" => done(rustix::fs::symlink(state::bytes(&operation["to"]), &path))?,
        "link" => done(rustix::fs::link(&path, target()))?,
        "mknod" => {
            let kind = match operation["kind"].as_str() {
                Some("fifo") => FileType::Fifo,
                Some("sock") => FileType::Socket,
                _ => FileType::RegularFile,
            };
            done(rustix::fs::mknodat(CWD, &path, kind, Mode::from_raw_mode(0o640), 0))?
        }
        "setxattr" => {
            let key = operation["key"].as_str().unwrap_or_default();
            done(rustix::fs::setxattr(&path, key, b"x", XattrFlags::empty()))?
        }
        "getxattr" => {
            let key = operation["key"].as_str().unwrap_or_default();
            json!(rustix::fs::getxattr(&path, key, &mut [0; 64][..])?)
        }
        other => json!(format!("unknown operation {other:?}")),
    })
}

fn done(result: Result<(), Errno>) -> std::io::Result<Value> {
    result?;
    Ok(json!(0))
}

/// One `write(2)`; its count.
fn write_all(mut file: &std::fs::File, data: &[u8]) -> std::io::Result<Value> {
    use std::io::Write;
    Ok(json!(file.write(data)?))
}

fn flags(names: &Value) -> OFlags {
    let mut flags = OFlags::empty();
    for name in names.as_array().into_iter().flatten() {
        flags |= match name.as_str().unwrap_or_default() {
            "O_WRONLY" => OFlags::WRONLY,
            "O_RDWR" => OFlags::RDWR,
            "O_CREAT" => OFlags::CREATE,
            "O_EXCL" => OFlags::EXCL,
            "O_TRUNC" => OFlags::TRUNC,
            "O_APPEND" => OFlags::APPEND,
            "O_DIRECTORY" => OFlags::DIRECTORY,
            "O_NOFOLLOW" => OFlags::NOFOLLOW,
            _ => OFlags::RDONLY,
        };
    }
    flags
}

fn attributes(found: &std::fs::Metadata) -> Value {
    json!({
        "mode": format!("{:o}", found.mode()), "nlink": found.nlink(), "uid": found.uid(),
        "gid": state::group(found.gid()), "size": found.size(), "blocks": found.blocks(), "mtime": found.mtime(),
    })
}
