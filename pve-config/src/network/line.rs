// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lines of an interfaces file, continued ones as one, and what each of them is.

use std::borrow::Cow;
use std::iter::FusedIterator;
use std::ops::Range;

use bstr::{BStr, ByteSlice};

use crate::line_end::line_end;

/// What a line is. (interfaces(5), "FILE FORMAT")
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LineKind {
    /// Only white space.
    Blank,
    /// The first byte that is not white space is `#`.
    Comment,
    /// `iface NAME FAMILY METHOD`: opens the definition of an interface.
    Iface,
    /// `mapping PATTERN …`: opens a mapping of physical to logical names.
    Mapping,
    /// `auto NAME …`: interfaces that are brought up at boot.
    Auto,
    /// `allow-CLASS NAME …`: interfaces that a subsystem may bring up.
    Allow,
    /// `no-auto-down NAME …`: interfaces that are not brought down by `ifdown -a`.
    NoAutoDown,
    /// `no-scripts NAME …`: interfaces for which no scripts are run.
    NoScripts,
    /// `rename OLD=NEW …`.
    Rename,
    /// `source PATTERN`: other files that are read here.
    Source,
    /// `source-directory PATTERN`: directories whose files are read here.
    SourceDirectory,
    /// `KEY VALUE` after `iface` or `mapping`.
    Option,
    /// Nothing of the above at this place: ifupdown refuses the file.
    Misplaced,
}

impl LineKind {
    /// Whether a stanza starts here, or stands here as a whole.
    #[must_use]
    pub const fn starts_stanza(self) -> bool {
        !matches!(self, Self::Blank | Self::Comment | Self::Option | Self::Misplaced)
    }
}

/// A line with those that it continues in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// What it is.
    pub kind: LineKind,
    /// Number of its first line, counted from 1.
    pub number: usize,
    /// All of it as it stands, without the last LF.
    pub text: &'a BStr,
    /// What it says: continued lines joined, without white space at both ends.
    pub content: Cow<'a, BStr>,
    start: usize,
}

impl<'a> Line<'a> {
    /// Place of the line in the text, without the last LF.
    #[must_use]
    pub fn span(&self) -> Range<usize> {
        self.start..self.start + self.text.len()
    }

    /// Where the first byte stands that is not white space.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.number, self.start)
    }

    /// The first word.
    #[must_use]
    pub fn keyword(&self) -> Cow<'a, BStr> {
        part(&self.content, |content| split_word(content).0)
    }

    /// What follows the first word.
    #[must_use]
    pub fn rest(&self) -> Cow<'a, BStr> {
        part(&self.content, |content| split_word(content).1)
    }

    /// The words that follow the first one.
    #[must_use]
    pub fn words(&self) -> Vec<Cow<'a, BStr>> {
        match &self.content {
            Cow::Borrowed(content) => words(split_word(content).1).map(Cow::Borrowed).collect(),
            Cow::Owned(content) => {
                words(split_word(content.as_ref()).1).map(|word| Cow::Owned(word.to_owned())).collect()
            }
        }
    }
}

/// The lines of `text`. The texts of all of them, each followed by LF, are the whole input (but for that LF).
///
/// ```
/// use pve_config::network::{LineKind, lines};
///
/// let text = b"auto lo\niface eth0 inet dhcp\n\tup ip route add \\\n\t\t192.0.2.0/24 dev eth0\n\tmtu 1400\n";
/// let read: Vec<_> = lines(text).collect();
/// assert_eq!(read.iter().map(|line| line.number).collect::<Vec<_>>(), [1, 2, 3, 5]);
/// assert_eq!(read[2].kind, LineKind::Option);
/// assert_eq!(read[2].keyword().as_ref(), "up");
/// assert_eq!(read[2].rest().as_ref(), "ip route add \t\t192.0.2.0/24 dev eth0");
/// ```
#[must_use]
pub fn lines(text: &[u8]) -> Lines<'_> {
    Lines { text, at: 0, number: 0, takes_options: false }
}

/// The iterator that [`lines`] returns.
#[derive(Debug, Clone)]
pub struct Lines<'a> {
    text: &'a [u8],
    at: usize,
    /// Number of the physical line that was taken last.
    number: usize,
    /// The last stanza has options.
    takes_options: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let start = self.at;
        let (first, mut next) = physical(self.text, start)?;
        let number = self.number + 1;
        self.number += 1;
        let mut end = start + first.len();
        let is_comment = first.iter().find(|byte| !is_space(**byte)) == Some(&b'#');
        let mut continued = false;
        let mut last = first;
        while !is_comment && last.ends_with(b"\\") {
            continued = true;
            let Some((line, after)) = physical(self.text, next) else { break };
            (last, end, self.number) = (line, next + line.len(), self.number + 1);
            next = after;
        }
        self.at = next;
        let text = self.text.get(start..end).unwrap_or_default().as_bstr();
        let content = if continued { Cow::Owned(joined(text).into()) } else { Cow::Borrowed(trim(text)) };
        let kind = if is_comment { LineKind::Comment } else { self.kind(&content) };
        if kind.starts_stanza() {
            self.takes_options = matches!(kind, LineKind::Iface | LineKind::Mapping);
        }
        Some(Line { kind, number, text, content, start })
    }
}

