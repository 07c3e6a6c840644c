// SPDX-License-Identifier: MIT OR Apache-2.0
//! PMXCFS_CLOG: the cluster log, entries, ring and merge, byte for byte.

use std::path::Path;

use pve_cfs::cluster_log::{ClusterLog, LogEntry};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::pmxcfs_state as state;
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let expect = &case["expect"];
    match case["type"].as_str() {
        Some("pack") => Ok(packed(case, expect)),
        Some("ring") => {
            let mut log = filled(&case["insert"]);
            let mut dumps = Vec::new();
            for dump in expect["dumps"].as_array().into_iter().flatten() {
                let user = dump["user"].as_str().unwrap_or_default();
                let max = dump["max"].as_u64().unwrap_or_default() as usize;
                let text = log.text(max, (!user.is_empty()).then_some(user.as_bytes()));
                dumps.push(json!({ "user": user, "max": max, "json": shown(&text, &dump["json"]) }));
            }
            let mut out = json!({ "dumps": dumps });
            add_state(&mut log, expect, &mut out);
            out["dump_after_state"] = shown(&log.text(usize::MAX, None), &expect["dump_after_state"]);
            Ok(out)
        }
        Some("merge") => {
            let mut logs: Vec<ClusterLog> =
                case["logs"].as_array().into_iter().flatten().map(filled).collect();
            let states: Vec<Vec<u8>> = logs.iter_mut().map(|log| log.state().to_vec()).collect();
            let states: Vec<&[u8]> = states.iter().map(Vec::as_slice).collect();
            let own = case["local"].as_u64().unwrap_or_default() as usize;
            let log = logs.get_mut(own).ok_or("no local log")?;
            log.merge(&states, Some(own));
            let mut out = json!({ "dump": shown(&log.text(usize::MAX, None), &expect["dump"]) });
            add_state(log, expect, &mut out);
            Ok(out)
        }
        other => Err(format!("unknown type {other:?}")),
    }
}

/// An entry's texts, owned, as the case has them.
struct Texts([Vec<u8>; 4]);

impl Texts {
    fn of(entry: &Value) -> Self {
        Self(["node", "ident", "tag", "msg"].map(|field| state::bytes(&entry[field])))
    }

    fn entry<'a>(&'a self, entry: &Value) -> LogEntry<'a> {
        let number = |field: &str| entry[field].as_u64().unwrap_or_default() as u32;
        let [node, ident, tag, message] = &self.0;
        let priority = number("prio").min(255) as u8;
        LogEntry { node, ident, tag, pid: number("pid"), time: number("time"), priority, message }
    }
}

fn packed(case: &Value, expect: &Value) -> Value {
    let uid = case["uid"].as_u64().unwrap_or_default() as u32;
    let Some(entry) = Texts::of(case).entry(case).pack(uid) else { return json!({ "size": 0, "entry": "" }) };
    if expect["entry"].is_string() {
        return json!({ "size": entry.len(), "entry": hex_as(&expect["entry"], &entry) });
    }
    let tail = entry.len().saturating_sub(32);
    json!({
        "size": entry.len(), "sha256": state::hex(&Sha256::digest(&entry)),
        "head": state::hex(&entry[..entry.len().min(80)]), "tail": state::hex(&entry[tail..]),
    })
}

/// A log into which `entries` were inserted in order, each the next of its process.
fn filled(entries: &Value) -> ClusterLog {
    let mut log = ClusterLog::new("node1".into());
    let mut uid = 0;
    for entry in entries.as_array().into_iter().flatten() {
        if let Some(packed) = Texts::of(entry).entry(entry).pack(uid + 1) {
            uid += 1;
            log.insert(&packed);
        }
    }
    log
}

fn add_state(log: &mut ClusterLog, expect: &Value, out: &mut Value) {
    let bytes = log.state();
    out["state_sha256"] = state::hex(&Sha256::digest(bytes)).into();
    if let Some(expected) = expect.get("state") {
        out["state"] = hex_as(expected, bytes).into();
    }
}

/// Text as the case has it: itself or, where it is long, a digest.
fn shown(text: &[u8], expected: &Value) -> Value {
    state::data(text, if expected.is_object() { 0 } else { usize::MAX })
}

/// `bytes` in the way in which the case writes the same bytes, which may split a run of zeros differently.
fn hex_as(expected: &Value, bytes: &[u8]) -> String {
    let text = expected.as_str().unwrap_or_default();
    if state::from_zero_run_hex(text) == bytes { text.to_owned() } else { state::zero_run_hex(bytes) }
}
