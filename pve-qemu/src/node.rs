// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world that a guest lives in, as the operations on guests see it: configurations, volumes, running machines, and
//! what is drawn or read at the moment of an operation.
//!
//! An operation is written once, against [`Node`]. What stands behind it decides what happens: the real node changes
//! it, a plan notes what would change, a test looks.

mod appliance;
#[cfg(feature = "database")]
mod database;
#[cfg(unix)]
mod directory;
mod files;
#[cfg(test)]
mod laws;
mod memory;
pub mod naming;
mod no_machines;
mod plan_step;
mod planned;
mod rehearsal;
mod stored;
mod system;

use std::fmt;
use std::time::Duration;

use bstr::{BStr, BString};
use pve_config::guest::{GuestKind, VmSection};
use pve_storage::Storages;
use pve_volid::{ImageFormat, StorageId, VmId, VolumeId, VolumeIdRef};
use serde_json::Value;

#[cfg(feature = "database")]
pub use database::DatabaseStore;
#[cfg(unix)]
pub use directory::DirectoryStore;
pub use memory::MemoryStore;
pub use no_machines::NoMachines;
pub use plan_step::PlanStep;
pub use planned::PlannedVolumes;
pub use rehearsal::Rehearsal;
pub use stored::StoredVolumes;
pub use system::SystemChance;

use crate::cloudinit::Resolver;
use crate::firmware::Variables;
use crate::host::{MAC_PREFIX, mac_prefix};
use crate::version::{Feature, MachineVersion, QemuVersion};

/// Everything that an operation on a guest can look at or change.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// Where the configurations are: the logical layer.
    pub configs: &'a dyn ConfigStore,
    /// Where the volumes are: the physical layer.
    pub volumes: &'a dyn Volumes,
    /// The running QEMU processes.
    pub machines: &'a dyn Machines,
    /// The clock, and what is drawn by lot.
    pub chance: &'a dyn Chance,
    /// What is known about the node.
    pub facts: &'a Facts,
}

impl Node<'_> {
    /// Whether the machine version of a running VM has a feature; if it is not known, that of the newest machine.
    pub(crate) fn has_feature(&self, vmid: VmId, feature: Feature) -> bool {
        let newest = || QemuVersion::parse(&self.facts.qemu_version).map(MachineVersion::newest_of);
        let version = self.machines.machine_version(vmid).or_else(newest);
        version.is_some_and(|version| version >= feature.threshold().since)
    }
}

/// What is known about a node and decides what an operation writes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Facts {
    /// Version of the installed QEMU, `11.0.0`.
    pub qemu_version: String,
    /// Architecture of the host, `x86_64`.
    pub arch: String,
    /// Prefix of new MAC addresses, of the cluster's `datacenter.cfg` (`BC:24:11`).
    pub mac_prefix: String,
    /// Name servers and search domain of the host.
    pub resolver: Resolver,
    /// Files with variables of firmware that hold Microsoft's certificate authority of 2023 (`OVMF_VARS_4M.ms.fd`).
    pub firmware_with_ca_2023: Vec<String>,
}

/// A current node of x86-64 with the usual prefix of MAC addresses.
impl Default for Facts {
    fn default() -> Self {
        Facts {
            qemu_version: "11.0.0".into(),
            arch: "x86_64".into(),
            mac_prefix: MAC_PREFIX.into(),
            resolver: Resolver::default(),
            firmware_with_ca_2023: Variables::WITH_KEYS.map(String::from).into(),
        }
    }
}

impl Facts {
    /// What the files of the cluster say: the prefix of MAC addresses, `mac_prefix` of `datacenter.cfg`.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn of_cluster(configs: &dyn ConfigStore) -> Result<Self, WorldError> {
        let text = configs.file("datacenter.cfg")?.unwrap_or_default();
        Ok(Facts { mac_prefix: mac_prefix(&text), ..Facts::default() })
    }
}

/// A guest of the cluster, as the tree of configurations knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestEntry {
    /// Its id, unique over all nodes and both kinds.
    pub vmid: VmId,
    /// VM or container.
    pub kind: GuestKind,
    /// The node whose directory holds its file.
    pub node: String,
}

/// Whether others may hold the same lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Nobody else.
    Exclusive,
    /// Others that share it.
    Shared,
}

/// Where the configurations of a cluster live: a directory laid out like `/etc/pve`, a `config.db`, or memory.
pub trait ConfigStore {
    /// The node that operations run on.
    fn node(&self) -> &str;

    /// All guests of the cluster, sorted by id.
    fn guests(&self) -> Result<Vec<GuestEntry>, WorldError>;

