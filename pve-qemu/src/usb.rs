// SPDX-License-Identifier: MIT OR Apache-2.0
//! USB controllers and devices (spec: qemu-command-devices, "USB").

use bstr::{BStr, ByteSlice};

use crate::argument::put;
use crate::assembly::{Arch, Assembly, Step, truthy};
use crate::conf::Props;
use crate::error::{Reason, UsbReason};
use crate::mapping::UsbEntry;
use crate::origin::{Key, Rule};
use crate::version::Feature;

/// USB devices that can be configured.
const DEVICES: u8 = 14;
/// Those of them that old machines and guests have.
const OLD_DEVICES: u8 = 5;

/// How a device of the host is named.
enum Device<'a> {
    /// Vendor and product, hexadecimal digits as they are written.
    Id(&'a BStr, &'a BStr),
    /// Bus and port.
    Port(&'a BStr, &'a BStr),
}

impl<'a> Device<'a> {
    /// `VVVV:PPPP`, each optionally with `0x`, or `bus-port.port`.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let hex = |text: &'a [u8]| -> Option<&'a BStr> {
            let digits = text.strip_prefix(b"0x").unwrap_or(text);
            (digits.len() == 4 && digits.iter().all(u8::is_ascii_hexdigit)).then_some(BStr::new(digits))
        };
        if let Some((vendor, product)) = text.split_once_str(":") {
            return Some(Device::Id(hex(vendor)?, hex(product)?));
        }
        let (bus, port) = text.split_once_str("-")?;
        let digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        (digits(bus) && port.split_str(".").all(digits))
            .then_some(Device::Port(bus.as_bstr(), port.as_bstr()))
    }
}

impl<'a> Assembly<'a> {
    /// Whether the guest and the machine are recent enough for one controller that has it all.
    fn has_modern_usb(&mut self) -> bool {
        self.has(Feature::QemuXhci) && (self.ostype == "l26" || self.windows > 7)
    }

    /// Controllers.
    pub(crate) fn put_usb_controllers(&mut self) {
        let modern = self.has_modern_usb();
        let (mut any, mut any_old, mut any_usb3) = (false, false, false);
        for (index, text) in
            self.conf.all("usb").filter(|(index, text)| *index < DEVICES && truthy(Some(text)))
        {
            let _ = text;
            let usb3 = self.conf.nth_props("usb", index).is_some_and(|usb| usb.truthy("usb3").is_some());
            any = true;
            any_usb3 |= usb3;
            any_old |= !usb3;
        }
        let arm = self.arch == Arch::Arm;
        if arm {
            let address = self.address("ehci", None);
            let mut element = self.devices.option("-device", Rule::UsbController.rule());
            element.put("usb-ehci,id=ehci");
            if let Some(address) = address {
                element.because(Rule::Address.rule()).put(address);
            }
        } else if !self.q35 {
            let address = self.address("piix3", None);
            let mut element = self.devices.option("-device", Rule::UsbController.rule());
            element.put("piix3-usb-uhci,id=uhci");
            if let Some(address) = address {
                element.because(Rule::Address.rule());
                put!(element, address, ".0x2");
            }
        }
        let origin = Rule::UsbController.of(Key::new("usb"));
        if !modern && !self.q35 && !arm && any_old {
            self.devices.pair("-readconfig", "/usr/share/qemu-server/pve-usb.cfg", origin);
        }
        // looked up in any case, which makes its bus needed
        let address = self.address("xhci", None);
        let controller = if modern && any {
            Some("qemu-xhci,p2=15,p3=15,id=xhci")
        } else if !modern && any_usb3 {
            Some("nec-usb-xhci,id=xhci")
        } else {
            None
        };
        if let (Some(controller), Some(address)) = (controller, address) {
            let mut element = self.devices.option("-device", origin);
            element.put(controller).because(Rule::Address.rule()).put(address);
        }
    }

    /// Devices of the host, and of SPICE clients.
    pub(crate) fn put_usb_devices(&mut self) -> Step {
        let modern = self.has_modern_usb();
        let configured: Vec<u8> =
            self.conf.all("usb").filter(|(_, text)| truthy(Some(text))).map(|(index, _)| index).collect();
        for index in configured.into_iter().filter(|index| *index < DEVICES) {
            let Some(props) = self.conf.nth_props("usb", index) else { continue };
            self.put_usb_device(index, &props, modern)?;
        }
        Ok(())
    }

