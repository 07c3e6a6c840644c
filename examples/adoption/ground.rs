// SPDX-License-Identifier: MIT OR Apache-2.0
//! The node that the story happens on: a database of its own, and a storage.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bstr::{BStr, BString};
use pve_config::storage::StorageConfig;
use pve_qemu::node::{Chance, ConfigStore, DatabaseStore, Facts, NoMachines, Node, StoredVolumes};
use pve_storage::{Event, LocalHost, Session, Storages};
use pve_volid::{VolumeId, Wanted};
use tempfile::TempDir;

use crate::Outcome;
use crate::story::{OTHER, VM};

/// Name of the node.
pub(crate) const NODE: &str = "pve1";

/// What volumes are made of.
pub(crate) enum Backing {
    /// Files in a directory of the node's folder.
    Directory,
    /// Logical volumes.
    Thin { group: String, pool: String },
}

/// A node in a folder.
pub(crate) struct Ground {
    folder: PathBuf,
    /// Removes the folder in the end, if nobody wants to keep it.
    temporary: Option<TempDir>,
    pub(crate) backing: Backing,
    pub(crate) configs: DatabaseStore,
    pub(crate) storages: Storages,
    pub(crate) host: LocalHost,
    facts: Facts,
}

impl Ground {
    /// Makes the node: the database with its first files.
    pub(crate) fn make(backing: Backing, keep: Option<&Path>) -> Outcome<Self> {
        let (folder, temporary) = match keep {
            Some(folder) => {
                fs::create_dir(folder)
                    .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
                (fs::canonicalize(folder)?, None)
            }
            None => {
                let folder = tempfile::Builder::new().prefix("adoption-").tempdir()?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let path = folder.display();
        let storage = match &backing {
            Backing::Directory => format!("dir: store\n\tpath {path}/store\n\tcontent images,rootdir\n"),
            Backing::Thin { group, pool } => {
                format!("lvmthin: local-lvm\n\tvgname {group}\n\tthinpool {pool}\n\tcontent images,rootdir\n")
            }
        };
        // every node has a storage `local`, and this machine's is none of the story's business
        let storage_cfg = format!("{storage}\ndir: local\n\tpath /var/lib/vz\n\tcontent iso\n\tdisable 1\n");
        let configs = DatabaseStore::open(&folder.join("config.db"), NODE)?;
        configs.put("datacenter.cfg", "keyboard: de\n".into())?;
        configs.put("storage.cfg", storage_cfg.as_str().into())?;
        let host = LocalHost::new(|event| {
            if let Event::Warning(text) = event {
                anstream::eprintln!("note: {text}");
            }
        });
        let facts = Facts::of_cluster(&configs)?;
        let ground = Ground {
            host: host.with_locks_in(folder.join("lock")),
            storages: Storages::from_config(&StorageConfig::parse(storage_cfg.as_bytes())),
            temporary,
            folder,
            backing,
            configs,
            facts,
        };
        let there = ground.volumes_of_the_story()?;
        if let Some(volume) = there.first() {
            return Err(
                format!("{volume} exists: the story needs the ids {VM} and {OTHER} for itself").into()
            );
        }
        Ok(ground)
    }

    /// The folder with everything that is not a logical volume.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the folder stays.
    pub(crate) fn is_kept(&self) -> bool {
        self.temporary.is_none()
    }

    /// The storage that volumes are on.
    pub(crate) fn storage(&self) -> &'static str {
        match self.backing {
            Backing::Directory => "store",
            Backing::Thin { .. } => "local-lvm",
        }
    }

    /// What a file name of a volume ends in.
    pub(crate) fn suffix(&self) -> &'static str {
        match self.backing {
            Backing::Directory => ".raw",
            Backing::Thin { .. } => "",
        }
    }

    /// A session on this machine.
    pub(crate) fn session(&self) -> Session<'_> {
        Session::new(&self.storages, &self.host, NODE)
    }

    /// Lets `act` work on the node.
    pub(crate) fn on<T>(&self, act: impl FnOnce(Node<'_>) -> T) -> T {
        let volumes = StoredVolumes::new(self.session(), self.facts.resolver.clone());
        act(Node {
            configs: &self.configs,
            volumes: &volumes,
            machines: &NoMachines,
            chance: &Fate,
            facts: &self.facts,
        })
    }

    /// The text of the VM's configuration.
    pub(crate) fn text(&self) -> Outcome<Option<BString>> {
        Ok(self.configs.read(VM.try_into()?)?.map(|(_, text)| text))
    }

    /// Removes what the story made outside of the folder.
    pub(crate) fn clean_up(&self) -> Outcome {
        for volume in self.volumes_of_the_story()? {
            self.session().free(volume.as_bstr())?;
        }
        Ok(())
    }

    fn volumes_of_the_story(&self) -> Outcome<Vec<VolumeId>> {
        let images = self.session().images(self.storage(), Wanted::Everything)?;
        let ids = [VM, OTHER].map(|id| BString::from(id.to_string()));
        let ours =
            images.into_iter().filter(|image| image.owner.as_ref().is_some_and(|owner| ids.contains(owner)));
        Ok(ours.map(|image| image.volid).collect())
    }
}

/// The story is told alike every time: what is drawn by lot elsewhere is fixed here.
struct Fate;

impl Chance for Fate {
    fn now(&self) -> i64 {
        1_767_225_600
    }

    fn uuid(&self) -> String {
        "6f7a1c2e-9999-4d0b-8a3e-5b1f0c9d7e42".into()
    }

    fn mac(&self, prefix: &str) -> String {
        format!("{prefix}:99:99:01")
    }

    fn crypt(&self, password: &[u8]) -> BString {
        BStr::new(password).to_owned()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
