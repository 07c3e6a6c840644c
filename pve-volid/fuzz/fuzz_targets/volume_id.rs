// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes the volume ids: print what was read, borrowed and owned alike.

#![no_main]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::volume_id(data));
