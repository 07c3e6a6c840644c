// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of a guest configuration: what each one is, with its key and value still in place.
//!
//! This is the lowest floor: nothing is copied, decoded or checked against the schema, and nothing is allocated.

use std::iter::FusedIterator;
use std::ops::Range;

use bstr::{BStr, ByteSlice};

use super::GuestKind;
use crate::line_end::line_end;

/// What a line is, by the first rule that matches it (spec: qemu-conf and lxc-conf, "Line rules").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineKind {
    /// Only white space.
    Blank,
    /// `[PENDING]` in any case; in a container's file `[pve:pending]`.
    PendingHeader,
    /// `[special:cloudinit]` or `[special:fleecing]`; the key is the name behind the colon. Virtual machines only.
    SpecialHeader,
    /// `[NAME]`; the key is the name of the snapshot.
    SnapshotHeader,
    /// `[…]` that names no section; the key is what stands between the brackets. Virtual machines only: in a
    /// container's file such a line is [`Invalid`](LineKind::Invalid) and ends nothing.
    UnknownHeader,
    /// Any line after an [`UnknownHeader`](LineKind::UnknownHeader), up to the next header. The reference skips it silently.
    Ignored,
    /// `#…`, a line of the description; the value is everything after the `#`, still encoded.
    Comment,
    /// `description: TEXT`, another spelling of a description; the value is the text, still encoded.
    Description,
    /// A line ending in `snapstate: prepare` or `snapstate: delete`, whatever stands before it; the value is the word.
    SnapState,
    /// `args: TEXT`, whose text the reference does not check. Virtual machines only.
    Args,
    /// `delete: TEXT`, the list of options to be deleted; meaningful in the pending section only.
    Delete,
    /// `lxc.KEY: VALUE` or `lxc.KEY = VALUE`, handed through to LXC. Containers only.
    Raw,
    /// `KEY: VALUE`.
    Option,
    /// Nothing of the above.
    Invalid,
}

impl LineKind {
    /// Whether the line opens a section (or, for [`UnknownHeader`](LineKind::UnknownHeader), a stretch that is skipped).
    #[must_use]
    pub fn is_header(self) -> bool {
        use LineKind::{PendingHeader, SnapshotHeader, SpecialHeader, UnknownHeader};
        matches!(self, PendingHeader | SpecialHeader | SnapshotHeader | UnknownHeader)
    }

    /// Whether the line assigns a value to a key of its section. Lines of the description do not count.
    #[must_use]
    pub fn is_assignment(self) -> bool {
        use LineKind::{Args, Delete, Option, Raw, SnapState};
        matches!(self, SnapState | Args | Delete | Raw | Option)
    }
}

/// One line of the text, with its parts as slices and as places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// What the line is.
    pub kind: LineKind,
    /// Number of the line, counted from 1.
    pub number: usize,
    /// The line without its LF (a CR before it belongs to the line).
    pub text: &'a BStr,
    /// Key of an assignment or name in a header; else empty.
    pub key: &'a BStr,
    /// Value of an assignment or text of a description line; else empty.
    pub value: &'a BStr,
    start: usize,
    key_at: usize,
    value_at: usize,
}

impl Line<'_> {
    /// Place of the line in the text, without its LF.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Place of [`Line::key`] in the text.
    #[must_use]
    pub fn key_span(&self) -> Range<usize> {
        self.key_at..self.key_at + self.key.len()
    }

    /// Place of [`Line::value`] in the text.
    #[must_use]
    pub fn value_span(&self) -> Range<usize> {
        self.value_at..self.value_at + self.value.len()
    }
}

/// Iterator over the [`Line`]s of a text; see [`lines`].
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    text: &'a [u8],
    kind: GuestKind,
    at: usize,
    number: usize,
    /// Whether lines are skipped: a header that names no section was seen last.
    muted: bool,
    /// Lines are never skipped.
    unmuted: bool,
}

