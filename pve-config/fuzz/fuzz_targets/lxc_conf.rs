// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo +nightly fuzz run lxc_conf`
#![no_main]

#[path = "../checks/guest_conf.rs"]
mod guest_conf;

libfuzzer_sys::fuzz_target!(|data: &[u8]| guest_conf::check::<pve_config::guest::Lxc>(data));
