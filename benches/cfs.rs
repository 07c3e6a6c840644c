// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cluster file system without a mount: loading a database, changing it, looking things up. The mount is measured in `cfs_mount`.

#![allow(clippy::expect_used, reason = "a failed step fails the measurement")]

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pve_cfs::filesystem::{FileSystem, FileSystemOptions};
use pve_cfs::store::{Store, StoreOptions};
use pve_cfs::virtual_file::VirtualFile;
use pve_cfs::{Database, schema};
use tempfile::TempDir;

const FILES: u64 = 10_000;

/// Where SQLite's part costs no disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder")
}

/// A database with [`FILES`] guests of 500 bytes each.
fn filled(folder: &TempDir) -> PathBuf {
    let path = folder.path().join("config.db");
    let mut connection = rusqlite::Connection::open(&path).expect("a database");
    let transaction = connection.transaction().expect("a transaction");
    let last = FILES + 5;
    transaction
        .execute_batch(&format!(
            "{};
             INSERT INTO tree VALUES (0, 0, {last}, 0, 1700000000, 8, '__version__', NULL);
             INSERT INTO tree VALUES (2, 0, 2, 0, 1700000000, 4, 'nodes', NULL);
             INSERT INTO tree VALUES (3, 2, 3, 0, 1700000000, 4, 'pve1', NULL);
             INSERT INTO tree VALUES (4, 3, 4, 0, 1700000000, 4, 'qemu-server', NULL);",
            schema::CREATE_TABLE
        ))
        .expect("the table");
    for file in 0..FILES {
        transaction
            .prepare_cached("INSERT INTO tree VALUES (?1, 4, ?1, 0, 1700000000, 8, ?2, ?3)")
            .and_then(|mut insert| {
                let data: &[u8] = &[b'x'; 500];
                insert.execute(rusqlite::params![5 + file as i64, format!("{}.conf", 100 + file), data])
            })
            .expect("a row");
    }
    transaction.commit().expect("a commit");
    path
}

fn open(path: &Path) -> FileSystem {
    let (store, loaded) = Store::open(path, &StoreOptions::default(), 1_700_000_000).expect("a database");
    FileSystem::new(loaded, Some(store), FileSystemOptions::local("pve1"))
}

fn loading(criterion: &mut Criterion) {
    let folder = folder();
    let path = filled(&folder);
    let mut group = criterion.benchmark_group("cfs/load");
    group.throughput(Throughput::Elements(FILES)).sample_size(20);
    group.bench_function("for change", |bencher| bencher.iter(|| open(&path)));
    group.bench_function("read-only", |bencher| {
        bencher.iter(|| Database::open_read_only(black_box(&path)).expect("a database"));
    });
    group.finish();
}

fn changing(criterion: &mut Criterion) {
    let folder = folder();
    let files = open(&filled(&folder));
    let mut group = criterion.benchmark_group("cfs/change");
    group.throughput(Throughput::Elements(1));
    let data = [b'y'; 500];
    group.bench_function("overwrite 500 B", |bencher| {
        bencher
            .iter(|| files.write(b"nodes/pve1/qemu-server/4711.conf", 0, black_box(&data)).expect("a write"));
    });
    group.bench_function("create and delete", |bencher| {
        bencher.iter(|| {
            files.create(b"new").expect("a file");
            files.delete(b"new").expect("it is there");
        });
    });
    group.bench_function("replace by rename", |bencher| {
        bencher.iter_batched(
            || files.create(b"new.tmp").expect("a file"),
            |()| files.rename(b"new.tmp", b"new").expect("a rename"),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn looking(criterion: &mut Criterion) {
    let folder = folder();
    let files = open(&filled(&folder));
    let mut group = criterion.benchmark_group("cfs/look");
    let path = b"nodes/pve1/qemu-server/4711.conf";
    group.bench_function("attributes", |bencher| {
        bencher.iter(|| files.attributes(black_box(path)).expect("a file"));
    });
    group.bench_function("content", |bencher| {
        bencher.iter(|| files.content(black_box(path)).expect("a file"));
    });
    group.bench_function("list 10,000 names", |bencher| {
        bencher.iter(|| files.read_directory(black_box(b"nodes/pve1/qemu-server")).expect("a directory"));
    });
    group.bench_function(".vmlist of 10,000 guests", |bencher| {
        bencher.iter(|| files.text(VirtualFile::VmList));
    });
    group.bench_function(".version", |bencher| bencher.iter(|| files.text(VirtualFile::Version)));
    group.finish();
}

criterion_group!(benches, loading, changing, looking);
criterion_main!(benches);
