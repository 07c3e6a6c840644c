// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm disk`: the disks of a VM.

use std::error::Error;
use std::path::PathBuf;

use bstr::BStr;
use clap::Subcommand;
use clap::builder::BoolishValueParser;
use pve_config::format::{format_size, split_list};
use pve_qemu::disk_import::{ImportOptions, import_disk};
use pve_qemu::disk_move::{MoveOptions, Moved, Reassigned, move_disk, reassign_disk};
use pve_qemu::resize::{ResizeOptions, resize_disk};
use pve_qemu::update::{Update, update_vm};
use pve_volid::{ImageFormat, StorageId, VmId};
use serde_json::json;

use crate::place::{Place, Told};
use crate::rescan::Rescan;
use crate::{Out, Outcome, given};

/// Work with disks
#[derive(Subcommand)]
pub(crate) enum Disk {
    Move(Move),
    Reassign(Reassign),
    Rescan(Rescan),
    Resize(Resize),
    Import(Import),
    Unlink(Unlink),
}

/// Move a disk to another storage or format, or to another virtual machine
///
/// The old volume is kept as unused disk unless --delete is given. With --target-vmid, the disk goes to another virtual
/// machine: its volume is renamed, nothing is copied.
#[derive(clap::Args)]
pub(crate) struct Move {
    /// The virtual machine
    vmid: VmId,
    /// The disk: scsi0, unused1 …
    disk: String,
    /// The storage that gets the disk
    storage: Option<StorageId>,
    /// Remove the old volume instead of keeping it as unused disk
    #[arg(long, value_name = "0|1", num_args = 0..=1, default_missing_value = "1", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    delete: Option<bool>,
    /// The new format: raw, qcow2, vmdk
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Only if the configuration has this SHA-1 digest
    #[arg(long)]
    digest: Option<String>,
    /// Copy at most so many KiB in a second
    #[arg(long, value_name = "KIB")]
    bwlimit: Option<u64>,
    /// The virtual machine that gets the disk
    #[arg(long, value_name = "VMID", conflicts_with_all = ["storage", "format", "delete"])]
    target_vmid: Option<VmId>,
    /// The disk that it is there; the same if left out
    #[arg(long, value_name = "DISK", requires = "target_vmid")]
    target_disk: Option<String>,
    /// Only if the configuration of the other virtual machine has this SHA-1 digest
    #[arg(long, value_name = "DIGEST", requires = "target_vmid")]
    target_digest: Option<String>,
}

/// Give a disk to another virtual machine of this node; its volume is renamed, nothing is copied
#[derive(clap::Args)]
pub(crate) struct Reassign {
    /// The virtual machine
    vmid: VmId,
    /// The disk: scsi0, unused1 …
    disk: String,
    /// The virtual machine that gets the disk
    #[arg(long, value_name = "VMID")]
    target_vmid: VmId,
    /// The disk that it is there; the same if left out
    #[arg(long, value_name = "DISK")]
    target_disk: Option<String>,
    /// Only if the configuration has this SHA-1 digest
    #[arg(long)]
    digest: Option<String>,
    /// Only if the configuration of the other virtual machine has this SHA-1 digest
    #[arg(long, value_name = "DIGEST")]
    target_digest: Option<String>,
}

/// Make a disk larger
#[derive(clap::Args)]
pub(crate) struct Resize {
    /// The virtual machine
    vmid: VmId,
    /// The disk: scsi0, virtio1 …
    disk: String,
    /// Its new size (32G), or how much more (+8G)
    size: String,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
    /// Only if the configuration has this SHA-1 digest
    #[arg(long)]
    digest: Option<String>,
}

/// Copy an image to a new disk, which becomes an unused one
#[derive(clap::Args)]
pub(crate) struct Import {
    /// The virtual machine
    vmid: VmId,
    /// The image: a path, or STORAGE:VOLNAME
    source: PathBuf,
    /// The storage that gets the disk
    storage: StorageId,
    /// Format of the disk: raw, qcow2, vmdk
    #[arg(long)]
    format: Option<ImageFormat>,
    /// Attach it as this disk
    #[arg(long, value_name = "DISK")]
    target_disk: Option<String>,
}

/// Detach disks; their volumes are kept as unused disks
#[derive(clap::Args)]
pub(crate) struct Unlink {
    /// The virtual machine
    vmid: VmId,
    /// The disks, separated by commas
    #[arg(long, value_name = "DISKS")]
    idlist: String,
    /// Remove the volumes
    #[arg(long)]
    force: bool,
}

