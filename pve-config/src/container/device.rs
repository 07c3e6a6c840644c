// SPDX-License-Identifier: MIT OR Apache-2.0
//! Devices of the host inside the container (options `devN`).

use bstr::BStr;

use crate::format::Scalar;
use crate::property::{Integer, Key, properties};
use crate::rule::pattern;

properties! {
    /// A device of the host that the container can use.
    #[derive(Copy, Default)]
    pub struct Device<'t>: DEV = "lxc:dev" {
        /// The container can only read.
        pub deny_write: Option<bool> = Key::boolean("deny-write").default("0"),
        /// Group of the device node in the container.
        pub gid: Option<Integer<'t>> = Key::integer("gid").min(0.0),
        /// Access mode of the device node in the container: four octal digits.
        pub mode: Option<&'t BStr> = Key::string("mode").pattern(pattern!("0[0-7]{3}")),
        /// Path of the device on the host. The format does not require it, but a container with a device without path
        /// does not start.
        pub path: Option<&'t BStr> = Key::scalar("path", Scalar::LxcDevice).default_key(),
        /// User of the device node in the container.
        pub uid: Option<Integer<'t>> = Key::integer("uid").min(0.0),
    }
    registered: [];
    aliases: [];
}
