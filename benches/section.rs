// SPDX-License-Identifier: MIT OR Apache-2.0
//! storage.cfg of 20 sections, of 20,000, and of 60 MB: the line scan as the limit, borrowed sections, lossless document,
//! typed storages; also with sections that there is something to tell about.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pve_config::section::{Document, Outline};
use pve_config::storage::StorageConfig;

/// A storage.cfg of `count` sections of about 118 bytes with 6 properties each.
fn storage_cfg(count: usize) -> Vec<u8> {
    let mut text = Vec::new();
    for index in 0..count {
        let section = format!(
            "nfs: nas{index:05}\n\tpath /mnt/pve/nas{index:05}\n\tserver 10.0.{}.{}\n\texport /srv/e\n\tcontent images,iso\n\
             \toptions vers=4.2\n\tnodes pve1,pve2\n\n",
            index / 250 % 250,
            index % 250
        );
        text.extend_from_slice(section.as_bytes());
    }
    text
}

/// Parses and validates every storage, and reads the properties of its type.
fn typed(text: &[u8]) -> usize {
    let config = StorageConfig::parse(text);
    config
        .storages()
        .filter_map(|storage| Some((storage.backend()?, storage.content())))
        .map(black_box)
        .count()
}

fn sections(criterion: &mut Criterion) {
    for count in [20, 20_000] {
        size(criterion, &format!("{count} sections"), &storage_cfg(count), count);
    }
}

/// 20,000 sections of which every tenth, or a single one, has a property that nobody knows: the others need not pay.
fn odd(criterion: &mut Criterion) {
    let text = storage_cfg(20_000);
    let mut group = criterion.benchmark_group("storage.cfg, 20000 sections");
    for (name, every) in [("one odd section", 20_000), ("every tenth section odd", 10)] {
        let mut odd = Vec::new();
        for (index, section) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
            // the line behind the header of each chosen section
            if index % (8 * every) == 1 {
                odd.extend_from_slice(b"\tmaxfiles 3\n");
            }
            odd.extend_from_slice(section);
        }
        group.throughput(Throughput::ElementsAndBytes { elements: 20_000, bytes: odd.len() as u64 });
        group.bench_function(format!("{name}/typed storages"), |b| b.iter(|| typed(black_box(&odd))));
    }
    group.finish();
}

/// 64 MB, to see that the cost grows with the size and no faster.
fn huge(criterion: &mut Criterion) {
    let text = storage_cfg(500_000);
    size(criterion, &format!("{} MB", text.len() >> 20), &text, 500_000);
}

/// Throughput of one text: everything that is read of it, and the line scan that nothing can beat.
fn size(criterion: &mut Criterion, name: &str, text: &[u8], count: usize) {
    let mut group = criterion.benchmark_group(format!("storage.cfg, {name}"));
    group.throughput(Throughput::ElementsAndBytes { elements: count as u64, bytes: text.len() as u64 });
    if count > 100_000 {
        group.sample_size(10);
    }
    group.bench_function("line scan", |b| {
        b.iter(|| memchr::memchr_iter(b'\n', black_box(text)).fold(0, |sum, at| sum ^ at));
    });
    group.bench_function("borrowed sections", |b| b.iter(|| Outline::parse(black_box(text)).len()));
    group.bench_function("lossless document", |b| {
        b.iter(|| Document::parse(black_box(text)).sections().count());
    });
    group.bench_function("typed storages", |b| b.iter(|| typed(black_box(text))));
    group.finish();
}

criterion_group!(benches, sections, odd, huge);
criterion_main!(benches);
