// SPDX-License-Identifier: MIT OR Apache-2.0
//! The emulator, the machine type and its flags (spec: qemu-command, "Versions and machine type").

use bstr::{BStr, BString, ByteSlice};

use crate::argument::put;
use crate::assembly::{Arch, Assembly, Step, truthy};
use crate::error::{Notice, Reason};
use crate::origin::{Key, Origin, Rule};
use crate::version::{Feature, MachineVersion, QemuVersion, highest_revision};

/// The option `machine`.
const MACHINE: Key = Key::new("machine");

/// Kind of hardware.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BaseType {
    I440fx,
    Q35,
    Virt,
}

impl BaseType {
    fn of(machine: &[u8]) -> Option<Self> {
        if machine.contains_str("q35") {
            Some(BaseType::Q35)
        } else if machine.starts_with(b"pc") {
            Some(BaseType::I440fx)
        } else if machine.starts_with(b"virt") {
            Some(BaseType::Virt)
        } else {
            None
        }
    }
}

/// The oldest machine version that Windows guests without a version get.
const WINDOWS_OLDEST: (u32, u32) = (5, 1);
/// Guests made with this QEMU or later get the version they were made with.
const WINDOWS_PINNED: (u32, u32) = (9, 1);

impl Arch<'_> {
    /// The machine of guests that name none.
    fn default_machine(self) -> Option<&'static str> {
        match self {
            Arch::X86 => Some("pc"),
            Arch::Arm => Some("virt"),
            Arch::Other(_) => None,
        }
    }
}

impl<'a> Assembly<'a> {
    /// Finds the emulator's version and the effective machine type, and checks that they go together.
    pub(crate) fn choose_machine(&mut self) -> Step {
        if !self.native && matches!(self.arch, Arch::Other(_)) {
            return Err(self.error(Key::new("arch"), Reason::Architecture(self.arch.name().into())));
        }
        self.emulator = self.version_of(self.arch.name())?;
        let machine = self.effective_machine()?;
        let versioned = MachineVersion::of_type(&machine);
        self.machine_version = versioned.unwrap_or_else(|| MachineVersion::newest_of(self.emulator));
        // Drives and boot ROMs look at the version of the host's own emulator.
        let native = match versioned {
            Some(version) => version,
            None if self.native => self.machine_version,
            None => MachineVersion::newest_of(self.version_of(&self.host.arch)?),
        };
        self.front_end_version = native;
        self.check_machine()?;
        let old_rom_type = machine.strip_suffix(b".pxe");
        self.rom_files = old_rom_type.is_some() || native < Feature::BuiltinBootRoms.threshold().since;
        self.machine = old_rom_type.map_or_else(|| machine.clone(), BString::from);
        Ok(())
    }

    /// Version of the emulator for guests of `arch`.
    fn version_of(&self, arch: &str) -> Step<QemuVersion> {
        let Some(text) = self.host.emulator(arch) else {
            return Err(self.error(Key::new("arch"), Reason::NoEmulator(arch.into())));
        };
        match QemuVersion::parse(text) {
            Some(version) if version.major >= QemuVersion::OLDEST.major => Ok(version),
            _ => Err(self.error(Key::NONE, Reason::EmulatorVersion(text.into()))),
        }
    }

    /// The machine type with its revision.
    fn effective_machine(&mut self) -> Step<BString> {
        let (wanted, origin) = match (self.forced_machine, self.configured_machine) {
            (Some(forced), _) => (Some(forced), Rule::ForcedMachine.caller("machine")),
            (None, Some(machine)) => (Some(machine), Rule::MachineType.of(MACHINE.sub("type"))),
            (None, None) => (None, Rule::MachineDefault.default(MACHINE)),
        };
        self.machine_origin = origin;
        let plain = |machine: &&BStr| !matches!(machine.as_bytes(), b"pc" | b"q35" | b"virt");
        let mut machine = match wanted.filter(plain) {
            Some(versioned) => versioned.to_owned(),
            None => self.unversioned_machine(wanted)?,
        };
        if !has_revision(&machine) {
            let end = machine.strip_suffix(b".pxe").map_or(machine.len(), <[u8]>::len);
            machine.splice(end..end, *b"+pve0");
        }
        Ok(machine)
    }

