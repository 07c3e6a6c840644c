// SPDX-License-Identifier: MIT OR Apache-2.0
//! All storages of a cluster.

use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use indexmap::IndexMap;
use pve_config::section::SkipReason;
use pve_config::storage::StorageConfig;
use pve_volid::StorageId;

use crate::error::{Error, Result};
use crate::plugin::Plugin;
use crate::storage::Storage;

/// The storages of a cluster, in the order of storage.cfg.
#[derive(Debug, Clone, Default)]
pub struct Storages {
    by_id: IndexMap<String, Storage>,
}

impl Storages {
    /// The storages of a parsed storage.cfg. Those of types that are not built in come last; they answer every
    /// operation with an error that names the type.
    ///
    /// ```
    /// use pve_config::storage::StorageConfig;
    /// use pve_storage::Storages;
    ///
    /// let text = b"lvmthin: local-lvm\n\tvgname pve\n\tthinpool data\n\nglusterfs: old\n\tvolume v\n";
    /// let storages = Storages::from_config(&StorageConfig::parse(text));
    /// let ids: Vec<&str> = storages.iter().map(|storage| storage.id().as_str()).collect();
    /// assert_eq!(ids, ["local-lvm", "local", "old"]);
    /// let error = storages.require("old")?.volume("vm-100-disk-0").unwrap_err();
    /// assert_eq!(error.to_string(), "storage 'old' has type 'glusterfs', which no plugin here serves");
    /// # Ok::<(), pve_storage::Error>(())
    /// ```
    #[must_use]
    pub fn from_config(config: &StorageConfig<'_>) -> Self {
        Self::from_config_with(config, |_| None)
    }

    /// The storages of a parsed storage.cfg; `plugins` knows plugins of types that are not built in.
    #[must_use]
    pub fn from_config_with(
        config: &StorageConfig<'_>,
        plugins: impl Fn(&BStr) -> Option<Arc<dyn Plugin>>,
    ) -> Self {
        let mut storages: Storages = config.storages().map(|entry| configured(&entry)).collect();
        for section in config.unknown().filter(|section| section.reason == SkipReason::UnknownType) {
            // a section whose id no volume id could name is no storage
            let Ok(id) = StorageId::from_bytes(&section.id) else { continue };
            let mut storage = match plugins(&section.kind) {
                Some(plugin) => Storage::with_plugin(id, &*section.kind, plugin),
                None => Storage::new(id, &*section.kind),
            };
            for (name, value) in &section.properties {
                // a name that stands alone is a switch that is on
                let value = value.as_ref().map_or(b"1".as_slice(), |value| value);
                storage = storage.with(&name.to_str_lossy(), value);
            }
            storages.insert(storage);
        }
        storages
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

/// A section of a built-in type.
fn configured(entry: &pve_config::storage::Storage<'_>) -> Storage {
    let mut storage = Storage::new(entry.id().to_owned(), entry.kind().as_str());
    for (name, value) in entry.properties() {
        storage = storage.with(&name.to_str_lossy(), value);
    }
    // an empty set of contents is written like the content `none`, and is something else
    storage.with_content(entry.content().iter())
}
