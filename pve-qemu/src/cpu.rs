// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU the guest sees: model, flags, address width (spec: qemu-command, "`-cpu`").

pub mod models;

use bstr::{BStr, BString, ByteSlice};
use smallvec::SmallVec;

use crate::argument::put;
use crate::assembly::{Arch, Assembly, Step, truthy};
use crate::conf::Props;
use crate::error::{Notice, Reason};
use crate::origin::{Key, Origin, Rule};
use crate::version::Feature;

const CPU: Key = Key::new("cpu");
/// Widest physical addresses that OVMF handles without 1 GiB pages.
const OVMF_PHYS_BITS: u32 = 40;

/// How a flag is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switch {
    /// `+flag`
    On,
    /// `-flag`
    Off,
    /// `flag`, `flag=value`
    Plain,
}

/// A CPU flag and why it is there.
#[derive(Debug, Clone)]
struct Flag<'a> {
    name: &'a [u8],
    switch: Switch,
    value: Option<&'a [u8]>,
    origin: Origin,
}

/// The flags of a CPU, layer upon layer.
#[derive(Debug, Default)]
struct Flags<'a> {
    list: SmallVec<[Flag<'a>; 24]>,
    /// Flags of an earlier layer that a later one changed.
    overridden: SmallVec<[&'a [u8]; 4]>,
}

impl<'a> Flags<'a> {
    fn set(&mut self, flag: Flag<'a>) {
        match self.list.iter_mut().find(|other| other.name == flag.name) {
            Some(other) if (other.switch, other.value) == (flag.switch, flag.value) => {}
            Some(other) => {
                self.overridden.push(flag.name);
                *other = flag;
            }
            None => self.list.push(flag),
        }
    }

    fn on(&mut self, name: &'a str, origin: Origin) {
        self.set(Flag { name: name.as_bytes(), switch: Switch::On, value: None, origin });
    }

    fn off(&mut self, name: &'a str, origin: Origin) {
        self.set(Flag { name: name.as_bytes(), switch: Switch::Off, value: None, origin });
    }

    fn plain(&mut self, name: &'a str, value: Option<&'a [u8]>, origin: Origin) {
        self.set(Flag { name: name.as_bytes(), switch: Switch::Plain, value, origin });
    }
}

/// Enlightenments for Windows guests: flag, value, lowest Windows version, since when. `hv_vendor_id`,
/// `hv_spinlocks` of old machines and `hv_evmcs` have conditions of their own.
const HYPERV: &[(&str, Option<&str>, u32, Option<Feature>)] = &[
    ("hv_spinlocks", Some("0x1fff"), 6, Some(Feature::KvmClock)),
    ("hv_vapic", None, 6, Some(Feature::KvmClock)),
    ("hv_time", None, 6, Some(Feature::KvmClock)),
    ("hv_reset", None, 6, Some(Feature::HypervReset)),
    ("hv_vpindex", None, 6, Some(Feature::HypervReset)),
    ("hv_runtime", None, 6, Some(Feature::HypervReset)),
    ("hv_relaxed", None, 7, None),
    ("hv_synic", None, 7, Some(Feature::HypervTimers)),
    ("hv_stimer", None, 7, Some(Feature::HypervTimers)),
    ("hv_ipi", None, 7, Some(Feature::HypervIpi)),
];
/// Lowest Windows version with any enlightenment, and with OVMF.
const HYPERV_WINDOWS: u32 = 6;
const HYPERV_WINDOWS_OVMF: u32 = 8;
/// Lowest Windows version that uses `hv_evmcs` and control-flow enforcement.
const WINDOWS_11: u32 = 11;

/// A custom CPU model of `cpu-models.conf`, keys with a falsy value left out.
#[derive(Debug, Clone)]
pub(crate) struct CustomModel {
    pub(crate) reported_model: BString,
    pub(crate) hidden: bool,
    pub(crate) hv_vendor_id: Option<BString>,
    pub(crate) flags: Option<BString>,
    pub(crate) phys_bits: Option<BString>,
    pub(crate) guest_phys_bits: Option<BString>,
    pub(crate) level: Option<BString>,
}

impl<'a> Assembly<'a> {
    /// `-cpu`.
    pub(crate) fn put_cpu(&mut self) -> Step {
        if let Some(forced) = self.forced_cpu {
            self.main.pair("-cpu", forced, Rule::ForcedCpu.caller("cpu"));
            return Ok(());
        }
        let cpu = self.conf.props("cpu");
        let cputype = cpu.as_ref().and_then(|cpu| cpu.get("cputype"));
        let abstract_model =
            cputype.and_then(|name| models::abstract_model(name)).filter(|_| self.arch == Arch::X86);
        let custom = match (cputype, abstract_model) {
            (Some(name), None) => self.builder.custom_model(name),
            _ => None,
        };
        let model: &[u8] = match (cputype, abstract_model, custom) {
            (_, Some(model), _) => model.reported.as_bytes(),
            (_, _, Some(custom)) => custom.reported_model.as_bytes(),
            (Some(name), ..) => name,
            (None, ..) => match (self.arch, self.kvm) {
                (Arch::X86, true) => b"kvm64",
                (Arch::X86, false) => b"qemu64",
                (_, true) => b"host",
                (_, false) => b"max",
            },
        };
        let model = models::renamed(model);
        let Some(vendor) = self.host.cpu_model_vendor(self.arch.name(), model) else {
            let reason = Reason::CpuModel { model: model.into(), arch: self.arch.name().into() };
            return Err(self.error(CPU, reason));
        };

        let mut flags = Flags::default();
        self.platform_flags(&mut flags, model);
        self.hyperv_flags(&mut flags, cpu.as_ref(), custom);
        for flag in abstract_model.map_or(&[][..], |model| model.flags) {
            flags.on(flag, Rule::CpuAbstract.of(CPU.sub("cputype")));
        }
        let mut nested_missing = false;
        if let Some(list) = custom.and_then(|custom| custom.flags.as_ref()) {
            let origin = Rule::CpuCustom.of(CPU.sub("cputype"));
            nested_missing |= self.configured_flags(&mut flags, list.as_bstr(), origin);
        }
        if let Some(list) = cpu.as_ref().and_then(|cpu| cpu.truthy("flags")) {
            nested_missing |= self.configured_flags(&mut flags, list, Rule::CpuFlags.of(CPU.sub("flags")));
        }
        if nested_missing {
            self.warn(CPU.sub("flags"), "nested-virt is ignored: the host's CPU offers neither svm nor vmx");
        }
        if self.arch == Arch::X86 {
            let origin = Rule::CpuForced.of_or_default(CPU, cpu.is_some());
            if self.kvm && model != b"host" {
                flags.plain("enforce", None, origin);
            }
            if let Some(origin) = self.hides_kvm(cpu.as_ref(), custom) {
                flags.plain("kvm", Some(b"off"), origin);
            }
            if vendor != models::NO_VENDOR {
                flags.plain("vendor", Some(vendor.as_bytes()), origin);
            }
        }
        for name in std::mem::take(&mut flags.overridden) {
            self.warn(CPU, format!("flag {} is set in several ways; the last one counts", name.as_bstr()));
        }
        flags.list.sort_by(|a, b| a.name.cmp(b.name));
        self.put_cpu_string(model, cpu.as_ref(), custom, &flags);
        Ok(())
    }

    /// Writes the argument.
    fn put_cpu_string(
        &mut self,
        model: &[u8],
        cpu: Option<&Props<'a>>,
        custom: Option<&CustomModel>,
        flags: &Flags<'_>,
    ) {
        let level = cpu
            .and_then(|cpu| cpu.get("level"))
            .or_else(|| custom.and_then(|custom| Some(custom.level.as_ref()?.as_bstr())));
        let guest_bits = cpu
            .and_then(|cpu| cpu.truthy("guest-phys-bits"))
            .or_else(|| custom.and_then(|custom| Some(custom.guest_phys_bits.as_ref()?.as_bstr())));
        let own_bits = cpu.and_then(|cpu| cpu.truthy("phys-bits"));
        let custom_bits = custom.and_then(|custom| Some(custom.phys_bits.as_ref()?.as_bstr()));
        if level.is_some() && self.arch != Arch::X86 {
            self.warn(CPU.sub("level"), "level is ignored: it exists for x86_64 guests only");
        }

        let mut element =
            self.main.option("-cpu", Rule::CpuModel.of_or_default(CPU.sub("cputype"), cpu.is_some()));
        element.put(model);
        if let Some(level) = level.filter(|_| self.arch == Arch::X86) {
            element.because(Rule::CpuLevel.of(CPU.sub("level")));
            put!(element, ",level=", level);
        }
        for flag in &flags.list {
            element.because(flag.origin).put(match flag.switch {
                Switch::On => ",+",
                Switch::Off => ",-",
                Switch::Plain => ",",
            });
            element.put(flag.name);
            if let Some(value) = flag.value {
                put!(element, "=", value);
            }
        }
        if let Some(bits) = guest_bits {
            element.because(Rule::CpuPhysBits.of(CPU.sub("guest-phys-bits")));
            put!(element, ",guest-phys-bits=", bits);
        }
        if let Some(bits) = own_bits.or(custom_bits) {
            element.because(Rule::CpuPhysBits.of(CPU.sub("phys-bits")));
            if bits == "host" {
                element.put(",host-phys-bits=true");
            } else {
                put!(element, ",phys-bits=", bits);
            }
        }
        drop(element);

        let pages = flags.list.iter().any(|flag| flag.name == b"pdpe1gb" && flag.switch != Switch::Off);
        let host_bits = self.host.phys_bits;
        let wide = [own_bits, custom_bits].into_iter().flatten().any(|bits| {
            let bits = if bits == "host" {
                host_bits
            } else {
                bits.to_str().ok().and_then(|bits| bits.parse().ok())
            };
            bits.is_some_and(|bits| bits > OVMF_PHYS_BITS)
        });
        if self.ovmf && matches!(model, b"qemu64" | b"kvm64") && !pages && wide {
            let text = format!(
                "more than {OVMF_PHYS_BITS} address bits may not work with OVMF without flag pdpe1gb"
            );
            self.warn(CPU.sub("phys-bits"), text);
        }
    }

    /// Flags that the platform sets.
    fn platform_flags(&mut self, flags: &mut Flags<'_>, model: &[u8]) {
        let x86 = self.arch == Arch::X86;
        let origin = Rule::CpuPve.of_or_default(CPU, self.conf.get("cpu").is_some());
        let guest = Rule::CpuPve.of(Key::new("ostype"));
        if model == b"kvm64" && x86 {
            flags.on("lahf_lm", origin);
        }
        if self.ostype == "solaris" {
            flags.off("x2apic", guest);
        }
        if matches!(model, b"kvm64" | b"kvm32") {
            flags.on("sep", origin);
        }
        if model.starts_with(b"Opteron") {
            flags.off("rdtscp", origin);
        }
        if self.has(Feature::KvmClock) && self.kvm && x86 {
            flags.on("kvm_pv_unhalt", Rule::CpuPve.rule());
            flags.on("kvm_pv_eoi", Rule::CpuPve.rule());
        }
        if x86 && self.has(Feature::CetFlags) {
            if self.windows >= WINDOWS_11 {
                flags.off("cet-ibt", guest);
                flags.off("cet-ss", guest);
            }
            if model == b"host" && !self.has(Feature::VmxMbec) {
                flags.off("vmx-mbec", Rule::CpuPve.of(Key::new("machine")));
            }
        }
    }

    /// Enlightenments for Windows.
    fn hyperv_flags<'f>(
        &mut self,
        flags: &mut Flags<'f>,
        cpu: Option<&Props<'f>>,
        custom: Option<&'f CustomModel>,
    ) {
        let oldest = if self.ovmf { HYPERV_WINDOWS_OVMF } else { HYPERV_WINDOWS };
        if !self.kvm || self.arch != Arch::X86 || self.windows < oldest {
            return;
        }
        let origin = Rule::CpuHyperv.of(Key::new("ostype"));
        let vendor = cpu.and_then(|cpu| cpu.truthy("hv-vendor-id")).map(|vendor| vendor.as_bytes());
        let vendor =
            vendor.or_else(|| custom.and_then(|custom| Some(custom.hv_vendor_id.as_ref()?.as_bytes())));
        if vendor.is_some() || self.passthrough.primary_display() {
            let origin = Rule::CpuHyperv.of_or_default(CPU.sub("hv-vendor-id"), vendor.is_some());
            flags.plain("hv_vendor_id", Some(vendor.unwrap_or(b"proxmox")), origin);
        }
        if !self.has(Feature::KvmClock) {
            flags.plain("hv_spinlocks", Some(b"0xffff"), origin);
        }
        for (name, value, windows, since) in HYPERV {
            if self.windows >= *windows && since.is_none_or(|since| self.has(since)) {
                flags.plain(name, value.map(str::as_bytes), origin);
            }
        }
        if self.host.cpu_vendor == "GenuineIntel"
            && self.windows >= WINDOWS_11
            && self.has(Feature::HypervEvmcs)
        {
            flags.plain("hv_evmcs", None, Rule::CpuHyperv.host("cpu_vendor", Key::new("ostype")));
        }
    }

    /// Flags of a list `+a;-b`. Returns whether `nested-virt` could not be resolved.
    fn configured_flags<'f>(&mut self, flags: &mut Flags<'f>, list: &'f BStr, origin: Origin) -> bool {
        // within a layer the last one counts
        let mut layer: SmallVec<[(&'f [u8], Switch); 8]> = SmallVec::new();
        for word in list.split(|byte| *byte == b';') {
            let (switch, name) = match word.split_first() {
                Some((b'+', name)) => (Switch::On, name),
                Some((b'-', name)) => (Switch::Off, name),
                _ => continue,
            };
            layer.retain(|(other, _)| *other != name);
            layer.push((name, switch));
        }
        let mut missing = false;
        if let Some(at) = layer.iter().position(|(name, _)| *name == b"nested-virt") {
            let (_, switch) = layer.remove(at);
            match nested_virtualization(&self.host.cpu_flags) {
                Some(flag) => {
                    let text = format!("nested-virt means {flag} on this host");
                    self.notices.push(Notice { key: CPU.sub("flags"), text });
                    // of nested-virt and the flag it stands for nested-virt wins
                    layer.push((flag.as_bytes(), switch));
                }
                None => missing = true,
            }
        }
        for (name, switch) in layer {
            flags.set(Flag { name, switch, value: None, origin });
        }
        missing
    }

    /// Why KVM is hidden from the guest, if it is.
    fn hides_kvm(&self, cpu: Option<&Props<'a>>, custom: Option<&CustomModel>) -> Option<Origin> {
        if let Some(hidden) = cpu.and_then(|cpu| cpu.get("hidden")) {
            return truthy(Some(hidden)).then_some(Rule::CpuForced.of(CPU.sub("hidden")));
        }
        if custom.is_some_and(|custom| custom.hidden) {
            return Some(Rule::CpuCustom.of(CPU.sub("cputype")));
        }
        self.passthrough.primary_display().then_some(Rule::CpuForced.of(Key::new("hostpci").sub("x-vga")))
    }

    /// OVMF needs a 64-bit CPU (spec: qemu-command, "OVMF check").
    pub(crate) fn check_ovmf_cpu(&self) -> Step {
        if self.forced_cpu.is_some() {
            return Ok(());
        }
        let cpu = self.conf.props("cpu");
        let cputype = cpu.as_ref().and_then(|cpu| cpu.get("cputype"));
        let model: &[u8] = match cputype {
            None => return Ok(()),
            Some(name) => match (models::abstract_model(name), self.builder.custom_model(name)) {
                (Some(model), _) => model.reported.as_bytes(),
                (None, Some(custom)) => custom.reported_model.as_bytes(),
                (None, None) => name,
            },
        };
        if self.arch == Arch::X86 && models::BITS32.iter().any(|narrow| narrow.as_bytes() == model) {
            return Err(self.error(CPU, Reason::Cpu32(model.into())));
        }
        Ok(())
    }
}

/// The flag for nested virtualization among the host's flags: the first one with white space on both sides.
fn nested_virtualization(flags: &str) -> Option<&'static str> {
    let bytes = flags.as_bytes();
    bytes.windows(5).find_map(|window| match window {
        [before, name @ .., after] if before.is_ascii_whitespace() && after.is_ascii_whitespace() => {
            match name {
                b"svm" => Some("svm"),
                b"vmx" => Some("vmx"),
                _ => None,
            }
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_virtualization_needs_white_space_around() {
        assert_eq!(nested_virtualization("fpu vmx lm"), Some("vmx"));
        assert_eq!(nested_virtualization("fpu svm vmx lm"), Some("svm"));
        assert_eq!(nested_virtualization("vmx lm"), None);
        assert_eq!(nested_virtualization("lm vmx"), None);
        assert_eq!(nested_virtualization(""), None);
    }
}
