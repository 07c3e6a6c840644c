// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a section file by its schema. (spec: section-config, "Parsing")

use std::borrow::Cow;

use bstr::{BStr, BString};

use super::format::{Dialect, SectionFormat};
use super::line::{Event, Lexer, Line, is_space};
use super::number::Number;
use super::property::PropertySchema;
use super::schema::{Property, TypeView};
use super::update::{Purpose, Read, SectionError};
use super::value::{PropertyError, Section, SectionConfig, SkipReason, SkippedSection, Value};
use crate::diagnostic::{Diagnostic, Severity};
use crate::rule::span_in;
use crate::suggestion::nearest;

impl<D: Dialect> SectionFormat<'_, D> {
    /// Reads a text. Nothing in it is fatal: what is wrong is left out as the reference leaves it out, and told in the
    /// diagnostics.
    #[must_use]
    pub fn parse<'a>(&self, text: &'a [u8]) -> SectionConfig<'a> {
        let mut parser = Parser { format: self, text, file: SectionConfig::of(text), state: State::Between };
        let mut read = Vec::new();
        for line in Lexer::with_syntax(text, self.dialect.header_syntax()) {
            parser.line(&line, &mut read);
        }
        parser.finish_section(&mut read);
        parser.file
    }
}

/// Reads single pieces of a text: for a reader that goes through the text itself, and leaves to this one what it does not
/// read.
pub(crate) struct PieceReader<'a, 'f, D> {
    parser: Parser<'a, 'f, D>,
    read: Vec<ReadProperty<'a, 'f>>,
}

/// What a piece of a text was.
pub(crate) enum ReadPiece<'a> {
    /// Blank lines, a line that is no header, or a section that is skipped.
    Nothing,
    /// A usable section.
    Section(&'a BStr, Section<'a>),
    /// A section that failed its final check.
    Broken(&'a BStr),
    /// A section with the id of a broken one: what is kept is not what single pieces say.
    Repeated,
}

impl<'a, 'f, D: Dialect> PieceReader<'a, 'f, D> {
    pub(crate) fn new(format: &'f SectionFormat<'f, D>, text: &'a [u8]) -> Self {
        let parser = Parser { format, text, file: SectionConfig::of(text), state: State::Between };
        PieceReader { parser, read: Vec::new() }
    }

    /// Reads up to the end of a section, or one line that is no header. The lexer must be between sections.
    pub(crate) fn read(&mut self, lexer: &mut Lexer<'a>) -> ReadPiece<'a> {
        let known = self.parser.file.entries.len();
        let order = self.parser.file.last_order;
        for line in lexer {
            self.parser.line(&line, &mut self.read);
            let is_between = matches!(self.parser.state, State::Between);
            if is_between && matches!(line.event, Event::Blank | Event::Invalid) {
                break;
            }
        }
        self.parser.finish_section(&mut self.read);
        if self.parser.file.last_order == order {
            return ReadPiece::Nothing;
        }
        if self.parser.file.entries.len() == known {
            return ReadPiece::Repeated;
        }
        match self.parser.file.take_last() {
            Some((Cow::Borrowed(id), Some(section))) => ReadPiece::Section(id, section),
            Some((Cow::Borrowed(id), None)) => {
                self.parser.file.store(id, None);
                ReadPiece::Broken(id)
            }
            _ => ReadPiece::Repeated,
        }
    }

    /// Whether a broken section with this id was read.
    pub(crate) fn holds(&self, id: &[u8]) -> bool {
        self.parser.file.is_broken(id)
    }

    /// What there is to tell: the broken sections, the skipped ones, and the findings.
    pub(crate) fn finish(self) -> SectionConfig<'a> {
        self.parser.file
    }
}

/// Room that a section is given at first: most have fewer properties.
const USUAL_PROPERTIES: usize = 8;

struct Parser<'a, 'f, D> {
    format: &'f SectionFormat<'f, D>,
    text: &'a [u8],
    file: SectionConfig<'a>,
    state: State<'a, 'f>,
}

