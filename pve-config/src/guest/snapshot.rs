// SPDX-License-Identifier: MIT OR Apache-2.0
//! What happens to a configuration when a snapshot is made, rolled back to, or removed.

use bstr::{BStr, BString};

use super::section::{Section, is_truthy};
use super::{Config, Guest};

/// The name of a snapshot that a change asked for is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// There is no snapshot of that name.
    #[error("no snapshot {name:?} in the configuration")]
    Missing {
        /// The name.
        name: BString,
    },
    /// There is a snapshot of that name already.
    #[error("snapshot name {name:?} is already used; choose another")]
    Exists {
        /// The name.
        name: BString,
    },
    /// The name does not follow the rules: a letter, then letters, digits, `_` and `-`, 2 to 40 characters, and neither
    /// `current` nor, in any case, `pending`.
    #[error(
        "{name:?} cannot name a snapshot; use a letter, then letters, digits, `_` or `-`, 2 to 40 in all"
    )]
    Name {
        /// The name.
        name: BString,
    },
    /// A lock stands in the way.
    #[error("the configuration is locked ({lock})")]
    Locked {
        /// Value of the option `lock`.
        lock: BString,
    },
    /// The lock or the state of the snapshot is not the one that this step follows.
    #[error("snapshot {name:?} is not being made (state {state:?}, lock {lock:?})")]
    State {
        /// The name.
        name: BString,
        /// The snapshot's `snapstate`, empty without one.
        state: BString,
        /// Value of the option `lock`, empty without one.
        lock: BString,
    },
}

/// What a new snapshot is given beside the copied options.
#[derive(Debug, Clone, Default)]
pub struct NewSnapshot<'n> {
    /// Time of creation, in seconds since 1970.
    pub time: u64,
    /// Description; an empty one and `0` count as none.
    pub description: Option<&'n BStr>,
    /// The saved state of a running VM: options such as `vmstate` and `runningmachine` with their values.
    pub state: Vec<(&'n str, BString)>,
}

/// Whether the option is left out when options are copied between the main section and a snapshot.
fn stays_behind(key: &BStr) -> bool {
    let fixed: [&[u8]; 6] = [b"snapstate", b"snaptime", b"vmstate", b"lock", b"digest", b"description"];
    fixed.contains(&&**key) || is_unused_key(key)
}

/// Whether the key is `unused` and digits.
pub(super) fn is_unused_key(key: &[u8]) -> bool {
    let digits = key.strip_prefix(b"unused");
    digits.is_some_and(|digits| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit))
}

/// Whether the name may be given to a new snapshot (spec: vm-lifecycle, "Snapshots"). Names in files are not so limited.
#[must_use]
pub fn is_snapshot_name<N: AsRef<[u8]>>(name: N) -> bool {
    let name = name.as_ref();
    let plain = name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let reserved = name == b"current" || name.eq_ignore_ascii_case(b"pending");
    plain && name.first().is_some_and(u8::is_ascii_alphabetic) && (2..=40).contains(&name.len()) && !reserved
}

impl<'a, G: Guest> Section<'a, G> {
    /// The options that go along when this section becomes a snapshot, or this snapshot the main section: all but
    /// `snapstate`, `snaptime`, `vmstate`, `lock`, `digest`, `description` and `unusedN`
    /// (spec: qemu-conf, "Snapshots and unused volumes").
    #[must_use]
    pub fn snapshot_copy(&self) -> Section<'a, G> {
        let mut copy = self.clone();
        copy.retain(|key, _| !stays_behind(key));
        copy
    }
}

