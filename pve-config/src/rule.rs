// SPDX-License-Identifier: MIT OR Apache-2.0
//! What one value must look like: type, format, pattern, bounds and words, checked in the reference's order.
//!
//! A [`Rule`] belongs to a key of a property string, to an option of a guest, or to a property of a section file.

use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};
use regex::bytes::Regex;

use crate::format::{Context, Format, Scalar, is_falsy, is_integer, numeric_value, split_list};
use crate::suggestion::{nearest, question};

/// The type of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// `0` or `1`.
    Boolean,
    /// Decimal digits with an optional sign.
    Integer,
    /// Decimal number with optional sign, fraction and exponent.
    Number,
    /// Any text.
    String,
}

/// What one value must look like. The lifetime is that of the words and patterns: `'static` in the tables of this
/// crate, shorter in schemas that are put together at run time.
///
/// ```
/// use pve_config::format::Context;
/// use pve_config::rule::{Reason, Rule};
///
/// let rule = Rule::integer().minimum(1.0).maximum(4094.0);
/// let context = Context::default();
/// assert!(rule.check(b"42", &context).is_ok());
/// let error = rule.check(b"4095", &context).unwrap_err();
/// assert_eq!(error.to_string(), "\"4095\" is more than 4094");
/// ```
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Rule<'s> {
    /// The type.
    pub kind: Kind,
    /// The named format that the value must satisfy.
    pub format: Option<Format>,
    /// The pattern that the whole value must match.
    pub pattern: Option<Pattern<'s>>,
    /// The words one of which the value must be; empty: any.
    pub words: &'s [&'s str],
    /// Smallest number allowed, if the value is a number.
    pub minimum: Option<f64>,
    /// Largest number allowed, if the value is a number.
    pub maximum: Option<f64>,
    /// Smallest length in bytes.
    pub min_length: Option<usize>,
    /// Largest length in bytes.
    pub max_length: Option<usize>,
}

