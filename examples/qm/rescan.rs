// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm disk rescan`: storages are listed, and configurations brought into line with them.

use pve_config::format::format_size;
use pve_qemu::rescan::{RescanFinding, RescanMode, Rescanned, rescan};
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::place::{Place, Told};
use crate::{Out, Outcome};

/// Look for volumes that no configuration names, and correct sizes
///
/// A volume that belongs to a virtual machine by its name becomes unusedN of it: seen, and attached to nothing. A
/// cloud-init volume that nothing names is removed. With --dryrun, it is only told what was found; with --dry-run also the
/// lines that would change.
#[derive(clap::Args)]
pub(crate) struct Rescan {
    /// Only this virtual machine
    #[arg(long)]
    vmid: Option<VmId>,
    /// Change nothing, only tell what was found
    #[arg(long)]
    dryrun: bool,
}

impl Rescan {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mode = if self.dryrun { RescanMode::DryRun } else { RescanMode::Apply };
        place.change(out, |node| rescan(node, self.vmid, mode), |found| tell(found))
    }
}

fn tell(found: &[Rescanned]) -> Told {
    let mut lines = Vec::new();
    for vm in found {
        lines.extend(vm.findings.iter().map(|finding| format!("VM {}: {}", vm.vmid, sentence(finding))));
    }
    if lines.is_empty() {
        lines.push("configurations and storages agree".to_owned());
    }
    let json = found.iter().map(|vm| {
        let findings: Value = vm.findings.iter().map(document).collect();
        json!({ "vmid": vm.vmid.get(), "written": vm.written, "findings": findings })
    });
    Told::new(lines, json.collect())
}

fn sentence(finding: &RescanFinding) -> String {
    match finding {
        RescanFinding::Size { key, recorded, actual } => {
            let recorded = recorded.map_or_else(|| "no size".into(), format_size);
            format!("{key} has {}, not {recorded}", format_size(*actual))
        }
        RescanFinding::NotUnused { key, volume } => format!("{key} goes: {volume} is used, or gone"),
        RescanFinding::Adopted { key, volume } => format!("{volume}, which nothing named, is {key}"),
        RescanFinding::CloudInit { volume, deleted: true } => {
            format!("removed {volume}, which nothing named")
        }
        RescanFinding::CloudInit { volume, .. } => format!("{volume}, which nothing names, would be removed"),
        other => format!("{other:?}"),
    }
}

fn document(finding: &RescanFinding) -> Value {
    match finding {
        RescanFinding::Size { key, recorded, actual } => {
            json!({ "found": "size", "option": key.to_string(), "recorded": recorded, "actual": actual })
        }
        RescanFinding::NotUnused { key, volume } => {
            json!({ "found": "not-unused", "option": key.to_string(), "volume": volume.to_string() })
        }
        RescanFinding::Adopted { key, volume } => {
            json!({ "found": "adopted", "option": key.to_string(), "volume": volume.to_string() })
        }
        RescanFinding::CloudInit { volume, deleted } => {
            json!({ "found": "cloud-init", "volume": volume.to_string(), "deleted": deleted })
        }
        other => json!({ "found": format!("{other:?}") }),
    }
}
