// SPDX-License-Identifier: MIT OR Apache-2.0
//! The host that a command line is computed for: assumed, read from a file, or this machine.

use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use pve_qemu::host::mac_prefix;
use pve_qemu::{Host, QemuVersion};

use crate::Out;
use crate::cluster::{Cluster, Machine};
use crate::output::line;

/// Options about the host.
#[derive(Args)]
pub(crate) struct HostArgs {
    /// Facts of the host as JSON; a plain current node if left out
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Take the facts of this machine
    #[arg(long, conflicts_with = "host")]
    probe: bool,
    /// Version of QEMU on the host
    #[arg(long, value_name = "VERSION")]
    pub(crate) qemu_version: Option<QemuVersion>,
}

impl HostArgs {
    /// The host facts for a machine: what belongs to the cluster (mappings, CPU models) comes from its files.
    pub(crate) fn host(&self, cluster: &Cluster, machine: &Machine) -> Result<Host, String> {
        let mut host = match &self.host {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?
            }
            None if self.probe => Host::probe(),
            None => Host::default(),
        };
        host.node.clone_from(&machine.node);
        add_cluster(&mut host, cluster);
        Ok(match self.qemu_version {
            Some(version) => host.with_qemu_version(version),
            None => host,
        })
    }

    /// Whether the facts are those of this machine, so that paths are looked at rather than assumed.
    pub(crate) fn is_probed(&self) -> bool {
        self.probe
    }
}

/// Adds what belongs to the cluster: mappings, CPU models, the prefix of addresses.
pub(crate) fn add_cluster(host: &mut Host, cluster: &Cluster) {
    for (fact, path) in [
        (&mut host.cpu_models_conf, "virtual-guest/cpu-models.conf"),
        (&mut host.pci_mapping, "mapping/pci.cfg"),
        (&mut host.usb_mapping, "mapping/usb.cfg"),
        (&mut host.dir_mapping, "mapping/directory.cfg"),
    ] {
        let text = cluster.read_text(path);
        if !text.is_empty() {
            *fact = text;
        }
    }
    if let Some(text) = cluster.read("datacenter.cfg") {
        host.mac_prefix = mac_prefix(&text);
    }
}

/// Print the facts of this machine that command lines depend on, as JSON for `--host`
#[derive(Args)]
pub(crate) struct Facts {}

impl Facts {
    pub(crate) fn run(&self, out: &mut Out) -> Result<(), Box<dyn Error>> {
        line(out, serde_json::to_string_pretty(&Host::probe()).map_err(|error| error.to_string())?)
    }
}
