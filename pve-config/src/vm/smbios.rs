// SPDX-License-Identifier: MIT OR Apache-2.0
//! SMBIOS system information (option `smbios1`).

use bstr::BStr;

use crate::property::{Key, properties};
use crate::rule::{Pattern, pattern};

/// Base64 text.
const BASE64: Pattern<'static> = pattern!("[+/0-9A-Za-z]+={0,2}");

properties! {
    /// What the firmware tells the guest about the machine. Texts are base64.
    #[derive(Copy, Default)]
    pub struct Smbios1<'t>: SMBIOS1 = "vm:smbios1" {
        /// The texts are base64; without it they are taken as they stand.
        pub base64: Option<bool> = Key::boolean("base64"),
        /// Product family.
        pub family: Option<&'t BStr> = Key::string("family").pattern(BASE64),
        /// Manufacturer.
        pub manufacturer: Option<&'t BStr> = Key::string("manufacturer").pattern(BASE64),
        /// Product name.
        pub product: Option<&'t BStr> = Key::string("product").pattern(BASE64),
        /// Serial number.
        pub serial: Option<&'t BStr> = Key::string("serial").pattern(BASE64),
        /// SKU.
        pub sku: Option<&'t BStr> = Key::string("sku").pattern(BASE64),
        /// UUID of the machine.
        pub uuid: Option<&'t BStr> = Key::string("uuid")
            .pattern(pattern!("[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}")),
        /// Version.
        pub version: Option<&'t BStr> = Key::string("version").pattern(BASE64),
    }
    registered: ["pve-qm-smbios1"];
    aliases: [];
}
