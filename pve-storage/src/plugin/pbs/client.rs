// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of `proxmox-backup-client` (spec: storage-commands, "pbs").

use bstr::{BStr, BString, ByteSlice};
use serde_json::Value;

use super::repository;
use crate::command::{Command, Effect, Output};
use crate::error::Result;
use crate::session::{Session, strange};
use crate::storage::Storage;

const PROGRAM: &str = "/usr/bin/proxmox-backup-client";

/// The client with a command and the environment that it needs. Repository and namespace come last:
/// [`run`] and [`json`] add them.
pub(super) fn command(
    session: &Session<'_>,
    storage: &Storage,
    effect: Effect,
    words: &[&str],
) -> Result<Command> {
    let mut command = match effect {
        Effect::Query => Command::query(PROGRAM),
        Effect::Change => Command::change(PROGRAM),
    }
    .args(words)
    .env("PROXMOX_OUTPUT_NO_BORDER", "1")
    .env("PROXMOX_OUTPUT_NO_HEADER", "1");
    let file: BString = format!("/etc/pve/priv/storage/{}.pw", storage.id()).into();
    if let Some(text) = session.read(file.as_bstr())? {
        command = command.env("PBS_PASSWORD", text.lines().next().unwrap_or_default());
    }
    if let Some(fingerprint) = storage.get("fingerprint") {
        command = command.env("PBS_FINGERPRINT", fingerprint);
    }
    Ok(command)
}

fn with_repository(command: Command, storage: &Storage) -> Result<Command> {
    let is_status = command.arguments().first().is_some_and(|word| word == "status");
    let command = command.arg("--repository").operand(repository(storage)?);
    Ok(match storage.get("namespace") {
        Some(namespace) if !is_status => command.arg("--ns").operand(namespace),
        _ => command,
    })
}

/// Runs the client.
pub(super) fn run(session: &Session<'_>, command: Command, storage: &Storage) -> Result<Output> {
    session.run(&with_repository(command, storage)?)
}

/// Runs the client and reads its JSON.
pub(super) fn json(session: &Session<'_>, command: Command, storage: &Storage) -> Result<Value> {
    let command = with_repository(command.arg("--output-format=json"), storage)?;
    let output = session.run(&command)?;
    serde_json::from_slice(&output.stdout).map_err(|e| strange(&command, format!("not JSON: {e}")))
}

/// The question for all snapshots of a datastore, or for those of one backup id; `password` as its file has it.
pub(crate) fn snapshot_list(storage: &Storage, password: Option<&[u8]>) -> Result<Command> {
    let mut command = Command::query(PROGRAM).args(["snapshot", "list", "--output-format=json"]);
    if let Some(line) = password.and_then(|text| text.lines().next()) {
        command = command.env("PBS_PASSWORD", line);
    }
    if let Some(fingerprint) = storage.get("fingerprint") {
        command = command.env("PBS_FINGERPRINT", fingerprint);
    }
    with_repository(command, storage)
}

/// How many backups of a group are kept, by the names of the options (`keep-last` …); a count of 0 is left out.
pub type KeepOptions<'a> = [(&'a str, u64)];

/// Has the server remove old backups of a group (`vm/100`); with `dry_run` it only tells which.
///
/// # Errors
/// If the client fails.
pub fn prune(
    session: &Session<'_>,
    storage: &Storage,
    group: &BStr,
    keep: &KeepOptions<'_>,
    dry_run: bool,
) -> Result<Value> {
    let effect = if dry_run { Effect::Query } else { Effect::Change };
    let mut command = command(session, storage, effect, &["prune"])?.operand(group);
    for (option, count) in keep.iter().filter(|(_, count)| *count > 0) {
        command = command.arg(format!("--{option}")).arg(count.to_string());
    }
    if dry_run {
        command = command.arg("--dry-run");
    }
    json(session, command, storage)
}
