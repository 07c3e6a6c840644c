// SPDX-License-Identifier: MIT OR Apache-2.0
//! The cluster file system as programs meet it: a daemon with a mount, and a client that works on it, both on one processor.
//!
//! ```console
//! $ cargo bench -p benches --bench cfs_mount              # as root; the database lies in /dev/shm
//! $ cargo bench -p benches --bench cfs_mount -- --rounds 9
//! ```
//!
//! Each line is measured on the cluster file system and on a file system in memory that has no rules and no database, in turn and
//! several times; the best round counts, since other work on the machine can only slow a round down. Both processes are bound to
//! one processor: otherwise the scheduler now and then puts them on two, and figures have two humps. Beside the time by the clock stands
//! the processor time of both processes together, which does not depend on what else the machine does, and its ratio to that of the
//! file system in memory.
//!
//! The left half of the table was taken on another machine: the reference's daemon, a file system in memory, and what is to be reached.
//! A target counts as reached "by ratio" if this machine is slower, but the ratio to its file system in memory is as demanded there.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step fails the measurement"
)]

mod daemon;
mod floor;
mod workload;

use std::path::Path;
use std::time::{Duration, Instant};

use daemon::{Daemon, Kind};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use pve_cfs::schema::CREATE_TABLE;
use pve_cfs::store::{Store, StoreOptions};
use workload::{Known, Unit, WORKLOADS, Workload};

/// Files that the database has when the daemon's start is measured.
const FILES: u64 = 10_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == daemon::ARGUMENT) {
        return daemon::serve(&arguments[1..]);
    }
    let rounds = match arguments.iter().position(|argument| argument == "--rounds") {
        Some(at) => arguments.get(at + 1).and_then(|text| text.parse().ok()).expect("--rounds NUMBER"),
        None => 5,
    };
    let only =
        arguments.iter().position(|argument| argument == "--only").map(|at| arguments[at + 1].as_str());
    bind_to_one_processor();
    let shared_memory = Path::new("/dev/shm");
    let folder = tempfile::tempdir_in(shared_memory).expect("a folder in /dev/shm");
    println!(
        "{:42} {:>9} {:>9} {:>9} | {:>9} {:>9} {:>9} {:>9} {:>6}",
        "", "reference", "in memory", "target", "measured", "in memory", "reached", "processor", "ratio"
    );
    measure_workloads(folder.path(), rounds, only);
    if only.is_none() {
        measure_start(folder.path(), rounds);
        measure_transaction(folder.path(), rounds);
    }
}

fn bind_to_one_processor() {
    let mut one = CpuSet::new();
    one.set(0).expect("a first processor");
    sched_setaffinity(Pid::from_raw(0), &one).expect("a processor to be bound to");
}

/// What a workload took, per operation.
#[derive(Clone, Copy)]
struct Taken {
    clock: Duration,
    processor: Duration,
}

fn measure_workloads(folder: &Path, rounds: usize, only: Option<&str>) {
    let database = folder.join("config.db");
    drop(Store::open(&database, &StoreOptions::default(), 7).expect("a new database"));
    let daemons = [Kind::Cfs, Kind::Floor].map(|kind| Daemon::start(kind, folder, "."));
    let mut best = vec![[None::<Taken>; 2]; WORKLOADS.len()];
    for round in 0..rounds {
        for (at, daemon) in daemons.iter().enumerate() {
            let directory = daemon.path.join(format!("round-{round}"));
            std::fs::create_dir(&directory).expect("a directory");
            for (workload, best) in WORKLOADS.iter().zip(&mut best) {
                let taken = measure(workload, daemon, &directory);
                let best = best[at].get_or_insert(taken);
                best.clock = best.clock.min(taken.clock);
                best.processor = best.processor.min(taken.processor);
            }
        }
    }
    for (workload, best) in WORKLOADS.iter().zip(best) {
        if only.is_none_or(|only| workload.name.contains(only)) {
            print(workload, best.map(|best| best.expect("at least one round")));
        }
    }
}

fn measure(workload: &Workload, daemon: &Daemon, directory: &Path) -> Taken {
    (workload.prepare)(directory);
    let processor = || daemon.processor_time() + daemon::processor_time(std::process::id());
    let (before, start) = (processor(), Instant::now());
    let count = (workload.run)(directory);
    let clock = start.elapsed();
    Taken { clock: clock / count, processor: (processor() - before) / count }
}

