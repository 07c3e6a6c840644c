// SPDX-License-Identifier: MIT OR Apache-2.0
//! The verbs that start and stop VMs.

use std::time::Duration;

use clap::ArgAction;
use clap::builder::BoolishValueParser;
use pve_config::format::format_size;
use pve_qemu::power::{self, Power};
use pve_volid::{StorageId, VmId};
use serde_json::{Value, json};

use crate::place::{Place, Told};
use crate::{Out, Outcome, given};

/// Start a virtual machine
///
/// Pending changes are applied, the cloud-init image is made, volumes are activated, and QEMU runs. It goes on when this
/// program has ended.
#[derive(clap::Args)]
pub(crate) struct Start {
    /// The virtual machine
    vmid: VmId,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
    /// How long QEMU may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Machine type instead of the configured one
    #[arg(long, value_name = "TYPE")]
    machine: Option<String>,
    /// Argument of -cpu instead of the configured CPU
    #[arg(long, value_name = "CPU")]
    forcecpu: Option<String>,
}

/// Shut a virtual machine down: its guest is asked to
#[derive(clap::Args)]
pub(crate) struct Shutdown {
    /// The virtual machine
    vmid: VmId,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
    /// How long the guest may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Stop it if it does not end in time
    #[arg(long = "forceStop", alias = "force-stop", value_name = "0|1", num_args = 0..=1, default_missing_value = "1",
        value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    force_stop: Option<bool>,
    /// Leave its volumes active
    #[arg(long = "keepActive", alias = "keep-active")]
    keep_active: bool,
}

/// Stop a virtual machine at once, as if its plug were pulled
#[derive(clap::Args)]
pub(crate) struct Stop {
    /// The virtual machine
    vmid: VmId,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
    /// How long QEMU may take before it is killed, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Leave its volumes active
    #[arg(long = "keepActive", alias = "keep-active")]
    keep_active: bool,
}

/// Shut a virtual machine down and start it again, with its pending changes
#[derive(clap::Args)]
pub(crate) struct Reboot {
    /// The virtual machine
    vmid: VmId,
    /// How long the guest may take, in seconds
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Press the reset button
#[derive(clap::Args)]
pub(crate) struct Reset {
    /// The virtual machine
    vmid: VmId,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
}

/// Pause a virtual machine, or save it to disk and end it
#[derive(clap::Args)]
pub(crate) struct Suspend {
    /// The virtual machine
    vmid: VmId,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
    /// Save its state in a volume and end the process
    #[arg(long)]
    todisk: bool,
    /// The storage for the state
    #[arg(long, value_name = "STORAGE", requires = "todisk")]
    statestorage: Option<StorageId>,
}

/// Let a suspended virtual machine go on
#[derive(clap::Args)]
pub(crate) struct Resume {
    /// The virtual machine
    vmid: VmId,
    /// Although another operation has locked it
    #[arg(long)]
    skiplock: bool,
}

/// Show what a virtual machine does
#[derive(clap::Args)]
pub(crate) struct Status {
    /// The virtual machine
    vmid: VmId,
    /// Show all that is known
    #[arg(long, short)]
    verbose: bool,
}

/// Wait until a virtual machine does not run any more
#[derive(clap::Args)]
pub(crate) struct Wait {
    /// The virtual machine
    vmid: VmId,
    /// How long, in seconds; for ever if left out
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// Clean up after a virtual machine whose process has ended, and start it again if it was rebooted
#[derive(clap::Args)]
pub(crate) struct Cleanup {
    /// The virtual machine
    vmid: VmId,
    /// Whether it has shut down, as opposed to crashed
    #[arg(value_name = "CLEAN", action = ArgAction::Set, value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    clean_shutdown: bool,
    /// Whether its guest wanted it
    #[arg(value_name = "GUEST", action = ArgAction::Set, value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    guest_requested: bool,
}

/// One sentence about the VM.
fn sentence(vmid: VmId, state: &str) -> Told {
    Told::new(vec![format!("VM {vmid} {state}")], json!({ "vmid": vmid.get(), "state": state }))
}

fn seconds(number: Option<u64>) -> Option<Duration> {
    number.map(Duration::from_secs)
}

impl Start {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = power::Start::default();
        options.skip_lock = self.skiplock;
        options.timeout = seconds(self.timeout);
        options.force_machine = given(self.machine.as_ref());
        options.force_cpu = given(self.forcecpu.as_ref());
        place.power(out, |power| power.start(self.vmid, &options), |()| sentence(self.vmid, "runs"))
    }
}

impl Shutdown {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = power::Shutdown::default();
        options.skip_lock = self.skiplock;
        options.timeout = seconds(self.timeout);
        options.force_stop = self.force_stop.unwrap_or(false);
        options.keep_active = self.keep_active;
        place.power(
            out,
            |power| power.shutdown(self.vmid, &options),
            |()| sentence(self.vmid, "has shut down"),
        )
    }
}

