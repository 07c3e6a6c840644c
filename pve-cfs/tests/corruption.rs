// SPDX-License-Identifier: MIT OR Apache-2.0
//! Random damage to real databases: reading always ends, never panics, and what is called recovered was once written.
//!
//! `PVE_CFS_DAMAGES=10000` sets the number of damages, `PVE_CFS_SEED` where they start.

#![cfg(test)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use pve_cfs::draft::Draft;
use pve_cfs::repair::plan;
use pve_cfs::salvage::{Recovered, Salvage, salvage};
use pve_cfs::store::{Store, StoreOptions};
use pve_cfs::{Database, Row};

/// SplitMix64: the same damages for the same seed, everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// A database as bytes, and every row that it ever had.
struct Original {
    file: Vec<u8>,
    log: Option<Vec<u8>>,
    rows: Vec<Row>,
    history: HashMap<u64, HashSet<RowKey>>,
}

type RowKey = (u64, u64, u32, u32, u8, Vec<u8>, Option<Vec<u8>>);

fn key(row: &Row) -> RowKey {
    let data = row.data.as_ref().map(|data| data.to_vec());
    (row.parent, row.version, row.writer, row.mtime, row.kind, row.name.to_vec(), data)
}

impl Original {
    fn of_file(path: &Path) -> Self {
        let (database, _) = Database::open_read_only(path).unwrap();
        let mut original =
            Self { file: std::fs::read(path).unwrap(), log: None, rows: Vec::new(), history: HashMap::new() };
        original.note(database.rows());
        original
    }

    /// A few hundred changes by this crate's own writer: files of all sizes come, grow, move and go. Then the files are
    /// taken as a power failure would leave them: with everything in the database, or a part of it in the log.
    fn grown(seed: u64, with_log: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.db");
        let mut original = Self { file: Vec::new(), log: None, rows: Vec::new(), history: HashMap::new() };
        let mut random = Random(seed);
        let (store, _) = Store::open(&path, &StoreOptions::default(), 1_700_000_000).unwrap();
        let mut draft = Draft::new(pve_cfs::load::load(&store.rows().unwrap()), 1_700_000_000);
        for step in 0..220_u32 {
            let directory = format!("nodes/n{}/qemu-server", random.below(4));
            draft.make_directories(directory.as_bytes()).unwrap();
            // some names so long that they go on on other pages with the content
            let number = random.below(40);
            let long = if number.is_multiple_of(8) { "long".repeat(20 * number) } else { String::new() };
            let path = format!("{directory}/f{number}{long}");
            let size = match random.below(10) {
                0..6 => random.below(900),
                6..9 => random.below(9_000),
                _ => random.below(60_000),
            };
            let content: Vec<u8> = (0..size).map(|_| b' ' + (random.next() % 90) as u8).collect();
            // what is refused, a move of what is not there for example, is no change
            let _ = match random.below(8) {
                0 => draft.delete(path.as_bytes()),
                1 => draft.rename(path.as_bytes(), format!("{directory}/g{step}").as_bytes()),
                _ => draft.put(path.as_bytes(), &content),
            };
            draft.commit(&store).unwrap();
            let rows = store.rows().unwrap();
            original.note(&rows);
            draft = Draft::new(pve_cfs::load::load(&rows), 1_700_000_000 + step);
            if step == 150 {
                store.checkpoint().unwrap();
            }
        }
        if with_log {
            original.log = Some(std::fs::read(folder.path().join("config.db-wal")).unwrap());
        } else {
            drop(store);
        }
        original.file = std::fs::read(&path).unwrap();
        original
    }

    fn note(&mut self, rows: &[Row]) {
        self.rows = rows.to_vec();
        for row in rows {
            self.history.entry(row.inode).or_default().insert(key(row));
        }
    }
}

/// Damages bytes in one of the ways in which disks, file systems and people do.
fn damage(random: &mut Random, bytes: &mut Vec<u8>, page: usize) -> &'static str {
    let size = bytes.len();
    let at = random.below(size);
    match random.below(9) {
        0 => {
            for _ in 0..1 + random.below(8) {
                let at = random.below(size);
                bytes[at] ^= 1 << random.below(8);
            }
            "flipped bits"
        }
        1 => {
            let end = (at + 1 + random.below(2000)).min(size);
            bytes[at..end].fill_with(|| random.next() as u8);
            "random bytes"
        }
        2 => {
            bytes.truncate(at);
            "cut"
        }
        3 => {
            let start = at / 512 * 512;
            bytes[start..(start + 512).min(size)].fill(0);
            "zeroed sector"
        }
        4 => {
            for _ in 0..1 + random.below(3) {
                let start = random.below(size) / page * page;
                bytes[start..(start + page).min(size)].fill(0);
            }
            "zeroed pages"
        }
        5 => {
            let (from, to) = (at / page * page, random.below(size) / page * page);
            let copied = bytes[from..(from + page).min(size)].to_vec();
            let end = (to + copied.len()).min(size);
            bytes[to..end].copy_from_slice(&copied[..end - to]);
            "a page over another"
        }
        6 => {
            let start = at / page * page;
            let end = (start + 12).min(size);
            bytes[start..end].fill_with(|| random.next() as u8);
            "a page header"
        }
        7 => {
            let end = (at + 1 + random.below(3 * page)).min(size);
            bytes[at..end].fill(0);
            "zeroed bytes"
        }
        _ => {
            let end = (at + 1 + random.below(600)).min(size);
            bytes.drain(at..end);
            "missing bytes"
        }
    }
}

