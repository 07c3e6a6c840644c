// SPDX-License-Identifier: MIT OR Apache-2.0
//! How a VM came into being (option `meta`).

use bstr::BStr;

use crate::property::{Integer, Key, properties};
use crate::rule::pattern;

properties! {
    /// Facts about the creation of the VM, kept for its whole life.
    #[derive(Copy, Default)]
    pub struct Meta<'t>: META = "vm:meta" {
        /// Version of QEMU that the VM was created with.
        pub creation_qemu: Option<&'t BStr> = Key::string("creation-qemu").pattern(pattern!(r"[0-9]+(\.[0-9]+)+")),
        /// Time of creation, seconds since 1970.
        pub ctime: Option<Integer<'t>> = Key::integer("ctime").min(0.0),
    }
    registered: [];
    aliases: [];
}
