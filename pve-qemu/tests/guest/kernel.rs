// SPDX-License-Identifier: MIT OR Apache-2.0
//! The smallest guest: Debian's kernel with an initial file system of our own, up in seconds.

use std::path::{Path, PathBuf};

use crate::tool::{cache, run, run_in};

/// Name of Debian's package that depends on its newest kernel for virtual machines.
const PACKAGE: &str = "linux-image-cloud-amd64";

/// A kernel with its modules, unpacked.
pub(crate) struct Kernel {
    /// The folder that it was unpacked to.
    root: PathBuf,
    version: String,
}

impl Kernel {
    /// The kernel of the cache; fetched with apt if there is none.
    ///
    /// # Errors
    /// Why there is no kernel to be had.
    pub(crate) fn fetch() -> Result<Kernel, String> {
        let root = cache().join("kernel");
        if !root.exists() {
            let folder = tempfile::tempdir_in(cache()).map_err(|error| error.to_string())?;
            let depends = run("apt-cache", &["depends", PACKAGE])?;
            let name = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
            let version =
                name.ok_or_else(|| format!("apt knows no kernel for {PACKAGE}; run apt-get update"))?;
            run_in(folder.path(), "apt-get", &["-q", "download", &format!("linux-image-{version}")])?;
            let unpacked = folder.path().join("unpacked");
            for entry in std::fs::read_dir(folder.path()).map_err(|error| error.to_string())?.flatten() {
                if entry.path().extension().is_some_and(|extension| extension == "deb") {
                    run("dpkg-deb", &["-x".as_ref(), entry.path().as_os_str(), unpacked.as_os_str()])?;
                }
            }
            run("depmod", &["-b".as_ref(), unpacked.as_os_str(), version.as_ref()])?;
            std::fs::rename(unpacked, &root).map_err(|error| error.to_string())?;
        }
        let modules = std::fs::read_dir(root.join("lib/modules")).map_err(|error| error.to_string())?;
        let version = modules.flatten().next().ok_or("the kernel has no modules")?.file_name();
        Ok(Kernel { root, version: version.to_string_lossy().into_owned() })
    }

    /// The kernel's image.
    pub(crate) fn image(&self) -> PathBuf {
        self.root.join(format!("boot/vmlinuz-{}", self.version))
    }

    /// An initial file system with a shell, the modules (with those they depend on), and `script` to run once they
    /// are loaded. The machine ends when the script does.
    ///
    /// # Errors
    /// What is missing.
    pub(crate) fn initial_file_system(&self, modules: &[&str], script: &str) -> Result<Vec<u8>, String> {
        let mut archive = Archive::default();
        for folder in ["bin", "dev", "proc", "sys", "mnt", "modules"] {
            archive.add(folder, 0o040_755, b"");
        }
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        let busybox = busybox.ok_or("busybox is not installed")?;
        archive.add("bin/busybox", 0o100_755, &std::fs::read(busybox).map_err(|error| error.to_string())?);
        let mut init = String::from(
            "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/bin\nmount -t proc proc /proc\n\
             mount -t sysfs sysfs /sys\nmount -t devtmpfs dev /dev\n",
        );
        let mut loaded = Vec::new();
        for module in modules {
            let steps = run(
                "modprobe",
                &[
                    "-d".as_ref(),
                    self.root.as_os_str(),
                    "-S".as_ref(),
                    self.version.as_ref(),
                    "--show-depends".as_ref(),
                    module.as_ref(),
                ],
            )?;
            for path in steps.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim) {
                let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
                if !loaded.contains(&name) {
                    let content = std::fs::read(path).map_err(|error| format!("{path}: {error}"))?;
                    archive.add(&format!("modules/{name}"), 0o100_644, &content);
                    init.push_str(&format!("insmod /modules/{name}\n"));
                    loaded.push(name);
                }
            }
        }
        init.push_str(script);
        init.push_str("\nsync\npoweroff -f\n");
        archive.add("init", 0o100_755, init.as_bytes());
        Ok(archive.finish())
    }
}

/// A cpio archive in the form that the kernel unpacks.
#[derive(Default)]
struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).unwrap();
        let name_size = u32::try_from(name.len() + 1).unwrap();
        // inode, mode, owner, group, links, time, size, device, special device, length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        self.bytes.extend(fields.iter().flat_map(|field| format!("{field:08x}").into_bytes()));
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.add("TRAILER!!!", 0, b"");
        self.bytes
    }
}
