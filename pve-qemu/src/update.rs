// SPDX-License-Identifier: MIT OR Apache-2.0
//! Changing the options of a VM (spec: vm-lifecycle, "Set / update").
//!
//! A change is first recorded as *pending*, option by option, and then applied: to a VM that does not run all of it
//! ([`crate::pending`]), to a running one what can be changed while it runs ([`crate::hotplug`]).
//!
//! ```
//! use pve_qemu::node::{ConfigStore, Facts, MemoryStore, NoMachines, Node, Rehearsal, StoredVolumes, SystemChance};
//! use pve_qemu::update::{Update, update_vm};
//! use pve_storage::{MemoryHost, Session, Storage, Storages};
//!
//! let text = "boot: order=scsi0;scsi1\ncores: 2\nscsi0: fast:vm-100-disk-0\nscsi1: fast:vm-100-disk-1\n";
//! let configs = MemoryStore::new("pve1").with_file("nodes/pve1/qemu-server/100.conf", text);
//! let local = Storage::new("local".parse()?, "dir").with("path", "/srv/vm").with("content", "images");
//! let fast = Storage::new("fast".parse()?, "lvmthin").with("vgname", "pve").with("thinpool", "data");
//! let storages: Storages = [local, fast].into_iter().collect();
//! let host = MemoryHost::new();
//! let volumes = StoredVolumes::new(Session::new(&storages, &host, "pve1"), Default::default());
//! let (facts, machines) = (Facts::default(), NoMachines);
//! let node = Node { configs: &configs, volumes: &volumes, machines: &machines, chance: &SystemChance, facts: &facts };
//!
//! // what would happen?
//! let rehearsal = Rehearsal::new(node);
//! let change = Update::default().with("cores", "4").with("scsi2", "local:8,ssd=1").without("scsi1");
//! let updated = update_vm(rehearsal.node(), "100".parse()?, &change)?;
//! let main = &updated.config.main;
//! assert_eq!(main.get("boot").unwrap(), "order=scsi0");
//! assert_eq!(main.get("scsi2").unwrap(), "local:100/vm-100-disk-0.raw,size=8G,ssd=1");
//! assert_eq!(main.get("unused0").unwrap(), "fast:vm-100-disk-1");
//! assert_eq!(configs.read("100".parse()?)?.unwrap().1, text);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What the order of steps can lose or leak
//!
//! * Every option is written as it is recorded. An error at a later one leaves the earlier ones pending: revert them, or
//!   correct the request and repeat it.
//! * A volume is allocated before the configuration names it. If the process dies in between, nothing does; `rescan`
//!   adopts it.
//! * A pending disk that is replaced, deleted or reverted is kept as `unusedN`; one that hides behind the current disk of
//!   an option that is deleted is not, as in the reference: `rescan` adopts it.
//! * A disk counts as used if a drive or a snapshot has it, not if an option is only to get it: deleting it by force
//!   removes it although a change that names it is pending.
//! * Deleting `unusedN`, or a drive by force, frees its volume before the configuration is written. If the process dies
//!   in between, the option names a volume that is gone.

mod record;

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice};
use pve_config::format::split_list;
use pve_config::guest::{LockError, NoFreeUnused, VmConfig};
use pve_config::rule::ValueError;
use pve_config::schema;
use pve_config::vm::Memory;
use pve_volid::{VmId, VolumeType};

pub use crate::new_disk::NewDiskError;
pub use crate::option_rules::OptionError;

use self::record::Recorder;
use crate::disk;
use crate::hotplug::{self, HotplugError};
use crate::left_behind::{LeftBehind, and_left};
use crate::node::{LockMode, Node, WorldError};
use crate::option_rules;
use crate::pending::{self, PendingError};
use crate::release::ReleaseError;
use crate::snapshot::RUNNING_KEYS;
use crate::vm_file::{self, PATIENCE, VmFileError};

