// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxmox VE configuration files: storage.cfg and every other section file, VM and container configurations, property strings; typed, lossless, with located diagnostics.

mod diagnostic;

pub use diagnostic::{Diagnostic, Severity};
