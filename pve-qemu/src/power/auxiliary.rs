// SPDX-License-Identifier: MIT OR Apache-2.0
//! Processes that a QEMU needs beside it: the TPM emulator, and daemons that serve directories.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::vm::{Drive, DriveId};
use pve_storage::{Command, Streams};
use pve_volid::{ImageFormat, VolumeIdRef};

use super::pid_file::Process;
use super::{Launch, LaunchError, RunDir};
use crate::command_line::SharedDirectory;
use crate::disk::volume_on;
use crate::node::Volumes;

const SWTPM: &str = "/usr/bin/swtpm";
const SWTPM_SETUP: &str = "/usr/bin/swtpm_setup";
const VIRTIOFSD: &str = "/usr/libexec/virtiofsd";
/// How long one of them may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The processes beside a QEMU that is not yet there. They end with it; if it does not come about, by
/// [`Auxiliaries::end`].
pub(super) struct Auxiliaries {
    tpm: Option<Process>,
    daemons: Vec<Child>,
}

impl Auxiliaries {
    /// Starts what the command line asks for (spec: qemu-command-devices, "virtiofs"; qemu-command-drives, "TPM").
    pub(super) fn start(
        host: &dyn pve_storage::Host,
        volumes: &dyn Volumes,
        run_dir: &RunDir,
        launch: &Launch<'_>,
    ) -> Result<Self, LaunchError> {
        let mut started = Auxiliaries { tpm: None, daemons: Vec::new() };
        let effects = &launch.command.effects;
        let mut result = Ok(());
        for share in &effects.shared_directories {
            result = result.and_then(|()| {
                started.daemons.push(serve(share, run_dir)?);
                Ok(())
            });
        }
        if effects.tpm && result.is_ok() {
            result = start_tpm(host, volumes, run_dir, launch);
            started.tpm = Process::auxiliary(&run_dir.tpm_pid(launch.vmid), "swtpm");
        }
        match result {
            Ok(()) => Ok(started),
            Err(error) => {
                started.end();
                Err(error)
            }
        }
    }

    /// Ends them.
    pub(super) fn end(mut self) {
        if let Some(tpm) = &self.tpm {
            // it is left to itself if it does not go; the next start complains about its socket
            let _ = tpm.end(PATIENCE);
        }
        for daemon in &mut self.daemons {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

/// Runs the daemon of a directory: it is given a socket that listens already.
fn serve(share: &SharedDirectory, run_dir: &RunDir) -> Result<Child, LaunchError> {
    let socket = run_dir.place(&share.socket);
    let preparation = |error: std::io::Error| LaunchError::Preparation {
        what: socket.display().to_string(),
        reason: error.to_string(),
    };
    let made = socket.parent().map_or(Ok(()), fs::create_dir_all);
    let removed = made.and_then(|()| match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    let listener = removed.and_then(|()| UnixListener::bind(&socket)).map_err(preparation)?;
    let mut command = std::process::Command::new(VIRTIOFSD);
    command.arg("--fd=0").arg(joined("--shared-dir=", share.path.as_bstr()));
    let flags = [
        (share.xattr, "--xattr"),
        (share.acl, "--posix-acl"),
        (true, "--announce-submounts"),
        (share.direct_io, "--allow-direct-io"),
    ];
    command.args(flags.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| flag));
    if let Some(cache) = &share.cache {
        command.arg(joined("--cache=", cache.as_bstr()));
    }
    if share.windows {
        command.arg("--inode-file-handles=prefer");
    }
    command.arg("--syslog");
    // the listening socket is its standard input
    command.stdin(Stdio::from(OwnedFd::from(listener))).stdout(Stdio::null()).stderr(Stdio::null());
    command.process_group(0);
    command.spawn().map_err(|source| LaunchError::Run { program: VIRTIOFSD.into(), source })
}

fn joined(option: &str, value: &BStr) -> std::ffi::OsString {
    let mut text = std::ffi::OsString::from(option);
    text.push(std::ffi::OsStr::from_bytes(value));
    text
}

/// Makes a TPM's state if it is new, and runs the emulator.
fn start_tpm(
    host: &dyn pve_storage::Host,
    volumes: &dyn Volumes,
    run_dir: &RunDir,
    launch: &Launch<'_>,
) -> Result<(), LaunchError> {
    let (vmid, main) = (launch.vmid, &launch.config.main);
    let preparation = |reason: String| LaunchError::Preparation { what: "tpmstate0".into(), reason };
    let value = main.get("tpmstate0").ok_or_else(|| preparation("it is not configured".into()))?;
    let id = DriveId::from_key(b"tpmstate0").ok_or_else(|| preparation("it is no drive".into()))?;
    let drive = Drive::read(id, value).map_err(|error| preparation(error.to_string()))?;
    let is_raw = is_raw(volumes, drive.file);
    let path = volumes.path(drive.file).map_err(|error| preparation(error.to_string()))?;
    if !is_raw || path.starts_with(b"iscsi://") {
        return Err(preparation(format!("{} is no raw file or device; move it to a raw volume", drive.file)));
    }
    let second = has_version_2(value);
    let state = [b"file://", path.as_slice()].concat();
    let mut setup = Command::change(SWTPM_SETUP)
        .arg("--tpmstate")
        .value(&state)
        .args(["--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--config"])
        .args(["/etc/swtpm_setup.conf", "--runas", "0", "--not-overwrite"]);
    let mut emulator = Command::change(SWTPM)
        .args(["socket", "--tpmstate"])
        .value([b"backend-uri=", state.as_slice(), b",mode=0600"].concat())
        .arg("--ctrl")
        .value(text(&["type=unixio,path=", &shown(&run_dir.tpm(vmid)), ",mode=0600"]))
        .arg("--pid")
        .value(text(&["file=", &shown(&run_dir.tpm_pid(vmid))]))
        .args(["--terminate", "--daemon", "--log"])
        .value(text(&[
            "file=",
            &shown(&run_dir.tpm_log(vmid)),
            &format!(",level=1,prefix=[id={}] ", host.now()),
        ]));
    if second {
        setup = setup.args(["--tpm2", "--ecc"]);
        emulator = emulator.arg("--tpm2");
    }
    for command in [setup, emulator] {
        LaunchError::check(command.program().to_string(), host.run(&command, Streams::none()))?;
    }
    Ok(())
}

/// Whether a volume is raw; a path is a device.
fn is_raw(volumes: &dyn Volumes, volume: &BStr) -> bool {
    if VolumeIdRef::from_bytes(volume).is_err() {
        return volume.starts_with(b"/");
    }
    let format = volume_on(volumes.storages(), volume).and_then(|volume| volume.format.image());
    format.is_none_or(|format| format == ImageFormat::Raw)
}

/// Whether a TPM is one of version 2.0 (the default is 1.2).
fn has_version_2(value: &BStr) -> bool {
    value.split_str(",").any(|part| part == b"version=v2.0")
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn text(parts: &[&str]) -> BString {
    parts.concat().into()
}
