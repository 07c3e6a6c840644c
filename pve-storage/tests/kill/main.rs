// SPDX-License-Identifier: MIT OR Apache-2.0
//! Operations whose process is killed at every step: afterwards there is the old state, the new one, or a leftover
//! that the audit names.
//!
//! The operation runs in a process of its own, which kills itself (`SIGKILL`, so nothing is tidied up) before, during
//! or after each of its steps in turn.
#![cfg(test)]

mod case;
mod mortal;
mod tree;

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use bstr::{BString, ByteSlice};
use case::{CASES, Case, local};
use mortal::{Moment, Mortal};
use pve_config::inventory::Inventory;
use pve_storage::audit::{Finding, NodeReport, StorageReport, Trouble, audit};
use tree::tree;

/// No operation has that many steps.
const TOO_MANY: usize = 30;

/// What can be told of a storage: its files, and the snapshots inside one.
type State = (BTreeMap<String, u64>, Vec<BString>);

fn state(case: &Case, path: &Path) -> State {
    (tree(path), case.snapshots(path))
}

#[test]
fn killed_on_a_directory() {
    if !have(&["qemu-img", "find"]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    kill_all(&["dir", "chain"], folder.path());
}

#[test]
fn killed_on_btrfs() {
    if !have(&["qemu-img", "find", "btrfs", "mkfs.btrfs", "losetup"]) {
        return;
    }
    if nix::unistd::geteuid().as_raw() != 0 {
        skip("needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (image, point) = (folder.path().join("image"), folder.path().join("mnt"));
    std::fs::File::create(&image).unwrap().set_len(1 << 30).unwrap();
    std::fs::create_dir(&point).unwrap();
    let run = |program: &str, words: &[&Path]| {
        Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
    };
    if !run("mkfs.btrfs", &["-q".as_ref(), &image])
        || !run("mount", &["-o".as_ref(), "loop".as_ref(), &image, &point])
    {
        skip("btrfs cannot be made or mounted");
        return;
    }
    let outcome = std::panic::catch_unwind(|| kill_all(&["btrfs"], &point));
    assert!(run("umount", &[&point]), "cannot unmount {}", point.display());
    if let Err(failure) = outcome {
        std::panic::resume_unwind(failure);
    }
}

/// Files and snapshots, whatever their size.
fn names((files, snapshots): &State) -> (Vec<&String>, &[BString]) {
    (files.keys().collect(), snapshots)
}

/// Whether the guest's disk is an image in which nothing is wrong but that some space is unused: what `qemu-img` was
/// about when it was killed. Giving that back, which touches no data, makes it whole.
fn is_sound(case: &Case, path: &Path) -> bool {
    let Some(file) = case.disk().strip_prefix("store:").filter(|file| file.ends_with(".qcow2")) else {
        return false;
    };
    let file = path.join("images").join(file);
    let check = |words: &[&str]| {
        let checked = Command::new("qemu-img").arg("check").args(words).arg(&file).output().unwrap();
        checked.status.success()
    };
    check(&[]) || check(&["-r", "leaks"]) && check(&[])
}

fn have(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| {
        !["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|dir| Path::new(dir).join(program).exists())
    });
    missing.is_none_or(|missing| skip(&format!("{missing} is missing")))
}

fn skip(why: &str) -> bool {
    assert!(std::env::var("PVE_TEST_SYSTEM").as_deref() != Ok("1"), "cannot run here: {why}");
    eprintln!("SKIPPED: {why}");
    false
}

/// Kills every operation on these storages at every step.
fn kill_all(kinds: &[&str], folder: &Path) {
    for (number, case) in CASES.iter().enumerate().filter(|(_, case)| kinds.contains(&case.kind)) {
        let fresh = |name: &str| {
            let path = folder.join(format!("{number}-{name}"));
            std::fs::create_dir(&path).unwrap();
            case.prepare(&path).unwrap();
            path
        };
        let whole = fresh("whole");
        let old = state(case, &whole);
        case.act(&local(&whole), &whole).unwrap();
        let new = state(case, &whole);
        assert_ne!(old, new, "{}: does nothing", case.name);

        let mut told = BTreeMap::new();
        let mut steps = 0;
        for fatal in 1..TOO_MANY {
            let deaths = Moment::ALL.map(|moment| {
                let path = fresh(&format!("{fatal}-{moment:?}"));
                let died = run_child(number, &path, fatal, moment);
                let found = state(case, &path);
                if !died {
                    assert!(found == new, "{}: {found:?} is not the new state", case.name);
                    return false;
                }
                let verdict = if found == old {
                    "old"
                } else if found == new {
                    "new"
                } else if names(&found) == names(&old) && is_sound(case, &path) {
                    "old, with space leaked in the image"
                } else if names(&found) == names(&new) && names(&new) != names(&old) && is_sound(case, &path)
                {
                    "new, with space leaked in the image"
                } else {
                    check_named(case, &path, &old.0, &found.0);
                    "leftover"
                };
                *told.entry(verdict).or_insert(0) += 1;
                case.next(&path).unwrap();
                true
            });
            match deaths {
                [true, true, true] => steps += 1,
                [false, false, false] => break,
                _ => panic!("{}: does not take the same steps each time", case.name),
            }
        }
        assert!(steps > 0 && steps + 1 < TOO_MANY, "{}: {steps} steps", case.name);
        // templates cannot be removed as long as they are immutable
        let _ = Command::new("chattr").args(["-R", "-f", "-i"]).arg(folder).status();
        eprintln!("{} {}: killed at {steps} steps, found {told:?}", case.kind, case.name);
    }
}

/// Everything that came or went is named by a finding of the audit.
fn check_named(case: &Case, path: &Path, old: &BTreeMap<String, u64>, found: &BTreeMap<String, u64>) {
    let names = findings(case, path);
    let came = found.iter().filter(|(name, size)| old.get(*name) != Some(*size));
    let went = old.iter().filter(|(name, _)| !found.contains_key(*name));
    for (name, _) in came.chain(went) {
        let name = name.strip_prefix("images/").unwrap_or(name);
        let is_named = names.iter().any(|named| {
            name.as_bytes().strip_prefix(named.as_bytes()).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        });
        assert!(
            is_named,
            "{} {}: {name} is not named by the audit: {names:?}, {found:?}",
            case.kind, case.name
        );
    }
}

/// The names of what the audit finds odd on the storage.
fn findings(case: &Case, path: &Path) -> Vec<BString> {
    let files = Command::new("find")
        .arg(path)
        .args(["-mindepth", "1", "-maxdepth", "3", "-printf", "%y %s %P\\n"])
        .output()
        .unwrap();
    let (storage_cfg, guest) = (case.storage_cfg(path), case.guest());
    let configs =
        [("storage.cfg", storage_cfg.as_bytes()), ("nodes/here/qemu-server/100.conf", guest.as_bytes())];
    let report = NodeReport {
        node: "here".into(),
        storages: [("store".to_owned(), StorageReport::Files(files.stdout.into()))].into(),
        ..NodeReport::default()
    };
    let found = audit(&Inventory::new(configs), &[report]).unwrap();
    // what is told of a snapshot that nobody knows is told of its volume, whose file may be half made
    let volume = |finding: &Finding| match &finding.trouble {
        Trouble::UnknownSnapshot { volume, .. } | Trouble::SnapshotOfNothing { volume, .. } => {
            let (directory, _) = finding.name.rsplit_once_str("/")?;
            Some(BString::from([directory, b"/", volume.as_bytes()].concat()))
        }
        _ => None,
    };
    let volumes: Vec<BString> = found.findings.iter().filter_map(volume).collect();
    found.findings.into_iter().map(|finding| finding.name).chain(volumes).collect()
}

/// Runs an operation in a process of its own; whether it was killed.
fn run_child(case: usize, path: &Path, fatal: usize, moment: Moment) -> bool {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"])
        .env("KILL_CASE", case.to_string())
        .env("KILL_PATH", path)
        .env("KILL_STEP", fatal.to_string())
        .env("KILL_MOMENT", format!("{moment:?}"))
        .output()
        .unwrap();
    match output.status.signal() {
        Some(signal) => {
            assert_eq!(signal, nix::libc::SIGKILL);
            true
        }
        None => {
            assert!(output.status.success(), "{}", output.stderr.as_bstr());
            false
        }
    }
}

#[test]
#[ignore = "run by the other tests"]
fn child() {
    let variable = |name: &str| std::env::var(name).expect("this is run by the other tests");
    let case = &CASES[variable("KILL_CASE").parse::<usize>().unwrap()];
    let moment = variable("KILL_MOMENT");
    let moment = Moment::ALL.into_iter().find(|known| format!("{known:?}") == moment).unwrap();
    let path = variable("KILL_PATH");
    let path = Path::new(&path);
    let host = Mortal::new(local(path), path, variable("KILL_STEP").parse().unwrap(), moment);
    case.act(&host, path).unwrap();
}