impl Stop {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = power::Stop::default();
        options.skip_lock = self.skiplock;
        options.timeout = seconds(self.timeout);
        options.keep_active = self.keep_active;
        place.power(out, |power| power.stop(self.vmid, &options), |()| sentence(self.vmid, "is stopped"))
    }
}

impl Reboot {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = power::Reboot::default();
        options.timeout = seconds(self.timeout);
        let reboot = |power: Power<'_>| {
            power.reboot(self.vmid, &options)?;
            // where an event daemon listens, that starts it again
            if power.processes.run_dir().events().exists() {
                return Ok(());
            }
            power.cleanup(self.vmid, true)
        };
        place.power(out, reboot, |()| sentence(self.vmid, "is rebooted"))
    }
}

impl Reset {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.power(out, |power| power.reset(self.vmid, self.skiplock), |()| sentence(self.vmid, "is reset"))
    }
}

impl Suspend {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let mut options = power::Suspend::default();
        options.skip_lock = self.skiplock;
        options.to_disk = self.todisk;
        options.state_storage = self.statestorage.as_ref();
        place.power(out, |power| power.suspend(self.vmid, &options), |()| sentence(self.vmid, "is suspended"))
    }
}

impl Resume {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.power(out, |power| power.resume(self.vmid, self.skiplock), |()| sentence(self.vmid, "goes on"))
    }
}

impl Status {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        place.look(|power| power.status(self.vmid), |status| self.tell(status), out)
    }

    fn tell(&self, status: &power::Status) -> Told {
        let word = if status.running { "running" } else { "stopped" };
        let mut lines = vec![format!("status: {word}")];
        let state = status.state.as_ref().map(ToString::to_string);
        let process = status.process.as_ref();
        if self.verbose {
            let mut line = |name: &str, value: Option<String>| {
                lines.extend(value.map(|value| format!("{name}: {value}")));
            };
            line("qmpstatus", state.clone());
            line("pid", process.map(|process| process.pid.to_string()));
            line("uptime", process.map(|process| format!("{} s", process.uptime.as_secs())));
            line("cpu time", process.map(|process| format!("{:.1} s", process.cpu_time.as_secs_f64())));
            line("resident memory", process.map(|process| format_size(process.memory)));
            line("memory of the guest", status.memory.map(format_size));
            line("running-qemu", status.qemu_version.clone());
            line("lock", status.lock.clone());
            line("reboot", status.reboot.then(|| "to be started again".to_owned()));
            line("unclean", (status.unclean && !status.running).then(|| "qm cleanup has not run".to_owned()));
        }
        let process: Option<Value> = process.map(|process| {
            json!({
                "pid": process.pid, "uptime": process.uptime.as_secs(), "cpu-time": process.cpu_time.as_secs_f64(),
                "memory": process.memory,
            })
        });
        let json = json!({
            "vmid": self.vmid.get(), "status": word, "qmpstatus": state, "process": process,
            "running-qemu": status.qemu_version, "memory": status.memory, "lock": status.lock,
        });
        Told::new(lines, json)
    }
}

impl Wait {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let patience = seconds(self.timeout);
        place.look(|power| power.wait(self.vmid, patience), |()| sentence(self.vmid, "does not run"), out)
    }
}

impl Cleanup {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        // nobody asks whether the guest wanted it: it is part of the command as the event daemon gives it
        let _ = self.guest_requested;
        place.power(
            out,
            |power| power.cleanup(self.vmid, self.clean_shutdown),
            |()| sentence(self.vmid, "is cleaned up after"),
        )
    }
}
