// SPDX-License-Identifier: MIT OR Apache-2.0
//! The format of storage.cfg, made from the tables of storage types and properties.

use std::borrow::Cow;
use std::sync::LazyLock;

use bstr::BStr;
use pve_volid::{ContentType, StorageType};

use super::content::ContentTypes;
use super::dialect::{StorageDialect, content_value};
use crate::rule::Rule;
use crate::schema::{STORAGE_PROPERTIES, STORAGE_TYPES, StorageTypeSpec};
use crate::section::{
    Mode, Number, OptionFlags, PropertySchema, Schema, Section, SectionFormat, TypeDeclaration, Value,
};

/// The format of storage.cfg: its schema and its rules.
///
/// This is what [`StorageConfig`](super::StorageConfig) reads and writes by; it is here for those who want the
/// generic view.
#[must_use]
pub fn format() -> &'static SectionFormat<'static, StorageDialect> {
    static FORMAT: LazyLock<SectionFormat<'static, StorageDialect>> = LazyLock::new(|| {
        // the tables make a schema: a test sees to that
        SectionFormat::new(schema().unwrap_or_default(), StorageDialect)
    });
    &FORMAT
}

/// Names that the reference's schema knows, but no type of storage uses.
const UNUSED: [&str; 2] = ["authsupported", "storage"];

fn schema() -> Option<Schema<'static>> {
    let used = STORAGE_PROPERTIES.iter().map(|property| (property.name, property.rule));
    let all = used.chain(UNUSED.map(|name| (name, Rule::string())));
    let base = all.map(|(name, rule)| (name.into(), PropertySchema::one(rule))).collect();
    let types = STORAGE_TYPES.iter().map(|spec| {
        spec.options.iter().fold(TypeDeclaration::new(spec.name), |declared, option| {
            declared.option(option.name, OptionFlags { optional: !option.required, fixed: option.fixed })
        })
    });
    Schema::new(Mode::Unified, base, types.collect()).ok()
}

/// The storage that is always there.
pub(super) const LOCAL: &str = "local";

/// Where it lies.
pub(super) const LOCAL_PATH: &str = "/var/lib/vz";

/// What it holds, if the file has none.
pub(super) const LOCAL_CONTENT: ContentTypes = ContentTypes::of(&[
    ContentType::Backup,
    ContentType::Images,
    ContentType::Iso,
    ContentType::RootDir,
    ContentType::Snippets,
    ContentType::VzTmpl,
]);

/// Its properties, if the file has none.
pub(super) const LOCAL_SETTINGS: [(&str, &str); 3] = [
    ("path", LOCAL_PATH),
    ("content", "backup,images,iso,rootdir,snippets,vztmpl"),
    ("prune-backups", "keep-all=1"),
];

/// What a storage type can hold, in the form that decoding needs.
#[derive(Debug, Clone)]
pub(super) struct TypeFacts {
    pub(super) kind: StorageType,
    pub(super) spec: &'static StorageTypeSpec,
    pub(super) content: ContentTypes,
    pub(super) default_content: ContentTypes,
    /// The same as storage.cfg would have it.
    pub(super) default_content_text: String,
}

impl TypeFacts {
    /// The facts about a type by its name in section headers.
    pub(super) fn named(name: &[u8]) -> Option<&'static TypeFacts> {
        StorageType::from_bytes(name).and_then(TypeFacts::of)
    }

    /// The facts about a type.
    pub(super) fn of(kind: StorageType) -> Option<&'static TypeFacts> {
        static FACTS: LazyLock<Vec<TypeFacts>> = LazyLock::new(|| {
            let set = |names: &[&str]| -> ContentTypes {
                names.iter().filter_map(|name| ContentType::from_bytes(name.as_bytes())).collect()
            };
            let facts = STORAGE_TYPES.iter().filter_map(|spec| {
                let kind = StorageType::from_bytes(spec.name.as_bytes())?;
                let (content, default_content) = (set(spec.content), set(spec.default_content));
                let default_content_text = default_content.to_string();
                Some(TypeFacts { kind, spec, content, default_content, default_content_text })
            });
            facts.collect()
        });
        FACTS.iter().find(|facts| facts.kind == kind)
    }
}

/// What a section leaves to its type.
pub(super) fn fill_in(section: &mut Section<'_>) {
    let Some(facts) = TypeFacts::named(section.kind()) else { return };
    if section.get("content").is_none() {
        section.set(BStr::new("content"), content_value(facts.default_content));
    }
    if facts.spec.shared {
        section.set(Cow::Borrowed(BStr::new("shared")), Value::Number(Number::from(true)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_make_a_schema() {
        assert_eq!(schema().unwrap().section_types().count(), STORAGE_TYPES.len());
    }

    #[test]
    fn local_holds_what_its_text_says() {
        assert!(LOCAL_SETTINGS.contains(&("content", LOCAL_CONTENT.to_string().as_str())));
    }

    /// The volume rules and the configuration agree about the types.
    #[test]
    fn tables_agree_with_the_volume_naming() {
        for spec in STORAGE_TYPES {
            let facts = TypeFacts::named(spec.name.as_bytes()).unwrap();
            assert_eq!(facts.kind.is_path_based(), spec.path_based, "{}", spec.name);
            let mut formats: Vec<&str> =
                facts.kind.image_formats().iter().map(|format| format.as_str()).collect();
            assert_eq!(formats.first().copied(), spec.default_format, "{}", spec.name);
            formats.sort_unstable();
            assert_eq!(formats, spec.formats, "{}", spec.name);
        }
    }
}
