// SPDX-License-Identifier: MIT OR Apache-2.0
//! The CPU models that a VM may have, as compiled into the reference.

use crate::format::Context;
use crate::name_index::{NameIndex, same};

/// Maker of a CPU model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Vendor {
    /// AMD.
    AuthenticAmd,
    /// Intel.
    GenuineIntel,
    /// Arm.
    Arm,
    /// Whatever the accelerator or QEMU chooses.
    Default,
}

impl Vendor {
    /// The word that QEMU and the kernel use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Vendor::AuthenticAmd => "AuthenticAMD",
            Vendor::GenuineIntel => "GenuineIntel",
            Vendor::Arm => "ARM",
            Vendor::Default => "default",
        }
    }
}

/// A CPU model of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CpuModel {
    /// Its name; case matters.
    pub name: &'static str,
    /// The architecture: `x86_64` or `aarch64`.
    pub arch: &'static str,
    /// Its maker.
    pub vendor: Vendor,
}

const fn x86_64(name: &'static str, vendor: Vendor) -> CpuModel {
    CpuModel { name, arch: "x86_64", vendor }
}

const fn aarch64(name: &'static str, vendor: Vendor) -> CpuModel {
    CpuModel { name, arch: "aarch64", vendor }
}

/// The models of QEMU. A node whose QEMU lists others uses that list instead, see [`Context::cpu_models`].
pub const CPU_MODELS: &[CpuModel] = {
    use Vendor::{Arm, AuthenticAmd, Default, GenuineIntel};
    &[
        aarch64("a64fx", Arm),
        aarch64("cortex-a35", Arm),
        aarch64("cortex-a53", Arm),
        aarch64("cortex-a55", Arm),
        aarch64("cortex-a57", Arm),
        aarch64("cortex-a710", Arm),
        aarch64("cortex-a72", Arm),
        aarch64("cortex-a76", Arm),
        aarch64("max", Default),
        aarch64("neoverse-n1", Arm),
        aarch64("neoverse-n2", Arm),
        aarch64("neoverse-v1", Arm),
        x86_64("486", GenuineIntel),
        x86_64("Broadwell", GenuineIntel),
        x86_64("Broadwell-IBRS", GenuineIntel),
        x86_64("Broadwell-noTSX", GenuineIntel),
        x86_64("Broadwell-noTSX-IBRS", GenuineIntel),
        x86_64("Cascadelake-Server", GenuineIntel),
        x86_64("Cascadelake-Server-noTSX", GenuineIntel),
        x86_64("Cascadelake-Server-v2", GenuineIntel),
        x86_64("Cascadelake-Server-v4", GenuineIntel),
        x86_64("Cascadelake-Server-v5", GenuineIntel),
        x86_64("ClearwaterForest", GenuineIntel),
        x86_64("Conroe", GenuineIntel),
        x86_64("Cooperlake", GenuineIntel),
        x86_64("Cooperlake-v2", GenuineIntel),
        x86_64("EPYC", AuthenticAmd),
        x86_64("EPYC-Genoa", AuthenticAmd),
        x86_64("EPYC-Genoa-v2", AuthenticAmd),
        x86_64("EPYC-IBPB", AuthenticAmd),
        x86_64("EPYC-Milan", AuthenticAmd),
        x86_64("EPYC-Milan-v2", AuthenticAmd),
        x86_64("EPYC-Milan-v3", AuthenticAmd),
        x86_64("EPYC-Rome", AuthenticAmd),
        x86_64("EPYC-Rome-v2", AuthenticAmd),
        x86_64("EPYC-Rome-v3", AuthenticAmd),
        x86_64("EPYC-Rome-v4", AuthenticAmd),
        x86_64("EPYC-Rome-v5", AuthenticAmd),
        x86_64("EPYC-Turin", AuthenticAmd),
        x86_64("EPYC-v3", AuthenticAmd),
        x86_64("EPYC-v4", AuthenticAmd),
        x86_64("EPYC-v5", AuthenticAmd),
        x86_64("GraniteRapids", GenuineIntel),
        x86_64("GraniteRapids-v2", GenuineIntel),
        x86_64("GraniteRapids-v3", GenuineIntel),
        x86_64("Haswell", GenuineIntel),
        x86_64("Haswell-IBRS", GenuineIntel),
        x86_64("Haswell-noTSX", GenuineIntel),
        x86_64("Haswell-noTSX-IBRS", GenuineIntel),
        x86_64("Icelake-Client", GenuineIntel),
        x86_64("Icelake-Client-noTSX", GenuineIntel),
        x86_64("Icelake-Server", GenuineIntel),
        x86_64("Icelake-Server-noTSX", GenuineIntel),
        x86_64("Icelake-Server-v3", GenuineIntel),
        x86_64("Icelake-Server-v4", GenuineIntel),
        x86_64("Icelake-Server-v5", GenuineIntel),
        x86_64("Icelake-Server-v6", GenuineIntel),
        x86_64("Icelake-Server-v7", GenuineIntel),
        x86_64("IvyBridge", GenuineIntel),
        x86_64("IvyBridge-IBRS", GenuineIntel),
        x86_64("KnightsMill", GenuineIntel),
        x86_64("Nehalem", GenuineIntel),
        x86_64("Nehalem-IBRS", GenuineIntel),
        x86_64("Opteron_G1", AuthenticAmd),
        x86_64("Opteron_G2", AuthenticAmd),
        x86_64("Opteron_G3", AuthenticAmd),
        x86_64("Opteron_G4", AuthenticAmd),
        x86_64("Opteron_G5", AuthenticAmd),
        x86_64("Penryn", GenuineIntel),
        x86_64("SandyBridge", GenuineIntel),
        x86_64("SandyBridge-IBRS", GenuineIntel),
        x86_64("SapphireRapids", GenuineIntel),
        x86_64("SapphireRapids-v2", GenuineIntel),
        x86_64("SapphireRapids-v3", GenuineIntel),
        x86_64("SapphireRapids-v4", GenuineIntel),
        x86_64("SierraForest", GenuineIntel),
        x86_64("SierraForest-v2", GenuineIntel),
        x86_64("SierraForest-v3", GenuineIntel),
        x86_64("Skylake-Client", GenuineIntel),
        x86_64("Skylake-Client-IBRS", GenuineIntel),
        x86_64("Skylake-Client-noTSX-IBRS", GenuineIntel),
        x86_64("Skylake-Client-v4", GenuineIntel),
        x86_64("Skylake-Server", GenuineIntel),
        x86_64("Skylake-Server-IBRS", GenuineIntel),
        x86_64("Skylake-Server-noTSX-IBRS", GenuineIntel),
        x86_64("Skylake-Server-v4", GenuineIntel),
        x86_64("Skylake-Server-v5", GenuineIntel),
        x86_64("Westmere", GenuineIntel),
        x86_64("Westmere-IBRS", GenuineIntel),
        x86_64("athlon", AuthenticAmd),
        x86_64("core2duo", GenuineIntel),
        x86_64("coreduo", GenuineIntel),
        x86_64("host", Default),
        x86_64("kvm32", Default),
        x86_64("kvm64", Default),
        x86_64("max", Default),
        x86_64("pentium", GenuineIntel),
        x86_64("pentium2", GenuineIntel),
        x86_64("pentium3", GenuineIntel),
        x86_64("phenom", AuthenticAmd),
        x86_64("qemu32", Default),
        x86_64("qemu64", Default),
    ]
};

