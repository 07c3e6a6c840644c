// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volumes that a guest's configuration names, and what it names them for.

use bstr::{BStr, ByteSlice};
use pve_volid::VolumeIdRef;
use serde::Serialize;

use super::drive::is_cloudinit_volume;
use super::line::{LineKind, Lines};
use super::section::Section;
use super::{Config, Guest, GuestKind, SectionId};
use crate::container::{MountPoint, VolumeKey};
use crate::format::split_list;
use crate::vm::{Bus, Drive, DriveId};

/// What a volume is named for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VolumeRole {
    /// A disk of a virtual machine.
    Disk,
    /// The medium in a CD-ROM drive.
    Cdrom,
    /// Generated cloud-init data.
    CloudInit,
    /// EFI variables.
    Efi,
    /// State of a TPM.
    Tpm,
    /// Saved state of a running virtual machine.
    State,
    /// A file that replaces generated cloud-init data.
    CustomCloudInit,
    /// Copy of overwritten blocks during a backup.
    Fleecing,
    /// Root disk of a container.
    RootDisk,
    /// Another file system of a container.
    MountPoint,
    /// Detached, but kept.
    Unused,
    /// A script that runs when the guest starts and stops.
    Hookscript,
}

impl VolumeRole {
    /// The role in kebab case, as in JSON: `mount-point`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            VolumeRole::Disk => "disk",
            VolumeRole::Cdrom => "cdrom",
            VolumeRole::CloudInit => "cloud-init",
            VolumeRole::Efi => "efi",
            VolumeRole::Tpm => "tpm",
            VolumeRole::State => "state",
            VolumeRole::CustomCloudInit => "custom-cloud-init",
            VolumeRole::Fleecing => "fleecing",
            VolumeRole::RootDisk => "root-disk",
            VolumeRole::MountPoint => "mount-point",
            VolumeRole::Unused => "unused",
            VolumeRole::Hookscript => "hookscript",
        }
    }

    /// Whether the volume holds data of the guest itself, as opposed to media and scripts that guests share.
    #[must_use]
    pub const fn is_guest_data(self) -> bool {
        !matches!(self, VolumeRole::Cdrom | VolumeRole::CustomCloudInit | VolumeRole::Hookscript)
    }
}

/// One place in a configuration that names a volume or a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeReference<'c> {
    /// The section.
    pub section: SectionId<'c>,
    /// The option.
    pub key: &'c BStr,
    /// What the volume is for.
    pub role: VolumeRole,
    /// The volume id, or the absolute path of a device, file or directory of the host.
    pub volume: &'c BStr,
    /// The size that the configuration gives, in bytes.
    pub size: Option<u64>,
    /// The line of the file, counted from 1, if the option came from one.
    pub line: Option<usize>,
    /// Whether the reference sees the reference: it passes over drives and mount points whose value contradicts itself,
    /// and so takes their volumes for unused.
    pub seen: bool,
}

impl<'c> VolumeReference<'c> {
    /// The volume id; `None` if the volume is a path, or no volume id by its form.
    #[must_use]
    pub fn volid(&self) -> Option<VolumeIdRef<'c>> {
        VolumeIdRef::from_bytes(self.volume).ok()
    }

    /// Whether the volume is an absolute path of the host.
    #[must_use]
    pub fn is_path(&self) -> bool {
        self.volume.starts_with(b"/")
    }
}

impl<G: Guest> Config<'_, G> {
    /// Every volume and path that the configuration names, in all sections: main, pending, special, snapshots. Empty
    /// CD-ROM drives and those of the host (`none`, `cdrom`) name none.
    ///
    /// ```
    /// use pve_config::guest::{SectionId, VmConfig, VolumeRole};
    ///
    /// let text = b"ide2: none,media=cdrom\nscsi0: local-lvm:vm-100-disk-0,size=8G\n\n[before]\nvmstate: local-lvm:vm-100-state-before\n";
    /// let (config, _) = VmConfig::parse(text);
    /// let references = config.volume_references();
    /// assert_eq!(references.len(), 2);
    /// assert_eq!((references[0].role, references[0].size), (VolumeRole::Disk, Some(8 << 30)));
    /// assert_eq!(references[1].section, SectionId::snapshot("before"));
    /// assert_eq!(references[1].volid().unwrap().volname(), "vm-100-state-before");
    /// ```
    #[must_use]
    pub fn volume_references(&self) -> Vec<VolumeReference<'_>> {
        let mut found = Vec::new();
        for (id, section) in self.sections() {
            section.volume_references(id, &mut found);
        }
        found
    }
}

