// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lossless document: a guest configuration in which one key can be changed while every other byte stays.
//!
//! It knows lines, keys and sections, not the options' schema: unknown and invalid lines live here like all others.

use std::borrow::Cow;
use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};

use super::line::{Line, LineKind, Lines, lines, trimmed, trimmed_end};
use super::{GuestKind, SectionId};

/// A guest configuration file with all its bytes.
///
/// Comments, blank lines, unknown and invalid lines, the spelling of values, line endings and the order of everything
/// survive. Where a key or a section occurs several times the last one counts, as for the reference.
///
/// ```
/// use pve_config::guest::{Document, GuestKind, SectionId};
///
/// let text = b"# my VM\r\ncores:   2\r\n\r\nnot understood\r\nname: web\r\n";
/// let mut document = Document::parse(GuestKind::Qemu, text);
/// assert_eq!(document.get(SectionId::Main, "cores"), Some("2".into()));
///
/// document.set(SectionId::Main, "cores", "4")?;
/// document.set(SectionId::Main, "memory", "2048")?;
/// assert_eq!(
///     document.as_bytes(),
///     b"# my VM\r\ncores:   4\r\n\r\nnot understood\r\nmemory: 2048\r\nname: web\r\n"
/// );
/// # Ok::<(), pve_config::guest::EditError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Document<'a> {
    kind: GuestKind,
    text: Cow<'a, [u8]>,
    parts: Vec<Part>,
    entries: Vec<Entry>,
}

/// Why an edit of a [`Document`] was refused; the document is unchanged then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The section is not in the document.
    #[error("no {section} in the document; add the section first")]
    NoSection {
        /// The section asked for, as [`SectionId`] prints it.
        section: String,
    },
    /// The document cannot hold a section of that name.
    #[error("a {kind} configuration cannot hold a {section}: its header would be read as something else")]
    SectionName {
        /// Kind of the configuration.
        kind: GuestKind,
        /// The section asked for, as [`SectionId`] prints it.
        section: String,
    },
    /// No line can carry that key and value: reading the line back would give something else.
    #[error("no line can hold key {key:?} with value {value:?}; {}", why(key, value))]
    NotRepresentable {
        /// The key.
        key: BString,
        /// The value.
        value: BString,
    },
}

/// What stands in the way of a key and value that cannot be written.
fn why(key: &BString, value: &BString) -> &'static str {
    if key == "description" {
        "use set_description"
    } else if value.is_empty() {
        "an empty value cannot be read back, a single blank can"
    } else if value.contains(&b'\n') || value.contains(&b'\r') {
        "remove the line break from the value"
    } else if trimmed(value).len() < value.len() {
        "white space at the ends of a value is not kept"
    } else {
        "the key is not one, or the value makes the line mean something else"
    }
}

/// A stretch of the document that belongs to one section; the first is always the main section.
#[derive(Debug, Clone)]
struct Part {
    name: PartName,
    /// Start of the header line; of the main section: 0.
    header: usize,
    /// Start of the first line after the header.
    body: usize,
    /// End of the section: start of the next header, or of nothing.
    end: usize,
    /// Index of its first entry; the entries go on to those of the next part.
    first_entry: usize,
}

/// Name of a part, by its place in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
enum PartName {
    Main,
    Pending,
    Special(Range<usize>),
    Snapshot(Range<usize>),
    /// After a header that names no section: skipped by the reference.
    Unknown,
}

/// A line that assigns a value, in eight bytes: where it starts, and in the lower 16 bits the length of its key, by
/// which other keys are passed over quickly. The rest of the line is read again when wanted. A file of 60 MB has two
/// million of these, and what the kernel asks for their pages counts beside the reading.
#[derive(Debug, Clone, Copy)]
struct Entry(u64);

impl Entry {
    fn new(start: usize, key_len: usize) -> Self {
        // no address space has texts of more than 2^48 bytes
        Entry((start as u64) << 16 | u64::from(Self::noted(key_len)))
    }

    fn start(self) -> usize {
        (self.0 >> 16) as usize
    }

