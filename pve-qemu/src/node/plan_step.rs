// SPDX-License-Identifier: MIT OR Apache-2.0
//! The steps of a plan, in words.

use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::VmId;

/// A step of a plan. Printed, it is a line or, for a configuration, its lines that change.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PlanStep {
    /// The file of a VM is written; `before` is `None` if there was none.
    Write {
        /// The VM.
        vmid: VmId,
        /// The text before.
        before: Option<BString>,
        /// The text to be written.
        after: BString,
    },
    /// The file of a VM is removed.
    Remove {
        /// The VM.
        vmid: VmId,
    },
    /// The file of a VM goes to another node.
    MoveTo {
        /// The VM.
        vmid: VmId,
        /// The node.
        node: String,
    },
    /// Something happens on a storage.
    Volume {
        /// What: `allocate`, `free`, `clone`, `copy` …
        action: &'static str,
        /// The volume it happens to; the storage, where one is activated as a whole.
        volume: BString,
        /// What comes of it, or with what: a new name, a size, a snapshot.
        detail: String,
        /// The commands behind it, if they were asked for ([`with_commands`](super::Rehearsal::with_commands)).
        commands: Vec<String>,
    },
    /// A program is run, a process ended, or a file of theirs written or removed.
    Process {
        /// The VM.
        vmid: VmId,
        /// What.
        what: String,
    },
    /// A running machine is asked to do something.
    Machine {
        /// The VM.
        vmid: VmId,
        /// What.
        command: String,
    },
}

impl fmt::Display for PlanStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanStep::Write { vmid, before, after } => {
                let verb = if before.is_some() { "write" } else { "create" };
                write!(f, "{verb} configuration of VM {vmid}")?;
                let before = before.as_ref().map_or(BStr::new(""), |text| text.as_bstr());
                for line in before.lines().filter(|line| !line.is_empty() && !has_line(after, line)) {
                    write!(f, "\n    - {}", line.as_bstr())?;
                }
                for line in after.lines().filter(|line| !line.is_empty() && !has_line(before, line)) {
                    write!(f, "\n    + {}", line.as_bstr())?;
                }
                Ok(())
            }
            PlanStep::Remove { vmid } => write!(f, "remove configuration of VM {vmid}"),
            PlanStep::MoveTo { vmid, node } => write!(f, "move configuration of VM {vmid} to node {node}"),
            PlanStep::Volume { action, volume, detail, commands } => {
                write!(f, "{action} {volume}")?;
                if !detail.is_empty() {
                    write!(f, " {detail}")?;
                }
                commands.iter().try_for_each(|command| write!(f, "\n    {command}"))
            }
            PlanStep::Process { what, .. } => write!(f, "{what}"),
            PlanStep::Machine { vmid, command } => write!(f, "tell VM {vmid}: {command}"),
        }
    }
}

fn has_line(text: &[u8], line: &[u8]) -> bool {
    text.lines().any(|other| other == line)
}
