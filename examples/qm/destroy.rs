// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm destroy`: a VM goes, with the volumes that it owns.

use pve_qemu::destroy::{DestroyOptions, Destroyed, destroy_vm};
use pve_volid::VmId;
use serde_json::json;

use crate::place::{Place, Told};
use crate::{Out, Outcome};

/// Remove a virtual machine with the volumes that its configuration names
///
/// Disks that only its snapshots name stay behind, unless --destroy-unreferenced-disks is given: that removes every volume
/// that is the virtual machine's by name.
#[derive(clap::Args)]
pub(crate) struct Destroy {
    /// The virtual machine
    vmid: VmId,
    /// Also if the HA manager or a replication job knows it
    #[arg(long)]
    purge: bool,
    /// Also remove volumes that are its own by name, and that its configuration does not name
    #[arg(long)]
    destroy_unreferenced_disks: bool,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
}

impl Destroy {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = DestroyOptions::default();
        options.purge = self.purge;
        options.unreferenced = self.destroy_unreferenced_disks;
        options.skip_lock = self.skiplock;
        place.change(out, |node| destroy_vm(node, self.vmid, options), |done| self.tell(done))
    }

    fn tell(&self, done: &Destroyed) -> Told {
        let mut lines: Vec<String> = done.freed.iter().map(|volume| format!("removed {volume}")).collect();
        lines.extend(done.kept.iter().map(|volume| format!("kept {volume}, which is not its own")));
        lines.push(format!("VM {} is gone", self.vmid));
        lines.extend(done.mentioned_in.iter().map(|file| format!("{file} still names it")));
        let texts = |all: &[bstr::BString]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        let json = json!({
            "vmid": self.vmid.get(), "removed": texts(&done.freed), "kept": texts(&done.kept),
            "mentioned-in": done.mentioned_in,
        });
        Told::new(lines, json).leaving(&done.left_behind)
    }
}
