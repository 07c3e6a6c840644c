// SPDX-License-Identifier: MIT OR Apache-2.0
//! The final check of a section, and changes to one. (spec: section-config, "End of a section" and "Updates")

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;

use super::format::{Dialect, Place, SectionFormat};
use super::parse::{ReadProperty, Seen, converted};
use super::schema::{Property, TypeView};
use super::value::{Section, Value};
use crate::digest::Digest;
use crate::rule::ValueError;

/// What new values of a section are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new section: everything required must be given.
    Create,
    /// A change of a section: fixed properties must not be given.
    Update,
}

/// What is wrong with a property, or with a section as a whole.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum SectionError {
    /// There is no such section type.
    #[error("unknown section type \"{kind}\"")]
    UnknownType {
        /// The type.
        kind: BString,
    },
    /// No type has such a property.
    #[error("unknown property \"{property}\"")]
    UnknownProperty {
        /// The name of the property.
        property: BString,
    },
    /// The section type does not have the property.
    #[error("property \"{property}\" does not belong to type \"{kind}\"")]
    UnexpectedProperty {
        /// The name of the property.
        property: BString,
        /// The section type.
        kind: String,
    },
    /// The property stands there for the second time; the first counts.
    #[error("property \"{property}\" is set already: the first line of it counts")]
    Duplicate {
        /// The name of the property.
        property: BString,
    },
    /// The property stands there without a value.
    #[error("property \"{property}\" needs a value")]
    NoValue {
        /// The name of the property.
        property: BString,
    },
    /// The value contains a line break.
    #[error("value of \"{property}\" contains a line break")]
    LineBreak {
        /// The name of the property.
        property: BString,
    },
    /// The value breaks the schema.
    #[error("invalid value of \"{property}\": {violation}")]
    Invalid {
        /// The name of the property.
        property: BString,
        /// The broken rule.
        #[source]
        violation: Box<ValueError>,
    },
    /// A required property is not given.
    #[error("required property \"{property}\" is missing")]
    Missing {
        /// The name of the property.
        property: String,
    },
    /// The property cannot be changed once the section exists.
    #[error("property \"{property}\" cannot be changed: it is fixed when the section is created")]
    Fixed {
        /// The name of the property.
        property: BString,
    },
    /// The property cannot be deleted because the section needs it.
    #[error("property \"{property}\" cannot be deleted: the section needs it")]
    Required {
        /// The name of the property.
        property: BString,
    },
    /// The property is to be set and to be deleted.
    #[error("property \"{property}\" cannot be set and deleted at once")]
    SetAndDeleted {
        /// The name of the property.
        property: BString,
    },
    /// A rule of the file format is broken.
    #[error("{reason}")]
    Rule {
        /// Which one, and how.
        reason: String,
    },
    /// Somebody else changed the file meanwhile.
    #[error(
        "the file was changed meanwhile: digest {current} instead of {expected}; read it again and repeat the change"
    )]
    Digest {
        /// The digest of the file.
        current: Digest,
        /// The digest that the caller saw.
        expected: String,
    },
}

impl SectionError {
    #[cold]
    pub(super) fn invalid(property: &BStr, violation: ValueError) -> Self {
        SectionError::Invalid { property: property.to_owned(), violation: Box::new(violation) }
    }

    /// Stable name of the rule that is broken, in kebab case, for programs that filter.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            SectionError::UnknownType { .. } => "unknown-type",
            SectionError::UnknownProperty { .. } => "unknown-property",
            SectionError::UnexpectedProperty { .. } => "unexpected-property",
            SectionError::Duplicate { .. } => "duplicate-property",
            SectionError::NoValue { .. } => "missing-value",
            SectionError::LineBreak { .. } => "line-break",
            SectionError::Invalid { .. } => "invalid-value",
            SectionError::Missing { .. } => "missing-property",
            SectionError::Fixed { .. } => "fixed-property",
            SectionError::Required { .. } => "required-property",
            SectionError::SetAndDeleted { .. } => "set-and-deleted",
            SectionError::Rule { .. } => "unusable-section",
            SectionError::Digest { .. } => "digest",
        }
    }
}