    /// Whether the key may have that length: all keys beyond the noted ones look alike.
    fn may_have(self, key_len: usize) -> bool {
        self.0 as u16 == Self::noted(key_len)
    }

    fn noted(key_len: usize) -> u16 {
        u16::try_from(key_len).unwrap_or(u16::MAX)
    }
}

impl<'a> Document<'a> {
    /// Reads a document. Every input is one, and [`Document::as_bytes`] gives it back unchanged.
    #[must_use]
    pub fn parse<T: Into<Cow<'a, [u8]>>>(kind: GuestKind, text: T) -> Self {
        let text = text.into();
        let (parts, entries) = index(kind, &text);
        Document { kind, text, parts, entries }
    }

    /// A document without a byte.
    #[must_use]
    pub fn empty(kind: GuestKind) -> Document<'static> {
        Document::parse(kind, Vec::new())
    }

    /// The kind whose rules apply.
    #[must_use]
    pub fn kind(&self) -> GuestKind {
        self.kind
    }

    /// The whole text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// The whole text.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.text.into_owned()
    }

    /// The same document, independent of the input.
    #[must_use]
    pub fn into_owned(self) -> Document<'static> {
        let Document { kind, text, parts, entries } = self;
        Document { kind, text: Cow::Owned(text.into_owned()), parts, entries }
    }

    /// Every line of the document.
    #[must_use]
    pub fn lines(&self) -> Lines<'_> {
        lines(self.kind, &self.text)
    }

    /// The sections in the order of the text, main first. A section that occurs again hides the earlier one, and is
    /// listed again.
    pub fn sections(&self) -> impl Iterator<Item = SectionId<'_>> {
        self.parts.iter().filter_map(|part| self.id(part))
    }

    /// Keys and values of a section in the order of the text, duplicates included; without its description.
    /// Empty if there is no such section.
    pub fn entries(&self, section: SectionId<'_>) -> impl Iterator<Item = (&BStr, &BStr)> {
        let found = self.find(section).map(|at| self.entries_of(at)).unwrap_or_default();
        found.iter().filter_map(|entry| self.line_at(entry.start())).map(|line| (line.key, line.value))
    }

    /// Value of the last line with that key. The description has no key: see [`Document::description`].
    #[must_use]
    pub fn get<K: AsRef<[u8]>>(&self, section: SectionId<'_>, key: K) -> Option<&BStr> {
        self.assignments(self.find(section)?, key.as_ref()).next_back().map(|line| line.value)
    }

    /// Gives `key` the value: in its last line, of which only the value is replaced, or in a new line.
    ///
    /// A new line goes where the reference would write it if the keys around are sorted, else to the end of
    /// the section. It ends like the first line of the document.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSection`], or [`EditError::NotRepresentable`] when the line would not be read back as that key
    /// and value: the value has a line break, white space at its ends or nothing at all, or the key is none.
    pub fn set<K, V>(&mut self, section: SectionId<'_>, key: K, value: V) -> Result<(), EditError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let (key, value) = (key.as_ref(), value.as_ref());
        let at = self.require(section)?;
        let Some(line) = self.assignments(at, key).next_back() else {
            let place = self.place_of_new(at, key);
            return self.insert_line(place, key, value);
        };
        let (span, kind) = (line.value_span(), line.kind);
        let mut changed = line.text.to_vec();
        let within = span.start - line.span().start..span.end - line.span().start;
        let blank = is_blank(value) || is_blank(line.value);
        if blank && kind != LineKind::Raw {
            // a blank value is the last byte of its line: write the whole line, and keep a CR only behind another value
            let ending: &[u8] = if changed.ends_with(b"\r") && !is_blank(value) { b"\r" } else { b"" };
            changed = assignment(key, value);
            changed.extend_from_slice(ending);
        } else {
            changed.splice(within, value.iter().copied());
        }
        let place = line.span();
        self.verify(&changed, key, value)?;
        self.replace(place, &changed);
        Ok(())
    }

    /// Adds a line behind the last one of the same key (or, without one, like [`Document::set`]): for the raw keys of
    /// containers, which may occur several times.
    ///
    /// # Errors
    ///
    /// As for [`Document::set`].
    pub fn append<K, V>(&mut self, section: SectionId<'_>, key: K, value: V) -> Result<(), EditError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let (key, value) = (key.as_ref(), value.as_ref());
        let at = self.require(section)?;
        let last = self.assignments(at, key).next_back().map(|line| self.after(line.span().end));
        let place = last.unwrap_or_else(|| self.place_of_new(at, key));
        self.insert_line(place, key, value)
    }

    /// Removes every line of `key` from the section, so that no earlier one comes to light; returns how many there
    /// were. Key `description` removes the description.
    pub fn delete<K: AsRef<[u8]>>(&mut self, section: SectionId<'_>, key: K) -> usize {
        let key = key.as_ref();
        let Some(at) = self.find(section) else { return 0 };
        if key == b"description" {
            return self.delete_lines(self.description_lines(at));
        }
        let spans = self.assignments(at, key).map(|line| line.span()).collect();
        self.delete_lines(spans)
    }

    /// Adds an empty section, where the reference would write it, unless there is one.
    ///
    /// # Errors
    ///
    /// [`EditError::SectionName`] if a header of that name would be read as something else.
    pub fn add_section(&mut self, section: SectionId<'_>) -> Result<(), EditError> {
        if self.find(section).is_some() {
            return Ok(());
        }
        let header = section.header(self.kind);
        let refused = || EditError::SectionName { kind: self.kind, section: section.to_string() };
        let header = header.ok_or_else(refused)?;
        let mut again = lines(self.kind, &header);
        let read = again.next().and_then(|line| id_of_header(&line));
        if read != Some(section) || again.next().is_some() {
            return Err(refused());
        }
        let later = self.parts.iter().skip(1).position(|part| self.id(part).is_some_and(|id| id > section));
        let before = later.unwrap_or(self.parts.len() - 1);
        let place = self.end_of_content(before);
        let ending = self.line_ending();
        self.insert(place, &[ending, &header, ending].concat());
        Ok(())
    }

    /// Removes a section, every occurrence of it, with all that stands in it up to the next header, comments and
    /// unknown lines included. Returns whether there was one. The main section is emptied.
    pub fn remove_section(&mut self, section: SectionId<'_>) -> bool {
        let mut removed = false;
        while let Some(at) = self.find(section) {
            let Some(part) = self.parts.get(at) else { break };
            let (mut from, to) = (part.header, part.end);
            if at + 1 == self.parts.len() && at > 0 {
                // the blank line that set the last section apart goes with it
                from -= blank_line_before(self.text.get(..from).unwrap_or_default());
            }
            removed |= from < to;
            self.replace(from..to, b"");
            if at == 0 {
                break;
            }
        }
        removed
    }
}

