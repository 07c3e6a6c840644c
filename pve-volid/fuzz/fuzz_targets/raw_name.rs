// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes the classification of names found on a storage.

#![no_main]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::raw_name(data));
