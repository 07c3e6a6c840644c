// SPDX-License-Identifier: MIT OR Apache-2.0
//! Versions of QEMU and of machine types, and from which of them on which feature exists.
//!
//! A machine type freezes the virtual hardware: `pc-i440fx-9.2+pve1` is the i440FX machine as QEMU 9.2 had it, with
//! Proxmox's revision 1 of that version. What a guest gets depends on its machine version ([`MachineVersion`]) far
//! more than on the installed emulator ([`QemuVersion`]); [`Feature`] is the table of all thresholds.

use std::fmt;

/// Version of an emulator binary, `11.0.1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QemuVersion {
    /// First component.
    pub major: u32,
    /// Second component.
    pub minor: u32,
    /// Third component, 0 if absent; 90 and above is a release candidate of the next version.
    pub patch: u32,
}

impl QemuVersion {
    /// Oldest emulator that the reference works with.
    pub const OLDEST: QemuVersion = QemuVersion { major: 6, minor: 0, patch: 0 };

    /// Reads `A.B` or `A.B.C` at the beginning of `text`; more components are ignored.
    ///
    /// ```
    /// use pve_qemu::QemuVersion;
    /// assert_eq!(QemuVersion::parse("9.2.4.1").unwrap().to_string(), "9.2.4");
    /// assert_eq!(QemuVersion::parse("unknown"), None);
    /// ```
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (major, rest) = number(text.as_bytes())?;
        let (minor, rest) = number(rest.strip_prefix(b".")?)?;
        let patch = rest.strip_prefix(b".").and_then(number).map_or(0, |(patch, _)| patch);
        Some(QemuVersion { major, minor, patch })
    }

    /// The version in what `qemu-system-… --version` prints, as text; `unknown` if it has another form.
    ///
    /// ```
    /// let printed = "QEMU emulator version 10.0.2 (pve-qemu-kvm_10.0.2-4)\nCopyright (c) …\n";
    /// assert_eq!(pve_qemu::QemuVersion::in_output(printed), "10.0.2");
    /// ```
    #[must_use]
    pub fn in_output(printed: &str) -> String {
        let unknown = || "unknown".to_owned();
        let after = ["QEMU emulator version ", "QEMU PC emulator version "]
            .iter()
            .find_map(|prefix| printed.strip_prefix(prefix));
        let Some(after) = after else { return unknown() };
        let end = after.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(after.len());
        let Some(version) = after.get(..end).filter(|_| end < after.len()) else { return unknown() };
        let parts: Vec<&str> = version.split('.').collect();
        let digits = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        match parts.len() {
            2..=4 if parts.iter().all(digits) => parts.iter().take(3).copied().collect::<Vec<_>>().join("."),
            _ => unknown(),
        }
    }

    /// The version in the answer to the QMP command `query-version`; `None` if it is none.
    ///
    /// ```
    /// let answer = serde_json::json!({ "qemu": { "major": 10, "minor": 1, "micro": 2 }, "package": "" });
    /// assert_eq!(pve_qemu::QemuVersion::of_answer(&answer).unwrap().to_string(), "10.1.2");
    /// ```
    #[must_use]
    pub fn of_answer(answer: &serde_json::Value) -> Option<Self> {
        let number = |name: &str| u32::try_from(answer["qemu"][name].as_u64()?).ok();
        Some(QemuVersion { major: number("major")?, minor: number("minor")?, patch: number("micro")? })
    }

    /// Whether this is `major.minor` or later; the patch level does not count.
    #[must_use]
    pub fn at_least(self, major: u32, minor: u32) -> bool {
        (self.major, self.minor) >= (major, minor)
    }

    /// Whether this is a release candidate.
    #[must_use]
    pub fn is_candidate(self) -> bool {
        self.patch >= 90
    }
}

/// A text that is no version of QEMU.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of QEMU; it should look like 11.0.0")]
pub struct QemuVersionError(pub String);

impl std::str::FromStr for QemuVersion {
    type Err = QemuVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        QemuVersion::parse(text).ok_or_else(|| QemuVersionError(text.to_owned()))
    }
}

