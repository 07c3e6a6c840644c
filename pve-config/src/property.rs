// SPDX-License-Identifier: MIT OR Apache-2.0
//! Property strings: `local-lvm:vm-100-disk-0,discard=on,size=32G`.
//!
//! A property string is a list of `KEY=VALUE` parts separated by commas. Which keys there are, and what their values
//! must look like, is declared by a [`PropertyFormat`]; one of its keys may be the *default key*, whose value may
//! stand without `KEY=`. There is no quoting: a value never contains a comma.
//!
//! This module is the engine. [`PropertyFormat::parse`] gives [`Properties`], which borrow from the text, keep every
//! value as it was written (booleans apart, which become `0` and `1`), and print themselves in the reference's
//! order. The structs of [`crate::vm`], [`crate::container`] and [`crate::cluster`] are made from the same
//! declarations and give typed values.
//!
//! ```
//! use pve_config::property::PropertyFormat;
//!
//! let format = PropertyFormat::named("vm:net").unwrap();
//! let net = format.parse(b"virtio=BC:24:11:00:00:01,firewall=yes,bridge=vmbr0").unwrap();
//! assert_eq!(net.get("model").unwrap(), "virtio");
//! assert_eq!(net.get("firewall").unwrap(), "1");
//! assert_eq!(net.print().unwrap(), "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1");
//!
//! let error = format.parse(b"virtio,brigde=vmbr0").unwrap_err();
//! assert_eq!(error.span, 7..13);
//! assert_eq!(error.to_string(), "\"brigde\" is not a key of vm:net (did you mean \"bridge\"?)");
//! ```

mod declare;
mod parse;
mod print;
mod registry;
mod synopsis;
mod table;
mod value;

pub(crate) use declare::{properties, words};
pub use parse::{ParseOptions, Properties};
pub use registry::formats;
pub use table::{Alias, Key, PropertyFormat};
pub(crate) use table::{Lookup, bit};
pub(crate) use value::{Field, TypedProperties, Value, parse_typed, print_typed, size_too_large};
pub use value::{Integer, Number};
