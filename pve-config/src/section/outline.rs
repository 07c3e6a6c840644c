// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sections of a text as they stand, borrowed, without any schema.

use std::collections::HashSet;

use bstr::BStr;
use foldhash::fast::RandomState;

use super::line::{Event, HeaderSyntax, Lexer};

/// A property line of a section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawProperty<'a> {
    /// The name of the property.
    pub key: &'a BStr,
    /// Its value; `None` when the line holds nothing but the name.
    pub value: Option<&'a BStr>,
}

/// A section as it stands in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawSection<'a, 'o> {
    /// The type as written; empty with [`HeaderSyntax::IdOnly`].
    pub kind: &'a BStr,
    /// The id as written.
    pub id: &'a BStr,
    /// Number of the line with the header, counted from 1.
    pub line: usize,
    /// The properties in file order, repeated ones included.
    pub properties: &'o [RawProperty<'a>],
}

impl<'a> RawSection<'a, '_> {
    /// The value of the first property named `key`: `Some(None)` when it stands there without a value.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Option<&'a BStr>> {
        self.properties.iter().find(|property| property.key == key).map(|property| property.value)
    }

    /// The value of the first property named `key`, if it has one.
    #[must_use]
    pub fn text(&self, key: &str) -> Option<&'a BStr> {
        self.get(key).flatten()
    }

    /// A boolean property: `1`, `0`, or the bare name, which means 1. `None` if it is not set or anything else, which the
    /// reference ignores.
    #[must_use]
    pub fn switch(&self, key: &str) -> Option<bool> {
        self.properties.iter().filter(|property| property.key == key).find_map(|property| {
            match property.value.map(|value| &**value) {
                None | Some(b"1") => Some(true),
                Some(b"0") => Some(false),
                Some(_) => None,
            }
        })
    }
}

/// Every section of a text with its properties, borrowed from the text.
///
/// This is the quickest way to look into a section file of any kind: nothing is copied, nothing is checked, and the
/// whole file costs two allocations. Comments and invalid lines are left out; repeated sections and properties are
/// all there.
///
/// ```
/// use pve_config::section::Outline;
///
/// let jobs = Outline::parse(b"vzdump: nightly\n\tschedule 21:00\n\tall 1\n");
/// let job = jobs.sections().next().unwrap();
/// assert_eq!((job.kind, job.id), ("vzdump".into(), "nightly".into()));
/// assert_eq!(job.get("schedule"), Some(Some("21:00".into())));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Outline<'a> {
    headers: Vec<Header<'a>>,
    properties: Vec<RawProperty<'a>>,
}

#[derive(Debug, Clone)]
struct Header<'a> {
    kind: &'a BStr,
    id: &'a BStr,
    line: usize,
    /// Where the properties of this section are.
    properties: (usize, usize),
}

impl<'a> Outline<'a> {
    /// The sections of `text`, with headers of the form `TYPE: ID`.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        Outline::with_syntax(text, HeaderSyntax::TypeAndId)
    }

    /// The sections of `text`, with headers of the given form.
    #[must_use]
    pub fn with_syntax(text: &'a [u8], syntax: HeaderSyntax) -> Self {
        let mut outline = Outline::default();
        let mut lexer = Lexer::with_syntax(text, syntax);
        while let Some((_, event)) = lexer.advance() {
            match event {
                Event::Property { key, value } => outline.properties.push(RawProperty { key, value }),
                Event::Header { kind, id } => {
                    outline.end_section();
                    let first = outline.properties.len();
                    outline.headers.push(Header {
                        kind,
                        id,
                        line: lexer.number(),
                        properties: (first, first),
                    });
                }
                Event::Blank | Event::Comment | Event::Invalid => {}
            }
        }
        outline.end_section();
        outline
    }

    fn end_section(&mut self) {
        if let Some(header) = self.headers.last_mut() {
            header.properties.1 = self.properties.len();
        }
    }

    /// The sections that count for the reference: of those with the same id, the last.
    #[must_use]
    pub fn effective(mut self) -> Self {
        let mut seen: HashSet<&BStr, RandomState> = HashSet::default();
        self.headers.reverse();
        self.headers.retain(|header| seen.insert(header.id));
        self.headers.reverse();
        self
    }

    /// Number of sections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.headers.len()
    }

    /// Whether there is no section.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.headers.is_empty()
    }

    /// The sections in file order.
    pub fn sections(&self) -> impl Iterator<Item = RawSection<'a, '_>> {
        (0..self.len()).filter_map(|at| self.section_at(at))
    }

    pub(crate) fn section_at(&self, at: usize) -> Option<RawSection<'a, '_>> {
        let header = self.headers.get(at)?;
        let (first, end) = header.properties;
        let properties = self.properties.get(first..end).unwrap_or_default();
        Some(RawSection { kind: header.kind, id: header.id, line: header.line, properties })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_repeated_sections_and_properties() {
        let outline = Outline::parse(b"a: x\n\tk 1\n\tk 2\n\nbad\n\tk 9\n\nb: x\n");
        let sections: Vec<_> = outline.sections().collect();
        assert_eq!(outline.len(), 2);
        assert_eq!(sections[0].properties.len(), 2);
        assert_eq!(sections[0].get("k"), Some(Some("1".into())));
        assert_eq!((sections[1].kind, sections[1].line, sections[1].get("k")), ("b".into(), 8, None));
        let effective = outline.effective();
        let lines: Vec<_> = effective.sections().map(|section| section.line).collect();
        assert_eq!(lines, [8]);
    }

    #[test]
    fn switches_are_on_off_or_not_set() {
        let outline = Outline::parse(b"a: x\n\tb\n\tc 0\n\td yes\n\td 1\n\te 01\n");
        let section = outline.sections().next().unwrap();
        let switches = ["b", "c", "d", "e", "f"].map(|key| section.switch(key));
        assert_eq!(switches, [Some(true), Some(false), Some(true), None, None]);
        assert_eq!((section.text("b"), section.text("c")), (None, Some("0".into())));
    }
}