/// The lines of `text`, read by the rules of `kind`. A missing final LF makes no difference; the texts of all lines,
/// each followed by LF, are the whole input (but for that LF).
///
/// ```
/// use pve_config::guest::{GuestKind, LineKind, lines};
///
/// let text = b"#web server\ncores: 2\r\n\n[before-upgrade]\nsnaptime: 1700000000\n";
/// let kinds: Vec<LineKind> = lines(GuestKind::Qemu, text).map(|line| line.kind).collect();
/// use LineKind::{Blank, Comment, Option, SnapshotHeader};
/// assert_eq!(kinds, [Comment, Option, Blank, SnapshotHeader, Option]);
///
/// let cores = lines(GuestKind::Qemu, text).nth(1).unwrap();
/// assert_eq!((cores.key, cores.value), ("cores".into(), "2".into()));
/// assert_eq!(&text[cores.value_span()], b"2");
/// ```
#[must_use]
pub fn lines(kind: GuestKind, text: &[u8]) -> Lines<'_> {
    Lines { text, kind, at: 0, number: 0, muted: false, unmuted: false }
}

impl<'a> Lines<'a> {
    /// The lines of `text`, where those after an unknown header are read like all others.
    pub(super) fn never_skipping(kind: GuestKind, text: &'a [u8]) -> Self {
        Lines { unmuted: true, ..lines(kind, text) }
    }

    /// The lines of `text` from the one that starts at `start`, counted from 1 there. The section before must be known
    /// not to be one that is skipped.
    pub(super) fn starting_at(kind: GuestKind, text: &'a [u8], start: usize) -> Self {
        Lines { at: start, ..lines(kind, text) }
    }
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    #[inline]
    fn next(&mut self) -> Option<Line<'a>> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let start = self.at;
        let text = match line_end(rest) {
            Some(end) => {
                self.at += end + 1;
                rest.get(..end).unwrap_or(rest)
            }
            None => {
                self.at = self.text.len();
                rest
            }
        };
        self.number += 1;
        let parts = read_line(self.kind, text, self.muted);
        if parts.kind.is_header() {
            self.muted = parts.kind == LineKind::UnknownHeader && !self.unmuted;
        }
        Some(Line {
            kind: parts.kind,
            number: self.number,
            text: text.as_bstr(),
            key: slice(text, parts.key.0, parts.key.1).as_bstr(),
            value: slice(text, parts.value.0, parts.value.1).as_bstr(),
            start,
            key_at: start + parts.key.0,
            value_at: start + parts.value.0,
        })
    }
}

impl FusedIterator for Lines<'_> {}

/// Kind, key and value of a line; places are counted from the start of the line.
struct Parts {
    kind: LineKind,
    key: (usize, usize),
    value: (usize, usize),
}

impl Parts {
    fn bare(kind: LineKind) -> Self {
        Parts { kind, key: (0, 0), value: (0, 0) }
    }

    fn header(kind: LineKind, from: usize, to: usize) -> Self {
        Parts { kind, key: (from, to), value: (0, 0) }
    }
}

/// The rules, in their order. Only virtual machines have sections that are skipped and unchecked `args`, only
/// containers have raw keys.
#[inline]
fn read_line(kind: GuestKind, line: &[u8], muted: bool) -> Parts {
    let Some((&first, _)) = line.split_first() else { return Parts::bare(LineKind::Blank) };
    let end = trimmed_end(line);
    if end == 0 {
        return Parts::bare(LineKind::Blank);
    }
    if first == b'['
        && let Some(header) = header(kind, line, end)
    {
        return header;
    }
    if muted {
        return Parts::bare(LineKind::Ignored);
    }
    if first == b'#' {
        return Parts { kind: LineKind::Comment, key: (0, 0), value: (1, line.len()) };
    }
    if first == b'l'
        && kind == GuestKind::Lxc
        && let Some(raw) = raw_line(line, end)
    {
        return raw;
    }
    let key = key_len(line, if kind == GuestKind::Qemu { QEMU_KEY } else { LXC_KEY });
    let has_text = key.is_some_and(|key| end > key + 1);
    if has_text && line.starts_with(b"description:") {
        return text_line(LineKind::Description, line, key.unwrap_or_default(), end);
    }
    if let Some(snapstate) = snapstate(line, end) {
        return snapstate;
    }
    let Some(key) = key else { return Parts::bare(LineKind::Invalid) };
    if !has_text {
        return blank_value(line, key);
    }
    let kind = match slice(line, 0, key) {
        b"args" if kind == GuestKind::Qemu => LineKind::Args,
        b"delete" => LineKind::Delete,
        _ => LineKind::Option,
    };
    text_line(kind, line, key, end)
}

