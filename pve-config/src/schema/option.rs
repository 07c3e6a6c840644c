// SPDX-License-Identifier: MIT OR Apache-2.0
//! Options of guests: how they are declared, found and checked.

use std::borrow::Cow;

use bstr::{BStr, BString};

use crate::format::{Context, Format, Scalar, boolean_word, parse_boolean};
use crate::name_index::NameIndex;
use crate::property::{ParseOptions, PropertyFormat};
use crate::rule::{Kind, Pattern, Reason, Rule, ValueError};
use crate::suggestion::nearest;

/// What reading and writing a configuration file checks about an option. Bounds, words, patterns and lengths of the
/// option itself are checked in requests only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileCheck {
    /// A boolean word, which becomes `0` or `1`.
    Boolean,
    /// Decimal digits, whose leading zeros are dropped.
    Integer,
    /// Decimal digits with an optional fraction, kept as they are.
    Number,
    /// The named format or property string.
    Format,
    /// Nothing; a VM loses one pair of enclosing quotes.
    String,
}

/// An option of a guest.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct GuestOption {
    /// Its name, without index.
    pub name: &'static str,
    /// Number of indexes that may follow the name (`scsi0` to `scsi30`: 31); `None` for an option without index.
    pub slots: Option<u16>,
    /// What its value must look like.
    pub rule: Rule<'static>,
    /// What its absence means; never filled in.
    pub default: Option<&'static str>,
    /// Requests to create and update a guest may set it; otherwise only the system itself does.
    pub settable: bool,
    /// The permission that setting it needs, in the words of the reference; empty if it is not known.
    pub permission: &'static str,
    /// The sections in which the system itself uses it. The parser accepts every option everywhere.
    pub used_in: &'static str,
    /// What it is for.
    pub doc: &'static str,
}

impl GuestOption {
    const fn new(name: &'static str, rule: Rule<'static>) -> Self {
        GuestOption {
            name,
            slots: None,
            rule,
            default: None,
            settable: true,
            permission: "",
            used_in: "main, pending, snapshot",
            doc: "",
        }
    }

    /// What reading and writing a file checks: follows from type and format.
    #[must_use]
    pub const fn file_check(&self) -> FileCheck {
        match self.rule.kind {
            Kind::Boolean => FileCheck::Boolean,
            Kind::Integer => FileCheck::Integer,
            Kind::Number => FileCheck::Number,
            _ if self.rule.format.is_some() => FileCheck::Format,
            _ => FileCheck::String,
        }
    }

    /// The property-string format of its value, if it has one.
    #[must_use]
    pub const fn property_format(&self) -> Option<&'static PropertyFormat> {
        match self.rule.format {
            Some(Format::Properties(format)) => Some(format),
            _ => None,
        }
    }

    /// The option with this index, or without one: `scsi3`, `cores`.
    #[must_use]
    pub fn key(&self, index: Option<u16>) -> String {
        index.map_or_else(|| self.name.to_owned(), |index| format!("{}{index}", self.name))
    }
}

// how the tables are written
pub(super) const fn boolean(name: &'static str) -> GuestOption {
    GuestOption::new(name, Rule::boolean())
}

pub(super) const fn integer(name: &'static str) -> GuestOption {
    GuestOption::new(name, Rule::integer())
}

pub(super) const fn number(name: &'static str) -> GuestOption {
    GuestOption::new(name, Rule::number())
}

pub(super) const fn string(name: &'static str) -> GuestOption {
    GuestOption::new(name, Rule::string())
}

pub(super) const fn scalar(name: &'static str, format: Scalar) -> GuestOption {
    GuestOption::new(name, Rule::string().format(Format::Scalar(format)))
}

pub(super) const fn list(name: &'static str, format: Scalar) -> GuestOption {
    GuestOption::new(name, Rule::string().format(Format::List(format)))
}

pub(super) const fn properties(name: &'static str, format: &'static PropertyFormat) -> GuestOption {
    GuestOption::new(name, Rule::string().format(Format::Properties(format)))
}

impl GuestOption {
    pub(super) const fn slots(mut self, slots: u16) -> Self {
        self.slots = Some(slots);
        self
    }

    pub(super) const fn words(mut self, words: &'static [&'static str]) -> Self {
        self.rule = self.rule.words(words);
        self
    }

    pub(super) const fn pattern(mut self, pattern: Pattern<'static>) -> Self {
        self.rule = self.rule.pattern(pattern);
        self
    }

    pub(super) const fn min(mut self, minimum: f64) -> Self {
        self.rule = self.rule.minimum(minimum);
        self
    }

    pub(super) const fn max(mut self, maximum: f64) -> Self {
        self.rule = self.rule.maximum(maximum);
        self
    }

    pub(super) const fn max_length(mut self, length: usize) -> Self {
        self.rule = self.rule.max_length(length);
        self
    }

    pub(super) const fn default(mut self, value: &'static str) -> Self {
        self.default = Some(value);
        self
    }

    /// Set by the system only.
    pub(super) const fn internal(mut self) -> Self {
        self.settable = false;
        self
    }

    pub(super) const fn permission(mut self, permission: &'static str) -> Self {
        self.permission = permission;
        self
    }

    pub(super) const fn used_in(mut self, sections: &'static str) -> Self {
        self.used_in = sections;
        self
    }

    pub(super) const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }
}

