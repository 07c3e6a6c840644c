// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a property string (spec: VM configuration, "Parse" and "Validate" of property strings).

use bstr::{BStr, BString, ByteSlice};
use smallvec::SmallVec;

use super::print::Printer;
use super::table::{Named, PropertyFormat};
use crate::format::{Context, boolean_word, chomp, is_falsy, is_white_space, parse_boolean};
use crate::rule::{Kind, Reason, ValueError, span_in};
use crate::suggestion::nearest;

/// How to read a property string; the default reads it as the format says.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ParseOptions<'o> {
    /// Keys whose parts are ignored, even if they are repeated or unknown.
    pub skip: &'o [&'o str],
    /// Keys that exist only in requests that may allocate a volume are allowed.
    pub with_alloc: bool,
    /// What checks need to know of the world outside.
    pub context: Context<'o>,
}

impl<'o> ParseOptions<'o> {
    /// The same, ignoring parts with these keys.
    #[must_use]
    pub const fn skipping(mut self, keys: &'o [&'o str]) -> Self {
        self.skip = keys;
        self
    }

    /// The same, with or without the keys for allocating volumes.
    #[must_use]
    pub const fn allocating(mut self, with_alloc: bool) -> Self {
        self.with_alloc = with_alloc;
        self
    }

    /// The same, in this context.
    #[must_use]
    pub const fn within(mut self, context: Context<'o>) -> Self {
        self.context = context;
        self
    }
}

/// The values of a property string, borrowed from its text.
#[derive(Debug, Clone)]
pub struct Properties<'t> {
    format: &'static PropertyFormat,
    /// Bits of the keys that have a value, by position.
    present: u64,
    /// Position and value of each key that has one, in the order of the text.
    entries: SmallVec<[(u8, &'t [u8]); 10]>,
}

impl PropertyFormat {
    /// Reads `text`.
    ///
    /// # Errors
    ///
    /// The first part that cannot be read, value that breaks a rule, or key that is missing.
    pub fn parse<'t>(&'static self, text: &'t [u8]) -> Result<Properties<'t>, ValueError> {
        self.parse_options(text, &ParseOptions::default())
    }

    /// Reads `text` in the given context, which matters for CPU models.
    ///
    /// # Errors
    ///
    /// As [`PropertyFormat::parse`].
    pub fn parse_with<'t>(
        &'static self,
        text: &'t [u8],
        context: &Context<'_>,
    ) -> Result<Properties<'t>, ValueError> {
        self.parse_options(text, &ParseOptions::default().within(*context))
    }

    /// Reads `text` as `options` say.
    ///
    /// # Errors
    ///
    /// As [`PropertyFormat::parse`].
    pub fn parse_options<'t>(
        &'static self,
        text: &'t [u8],
        options: &ParseOptions<'_>,
    ) -> Result<Properties<'t>, ValueError> {
        let mut properties = Properties { format: self, present: 0, entries: SmallVec::new() };
        let allowed = if options.with_alloc { self.existing } else { self.existing & !self.alloc_only };
        let mut bare_taken = false;
        let mut rest = Some(text);
        while let Some(remaining) = rest {
            // parts are short: a loop is faster than a search that has to be called
            let stop = remaining.iter().position(|byte| matches!(byte, b',' | b'='));
            let (head, tail) = remaining.split_at(stop.unwrap_or(remaining.len()));
            if let Some((b'=', after)) = tail.split_first() {
                let end = after.iter().position(|byte| *byte == b',').unwrap_or(after.len());
                let (value, next) = after.split_at(end);
                rest = next.get(1..);
                let value = chomp(value);
                if head.is_empty() || value.is_empty() || value.contains(&b'\n') {
                    let part = remaining.get(..head.len() + 1 + end).unwrap_or_default();
                    return Err(located(text, part, Reason::Malformed));
                }
                if !options.skip.is_empty() && options.skip.iter().any(|name| name.as_bytes() == head) {
                    continue;
                }
                properties.add(text, head, value, allowed)?;
            } else {
                rest = tail.get(1..);
                if head.iter().all(|byte| is_white_space(*byte)) {
                    continue;
                }
                let Some(default) = self.default else {
                    return Err(located(text, head, Reason::NoDefaultKey { format: self.name() }));
                };
                if bare_taken || properties.at(default).is_some_and(|value| !is_falsy(value)) {
                    return Err(located(text, head, Reason::Duplicate));
                }
                bare_taken = true;
                properties.put(default, head);
            }
        }
        properties.validate(text, &options.context)?;
        Ok(properties)
    }
}