impl<G: Guest> Section<'_, G> {
    fn volume_references<'s>(&'s self, section: SectionId<'s>, found: &mut Vec<VolumeReference<'s>>) {
        if matches!(section, SectionId::Special(name) if name != "fleecing") {
            return;
        }
        for entry in self.entries() {
            let (key, value): (&BStr, &BStr) = (&entry.key, &entry.value);
            let Some(holder) = Holder::of_key(G::KIND, key) else { continue };
            let line = Some(entry.origin.line).filter(|line| *line > 0);
            let mut add = |role, volume: &'s BStr, size, seen| {
                if !is_no_volume(volume) {
                    found.push(VolumeReference { section, key, role, volume, size, line, seen });
                }
            };
            match holder {
                Holder::Drive(role) => match DriveId::from_key(key).map(|id| (id, Drive::read(id, value))) {
                    Some((id, Ok(drive))) => {
                        add(role_of_drive(id, role, &drive), drive.file, drive.size, true);
                    }
                    _ => first_part(value).into_iter().for_each(|volume| add(role, volume, None, false)),
                },
                Holder::Mount(role) => match VolumeKey::from_key(key).map(|key| MountPoint::read(key, value))
                {
                    Some(Ok(mount)) => add(role, mount.volume, mount.size, true),
                    _ => first_part(value).into_iter().for_each(|volume| add(role, volume, None, false)),
                },
                Holder::Plain(..) | Holder::List(_) | Holder::Parts(_) => {
                    holder.volumes(value, |role, volume| add(role, volume, None, true));
                }
            }
        }
    }
}

/// A volume that some line of a text names, whether the reference reads that line or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VolumeMention<'a> {
    /// The line, counted from 1.
    pub line: usize,
    /// The key of the line.
    pub key: &'a BStr,
    /// What the volume is for, as far as the key tells.
    pub role: VolumeRole,
    /// The volume id or path.
    pub volume: &'a BStr,
}

/// Every volume that the lines of a text name: also in lines that the reference drops because of a mistake, in skipped
/// sections, and in those that a repeated header or key hides.
///
/// Whoever removes volumes that no configuration refers to should look here too. A disk in a mistyped line is lost to
/// the reference, but hardly to its owner.
///
/// ```
/// use pve_config::guest::{GuestKind, VmConfig, volume_mentions};
///
/// let text = b"scsi0: local-lvm:vm-100-disk-0,discrd=on\n";
/// assert!(VmConfig::parse(text).0.volume_references().is_empty());
/// let mention = volume_mentions(GuestKind::Qemu, text).next().unwrap();
/// assert_eq!((mention.line, mention.volume), (1, "local-lvm:vm-100-disk-0".into()));
/// ```
pub fn volume_mentions(kind: GuestKind, text: &[u8]) -> impl Iterator<Item = VolumeMention<'_>> {
    let lines = Lines::never_skipping(kind, text).filter(|line| line.kind == LineKind::Option);
    lines.flat_map(move |line| {
        let mut found = Vec::new();
        if let Some(holder) = Holder::of_key(kind, line.key) {
            holder.volumes(line.value, |role, volume| {
                if !is_no_volume(volume) {
                    found.push(VolumeMention { line: line.number, key: line.key, role, volume });
                }
            });
        }
        found
    })
}

/// How the value of an option names volumes.
#[derive(Debug, Clone, Copy)]
enum Holder {
    /// A property string whose default key is the volume of a drive.
    Drive(VolumeRole),
    /// The same of a container.
    Mount(VolumeRole),
    /// The whole value.
    Plain(VolumeRole),
    /// A list.
    List(VolumeRole),
    /// The value of every key of a property string.
    Parts(VolumeRole),
}

impl Holder {
    /// Judges by the name without its number, so that numbers out of range are included.
    fn of_key(kind: GuestKind, key: &[u8]) -> Option<Self> {
        let digits = key.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
        let name = key.get(..key.len() - digits)?;
        Some(match (kind, name) {
            (_, b"hookscript") => Holder::Plain(VolumeRole::Hookscript),
            (GuestKind::Qemu, b"ide" | b"scsi" | b"virtio" | b"sata" | b"cdrom") => {
                Holder::Drive(VolumeRole::Disk)
            }
            (GuestKind::Qemu, b"efidisk") => Holder::Drive(VolumeRole::Efi),
            (GuestKind::Qemu, b"tpmstate") => Holder::Drive(VolumeRole::Tpm),
            (GuestKind::Qemu, b"unused") => Holder::Drive(VolumeRole::Unused),
            (GuestKind::Qemu, b"vmstate") => Holder::Plain(VolumeRole::State),
            (GuestKind::Qemu, b"cicustom") => Holder::Parts(VolumeRole::CustomCloudInit),
            (GuestKind::Qemu, b"fleecing-images") => Holder::List(VolumeRole::Fleecing),
            (GuestKind::Lxc, b"rootfs") => Holder::Mount(VolumeRole::RootDisk),
            (GuestKind::Lxc, b"mp") => Holder::Mount(VolumeRole::MountPoint),
            (GuestKind::Lxc, b"unused") => Holder::Mount(VolumeRole::Unused),
            _ => return None,
        })
    }

    /// The volumes in a value, as far as they can be made out without checking it.
    fn volumes<'v>(self, value: &'v [u8], mut found: impl FnMut(VolumeRole, &'v BStr)) {
        match self {
            Holder::Drive(role) | Holder::Mount(role) => {
                first_part(value).into_iter().for_each(|volume| found(role, volume));
            }
            Holder::Plain(role) => found(role, value.as_bstr()),
            Holder::List(role) => split_list(value).for_each(|volume| found(role, volume.as_bstr())),
            Holder::Parts(role) => {
                let parts = value.split(|byte| *byte == b',').filter_map(|part| part.split_once_str("="));
                parts.for_each(|(_, volume)| found(role, volume.as_bstr()));
            }
        }
    }
}

