// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changes to the file system.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::os;
use crate::host::Change;

pub(super) fn carry_out(change: &Change) -> io::Result<()> {
    match change {
        Change::MakeDirectories { path, mode } => {
            DirBuilder::new().recursive(true).mode(*mode).create(os(path))
        }
        Change::MakeDirectory { path, mode } => DirBuilder::new().mode(*mode).create(os(path)),
        Change::RemoveDirectory { path } => fs::remove_dir(os(path)),
        Change::RemoveTree { path } => fs::remove_dir_all(os(path)),
        Change::Unlink { path } => fs::remove_file(os(path)),
        Change::Rename { from, to } => fs::rename(os(from), os(to)),
        Change::RenameNoReplace { from, to } => {
            Ok(renameat2(AT_FDCWD, os(from), AT_FDCWD, os(to), RenameFlags::RENAME_NOREPLACE)?)
        }
        Change::Exchange { one, other } => {
            Ok(renameat2(AT_FDCWD, os(one), AT_FDCWD, os(other), RenameFlags::RENAME_EXCHANGE)?)
        }
        Change::SetMode { path, mode } => fs::set_permissions(os(path), Permissions::from_mode(*mode)),
        Change::CreateSparse { path, size, nocow } => create_sparse(os(path), *size, *nocow),
        Change::Write { path, content, mode } => write(os(path), content, *mode),
        Change::BlankStart { path, length } => {
            let length = usize::try_from(*length).map_err(io::Error::other)?;
            let mut device = OpenOptions::new().write(true).open(os(path))?;
            device.write_all(&vec![b'0'; length])?;
            device.sync_all()
        }
        Change::Touch { path } => {
            let file = OpenOptions::new().append(true).create(true).open(os(path))?;
            file.set_modified(SystemTime::now())
        }
    }
}

fn create_sparse(path: &Path, size: u64, nocow: bool) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let filled = || -> io::Result<()> {
        if nocow {
            // the attribute can only be set through an ioctl, for which `chattr` is the safe way
            let status = std::process::Command::new("chattr").arg("+C").arg(path).status()?;
            if !status.success() {
                return Err(io::Error::other(format!("chattr +C failed: {status}")));
            }
        }
        file.set_len(size)
    };
    filled().inspect_err(|_| drop(fs::remove_file(path)))
}

/// Writes beside the file, then takes its place.
fn write(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut beside = name.to_owned();
    beside.push(format!(".tmp.{}", std::process::id()));
    let beside = path.with_file_name(beside);
    let mut file: File =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&beside)?;
    let written = || -> io::Result<()> {
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    let mut written = written;
    written().inspect_err(|_| drop(fs::remove_file(&beside)))
}

#[cfg(test)]
mod tests {
    use bstr::BString;

    use super::*;

    fn path(directory: &tempfile::TempDir, name: &str) -> BString {
        directory.path().join(name).to_str().unwrap().into()
    }

    #[test]
    fn changes_do_what_they_say() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| path(&directory, name);
        carry_out(&Change::MakeDirectories { path: at("a/b"), mode: 0o755 }).unwrap();
        carry_out(&Change::Write { path: at("a/one"), content: "1".into(), mode: 0o600 }).unwrap();
        carry_out(&Change::CreateSparse { path: at("a/two"), size: 4096, nocow: false }).unwrap();
        assert!(carry_out(&Change::CreateSparse { path: at("a/two"), size: 1, nocow: false }).is_err());
        assert!(carry_out(&Change::RenameNoReplace { from: at("a/one"), to: at("a/two") }).is_err());
        carry_out(&Change::Exchange { one: at("a/one"), other: at("a/two") }).unwrap();
        assert_eq!(fs::read(os(&at("a/two"))).unwrap(), b"1");
        assert_eq!(fs::metadata(os(&at("a/one"))).unwrap().len(), 4096);
        assert_eq!(fs::metadata(os(&at("a/two"))).unwrap().permissions().mode() & 0o777, 0o600);
        carry_out(&Change::Touch { path: at("a/three") }).unwrap();
        assert!(carry_out(&Change::RemoveDirectory { path: at("a") }).is_err());
        carry_out(&Change::RemoveTree { path: at("a") }).unwrap();
        assert!(!os(&at("a")).exists());
    }
}
