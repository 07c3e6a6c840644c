// SPDX-License-Identifier: MIT OR Apache-2.0
//! Storage listings: what `lvs` and `zfs list` print for 100,000 volumes, parsed, judged and sorted.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use pve_storage::{MemoryHost, Output, Session, Storage, Storages};
use pve_volid::Wanted;

/// Volumes in the output of a tool.
const VOLUMES: u32 = 100_000;

fn storages() -> Storages {
    let id = |id: &str| id.parse().unwrap_or_else(|error| unreachable!("{error}"));
    [
        Storage::new(id("thin"), "lvmthin").with("vgname", "pve").with("thinpool", "data"),
        Storage::new(id("thick"), "lvm").with("vgname", "vg0").with("tagged_only", "1"),
        Storage::new(id("tank"), "zfspool").with("pool", "tank"),
        Storage::new(id("full"), "lvmthin").with("vgname", "full").with("thinpool", "data"),
    ]
    .into_iter()
    .collect()
}

/// As `lvs` prints them: half thin, half thick, every tenth a snapshot.
fn lvs() -> String {
    let mut text = String::from("  pve:data:147203293184:twi-aotz--::3.52:1.25::u::1506803712:1690000000\n");
    for number in 0..VOLUMES {
        let (vmid, disk) = (100 + number / 10, number % 10);
        let line = match number % 10 {
            0 => {
                format!("  pve:snap_vm-{vmid}-disk-{disk}_s1:34359738368:Vri---tz-k:data::::u:::1700000103\n")
            }
            1..5 => {
                format!("  pve:vm-{vmid}-disk-{disk}:34359738368:Vwi-aotz--:data:12.50:::u:::1700000101\n")
            }
            _ => format!(
                "  vg0:vm-{vmid}-disk-{disk}:34359738368:-wi-a-----:::::u:a,pve-vm-{vmid}::1700000200\n"
            ),
        };
        text.push_str(&line);
    }
    text
}

/// As `lvs` prints them, sorted by name: all of them volumes of guests.
fn full() -> String {
    let line = |number: u32| {
        let (vmid, disk) = (100 + number / 10, number % 10);
        format!("  full:vm-{vmid}-disk-{disk}:34359738368:Vwi-aotz--:data:12.50:::u:::1700000101\n")
    };
    let mut lines: Vec<String> = (0..VOLUMES).map(line).collect();
    lines.sort_unstable();
    lines.insert(0, "  full:data:147203293184:twi-aotz--::3.52:1.25::u::1506803712:1690000000\n".to_owned());
    lines.concat()
}

fn datasets() -> String {
    let mut text = String::from("tank\t-\t-\tfilesystem\t0\n");
    for number in 0..VOLUMES {
        let (vmid, disk) = (100 + number / 10, number % 10);
        let written = match number % 10 {
            0 => writeln!(text, "tank/subvol-{vmid}-disk-{disk}\t-\t-\tfilesystem\t8589934592"),
            1 => writeln!(
                text,
                "tank/vm-{vmid}-disk-{disk}\t34359738368\ttank/base-9000-disk-0@__base__\tvolume\t-"
            ),
            _ => writeln!(text, "tank/vm-{vmid}-disk-{disk}\t34359738368\t-\tvolume\t-"),
        };
        written.unwrap_or_else(|error| unreachable!("{error}"));
    }
    text
}

fn listing(criterion: &mut Criterion) {
    let storages = storages();
    let mut host = MemoryHost::new();
    host.answer_containing("/sbin/lvs", Output::success(lvs()));
    host.answer_containing("zfs list", Output::success(datasets()));
    let session = Session::new(&storages, &host, "pve1").assume_active();
    let mut group = criterion.benchmark_group("storage");
    group.sample_size(20);
    for id in ["thin", "thick", "tank"] {
        group.bench_function(format!("list 100,000 volumes, {id}"), |bencher| {
            bencher.iter(|| session.images(black_box(id), Wanted::Everything));
        });
    }
    group.bench_function("volumes by content, sorted, thin", |bencher| {
        bencher.iter(|| session.volumes(black_box("thin"), Wanted::Everything, None, &BTreeSet::new()));
    });
    // every one of them is shown
    let mut host = MemoryHost::new();
    host.answer_containing("/sbin/lvs", Output::success(full()));
    let session = Session::new(&storages, &host, "pve1").assume_active();
    group.bench_function("volumes by content, sorted, 100,000 shown", |bencher| {
        bencher.iter(|| session.volumes(black_box("full"), Wanted::Everything, None, &BTreeSet::new()));
    });
    group.bench_function("survey with reasons, thin", |bencher| {
        bencher.iter(|| session.survey(black_box("thin")));
    });
    group.finish();
}

criterion_group!(benches, listing);
criterion_main!(benches);