impl<'t> Properties<'t> {
    /// The format that the string is in.
    #[must_use]
    pub fn format(&self) -> &'static PropertyFormat {
        self.format
    }

    /// The value of `key` as it was written; booleans are `0` or `1`. Aliases are not keys.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&'t BStr> {
        match self.format.find(key.as_bytes())? {
            Named::Key(position) => self.at(position).map(BStr::new),
            Named::Alias(..) => None,
        }
    }

    /// Keys and values in the order of the text.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &'t BStr)> + '_ {
        self.entries.iter().filter_map(|(position, value)| {
            Some((self.format.key_at(usize::from(*position))?.name, BStr::new(*value)))
        })
    }

    /// Number of keys that have a value.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no key has a value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Prints the string in the reference's order: the default key without `KEY=`, then the required keys, then the
    /// others, each group ascending. Sizes are written with the largest unit that divides them.
    ///
    /// # Errors
    ///
    /// A value that breaks a rule or contains a comma. What was parsed can always be printed.
    pub fn print(&self) -> Result<BString, ValueError> {
        self.print_with(&[], &Context::default())
    }

    /// Prints the string without the keys of `skip`, in the given context.
    ///
    /// # Errors
    ///
    /// As [`Properties::print`].
    pub fn print_with(&self, skip: &[&str], context: &Context<'_>) -> Result<BString, ValueError> {
        let mut out = Vec::new();
        let mut printer = Printer::new(self.format, self.present, skip, &mut out);
        while let Some(position) = printer.next_position() {
            let value = self.at(position).unwrap_or_default();
            printer.text(position, value);
        }
        printer.finish(context)?;
        Ok(BString::from(out))
    }

    /// Position and value of each key, in the order of the text.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (usize, &'t [u8])> + '_ {
        self.entries.iter().map(|(position, value)| (usize::from(*position), *value))
    }

    fn add(&mut self, text: &[u8], key: &'t [u8], value: &'t [u8], allowed: u64) -> Result<(), ValueError> {
        let position = match self.format.find(key) {
            Some(Named::Key(position)) if allowed >> position & 1 == 1 => position,
            Some(Named::Alias(target, key_alias)) if allowed >> target & 1 == 1 => {
                if let Some(key_alias) = key_alias {
                    if self.has(key_alias) {
                        return Err(located(text, key, Reason::Duplicate));
                    }
                    self.push(key_alias, key);
                }
                target
            }
            _ => {
                let names = self.format.keys().map(|key| key.name);
                let suggestion = nearest(key, names.chain(self.format.aliases().map(|alias| alias.name)));
                let reason = Reason::UnknownKey {
                    format: self.format.name(),
                    suggestion: suggestion.map(str::to_owned),
                };
                return Err(located(text, key, reason));
            }
        };
        if self.has(position) {
            return Err(located(text, key, Reason::Duplicate));
        }
        let value = self.normal(position, value);
        self.push(position, value);
        Ok(())
    }

    /// Sets the value at `position`, replacing one that is there.
    fn put(&mut self, position: usize, value: &'t [u8]) {
        let value = self.normal(position, value);
        if !self.has(position) {
            self.push(position, value);
        } else if let Some(entry) = self.entries.iter_mut().find(|entry| usize::from(entry.0) == position) {
            entry.1 = value;
        }
    }

    fn push(&mut self, position: usize, value: &'t [u8]) {
        self.present |= 1 << position;
        self.entries.push((position as u8, value));
    }

    /// Whether a key of `bits`, by position in the declaration, has a value.
    #[inline]
    pub(crate) fn has_any(&self, bits: u64) -> bool {
        self.present & bits != 0
    }

    #[inline]
    fn has(&self, position: usize) -> bool {
        self.present >> position & 1 == 1
    }

    #[inline]
    fn at(&self, position: usize) -> Option<&'t [u8]> {
        self.entries.iter().find(|entry| usize::from(entry.0) == position).map(|entry| entry.1)
    }

    /// Boolean words become `0` and `1`; everything else stays.
    #[inline]
    fn normal(&self, position: usize, value: &'t [u8]) -> &'t [u8] {
        match self.format.key_at(position) {
            Some(key) if key.rule.kind == Kind::Boolean => match parse_boolean(value) {
                Some(truth) => boolean_word(truth),
                None => value,
            },
            _ => value,
        }
    }

    fn validate(&self, text: &[u8], context: &Context<'_>) -> Result<(), ValueError> {
        for (position, value) in self.entries() {
            let Some(key) = self.format.key_at(position) else { continue };
            // a boolean has no other rule to obey, see `PropertyFormat::member`
            if key.rule.kind == Kind::Boolean && matches!(value, b"0" | b"1") {
                continue;
            }
            if let Err(error) = key.rule.check(value, context) {
                return Err(error.within(span_in(text, value).start, key.name));
            }
        }
        if let Some(error) = self.format.missing(self.present) {
            return Err(ValueError::whole(text, error));
        }
        if let Some((position, key)) = self.format.unmet(self.present) {
            let value = self.at(position).unwrap_or_default();
            let name = self.format.key_at(position).map(|key| key.name).unwrap_or_default();
            return Err(located(text, value, Reason::Requires { key }).within(0, name));
        }
        if let Some(validator) = self.format.validator {
            let lookup = |key: &str| self.get(key);
            validator(&lookup, context).map_err(|(key, reason)| {
                let value = self.get(key).map(|value| value.as_bytes()).unwrap_or(text);
                located(text, value, reason).within(0, key)
            })?;
        }
        Ok(())
    }
}

impl PropertyFormat {
    /// The first required key that is not among those present.
    #[inline]
    pub(super) fn missing(&self, present: u64) -> Option<Reason> {
        let missing = self.required & !present;
        if missing == 0 {
            return None;
        }
        self.key_at(missing.trailing_zeros() as usize).map(|key| Reason::Missing { key: key.name })
    }

    /// The first key present that requires another which is not: its position, and the other.
    #[inline]
    pub(super) fn unmet(&self, present: u64) -> Option<(usize, &'static str)> {
        let mut requiring = self.requiring & present;
        while requiring != 0 {
            let position = requiring.trailing_zeros() as usize;
            requiring &= requiring - 1;
            let needed = self.key_at(position)?.requires?;
            match self.find(needed.as_bytes()) {
                Some(Named::Key(other)) if present >> other & 1 == 1 => {}
                _ => return Some((position, needed)),
            }
        }
        None
    }
}

/// An error about `part`, a slice of `text`.
#[cold]
fn located(text: &[u8], part: &[u8], reason: Reason) -> ValueError {
    ValueError::new(span_in(text, part), part, reason)
}
