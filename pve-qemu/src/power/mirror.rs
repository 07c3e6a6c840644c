// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk of a running machine is copied to another volume, by a job of QEMU.

use std::time::Duration;

use bstr::{BStr, ByteSlice};
use pve_volid::{ImageFormat, VmId};
use serde_json::{Value, json};

use crate::disk::volume_on;
use crate::node::{Machines, Volumes, WorldError};

/// How often QEMU is asked how far it is.
const POLL: Duration = Duration::from_secs(1);

/// Copies the disk `key` to the volume `target`. With `switch` the machine goes on with the copy, else it stays where
/// it is, and the copy holds what the disk held at the end.
pub(super) fn mirror(
    machines: &dyn Machines,
    volumes: &dyn Volumes,
    vmid: VmId,
    key: &BStr,
    target: &BStr,
    switch: bool,
) -> Result<(), WorldError> {
    let job = Job { machines, vmid, id: format!("mirror-{key}") };
    let disk = job.disk(key)?;
    let path = volumes.path(target)?.to_str_lossy().into_owned();
    let format = volume_on(volumes.storages(), target).and_then(|volume| volume.format.image());
    let format = format.unwrap_or(ImageFormat::Raw);
    let target_node = format!("mirror-{key}-target");
    let file = json!({ "driver": driver(&path), "filename": path, "locking": "off" });
    job.qmp("blockdev-add", json!({ "driver": format.as_str(), "node-name": &target_node, "file": file }))?;
    let mut arguments = json!({
        "job-id": &job.id,
        "device": &disk.name,
        "target": &target_node,
        "sync": "full",
        "auto-dismiss": false,
    });
    if switch && let Some(replaces) = &disk.replaces {
        arguments["replaces"] = replaces.as_str().into();
    }
    let done = job.qmp("blockdev-mirror", arguments).and_then(|_| job.finish(switch));
    // of a copy that the machine does not use the node is not needed any more
    if done.is_err() || !switch {
        let removed = job.qmp("blockdev-del", json!({ "node-name": target_node }));
        done?;
        removed?;
    }
    Ok(())
}

/// A job of a machine.
struct Job<'a> {
    machines: &'a dyn Machines,
    vmid: VmId,
    id: String,
}

/// How QEMU knows a disk.
struct Disk {
    /// The name of its drive, or of its topmost node.
    name: String,
    /// The node below the filters, which the copy takes the place of; `None`: the topmost.
    replaces: Option<String>,
}

impl Job<'_> {
    fn qmp(&self, command: &str, arguments: Value) -> Result<Value, WorldError> {
        self.machines.qmp(self.vmid, command, arguments, None)
    }

    /// The disk of an option.
    fn disk(&self, key: &BStr) -> Result<Disk, WorldError> {
        let name = format!("drive-{key}");
        let blocks = self.qmp("query-block", json!({}))?;
        let mut blocks = blocks.as_array().into_iter().flatten();
        let found = blocks.find(|block| block["device"] == name || block["inserted"]["node-name"] == name);
        let missing = || WorldError::Other(format!("the running VM {} has no disk {key}", self.vmid));
        let block = found.ok_or_else(missing)?;
        if block["device"] == name {
            return Ok(Disk { name, replaces: None });
        }
        // the filter's image is the image of the node below it
        let image = &block["inserted"]["image"]["filename"];
        let nodes = self.qmp("query-named-block-nodes", json!({ "flat": true }))?;
        let below = nodes.as_array().into_iter().flatten().find(|node| {
            let is_format =
                node["drv"] != "throttle" && node["drv"] != "file" && node["drv"] != "host_device";
            is_format && node["image"]["filename"] == *image
        });
        let replaces = below.and_then(|node| node["node-name"].as_str()).map(str::to_owned);
        Ok(Disk { name, replaces })
    }

    /// Waits until the copy is complete, and ends the job.
    fn finish(&self, switch: bool) -> Result<(), WorldError> {
        loop {
            let job = self.state()?;
            match job["status"].as_str() {
                Some("ready") => break,
                Some("concluded" | "null") | None => return self.dismiss(&job),
                Some(_) => std::thread::sleep(POLL),
            }
        }
        // a job that is ready is not given up by this, but ends with a copy that is consistent
        let end = if switch { "block-job-complete" } else { "block-job-cancel" };
        self.qmp(end, json!({ "device": &self.id }))?;
        loop {
            let job = self.state()?;
            match job["status"].as_str() {
                Some("concluded" | "null") | None => return self.dismiss(&job),
                Some(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// The job, `null` if there is none.
    fn state(&self) -> Result<Value, WorldError> {
        let jobs = self.qmp("query-jobs", json!({}))?;
        let found = jobs.as_array().into_iter().flatten().find(|job| job["id"] == self.id.as_str());
        Ok(found.cloned().unwrap_or_default())
    }

    /// Removes an ended job; its error is ours.
    fn dismiss(&self, job: &Value) -> Result<(), WorldError> {
        if !job.is_null() {
            self.qmp("job-dismiss", json!({ "id": &self.id }))?;
        }
        match job["error"].as_str() {
            Some(error) => {
                Err(WorldError::Other(format!("copying a disk of VM {} failed: {error}", self.vmid)))
            }
            None if job.is_null() => {
                Err(WorldError::Other(format!("the copy of a disk of VM {} was cancelled", self.vmid)))
            }
            None => Ok(()),
        }
    }
}

/// QEMU's driver for a path.
fn driver(path: &str) -> &'static str {
    if path.starts_with("/dev/") { "host_device" } else { "file" }
}