impl FusedIterator for Lines<'_> {}

impl Lines<'_> {
    fn kind(&self, content: &BStr) -> LineKind {
        match split_word(content).0.as_bytes() {
            b"" => LineKind::Blank,
            b"iface" => LineKind::Iface,
            b"mapping" => LineKind::Mapping,
            b"auto" => LineKind::Auto,
            b"no-auto-down" => LineKind::NoAutoDown,
            b"no-scripts" => LineKind::NoScripts,
            b"rename" => LineKind::Rename,
            b"source" => LineKind::Source,
            b"source-directory" => LineKind::SourceDirectory,
            [b'a', b'l', b'l', b'o', b'w', b'-', _, ..] => LineKind::Allow,
            _ if self.takes_options => LineKind::Option,
            _ => LineKind::Misplaced,
        }
    }
}

/// The physical line at `start` without its LF, and where the next one starts. `None` at the end of the text.
fn physical(text: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
    Some(match line_end(rest) {
        Some(at) => (rest.get(..at).unwrap_or(rest), start + at + 1),
        None => (rest, text.len()),
    })
}

/// Continued lines without what joins them: a backslash at the very end of a line, and the LF behind it.
fn joined(text: &BStr) -> Vec<u8> {
    let mut joined = Vec::with_capacity(text.len());
    for line in text.split(|byte| *byte == b'\n') {
        joined.extend_from_slice(line.strip_suffix(b"\\").unwrap_or(line));
    }
    trim(joined.as_bstr()).to_vec()
}

/// White space between words and at the ends of lines.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | b' ')
}

pub(super) fn trim(text: &BStr) -> &BStr {
    text.trim_with(|char| u8::try_from(char).is_ok_and(is_space)).as_bstr()
}

/// The words of a text.
pub(super) fn words(text: &BStr) -> impl Iterator<Item = &BStr> {
    text.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()).map(BStr::new)
}

/// The first word, and what follows it without white space around.
fn split_word(text: &BStr) -> (&BStr, &BStr) {
    let end = text.iter().position(|byte| is_space(*byte)).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (word.as_bstr(), trim(rest.as_bstr()))
}

/// A part of a text, borrowed if the text is.
fn part<'a>(text: &Cow<'a, BStr>, cut: impl for<'t> Fn(&'t BStr) -> &'t BStr) -> Cow<'a, BStr> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(cut(text)),
        Cow::Owned(text) => Cow::Owned(cut(text.as_ref()).to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Vec<(LineKind, usize, String)> {
        lines(text.as_bytes()).map(|line| (line.kind, line.number, line.content.to_string())).collect()
    }

    /// What ifupdown 0.8.41 makes of the same lines.
    #[test]
    fn lines_go_on_behind_a_backslash() {
        use LineKind::{Auto, Comment, Iface, Option};
        assert_eq!(read("au\\\nto e0\n"), [(Auto, 1, "auto e0".into())]);
        assert_eq!(
            read("iface e0 inet dhcp\n  up a \\\n  # c\n  # d \\\n mtu 5\\ \n metric 3\\"),
            [
                (Iface, 1, "iface e0 inet dhcp".into()),
                (Option, 2, "up a   # c".into()),
                (Comment, 4, "# d \\".into()),
                (Option, 5, "mtu 5\\".into()),
                (Option, 6, "metric 3".into()),
            ]
        );
        assert_eq!(
            read("iface e\n mtu 5\\\n\n metric 3")[1..],
            [(Option, 2, "mtu 5".into()), (Option, 4, "metric 3".into())]
        );
        assert_eq!(read("iface e\n mtu 5\\\\\n metric 3")[1].2, "mtu 5\\ metric 3");
    }

    #[test]
    fn options_stand_behind_iface_and_mapping_only() {
        use LineKind::{Allow, Iface, Mapping, Misplaced, Option, Source};
        let kinds: Vec<_> =
            read("x 1\niface e\nx 1\nallow-hotplug e\nx 1\nmapping m\nmap 1\nsource a\nx\nallow-\n")
                .into_iter()
                .map(|(kind, _, _)| kind)
                .collect();
        let expected =
            [Misplaced, Iface, Option, Allow, Misplaced, Mapping, Option, Source, Misplaced, Misplaced];
        assert_eq!(kinds, expected);
        assert_eq!(read("AUTO e")[0].0, Misplaced);
    }

    proptest! {
        #[test]
        fn every_byte_is_in_a_line(text in prop::collection::vec(prop_oneof![
            2 => Just(b'\n'), 2 => Just(b'\\'), 1 => Just(b'#'), 2 => Just(b' '), 2 => Just(b'a'), 1 => any::<u8>()], 0..80))
        {
            let mut rebuilt = Vec::new();
            let mut number = 1;
            for line in lines(&text) {
                prop_assert_eq!(&text[line.span()], line.text.as_bytes());
                prop_assert_eq!(line.number, number);
                number += 1 + line.text.iter().filter(|byte| **byte == b'\n').count();
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
