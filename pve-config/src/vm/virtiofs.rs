// SPDX-License-Identifier: MIT OR Apache-2.0
//! Directories of the host, shared with the guest (options `virtiofsN`).

use bstr::BStr;

use crate::format::Scalar;
use crate::property::{Key, properties, words};

words! {
    /// How much the guest may cache.
    pub enum VirtiofsCache {
        /// As the file system thinks best: data until a file is opened again, metadata for a second.
        Auto = "auto",
        /// Everything, for as long as it likes.
        Always = "always",
        /// Metadata only.
        Metadata = "metadata",
        /// Nothing.
        Never = "never",
    }
}

properties! {
    /// A directory of the host that the guest can mount.
    #[derive(Copy)]
    pub struct Virtiofs<'t>: VIRTIOFS = "vm:virtiofs" {
        /// How much the guest may cache.
        pub cache: Option<VirtiofsCache> = Key::string("cache").words(VirtiofsCache::WORDS).default("auto"),
        /// Honour `O_DIRECT` of programs in the guest.
        pub direct_io: Option<bool> = Key::boolean("direct-io").default("0"),
        /// Name of the directory mapping of the cluster; also the tag to mount it by.
        pub dirid: &'t BStr = Key::scalar("dirid", Scalar::ConfigId).required().default_key(),
        /// Offer POSIX ACLs, which implies extended attributes.
        pub expose_acl: Option<bool> = Key::boolean("expose-acl").default("0"),
        /// Offer extended attributes.
        pub expose_xattr: Option<bool> = Key::boolean("expose-xattr").default("0"),
    }
    registered: ["pve-qm-virtiofs"];
    aliases: [];
}
