// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing a section file as the reference does, in one canonical form. (spec: section-config, "Writing")

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;

use super::format::{Dialect, SectionFormat};
use super::line::HeaderSyntax;
use super::schema::{Property, TypeView};
use super::value::{Entry, Section, SectionConfig, Value};

/// Why a file cannot be written. Nothing is written then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A section failed its final check when the file was read; writing the file would lose it.
    #[error("section \"{id}\" is broken: put it right or remove it before the file can be written")]
    Broken {
        /// The id of the section.
        id: BString,
    },
    /// The type of a section is not known.
    #[error("section \"{id}\" has unknown type \"{kind}\"")]
    UnknownType {
        /// The id of the section.
        id: BString,
        /// The type.
        kind: BString,
    },
    /// A section lacks a property that it must have.
    #[error("section \"{id}\" lacks its required property \"{property}\"")]
    Missing {
        /// The id of the section.
        id: BString,
        /// The name of the property.
        property: String,
    },
    /// A key or value contains a line break.
    #[error("property \"{property}\" of section \"{id}\" contains a line break")]
    LineBreak {
        /// The id of the section.
        id: BString,
        /// The name of the property.
        property: BString,
    },
}

impl<D: Dialect> SectionFormat<'_, D> {
    /// Writes a file: sections in their order, new ones last; properties in the canonical order, one tab before and
    /// one space behind each name. Comments and whatever was not understood are lost: see
    /// [`Document`](super::Document) for changing a file without that.
    ///
    /// # Errors
    /// [`WriteError`], for the first section that cannot be written.
    pub fn write(&self, file: &SectionConfig<'_>) -> Result<BString, WriteError> {
        let mut entries: Vec<(usize, &Entry<'_>)> = Vec::with_capacity(file.entries.len());
        let mut unordered: Vec<&Entry<'_>> = Vec::new();
        for entry in &file.entries {
            match entry.order {
                Some(order) => entries.push((order, entry)),
                None => unordered.push(entry),
            }
        }
        unordered.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let next = entries.iter().map(|(order, _)| order + 1).max().unwrap_or(0);
        entries.extend((next..).zip(unordered));
        entries.sort_by_key(|(order, _)| *order);

        let mut text = Vec::new();
        for (_, entry) in entries {
            self.write_section(&entry.id, entry.section.as_ref(), &mut text)?;
        }
        Ok(text.into())
    }

    fn write_section(
        &self,
        id: &BStr,
        section: Option<&Section<'_>>,
        text: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let writer = Writer { id, text, dialect: &self.dialect };
        let known = section.and_then(|section| Some((section, self.schema.section_type(section.kind())?)));
        match (known, section) {
            (Some((section, section_type)), _) => writer.known(section, section_type),
            (None, section) if self.allow_unknown => writer.unknown(section),
            (None, Some(section)) => {
                Err(WriteError::UnknownType { id: id.to_owned(), kind: section.kind().to_owned() })
            }
            (None, None) => Err(WriteError::Broken { id: id.to_owned() }),
        }
    }
}

struct Writer<'w, D> {
    id: &'w BStr,
    text: &'w mut Vec<u8>,
    dialect: &'w D,
}

