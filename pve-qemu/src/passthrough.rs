// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI devices of the host that are given to the guest (spec: qemu-command-devices, "Host PCI devices").

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};

use crate::argument::put;
use crate::assembly::{Assembly, Step};
use crate::command_line::PciPreparation;
use crate::conf::Props;
use crate::error::{PassthroughReason, Reason};
use crate::host::PciDevice;
use crate::mapping::PciEntry;
use crate::origin::{Key, Rule};
use crate::pci;

/// Devices that can be configured.
const DEVICES: u8 = 16;
/// NVIDIA's vendor number.
const NVIDIA: &str = "10de";

/// The pass-through devices of a guest, resolved.
#[derive(Default)]
pub(crate) struct Passthrough<'a> {
    entries: Vec<Entry<'a>>,
}

/// An option `hostpciN`.
struct Entry<'a> {
    key: Key,
    index: u8,
    props: Props<'a>,
    /// The functions that are given to the guest, the first one leading.
    functions: Vec<Function<'a>>,
    /// Type of the mediated device, if it is one that sysfs creates.
    mediated: Option<&'a BStr>,
    /// Number of the vGPU type, if it is one of newer NVIDIA drivers.
    nvidia: Option<&'a BStr>,
    migratable: bool,
}

/// A function of a device of the host.
#[derive(Clone)]
struct Function<'a> {
    id: Cow<'a, str>,
    device: Option<&'a PciDevice>,
}

impl Entry<'_> {
    fn is_multifunction(&self) -> bool {
        self.functions.len() > 1 && self.mediated.is_none()
    }

    fn has(&self, key: &str) -> bool {
        self.props.truthy(key).is_some()
    }
}

impl Passthrough<'_> {
    /// Whether a device is the guest's primary display.
    pub(crate) fn primary_display(&self) -> bool {
        self.entries.iter().any(|entry| entry.has("x-vga"))
    }

    /// Whether a device takes the place of an integrated display.
    pub(crate) fn legacy_igd(&self) -> bool {
        self.entries.iter().any(|entry| entry.has("legacy-igd"))
    }
}

impl<'a> Assembly<'a> {
    /// Finds the devices of all `hostpciN` (spec: qemu-command-devices, "Resolution").
    pub(crate) fn resolve_passthrough(&mut self) -> Step {
        let mut candidates = Vec::new();
        for index in 0..DEVICES {
            let Some(props) = self.conf.nth_props("hostpci", index) else { continue };
            candidates.push(self.candidate(index, props, &candidates)?);
        }
        let mut used: Vec<Cow<'a, str>> = Vec::new();
        for (mut entry, alternatives) in candidates {
            entry.functions = self.choose(&entry, alternatives, &mut used)?;
            for function in entry.functions.iter().filter(|function| function.device.is_none()) {
                let text = format!(
                    "the facts of the host do not list PCI device {}; it is taken to be there, with this function only",
                    function.id
                );
                self.warn(entry.key, text);
            }
            self.passthrough.entries.push(entry);
        }
        Ok(())
    }

