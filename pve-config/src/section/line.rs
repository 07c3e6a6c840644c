// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lowest floor of a section file: its lines, each told apart and none of them copied.

use std::iter::FusedIterator;

use bstr::{BStr, ByteSlice};

use crate::line_end::take_line;

/// Whether `byte` is white space in a section file: space, tab, LF, CR, VT or FF.
/// (spec: section-config, introduction)
#[must_use]
pub const fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

/// What the header of a section looks like. (spec: section-config, "Between sections")
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum HeaderSyntax {
    /// `TYPE: ID`, the rule of nearly all files.
    #[default]
    TypeAndId,
    /// `ID` alone on its line, as in the resource mapping files; the type is given by the file.
    IdOnly,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The line is empty, or the single character `0` (a quirk of the reference): it ends a section.
    Blank,
    /// The first byte that is not white space is `#`. Comments stand anywhere, also inside a section.
    Comment,
    /// The header of a section.
    Header {
        /// The section type as written; empty with [`HeaderSyntax::IdOnly`].
        kind: &'a BStr,
        /// The section id as written.
        id: &'a BStr,
    },
    /// A property in the body of a section.
    Property {
        /// The name of the property.
        key: &'a BStr,
        /// Its value without surrounding white space; `None` when the line holds nothing but the name.
        value: Option<&'a BStr>,
    },
    /// Neither of these at this place: the reference ignores the line, with a warning.
    Invalid,
}

/// One line of a section file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Number of the line, counted from 1.
    pub number: usize,
    /// The line without its LF. A CR at its end is white space, and part of it.
    pub text: &'a BStr,
    /// What the line is.
    pub event: Event<'a>,
}

/// Tells the lines of a section file apart.
///
/// A line means different things between sections, where a header is expected, and in the body of a section, where
/// properties are; a blank line leads from the body back to between. That is all the state there is. The lines are
/// separated by LF; nothing follows the last LF.
///
/// ```
/// use pve_config::section::{Event, Lexer};
///
/// let text = b"dir: local\n\tpath /var/lib/vz\n\tshared\n# a comment\n\nnfs: nas\n";
/// let events: Vec<_> = Lexer::new(text).map(|line| line.event).collect();
/// assert_eq!(
///     events,
///     [
///         Event::Header { kind: "dir".into(), id: "local".into() },
///         Event::Property { key: "path".into(), value: Some("/var/lib/vz".into()) },
///         Event::Property { key: "shared".into(), value: None },
///         Event::Comment,
///         Event::Blank,
///         Event::Header { kind: "nfs".into(), id: "nas".into() },
///     ]
/// );
/// ```
#[derive(Debug, Clone)]
pub struct Lexer<'a> {
    rest: &'a [u8],
    number: usize,
    in_body: bool,
    syntax: HeaderSyntax,
}

impl<'a> Lexer<'a> {
    /// The lines of `text`, with headers of the form `TYPE: ID`.
    #[must_use]
    pub fn new(text: &'a [u8]) -> Self {
        Lexer::with_syntax(text, HeaderSyntax::TypeAndId)
    }

    /// The lines of `text`, with headers of the given form.
    #[must_use]
    pub fn with_syntax(text: &'a [u8], syntax: HeaderSyntax) -> Self {
        Lexer { rest: text, number: 0, in_body: false, syntax }
    }

    /// What follows the lines that were taken.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let (text, event) = self.advance()?;
        Some(Line { number: self.number, text: text.as_bstr(), event })
    }
}

impl FusedIterator for Lexer<'_> {}

impl<'a> Lexer<'a> {
    /// The next line and what it is: the iterator without the making of a [`Line`], for those who read many.
    #[inline(always)]
    pub(crate) fn advance(&mut self) -> Option<(&'a [u8], Event<'a>)> {
        if self.rest.is_empty() {
            return None;
        }
        let text = take_line(&mut self.rest);
        self.number += 1;
        let event = match text {
            [] | b"0" => {
                self.in_body = false;
                Event::Blank
            }
            _ if self.in_body => in_body(text),
            _ => {
                let event = between(text, self.syntax);
                self.in_body = matches!(event, Event::Header { .. });
                event
            }
        };
        Some((text, event))
    }

    /// Number of the line that was taken last, counted from 1.
    pub(crate) fn number(&self) -> usize {
        self.number
    }
}

/// A line in the body: `WS+ KEY ( WS+ VALUE )? WS*`. (spec: section-config, "Section body")
#[inline(always)]
fn in_body(text: &[u8]) -> Event<'_> {
    let trimmed = trim_start(text);
    match trimmed.first() {
        None => return Event::Invalid,
        Some(b'#') => return Event::Comment,
        Some(_) if trimmed.len() == text.len() => return Event::Invalid,
        Some(_) => {}
    }
    let (key, rest) = take_word(trimmed);
    let value = trim_end(trim_start(rest));
    Event::Property { key: key.as_bstr(), value: (!value.is_empty()).then(|| value.as_bstr()) }
}

