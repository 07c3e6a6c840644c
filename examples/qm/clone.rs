// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm clone`: a copy of a VM, or a linked clone of a template.

use clap::builder::BoolishValueParser;
use pve_qemu::clone::{CloneOptions, Cloned, clone_vm};
use pve_volid::{ImageFormat, StorageId, VmId};
use serde_json::{Value, json};

use crate::place::{Place, Told};
use crate::{Out, Outcome, given};

/// Make a copy of a virtual machine, or a linked clone of a template
///
/// A linked clone takes no space and no time: its disks lie on top of the template's base volumes. It gets MAC addresses,
/// a UUID and a generation id of its own. Pending changes and snapshots stay with the source.
#[derive(clap::Args)]
pub(crate) struct Clone {
    /// The virtual machine to clone
    vmid: VmId,
    /// The number of the clone
    newid: VmId,
    /// Name of the clone
    #[arg(long)]
    name: Option<String>,
    /// Description of the clone
    #[arg(long)]
    description: Option<String>,
    /// Copy all disks (1), or make linked clones (0); the latter for templates if left out
    #[arg(long, value_name = "0|1", num_args = 0..=1, default_missing_value = "1", value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    full: Option<bool>,
    /// Clone this snapshot
    #[arg(long, value_name = "NAME")]
    snapname: Option<String>,
    /// Storage for the copies of the disks
    #[arg(long)]
    storage: Option<StorageId>,
    /// Format of the copies: raw, qcow2, vmdk
    #[arg(long)]
    format: Option<ImageFormat>,
    /// The node that gets the clone; its disks must be on shared storage
    #[arg(long, value_name = "NODE")]
    target: Option<String>,
    /// Copy at most so many KiB in a second
    #[arg(long, value_name = "KIB")]
    bwlimit: Option<u64>,
}

impl Clone {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = CloneOptions::default();
        options.name = given(self.name.as_ref());
        options.description = given(self.description.as_ref());
        options.full = self.full;
        options.snapshot = given(self.snapname.as_ref());
        options.storage = self.storage.as_ref();
        options.format = self.format;
        options.target = self.target.as_deref();
        options.bwlimit = self.bwlimit;
        place.change(out, |node| clone_vm(node, self.vmid, self.newid, options), |done| self.tell(done))
    }

    fn tell(&self, done: &Cloned) -> Told {
        let mut lines: Vec<String> =
            done.volumes.iter().map(|(drive, volume)| format!("{drive}: {volume}")).collect();
        if !done.dropped_pending.is_empty() {
            let keys: Vec<String> = done.dropped_pending.iter().map(ToString::to_string).collect();
            lines.push(format!("pending changes that the clone does not have: {}", keys.join(", ")));
        }
        lines.push(format!("VM {} is a clone of VM {}", self.newid, self.vmid));
        let volumes: Value = done
            .volumes
            .iter()
            .map(|(drive, volume)| json!({ "disk": drive.to_string(), "volume": volume.to_string() }))
            .collect();
        Told::new(lines, json!({ "vmid": self.newid.get(), "source": self.vmid.get(), "volumes": volumes }))
    }
}
