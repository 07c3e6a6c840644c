// SPDX-License-Identifier: MIT OR Apache-2.0
//! Facts about CPU models beyond their names: the flags of the abstract ones, renames, 32-bit models (spec:
//! qemu-command, "Models"). The list of models is [`pve_config::vm::CPU_MODELS`].

use pve_config::vm::CPU_MODELS;

/// Vendor of models that get no `vendor=` flag.
pub const NO_VENDOR: &str = "default";

/// An abstract model: a CPU level that is made of a real model and flags. Only for x86_64 guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbstractModel {
    /// Name in the option `cpu`.
    pub name: &'static str,
    /// The model QEMU is given.
    pub reported: &'static str,
    /// Flags that are switched on.
    pub flags: &'static [&'static str],
}

/// All abstract models.
pub const ABSTRACT: &[AbstractModel] = &[
    AbstractModel {
        name: "x86-64-v2",
        reported: "qemu64",
        flags: &["popcnt", "pni", "sse4.1", "sse4.2", "ssse3"],
    },
    AbstractModel {
        name: "x86-64-v2-AES",
        reported: "qemu64",
        flags: &["aes", "popcnt", "pni", "sse4.1", "sse4.2", "ssse3"],
    },
    AbstractModel {
        name: "x86-64-v3",
        reported: "qemu64",
        flags: &[
            "aes", "popcnt", "pni", "sse4.1", "sse4.2", "ssse3", "avx", "avx2", "bmi1", "bmi2", "f16c",
            "fma", "abm", "movbe", "xsave",
        ],
    },
    AbstractModel {
        name: "x86-64-v4",
        reported: "qemu64",
        flags: &[
            "aes", "popcnt", "pni", "sse4.1", "sse4.2", "ssse3", "avx", "avx2", "bmi1", "bmi2", "f16c",
            "fma", "abm", "movbe", "xsave", "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl",
        ],
    },
];

/// Models that QEMU renamed: (old, new).
pub const RENAMED: &[(&str, &str)] =
    &[("Icelake-Client", "Icelake-Server"), ("Icelake-Client-noTSX", "Icelake-Server-noTSX")];

/// Models without 64-bit mode; OVMF cannot run on them.
pub const BITS32: &[&str] =
    &["486", "pentium", "pentium2", "pentium3", "coreduo", "athlon", "kvm32", "qemu32"];

/// Model that a custom model reports if it names none.
pub const CUSTOM_DEFAULT: &str = "kvm64";

/// The vendor of `model` for guests of `arch`, as the reference's own table has it. Whether there is a model `host` is
/// for the host to say: it is the only one that depends on it.
#[must_use]
pub fn vendor(arch: &str, model: &[u8]) -> Option<&'static str> {
    if model == b"host" {
        return None;
    }
    let key = (arch.as_bytes(), model);
    let at =
        CPU_MODELS.binary_search_by(|known| (known.arch.as_bytes(), known.name.as_bytes()).cmp(&key)).ok()?;
    CPU_MODELS.get(at).map(|known| known.vendor.as_str())
}

/// The abstract model called `name`.
#[must_use]
pub fn abstract_model(name: &[u8]) -> Option<&'static AbstractModel> {
    ABSTRACT.iter().find(|model| model.name.as_bytes() == name)
}

/// What QEMU calls `model` today.
#[must_use]
pub fn renamed(model: &[u8]) -> &[u8] {
    RENAMED.iter().find(|(old, _)| old.as_bytes() == model).map_or(model, |(_, new)| new.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_sorted_and_renames_lead_to_models() {
        assert!(CPU_MODELS.is_sorted_by_key(|model| (model.arch, model.name)));
        assert_eq!(vendor("x86_64", b"EPYC"), Some("AuthenticAMD"));
        assert_eq!(vendor("aarch64", b"EPYC"), None);
        for (old, new) in RENAMED {
            assert!(vendor("x86_64", old.as_bytes()).is_some());
            assert!(vendor("x86_64", new.as_bytes()).is_some());
        }
        for model in ABSTRACT {
            assert_eq!(vendor("x86_64", model.reported.as_bytes()), Some(NO_VENDOR));
        }
        for model in BITS32 {
            assert!(vendor("x86_64", model.as_bytes()).is_some());
        }
        assert_eq!(
            ABSTRACT.iter().map(|model| model.name).collect::<Vec<_>>(),
            pve_config::vm::BUILT_IN_MODELS
        );
    }
}