impl Resize {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = ResizeOptions::default();
        options.skip_lock = self.skiplock;
        options.digest = given(self.digest.as_ref());
        let (disk, size) = (BStr::new(&self.disk), BStr::new(&self.size));
        place.change(
            out,
            |node| resize_disk(node, self.vmid, disk, size, options),
            |size| {
                let line = format!("{disk} of VM {} has {} now", self.vmid, format_size(*size));
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "disk": self.disk, "size": size }))
            },
        )
    }
}

impl Import {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = ImportOptions::default();
        options.format = self.format;
        options.target = given(self.target_disk.as_ref());
        // a file that is here is meant, whatever it is called
        let source =
            if self.source.exists() { std::path::absolute(&self.source)? } else { self.source.clone() };
        let source = BStr::new(source.as_os_str().as_encoded_bytes());
        place.change(
            out,
            |node| import_disk(node, self.vmid, source, &self.storage, options),
            |done| {
                let (key, volume) = (done.key.to_string(), done.volume.to_string());
                let line = format!("{key} of VM {}: {volume}", self.vmid);
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "disk": key, "volume": volume }))
            },
        )
    }
}

impl Unlink {
    fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut update = Update::default();
        update.delete = split_list(self.idlist.as_bytes()).map(Into::into).collect();
        update.force = self.force;
        place.change(
            out,
            |node| update_vm(node, self.vmid, &update),
            |done| {
                let line = format!("detached {} of VM {}", self.idlist, self.vmid);
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "disks": self.idlist }))
                    .leaving(&done.left_behind)
            },
        )
    }
}

impl Disk {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        match self {
            Disk::Move(verb) => verb.run(place, out),
            Disk::Reassign(verb) => verb.run(place, out),
            Disk::Rescan(verb) => verb.run(place, out),
            Disk::Resize(verb) => verb.run(place, out),
            Disk::Import(verb) => verb.run(place, out),
            Disk::Unlink(verb) => verb.run(place, out),
        }
    }
}

impl Move {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let disk = BStr::new(&self.disk);
        if let Some(target) = self.target_vmid {
            let gift = Gift { vmid: self.vmid, disk, target, key: given(self.target_disk.as_ref()) };
            return gift.give(place, out, [given(self.digest.as_ref()), given(self.target_digest.as_ref())]);
        }
        if self.storage.is_none() && self.format.is_none() {
            return Err(Box::<dyn Error>::from("say where to: a STORAGE, --format, or --target-vmid"));
        }
        let mut options = MoveOptions::default();
        options.storage = self.storage.as_ref();
        options.format = self.format;
        options.delete = self.delete.unwrap_or(false);
        options.digest = given(self.digest.as_ref());
        options.bwlimit = self.bwlimit;
        place.change(out, |node| move_disk(node, self.vmid, disk, options), |done| self.tell(done))
    }

    fn tell(&self, done: &Moved) -> Told {
        let mut lines = vec![format!("{}: {}", self.disk, done.volume)];
        lines.extend(done.kept_as.iter().map(|key| format!("the old volume is kept as {key}")));
        let json = json!({
            "vmid": self.vmid.get(), "disk": self.disk, "volume": done.volume.to_string(), "kept-as": done.kept_as,
        });
        Told::new(lines, json).leaving(&done.left_behind)
    }
}

impl Reassign {
    fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let disk = BStr::new(&self.disk);
        let key = given(self.target_disk.as_ref());
        let gift = Gift { vmid: self.vmid, disk, target: self.target_vmid, key };
        gift.give(place, out, [given(self.digest.as_ref()), given(self.target_digest.as_ref())])
    }
}

/// A disk that goes from one VM to another.
struct Gift<'a> {
    vmid: VmId,
    disk: &'a BStr,
    target: VmId,
    key: Option<&'a BStr>,
}

impl Gift<'_> {
    fn give(&self, place: &Place, out: &mut Out, digests: [Option<&BStr>; 2]) -> Outcome {
        place.change(
            out,
            |node| reassign_disk(node, self.vmid, self.disk, self.target, self.key, digests),
            |done| self.tell(done),
        )
    }

    fn tell(&self, done: &Reassigned) -> Told {
        let (target, key) = (self.target, &done.key);
        let mut lines =
            vec![format!("{} of VM {} is {key} of VM {target} now: {}", self.disk, self.vmid, done.volume)];
        if done.pending {
            lines.push(format!("VM {target} runs: it sees the disk after its next start"));
        }
        let json = json!({
            "vmid": target.get(), "disk": key.to_string(), "volume": done.volume.to_string(),
            "before": done.before.to_string(), "pending": done.pending,
        });
        Told::new(lines, json)
    }
}
