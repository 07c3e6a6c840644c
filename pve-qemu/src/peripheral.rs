// SPDX-License-Identifier: MIT OR Apache-2.0
//! The small devices: generation id, ports, sound, TPM, agent, random numbers, balloon, watchdog.

use bstr::{BStr, ByteSlice};

use crate::argument::{Element, put};
use crate::assembly::{Arch, Assembly, Step, truthy};
use crate::error::Reason;
use crate::host::FileType;
use crate::origin::{Key, Rule};
use crate::pci::Address;
use crate::process::RUN_DIR;
use crate::version::Feature;

/// Serial ports that can be configured.
const SERIAL_PORTS: u8 = 4;
/// Parallel ports that can be configured.
const PARALLEL_PORTS: u8 = 3;
/// How much a guest may draw from the host's random numbers: bytes, per milliseconds.
const RNG_BYTES: &str = "1024";
const RNG_PERIOD: &str = "1000";

impl<'a> Assembly<'a> {
    /// The generation id.
    pub(crate) fn put_vmgenid(&mut self) {
        if let Some(id) = self.conf.truthy("vmgenid") {
            let origin = Rule::VmGenerationId.of(Key::new("vmgenid"));
            put!(self.devices.option("-device", origin), "vmgenid,guid=", id);
        }
    }

    /// Serial and parallel ports (spec: qemu-command-devices, "Serial and parallel").
    pub(crate) fn put_serial_ports(&mut self) -> Step {
        for index in 0..SERIAL_PORTS {
            let Some(port) = self.conf.nth("serial", index).filter(|port| truthy(Some(port))) else {
                continue;
            };
            let key = Key::nth("serial", index);
            let origin = Rule::SerialPort.of(key);
            if port == "socket" {
                let vmid = self.vmid.get();
                let mut element = self.devices.option("-chardev", origin);
                put!(element, "socket,id=serial", index, ",path=", RUN_DIR, vmid, ".serial", index);
                element.put(",server=on,wait=off");
                drop(element);
                if index == 0 && self.arch == Arch::Arm {
                    self.devices.pair("-serial", "chardev:serial0", origin);
                    continue;
                }
            } else {
                self.check_character_device(key, port)?;
                put!(self.devices.option("-chardev", origin), "serial,id=serial", index, ",path=", port);
            }
            put!(self.devices.option("-device", origin), "isa-serial,chardev=serial", index);
        }
        for index in 0..PARALLEL_PORTS {
            let Some(port) = self.conf.nth("parallel", index).filter(|port| truthy(Some(port))) else {
                continue;
            };
            let key = Key::nth("parallel", index);
            self.check_character_device(key, port)?;
            let kind = if port.starts_with(b"/dev/usb/lp") { "serial" } else { "parallel" };
            let origin = Rule::ParallelPort.of(key);
            put!(self.devices.option("-chardev", origin), kind, ",id=parallel", index, ",path=", port);
            put!(self.devices.option("-device", origin), "isa-parallel,chardev=parallel", index);
        }
        Ok(())
    }

    fn check_character_device(&self, key: Key, path: &BStr) -> Step {
        if path.to_str().is_ok_and(|path| self.is(path, FileType::Char)) {
            return Ok(());
        }
        Err(self.error(key, Reason::NotACharacterDevice(path.to_owned())))
    }

