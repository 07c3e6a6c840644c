// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes the search for a free disk name.

#![no_main]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::free_name(data));
