// SPDX-License-Identifier: MIT OR Apache-2.0
//! The entrance: host facts and storages prepared once, then any number of command lines.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice as _};
use pve_config::format::Context;
use pve_config::guest::{VmConfig, VmSection};
use pve_config::vm::CustomModels;
use pve_storage::{Storage, Storages};
use pve_volid::{VmId, VolumeIdRef};

use crate::argument::Arguments;
use crate::assembly::Assembly;
use crate::command_line::CommandLine;
use crate::conf::Conf;
use crate::cpu::CustomModel;
use crate::drive::Drives;
use crate::error::{CommandError, Reason};
use crate::host::Host;
use crate::mapping::Mappings;
use crate::origin::{Key, Rule};

/// Builds command lines for the virtual machines of a node.
///
/// What does not depend on the machine is prepared once, so that thousands of command lines cost little. A builder can
/// be shared between threads.
pub struct Builder<'a> {
    host: &'a Host,
    storages: &'a Storages,
    mappings: Mappings,
    custom_models: HashMap<BString, CustomModel>,
    custom_names: Vec<BString>,
    model_names: Option<Vec<BString>>,
}

/// What the caller wants besides what is configured.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct Options<'o> {
    /// Build the command line of this snapshot.
    pub snapshot: Option<&'o BStr>,
    /// Machine type instead of the configured one: that of the source of a migration, or of a saved state.
    pub force_machine: Option<&'o BStr>,
    /// Argument of `-cpu` instead of the configured CPU, likewise.
    pub force_cpu: Option<&'o BStr>,
    /// MTU that the network cards had on the source, `net0=1500,net1=0`.
    pub nets_host_mtu: Option<&'o BStr>,
    /// What the command line is for.
    pub launch: Launch<'o>,
    /// Drives that are restored while the guest runs.
    pub live_restore: &'o [LiveRestore<'o>],
}

/// What a command line is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Launch<'o> {
    /// To be looked at, as with `qm showcmd`.
    #[default]
    Show,
    /// To be run.
    Start {
        /// Where the guest's state comes from, if it does not boot.
        state: Option<State<'o>>,
        /// The CPUs wait for a command.
        paused: bool,
    },
}

/// Where the state of a starting guest comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum State<'o> {
    /// A migration over TCP, whose port is chosen later by QMP.
    IncomingTcp,
    /// A migration over a local socket.
    IncomingSocket,
    /// A file or volume with a saved state, as path.
    File(&'o BStr),
}

/// A drive whose content comes from a backup or image while the guest runs (spec: qemu-command-drives, "Templates, live
/// restore and other users of the chain").
#[derive(Debug, Clone, Copy)]
pub struct LiveRestore<'o> {
    /// The drive, `scsi0`.
    pub drive: &'o str,
    /// Name of the block node with the old content.
    pub node_name: &'o str,
    /// The node, in the syntax that the machine version wants: text of `-blockdev` before 10.0, JSON from then on.
    pub node: &'o BStr,
}

impl<'a> Builder<'a> {
    /// Prepares to build command lines for a host and its storages.
    #[must_use]
    pub fn new(host: &'a Host, storages: &'a Storages) -> Self {
        let mappings = Mappings::new(
            host.pci_mapping.as_bytes(),
            host.usb_mapping.as_bytes(),
            host.dir_mapping.as_bytes(),
        );
        let model_names: Option<Vec<_>> =
            host.cpu_models.is_some().then(|| host.cpu_models().map(BString::from).collect());
        let context = match &model_names {
            Some(names) => Context::default().with_cpu_models(names),
            None => Context::default(),
        };
        let custom_models = custom_models(host, &context);
        let custom_names = custom_models.keys().cloned().collect();
        Builder { host, storages, mappings, custom_models, custom_names, model_names }
    }

