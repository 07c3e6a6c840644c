// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian's kernel for virtual machines, unpacked and not installed.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::package;
use crate::tool::run;

/// Name of Debian's package that depends on its newest kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel with its modules, unpacked.
#[derive(Debug, Clone)]
pub struct Kernel {
    /// The folder that it was unpacked to.
    root: PathBuf,
    version: String,
}

impl Kernel {
    /// The kernel of the cache; fetched with apt if there is none.
    ///
    /// # Errors
    /// Why there is no kernel to be had.
    pub fn fetch() -> Result<Kernel, Error> {
        let root = package::kept("kernel", unpack)?;
        let modules = std::fs::read_dir(root.join("lib/modules")).map_err(Error::about("lib/modules"))?;
        let version =
            modules.flatten().next().ok_or_else(|| Error::new("the kernel has no modules"))?.file_name();
        Ok(Kernel { root, version: version.to_string_lossy().into_owned() })
    }

    /// The kernel's image.
    #[must_use]
    pub fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// Files of a module and of those that it depends on, in the order of loading.
    ///
    /// # Errors
    /// If the kernel has no such module.
    pub fn module(&self, name: &str) -> Result<Vec<PathBuf>, Error> {
        let steps = run(
            "modprobe",
            &[
                "-d".as_ref(),
                self.root.as_os_str(),
                "-S".as_ref(),
                self.version.as_ref(),
                "--show-depends".as_ref(),
                name.as_ref(),
            ],
        )?;
        let files = steps.lines().filter_map(|line| line.strip_prefix("insmod "));
        Ok(files.map(|path| PathBuf::from(path.trim())).collect())
    }
}

/// Fetches the newest kernel into a folder.
fn unpack(folder: &Path) -> Result<(), Error> {
    let depends = run("apt-cache", &["depends", PACKAGE])?;
    let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let version =
        name.ok_or_else(|| Error::new(format!("apt knows no kernel for {PACKAGE}; run apt-get update")))?;
    package::unpack(&[&format!("linux-image-{version}")], folder)?;
    run("depmod", &["-b".as_ref(), folder.as_os_str(), version.as_ref()])?;
    Ok(())
}
