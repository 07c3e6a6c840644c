// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo +nightly fuzz run section_file`
#![no_main]

#[path = "../checks/section_file.rs"]
mod section_file;

libfuzzer_sys::fuzz_target!(|data: &[u8]| section_file::check(data));
