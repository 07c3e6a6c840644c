// SPDX-License-Identifier: MIT OR Apache-2.0
//! Nothing lives here: the benchmarks of this package are its bench targets, one file each.
