// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guests whose memory is encrypted (spec: qemu-command, "Confidential guests").

use bstr::BString;

use crate::argument::{Arguments, Hex, put};
use crate::assembly::{Assembly, Step, truthy};
use crate::conf::Props;
use crate::drive::Node;
use crate::error::Reason;
use crate::host::SevCapabilities;
use crate::origin::{Key, Rule};

const SEV: Key = Key::new("amd-sev");
const TDX: Key = Key::new("intel-tdx");

/// Bits of the guest policy of SEV and SEV-ES.
mod sev_policy {
    pub(super) const NO_DEBUG: u64 = 1 << 0;
    pub(super) const NO_KEY_SHARING: u64 = 1 << 1;
    pub(super) const ENCRYPTED_STATE: u64 = 1 << 2;
    pub(super) const NO_SEND: u64 = 1 << 3;
}

/// Bits of the guest policy of SEV-SNP.
mod snp_policy {
    pub(super) const SMT: u64 = 1 << 16;
    pub(super) const RESERVED: u64 = 1 << 17;
    pub(super) const DEBUG: u64 = 1 << 19;
}

impl<'a> Assembly<'a> {
    /// The object that encrypts memory.
    pub(crate) fn put_confidential(&mut self) -> Step {
        if self.conf.truthy("amd-sev").is_some() {
            let Some(sev) = self.conf.props("amd-sev") else { return Ok(()) };
            self.put_sev(&sev)
        } else if self.conf.truthy("intel-tdx").is_some() {
            let Some(tdx) = self.conf.props("intel-tdx") else { return Ok(()) };
            self.put_tdx(&tdx)
        } else {
            Ok(())
        }
    }

    fn put_sev(&mut self, sev: &Props<'a>) -> Step {
        let kind = sev.get("type").unwrap_or_default();
        let (es, snp) = (kind == "es", kind == "snp");
        let capabilities = self.host.hw_capabilities.as_ref().map(|all| all.amd_sev.unwrap_or_default());
        let Some(SevCapabilities {
            cbitpos,
            reduced_phys_bits,
            sev_support,
            sev_support_es,
            sev_support_snp,
        }) = capabilities
        else {
            return self.impossible(SEV, "the host's confidential computing abilities are unknown");
        };
        if !sev_support {
            return self.impossible(SEV, "the host has no AMD SEV");
        }
        if es && !sev_support_es {
            return self.impossible(SEV.sub("type"), "the host has no AMD SEV-ES");
        }
        if snp && !sev_support_snp {
            return self.impossible(SEV.sub("type"), "the host has no AMD SEV-SNP");
        }
        if !self.ovmf {
            return self.impossible(SEV, "AMD SEV needs bios ovmf");
        }
        let set = |key: &str| sev.truthy(key).is_some();
        let bit = |on: bool, bit: u64| if on { bit } else { 0 };
        let policy = if snp {
            let smt = sev.get("allow-smt").is_none_or(|smt| truthy(Some(smt)));
            snp_policy::RESERVED | bit(smt, snp_policy::SMT) | bit(!set("no-debug"), snp_policy::DEBUG)
        } else {
            sev_policy::NO_SEND
                | bit(set("no-debug"), sev_policy::NO_DEBUG)
                | bit(set("no-key-sharing"), sev_policy::NO_KEY_SHARING)
                | bit(es, sev_policy::ENCRYPTED_STATE)
        };
        let mut element = self.devices.option("-object", Rule::Sev.of(SEV));
        put!(element, if snp { "sev-snp-guest" } else { "sev-guest" }, ",id=sev0");
        element.because(Rule::Sev.host("hw_capabilities", SEV));
        put!(element, ",cbitpos=", cbitpos, ",reduced-phys-bits=", reduced_phys_bits);
        element.because(Rule::Sev.of(SEV));
        put!(element, ",policy=0x", Hex(policy));
        if set("kernel-hashes") {
            element.because(Rule::Sev.of(SEV.sub("kernel-hashes"))).put(",kernel-hashes=on");
        }
        Ok(())
    }

    fn put_tdx(&mut self, tdx: &Props<'a>) -> Step {
        let Some(capabilities) = &self.host.hw_capabilities else {
            return self.impossible(TDX, "the host's confidential computing abilities are unknown");
        };
        if !capabilities.intel_tdx.is_some_and(|tdx| tdx.tdx_support) {
            return self.impossible(TDX, "the host has no Intel TDX");
        }
        if !self.ovmf {
            return self.impossible(TDX, "Intel TDX needs bios ovmf");
        }
        let mut node = Node::default();
        node.set("id", "tdx0", Rule::Tdx.of(TDX));
        node.set("qom-type", "tdx-guest", Rule::Tdx.of(TDX));
        if tdx.truthy("attestation").is_some() {
            let (Some(cid), Some(port)) = (tdx.truthy("vsock-cid"), tdx.get("vsock-port")) else {
                return self.impossible(TDX.sub("attestation"), "attestation needs vsock-cid and vsock-port");
            };
            let mut socket = Node::default();
            socket.set("cid", BString::from(cid), Rule::Tdx.of(TDX.sub("vsock-cid")));
            socket.set("port", BString::from(port), Rule::Tdx.of(TDX.sub("vsock-port")));
            socket.set("type", "vsock", Rule::Tdx.of(TDX.sub("attestation")));
            node.set("quote-generation-socket", socket, Rule::Tdx.of(TDX.sub("attestation")));
        }
        node.put(&mut self.devices.option("-object", Rule::Tdx.of(TDX)));
        Ok(())
    }

    /// Flags of `-machine`.
    pub(crate) fn put_confidential_flags(&self, flags: &mut Arguments) {
        if self.conf.truthy("amd-sev").is_some() {
            flags.push("confidential-guest-support=sev0", Rule::Confidential.of(SEV));
        } else if self.conf.truthy("intel-tdx").is_some() {
            flags.push("confidential-guest-support=tdx0", Rule::Confidential.of(TDX));
            flags.push("kernel_irqchip=split", Rule::Confidential.of(TDX));
        }
    }

    fn impossible(&self, key: Key, why: &'static str) -> Step {
        Err(self.error(key, Reason::Confidential(why)))
    }
}