    /// The file of a guest of any node: where it is, and its bytes. `None` if there is no such guest.
    fn read(&self, vmid: VmId) -> Result<Option<(GuestEntry, BString)>, WorldError>;

    /// Replaces the file of a VM of this node in one step; readers see the old or the new text.
    ///
    /// # Errors
    /// If the VM is not on this node, or the text cannot be stored.
    fn write(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError>;

    /// Makes the file of a new VM on this node.
    ///
    /// # Errors
    /// If any guest of the cluster has that id.
    fn create(&self, vmid: VmId, text: &BStr) -> Result<(), WorldError>;

    /// Removes the file of a VM of this node.
    fn remove(&self, vmid: VmId) -> Result<(), WorldError>;

    /// Moves the file of a VM of this node into the directory of another (spec: vm-lifecycle, "Configuration move").
    fn move_to(&self, vmid: VmId, node: &str) -> Result<(), WorldError>;

    /// Another file of the cluster, by its path below `/etc/pve` (`datacenter.cfg`). `None` if it does not exist.
    fn file(&self, path: &str) -> Result<Option<BString>, WorldError>;

    /// Takes the lock of a VM's configuration; it is released when the guard goes (spec: vm-lifecycle, "File locks").
    ///
    /// Taking a lock again that this store holds succeeds at once.
    fn lock(&self, vmid: VmId, mode: LockMode, patience: Duration) -> Result<Box<dyn LockGuard>, WorldError>;
}

/// A lock that is held for as long as this value lives.
pub trait LockGuard {}

/// A volume as a storage lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedVolume {
    /// Its id.
    pub volid: VolumeId,
    /// Its owner by name, if the name says one.
    pub owner: Option<VmId>,
    /// Size that a guest sees, in bytes; that of its container if the storage does not know better now.
    pub size: u64,
    /// Whether the size is that which the guest sees.
    pub is_exact: bool,
    /// Its format.
    pub format: ImageFormat,
    /// The base volume of a linked clone, in the text that the storage lists.
    pub parent: Option<BString>,
}

impl ListedVolume {
    /// A volume of a size that is exactly known, without owner and parent.
    #[must_use]
    pub fn new(volid: VolumeId, size: u64, format: ImageFormat) -> Self {
        ListedVolume { volid, owner: None, size, is_exact: true, format, parent: None }
    }
}

/// Operations on volumes, at the level on which the life of a guest is told.
///
/// Volume ids come and go as the bytes that configurations hold. What only asks (images, sizes, paths, whether a rollback
/// is possible) changes nothing: a storage that has to be made usable for that is activated before.
pub trait Volumes {
    /// The storages of the cluster.
    fn storages(&self) -> &Storages;

    /// Disk images of a storage, of one owner or of all.
    fn images(&self, storage: &StorageId, owner: Option<VmId>) -> Result<Vec<ListedVolume>, WorldError>;

    /// Size in bytes that the guest sees, and format; of a volume, or of a file or device by its absolute path.
    fn size(&self, volume: &BStr) -> Result<(u64, ImageFormat), WorldError>;

    /// Where QEMU finds a volume on this host; an absolute path is its own answer.
    ///
    /// Without an implementation of its own: where the storage's configuration says, asking nothing and nobody.
    ///
    /// # Errors
    /// If the storage is not known, or does not take the name.
    fn path(&self, volume: &BStr) -> Result<BString, WorldError> {
        if volume.starts_with(b"/") {
            return Ok(volume.to_owned());
        }
        let id = VolumeIdRef::from_bytes(volume).map_err(pve_storage::Error::from)?;
        let storage = self.storages().require(id.storage().as_str())?;
        Ok(storage.volume(id.volname())?.path(None, &pve_storage::Facts::default())?)
    }

    /// The volume that an absolute path belongs to.
    fn volume_at(&self, path: &BStr) -> Result<Option<VolumeId>, WorldError>;

    /// Allocates a volume; `kib` is its size in KiB (fractions occur). Without a name the next free one is taken.
    fn allocate(
        &self,
        storage: &StorageId,
        owner: VmId,
        format: ImageFormat,
        name: Option<&BStr>,
        kib: f64,
    ) -> Result<VolumeId, WorldError>;

    /// Frees a volume.
    fn free(&self, volume: &BStr) -> Result<(), WorldError>;

    /// Makes a linked clone for `owner`.
    fn clone_linked(&self, base: &BStr, snapshot: Option<&BStr>, owner: VmId)
    -> Result<VolumeId, WorldError>;

    /// Copies the content of a volume, snapshot, file or device into an existing volume.
    fn copy(
        &self,
        source: &BStr,
        snapshot: Option<&BStr>,
        target: &BStr,
        options: CopyOptions,
    ) -> Result<(), WorldError>;

