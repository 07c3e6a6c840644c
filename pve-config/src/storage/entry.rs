// SPDX-License-Identifier: MIT OR Apache-2.0
//! One storage of storage.cfg and what follows from its section. (spec: storage-cfg, "Derived facts")

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, Retention, StorageIdRef, StorageType};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use thiserror::Error;

use super::backend::Backend;
use super::content::ContentTypes;
use super::dialect::StorageDialect;
use super::record::{Found, Setting};
use super::schema::{TypeFacts, format};
use crate::cluster::{BwLimit, PruneBackups};
use crate::format::{is_falsy, parse_boolean, split_list};
use crate::property::Integer;
use crate::rule::ValueError;
use crate::schema::StorageTypeSpec;
use crate::section::{Dialect, Number, Place, Value, converted};

/// A usable storage: a checked section of storage.cfg with the defaults of its type, borrowed from a [`StorageConfig`](super::StorageConfig).
///
/// What all types have in common is asked here; [`Storage::backend`] gives what only one type has.
///
/// ```
/// use pve_config::storage::{Backend, StorageConfig};
/// use pve_volid::{ContentType, ImageFormat};
///
/// let text = b"nfs: nas\n\tserver 10.0.0.1\n\texport /srv\n\tcontent images,iso\n\tnodes pve1,pve2\n";
/// let config = StorageConfig::parse(text);
/// let nas = config.get(b"nas").unwrap();
/// assert_eq!(nas.path().unwrap(), "/mnt/pve/nas");
/// assert!(nas.is_shared() && nas.is_enabled_on("pve1") && !nas.is_enabled_on("pve3"));
/// assert_eq!(nas.content_dir(ContentType::Iso).unwrap(), "/mnt/pve/nas/template/iso");
/// assert_eq!(nas.formats().choose(Some(ImageFormat::Subvol)), ImageFormat::Raw);
/// let Some(Backend::Nfs(nfs)) = nas.backend() else { panic!("{nas:?}") };
/// assert_eq!((nfs.server, nfs.export), ("10.0.0.1".into(), "/srv".into()));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Storage<'c> {
    id: StorageIdRef<'c>,
    kind: StorageType,
    content: ContentTypes,
    settings: &'c [Setting<'c>],
}

impl<'c> Storage<'c> {
    /// The storage that a record stands for.
    pub(super) fn new(found: Found<'c>) -> Option<Self> {
        let Found { id, kind, content, settings } = found;
        Some(Storage { id: StorageIdRef::from_bytes(id.as_bytes()).ok()?, kind, content, settings })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> StorageIdRef<'c> {
        self.id
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> StorageType {
        self.kind
    }

    /// What its type declares.
    #[must_use]
    pub fn spec(&self) -> Option<&'static StorageTypeSpec> {
        self.facts().map(|facts| facts.spec)
    }

