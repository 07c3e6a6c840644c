// SPDX-License-Identifier: MIT OR Apache-2.0
//! Why no image can be made.

use bstr::BString;
use thiserror::Error;

use super::custom::MAX_PART;
use super::files::MAX_FILES;
use crate::iso::ImageError;

/// Why the files of a cloud-init image cannot be generated.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// `citype` names no form.
    #[error("citype: {value:?} is not one of configdrive2, nocloud, opennebula")]
    UnknownType {
        /// The value.
        value: BString,
    },
    /// `ip=manual` has no form in any image.
    #[error(
        "ipconfig{index} says ip=manual, which cloud-init images cannot express; give an address or dhcp, or delete the option"
    )]
    ManualAddress {
        /// The N of `ipconfigN`.
        index: u32,
    },
    /// NoCloud tells interfaces apart by their hardware addresses.
    #[error("net{index} has no hardware address; store one in the configuration or draw one for this image")]
    NoMac {
        /// The N of `netN`.
        index: u32,
    },
    /// A volume named by `cicustom` cannot hold a part of cloud-init data.
    #[error("cicustom: {part}={volid}: not a volume of content type snippets")]
    NotASnippet {
        /// Key of `cicustom`: `user`, `network`, `meta` or `vendor`.
        part: &'static str,
        /// The volume.
        volid: BString,
    },
    /// A file named by `cicustom` cannot be read.
    #[error("cicustom: {part}={volid}: cannot read the file")]
    Unreadable {
        /// Key of `cicustom`.
        part: &'static str,
        /// The volume.
        volid: BString,
        /// What reading said.
        source: std::io::Error,
    },
    /// A file named by `cicustom` is too large.
    #[error("cicustom: {part}={volid}: the file is larger than {MAX_PART} bytes")]
    PartTooLarge {
        /// Key of `cicustom`.
        part: &'static str,
        /// The volume.
        volid: BString,
    },
    /// The files together are too large.
    #[error("the cloud-init files have {size} bytes together; at most {MAX_FILES} fit into an image")]
    TooLarge {
        /// Sum of their lengths.
        size: usize,
    },
    /// The image cannot be written.
    #[error("cannot make the image of the cloud-init files")]
    Image(#[from] ImageError),
}
