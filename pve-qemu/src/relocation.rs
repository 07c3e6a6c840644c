// SPDX-License-Identifier: MIT OR Apache-2.0
//! Giving a VM that does not run to another node of the cluster (spec: vm-lifecycle, "Configuration move").
//!
//! A VM belongs to the node in whose directory its file lies; moving the file is all there is to it if the other node sees
//! every volume. Volumes are not copied here: a VM with local ones stays, and the error names them.

use bstr::BString;
use pve_config::guest::{VmConfig, VolumeRole};
use pve_volid::VmId;

use crate::node::{LockMode, Node, WorldError};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// Why a VM stays where it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelocateError {
    /// The configuration cannot be read.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// The lock was not to be had, or the store refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// It is there already.
    #[error("VM {vmid} is on node {target} already")]
    SameNode {
        /// The VM.
        vmid: VmId,
        /// The node.
        target: String,
    },
    /// It runs.
    #[error("VM {vmid} is running; shut it down first")]
    Running {
        /// The VM.
        vmid: VmId,
    },
    /// The other node does not see its volumes.
    #[error("VM {vmid}: node {target} does not see {}; move them to a shared storage first", list(volumes))]
    Local {
        /// The VM.
        vmid: VmId,
        /// The node.
        target: String,
        /// The options, and the volumes that they name.
        volumes: Vec<(BString, BString)>,
    },
}

fn list(volumes: &[(BString, BString)]) -> String {
    let named: Vec<String> = volumes.iter().map(|(key, volume)| format!("{volume} ({key})")).collect();
    named.join(", ")
}

/// Moves the configuration of a VM of this node to the node `target`. Afterwards only that node may change it.
///
/// # Errors
/// If the VM is locked or runs, or a volume of it (current, pending, unused, of a snapshot) is not on a shared storage that
/// is enabled on both nodes.
pub fn relocate_vm(node: Node<'_>, vmid: VmId, target: &str) -> Result<(), RelocateError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let config = vm_file::load_unlocked(node, vmid)?;
    if target == node.configs.node() {
        return Err(RelocateError::SameNode { vmid, target: target.to_owned() });
    }
    if node.machines.is_running(vmid) {
        return Err(RelocateError::Running { vmid });
    }
    let volumes = unseen(node, &config, target);
    if !volumes.is_empty() {
        return Err(RelocateError::Local { vmid, target: target.to_owned(), volumes });
    }
    Ok(node.configs.move_to(vmid, target)?)
}

/// What the other node does not see: options and their volumes.
fn unseen(node: Node<'_>, config: &VmConfig<'_>, target: &str) -> Vec<(BString, BString)> {
    let is_seen = |storage: &str| {
        node.volumes.storages().get(storage).is_some_and(|storage| {
            storage.is_shared() && storage.is_enabled_on(target) && storage.is_enabled_on(node.configs.node())
        })
    };
    let mut found = Vec::new();
    for reference in config.volume_references() {
        let is_local = match reference.volid() {
            Some(volume) => !is_seen(volume.storage().as_str()),
            None => reference.is_path() && reference.role != VolumeRole::Cdrom,
        };
        let named = (reference.key.to_owned(), reference.volume.to_owned());
        if is_local && !found.contains(&named) {
            found.push(named);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pve_storage::{MemoryHost, Session, Storage, Storages};
    use serde_json::Value;

    use super::*;
    use crate::node::{
        ConfigStore, Facts, MachineChange, Machines, MemoryStore, StoredVolumes, SystemChance,
    };

    struct Runs(bool);

    impl Machines for Runs {
        fn is_running(&self, _: VmId) -> bool {
            self.0
        }
        fn qmp(&self, _: VmId, _: &str, _: Value, _: Option<Duration>) -> Result<Value, WorldError> {
            Err(WorldError::Other("nobody answers".into()))
        }
        fn change(&self, _: VmId, _: &MachineChange<'_>) -> Result<(), WorldError> {
            Err(WorldError::Other("nobody answers".into()))
        }
    }

    fn relocate(text: &str, target: &str, runs: bool) -> Result<String, String> {
        let configs = MemoryStore::new("pve1").with_file("nodes/pve1/qemu-server/100.conf", text);
        let nfs = Storage::new("nas".parse().unwrap(), "nfs").with("path", "/mnt/nas");
        let only =
            Storage::new("two".parse().unwrap(), "nfs").with("path", "/mnt/two").with("nodes", "pve1,pve2");
        let local = Storage::new("local".parse().unwrap(), "dir").with("path", "/srv");
        let storages: Storages = [nfs, only, local].into_iter().collect();
        let host = MemoryHost::new();
        let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
        let (facts, machines) = (Facts::default(), Runs(runs));
        let node = Node {
            configs: &configs,
            volumes: &volumes,
            machines: &machines,
            chance: &SystemChance,
            facts: &facts,
        };
        let vmid = VmId::new(100).unwrap();
        relocate_vm(node, vmid, target).map_err(|error| error.to_string())?;
        Ok(configs.read(vmid).unwrap().unwrap().0.node)
    }

    #[test]
    fn only_what_the_other_node_sees_goes_there() {
        let shared =
            "ide2: none,media=cdrom\nscsi0: nas:100/vm-100-disk-0.raw\nscsi1: two:100/vm-100-disk-0.raw\n";
        assert_eq!(relocate(shared, "pve2", false).unwrap(), "pve2");
        let error = relocate(shared, "pve3", false).unwrap_err();
        assert_eq!(
            error,
            "VM 100: node pve3 does not see two:100/vm-100-disk-0.raw (scsi1); move them to a shared storage first"
        );
        let local = "scsi0: /dev/sdb\nunused0: local:100/vm-100-disk-1.raw\n\n[before]\nvmstate: local:100/vm-100-state-a.raw\n";
        let error = relocate(local, "pve2", false).unwrap_err();
        for volume in ["/dev/sdb (scsi0)", "vm-100-disk-1.raw (unused0)", "vm-100-state-a.raw (vmstate)"] {
            assert!(error.contains(volume), "{error}");
        }
    }

    #[test]
    fn only_a_vm_at_rest_goes() {
        assert_eq!(
            relocate("name: web\n", "pve2", true).unwrap_err(),
            "VM 100 is running; shut it down first"
        );
        assert_eq!(relocate("name: web\n", "pve1", false).unwrap_err(), "VM 100 is on node pve1 already");
        assert!(relocate("lock: backup\n", "pve2", false).unwrap_err().contains("locked (backup)"));
        assert!(relocate("name: web\n", "../pve2", false).unwrap_err().contains("no name of a node"));
    }
}