impl<'s> Rule<'s> {
    /// Any value of `kind`.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Rule {
            kind,
            format: None,
            pattern: None,
            words: &[],
            minimum: None,
            maximum: None,
            min_length: None,
            max_length: None,
        }
    }

    /// A boolean.
    #[must_use]
    pub const fn boolean() -> Self {
        Self::new(Kind::Boolean)
    }

    /// An integer.
    #[must_use]
    pub const fn integer() -> Self {
        Self::new(Kind::Integer)
    }

    /// A number.
    #[must_use]
    pub const fn number() -> Self {
        Self::new(Kind::Number)
    }

    /// A text.
    #[must_use]
    pub const fn string() -> Self {
        Self::new(Kind::String)
    }

    /// The same, in this format.
    #[must_use]
    pub const fn format(mut self, format: Format) -> Self {
        self.format = Some(format);
        self
    }

    /// The same, matching this pattern.
    #[must_use]
    pub const fn pattern(mut self, pattern: Pattern<'s>) -> Self {
        self.pattern = Some(pattern);
        self
    }

    /// The same, being one of these words.
    #[must_use]
    pub const fn words(mut self, words: &'s [&'s str]) -> Self {
        self.words = words;
        self
    }

    /// The same, at least this.
    #[must_use]
    pub const fn minimum(mut self, minimum: f64) -> Self {
        self.minimum = Some(minimum);
        self
    }

    /// The same, at most this.
    #[must_use]
    pub const fn maximum(mut self, maximum: f64) -> Self {
        self.maximum = Some(maximum);
        self
    }

    /// The same, at least this many bytes.
    #[must_use]
    pub const fn min_length(mut self, length: usize) -> Self {
        self.min_length = Some(length);
        self
    }

    /// The same, at most this many bytes.
    #[must_use]
    pub const fn max_length(mut self, length: usize) -> Self {
        self.max_length = Some(length);
        self
    }

    /// Whether nothing but the type is demanded.
    pub(crate) const fn is_type_alone(&self) -> bool {
        self.format.is_none()
            && self.pattern.is_none()
            && self.words.is_empty()
            && self.minimum.is_none()
            && self.maximum.is_none()
            && self.min_length.is_none()
            && self.max_length.is_none()
    }

    /// Checks `value` against everything the rule says: type, format, pattern, length, bounds, words (spec: section
    /// files, "Schema check of a scalar value").
    ///
    /// # Errors
    ///
    /// The first violation, with the place of the offending part in `value`.
    #[inline]
    pub fn check(&self, value: &[u8], context: &Context<'_>) -> Result<(), ValueError> {
        let well_typed = match self.kind {
            Kind::String => true,
            Kind::Boolean => matches!(value, b"0" | b"1"),
            Kind::Integer => is_integer(value),
            Kind::Number => numeric_value(value).is_some(),
        };
        if !well_typed {
            return Err(ValueError::whole(value, Reason::Type(self.kind)));
        }
        self.check_format(value, context)?;
        match self.violation(value) {
            None => Ok(()),
            Some(reason) => Err(ValueError::whole(value, reason)),
        }
    }

    /// Checks `value` against the format alone.
    ///
    /// # Errors
    ///
    /// What is wrong with it; for a list, the first item that is.
    #[inline]
    pub fn check_format(&self, value: &[u8], context: &Context<'_>) -> Result<(), ValueError> {
        let bad_scalar = |scalar: Scalar| ValueError::whole(value, Reason::Format(scalar));
        match self.format {
            None => Ok(()),
            Some(Format::Scalar(scalar)) if scalar.accepts(value, context) => Ok(()),
            Some(Format::Scalar(scalar)) => Err(bad_scalar(scalar)),
            Some(Format::Optional(scalar)) if is_falsy(value) || scalar.accepts(value, context) => Ok(()),
            Some(Format::Optional(scalar)) => Err(bad_scalar(scalar)),
            Some(Format::List(scalar)) => {
                match split_list(value).find(|item| !scalar.accepts(item, context)) {
                    None => Ok(()),
                    Some(item) => Err(ValueError::new(span_in(value, item), item, Reason::ListItem(scalar))),
                }
            }
            Some(Format::Properties(format)) => format.parse_with(value, context).map(|_| ()),
        }
    }

    /// The first violation among pattern, length, bounds and words.
    #[inline]
    fn violation(&self, value: &[u8]) -> Option<Reason> {
        if let Some(pattern) = &self.pattern
            && !pattern.matches(value)
        {
            return Some(Reason::Pattern(pattern.source.to_owned()));
        }
        if let Some(longest) = self.max_length.filter(|longest| value.len() > *longest) {
            return Some(Reason::TooLong { longest });
        }
        if let Some(shortest) = self.min_length.filter(|shortest| value.len() < *shortest) {
            return Some(Reason::TooShort { shortest });
        }
        if (self.maximum.is_some() || self.minimum.is_some())
            && let Some(number) = numeric_value(value)
        {
            if let Some(maximum) = self.maximum.filter(|maximum| number > *maximum) {
                return Some(Reason::TooLarge { maximum });
            }
            if let Some(minimum) = self.minimum.filter(|minimum| number < *minimum) {
                return Some(Reason::TooSmall { minimum });
            }
        }
        if !self.words.is_empty() && !self.words.iter().any(|word| word.as_bytes() == value) {
            let suggestion = nearest(value, self.words.iter().copied()).map(str::to_owned);
            return Some(Reason::Word { words: self.words.join(", "), suggestion });
        }
        None
    }
}

/// A pattern that a whole value must match: a regular expression over bytes with ASCII classes.
#[derive(Debug, Clone, Copy)]
pub struct Pattern<'s> {
    /// The expression as the schema gives it, without anchors.
    pub source: &'s str,
    compiled: Compiled<'s>,
}

