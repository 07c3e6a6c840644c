// SPDX-License-Identifier: MIT OR Apache-2.0
//! A section file that reprints byte for byte, and in which one property or section can be changed without touching
//! the rest.

use std::borrow::Cow;
use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;

use super::line::{Event, HeaderSyntax, Lexer, trim_end};
use crate::rule::span_in;

/// Why an edit of a [`Document`] was refused. The document is unchanged then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// There is no section with this id.
    #[error("no section \"{id}\"")]
    NoSection {
        /// The id that was asked for.
        id: BString,
    },
    /// A section with this id is there already.
    #[error("section \"{id}\" exists already: remove it first or choose another id")]
    Exists {
        /// The id that was asked for.
        id: BString,
    },
    /// The line would not be read back as what it was written for: a key with white space, a value with a line
    /// break or with white space at its ends, an id with white space …
    #[error("\"{line}\" cannot be written: it would be read back as something else")]
    Unwritable {
        /// The line that would have been written.
        line: BString,
    },
}

/// A section file, lossless.
///
/// The reference loses comments, blank lines, the order of properties, and everything it does not understand when it
/// writes a section file. This document keeps every byte; an edit touches one line, and indentation and spacing of
/// that line stay too.
///
/// Where an id occurs twice, the last section is the one that counts for the reference, and the one that is read and
/// edited here. Removing and renaming act on all of them, so that none comes to light that was hidden before. Where a
/// property occurs twice, the first counts.
///
/// ```
/// use pve_config::section::Document;
///
/// let text = b"# shared with the old cluster\nnfs:   nas\n    server 10.0.0.1 \n\texport /srv\n";
/// let mut document = Document::parse(text);
/// document.set(b"nas", b"server", Some(b"10.0.0.2"))?;
/// document.set(b"nas", b"options", Some(b"vers=4.2"))?;
/// assert_eq!(
///     document.to_bytes(),
///     "# shared with the old cluster\nnfs:   nas\n    server 10.0.0.2 \n\texport /srv\n\toptions vers=4.2\n"
/// );
/// # Ok::<(), pve_config::section::EditError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    syntax: HeaderSyntax,
    blocks: Vec<Block<'a>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Block<'a> {
    /// A section from its header to the line before the blank one.
    Section(Cow<'a, [u8]>),
    /// Everything outside of sections: blank lines, comments, lines that mean nothing.
    Between(Cow<'a, [u8]>),
}

impl<'a> Document<'a> {
    /// Reads a text with headers of the form `TYPE: ID`. Any bytes are accepted.
    #[must_use]
    pub fn parse(text: &'a [u8]) -> Self {
        Document::with_syntax(text, HeaderSyntax::TypeAndId)
    }

    /// Reads a text with headers of the given form.
    #[must_use]
    pub fn with_syntax(text: &'a [u8], syntax: HeaderSyntax) -> Self {
        let mut blocks = Vec::new();
        let mut between = 0..0;
        let mut section: Option<usize> = None;
        let mut lexer = Lexer::with_syntax(text, syntax);
        let mut start = 0;
        while let Some(line) = lexer.next() {
            let end = text.len() - lexer.rest().len();
            match (line.event, section) {
                (Event::Header { .. }, _) => {
                    push(&mut blocks, text, between.clone(), Block::Between);
                    section = Some(start);
                }
                (Event::Blank, Some(first)) => {
                    push(&mut blocks, text, first..start, Block::Section);
                    section = None;
                    between = start..end;
                }
                (_, None) => between.end = end,
                (_, Some(_)) => {}
            }
            start = end;
        }
        match section {
            Some(first) => push(&mut blocks, text, first..text.len(), Block::Section),
            None => push(&mut blocks, text, between, Block::Between),
        }
        Document { syntax, blocks }
    }

    /// The text as it now is.
    #[must_use]
    pub fn to_bytes(&self) -> BString {
        let mut text = Vec::with_capacity(self.blocks.iter().map(|block| block.bytes().len()).sum());
        for block in &self.blocks {
            text.extend_from_slice(block.bytes());
        }
        text.into()
    }

    /// The sections in file order, repeated ids included.
    pub fn sections(&self) -> impl DoubleEndedIterator<Item = SectionText<'_>> {
        self.blocks.iter().filter_map(|block| match block {
            Block::Section(text) => SectionText::new(text, self.syntax),
            Block::Between(_) => None,
        })
    }

    /// The section with this id; the last one if there are several, as that is the one that counts.
    #[must_use]
    pub fn section(&self, id: &[u8]) -> Option<SectionText<'_>> {
        self.sections().rev().find(|section| section.id == id)
    }

    /// Sets a property to `value`, or to no value (`None`: the bare name, which means 1 for a boolean).
    ///
    /// The first line of that name is changed in place; if there is none, a line is added behind the last one of the
    /// section, indented like it.
    ///
    /// # Errors
    /// [`EditError::NoSection`], [`EditError::Unwritable`].
    pub fn set(&mut self, id: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<(), EditError> {
        let syntax = self.syntax;
        let text = self.text_mut(id)?;
        let Some(line) = lines(text, syntax).find(|line| line.is(text, key)) else {
            return append(text, syntax, key, value);
        };
        let part = |span: Range<usize>| text.get(span).unwrap_or_default();
        let gap = match part(line.key.end..line.value.start) {
            b"" => b" ",
            gap => gap,
        };
        let (before, after) = (part(line.span.start..line.key.end), part(line.value.end..line.span.end));
        let changed = match value {
            Some(value) => [before, gap, value, after].concat(),
            None => [before, after].concat(),
        };
        check_property(&changed, key, value)?;
        text.to_mut().splice(line.span, changed);
        Ok(())
    }

    /// Adds a property line behind the last line of the section, indented like it, whether or not the property is
    /// there already. This is how a list is extended, of which each line is an element.
    ///
    /// # Errors
    /// [`EditError::NoSection`], [`EditError::Unwritable`].
    pub fn add(&mut self, id: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<(), EditError> {
        let syntax = self.syntax;
        append(self.text_mut(id)?, syntax, key, value)
    }

    /// Deletes every line of a property, and says how many there were.
    ///
    /// # Errors
    /// [`EditError::NoSection`].
    pub fn unset(&mut self, id: &[u8], key: &[u8]) -> Result<usize, EditError> {
        let syntax = self.syntax;
        let text = self.text_mut(id)?;
        let mut found: Vec<Range<usize>> =
            lines(text, syntax).filter(|line| line.is(text, key)).map(|line| line.span).collect();
        found.reverse();
        for span in &found {
            text.to_mut().drain(span.clone());
        }
        Ok(found.len())
    }

    /// Adds an empty section at the end, a blank line before and behind it.
    ///
    /// # Errors
    /// [`EditError::Exists`], [`EditError::Unwritable`].
    pub fn add_section(&mut self, kind: &[u8], id: &[u8]) -> Result<(), EditError> {
        if self.section(id).is_some() {
            return Err(EditError::Exists { id: id.into() });
        }
        let header = match self.syntax {
            HeaderSyntax::TypeAndId => [kind, b": ", id, b"\n"].concat(),
            HeaderSyntax::IdOnly => [id, b"\n"].concat(),
        };
        check_header(&header, self.syntax, kind, id)?;
        if let Some(last) = self.blocks.last_mut() {
            if last.bytes().last() != Some(&b'\n') {
                last.text_mut().to_mut().push(b'\n');
            }
            match last {
                Block::Section(_) => self.blocks.push(Block::Between(Cow::Borrowed(b"\n"))),
                Block::Between(text) if !ends_blank(text) => text.to_mut().push(b'\n'),
                Block::Between(_) => {}
            }
        }
        self.blocks.push(Block::Section(Cow::Owned(header)));
        self.blocks.push(Block::Between(Cow::Borrowed(b"\n")));
        Ok(())
    }

    /// Removes every section with this id, each with the one blank line that ends it, and says how many there were.
    /// What else stands between sections (comments!) stays.
    pub fn remove_section(&mut self, id: &[u8]) -> usize {
        let syntax = self.syntax;
        let mut removed = 0;
        let mut end_of_removed = false;
        self.blocks.retain_mut(|block| match block {
            Block::Section(text) => {
                end_of_removed = SectionText::new(text, syntax).is_some_and(|section| section.id == id);
                removed += usize::from(end_of_removed);
                !end_of_removed
            }
            Block::Between(text) => {
                if end_of_removed {
                    let blank = text.find_byte(b'\n').map_or(text.len(), |at| at + 1);
                    text.to_mut().drain(..blank);
                }
                end_of_removed = false;
                !text.is_empty()
            }
        });
        removed
    }

    /// Gives every section with the id `from` the id `to`.
    ///
    /// # Errors
    /// [`EditError::NoSection`] for `from`, [`EditError::Exists`] for `to`, [`EditError::Unwritable`].
    pub fn rename_section(&mut self, from: &[u8], to: &[u8]) -> Result<(), EditError> {
        if self.section(from).is_none() {
            return Err(EditError::NoSection { id: from.into() });
        }
        if from != to && self.section(to).is_some() {
            return Err(EditError::Exists { id: to.into() });
        }
        let syntax = self.syntax;
        let mut changes = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            let Block::Section(text) = block else { continue };
            let Some(section) = SectionText::new(text, syntax).filter(|section| section.id == from) else {
                continue;
            };
            let span = span_in(text, section.id);
            let header = Lexer::with_syntax(text, syntax).next().map_or(&[][..], |line| line.text);
            let changed =
                [header.get(..span.start), Some(to), header.get(span.end..)].map(Option::unwrap_or_default);
            check_header(&changed.concat(), syntax, section.kind, to)?;
            changes.push((index, span));
        }
        for (index, span) in changes {
            if let Some(block) = self.blocks.get_mut(index) {
                block.text_mut().to_mut().splice(span, to.iter().copied());
            }
        }
        Ok(())
    }

    /// A document that does not borrow.
    #[must_use]
    pub fn into_owned(self) -> Document<'static> {
        let blocks = self.blocks.into_iter().map(|block| match block {
            Block::Section(text) => Block::Section(Cow::Owned(text.into_owned())),
            Block::Between(text) => Block::Between(Cow::Owned(text.into_owned())),
        });
        Document { syntax: self.syntax, blocks: blocks.collect() }
    }

    fn text_mut(&mut self, id: &[u8]) -> Result<&mut Cow<'a, [u8]>, EditError> {
        let syntax = self.syntax;
        let found = self.blocks.iter_mut().rev().find_map(|block| match block {
            Block::Section(text) => {
                SectionText::new(text, syntax).is_some_and(|section| section.id == id).then_some(text)
            }
            Block::Between(_) => None,
        });
        found.ok_or_else(|| EditError::NoSection { id: id.into() })
    }
}