    fn facts(&self) -> Option<&'static TypeFacts> {
        TypeFacts::of(self.kind)
    }

    /// The properties that only its type has. `None` for a type of `pve-volid` that this crate does not know yet.
    #[must_use]
    pub fn backend(&self) -> Option<Backend<'c>> {
        Backend::read(self)
    }

    /// The text of a property as storage.cfg has it, if it is set.
    #[must_use]
    pub fn text(&self, property: &str) -> Option<&'c BStr> {
        self.settings.iter().find(|set| set.name == property).map(|set| set.text.as_ref())
    }

    /// The value of a property, if it is set: a number where the schema wants one, a set or a map where the text
    /// stands for one.
    #[must_use]
    pub fn value(&self, property: &str) -> Option<Value<'c>> {
        self.settings.iter().find(|set| set.name == property).and_then(|set| self.value_of(set))
    }

    fn value_of(&self, set: &'c Setting<'c>) -> Option<Value<'c>> {
        let kind = self.kind.as_str();
        let property = format().schema().section_type(kind.as_bytes())?.property(set.name.as_bytes())?;
        let value = converted(property.schema, &set.text);
        let place = Place { kind, id: self.id.as_str().into(), key: property.name };
        // it was decoded before, so there is nothing left to warn of
        StorageDialect.decode(&place, value, &mut |_| {}).ok()?
    }

    /// A boolean property, if it is set.
    #[must_use]
    pub fn switch(&self, property: &str) -> Option<bool> {
        self.text(property).map(|text| !is_falsy(text))
    }

    /// A number property, if it is set and a whole number that fits.
    #[must_use]
    pub fn integer(&self, property: &str) -> Option<i64> {
        self.text(property).and_then(|text| Number::parse(text)).and_then(Number::as_i64)
    }

    /// Every property with its value as storage.cfg would have it, in ascending order; sets as comma separated lists.
    pub fn properties(&self) -> impl Iterator<Item = (&'c BStr, BString)> {
        let mut settings: Vec<_> = self.settings.iter().collect();
        settings.sort_unstable_by_key(|set| set.name);
        let storage = *self;
        settings
            .into_iter()
            .filter_map(move |set| storage.value_of(set).map(|value| (BStr::new(set.name), value.to_text())))
    }

    /// What it may hold. The default of its type if the section does not say.
    #[must_use]
    pub fn content(&self) -> ContentTypes {
        self.content
    }

    /// Whether it may hold this.
    #[must_use]
    pub fn holds(&self, content: ContentType) -> bool {
        self.content().contains(content)
    }

    /// The nodes that have it; `None`: all of them. An empty list, which the reference loses when it writes the file,
    /// means that no node has it.
    #[must_use]
    pub fn nodes(&self) -> Option<impl ExactSizeIterator<Item = &'c BStr>> {
        self.text("nodes").map(|text| {
            let mut nodes: Vec<&BStr> = split_list(text).map(BStr::new).collect();
            nodes.sort_unstable();
            nodes.dedup();
            nodes.into_iter()
        })
    }

    /// Whether it is switched off.
    #[must_use]
    pub fn is_disabled(&self) -> bool {
        self.switch("disable") == Some(true)
    }

    /// Whether `node` can use it: it is not switched off, and not limited to other nodes.
    #[must_use]
    pub fn is_enabled_on(&self, node: &str) -> bool {
        let has = |nodes: &BStr| split_list(nodes).any(|name| name == node.as_bytes());
        !self.is_disabled() && self.text("nodes").is_none_or(has)
    }

    /// Whether all nodes see the same volumes: by its type, or because the section says so.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.switch("shared") == Some(true)
    }

    /// The directory of a path-based storage.
    #[must_use]
    pub fn path(&self) -> Option<&'c BStr> {
        self.text("path")
    }

    /// The image formats that it can have.
    #[must_use]
    pub fn formats(&self) -> Formats {
        const RAW: &[ImageFormat] = &[ImageFormat::Raw];
        let valid = self.kind.image_formats();
        match self.kind {
            StorageType::Lvm if self.has_volume_chains() => Formats { default: ImageFormat::Qcow2, valid },
            StorageType::Lvm => Formats { default: ImageFormat::Raw, valid: RAW },
            _ => match valid.first() {
                None => Formats { default: ImageFormat::Raw, valid: RAW },
                Some(first) => {
                    let configured = self.text("format").and_then(|format| ImageFormat::from_bytes(format));
                    Formats { default: configured.unwrap_or(*first), valid }
                }
            },
        }
    }

    /// Whether snapshots are made as chains of volumes (`snapshot-as-volume-chain`).
    #[must_use]
    pub fn has_volume_chains(&self) -> bool {
        self.switch("snapshot-as-volume-chain") == Some(true)
    }

    /// The directory of a content type: `PATH/images`, or what `content-dirs` says instead, simply appended to PATH.
    /// `None` for storages without path, and for the content type `none`.
    #[must_use]
    pub fn content_dir(&self, content: ContentType) -> Option<BString> {
        let default = match content {
            ContentType::Images => "images",
            ContentType::RootDir => "private",
            ContentType::Iso => "template/iso",
            ContentType::VzTmpl => "template/cache",
            ContentType::Backup => "dump",
            ContentType::Snippets => "snippets",
            ContentType::Import => "import",
            _ => return None,
        };
        let path = self.path().filter(|_| self.kind.is_path_based())?;
        let others = self.value("content-dirs");
        let other = match &others {
            Some(Value::Map(map)) => map.iter().find(|(name, _)| **name == content.as_str()),
            _ => None,
        };
        let dir = other.map_or(default.as_bytes(), |(_, dir)| dir.as_bytes());
        Some([path.as_bytes(), dir].join(&b'/').into())
    }

    /// What must be a mount point before a `dir` or `btrfs` storage is used.
    #[must_use]
    pub fn mount_point(&self) -> Option<&'c BStr> {
        let setting = self.text("is_mountpoint")?;
        match parse_boolean(setting) {
            Some(true) => self.path(),
            Some(false) => None,
            None => Some(setting),
        }
    }

    /// Whether the directory of a path-based storage is made when it is missing.
    #[must_use]
    pub fn creates_base_path(&self) -> bool {
        self.switch("create-base-path").or_else(|| self.switch("mkdir")).unwrap_or(true)
    }

    /// Whether the content directories of a path-based storage are made when they are missing.
    #[must_use]
    pub fn creates_subdirs(&self) -> bool {
        self.switch("create-subdirs") != Some(false) && self.switch("mkdir") != Some(false)
    }

    /// How `qemu-img` reserves space for a new image of this format; `None`: it is not told.
    #[must_use]
    pub fn preallocation(&self, format: ImageFormat) -> Option<Preallocation> {
        let option = self.text("preallocation").and_then(|text| Preallocation::from_bytes(text));
        match (format, option) {
            (ImageFormat::Qcow2, option) => Some(option.unwrap_or(Preallocation::Metadata)),
            (ImageFormat::Raw, None | Some(Preallocation::Metadata)) => Some(Preallocation::Off),
            (ImageFormat::Raw, option) => option,
            _ => None,
        }
    }

    /// Which backups to keep; `None` if the section does not say.
    ///
    /// # Errors
    /// `keep-all` together with a count.
    pub fn prune_backups(&self) -> Result<Option<Retention>, ValueError> {
        self.text("prune-backups").map(|text| parse_retention(text)).transpose()
    }

    /// How many backups of a guest may be protected; `None`: as many as one likes. `unlimited` is for a user who may
    /// administer the storage, where the section does not say.
    #[must_use]
    pub fn max_protected_backups(&self, unlimited: bool) -> Option<u64> {
        match self.integer("max-protected-backups") {
            Some(most) => u64::try_from(most).ok(),
            None if unlimited => None,
            None => Some(5),
        }
    }

    /// The storage on whose volume it lies: the storage id in `base` of an `lvm` storage.
    #[must_use]
    pub fn base_storage(&self) -> Option<&'c BStr> {
        let base = self.text("base")?;
        base.find_byte(b':').and_then(|at| base.get(..at)).map(|id| id.as_bstr())
    }

    /// The bandwidth limits of its section.
    #[must_use]
    pub fn bwlimit(&self) -> Option<BwLimit<'c>> {
        // the text passed the check of the format, so it parses
        self.text("bwlimit").and_then(|text| BwLimit::parse(text).ok())
    }
}