    fn put_usb_device(&mut self, index: u8, props: &Props<'a>, modern: bool) -> Step {
        let key = Key::nth("usb", index);
        if index >= OLD_DEVICES && !modern {
            return Err(self.error(key, Reason::from(UsbReason::Index)));
        }
        let usb3 = props.truthy("usb3").is_some();
        let (host, mapping) = (props.truthy("host"), props.truthy("mapping"));
        if host.is_some() && mapping.is_some() {
            return Err(self.error(key, Reason::from(UsbReason::NoDevice)));
        }
        if host.is_some_and(|host| host == "spice") {
            let xhci = modern || usb3 && self.has(Feature::SpiceUsb3);
            let origin = Rule::UsbRedirection.of(key.sub("host"));
            put!(
                self.devices.option("-chardev", origin),
                "spicevmc,id=usbredirchardev",
                index,
                ",name=usbredir"
            );
            let mut element = self.devices.option("-device", origin);
            put!(element, "usb-redir,chardev=usbredirchardev", index, ",id=usbredirdev", index);
            put!(element, ",bus=", if xhci { "xhci" } else { "ehci" }, ".0");
            if modern {
                put!(element, ",port=", index + 1);
            }
            drop(element);
            if self.boot.index(key).is_some() {
                self.warn(key, "a device of the SPICE client cannot be booted from");
            }
            return Ok(());
        }
        let entry: Option<&'a UsbEntry> = match mapping {
            Some(mapping) => Some(self.usb_mapping(key, mapping)?),
            None => None,
        };
        let text: Option<&'a BStr> = match entry {
            Some(entry) => Some(entry.path.as_ref().unwrap_or(&entry.id).as_bstr()),
            None => host,
        };
        let Some(device) = text.and_then(|text| Device::parse(text)) else {
            return Err(self.error(key, Reason::from(UsbReason::NoDevice)));
        };
        let boot = self.boot.of_device(key);
        let mut element = self.devices.option("-device", Rule::UsbDevice.of(key));
        element.put("usb-host");
        if usb3 || modern {
            element.because(Rule::UsbController.of_or_default(key.sub("usb3"), usb3)).put(",bus=xhci.0");
        }
        if modern {
            put!(element, ",port=", index + 1);
        }
        let sub = if mapping.is_some() { "mapping" } else { "host" };
        element.because(Rule::UsbDevice.of(key.sub(sub)));
        match device {
            Device::Id(vendor, product) => put!(element, ",vendorid=0x", vendor, ",productid=0x", product),
            Device::Port(bus, port) => put!(element, ",hostbus=", bus, ",hostport=", port),
        }
        element.because(Rule::UsbDevice.about(key));
        put!(element, ",id=usb", index);
        boot.put(&mut element);
        Ok(())
    }

    /// The entry of a mapping for this node, checked against what is plugged in.
    fn usb_mapping(&self, key: Key, mapping: &'a BStr) -> Step<&'a UsbEntry> {
        let key = key.sub("mapping");
        let entries = self.builder.mappings().usb(mapping);
        let mut here = entries.iter().filter(|entry| entry.node == self.host.node.as_str());
        let (Some(entry), None) = (here.next(), here.next()) else {
            let reason = UsbReason::NoMapping { mapping: mapping.to_owned(), node: self.host.node.clone() };
            return Err(self.error(key, Reason::from(reason)));
        };
        let plugged = self.host.usb_devices.iter().any(|device| {
            let path = format!("{}-{}", device.busnum, device.usbpath);
            let id = format!("{}:{}", device.vendid, device.prodid);
            entry.path.as_ref().is_none_or(|wanted| *wanted == path.as_str()) && entry.id == id.as_str()
        });
        if plugged || self.host.assume.usb_devices && self.host.usb_devices.is_empty() {
            return Ok(entry);
        }
        Err(self.error(key, Reason::from(UsbReason::NotPlugged(mapping.to_owned()))))
    }
}
