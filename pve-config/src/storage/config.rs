// SPDX-License-Identifier: MIT OR Apache-2.0
//! The whole of storage.cfg.

use std::borrow::Cow;

use bstr::{BStr, BString};
use pve_volid::StorageType;
use serde::{Serialize, Serializer};

use super::dialect::content_value;
use super::entry::{Storage, UnusableStorage};
use super::record::Records;
use super::schema::{LOCAL, LOCAL_CONTENT, LOCAL_PATH, LOCAL_SETTINGS, fill_in, format};
use crate::diagnostic::Diagnostics;
use crate::digest::Digest;
use crate::section::{Section, SectionConfig, SkippedSection, Value, WriteError};

/// A parsed storage.cfg: what the reference makes of the file, and what it ignores.
///
/// After the sections are read, the storage `local` is put right or added, and what follows from the types is filled
/// in: default content, sharing (spec: storage-cfg, "After all sections").
///
/// ```
/// use pve_config::storage::StorageConfig;
/// use pve_volid::StorageType;
///
/// let text = b"lvmthin: local-lvm\n\tvgname pve\n\tthinpool data\n\nglusterfs: old\n\tvolume v\n";
/// let config = StorageConfig::parse(text);
///
/// let kinds: Vec<_> = config.storages().map(|storage| (storage.id().as_str(), storage.kind())).collect();
/// assert_eq!(kinds, [("local-lvm", StorageType::LvmThin), ("local", StorageType::Dir)]);
///
/// // a type that nobody knows is ignored by the reference, but still told about here
/// assert_eq!(config.unknown().next().unwrap().id.as_ref(), "old");
/// assert_eq!(config.diagnostics()[0].line, 5);
/// ```
#[derive(Debug, Clone)]
pub struct StorageConfig<'a> {
    text: &'a [u8],
    records: Records<'a>,
    view: View<'a>,
}

