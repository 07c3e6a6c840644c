// SPDX-License-Identifier: MIT OR Apache-2.0
//! Taking away the lock of an operation that has died (spec: vm-lifecycle, "`lock:` values").

use bstr::BString;
use pve_volid::VmId;

use crate::node::{LockMode, Node};
use crate::vm_file::{self, PATIENCE, VmFileError};

/// Removes the option `lock` of a VM of this node, current and pending; returns the lock that it had.
///
/// Nothing of what the operation had begun is undone: the documentation of each tells what it leaves behind. That it has
/// really died is for the caller to know; a file lock that it still holds is waited for.
///
/// ```
/// use pve_qemu::node::{ConfigStore, Facts, MemoryStore, NoMachines, Node, StoredVolumes, SystemChance};
/// use pve_qemu::unlock::unlock_vm;
/// use pve_storage::{MemoryHost, Session, Storages};
///
/// let configs = MemoryStore::new("pve1").with_file("nodes/pve1/qemu-server/100.conf", "lock: clone\nname: web\n");
/// let (storages, host) = (Storages::default(), MemoryHost::new());
/// let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
/// let (facts, machines) = (Facts::default(), NoMachines);
/// let node = Node { configs: &configs, volumes: &volumes, machines: &machines, chance: &SystemChance, facts: &facts };
///
/// assert_eq!(unlock_vm(node, "100".parse()?)?.unwrap(), "clone");
/// assert_eq!(configs.read("100".parse()?)?.unwrap().1, "name: web\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If there is no such VM on this node, or its file cannot be written.
pub fn unlock_vm(node: Node<'_>, vmid: VmId) -> Result<Option<BString>, VmFileError> {
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let mut config = vm_file::load(node, vmid)?;
    let lock = config.main.remove("lock");
    let pending = config.pending.remove("lock");
    if lock.is_some() || pending.is_some() {
        vm_file::store(node, vmid, &config)?;
    }
    Ok(lock)
}