/// The volume in a property string: what stands without a key, or behind `file=` or `volume=`.
fn first_part(value: &[u8]) -> Option<&BStr> {
    let mut parts = value.split(|byte| *byte == b',');
    let volume = parts.find_map(|part| match part.split_once_str("=") {
        None => Some(part).filter(|part| !super::line::trimmed(part).is_empty()),
        Some((key, volume)) => Some(volume).filter(|_| matches!(key, b"file" | b"volume")),
    });
    volume.map(BStr::new)
}

/// Whether a drive's file stands for no medium or for the drive of the host.
fn is_no_volume(file: &[u8]) -> bool {
    matches!(file, b"none" | b"cdrom" | b"")
}

fn role_of_drive(id: DriveId, role: VolumeRole, drive: &Drive<'_>) -> VolumeRole {
    match id.bus {
        Bus::Unused => role,
        _ if is_cloudinit_volume(drive.file) => VolumeRole::CloudInit,
        _ if drive.is_cdrom() => VolumeRole::Cdrom,
        _ => role,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{LxcConfig, VmConfig};

    fn shown(references: &[VolumeReference<'_>]) -> Vec<String> {
        let show = |found: &VolumeReference<'_>| {
            let seen = if found.seen { "" } else { " (unseen)" };
            format!("{} {} {} {}{seen}", found.section, found.key, found.role.as_str(), found.volume)
        };
        references.iter().map(show).collect()
    }

    #[test]
    fn of_virtual_machines() {
        let text = b"cicustom: user=local:snippets/u.yml,meta=local:snippets/m.yml\nhookscript: local:snippets/h.pl\n\
            ide0: cdrom\nide2: local:iso/a.iso,media=cdrom\nsata0: local:vm-1-cloudinit,media=cdrom\n\
            scsi0: local:a,size=1G\nscsi1: local:b,mbps=1,mbps_rd=2\nscsi2: /dev/sda\ntpmstate0: local:t\n\
            unused3: local:u\n[PENDING]\nefidisk0: local:e\n[special:fleecing]\nfleecing-images: local:f,local:g\n\
            [special:cloudinit]\ncicustom: user=local:snippets/old.yml\n[s1]\nvmstate: local:s\n";
        let (config, _) = VmConfig::parse(text);
        assert_eq!(
            shown(&config.volume_references()),
            [
                "main section cicustom custom-cloud-init local:snippets/u.yml",
                "main section cicustom custom-cloud-init local:snippets/m.yml",
                "main section hookscript hookscript local:snippets/h.pl",
                "main section ide2 cdrom local:iso/a.iso",
                "main section sata0 cloud-init local:vm-1-cloudinit",
                "main section scsi0 disk local:a",
                "main section scsi1 disk local:b (unseen)",
                "main section scsi2 disk /dev/sda",
                "main section tpmstate0 tpm local:t",
                "main section unused3 unused local:u",
                "pending section efidisk0 efi local:e",
                "special section \"fleecing\" fleecing-images fleecing local:f",
                "special section \"fleecing\" fleecing-images fleecing local:g",
                "snapshot \"s1\" vmstate state local:s",
            ]
        );
        let references = config.volume_references();
        assert_eq!((references[7].is_path(), references[7].volid()), (true, None));
        assert_eq!((references[5].size, references[5].line), (Some(1 << 30), Some(6)));
    }

    #[test]
    fn of_containers() {
        let text = b"mp0: /srv,mp=/srv\nmp1: local:b,size=1G\nrootfs: local:a,size=4G\nunused0: local:u\n[sn]\nrootfs: local:a\n";
        let (config, _) = LxcConfig::parse(text);
        assert_eq!(
            shown(&config.volume_references()),
            [
                "main section mp0 mount-point /srv",
                "main section mp1 mount-point local:b (unseen)",
                "main section rootfs root-disk local:a",
                "main section unused0 unused local:u",
                "snapshot \"sn\" rootfs root-disk local:a",
            ]
        );
    }

    #[test]
    fn mentions_in_lines_that_the_reference_drops() {
        let text = b"scsi0: local:a\nscsi0: file=local:b,x=1\nscsi99: local:c\n[no name]\nvirtio0: local:d\n#scsi1: local:e\n";
        let found: Vec<_> =
            volume_mentions(GuestKind::Qemu, text).map(|found| (found.line, found.volume)).collect();
        let expected = [(1, "local:a"), (2, "local:b"), (3, "local:c"), (5, "local:d")];
        assert_eq!(found, expected.map(|(line, volume)| (line, BStr::new(volume))));
        let (config, _) = VmConfig::parse(text);
        assert_eq!(shown(&config.volume_references()), ["main section scsi0 disk local:a"]);
    }
}
