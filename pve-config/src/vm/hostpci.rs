// SPDX-License-Identifier: MIT OR Apache-2.0
//! PCI devices of the host, passed through (options `hostpciN`).

use bstr::BStr;

use crate::format::Scalar;
use crate::property::{Key, properties, words};
use crate::rule::pattern;

words! {
    /// What is done with the host's driver of the device.
    pub enum HostPciDriver {
        /// The device is bound to `vfio-pci`.
        Vfio = "vfio",
        /// The driver is left as it is.
        Keep = "keep",
    }
}

properties! {
    /// PCI devices of the host that the guest gets.
    #[derive(Copy, Default)]
    pub struct HostPci<'t>: HOSTPCI = "vm:hostpci" {
        /// PCI device id that the guest sees.
        pub device_id: Option<&'t BStr> = Key::string("device-id").pattern(pattern!("0x[0-9A-Fa-f]{4}")),
        /// What is done with the host's driver.
        pub driver: Option<HostPciDriver> = Key::string("driver").words(HostPciDriver::WORDS).default("vfio"),
        /// Addresses on the host (`[DOMAIN:]BUS:DEVICE[.FUNCTION]`), separated by `;`. Without a function all of them.
        pub host: Option<&'t BStr> = Key::string("host")
            .pattern(pattern!(
                r"([0-9a-f]{4,}:)?[0-9a-f]{2}:[0-9a-f]{2}(\.[0-9a-f])?(;([0-9a-f]{4,}:)?[0-9a-f]{2}:[0-9a-f]{2}(\.[0-9a-f])?)*"
            ))
            .default_key(),
        /// Pass an integrated Intel GPU in legacy mode, as primary and exclusive graphics card.
        pub legacy_igd: Option<bool> = Key::boolean("legacy-igd").default("0"),
        /// Name of a resource mapping of the cluster, in place of addresses.
        pub mapping: Option<&'t BStr> = Key::scalar("mapping", Scalar::ConfigId),
        /// Type of the mediated device to create.
        pub mdev: Option<&'t BStr> = Key::string("mdev").pattern(pattern!("[^./:]+")),
        /// Attach to the PCI Express bus (machine type `q35`).
        pub pcie: Option<bool> = Key::boolean("pcie").default("0"),
        /// Show the device's ROM in the memory of the guest.
        pub rombar: Option<bool> = Key::boolean("rombar").default("1"),
        /// File with another ROM, in `/usr/share/kvm/`.
        pub romfile: Option<&'t BStr> = Key::string("romfile").pattern(pattern!("[^,;]+")),
        /// PCI subsystem device id that the guest sees.
        pub sub_device_id: Option<&'t BStr> = Key::string("sub-device-id").pattern(pattern!("0x[0-9A-Fa-f]{4}")),
        /// PCI subsystem vendor id that the guest sees.
        pub sub_vendor_id: Option<&'t BStr> = Key::string("sub-vendor-id").pattern(pattern!("0x[0-9A-Fa-f]{4}")),
        /// PCI vendor id that the guest sees.
        pub vendor_id: Option<&'t BStr> = Key::string("vendor-id").pattern(pattern!("0x[0-9A-Fa-f]{4}")),
        /// The device is a graphics card, and the primary one.
        pub x_vga: Option<bool> = Key::boolean("x-vga").default("0"),
    }
    registered: ["pve-qm-hostpci"];
    aliases: [];
}

/// Address of a PCI device of the host, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PciAddress<'t> {
    /// Domain, if it is given: at least four hex digits.
    pub domain: Option<&'t BStr>,
    /// Bus: two hex digits.
    pub bus: &'t BStr,
    /// Device: two hex digits.
    pub device: &'t BStr,
    /// Function: one hex digit; `None` stands for all functions.
    pub function: Option<&'t BStr>,
}

impl<'t> PciAddress<'t> {
    /// Reads `[DOMAIN:]BUS:DEVICE[.FUNCTION]`, which must match the pattern of `host`.
    fn read(text: &'t [u8]) -> Option<Self> {
        let (address, function) = match text.iter().position(|byte| *byte == b'.') {
            Some(dot) => (text.get(..dot)?, Some(BStr::new(text.get(dot + 1..)?))),
            None => (text, None),
        };
        let mut parts = address.rsplit(|byte| *byte == b':').map(BStr::new);
        Some(PciAddress { device: parts.next()?, bus: parts.next()?, domain: parts.next(), function })
    }
}

impl<'t> HostPci<'t> {
    /// The addresses of `host`.
    ///
    /// ```
    /// let device = pve_config::vm::HostPci::parse(b"0000:01:00;02:00.1,pcie=1").unwrap();
    /// let addresses: Vec<_> = device.addresses().collect();
    /// assert_eq!(addresses[0].domain.unwrap(), "0000");
    /// assert_eq!(addresses[0].function, None);
    /// assert_eq!((addresses[1].bus, addresses[1].function.unwrap()), ("02".into(), "1".into()));
    /// ```
    pub fn addresses(&self) -> impl Iterator<Item = PciAddress<'t>> + use<'t> {
        let host: &[u8] = self.host.map_or(b"", |host| host);
        host.split(|byte| *byte == b';').filter_map(PciAddress::read)
    }
}

impl HostPci<'_> {
    /// Number of passed-through devices that a VM may have.
    pub const SLOTS: u16 = 16;
}
