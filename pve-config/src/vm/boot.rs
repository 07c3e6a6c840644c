// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a VM boots from (option `boot`).

use bstr::BStr;

use crate::format::{Scalar, split_list};
use crate::property::{Key, properties};
use crate::rule::pattern;

properties! {
    /// What a VM boots from.
    #[derive(Copy, Default)]
    pub struct Boot<'t>: BOOT = "vm:boot" {
        /// Old form: `a` floppy, `c` first hard disk, `d` CD-ROM, `n` network, in this order.
        pub legacy: Option<&'t BStr> =
            Key::string("legacy").pattern(pattern!("[acdn]{1,4}")).default_key().default("cdn"),
        /// List of devices to try, in this order; usually separated by `;`.
        pub order: Option<&'t BStr> = Key::list("order", Scalar::BootDevice),
    }
    registered: ["pve-qm-boot"];
    aliases: [];
}

impl<'t> Boot<'t> {
    /// The devices of `order`; none without it.
    ///
    /// ```
    /// let boot = pve_config::vm::Boot::parse(b"order=scsi0;net0").unwrap();
    /// assert!(boot.devices().eq(["scsi0", "net0"]));
    /// ```
    pub fn devices(&self) -> impl Iterator<Item = &'t BStr> + use<'t> {
        let order: &[u8] = self.order.map_or(b"", |order| order);
        split_list(order).map(BStr::new)
    }
}
