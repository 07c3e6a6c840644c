// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest: a kernel with a shell, which reads the cloud-init image and becomes what it says; and talking to it.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use micro_vm::Setup;

use crate::Outcome;

/// What the guest does at its boot.
const APPLY: &str = r#"
n=0
while [ ! -b /dev/sr0 ] || [ ! -b /dev/sda ]; do n=$((n + 1)); [ $n -lt 100 ]; sleep 0.1; done
mount -t iso9660 -o ro /dev/sr0 /mnt
hostname "$(sed -n 's/^hostname: //p' /mnt/user-data)"
ip address add "$(sed -n "s/^ *address: '\([0-9.]*\)'.*/\1/p" /mnt/network-config | head -n 1)/24" dev lo
umount /mnt
dd if=/dev/urandom of=/dev/sda bs=1M count=4 conv=fsync 2> /dev/null
"#;
/// How long one reading waits.
const STEP: Duration = Duration::from_millis(500);

/// A guest that is up.
pub(crate) struct Guest {
    stream: UnixStream,
    patience: Duration,
}

impl Guest {
    /// Makes the guest's kernel and file system ready.
    pub(crate) fn files(folder: &Path) -> Outcome<(PathBuf, PathBuf)> {
        let setup = Setup::new().modules(&["virtio_scsi", "sd_mod", "sr_mod", "isofs"]).script(APPLY);
        Ok(setup.write_to(folder)?)
    }

    /// Waits at the serial port until the guest is up. It must be called soon after the start: what is said before is lost.
    pub(crate) fn connect(port: &Path, patience: Duration) -> Outcome<Self> {
        let stream = UnixStream::connect(port).map_err(|error| format!("{}: {error}", port.display()))?;
        stream.set_read_timeout(Some(STEP))?;
        let mut guest = Guest { stream, patience };
        let end = Instant::now() + patience;
        let mut said = String::new();
        while !said.contains("MICRO-VM END") {
            if Instant::now() >= end {
                return Err(format!("the guest is not up after {patience:?}; it said: {said}").into());
            }
            // nothing is typed before: half of it would be lost, and the rest be taken for a command
            said.push_str(&guest.read()?);
        }
        if let Some((_, failed)) = said.split_once("MICRO-VM UP ")
            && !failed.starts_with('0')
        {
            return Err(format!("the guest could not apply its data: {failed}").into());
        }
        Ok(guest)
    }

    /// What a command prints.
    pub(crate) fn ask(&mut self, command: &str) -> Outcome<String> {
        writeln!(self.stream, "echo BEGIN; {command}; echo")?;
        let end = Instant::now() + self.patience;
        let mut said = String::new();
        loop {
            said.push_str(&self.read()?);
            if let Some((_, answer)) = said.split_once("BEGIN\n")
                && let Some((answer, _)) = answer.split_once("MICRO-VM ERRORS")
            {
                return Ok(answer.trim().to_owned());
            }
            if Instant::now() >= end {
                return Err(format!("the guest does not answer {command:?}; it said: {said}").into());
            }
        }
    }

    /// What has come, or comes soon.
    fn read(&mut self) -> Outcome<String> {
        let mut buffer = [0; 4096];
        match self.stream.read(&mut buffer) {
            Ok(0) => Err("the guest's serial port was closed".into()),
            Ok(count) => {
                Ok(String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).replace('\r', ""))
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Ok(String::new())
            }
            Err(error) => Err(error.into()),
        }
    }
}