/// The options of a kind of guest.
#[derive(Debug)]
pub struct Schema {
    options: &'static [GuestOption],
    plain: NameIndex<256>,
    indexed: NameIndex<64>,
    removes_quotes: bool,
}

impl Schema {
    /// The schema of `options`. An option given twice, or too many of them, do not compile.
    pub(super) const fn new(options: &'static [GuestOption], removes_quotes: bool) -> Self {
        let mut schema =
            Schema { options, plain: NameIndex::new(), indexed: NameIndex::new(), removes_quotes };
        let mut at = 0;
        while at < options.len() {
            let name = options[at].name;
            if options[at].slots.is_some() {
                schema.indexed = schema.indexed.with(name, at);
            } else {
                schema.plain = schema.plain.with(name, at);
            }
            at += 1;
        }
        schema
    }

    /// Every option, ascending by name.
    #[must_use]
    pub fn options(&self) -> &'static [GuestOption] {
        self.options
    }

    /// The option that `key` names, and its index if it has one. Index names must be exact: `scsi00` is none.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<(&'static GuestOption, Option<u16>)> {
        let at = |position: usize| self.options.get(position).map(|option| option.name);
        if let Some(found) = self.plain.find(key, at) {
            return Some((self.options.get(found)?, None));
        }
        let letters = key.iter().rposition(|byte| !byte.is_ascii_digit())? + 1;
        let (name, digits) = key.split_at(letters);
        let option = self.options.get(self.indexed.find(name, at)?)?;
        let exact =
            !digits.is_empty() && digits.len() <= 3 && (digits.len() == 1 || digits.first() != Some(&b'0'));
        let index = digits.iter().take(3).fold(0_u16, |sum, digit| sum * 10 + u16::from(digit - b'0'));
        (exact && option.slots.is_some_and(|slots| index < slots)).then_some((option, Some(index)))
    }

    /// What reading or writing a file makes of the value of `key` (spec: VM configuration, "check(KEY, value)").
    ///
    /// # Errors
    ///
    /// An unknown option, a line break, or a value that breaks what is checked about the option in files. Places are
    /// relative to `value`; for an unknown option the text is the key.
    pub fn check<'v>(
        &self,
        key: &[u8],
        value: &'v [u8],
        context: &Context<'_>,
    ) -> Result<Cow<'v, BStr>, ValueError> {
        let (option, _) = self.find(key).ok_or_else(|| self.unknown(key))?;
        self.check_value(option, value, context)
    }

    /// As [`Schema::check`] for an option that has been found already.
    ///
    /// # Errors
    ///
    /// As [`Schema::check`].
    pub fn check_value<'v>(
        &self,
        option: &GuestOption,
        value: &'v [u8],
        context: &Context<'_>,
    ) -> Result<Cow<'v, BStr>, ValueError> {
        if let Some(at) = memchr::memchr2(b'\n', b'\r', value) {
            return Err(ValueError::new(at..at + 1, value, Reason::LineBreak));
        }
        let mistyped = || ValueError::whole(value, Reason::Type(option.rule.kind));
        match option.file_check() {
            FileCheck::Boolean => {
                let word = boolean_word(parse_boolean(value).ok_or_else(mistyped)?);
                Ok(Cow::Borrowed(BStr::new(word)))
            }
            FileCheck::Integer => canonical_integer(value).ok_or_else(mistyped),
            FileCheck::Number if is_plain_number(value) => Ok(Cow::Borrowed(BStr::new(value))),
            FileCheck::Number => Err(mistyped()),
            FileCheck::Format => {
                option.rule.check_format(value, context)?;
                Ok(Cow::Borrowed(BStr::new(value)))
            }
            FileCheck::String => {
                let unquoted = match value {
                    [b'"', inner @ .., b'"'] if self.removes_quotes => inner,
                    _ => value,
                };
                Ok(Cow::Borrowed(BStr::new(unquoted)))
            }
        }
    }

    /// Checks the value of `key` in a request to create or update a guest: against everything that the option says, and
    /// with those keys of drives that allocate volumes. Whether a request may set the option at all is for the caller to
    /// look up in [`GuestOption::settable`].
    ///
    /// # Errors
    ///
    /// An unknown option, or the first rule that the value breaks.
    pub fn check_request(&self, key: &[u8], value: &[u8], context: &Context<'_>) -> Result<(), ValueError> {
        let (option, _) = self.find(key).ok_or_else(|| self.unknown(key))?;
        let Some(format) = option.property_format() else { return option.rule.check(value, context) };
        format.parse_options(value, &ParseOptions::default().allocating(true).within(*context))?;
        let rest = Rule { format: None, ..option.rule };
        rest.check(value, context)
    }

    /// The error of a key that is no option.
    #[must_use]
    pub fn unknown(&self, key: &[u8]) -> ValueError {
        let letters = key.iter().rposition(|byte| !byte.is_ascii_digit()).map_or(0, |last| last + 1);
        let (name, digits) = key.split_at(letters);
        let plain = self.options.iter().filter(|option| option.slots.is_none()).map(|option| option.name);
        let indexed = self.options.iter().filter(|option| option.slots.is_some()).map(|option| option.name);
        let suggestion = match nearest(name, indexed) {
            // the name is right, so the index is not
            Some(known) if known.as_bytes() == name => None,
            Some(known) if !digits.is_empty() => Some(format!("{known}{}", String::from_utf8_lossy(digits))),
            _ => nearest(key, plain).map(str::to_owned),
        };
        ValueError::whole(key, Reason::UnknownOption { suggestion })
    }
}

