// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of a running machine come, go and change (spec: vm-lifecycle, "QMP sequences").
//!
//! What a device consists of is read off the command lines that the VM would be started with, with and without it: the
//! arguments that only one of them has are its objects, block nodes, back ends and controllers, and the device itself.

use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmSection;
use pve_volid::VmId;
use serde_json::{Map, Value, json};

use super::LocalMachines;
use super::mirror::mirror;
use crate::argument::property;
use crate::node::{MachineChange, Machines, WorldError};

/// How long a device may take to come or go.
const DEVICE_PATIENCE: Duration = Duration::from_secs(6);
/// The same of a controller.
const CONTROLLER_PATIENCE: Duration = Duration::from_secs(16);
const POLL: Duration = Duration::from_millis(100);

/// Kinds of arguments, in the order in which what they name comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Object,
    Chardev,
    Netdev,
    Blockdev,
    Drive,
    Device,
}

impl Kind {
    fn of_option(option: &[u8]) -> Option<Self> {
        Some(match option {
            b"-object" => Kind::Object,
            b"-chardev" => Kind::Chardev,
            b"-netdev" => Kind::Netdev,
            b"-blockdev" => Kind::Blockdev,
            b"-drive" => Kind::Drive,
            b"-device" => Kind::Device,
            _ => return None,
        })
    }
}

/// An argument that names something.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Element {
    kind: Kind,
    id: String,
    text: BString,
}

impl Element {
    fn read(kind: Kind, text: &BStr) -> Option<Self> {
        let id = match json(text) {
            Some(map) => {
                ["id", "node-name"].iter().find_map(|key| map.get(*key)?.as_str().map(str::to_owned))?
            }
            None => property(text, "id")?.to_str().ok()?.to_owned(),
        };
        Some(Element { kind, id, text: text.to_owned() })
    }

    fn names_same(&self, other: &Element) -> bool {
        self.kind == other.kind && self.id == other.id
    }
}

/// The elements of a command line.
pub(super) fn elements(arguments: &[BString]) -> Vec<Element> {
    let pairs = arguments.iter().zip(arguments.iter().skip(1));
    let read = pairs.filter_map(|(option, value)| Element::read(Kind::of_option(option)?, value.as_bstr()));
    let mut elements: Vec<Element> = read.collect();
    elements.sort_by_key(|element| element.kind);
    elements
}

/// What the first command line has and the second has not.
fn difference(with: Vec<Element>, without: &[Element]) -> Vec<Element> {
    with.into_iter().filter(|element| !without.iter().any(|other| element.names_same(other))).collect()
}

fn json(text: &[u8]) -> Option<Map<String, Value>> {
    if text.starts_with(b"{") { serde_json::from_slice(text).ok() } else { None }
}

/// Makes a change.
pub(super) fn change(
    machines: &LocalMachines<'_>,
    vmid: VmId,
    change: &MachineChange<'_>,
) -> Result<(), WorldError> {
    let board = Board { machines, vmid };
    match change {
        MachineChange::Mirror { key, target, switch, .. } => {
            mirror(machines, machines.volumes(), vmid, key, target, *switch)
        }
        MachineChange::Plug { key, section } | MachineChange::PlugUsb { key, section } => {
            board.plug(&board.of_option(section, key)?)
        }
        MachineChange::Unplug { key, section } => {
            board.unplug(&key.to_str_lossy(), &board.of_option(section, key)?)
        }
        MachineChange::Cpus { from, to, section, .. } => {
            board.exchange(section, "vcpus", &from.to_string(), &to.to_string())
        }
        MachineChange::Memory { mib, section } => {
            let old = section.get("memory").map_or("512".into(), |memory| memory.to_str_lossy());
            board.exchange(section, "memory", &old, &mib.to_string())
        }
        MachineChange::Balloon { mib } => {
            board.qmp("balloon", json!({ "value": mib.saturating_mul(1 << 20) }))
        }
        MachineChange::Medium { key, section, .. } => board.change_medium(section, key),
        MachineChange::Throttle { key, section } => board.throttle(section, key),
        MachineChange::Link { key, up } => {
            board.qmp("set_link", json!({ "name": key.to_str_lossy(), "up": up }))
        }
        MachineChange::CpuWeight { weight } => board.group("cpu.weight", &weight.unwrap_or(100).to_string()),
        MachineChange::CpuQuota { percent } => {
            let quota = percent.map_or("max".to_owned(), |percent| percent.saturating_mul(1000).to_string());
            board.group("cpu.max", &format!("{quota} 100000"))
        }
        MachineChange::Tap { .. } | MachineChange::Rate { .. } => Err(WorldError::Other(format!(
            "cannot {change}: that takes the network scripts of Proxmox VE; it is done at the next start"
        ))),
    }
}