#[cold]
fn header(kind: GuestKind, line: &[u8], end: usize) -> Option<Parts> {
    match kind {
        GuestKind::Qemu => qemu_header(line, end),
        GuestKind::Lxc => lxc_header(line, end),
    }
}

fn qemu_header(line: &[u8], end: usize) -> Option<Parts> {
    let name = bracketed(line, end)?;
    let to = name.len() + 1;
    if name.eq_ignore_ascii_case(b"PENDING") {
        return Some(Parts::header(LineKind::PendingHeader, 1, to));
    }
    if let Some((prefix, special)) = name.split_once_str(":")
        && prefix.eq_ignore_ascii_case(b"special")
        && matches!(special, b"cloudinit" | b"fleecing")
    {
        return Some(Parts::header(LineKind::SpecialHeader, to - special.len(), to));
    }
    let kind = if is_snapshot_name(name) { LineKind::SnapshotHeader } else { LineKind::UnknownHeader };
    Some(Parts::header(kind, 1, to))
}

fn lxc_header(line: &[u8], end: usize) -> Option<Parts> {
    let name = bracketed(line, end)?;
    let to = name.len() + 1;
    if name.eq_ignore_ascii_case(b"pve:pending") {
        return Some(Parts::header(LineKind::PendingHeader, 1, to));
    }
    is_snapshot_name(name).then(|| Parts::header(LineKind::SnapshotHeader, 1, to))
}

/// What stands in `[…]` if that is the whole line (up to `end`) and holds no further `]`.
fn bracketed(line: &[u8], end: usize) -> Option<&[u8]> {
    let name = line.get(..end)?.strip_prefix(b"[")?.strip_suffix(b"]")?;
    (!name.contains(&b']')).then_some(name)
}

/// A letter, then one or more of letters, digits, `_` and `-`; the length is not limited here.
fn is_snapshot_name(name: &[u8]) -> bool {
    match name.split_first() {
        Some((first, rest)) => {
            first.is_ascii_alphabetic()
                && !rest.is_empty()
                && rest.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
        }
        None => false,
    }
}

/// A line with `snapstate:` and one of its two words at the end, wherever it begins.
#[inline]
fn snapstate(line: &[u8], end: usize) -> Option<Parts> {
    let line = line.get(..end)?;
    if line.last() != Some(&b'e') {
        return None;
    }
    let word: &[u8] = if line.ends_with(b"prepare") { b"prepare" } else { b"delete" };
    let before = line.strip_suffix(word)?;
    let key_end = trimmed_end(before).checked_sub(1)?;
    let key_start = before.get(..=key_end)?.strip_suffix(b"snapstate:")?.len();
    Some(Parts { kind: LineKind::SnapState, key: (key_start, key_end), value: (before.len(), end) })
}

/// `lxc.KEY`, then `:` directly or `=` after optional white space, then the value, which may be empty.
fn raw_line(line: &[u8], end: usize) -> Option<Parts> {
    let name = line.strip_prefix(b"lxc.")?;
    let len = name
        .iter()
        .position(|byte| !(byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(byte)))?;
    if len == 0 {
        return None;
    }
    let key = 4 + len;
    let separator = if line.get(key) == Some(&b':') { key } else { key + trimmed_start(line.get(key..)?) };
    if separator != key && line.get(separator) != Some(&b'=') {
        return None;
    }
    if !matches!(line.get(separator), Some(b':' | b'=')) {
        return None;
    }
    let end = end.max(separator + 1);
    let from = separator + 1 + trimmed_start(slice(line, separator + 1, end));
    Some(Parts { kind: LineKind::Raw, key: (0, key), value: (from, end) })
}

/// `KEY:` followed by something that is not white space.
#[inline]
fn text_line(kind: LineKind, line: &[u8], key: usize, end: usize) -> Parts {
    let from = key + 1 + trimmed_start(slice(line, key + 1, end));
    Parts { kind, key: (0, key), value: (from, end) }
}

