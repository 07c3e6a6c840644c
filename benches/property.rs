// SPDX-License-Identifier: MIT OR Apache-2.0
//! Property strings: reading a string into typed values, writing it back, finding and checking options.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pve_config::format::Context;
use pve_config::rule::ValueError;
use pve_config::schema;
use pve_config::vm::{Cpu, Drive, DriveId, Machine, Net, SCSI, Smbios1};

/// A disk as most VMs have it.
const DRIVE: &[u8] = b"local-lvm:vm-100-disk-0,discard=on,iothread=1,size=32G,ssd=1";
const NET: &[u8] = b"virtio=BC:24:11:5A:00:01,bridge=vmbr0,firewall=1,tag=42";
const CPU: &[u8] = b"x86-64-v2-AES,flags=+aes;-pcid";
const SMBIOS: &[u8] = b"uuid=6f4c1d2e-8b7a-4c1d-9e2f-0123456789ab";
const MACHINE: &[u8] = b"pc-q35-9.2+pve1";

/// What a valid text gives.
fn valid<T>(read: Result<T, ValueError>) -> T {
    read.unwrap_or_else(|error| unreachable!("{error}"))
}

fn drives(c: &mut Criterion) {
    let id = DriveId::from_key(b"scsi0").unwrap_or_else(|| unreachable!("a drive"));
    let mut group = c.benchmark_group("drive");
    group.throughput(Throughput::Elements(1));
    // the limit: finding the commas and equal signs of the same bytes
    group.bench_function("scan", |b| {
        b.iter(|| memchr::memchr2_iter(b',', b'=', black_box(DRIVE)).fold(0, |sum, at| sum ^ at));
    });
    group.bench_function("parse", |b| b.iter(|| Drive::read(id, black_box(DRIVE))));
    group.bench_function("parse untyped", |b| b.iter(|| SCSI.parse(black_box(DRIVE))));
    let drive = valid(Drive::read(id, DRIVE));
    group.bench_function("print", |b| b.iter(|| black_box(&drive).print()));
    let properties = valid(SCSI.parse(DRIVE));
    group.bench_function("print untyped", |b| b.iter(|| black_box(&properties).print()));
    group.finish();
}

fn others(c: &mut Criterion) {
    let mut group = c.benchmark_group("property string");
    group.throughput(Throughput::Elements(1));
    group.bench_function("net", |b| b.iter(|| Net::parse(black_box(NET))));
    group.bench_function("cpu", |b| b.iter(|| Cpu::parse(black_box(CPU))));
    group.bench_function("smbios1", |b| b.iter(|| Smbios1::parse(black_box(SMBIOS))));
    group.bench_function("machine", |b| b.iter(|| Machine::parse(black_box(MACHINE))));
    let net = Net::FORMAT;
    group.bench_function("misspelt key", |b| b.iter(|| net.parse(black_box(b"virtio,brigde=vmbr0"))));
    group.finish();
}

fn options(c: &mut Criterion) {
    let context = Context::default();
    let mut group = c.benchmark_group("option");
    group.throughput(Throughput::Elements(1));
    group.bench_function("find", |b| b.iter(|| schema::VM.find(black_box(b"scsi12"))));
    group.bench_function("check boolean", |b| {
        b.iter(|| schema::VM.check(black_box(b"onboot"), black_box(b"1"), &context));
    });
    group.bench_function("check drive", |b| {
        b.iter(|| schema::VM.check(black_box(b"scsi0"), black_box(DRIVE), &context));
    });
    group.finish();
}

criterion_group!(benches, drives, others, options);
criterion_main!(benches);
