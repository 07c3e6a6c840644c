// SPDX-License-Identifier: MIT OR Apache-2.0
//! The options of VMs and containers and the properties of storages: one table each, from which everything else about
//! an option follows.
//!
//! ```
//! use pve_config::format::Context;
//! use pve_config::schema::{self, FileCheck};
//!
//! let (option, index) = schema::VM.find(b"scsi3").unwrap();
//! assert_eq!((option.name, index, option.file_check()), ("scsi", Some(3), FileCheck::Format));
//!
//! // what reading a file makes of a value
//! let context = Context::default();
//! assert_eq!(&*schema::VM.check(b"onboot", b"Yes", &context).unwrap(), "1");
//! assert_eq!(&*schema::VM.check(b"cores", b"007", &context).unwrap(), "7");
//! assert!(schema::VM.check(b"cores", b"0", &context).is_ok());
//!
//! // a request is checked against everything that the option says
//! let error = schema::VM.check_request(b"cores", b"0", &context).unwrap_err();
//! assert_eq!(error.to_string(), "\"0\" is less than 1");
//! ```

mod container;
mod option;
mod storage;
mod vm;

pub use container::CONTAINER;
pub use option::{FileCheck, GuestOption, Schema};
pub use storage::{
    STORAGE_PROPERTIES, STORAGE_TYPES, StorageOption, StorageProperty, StorageTypeSpec, storage_property,
    storage_type,
};
pub use vm::{CLOUDINIT_OPTIONS, FLEECING, VM};