#[derive(Debug, Clone, Copy)]
enum Compiled<'s> {
    /// Compiled at the first use, then kept for the life of the program.
    Lazily(fn() -> Option<&'static Regex>),
    Borrowed(&'s Regex),
}

impl<'s> Pattern<'s> {
    /// A pattern of a schema that is put together at run time; `regex` is what [`Pattern::compile`] made of `source`.
    #[must_use]
    pub const fn new(source: &'s str, regex: &'s Regex) -> Self {
        Pattern { source, compiled: Compiled::Borrowed(regex) }
    }

    /// What [`pattern!`] uses.
    pub(crate) const fn lazily(source: &'s str, regex: fn() -> Option<&'static Regex>) -> Self {
        Pattern { source, compiled: Compiled::Lazily(regex) }
    }

    /// Compiles `source` to match whole values, one trailing line feed allowed.
    ///
    /// # Errors
    ///
    /// What `regex` says about a malformed expression.
    pub fn compile(source: &str) -> Result<Regex, regex::Error> {
        Regex::new(&format!(r"\A(?-u:{source})\n?\z"))
    }

    /// Whether the whole of `value` matches.
    #[must_use]
    pub fn matches(&self, value: &[u8]) -> bool {
        match self.compiled {
            Compiled::Borrowed(regex) => regex.is_match(value),
            Compiled::Lazily(regex) => regex().is_some_and(|regex| regex.is_match(value)),
        }
    }
}

/// A pattern of a table, compiled when it is first needed.
macro_rules! pattern {
    ($source:expr) => {
        $crate::rule::Pattern::lazily($source, {
            fn regex() -> Option<&'static ::regex::bytes::Regex> {
                static REGEX: ::std::sync::LazyLock<Option<::regex::bytes::Regex>> =
                    ::std::sync::LazyLock::new(|| $crate::rule::Pattern::compile($source).ok());
                ::std::sync::LazyLock::force(&REGEX).as_ref()
            }
            regex
        })
    };
}
pub(crate) use pattern;

/// A value that breaks a rule: where, and why.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}{}", Place(.key.as_ref()), Sentence(.text.as_bstr(), .reason))]
#[non_exhaustive]
pub struct ValueError {
    /// The offending bytes as a range of the text that was checked.
    pub span: Range<usize>,
    /// The key of the property string that the error is about.
    pub key: Option<BString>,
    /// The offending bytes, cut to [`ValueError::MAX_TEXT`].
    pub text: BString,
    /// Why it is wrong.
    pub reason: Reason,
}

impl ValueError {
    /// Longest offending text that is copied into an error, in bytes.
    pub const MAX_TEXT: usize = 200;

    pub(crate) fn new(span: Range<usize>, text: &[u8], reason: Reason) -> Self {
        let text = BString::from(text.get(..Self::MAX_TEXT).unwrap_or(text));
        ValueError { span, key: None, text, reason }
    }

    /// An error about the whole of `value`.
    #[cold]
    pub(crate) fn whole(value: &[u8], reason: Reason) -> Self {
        Self::new(0..value.len(), value, reason)
    }

    /// The same about a part that starts `offset` bytes into the text, being the value of `key`.
    #[cold]
    pub(crate) fn within(mut self, offset: usize, key: &str) -> Self {
        self.span = self.span.start + offset..self.span.end + offset;
        self.key.get_or_insert_with(|| key.into());
        self
    }

    /// What to write instead, where that is known.
    #[must_use]
    pub fn suggestion(&self) -> Option<&str> {
        match &self.reason {
            Reason::Word { suggestion, .. }
            | Reason::UnknownKey { suggestion, .. }
            | Reason::UnknownOption { suggestion }
            | Reason::CpuModel { suggestion } => suggestion.as_deref(),
            _ => None,
        }
    }

