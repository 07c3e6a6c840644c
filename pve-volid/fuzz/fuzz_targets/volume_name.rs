// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes the volume names of every storage type: nothing is lost, nothing panics.

#![no_main]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::volume_name(data));