    /// What checks of configuration values need to know of this host, for reading configurations.
    #[must_use]
    pub fn context(&self) -> Context<'_> {
        let context = Context::default().with_custom_cpu_models(&self.custom_names);
        match &self.model_names {
            Some(names) => context.with_cpu_models(names),
            None => context,
        }
    }

    /// Builds the command line of a virtual machine.
    ///
    /// # Errors
    ///
    /// Whatever makes the reference refuse; the error names the option at fault.
    pub fn build(
        &self,
        vmid: VmId,
        config: &VmConfig<'_>,
        options: &Options<'_>,
    ) -> Result<CommandLine, CommandError> {
        let section = section(config, options)?;
        Assembly::new(self, vmid, Conf::new(section, self.context()), options).run()
    }

    /// The paths of the host that the command line depends on: images, devices, keys, libraries. For
    /// [`Host::probe_paths`].
    #[must_use]
    pub fn consulted(&self, vmid: VmId, config: &VmConfig<'_>, options: &Options<'_>) -> Vec<String> {
        let Ok(section) = section(config, options) else { return Vec::new() };
        Assembly::new(self, vmid, Conf::new(section, self.context()), options).consulted()
    }

    /// The volumes that the command line refers to, in the order in which drives are visited. For
    /// [`Host::probe_volumes`].
    #[must_use]
    pub fn volumes(&self, config: &VmConfig<'_>, options: &Options<'_>) -> Vec<BString> {
        let Ok(section) = section(config, options) else { return Vec::new() };
        let conf = Conf::new(section, self.context());
        let (drives, _) = Drives::read(&conf);
        let files = drives.visited().map(|drive| drive.file).chain(conf.truthy("vmstate"));
        files.filter(|file| VolumeIdRef::from_bytes(file).is_ok()).map(BStr::to_owned).collect()
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &'a Host {
        self.host
    }

    /// The storage `id`.
    pub(crate) fn storage(&self, id: &str) -> Option<&'a Storage> {
        self.storages.get(id)
    }

    /// Resource mappings of the cluster.
    pub(crate) fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// The custom CPU model that `custom-NAME` stands for.
    pub(crate) fn custom_model(&self, cputype: &[u8]) -> Option<&CustomModel> {
        self.custom_models.get(cputype.strip_prefix(b"custom-")?.as_bstr())
    }
}

/// The section of the configuration that counts.
fn section<'c>(config: &'c VmConfig<'c>, options: &Options<'_>) -> Result<&'c VmSection<'c>, CommandError> {
    let Some(name) = options.snapshot else { return Ok(&config.main) };
    config
        .snapshot(name)
        .ok_or_else(|| CommandError::new(Key::NONE, Reason::NoSnapshot(name.to_str_lossy().into_owned())))
}

impl<'o> Options<'o> {
    /// The node that `drive` is restored from.
    pub(crate) fn live_restore(&self, drive: &BStr) -> Option<&'o LiveRestore<'o>> {
        self.live_restore.iter().find(|restore| *restore.drive == *drive)
    }
}

impl Assembly<'_> {
    /// What a start adds to the end.
    pub(crate) fn put_launch(&mut self, command: &mut Arguments) {
        let Launch::Start { state, paused } = self.options.launch else { return };
        let vmid = self.vmid.get();
        match state {
            Some(State::IncomingTcp) => {
                command.pair("-incoming", "defer", Rule::Incoming.caller("state"));
                command.push("-S", Rule::Incoming.caller("state"));
            }
            Some(State::IncomingSocket) => {
                let socket = format!("unix:/run/qemu-server/{vmid}.migrate");
                command.pair("-incoming", socket, Rule::Incoming.caller("state"));
                command.push("-S", Rule::Incoming.caller("state"));
            }
            Some(State::File(path)) => command.pair("-loadstate", path, Rule::SavedState.caller("state")),
            None if paused => command.push("-S", Rule::StartPaused.caller("paused")),
            None => {}
        }
        if let Some(uuid) = &self.effects.uuid {
            command.pair("-uuid", uuid, Rule::NvidiaUuid.of(Key::new("hostpci")));
        }
    }
}

/// The models of `cpu-models.conf`.
fn custom_models(host: &Host, context: &Context<'_>) -> HashMap<BString, CustomModel> {
    let models = CustomModels::parse(host.cpu_models_conf.as_bytes(), context);
    let models = models.models().map(|model| {
        let text = |key: &str| model.text(key).map(BStr::to_owned);
        let number = |key: &str| model.number(key).map(|number| number.to_string().into());
        let read = CustomModel {
            reported_model: model.reported_model().to_owned(),
            hidden: model.is_hidden(),
            hv_vendor_id: text("hv-vendor-id"),
            flags: text("flags"),
            phys_bits: text("phys-bits"),
            guest_phys_bits: number("guest-phys-bits"),
            level: number("level"),
        };
        (model.name.to_owned(), read)
    });
    models.collect()
}
