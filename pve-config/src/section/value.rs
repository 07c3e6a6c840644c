// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sections of a parsed file: ids, values, and what was left out.

use std::borrow::Cow;
use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use foldhash::fast::RandomState;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Serialize, Serializer};

use super::number::Number;
use crate::diagnostic::Diagnostics;
use crate::digest::Digest;

/// The value of a property, borrowed from the text where it can be.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value<'a> {
    /// No value: only in sections of unknown types, where a name may stand alone.
    Null,
    /// A text, as written.
    Text(Cow<'a, BStr>),
    /// A boolean (0 or 1), an integer or a number.
    Number(Number),
    /// The elements of an array, or of a property that an unknown type repeats, in file order.
    List(Vec<Value<'a>>),
    /// A text that the format of the file decodes to a set; members in ascending byte order.
    Set(Vec<Cow<'a, BStr>>),
    /// A text that the format of the file decodes to a map; keys in ascending byte order.
    Map(Vec<(Cow<'a, BStr>, Cow<'a, BStr>)>),
}

impl<'a> Value<'a> {
    /// A borrowed text.
    #[must_use]
    pub fn text(text: &'a [u8]) -> Self {
        Value::Text(Cow::Borrowed(text.as_bstr()))
    }

    /// A set of these members, sorted and without repetitions.
    #[must_use]
    pub fn set(mut members: Vec<Cow<'a, BStr>>) -> Self {
        members.sort_unstable();
        members.dedup();
        Value::Set(members)
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&BStr> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<Number> {
        match self {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The value as one text: sets and maps as comma separated lists, as they stand in a file.
    #[must_use]
    pub fn to_text(&self) -> BString {
        super::write::printed(self).into_owned().into()
    }

    /// Whether the reference takes the value for true: a text that is neither empty nor `0`, a number other than
    /// zero, any list, set or map.
    #[must_use]
    pub fn is_true(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Text(text) => !matches!(text.as_bytes(), b"" | b"0"),
            Value::Number(number) => number.is_true(),
            Value::List(_) | Value::Set(_) | Value::Map(_) => true,
        }
    }

    /// A value that does not borrow.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Value::Null => Value::Null,
            Value::Text(text) => Value::Text(owned(text)),
            Value::Number(number) => Value::Number(number),
            Value::List(list) => Value::List(list.into_iter().map(Value::into_owned).collect()),
            Value::Set(set) => Value::Set(set.into_iter().map(owned).collect()),
            Value::Map(map) => {
                Value::Map(map.into_iter().map(|(key, value)| (owned(key), owned(value))).collect())
            }
        }
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Number(value.into())
    }
}

impl Serialize for Value<'_> {
    /// As in the reference's API: texts as strings (bytes that are not UTF-8 replaced), sets as sorted lists.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Text(text) => serializer.serialize_str(&text.to_str_lossy()),
            Value::Number(number) => number.serialize(serializer),
            Value::List(list) => list.serialize(serializer),
            Value::Set(set) => {
                let mut seq = serializer.serialize_seq(Some(set.len()))?;
                for member in set {
                    seq.serialize_element(&member.to_str_lossy())?;
                }
                seq.end()
            }
            Value::Map(map) => {
                let mut fields = serializer.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    fields.serialize_entry(&key.to_str_lossy(), &value.to_str_lossy())?;
                }
                fields.end()
            }
        }
    }
}

/// A section: its type and its properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Section<'a> {
    kind: Cow<'a, BStr>,
    pub(super) values: Vec<(Cow<'a, BStr>, Value<'a>)>,
}

impl<'a> Section<'a> {
    /// A section without properties.
    #[must_use]
    pub fn new(kind: impl Into<Cow<'a, BStr>>) -> Self {
        Section { kind: kind.into(), values: Vec::new() }
    }

    /// The same with room for this many properties.
    pub(super) fn with_capacity(kind: impl Into<Cow<'a, BStr>>, properties: usize) -> Self {
        Section { kind: kind.into(), values: Vec::with_capacity(properties) }
    }

    /// The section type.
    #[must_use]
    pub fn kind(&self) -> &BStr {
        &self.kind
    }