impl<'a> Block<'a> {
    fn bytes(&self) -> &[u8] {
        match self {
            Block::Section(text) | Block::Between(text) => text,
        }
    }

    fn text_mut(&mut self) -> &mut Cow<'a, [u8]> {
        match self {
            Block::Section(text) | Block::Between(text) => text,
        }
    }
}

/// A section of a [`Document`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionText<'a> {
    /// The type as written; empty with [`HeaderSyntax::IdOnly`].
    pub kind: &'a BStr,
    /// The id as written.
    pub id: &'a BStr,
    /// The section as it stands, from the header to the line before the blank one.
    pub text: &'a BStr,
    syntax: HeaderSyntax,
}

impl<'a> SectionText<'a> {
    fn new(text: &'a [u8], syntax: HeaderSyntax) -> Option<Self> {
        match Lexer::with_syntax(text, syntax).next()?.event {
            Event::Header { kind, id } => Some(SectionText { kind, id, text: text.as_bstr(), syntax }),
            _ => None,
        }
    }

    /// The properties in file order, repeated ones included, with their values where they have one.
    pub fn properties(&self) -> impl Iterator<Item = (&'a BStr, Option<&'a BStr>)> + use<'a> {
        Lexer::with_syntax(self.text, self.syntax).filter_map(|line| match line.event {
            Event::Property { key, value } => Some((key, value)),
            _ => None,
        })
    }

    /// The value of the first property named `key`: `Some(None)` when it stands there without a value.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Option<&'a BStr>> {
        self.properties().find(|(name, _)| *name == key).map(|(_, value)| value)
    }
}

