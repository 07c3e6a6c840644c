// SPDX-License-Identifier: MIT OR Apache-2.0
//! A whole cluster from its configuration files: nodes, storages, guests, the volumes they refer to, and what does not
//! fit together.
//!
//! The input is any number of paths with their contents, as they lie below `/etc/pve` or in a `config.db`; where they
//! come from is the caller's business. Nothing physical is looked at: whether a volume really exists is another question
//! (the audit of `pve-storage` answers it). What can be said from the configuration alone is said here.
//!
//! ```
//! use pve_config::inventory::Inventory;
//!
//! let files = [
//!     ("storage.cfg", &b"lvmthin: local-lvm\n\tvgname pve\n\tthinpool data\n"[..]),
//!     ("nodes/pve1/qemu-server/100.conf", b"name: web\nscsi0: local-lvm:vm-100-disk-0,size=8G\nscsi1: nas:100/vm-100-disk-1.raw\n"),
//! ];
//! let cluster = Inventory::new(files);
//! let web = &cluster.guests[0];
//! assert_eq!((web.vmid, web.name().unwrap()), (100, "web".into()));
//!
//! // scsi1 lies on a storage that nobody declared
//! let problems: Vec<String> = cluster.problems().map(|(_, _, problem)| problem.to_string()).collect();
//! assert_eq!(problems, ["storage \"nas\" does not exist"]);
//! ```

mod card;
mod loose_end;
mod problem;
mod volume;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bstr::{BStr, BString, ByteSlice};

pub use card::Card;
pub use loose_end::{LooseEnd, LooseReason};
pub use problem::{BaseState, Problem};
use problem::{Owner, Surroundings};
pub use volume::{Referenced, Target, Volume};

use crate::diagnostic::Diagnostic;
use crate::format::Context;
use crate::guest::{GuestKind, LxcConfig, VmConfig, VolumeReference};
use crate::ha::{HaGroups, HaResources, HaRules};
use crate::job::{Jobs, ReplicationJobs};
use crate::mapping::Resource;
use crate::storage::StorageConfig;
use crate::vm::CustomModels;

/// What the configuration files of a cluster say.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inventory<'f> {
    /// The nodes: every folder below `nodes`, sorted by name.
    pub nodes: Vec<BString>,
    /// The storages.
    pub storages: StorageConfig<'f>,
    /// Whether there is a `storage.cfg` at all; without it only the built-in `local` exists.
    pub has_storage_cfg: bool,
    /// The guests, in the order of their ids, then of their nodes. An id occurs twice only in a broken cluster.
    pub guests: Vec<Guest<'f>>,
    /// The guests that are kept running.
    pub ha_resources: HaResources<'f>,
    /// Where they run.
    pub ha_rules: HaRules<'f>,
    /// The same, before Proxmox VE 9.
    pub ha_groups: HaGroups<'f>,
    /// Backups and other jobs.
    pub jobs: Jobs<'f>,
    /// Copies of guests on other nodes.
    pub replication: ReplicationJobs<'f>,
    /// What is skipped or repaired in the files of resource mappings and custom CPU models, with their paths.
    pub other_diagnostics: Vec<(&'static str, Diagnostic)>,
}

/// A guest.
#[derive(Debug)]
#[non_exhaustive]
pub struct Guest<'f> {
    /// Its id. The file name may carry numbers below 100, which the management refuses but the cluster lists.
    pub vmid: u32,
    /// The node that its file lies with, and so the node that runs it.
    pub node: BString,
    /// Path of its file.
    pub path: BString,
    /// Its configuration.
    pub config: GuestConfig<'f>,
    /// What is skipped or repaired in its file.
    pub diagnostics: Vec<Diagnostic>,
    /// Everything it refers to, in the order of the file as it is written.
    pub volumes: Vec<Referenced>,
    /// Its file.
    pub text: &'f [u8],
}