/// What the lines of the body belong to.
enum State<'a, 'f> {
    Between,
    Known(Known<'a, 'f>),
    /// A section of a type that nobody knows, which is kept nevertheless.
    Unknown {
        id: &'a BStr,
        section: Section<'a>,
    },
    /// A section that is left out.
    Skipped,
}

struct Known<'a, 'f> {
    section_type: TypeView<'f>,
    header: Line<'a>,
    id: &'a BStr,
    section: Section<'a>,
    seen: Seen,
}

/// A property of a known section with the line that it was read from.
#[derive(Clone, Copy)]
pub(super) struct ReadProperty<'a, 'f> {
    line: Line<'a>,
    pub(super) property: Property<'f>,
}

/// A set of properties of a section type, by their position among all that the type can see. Only the first
/// [`Seen::MOST`] are noted.
#[derive(Clone, Copy, Default)]
pub(crate) struct Seen(u128);

impl Seen {
    const MOST: usize = u128::BITS as usize;

    /// Whether the property is noted.
    #[inline]
    pub(crate) fn contains(self, at: usize) -> bool {
        at < Self::MOST && self.0 >> at & 1 != 0
    }

    /// Notes the property. Whether that is news, which can be said of those only that can be noted.
    #[inline]
    pub(crate) fn insert(&mut self, at: usize) -> bool {
        let is_new = at < Self::MOST && !self.contains(at);
        if is_new {
            self.0 |= 1 << at;
        }
        is_new
    }
}

impl<'a, 'f, D: Dialect> Parser<'a, 'f, D> {
    /// `read` holds the line of each value of a known section.
    #[inline]
    fn line(&mut self, line: &Line<'a>, read: &mut Vec<ReadProperty<'a, 'f>>) {
        match line.event {
            Event::Property { key, value } => match &mut self.state {
                State::Known(known) => {
                    if let Err(error) = known.property(key, value, line, read) {
                        let section = known.id.to_owned();
                        self.property_error(line, section, key, value, &error);
                    }
                }
                State::Unknown { section, .. } => {
                    let value = value.map_or(Value::Null, |value| Value::text(value));
                    section.values.push((Cow::Borrowed(key), value));
                }
                State::Skipped => {
                    if let Some(skipped) = self.file.skipped.last_mut() {
                        skipped.properties.push((Cow::Borrowed(key), value.map(Cow::Borrowed)));
                    }
                }
                State::Between => {}
            },
            Event::Blank => self.finish_section(read),
            Event::Header { kind, id } => self.header(line, kind, id),
            Event::Invalid => self.invalid(line),
            Event::Comment => {}
        }
    }

    fn header(&mut self, line: &Line<'a>, kind: &'a BStr, id: &'a BStr) {
        let schema = &self.format.schema;
        self.state = match self.format.dialect.header(kind, id) {
            Err(error) => {
                self.skip(line, kind, id, SkipReason::BadHeader);
                self.report(Severity::Error, "bad-header", line, line.text, || {
                    (error, Some("the section is left out".to_owned()))
                });
                State::Skipped
            }
            Ok(known_as) => match schema.section_type(&known_as) {
                Some(section_type) => {
                    let section = Section::with_capacity(known_as, USUAL_PROPERTIES);
                    State::Known(Known { section_type, header: *line, id, section, seen: Seen::default() })
                }
                None if self.format.allow_unknown => State::Unknown { id, section: Section::new(known_as) },
                None => {
                    self.skip(line, kind, id, SkipReason::UnknownType);
                    self.report(Severity::Error, "unknown-type", line, kind, || {
                        let lost = "the section is ignored, and lost when the file is written";
                        let meant = nearest(&known_as, schema.section_types().map(|known| known.name()));
                        (format!("unknown section type \"{known_as}\": {lost}"), did_you_mean(meant))
                    });
                    State::Skipped
                }
            },
        };
    }

    fn skip(&mut self, line: &Line<'a>, kind: &'a BStr, id: &'a BStr, reason: SkipReason) {
        let (kind, id) = (Cow::Borrowed(kind), Cow::Borrowed(id));
        self.file.skipped.push(SkippedSection {
            kind,
            id,
            line: line.number,
            reason,
            properties: Vec::new(),
        });
    }

