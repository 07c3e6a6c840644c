// SPDX-License-Identifier: MIT OR Apache-2.0
//! PMXCFS_FSM: what a node of a cluster is told, what it multicasts then, and what it has in the end.

use std::path::Path;
use std::sync::Arc;

use bstr::ByteSlice;
use pve_cfs::checksum;
use pve_cfs::clock::ManualClock;
use pve_cfs::cluster::{Machine, MemberId, Mode, StatusGroup, TreeGroup};
use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::operation::{Fidelity, Operation};
use pve_cfs::refusal::Refusal;
use pve_cfs::status::{ClusterInfo, Member};
use pve_cfs::store::{Store, StoreOptions};
use pve_cfs::tree::Tree;
use pve_cfs::virtual_file::VirtualFile;
use serde_json::{Map, Value, json};

use super::pmxcfs_state as state;
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let mut node = Node::start(case, &folder.path().join("config.db"))?;
    for (index, event) in case["events"].as_array().into_iter().flatten().enumerate() {
        node.happens(event)
            .and_then(|()| node.compare(event))
            .map_err(|what| format!("event {index}: {what}"))?;
    }
    node.finish()
}

struct Node {
    files: Arc<FileSystem>,
    clock: Arc<ManualClock>,
    tree: Machine<TreeGroup>,
    status: Option<Machine<StatusGroup>>,
    /// Modes of both groups as they were shown last.
    shown: [Option<Mode>; 2],
    /// Number and length of the data of each call that waits, by the number of its message.
    waiting: Vec<(u64, String, usize)>,
    calls: Map<String, Value>,
}

fn number(value: &Value) -> u32 {
    value.as_u64().unwrap_or_default() as u32
}

fn member(value: &Value) -> MemberId {
    MemberId { node: number(&value[0]), process: number(&value[1]) }
}

impl Node {
    fn start(case: &Value, database: &Path) -> Result<Self, String> {
        if let Some(sql) = case["sql"].as_str() {
            let connection = rusqlite::Connection::open(database).map_err(|e| e.to_string())?;
            connection.execute_batch(sql).map_err(|e| e.to_string())?;
        }
        let now = number(&case["now"]);
        let (store, loaded) =
            Store::open(database, &StoreOptions::default(), now).map_err(|e| e.to_string())?;
        let clock = Arc::new(ManualClock::new(now.into()));
        let me = MemberId { node: number(&case["nodeid"]), process: number(&case["pid"]) };
        let options = FileSystemOptions {
            clock: clock.clone(),
            process: me.process,
            fidelity: Fidelity::Exact,
            ..FileSystemOptions::local(case["node"].as_str().unwrap_or_default())
        };
        let files = Arc::new(FileSystem::new(loaded, Some(store), options));
        files.set_quorate(case["quorate"] == 1);
        files.status().set_cluster(cluster(&case["clinfo"]));
        let status = case["status"]
            .as_bool()
            .unwrap_or_default()
            .then(|| Machine::new(me, StatusGroup::new(files.clone(), state::bytes(&case["ip"]).into())));
        let tree = Machine::new(me, TreeGroup::new(files.clone()));
        Ok(Self { files, clock, tree, status, shown: [None; 2], waiting: Vec::new(), calls: Map::new() })
    }