/// `KEY:` followed by white space only, whose last byte is then the value; with nothing behind the colon the line
/// is no assignment at all.
fn blank_value(line: &[u8], key: usize) -> Parts {
    if line.len() == key + 1 {
        return Parts::bare(LineKind::Invalid);
    }
    Parts { kind: LineKind::Option, key: (0, key), value: (line.len() - 1, line.len()) }
}

/// Classes of bytes in a key, one bit each.
const QEMU_KEY: u8 = 1;
const LXC_KEY: u8 = 2;
const DIGIT: u8 = 4;
const LETTER: u8 = 8;
const SPACE: u8 = 16;

const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' => QEMU_KEY | LXC_KEY | LETTER,
            b'_' => QEMU_KEY | LXC_KEY,
            b'-' => QEMU_KEY,
            b'0'..=b'9' => DIGIT,
            b'\t'..=b'\r' | b' ' => SPACE,
            _ => 0,
        };
        byte += 1;
    }
    classes
};

#[inline]
fn is(byte: u8, class: u8) -> bool {
    CLASSES.get(usize::from(byte)).is_some_and(|classes| classes & class != 0)
}

/// Length of the key if the line starts with one and a colon: a letter, then bytes of `class`, then digits.
#[inline]
fn key_len(line: &[u8], class: u8) -> Option<usize> {
    let (&first, _) = line.split_first()?;
    if !is(first, LETTER) {
        return None;
    }
    let mut bytes = line.iter();
    let mut byte = bytes.find(|byte| !is(**byte, class))?;
    while is(*byte, DIGIT) {
        byte = bytes.next()?;
    }
    (*byte == b':').then(|| line.len() - bytes.len() - 1)
}

/// Whether the byte is white space for the reference: ASCII, vertical tab included.
#[inline]
pub(super) fn is_space(byte: u8) -> bool {
    is(byte, SPACE)
}

/// `text` without the white space at both ends.
pub(super) fn trimmed(text: &[u8]) -> &[u8] {
    let text = slice(text, 0, trimmed_end(text));
    slice(text, trimmed_start(text), text.len())
}

/// Length of `line` without the white space at its end. White space is ASCII, vertical tab included.
#[inline]
pub(super) fn trimmed_end(line: &[u8]) -> usize {
    line.iter().rposition(|byte| !is(*byte, SPACE)).map_or(0, |last| last + 1)
}

/// Number of white-space bytes at the start of `text`.
#[inline]
pub(super) fn trimmed_start(text: &[u8]) -> usize {
    text.iter().position(|byte| !is(*byte, SPACE)).unwrap_or(text.len())
}