/// The parts below the public interface.
impl Document<'_> {
    fn id(&self, part: &Part) -> Option<SectionId<'_>> {
        let name = |range: &Range<usize>| self.text.get(range.clone()).unwrap_or_default().as_bstr();
        match &part.name {
            PartName::Main => Some(SectionId::Main),
            PartName::Pending => Some(SectionId::Pending),
            PartName::Special(range) => Some(SectionId::Special(name(range))),
            PartName::Snapshot(range) => Some(SectionId::Snapshot(name(range))),
            PartName::Unknown => None,
        }
    }

    /// Index of the last part that is the section.
    pub(super) fn find(&self, section: SectionId<'_>) -> Option<usize> {
        self.parts.iter().rposition(|part| self.id(part) == Some(section))
    }

    pub(super) fn require(&self, section: SectionId<'_>) -> Result<usize, EditError> {
        self.find(section).ok_or_else(|| EditError::NoSection { section: section.to_string() })
    }

    /// Place of the lines of a part, without its header.
    pub(super) fn body(&self, at: usize) -> Range<usize> {
        self.parts.get(at).map_or(0..0, |part| part.body..part.end)
    }

    fn entries_of(&self, at: usize) -> &[Entry] {
        let first = |at: usize| self.parts.get(at).map_or(self.entries.len(), |part| part.first_entry);
        self.entries.get(first(at)..first(at + 1)).unwrap_or_default()
    }

    /// The line that starts at an offset.
    fn line_at(&self, start: usize) -> Option<Line<'_>> {
        Lines::starting_at(self.kind, &self.text, start).next()
    }

    /// Lines of a part that assign a value to `key`.
    fn assignments<'s, 'k>(
        &'s self,
        at: usize,
        key: &'k [u8],
    ) -> impl DoubleEndedIterator<Item = Line<'s>> + use<'s, 'k> {
        let entries = self.entries_of(at).iter().filter(move |entry| entry.may_have(key.len()));
        entries.filter_map(|entry| self.line_at(entry.start())).filter(move |line| line.key == key)
    }

    /// Where a new line of `key` goes: before the first greater key if the section's keys are sorted.
    fn place_of_new(&self, at: usize, key: &[u8]) -> usize {
        let mut last: Option<&BStr> = None;
        let mut place = None;
        for line in self.entries_of(at).iter().filter_map(|entry| self.line_at(entry.start())) {
            if last.is_some_and(|last| last > line.key) {
                return self.end_of_content(at);
            }
            if place.is_none() && line.key > key {
                place = Some(line.span().start);
            }
            last = Some(line.key);
        }
        place.unwrap_or_else(|| self.end_of_content(at))
    }

    /// End of the last line of the part that is not blank, with its line ending.
    fn end_of_content(&self, at: usize) -> usize {
        let Some(part) = self.parts.get(at) else { return self.text.len() };
        let start = if at == 0 { part.body } else { part.header };
        let content = self.text.get(start..part.end).unwrap_or_default();
        match trimmed_end(content) {
            0 => start,
            used => self.after(start + used).min(part.end),
        }
    }

    /// Start of the line after the one that holds (or ends at) offset `at`.
    fn after(&self, at: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        rest.find_byte(b'\n').map_or(self.text.len(), |end| at + end + 1)
    }

    fn line_ending(&self) -> &'static [u8] {
        let first = self.text.find_byte(b'\n').unwrap_or_default();
        if self.text.get(..first).is_some_and(|line| line.ends_with(b"\r")) { b"\r\n" } else { b"\n" }
    }

    fn insert_line(&mut self, place: usize, key: &[u8], value: &[u8]) -> Result<(), EditError> {
        let mut line = assignment(key, value);
        self.verify(&line, key, value)?;
        line.extend_from_slice(if is_blank(value) { b"\n" } else { self.line_ending() });
        self.insert(place, &line);
        Ok(())
    }

    /// Refuses a line that would not be read back as that key and value.
    fn verify(&self, line: &[u8], key: &[u8], value: &[u8]) -> Result<(), EditError> {
        let mut read = lines(self.kind, line);
        let same = read.next().is_some_and(|line| {
            let snapstate = line.kind == LineKind::SnapState && line.value == value;
            let plain =
                matches!(line.kind, LineKind::Args | LineKind::Delete | LineKind::Raw | LineKind::Option);
            line.key == key && line.value == value && (plain || snapstate) && key != b"description"
        });
        if same && read.next().is_none() && !value.contains(&b'\r') {
            return Ok(());
        }
        Err(EditError::NotRepresentable { key: key.into(), value: value.into() })
    }

    /// Inserts whole lines at the start of a line, or at the end of a text whose last line is then ended. That takes a
    /// plain line feed: a carriage return would become part of that line.
    pub(super) fn insert(&mut self, place: usize, lines: &[u8]) {
        let unended = place > 0 && self.text.get(place - 1) != Some(&b'\n');
        let end: &[u8] = if unended { b"\n" } else { b"" };
        self.replace(place..place, &[end, lines].concat());
    }

    /// Removes whole lines, given without their endings and in the order of the text.
    pub(super) fn delete_lines(&mut self, spans: Vec<Range<usize>>) -> usize {
        let count = spans.len();
        if count > 0 {
            let mut kept = Vec::with_capacity(self.text.len());
            let mut from = 0;
            for span in spans {
                kept.extend_from_slice(self.text.get(from..span.start).unwrap_or_default());
                from = self.after(span.end);
            }
            kept.extend_from_slice(self.text.get(from..).unwrap_or_default());
            self.text = Cow::Owned(kept);
            self.reindex();
        }
        count
    }

    fn replace(&mut self, place: Range<usize>, with: &[u8]) {
        self.text.to_mut().splice(place, with.iter().copied());
        self.reindex();
    }

    fn reindex(&mut self) {
        (self.parts, self.entries) = index(self.kind, &self.text);
    }

    /// Places of the lines of the description of a part.
    pub(super) fn description_lines(&self, at: usize) -> Vec<Range<usize>> {
        let body = self.body(at);
        Lines::starting_at(self.kind, self.text.get(..body.end).unwrap_or_default(), body.start)
            .filter(|line| matches!(line.kind, LineKind::Comment | LineKind::Description))
            .map(|line| line.span())
            .collect()
    }
}

