// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file system through a real mount.

#![cfg(test)]
#![cfg(feature = "fuse")]

mod caching;
mod damage;
mod disk;
mod editors;
mod model;
mod mounted;
