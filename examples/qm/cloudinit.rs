// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm cloudinit`: the data that a guest configures itself from.

use std::error::Error;

use clap::{Subcommand, ValueEnum};
use pve_config::guest::VmConfig;
use pve_qemu::cloudinit::{DumpPart, Resolver, Settings, pending_changes};
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::Out;
use crate::cluster::Cluster;
use crate::output::line;

/// Work with the data that a guest configures itself from
#[derive(Subcommand)]
pub(crate) enum Cloudinit {
    /// Show the generated data
    Dump {
        /// The virtual machine
        vmid: VmId,
        /// Which part of it
        part: Part,
        /// Show the password, too
        #[arg(long)]
        password: bool,
    },
    /// Show what changed since the image was made
    Pending {
        /// The virtual machine
        vmid: VmId,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Part {
    /// User, password, ssh keys, host name
    User,
    /// Addresses and name servers
    Network,
    /// The id of the instance: it changes with the data, and the guest does all of it again
    Meta,
}

impl Cloudinit {
    pub(crate) fn run(&self, cluster: &Cluster, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
        let (Cloudinit::Dump { vmid, .. } | Cloudinit::Pending { vmid }) = self;
        let machine = cluster.machine(*vmid)?;
        let text = cluster.configuration(&machine)?;
        let (config, _) = VmConfig::parse(&text);
        let Cloudinit::Dump { part, password, .. } = self else {
            return pending(&config, json, out);
        };
        let part = match part {
            Part::User => DumpPart::User,
            Part::Network => DumpPart::Network,
            Part::Meta => DumpPart::Meta,
        };
        let resolver = Resolver::parse(&std::fs::read("/etc/resolv.conf").unwrap_or_default());
        let settings = Settings::of_config(&config.main, *vmid, resolver);
        // the id of the instance is made of the data as it is
        let shown = if *password || part == DumpPart::Meta { settings } else { settings.masked() };
        line(out, shown.dump(part)?)
    }
}

fn pending(config: &VmConfig<'_>, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
    let changes = pending_changes(config);
    if json {
        let text = |value: &Option<bstr::BString>| value.as_ref().map(ToString::to_string);
        let items = changes.iter().map(|change| {
            json!({
                "key": change.key.to_string(), "value": text(&change.value), "pending": text(&change.pending),
                "delete": change.delete,
            })
        });
        writeln!(out, "{:#}", items.collect::<Value>())?;
        return Ok(());
    }
    for change in &changes {
        write!(out, "{change}")?;
    }
    Ok(())
}
