// SPDX-License-Identifier: MIT OR Apache-2.0
//! Creating, changing and deleting storages as the reference's API does. (spec: storage-cfg, "Create, update, delete")
//!
//! All three take the text of storage.cfg and give the new one. What else happens (passwords and keys are written to
//! files of their own, some types ask the machine) goes through a [`Host`].

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;

use super::config::StorageConfig;
use super::entry::Storage;
use super::hook::{Hook, Secrets, Values};
use super::host::Host;
use super::schema::{TypeFacts, format};
use crate::format::{Context, Scalar, is_falsy, split_list};
use crate::section::{Purpose, Section, SectionError, WriteError, check_digest};

/// Why storage.cfg is not changed.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum ChangeError {
    /// The id is none.
    #[error(
        "\"{id}\" is no storage id: it needs a letter, then letters, digits, \"-\", \"_\", \".\", and a letter or digit at the end"
    )]
    Id {
        /// The id.
        id: BString,
    },
    /// There is a storage with this id.
    #[error("storage \"{id}\" exists already")]
    Exists {
        /// The id.
        id: BString,
    },
    /// There is no usable storage with this id.
    #[error("storage \"{id}\" does not exist")]
    NotFound {
        /// The id.
        id: BString,
    },
    /// Another storage lies on a volume of this one.
    #[error("storage \"{id}\" cannot be deleted: storage \"{by}\" lies on it")]
    UsedAsBase {
        /// The id.
        id: BString,
        /// The other storage.
        by: BString,
    },
    /// The values are refused.
    #[error(transparent)]
    Values(#[from] SectionError),
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// What the type of the storage needs failed.
    #[error("storage \"{id}\": {reason}")]
    Hook {
        /// The id.
        id: BString,
        /// What, and why.
        reason: String,
    },
    /// The new storage cannot be used on this node, so it was not made.
    #[error("storage \"{id}\" cannot be activated: {reason}")]
    Activate {
        /// The id.
        id: BString,
        /// Why.
        reason: String,
    },
}

/// A changed storage.cfg.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The new text.
    pub text: BString,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// A change of a storage.
#[derive(Debug, Clone, PartialEq)]
pub struct Update<'u> {
    /// The new values, as texts or numbers. The type of this section is not looked at.
    pub set: Section<'u>,
    /// The names of properties to delete, as a list.
    pub delete: &'u [u8],
    /// The digest of the file that the caller saw; empty if they do not care.
    pub digest: &'u str,
}

/// Adds a storage to `text`: of the type of `values`, with these values, as texts or numbers.
///
/// On `node`, if that is given and the storage is enabled there, it is activated; if that fails, nothing remains.
///
/// # Errors
/// [`ChangeError`]. Values are checked before anything is done on the host.
pub fn create(
    text: &[u8],
    id: &[u8],
    mut values: Section<'_>,
    node: Option<&str>,
    host: &mut dyn Host,
) -> Result<Change, ChangeError> {
    let config = StorageConfig::parse(text);
    let storage_id = check_id(id)?;
    let kind = values.kind().to_owned();
    check_values(&kind, &values)?;
    let secrets = Secrets::take(&kind, &mut values, &[]);
    if values.text("nodes").is_some_and(|nodes| is_falsy(nodes)) {
        values.remove("nodes");
    }
    let section = format().check_config(&kind, id, values, Purpose::Create)?;
    if config.get(id).is_some() {
        return Err(ChangeError::Exists { id: id.into() });
    }
    let mut warnings = mkdir_warning(&section);
    let mut config = config.changed(|sections| sections.insert(id.as_bstr(), section));
    config.write()?;

    let mut hook = Hook { id: storage_id, host, warnings: Vec::new() };
    let added = hook.add(&config, &secrets).and_then(|values| {
        config = with_values(&config, id, values);
        config.write().map_err(ChangeError::from)
    });
    warnings.append(&mut hook.warnings);
    let text = added?;
    if let Some(storage) = config.get(id)
        && node.is_some_and(|node| storage.is_enabled_on(node))
        && let Err(reason) = hook.host.activate(&storage)
    {
        hook.delete(&storage)?;
        return Err(ChangeError::Activate { id: id.into(), reason });
    }
    Ok(Change { text, warnings })
}