/// The configuration of a guest of either kind.
#[derive(Debug)]
#[non_exhaustive]
pub enum GuestConfig<'f> {
    /// A virtual machine.
    Vm(VmConfig<'f>),
    /// A container.
    Container(LxcConfig<'f>),
}

impl<'f> Inventory<'f> {
    /// Reads the files, whose paths are relative to `/etc/pve` (a leading slash does not matter). Files that have no part
    /// in an inventory are passed over.
    pub fn new<P: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, &'f [u8])>) -> Self {
        Inventory::with_context(files, &Context::default())
    }

    /// Like [`Inventory::new`], with knowledge of the host: its CPU models and time zones. Custom CPU models are taken from
    /// the files.
    pub fn with_context<P: AsRef<[u8]>>(
        files: impl IntoIterator<Item = (P, &'f [u8])>,
        context: &Context<'_>,
    ) -> Self {
        let files: Vec<(P, &'f [u8])> = files.into_iter().collect();
        let files: Vec<(&[u8], &'f [u8])> = files
            .iter()
            .map(|(path, content)| (path.as_ref().trim_start_with(|c| c == '/'), *content))
            .collect();
        let file = |wanted: &str| -> Option<&'f [u8]> {
            files.iter().find(|(path, _)| *path == wanted.as_bytes()).map(|(_, content)| *content)
        };
        let text = |wanted: &str| file(wanted).unwrap_or_default();
        let models = CustomModels::parse(text(CustomModels::PATH), context);
        let names: Vec<BString> = models.models().map(|model| model.name.to_owned()).collect();
        let context = context.with_custom_cpu_models(&names);
        let mut nodes = BTreeSet::new();
        let mut guests = Vec::new();
        for (path, content) in &files {
            if let Some((node, rest)) = node_path(path) {
                nodes.insert(BString::from(node));
                if let Some((kind, vmid)) = guest_file(rest) {
                    guests.push(Guest::read(kind, vmid, node, path, content, &context));
                }
            }
        }
        guests.sort_by(|a, b| (a.vmid, &a.node).cmp(&(b.vmid, &b.node)));
        let mut other_diagnostics = Vec::new();
        for resource in Resource::ALL {
            let mapping = resource.format().parse(text(resource.path()));
            other_diagnostics
                .extend(mapping.diagnostics().iter().map(|found| (resource.path(), found.clone())));
        }
        other_diagnostics
            .extend(models.diagnostics().iter().map(|found| (CustomModels::PATH, found.clone())));
        let mut inventory = Inventory {
            nodes: nodes.into_iter().collect(),
            storages: StorageConfig::parse(text("storage.cfg")),
            has_storage_cfg: file("storage.cfg").is_some(),
            guests,
            ha_resources: HaResources::parse(text(HaResources::PATH)),
            ha_rules: HaRules::parse(text(HaRules::PATH)),
            ha_groups: HaGroups::parse(text(HaGroups::PATH)),
            jobs: Jobs::parse(text(Jobs::PATH)),
            replication: ReplicationJobs::parse(text(ReplicationJobs::PATH)),
            other_diagnostics,
        };
        inventory.relate();
        inventory
    }

    /// Adds nodes that have no file; empty folders of a tree, for example.
    pub fn add_nodes<N: AsRef<[u8]>>(&mut self, names: impl IntoIterator<Item = N>) {
        let all: BTreeSet<BString> =
            self.nodes.drain(..).chain(names.into_iter().map(|name| name.as_ref().into())).collect();
        self.nodes = all.into_iter().collect();
    }

    /// The first guest with this id.
    #[must_use]
    pub fn guest(&self, vmid: u32) -> Option<&Guest<'f>> {
        let at = self.guests.partition_point(|guest| guest.vmid < vmid);
        self.guests.get(at).filter(|guest| guest.vmid == vmid)
    }

    /// Every reference that does not fit, with the guest and what is wrong; guests in their order.
    pub fn problems(&self) -> impl Iterator<Item = (&Guest<'f>, &Referenced, &Problem)> {
        self.guests.iter().flat_map(|guest| {
            let of_guest = guest.volumes.iter();
            of_guest
                .flat_map(move |volume| volume.problems.iter().map(move |problem| (guest, volume, problem)))
        })
    }

    /// Ids that more than one file claims. The cluster file system refuses to start with such a database.
    pub fn duplicate_ids(&self) -> impl Iterator<Item = (&Guest<'f>, &Guest<'f>)> {
        self.guests.iter().zip(self.guests.iter().skip(1)).filter(|(one, next)| one.vmid == next.vmid)
    }

    /// Works out what each reference means and what is wrong with it.
    fn relate(&mut self) {
        let references: Vec<_> = self.guests.iter().map(Guest::references).collect();
        let mut owners: HashMap<u32, Owner<'_>> = HashMap::new();
        let mut users: BTreeMap<&BStr, BTreeSet<u32>> = BTreeMap::new();
        for (guest, found) in self.guests.iter().zip(&references) {
            for reference in found {
                owners.entry(guest.vmid).or_default().add(reference.volume);
                if reference.role.is_guest_data() {
                    users.entry(reference.volume).or_default().insert(guest.vmid);
                }
            }
            owners.entry(guest.vmid).or_default();
        }
        let around = Surroundings { storages: &self.storages, guests: &owners, users: &users };
        let resolve = |(guest, found): (&Guest<'f>, &Vec<VolumeReference<'_>>)| -> Vec<Referenced> {
            found.iter().map(|reference| around.resolve(guest, reference)).collect()
        };
        let resolved: Vec<_> = self.guests.iter().zip(&references).map(resolve).collect();
        for (guest, volumes) in self.guests.iter_mut().zip(resolved) {
            guest.volumes = volumes;
        }
    }
}

impl<'f> Guest<'f> {
    fn read(
        kind: GuestKind,
        vmid: u32,
        node: &[u8],
        path: &[u8],
        content: &'f [u8],
        context: &Context<'_>,
    ) -> Self {
        let (config, diagnostics) = match kind {
            GuestKind::Qemu => {
                let (config, diagnostics) = VmConfig::parse_with(content, context);
                (GuestConfig::Vm(config), diagnostics)
            }
            GuestKind::Lxc => {
                let (config, diagnostics) = LxcConfig::parse_with(content, context);
                (GuestConfig::Container(config), diagnostics)
            }
        };
        Guest {
            vmid,
            node: node.into(),
            path: path.into(),
            config,
            diagnostics: diagnostics.into_iter().collect(),
            volumes: Vec::new(),
            text: content,
        }
    }

    /// Virtual machine or container.
    #[must_use]
    pub fn kind(&self) -> GuestKind {
        match &self.config {
            GuestConfig::Vm(_) => GuestKind::Qemu,
            GuestConfig::Container(_) => GuestKind::Lxc,
        }
    }

    /// An option of the current configuration.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&BStr> {
        match &self.config {
            GuestConfig::Vm(config) => config.main.get(key),
            GuestConfig::Container(config) => config.main.get(key),
        }
    }

    /// Everything it refers to, as it stands in the configuration.
    #[must_use]
    pub fn references(&self) -> Vec<VolumeReference<'_>> {
        match &self.config {
            GuestConfig::Vm(config) => config.volume_references(),
            GuestConfig::Container(config) => config.volume_references(),
        }
    }

    /// Its name: the option `name` of a virtual machine, `hostname` of a container.
    #[must_use]
    pub fn name(&self) -> Option<&BStr> {
        self.option(match self.kind() {
            GuestKind::Qemu => "name",
            GuestKind::Lxc => "hostname",
        })
    }

    /// Whether it is a template.
    #[must_use]
    pub fn is_template(&self) -> bool {
        match &self.config {
            GuestConfig::Vm(config) => config.main.is_template(),
            GuestConfig::Container(config) => config.main.is_template(),
        }
    }

    /// The operation that keeps others away from it, if there is one.
    #[must_use]
    pub fn lock(&self) -> Option<&BStr> {
        match &self.config {
            GuestConfig::Vm(config) => config.main.lock(),
            GuestConfig::Container(config) => config.main.lock(),
        }
    }

    /// Names of its snapshots, sorted.
    #[must_use]
    pub fn snapshots(&self) -> Vec<&BStr> {
        match &self.config {
            GuestConfig::Vm(config) => config.snapshots().map(|(name, _)| name).collect(),
            GuestConfig::Container(config) => config.snapshots().map(|(name, _)| name).collect(),
        }
    }

    /// Number of options with a change that waits, deletions included.
    #[must_use]
    pub fn pending_changes(&self) -> usize {
        let (sets, deletes) = match &self.config {
            GuestConfig::Vm(config) => (config.pending.len(), config.pending.delete_list()),
            GuestConfig::Container(config) => (config.pending.len(), config.pending.delete_list()),
        };
        let list = usize::from(!deletes.is_empty());
        sets.saturating_sub(list) + deletes.iter().len()
    }

    /// CPUs that it sees: of a virtual machine sockets × cores, of a container `cores`; `None`: all of the host's.
    #[must_use]
    pub fn cpus(&self) -> Option<u64> {
        match &self.config {
            GuestConfig::Vm(config) => {
                let sockets = config.main.integer("sockets").or_else(|| config.main.integer("smp"));
                Some(sockets.unwrap_or(1).saturating_mul(config.main.integer("cores").unwrap_or(1)))
            }
            GuestConfig::Container(config) => config.main.integer("cores"),
        }
    }

    /// Memory, MiB; `None` if the value cannot be read. 512 without the option.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        match &self.config {
            GuestConfig::Vm(config) => config.main.memory().ok()?.current.to(),
            GuestConfig::Container(config) => match config.main.get("memory") {
                Some(_) => config.main.integer("memory"),
                None => Some(512),
            },
        }
    }
}

