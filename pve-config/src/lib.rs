// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxmox VE configuration files: storage.cfg and every other section file, VM and container configurations, property strings; typed, lossless, with located diagnostics.

pub mod cluster;
pub mod container;
mod diagnostic;
mod digest;
pub mod format;
pub mod guest;
pub mod inventory;
mod name_index;
pub mod property;
pub mod rule;
pub mod schema;
pub mod section;
pub mod storage;
pub mod suggestion;
pub mod vm;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use digest::Digest;