/// `KEY: VALUE`; a value of one white-space byte is the blank itself.
fn assignment(key: &[u8], value: &[u8]) -> Vec<u8> {
    let blank = value.len() == 1 && is_blank(value);
    let separator: &[u8] = if blank { b":" } else { b": " };
    [key, separator, value].concat()
}

fn is_blank(value: &[u8]) -> bool {
    trimmed_end(value) == 0
}

/// Length of the blank line at the end of `text`, with its ending; 0 if the last line is not blank.
fn blank_line_before(text: &[u8]) -> usize {
    let ending = if text.ends_with(b"\r\n") { 2 } else { usize::from(text.ends_with(b"\n")) };
    let before = text.get(..text.len() - ending).unwrap_or_default();
    if ending > 0 && (before.is_empty() || before.ends_with(b"\n")) { ending } else { 0 }
}

fn id_of_header<'a>(line: &Line<'a>) -> Option<SectionId<'a>> {
    match line.kind {
        LineKind::PendingHeader => Some(SectionId::Pending),
        LineKind::SpecialHeader => Some(SectionId::Special(line.key)),
        LineKind::SnapshotHeader => Some(SectionId::Snapshot(line.key)),
        _ => None,
    }
}

/// Finds sections and assignments.
fn index(kind: GuestKind, text: &[u8]) -> (Vec<Part>, Vec<Entry>) {
    let mut parts: Vec<Part> = Vec::with_capacity(4);
    // an option line of a typical file is about 30 bytes
    let mut entries: Vec<Entry> = Vec::with_capacity(text.len() / 28 + 4);
    parts.push(Part { name: PartName::Main, header: 0, body: 0, end: text.len(), first_entry: 0 });
    for line in lines(kind, text) {
        if line.kind.is_assignment() {
            entries.push(Entry::new(line.span().start, line.key.len()));
        } else if line.kind.is_header() {
            let name = match line.kind {
                LineKind::PendingHeader => PartName::Pending,
                LineKind::SpecialHeader => PartName::Special(line.key_span()),
                LineKind::SnapshotHeader => PartName::Snapshot(line.key_span()),
                _ => PartName::Unknown,
            };
            let span = line.span();
            if let Some(before) = parts.last_mut() {
                before.end = span.start;
            }
            let body = (span.end + 1).min(text.len());
            parts.push(Part { name, header: span.start, body, end: text.len(), first_entry: entries.len() });
        }
    }
    (parts, entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAIN: SectionId<'_> = SectionId::Main;

    fn qemu(text: &str) -> Document<'_> {
        Document::parse(GuestKind::Qemu, text.as_bytes())
    }

    fn text<'d>(document: &'d Document<'_>) -> &'d str {
        document.as_bytes().to_str().unwrap()
    }

    #[test]
    fn reads_the_last_line_and_the_last_section() {
        let document =
            qemu("cores: 1\ncores: 2\n[sn]\na: 1\n[x y]\na: 9\n[sn]\na: 2\n\n[pending]\nb:  3 \r\n");
        assert_eq!(document.get(MAIN, "cores"), Some("2".into()));
        assert_eq!(document.get(SectionId::snapshot("sn"), "a"), Some("2".into()));
        assert_eq!(document.get(SectionId::Pending, "b"), Some("3".into()));
        assert_eq!(document.get(MAIN, "a"), None);
        let names: Vec<String> = document.sections().map(|id| id.to_string()).collect();
        assert_eq!(names, ["main section", "snapshot \"sn\"", "snapshot \"sn\"", "pending section"]);
    }

    #[test]
    fn sets_in_place() {
        let mut document = qemu("cores:\t1 \ncores: 2  \r\nnet0: x\n");
        document.set(MAIN, "cores", "16").unwrap();
        assert_eq!(text(&document), "cores:\t1 \ncores: 16  \r\nnet0: x\n");
        let mut document = qemu("boot: \r\nargs:x");
        document.set(MAIN, "boot", "order=scsi0").unwrap();
        document.set(MAIN, "args", "y z").unwrap();
        assert_eq!(text(&document), "boot: order=scsi0\r\nargs:y z");
        document.set(MAIN, "boot", " ").unwrap();
        assert_eq!((text(&document), document.get(MAIN, "boot")), ("boot: \nargs:y z", Some(" ".into())));
    }

    #[test]
    fn new_lines_go_where_the_reference_writes_them() {
        let mut document = qemu("#d\nb: 1\nd: 1\n\n[sn]\na: 1");
        for key in ["a", "c", "e"] {
            document.set(MAIN, key, "2").unwrap();
        }
        document.set(SectionId::snapshot("sn"), "b", "2").unwrap();
        assert_eq!(text(&document), "#d\na: 2\nb: 1\nc: 2\nd: 1\ne: 2\n\n[sn]\na: 1\nb: 2\n");
        let mut document = qemu("d: 1\nb: 1\n#x\n\n[sn]\n");
        document.set(MAIN, "c", "2").unwrap();
        assert_eq!(text(&document), "d: 1\nb: 1\n#x\nc: 2\n\n[sn]\n");
    }

    #[test]
    fn refuses_what_would_be_read_as_something_else() {
        let mut document = qemu("a: 1\n");
        let bad = [
            ("a", ""),
            ("a", "x\ny"),
            ("a", "x\ry"),
            ("a", " x"),
            ("a", "x "),
            ("a", "\r"),
            ("A", "1"),
            ("", "1"),
            ("a b", "1"),
            ("a", "snapstate: delete"),
            ("description", "x"),
            ("#", "x"),
            ("[a", "x"),
            ("a: b\nc", "d"),
        ];
        for (key, value) in bad {
            let error = document.set(MAIN, key, value).unwrap_err();
            assert!(matches!(error, EditError::NotRepresentable { .. }), "{key}: {value}");
        }
        assert!(matches!(document.set(SectionId::Pending, "a", "1"), Err(EditError::NoSection { .. })));
        for id in [SectionId::snapshot("pending"), SectionId::snapshot("a"), SectionId::special("x"), MAIN] {
            let refused = document.add_section(id).is_err();
            assert_eq!(refused, id != MAIN, "{id}");
        }
        assert_eq!(text(&document), "a: 1\n");
    }

    #[test]
    fn deletes_every_line_of_a_key() {
        let mut document = qemu("a: 1\n#x\na: 2\r\nb: 1\n[sn]\na: 3\nx snapstate: delete");
        assert_eq!(document.delete(MAIN, "a"), 2);
        assert_eq!(document.delete(MAIN, "a"), 0);
        assert_eq!(document.delete(SectionId::snapshot("sn"), "snapstate"), 1);
        assert_eq!(text(&document), "#x\nb: 1\n[sn]\na: 3\n");
    }

    #[test]
    fn sections_come_and_go() {
        let before = "a: 1\n\n[sn]\nb: 1\n";
        let mut document = qemu(before);
        for id in [SectionId::snapshot("zz"), SectionId::special("cloudinit"), SectionId::Pending] {
            document.add_section(id).unwrap();
            document.set(id, "c", "1").unwrap();
        }
        let after = "a: 1\n\n[PENDING]\nc: 1\n\n[special:cloudinit]\nc: 1\n\n[sn]\nb: 1\n\n[zz]\nc: 1\n";
        assert_eq!(text(&document), after);
        for id in [SectionId::Pending, SectionId::snapshot("zz"), SectionId::special("cloudinit")] {
            assert!(document.remove_section(id));
            assert!(!document.remove_section(id));
        }
        assert_eq!(text(&document), before);
        assert!(document.remove_section(MAIN));
        assert_eq!(text(&document), "[sn]\nb: 1\n");
    }

    #[test]
    fn raw_keys_repeat() {
        let mut document = Document::parse(GuestKind::Lxc, b"arch: amd64\nlxc.cap.drop = a\nlxc.idmap: x\n");
        document.append(MAIN, "lxc.cap.drop", "b").unwrap();
        document.append(MAIN, "lxc.apparmor.profile", "").unwrap();
        let text = "arch: amd64\nlxc.apparmor.profile: \nlxc.cap.drop = a\nlxc.cap.drop: b\nlxc.idmap: x\n";
        assert_eq!(document.as_bytes().as_bstr(), text);
        let all: Vec<_> = document.entries(MAIN).map(|(_, value)| value.to_string()).collect();
        assert_eq!(all, ["amd64", "", "a", "b", "x"]);
        assert!(document.add_section(SectionId::special("cloudinit")).is_err());
    }

    /// Texts with many lines that mean something.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            "[a-c]{1,2}: ?[a-z ]{0,5}\r?",
            "#[a-z% ]{0,5}",
            "\\[[a-z]{0,3}\\] ?",
            Just("[PENDING]".to_owned()),
            Just("[special:cloudinit]".to_owned()),
            "[a-z ]{0,4}snapstate: (delete|prepare)",
            "lxc\\.[a-c] ?[:=] ?[a-z]?",
            "\\PC{0,5}",
        ];
        let text = (prop::collection::vec(line, 0..12), any::<bool>());
        text.prop_map(|(lines, end)| (lines.join("\n") + if end { "\n" } else { "" }).into_bytes())
    }

    /// The section that is looked at in the properties below: the number picks among those there are.
    fn some_section<'d>(document: &'d Document<'_>, number: usize) -> SectionId<'d> {
        let sections: Vec<_> = document.sections().collect();
        sections[number % sections.len()]
    }

    proptest! {
        #[test]
        fn delete_undoes_set(bytes in texts(), key in "[d-f]{1,2}", number: usize, lxc: bool) {
            let kind = if lxc { GuestKind::Lxc } else { GuestKind::Qemu };
            let before = Document::parse(kind, &bytes);
            let id = some_section(&before, number);
            prop_assume!(before.get(id, &key).is_none());
            let mut document = before.clone();
            document.set(id, &key, "x").unwrap();
            prop_assert_eq!(document.delete(id, &key), 1);
            let mut expected = bytes.clone();
            if document.as_bytes().len() > expected.len() {
                // a last line without ending got one
                expected.push(b'\n');
            }
            prop_assert_eq!(document.as_bytes().as_bstr(), expected.as_bstr());
        }

        #[test]
        fn what_was_set_is_read_back(bytes in texts(), key in "\\PC{0,4}", value in "\\PC{0,6}|[ \t\r]{0,2}") {
            let mut document = Document::parse(GuestKind::Qemu, &bytes);
            match document.set(MAIN, &key, &value) {
                Ok(()) => prop_assert_eq!(document.get(MAIN, &key), Some(BStr::new(&value))),
                Err(_) => prop_assert_eq!(document.as_bytes(), &bytes),
            }
        }
    }
}