    /// A sound card (spec: qemu-command-devices, "Audio").
    pub(crate) fn put_audio(&mut self) {
        if self.conf.truthy("audio0").is_none() || !self.has(Feature::Audio) {
            return;
        }
        let Some(audio) = self.conf.props("audio0") else { return };
        let key = Key::new("audio0");
        let device = audio.get("device").unwrap_or_default();
        let configured = audio.get("driver");
        let driver = configured.unwrap_or(BStr::new("spice"));
        let refers = self.has(Feature::Audiodev);
        let address = self.address("audio0", None);
        let origin = Rule::AudioDevice.of(key.sub("device"));
        let backend = |element: &mut Element<'_>| {
            if refers {
                element.because(Rule::AudioDevice.of_or_default(key.sub("driver"), configured.is_some()));
                put!(*element, ",audiodev=", driver, "-backend0");
            }
        };
        let mut element = self.devices.option("-device", origin);
        put!(element, device, ",id=audiodev0");
        put_address(&mut element, address);
        if device == "AC97" {
            backend(&mut element);
            drop(element);
        } else {
            drop(element);
            for (place, codec) in ["hda-micro", "hda-duplex"].into_iter().enumerate() {
                let mut element = self.devices.option("-device", origin);
                put!(element, codec, ",id=audiodev0-codec", place, ",bus=audiodev0.0,cad=", place);
                backend(&mut element);
            }
        }
        let origin = Rule::AudioDevice.of_or_default(key.sub("driver"), configured.is_some());
        put!(self.devices.option("-audiodev", origin), driver, ",id=", driver, "-backend0");
    }

    /// The TPM (spec: qemu-command-drives, "TPM").
    pub(crate) fn put_tpm(&mut self) -> Step {
        let key = Key::new("tpmstate0");
        if self.conf.truthy("tpmstate0").is_none() || self.template {
            return Ok(());
        }
        let origin = Rule::Tpm.of(key);
        let vmid = self.vmid.get();
        put!(self.devices.option("-chardev", origin), "socket,id=tpmchar,path=", RUN_DIR, vmid, ".swtpm");
        self.devices.pair("-tpmdev", "emulator,id=tpmdev,chardev=tpmchar", origin);
        self.devices.pair("-device", "tpm-tis,tpmdev=tpmdev", origin);
        self.effects.tpm = true;
        Ok(())
    }

    /// The guest agent (spec: qemu-command-devices, "Guest agent").
    pub(crate) fn put_agent(&mut self) {
        let Some(agent) = self.conf.props("agent").filter(|agent| agent.truthy("enabled").is_some()) else {
            return;
        };
        let key = Key::new("agent");
        let origin = Rule::Agent.of(key);
        let vmid = self.vmid.get();
        let mut element = self.devices.option("-chardev", origin);
        put!(element, "socket,path=", RUN_DIR, vmid, ".qga,server=on,wait=off,id=qga0");
        drop(element);
        if agent.get("type").is_some_and(|kind| kind == "isa") {
            self.devices.pair("-device", "isa-serial,chardev=qga0", Rule::Agent.of(key.sub("type")));
            return;
        }
        let address = self.address("qga0", None);
        let mut element = self.devices.option("-device", origin);
        element.put("virtio-serial,id=qga0");
        put_address(&mut element, address);
        drop(element);
        self.devices.pair("-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0", origin);
    }

    /// Random numbers (spec: qemu-command-devices, "RNG").
    pub(crate) fn put_random_numbers(&mut self) -> Step {
        if self.conf.truthy("rng0").is_none() || !self.has(Feature::Rng) {
            return Ok(());
        }
        let Some(rng) = self.conf.props("rng0") else { return Ok(()) };
        let key = Key::new("rng0");
        let source = rng.get("source").unwrap_or_default();
        let exists = source.to_str().is_ok_and(|path| self.file_type(path) != FileType::Missing);
        if !exists || source == "/dev/hwrng" && self.host.rng_current.trim() == "none" {
            return Err(self.error(key.sub("source"), Reason::NoRng(source.to_owned())));
        }
        let address = self.address("rng0", None);
        let origin = Rule::RandomNumbers.of(key.sub("source"));
        put!(self.devices.option("-object", origin), "rng-random,filename=", source, ",id=rng0");
        let bytes = rng.get("max_bytes").unwrap_or(BStr::new(RNG_BYTES));
        let period = rng.get("period").unwrap_or(BStr::new(RNG_PERIOD));
        let mut element = self.devices.option("-device", Rule::RandomNumbers.of(key));
        element.put("virtio-rng-pci,rng=rng0");
        if truthy(Some(bytes)) {
            let set = rng.get("max_bytes").is_some();
            element.because(Rule::RandomNumbers.of_or_default(key.sub("max_bytes"), set));
            put!(element, ",max-bytes=", bytes);
            let set = rng.get("period").is_some();
            element.because(Rule::RandomNumbers.of_or_default(key.sub("period"), set));
            put!(element, ",period=", period);
        }
        put_address(&mut element, address);
        Ok(())
    }

    /// The balloon (spec: qemu-command-devices, "Balloon").
    pub(crate) fn put_balloon(&mut self) {
        let balloon = self.conf.get("balloon");
        if balloon.is_some_and(|balloon| !truthy(Some(balloon))) {
            return;
        }
        let address = self.address("balloon0", None);
        let reports = self.has(Feature::PageReporting);
        let origin = Rule::Balloon.of_or_default(Key::new("balloon"), balloon.is_some());
        let mut element = self.devices.option("-device", origin);
        element.put("virtio-balloon-pci,id=balloon0");
        put_address(&mut element, address);
        if reports {
            element.because(Rule::PageReporting.rule()).put(",free-page-reporting=on");
        }
    }

    /// The watchdog (spec: qemu-command-devices, "Watchdog").
    pub(crate) fn put_watchdog(&mut self) {
        if self.conf.truthy("watchdog").is_none() {
            return;
        }
        let Some(watchdog) = self.conf.props("watchdog") else { return };
        let key = Key::new("watchdog");
        let model = watchdog.get("model");
        let address = self.address("watchdog", None);
        let mut element =
            self.devices.option("-device", Rule::Watchdog.of_or_default(key.sub("model"), model.is_some()));
        element.put(model.unwrap_or(BStr::new("i6300esb")));
        put_address(&mut element, address);
        drop(element);
        if let Some(action) = watchdog.truthy("action") {
            self.devices.pair("-watchdog-action", action, Rule::Watchdog.of(key.sub("action")));
        }
    }
}

/// Appends the place of a device that has one.
pub(crate) fn put_address(element: &mut Element<'_>, address: Option<Address>) {
    if let Some(address) = address {
        element.because(Rule::Address.rule()).put(address);
    }
}
