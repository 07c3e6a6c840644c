// SPDX-License-Identifier: MIT OR Apache-2.0
//! `cargo +nightly fuzz run salvage`: a file and its log, of any bytes, are read to the end, each inode once; what was read can be repaired
//! and loaded. Start from `examples/sample/config.db` with two bytes in front.
#![no_main]

use pve_cfs::{Database, Row};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    // the first two bytes tell how much is the log, in 64ths
    let Some((head, rest)) = data.split_at_checked(2) else { return };
    let log_size = rest.len() / 64 * usize::from(head[0] % 64);
    let (file, log) = rest.split_at(rest.len() - log_size);
    let found = pve_cfs::salvage::salvage(file, (head[1] % 2 == 0).then_some(log));
    let rows: Vec<Row> = found.rows.into_iter().map(|found| found.row).collect();
    assert!(rows.windows(2).all(|pair| (pair[0].inode as i64) < pair[1].inode as i64));
    let planned = pve_cfs::repair::plan(&rows);
    assert!(!pve_cfs::database::would_refuse(&planned.remaining));
    let mut rows = planned.rows;
    rows.sort_by_key(|row| row.inode as i64);
    assert!(Database::from_rows(rows).refusals().is_empty());
});