    /// An option with the alternatives that it leaves.
    #[allow(clippy::type_complexity)]
    fn candidate(
        &self,
        index: u8,
        props: Props<'a>,
        earlier: &[(Entry<'a>, Vec<Vec<Function<'a>>>)],
    ) -> Step<(Entry<'a>, Vec<Vec<Function<'a>>>)> {
        let key = Key::nth("hostpci", index);
        let refuse = |key: Key, reason| self.error(key, Reason::from(reason));
        let mut migratable = false;
        let groups: Vec<Vec<Function<'a>>> = match (props.truthy("host"), props.truthy("mapping")) {
            (Some(_), Some(_)) => return Err(refuse(key, PassthroughReason::Both)),
            (None, None) => return Err(refuse(key, PassthroughReason::Neither)),
            (Some(host), None) => vec![self.functions(key.sub("host"), host)?],
            (None, Some(id)) => {
                let key = key.sub("mapping");
                let mapping = self.builder.mappings().pci(id);
                let entries = mapping.map(|mapping| mapping.entries.as_slice()).unwrap_or_default();
                let here: Vec<&PciEntry> =
                    entries.iter().filter(|entry| entry.node == self.host.node.as_str()).collect();
                if here.is_empty() {
                    let node = self.host.node.clone();
                    return Err(refuse(key, PassthroughReason::NoMapping { mapping: id.to_owned(), node }));
                }
                let mediated = mapping.is_some_and(|mapping| mapping.mdev);
                migratable = mapping.is_some_and(|mapping| mapping.live_migration_capable);
                let mut groups = Vec::new();
                for entry in here {
                    self.check_mapping(key, entry, mediated)?;
                    groups.push(self.functions(key, entry.path.as_bstr())?);
                }
                groups
            }
        };
        let mut mediated = props.truthy("mdev");
        let mut nvidia = None;
        for group in &groups {
            if let [only] = group.as_slice() {
                let number = mediated.and_then(|kind| kind.strip_prefix(b"nvidia-"));
                let number = number.filter(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit));
                let vgpu = only.device.is_some_and(|device| device.nvidia && !device.mdev);
                if let Some(number) = number.filter(|_| vgpu) {
                    nvidia = Some(number.as_bstr());
                    mediated = None;
                }
            } else if mediated.is_some() || nvidia.is_some() {
                let text = props.truthy("host").or_else(|| props.truthy("mapping")).unwrap_or_default();
                return Err(refuse(key.sub("mdev"), PassthroughReason::MediatedFunctions(text.to_owned())));
            }
        }
        let entry = Entry { key, index, props, functions: Vec::new(), mediated, nvidia, migratable };
        if entry.has("pcie") && !self.q35 {
            return Err(refuse(key.sub("pcie"), PassthroughReason::Express));
        }
        if entry.has("legacy-igd") {
            let again = earlier.iter().any(|(other, _)| other.has("legacy-igd"));
            if let Some(why) = self.legacy_igd_conflict(&entry, &groups, again) {
                return Err(refuse(key.sub("legacy-igd"), PassthroughReason::LegacyIgd(why)));
            }
        }
        Ok((entry, groups))
    }

    /// What `legacy-igd` does not go with, if it is there.
    fn legacy_igd_conflict(
        &self,
        entry: &Entry<'a>,
        groups: &[Vec<Function<'a>>],
        again: bool,
    ) -> Option<&'static str> {
        let group = groups.first();
        if again {
            Some("is possible for one device only")
        } else if self.conf.get("vga").is_none_or(|vga| vga != "none") {
            Some("needs vga: none")
        } else if entry.props.get("rombar").is_some_and(|rombar| rombar == "0") {
            Some("needs the ROM (rombar)")
        } else if entry.has("x-vga") {
            Some("does not go with x-vga")
        } else if entry.mediated.is_some() || entry.nvidia.is_some() {
            Some("does not go with mdev")
        } else if self.q35 {
            Some("needs an i440fx machine")
        } else if group.is_some_and(|group| group.len() > 1) {
            Some("needs a single function")
        } else if groups.len() > 1 {
            Some("does not go with a mapping to several devices")
        } else if !group.and_then(|group| group.first()).is_some_and(|function| function.id.ends_with("02.0"))
        {
            Some("needs the device at slot 02.0")
        } else {
            None
        }
    }

    /// All functions of the host that `ids` name.
    fn functions(&self, key: Key, ids: &'a BStr) -> Step<Vec<Function<'a>>> {
        let mut functions: Vec<Function<'a>> = Vec::new();
        for id in ids.split_str(";").filter(|id| !id.is_empty()) {
            let mut found: Vec<Function<'a>> = self
                .host
                .pci_devices
                .iter()
                .filter(|device| {
                    let full = device.id.as_bytes();
                    full.starts_with(id)
                        || full.strip_prefix(b"0000:").is_some_and(|short| short.starts_with(id))
                })
                .map(|device| Function { id: Cow::Borrowed(device.id.as_str()), device: Some(device) })
                .collect();
            found.sort_by(|a, b| a.id.cmp(&b.id));
            if found.is_empty() && self.host.assume.pci_devices {
                let domain = if id.find_iter(":").count() > 1 { "" } else { "0000:" };
                let function = if id.contains(&b'.') { "" } else { ".0" };
                let full = format!("{domain}{}{function}", id.to_str_lossy());
                found.push(Function { id: Cow::Owned(full), device: None });
            }
            if found.is_empty() {
                let reason = PassthroughReason::NoDevice(id.to_owned().into());
                return Err(self.error(key, Reason::from(reason)));
            }
            functions.append(&mut found);
        }
        Ok(functions)
    }

    /// The host still has the devices that were mapped (spec: qemu-command-devices, "Mapping files").
    fn check_mapping(&self, key: Key, entry: &PciEntry, mediated: bool) -> Step {
        for (place, id) in entry.path.split_str(";").filter(|id| !id.is_empty()).enumerate() {
            let mut id = id.to_str_lossy().into_owned();
            if !id.contains('.') {
                id.push_str(".0");
            }
            let Some(device) = self.host.pci_devices.iter().find(|device| device.id == id) else {
                if self.host.assume.pci_devices {
                    continue;
                }
                let reason = PassthroughReason::NoDevice(id.into());
                return Err(self.error(key, Reason::from(reason)));
            };
            let actual_id = format!("{}:{}", device.vendor, device.device);
            let group = device.iommugroup.map(|group| group.to_string());
            let subsystem = match (&device.subsystem_vendor, &device.subsystem_device) {
                (Some(vendor), Some(device)) => Some(format!("{vendor}:{device}")),
                _ => None,
            };
            let text = |text: &Option<BString>| text.as_ref().map(|text| text.to_str_lossy().into_owned());
            let mut pairs = vec![("id", Some(actual_id), Some(entry.id.to_str_lossy().into_owned()))];
            if place == 0 {
                pairs.push(("IOMMU group", group, text(&entry.iommugroup)));
            }
            if subsystem.is_some() {
                pairs.push(("subsystem id", subsystem, text(&entry.subsystem_id)));
            }
            pairs.push(("mdev", Some(device.is_mediated().to_string()), Some(mediated.to_string())));
            for (what, actual, expected) in pairs {
                if actual != expected {
                    let reason = PassthroughReason::Mismatch {
                        device: id,
                        what,
                        actual: actual.unwrap_or_default(),
                        expected: expected.unwrap_or_default(),
                    };
                    return Err(self.error(key, Reason::from(reason)));
                }
            }
        }
        Ok(())
    }

    /// One of the alternatives.
    fn choose(
        &self,
        entry: &Entry<'a>,
        mut alternatives: Vec<Vec<Function<'a>>>,
        used: &mut Vec<Cow<'a, str>>,
    ) -> Step<Vec<Function<'a>>> {
        if entry.mediated.is_some() {
            return Ok(alternatives.into_iter().filter_map(|group| group.into_iter().next()).collect());
        }
        let taken = |group: &[Function<'a>], used: &[Cow<'a, str>]| {
            group.iter().find(|function| used.contains(&function.id)).map(|function| function.id.to_string())
        };
        let chosen = if alternatives.len() == 1 {
            let group = alternatives.pop().unwrap_or_default();
            if let Some(id) = taken(&group, used) {
                return Err(self.error(entry.key, Reason::from(PassthroughReason::Used(id))));
            }
            group
        } else {
            match alternatives.into_iter().find(|group| taken(group, used).is_none()) {
                Some(group) => group,
                None => {
                    let mapping = entry.props.get("mapping").unwrap_or_default().to_owned();
                    return Err(self.error(entry.key, Reason::from(PassthroughReason::NoneFree(mapping))));
                }
            }
        };
        used.extend(chosen.iter().map(|function| function.id.clone()));
        Ok(chosen)
    }

    /// Root ports and devices (spec: qemu-command-devices, "Output").
    pub(crate) fn put_passthrough(&mut self) -> Step {
        let passthrough = std::mem::take(&mut self.passthrough);
        for entry in &passthrough.entries {
            self.put_host_device(entry);
        }
        self.passthrough = passthrough;
        Ok(())
    }

    fn put_host_device(&mut self, entry: &Entry<'a>) {
        let (key, index) = (entry.key, entry.index);
        let express = entry.has("pcie");
        let windows7 = self.ostype == "win7";
        if express && !windows7 && index >= pci::BUILTIN_ROOT_PORTS {
            let offset = index - pci::BUILTIN_ROOT_PORTS;
            let mut element = self.devices.option("-device", Rule::RootPort.of(key.sub("pcie")));
            put!(element, "pcie-root-port,id=ich9-pcie-port-", index + 1, ",addr=");
            put!(element, crate::argument::Hex((pci::ROOT_PORT_SLOT + offset / 8).into()), ".", offset % 8);
            put!(element, ",x-speed=16,x-width=32,multifunction=on,bus=pcie.0,port=", index + 1);
            put!(element, ",chassis=", index + 1);
        }
        let address = match (express, entry.has("legacy-igd")) {
            (true, _) => None,
            (false, true) => self.address("legacy-igd", None),
            (false, false) => self.address("hostpci", Some(index)),
        };
        let multifunction = entry.is_multifunction();
        let boot = self.boot.of_device(key);
        let uuid = mediated_uuid(index, self.vmid.get());
        let shown = if entry.mediated.is_some() { 1 } else { entry.functions.len() };
        for (place, function) in entry.functions.iter().take(shown).enumerate() {
            let sub = if entry.props.truthy("mapping").is_some() { "mapping" } else { "host" };
            let mut element = self.devices.option("-device", Rule::Passthrough.of(key.sub(sub)));
            element.put("vfio-pci,");
            if entry.mediated.is_some() {
                put!(element, "sysfsdev=/sys/bus/mdev/devices/", &uuid);
            } else {
                put!(element, "host=", function.id.as_ref());
            }
            if entry.migratable {
                element.put(",enable-migration=on");
            }
            element.because(Rule::Passthrough.about(key));
            put!(element, ",id=hostpci", index);
            if multifunction {
                put!(element, ".", place);
            }
            element.because(Rule::Address.about(key));
            match address {
                Some(address) => drop(element.put(address)),
                None if windows7 => {
                    if let Some(slot) = pci::windows7_slot(index) {
                        pci::put_express(&mut element, slot);
                    }
                }
                None => put!(element, ",bus=ich9-pcie-port-", index + 1, ",addr=0x0"),
            }
            if multifunction {
                put!(element, ".", place);
            }
            if place > 0 {
                continue;
            }
            if entry.props.get("rombar").is_some_and(|rombar| rombar == "0") {
                element.because(Rule::Passthrough.of(key.sub("rombar"))).put(",rombar=0");
            }
            if entry.has("x-vga") && !self.ovmf {
                element.because(Rule::Passthrough.of(key.sub("x-vga"))).put(",x-vga=on");
            }
            if multifunction {
                element.because(Rule::Passthrough.about(key)).put(",multifunction=on");
            }
            if let Some(file) = entry.props.truthy("romfile") {
                element.because(Rule::Passthrough.of(key.sub("romfile")));
                put!(element, ",romfile=/usr/share/kvm/", file);
            }
            boot.put(&mut element);
            for id in ["vendor-id", "device-id", "sub-vendor-id", "sub-device-id"] {
                if let Some(value) = entry.props.truthy(id) {
                    element.because(Rule::Passthrough.of(key.sub(id)));
                    put!(element, ",x-pci-", id, "=", value);
                }
            }
        }
        self.effects.pci_devices.push(PciPreparation {
            key,
            ids: entry.functions.iter().map(|function| function.id.to_string()).collect(),
            mediated_type: entry.mediated.map(BStr::to_owned),
            mediated_uuid: entry.mediated.map(|_| uuid.clone()),
            nvidia_type: entry.nvidia.map(BStr::to_owned),
            keep_driver: entry.props.get("driver").is_some_and(|driver| driver == "keep"),
        });
        let parent = entry.functions.first().and_then(|function| function.device);
        let of_nvidia = parent.is_some_and(|device| device.vendor == NVIDIA);
        if (entry.mediated.is_some() || entry.nvidia.is_some()) && of_nvidia && self.effects.uuid.is_none() {
            let own = self.conf.props("smbios1").and_then(|smbios| smbios.truthy("uuid"));
            self.effects.uuid = Some(own.map_or_else(|| uuid.into(), BStr::to_owned));
        }
    }
}

/// The id under which sysfs creates a mediated device.
fn mediated_uuid(index: u8, vmid: u32) -> String {
    format!("{index:08}-0000-0000-0000-{vmid:012}")
}
