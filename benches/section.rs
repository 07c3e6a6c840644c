// SPDX-License-Identifier: MIT OR Apache-2.0
//! storage.cfg of 20 and of 20,000 sections: the line scan as the limit, borrowed sections, typed storages.

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
        let text = storage_cfg(count);
        let mut group = criterion.benchmark_group(format!("storage.cfg, {count} sections"));
        let bytes = Throughput::ElementsAndBytes { elements: count as u64, bytes: text.len() as u64 };
        group.throughput(bytes);
        group.bench_function("line scan", |b| {
            b.iter(|| memchr::memchr_iter(b'\n', black_box(&text)).fold(0, |sum, at| sum ^ at));
        });
        group.bench_function("borrowed sections", |b| b.iter(|| Outline::parse(black_box(&text)).len()));
        group.bench_function("lossless document", |b| {
            b.iter(|| Document::parse(black_box(&text)).sections().count());
        });
        group.bench_function("typed storages", |b| b.iter(|| typed(black_box(&text))));
        group.finish();
    }
}

criterion_group!(benches, sections);
criterion_main!(benches);
