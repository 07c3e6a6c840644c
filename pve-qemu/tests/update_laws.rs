// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whatever is asked of a VM, in whatever order, stopped or running: no disk is lost.
//!
//! Updates are rehearsed one after the other. A volume that was allocated and not freed must be named by the configuration;
//! one exception is documented: a pending disk that hides behind the current one of an option that is deleted. And no
//! volume is freed unless its removal was asked for.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use bstr::{BString, ByteSlice};
use proptest::prelude::*;
use pve_config::guest::VmConfig;
use pve_qemu::node::{
    Facts, MachineChange, Machines, MemoryStore, Node, PlanStep, Rehearsal, StoredVolumes, SystemChance,
    WorldError,
};
use pve_qemu::pending::apply_pending;
use pve_qemu::update::{Update, update_vm};
use pve_storage::{MemoryHost, Session, Storage, Storages};
use pve_volid::VmId;
use serde_json::{Value, json};

const ID: VmId = VmId::MIN;
const DRIVES: [&str; 6] = ["scsi0", "scsi1", "virtio1", "ide0", "sata1", "efidisk0"];

/// A machine that does what it is told, or not.
struct Machine {
    runs: Cell<bool>,
    obeys: Cell<bool>,
}

impl Machines for Machine {
    fn is_running(&self, _: VmId) -> bool {
        self.runs.get()
    }
    fn qmp(&self, _: VmId, _: &str, _: Value, _: Option<Duration>) -> Result<Value, WorldError> {
        Ok(json!({}))
    }
    fn change(&self, _: VmId, _: &MachineChange<'_>) -> Result<(), WorldError> {
        if self.obeys.get() {
            Ok(())
        } else {
            Err(WorldError::Other("the guest does not let go of it".into()))
        }
    }
}

/// Something that happens to the VM.
#[derive(Debug, Clone)]
enum Step {
    New(usize),
    /// A disk that is unused, or that another option has, by its place among all that are named.
    Attach(usize, usize),
    Option(usize, bool),
    Delete(usize, bool),
    DeleteUnused(usize),
    Revert(usize),
    Hotplug(bool),
    Power(bool, bool),
    Apply,
}

fn step() -> impl Strategy<Value = Step> {
    let drive = 0..DRIVES.len();
    prop_oneof![
        6 => drive.clone().prop_map(Step::New),
        6 => (drive.clone(), 0..3_usize).prop_map(|(drive, disk)| Step::Attach(drive, disk)),
        3 => (drive.clone(), any::<bool>()).prop_map(|(drive, on)| Step::Option(drive, on)),
        3 => (drive.clone(), any::<bool>()).prop_map(|(drive, force)| Step::Delete(drive, force)),
        1 => (0..4_usize).prop_map(Step::DeleteUnused),
        2 => drive.prop_map(Step::Revert),
        1 => any::<bool>().prop_map(Step::Hotplug),
        2 => any::<(bool, bool)>().prop_map(|(runs, obeys)| Step::Power(runs, obeys)),
        1 => Just(Step::Apply),
    ]
}

/// The file of a drive's value, as far as it has one.
fn file(value: &[u8]) -> BString {
    value.split_str(",").next().unwrap_or_default().into()
}

fn named(config: &VmConfig<'_>) -> BTreeSet<BString> {
    config.volume_references().iter().map(|found| found.volume.to_owned()).collect()
}

/// The volumes that somebody wants removed: of drives that are deleted by force, now or pending, and of unused disks.
fn unwanted(config: &VmConfig<'_>, update: &Update) -> BTreeSet<BString> {
    let deletions = config.pending.delete_list();
    let forced = deletions.iter().filter(|(_, force)| *force).map(|(key, _)| key.to_owned());
    let asked = update.delete.iter().filter(|key| update.force || key.starts_with(b"unused")).cloned();
    let values = |key: BString| {
        [config.main.get(&key).map(|value| file(value)), config.pending.get(&key).map(|value| file(value))]
    };
    forced.chain(asked).flat_map(values).flatten().collect()
}

