// SPDX-License-Identifier: MIT OR Apache-2.0
//! Formats of volumes.

use std::fmt;

use bstr::BStr;
use serde::{Serialize, Serializer};

use crate::text_enum::text_enum;

text_enum! {
    /// The format of a disk image (spec: named formats, `pve-storage-format`).
    #[non_exhaustive]
    pub enum ImageFormat: "image format" {
        /// The bytes of the disk.
        Raw = "raw",
        /// QEMU copy-on-write.
        Qcow2 = "qcow2",
        /// VMware.
        Vmdk = "vmdk",
        /// A directory or dataset: the root of a container.
        Subvol = "subvol",
    }
}

/// The format that a volume name implies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum VolumeFormat<'a> {
    /// A disk image. Everything that is no image and has no format of its own (`iso`, `backup` … on a path-based
    /// storage) is called `raw`.
    Image(ImageFormat),
    /// `ova`: a packed virtual appliance.
    Ova,
    /// `ovf`: the description of a virtual appliance.
    Ovf,
    /// `ova+FORMAT`: a disk inside a virtual appliance.
    OvaMember(ImageFormat),
    /// `vmx`: the configuration of a VMware machine.
    Vmx,
    /// `pbs-TYPE`: a snapshot on a backup server; the type as written (`vm`, `ct`, `host`).
    Pbs(&'a BStr),
}

impl VolumeFormat<'_> {
    /// The image format, if it is one.
    #[must_use]
    pub const fn image(self) -> Option<ImageFormat> {
        match self {
            Self::Image(format) => Some(format),
            _ => None,
        }
    }
}

impl fmt::Display for VolumeFormat<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(format) => format.fmt(f),
            Self::Ova => f.pad("ova"),
            Self::Ovf => f.pad("ovf"),
            Self::OvaMember(format) => write!(f, "ova+{format}"),
            Self::Vmx => f.pad("vmx"),
            Self::Pbs(kind) => write!(f, "pbs-{kind}"),
        }
    }
}

impl From<ImageFormat> for VolumeFormat<'_> {
    fn from(format: ImageFormat) -> Self {
        Self::Image(format)
    }
}

/// As text.
impl Serialize for VolumeFormat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
