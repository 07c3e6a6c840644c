// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that make a VM, change its options, take its lock away, and give it to another node.

use std::collections::BTreeSet;

use bstr::{BString, ByteSlice};
use pve_qemu::create::{CreateRequest, Created, create_vm};
use pve_qemu::guest_id::next_free_id;
use pve_qemu::relocation::relocate_vm;
use pve_qemu::unlock::unlock_vm;
use pve_qemu::update::{Update, Updated, update_vm};
use pve_volid::VmId;
use serde_json::json;

use crate::options::ConfigOptions;
use crate::place::{Place, Told};
use crate::{Out, Outcome};

/// Make a virtual machine
///
/// A disk that is not there yet is asked for by its size in GiB (--scsi0 local-lvm:32), or by what it is copied from
/// (--scsi0 local-lvm:0,import-from=/tmp/image.qcow2); --ide2 local-lvm:cloudinit makes a drive for cloud-init data.
#[derive(clap::Args)]
pub(crate) struct Create {
    /// The number of the virtual machine
    vmid: VmId,
    /// Copy at most so many KiB in a second
    #[arg(long, value_name = "KIB")]
    bwlimit: Option<u64>,
    #[command(flatten)]
    options: ConfigOptions,
}

/// Change options of a virtual machine
///
/// What cannot be changed while it runs is kept as pending, and applied at its next stop or start.
#[derive(clap::Args)]
pub(crate) struct Set {
    /// The virtual machine
    vmid: VmId,
    /// Options to delete, separated by commas
    #[arg(long, value_name = "OPTIONS")]
    delete: Option<String>,
    /// Options whose pending change is taken back, separated by commas
    #[arg(long, value_name = "OPTIONS")]
    revert: Option<String>,
    /// Remove the volumes of deleted drives instead of keeping them as unused disks
    #[arg(long)]
    force: bool,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
    /// Only if the configuration has this SHA-1 digest
    #[arg(long)]
    digest: Option<String>,
    #[command(flatten)]
    options: ConfigOptions,
}

/// Give a virtual machine that does not run to another node; its disks must be on shared storage
#[derive(clap::Args)]
pub(crate) struct Migrate {
    /// The virtual machine
    vmid: VmId,
    /// The node
    target: String,
}

/// Show the next free number
#[derive(clap::Args)]
pub(crate) struct Nextid {}

/// Take the lock of a virtual machine away; the operation that set it must be dead
#[derive(clap::Args)]
pub(crate) struct Unlock {
    /// The virtual machine
    vmid: VmId,
}

impl Create {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut request = CreateRequest::new();
        for (key, value) in self.options.stored()? {
            request = request.set(key, value);
        }
        if let Some(limit) = self.bwlimit {
            request = request.with_bwlimit(limit);
        }
        place.change(out, |node| create_vm(node, self.vmid, request), |done| self.tell(done))
    }

    fn tell(&self, done: &Created) -> Told {
        let options = done.config.main.iter();
        let lines = options.map(|(key, value)| format!("{key}: {value}"));
        let lines = lines.chain([format!("VM {} is there", self.vmid)]).collect();
        let options: serde_json::Map<_, _> =
            done.config.main.iter().map(|(key, value)| (key.to_string(), value.to_string().into())).collect();
        Told::new(lines, json!({ "vmid": self.vmid.get(), "config": options }))
    }
}

impl Set {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut update = Update::default();
        update.set = self.options.stored()?;
        update.delete = list(self.delete.as_deref());
        update.revert = list(self.revert.as_deref());
        update.force = self.force;
        update.skip_lock = self.skiplock;
        update.digest = self.digest.as_deref().map(BString::from);
        let told = |done: &Updated| self.tell(&update, done);
        place.change(out, |node| update_vm(node, self.vmid, &update), told)
    }

    fn tell(&self, update: &Update, done: &Updated) -> Told {
        let keys: BTreeSet<&BString> =
            update.set.keys().chain(&update.delete).chain(&update.revert).collect();
        let (main, pending) = (&done.config.main, &done.config.pending);
        let mut lines = Vec::new();
        let mut json = serde_json::Map::new();
        for key in keys {
            let line = match (pending.get(key.as_bstr()), main.get(key.as_bstr())) {
                (Some(value), _) => format!("{key}: {value} (pending)"),
                (None, Some(value)) => format!("{key}: {value}"),
                (None, None) if done.ignored.contains(key) => format!("{key} is not set"),
                (None, None) => format!("{key} is deleted"),
            };
            lines.push(line);
            let text = |value: Option<&bstr::BStr>| value.map(ToString::to_string);
            let (value, pending) = (text(main.get(key.as_bstr())), text(pending.get(key.as_bstr())));
            json.insert(key.to_string(), json!({ "value": value, "pending": pending }));
        }
        Told::new(lines, json!({ "vmid": self.vmid.get(), "options": json })).leaving(&done.left_behind)
    }
}

impl Migrate {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.change(
            out,
            |node| relocate_vm(node, self.vmid, &self.target),
            |()| {
                let line = format!("VM {} is on node {} now", self.vmid, self.target);
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "node": self.target }))
            },
        )
    }
}

impl Nextid {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let vmid = next_free_id(&*place.configs)?;
        place.show(&Told::new(vec![vmid.to_string()], json!({ "vmid": vmid.get() })), out)
    }
}

/// The options of a list.
fn list(text: Option<&str>) -> Vec<BString> {
    pve_config::format::split_list(text.unwrap_or_default().as_bytes()).map(BString::from).collect()
}

impl Unlock {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.change(
            out,
            |node| unlock_vm(node, self.vmid),
            |lock| {
                let line = match lock {
                    Some(lock) => format!("VM {} is not locked any more, by {lock}", self.vmid),
                    None => format!("VM {} was not locked", self.vmid),
                };
                let lock = lock.as_ref().map(ToString::to_string);
                Told::new(vec![line], json!({ "vmid": self.vmid.get(), "lock": lock }))
            },
        )
    }
}