/// The devices of one machine.
struct Board<'a> {
    machines: &'a LocalMachines<'a>,
    vmid: VmId,
}

impl Board<'_> {
    fn ask(&self, command: &str, arguments: Value) -> Result<Value, WorldError> {
        self.machines.qmp(self.vmid, command, arguments, None)
    }

    fn qmp(&self, command: &str, arguments: Value) -> Result<(), WorldError> {
        self.ask(command, arguments).map(drop)
    }

    /// A command of the monitor for people, which takes the text of an argument as it is; what it says is an error.
    fn monitor(&self, command: &str, text: &BStr) -> Result<(), WorldError> {
        let line = format!("{command} {}", text.to_str_lossy());
        let said = self.ask("human-monitor-command", json!({ "command-line": line }))?;
        match said.as_str().map(str::trim) {
            None | Some("" | "OK") => Ok(()),
            Some(said) => Err(WorldError::Other(format!("{command}: {said}"))),
        }
    }

    fn elements(&self, section: &VmSection<'_>) -> Result<Vec<Element>, WorldError> {
        Ok(elements(&self.machines.arguments(self.vmid, section)?))
    }

    /// What an option adds to a machine.
    fn of_option(&self, section: &VmSection<'_>, key: &BStr) -> Result<Vec<Element>, WorldError> {
        let mut without = section.borrowed();
        if key == "tablet" {
            let mut with = section.borrowed();
            with.set("tablet", "1");
            without.set("tablet", "0");
            return Ok(difference(self.elements(&with)?, &self.elements(&without)?));
        }
        without.remove(key);
        Ok(difference(self.elements(section)?, &self.elements(&without)?))
    }

    /// Plugs or unplugs what two values of an option make different.
    fn exchange(&self, section: &VmSection<'_>, key: &str, old: &str, new: &str) -> Result<(), WorldError> {
        let with = |value: &str| {
            let mut section = section.borrowed();
            section.set(key, value);
            self.elements(&section)
        };
        let (old, new) = (with(old)?, with(new)?);
        let gone = difference(old.clone(), &new);
        for device in gone.iter().rev().filter(|element| element.kind == Kind::Device) {
            self.unplug(&device.id, std::slice::from_ref(device))?;
        }
        for object in gone.iter().filter(|element| element.kind == Kind::Object) {
            self.remove(object)?;
        }
        self.plug(&difference(new, &old))
    }

    fn names(&self, path: &str) -> Result<Vec<String>, WorldError> {
        let list = self.ask("qom-list", json!({ "path": path }))?;
        let names = list.as_array().into_iter().flatten().filter_map(|entry| entry["name"].as_str());
        Ok(names.map(str::to_owned).collect())
    }

    fn has_device(&self, id: &str) -> Result<bool, WorldError> {
        Ok(self.names("/machine/peripheral")?.iter().any(|name| name == id))
    }

    fn has_node(&self, name: &str) -> Result<bool, WorldError> {
        let nodes = self.ask("query-named-block-nodes", json!({ "flat": true }))?;
        Ok(nodes.as_array().into_iter().flatten().any(|node| node["node-name"] == name))
    }

    fn has_drive(&self, name: &str) -> Result<bool, WorldError> {
        let blocks = self.ask("query-block", json!({}))?;
        Ok(blocks.as_array().into_iter().flatten().any(|block| block["device"] == name))
    }

    fn exists(&self, element: &Element) -> Result<bool, WorldError> {
        match element.kind {
            Kind::Device => self.has_device(&element.id),
            Kind::Object => Ok(self.names("/objects")?.contains(&element.id)),
            Kind::Blockdev => self.has_node(&element.id),
            Kind::Drive => self.has_drive(&element.id),
            Kind::Chardev | Kind::Netdev => Ok(false),
        }
    }

    /// Adds what is not there yet; if that fails, nothing of it stays.
    fn plug(&self, elements: &[Element]) -> Result<(), WorldError> {
        let devices: Vec<&Element> = elements.iter().filter(|element| element.kind == Kind::Device).collect();
        let mut there = !devices.is_empty();
        for device in &devices {
            there &= self.exists(device)?;
        }
        if there {
            return Ok(());
        }
        let mut added: Vec<&Element> = Vec::new();
        for element in elements {
            if self.exists(element)? {
                continue;
            }
            if let Err(error) = self.add(element) {
                // the error to report is the first one
                added.iter().rev().for_each(|element| drop(self.remove(element)));
                return Err(error);
            }
            added.push(element);
        }
        for device in devices {
            self.wait(&device.id, true, DEVICE_PATIENCE)?;
        }
        Ok(())
    }

    fn add(&self, element: &Element) -> Result<(), WorldError> {
        let text = element.text.as_bstr();
        let (command, for_people) = match element.kind {
            Kind::Object => ("object-add", "object_add"),
            Kind::Chardev => ("chardev-add", "chardev-add"),
            Kind::Netdev => ("netdev_add", "netdev_add"),
            Kind::Blockdev => ("blockdev-add", "blockdev-add"),
            Kind::Drive => {
                let quoted = text.replace("\\", "\\\\").replace("\"", "\\\"");
                return self
                    .monitor("drive_add auto", format!("\"{}\"", quoted.as_bstr()).as_bytes().as_bstr());
            }
            Kind::Device => ("device_add", "device_add"),
        };
        match json(text) {
            Some(arguments) => self.qmp(command, Value::Object(arguments)),
            None => self.monitor(for_people, text),
        }
    }

    fn remove(&self, element: &Element) -> Result<(), WorldError> {
        let id = element.id.as_str();
        match element.kind {
            Kind::Object => self.qmp("object-del", json!({ "id": id })),
            Kind::Chardev => self.qmp("chardev-remove", json!({ "id": id })),
            Kind::Netdev => self.qmp("netdev_del", json!({ "id": id })),
            Kind::Blockdev if self.has_node(id)? => self.qmp("blockdev-del", json!({ "node-name": id })),
            Kind::Blockdev => Ok(()),
            // one of the start goes with its device
            Kind::Drive if self.has_drive(id)? => self.monitor("drive_del", id.into()),
            Kind::Drive => Ok(()),
            Kind::Device => self.qmp("device_del", json!({ "id": id })),
        }
    }

    /// Unplugs the device `id`, and what only it needed. A guest has to let go of devices on its PCI bus.
    fn unplug(&self, id: &str, elements: &[Element]) -> Result<(), WorldError> {
        if self.has_device(id)? {
            self.qmp("device_del", json!({ "id": id }))?;
            self.wait(id, false, DEVICE_PATIENCE)?;
        }
        let (others, behind): (Vec<_>, Vec<_>) = elements
            .iter()
            .rev()
            .filter(|element| !(element.kind == Kind::Device && element.id == id))
            .partition(|element| matches!(element.kind, Kind::Device | Kind::Object));
        behind.into_iter().try_for_each(|element| self.remove(element))?;
        for element in others {
            // a controller that stays serves the next device; what it uses stays with it
            if self.exists(element)? && self.remove(element).is_ok() && element.kind == Kind::Device {
                let _ = self.wait(&element.id, false, CONTROLLER_PATIENCE);
            }
        }
        Ok(())
    }

    fn wait(&self, id: &str, is_there: bool, patience: Duration) -> Result<(), WorldError> {
        let end = Instant::now() + patience;
        while self.has_device(id)? != is_there {
            if Instant::now() >= end {
                let how = if is_there {
                    "did not appear"
                } else {
                    "is still there; the guest does not let go of it"
                };
                return Err(WorldError::Other(format!("device {id} of VM {} {how}", self.vmid)));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Takes the medium out of a drive, and puts in what its option names.
    fn change_medium(&self, section: &VmSection<'_>, key: &BStr) -> Result<(), WorldError> {
        let id = key.to_str_lossy().into_owned();
        let (node, mut elements) = (format!("drive-{id}"), self.elements(section)?);
        elements.retain(|element| element.id == node && matches!(element.kind, Kind::Blockdev | Kind::Drive));
        if let Some(drive) = elements.iter().find(|element| element.kind == Kind::Drive) {
            self.qmp("eject", json!({ "device": node, "force": true }))?;
            return match property(&drive.text, "file") {
                Some(file) => {
                    let arguments = json!({ "device": node, "filename": file.to_str_lossy(), "force": true });
                    self.qmp("blockdev-change-medium", arguments)
                }
                None => Ok(()),
            };
        }
        self.qmp("blockdev-open-tray", json!({ "id": id, "force": true }))?;
        self.qmp("blockdev-remove-medium", json!({ "id": id }))?;
        if self.has_node(&node)? {
            self.qmp("blockdev-del", json!({ "node-name": node }))?;
        }
        if let Some(medium) = elements.first() {
            self.add_group_of(section, &node)?;
            self.add(medium)?;
            self.qmp("blockdev-insert-medium", json!({ "id": id, "node-name": node }))?;
        }
        self.qmp("blockdev-close-tray", json!({ "id": id }))
    }

    /// The group of limits that a node belongs to; a drive that was empty at the start has none.
    fn add_group_of(&self, section: &VmSection<'_>, node: &str) -> Result<(), WorldError> {
        let name = format!("throttle-{node}");
        let group = self.elements(section)?.into_iter().find(|element| element.id == name);
        match group {
            Some(group) if !self.exists(&group)? => self.add(&group),
            _ => Ok(()),
        }
    }

    fn throttle(&self, section: &VmSection<'_>, key: &BStr) -> Result<(), WorldError> {
        let (node, elements) = (format!("drive-{key}"), self.elements(section)?);
        let group = format!("throttle-{node}");
        let mut limits = no_limits();
        if let Some(object) =
            elements.iter().find(|element| element.id == group).and_then(|group| json(&group.text))
        {
            for (name, value) in object.get("limits").and_then(Value::as_object).into_iter().flatten() {
                limits.insert(name.clone(), value.clone());
            }
            return self.qmp("qom-set", json!({ "path": group, "property": "limits", "value": limits }));
        }
        let drive = elements.iter().find(|element| element.kind == Kind::Drive && element.id == node);
        for (name, value) in &mut limits {
            let set = drive.and_then(|drive| property(&drive.text, &format!("throttling.{name}")));
            if let Some(number) = set.and_then(|text| text.to_str().ok()?.parse::<u64>().ok()) {
                *value = number.into();
            }
        }
        let mut arguments: Map<String, Value> =
            limits.into_iter().map(|(name, value)| (old_name(&name), value)).collect();
        arguments.insert("device".into(), node.into());
        self.qmp("block_set_io_throttle", Value::Object(arguments))
    }

    /// Sets a property of the control group of a VM; one that was started plainly has none of its own, then or now.
    fn group(&self, file: &str, value: &str) -> Result<(), WorldError> {
        if !self.machines.run_dir().is_reference() {
            return Ok(());
        }
        let path = format!("/sys/fs/cgroup/qemu.slice/{}.scope/{file}", self.vmid);
        std::fs::write(&path, value).map_err(|error| WorldError::File { path, reason: error.to_string() })
    }
}

/// All limits of a drive, lifted.
fn no_limits() -> Map<String, Value> {
    let mut limits = Map::new();
    for what in ["bps", "iops"] {
        for way in ["total", "read", "write"] {
            limits.insert(format!("{what}-{way}"), 0.into());
            limits.insert(format!("{what}-{way}-max"), 0.into());
            limits.insert(format!("{what}-{way}-max-length"), 1.into());
        }
    }
    limits
}

/// The name of a limit in `block_set_io_throttle`: `bps-read-max-length` is `bps_rd_max_length`.
fn old_name(name: &str) -> String {
    name.replace("-total", "").replace("-read", "_rd").replace("-write", "_wr").replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(arguments: &[&str]) -> Vec<Element> {
        elements(&arguments.iter().map(|text| BString::from(*text)).collect::<Vec<_>>())
    }

    #[test]
    fn what_a_device_consists_of() {
        let common = ["/usr/bin/kvm", "-device", "virtio-scsi-pci,id=scsihw0,bus=pci.0", "-name", "web,id=x"];
        let group = r#"{"id":"throttle-drive-scsi1","limits":{},"qom-type":"throttle-group"}"#;
        let disk = [
            "-device",
            "scsi-hd,bus=scsihw0.0,drive=drive-scsi1,id=scsi1",
            "-blockdev",
            r#"{"driver":"throttle","node-name":"drive-scsi1"}"#,
            "-object",
            group,
        ];
        let found = difference(read(&[&common[..], &disk].concat()), &read(&common));
        let ids: Vec<(Kind, &str)> =
            found.iter().map(|element| (element.kind, element.id.as_str())).collect();
        let expected = [
            (Kind::Object, "throttle-drive-scsi1"),
            (Kind::Blockdev, "drive-scsi1"),
            (Kind::Device, "scsi1"),
        ];
        assert_eq!(ids, expected);
        assert_eq!(read(&common).len(), 1);
    }

    #[test]
    fn limits_have_two_names() {
        let names: Vec<String> = no_limits().keys().map(|name| old_name(name)).collect();
        for name in ["bps", "bps_rd_max", "iops_wr_max_length", "iops_max"] {
            assert!(names.contains(&name.to_owned()), "{name}: {names:?}");
        }
        assert_eq!(names.len(), 18);
    }
}
