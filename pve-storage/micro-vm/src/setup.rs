// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a machine shall have: modules, programs with their libraries, files, disks.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::archive::Archive;
use crate::error::Error;
use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::package::Packages;
use crate::running::{self, MicroVm};
use crate::tool::{cache, find};

/// Programs of this machine that it takes to boot a micro-VM.
pub const PROGRAMS: [&str; 7] =
    ["qemu-system-x86_64", "apt-get", "dpkg-deb", "depmod", "modprobe", "busybox", "ldd"];

/// What runs first: everything that a program may expect of a system, as far as a test needs it.
const FIRST: &str = "#!/bin/busybox sh
/bin/busybox --install -s /bin 2> /dev/null
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C HOME=/root MICRO_VM=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t tmpfs tmp /tmp
stty -echo -opost < /dev/console
ip link set lo up
";

/// What a machine shall have. Mistakes (a program that does not exist) come to light when it boots.
#[derive(Debug, Default)]
pub struct Setup {
    memory: Option<u32>,
    modules: Vec<String>,
    /// Where they are here (or a name to look for), and where they shall be there.
    programs: Vec<(PathBuf, Option<String>)>,
    packages: Vec<PathBuf>,
    links: Vec<(String, String)>,
    files: Vec<(String, u32, Vec<u8>)>,
    disks: Vec<Disk>,
    script: String,
    this_program: bool,
}

/// A disk of the machine.
#[derive(Debug)]
enum Disk {
    /// An empty one of this many bytes.
    Empty(u64),
    /// What a raw image holds; it cannot be written.
    ReadOnly(PathBuf),
}

impl Setup {
    /// A machine with a shell and nothing else. It is a small one: 512 MiB.
    #[must_use]
    pub fn new() -> Self {
        Setup::default()
    }

    /// Memory in MiB, in place of 512.
    #[must_use]
    pub fn memory(mut self, mebibytes: u32) -> Self {
        self.memory = Some(mebibytes);
        self
    }

    /// Loads kernel modules, and those that they depend on.
    #[must_use]
    pub fn modules(mut self, names: &[&str]) -> Self {
        self.modules.extend(names.iter().map(|name| (*name).to_owned()));
        self
    }

    /// Brings a program of this machine along, with its shared libraries, at the same path. One without a path is
    /// looked for.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.programs.push((program.into(), None));
        self
    }

    /// The same, at another path.
    #[must_use]
    pub fn program_at(mut self, program: impl Into<PathBuf>, path: &str) -> Self {
        self.programs.push((program.into(), Some(path.to_owned())));
        self
    }

    /// Brings packages along, without what is for people to read, and the shared libraries that their programs need.
    #[must_use]
    pub fn packages(mut self, packages: &Packages) -> Self {
        self.packages.push(packages.root().to_owned());
        self
    }

    /// Brings the running program along, so that [`MicroVm::test`] can run its test functions.
    #[must_use]
    pub fn this_program(mut self) -> Self {
        self.this_program = true;
        self
    }

    /// Makes a symbolic link.
    #[must_use]
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.links.push((path.to_owned(), target.to_owned()));
        self
    }

    /// Makes a file. A `mode` of `0o755` makes it a program.
    #[must_use]
    pub fn file(mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.to_owned(), mode, content.into()));
        self
    }

    /// Adds an empty disk of this many bytes. The first is `/dev/vda`, the next `/dev/vdb`.
    #[must_use]
    pub fn disk(mut self, size: u64) -> Self {
        self.disks.push(Disk::Empty(size));
        self
    }

    /// Adds a disk with the content of a raw image, which cannot be written.
    #[must_use]
    pub fn image(mut self, file: impl Into<PathBuf>) -> Self {
        self.disks.push(Disk::ReadOnly(file.into()));
        self
    }

    /// Runs a shell script before the machine counts as up; its failure fails [`Setup::boot`].
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.script.push_str(script);
        self.script.push('\n');
        self
    }

    /// Boots the machine and waits until it is up.
    ///
    /// # Errors
    /// What is missing, or what the machine said instead of coming up.
    pub fn boot(self) -> Result<MicroVm, Error> {
        let kernel = Kernel::fetch()?;
        let cache = cache()?;
        let folder = tempfile::tempdir_in(&cache).map_err(Error::about(cache.display()))?;
        let path = |name: String| folder.path().join(name).display().to_string();
        let initial = path("initial".to_owned());
        std::fs::write(&initial, self.initial_file_system(&kernel)?).map_err(Error::about(&initial))?;

        let (image, memory) = (kernel.image().display().to_string(), self.memory.unwrap_or(512).to_string());
        let mut drives = Vec::new();
        for (number, disk) in self.disks.iter().enumerate() {
            drives.push(match disk {
                Disk::Empty(size) => {
                    let file = path(format!("disk{number}"));
                    let made = std::fs::File::create(&file).and_then(|made| made.set_len(*size));
                    made.map_err(Error::about(&file))?;
                    format!("file={file},format=raw,if=virtio,cache=unsafe,discard=unmap")
                }
                Disk::ReadOnly(file) => format!("file={},format=raw,if=virtio,readonly=on", file.display()),
            });
        }
        let mut options = vec![
            ["-machine", "pc"],
            // no vector instructions, which libraries would choose and which are slow to emulate
            ["-cpu", "qemu64"],
            ["-smp", "1"],
            ["-m", &memory],
            ["-kernel", &image],
            ["-initrd", &initial],
            ["-append", "console=ttyS0 quiet loglevel=1 panic=-1"],
        ];
        options.extend(drives.iter().map(|drive| ["-drive", drive.as_str()]));
        running::come_up(Machine::start(&options)?, folder)
    }

    /// Writes the initial file system to `folder`, for a machine that somebody else starts; returns the kernel and it.
    ///
    /// Its console must be its first serial port (`console=ttyS0`); [`Console`](crate::Console) talks with it.
    ///
    /// # Errors
    /// What is missing.
    pub fn write_to(&self, folder: &Path) -> Result<(PathBuf, PathBuf), Error> {
        let kernel = Kernel::fetch()?;
        let initial = folder.join("initial");
        std::fs::write(&initial, self.initial_file_system(&kernel)?)
            .map_err(Error::about(initial.display()))?;
        Ok((kernel.image(), initial))
    }

    fn initial_file_system(&self, kernel: &Kernel) -> Result<Vec<u8>, Error> {
        let mut archive = Archive::default();
        for folder in ["dev", "proc", "sys", "run", "tmp", "mnt", "root", "var"] {
            archive.directory(folder)?;
        }
        archive.link("var/run", "/run")?;
        archive.link("var/lock", "/run/lock")?;
        archive.link("var/tmp", "/tmp")?;
        let busybox = find(Path::new("busybox")).ok_or_else(|| Error::new("busybox is not installed"))?;
        archive.file("bin/busybox", 0o755, &read(&busybox)?)?;
        let mut init = String::from(FIRST);
        for module in ["virtio_pci", "virtio_blk"].into_iter().chain(self.modules.iter().map(String::as_str))
        {
            for file in kernel.module(module)? {
                let name = file.file_name().unwrap_or_default().to_string_lossy();
                let path = format!("/modules/{name}");
                if !archive.contains(&path) {
                    archive.file(&path, 0o644, &read(&file)?)?;
                    init.push_str(&format!("insmod {path}\n"));
                }
            }
        }
        for (path, mode, content) in &self.files {
            archive.file(path, *mode, content)?;
        }
        for (program, path) in &self.programs {
            let file =
                find(program).ok_or_else(|| Error::new(format!("{} is not installed", program.display())))?;
            let path = path.clone().unwrap_or_else(|| file.display().to_string());
            add_program(&mut archive, &file, &path)?;
        }
        if self.this_program {
            let path = std::env::current_exe().map_err(Error::about("the running program"))?;
            add_program(&mut archive, &path, running::THIS_PROGRAM)?;
        }
        for root in &self.packages {
            add_tree(&mut archive, root, root)?;
        }
        for (path, target) in &self.links {
            archive.link(path, target)?;
        }
        archive.file("setup", 0o755, format!("set -e\n{}", self.script).as_bytes())?;
        init.push_str(running::LAST);
        archive.file("init", 0o755, init.as_bytes())?;
        archive.finish()
    }
}

