// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the values of one property look like.

use crate::format::Context;
use crate::rule::{Kind, Rule, ValueError};

/// The schema of a property: what a value must look like, and whether there may be many.
///
/// The lifetime is that of the words and patterns of the rule; `'static` for schemas written down in a program.
///
/// ```
/// use pve_config::rule::Rule;
/// use pve_config::section::PropertySchema;
///
/// let port = PropertySchema::one(Rule::integer().minimum(1.0).maximum(65535.0));
/// assert!(port.check(b"8007").is_ok());
/// assert_eq!(port.check(b"70000").unwrap_err().to_string(), "\"70000\" is more than 65535");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PropertySchema<'s> {
    rule: Rule<'s>,
    is_array: bool,
    optional: bool,
}

impl<'s> PropertySchema<'s> {
    /// A property with one value. The value of a boolean may be left out, which means 1.
    #[must_use]
    pub const fn one(rule: Rule<'s>) -> Self {
        PropertySchema { rule, is_array: false, optional: false }
    }

    /// A list: any number of lines, each with an element that satisfies `rule`.
    #[must_use]
    pub const fn array(rule: Rule<'s>) -> Self {
        PropertySchema { rule, is_array: true, optional: false }
    }

    /// The same, but sections are complete without it. This counts for the properties of isolated types only:
    /// elsewhere the option table of the type decides.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// What each value must look like.
    #[must_use]
    pub const fn rule(&self) -> &Rule<'s> {
        &self.rule
    }

    /// Whether the property is a list.
    #[must_use]
    pub const fn is_array(&self) -> bool {
        self.is_array
    }

    /// Whether [`PropertySchema::optional`] was said.
    #[must_use]
    pub const fn is_optional(&self) -> bool {
        self.optional
    }

    /// Whether the property has one value, a boolean.
    #[must_use]
    pub fn is_boolean(&self) -> bool {
        !self.is_array && self.rule.kind == Kind::Boolean
    }

    /// Whether the property has one value, which is kept as a number: a boolean, an integer or a number.
    #[must_use]
    pub fn is_numeric(&self) -> bool {
        !self.is_array && self.rule.kind != Kind::String
    }

    /// Checks a value; for a list, one element. (spec: section-config, "Schema check of a scalar value")
    ///
    /// # Errors
    /// The first violation.
    #[inline]
    pub fn check(&self, value: &[u8]) -> Result<(), ValueError> {
        self.rule.check(value, &Context::default())
    }
}