/// A change of the options of a VM.
///
/// ```
/// use pve_qemu::update::Update;
///
/// let change = Update::default().with("cores", "4").without("net1");
/// assert_eq!(Update::of_parameters([("cores", "4"), ("delete", "net1")]), change);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Update {
    /// Options that get a value. Drives may name new disks: `STORAGE:SIZE`, `STORAGE:0,import-from=SOURCE`,
    /// `STORAGE:cloudinit`.
    pub set: BTreeMap<BString, BString>,
    /// Options that go.
    pub delete: Vec<BString>,
    /// Options whose pending change is taken back.
    pub revert: Vec<BString>,
    /// Volumes of deleted drives are freed, not kept as `unusedN`.
    pub force: bool,
    /// Digest of the configuration that the change was made for.
    pub digest: Option<BString>,
    /// Although another operation has locked the VM.
    pub skip_lock: bool,
    /// Limit of copying what is imported, in KiB per second.
    pub bwlimit: Option<u64>,
}

impl Update {
    /// The same with a value for an option.
    #[must_use]
    pub fn with(mut self, key: impl Into<BString>, value: impl Into<BString>) -> Self {
        self.set.insert(key.into(), value.into());
        self
    }

    /// The same without an option.
    #[must_use]
    pub fn without(mut self, key: impl Into<BString>) -> Self {
        self.delete.push(key.into());
        self
    }

    /// The change that the parameters of a request ask for: options, and `delete`, `revert` (lists), `force`, `skiplock`,
    /// `digest`, `bwlimit`.
    pub fn of_parameters<K, V>(parameters: impl IntoIterator<Item = (K, V)>) -> Self
    where
        K: Into<BString>,
        V: Into<BString>,
    {
        let mut update = Update::default();
        for (key, value) in parameters {
            let (key, value) = (key.into(), value.into());
            let list = || split_list(&value).map(BString::from).collect();
            match key.as_bytes() {
                b"delete" => update.delete = list(),
                b"revert" => update.revert = list(),
                b"force" => update.force = value != "0",
                b"skiplock" => update.skip_lock = value != "0",
                b"digest" => update.digest = Some(value),
                b"bwlimit" => update.bwlimit = value.to_str().ok().and_then(|text| text.parse().ok()),
                _ => drop(update.set.insert(key, value)),
            }
        }
        update
    }
}

/// A VM that was changed.
#[derive(Debug)]
#[non_exhaustive]
pub struct Updated {
    /// Its configuration now. What could not be changed while it runs is pending.
    pub config: VmConfig<'static>,
    /// Options that were to be deleted, and not set.
    pub ignored: Vec<BString>,
    /// Volumes that nothing names any more, and that could not be freed.
    pub left_behind: Vec<LeftBehind>,
}

