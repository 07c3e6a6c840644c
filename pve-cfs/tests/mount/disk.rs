// SPDX-License-Identifier: MIT OR Apache-2.0
//! The database's disk is full, or cannot be written: programs get an error that says so, and nothing is lost.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use pve_cfs::Database;
use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::mount::{Mount, MountOptions};
use pve_cfs::store::{Store, StoreOptions};

use crate::mounted::can_mount;

/// A small file system in memory; unmounted when dropped.
struct Disk<'f>(&'f Path);

impl<'f> Disk<'f> {
    fn new(path: &'f Path, options: &str) -> Self {
        fs::create_dir(path).unwrap();
        mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        Self(path)
    }

    fn remount(&self, flags: MsFlags, options: &str) {
        mount(Some("tmpfs"), self.0, Some("tmpfs"), MsFlags::MS_REMOUNT | flags, Some(options)).unwrap();
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        umount2(self.0, MntFlags::MNT_DETACH).unwrap();
    }
}

fn open(database: &Path) -> Arc<FileSystem> {
    let (store, loaded) = Store::open(database, &StoreOptions::default(), 7).unwrap();
    Arc::new(FileSystem::new(loaded, Some(store), FileSystemOptions::local("pve1")))
}

#[test]
fn a_full_disk() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, pve) = (folder.path().join("disk"), folder.path().join("pve"));
    fs::create_dir(&pve).unwrap();
    let small = Disk::new(&disk, "size=2m");
    let database = disk.join("config.db");
    let mounted = Mount::new(open(&database), &pve, &MountOptions::default()).unwrap();
    let mut written = Vec::new();
    let mut errors = 0;
    for index in 0..300 {
        let content = vec![b'a' + (index % 26) as u8; 20_000];
        let path = pve.join(format!("f{index}"));
        match fs::File::create_new(&path).and_then(|mut file| std::io::Write::write_all(&mut file, &content))
        {
            Ok(()) => written.push((format!("f{index}"), content)),
            Err(error) => {
                errors += 1;
                assert_eq!(error.raw_os_error(), Some(Errno::ENOSPC as i32), "{error}");
            }
        }
    }
    assert!(written.len() > 10 && errors > 10, "{} written, {errors} errors", written.len());
    for (name, content) in &written {
        assert!(fs::read(pve.join(name)).unwrap() == *content);
    }
    // with room again, everything goes on without a restart
    small.remount(MsFlags::empty(), "size=20m");
    fs::write(pve.join("after"), "x").unwrap();
    written.push(("after".to_owned(), b"x".to_vec()));
    mounted.unmount().unwrap();
    let (database, _) = Database::open_read_only(&database).unwrap();
    assert_eq!(database.check(), []);
    for (name, content) in &written {
        assert!(database.tree().get(name.as_bytes()).unwrap().content() == content, "{name}");
    }
}

#[test]
fn a_disk_that_cannot_be_written() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (disk, pve) = (folder.path().join("disk"), folder.path().join("pve"));
    fs::create_dir(&pve).unwrap();
    let fixed = Disk::new(&disk, "size=2m");
    let path = disk.join("config.db");
    let files = open(&path);
    files.create(b"a").unwrap();
    files.write(b"a", 0, b"kept").unwrap();
    drop(files);
    fixed.remount(MsFlags::MS_RDONLY, "");
    let refused = Store::open(&path, &StoreOptions::default(), 7).unwrap_err();
    assert!(
        refused.to_string().contains("config.db") || refused.to_string().contains(".pmxcfs.lockfile"),
        "{refused}"
    );
    // it can still be read, and shown read-only
    let (store, loaded) = (None, Database::open_read_only(&path).unwrap().0);
    assert_eq!(loaded.tree().get(b"a").unwrap().content(), b"kept");
    let rows = loaded.rows().to_vec();
    let files =
        Arc::new(FileSystem::new(pve_cfs::load::load(&rows), store, FileSystemOptions::local("pve1")));
    let mounted = Mount::new(files, &pve, &MountOptions::default()).unwrap();
    assert_eq!(fs::read(pve.join("a")).unwrap(), b"kept");
    assert_eq!(fs::write(pve.join("b"), "x").unwrap_err().raw_os_error(), Some(Errno::EROFS as i32));
    mounted.unmount().unwrap();
}