    fn happens(&mut self, event: &Value) -> Result<(), String> {
        let now = self.files.now() as u32;
        let of_status = event["group"] == "status";
        match (event["ev"].as_str().unwrap_or_default(), &mut self.status) {
            ("clock", _) => self.clock.set(event["t"].as_u64().unwrap_or_default()),
            ("quorate", _) => self.files.set_quorate(event["v"] == 1),
            ("confchg", status) => {
                let members: Vec<_> = event["members"].as_array().into_iter().flatten().map(member).collect();
                let joined = event["joined"].as_array().is_some_and(|joined| !joined.is_empty());
                match status {
                    Some(status) if of_status => status.members_changed(&members, joined, now),
                    _ => self.tree.members_changed(&members, joined, now),
                }
            }
            ("deliver", status) => {
                let message = state::from_zero_run_hex(event["msg"].as_str().unwrap_or_default());
                match status {
                    Some(status) if of_status => status.deliver(member(&event["from"]), &message, now),
                    _ => self.tree.deliver(member(&event["from"]), &message, now),
                }
            }
            ("fuse", _) => self.call(event, now)?,
            ("verify-timer", _) => self.tree.verify_timer(now),
            ("status-set", Some(status)) => {
                status
                    .set(&state::bytes(&event["key"]), &state::bytes(&event["data"]), now)
                    .map_err(|e| e.to_string())?;
            }
            ("log", Some(status)) => {
                let [ident, tag, message] = ["ident", "tag", "msg"].map(|field| state::bytes(&event[field]));
                let (priority, process) = (number(&event["prio"]) as u8, number(&event["pid"]));
                let entry = status.log(&ident, &tag, priority, &message, process, now).unwrap_or_default();
                if entry != state::from_zero_run_hex(event["entry"].as_str().unwrap_or_default()) {
                    return Err(format!("the entry is {}", state::hex(&entry)));
                }
            }
            (other, _) => return Err(format!("unknown event {other:?}")),
        }
        for (message, result) in self.tree.take_results() {
            if let Some(at) = self.waiting.iter().position(|(waiting, ..)| *waiting == message) {
                let (_, call, length) = self.waiting.swap_remove(at);
                self.calls.insert(call, outcome(result.map(|()| length)));
            }
        }
        Ok(())
    }

    fn call(&mut self, event: &Value, now: u32) -> Result<(), String> {
        let [path, to, data] = ["path", "to", "data"].map(|field| state::bytes(&event[field]));
        let (path, offset) = (path.as_slice(), event["offset"].as_u64().unwrap_or_default());
        let operation = match event["op"].as_str().unwrap_or_default() {
            "mkdir" => Operation::MakeDirectory { path },
            "create" => Operation::Create { path },
            "unlink" | "rmdir" => Operation::Delete { path },
            "rename" => Operation::Rename { from: path, to: &to },
            "utimens" => {
                Operation::SetTime { path, mtime: event["mtime"].as_i64().unwrap_or_default() as u32 }
            }
            "write" => Operation::Write { path, offset, data: &data, truncate: false },
            "truncate" => {
                let offset = event["size"].as_u64().unwrap_or_default();
                Operation::Write { path, offset, data: b"", truncate: true }
            }
            other => return Err(format!("unknown operation {other:?}")),
        };
        let call = event["call"].to_string();
        match self.tree.submit(&operation, now) {
            Ok(message) => self.waiting.push((message, call, data.len())),
            Err(refusal) => {
                self.calls.insert(call, outcome(Err(refusal)));
            }
        }
        Ok(())
    }

    /// Whether messages and modes are as they were recorded.
    fn compare(&mut self, event: &Value) -> Result<(), String> {
        let mut sent: Vec<(&str, Vec<u8>)> =
            self.tree.take_messages().into_iter().map(|message| ("dcdb", message)).collect();
        let of_status = self.status.as_mut().map(Machine::take_messages).unwrap_or_default();
        sent.extend(of_status.into_iter().map(|message| ("status", message)));
        let mut expected: Vec<(&str, Vec<u8>)> = event["mcast"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|sent| {
                let message = state::from_zero_run_hex(sent["msg"].as_str().unwrap_or_default());
                (sent["group"].as_str().unwrap_or_default(), message)
            })
            .collect();
        order(&mut sent);
        order(&mut expected);
        if sent != expected {
            let show = |messages: &[(&str, Vec<u8>)]| {
                let lines = messages
                    .iter()
                    .map(|(group, bytes)| format!("\n  {group} {}", state::zero_run_hex(bytes)));
                lines.collect::<String>()
            };
            return Err(format!("sent{}\ninstead of{}", show(&sent), show(&expected)));
        }
        let modes = [Some(self.tree.mode()), Some(self.status.as_ref().map_or(Mode::Start, Machine::mode))];
        let mut changed = Map::new();
        for (group, (mode, shown)) in ["dcdb", "status"].into_iter().zip(modes.iter().zip(&self.shown)) {
            if let Some(mode) = mode.filter(|mode| *shown != Some(*mode)) {
                changed.insert(group.to_owned(), (mode as u8).into());
            }
        }
        // what was recorded of the first event may leave out a group that nothing happened to
        let expected = event["mode"].as_object().cloned().unwrap_or_default();
        if self.shown[0].is_none() {
            changed.retain(|group, mode| expected.contains_key(group) || *mode != 0);
        }
        self.shown = modes;
        if changed == expected { Ok(()) } else { Err(format!("modes {changed:?} instead of {expected:?}")) }
    }

