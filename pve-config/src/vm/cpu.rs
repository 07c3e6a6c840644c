// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU that the guest sees (option `cpu`, and the sections of `cpu-models.conf`).

use bstr::BStr;

use super::cpu_models::{BUILT_IN_MODELS, CPU_MODELS, REPORTED_MODELS, is_known_cpu_type};
use crate::format::{Context, Scalar, is_falsy};
use crate::property::{Integer, Key, Lookup, PropertyFormat, properties};
use crate::rule::{Reason, pattern};
use crate::suggestion::nearest;

/// Flags that the option `cpu` of a VM may set or clear; a custom model may have any.
pub const VM_CPU_FLAGS: &[&str] = &[
    "aes",
    "amd-no-ssb",
    "amd-ssbd",
    "hv-evmcs",
    "hv-tlbflush",
    "ibpb",
    "md-clear",
    "nested-virt",
    "pcid",
    "pdpe1gb",
    "spec-ctrl",
    "ssbd",
    "virt-ssbd",
];

properties! {
    /// The CPU that the guest sees.
    #[derive(Copy, Default)]
    pub struct Cpu<'t>: CPU = "vm:cpu" {
        /// Model: one of QEMU, `host`, one of the built-in `x86-64-v*`, or `custom-NAME`. Always there in what was read.
        pub cputype: Option<&'t BStr> = Key::string("cputype").default_key().default("kvm64"),
        /// Flags to set (`+FLAG`) or clear (`-FLAG`), separated by `;`; see [`Cpu::flag_list`].
        pub flags: Option<&'t BStr> =
            Key::string("flags").pattern(pattern!(r"[-+][-0-9A-Z_a-z.]+(;[-+][-0-9A-Z_a-z.]+)*")),
        /// Physical address bits that the guest is told of.
        pub guest_phys_bits: Option<Integer<'t>> = Key::integer("guest-phys-bits").min(32.0).max(64.0),
        /// Do not tell the guest that it is virtual.
        pub hidden: Option<bool> = Key::boolean("hidden").default("0"),
        /// Vendor id of Hyper-V that the guest sees.
        pub hv_vendor_id: Option<&'t BStr> = Key::string("hv-vendor-id").pattern(pattern!("[0-9A-Za-z]{1,12}")),
        /// Highest standard CPUID leaf.
        pub level: Option<Integer<'t>> = Key::integer("level").min(0.0).max(4_294_967_295.0),
        /// Physical address bits of the CPU: a number, or `host`.
        pub phys_bits: Option<&'t BStr> = Key::scalar("phys-bits", Scalar::PhysBits),
        /// Model that a custom model reports to the guest.
        pub reported_model: Option<&'t BStr> =
            Key::string("reported-model").words(REPORTED_MODELS).default("kvm64"),
    }
    registered: ["pve-vm-cpu-conf"];
    aliases: [];
    validator: validate_vm_cpu;
}

/// The format `pve-cpu-conf`: the same keys, as the definition of a custom model has them.
pub static CUSTOM_CPU: PropertyFormat =
    PropertyFormat::new("pve-cpu-conf", &[], Cpu::KEYS, &[]).with_validator(validate_cpu);

/// A CPU flag of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuFlag<'t> {
    /// Whether it is set; otherwise it is cleared.
    pub set: bool,
    /// Its name.
    pub name: &'t BStr,
}

impl<'t> Cpu<'t> {
    /// The flags of `flags`, in their order.
    ///
    /// ```
    /// let cpu = pve_config::vm::Cpu::parse(b"host,flags=+aes;-pcid").unwrap();
    /// let flags: Vec<_> = cpu.flag_list().map(|flag| (flag.set, flag.name)).collect();
    /// assert_eq!(flags, [(true, "aes".into()), (false, "pcid".into())]);
    /// ```
    pub fn flag_list(&self) -> impl Iterator<Item = CpuFlag<'t>> + use<'t> {
        let flags: &[u8] = self.flags.map_or(b"", |flags| flags);
        flags.split(|byte| *byte == b';').filter_map(|flag| {
            let (sign, name) = flag.split_first()?;
            Some(CpuFlag { set: *sign == b'+', name: BStr::new(name) })
        })
    }
}

/// The check of `pve-cpu-conf`.
fn validate_cpu(lookup: Lookup<'_>, _: &Context<'_>) -> Result<(), (&'static str, Reason)> {
    match lookup("cputype") {
        Some(name) if !is_falsy(name) => Ok(()),
        _ => Err(("cputype", Reason::Missing { key: "cputype" })),
    }
}

/// The check of `pve-vm-cpu-conf`: the type is known, flags are those a VM may set, no `reported-model`.
fn validate_vm_cpu(lookup: Lookup<'_>, context: &Context<'_>) -> Result<(), (&'static str, Reason)> {
    validate_cpu(lookup, context)?;
    if let Some(name) = lookup("cputype").filter(|name| !is_known_cpu_type(name, context)) {
        let models = CPU_MODELS.iter().map(|model| model.name);
        let suggestion = nearest(name, models.chain(BUILT_IN_MODELS.iter().copied()).chain(["host"]));
        return Err(("cputype", Reason::CpuModel { suggestion: suggestion.map(str::to_owned) }));
    }
    let is_vm_flag = |flag: &[u8]| matches!(flag, [b'+' | b'-', name @ ..] if VM_CPU_FLAGS.iter().any(|known| known.as_bytes() == name));
    if let Some(flags) = lookup("flags").filter(|flags| !is_falsy(flags))
        && !flags.split(|byte| *byte == b';').all(is_vm_flag)
    {
        return Err(("flags", Reason::CpuFlag));
    }
    if lookup("reported-model").is_some() {
        return Err(("reported-model", Reason::ReportedModel));
    }
    Ok(())
}
