// SPDX-License-Identifier: MIT OR Apache-2.0
//! PMXCFS: sequences of operations on the cluster file system, called directly, through a real mount, or as requests.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use pve_cfs::clock::ManualClock;
use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::ipc::{self, Peer};
use pve_cfs::mount::{Caching, Mount, MountOptions};
use pve_cfs::operation::Fidelity;
use pve_cfs::refusal::Refusal;
use pve_cfs::store::{Store, StoreOptions};
use serde_json::{Value, json};

use super::{pmxcfs_mount, pmxcfs_state as state};
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let mut node = Node::start(case)?;
    let mut results = Vec::new();
    for operation in case["ops"].as_array().into_iter().flatten() {
        results.push(node.run(operation)?);
    }
    node.finish(&results)
}

/// A node whose database lies in a folder of its own and whose clock the case sets.
struct Node {
    /// Declared first, so that it is unmounted before the folder is removed.
    mount: Option<Mount>,
    folder: tempfile::TempDir,
    name: String,
    clock: Arc<ManualClock>,
    files: Arc<FileSystem>,
    restarted: bool,
}

impl Node {
    fn start(case: &Value) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
        let clock = Arc::new(ManualClock::new(case["now"].as_u64().unwrap_or_default()));
        let name = case["node"].as_str().unwrap_or_default().to_owned();
        let files = open(&folder.path().join("config.db"), &name, &clock)?;
        let mut node = Self { mount: None, folder, name, clock, files, restarted: false };
        if case["layer"] == "mount" {
            // users other than root must get through to the mount point
            std::fs::set_permissions(node.folder.path(), Permissions::from_mode(0o755))
                .map_err(|e| e.to_string())?;
            std::fs::create_dir(node.mount_point()).map_err(|e| e.to_string())?;
            node.mount()?;
        }
        Ok(node)
    }

    fn mount_point(&self) -> PathBuf {
        self.folder.path().join("pve")
    }

    fn mount(&mut self) -> Result<(), String> {
        // the cases were recorded with the kernel's caches switched off
        let options = MountOptions { caching: Caching::None, ..MountOptions::default() };
        let mount = Mount::new(self.files.clone(), &self.mount_point(), &options)
            .map_err(|e| format!("not run, since nothing can be mounted here: {e}"))?;
        self.mount = Some(mount);
        Ok(())
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("config.db")
    }

    fn run(&mut self, operation: &Value) -> Result<Value, String> {
        let files = &self.files;
        let name = operation["op"].as_str().unwrap_or_default();
        if self.mount.is_some() && !["clock", "restart", "quorate", "ipc"].contains(&name) {
            return pmxcfs_mount::run(&self.mount_point(), operation);
        }
        let path = state::bytes(&operation["path"]);
        let number = |field: &str| operation[field].as_u64().unwrap_or_default();
        Ok(match name {
            "clock" => {
                self.clock.set(number("t"));
                json!(0)
            }
            "quorate" => {
                files.set_quorate(number("v") != 0);
                json!(0)
            }
            "restart" => {
                let quorate = files.is_quorate();
                let mounted = self.mount.take();
                let was_mounted = mounted.is_some();
                if let Some(mount) = mounted {
                    mount.unmount().map_err(|e| format!("cannot unmount: {e}"))?;
                }
                // the database must be closed before it is opened again
                let idle =
                    FileSystem::new(pve_cfs::load::load(&[]), None, FileSystemOptions::local(&self.name));
                let closed = std::mem::replace(&mut self.files, Arc::new(idle));
                Arc::try_unwrap(closed).map_err(|_| "the file system is still in use")?;
                self.files = open(&self.database(), &self.name, &self.clock)?;
                if was_mounted {
                    self.mount()?;
                }
                self.files.set_quorate(quorate);
                self.restarted = true;
                json!(0)
            }
            "mkdir" => done(files.make_directory(&path)),
            "rmdir" | "unlink" => done(files.delete(&path)),
            "create" => done(files.create(&path)),
            "open" => done(files.open(&path)),
            "write" => match files.write(&path, number("offset"), &state::bytes(&operation["data"])) {
                Ok(count) => json!(count),
                Err(refusal) => refused(&refusal),
            },
            "read" => match files.read(&path, number("offset"), number("size") as usize) {
                Ok(bytes) => json!({ "data": state::data(&bytes, state::SHORT) }),
                Err(refusal) => refused(&refusal),
            },
            "truncate" => done(files.truncate(&path, number("size"))),
            "rename" => done(files.rename(&path, &state::bytes(&operation["to"]))),
            "utimens" => done(files.set_time(&path, operation["mtime"].as_i64().unwrap_or_default() as u32)),
            "chmod" => done(files.set_mode(&path, mode(operation))),
            "chown" => done(files.set_owner(uid(operation), gid(operation))),
            "getattr" => match files.attributes(&path) {
                Ok(found) => state::attributes(&found, files.group()),
                Err(refusal) => refused(&refusal),
            },
            "readdir" => match files.read_directory(&path) {
                Ok(entries) => state::names(entries.into_iter().map(|entry| entry.name).collect(), true),
                Err(refusal) => refused(&refusal),
            },
            "readlink" => match files.read_link(&path) {
                Ok(target) => json!({ "target": target }),
                Err(refusal) => refused(&refusal),
            },
            "statfs" => {
                let found = files.statistics();
                json!({
                    "bsize": found.block_size, "blocks": found.blocks, "bfree": found.free_blocks,
                    "bavail": found.free_blocks, "files": found.inodes, "ffree": found.free_inodes,
                    "namemax": found.name_length,
                })
            }
            "ipc" => request(files, operation),
            other => return Err(format!("unknown operation {other:?}")),
        })
    }

    fn finish(self, results: &[Value]) -> Actual {
        let engine = self.files.replica().engine();
        let mut out = json!({
            "results": results,
            "tree": state::tree(engine.tree(), self.files.is_quorate()),
        });
        if engine.has_failed() {
            out["errors"] = json!(true);
        }
        drop(engine);
        out["vmlist"] = state::vmlist(&self.files, !self.restarted);
        out["version"] = state::version(&self.files);
        let store = self.files.replica().store().ok_or("no store")?;
        out["db"] = state::rows(&store)?;
        Ok(out)
    }
}

