// SPDX-License-Identifier: MIT OR Apache-2.0
//! The Proxmox VE cluster file system (pmxcfs): its SQLite database, the tree and its rules.