/// Changes a storage of `text`.
///
/// # Errors
/// [`ChangeError`]. Values are checked before anything is done on the host.
pub fn update(
    text: &[u8],
    id: &[u8],
    change: Update<'_>,
    host: &mut dyn Host,
) -> Result<Change, ChangeError> {
    let before = StorageConfig::parse(text);
    let Update { set: mut values, delete, digest } = change;
    check_digest(before.digest(), digest)?;
    let storage_id = check_id(id)?;
    let kind = before.get(id).map(|storage| storage.kind().as_str()).ok_or_else(|| not_found(id))?;
    let delete: Vec<&[u8]> = split_list(delete).collect();
    check_values(kind.as_bytes(), &values)?;
    check_deletions(&delete, &values)?;
    let secrets = Secrets::take(kind.as_bytes(), &mut values, &delete);
    let values = format().check_config(kind.as_bytes(), id, values, Purpose::Update)?;
    let mut section = before.sections().get(id).cloned().ok_or_else(|| not_found(id))?;
    format().delete_properties(&mut section, delete.iter().copied(), &values)?;
    section.merge(values);
    let mut warnings = mkdir_warning(&section);
    let mut config = before.changed(|sections| sections.insert(id.as_bstr(), section));
    config.write()?;

    let mut hook = Hook { id: storage_id, host, warnings: Vec::new() };
    if let (Some(old), Some(new)) = (before.get(id), config.get(id)) {
        let values = hook.update(&old, &new, &secrets)?;
        config = with_values(&config, id, values);
    }
    warnings.append(&mut hook.warnings);
    Ok(Change { text: config.write()?, warnings })
}

/// Removes a storage from `text`.
///
/// # Errors
/// [`ChangeError`].
pub fn delete(text: &[u8], id: &[u8], host: &mut dyn Host) -> Result<Change, ChangeError> {
    let config = StorageConfig::parse(text);
    let storage = config.get(id).ok_or_else(|| not_found(id))?;
    let on_it = |other: &Storage<'_>| other.base_storage().is_some_and(|base| base == id);
    if let Some(other) = config.storages().find(on_it) {
        return Err(ChangeError::UsedAsBase { id: id.into(), by: other.id().as_str().into() });
    }
    let rest = config.changed(|sections| {
        sections.remove(id);
    });
    let text = rest.write()?;
    let mut hook = Hook { id: storage.id().as_str().to_owned(), host, warnings: Vec::new() };
    hook.delete(&storage)?;
    Ok(Change { text, warnings: hook.warnings })
}

/// The configuration with more values of one storage.
fn with_values<'a>(config: &StorageConfig<'a>, id: &[u8], values: Values) -> StorageConfig<'a> {
    config.changed(|sections| {
        if let Some(section) = sections.get_mut(id) {
            for (key, value) in values {
                section.set(BStr::new(key), value);
            }
        }
    })
}

fn check_id(id: &[u8]) -> Result<String, ChangeError> {
    let good = Scalar::StorageId.accepts(id, &Context::default()) && !id.ends_with(b"\n");
    match std::str::from_utf8(id) {
        Ok(text) if good => Ok(text.to_owned()),
        _ => Err(ChangeError::Id { id: id.into() }),
    }
}

/// What the API does first: each value against its schema.
fn check_values(kind: &[u8], values: &Section<'_>) -> Result<(), ChangeError> {
    // `storage` and `type` are parameters of their own, never properties
    for name in ["storage", "type"] {
        if values.get(name).is_some() {
            return Err(SectionError::UnknownProperty { property: name.into() }.into());
        }
    }
    Ok(format().check_values(kind, values)?)
}

/// Nothing may be set and deleted at once, secrets included.
fn check_deletions(delete: &[&[u8]], values: &Section<'_>) -> Result<(), ChangeError> {
    let both = delete.iter().find(|name| values.properties().any(|(key, _)| key == **name));
    match both {
        Some(name) => Err(SectionError::SetAndDeleted { property: (*name).into() }.into()),
        None => Ok(()),
    }
}

fn mkdir_warning(section: &Section<'_>) -> Vec<String> {
    match section.get("mkdir") {
        Some(_) => vec!["mkdir is deprecated: use create-base-path and create-subdirs instead".to_owned()],
        None => Vec::new(),
    }
}

fn not_found(id: &[u8]) -> ChangeError {
    ChangeError::NotFound { id: id.into() }
}

/// The names of the sensitive properties of a type.
pub(super) fn sensitive(kind: &[u8]) -> &'static [&'static str] {
    TypeFacts::named(kind).map_or(&[], |facts| facts.spec.sensitive)
}
