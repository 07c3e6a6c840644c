// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a container is allowed beyond the usual (option `features`).

use bstr::BStr;

use crate::property::{Key, properties};
use crate::rule::pattern;

properties! {
    /// What a container is allowed beyond the usual.
    #[derive(Copy, Default)]
    pub struct Features<'t>: FEATURES = "lxc:features" {
        /// Mount `/sys` writable in an unprivileged container.
        pub force_rw_sys: Option<bool> = Key::boolean("force_rw_sys").default("0"),
        /// Use FUSE.
        pub fuse: Option<bool> = Key::boolean("fuse").default("0"),
        /// Use the `keyctl` system call in an unprivileged container.
        pub keyctl: Option<bool> = Key::boolean("keyctl").default("0"),
        /// Create device nodes in an unprivileged container.
        pub mknod: Option<bool> = Key::boolean("mknod").default("0"),
        /// Types of file systems that may be mounted, separated by `;`.
        pub mount: Option<&'t BStr> = Key::string("mount").pattern(pattern!("[ ;0-9A-Z_a-z]+")),
        /// Run containers inside.
        pub nesting: Option<bool> = Key::boolean("nesting").default("0"),
    }
    registered: [];
    aliases: [];
}