/// Node and rest of a path below `nodes`.
fn node_path(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let (node, rest) = path.strip_prefix(b"nodes/")?.split_once_str("/")?;
    (!node.is_empty()).then_some((node, rest))
}

/// Kind and id, if the path below a node is that of a guest's configuration. The number starts with 1 to 9 and fits in 32
/// bits (spec: pmxcfs, "Guest list").
fn guest_file(rest: &[u8]) -> Option<(GuestKind, u32)> {
    let text = rest.to_str().ok()?;
    let (kind, digits) = GuestKind::of_path(text)?;
    let plain = text.bytes().filter(|byte| *byte == b'/').count() == 1 && !digits.starts_with('0');
    Some((kind, digits.parse().ok().filter(|_| plain)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_guests_of_nodes_count() {
        assert_eq!(guest_file(b"qemu-server/100.conf"), Some((GuestKind::Qemu, 100)));
        assert_eq!(guest_file(b"lxc/7.conf"), Some((GuestKind::Lxc, 7)));
        for path in [
            "qemu-server/0100.conf",
            "a/qemu-server/100.conf",
            "qemu-server/4294967296.conf",
            "qemu-server/.keep",
        ] {
            assert_eq!(guest_file(path.as_bytes()), None, "{path}");
        }
    }

    #[test]
    fn counts_what_waits() {
        let files =
            [("/nodes/a/qemu-server/100.conf", &b"ciuser: x\n[PENDING]\nmemory: 1024\ndelete: ciuser\n"[..])];
        let cluster = Inventory::new(files);
        assert_eq!(cluster.guests[0].pending_changes(), 2);
        assert_eq!(cluster.nodes, ["a"]);
        assert!(!cluster.has_storage_cfg);
    }

    #[test]
    fn copies_on_other_nodes() {
        let text = b"local: 100-0\n\ttarget beta\n\tschedule */15\n\nlocal: 100-1\n\ttarget gamma\n\tdisable 1\n\nlocal: x\n\ttarget beta\n\nlocal: 101-0\n\tsource alpha\n";
        let cluster = Inventory::new([("replication.cfg", &text[..])]);
        let jobs: Vec<_> = cluster
            .replication
            .jobs()
            .filter_map(|job| Some((job.vmid()?, job.target()?.to_string())))
            .collect();
        assert_eq!(jobs, [(100, "beta".to_owned()), (100, "gamma".to_owned())]);
    }

    #[test]
    fn custom_cpu_models_are_those_of_the_cluster() {
        let conf = ("nodes/a/qemu-server/100.conf", &b"cpu: custom-db\n"[..]);
        assert_eq!(Inventory::new([conf]).guests[0].diagnostics.len(), 1);
        let models = ("virtual-guest/cpu-models.conf", &b"cpu-model: db\n\treported-model nope\n"[..]);
        let cluster = Inventory::new([conf, models]);
        assert!(cluster.guests[0].diagnostics.is_empty());
        assert_eq!(cluster.other_diagnostics[0].0, "virtual-guest/cpu-models.conf");
    }

    #[test]
    fn an_id_that_two_files_claim() {
        let files = [("nodes/a/qemu-server/100.conf", &b""[..]), ("nodes/b/lxc/100.conf", b"")];
        let cluster = Inventory::new(files);
        assert_eq!(cluster.duplicate_ids().count(), 1);
    }
}