fn print(workload: &Workload, [ours, floor]: [Taken; 2]) {
    let Known { target, reference, floor: floor_there } = workload.known;
    let [ours_here, floor_here] = [ours, floor].map(|taken| match workload.unit {
        Unit::Rate => 1e-3 / taken.clock.as_secs_f64(),
        Unit::Milliseconds => taken.clock.as_secs_f64() * 1e3,
    });
    let good = |measured: f64, wanted: f64| match workload.unit {
        Unit::Rate => measured >= wanted,
        Unit::Milliseconds => measured <= wanted,
    };
    let reached = match (target, floor_there) {
        (Some(target), _) if good(ours_here, target) => "yes",
        (Some(target), Some(there)) if good(ours_here / floor_here, target / there) => "by ratio",
        (Some(_), _) => "no",
        (None, _) => "",
    };
    let show = |figure: Option<f64>| match (figure, workload.unit) {
        (None, _) => "-".to_owned(),
        (Some(figure), Unit::Rate) => format!("{figure:.1}k/s"),
        (Some(figure), Unit::Milliseconds) => format!("{figure:.2} ms"),
    };
    println!(
        "{:42} {:>9} {:>9} {:>9} | {:>9} {:>9} {:>9} {:>7.1}us {:>5.2}x",
        workload.name,
        show(reference),
        show(floor_there),
        show(target),
        show(Some(ours_here)),
        show(Some(floor_here)),
        reached,
        ours.processor.as_secs_f64() * 1e6,
        ours.processor.as_secs_f64() / floor.processor.as_secs_f64(),
    );
}

/// Starting on a database with many files, and the memory that the daemon then has and after all files have been read and replaced.
fn measure_start(folder: &Path, rounds: usize) {
    let folder = folder.join("many");
    std::fs::create_dir(&folder).expect("a folder");
    fill(&folder.join("config.db"));
    let mut best = Duration::MAX;
    let mut memory = (0, 0);
    for _ in 0..rounds.max(5) {
        let daemon = Daemon::start(Kind::Cfs, &folder, "many/file-7");
        best = best.min(daemon.start);
        memory = daemon.memory();
    }
    line("start with 10,000 files", "20 ms", "1000 ms", &format!("{:.1} ms", best.as_secs_f64() * 1e3));
    let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    line("memory then (RSS)", "20 MB", "22.9 MB", &megabytes(memory.0));
    line("  of that not of files", "-", "-", &megabytes(memory.1));
    let daemon = Daemon::start(Kind::Cfs, &folder, "many/file-7");
    workload::replace_all(&daemon.path.join("many"), FILES);
    let memory = daemon.memory();
    line("memory after each was replaced (RSS)", "20 MB", "-", &megabytes(memory.0));
    line("  of that not of files", "-", "-", &megabytes(memory.1));
}

/// A database with [`FILES`] files of 500 bytes in one directory.
fn fill(database: &Path) {
    let mut connection = rusqlite::Connection::open(database).expect("a database");
    let transaction = connection.transaction().expect("a transaction");
    transaction.execute_batch(CREATE_TABLE).expect("the table");
    {
        let mut insert = transaction
            .prepare("INSERT INTO tree VALUES (?1, ?2, ?1, 0, 1700000000, ?3, ?4, ?5)")
            .expect("SQL");
        let mut insert = |inode: u64, parent: u64, kind: u8, name: &str, data: Option<&[u8]>| {
            insert.execute(rusqlite::params![inode as i64, parent as i64, kind, name, data]).expect("a row");
        };
        insert(2, 0, 4, "many", None);
        for file in 0..FILES {
            insert(3 + file, 2, 8, &format!("file-{file}"), Some(&[b'x'; 500]));
        }
    }
    let version =
        format!("INSERT INTO tree VALUES (0, 0, {}, 0, 1700000000, 8, '__version__', NULL)", FILES + 3);
    transaction.execute_batch(&version).expect("the version row");
    transaction.commit().expect("a commit");
}

/// What SQLite alone takes for the transaction that each change is: two rows replaced, the log on the same file system.
fn measure_transaction(folder: &Path, rounds: usize) {
    const SQL: &str = "REPLACE INTO tree VALUES (?1, 0, ?2, 0, 1700000000, 8, 'file', ?3), \
        (0, 0, ?2, 0, 1700000000, 8, '__version__', NULL)";
    let connection = rusqlite::Connection::open(folder.join("transaction.db")).expect("a database");
    connection.pragma_update(None, "journal_mode", "WAL").expect("write-ahead logging");
    connection.pragma_update(None, "synchronous", "NORMAL").expect("a setting");
    connection.execute_batch(CREATE_TABLE).expect("the table");
    let mut statement = connection.prepare(SQL).expect("SQL");
    let mut best = Duration::MAX;
    let mut version = 0_i64;
    for _ in 0..rounds {
        let start = Instant::now();
        for file in 0..5000_i64 {
            version += 1;
            statement.execute(rusqlite::params![2 + file % 1000, version, [b'x'; 500]]).expect("a change");
        }
        best = best.min(start.elapsed() / 5000);
    }
    line(
        "SQLite alone: a transaction of two rows",
        "-",
        "0.0074 ms",
        &format!("{:.4} ms", best.as_secs_f64() * 1e3),
    );
}

fn line(name: &str, target: &str, reference: &str, measured: &str) {
    println!("{name:42} {reference:>9} {:>9} {target:>9} | {measured:>9}", "-");
}