impl<D: Dialect> SectionFormat<'_, D> {
    /// Checks given values and decodes them, as the reference's API does for a new section or a change of one.
    ///
    /// The schema of the single values is not checked here: see [`SectionFormat::check_values`].
    ///
    /// # Errors
    /// [`SectionError`], for the first thing that is wrong.
    pub fn check_config<'a>(
        &self,
        kind: &[u8],
        id: &[u8],
        values: Section<'a>,
        purpose: Purpose,
    ) -> Result<Section<'a>, SectionError> {
        let section_type = self.type_of(kind)?;
        self.final_check(section_type, id.as_bstr(), values, purpose, Read::default(), &mut |_, _| {})
    }

    /// Checks each given value against its schema, as the API does before anything else.
    ///
    /// # Errors
    /// [`SectionError::UnknownProperty`], [`SectionError::Invalid`].
    pub fn check_values(&self, kind: &[u8], values: &Section<'_>) -> Result<(), SectionError> {
        let section_type = self.type_of(kind)?;
        for (key, value) in &values.values {
            let Some(property) = section_type.property(key) else {
                return Err(SectionError::UnknownProperty { property: key.as_ref().to_owned() });
            };
            let check = |value: &Value<'_>| match value {
                Value::Text(text) => property.schema.check(text),
                Value::Number(number) => property.schema.check(number.to_string().as_bytes()),
                _ => Ok(()),
            };
            let checked = match value {
                Value::List(list) => list.iter().try_for_each(check),
                single => check(single),
            };
            checked.map_err(|violation| SectionError::invalid(key, violation))?;
        }
        Ok(())
    }

    /// Deletes properties from a section; `set` are the values that are to be set in the same step.
    ///
    /// # Errors
    /// [`SectionError`], for the first name that is wrong; then some may be deleted already.
    pub fn delete_properties<'n>(
        &self,
        section: &mut Section<'_>,
        names: impl IntoIterator<Item = &'n [u8]>,
        set: &Section<'_>,
    ) -> Result<(), SectionError> {
        let section_type = self.type_of(section.kind())?;
        for name in names {
            let property = || name.as_bstr().to_owned();
            let flags = section_type.property(name).and_then(|found| found.flags).ok_or_else(|| {
                SectionError::UnexpectedProperty {
                    property: property(),
                    kind: section_type.name().to_owned(),
                }
            })?;
            if !flags.optional {
                return Err(SectionError::Required { property: property() });
            }
            if flags.fixed {
                return Err(SectionError::Fixed { property: property() });
            }
            if set.position(name).is_some() {
                return Err(SectionError::SetAndDeleted { property: property() });
            }
            if let Some(at) = section.position(name) {
                section.values.remove(at);
            }
        }
        Ok(())
    }

    /// The final check of a section: all values again but for their schema, decoded; then whether all is there.
    /// `read` says which values were checked when their lines were read; `warn` gets the position of the value that a
    /// warning is about.
    pub(super) fn final_check<'a>(
        &self,
        section_type: TypeView<'_>,
        id: &BStr,
        mut section: Section<'a>,
        purpose: Purpose,
        read: Read<'_>,
        warn: &mut dyn FnMut(usize, String),
    ) -> Result<Section<'a>, SectionError> {
        let create = purpose == Purpose::Create;
        let kind = section_type.name();
        self.dialect.complete(kind, id, &mut section, create);
        let mut dropped = false;
        for (at, (key, value)) in section.values.iter_mut().enumerate() {
            if key.as_bytes() == b"type" && value.as_text() == Some(BStr::new(kind)) {
                continue;
            }
            let property = match read.properties.get(at) {
                Some(read) if read.property.name.as_bytes() == key.as_bytes() => read.property,
                _ => checked_again(section_type, key, value, create)?,
            };
            if !self.dialect.decodes(property.name) {
                continue;
            }
            let place = Place { kind, id, key: property.name };
            let taken = std::mem::replace(value, Value::Null);
            let decoded = self.dialect.decode(&place, taken, &mut |warning| warn(at, warning));
            match decoded.map_err(|reason| SectionError::Rule { reason })? {
                Some(decoded) => *value = decoded,
                None => dropped = true,
            }
        }
        if dropped {
            section.values.retain(|(_, value)| *value != Value::Null);
        }
        if create {
            for (at, name) in section_type.required() {
                let is_there = !dropped && read.seen.contains(at);
                if !is_there && section.position(name.as_bytes()).is_none() {
                    return Err(SectionError::Missing { property: name.to_owned() });
                }
            }
        }
        self.dialect.check(kind, &mut section, create).map_err(|reason| SectionError::Rule { reason })?;
        Ok(section)
    }

    pub(super) fn type_of(&self, kind: &[u8]) -> Result<TypeView<'_>, SectionError> {
        self.schema.section_type(kind).ok_or_else(|| SectionError::UnknownType { kind: kind.into() })
    }
}

/// What of a section was read from lines, and so has passed the checks of single values.
#[derive(Clone, Copy, Default)]
pub(super) struct Read<'r> {
    /// The properties of the first values, in their order.
    pub(super) properties: &'r [ReadProperty<'r, 'r>],
    /// Which properties these are.
    pub(super) seen: Seen,
}

/// The checks that do not need the schema, for a value that comes from elsewhere than a line of the file. A text that
/// stands for a number becomes one.
fn checked_again<'s>(
    section_type: TypeView<'s>,
    key: &BStr,
    value: &mut Value<'_>,
    create: bool,
) -> Result<Property<'s>, SectionError> {
    let Some(property) = section_type.property(key) else {
        return Err(SectionError::UnknownProperty { property: key.to_owned() });
    };
    let Some(flags) = property.flags else {
        let kind = section_type.name().to_owned();
        return Err(SectionError::UnexpectedProperty { property: key.to_owned(), kind });
    };
    if flags.fixed && !create {
        return Err(SectionError::Fixed { property: key.to_owned() });
    }
    match value {
        Value::Null => return Err(SectionError::NoValue { property: key.to_owned() }),
        Value::Text(text) if text.contains(&b'\n') || text.contains(&b'\r') => {
            return Err(SectionError::LineBreak { property: key.to_owned() });
        }
        Value::Text(text) if property.schema.is_numeric() => {
            *value = converted(property.schema, text).into_owned();
        }
        _ => {}
    }
    Ok(property)
}

/// Optimistic locking: whether the file is still the one that the caller saw. An empty text says nothing.
///
/// # Errors
/// [`SectionError::Digest`].
pub fn check_digest(current: Digest, expected: &str) -> Result<(), SectionError> {
    if expected.is_empty() || current.to_string() == expected {
        return Ok(());
    }
    Err(SectionError::Digest { current, expected: expected.to_owned() })
}