impl<'a, G: Guest> Config<'a, G> {
    /// The first step of making a snapshot: copies the main section, marks the copy as being prepared, locks the
    /// configuration. Returns the snapshots that named the new one as their parent; they lose that parent.
    ///
    /// # Errors
    ///
    /// A bad or used name, or a lock.
    pub fn prepare_snapshot<N: AsRef<[u8]>>(
        &mut self,
        name: N,
        new: NewSnapshot<'_>,
    ) -> Result<Vec<BString>, SnapshotError> {
        let name = BString::from(name.as_ref());
        if !is_snapshot_name(&name) {
            return Err(SnapshotError::Name { name });
        }
        if let Some(lock) = self.main.truthy("lock") {
            return Err(SnapshotError::Locked { lock: lock.to_owned() });
        }
        if self.snapshot(&name).is_some() {
            return Err(SnapshotError::Exists { name });
        }
        let mut orphans = Vec::new();
        for (other, snapshot) in self.snapshots_mut() {
            if snapshot.get("parent") == Some(BStr::new(&name)) {
                snapshot.remove("parent");
                orphans.push(other.to_owned());
            }
        }
        let mut snapshot = self.main.snapshot_copy();
        snapshot.set("snapstate", "prepare");
        snapshot.set("snaptime", new.time.to_string());
        if let Some(text) = new.description.filter(|text| is_truthy(text)) {
            snapshot.set("description", text);
        }
        for (key, value) in new.state {
            snapshot.set(key, value);
        }
        self.main.set("lock", "snapshot");
        self.insert_snapshot(name, snapshot);
        Ok(orphans)
    }

    /// The last step of making a snapshot: takes mark and lock away and makes it the parent of the main section.
    ///
    /// # Errors
    ///
    /// The snapshot is missing, or not being prepared under the lock `snapshot`.
    pub fn commit_snapshot<N: AsRef<[u8]>>(&mut self, name: N) -> Result<(), SnapshotError> {
        let name = BString::from(name.as_ref());
        let lock = self.main.get("lock").map(BStr::to_owned).unwrap_or_default();
        let Some(snapshot) = self.snapshot_mut(&name) else { return Err(SnapshotError::Missing { name }) };
        let state = snapshot.get("snapstate").map(BStr::to_owned).unwrap_or_default();
        if state != "prepare" || lock != "snapshot" {
            return Err(SnapshotError::State { name, state, lock });
        }
        snapshot.remove("snapstate");
        self.main.remove("lock");
        self.main.set("parent", name);
        Ok(())
    }

    /// Makes a snapshot's options the main section. Of the old one only `unusedN` and the description survive; pending
    /// and special sections vanish, the snapshots stay (spec: qemu-conf, "Apply snapshot to main").
    ///
    /// What a rollback does beyond that — the new `parent`, the machine to start with, volumes that become unused —
    /// depends on the state of the guest and is not done here.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Missing`]
    pub fn apply_snapshot<N: AsRef<[u8]>>(&mut self, name: N) -> Result<(), SnapshotError> {
        let name = name.as_ref();
        let snapshot = self.snapshot(name).ok_or_else(|| SnapshotError::Missing { name: name.into() })?;
        let mut main = snapshot.snapshot_copy();
        let old = std::mem::take(&mut self.main);
        for entry in old.entries().iter().filter(|entry| entry.is("description") || is_unused_key(&entry.key))
        {
            main.put(entry.clone());
        }
        self.main = main;
        self.pending = Section::new();
        self.clear_special();
        self.forget_digest();
        Ok(())
    }

