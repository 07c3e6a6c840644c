// SPDX-License-Identifier: MIT OR Apache-2.0
//! Debian packages, fetched and unpacked; they are never installed.

use std::fs::File;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};

use crate::error::Error;
use crate::tool::{cache, run, run_in};

/// Packages that were unpacked into one tree, for a machine to have.
#[derive(Debug, Clone)]
pub struct Packages {
    root: PathBuf,
}

impl Packages {
    /// The packages `names`, kept under the name `label`; fetched with apt if they are not there. Packages that they
    /// depend on are not fetched: programs get the libraries that they need from this machine, or else the package
    /// has to be named.
    ///
    /// # Errors
    /// Why there is no such package to be had.
    pub fn fetch(label: &str, names: &[&str]) -> Result<Packages, Error> {
        // another list is another tree
        let label = names.iter().fold(label.to_owned(), |label, name| format!("{label}+{name}"));
        let mut name: Vec<u8> = label.bytes().take(200).collect();
        name.retain(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte));
        let root = kept(&String::from_utf8_lossy(&name), |folder| unpack(names, folder))?;
        Ok(Packages { root })
    }

    /// The folder that stands for `/`.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// A folder of the cache; filled first if it is not there.
pub(crate) fn kept(name: &str, fill: impl FnOnce(&Path) -> Result<(), Error>) -> Result<PathBuf, Error> {
    let cache = cache()?;
    // whoever comes second waits instead of doing it again
    let lock = File::create(cache.join("lock")).map_err(Error::about("lock of the cache"))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| Error::new(format!("lock of the cache: {errno}")))?;
    let root = cache.join(name);
    if !root.exists() {
        let folder = tempfile::tempdir_in(&cache).map_err(Error::about(cache.display()))?;
        let filled = folder.path().join("filled");
        std::fs::create_dir(&filled).map_err(Error::about(filled.display()))?;
        fill(&filled)?;
        std::fs::rename(filled, &root).map_err(Error::about(root.display()))?;
    }
    Ok(root)
}

/// Fetches packages and unpacks them into a folder.
pub(crate) fn unpack(names: &[&str], folder: &Path) -> Result<(), Error> {
    let archives = tempfile::tempdir_in(cache()?).map_err(Error::about("folder for packages"))?;
    run_in(archives.path(), "apt-get", &[&["-q", "download"], names].concat())?;
    let entries = std::fs::read_dir(archives.path()).map_err(Error::about(archives.path().display()))?;
    for entry in entries.flatten() {
        run("dpkg-deb", &["-x".as_ref(), entry.path().as_os_str(), folder.as_os_str()])?;
    }
    Ok(())
}
