// SPDX-License-Identifier: MIT OR Apache-2.0
//! Guest configurations: lines, lossless document, validated typed values, the reference's view, writing; beside a
//! bare line scan.

use std::hint::black_box;
use std::time::Duration;

use criterion::{
    BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime,
};
use pve_config::format::Context;
use pve_config::guest::{Document, GuestKind, OptionLine, SectionId, VmConfig, lines, option_lines};

/// A usual VM of about 630 bytes.
const SMALL: &str = "\
agent: 1
boot: order=scsi0;ide2;net0
cores: 4
cpu: x86-64-v2-AES
ide2: local:iso/debian-12.5.0-amd64-netinst.iso,media=cdrom,size=629M
memory: 8192
meta: creation-qemu=9.0.2,ctime=1718000000
name: web-frontend-01
net0: virtio=BC:24:11:5E:01:AA,bridge=vmbr0,firewall=1,tag=120
numa: 0
onboot: 1
ostype: l26
scsi0: local-lvm:vm-100-disk-0,discard=on,iothread=1,size=64G,ssd=1
scsi1: ceph:vm-100-disk-1,cache=writeback,iothread=1,size=500G
scsihw: virtio-scsi-single
smbios1: uuid=6a2f4b4c-7f5b-4d0e-9f52-0d3b1f3f9a11
sockets: 1
tags: prod;web
vmgenid: 5b1f8a2e-3c4d-4e5f-8a9b-0c1d2e3f4a5b
";

/// The same with a description, pending changes and snapshots: about `snapshots` × 650 bytes.
fn large(snapshots: usize) -> String {
    let mut text =
        format!("#Frontend of the shop\n#owner%3A web team\n{SMALL}\n[PENDING]\ncores: 8\ndelete: net1\n");
    for number in 0..snapshots {
        let time = 1_718_000_000 + number;
        text.push_str(&format!("\n[before-{number}]\n#snapshot {number}\n{SMALL}snaptime: {time}\n"));
    }
    text
}

/// Throughput of one text: everything that is read or written of it, and the line scan that nothing can beat.
fn text(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, text: &[u8]) {
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function(format!("{name}/memchr line scan"), |b| {
        b.iter(|| memchr::memchr_iter(b'\n', black_box(text)).fold(0, |sum, at| sum ^ at));
    });
    group.bench_function(format!("{name}/lines"), |b| {
        let scan = |sum, line: pve_config::guest::Line<'_>| sum ^ line.key.len() ^ line.value.len();
        b.iter(|| lines(GuestKind::Qemu, black_box(text)).fold(0, scan));
    });
    group.bench_function(format!("{name}/lossless document"), |b| {
        b.iter(|| Document::parse(GuestKind::Qemu, black_box(text)));
    });
    group.bench_function(format!("{name}/typed options"), |b| {
        let context = Context::default();
        let typed = |line: &OptionLine<'_>| black_box(line.value(&context)).is_ok();
        b.iter(|| option_lines(GuestKind::Qemu, black_box(text)).flatten().filter(typed).count());
    });
    group.bench_function(format!("{name}/configuration"), |b| {
        b.iter(|| VmConfig::parse(black_box(text)));
    });
}

fn sizes(c: &mut Criterion) {
    let mut group = c.benchmark_group("conf");
    text(&mut group, "630 B", SMALL.as_bytes());
    text(&mut group, "2 KB", large(2).as_bytes());
    text(&mut group, "200 KB", large(300).as_bytes());
    group.finish();
}

fn huge(c: &mut Criterion) {
    let mut group = c.benchmark_group("conf");
    group.sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(8));
    text(&mut group, "64 MB", large(97_000).as_bytes());
    group.finish();
}

/// Ten thousand different files, one after the other; elements are files.
fn many(c: &mut Criterion) {
    let texts: Vec<String> = (0..10_000)
        .map(|number| {
            let text = SMALL.replace("vm-100-", &format!("vm-{}-", 100 + number));
            text.replace("web-frontend-01", &format!("web-{number}"))
                + &format!("description: number {number}\n")
        })
        .collect();
    let mut group = c.benchmark_group("10,000 confs");
    group.sample_size(20).throughput(Throughput::Elements(texts.len() as u64));
    group.bench_function("lossless document", |b| {
        b.iter(|| {
            for text in &texts {
                black_box(Document::parse(GuestKind::Qemu, black_box(text.as_bytes())));
            }
        });
    });
    group.bench_function("typed options", |b| {
        let context = Context::default();
        b.iter(|| {
            for text in &texts {
                for line in option_lines(GuestKind::Qemu, black_box(text.as_bytes())).flatten() {
                    let _ = black_box(line.value(&context));
                }
            }
        });
    });
    group.bench_function("configuration", |b| {
        b.iter(|| {
            for text in &texts {
                black_box(VmConfig::parse(black_box(text.as_bytes())));
            }
        });
    });
    group.finish();
}

fn change(c: &mut Criterion) {
    let mut group = c.benchmark_group("conf change");
    let text = large(2);
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("2 KB/set one key losslessly", |b| {
        b.iter(|| {
            let mut document = Document::parse(GuestKind::Qemu, black_box(text.as_bytes()));
            document.set(SectionId::Main, "cores", "16").map(|()| document.into_bytes())
        });
    });
    group.bench_function("2 KB/parse, set, write normalised", |b| {
        b.iter(|| {
            let (mut config, _) = VmConfig::parse(black_box(text.as_bytes()));
            config.main.set("cores", "16");
            config.to_bytes()
        });
    });
    group.finish();
}

criterion_group!(benches, sizes, many, change, huge);
criterion_main!(benches);
