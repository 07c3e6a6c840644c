// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes the names of backup archives: standard names print as read.

#![no_main]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::archive_name(data));