/// Where a property line stands in the text of its section, and where its parts do.
struct PropertySpan {
    /// The line with its LF.
    span: Range<usize>,
    key: Range<usize>,
    /// The value; empty, at the end of the key, when there is none.
    value: Range<usize>,
}

impl PropertySpan {
    fn is(&self, text: &[u8], key: &[u8]) -> bool {
        text.get(self.key.clone()) == Some(key)
    }
}

/// The property lines of a section.
fn lines(text: &[u8], syntax: HeaderSyntax) -> impl Iterator<Item = PropertySpan> {
    let mut lexer = Lexer::with_syntax(text, syntax);
    let mut next = 0;
    std::iter::from_fn(move || {
        loop {
            let line = lexer.next()?;
            let start = std::mem::replace(&mut next, text.len() - lexer.rest().len());
            if let Event::Property { key, value } = line.event {
                let key = span_in(text, key);
                let value = value.map_or(key.end..key.end, |value| span_in(text, value));
                return Some(PropertySpan { span: start..next, key, value });
            }
        }
    })
}

/// Adds a property line at the end of a section.
fn append(
    text: &mut Cow<'_, [u8]>,
    syntax: HeaderSyntax,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), EditError> {
    let indent = match lines(text, syntax).last() {
        Some(line) => text.get(line.span.start..line.key.start).unwrap_or_default().to_vec(),
        None => b"\t".to_vec(),
    };
    let line_end: &[u8] =
        if text.lines_with_terminator().any(|line| line.ends_with(b"\r\n")) { b"\r\n" } else { b"\n" };
    let (space, value_text): (&[u8], &[u8]) = value.map_or((b"", b""), |value| (b" ", value));
    let line = [&indent, key, space, value_text, line_end].concat();
    check_property(&line, key, value)?;
    if text.last() != Some(&b'\n') {
        text.to_mut().extend_from_slice(line_end);
    }
    text.to_mut().extend_from_slice(&line);
    Ok(())
}

