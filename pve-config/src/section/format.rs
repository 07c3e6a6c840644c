// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kind of section file: a schema, and what the kind changes on the general rules.

use std::borrow::Cow;

use bstr::BStr;

use super::line::HeaderSyntax;
use super::schema::Schema;
use super::value::{Section, Value};

/// Where a value stands, for [`Dialect::decode`].
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Place<'p> {
    /// The section type.
    pub kind: &'p str,
    /// The id of the section.
    pub id: &'p BStr,
    /// The name of the property.
    pub key: &'p str,
}

/// What a kind of file changes on the general rules. Every method has the general rule for a default.
pub trait Dialect {
    /// What headers look like.
    fn header_syntax(&self) -> HeaderSyntax {
        HeaderSyntax::TypeAndId
    }

    /// Accepts a header and says what type it stands for, or refuses it with a reason; then the section is skipped.
    ///
    /// # Errors
    /// The reason of the refusal.
    fn header<'a>(&self, kind: &'a BStr, id: &'a BStr) -> Result<Cow<'a, BStr>, String> {
        let _ = id;
        Ok(Cow::Borrowed(kind))
    }

    /// Whether [`Dialect::decode`] does anything to values of this property, and so must be asked.
    fn decodes(&self, key: &str) -> bool {
        let _ = key;
        true
    }

    /// Turns a checked value into what it means. `None` drops the property; what is said to `warn` is a warning each.
    ///
    /// # Errors
    /// The reason why the whole section cannot be used.
    fn decode<'a>(
        &self,
        place: &Place<'_>,
        value: Value<'a>,
        warn: &mut dyn FnMut(String),
    ) -> Result<Option<Value<'a>>, String> {
        let _ = (place, warn);
        Ok(Some(value))
    }

    /// The inverse of [`Dialect::decode`], for writing. `None`: the property is not written.
    fn encode<'v>(&self, key: &str, value: &'v Value<'v>) -> Option<Cow<'v, Value<'v>>> {
        let _ = key;
        Some(Cow::Borrowed(value))
    }

    /// Completes the values of a section before they are checked; `create` is false for a change of an existing one.
    fn complete<'a>(&self, kind: &str, id: &[u8], section: &mut Section<'a>, create: bool) {
        let _ = (kind, id, section, create);
    }

    /// Checks a section whose values were decoded and are complete, and may still change it.
    ///
    /// # Errors
    /// The reason why the whole section cannot be used.
    fn check<'a>(&self, kind: &str, section: &mut Section<'a>, create: bool) -> Result<(), String> {
        let _ = (kind, section, create);
        Ok(())
    }
}

/// The general rules, without any change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PlainDialect;

impl Dialect for PlainDialect {
    fn decodes(&self, _key: &str) -> bool {
        false
    }
}

/// A kind of section file.
///
/// ```
/// use pve_config::rule::Rule;
/// use pve_config::section::{OptionFlags, PropertySchema, Schema, SectionFormat, TypeDeclaration, Mode};
///
/// let rule = TypeDeclaration::new("node-affinity")
///     .property("resources", PropertySchema::one(Rule::string()))
///     .property("strict", PropertySchema::one(Rule::boolean()))
///     .option("resources", OptionFlags::REQUIRED)
///     .option("strict", OptionFlags::OPTIONAL);
/// let format = SectionFormat::plain(Schema::new(Mode::Unified, Vec::new(), vec![rule])?);
///
/// let file = format.parse(b"node-affinity: web\n\tstrict yes\n\tresources vm:100\n");
/// assert_eq!(file.get(b"web").unwrap().text("resources"), Some("vm:100".into()));
/// // the reference takes no words for booleans here
/// assert_eq!(file.diagnostics()[0].to_string(), "line 2, column 9: error: invalid value of \"strict\": \
///     \"yes\" is not a boolean; write 1 or 0");
/// assert_eq!(format.write(&file)?, "node-affinity: web\n\tresources vm:100\n\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct SectionFormat<'s, D = PlainDialect> {
    pub(super) schema: Schema<'s>,
    pub(super) dialect: D,
    pub(super) allow_unknown: bool,
}

impl<'s> SectionFormat<'s, PlainDialect> {
    /// A format that changes nothing on the general rules.
    #[must_use]
    pub fn plain(schema: Schema<'s>) -> Self {
        SectionFormat::new(schema, PlainDialect)
    }
}

impl<'s, D: Dialect> SectionFormat<'s, D> {
    /// A format with rules of its own.
    #[must_use]
    pub fn new(schema: Schema<'s>, dialect: D) -> Self {
        SectionFormat { schema, dialect, allow_unknown: false }
    }

    /// The same, but sections of unknown type are kept, unchecked, instead of skipped. (spec: section-config,
    /// "Unknown types with \"allow unknown\"")
    #[must_use]
    pub fn allow_unknown(mut self, allow: bool) -> Self {
        self.allow_unknown = allow;
        self
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &Schema<'s> {
        &self.schema
    }

    /// The rules of its own.
    #[must_use]
    pub fn dialect(&self) -> &D {
        &self.dialect
    }
}