/// The change that a step asks for, and the volume that it may lose.
fn change(step: &Step, config: &VmConfig<'_>) -> Option<(Update, Option<BString>)> {
    let update = match *step {
        Step::New(drive) => {
            let value = if DRIVES[drive] == "efidisk0" { return None } else { "local:1" };
            Update::default().with(DRIVES[drive], value)
        }
        Step::Attach(drive, disk) => {
            let volume = named(config).into_iter().nth(disk)?;
            Update::default().with(DRIVES[drive], volume)
        }
        Step::Option(drive, on) => {
            let value = config.main.get(DRIVES[drive])?;
            let value = format!("{},backup={},cache=none", file(value), u8::from(on));
            Update::default().with(DRIVES[drive], value)
        }
        Step::Delete(drive, force) => {
            let key = DRIVES[drive];
            let mut update = Update::default().without(key);
            update.force = force;
            let hidden = config.pending.get(key).filter(|_| config.main.contains(key));
            return Some((update, hidden.map(|value| file(value))));
        }
        Step::DeleteUnused(number) => Update::default().without(format!("unused{number}")),
        Step::Revert(drive) => {
            let mut update = Update::default();
            update.revert.push(DRIVES[drive].into());
            update
        }
        Step::Hotplug(disk) => Update::default().with("hotplug", if disk { "disk" } else { "network" }),
        Step::Power(..) | Step::Apply => return None,
    };
    Some((update, None))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_disk_is_lost(steps in prop::collection::vec(step(), 8..48)) {
        let configs = MemoryStore::new("pve1").with_file("nodes/pve1/qemu-server/100.conf", "boot: order=scsi0\n");
        let local = Storage::new("local".parse().unwrap(), "dir").with("path", "/srv/vm").with("content", "images");
        let storages: Storages = [local].into_iter().collect();
        let host = MemoryHost::new();
        let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
        let machines = Machine { runs: Cell::new(false), obeys: Cell::new(true) };
        let facts = Facts::default();
        let node =
            Node { configs: &configs, volumes: &volumes, machines: &machines, chance: &SystemChance, facts: &facts };
        let rehearsal = Rehearsal::new(node);
        let node = rehearsal.node();
        let config = || VmConfig::parse(&node.configs.read(ID).unwrap().unwrap().1).0.into_owned();

        let (mut forgotten, mut there) = (BTreeSet::new(), BTreeSet::new());
        let mut seen = 0;
        for step in &steps {
            let before = config();
            let mut unwanted = unwanted(&before, &Update::default());
            match step {
                Step::Power(runs, obeys) => {
                    machines.runs.set(*runs);
                    machines.obeys.set(*obeys);
                }
                Step::Apply if !machines.runs.get() => drop(apply_pending(node, ID).unwrap()),
                step => {
                    let Some((update, hidden)) = change(step, &before) else { continue };
                    forgotten.extend(hidden);
                    unwanted = self::unwanted(&before, &update);
                    // refusals are fine, losses are not
                    let _ = update_vm(node, ID, &update);
                }
            }
            let after = config();
            for planned in rehearsal.steps().split_off(seen) {
                seen += 1;
                match planned {
                    PlanStep::Volume { action: "allocate", volume, .. } => drop(there.insert(volume)),
                    PlanStep::Volume { action: "free", volume, .. } => {
                        prop_assert!(unwanted.contains(&volume), "{step:?} frees {volume}, unasked");
                        there.remove(&volume);
                    }
                    _ => {}
                }
            }
            let named = named(&after);
            for volume in there.iter().filter(|volume| !forgotten.contains(*volume)) {
                prop_assert!(named.contains(volume), "{step:?} loses {volume}:\n{}", shown(&after));
            }
        }
    }
}

fn shown(config: &VmConfig<'_>) -> BString {
    config.to_bytes().unwrap().into()
}
