// SPDX-License-Identifier: MIT OR Apache-2.0
//! What must hold of any bytes read as storage.cfg. Called by the fuzz target, and by `tests/section_files.rs` with the
//! stable toolchain.

use bstr::BStr;
use pve_config::section::{Section, Value};
use pve_config::storage::{Rehearsal, StorageConfig, Update, delete, update};
use pve_volid::{ContentType, ImageFormat};

/// Storages that are tried, at most.
const TRIED: usize = 12;

/// Checks `text` as storage.cfg.
pub(crate) fn check(text: &[u8]) {
    let config = StorageConfig::parse(text);
    agrees(&config);
    facts(&config);
    // the root directory in other words (`/.`) is written as `/`, which is no path of a storage when it is read again
    if config.storages().all(|storage| storage.path() != Some(BStr::new("/"))) {
        settles(&config);
        changes(text, &config);
    }
    let owned = config.clone().into_owned();
    assert_eq!(owned.digest(), config.digest());
    assert_eq!(owned.write().ok(), config.write().ok());
    assert_eq!(owned.unknown().count(), config.unknown().count());
}

/// The storages say what the generic view says.
fn agrees(config: &StorageConfig<'_>) {
    let sections = config.sections();
    assert_eq!(config.storages().count(), sections.sections().count());
    assert_eq!(sections.diagnostics(), config.diagnostics());
    for (storage, (id, section)) in config.storages().zip(sections.sections()) {
        assert_eq!(
            (storage.id().as_str(), storage.kind().as_str()),
            (&*id.to_string(), &*section.kind().to_string())
        );
        for (key, value) in section.properties().filter(|(key, _)| *key != "type") {
            assert_eq!(storage.value(&key.to_string()).as_ref(), Some(value), "{id}: {key}");
        }
        let number_of = section.properties().filter(|(key, _)| *key != "type").count();
        assert_eq!(storage.properties().count(), number_of);
        assert!(config.get(id).is_some_and(|found| found.kind() == storage.kind()));
    }
    assert!(config.get(b"local").is_some_and(|local| local.path() == Some(BStr::new("/var/lib/vz"))));
}

/// Everything that can be asked of a storage has an answer.
fn facts(config: &StorageConfig<'_>) {
    for storage in config.storages() {
        assert!(storage.backend().is_some());
        assert!(storage.formats().valid.contains(&storage.formats().default));
        for content in ContentType::ALL {
            let has_dir = storage.content_dir(*content).is_some();
            assert!(!has_dir || storage.path().is_some());
        }
        let _ = (storage.prune_backups(), storage.bwlimit(), storage.mount_point(), storage.base_storage());
        let _ = (storage.max_protected_backups(true), storage.preallocation(ImageFormat::Qcow2));
        assert_eq!(storage.is_enabled_on("pve1"), {
            let mut nodes = storage.nodes().into_iter().flatten();
            !storage.is_disabled() && (storage.nodes().is_none() || nodes.any(|node| node == "pve1"))
        });
    }
}

/// What is written reads back, and from the second time on it is written the same again: a list with NUL between its
/// items is written with commas, which may stand in the items too.
fn settles(config: &StorageConfig<'_>) {
    let Ok(written) = config.write() else {
        assert!(config.broken().next().is_some());
        return;
    };
    let again = StorageConfig::parse(&written);
    let Ok(second) = again.write() else { panic!("{written} reads as something broken") };
    assert_eq!(StorageConfig::parse(&second).write().as_ref(), Ok(&second));
    assert_eq!(again.storages().count(), config.storages().count());
    assert_eq!(again.unknown().count(), 0);
}

/// A change is made or refused, and changes nothing else.
fn changes(text: &[u8], config: &StorageConfig<'_>) {
    let Ok(before) = config.write() else { return };
    for storage in config.storages().take(TRIED) {
        let id = storage.id().as_str().as_bytes();
        let mut set = Section::new(BStr::new(storage.kind().as_str()));
        set.set(BStr::new("nodes"), Value::text(b"n2,n1"));
        let change = Update { set, delete: b"", digest: "" };
        if let Ok(changed) = update(text, id, change, &mut Rehearsal::default()) {
            let after = StorageConfig::parse(&changed.text);
            // `local` is on every node, whatever the file says
            let is_on = after.get(id).is_some_and(|storage| storage.is_enabled_on("n1"));
            assert!(is_on || storage.is_disabled());
            assert_eq!(after.storages().count(), config.storages().count());
        }
        if let Ok(changed) = delete(text, id, &mut Rehearsal::default()) {
            let after = StorageConfig::parse(&changed.text);
            assert!(after.get(id).is_none() || id == b"local");
        }
    }
    assert_eq!(config.write().as_ref(), Ok(&before));
}