    /// Turns a volume into a base that can be cloned.
    fn create_base(&self, volume: &BStr) -> Result<VolumeId, WorldError>;

    /// Gives a volume another owner, or name.
    fn rename(&self, volume: &BStr, owner: VmId, name: Option<&BStr>) -> Result<VolumeId, WorldError>;

    /// Gives a volume another size, in bytes.
    fn resize(&self, volume: &BStr, size: u64, running: bool) -> Result<(), WorldError>;

    /// Makes a snapshot of a volume.
    fn create_snapshot(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError>;

    /// Removes a snapshot of a volume.
    fn delete_snapshot(&self, volume: &BStr, snapshot: &BStr, running: bool) -> Result<(), WorldError>;

    /// Whether a volume can go back to a snapshot.
    fn check_rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError>;

    /// Takes a volume back to a snapshot.
    fn rollback(&self, volume: &BStr, snapshot: &BStr) -> Result<(), WorldError>;

    /// Makes a storage usable: its directories are made, its file system is mounted.
    fn activate_storage(&self, storage: &StorageId) -> Result<(), WorldError>;

    /// Makes volumes usable, with their storages.
    fn activate(&self, volumes: &[&BStr]) -> Result<(), WorldError>;

    /// Tells the storages that volumes are not used any more.
    fn deactivate(&self, volumes: &[&BStr]) -> Result<(), WorldError>;

    /// Generates the cloud-init image of a configuration into a volume (the whole rule set of `cloudinit`).
    fn write_cloudinit(
        &self,
        vmid: VmId,
        config: &pve_config::guest::VmConfig<'_>,
        volume: &BStr,
    ) -> Result<(), WorldError>;
}

/// How a volume is copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyOptions {
    /// Limit, in KiB per second; `None` for none.
    pub bwlimit: Option<u64>,
    /// The target is known to read as zeros, so zeros need no writing.
    pub sparse: bool,
    /// Copy only so many bytes, from the start (the variables in an EFI disk that is larger than they are); `None` for all.
    pub limit: Option<u64>,
}

/// The running QEMU processes of this node.
pub trait Machines {
    /// Whether QEMU runs for this VM (spec: vm-lifecycle, "Paths").
    fn is_running(&self, vmid: VmId) -> bool;

    /// Sends a QMP command (or one of the agent, `guest-…`) and waits for the answer; without `timeout` as long as the
    /// command deserves (spec: vm-lifecycle, "QMP time-outs").
    fn qmp(
        &self,
        vmid: VmId,
        command: &str,
        arguments: Value,
        timeout: Option<Duration>,
    ) -> Result<Value, WorldError>;

    /// The machine version that a VM runs with, if that is known; otherwise it is taken to be the newest.
    fn machine_version(&self, _vmid: VmId) -> Option<MachineVersion> {
        None
    }