    fn finish(mut self) -> Actual {
        let store = self.files.replica().store().ok_or("no store")?;
        let rows = state::rows(&store)?;
        drop(store);
        let engine = self.files.replica().engine();
        let mut out = json!({
            "calls": std::mem::take(&mut self.calls),
            "entries": entries(engine.tree()),
            "index": state::hex(&checksum::index(engine.tree())),
            "checksum": state::hex(&checksum::tree_checksum(engine.tree())),
            "db": rows,
            "restartable": { "dcdb": u8::from(self.tree.mode().may_rejoin()) },
        });
        drop(engine);
        let mut vmlist = state::vmlist(&self.files, false);
        if let Some(list) = vmlist.as_object_mut() {
            list.remove("version");
        }
        out["vmlist"] = vmlist;
        if let Some(status) = &self.status {
            out["restartable"]["status"] = u8::from(status.mode().may_rejoin()).into();
            let parsed =
                |file| serde_json::from_slice::<Value>(&self.files.text(file)).map_err(|e| e.to_string());
            out["members"] = parsed(VirtualFile::Members)?;
            out["kvstore"] = parsed(VirtualFile::Version)?["kvstore"].take();
            out["clusterlog"] = state::string(&self.files.status().log().text(usize::MAX, None));
        }
        Ok(out)
    }
}

fn cluster(info: &Value) -> Option<ClusterInfo> {
    let nodes = info["nodes"].as_array()?.iter().map(|node| Member {
        name: state::bytes(&node["name"]).into(),
        id: number(&node["id"]),
        online: false,
    });
    let (name, version) = (state::bytes(&info["name"]).into(), info["version"].as_u64().unwrap_or_default());
    Some(ClusterInfo { name, version, nodes: nodes.collect() })
}

fn outcome(result: Result<usize, Refusal>) -> Value {
    match result {
        Ok(length) => length.into(),
        Err(refusal) => format!("{:?}", refusal.errno()).into(),
    }
}

/// Brings messages whose order says nothing into one: parts of an update, and keys, whose numbers follow that order.
fn order(messages: &mut [(&str, Vec<u8>)]) {
    let is_key = |message: &(&str, Vec<u8>)| message.0 == "status" && message.1.starts_with(&[0, 0, 1, 0]);
    for run in messages.chunk_by_mut(|one, other| is_key(one) && is_key(other)).filter(|run| run.len() > 1) {
        run.iter_mut().filter_map(|(_, bytes)| bytes.get_mut(16..24)).for_each(|count| count.fill(0));
        run.sort();
    }
    let is_update = |message: &(&str, Vec<u8>)| message.1.starts_with(&[3, 0]);
    for run in messages.chunk_by_mut(|one, other| is_update(one) && is_update(other)) {
        run.sort();
    }
}

/// All entries of the tree, the root first.
fn entries(tree: &Tree) -> Value {
    let shown = tree.entries().into_iter().map(|entry| {
        let content = (entry.size() > 0).then(|| state::data(entry.content(), state::SHORT));
        json!([
            entry.inode(),
            entry.parent(),
            entry.version(),
            entry.writer(),
            entry.mtime(),
            entry.entry_type() as u8,
            state::string(entry.name().as_bytes()),
            content,
        ])
    });
    shown.collect::<Vec<_>>().into()
}