/// What is kept of the generic view.
#[derive(Debug, Clone)]
enum View<'a> {
    /// Nothing: there is nothing to tell about the text.
    Nothing,
    /// What there is to tell: findings, broken and skipped sections.
    Told(Box<SectionConfig<'a>>),
    /// All of it.
    Whole(Box<SectionConfig<'a>>),
}

impl<'a> StorageConfig<'a> {
    /// Reads a text. Nothing in it is fatal; a missing file is an empty text.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        match Records::read(text) {
            Some((records, None)) => StorageConfig { text, records, view: View::Nothing },
            Some((records, Some(told))) => StorageConfig { text, records, view: View::Told(Box::new(told)) },
            None => StorageConfig::of(text, sections(text)),
        }
    }

    pub(super) fn of(text: &'a [u8], sections: SectionConfig<'a>) -> Self {
        StorageConfig { text, records: Records::of(&sections), view: View::Whole(Box::new(sections)) }
    }

    /// What there is to tell about the text, if anything.
    fn told(&self) -> Option<&SectionConfig<'a>> {
        match &self.view {
            View::Nothing => None,
            View::Told(sections) | View::Whole(sections) => Some(sections),
        }
    }

    /// The usable storages, in the order of their first appearance; an added `local` comes last.
    pub fn storages(&self) -> impl Iterator<Item = Storage<'_>> {
        self.records.iter().filter_map(Storage::new)
    }

    /// The storage with this id, if it is usable.
    #[must_use]
    pub fn get(&self, id: &[u8]) -> Option<Storage<'_>> {
        self.records.get(id).and_then(Storage::new)
    }

    /// The storage with this id, if `node` can use it.
    ///
    /// # Errors
    /// [`UnusableStorage`], saying why not.
    pub fn require(&self, id: &[u8], node: &str) -> Result<Storage<'_>, UnusableStorage> {
        let storage = self.get(id).ok_or_else(|| UnusableStorage::NotFound { id: id.into() })?;
        if storage.is_disabled() {
            Err(UnusableStorage::Disabled { id: id.into() })
        } else if storage.is_enabled_on(node) {
            Ok(storage)
        } else {
            Err(UnusableStorage::OtherNodes { id: id.into(), node: node.to_owned() })
        }
    }

    /// Sections that are broken: of a known type, but unusable. Until they are put right or removed, the file cannot
    /// be written.
    pub fn broken(&self) -> impl Iterator<Item = &BStr> {
        let sections = self.told().into_iter().flat_map(SectionConfig::ids);
        sections.filter(|(_, section)| section.is_none()).map(|(id, _)| id)
    }

    /// Sections of unknown types (`glusterfs`, third-party plugins), and sections whose id is no storage id. The
    /// reference ignores them, and loses them when it writes the file.
    pub fn unknown(&self) -> impl Iterator<Item = &SkippedSection<'a>> {
        self.told().into_iter().flat_map(SectionConfig::skipped)
    }

    /// Whether some storage lies on a volume of this one, so that it cannot be deleted.
    #[must_use]
    pub fn is_used_as_base(&self, id: &[u8]) -> bool {
        self.storages().any(|storage| storage.base_storage().is_some_and(|base| base == id))
    }

    /// Whether an `lvm` section names the volume group.
    #[must_use]
    pub fn uses_volume_group(&self, vgname: &[u8]) -> bool {
        let of_lvm = |storage: &Storage<'_>| storage.kind() == StorageType::Lvm;
        self.storages()
            .filter(of_lvm)
            .any(|storage| storage.text("vgname").is_some_and(|name| name == vgname))
    }

    /// Whether an `iscsi` section names portal and target.
    #[must_use]
    pub fn uses_target(&self, portal: &[u8], target: &[u8]) -> bool {
        self.storages().filter(|storage| storage.kind() == StorageType::Iscsi).any(|storage| {
            storage.text("portal").is_some_and(|text| text == portal)
                && storage.text("target").is_some_and(|text| text == target)
        })
    }

    /// The file as the reference would write it.
    ///
    /// # Errors
    /// [`WriteError::Broken`] while there is a broken section.
    pub fn write(&self) -> Result<BString, WriteError> {
        format().write(&self.sections())
    }

    /// The digest of the text.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.told().map_or_else(|| Digest::of(self.text), SectionConfig::digest)
    }

    /// Everything in the file that is skipped or repaired.
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        static NONE: Diagnostics = Diagnostics::new();
        self.told().map_or(&NONE, SectionConfig::diagnostics)
    }

    /// The generic view: ids with their sections, in exactly the form of the reference. It is made here, unless
    /// sections repeat or the storage `local` had to be put right.
    #[must_use]
    pub fn sections(&self) -> Cow<'_, SectionConfig<'a>> {
        match &self.view {
            View::Whole(sections) => Cow::Borrowed(sections),
            View::Nothing | View::Told(_) => Cow::Owned(sections(self.text)),
        }
    }

    /// The same after a change of its sections.
    pub(super) fn changed(&self, change: impl FnOnce(&mut SectionConfig<'a>)) -> Self {
        let mut sections = self.sections().into_owned();
        change(&mut sections);
        StorageConfig::of(self.text, sections)
    }

    /// A configuration that does not borrow.
    #[must_use]
    pub fn into_owned(self) -> StorageConfig<'static> {
        let sections = match self.view {
            View::Whole(sections) => *sections,
            View::Nothing | View::Told(_) => sections(self.text),
        };
        StorageConfig {
            text: &[],
            records: self.records.into_owned(),
            view: View::Whole(Box::new(sections.into_owned())),
        }
    }
}

impl Serialize for StorageConfig<'_> {
    /// A list of the storages, as the reference's API gives it.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.storages())
    }
}

/// The generic view of a text.
pub(super) fn sections(text: &[u8]) -> SectionConfig<'_> {
    let mut sections = format().parse(text);
    put_local_right(&mut sections);
    for (_, section) in sections.sections_mut() {
        fill_in(section);
    }
    sections
}

/// Whatever the file says, there is a storage `local` of type `dir` at `/var/lib/vz`, on every node.
fn put_local_right(sections: &mut SectionConfig<'_>) {
    let good = |local: &Section<'_>| local.kind() == "dir" && local.text("path") == Some(LOCAL_PATH.into());
    if !sections.get(LOCAL.as_bytes()).is_some_and(good) {
        let mut local = Section::new(BStr::new("dir"));
        for (name, text) in LOCAL_SETTINGS {
            let value =
                if name == "content" { content_value(LOCAL_CONTENT) } else { Value::text(text.as_bytes()) };
            local.set(BStr::new(name), value);
        }
        sections.insert(BStr::new(LOCAL), local);
    }
    if let Some(local) = sections.get_mut(LOCAL.as_bytes()) {
        local.remove("nodes");
    }
}
