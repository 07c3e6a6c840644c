// SPDX-License-Identifier: MIT OR Apache-2.0
//! What storage.cfg changes on the general rules of section files: headers, decoded values, paths.
//! (spec: storage-cfg, "Section header" and "Decoding after parsing")

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, StorageIdRef, StorageType};

use super::content::ContentTypes;
use super::schema::TypeFacts;
use crate::format::split_list;
use crate::section::{Dialect, Place, Section, Value};

/// The rules of storage.cfg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StorageDialect;

impl Dialect for StorageDialect {
    fn header<'a>(&self, kind: &'a BStr, id: &'a BStr) -> Result<Cow<'a, BStr>, String> {
        StorageIdRef::from_bytes(id).map_err(|error| error.to_string())?;
        Ok(if kind.iter().any(u8::is_ascii_uppercase) {
            Cow::Owned(kind.to_ascii_lowercase().into())
        } else {
            Cow::Borrowed(kind)
        })
    }

    fn decodes(&self, key: &str) -> bool {
        matches!(key, "content" | "content-dirs" | "format" | "nodes")
    }

    fn decode<'a>(
        &self,
        place: &Place<'_>,
        value: Value<'a>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Value<'a>>, String> {
        let Value::Text(text) = value else { return Ok(Some(value)) };
        if place.key == "nodes" {
            return Ok(Some(Value::set(items(text))));
        }
        match (place.key, TypeFacts::named(place.kind.as_bytes())) {
            ("content", Some(facts)) => {
                content_types(facts, &text, warn).map(|content| Some(content_value(content)))
            }
            ("format", Some(facts)) => Ok(image_format(facts, text, warn)),
            ("content-dirs", Some(facts)) => Ok(Some(content_dirs(facts, text, warn))),
            _ => Ok(Some(Value::Text(text))),
        }
    }

    fn encode<'v>(&self, key: &str, value: &'v Value<'v>) -> Option<Cow<'v, Value<'v>>> {
        match (key, value) {
            ("content", Value::Set(set)) if set.is_empty() => Some(Cow::Owned(Value::text(b"none"))),
            ("nodes", Value::Set(set)) if set.is_empty() => None,
            _ => Some(Cow::Borrowed(value)),
        }
    }

    fn complete(&self, kind: &str, id: &[u8], section: &mut Section<'_>, create: bool) {
        if create
            && !section.is_true("path")
            && let Some(path) =
                StorageType::from_bytes(kind.as_bytes()).and_then(|kind| default_path(kind, id))
        {
            section.set(BStr::new("path"), Value::Text(Cow::Owned(path)));
        }
    }

    fn check(&self, kind: &str, section: &mut Section<'_>, create: bool) -> Result<(), String> {
        if create && matches!(kind, "dir" | "btrfs") {
            let path = section.text("path").unwrap_or_default();
            if let Cow::Owned(canonical) = base_path(Cow::Borrowed(path))? {
                section.set(BStr::new("path"), Value::Text(Cow::Owned(canonical)));
            }
        }
        Ok(())
    }
}

/// Where the storages of some types are mounted if the section does not say.
pub(super) fn default_path(kind: StorageType, id: &[u8]) -> Option<BString> {
    let is_mounted = matches!(kind, StorageType::Nfs | StorageType::Cifs | StorageType::CephFs);
    is_mounted.then(|| [b"/mnt/pve/", id].concat().into())
}

/// The path of a `dir` or `btrfs` storage in canonical form.
pub(super) fn base_path(path: Cow<'_, BStr>) -> Result<Cow<'_, BStr>, String> {
    let tame = |byte: &u8| byte.is_ascii_alphanumeric() || b"-/_.@".contains(byte);
    let rest = path.strip_prefix(b"/").unwrap_or_default();
    if rest.is_empty() || !rest.iter().all(tame) {
        return Err(format!("path {path:?} must be absolute, of letters, digits and \"-/_.@\""));
    }
    Ok(match path {
        Cow::Borrowed(path) => canonical_path(path),
        Cow::Owned(path) => Cow::Owned(canonical_path(path.as_ref()).into_owned()),
    })
}

/// Elements that the type does not support are dropped; what remains must make sense.
pub(super) fn content_types(
    facts: &TypeFacts,
    text: &BStr,
    warn: &mut dyn FnMut(String),
) -> Result<ContentTypes, String> {
    let mut content = ContentTypes::EMPTY;
    for item in split_list(text) {
        match ContentType::from_bytes(item).filter(|item| facts.content.contains(*item)) {
            Some(item) => content.insert(item),
            None => warn(format!(
                "storages of type {} cannot hold {:?}: it is left out",
                facts.kind,
                item.as_bstr()
            )),
        }
    }
    if content.contains(ContentType::None) && content.len() > 1 {
        return Err("content \"none\" cannot be combined with other content".to_owned());
    }
    if content.is_empty() && !facts.content.contains(ContentType::None) {
        return Err(format!("no content that storages of type {} can hold", facts.kind));
    }
    Ok(content)
}

/// A set of content types as the value of a property.
pub(super) fn content_value(content: ContentTypes) -> Value<'static> {
    Value::Set(content.iter().map(|item| Cow::Borrowed(BStr::new(item.as_str()))).collect())
}