#[inline]
fn slice(text: &[u8], from: usize, to: usize) -> &[u8] {
    text.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Kind, key and value of a text of one line.
    fn one(kind: GuestKind, text: &str) -> (LineKind, &str, &str) {
        let line = lines(kind, text.as_bytes()).next().unwrap();
        (line.kind, line.key.to_str().unwrap(), line.value.to_str().unwrap())
    }

    #[test]
    fn headers() {
        use LineKind::{Invalid, PendingHeader, SnapshotHeader, SpecialHeader, UnknownHeader};
        let kind = |text| one(GuestKind::Qemu, text).0;
        assert_eq!(kind("[PeNding] \r"), PendingHeader);
        assert_eq!(one(GuestKind::Qemu, "[SPECIAL:cloudinit]"), (SpecialHeader, "cloudinit", ""));
        assert_eq!(one(GuestKind::Qemu, "[sn-1_A]"), (SnapshotHeader, "sn-1_A", ""));
        for text in ["[]", "[a]", "[1a]", "[a b]", "[a.b]", "[special:CloudInit]", "[special:foo]"] {
            assert_eq!(kind(text), UnknownHeader, "{text}");
        }
        for text in ["[sn] x", "[sn", "[sn]]", " [sn]"] {
            assert_eq!(kind(text), Invalid, "{text}");
        }
        let kind = |text| one(GuestKind::Lxc, text).0;
        assert_eq!(kind("[PVE:pending]"), PendingHeader);
        assert_eq!(kind("[PENDING]"), SnapshotHeader);
        assert_eq!(kind("[a b]"), Invalid);
    }

    #[test]
    fn unknown_headers_mute_what_follows() {
        let text = b"[a b]\n#x\ncores: 1\n\n[sn]\ncores: 1\n";
        let kinds: Vec<_> = lines(GuestKind::Qemu, text).map(|line| line.kind).collect();
        use LineKind::{Blank, Ignored, Option, SnapshotHeader, UnknownHeader};
        assert_eq!(kinds, [UnknownHeader, Ignored, Ignored, Blank, SnapshotHeader, Option]);
    }

    #[test]
    fn values() {
        use LineKind::{Args, Delete, Description, Invalid, Option, SnapState};
        let one = |text| one(GuestKind::Qemu, text);
        assert_eq!(one("cores:2"), (Option, "cores", "2"));
        assert_eq!(one("scsi10: \t a b \r"), (Option, "scsi10", "a b"));
        assert_eq!(one("boot: "), (Option, "boot", " "));
        assert_eq!(one("boot: \t"), (Option, "boot", "\t"));
        assert_eq!(one("args: "), (Option, "args", " "));
        assert_eq!(one("description: "), (Option, "description", " "));
        assert_eq!(one("description: x "), (Description, "description", "x"));
        assert_eq!(one("args: -a b"), (Args, "args", "-a b"));
        assert_eq!(one("delete: a"), (Delete, "delete", "a"));
        assert_eq!(one("a-b: 1"), (Option, "a-b", "1"));
        for text in ["boot:", " cores: 1", "cores : 1", "Cores: 1", "a1b: 1", "a1-: 1", "-a: 1", ": x", "x"] {
            assert_eq!(one(text).0, Invalid, "{text}");
        }
        assert_eq!(one("args: x snapstate: delete "), (SnapState, "snapstate", "delete"));
        assert_eq!(one("!!snapstate:   prepare"), (SnapState, "snapstate", "prepare"));
        assert_eq!(one("snapstate: foo"), (Option, "snapstate", "foo"));
        assert_eq!(one("description: snapstate: delete").0, Description);
    }

    #[test]
    fn raw_keys_of_containers() {
        use LineKind::{Invalid, Option, Raw};
        let one = |text| one(GuestKind::Lxc, text);
        assert_eq!(one("lxc.cap.drop =\r"), (Raw, "lxc.cap.drop", ""));
        assert_eq!(one("lxc.a:b=c"), (Raw, "lxc.a", "b=c"));
        assert_eq!(one("lxc.a \t = b "), (Raw, "lxc.a", "b"));
        assert_eq!(one("lxc.a: snapstate: delete"), (Raw, "lxc.a", "snapstate: delete"));
        for text in ["lxc.: x", "lxc.a : x", "LXC.a: x", "lxc.A: x", "lxc.a x", "a-b: 1"] {
            assert_eq!(one(text).0, Invalid, "{text}");
        }
        assert_eq!(one("args: x"), (Option, "args", "x"));
    }

    #[test]
    fn spans_point_into_the_text() {
        let text = b"a: 1\nfoo:  bar \r\n";
        let line = lines(GuestKind::Qemu, text).nth(1).unwrap();
        assert_eq!((line.number, line.span(), line.key_span(), line.value_span()), (2, 5..16, 5..8, 11..14));
    }

    proptest! {
        #[test]
        fn every_byte_is_in_a_line(text in prop::collection::vec(any::<u8>(), 0..200), lxc: bool) {
            let kind = if lxc { GuestKind::Lxc } else { GuestKind::Qemu };
            let mut rebuilt = Vec::new();
            for line in lines(kind, &text) {
                prop_assert_eq!(&text[line.span()], line.text.as_bytes());
                prop_assert_eq!(&text[line.key_span()], line.key.as_bytes());
                prop_assert_eq!(&text[line.value_span()], line.value.as_bytes());
                rebuilt.extend_from_slice(line.text);
                rebuilt.push(b'\n');
            }
            if !text.ends_with(b"\n") {
                rebuilt.pop();
            }
            prop_assert_eq!(rebuilt, text);
        }
    }
}
