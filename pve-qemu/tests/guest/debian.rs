// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk with Debian and cloud-init, as a template for linked clones.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};

use micro_vm::{Error, cache, run};

/// What is installed beside the essential packages.
const PACKAGES: &str = "linux-image-amd64,cloud-init,cloud-guest-utils,systemd-sysv,udev,dbus,openssh-server,sudo,\
    iproute2,ifupdown,resolvconf,qemu-guest-agent,netbase,ca-certificates,e2fsprogs,zstd,locales";
/// Run for the finished tree, `$1`. Without the locale cloud-init's module of that name fails.
const CUSTOMISE: &str = "set -e; rm -f \"$1/etc/resolv.conf\"; ln -s ../run/resolvconf/resolv.conf \"$1/etc/resolv.conf\"; \
    echo 'en_US.UTF-8 UTF-8' > \"$1/etc/locale.gen\"; chroot \"$1\" locale-gen > /dev/null; \
    echo 'LABEL=root / ext4 errors=remount-ro 0 1' > \"$1/etc/fstab\"; rm -rf \"$1\"/var/lib/apt/lists/*";
/// What the boot loader does.
const BOOT: &str = "set root=(hd0,msdos1)\nlinux /vmlinuz root=LABEL=root ro console=ttyS0,115200n8\n\
    initrd /initrd.img\nboot\n";
/// Size of the root file system, in bytes.
const ROOT_SIZE: u64 = 2000 << 20;
/// Where it begins on the disk; the boot loader lies before.
const ROOT_START: u64 = 1 << 20;
const SECTOR: u64 = 512;

/// Programs that building the disk needs.
pub(crate) const PROGRAMS: [&str; 4] = ["mmdebstrap", "mke2fs", "grub-mkimage", "qemu-img"];

/// The disk, a qcow2 file that must not be changed. Building it takes some minutes, once: it is kept until the
/// recipe changes.
///
/// # Errors
/// What went wrong.
pub(crate) fn disk() -> Result<PathBuf, Error> {
    let recipe = [PACKAGES, CUSTOMISE, BOOT].concat();
    let digest = Sha1::digest(recipe.as_bytes());
    let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let disk = cache()?.join(format!("debian-12-{name}.qcow2"));
    if !disk.exists() {
        let folder = tempfile::tempdir_in(cache()?).map_err(|error| Error::new(error.to_string()))?;
        let built = build(folder.path())?;
        std::fs::rename(built, &disk).map_err(|error| Error::new(error.to_string()))?;
    }
    Ok(disk)
}

fn build(folder: &Path) -> Result<PathBuf, Error> {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let (tree, root, raw, disk) = (
        text(folder.join("tree")),
        text(folder.join("root")),
        text(folder.join("raw")),
        text(folder.join("disk")),
    );
    let include = format!("--include={PACKAGES}");
    let customise = format!("--customize-hook={CUSTOMISE}");
    run(
        "mmdebstrap",
        &["--quiet", "--variant=minbase", "--mode=root", &include, &customise, "bookworm", &tree],
    )?;
    let blocks = format!("{}k", ROOT_SIZE >> 10);
    run("mke2fs", &["-q", "-t", "ext4", "-L", "root", "-d", &tree, "-E", "root_owner=0:0", &root, &blocks])?;
    let (config, core) = (text(folder.join("grub.cfg")), text(folder.join("core")));
    std::fs::write(&config, BOOT).map_err(|error| Error::new(error.to_string()))?;
    let modules = ["biosdisk", "part_msdos", "ext2", "linux", "normal"];
    let target = ["-O", "i386-pc", "-p", "(hd0,msdos1)/boot/grub", "-c", &config, "-o", &core];
    run("grub-mkimage", &[&target[..], &modules[..]].concat())?;
    join(&raw, &core).map_err(|error| Error::new(format!("{raw}: {error}")))?;
    // the file system is sparse, and stays so
    let seek = format!("seek={}", ROOT_START >> 20);
    run(
        "dd",
        &[&format!("if={root}"), &format!("of={raw}"), "bs=1M", &seek, "conv=notrunc,sparse", "status=none"],
    )?;
    run("qemu-img", &["convert", "-O", "qcow2", &raw, &disk])?;
    Ok(disk.into())
}

/// Lays out the disk: boot sector with the partition table, boot loader, room for the file system. The boot sector
/// loads what lies in the sectors behind it, so nothing needs to be patched.
fn join(raw: &str, core: &str) -> std::io::Result<()> {
    let mut sector = std::fs::read("/usr/lib/grub/i386-pc/boot.img")?;
    let mut entry = vec![0x80, 0xfe, 0xff, 0xff, 0x83, 0xfe, 0xff, 0xff];
    for number in [ROOT_START / SECTOR, ROOT_SIZE / SECTOR] {
        entry.extend(u32::try_from(number).unwrap().to_le_bytes());
    }
    sector.resize(SECTOR as usize, 0);
    // code for floppy disks stands where the table belongs
    sector[446..510].fill(0);
    sector[446..462].copy_from_slice(&entry);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    let loader = std::fs::read(core)?;
    assert!(loader.len() as u64 + SECTOR <= ROOT_START, "the boot loader does not fit before the partition");
    let mut disk = File::create(raw)?;
    disk.write_all(&sector)?;
    disk.write_all(&loader)?;
    disk.seek(SeekFrom::Start(0))?;
    disk.set_len(ROOT_START + ROOT_SIZE)
}
