// SPDX-License-Identifier: MIT OR Apache-2.0
//! Fuzzes the listing filters of every storage type: what is listed can be named.

#![no_main]

#[path = "../../tests/laws/mod.rs"]
mod laws;

libfuzzer_sys::fuzz_target!(|data: &[u8]| laws::listing(data));