/// Adds a program with the shared libraries that it names.
fn add_program(archive: &mut Archive, program: &Path, path: &str) -> Result<(), Error> {
    archive.file(path, 0o755, &read(program)?)?;
    add_libraries(archive, program, None)
}

/// Adds the shared libraries that a program names. What is found below `root` is there in its own right.
fn add_libraries(archive: &mut Archive, program: &Path, root: Option<&Path>) -> Result<(), Error> {
    let mut ldd = std::process::Command::new("ldd");
    ldd.arg(program);
    if let Some(root) = root {
        let folders = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/ceph"];
        let folders = std::env::join_paths(folders.map(|folder| root.join(folder)));
        ldd.env("LD_LIBRARY_PATH", folders.map_err(|error| Error::new(error.to_string()))?);
    }
    // a static program is no error: `ldd` then says so and fails
    let output = ldd.output().map_err(Error::about("cannot run ldd"))?;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        // `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, and the loader `/lib64/ld-linux-x86-64.so.2 (0x…)`
        let file = line.split_once("=>").map_or(line, |(_, file)| file);
        match file.split_whitespace().next().filter(|file| file.starts_with('/')).map(Path::new) {
            Some(file) if root.is_some_and(|root| file.starts_with(root)) => {}
            Some(file) => archive.file(&file.display().to_string(), 0o755, &read(file)?)?,
            // of a package, only some programs may be wanted: those that lack something say so when they run
            None if root.is_none() && line.contains("not found") => {
                return Err(Error::new(format!("{}: {}", program.display(), line.trim())));
            }
            None => {}
        }
    }
    Ok(())
}

/// Adds what lies in a folder that stands for `root`.
fn add_tree(archive: &mut Archive, root: &Path, folder: &Path) -> Result<(), Error> {
    let entries = std::fs::read_dir(folder).map_err(Error::about(folder.display()))?;
    for entry in entries {
        let entry = entry.map_err(Error::about(folder.display()))?;
        let (file, kind) = (entry.path(), entry.file_type().map_err(Error::about(folder.display()))?);
        let below = file.strip_prefix(root).unwrap_or(&file);
        let path = below.display().to_string();
        if ["usr/share/doc", "usr/share/man", "usr/share/locale", "lib/systemd/system"]
            .contains(&path.as_str())
        {
            continue;
        }
        if kind.is_dir() {
            archive.directory(&path)?;
            add_tree(archive, root, &file)?;
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&file).map_err(Error::about(file.display()))?;
            archive.link(&path, &target.display().to_string())?;
        } else {
            let content = read(&file)?;
            let mode = entry.metadata().map_err(Error::about(file.display()))?.permissions().mode();
            if content.starts_with(b"\x7fELF") {
                add_libraries(archive, &file, Some(root))?;
            }
            archive.file(&path, mode & 0o7777, &content)?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(file).map_err(Error::about(file.display()))
}