impl Serialize for Storage<'_> {
    /// As in the reference's API: the properties with `storage` (the id) and `type` among them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("storage", self.id.as_str())?;
        map.serialize_entry("type", &self.kind)?;
        for set in self.settings {
            match self.value_of(set) {
                Some(value @ (Value::Set(_) | Value::Map(_))) => {
                    map.serialize_entry(set.name, &value.to_text().to_str_lossy())?;
                }
                value => map.serialize_entry(set.name, &value)?,
            }
        }
        map.end()
    }
}

/// The image formats of a storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Formats {
    /// The format of new images.
    pub default: ImageFormat,
    /// Every format that images may have.
    pub valid: &'static [ImageFormat],
}

impl Formats {
    /// The wanted format if the storage can have it, else the default.
    #[must_use]
    pub fn choose(&self, wanted: Option<ImageFormat>) -> ImageFormat {
        wanted.filter(|format| self.valid.contains(format)).unwrap_or(self.default)
    }
}

/// How `qemu-img` reserves space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Preallocation {
    /// Not at all.
    Off,
    /// For the metadata.
    Metadata,
    /// For all, by `posix_fallocate`.
    Falloc,
    /// For all, by writing zeros.
    Full,
}

impl Preallocation {
    /// The word that `qemu-img` and storage.cfg use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Preallocation::Off => "off",
            Preallocation::Metadata => "metadata",
            Preallocation::Falloc => "falloc",
            Preallocation::Full => "full",
        }
    }

    /// The value with this spelling.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        let all = [Preallocation::Off, Preallocation::Metadata, Preallocation::Falloc, Preallocation::Full];
        all.into_iter().find(|value| value.as_str().as_bytes() == text)
    }
}

/// Why a storage cannot be used on a node.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnusableStorage {
    /// There is no usable storage with this id.
    #[error("storage \"{id}\" does not exist")]
    NotFound {
        /// The id that was asked for.
        id: BString,
    },
    /// It is switched off.
    #[error("storage \"{id}\" is disabled")]
    Disabled {
        /// Its id.
        id: BString,
    },
    /// It is limited to other nodes.
    #[error("storage \"{id}\" is not available on node \"{node}\"")]
    OtherNodes {
        /// Its id.
        id: BString,
        /// The node.
        node: String,
    },
}

/// The counts of a `prune-backups` property string, as far as they fit 64 bits. If none is above zero, everything is
/// kept. (spec: storage-cfg, "prune-backups")
///
/// # Errors
/// The text is no such property string, or says `keep-all` beside a count.
pub fn parse_retention(text: &[u8]) -> Result<Retention, ValueError> {
    let kept = PruneBackups::parse(text)?.effective();
    let count = |count: Option<Integer<'_>>| match count {
        Some(count) => count.to().unwrap_or(if count.as_f64() > 0.0 { u64::MAX } else { 0 }),
        None => 0,
    };
    Ok(Retention {
        keep_all: kept.keep_all.unwrap_or_default(),
        keep_last: count(kept.keep_last),
        keep_hourly: count(kept.keep_hourly),
        keep_daily: count(kept.keep_daily),
        keep_weekly: count(kept.keep_weekly),
        keep_monthly: count(kept.keep_monthly),
        keep_yearly: count(kept.keep_yearly),
    })
}
