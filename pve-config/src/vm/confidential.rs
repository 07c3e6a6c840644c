// SPDX-License-Identifier: MIT OR Apache-2.0
//! Confidential computing (options `amd-sev`, `intel-tdx`).

use crate::property::{Integer, Key, properties, words};

words! {
    /// Generation of AMD SEV.
    pub enum SevType {
        /// SEV: memory is encrypted.
        Std = "std",
        /// SEV-ES: registers too.
        Es = "es",
        /// SEV-SNP: integrity is protected too.
        Snp = "snp",
    }
}

properties! {
    /// AMD Secure Encrypted Virtualization.
    #[derive(Copy)]
    pub struct AmdSev: AMD_SEV = "vm:amd-sev" {
        /// Let the guest run on both threads of a core (SEV-SNP).
        pub allow_smt: Option<bool> = Key::boolean("allow-smt").default("1"),
        /// Put the hashes of kernel, initrd and command line into the measured memory.
        pub kernel_hashes: Option<bool> = Key::boolean("kernel-hashes").default("0"),
        /// Forbid debugging of the guest.
        pub no_debug: Option<bool> = Key::boolean("no-debug").default("0"),
        /// Forbid sharing the key with other guests.
        pub no_key_sharing: Option<bool> = Key::boolean("no-key-sharing").default("0"),
        /// Generation.
        pub kind: SevType = Key::string("type").words(SevType::WORDS).max_length(3).required().default_key(),
    }
    registered: ["pve-qemu-sev-fmt"];
    aliases: [];
}

words! {
    /// Kind of Intel TDX.
    pub enum TdxType {
        /// Trust domain.
        Tdx = "tdx",
    }
}

properties! {
    /// Intel Trust Domain Extensions.
    #[derive(Copy)]
    pub struct IntelTdx<'t>: INTEL_TDX = "vm:intel-tdx" {
        /// Let the guest prove what it runs, by a quote generation service.
        pub attestation: bool = Key::boolean("attestation").required().default("1"),
        /// Kind.
        pub kind: TdxType = Key::string("type").words(TdxType::WORDS).required().default_key(),
        /// Context id of the quote generation service's vsock.
        pub vsock_cid: Option<Integer<'t>> = Key::integer("vsock-cid").min(2.0).default("2"),
        /// Port of the quote generation service's vsock.
        pub vsock_port: Option<Integer<'t>> = Key::integer("vsock-port").min(0.0).default("4050"),
    }
    registered: ["pve-qemu-tdx-fmt"];
    aliases: [];
}