    /// Removes a snapshot and makes its parent the parent of everything that hung on it. Returns its section, whose
    /// volumes the caller has to take care of.
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Missing`]
    pub fn remove_snapshot<N: AsRef<[u8]>>(&mut self, name: N) -> Result<Section<'a, G>, SnapshotError> {
        let name = BStr::new(name.as_ref());
        let removed =
            self.take_snapshot(name).ok_or_else(|| SnapshotError::Missing { name: name.to_owned() })?;
        let parent = removed.truthy("parent").map(BStr::to_owned);
        let children = self.snapshots_mut().map(|(_, section)| section);
        let mut relink = |section: &mut Section<'a, G>| {
            if section.get("parent") == Some(name) {
                match &parent {
                    Some(parent) => drop(section.set("parent", parent.clone())),
                    None => drop(section.remove("parent")),
                }
            }
        };
        children.for_each(&mut relink);
        relink(&mut self.main);
        Ok(removed)
    }

    /// The section of a snapshot, as a configuration to be read (spec: qemu-conf, `load snapshot NAME`).
    ///
    /// # Errors
    ///
    /// [`SnapshotError::Missing`]
    pub fn require_snapshot<N: AsRef<[u8]>>(&self, name: N) -> Result<&Section<'a, G>, SnapshotError> {
        let name = name.as_ref();
        self.snapshot(name).ok_or_else(|| SnapshotError::Missing { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::VmConfig;

    fn written(config: &VmConfig<'_>) -> String {
        String::from_utf8(config.to_bytes().unwrap()).unwrap()
    }

    #[test]
    fn making_one() {
        let text = b"#mine\ncores: 2\nparent: s1\nunused0: local:u\n[s1]\ncores: 1\nparent: s2\n";
        let (mut config, _) = VmConfig::parse(text);
        let state = vec![("vmstate", BString::from("local:vm-100-state-s2"))];
        let new = NewSnapshot { time: 5, description: Some("why".into()), state };
        assert_eq!(config.prepare_snapshot("s2", new), Ok(vec![BString::from("s1")]));
        assert_eq!(
            written(&config),
            "#mine\ncores: 2\nlock: snapshot\nparent: s1\nunused0: local:u\n\n[s1]\ncores: 1\n\n\
             [s2]\n#why\ncores: 2\nparent: s1\nsnapstate: prepare\nsnaptime: 5\nvmstate: local:vm-100-state-s2\n"
        );
        assert!(matches!(
            config.prepare_snapshot("s3", NewSnapshot::default()),
            Err(SnapshotError::Locked { .. })
        ));
        assert!(matches!(config.commit_snapshot("s1"), Err(SnapshotError::State { .. })));
        config.commit_snapshot("s2").unwrap();
        assert!(written(&config).starts_with("#mine\ncores: 2\nparent: s2\nunused0"));
        assert!(matches!(
            config.prepare_snapshot("s2", NewSnapshot::default()),
            Err(SnapshotError::Exists { .. })
        ));
        for name in ["current", "Pending", "a", "1a", "a.b", &"a".repeat(41)] {
            let refused = config.prepare_snapshot(name, NewSnapshot::default());
            assert!(matches!(refused, Err(SnapshotError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn removing_one_joins_its_neighbours() {
        let text = b"parent: s2\n[s1]\n[s2]\nparent: s1\n[s3]\nparent: s2\n";
        let (mut config, _) = VmConfig::parse(text);
        assert_eq!(config.remove_snapshot("s2").unwrap().get("parent"), Some("s1".into()));
        assert_eq!(written(&config), "parent: s1\n\n[s1]\n\n[s3]\nparent: s1\n");
        config.remove_snapshot("s1").unwrap();
        assert_eq!(written(&config), "\n[s3]\n");
        assert!(matches!(config.remove_snapshot("s1"), Err(SnapshotError::Missing { .. })));
    }

    #[test]
    fn going_back_keeps_unused_volumes_and_the_description() {
        let text = b"#mine\ncores: 2\nunused1: local:u\n[PENDING]\ncores: 3\n[special:cloudinit]\n\
            [s1]\n#its\ncores: 1\nlock: x\nsnaptime: 5\nunused0: local:v\nvmstate: local:s\n";
        let (mut config, _) = VmConfig::parse(text);
        config.apply_snapshot("s1").unwrap();
        assert_eq!(config.sections().count(), 3);
        assert!(written(&config).starts_with("#mine\ncores: 1\nunused1: local:u\n\n[s1]\n#its\n"));
        assert_eq!(config.digest(), None);
        assert!(config.apply_snapshot("s2").is_err());
    }
}
