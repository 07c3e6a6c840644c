// SPDX-License-Identifier: MIT OR Apache-2.0
//! One storage as its plugin sees it: the id, the type, and the values of its section of storage.cfg.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, StorageId, StorageType};

use crate::error::Error;
use crate::plugin::Plugin;

/// A configured storage: the values of its section and the [`Plugin`] of its type.
///
/// Made from a parsed storage.cfg by [`Storages::from_config`](crate::Storages::from_config), or by hand:
///
/// ```
/// use pve_storage::{Facts, Storage};
///
/// let storage = Storage::new("local-lvm".parse()?, "lvmthin")
///     .with("vgname", "pve")
///     .with("thinpool", "data");
/// let volume = storage.volume("vm-100-disk-0")?;
/// assert_eq!(volume.path(None, &Facts::default())?, "/dev/pve/vm-100-disk-0");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Storage {
    id: StorageId,
    kind: BString,
    plugin: Arc<dyn Plugin>,
    properties: BTreeMap<String, BString>,
    content: Option<BTreeSet<ContentType>>,
    content_dirs: BTreeMap<ContentType, BString>,
    nodes: Option<BTreeSet<String>>,
}

impl Storage {
    /// A storage of a built-in type, without any value. Another type gets a plugin that answers every operation with
    /// an error that names the type.
    #[must_use]
    pub fn new(id: StorageId, kind: impl AsRef<[u8]>) -> Self {
        let kind = kind.as_ref();
        let plugin = crate::plugin::builtin(kind);
        Self::with_plugin(id, kind, plugin)
    }

    /// A storage of any type, served by `plugin`.
    #[must_use]
    pub fn with_plugin(id: StorageId, kind: impl AsRef<[u8]>, plugin: Arc<dyn Plugin>) -> Self {
        Storage {
            id,
            kind: kind.as_ref().into(),
            plugin,
            properties: BTreeMap::new(),
            content: None,
            content_dirs: BTreeMap::new(),
            nodes: None,
        }
    }

    /// The same storage with a value set, as written in storage.cfg. `content`, `content-dirs` and `nodes` are
    /// decoded; elements that are no content types are left out.
    #[must_use]
    pub fn with(mut self, property: &str, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        let list =
            || value.split(|b| matches!(b, b',' | b';' | b' ' | b'\t' | b'\n' | 0)).filter(|e| !e.is_empty());
        match property {
            "content" => self.content = Some(list().filter_map(ContentType::from_bytes).collect()),
            "nodes" => self.nodes = Some(list().map(|node| node.to_str_lossy().into_owned()).collect()),
            "content-dirs" => {
                for element in list() {
                    let (name, dir) = element.split_once_str("=").unwrap_or((element, b""));
                    if let Some(content) = ContentType::from_bytes(name) {
                        self.content_dirs.insert(content, dir.into());
                    }
                }
            }
            _ => {
                self.properties.insert(property.to_owned(), value.into());
            }
        }
        self
    }

    /// The same storage, used for these kinds of content.
    #[must_use]
    pub fn with_content(mut self, content: impl IntoIterator<Item = ContentType>) -> Self {
        self.content = Some(content.into_iter().collect());
        self
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &StorageId {
        &self.id
    }

    /// The name of its type, as in `dir: local`.
    #[must_use]
    pub fn type_name(&self) -> &BStr {
        self.kind.as_bstr()
    }

    /// Its type, if it is built in.
    #[must_use]
    pub fn storage_type(&self) -> Option<StorageType> {
        StorageType::from_bytes(&self.kind)
    }

    /// The plugin that serves it.
    #[must_use]
    pub fn plugin(&self) -> &Arc<dyn Plugin> {
        &self.plugin
    }

    /// The value of a property, if it is set.
    #[must_use]
    pub fn get(&self, property: &str) -> Option<&BStr> {
        self.properties.get(property).map(|value| value.as_bstr())
    }

    /// The value of a property that the operation cannot do without.
    ///
    /// # Errors
    /// [`Error::MissingProperty`].
    pub fn require(&self, property: &'static str) -> Result<&BStr, Error> {
        self.get(property).ok_or_else(|| Error::MissingProperty { storage: self.id.clone(), property })
    }

    /// Whether a boolean property is set and true.
    #[must_use]
    pub fn flag(&self, property: &str) -> bool {
        self.switch(property).unwrap_or(false)
    }

    /// A boolean property; `None` if it is not set.
    #[must_use]
    pub fn switch(&self, property: &str) -> Option<bool> {
        self.get(property).map(|value| value != "0" && !value.is_empty())
    }

    /// A property that is a number.
    #[must_use]
    pub fn number(&self, property: &str) -> Option<u64> {
        self.get(property)?.to_str().ok()?.parse().ok()
    }

    /// Whether all nodes see the same volumes here.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.flag("shared") || self.plugin.always_shared()
    }

    /// Whether node `node` may use it (spec: storage.cfg, "Derived facts").
    #[must_use]
    pub fn is_enabled_on(&self, node: &str) -> bool {
        !self.flag("disable") && self.nodes.as_ref().is_none_or(|nodes| nodes.contains(node))
    }

    /// The kinds of content it is used for.
    #[must_use]
    pub fn content(&self) -> BTreeSet<ContentType> {
        match &self.content {
            Some(content) => content.clone(),
            None => self.plugin.default_content().iter().copied().collect(),
        }
    }

    /// Whether it is used for this kind of content.
    #[must_use]
    pub fn has_content(&self, content: ContentType) -> bool {
        match &self.content {
            Some(set) => set.contains(&content),
            None => self.plugin.default_content().contains(&content),
        }
    }

    /// Whether snapshots are files or LVs of their own, chained by backing files.
    #[must_use]
    pub fn has_volume_chains(&self) -> bool {
        self.flag("snapshot-as-volume-chain")
    }

    /// The directory of a content type below the storage's path, an override of `content-dirs` applied.
    #[must_use]
    pub(crate) fn content_dir_override(&self, content: ContentType) -> Option<&BStr> {
        self.content_dirs.get(&content).map(|dir| dir.as_bstr())
    }
}

impl fmt::Debug for Storage {
    /// Values of `password` and `keyring` are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = |name: &str| matches!(name, "password" | "keyring" | "encryption-key");
        let shown: BTreeMap<_, _> = self
            .properties
            .iter()
            .map(|(name, value)| (name, if secret(name) { BStr::new("…") } else { value.as_bstr() }))
            .collect();
        f.debug_struct("Storage")
            .field("id", &self.id.as_str())
            .field("type", &self.kind)
            .field("properties", &shown)
            .field("content", &self.content)
            .finish_non_exhaustive()
    }
}