    /// The value of a property.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.position(key.as_bytes()).and_then(|at| self.values.get(at)).map(|(_, value)| value)
    }

    /// The text of a property, if it is set and a text.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&BStr> {
        self.get(key).and_then(Value::as_text)
    }

    /// Whether a property is set and true.
    #[must_use]
    pub fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(Value::is_true)
    }

    /// The properties, in the order in which they were set.
    pub fn properties(&self) -> impl ExactSizeIterator<Item = (&BStr, &Value<'a>)> {
        self.values.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// Sets a property and returns its former value. Nothing is checked here: see
    /// [`SectionFormat::check_config`](super::SectionFormat::check_config).
    pub fn set(&mut self, key: impl Into<Cow<'a, BStr>>, value: Value<'a>) -> Option<Value<'a>> {
        let key = key.into();
        match self.position(&key).and_then(|at| self.values.get_mut(at)) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                self.values.push((key, value));
                None
            }
        }
    }

    /// Every property with its value, in the order in which they were set.
    pub(crate) fn into_properties(self) -> impl Iterator<Item = (Cow<'a, BStr>, Value<'a>)> {
        self.values.into_iter()
    }

    /// Sets every property of `other`.
    pub fn merge(&mut self, other: Section<'a>) {
        for (key, value) in other.values {
            self.set(key, value);
        }
    }

    /// Removes a property and returns its value.
    pub fn remove(&mut self, key: &str) -> Option<Value<'a>> {
        self.position(key.as_bytes()).map(|at| self.values.remove(at).1)
    }

    /// A section that does not borrow.
    #[must_use]
    pub fn into_owned(self) -> Section<'static> {
        let values = self.values.into_iter().map(|(key, value)| (owned(key), value.into_owned()));
        Section { kind: owned(self.kind), values: values.collect() }
    }

    #[inline]
    pub(super) fn position(&self, key: &[u8]) -> Option<usize> {
        self.values.iter().position(|(name, _)| name.as_bytes() == key)
    }
}

impl Serialize for Section<'_> {
    /// A map of the properties in ascending order, `type` among them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut properties: Vec<_> = self.properties().filter(|(key, _)| *key != "type").collect();
        properties.sort_unstable_by_key(|(key, _)| *key);
        let mut map = serializer.serialize_map(Some(properties.len() + 1))?;
        map.serialize_entry("type", &self.kind.to_str_lossy())?;
        for (key, value) in properties {
            map.serialize_entry(&key.to_str_lossy(), value)?;
        }
        map.end()
    }
}

/// A section that is not in the result, because the reference skips it.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SkippedSection<'a> {
    /// The type as written.
    pub kind: Cow<'a, BStr>,
    /// The id as written.
    pub id: Cow<'a, BStr>,
    /// Number of the line with the header, counted from 1.
    pub line: usize,
    /// Why it is skipped.
    pub reason: SkipReason,
    /// The property lines as written.
    pub properties: Vec<(Cow<'a, BStr>, Option<Cow<'a, BStr>>)>,
}

/// Why a section is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SkipReason {
    /// Nobody registered its type.
    UnknownType,
    /// The file format refuses its header.
    BadHeader,
}

/// A property line that was ignored because it broke a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PropertyError {
    /// Number of the line, counted from 1.
    pub line: usize,
    /// The id of the section.
    pub section: BString,
    /// The name of the property.
    pub key: BString,
    /// What is wrong.
    pub error: String,
}

impl PropertyError {
    /// Where it stands, in the words of the reference.
    #[must_use]
    pub fn context(&self, file_name: &str) -> String {
        format!("file {file_name} line {}", self.line)
    }
}

/// A parsed section file.
///
/// It borrows from the text; [`SectionConfig::into_owned`] makes one that does not.
#[derive(Debug, Clone, Default)]
pub struct SectionConfig<'a> {
    pub(super) entries: Vec<Entry<'a>>,
    index: HashMap<Cow<'a, BStr>, usize, RandomState>,
    source: Source<'a>,
    /// The running number of the last section.
    pub(super) last_order: usize,
    pub(super) skipped: Vec<SkippedSection<'a>>,
    pub(super) errors: Vec<PropertyError>,
    pub(super) diagnostics: Diagnostics,
}

#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) id: Cow<'a, BStr>,
    pub(super) order: Option<usize>,
    /// `None`: the section failed its final check.
    pub(super) section: Option<Section<'a>>,
}

#[derive(Debug, Clone)]
enum Source<'a> {
    Text(&'a [u8]),
    Digest(Digest),
}

impl Default for Source<'_> {
    fn default() -> Self {
        Source::Text(&[])
    }
}

impl<'a> SectionConfig<'a> {
    pub(super) fn of(text: &'a [u8]) -> Self {
        SectionConfig { source: Source::Text(text), ..SectionConfig::default() }
    }

    /// The digest of the text. It is computed when it is asked for.
    #[must_use]
    pub fn digest(&self) -> Digest {
        match self.source {
            Source::Text(text) => Digest::of(text),
            Source::Digest(digest) => digest,
        }
    }