    fn finish_section(&mut self, read: &mut Vec<ReadProperty<'a, 'f>>) {
        match std::mem::replace(&mut self.state, State::Between) {
            State::Between | State::Skipped => {}
            State::Unknown { id, section } => {
                self.file.store(id, Some(merge_repeated(section)));
            }
            State::Known(known) => {
                self.finish_known(known, read);
                read.clear();
            }
        }
    }

    fn finish_known(&mut self, known: Known<'a, 'f>, read: &[ReadProperty<'a, 'f>]) {
        let Known { section_type, header, id, section, seen } = known;
        let was_read = Read { properties: read, seen };
        let checked = self.format.final_check(
            section_type,
            id,
            section,
            Purpose::Create,
            was_read,
            &mut |at, warning| {
                let place = read.get(at).map_or(&header, |read| &read.line);
                report(
                    &mut self.file,
                    self.text,
                    Severity::Error,
                    "dropped-value",
                    place,
                    value_text(place),
                    || (warning, None),
                );
            },
        );
        if let Err(error) = &checked {
            self.report(Severity::Error, "unusable-section", &header, header.text, || {
                let help = "until this is put right the section does not work and the file cannot be written";
                (format!("section \"{id}\" is unusable: {error}"), Some(help.to_owned()))
            });
        }
        if self.file.store(id, checked.ok()) {
            self.report(Severity::Note, "repeated-section", &header, id, || {
                let reason = format!("section \"{id}\" stands here again, and replaces the earlier one");
                (reason, Some("remove one of them".to_owned()))
            });
        }
    }

    #[cold]
    fn property_error(
        &mut self,
        line: &Line<'a>,
        section: BString,
        key: &'a BStr,
        value: Option<&'a BStr>,
        error: &SectionError,
    ) {
        let mut part: &[u8] = key;
        let mut help = None;
        match (error, value) {
            (SectionError::Invalid { violation, .. }, Some(value)) => {
                part = value.get(violation.span.clone()).unwrap_or(value);
                help = did_you_mean(violation.suggestion());
            }
            (SectionError::LineBreak { .. }, Some(value)) => part = value,
            (SectionError::UnknownProperty { .. } | SectionError::UnexpectedProperty { .. }, _) => {
                if let State::Known(known) = &self.state {
                    let names = known.section_type.options().map(|(property, _)| property.name);
                    help = did_you_mean(nearest(key, names));
                }
            }
            _ => {}
        }
        self.report(Severity::Error, error.code(), line, part, || (error.to_string(), help));
        let (key, error) = (key.to_owned(), error.to_string());
        self.file.errors.push(PropertyError { line: line.number, section, key, error });
    }

    #[cold]
    fn invalid(&mut self, line: &Line<'a>) {
        match self.state {
            // the reference does not look at the lines of a section that it skips
            State::Skipped => {}
            State::Between => self.report(Severity::Error, "not-a-header", line, line.text, || {
                let help = "a section starts with \"TYPE: ID\" in the first column";
                ("not a section header".to_owned(), Some(help.to_owned()))
            }),
            State::Known(_) | State::Unknown { .. } => {
                self.report(Severity::Error, "not-a-property", line, line.text, || {
                    let help = if line.text.iter().all(|&byte| is_space(byte)) {
                        "only an empty line ends a section: remove the white space (or the CR) in this line"
                    } else {
                        "indent it, or put an empty line before it if a new section starts here"
                    };
                    let reason = "not a property: a property is indented, and has a name";
                    (reason.to_owned(), Some(help.to_owned()))
                });
            }
        }
    }

    /// Adds a finding about `part` of a line; `words` gives the reason and the remedy.
    fn report(
        &mut self,
        severity: Severity,
        code: &'static str,
        line: &Line<'a>,
        part: &[u8],
        words: impl FnOnce() -> (String, Option<String>),
    ) {
        report(&mut self.file, self.text, severity, code, line, part, words);
    }
}

fn report(
    file: &mut SectionConfig<'_>,
    text: &[u8],
    severity: Severity,
    code: &'static str,
    line: &Line<'_>,
    part: &[u8],
    words: impl FnOnce() -> (String, Option<String>),
) {
    file.diagnostics.add(severity, || {
        let start = span_in(text, line.text).start;
        let (reason, help) = words();
        let place = (line.number, start);
        let mut found = Diagnostic::on_line(severity, code, text, span_in(text, part), place, reason);
        found.help = help;
        found
    });
}