impl<D: Dialect> Writer<'_, D> {
    fn known(mut self, section: &Section<'_>, section_type: TypeView<'_>) -> Result<(), WriteError> {
        self.header(section.kind());
        if let Some(comment) = section.get("comment").filter(|comment| comment.is_true()) {
            self.scalar(b"comment", comment)?;
        }
        if section.is_true("disable") {
            self.text.extend_from_slice(b"\tdisable\n");
        }
        for required in [true, false] {
            for (property, flags) in section_type.options() {
                if flags.optional != required && !matches!(property.name, "comment" | "disable") {
                    self.option(section, &property, required)?;
                }
            }
        }
        self.text.push(b'\n');
        Ok(())
    }

    fn option(
        &mut self,
        section: &Section<'_>,
        property: &Property<'_>,
        required: bool,
    ) -> Result<(), WriteError> {
        let name = property.name;
        let Some(value) = section.get(name) else {
            return match required {
                true => Err(WriteError::Missing { id: self.id.to_owned(), property: name.to_owned() }),
                false => Ok(()),
            };
        };
        let Some(value) = self.dialect.encode(name, value) else { return Ok(()) };
        if property.schema.is_array() {
            self.elements(name.as_bytes(), &value)
        } else if property.schema.is_boolean() {
            self.scalar(name.as_bytes(), &Value::from(value.is_true()))
        } else {
            self.scalar(name.as_bytes(), &value)
        }
    }

    /// A section of unknown type, or a broken one, as it is when such are kept.
    fn unknown(mut self, section: Option<&Section<'_>>) -> Result<(), WriteError> {
        let Some(section) = section else {
            self.header(BStr::new(""));
            self.text.push(b'\n');
            return Ok(());
        };
        self.header(section.kind());
        let mut values: Vec<(&BStr, &Value<'_>)> =
            section.properties().filter(|(key, _)| *key != "type").collect();
        values.sort_unstable_by_key(|(key, _)| (*key != "comment", *key));
        for (key, value) in values {
            match value {
                Value::List(list) => {
                    for element in list {
                        self.line(key, element)?;
                    }
                }
                single => self.line(key, single)?,
            }
        }
        self.text.push(b'\n');
        Ok(())
    }

    fn header(&mut self, kind: &BStr) {
        if self.dialect.header_syntax() == HeaderSyntax::TypeAndId {
            self.text.extend_from_slice(kind);
            self.text.extend_from_slice(b": ");
        }
        self.text.extend_from_slice(self.id);
        self.text.push(b'\n');
    }

    /// One line for each element of an array, but none for an empty one.
    fn elements(&mut self, key: &[u8], value: &Value<'_>) -> Result<(), WriteError> {
        let single = std::slice::from_ref(value);
        let elements = match value {
            Value::List(list) => list.as_slice(),
            _ => single,
        };
        for element in elements {
            let element = printed(element);
            if !element.is_empty() {
                self.raw_line(key, &element);
            }
        }
        Ok(())
    }

    /// A line for a value, but none for an empty one.
    fn scalar(&mut self, key: &[u8], value: &Value<'_>) -> Result<(), WriteError> {
        match value {
            Value::Text(text) if text.is_empty() => Ok(()),
            _ => self.line(key.as_bstr(), value),
        }
    }

    fn line(&mut self, key: &BStr, value: &Value<'_>) -> Result<(), WriteError> {
        let value = printed(value);
        let breaks = |text: &[u8]| text.contains(&b'\n') || text.contains(&b'\r');
        if breaks(key) || breaks(&value) {
            return Err(WriteError::LineBreak { id: self.id.to_owned(), property: key.to_owned() });
        }
        self.raw_line(key, &value);
        Ok(())
    }

    fn raw_line(&mut self, key: &[u8], value: &[u8]) {
        self.text.push(b'\t');
        self.text.extend_from_slice(key);
        self.text.push(b' ');
        self.text.extend_from_slice(value);
        self.text.push(b'\n');
    }
}

/// A value as one text. Sets and maps that no rule encodes are joined by commas.
pub(super) fn printed<'v>(value: &'v Value<'_>) -> Cow<'v, [u8]> {
    match value {
        Value::Null => Cow::Borrowed(b""),
        Value::Text(text) => Cow::Borrowed(text.as_bytes()),
        Value::Number(number) => Cow::Owned(number.to_string().into_bytes()),
        Value::List(list) => Cow::Owned(join(list.iter().map(printed))),
        Value::Set(set) => Cow::Owned(join(set.iter().map(|member| member.as_bytes().into()))),
        Value::Map(map) => {
            Cow::Owned(join(map.iter().map(|(key, value)| [key.as_bytes(), value].join(&b'=').into())))
        }
    }
}

fn join<'v>(parts: impl Iterator<Item = Cow<'v, [u8]>>) -> Vec<u8> {
    let mut text = Vec::new();
    for (at, part) in parts.enumerate() {
        if at > 0 {
            text.push(b',');
        }
        text.extend_from_slice(&part);
    }
    text
}