    /// The machine type of a guest that names a kind of machine at most.
    fn unversioned_machine(&mut self, wanted: Option<&BStr>) -> Step<BString> {
        let kind = match wanted {
            Some(kind) => kind,
            None => match self.arch.default_machine() {
                Some(kind) => BStr::new(kind),
                None => {
                    return Err(self.error(Key::new("arch"), Reason::Architecture(self.arch.name().into())));
                }
            },
        };
        let installed = self.version_of(&self.host.arch)?;
        let installed_machine = (installed.major, installed.minor);
        if self.windows == 0 {
            let revision = highest_revision(installed.major, installed.minor);
            return Ok(format!("{kind}+pve{revision}").into());
        }
        let mut base = WINDOWS_OLDEST;
        self.machine_origin = Rule::MachineWindows.of(Key::new("ostype"));
        if let Some(meta) = self.conf.props("meta") {
            let Some(made_with) = meta.get("creation-qemu") else {
                return Err(self.error(Key::new("meta"), Reason::NoCreationVersion));
            };
            if let Some(version) = made_with.to_str().ok().and_then(QemuVersion::parse)
                && (version.major, version.minor) >= WINDOWS_PINNED
            {
                base = (version.major, version.minor);
                self.machine_origin = Rule::MachineWindows.of(Key::new("meta").sub("creation-qemu"));
            }
        }
        let (major, minor) = base;
        let version = if installed_machine < (major, minor) {
            match highest_revision(installed.major, installed.minor) {
                0 => format!("{}.{}", installed.major, installed.minor),
                revision => format!("{}.{}+pve{revision}", installed.major, installed.minor),
            }
        } else {
            format!("{major}.{minor}")
        };
        let prefix = match kind.as_bytes() {
            b"pc" => "pc-i440fx-",
            b"q35" => "pc-q35-",
            _ => "virt-",
        };
        Ok(format!("{prefix}{version}").into())
    }

    /// The emulator can run the machine, and the acceleration is there.
    fn check_machine(&mut self) -> Step {
        let (machine, emulator) = (self.machine_version, self.emulator);
        if emulator.is_candidate() {
            self.warn(
                Key::NONE,
                format!("QEMU {emulator} is a release candidate; machine versions are not checked"),
            );
        } else if (emulator.major, emulator.minor) < (machine.major, machine.minor) {
            let reason = Reason::MachineTooNew { machine: machine.to_string(), qemu: emulator.to_string() };
            return Err(self.error(MACHINE, reason));
        } else if machine.pve > highest_revision(machine.major, machine.minor) {
            let reason = Reason::UnknownRevision {
                machine: format!("{}.{}", machine.major, machine.minor),
                revision: machine.pve,
                highest: highest_revision(machine.major, machine.minor),
            };
            return Err(self.error(MACHINE, reason));
        }
        if self.kvm && !self.host.kvm {
            return Err(self.error(Key::new("kvm"), Reason::NoKvm));
        }
        Ok(())
    }

    /// Hot-plug behind bridges as before QEMU 6.1.
    pub(crate) fn put_hotplug_fixup(&mut self) {
        let threshold = Feature::HotplugBridges.threshold().since;
        let recent = |major, minor| (major, minor) >= (threshold.major, threshold.minor);
        let unversioned =
            self.configured_machine.is_none_or(|m| matches!(m.as_bytes(), b"pc" | b"q35" | b"virt"));
        let made_with = self.conf.props("meta").and_then(|meta| meta.get("creation-qemu"));
        let made_recently = made_with
            .and_then(|version| QemuVersion::parse(version.to_str().ok()?))
            .is_some_and(|version| recent(version.major, version.minor));
        let forced = self.forced_machine.and_then(|machine| MachineVersion::of_type(machine));
        let forced_recent = forced.is_none_or(|version| recent(version.major, version.minor));
        if unversioned
            && !made_recently
            && forced_recent
            && self.has(Feature::HotplugBridges)
            && self.q35
            && self.ostype == "l26"
        {
            let value = "ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off";
            self.main.pair("-global", value, Rule::HotplugFixup.of(Key::new("ostype")));
        }
    }

    /// The power states S3 and S4.
    pub(crate) fn put_power_states(&mut self) {
        let machine = self.configured_machine.or_else(|| self.arch.default_machine().map(BStr::new));
        let machine = machine.unwrap_or_default();
        if machine.starts_with_str("virt") {
            return;
        }
        let object = if machine.contains_str("q35") { "ICH9-LPC" } else { "PIIX4_PM" };
        let on_by_default = !self.has(Feature::PowerStatesOff);
        let configured = self.conf.props("machine");
        for (option, property) in [("enable-s3", ".disable_s3=1"), ("enable-s4", ".disable_s4=1")] {
            let set = configured.as_ref().and_then(|machine| machine.get(option));
            let on = set.map_or(on_by_default, |value| truthy(Some(value)));
            if !on {
                let origin = Rule::PowerState.of_or_default(MACHINE.sub(option), set.is_some());
                put!(self.main.option("-global", origin), object, property);
            }
        }
    }