/// That a line reads back as this property, and as nothing else.
fn check_property(line: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<(), EditError> {
    let expected = Event::Property { key: key.as_bstr(), value: value.map(BStr::new) };
    // any header will do: what counts is the body behind it
    let section = [b"x:x\n", line].concat();
    let mut lexer = Lexer::new(&section).skip(1);
    match (lexer.next(), lexer.next()) {
        (Some(read), None) if read.event == expected => Ok(()),
        _ => Err(EditError::Unwritable { line: trim_end(line).into() }),
    }
}

/// That a line reads back as this header, and as nothing else.
fn check_header(line: &[u8], syntax: HeaderSyntax, kind: &[u8], id: &[u8]) -> Result<(), EditError> {
    let mut lexer = Lexer::with_syntax(line, syntax);
    let expected = Event::Header { kind: kind.as_bstr(), id: id.as_bstr() };
    match (lexer.next(), lexer.next()) {
        (Some(read), None) if read.event == expected => Ok(()),
        _ => Err(EditError::Unwritable { line: trim_end(line).into() }),
    }
}

fn push<'a>(
    blocks: &mut Vec<Block<'a>>,
    text: &'a [u8],
    span: Range<usize>,
    block: fn(Cow<'a, [u8]>) -> Block<'a>,
) {
    if let Some(part) = text.get(span).filter(|part| !part.is_empty()) {
        blocks.push(block(Cow::Borrowed(part)));
    }
}

/// Whether the last line of a text is empty.
fn ends_blank(text: &[u8]) -> bool {
    text.strip_suffix(b"\n").is_none_or(|rest| rest.is_empty() || rest.ends_with(b"\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &[u8] = b"# top\n\nnfs:   nas\n    server   10.0.0.1 \n\t# why\n\texport /srv\n\tshared\n\n\
        dir: d1\n\tpath /a\n\tpath /b\n\n# end\ndir: last\n path /z";

    fn edited(edit: impl FnOnce(&mut Document<'_>)) -> String {
        let mut document = Document::parse(TEXT);
        edit(&mut document);
        String::from_utf8(document.to_bytes().into()).unwrap()
    }

    fn text() -> String {
        String::from_utf8(TEXT.to_vec()).unwrap()
    }

    #[test]
    fn a_change_touches_one_value() {
        assert_eq!(
            edited(|d| d.set(b"nas", b"server", Some(b"nas.example")).unwrap()),
            text().replace("10.0.0.1", "nas.example")
        );
        assert_eq!(
            edited(|d| d.set(b"nas", b"shared", Some(b"0")).unwrap()),
            text().replace("shared", "shared 0")
        );
        assert_eq!(edited(|d| d.set(b"d1", b"path", None).unwrap()), text().replace("path /a", "path"));
        assert_eq!(edited(|d| d.set(b"d1", b"path", Some(b"/a")).unwrap()), text());
    }

    #[test]
    fn a_new_property_stands_last_and_looks_like_its_neighbour() {
        assert_eq!(edited(|d| d.set(b"last", b"shared", None).unwrap()), text() + "\n shared\n");
        assert_eq!(
            edited(|d| d.add(b"d1", b"path", Some(b"/c")).unwrap()),
            text().replace("\tpath /b\n", "\tpath /b\n\tpath /c\n")
        );
    }

    #[test]
    fn deleting_takes_every_line_of_the_property() {
        assert_eq!(
            edited(|d| assert_eq!(d.unset(b"d1", b"path"), Ok(2))),
            text().replace("\tpath /a\n\tpath /b\n", "")
        );
        assert_eq!(edited(|d| assert_eq!(d.unset(b"d1", b"nodes"), Ok(0))), text());
    }

    #[test]
    fn sections_come_and_go() {
        assert_eq!(
            edited(|d| assert_eq!(d.remove_section(b"d1"), 1)),
            text().replace("dir: d1\n\tpath /a\n\tpath /b\n\n", "")
        );
        assert_eq!(edited(|d| d.add_section(b"pbs", b"new").unwrap()), text() + "\n\npbs: new\n\n");
        assert_eq!(
            edited(|d| d.rename_section(b"nas", b"n2").unwrap()),
            text().replace("nfs:   nas", "nfs:   n2")
        );
        let mut empty = Document::parse(b"");
        empty.add_section(b"dir", b"a").unwrap();
        empty.set(b"a", b"path", Some(b"/x")).unwrap();
        empty.add_section(b"dir", b"b").unwrap();
        assert_eq!(empty.to_bytes(), "dir: a\n\tpath /x\n\ndir: b\n\n");
    }

    #[test]
    fn the_last_of_equal_ids_counts() {
        let mut document = Document::parse(b"a: x\n\tk 1\n\nb: x\n\tk 2\n");
        assert_eq!(document.section(b"x").unwrap().get(b"k"), Some(Some("2".into())));
        document.set(b"x", b"k", Some(b"3")).unwrap();
        assert_eq!(document.to_bytes(), "a: x\n\tk 1\n\nb: x\n\tk 3\n");
        assert_eq!(document.remove_section(b"x"), 2);
        assert_eq!(document.to_bytes(), "");
    }

    #[test]
    fn refuses_what_would_be_read_as_something_else() {
        let mut document = Document::parse(TEXT);
        for (key, value) in [
            (&b"k"[..], Some(&b"a\nb"[..])),
            (b"k", Some(b" a")),
            (b"k", Some(b"")),
            (b"k k", Some(b"v")),
            (b"#k", None),
            (b"", Some(b"v")),
        ] {
            assert!(matches!(document.set(b"nas", key, value), Err(EditError::Unwritable { .. })), "{key:?}");
        }
        for (kind, id) in [(&b"a b"[..], &b"c"[..]), (b"a", b"c d"), (b"", b"c"), (b"a", b""), (b"#a", b"b")]
        {
            assert!(matches!(document.add_section(kind, id), Err(EditError::Unwritable { .. })), "{kind:?}");
        }
        assert!(matches!(document.rename_section(b"nas", b"a b"), Err(EditError::Unwritable { .. })));
        assert!(matches!(document.rename_section(b"nas", b"d1"), Err(EditError::Exists { .. })));
        assert!(matches!(document.unset(b"zz", b"k"), Err(EditError::NoSection { .. })));
        assert_eq!(document.to_bytes(), TEXT);
    }

    #[test]
    fn mapping_files_have_headers_of_their_own() {
        let mut document = Document::with_syntax(b"gpu\n\tmap a\n", HeaderSyntax::IdOnly);
        document.add(b"gpu", b"map", Some(b"b")).unwrap();
        document.add_section(b"", b"nic").unwrap();
        assert_eq!(document.to_bytes(), "gpu\n\tmap a\n\tmap b\n\nnic\n\n");
    }

    proptest! {
        #[test]
        fn reprints_any_bytes(text in proptest::collection::vec(prop_oneof![
            4 => Just(b'\n'), 2 => Just(b'\t'), 2 => Just(b' '), 2 => Just(b':'), 1 => Just(b'#'), 1 => Just(b'0'),
            1 => Just(b'\r'), 4 => Just(b'a'), 2 => any::<u8>()], 0..200))
        {
            for syntax in [HeaderSyntax::TypeAndId, HeaderSyntax::IdOnly] {
                prop_assert_eq!(Document::with_syntax(&text, syntax).to_bytes(), text.as_bstr());
            }
        }

        #[test]
        fn what_is_set_is_read_back(text in "([a-c]: [a-c]\n|[ \t][k-m] ?[0-9]*\n|\n|#\n|x\n){0,20}",
            id in "[a-c]", key in "[k-n]", value in "[0-9]{1,3}")
        {
            let mut document = Document::parse(text.as_bytes());
            if document.set(id.as_bytes(), key.as_bytes(), Some(value.as_bytes())).is_ok() {
                let bytes = document.to_bytes();
                let again = Document::parse(&bytes);
                let section = again.section(id.as_bytes()).unwrap();
                prop_assert_eq!(section.get(key.as_bytes()), Some(Some(BStr::new(&value))));
                prop_assert_eq!(again.sections().count(), Document::parse(text.as_bytes()).sections().count());
            }
        }
    }
}
