// SPDX-License-Identifier: MIT OR Apache-2.0
//! All storages of a cluster.

use bstr::{BStr, BString, ByteSlice};
use indexmap::IndexMap;
use pve_config::storage::StorageConfig;

use crate::error::{Error, Result};
use crate::storage::Storage;

/// The storages of a cluster, in the order of storage.cfg.
#[derive(Debug, Clone, Default)]
pub struct Storages {
    by_id: IndexMap<String, Storage>,
}

impl Storages {
    /// The storages of a parsed storage.cfg. Sections that are broken or of unknown type are not among them.
    ///
    /// ```
    /// use pve_config::storage::StorageConfig;
    /// use pve_storage::Storages;
    ///
    /// let config = StorageConfig::parse(b"lvmthin: local-lvm\n\tvgname pve\n\tthinpool data\n");
    /// let storages = Storages::from_config(&config);
    /// assert_eq!(storages.get("local-lvm").unwrap().get("vgname").unwrap(), "pve");
    /// assert!(storages.get("local").is_some(), "every cluster has it");
    /// ```
    #[must_use]
    pub fn from_config(config: &StorageConfig<'_>) -> Self {
        let storages = config.storages().map(|section| {
            let storage = Storage::new(section.id().to_owned(), section.kind().as_str());
            section
                .properties()
                .fold(storage, |storage, (name, value)| storage.with(&name.to_str_lossy(), value))
        });
        storages.collect()
    }

    /// The storage of this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Storage> {
        self.by_id.get(id)
    }

    /// The storage of this id.
    ///
    /// # Errors
    /// [`Error::NoSuchStorage`].
    pub fn require(&self, id: &str) -> Result<&Storage> {
        self.get(id).ok_or_else(|| Error::NoSuchStorage(BString::from(id)))
    }

    /// Puts a storage in, replacing one of the same id.
    pub fn insert(&mut self, storage: Storage) {
        self.by_id.insert(storage.id().as_str().to_owned(), storage);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Storage> {
        self.by_id.values()
    }

    /// The storages for which a property has a value (`vgname`, `target`): whoever uses a backend twice finds it
    /// here.
    pub fn with_value<'a>(&'a self, property: &'a str, value: &'a BStr) -> impl Iterator<Item = &'a Storage> {
        self.iter().filter(move |storage| storage.get(property) == Some(value))
    }
}

impl FromIterator<Storage> for Storages {
    fn from_iter<I: IntoIterator<Item = Storage>>(storages: I) -> Self {
        let mut all = Storages::default();
        for storage in storages {
            all.insert(storage);
        }
        all
    }
}