fn open(path: &Path, node: &str, clock: &Arc<ManualClock>) -> Result<Arc<FileSystem>, String> {
    use pve_cfs::clock::Clock;
    let (store, loaded) =
        Store::open(path, &StoreOptions::default(), clock.now() as u32).map_err(|e| e.to_string())?;
    let options = FileSystemOptions {
        clock: clock.clone(),
        fidelity: Fidelity::Exact,
        ..FileSystemOptions::local(node)
    };
    Ok(Arc::new(FileSystem::new(loaded, Some(store), options)))
}

fn done(result: Result<(), Refusal>) -> Value {
    match result {
        Ok(()) => json!(0),
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> Value {
    errno(refusal.errno())
}

pub(crate) fn errno(errno: Errno) -> Value {
    match errno {
        // the same number as EOPNOTSUPP
        Errno::EOPNOTSUPP => "ENOTSUP".into(),
        other => format!("{other:?}").into(),
    }
}

pub(crate) fn mode(operation: &Value) -> u32 {
    u32::from_str_radix(operation["mode"].as_str().unwrap_or_default(), 8).unwrap_or_default()
}

pub(crate) fn uid(operation: &Value) -> Option<u32> {
    operation["uid"].as_u64().map(|uid| uid as u32)
}

pub(crate) fn gid(operation: &Value) -> Option<u32> {
    match operation["gid"].as_str() {
        Some("www-data") => Some(33),
        Some(_) => Some(0),
        None => operation["gid"].as_u64().map(|gid| gid as u32),
    }
}

/// One request of a local program.
fn request(files: &FileSystem, operation: &Value) -> Value {
    let id = operation["id"].as_i64().unwrap_or_default() as i32;
    let mut payload = Vec::new();
    for part in operation["payload"].as_array().into_iter().flatten() {
        let bytes = || state::bytes(&part[1]);
        let number = part[1].as_u64().unwrap_or_default();
        match part[0].as_str().unwrap_or_default() {
            "u8" => payload.push(number as u8),
            "u32" => payload.extend((number as u32).to_le_bytes()),
            "z" => payload.extend(bytes().into_iter().chain([0])),
            "s" => payload.extend(bytes()),
            "zpad" => {
                let mut field = bytes();
                field.resize(part[2].as_u64().unwrap_or_default() as usize, 0);
                payload.extend(field);
            }
            _ => {}
        }
    }
    let id_of = |field| operation["as"][field].as_u64().unwrap_or_default() as u32;
    let peer = Peer { pid: 1, uid: id_of("uid"), gid: id_of("gid") };
    let (error, mut data) = match ipc::answer(files, peer, id, &payload) {
        Ok(data) => (json!(0), data),
        Err(number) => (errno(number), Vec::new()),
    };
    if operation["pid0"] == true {
        data = without_pids(&data);
    }
    json!({ "id": id, "error": error, "data": state::data(&data, 20_000) })
}

/// The log text with every process id as 0.
fn without_pids(text: &[u8]) -> Vec<u8> {
    const FIELD: &[u8] = b"\"pid\": ";
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.windows(FIELD.len()).position(|window| window == FIELD) {
        let (before, after) = rest.split_at(at + FIELD.len());
        out.extend_from_slice(before);
        out.push(b'0');
        rest = &after[after.iter().take_while(|byte| byte.is_ascii_digit()).count()..];
    }
    out.extend_from_slice(rest);
    out
}
