// SPDX-License-Identifier: MIT OR Apache-2.0
//! PMXCFS_DB: databases of all kinds, and what the loader makes of them.

use std::path::Path;
use std::sync::Arc;

use base64ct::{Base64, Encoding as _};
use pve_cfs::clock::ManualClock;
use pve_cfs::database::would_refuse;
use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::store::{Store, StoreOptions};
use pve_cfs::{Database, OpenError, checksum};
use serde_json::{Value, json};

use super::pmxcfs_state as state;
use crate::Actual;

pub(crate) fn run(case: &Value, _dir: &Path) -> Actual {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let path = folder.path().join("config.db");
    if let Some(raw) = case["raw_b64"].as_str() {
        let bytes = Base64::decode_vec(raw).map_err(|e| e.to_string())?;
        std::fs::write(&path, bytes).map_err(|e| e.to_string())?;
    } else {
        let connection = rusqlite::Connection::open(&path).map_err(|e| e.to_string())?;
        connection.execute_batch(case["sql"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
    }
    let now = case["now"].as_u64().unwrap_or_default();
    // reading beside a daemon must come to the same judgement
    let read_only = Database::open_read_only(&path);
    let opened = Store::open(&path, &StoreOptions::default(), now as u32);
    let refused = opened.is_err();
    match (&read_only, refused) {
        (Ok((_, findings)), _) if would_refuse(findings) == refused => {}
        (Err(_), true) => {}
        other => return Err(format!("reading and opening for change disagree: {other:?}")),
    }
    let (store, loaded) = match opened {
        Ok(opened) => opened,
        Err(OpenError::Read(error)) => return Err(error.to_string()),
        Err(_) => return Ok(json!({ "refused": true })),
    };
    let tree = &loaded.tree;
    let mut out = json!({
        "refused": false,
        "tree": state::tree(tree, true),
        "used_inodes": tree.len(),
        "root_version": tree.version(),
        "db_after": state::rows(&store)?,
        "index": state::hex(&checksum::index(tree)),
        "checksum": state::hex(&checksum::tree_checksum(tree)),
    });
    let options =
        FileSystemOptions { clock: Arc::new(ManualClock::new(now)), ..FileSystemOptions::local("node1") };
    let files = FileSystem::new(loaded, Some(store), options);
    out["vmlist"] = state::vmlist(&files, false);
    Ok(out)
}