#[derive(Debug, Default)]
struct Count {
    damages: usize,
    rows: usize,
    exact: usize,
    older: usize,
    altered: usize,
    doubted: usize,
    lost: usize,
    complete: usize,
}

/// Whether the bytes that a row was read from differ from those that were there: then SQLite's format has nothing that could tell.
fn was_hit(original: &Original, damaged: &[u8], found: &Recovered, page: usize) -> bool {
    let differs = |start: usize, end: usize| {
        let then = original.file.get(start..end.min(original.file.len()));
        then != damaged.get(start..end.min(damaged.len()))
    };
    let start = (found.page as usize - 1) * page;
    let cell = !found.verified && differs(start + found.cell.start, start + found.cell.end);
    cell || found.chain.iter().any(|number| differs((*number as usize - 1) * page, *number as usize * page))
}

fn verify(original: &Original, damaged: &[u8], found: &Salvage, count: &mut Count, what: &str) {
    let last: BTreeMap<u64, RowKey> = original.rows.iter().map(|row| (row.inode, key(row))).collect();
    count.damages += 1;
    count.rows += original.rows.len();
    count.lost += found.lost.len();
    count.complete += usize::from(found.complete);
    for recovered in &found.rows {
        let row = key(&recovered.row);
        let written = original.history.get(&recovered.row.inode).is_some_and(|rows| rows.contains(&row));
        if last.get(&recovered.row.inode) == Some(&row) {
            count.exact += 1;
        } else if written {
            count.older += 1;
        } else {
            count.altered += 1;
            count.doubted += usize::from(!recovered.doubts.is_empty());
            assert!(
                was_hit(original, damaged, recovered, 4096),
                "{what}: {recovered:?} was never written, and nothing hit it"
            );
        }
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn sound_databases_are_read_to_the_last_row() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sample/config.db");
    for original in [Original::of_file(&sample), Original::grown(1, false), Original::grown(2, true)] {
        let found = salvage(&original.file, original.log.as_deref());
        assert_eq!(found.problems, []);
        assert!(found.complete && found.lost.is_empty());
        let rows: Vec<_> = found.rows.into_iter().map(|found| found.row).collect();
        assert_eq!(rows, original.rows);
    }
}

#[test]
fn whatever_the_damage_reading_ends_and_rows_are_genuine() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/sample/config.db");
    let originals = [Original::of_file(&sample), Original::grown(1, false), Original::grown(2, true)];
    let (damages, seed) = (number("PVE_CFS_DAMAGES", 400), number("PVE_CFS_SEED", 1));
    let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
    for trial in seed..seed + damages {
        let mut random = Random(trial);
        let original = &originals[random.below(3)];
        let (mut file, mut log) = (original.file.clone(), original.log.clone());
        let mut what = "no log";
        match &mut log {
            Some(_) if random.below(8) == 0 => log = None,
            Some(log) if random.below(2) == 0 => {
                what = damage(&mut random, log, 4096 + 24);
                if random.below(3) == 0 {
                    damage(&mut random, &mut file, 4096);
                }
            }
            _ => what = damage(&mut random, &mut file, 4096),
        }
        let found = salvage(&file, log.as_deref());
        let name = format!("damage {trial}, {what}");
        verify(original, &file, &found, counts.entry(what).or_default(), &name);
        // the rows can be repaired to a tree that the reference accepts
        let rows: Vec<Row> = found.rows.iter().map(|found| found.row.clone()).collect();
        let planned = plan(&rows);
        assert!(!pve_cfs::database::would_refuse(&planned.remaining), "{name}: {:?}", planned.remaining);
        // what SQLite makes of it is an error or rows, never a panic
        if let Ok((database, findings)) = Database::from_bytes(Path::new("damaged"), file) {
            let _ = (database.check(), findings);
        }
    }
    eprintln!(
        "{:<20} {:>8} {:>8} {:>8} {:>7} {:>8} {:>8} {:>7} {:>9}",
        "damage", "cases", "rows", "as last", "older", "altered", "doubted", "lost", "complete"
    );
    for (what, c) in &counts {
        eprintln!(
            "{what:<20} {:>8} {:>8} {:>7.2}% {:>6.2}% {:>8} {:>8} {:>7} {:>9}",
            c.damages,
            c.rows,
            100.0 * c.exact as f64 / c.rows as f64,
            100.0 * c.older as f64 / c.rows as f64,
            c.altered,
            c.doubted,
            c.lost,
            c.complete
        );
    }
    let (exact, rows): (usize, usize) =
        counts.values().fold((0, 0), |sum, count| (sum.0 + count.exact, sum.1 + count.rows));
    assert!(exact * 10 > rows * 7, "only {exact} of {rows} rows were read as they were");
}
