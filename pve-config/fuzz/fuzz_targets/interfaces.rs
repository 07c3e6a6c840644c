// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo +nightly fuzz run interfaces`
#![no_main]

#[path = "../checks/interfaces.rs"]
mod interfaces;

libfuzzer_sys::fuzz_target!(|data: &[u8]| interfaces::check(data));