    /// Stable name of the rule that is broken, in kebab case, for programs that filter.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self.reason {
            Reason::Type(Kind::Boolean) => "not-boolean",
            Reason::Type(Kind::Integer) => "not-integer",
            Reason::Type(_) => "not-number",
            Reason::Format(_) | Reason::ListItem(_) => "format",
            Reason::Pattern(_) => "pattern",
            Reason::TooLong { .. } => "too-long",
            Reason::TooShort { .. } => "too-short",
            Reason::TooLarge { .. } => "too-large",
            Reason::TooSmall { .. } => "too-small",
            Reason::Word { .. } => "unknown-word",
            Reason::UnknownKey { .. } => "unknown-key",
            Reason::Duplicate => "duplicate-key",
            Reason::NoDefaultKey { .. } => "no-default-key",
            Reason::Malformed => "malformed-property",
            Reason::Missing { .. } => "missing-key",
            Reason::Requires { .. } => "requires-key",
            Reason::Comma => "comma",
            Reason::CpuModel { .. } => "unknown-cpu-model",
            Reason::CpuFlag => "cpu-flag",
            Reason::ReportedModel => "reported-model",
            Reason::KeepAll => "keep-all",
            Reason::UnknownOption { .. } => "unknown-option",
            Reason::LineBreak => "line-break",
            Reason::SizeTooLarge => "too-large",
            Reason::Conflict { .. } => "conflict",
            Reason::Needs { .. } => "requires-key",
            Reason::OnCdrom => "not-on-cdrom",
        }
    }
}

/// Why a value is wrong. Completes a sentence that starts with the offending text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// Not of the type.
    #[error("is not {}", type_description(*.0))]
    Type(Kind),
    /// Not in the language of the format.
    #[error("is not {}", .0.description())]
    Format(Scalar),
    /// An item of a list that is not in the language of the format.
    #[error("in the list is not {}", .0.description())]
    ListItem(Scalar),
    /// Does not match the pattern.
    #[error("does not match the pattern {0}")]
    Pattern(String),
    /// Too many bytes.
    #[error("is longer than {longest} bytes")]
    TooLong {
        /// Largest length allowed.
        longest: usize,
    },
    /// Too few bytes.
    #[error("is shorter than {shortest} bytes")]
    TooShort {
        /// Smallest length allowed.
        shortest: usize,
    },
    /// Number above the maximum.
    #[error("is more than {maximum}")]
    TooLarge {
        /// Largest number allowed.
        maximum: f64,
    },
    /// Number below the minimum.
    #[error("is less than {minimum}")]
    TooSmall {
        /// Smallest number allowed.
        minimum: f64,
    },
    /// None of the words.
    #[error("is none of: {words}{}", question(.suggestion.as_deref()))]
    Word {
        /// The words, comma separated.
        words: String,
        /// The word that was probably meant.
        suggestion: Option<String>,
    },
    /// Key that the property-string format does not have.
    #[error("is not a key of {format}{}", question(.suggestion.as_deref()))]
    UnknownKey {
        /// Name of the format.
        format: &'static str,
        /// The key that was probably meant.
        suggestion: Option<String>,
    },
    /// Key given twice, be it by an alias.
    #[error("gives a key for the second time")]
    Duplicate,
    /// Value without a key, in a format without default key.
    #[error("has no key, and {format} has no default key; write KEY=VALUE")]
    NoDefaultKey {
        /// Name of the format.
        format: &'static str,
    },
    /// Part that is neither a value nor a key and a value.
    #[error("is neither VALUE nor KEY=VALUE")]
    Malformed,
    /// Required key that is not there.
    #[error("lacks the required key {key:?}")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// Key that needs another, which is not there.
    #[error("needs the key {key:?} beside it")]
    Requires {
        /// The other key.
        key: &'static str,
    },
    /// Value with a comma, which no property string can hold.
    #[error("contains a comma, which cannot be written in a property string")]
    Comma,
    /// No CPU model of the list, and no custom one.
    #[error("is not a known CPU model{}", question(.suggestion.as_deref()))]
    CpuModel {
        /// The model that was probably meant.
        suggestion: Option<String>,
    },
    /// CPU flags that a VM may not set.
    #[error("is not a list of +FLAG and -FLAG of the flags that a VM may set")]
    CpuFlag,
    /// `reported-model` outside a custom CPU model.
    #[error("is only allowed in the definition of a custom CPU model")]
    ReportedModel,
    /// `keep-all` together with another number of backups to keep.
    #[error("excludes all other keep-* keys")]
    KeepAll,
    /// Option that the schema does not have.
    #[error("is not an option{}", question(.suggestion.as_deref()))]
    UnknownOption {
        /// The option that was probably meant.
        suggestion: Option<String>,
    },
    /// Value with LF or CR, which no configuration line can hold.
    #[error("contains a line break")]
    LineBreak,
    /// Size of 2^64 bytes or more.
    #[error("is larger than 2^64 bytes")]
    SizeTooLarge,
    /// Two keys that exclude each other.
    #[error("excludes {other:?}")]
    Conflict {
        /// The other key.
        other: &'static str,
    },
    /// Key that has an effect only with another, which is missing or 0.
    #[error("needs {other:?} to be set too")]
    Needs {
        /// The other key.
        other: &'static str,
    },
    /// Key that a CD-ROM drive, or drive type that `media=cdrom`, cannot have.
    #[error("cannot be combined with media=cdrom")]
    OnCdrom,
}

