// SPDX-License-Identifier: MIT OR Apache-2.0
//! USB devices of the host, passed through (options `usbN`).

use bstr::BStr;

use crate::format::{Scalar, chomp};
use crate::property::{Key, properties};
use crate::rule::pattern;

properties! {
    /// A USB device of the host, or a port for one that a SPICE client has.
    #[derive(Copy, Default)]
    pub struct Usb<'t>: USB = "vm:usb" {
        /// Which device; see [`Usb::device`].
        pub host: Option<&'t BStr> = Key::string("host")
            .pattern(pattern!(
                r"(0x)?[0-9A-Fa-f]{4}:(0x)?[0-9A-Fa-f]{4}|[0-9]+-[0-9]+(\.[0-9]+)*|[Ss][Pp][Ii][Cc][Ee]"
            ))
            .default_key(),
        /// Name of a resource mapping of the cluster, in place of a device.
        pub mapping: Option<&'t BStr> = Key::scalar("mapping", Scalar::ConfigId),
        /// Attach to a USB 3 controller.
        pub usb3: Option<bool> = Key::boolean("usb3").default("0"),
    }
    registered: ["pve-qm-usb"];
    aliases: [];
}

/// What `host` of a USB device says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum UsbHost<'t> {
    /// Any device with these ids.
    Id {
        /// Vendor id.
        vendor: u16,
        /// Product id.
        product: u16,
    },
    /// Whatever is plugged into a port.
    Port {
        /// Number of the bus, decimal digits.
        bus: &'t BStr,
        /// Path of ports below the root hub, decimal digits separated by `.`.
        path: &'t BStr,
    },
    /// Whatever a SPICE client redirects.
    Spice,
}

impl<'t> Usb<'t> {
    /// Which device `host` names; `None` without it.
    ///
    /// ```
    /// use pve_config::vm::{Usb, UsbHost};
    ///
    /// let usb = Usb::parse(b"host=0x1234:ABCD,usb3=1").unwrap();
    /// assert_eq!(usb.device(), Some(UsbHost::Id { vendor: 0x1234, product: 0xabcd }));
    /// assert_eq!(Usb::parse(b"SPICE").unwrap().device(), Some(UsbHost::Spice));
    /// ```
    #[must_use]
    pub fn device(&self) -> Option<UsbHost<'t>> {
        let host: &'t [u8] = self.host?;
        let host = chomp(host);
        if host.eq_ignore_ascii_case(b"spice") {
            return Some(UsbHost::Spice);
        }
        if let Some(colon) = host.iter().position(|byte| *byte == b':') {
            let (vendor, product) = host.split_at(colon);
            return Some(UsbHost::Id { vendor: id(vendor)?, product: id(product.get(1..)?)? });
        }
        let (bus, path) = host.split_at(host.iter().position(|byte| *byte == b'-')?);
        Some(UsbHost::Port { bus: BStr::new(bus), path: BStr::new(path.get(1..)?) })
    }
}

fn id(digits: &[u8]) -> Option<u16> {
    let digits = digits.strip_prefix(b"0x").unwrap_or(digits);
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

impl Usb<'_> {
    /// Number of USB devices that a VM may have.
    pub const SLOTS: u16 = 14;
}
