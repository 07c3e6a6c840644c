// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm cloudinit`: the data that a guest configures itself from.

use std::error::Error;

use clap::{Subcommand, ValueEnum};
use pve_config::guest::VmConfig;
use pve_qemu::cloudinit::{DumpPart, Resolver, Settings, pending_changes, refresh};
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::output::line;
use crate::place::{self, Ending, Options, Place, Told};
use crate::{Out, Outcome};

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
    /// Make the image anew, and show it to a guest that runs
    Update {
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
    pub(crate) fn run(&self, options: &Options, out: &mut Out) -> Outcome {
        match self {
            Cloudinit::Dump { vmid, part, password } => {
                dump(&place::cluster(options)?, *vmid, *part, *password, out)?;
            }
            Cloudinit::Pending { vmid } => pending(&place::cluster(options)?, *vmid, options.json, out)?,
            Cloudinit::Update { vmid } => return update(&Place::open(options)?, *vmid, out),
        }
        Ok(Ending::Clean)
    }
}

fn update(place: &Place, vmid: VmId, out: &mut Out) -> Outcome {
    place.change(
        out,
        |node| refresh(node, vmid),
        |made| {
            let line = match made {
                true => format!("made the cloud-init image of VM {vmid} anew"),
                false => format!("VM {vmid} has no cloud-init drive"),
            };
            Told::new(vec![line], json!({ "vmid": vmid.get(), "made": made }))
        },
    )
}

fn dump(
    cluster: &Cluster,
    vmid: VmId,
    part: Part,
    password: bool,
    out: &mut Out,
) -> Result<(), Box<dyn Error>> {
    let machine = cluster.machine(vmid)?;
    let text = cluster.configuration(&machine)?;
    let (config, _) = VmConfig::parse(&text);
    let part = match part {
        Part::User => DumpPart::User,
        Part::Network => DumpPart::Network,
        Part::Meta => DumpPart::Meta,
    };
    let resolver = Resolver::parse(&std::fs::read("/etc/resolv.conf").unwrap_or_default());
    let settings = Settings::of_config(&config.main, vmid, resolver);
    // the id of the instance is made of the data as it is
    let shown = if password || part == DumpPart::Meta { settings } else { settings.masked() };
    line(out, shown.dump(part)?)
}

fn pending(cluster: &Cluster, vmid: VmId, json: bool, out: &mut Out) -> Result<(), Box<dyn Error>> {
    let machine = cluster.machine(vmid)?;
    let text = cluster.configuration(&machine)?;
    let (config, _) = VmConfig::parse(&text);
    let changes = pending_changes(&config);
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
