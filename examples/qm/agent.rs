// SPDX-License-Identifier: MIT OR Apache-2.0
//! `qm guest`: asking the agent in a guest.

use std::error::Error;
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use clap::builder::{BoolishValueParser, PossibleValuesParser};
use clap::{ArgAction, Subcommand};
use pve_qemu::agent::Program;
use pve_volid::VmId;
use serde_json::{Value, json};

use crate::place::{Ending, Place};
use crate::{Out, Outcome};

/// What the agent can be asked without an argument; `guest-` stands before each.
const COMMANDS: [&str; 19] = [
    "fsfreeze-freeze",
    "fsfreeze-status",
    "fsfreeze-thaw",
    "fstrim",
    "get-fsinfo",
    "get-host-name",
    "get-memory-block-info",
    "get-memory-blocks",
    "get-osinfo",
    "get-time",
    "get-timezone",
    "get-users",
    "get-vcpus",
    "info",
    "network-get-interfaces",
    "ping",
    "shutdown",
    "suspend-disk",
    "suspend-ram",
];
/// How often a program is asked whether it has ended.
const POLL: Duration = Duration::from_millis(500);

/// Ask the agent in a guest
#[derive(clap::Args)]
pub(crate) struct Agent {
    /// The virtual machine
    vmid: VmId,
    /// What to ask
    #[arg(value_parser = PossibleValuesParser::new(COMMANDS))]
    command: String,
}

/// Work inside of a guest, through its agent
#[derive(Subcommand)]
pub(crate) enum Guest {
    Cmd(Agent),
    Exec(Exec),
    ExecStatus(ExecStatus),
}

/// Run a program in a guest; there is no shell
#[derive(clap::Args)]
pub(crate) struct Exec {
    /// The virtual machine
    vmid: VmId,
    /// Wait for its end
    #[arg(long, value_name = "0|1", default_value = "1", action = ArgAction::Set, value_parser = BoolishValueParser::new(), hide_possible_values = true)]
    synchronous: bool,
    /// How long to wait, in seconds; 0 for ever
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    timeout: u64,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, required = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Show how a program in a guest is, or has ended
#[derive(clap::Args)]
pub(crate) struct ExecStatus {
    /// The virtual machine
    vmid: VmId,
    /// The number that exec has told
    pid: u64,
}

impl Guest {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        match self {
            Guest::Cmd(verb) => verb.run(place, out),
            Guest::Exec(verb) => verb.run(place, out),
            Guest::ExecStatus(verb) => {
                let program = place.ask_agent(verb.vmid, |agent| agent.program(verb.pid))?;
                print(&document(&program), out)
            }
        }
    }
}

impl Agent {
    pub(crate) fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let command = format!("guest-{}", self.command);
        let answer = place.ask_agent(self.vmid, |agent| agent.execute(&command, None))?;
        // most have nothing to tell
        if answer == json!({}) && !place.json { Ok(Ending::Clean) } else { print(&answer, out) }
    }
}

impl Exec {
    fn run(&self, place: &Place, out: &mut Out) -> Outcome {
        let (program, arguments) = self.command.split_first().ok_or("say which program")?;
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let pid = place.ask_agent(self.vmid, |agent| agent.run(program, &arguments, None))?;
        if !self.synchronous {
            return print(&json!({ "pid": pid }), out);
        }
        let begin = Instant::now();
        loop {
            let program = place.ask_agent(self.vmid, |agent| agent.program(pid))?;
            if program.exited {
                return print(&document(&program), out);
            }
            if self.timeout != 0 && begin.elapsed() >= Duration::from_secs(self.timeout) {
                let hint = format!("qm guest exec-status {} {pid}", self.vmid);
                return Err(Box::<dyn Error>::from(format!("it still runs; ask later: {hint}")));
            }
            std::thread::sleep(POLL);
        }
    }
}

fn document(program: &Program) -> Value {
    json!({
        "exited": program.exited, "exitcode": program.code, "signal": program.signal,
        "out-data": program.stdout.to_str_lossy(), "err-data": program.stderr.to_str_lossy(),
    })
}

fn print(value: &Value, out: &mut Out) -> Outcome {
    writeln!(out, "{value:#}")?;
    Ok(Ending::Clean)
}
