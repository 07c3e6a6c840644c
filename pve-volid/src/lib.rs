// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids and the naming conventions of Proxmox VE storages: parse, name, allocate, and explain what the listing hides.
