// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of devices that command lines refer to with `-readconfig`, as Proxmox VE installs them.

/// The devices of a q35 machine that Proxmox VE reads from a file (spec: qemu-command-devices, "Bridges and machine
/// config files").
pub(crate) fn q35() -> String {
    let mut text = String::new();
    let mut device = |id: &str, driver: &str, rest: &[(&str, &str)]| {
        text.push_str(&format!("[device \"{id}\"]\n  driver = \"{driver}\"\n"));
        for (key, value) in rest {
            text.push_str(&format!("  {key} = \"{value}\"\n"));
        }
    };
    for (id, driver, address) in [("ehci", "ich9-usb-ehci1", "1d.7"), ("ehci-2", "ich9-usb-ehci2", "1a.7")] {
        device(id, driver, &[("multifunction", "on"), ("bus", "pcie.0"), ("addr", address)]);
    }
    for (number, slot, master) in [(1, "1d", "ehci.0"), (4, "1a", "ehci-2.0")] {
        for offset in 0..3 {
            let (id, driver) =
                (format!("uhci-{}", number + offset), format!("ich9-usb-uhci{}", number + offset));
            let (address, port) = (format!("{slot}.{offset}"), (offset * 2).to_string());
            device(
                &id,
                &driver,
                &[
                    ("multifunction", "on"),
                    ("bus", "pcie.0"),
                    ("addr", &address),
                    ("masterbus", master),
                    ("firstport", &port),
                ],
            );
        }
    }
    device("audio0", "ich9-intel-hda", &[("bus", "pcie.0"), ("addr", "1b.0")]);
    for port in 1..=4 {
        let (id, address) = (format!("ich9-pcie-port-{port}"), format!("1c.{}", port - 1));
        let number = port.to_string();
        device(
            &id,
            "pcie-root-port",
            &[
                ("x-speed", "16"),
                ("x-width", "32"),
                ("multifunction", "on"),
                ("bus", "pcie.0"),
                ("addr", &address),
                ("port", &number),
                ("chassis", &number),
            ],
        );
    }
    device("pcidmi", "i82801b11-bridge", &[("bus", "pcie.0"), ("addr", "1e.0")]);
    for number in 0..=3 {
        let (id, address, chassis) =
            (format!("pci.{number}"), format!("{}.0", number + 1), (number + 1).to_string());
        device(&id, "pci-bridge", &[("bus", "pcidmi"), ("addr", &address), ("chassis_nr", &chassis)]);
    }
    text
}

/// The USB 2 controllers of an i440FX machine that Proxmox VE reads from a file.
pub(crate) fn usb() -> String {
    let mut text =
        "[device \"ehci\"]\n  driver = \"ich9-usb-ehci1\"\n  multifunction = \"on\"\n  addr = \"1d.7\"\n"
            .to_owned();
    for offset in 0..3 {
        text.push_str(&format!(
            "[device \"uhci-{}\"]\n  driver = \"ich9-usb-uhci{}\"\n  multifunction = \"on\"\n  addr = \"1d.{offset}\"\n  \
             masterbus = \"ehci.0\"\n  firstport = \"{}\"\n",
            offset + 1,
            offset + 1,
            offset * 2
        ));
    }
    text
}