fn did_you_mean(name: Option<&str>) -> Option<String> {
    name.map(|name| format!("did you mean \"{name}\"?"))
}

impl<'a, 'f> Known<'a, 'f> {
    /// One property line. (spec: section-config, "One property")
    #[inline]
    fn property(
        &mut self,
        key: &'a BStr,
        value: Option<&'a BStr>,
        line: &Line<'a>,
        read: &mut Vec<ReadProperty<'a, 'f>>,
    ) -> Result<(), SectionError> {
        let Some((position, property)) = self.section_type.property_with_position(key) else {
            return Err(SectionError::UnknownProperty { property: key.to_owned() });
        };
        if property.schema.is_array() {
            let at = self.section.position(key);
            let element = Value::text(self.checked(&property, key, value)?);
            match at.and_then(|at| self.section.values.get_mut(at)) {
                Some((_, Value::List(list))) => list.push(element),
                _ => {
                    self.section.values.push((Cow::Borrowed(key), Value::List(vec![element])));
                    self.seen.insert(position);
                    read.push(ReadProperty { line: *line, property });
                }
            }
            return Ok(());
        }
        let is_set = self.seen.contains(position);
        if is_set || (position >= Seen::MOST && self.section.position(key).is_some()) {
            return Err(SectionError::Duplicate { property: key.to_owned() });
        }
        let text = self.checked(&property, key, value)?;
        self.section.values.push((Cow::Borrowed(key), converted(property.schema, text)));
        self.seen.insert(position);
        read.push(ReadProperty { line: *line, property });
        Ok(())
    }

    /// The value, if it passes the checks.
    #[inline]
    fn checked(
        &self,
        property: &Property<'_>,
        key: &BStr,
        value: Option<&'a BStr>,
    ) -> Result<&'a [u8], SectionError> {
        if let Some(value) = value
            && key == "type"
            && value == self.section.kind()
        {
            return Ok(value);
        }
        if property.flags.is_none() {
            let kind = self.section_type.name().to_owned();
            return Err(SectionError::UnexpectedProperty { property: key.to_owned(), kind });
        }
        let value: &'a [u8] = match value {
            Some(value) => value,
            None if property.schema.is_boolean() => b"1",
            None => return Err(SectionError::NoValue { property: key.to_owned() }),
        };
        if value.contains(&b'\r') {
            return Err(SectionError::LineBreak { property: key.to_owned() });
        }
        property.schema.check(value).map_err(|error| SectionError::invalid(key, error))?;
        Ok(value)
    }
}

/// A checked text as the type of the property wants it.
#[inline]
pub(crate) fn converted<'a>(schema: &PropertySchema<'_>, text: &'a [u8]) -> Value<'a> {
    if !schema.is_numeric() {
        Value::text(text)
    } else if schema.is_boolean() {
        Value::from(text == b"1")
    } else {
        // a checked number parses; one that the API let through unchecked counts as 0, as in the reference
        Value::Number(Number::parse(text).unwrap_or(Number::Signed(0)))
    }
}

/// The value on a property line, or the key when there is none.
fn value_text<'a>(line: &Line<'a>) -> &'a BStr {
    match line.event {
        Event::Property { key, value } => value.unwrap_or(key),
        _ => line.text,
    }
}

/// The keys of an unknown section: a repeated one becomes a list, but an earlier line without value is replaced.
fn merge_repeated(mut section: Section<'_>) -> Section<'_> {
    section.values.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut merged: Vec<(Cow<'_, BStr>, Value<'_>)> = Vec::with_capacity(section.values.len());
    for (key, value) in section.values {
        match merged.last_mut() {
            Some((last, old)) if *last == key => match old {
                Value::Null => *old = value,
                Value::List(list) => list.push(value),
                _ => {
                    let first = std::mem::replace(old, Value::Null);
                    *old = Value::List(vec![first, value]);
                }
            },
            _ => merged.push((key, value)),
        }
    }
    section.values = merged;
    section
}
