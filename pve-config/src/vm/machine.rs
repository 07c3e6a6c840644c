// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine type (options `machine`, `runningmachine`).

use bstr::BStr;

use crate::format::is_falsy;
use crate::property::{Key, Number, properties, words};
use crate::rule::{ValueError, pattern};

words! {
    /// Emulated IOMMU.
    pub enum Viommu {
        /// Intel VT-d.
        Intel = "intel",
        /// Paravirtualised.
        Virtio = "virtio",
    }
}

properties! {
    /// The machine that QEMU emulates.
    #[derive(Copy, Default)]
    pub struct Machine<'t>: MACHINE = "vm:machine" {
        /// Address width of the emulated IOMMU, bits.
        pub aw_bits: Option<Number<'t>> = Key::number("aw-bits").min(32.0).max(64.0),
        /// Offer suspend to memory.
        pub enable_s3: Option<bool> = Key::boolean("enable-s3"),
        /// Offer suspend to disk.
        pub enable_s4: Option<bool> = Key::boolean("enable-s4"),
        /// Machine type, with or without version: `q35`, `pc-i440fx-9.2+pve1`.
        pub kind: Option<&'t BStr> = Key::string("type")
            .pattern(pattern!(
                r"pc|q35|pc(-i440fx|-q35)?-[0-9]+(\.[0-9]+)+(\+pve[0-9]+)?(\.pxe)?|virt(-[0-9]+(\.[0-9]+)+)?(\+pve[0-9]+)?"
            ))
            .max_length(40)
            .default_key(),
        /// Emulated IOMMU.
        pub viommu: Option<Viommu> = Key::string("viommu").words(Viommu::WORDS),
    }
    registered: ["pve-qemu-machine-fmt"];
    aliases: [];
}

impl<'t> Machine<'t> {
    /// The machine as its users see it: a falsy text (empty or `0`) is no setting at all.
    ///
    /// # Errors
    ///
    /// As [`Machine::parse`]. The reference does not start a VM whose machine it cannot read.
    pub fn read(text: Option<&'t [u8]>) -> Result<Self, ValueError> {
        text.filter(|text| !is_falsy(text)).map_or(Ok(Self::default()), Self::parse)
    }
}
