// SPDX-License-Identifier: MIT OR Apache-2.0
//! The description of a section: gathered from the lines it is spread over, and written back as comment lines.

use std::borrow::Cow;
use std::ops::Range;

use bstr::{BStr, BString};

use super::document::{Document, EditError};
use super::line::{LineKind, Lines};
use super::section::is_truthy;
use super::{GuestKind, SectionId};
use crate::format::{decode_text, encode_text};

/// Gathers the description of one section, line by line.
#[derive(Debug, Default)]
pub(super) struct Gathered<'a> {
    text: Option<Cow<'a, [u8]>>,
    /// A line feed that belongs to the end of `text` but is not in it, so that a single plain line need not be copied.
    open: bool,
}

impl<'a> Gathered<'a> {
    /// Adds the value of a [`LineKind::Comment`] or [`LineKind::Description`] line. The former ends with a line feed.
    pub(super) fn push(&mut self, kind: LineKind, encoded: &'a [u8]) {
        let plain = encoded.is_ascii() && !encoded.contains(&b'%');
        let piece = if plain { Cow::Borrowed(encoded) } else { Cow::Owned(decode_text(encoded).into()) };
        match &mut self.text {
            None => self.text = Some(piece),
            Some(text) => {
                let text = text.to_mut();
                if self.open {
                    text.push(b'\n');
                }
                text.extend_from_slice(&piece);
            }
        }
        self.open = kind == LineKind::Comment;
    }

    /// The description, if the section has one. That of a virtual machine loses all white space at its end and may be
    /// empty; that of a container is kept as it is but must count as true (spec: qemu-conf, "Description", lxc-conf,
    /// "Line rules").
    pub(super) fn finish(self, kind: GuestKind) -> Option<Cow<'a, BStr>> {
        let mut text = self.text?;
        match kind {
            GuestKind::Qemu => {
                let end = trimmed_end(&text);
                match &mut text {
                    Cow::Borrowed(text) => *text = text.get(..end).unwrap_or(text),
                    Cow::Owned(text) => text.truncate(end),
                }
            }
            GuestKind::Lxc => {
                if self.open {
                    text.to_mut().push(b'\n');
                }
                if !is_truthy(&text) {
                    return None;
                }
            }
        }
        Some(match text {
            Cow::Borrowed(text) => Cow::Borrowed(BStr::new(text)),
            Cow::Owned(text) => Cow::Owned(text.into()),
        })
    }
}

/// Length of the text without the Unicode white space at its end.
fn trimmed_end(text: &[u8]) -> usize {
    let mut rest = text;
    loop {
        match bstr::decode_last_utf8(rest) {
            (Some(last), len) if last.is_whitespace() => {
                rest = rest.get(..rest.len() - len).unwrap_or_default();
            }
            _ => return rest.len(),
        }
    }
}

/// Appends the comment lines that stand for a description; empty lines at its end are left out.
pub(super) fn write_lines(text: &[u8], out: &mut Vec<u8>) {
    let used = text.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
    let text = text.get(..used).filter(|text| !text.is_empty());
    for line in text.into_iter().flat_map(|text| text.split(|byte| *byte == b'\n')) {
        out.push(b'#');
        out.extend_from_slice(&encode_text(line));
        out.push(b'\n');
    }
}

impl Document<'_> {
    /// The decoded description of a section, as the reference reads it from the comment lines and lines
    /// `description:` wherever they stand in the section; `None` without any.
    ///
    /// ```
    /// use pve_config::guest::{Document, GuestKind, SectionId};
    ///
    /// let mut document = Document::parse(GuestKind::Qemu, b"#100%25 mine\nname: web\n#second line\n");
    /// assert_eq!(document.description(SectionId::Main).unwrap(), "100% mine\nsecond line");
    ///
    /// document.set_description(SectionId::Main, "a: b")?;
    /// assert_eq!(document.as_bytes(), b"#a%3A b\nname: web\n");
    /// # Ok::<(), pve_config::guest::EditError>(())
    /// ```
    #[must_use]
    pub fn description(&self, section: SectionId<'_>) -> Option<BString> {
        let body = self.body(self.find(section)?);
        let mut gathered = Gathered::default();
        let text = self.as_bytes().get(..body.end).unwrap_or_default();
        for line in Lines::starting_at(self.kind(), text, body.start) {
            if matches!(line.kind, LineKind::Comment | LineKind::Description) {
                gathered.push(line.kind, line.value);
            }
        }
        gathered.finish(self.kind()).map(Cow::into_owned)
    }

    /// Replaces all lines of the description by comment lines with the new text, at the place of the first of them or
    /// at the start of the section. An empty text removes the description. The lines end with a plain line feed whatever
    /// the others do: a carriage return would become part of the description.
    ///
    /// # Errors
    ///
    /// [`EditError::NoSection`]
    pub fn set_description<T: AsRef<[u8]>>(
        &mut self,
        section: SectionId<'_>,
        text: T,
    ) -> Result<(), EditError> {
        let at = self.require(section)?;
        let old: Vec<Range<usize>> = self.description_lines(at);
        let place = old.first().map_or_else(|| self.body(at).start, |first| first.start);
        self.delete_lines(old);
        let mut lines = Vec::new();
        write_lines(text.as_ref(), &mut lines);
        if !lines.is_empty() {
            self.insert(place, &lines);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;

    use super::*;

    fn read(kind: GuestKind, text: &str) -> Option<BString> {
        Document::parse(kind, text.as_bytes()).description(SectionId::Main)
    }

    #[test]
    fn virtual_machines() {
        let read = |text| read(GuestKind::Qemu, text).map(|text| text.to_string());
        assert_eq!(read("cores: 1\n"), None);
        assert_eq!(read("#\n").as_deref(), Some(""));
        assert_eq!(read("#0").as_deref(), Some("0"));
        assert_eq!(read("#a\n\ndescription: b\n#c\r\n").as_deref(), Some("a\nbc"));
        assert_eq!(read("#\n#a\u{a0}\u{2003}\n#\u{3000}\n").as_deref(), Some("\na"));
    }

    #[test]
    fn containers() {
        let read = |text| read(GuestKind::Lxc, text).map(|text| text.to_string());
        assert_eq!(read("#\n").as_deref(), Some("\n"));
        assert_eq!(read("#a\r\n").as_deref(), Some("a\r\n"));
        assert_eq!(read("description: 0\n"), None);
        assert_eq!(read("#0\n").as_deref(), Some("0\n"));
    }

    #[test]
    fn setting_keeps_the_place() {
        let mut document =
            Document::parse(GuestKind::Qemu, b"cores: 1\n#old\nname: a\n#older\n[sn]\nname: b\n");
        document.set_description(SectionId::Main, "new\n\nx\n\n").unwrap();
        document.set_description(SectionId::snapshot("sn"), "s").unwrap();
        assert_eq!(document.as_bytes().as_bstr(), "cores: 1\n#new\n#\n#x\nname: a\n[sn]\n#s\nname: b\n");
        document.set_description(SectionId::Main, "").unwrap();
        assert_eq!(document.delete(SectionId::snapshot("sn"), "description"), 1);
        assert_eq!(document.as_bytes().as_bstr(), "cores: 1\nname: a\n[sn]\nname: b\n");
        assert!(document.set_description(SectionId::Pending, "x").is_err());
    }
}