impl fmt::Display for QemuVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Version of a machine type: `10.0+pve1` in `pc-q35-10.0+pve1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineVersion {
    /// QEMU's major version.
    pub major: u32,
    /// QEMU's minor version.
    pub minor: u32,
    /// Proxmox's revision, 0 if absent.
    pub pve: u32,
}

impl MachineVersion {
    /// A version by its components.
    #[must_use]
    pub const fn new(major: u32, minor: u32, pve: u32) -> Self {
        MachineVersion { major, minor, pve }
    }

    /// The version in a machine type (`pc-A.B`, `pc-i440fx-A.B`, `pc-q35-A.B`, `virt-A.B`, each optionally with a
    /// third component, `+pveN`, and anything after that); `None` for a type without version.
    ///
    /// ```
    /// use pve_qemu::MachineVersion;
    /// assert_eq!(MachineVersion::of_type(b"pc-q35-9.2+pve1"), Some(MachineVersion::new(9, 2, 1)));
    /// assert_eq!(MachineVersion::of_type(b"pc-i440fx-2.4.pxe"), Some(MachineVersion::new(2, 4, 0)));
    /// assert_eq!(MachineVersion::of_type(b"q35"), None);
    /// ```
    #[must_use]
    pub fn of_type(machine: &[u8]) -> Option<Self> {
        ["pc-i440fx-", "pc-q35-", "virt-", "pc-"].iter().find_map(|prefix| {
            let (major, rest) = number(machine.strip_prefix(prefix.as_bytes())?)?;
            let (minor, mut rest) = number(rest.strip_prefix(b".")?)?;
            if let Some((_, after)) = rest.strip_prefix(b".").and_then(number) {
                rest = after;
            }
            let pve = rest.strip_prefix(b"+pve").and_then(number).map_or(0, |(pve, _)| pve);
            Some(MachineVersion { major, minor, pve })
        })
    }

    /// The newest machine version of an emulator.
    #[must_use]
    pub fn newest_of(qemu: QemuVersion) -> Self {
        MachineVersion::new(qemu.major, qemu.minor, highest_revision(qemu.major, qemu.minor))
    }
}

impl fmt::Display for MachineVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}+pve{}", self.major, self.minor, self.pve)
    }
}

/// Proxmox's revisions of QEMU's machine versions: (major, minor, highest revision). All other versions have only
/// revision 0.
pub const REVISIONS: &[(u32, u32, u32)] = &[(4, 1, 2), (9, 2, 1), (10, 0, 1), (11, 0, 2)];

/// Highest known revision of machine version `major.minor`.
#[must_use]
pub fn highest_revision(major: u32, minor: u32) -> u32 {
    REVISIONS.iter().find(|(a, b, _)| (*a, *b) == (major, minor)).map_or(0, |(_, _, highest)| *highest)
}

/// Against which version a threshold is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scale {
    /// The guest's machine version.
    Machine,
    /// The guest's machine version; asking raises the revision that is printed in `-machine type=…+pveN`.
    MachineRevision,
    /// The emulator binary's version.
    Emulator,
}

/// A row of the table of thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// What the version is compared with.
    pub scale: Scale,
    /// First version that has the feature.
    pub since: MachineVersion,
    /// What changes there.
    pub what: &'static str,
}

macro_rules! features {
    ($($name:ident = $scale:ident $major:literal $minor:literal $pve:literal, $what:literal;)*) => {
        /// What depends on a version. Each is a row of the table [`Feature::threshold`] reads from; adding one is
        /// adding a line.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Feature { $(#[doc = $what] $name,)* }

        impl Feature {
            /// All features, oldest threshold first within each scale.
            pub const ALL: &[Feature] = &[$(Feature::$name,)*];

            /// From when on the feature exists.
            #[must_use]
            pub const fn threshold(self) -> Threshold {
                match self {
                    $(Feature::$name => Threshold {
                        scale: Scale::$scale,
                        since: MachineVersion::new($major, $minor, $pve),
                        what: $what,
                    },)*
                }
            }
        }
    };
}

