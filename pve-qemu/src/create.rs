// SPDX-License-Identifier: MIT OR Apache-2.0
//! Creating a VM: a configuration from the options of a request, with the disks that they name (spec: vm-lifecycle,
//! "Create").
//!
//! The file is written first, with `lock: create` alone, so that the id is taken; and again when all disks are there. What
//! a request leaves out is not filled in, except boot order, DMI UUID, generation id, MAC addresses, and the machine
//! version of Windows guests.
//!
//! ```
//! use pve_qemu::create::{CreateRequest, create_vm};
//! use pve_qemu::node::{DirectoryStore, Facts, NoMachines, Node, Rehearsal, StoredVolumes, SystemChance};
//! use pve_storage::{MemoryHost, Session, Storage, Storages};
//!
//! let directory = tempfile::tempdir()?;
//! let configs = DirectoryStore::new(directory.path(), "pve1").with_locks_in(directory.path().join("lock"));
//! let storage = Storage::new("local".parse()?, "dir").with("path", "/srv/vm").with("content", "images");
//! let storages: Storages = [storage].into_iter().collect();
//! let host = MemoryHost::new();
//! let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
//! let (facts, machines) = (Facts::default(), NoMachines);
//! let node = Node { configs: &configs, volumes: &volumes, machines: &machines, chance: &SystemChance, facts: &facts };
//!
//! // what would happen?
//! let rehearsal = Rehearsal::new(node);
//! let request = CreateRequest::new().set("name", "web").set("scsi0", "local:8,discard=on").set("net0", "virtio,bridge=vmbr0");
//! let created = create_vm(rehearsal.node(), "100".parse()?, request)?;
//! assert_eq!(created.config.main.get("boot").unwrap(), "order=scsi0;net0");
//! assert_eq!(created.config.main.get("scsi0").unwrap(), "local:100/vm-100-disk-0.raw,discard=on,size=8G");
//! assert_eq!(rehearsal.steps()[1].to_string(), "allocate local:100/vm-100-disk-0.raw (raw, 8G)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the order of steps can lose or leak
//!
//! * If the process dies, the file with `lock: create` stays, and the disks made so far are in no configuration: `rescan`
//!   (after `unlock`) shows them as `unusedN`, the audit of [`pve_storage::audit`] as orphans. Destroying the unfinished
//!   VM with `skip_lock` and `unreferenced` removes all of it.
//! * A new disk of a template that cannot be made a base volume is not freed with the others: [`CreateError::Disk`] names
//!   it.
//! * `cipassword` is stored as it is given. Changing it later hashes it.
//! * The cloud-init image is not made before the first start.
//! * The devices of an explicit boot order need not exist.
//!
//! Starting the new VM is another operation; restoring one from a backup is none of this module.

use std::collections::BTreeMap;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::{VmConfig, VmSection, is_cloudinit_volume};
use pve_config::vm::{Drive, DriveId};
use pve_volid::VmId;

use crate::boot_order;
use crate::cloudinit::{check_ssh_keys, decode_ssh_keys};
use crate::left_behind::LeftBehind;
use crate::new_disk::{NewDiskError, NewDisks, other_cloudinit};
use crate::node::{LockMode, Node, WorldError};
use crate::option_rules::{self, OptionError};
use crate::vm_file::{self, VmFileError};

/// How long the lock of the new configuration is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// The options of a new VM.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    options: BTreeMap<BString, BString>,
    bwlimit: Option<u64>,
}

impl CreateRequest {
    /// Nothing set.
    #[must_use]
    pub fn new() -> Self {
        CreateRequest::default()
    }

    /// The same with an option: `memory`, `scsi0`, also `cdrom` for `ide2`. The value is checked by [`create_vm`].
    #[must_use]
    pub fn set(mut self, key: impl Into<BString>, value: impl Into<BString>) -> Self {
        self.options.insert(key.into(), value.into());
        self
    }

    /// The same with a limit for copying what is imported, in KiB per second.
    #[must_use]
    pub fn with_bwlimit(mut self, kib: u64) -> Self {
        self.bwlimit = Some(kib);
        self
    }

    /// The options as they are meant.
    fn normalised(self, node: Node<'_>) -> Result<BTreeMap<BString, BString>, OptionError> {
        if let Some(keys) = self.options.get(BStr::new("sshkeys")) {
            check_ssh_keys(&decode_ssh_keys(keys)).map_err(OptionError::from)?;
        }
        option_rules::normalise_all(node, self.options)
    }
}

/// A VM that was created.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Created {
    /// Its configuration.
    pub config: VmConfig<'static>,
}