/// A line between sections, which is not blank.
fn between(text: &[u8], syntax: HeaderSyntax) -> Event<'_> {
    if trim_start(text).first() == Some(&b'#') {
        return Event::Comment;
    }
    let header = match syntax {
        HeaderSyntax::TypeAndId => type_and_id(text),
        HeaderSyntax::IdOnly => id_only(text).map(|id| (&[][..], id)),
    };
    match header {
        Some((kind, id)) => Event::Header { kind: kind.as_bstr(), id: id.as_bstr() },
        None => Event::Invalid,
    }
}

/// `TYPE ":" WS* ID WS*` with the longest possible TYPE: `a:b:c` is type `a:b`, id `c`, and `dir: a:b` is id `a:b`.
fn type_and_id(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (word, rest) = take_word(text);
    let rest = trim_end(trim_start(rest));
    let (kind, id) = if rest.is_empty() {
        // both in one word: the last colon that leaves something on its right
        let at = word.get(..word.len().checked_sub(1)?)?.rfind_byte(b':')?;
        (word.get(..at)?, word.get(at + 1..)?)
    } else {
        (word.strip_suffix(b":")?, rest)
    };
    (!kind.is_empty() && !id.iter().any(|&byte| is_space(byte))).then_some((kind, id))
}

/// `ID WS*`.
fn id_only(text: &[u8]) -> Option<&[u8]> {
    let (id, rest) = take_word(text);
    (!id.is_empty() && trim_start(rest).is_empty()).then_some(id)
}

/// Splits before the first white space.
#[inline]
fn take_word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|&byte| is_space(byte)).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, &[]))
}

#[inline]
fn trim_start(mut text: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = text
        && is_space(*first)
    {
        text = rest;
    }
    text
}

#[inline]
pub(super) fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., last] = text
        && is_space(*last)
    {
        text = rest;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Option<(&str, &str)> {
        let (kind, id) = type_and_id(text.as_bytes())?;
        Some((std::str::from_utf8(kind).unwrap(), std::str::from_utf8(id).unwrap()))
    }

    #[test]
    fn the_type_is_as_long_as_possible() {
        for (text, expected) in [
            ("dir: local", Some(("dir", "local"))),
            ("dir:local", Some(("dir", "local"))),
            ("a:b:c", Some(("a:b", "c"))),
            ("dir: a:b", Some(("dir", "a:b"))),
            ("a:b: c", Some(("a:b", "c"))),
            ("a:b:", Some(("a", "b:"))),
            (":::", Some((":", ":"))),
            ("::", None),
            (":x", None),
            (": x", None),
            ("a:", None),
            ("a b", None),
            ("a :b", None),
            ("a: b c", None),
            ("a:b c", None),
            (" a: b", None),
            ("a:\t\x0b b \r", Some(("a", "b"))),
            ("", None),
        ] {
            assert_eq!(header(text), expected, "{text:?}");
        }
    }

    fn events(text: &[u8]) -> Vec<Event<'_>> {
        Lexer::new(text).map(|line| line.event).collect()
    }

    fn property<'a>(key: &'a str, value: Option<&'a str>) -> Event<'a> {
        Event::Property { key: key.into(), value: value.map(Into::into) }
    }

    #[test]
    fn a_value_keeps_its_inner_white_space() {
        assert_eq!(
            events(b"a: b\n \tkey \t v  w # x \r\n\tkey\t\n\t\n")[1..],
            [property("key", Some("v  w # x")), property("key", None), Event::Invalid]
        );
    }

    #[test]
    fn only_empty_lines_and_a_lone_zero_are_blank() {
        let header = Event::Header { kind: "a".into(), id: "b".into() };
        assert_eq!(events(b"a: b\n0\na: b\n 0\n"), [header, Event::Blank, header, property("0", None)]);
        assert_eq!(events(b"a: b\n\r\na: b\n"), [header, Event::Invalid, Event::Invalid]);
    }

    #[test]
    fn comments_stand_anywhere() {
        let header = Event::Header { kind: "a".into(), id: "b".into() };
        assert_eq!(
            events(b"#x\n \t# y\na: b\n\t#z\n#\n\tc"),
            [Event::Comment, Event::Comment, header, Event::Comment, Event::Comment, property("c", None)]
        );
    }

    #[test]
    fn a_mapping_header_is_the_id_alone() {
        let lexed: Vec<_> = Lexer::with_syntax(b"gpu \n\tmap x\n\na: b\n", HeaderSyntax::IdOnly)
            .map(|line| line.event)
            .collect();
        let header = Event::Header { kind: "".into(), id: "gpu".into() };
        assert_eq!(lexed, [header, property("map", Some("x")), Event::Blank, Event::Invalid]);
    }

    #[test]
    fn numbers_and_texts_of_lines() {
        let lines: Vec<_> = Lexer::new(b"\n\nx").map(|line| (line.number, line.text)).collect();
        assert_eq!(lines, [(1, BStr::new("")), (2, BStr::new("")), (3, BStr::new("x"))]);
        assert_eq!(Lexer::new(b"").count(), 0);
    }
}
