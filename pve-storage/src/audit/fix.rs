// SPDX-License-Identifier: MIT OR Apache-2.0
//! The commands that put a finding right without risking data.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};
use pve_config::guest::GuestKind;
use pve_config::inventory::{Guest, Inventory};
use pve_config::storage::Storage;
use pve_volid::StorageType;

use super::Trouble;
use super::stock::{Backing, monitors};

type Words = Vec<BString>;

pub(super) struct Fixer<'a> {
    pub(super) cluster: &'a Inventory<'a>,
    pub(super) storage: &'a Storage<'a>,
    pub(super) name: &'a BString,
    /// Names that there are.
    pub(super) taken: Option<&'a HashMap<BString, Backing>>,
}

impl Fixer<'_> {
    pub(super) fn fix(&self, trouble: &Trouble) -> Vec<Words> {
        match trouble {
            // whose data it is, only people know: it becomes an unused disk of the guest they choose
            Trouble::NoGuest { .. } | Trouble::OtherNode { .. } | Trouble::SnapshotOfNothing { .. } => {
                self.adopt()
            }
            Trouble::Unreferenced { owner, .. } => vec![self.rescan(owner)],
            Trouble::Dangling { guest, key, section } | Trouble::NoStorage { guest, key, section } => {
                let guest = self.cluster.guest(*guest);
                guest.map(|guest| delete_reference(guest, key, section)).into_iter().collect()
            }
            Trouble::Mentioned { guest, .. } => {
                let vmid = guest.to_string();
                vec![words([self.tool(vmid.as_bytes()).as_bytes(), b"config", vmid.as_bytes()])]
            }
            Trouble::UnderWay { owner, .. } => {
                vec![words([self.tool(owner).as_bytes(), b"config", owner]), self.look()]
            }
            Trouble::OwnerMismatch { guest, key, exists, .. } => {
                let vmid = guest.to_string();
                let set = if *exists { None } else { self.take_over(*guest, key) };
                set.unwrap_or_else(|| {
                    vec![words([self.tool(vmid.as_bytes()).as_bytes(), b"config", vmid.as_bytes()])]
                })
            }
            // memory of a snapshot that cannot be rolled back to any more
            Trouble::StateWithoutSnapshot { .. } => {
                vec![words([&b"pvesm"[..], b"free", &self.volid()])]
            }
            // `lvremove` asks before it removes
            Trouble::AwaitsWiping { .. } => vec![words([&b"lvremove"[..], &self.on_group(self.name)])],
            Trouble::SeenTwice { .. } => vec![words([
                &b"pvesm"[..],
                b"set",
                self.storage.id().as_str().as_bytes(),
                b"--disable",
                b"1",
            ])],
            Trouble::BackupOfNoGuest { owner } => {
                vec![words([&b"pvesm"[..], b"list", self.storage.id().as_str().as_bytes(), b"--vmid", owner])]
            }
            Trouble::BaseMissing { .. }
            | Trouble::BackingMissing { .. }
            | Trouble::BaseOfClone { .. }
            | Trouble::Unreadable { .. }
            | Trouble::UnknownSnapshot { .. }
            | Trouble::Temporary { .. }
            | Trouble::Invisible(_)
            | Trouble::UnreadableBackup => vec![self.look()],
        }
    }

    fn volid(&self) -> BString {
        [self.storage.id().as_str().as_bytes(), b":", self.name.as_bytes()].concat().into()
    }

    fn tool(&self, vmid: &[u8]) -> &'static str {
        let guest = vmid.to_str().ok().and_then(|vmid| self.cluster.guest(vmid.parse().ok()?));
        match guest.map(|guest| guest.kind()) {
            Some(GuestKind::Lxc) => "pct",
            _ => "qm",
        }
    }

    fn rescan(&self, vmid: &[u8]) -> Words {
        match self.tool(vmid) {
            "pct" => words([&b"pct"[..], b"rescan", b"--vmid", vmid]),
            _ => words([&b"qm"[..], b"disk", b"rescan", b"--vmid", vmid]),
        }
    }

    /// Gives the volume to the guest `VMID`, to be filled in.
    fn adopt(&self) -> Vec<Words> {
        let file = self.name.rsplit_once_str("/").map_or(self.name.as_bytes(), |(_, file)| file);
        let prefix: &[u8] = if file.starts_with(b"subvol-") { b"subvol-" } else { b"vm-" };
        let extension = match file.rsplit_once_str(".") {
            Some((_, extension)) if self.storage.kind().is_path_based() => [b".", extension].concat(),
            _ => Vec::new(),
        };
        let new = [prefix, b"VMID-disk-0", &extension].concat();
        let rescan = match prefix {
            b"subvol-" => words([&b"pct"[..], b"rescan", b"--vmid", b"VMID"]),
            _ => words([&b"qm"[..], b"disk", b"rescan", b"--vmid", b"VMID"]),
        };
        match self.rename(b"VMID", &new) {
            Some(rename) => vec![rename, rescan],
            None => vec![self.look()],
        }
    }

    /// Renames the volume so that it belongs to the guest that uses it, and tells the guest.
    fn take_over(&self, guest: u32, key: &[u8]) -> Option<Vec<Words>> {
        let vmid = guest.to_string();
        let value = self.cluster.guest(guest)?.option(key.to_str().ok()?)?;
        let is_path = self.storage.kind().is_path_based();
        let file = self.name.rsplit_once_str("/").map_or(self.name.as_bytes(), |(_, file)| file);
        let (prefix, rest) = file.split_once_str("-")?;
        let extension = rest.rsplit_once_str(".").filter(|_| is_path).map(|(_, extension)| extension);
        let numbers = 0..=self.taken.map_or(0, HashMap::len);
        let new = numbers
            .map(|number| {
                let mut new = [prefix, format!("-{vmid}-disk-{number}").as_bytes()].concat();
                if let Some(extension) = extension {
                    new.push(b'.');
                    new.extend_from_slice(extension);
                }
                new
            })
            .find(|new| {
                let name = if is_path { [vmid.as_bytes(), b"/", new].concat() } else { new.clone() };
                let free = !self.taken.is_some_and(|taken| taken.contains_key(name.as_slice()));
                free && !self.is_named(guest, new)
            })?;
        let id = self.volid();
        let name = if is_path { [vmid.as_bytes(), b"/", &new].concat() } else { new.clone() };
        let new_id = [self.storage.id().as_str().as_bytes(), b":", &name].concat();
        if !value.contains_str(&id) {
            return None;
        }
        let option = [b"--", key].concat();
        let set = words([
            self.tool(vmid.as_bytes()).as_bytes(),
            b"set",
            vmid.as_bytes(),
            &option,
            &value.replacen(&id, &new_id, 1),
        ]);
        Some(vec![self.rename(vmid.as_bytes(), &new)?, set])
    }

    /// Whether the guest refers to something of that name, present or not.
    fn is_named(&self, guest: u32, name: &[u8]) -> bool {
        let volumes = self.cluster.guest(guest).into_iter().flat_map(|guest| &guest.volumes);
        volumes.into_iter().any(|volume| volume.target.as_bytes().ends_with(name))
    }

    fn rename(&self, vmid: &[u8], new: &[u8]) -> Option<Words> {
        Some(match self.storage.kind() {
            StorageType::Lvm | StorageType::LvmThin => {
                words([&b"lvrename"[..], self.text("vgname"), self.name, new])
            }
            StorageType::ZfsPool => {
                words([&b"zfs"[..], b"rename", &self.in_pool(self.name), &self.in_pool(new)])
            }
            StorageType::Rbd => self.rbd([&b"rename"[..], &self.in_pool(self.name), &self.in_pool(new)]),
            kind if kind.is_path_based() => {
                let name = [vmid, b"/", new].concat();
                words([&b"mv"[..], b"-n", b"--", &self.file(self.name)?, &self.file(&name)?])
            }
            _ => return None,
        })
    }

    /// Shows more about it.
    fn look(&self) -> Words {
        match self.storage.kind() {
            StorageType::Lvm | StorageType::LvmThin => {
                words([&b"lvs"[..], b"-a", b"-o", b"+lv_time,origin,lv_tags", &self.on_group(self.name)])
            }
            StorageType::ZfsPool => {
                words([&b"zfs"[..], b"get", b"used,creation,origin", &self.in_pool(self.name)])
            }
            StorageType::Rbd => self.rbd([&b"info"[..], &self.in_pool(self.name)]),
            _ => match self.file(self.name) {
                Some(file) => words([&b"ls"[..], b"-l", b"--", &file]),
                None => words([&b"pvesm"[..], b"list", self.storage.id().as_str().as_bytes()]),
            },
        }
    }

    fn text(&self, key: &str) -> &[u8] {
        self.storage.text(key).map_or(b"", |text| text.as_bytes())
    }

    fn on_group(&self, name: &[u8]) -> BString {
        [self.text("vgname"), b"/", name].concat().into()
    }

    fn in_pool(&self, name: &[u8]) -> BString {
        let namespace = match self.storage.kind() {
            StorageType::Rbd if !self.text("namespace").is_empty() => [self.text("namespace"), b"/"].concat(),
            _ => Vec::new(),
        };
        let pool = if self.text("pool").is_empty() { b"rbd" } else { self.text("pool") };
        [pool, b"/", &namespace, name].concat().into()
    }

    /// `rbd` with the connection of the storage.
    fn rbd<const N: usize>(&self, rest: [&[u8]; N]) -> Words {
        let mut all = words([&b"rbd"[..]]);
        let hosts = monitors(self.text("monhost").as_bstr());
        if !hosts.is_empty() {
            let user = if self.text("username").is_empty() { b"admin" } else { self.text("username") };
            let id = self.storage.id().as_str();
            all.extend(words([&b"-m"[..], &hosts.join(&b","[..]), b"-n", &[b"client.", user].concat()]));
            all.extend(words([&b"--keyring"[..], format!("/etc/pve/priv/ceph/{id}.keyring").as_bytes()]));
        }
        all.extend(words(rest));
        all
    }

    /// The path of a file; images by `VMID/FILE`, others by `content/FILE`.
    fn file(&self, name: &[u8]) -> Option<BString> {
        let (first, rest) = name.split_once_str("/")?;
        let content =
            first.to_str().ok().and_then(|word| pve_volid::ContentType::from_bytes(word.as_bytes()));
        Some(match content.filter(|content| *content != pve_volid::ContentType::Images) {
            Some(content) => [&self.storage.content_dir(content)?, &b"/"[..], rest].concat().into(),
            None => {
                let images = self.storage.content_dir(pve_volid::ContentType::Images)?;
                [&images, &b"/"[..], name].concat().into()
            }
        })
    }
}

/// Takes a reference out of a configuration: an option, a change that waits. A snapshot keeps what it has: its list is
/// shown.
pub(super) fn delete_reference(guest: &Guest<'_>, key: &[u8], section: &str) -> Words {
    let tool: &[u8] = match guest.kind() {
        GuestKind::Lxc => b"pct",
        GuestKind::Qemu => b"qm",
    };
    let vmid = guest.vmid.to_string();
    match section {
        "" => words([tool, b"set", vmid.as_bytes(), b"--delete", key]),
        "pending" => words([tool, b"set", vmid.as_bytes(), b"--revert", key]),
        _ => words([tool, b"listsnapshot", vmid.as_bytes()]),
    }
}

fn words<const N: usize>(list: [&[u8]; N]) -> Words {
    list.into_iter().map(BString::from).collect()
}
