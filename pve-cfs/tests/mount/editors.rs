// SPDX-License-Identifier: MIT OR Apache-2.0
//! How editors and other tools save files: the tools themselves where they are installed, and what rsync and editors do in any case.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use crate::mounted::Mounted;

/// Runs a tool in the mount; `None`, said visibly, if it is not installed.
fn run(node: &Mounted, program: &str, arguments: &[&str]) -> Option<bool> {
    let command = Command::new(program)
        .args(arguments)
        .current_dir(node.path(""))
        .env("HOME", node.folder.path())
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    match command {
        Ok(status) => Some(status.success()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
    }
}

#[test]
fn sed_in_place() {
    let Some(node) = Mounted::start() else { return };
    fs::write(node.path("storage.cfg"), "dir: local\n\tpath /var/lib/vz\n").unwrap();
    if let Some(done) = run(&node, "sed", &["-i", "s,/var/lib/vz,/srv,", "storage.cfg"]) {
        assert!(done);
        assert_eq!(fs::read_to_string(node.path("storage.cfg")).unwrap(), "dir: local\n\tpath /srv\n");
        assert_eq!(fs::metadata(node.path("storage.cfg")).unwrap().mode() & 0o777, 0o640);
    }
    assert_eq!(node.finish().tree().len(), 2);
}

#[test]
fn vim_with_and_without_backups() {
    let Some(node) = Mounted::start() else { return };
    for (index, copy) in ["auto", "yes", "no"].into_iter().enumerate() {
        let name = format!("f{index}");
        fs::write(node.path(&name), "one\ntwo\n").unwrap();
        let setting = format!("set backupcopy={copy}");
        let arguments =
            ["-Nu", "NONE", "-i", "NONE", "-es", "-c", &setting, "-c", "%s/two/three/", "-c", "wq", &name];
        if let Some(done) = run(&node, "vim", &arguments) {
            assert!(done, "backupcopy={copy}");
            assert_eq!(fs::read_to_string(node.path(&name)).unwrap(), "one\nthree\n", "backupcopy={copy}");
        }
    }
    // neither swap files nor backups are left
    assert_eq!(node.finish().tree().len(), 4);
}

#[test]
fn git_keeps_a_history() {
    let Some(node) = Mounted::start() else { return };
    fs::write(node.path("storage.cfg"), "dir: local\n").unwrap();
    let user = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "safe.directory=*"];
    if let Some(done) = run(&node, "git", &["init", "-q", "."]) {
        assert!(done, "git init");
        let git = |arguments: &[&str]| run(&node, "git", &[&user[..], arguments].concat()) == Some(true);
        assert!(git(&["add", "storage.cfg"]) && git(&["commit", "-q", "-m", "one"]));
        fs::write(node.path("storage.cfg"), "dir: other\n").unwrap();
        assert!(git(&["commit", "-q", "-a", "-m", "two"]) && git(&["fsck", "--strict"]));
        assert!(git(&["checkout", "-q", "HEAD~1", "--", "storage.cfg"]));
        assert_eq!(fs::read_to_string(node.path("storage.cfg")).unwrap(), "dir: local\n");
    }
    node.finish();
}

/// rsync writes a hidden file beside the target, sets mode, time and owner, and renames it.
#[test]
fn the_steps_of_rsync() {
    let Some(node) = Mounted::start() else { return };
    fs::write(node.path("user.cfg"), "old").unwrap();
    let temporary = node.path(".user.cfg.Xa81f3");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&temporary).unwrap();
    file.write_all(b"new").unwrap();
    file.set_permissions(Permissions::from_mode(0o640)).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000);
    file.set_times(fs::FileTimes::new().set_accessed(time).set_modified(time)).unwrap();
    drop(file);
    assert_eq!(fs::metadata(&temporary).unwrap().mtime(), 1_600_000_000);
    std::os::unix::fs::lchown(&temporary, Some(0), Some(33)).unwrap();
    fs::rename(&temporary, node.path("user.cfg")).unwrap();
    assert_eq!(fs::read(node.path("user.cfg")).unwrap(), b"new");
    assert_eq!(node.finish().tree().len(), 2);
}

/// Editors without a swap file write a copy, sync it, keep the old file under another name, and clean up.
#[test]
fn the_steps_of_careful_editors() {
    let Some(node) = Mounted::start() else { return };
    let path = node.path("datacenter.cfg");
    fs::write(&path, "keyboard: de\n").unwrap();
    fs::rename(&path, node.path("datacenter.cfg~")).unwrap();
    let mut file = File::create_new(&path).unwrap();
    file.write_all(b"keyboard: fr\n").unwrap();
    file.sync_all().unwrap();
    drop(file);
    assert_eq!(fs::read(node.path("datacenter.cfg~")).unwrap(), b"keyboard: de\n");
    fs::remove_file(node.path("datacenter.cfg~")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"keyboard: fr\n");
    assert_eq!(node.finish().tree().len(), 2);
}
