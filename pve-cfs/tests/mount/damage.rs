// SPDX-License-Identifier: MIT OR Apache-2.0
//! Daemons that are killed while programs write: what was acknowledged is there, nothing is torn; and daemons that are asked to end.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::stat::stat;
use pve_cfs::Database;
use pve_cfs::mount::is_stale;

use crate::mounted::{Chance, Process, can_mount};

const WRITERS: usize = 4;

/// The files of one writer.
type Files = BTreeMap<String, Vec<u8>>;

/// What a writer knows: all that was acknowledged, and what there is if the last step was done although nobody said so.
struct Writer {
    acknowledged: Files,
    pending: Option<Files>,
}

impl Writer {
    /// Does one step, which is one change; false when the daemon is gone.
    fn step(&mut self, does: impl FnOnce() -> std::io::Result<()>, change: impl FnOnce(&mut Files)) -> bool {
        let mut after = self.acknowledged.clone();
        change(&mut after);
        self.pending = Some(after);
        let done = does().is_ok();
        if done && let Some(after) = self.pending.take() {
            self.acknowledged = after;
        }
        done
    }

    /// Works until the daemon is gone.
    fn work(&mut self, id: usize, mount: &Path, chance: &mut Chance) {
        loop {
            let name = format!("w{id}-{}", chance.below(6));
            let temporary = format!("w{id}-tmp");
            let path = mount.join(&name);
            let content = vec![b'a' + chance.below(26) as u8; 1 + chance.below(9000) as usize];
            let exists = self.acknowledged.contains_key(&name);
            let goes_on = match chance.below(4) {
                0 if exists => self.step(|| fs::remove_file(&path), |files| drop(files.remove(&name))),
                1 if exists => self.step(
                    || OpenOptions::new().write(true).open(&path)?.write_all_at(&content, 0),
                    |files| {
                        let old = files.entry(name.clone()).or_default();
                        old.resize(old.len().max(content.len()), 0);
                        old[..content.len()].copy_from_slice(&content);
                    },
                ),
                2 if exists => self.step(
                    || OpenOptions::new().write(true).truncate(true).open(&path).map(drop),
                    |files| files.entry(name.clone()).or_default().clear(),
                ),
                _ => {
                    let source = mount.join(&temporary);
                    // the temporary file may be there since the daemon before
                    let created = self.step(
                        || OpenOptions::new().write(true).create(true).truncate(true).open(&source).map(drop),
                        |files| drop(files.insert(temporary.clone(), Vec::new())),
                    );
                    created
                        && self.step(
                            || OpenOptions::new().write(true).open(&source)?.write_all_at(&content, 0),
                            |files| drop(files.insert(temporary.clone(), content.clone())),
                        )
                        && self.step(
                            || fs::rename(&source, &path),
                            |files| {
                                let moved = files.remove(&temporary).unwrap_or_default();
                                files.insert(name.clone(), moved);
                            },
                        )
                }
            };
            if !goes_on {
                return;
            }
        }
    }
}

fn is_mounted(path: &Path, folder: &Path) -> bool {
    stat(path).map(|found| found.st_dev) != stat(folder).map(|found| found.st_dev)
}

/// `PVE_TEST_KILLS` kills; without it as many as fit into a few seconds.
#[test]
fn what_was_acknowledged_survives_a_kill() {
    if !can_mount() {
        return;
    }
    let wanted: Option<u64> = std::env::var("PVE_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let (start, mut kills) = (Instant::now(), 0);
    let folder = tempfile::tempdir().unwrap();
    let mount = folder.path().join("pve");
    fs::create_dir(&mount).unwrap();
    let mut known: Vec<Files> = vec![Files::new(); WRITERS];
    let (mut steps_pending, mut steps_done) = (0, 0);
    while wanted.map_or(kills < 10 || start.elapsed() < Duration::from_secs(8), |wanted| kills < wanted) {
        let process = Process::start(folder.path());
        let mut chance = Chance(kills);
        let pause = Duration::from_micros(chance.below(25_000));
        let writers: Vec<Writer> = std::thread::scope(|scope| {
            let threads: Vec<_> = std::mem::take(&mut known)
                .into_iter()
                .enumerate()
                .map(|(id, acknowledged)| {
                    let (mount, mut chance) = (&mount, Chance(chance.next()));
                    scope.spawn(move || {
                        let mut writer = Writer { acknowledged, pending: None };
                        writer.work(id, mount, &mut chance);
                        writer
                    })
                })
                .collect();
            std::thread::sleep(pause);
            process.kill();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        kills += 1;
        assert!(is_stale(&mount), "a mount without its daemon is recognised");
        let (database, _) = Database::open_read_only(&folder.path().join("config.db")).unwrap();
        assert_eq!(database.check(), []);
        for (id, writer) in writers.into_iter().enumerate() {
            let prefix = format!("w{id}-");
            let found: Files = database
                .tree()
                .files()
                .filter(|(path, _)| path.starts_with(prefix.as_bytes()))
                .map(|(path, entry)| (path.to_string(), entry.content().to_vec()))
                .collect();
            let before = found == writer.acknowledged;
            let after = writer.pending.as_ref() == Some(&found);
            assert!(before || after, "kill {kills}: writer {id} lost or tore something");
            steps_done += usize::from(before);
            steps_pending += usize::from(!before);
            known.push(found);
        }
    }
    let stale = nix::mount::umount2(&mount, nix::mount::MntFlags::MNT_DETACH);
    stale.unwrap();
    eprintln!(
        "{kills} kills; last step not done {steps_done} times, done but not acknowledged {steps_pending} times"
    );
}

#[test]
fn a_signal_ends_it_cleanly() {
    if !can_mount() {
        return;
    }
    use nix::sys::signal::{Signal, kill};
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let folder = tempfile::tempdir().unwrap();
        let mount = folder.path().join("pve");
        fs::create_dir(&mount).unwrap();
        let process = Process::start(folder.path());
        fs::write(mount.join("storage.cfg"), "dir: local\n").unwrap();
        assert!(is_mounted(&mount, folder.path()));
        kill(nix::unistd::Pid::from_raw(process.id()), signal).unwrap();
        assert!(process.ended_well(), "{signal}");
        assert!(!is_mounted(&mount, folder.path()) && !is_stale(&mount));
        assert!(!folder.path().join("config.db-wal").exists(), "the log is in the database");
        let (database, _) = Database::open_read_only(&folder.path().join("config.db")).unwrap();
        assert_eq!(database.tree().get(b"storage.cfg").unwrap().content(), b"dir: local\n");
    }
}