fn type_description(kind: Kind) -> &'static str {
    match kind {
        Kind::Boolean => "a boolean; write 1 or 0",
        Kind::Integer => "an integer",
        Kind::Number => "a number",
        Kind::String => "a text",
    }
}

/// `key "cache": `
struct Place<'e>(Option<&'e BString>);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |key| write!(f, "key {key:?}: "))
    }
}

/// `"foo" is not an integer`
struct Sentence<'e>(&'e BStr, &'e Reason);

impl std::fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {}", self.0, self.1)
    }
}

/// Where `part`, a slice of `whole`, stands in it; the whole if it is not one.
pub(crate) fn span_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= whole.len() => start..end,
        _ => 0..whole.len(),
    }
}

/// Every pattern of `rules` compiles: an expression that did not would match nothing.
#[cfg(test)]
pub(crate) fn assert_patterns_compile<'r>(rules: impl IntoIterator<Item = &'r Rule<'static>>) {
    for pattern in rules.into_iter().filter_map(|rule| rule.pattern) {
        assert!(Pattern::compile(pattern.source).is_ok(), "{}", pattern.source);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_in_the_order_of_the_reference() {
        let context = Context::default();
        let rule =
            Rule::string().pattern(pattern!("[0-9]+")).max_length(3).minimum(5.0).words(&["7", "1234"]);
        let reason = |value: &[u8]| rule.check(value, &context).err().map(|error| error.code());
        assert_eq!(reason(b"x"), Some("pattern"));
        assert_eq!(reason(b"1234"), Some("too-long"));
        assert_eq!(reason(b"4"), Some("too-small"));
        assert_eq!(reason(b"8"), Some("unknown-word"));
        assert_eq!(reason(b"7"), None);
    }

    #[test]
    fn bounds_apply_to_whatever_looks_like_a_number() {
        let context = Context::default();
        let rule = Rule::string().maximum(10.0);
        assert!(rule.check(b"ten", &context).is_ok());
        assert!(rule.check(b"1e1", &context).is_ok());
        assert!(rule.check(b"+11.", &context).is_err());
    }

    #[test]
    fn a_bad_item_of_a_list_is_located() {
        let rule = Rule::string().format(Format::List(Scalar::Tag));
        let error = rule.check(b"ok; -bad", &Context::default()).unwrap_err();
        assert_eq!((error.span.clone(), error.text.as_slice()), (4..8, &b"-bad"[..]));
    }

    #[test]
    fn patterns_match_bytes_and_one_line_feed() {
        let pattern: Pattern<'static> = pattern!(r"[\x80-\xff]+|[^,;]+");
        assert!(pattern.matches(b"\xff\x80") && pattern.matches(b"a\n") && !pattern.matches(b"a,"));
        let regex = Pattern::compile("a|b").unwrap();
        let pattern = Pattern::new("a|b", &regex);
        assert!(pattern.matches(b"b") && !pattern.matches(b"bc") && !pattern.matches(b"b\n\n"));
    }
}
