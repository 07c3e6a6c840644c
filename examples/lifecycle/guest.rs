// SPDX-License-Identifier: MIT OR Apache-2.0
//! The guest: a kernel with a shell, which reads the cloud-init image and becomes what it says; and talking to it.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use micro_vm::{Console, Setup};

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

/// A guest that is up.
pub(crate) struct Guest(Console);

impl Guest {
    /// Makes the guest's kernel and file system ready.
    pub(crate) fn files(folder: &Path) -> Outcome<(PathBuf, PathBuf)> {
        let setup = Setup::new().modules(&["virtio_scsi", "sd_mod", "sr_mod", "isofs"]).script(APPLY);
        Ok(setup.write_to(folder)?)
    }

    /// Waits at the serial port until the guest is up. It must be called soon after the start: what is said before is lost.
    pub(crate) fn connect(port: &Path) -> Outcome<Self> {
        let stream = UnixStream::connect(port).map_err(|error| format!("{}: {error}", port.display()))?;
        let mut console = Console::new(stream.try_clone()?, stream);
        console.come_up()?;
        Ok(Guest(console))
    }

    /// What a command prints.
    pub(crate) fn ask(&mut self, command: &str) -> Outcome<String> {
        Ok(self.0.shell(command)?.output.trim().to_owned())
    }
}
