// SPDX-License-Identifier: MIT OR Apache-2.0
//! Proxmox VE storage types: volume paths, features and the external commands behind every operation, planned or executed.