/// Models that the reference makes from others of QEMU, all for `x86_64`.
pub const BUILT_IN_MODELS: &[&str] = &["x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"];

static INDEX: NameIndex<256> = {
    let mut index = NameIndex::new();
    let mut at = 0;
    while at < CPU_MODELS.len() {
        if !is_repeated(at) {
            index = index.with(CPU_MODELS[at].name, at);
        }
        at += 1;
    }
    index
};

/// Whether the model at `at` has the name of an earlier one, for another architecture.
const fn is_repeated(at: usize) -> bool {
    let mut earlier = 0;
    while earlier < at {
        if same(CPU_MODELS[earlier].name, CPU_MODELS[at].name) {
            return true;
        }
        earlier += 1;
    }
    false
}

/// Number of names of models.
const NAMES: usize = {
    let (mut names, mut at) = (0, 0);
    while at < CPU_MODELS.len() {
        names += !is_repeated(at) as usize;
        at += 1;
    }
    names
};

/// Names of all models and `host`: what a custom CPU model may report to the guest.
pub(super) const REPORTED_MODELS: &[&str] = &{
    let mut names = ["host"; NAMES + 1];
    let (mut found, mut at) = (0, 0);
    while at < CPU_MODELS.len() {
        if !is_repeated(at) {
            names[found] = CPU_MODELS[at].name;
            found += 1;
        }
        at += 1;
    }
    names
};

/// Whether a VM may have the CPU type `name`: a model of QEMU, `host`, one of [`BUILT_IN_MODELS`], or a custom model,
/// written `custom-NAME`.
///
/// ```
/// use pve_config::format::Context;
/// use pve_config::vm::is_known_cpu_type;
///
/// assert!(is_known_cpu_type(b"x86-64-v2-AES", &Context::default()));
/// assert!(!is_known_cpu_type(b"custom-mine", &Context::default()));
/// let mine = ["mine".into()];
/// assert!(is_known_cpu_type(b"custom-mine", &Context::default().with_custom_cpu_models(&mine)));
/// ```
#[must_use]
pub fn is_known_cpu_type(name: &[u8], context: &Context<'_>) -> bool {
    if let Some(custom) = name.strip_prefix(b"custom-") {
        return context.custom_cpu_models.iter().any(|known| known == custom);
    }
    let is_model = match context.cpu_models {
        Some(models) => models.iter().any(|model| model == name),
        None => INDEX.find(name, |at| CPU_MODELS.get(at).map(|model| model.name)).is_some(),
    };
    is_model || name == b"host" || BUILT_IN_MODELS.iter().any(|built_in| built_in.as_bytes() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_is_known() {
        let context = Context::default();
        for name in
            CPU_MODELS.iter().map(|model| model.name).chain(BUILT_IN_MODELS.iter().copied()).chain(["host"])
        {
            assert!(is_known_cpu_type(name.as_bytes(), &context), "{name}");
        }
        assert!(!is_known_cpu_type(b"epyc", &context));
    }

    #[test]
    fn models_of_the_installed_qemu_replace_the_list() {
        let models = ["Future".into()];
        let context = Context::default().with_cpu_models(&models);
        assert!(is_known_cpu_type(b"Future", &context) && is_known_cpu_type(b"host", &context));
        assert!(!is_known_cpu_type(b"EPYC", &context));
    }
}