features! {
    KvmClock        = Machine          2  3 0, "kvm_pv_unhalt, kvm_pv_eoi, hv_vapic, hv_time, the value of hv_spinlocks";
    EagerBridges    = Machine          2  3 0, "bridges pci.1 and pci.2 are always there";
    BuiltinBootRoms = Machine          2  4 0, "network cards boot from QEMU's own ROMs";
    HypervReset     = Machine          2  6 0, "hv_reset, hv_vpindex, hv_runtime";
    CpuHotplug      = Machine          2  7 0, "hot-pluggable vCPUs are devices of their own";
    StdDisplay      = Machine          2  9 0, "the default display is std instead of cirrus";
    EventMonitor    = Machine          2 12 0, "a second QMP monitor for the event daemon";
    HypervTimers    = Machine          2 12 0, "hv_synic, hv_stimer";
    HypervIpi       = Machine          3  1 0, "hv_ipi";
    Q35Ports        = Machine          4  0 0, "the q35 file with fast PCIe root ports";
    Audio           = Machine          4  0 0, "audio devices";
    SpiceUsb3       = Machine          4  0 0, "SPICE USB redirection on xHCI";
    QxlOutputs      = Machine          4  1 0, "max_outputs of QXL";
    PlainIscsi      = Machine          4  1 0, "iSCSI volumes are scsi-hd instead of scsi-generic";
    Rng             = MachineRevision  4  1 2, "random number generators";
    ManyScsiDrives  = MachineRevision  4  1 2, "scsi14 and above";
    FirmwareSize    = MachineRevision  4  1 2, "the size of raw EFI variables";
    Audiodev        = Machine          4  2 0, "audio devices refer to their backend";
    PageReporting   = Machine          6  2 0, "free page reporting of the balloon";
    QemuXhci        = Machine          7  1 0, "qemu-xhci and usb5 to usb13 for current guests";
    VirtioNetQueues = Machine          7  1 0, "queue sizes and packed queues of virtio network cards";
    PowerStatesOff  = MachineRevision  9  2 1, "S3 and S4 are off by default";
    Blockdev        = Machine         10  0 0, "drives are -blockdev graphs";
    HostMtu         = MachineRevision 10  0 1, "host_mtu is always given to virtio cards on a bridge";
    LinuxHpetOff    = Machine         10  1 0, "no HPET for Linux guests";
    TunnelOption    = Machine         10  2 0, "host_tunnel=off if configured";
    VmxMbec         = Machine         11  0 0, "vmx-mbec is not removed from the host model";
    TunnelOff       = Machine         11  0 1, "host_tunnel=off by default";
    HypervEvmcs     = MachineRevision 11  0 2, "hv_evmcs for Windows 11 on Intel";
    HotplugBridges  = Emulator         6  1 0, "ACPI hot-plug behind bridges, switched off for old Linux guests on q35";
    ReconnectMs     = Emulator         9  2 0, "reconnect-ms instead of reconnect";
    ThreadNames     = Emulator        11  0 0, "threads are named without debug-threads=on";
    CetFlags        = Emulator        11  0 0, "cet-ibt, cet-ss and vmx-mbec are known and switched off for some guests";
}

/// A decimal number at the beginning of `text`, and what follows it.
fn number(text: &[u8]) -> Option<(u32, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, rest) = text.split_at_checked(digits)?;
    Some((std::str::from_utf8(number).ok()?.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_version_an_emulator_prints() {
        assert_eq!(QemuVersion::in_output("QEMU emulator version 9.0.2.1, Copyright"), "9.0.2");
        assert_eq!(QemuVersion::in_output("QEMU PC emulator version 2.1\n"), "2.1");
        assert_eq!(QemuVersion::in_output("QEMU emulator version 9.0.2-rc1\n"), "unknown");
        assert_eq!(QemuVersion::in_output("QEMU emulator version 9.0"), "unknown");
        assert_eq!(QemuVersion::in_output("kvm 1"), "unknown");
    }

    #[test]
    fn reads_versions_of_machine_types() {
        let version = |text: &str| MachineVersion::of_type(text.as_bytes()).map(|v| v.to_string());
        assert_eq!(version("pc-i440fx-4.1.1+pve2.pxe").as_deref(), Some("4.1+pve2"));
        assert_eq!(version("virt-11.0").as_deref(), Some("11.0+pve0"));
        assert_eq!(version("pc-1").as_deref(), None);
        assert_eq!(version("xpc-1.0").as_deref(), None);
        assert_eq!(version("pc+pve2").as_deref(), None);
    }

    #[test]
    fn every_revision_is_the_threshold_of_something() {
        for feature in Feature::ALL {
            let threshold = feature.threshold();
            let highest = highest_revision(threshold.since.major, threshold.since.minor);
            assert!(threshold.since.pve <= highest, "{feature:?}");
        }
    }
}