/// Why a VM was not changed, or not as it should be.
///
/// With [`UpdateError::Refused`], and after an error with one of several options, the others are recorded as pending or
/// even applied; with all other errors that concern the request as a whole nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The configuration cannot be read or written.
    #[error(transparent)]
    File(#[from] VmFileError),
    /// A lock was not to be had, or a cloud-init image not be made.
    #[error(transparent)]
    World(#[from] WorldError),
    /// An option cannot be set so.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// It asks for nothing.
    #[error("nothing is to be set, deleted or reverted")]
    Nothing,
    /// It names an option that does not exist.
    #[error("{0}")]
    Unknown(#[source] Box<ValueError>),
    /// It wants two things of an option.
    #[error("option {key} cannot be both {what}")]
    Conflict {
        /// The option.
        key: BString,
        /// `set and deleted` …
        what: &'static str,
    },
    /// Ballooning could never reach that.
    #[error("the least memory of ballooning ({balloon} MiB) is above the memory of the VM ({memory} MiB)")]
    Balloon {
        /// The option `balloon`.
        balloon: i64,
        /// The option `memory`.
        memory: i64,
    },
    /// The VM keeps its disks.
    #[error("VM {vmid} is protected; set protection=0 before its disks are removed")]
    Protected {
        /// The VM.
        vmid: VmId,
    },
    /// A device of the boot order does not exist, or is deleted.
    #[error("{device} cannot be booted from: there is no such device")]
    BootDevice {
        /// The device.
        device: BString,
    },
    /// A drive's volume cannot be let go.
    #[error("{key}: {source}")]
    Release {
        /// The option.
        key: BString,
        /// Why.
        source: ReleaseError,
    },
    /// A part of the value contradicts the VM, or the device.
    #[error("{key}: {reason}")]
    Contradiction {
        /// The option.
        key: BString,
        /// What contradicts what.
        reason: &'static str,
    },
    /// A drive cannot be made.
    #[error("{key}: {source}")]
    Disk {
        /// The option.
        key: BString,
        /// Why.
        source: Box<NewDiskError>,
    },
    /// A new drive was not recorded, and not everything that was allocated for it could be freed.
    #[error("{source}{}", and_left(.left_behind))]
    Left {
        /// Why it was not recorded.
        source: Box<UpdateError>,
        /// What is left.
        left_behind: Vec<LeftBehind>,
    },
    /// What was recorded could not be applied. It is pending.
    #[error("VM {vmid}: {}; the changes are pending", all(.refused))]
    Refused {
        /// The VM.
        vmid: VmId,
        /// Options, and what stands against them.
        refused: Vec<(BString, HotplugError)>,
    },
}

fn all(refused: &[(BString, HotplugError)]) -> String {
    let lines: Vec<String> = refused.iter().map(|(key, error)| format!("{key}: {error}")).collect();
    lines.join("; ")
}

impl From<PendingError> for UpdateError {
    fn from(error: PendingError) -> Self {
        match error {
            PendingError::File(error) => error.into(),
            PendingError::World(error) => error.into(),
            PendingError::Running { vmid } => {
                WorldError::Config { vmid, reason: "the VM was started meanwhile".into() }.into()
            }
        }
    }
}

/// Changes options of a VM of this node.
///
/// The keys in `sshkeys` are not looked at: the reference's update takes `ssh-ed25519 AAAA` for one. Whoever takes them from
/// people asks [`check_ssh_keys`](crate::cloudinit::check_ssh_keys) first.
///
/// # Errors
/// See [`UpdateError`] for what has happened by then.
pub fn update_vm(node: Node<'_>, vmid: VmId, update: &Update) -> Result<Updated, UpdateError> {
    let mut request = Request::check(node, update)?;
    let _guard = node.configs.lock(vmid, LockMode::Exclusive, PATIENCE)?;
    let config = vm_file::load(node, vmid)?;
    vm_file::check_digest(vmid, &config, update.digest.as_ref().map(|digest| digest.as_bstr()))?;
    request.check_lock(vmid, &config)?;
    request.revert(&config, &update.revert);
    request.delete_saved_state(&config);
    request.check_balloon(&config)?;

    let recorded = Recorder::new(node, vmid, config, &request).record()?;
    let requested: BTreeSet<BString> = request.set.keys().chain(&request.delete).cloned().collect();
    let mut left_behind = recorded.left_behind;
    let (config, refused) = if node.machines.is_running(vmid) {
        let applied = hotplug::apply(node, vmid, recorded.config, &requested)?;
        left_behind.extend(applied.left_behind);
        (applied.config, applied.refused)
    } else {
        let applied = pending::apply(node, vmid, recorded.config)?;
        left_behind.extend(applied.left_behind);
        let refused = applied.refused.into_iter().map(|(key, error)| (key, error.into()));
        (applied.config, refused.collect())
    };
    if !refused.is_empty() {
        return Err(UpdateError::Refused { vmid, refused });
    }
    Ok(Updated { config, ignored: recorded.ignored, left_behind })
}

/// A request whose options are checked and in the form in which they are stored.
struct Request {
    set: BTreeMap<BString, BString>,
    delete: Vec<BString>,
    force: bool,
    skip_lock: bool,
    bwlimit: Option<u64>,
}

impl Request {
    fn check(node: Node<'_>, update: &Update) -> Result<Self, UpdateError> {
        if update.set.is_empty() && update.delete.is_empty() && update.revert.is_empty() {
            return Err(UpdateError::Nothing);
        }
        let set = normalised(node, &update.set)?;
        let alias = |key: &BString| if key == "cdrom" { "ide2".into() } else { key.clone() };
        let delete: Vec<BString> = update.delete.iter().map(alias).collect();
        for key in delete.iter().chain(&update.revert) {
            if schema::VM.find(key).is_none() {
                return Err(UpdateError::Unknown(Box::new(schema::VM.unknown(key))));
            }
        }
        let conflict = |keys: &[BString], other: &dyn Fn(&BString) -> bool, what| {
            let found = keys.iter().find(|key| other(key)).cloned();
            found.map_or(Ok(()), |key| Err(UpdateError::Conflict { key, what }))
        };
        conflict(&delete, &|key| set.contains_key(key), "set and deleted")?;
        conflict(&update.revert, &|key| set.contains_key(key), "set and reverted")?;
        conflict(&update.revert, &|key| delete.contains(key), "deleted and reverted")?;
        let Update { force, skip_lock, bwlimit, .. } = *update;
        Ok(Request { set, delete, force, skip_lock, bwlimit })
    }

    fn deletes(&self, key: &str) -> bool {
        self.delete.iter().any(|deleted| deleted == key)
    }

    fn check_lock(&self, vmid: VmId, config: &VmConfig<'_>) -> Result<(), VmFileError> {
        let ends_suspension = self.deletes("vmstate") && config.has_lock("suspended");
        match config.main.lock() {
            Some(lock) if !self.skip_lock && !ends_suspension => {
                let source = LockError::Locked { lock: lock.to_owned() };
                Err(VmFileError::Locked { vmid, source })
            }
            _ => Ok(()),
        }
    }

    /// Taking a change back is setting the current value, or deleting one that is only pending.
    fn revert(&mut self, config: &VmConfig<'_>, keys: &[BString]) {
        for key in keys {
            if let Some(current) = config.main.get(key) {
                self.set.insert(key.clone(), current.to_owned());
            } else if config.pending.contains(key) {
                self.delete.push(key.clone());
            }
        }
    }

    /// What belongs to a saved state goes with it.
    fn delete_saved_state(&mut self, config: &VmConfig<'_>) {
        if !self.deletes("vmstate") {
            return;
        }
        let lock = config.has_lock("suspended").then_some("lock");
        let kept = RUNNING_KEYS.into_iter().filter(|key| config.main.contains(key));
        let more: Vec<&str> = lock.into_iter().chain(kept).filter(|key| !self.deletes(key)).collect();
        self.delete.extend(more.into_iter().map(BString::from));
    }

    fn check_balloon(&self, config: &VmConfig<'_>) -> Result<(), UpdateError> {
        let will_be = |key: &str| {
            let set = self.set.get(BStr::new(key)).map(|value| value.as_bstr());
            set.or_else(|| config.pending.get(key)).or_else(|| config.main.get(key))
        };
        if !["memory", "balloon"].iter().any(|key| self.set.contains_key(BStr::new(key))) {
            return Ok(());
        }
        let memory = Memory::read(will_be("memory").map(|text| text.as_bytes())).ok();
        let memory = memory.and_then(|memory| memory.current.get());
        let balloon = will_be("balloon").and_then(|text| text.to_str().ok()?.parse::<i64>().ok());
        match (balloon, memory) {
            (Some(balloon), Some(memory)) if balloon > memory => {
                Err(UpdateError::Balloon { balloon, memory })
            }
            _ => Ok(()),
        }
    }
}

/// The options of a request as they are meant.
fn normalised(
    node: Node<'_>,
    options: &BTreeMap<BString, BString>,
) -> Result<BTreeMap<BString, BString>, OptionError> {
    let mut set = option_rules::normalise_all(node, options.clone())?;
    if let Some(volume) = set.get(BStr::new("hookscript")) {
        let is_snippet =
            disk::volume(node, volume.as_bstr()).is_some_and(|volume| volume.vtype == VolumeType::Snippets);
        if !is_snippet || node.volumes.size(volume.as_bstr()).is_err() {
            return Err(OptionError::Hookscript { volume: volume.clone() });
        }
    }
    if let Some(id) = set.get_mut(BStr::new("vmgenid")).filter(|id| *id == "1") {
        *id = node.chance.uuid().into();
    }
    Ok(set)
}

impl UpdateError {
    fn full(key: &BString, source: NoFreeUnused) -> Self {
        UpdateError::Release { key: key.clone(), source: source.into() }
    }
}