fn image_format<'a>(
    facts: &TypeFacts,
    text: Cow<'a, BStr>,
    warn: &mut dyn FnMut(String),
) -> Option<Value<'a>> {
    if facts.kind.image_formats().iter().any(|format| format.as_str() == *text) {
        return Some(Value::Text(text));
    }
    warn(format!("storages of type {} have no images of format {text:?}: it is left out", facts.kind));
    None
}

fn content_dirs<'a>(facts: &TypeFacts, text: Cow<'a, BStr>, warn: &mut dyn FnMut(String)) -> Value<'a> {
    let mut map: Vec<(Cow<'a, BStr>, Cow<'a, BStr>)> = Vec::new();
    for item in items(text) {
        let (content, path) = split_at_equals(item);
        if !ContentType::from_bytes(&content).is_some_and(|content| facts.content.contains(content)) {
            warn(format!(
                "storages of type {} cannot hold {content:?}: its directory is left out",
                facts.kind
            ));
            continue;
        }
        match map.iter_mut().find(|(known, _)| *known == content) {
            Some((_, old)) => *old = path,
            None => map.push((content, path)),
        }
    }
    map.sort_unstable();
    Value::Map(map)
}

/// The items of a list, borrowed if the list is.
fn items(text: Cow<'_, BStr>) -> Vec<Cow<'_, BStr>> {
    match text {
        Cow::Borrowed(text) => split_list(text).map(|item| Cow::Borrowed(item.as_bstr())).collect(),
        Cow::Owned(text) => split_list(&text).map(|item| Cow::Owned(item.into())).collect(),
    }
}

/// What stands before and behind the first `=`.
fn split_at_equals(item: Cow<'_, BStr>) -> (Cow<'_, BStr>, Cow<'_, BStr>) {
    let at = item.find_byte(b'=').unwrap_or(item.len());
    let part =
        |item: &BStr, from: usize, to: usize| item.get(from..to).unwrap_or_default().as_bstr().to_owned();
    match item {
        Cow::Borrowed(item) => {
            let (before, after) = item.split_at_checked(at).unwrap_or((item, &[]));
            (Cow::Borrowed(before.as_bstr()), Cow::Borrowed(after.get(1..).unwrap_or_default().as_bstr()))
        }
        Cow::Owned(item) => {
            (Cow::Owned(part(item.as_ref(), 0, at)), Cow::Owned(part(item.as_ref(), at + 1, item.len())))
        }
    }
}

/// The path without empty and `.` components, without leading `/..`, and without trailing `/`. Other `..` stay.
fn canonical_path(path: &BStr) -> Cow<'_, BStr> {
    let is_canonical = path == "/"
        || path.strip_prefix(b"/").is_some_and(|rest| {
            !rest.starts_with(b"..")
                && rest.split(|byte| *byte == b'/').all(|part| !part.is_empty() && part != b".")
        });
    if is_canonical {
        return Cow::Borrowed(path);
    }
    let mut canonical = Vec::with_capacity(path.len());
    for part in path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".") {
        if part == b".." && canonical.is_empty() {
            continue;
        }
        canonical.push(b'/');
        canonical.extend_from_slice(part);
    }
    if canonical.is_empty() {
        canonical.push(b'/');
    }
    Cow::Owned(BString::from(canonical))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_lexically() {
        for (path, canonical) in [
            ("/", "/"),
            ("//", "/"),
            ("/a/", "/a"),
            ("/a//b///c", "/a/b/c"),
            ("/a/./b/.", "/a/b"),
            ("/../a", "/a"),
            ("/a/../b", "/a/../b"),
            ("/../..", "/"),
            ("/.", "/"),
            ("/..a", "/..a"),
            ("/a/..", "/a/.."),
        ] {
            assert_eq!(canonical_path(path.into()), BStr::new(canonical), "{path}");
        }
    }
}
