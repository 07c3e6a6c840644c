// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo +nightly fuzz run property_string`
#![no_main]

#[path = "../checks/property_string.rs"]
mod property_string;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property_string::check(data));
