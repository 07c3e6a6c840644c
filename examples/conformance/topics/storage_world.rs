// SPDX-License-Identifier: MIT OR Apache-2.0
//! The world of a recorded storage operation: its storages, and a machine in memory with its tree and answers.

use pve_config::storage::StorageConfig;
use pve_storage::{Exit, ImageFile, MemoryHost, Mount, Node, NodeKind, Output, Space, Storages};
use serde_json::Value;

use crate::bytes;

/// The fsid in the ceph.conf of every case.
const CEPH_CONF: &str = "[global]\n\tfsid = 11111111-2222-3333-4444-555555555555\n";

/// Directories that are there in every case.
const DIRECTORIES: [&str; 5] =
    ["/srv", "/mnt/pve", "/run/pve", "/etc/pve/priv/ceph", "/etc/pve/priv/storage"];

/// The storages of member `config`; a storage `local` only if the text names it.
pub(crate) fn storages(case: &Value) -> Result<Storages, String> {
    let text = case["config"].as_str().ok_or("no config")?;
    let all = Storages::from_config(&StorageConfig::parse(text.as_bytes()));
    let named = text.lines().any(|line| line.split_once(':').is_some_and(|(_, id)| id.trim() == "local"));
    Ok(all.iter().filter(|storage| named || storage.id().as_str() != "local").cloned().collect())
}

/// The machine of a case.
pub(crate) fn host(case: &Value) -> Result<MemoryHost, String> {
    let mut host = MemoryHost::new();
    host.insert("/etc/pve/ceph.conf", Node::file(CEPH_CONF));
    for directory in DIRECTORIES {
        host.insert(directory, Node::directory());
    }
    for entry in list(&case["tree"]) {
        let path = bytes::read(&entry["path"]).ok_or("no path in the tree")?;
        host.insert(path, node(entry)?);
    }
    for command in list(&case["commands"]) {
        let argv: Option<Vec<Vec<u8>>> = list(&command["argv"]).iter().map(bytes::read).collect();
        host.answer(argv.ok_or("no argv")?, output(command));
    }
    host.mounts = list(&case["mounts"]).iter().filter_map(mount).collect();
    environment(&mut host, &case["env"]);
    Ok(host)
}

fn environment(host: &mut MemoryHost, env: &Value) {
    let df = |name: &str| env["df"][name].as_u64().unwrap_or(0);
    if env["df"].is_object() {
        host.space = Some(Space { total: df("total"), available: df("avail"), used: df("used") });
    }
    host.reachable = env["tcp_ping"].as_u64() == Some(1) || env["tcp_ping"].as_bool() == Some(true);
    host.address = env["resolve"].as_str().and_then(|address| address.parse().ok());
    if let [major, minor] = list(&env["kernel"])
        && let (Some(major), Some(minor)) = (major.as_u64(), minor.as_u64())
    {
        host.kernel = (u32::try_from(major).unwrap_or(0), u32::try_from(minor).unwrap_or(0));
    }
    for (command, answer) in env["rados"].as_object().into_iter().flatten() {
        host.monitor.insert(command.clone(), answer.clone());
    }
    for (session, _) in env["logged_in"].as_object().into_iter().flatten() {
        let path = format!("/sys/class/iscsi_session/session{session}/state");
        host.insert(path, Node::file("LOGGED_IN\n"));
    }
}

fn node(entry: &Value) -> Result<Node, String> {
    let mut node = match entry["kind"].as_str().unwrap_or("file") {
        "dir" => Node::directory(),
        "block" => Node::block(),
        "link" => Node::link(bytes::read(&entry["target"]).ok_or("a link without target")?),
        _ => match bytes::read(&entry["text"]) {
            Some(text) => Node::file(text),
            None => Node::sized(entry["size"].as_u64().unwrap_or(0)),
        },
    };
    node.changed = entry["ctime"].as_i64().unwrap_or(1_700_000_000);
    if let NodeKind::File { image, .. } = &mut node.kind
        && entry["img"].is_object()
    {
        *image = Some(image_file(&entry["img"]));
    }
    Ok(node)
}

fn image_file(img: &Value) -> ImageFile {
    let flag = |name: &str| !matches!(&img[name], Value::Null | Value::Bool(false)) && img[name] != 0;
    ImageFile {
        format: img["format"].as_str().unwrap_or("raw").to_owned(),
        virtual_size: img["virtual-size"].as_u64(),
        actual_size: img["actual-size"].as_u64(),
        backing: bytes::read(&img["backing-filename"]).map(Into::into),
        error: bytes::read(&img["error"]).map(Into::into),
        silent: flag("silent"),
        garbage: flag("badjson"),
    }
}

fn output(command: &Value) -> Output {
    let text = |name: &str| bytes::read(&command[name]).unwrap_or_default();
    let code = command["rc"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(0);
    Output { exit: Exit::Code(code), stdout: text("stdout").into(), stderr: text("stderr").into() }
}

fn mount(entry: &Value) -> Option<Mount> {
    let [source, point, kind] = list(entry) else { return None };
    let text = |value: &Value| bytes::read(value).map(Into::into);
    Some(Mount { source: text(source)?, point: text(point)?, kind: text(kind)? })
}

/// The elements of an array; none for anything else.
pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
