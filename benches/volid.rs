// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume ids and names: how many a second are read, filtered and searched.
//!
//! `line scan` walks over the same bytes with memchr and does nothing: the limit of the machine, to compare with.

use std::fmt::Write;
use std::hint::black_box;

use bstr::ByteSlice;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use pve_volid::{
    ArchiveName, FreeName, LvLine, LvmThinFilter, StorageType, VmId, VolumeIdRef, VolumeName, Wanted,
};

criterion_group!(benches, names, ids, archives, logical_volumes);
criterion_main!(benches);

/// Names as they are in practice, of every type of storage, for guests 100 ..
fn volume_names(count: usize) -> Vec<(StorageType, String)> {
    use StorageType::{Btrfs, Dir, Iscsi, Lvm, LvmThin, Nfs, Pbs, Rbd, ZfsPool};
    (0..count)
        .map(|number| {
            let vmid = 100 + number / 4;
            match number % 12 {
                0 => (Dir, format!("{vmid}/vm-{vmid}-disk-0.qcow2")),
                1 => (Dir, format!("9000/base-9000-disk-0.qcow2/{vmid}/vm-{vmid}-disk-1.qcow2")),
                2 => (Dir, format!("iso/debian-{number}-amd64-netinst.iso")),
                3 => (Nfs, format!("backup/vzdump-qemu-{vmid}-2023_01_02-03_04_05.vma.zst")),
                4 => (Nfs, format!("vztmpl/debian-12-standard_{number}_amd64.tar.zst")),
                5 => (Btrfs, format!("{vmid}/vm-{vmid}-disk-0.raw")),
                6 => (Lvm, format!("vm-{vmid}-disk-0.qcow2")),
                7 => (LvmThin, format!("vm-{vmid}-disk-0")),
                8 => (ZfsPool, format!("basevol-9000-disk-0/subvol-{vmid}-disk-0")),
                9 => (Rbd, format!("base-9000-disk-0/vm-{vmid}-disk-0")),
                10 => (Iscsi, format!("0.0.{number}.scsi-36001405b5a1c")),
                _ => (Pbs, format!("backup/vm/{vmid}/2023-01-02T03:04:05Z")),
            }
        })
        .collect()
}

fn throughput<'a>(texts: impl Iterator<Item = &'a str>) -> Throughput {
    let (elements, bytes) = texts.fold((0, 0), |(count, bytes), text| (count + 1, bytes + text.len() as u64));
    Throughput::ElementsAndBytes { elements, bytes }
}

fn names(c: &mut Criterion) {
    let names = volume_names(12_000);
    let mut group = c.benchmark_group("volume names");
    group.throughput(throughput(names.iter().map(|(_, name)| name.as_str())));
    group.bench_function("parse", |b| {
        b.iter(|| {
            for (kind, name) in &names {
                black_box(VolumeName::read(*kind, black_box(name.as_bytes())).is_ok());
            }
        });
    });
    // the same names, each on a type that refuses it
    group.bench_function("refuse", |b| {
        b.iter(|| {
            for (_, name) in &names {
                black_box(VolumeName::read(StorageType::IscsiDirect, black_box(name.as_bytes())).is_err());
            }
        });
    });
    group.finish();
}

fn ids(c: &mut Criterion) {
    let ids: Vec<String> =
        volume_names(12_000).into_iter().map(|(kind, name)| format!("local-{kind}:{name}")).collect();
    let mut group = c.benchmark_group("volume ids");
    group.throughput(throughput(ids.iter().map(String::as_str)));
    group.bench_function("parse", |b| {
        b.iter(|| {
            for id in &ids {
                black_box(VolumeIdRef::from_bytes(black_box(id.as_bytes())).is_ok());
            }
        });
    });
    group.finish();
}

fn archives(c: &mut Criterion) {
    let names: Vec<String> = (0..10_000)
        .map(|number| {
            let (vmid, second) = (100 + number / 60, number % 60);
            format!("vzdump-qemu-{vmid}-2023_01_02-03_04_{second:02}.vma.zst")
        })
        .collect();
    let mut group = c.benchmark_group("backup archive names");
    group.throughput(throughput(names.iter().map(String::as_str)));
    group.bench_function("parse", |b| {
        b.iter(|| {
            for name in &names {
                black_box(ArchiveName::parse(black_box(name.as_bytes())).is_ok());
            }
        });
    });
    group.finish();
}

/// The output of `lvs` with 100,000 logical volumes: a third of them volumes of the pool, the others blind spots.
fn logical_volumes(c: &mut Criterion) {
    let mut output = String::new();
    for number in 0..100_000 {
        let vmid = 100 + number / 6;
        let (vg, name, attr, pool) = match number % 6 {
            0 | 3 => ("pve", format!("vm-{vmid}-disk-{}", number % 4), "Vwi-aotz--", "data"),
            1 => ("pve", format!("snap_vm-{vmid}-disk-0_before"), "Vri---tz-k", "data"),
            2 => ("pve", format!("vm-{vmid}-disk-9"), "Vwi-a-tz--", "other"),
            4 => ("vg0", format!("vm-{vmid}-disk-0"), "-wi-a-----", ""),
            _ => ("pve", format!("lv{number}"), "-wi-a-----", ""),
        };
        let _ = writeln!(
            output,
            "  {vg}:{name}:34359738368:{attr}:{pool}:12.50:::aBcDeF-1234-5678-9abc-def0-1234-abcdef:pve-vm-{vmid}::1700000000"
        );
    }
    let lines = || output.as_bytes().lines();
    let listed = |filter: &LvmThinFilter<'_>| {
        lines().filter_map(LvLine::parse).filter(|lv| filter.judge(lv).is_ok()).count()
    };
    let filter = LvmThinFilter { vg: "pve".into(), pool: "data".into(), wanted: Wanted::Everything };
    assert_eq!(listed(&filter), 33_334);

    let mut group = c.benchmark_group("100,000 logical volumes");
    group.throughput(Throughput::ElementsAndBytes { elements: 100_000, bytes: output.len() as u64 });
    group.bench_function("line scan", |b| {
        b.iter(|| memchr::memchr_iter(b'\n', black_box(output.as_bytes())).count());
    });
    group.bench_function("filter", |b| b.iter(|| listed(black_box(&filter))));
    group.bench_function("next free name", |b| {
        b.iter(|| {
            let mut search = FreeName::for_allocation(StorageType::LvmThin, VmId::MIN, None);
            lines().filter_map(LvLine::parse).for_each(|lv| search.see(lv.lv));
            search.name()
        });
    });
    group.finish();
}
