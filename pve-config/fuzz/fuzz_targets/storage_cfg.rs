// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo +nightly fuzz run storage_cfg`
#![no_main]

#[path = "../checks/storage_cfg.rs"]
mod storage_cfg;

libfuzzer_sys::fuzz_target!(|data: &[u8]| storage_cfg::check(data));