    /// The virtual IOMMU.
    pub(crate) fn put_iommu(&mut self) -> Step {
        let Some(machine) = self.conf.props("machine") else { return Ok(()) };
        let kind = machine.truthy("viommu");
        let key = MACHINE.sub("viommu");
        let width = machine.truthy("aw-bits");
        if let Some(width) = width {
            let key = MACHINE.sub("aw-bits");
            if kind.is_none() {
                return Err(self.error(key, Reason::Iommu("aw-bits needs viommu")));
            }
            let number = width.to_str().ok().and_then(|text| text.parse::<f64>().ok());
            if kind.is_some_and(|kind| kind == "intel") && !matches!(number, Some(39.0 | 48.0)) {
                return Err(self.error(key, Reason::Iommu("an Intel IOMMU has 39 or 48 address bits")));
            }
            self.notices.push(Notice { key, text: format!("the IOMMU has {width} address bits") });
        }
        let (list, device) = match kind.map(|kind| kind.as_bytes()) {
            Some(b"intel") if !self.q35 => {
                return Err(self.error(key, Reason::Iommu("an Intel IOMMU needs a q35 machine")));
            }
            Some(b"intel") => (&mut self.front, "intel-iommu,intremap=on,caching-mode=on"),
            Some(b"virtio") => (&mut self.devices, "virtio-iommu-pci"),
            _ => return Ok(()),
        };
        let mut element = list.option("-device", Rule::Iommu.of(key));
        element.put(device);
        if let Some(width) = width {
            element.because(Rule::Iommu.of(MACHINE.sub("aw-bits")));
            put!(element, ",aw-bits=", width);
        }
        Ok(())
    }

    /// The flags of `-machine` (spec: qemu-command, "`-machine` flags, in order").
    pub(crate) fn put_machine_flags(&mut self) {
        let acpi_off = self.conf.get("acpi").is_some_and(|acpi| acpi == "0");
        let mut flags = std::mem::take(&mut self.machine_flags);
        // flags of firmware (pflash) are there already, then:
        if acpi_off {
            flags.push("acpi=off", Rule::Acpi.of(Key::new("acpi")));
        }
        if let Some(origin) = self.hpet_off() {
            flags.push("hpet=off", origin);
        }
        if self.shares_plain_memory() {
            flags.push("memory-backend=virtiofs-mem", Rule::SharedMemory.about(Key::new("virtiofs")));
        }
        if !self.kvm {
            let set = self.conf.get("kvm").is_some();
            flags.push("accel=tcg", Rule::Accelerator.of_or_default(Key::new("kvm"), set));
        }
        let bios = self.conf.get("bios").map(|bios| bios.as_bytes());
        let seabios = matches!(bios, None | Some(b"" | b"0" | b"seabios"));
        if !self.machine.starts_with_str("virt") && seabios && self.is_headless() {
            flags.push("smm=off", Rule::Smm.about(Key::new("vga")));
        }
        let origin = self.machine_origin;
        let mut element = flags.element(Origin { rule: Rule::MachineType, ..origin });
        put!(element, "type=", without_revision(&self.machine));
        element.because(Rule::Revision.rule());
        put!(element, "+pve", self.required_revision);
        drop(element);
        let viommu = self.conf.props("machine").and_then(|machine| machine.get("viommu"));
        if viommu.is_some_and(|kind| kind == "intel") {
            flags.push("kernel-irqchip=split", Rule::Iommu.of(MACHINE.sub("viommu")));
        }
        self.put_confidential_flags(&mut flags);
        if self.conf.get("allow-ksm").is_some_and(|allow| allow == "0") {
            flags.push("mem-merge=off", Rule::MemoryMerge.of(Key::new("allow-ksm")));
        }
        self.machine_flags = flags;
    }

    /// Why the HPET is switched off, if it is.
    fn hpet_off(&mut self) -> Option<Origin> {
        let wanted = self.wants_hpet_off();
        let switchable = matches!(BaseType::of(&self.machine), Some(BaseType::I440fx | BaseType::Q35));
        (wanted && switchable).then(|| Rule::Hpet.of(Key::new("ostype")))
    }

    /// Whether the guest is better off without HPET.
    pub(crate) fn wants_hpet_off(&mut self) -> bool {
        self.windows >= 6 || self.ostype == "l26" && self.has(Feature::LinuxHpetOff)
    }

    /// An HPET can only be switched off on a machine of a known kind.
    pub(crate) fn check_base_type(&mut self) -> Step {
        if self.wants_hpet_off() && BaseType::of(&self.machine).is_none() {
            return Err(self.error(MACHINE, Reason::UnknownMachine(self.machine.clone())));
        }
        Ok(())
    }
}

/// Whether the type ends in `+pveN` or `+pveN.pxe`.
fn has_revision(machine: &[u8]) -> bool {
    let machine = machine.strip_suffix(b".pxe").unwrap_or(machine);
    without_revision(machine).len() < machine.len()
}

/// The type without `+pveN` at its end.
fn without_revision(machine: &[u8]) -> &[u8] {
    let digits = machine.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = machine.get(..machine.len() - digits).unwrap_or(machine);
    match before.strip_suffix(b"+pve") {
        Some(base) if digits > 0 => base,
        _ => machine,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_are_found_at_the_end() {
        assert!(has_revision(b"pc-i440fx-9.2+pve1") && has_revision(b"pc+pve0.pxe"));
        assert!(!has_revision(b"pc-i440fx-9.2") && !has_revision(b"pc+pve"));
        assert_eq!(without_revision(b"pc-q35-9.2+pve12").as_bstr(), "pc-q35-9.2");
        assert_eq!(without_revision(b"pc-q35-9.2").as_bstr(), "pc-q35-9.2");
    }
}
