// SPDX-License-Identifier: MIT OR Apache-2.0
//! What several programs ask of their user alike, and show alike. The programs of this package are its examples, one file (or folder) each.

pub mod ending;
pub mod moment;
pub mod whereabouts;

/// The programs in the README, which must compile.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
