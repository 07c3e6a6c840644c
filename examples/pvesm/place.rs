// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the program works: the storages, the node, the machine, and whether changes are made or only printed.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::PathBuf;

use clap::Args;
use examples::whereabouts::Whereabouts;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use pve_cfs::Source;
use pve_config::guest::GuestKind;
use pve_config::inventory::Inventory;
use pve_storage::{Event, LocalHost, Planning, Session, Storages};
use serde_json::{Value, json};

use crate::{Out, Outcome};

pub(crate) use examples::whereabouts::complain;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    whereabouts: Whereabouts,
    /// Print the commands that would be run, ready to be pasted, and change nothing
    #[arg(long, global = true)]
    dry_run: bool,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    /// Take storages as active: mount, scan and log in to nothing
    #[arg(long, global = true)]
    assume_active: bool,
    /// Lock here instead of where Proxmox VE does (/var/lock/pve-manager, /etc/pve/priv/lock)
    #[arg(long, global = true, value_name = "DIR")]
    locks: Option<PathBuf>,
}

/// Everything that a verb needs.
pub(crate) struct Place {
    pub(crate) storages: Storages,
    /// The numbers of all containers: their disks are listed as `rootdir`.
    pub(crate) containers: BTreeSet<u64>,
    pub(crate) node: String,
    pub(crate) host: LocalHost,
    pub(crate) dry_run: bool,
    pub(crate) json: bool,
    assume_active: bool,
    bars: MultiProgress,
}

impl Place {
    pub(crate) fn open(options: &Options) -> Result<Self, Box<dyn Error>> {
        let source = Source::read(&options.whereabouts.root()?)?;
        let cluster = Inventory::new(source.listing.files());
        for finding in &source.findings {
            complain(&finding.severity().to_string(), &finding.to_string());
        }
        if !cluster.has_storage_cfg {
            complain("warning", "there is no storage.cfg: only the built-in storage 'local' exists");
        }
        let nodes: Vec<String> = cluster.nodes.iter().map(ToString::to_string).collect();
        let containers = cluster.guests.iter().filter(|guest| guest.kind() == GuestKind::Lxc);
        let bars = MultiProgress::new();
        let shown = bars.clone();
        let host = LocalHost::new(move |event| {
            if let Event::Warning(text) = event {
                shown.suspend(|| complain("warning", &text));
            }
        });
        Ok(Place {
            storages: Storages::from_config(&cluster.storages),
            containers: containers.map(|guest| u64::from(guest.vmid)).collect(),
            node: options.whereabouts.node(&nodes)?,
            host: options.locks.iter().fold(host, |host, directory| host.with_locks_in(directory)),
            dry_run: options.dry_run,
            json: options.json,
            assume_active: options.assume_active,
            bars,
        })
    }

    /// A session on a host.
    pub(crate) fn session<'a>(&'a self, host: &'a dyn pve_storage::Host) -> Session<'a> {
        let session = Session::new(&self.storages, host, &self.node);
        if self.assume_active { session.assume_active() } else { session }
    }

    /// Carries something out, or only notes its steps. What had to be noted before a question could be answered (a
    /// storage that would have to be mounted) is told too.
    pub(crate) fn ask<T>(
        &self,
        question: impl FnOnce(&Session<'_>) -> pve_storage::Result<T>,
    ) -> pve_storage::Result<T> {
        if !self.dry_run {
            return question(&self.session(&self.host));
        }
        let plan = Planning::new(&self.host);
        let answer = question(&self.session(&plan));
        for step in plan.steps() {
            complain("would run", &step.to_string());
        }
        answer
    }

    /// Makes a change and says what came out of it, `sentence` with `{}` for the volume; in a dry run the commands are
    /// printed instead.
    pub(crate) fn change<T: ToString>(
        &self,
        out: &mut Out,
        sentence: &str,
        change: impl FnOnce(&Session<'_>) -> pve_storage::Result<T>,
    ) -> Outcome {
        if !self.dry_run {
            let volume = change(&self.session(&self.host))?.to_string();
            if self.json {
                writeln!(out, "{}", json!({ "volid": volume }))?;
            } else {
                writeln!(out, "{}", sentence.replacen("{}", &volume, 1))?;
            }
            return Ok(());
        }
        let plan = Planning::new(&self.host);
        let result = change(&self.session(&plan));
        if self.json {
            let steps: Vec<Value> = plan.steps().iter().map(|step| step.to_string().into()).collect();
            let volume = result.as_ref().ok().map(ToString::to_string);
            writeln!(out, "{:#}", json!({ "volid": volume, "plan": steps }))?;
        } else {
            write!(out, "{plan}")?;
        }
        result.map(drop).map_err(Into::into)
    }

    /// A bar for `size` bytes of data that move, on standard error if that is a terminal.
    pub(crate) fn bar(&self, what: &str, size: Option<u64>) -> ProgressBar {
        let bar = self.bars.add(size.map_or_else(ProgressBar::no_length, ProgressBar::new));
        let shape = match size {
            Some(_) => "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
            None => "{msg} {spinner} {binary_bytes} {binary_bytes_per_sec}",
        };
        // the template is a constant: if it were wrong, the plain bar would do
        bar.set_style(ProgressStyle::with_template(shape).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.with_message(what.to_owned())
    }
}
