// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing lives here: the programs of this package are its examples, one file (or folder) each.

/// The programs in the README, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