/// Digits without leading zeros; beyond 64 bits the float notation of the reference.
fn canonical_integer(value: &[u8]) -> Option<Cow<'_, BStr>> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = value.iter().take_while(|digit| **digit == b'0').count().min(value.len() - 1);
    let digits = value.get(zeros..)?;
    // no number of 19 digits is larger than 2^64
    let text = std::str::from_utf8(digits).ok()?;
    if digits.len() <= 19 || text.parse::<u64>().is_ok() {
        return Some(Cow::Borrowed(BStr::new(digits)));
    }
    let number: f64 = text.parse().ok()?;
    if number.is_infinite() {
        return Some(Cow::Borrowed(BStr::new("Inf")));
    }
    let scientific = format!("{number:.14e}");
    let (mantissa, exponent) = scientific.split_once('e')?;
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    Some(Cow::Owned(BString::from(format!("{mantissa}e+{exponent:0>2}"))))
}

/// Digits, optionally `.` and digits.
fn is_plain_number(value: &[u8]) -> bool {
    let is_digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    match value.iter().position(|byte| *byte == b'.') {
        None => is_digits(value),
        Some(point) => {
            let (whole, fraction) = value.split_at(point);
            is_digits(whole) && is_digits(fraction.get(1..).unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CONTAINER, VM};
    use super::*;
    use crate::rule::assert_patterns_compile;

    #[test]
    fn every_option_is_found_with_every_index() {
        for schema in [&VM, &CONTAINER] {
            for option in schema.options() {
                match option.slots {
                    None => assert_eq!(schema.find(option.name.as_bytes()).unwrap().1, None),
                    Some(slots) => {
                        for index in 0..slots {
                            let (found, at) = schema.find(option.key(Some(index)).as_bytes()).unwrap();
                            assert_eq!((found.name, at), (option.name, Some(index)));
                        }
                        assert!(schema.find(option.key(Some(slots)).as_bytes()).is_none());
                    }
                }
                assert!(!option.doc.is_empty(), "{}", option.name);
            }
            assert_patterns_compile(schema.options().iter().map(|option| &option.rule));
        }
    }

    #[test]
    fn indexes_are_exact() {
        for key in
            ["scsi00", "scsi", "scsi31", "numa8", "net032", "scsi0x", "0", "", "scsi65536", "99999999999"]
        {
            assert!(VM.find(key.as_bytes()).is_none(), "{key}");
        }
        assert_eq!(VM.find(b"numa").unwrap().0.file_check(), FileCheck::Boolean);
        assert_eq!(VM.find(b"numa0").unwrap().0.file_check(), FileCheck::Format);
        assert_eq!(VM.find(b"smbios1").unwrap().1, None);
    }

    #[test]
    fn integers_lose_their_zeros_and_then_their_precision() {
        let written = |text: &str| canonical_integer(text.as_bytes()).map(|text| text.to_string());
        for (text, expected) in [
            ("007", "7"),
            ("00", "0"),
            ("18446744073709551615", "18446744073709551615"),
            ("18446744073709551616", "1.84467440737096e+19"),
            ("99999999999999999999999", "1e+23"),
            ("000018446744073709551615", "18446744073709551615"),
        ] {
            assert_eq!(written(text).as_deref(), Some(expected));
        }
        assert_eq!(written(&"9".repeat(400)).as_deref(), Some("Inf"));
        assert_eq!(written("+1"), None);
    }

    #[test]
    fn quotes_are_removed_once_and_for_vms_only() {
        let context = Context::default();
        assert_eq!(&*VM.check(b"args", b"\"\"x\"\"", &context).unwrap(), "\"x\"");
        assert_eq!(&*VM.check(b"args", b"\"", &context).unwrap(), "\"");
        assert_eq!(&*CONTAINER.check(b"ostype", b"\"debian\"", &context).unwrap(), "\"debian\"");
    }

    #[test]
    fn unknown_options_are_suggested_with_their_index() {
        let suggestion = |key: &str| VM.unknown(key.as_bytes()).suggestion().map(str::to_owned);
        assert_eq!(suggestion("core").as_deref(), Some("cores"));
        assert_eq!(suggestion("sccsi3").as_deref(), Some("scsi3"));
        assert_eq!(suggestion("scsi31"), None);
        assert_eq!(suggestion("completely-different"), None);
    }
}