    /// The ids with their sections, `None` standing for a broken one: a section of a known type that failed its
    /// final check. In the order of first appearance in the file.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = (&BStr, Option<&Section<'a>>)> {
        self.entries.iter().map(|entry| (entry.id.as_ref(), entry.section.as_ref()))
    }

    /// The usable sections with their ids.
    pub fn sections(&self) -> impl Iterator<Item = (&BStr, &Section<'a>)> {
        self.ids().filter_map(|(id, section)| Some((id, section?)))
    }

    /// The section with this id, if it is usable.
    #[must_use]
    pub fn get(&self, id: &[u8]) -> Option<&Section<'a>> {
        self.entry(id)?.section.as_ref()
    }

    /// The usable sections with their ids, to change them.
    pub fn sections_mut(&mut self) -> impl Iterator<Item = (&BStr, &mut Section<'a>)> {
        self.entries.iter_mut().filter_map(|entry| Some((entry.id.as_ref(), entry.section.as_mut()?)))
    }

    /// The same to change it.
    pub fn get_mut(&mut self, id: &[u8]) -> Option<&mut Section<'a>> {
        let at = *self.index.get(id.as_bstr())?;
        self.entries.get_mut(at)?.section.as_mut()
    }

    /// Whether there is a broken section with this id.
    #[must_use]
    pub fn is_broken(&self, id: &[u8]) -> bool {
        self.entry(id).is_some_and(|entry| entry.section.is_none())
    }

    /// The running number of a section in the file, from 1; `None` for one that is not from a file.
    #[must_use]
    pub fn order(&self, id: &[u8]) -> Option<usize> {
        self.entry(id)?.order
    }

    /// Puts a section in the place of the one with this id, or behind all others. Nothing is checked here.
    pub fn insert(&mut self, id: impl Into<Cow<'a, BStr>>, section: Section<'a>) {
        let at = self.slot(id.into());
        if let Some(entry) = self.entries.get_mut(at) {
            entry.section = Some(section);
        }
    }

    /// Removes the section with this id, broken or not, and says whether it was there.
    pub fn remove(&mut self, id: &[u8]) -> bool {
        let Some(at) = self.index.remove(id.as_bstr()) else { return false };
        self.entries.remove(at);
        for slot in self.index.values_mut().filter(|slot| **slot > at) {
            *slot -= 1;
        }
        true
    }

    /// What the reference skips: sections of unknown type, and those with a refused header.
    #[must_use]
    pub fn skipped(&self) -> &[SkippedSection<'a>] {
        &self.skipped
    }

    /// The property lines that were ignored, in file order.
    #[must_use]
    pub fn errors(&self) -> &[PropertyError] {
        &self.errors
    }

    /// Everything that was skipped or repaired, in file order.
    #[must_use]
    pub fn diagnostics(&self) -> &Diagnostics {
        &self.diagnostics
    }

    /// How many warnings the reference prints for this text.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.diagnostics.warnings()
    }

    /// A configuration that does not borrow.
    #[must_use]
    pub fn into_owned(self) -> SectionConfig<'static> {
        let digest = self.digest();
        let entries = self.entries.into_iter().map(|entry| Entry {
            id: owned(entry.id),
            order: entry.order,
            section: entry.section.map(Section::into_owned),
        });
        let skipped = self.skipped.into_iter().map(|skipped| SkippedSection {
            kind: owned(skipped.kind),
            id: owned(skipped.id),
            line: skipped.line,
            reason: skipped.reason,
            properties: skipped
                .properties
                .into_iter()
                .map(|(key, value)| (owned(key), value.map(owned)))
                .collect(),
        });
        SectionConfig {
            entries: entries.collect(),
            index: self.index.into_iter().map(|(id, at)| (owned(id), at)).collect(),
            source: Source::Digest(digest),
            last_order: self.last_order,
            skipped: skipped.collect(),
            errors: self.errors,
            diagnostics: self.diagnostics,
        }
    }

    /// Stores what the parser made of a section under the next running number; says whether the id was there.
    pub(super) fn store(&mut self, id: &'a BStr, section: Option<Section<'a>>) -> bool {
        self.last_order += 1;
        let order = Some(self.last_order);
        let known = self.entries.len();
        let at = self.slot(Cow::Borrowed(id));
        if let Some(entry) = self.entries.get_mut(at) {
            (entry.order, entry.section) = (order, section);
        }
        at < known
    }

    /// Takes the entry out that was made last.
    pub(super) fn take_last(&mut self) -> Option<(Cow<'a, BStr>, Option<Section<'a>>)> {
        let Entry { id, section, .. } = self.entries.pop()?;
        self.index.remove(&id);
        Some((id, section))
    }

    fn entry(&self, id: &[u8]) -> Option<&Entry<'a>> {
        self.entries.get(*self.index.get(id.as_bstr())?)
    }

    /// The place of an id, made if need be.
    fn slot(&mut self, id: Cow<'a, BStr>) -> usize {
        let next = self.entries.len();
        let at = *self.index.entry(id.clone()).or_insert(next);
        if at == next {
            self.entries.push(Entry { id, order: None, section: None });
        }
        at
    }
}

fn owned(text: Cow<'_, BStr>) -> Cow<'static, BStr> {
    Cow::Owned(text.into_owned())
}
