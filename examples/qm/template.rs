// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm template`: disks become base volumes, and the VM never runs again.

use bstr::BStr;
use pve_qemu::template::{ConvertedDrive, TemplateOptions, convert_to_template};
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::place::{Place, Told};
use crate::{Out, Outcome};

/// Turn a virtual machine into a template
///
/// Its disks become base volumes (base-100-disk-0), which nothing writes to any more, so that linked clones can lie on top
/// of them. There is no way back.
#[derive(clap::Args)]
pub(crate) struct Template {
    /// The virtual machine
    vmid: VmId,
    /// Convert only this disk, also of a virtual machine that is a template already
    #[arg(long, value_name = "DISK")]
    disk: Option<String>,
}

impl Template {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let options = match &self.disk {
            Some(disk) => TemplateOptions::only(BStr::new(disk)),
            None => TemplateOptions::default(),
        };
        place.change(out, |node| convert_to_template(node, self.vmid, options), |done| self.tell(done))
    }

    fn tell(&self, done: &[ConvertedDrive]) -> Told {
        let mut lines: Vec<String> = done
            .iter()
            .map(|disk| format!("{}: {} is the base volume {} now", disk.drive, disk.before, disk.base))
            .collect();
        lines.push(format!("VM {} is a template", self.vmid));
        let bases: Value = done
            .iter()
            .map(|disk| {
                let (before, base) = (disk.before.to_string(), disk.base.to_string());
                json!({ "disk": disk.drive.to_string(), "before": before, "base": base })
            })
            .collect();
        Told::new(lines, json!({ "vmid": self.vmid.get(), "bases": bases }))
    }
}
