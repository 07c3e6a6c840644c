// SPDX-License-Identifier: MIT OR Apache-2.0
//! The state of a machine in a file, by the commands that every QEMU has: a migration into an open file, and from one.
//!
//! Proxmox's QEMU has commands of its own (`savevm-start`, `query-savevm`, `savevm-end`), which save the state while the
//! machine runs and stop it at the end. A migration ends in the same way: the machine does not run, and its state is
//! complete.

use std::fs::{File, OpenOptions};
use std::os::fd::AsFd;

use bstr::{BStr, ByteSlice};
use serde_json::{Value, json};

use crate::qmp::{Qmp, QmpError};

/// The name that QEMU is given the file under.
const NAME: &str = "state";
/// As fast as it goes, in bytes per second.
const BANDWIDTH: u64 = 1 << 40;

/// Executes one of the commands for saving; `None` if it is another one.
pub(super) fn execute(
    qmp: &mut Qmp,
    command: &str,
    arguments: Option<&Value>,
) -> Option<Result<Value, QmpError>> {
    Some(match command {
        "savevm-start" => {
            let file = arguments.and_then(|arguments| arguments["statefile"].as_str());
            start(qmp, file)
        }
        "query-savevm" => progress(qmp),
        "savevm-end" => end(qmp),
        "blockdev-snapshot-internal-sync" | "blockdev-snapshot-sync" => {
            if let Err(error) = take_disks_back(qmp, command) {
                return Some(Err(error));
            }
            return None;
        }
        _ => return None,
    })
}

/// After a migration a machine has given its disks up, and QEMU must not write to them until it has taken them back: by
/// running again, or by a command of QEMU 10.0.
fn take_disks_back(qmp: &mut Qmp, command: &str) -> Result<(), QmpError> {
    if qmp.execute("query-status", None)?["status"] != "postmigrate" {
        return Ok(());
    }
    match qmp.execute("block-set-active", Some(json!({ "active": true }))) {
        Err(error) if error.is_unknown_command() => Err(QmpError::Command {
            command: command.to_owned(),
            class: "GenericError".into(),
            description:
                "this QEMU cannot save the memory together with snapshots inside of its disks; make the \
                snapshot without memory, or suspend the VM to disk"
                    .into(),
        }),
        other => other.map(drop),
    }
}

/// Lets the state of the machine migrate into a file, while it runs. Without a file the machine is paused at once.
fn start(qmp: &mut Qmp, file: Option<&str>) -> Result<Value, QmpError> {
    if let Some(path) = file {
        let file = OpenOptions::new().write(true).open(path)?;
        qmp.give_file(NAME, file.as_fd())?;
        qmp.execute("migrate-set-parameters", Some(json!({ "max-bandwidth": BANDWIDTH })))?;
        return qmp.execute("migrate", Some(json!({ "uri": format!("fd:{NAME}") })));
    }
    qmp.execute("stop", None)
}

/// What has become of the migration, in the words of `query-savevm`.
fn progress(qmp: &mut Qmp) -> Result<Value, QmpError> {
    let migration = qmp.execute("query-migrate", None)?;
    Ok(match migration["status"].as_str() {
        // there was none: only the disks are saved
        None | Some("none") => json!({ "bytes": 0 }),
        Some("completed") => json!({ "status": "completed", "bytes": 0 }),
        Some("failed" | "cancelled" | "cancelling") => {
            let error = migration["error-desc"].as_str().unwrap_or("the migration into the file failed");
            json!({ "status": "failed", "error": error })
        }
        Some(_) => json!({ "status": "active", "bytes": migration["ram"]["transferred"] }),
    })
}

/// Gives the migration up if it goes on, and lets the machine run.
fn end(qmp: &mut Qmp) -> Result<Value, QmpError> {
    if qmp.execute("query-migrate", None)?["status"] == "active" {
        qmp.execute("migrate_cancel", None)?;
    }
    let status = qmp.execute("query-status", None)?;
    match status["status"].as_str() {
        Some("running") => Ok(json!({})),
        _ => qmp.execute("cont", None),
    }
}

/// Gives a machine that waits for a migration its state. Returns when it has all of it.
pub(super) fn load(qmp: &mut Qmp, path: &BStr) -> Result<(), QmpError> {
    let path = path.to_path().map_err(|error| QmpError::Protocol(error.to_string()))?;
    let file = File::open(path)?;
    qmp.give_file(NAME, file.as_fd())?;
    qmp.execute("migrate-incoming", Some(json!({ "uri": format!("fd:{NAME}") })))?;
    loop {
        let migration = qmp.execute("query-migrate", None)?;
        match migration["status"].as_str() {
            Some("completed") => return Ok(()),
            Some("failed") => {
                let description = migration["error-desc"].as_str().unwrap_or("the state cannot be read");
                return Err(QmpError::Command {
                    command: "migrate-incoming".into(),
                    class: "GenericError".into(),
                    description: description.to_owned(),
                });
            }
            _ => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
}