/// Why a VM was not created. What had been made of it is gone, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// An option cannot be set so.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// The id is taken.
    #[error("cannot create VM {vmid}: the id is taken by a guest on node {node}; choose another")]
    Taken {
        /// The id.
        vmid: VmId,
        /// Where its guest is.
        node: String,
    },
    /// A disk cannot be made.
    #[error("{drive}: {source}")]
    Disk {
        /// The drive.
        drive: DriveId,
        /// Why.
        source: Box<NewDiskError>,
    },
    /// The configuration cannot be written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// The lock was not to be had, or the store refused.
    #[error(transparent)]
    World(#[from] WorldError),
    /// The VM could not be created, and not everything of it could be removed.
    #[error("{source}; not everything of VM {vmid} could be removed ({}); remove it by hand", left.join(", "))]
    Undo {
        /// Why it could not be created.
        source: Box<CreateError>,
        /// The VM.
        vmid: VmId,
        /// What is left, and why.
        left: Vec<String>,
    },
}

/// Creates a VM on this node.
///
/// # Errors
/// If an option is wrong, the id is taken, or a disk cannot be made. New volumes and the file are removed then.
pub fn create_vm(node: Node<'_>, vmid: VmId, request: CreateRequest) -> Result<Created, CreateError> {
    let bwlimit = request.bwlimit;
    let options = request.normalised(node)?;
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    if let Some((entry, _)) = node.configs.read(vmid)? {
        return Err(CreateError::Taken { vmid, node: entry.node });
    }
    node.configs.create(vmid, b"lock: create\n".as_bstr())?;
    let mut disks = NewDisks::new(node, vmid, bwlimit);
    let made = configuration(node, options, &mut disks);
    let written = made.and_then(|config| Ok(vm_file::store(node, vmid, &config)?));
    match written {
        Ok(config) => Ok(Created { config }),
        Err(error) => Err(undo(node, vmid, disks, error)),
    }
}

/// The configuration of the new VM, with its disks.
fn configuration(
    node: Node<'_>,
    options: BTreeMap<BString, BString>,
    disks: &mut NewDisks<'_>,
) -> Result<VmConfig<'static>, CreateError> {
    let mut config = VmConfig::new();
    let main = &mut config.main;
    let drives: Vec<DriveId> =
        options.keys().filter_map(|key| option_rules::drive_id(key.as_bstr())).collect();
    for (key, value) in options {
        main.set(key, value);
    }
    // in the order of the keys as texts: the numbers of the volumes follow from it
    for id in drives {
        let failed = |source| CreateError::Disk { drive: id, source: Box::new(source) };
        let value = make_disk(id, main, disks).map_err(failed)?;
        main.set(id.to_string(), value);
    }
    complete(node, main)?;
    Ok(config)
}

fn make_disk(id: DriveId, main: &VmSection<'_>, disks: &mut NewDisks<'_>) -> Result<BString, NewDiskError> {
    let value = main.get(id.to_string()).unwrap_or_default();
    if is_cloudinit_volume(Drive::read_with(id, value, true)?.file)
        && let Some((other, file)) = other_cloudinit([main], id)
    {
        return Err(NewDiskError::SecondCloudInit { other, file: file.to_owned() });
    }
    disks.make(id, value, main)
}

/// Sets what the request left out.
fn complete(node: Node<'_>, main: &mut VmSection<'static>) -> Result<(), CreateError> {
    let Node { chance, facts, .. } = node;
    main.set("meta", format!("creation-qemu={},ctime={}", facts.qemu_version, chance.now()));
    if main.get("boot").is_none_or(|boot| boot.is_empty()) {
        let order = boot_order::default_value(main);
        main.set("boot", order);
    }
    if !main.contains("smbios1") {
        main.set("smbios1", format!("uuid={}", chance.uuid()));
    }
    let arch = main.truthy("arch").map_or_else(|| facts.arch.as_str().into(), BStr::to_owned);
    if main.get("vmgenid").is_none_or(|id| id == "1") && arch != "aarch64" {
        main.set("vmgenid", chance.uuid());
    }
    let machine =
        option_rules::stored_machine(facts, arch.as_bstr(), main.get("ostype"), main.get("machine"))?;
    if let Some(machine) = machine {
        main.set("machine", machine);
    }
    if let Some(tags) = main.get("tags").map(option_rules::unique_tags) {
        main.set("tags", tags);
    }
    Ok(())
}

/// Removes what was made; returns the error to report.
fn undo(node: Node<'_>, vmid: VmId, disks: NewDisks<'_>, source: CreateError) -> CreateError {
    let told = |left: LeftBehind| format!("{}: {}", left.volume, left.error);
    let mut left: Vec<String> = disks.give_up().into_iter().map(told).collect();
    if let Err(error) = node.configs.remove(vmid) {
        left.push(error.to_string());
    }
    if left.is_empty() {
        return source;
    }
    CreateError::Undo { source: Box::new(source), vmid, left }
}