    /// One of the composite changes of a running machine.
    fn change(&self, vmid: VmId, change: &MachineChange<'_>) -> Result<(), WorldError>;
}

/// A change of a running machine that takes several commands, or others than those of QMP (spec: vm-lifecycle, "Hot-plug").
///
/// What is there already, or gone already, is a success. Sections are those of the configuration that holds the device:
/// the new one for what comes, the old one for what goes.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum MachineChange<'a> {
    /// Copies a disk to another volume while the machine runs.
    Mirror {
        /// The option.
        key: &'a BStr,
        /// Volume it is on.
        source: &'a BStr,
        /// Volume it goes to.
        target: &'a BStr,
        /// Whether the machine goes on with the copy (a disk that moves), or stays where it is (a clone).
        switch: bool,
    },
    /// Plugs a drive, a network card, or the tablet (`tablet`), with what it needs.
    Plug {
        /// The option.
        key: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Unplugs a device, and what only it needed.
    Unplug {
        /// The option.
        key: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Plugs a USB device; if it is the first one, its controller too.
    PlugUsb {
        /// The option.
        key: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Plugs or unplugs CPUs.
    Cpus {
        /// How many there are.
        from: u64,
        /// How many there shall be.
        to: u64,
        /// The number that the option `vcpus` gives; `None`: all that there are places for.
        configured: Option<u64>,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Plugs or unplugs memory.
    Memory {
        /// How much there shall be, in MiB.
        mib: u64,
        /// The options of the VM, with the memory that there is.
        section: &'a VmSection<'a>,
    },
    /// Tells the balloon how much memory the guest shall have.
    Balloon {
        /// Memory of the guest, in MiB.
        mib: u64,
    },
    /// Changes the medium of a CD-ROM drive.
    Medium {
        /// The option.
        key: &'a BStr,
        /// Volume or path; `none` and `cdrom` as in the configuration.
        file: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Limits the throughput of a drive.
    Throttle {
        /// The option.
        key: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Pulls the cable of a network card, or puts it in.
    Link {
        /// The option.
        key: &'a BStr,
        /// Whether it is in.
        up: bool,
    },
    /// Plugs the host's end of a network card into another bridge, or otherwise.
    Tap {
        /// The option.
        key: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Limits the rate of a network card at the host's end.
    Rate {
        /// The option.
        key: &'a BStr,
        /// The options of the VM.
        section: &'a VmSection<'a>,
    },
    /// Sets the weight of the VM when CPUs are scarce.
    CpuWeight {
        /// From 1 to 10,000; `None` for the default.
        weight: Option<u64>,
    },
    /// Limits the CPUs that the VM uses up.
    CpuQuota {
        /// In percent of one CPU; `None` for no limit.
        percent: Option<u64>,
    },
}

/// The change in words, as plans show it.
impl fmt::Display for MachineChange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MachineChange::Mirror { key, source, target, switch } => {
                write!(
                    f,
                    "copy {key} from {source} to {target}{}",
                    if *switch { " and go on there" } else { "" }
                )
            }
            MachineChange::Plug { key, .. } | MachineChange::PlugUsb { key, .. } => write!(f, "plug {key}"),
            MachineChange::Unplug { key, .. } => write!(f, "unplug {key}"),
            MachineChange::Cpus { from, to, .. } => {
                write!(f, "change the number of CPUs from {from} to {to}")
            }
            MachineChange::Memory { mib, .. } => write!(f, "change the memory to {mib} MiB"),
            MachineChange::Balloon { mib } => write!(f, "give the guest {mib} MiB of memory"),
            MachineChange::Medium { key, file, .. } => write!(f, "change the medium of {key} to {file}"),
            MachineChange::Throttle { key, .. } => write!(f, "change the limits of {key}"),
            MachineChange::Link { key, up } => {
                write!(f, "set the link of {key} {}", if *up { "up" } else { "down" })
            }
            MachineChange::Tap { key, .. } => write!(f, "connect {key} anew at the host's end"),
            MachineChange::Rate { key, .. } => write!(f, "change the rate of {key}"),
            MachineChange::CpuWeight { weight: Some(weight) } => {
                write!(f, "change the CPU weight to {weight}")
            }
            MachineChange::CpuWeight { weight: None } => write!(f, "change the CPU weight to the default"),
            MachineChange::CpuQuota { percent: Some(percent) } => {
                write!(f, "limit the CPUs to {percent} % of one")
            }
            MachineChange::CpuQuota { percent: None } => write!(f, "lift the limit of the CPUs"),
        }
    }
}

/// The clock, and what is drawn by lot.
pub trait Chance {
    /// Seconds since 1970.
    fn now(&self) -> i64;
    /// A fresh random UUID, lower case.
    fn uuid(&self) -> String;
    /// A fresh MAC address with the prefix of the cluster, upper case.
    fn mac(&self, prefix: &str) -> String;
    /// The form in which a cloud-init password is stored (spec: cloudinit, "Passwords").
    fn crypt(&self, password: &[u8]) -> BString;
    /// Lets time pass.
    fn sleep(&self, time: Duration);
}

/// Something of the world did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorldError {
    /// A configuration cannot be read or written.
    #[error("configuration of guest {vmid}: {reason}")]
    Config {
        /// The guest.
        vmid: VmId,
        /// What happened.
        reason: String,
    },
    /// The lock was not to be had.
    #[error("cannot lock the configuration of guest {vmid} within {patience:?}: another task holds it")]
    Locked {
        /// The guest.
        vmid: VmId,
        /// How long was waited.
        patience: Duration,
    },
    /// A storage operation failed.
    #[error(transparent)]
    Storage(#[from] pve_storage::Error),
    /// A file of the cluster cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// Its path.
        path: String,
        /// What happened.
        reason: String,
    },
    /// A VM that does not run was to be told something.
    #[error("VM {vmid} is not running")]
    NotRunning {
        /// The VM.
        vmid: VmId,
    },
    /// QEMU, or the agent in the guest, did not do what it was told.
    #[error("VM {vmid}: {source}")]
    Qmp {
        /// The VM.
        vmid: VmId,
        /// Why.
        source: Box<crate::qmp::QmpError>,
    },
    /// Anything else that a world of its own has to say.
    #[error("{0}")]
    Other(String),
}
