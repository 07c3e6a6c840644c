// SPDX-License-Identifier: MIT OR Apache-2.0
//! The lossless document: an interfaces file in which one option changes while every other byte stays.

use std::borrow::Cow;
use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};
use thiserror::Error;

use super::line::{Line, LineKind, Lines, is_space, lines};
use super::stanza::{Iface, same_key};
use crate::rule::span_in;

/// An interfaces file with all its bytes.
///
/// Comments, blank lines, indentation, and what nobody understands survive every change.
///
/// ```
/// use pve_config::network::Document;
///
/// let text = b"auto lo\niface lo inet loopback\n\niface eno1 inet manual\n# uplink\n";
/// let mut document = Document::parse(text);
/// document.add_iface(b"vmbr0", Some(b"inet"), Some(b"static"))?;
/// document.add(b"vmbr0", None, b"address", b"192.0.2.10/24")?;
/// document.add(b"vmbr0", None, b"bridge-ports", b"eno1")?;
/// document.set_auto(b"vmbr0", true)?;
/// assert!(document.as_bytes().ends_with(
///     b"# uplink\n\nauto vmbr0\niface vmbr0 inet static\n\taddress 192.0.2.10/24\n\tbridge-ports eno1\n"
/// ));
/// document.remove_iface(b"vmbr0");
/// assert_eq!(document.as_bytes(), [&text[..], b"\n"].concat());
/// # Ok::<(), pve_config::network::EditError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document<'a> {
    text: Cow<'a, [u8]>,
}

/// Why an edit of a [`Document`] was refused; the document is unchanged then.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EditError {
    /// The document has no stanza for the interface, or none of that family.
    #[error("there is no interface {name:?}{}; add it first", of_family(.family.as_ref()))]
    NoInterface {
        /// The name that was asked for.
        name: BString,
        /// The family that was asked for.
        family: Option<BString>,
    },
    /// The document has a stanza for the interface and family already.
    #[error("interface {name:?} exists already{}", of_family(.family.as_ref()))]
    Exists {
        /// The name.
        name: BString,
        /// The family.
        family: Option<BString>,
    },
    /// The line would be read as something else.
    #[error(
        "no line can say {line:?}: words must not be empty or contain white space, values must be one line"
    )]
    Unwritable {
        /// The line.
        line: BString,
    },
}

fn of_family(family: Option<&BString>) -> String {
    family.map(|family| format!(" of family {family:?}")).unwrap_or_default()
}

impl<'a> Document<'a> {
    /// Reads a document. Every input is one, and [`Document::as_bytes`] gives it back unchanged.
    #[must_use]
    pub fn parse<T: AsRef<[u8]> + ?Sized>(text: &'a T) -> Self {
        Document { text: Cow::Borrowed(text.as_ref()) }
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
        Document { text: Cow::Owned(self.text.into_owned()) }
    }

    /// Every line.
    #[must_use]
    pub fn lines(&self) -> Lines<'_> {
        lines(&self.text)
    }

    /// The value of the last line with this option in the stanzas of an interface; of one family only, if that is given.
    #[must_use]
    pub fn get(&self, name: &[u8], family: Option<&[u8]>, key: &[u8]) -> Option<Cow<'_, BStr>> {
        let stanzas = self.stanzas(name, family);
        let mut options = stanzas.into_iter().flat_map(|stanza| stanza.options);
        options.rfind(|line| same_key(&line.keyword(), key)).map(|line| line.rest())
    }

    /// Gives an option a value: in the last line that has it, of which only the value changes, or else in a new line.
    ///
    /// # Errors
    /// [`EditError::NoInterface`], [`EditError::Unwritable`].
    pub fn set(
        &mut self,
        name: &[u8],
        family: Option<&[u8]>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), EditError> {
        let stanzas = self.require(name, family)?;
        let mut options = stanzas.iter().flat_map(|stanza| &stanza.options);
        let Some(line) = options.rfind(|line| same_key(&line.keyword(), key)) else {
            return self.add(name, family, key, value);
        };
        let kept = line.keyword();
        check_option(&kept, value)?;
        let (span, new) = match line.rest() {
            Cow::Borrowed(old) if !old.is_empty() => (span_in(&self.text, old), value.to_vec()),
            _ => {
                let indent = line.text.iter().take_while(|byte| is_space(**byte)).count();
                let span = line.span();
                (span.start + indent..span.end, [kept.as_bytes(), b" ", value].concat())
            }
        };
        self.replace(span, &new);
        Ok(())
    }

    /// Adds a line with an option behind the others of the first stanza of an interface, whether or not it has the
    /// option already.
    ///
    /// # Errors
    /// [`EditError::NoInterface`], [`EditError::Unwritable`].
    pub fn add(
        &mut self,
        name: &[u8],
        family: Option<&[u8]>,
        key: &[u8],
        value: &[u8],
    ) -> Result<(), EditError> {
        check_option(key, value)?;
        let stanzas = self.require(name, family)?;
        let Some(stanza) = stanzas.first() else {
            return Err(EditError::NoInterface { name: name.into(), family: family.map(Into::into) });
        };
        let indent: &[u8] = match stanza.options.last() {
            Some(line) => {
                let indent = line.text.iter().take_while(|byte| is_space(**byte)).count();
                line.text.get(..indent).unwrap_or_default()
            }
            None => b"\t",
        };
        let end = stanza.options.last().unwrap_or(&stanza.line).span().end;
        let new = [indent, key, b" ", value].concat();
        self.insert_line(end, &new);
        Ok(())
    }

    /// Removes every line with this option from the stanzas of an interface, and says how many there were.
    pub fn unset(&mut self, name: &[u8], family: Option<&[u8]>, key: &[u8]) -> usize {
        let stanzas = self.stanzas(name, family);
        let options = stanzas.iter().flat_map(|stanza| &stanza.options);
        let spans = options.filter(|line| same_key(&line.keyword(), key)).map(Line::span).collect();
        self.remove_lines(spans)
    }

    /// Adds a stanza without options at the end.
    ///
    /// # Errors
    /// [`EditError::Exists`] if there is one of the same name and family; [`EditError::Unwritable`].
    pub fn add_iface(
        &mut self,
        name: &[u8],
        family: Option<&[u8]>,
        method: Option<&[u8]>,
    ) -> Result<(), EditError> {
        let is_same = |stanza: &Stanza<'_>| stanza.iface.family.as_deref().map(AsRef::as_ref) == family;
        if self.stanzas(name, None).iter().any(is_same) {
            return Err(EditError::Exists { name: name.into(), family: family.map(Into::into) });
        }
        let words: Vec<&[u8]> =
            [Some(&b"iface"[..]), Some(name), family, method].into_iter().flatten().collect();
        let line = words.join(&b' ');
        let read = lines(&line).next().and_then(|line| {
            let whole = line.text.len() == line.content.len() && line.kind == LineKind::Iface;
            Iface::open(&line, |_| {}).filter(|_| whole)
        });
        let is_as_meant = read.is_some_and(|read| {
            let text = |part: &Option<Cow<'_, BStr>>| part.as_deref().map(|part| part.to_vec());
            *read.name == name
                && text(&read.family) == family.map(<[u8]>::to_vec)
                && text(&read.method) == method.map(<[u8]>::to_vec)
                && read.inherits.is_empty()
        });
        if !is_as_meant || line.contains(&b'\n') || line.ends_with(b"\\") {
            return Err(EditError::Unwritable { line: line.into() });
        }
        let is_separated = match self.lines().last() {
            None => true,
            Some(last) => last.kind == LineKind::Blank && self.text.ends_with(b"\n"),
        };
        if !is_separated {
            self.insert_line(self.text.len(), b"");
        }
        self.insert_line(self.text.len(), &line);
        Ok(())
    }

    /// Removes every stanza of an interface, and its name from the lines `auto` and `allow-CLASS`; says how many stanzas
    /// there were. Comments that follow the options of a stanza without a blank line go with it, and so does the blank
    /// line behind it.
    pub fn remove_iface(&mut self, name: &[u8]) -> usize {
        let lines: Vec<Line<'_>> = self.lines().collect();
        let is_wanted = |line: &Line<'_>| {
            line.kind == LineKind::Iface && Iface::open(line, |_| {}).is_some_and(|iface| *iface.name == name)
        };
        let mut spans = Vec::new();
        let mut removed = 0;
        for stanza in lines.chunk_by(|_, next| !next.kind.starts_stanza()) {
            if !stanza.first().is_some_and(is_wanted) {
                continue;
            }
            removed += 1;
            let last =
                stanza.iter().rposition(|line| !matches!(line.kind, LineKind::Blank | LineKind::Comment));
            let (own, behind) =
                stanza.split_at_checked(last.unwrap_or_default() + 1).unwrap_or((stanza, &[]));
            let comments = behind.iter().take_while(|line| line.kind == LineKind::Comment).count();
            let blank = behind.get(comments).is_some_and(|line| line.kind == LineKind::Blank);
            let behind = behind.iter().take(comments + usize::from(blank));
            spans.extend(own.iter().chain(behind).map(Line::span));
        }
        self.remove_lines(spans);
        self.deselect(name, |_| true);
        removed
    }

    /// Has an interface brought up at boot, or not: adds it in a line `auto` before its first stanza, or takes it out of
    /// all such lines.
    ///
    /// # Errors
    /// [`EditError::NoInterface`].
    pub fn set_auto(&mut self, name: &[u8], auto: bool) -> Result<(), EditError> {
        if !auto {
            self.deselect(name, |keyword| matches!(keyword, b"auto" | b"allow-auto"));
            return Ok(());
        }
        let is_auto = self.lines().any(|line| {
            matches!(line.keyword().as_bytes(), b"auto" | b"allow-auto")
                && line.words().iter().any(|word| **word == name)
        });
        if is_auto {
            return Ok(());
        }
        let stanzas = self.require(name, None)?;
        if let Some(start) = stanzas.first().map(|stanza| stanza.line.span().start) {
            let ending = self.line_ending();
            let line = not_continued([b"auto ", name].concat());
            self.replace(start..start, &[&line, ending].concat());
        }
        Ok(())
    }

    /// Takes a name out of the lines `auto` and `allow-CLASS` whose keyword is wanted.
    fn deselect(&mut self, name: &[u8], wanted: impl Fn(&[u8]) -> bool) {
        let lines: Vec<Line<'_>> = self.lines().collect();
        let mut changes = Vec::new();
        for stanza in lines.chunk_by(|_, next| !next.kind.starts_stanza()) {
            let Some(line) =
                stanza.first().filter(|line| matches!(line.kind, LineKind::Auto | LineKind::Allow))
            else {
                continue;
            };
            let words = line.words();
            if !wanted(&line.keyword()) || !words.iter().any(|word| **word == name) {
                continue;
            }
            let rest: Vec<&[u8]> =
                words.iter().filter(|word| ***word != name).map(|word| word.as_bytes()).collect();
            let keyword = line.keyword();
            // lines at a wrong place would become options of the stanza above
            let must_stay = stanza.iter().any(|line| line.kind == LineKind::Misplaced);
            let new = match rest.is_empty() {
                true if must_stay => Some(keyword.to_vec()),
                true => None,
                false => Some(not_continued([keyword.as_bytes(), b" ", &rest.join(&b' ')].concat())),
            };
            let indent = line.text.iter().take_while(|byte| is_space(**byte)).count();
            let end = line.span().start + trimmed_len(line.text);
            changes.push((line.span(), line.span().start + indent..end, new));
        }
        for (whole, words, new) in changes.into_iter().rev() {
            match new {
                Some(new) => self.replace(words, &new),
                None => {
                    self.remove_lines(vec![whole]);
                }
            }
        }
    }

    fn stanzas(&self, name: &[u8], family: Option<&[u8]>) -> Vec<Stanza<'_>> {
        let mut stanzas: Vec<Stanza<'_>> = Vec::new();
        let mut inside = false;
        for line in self.lines() {
            if line.kind.starts_stanza() {
                let opened = if line.kind == LineKind::Iface { Iface::open(&line, |_| {}) } else { None };
                let wanted = opened.filter(|iface| {
                    *iface.name == name
                        && family.is_none_or(|family| iface.family.as_deref() == Some(BStr::new(family)))
                });
                inside = wanted.is_some();
                stanzas.extend(wanted.map(|iface| Stanza { iface, line, options: Vec::new() }));
            } else if inside
                && line.kind == LineKind::Option
                && let Some(stanza) = stanzas.last_mut()
            {
                stanza.options.push(line);
            }
        }
        stanzas
    }

    fn require(&self, name: &[u8], family: Option<&[u8]>) -> Result<Vec<Stanza<'_>>, EditError> {
        let stanzas = self.stanzas(name, family);
        if stanzas.is_empty() {
            return Err(EditError::NoInterface { name: name.into(), family: family.map(Into::into) });
        }
        Ok(stanzas)
    }

    fn line_ending(&self) -> &'static [u8] {
        let first = self.text.find_byte(b'\n').and_then(|at| self.text.get(..at));
        if first.is_some_and(|line| line.ends_with(b"\r")) { b"\r\n" } else { b"\n" }
    }

    /// Puts a line behind the one that ends at `end`.
    fn insert_line(&mut self, end: usize, line: &[u8]) {
        let ending = self.line_ending();
        let mut new = Vec::new();
        let mut at = (end + 1).min(self.text.len());
        let before = self.text.get(..at).unwrap_or_default();
        if !before.is_empty() && !before.ends_with(b"\n") {
            at = self.text.len();
            new.extend_from_slice(ending);
        }
        if self.text.get(..at).is_some_and(|before| before.ends_with(b"\\") || before.ends_with(b"\\\n")) {
            // the last line is to go on: not in the new one
            new.push(b'\n');
        }
        new.extend_from_slice(line);
        new.extend_from_slice(ending);
        self.replace(at..at, &new);
    }

    /// Removes whole lines, and says how many.
    fn remove_lines(&mut self, spans: Vec<Range<usize>>) -> usize {
        if spans.is_empty() {
            return 0;
        }
        let count = spans.len();
        let mut kept = Vec::with_capacity(self.text.len());
        let mut from = 0;
        for span in spans {
            kept.extend_from_slice(self.text.get(from..span.start).unwrap_or_default());
            from = span.end + 1;
        }
        kept.extend_from_slice(self.text.get(from..).unwrap_or_default());
        self.text = Cow::Owned(kept);
        count
    }

    fn replace(&mut self, span: Range<usize>, new: &[u8]) {
        if span.start <= span.end && span.end <= self.text.len() {
            self.text.to_mut().splice(span, new.iter().copied());
        }
    }
}

/// A stanza of an interface in the text.
struct Stanza<'t> {
    iface: Iface<'t>,
    line: Line<'t>,
    options: Vec<Line<'t>>,
}

/// That a line reads back as this option, and as nothing else.
fn check_option(key: &[u8], value: &[u8]) -> Result<(), EditError> {
    let option = [key, b" ", value].concat();
    let text = [b"iface x\n", &option[..], b"\n"].concat();
    let mut read = lines(&text).skip(1);
    match (read.next(), read.next()) {
        (Some(line), None)
            if line.kind == LineKind::Option
                && !value.is_empty()
                && *line.keyword() == key
                && *line.rest() == value
                && line.text == option =>
        {
            Ok(())
        }
        _ => Err(EditError::Unwritable { line: option.into() }),
    }
}

/// A line that the next one does not continue: a name may end with a backslash.
fn not_continued(mut line: Vec<u8>) -> Vec<u8> {
    if line.ends_with(b"\\") {
        line.push(b' ');
    }
    line
}

fn trimmed_len(text: &[u8]) -> usize {
    text.iter().rposition(|byte| !is_space(*byte)).map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "# top\nauto lo e0\n\niface lo inet loopback\niface e0 inet static\n    address  1.2.3.4/24\n\
        # why\n    up a \\\n      b\n# mine\n\niface e0 inet6 static\n\taddress fd00::1/64\n\nsource x/*\n";

    fn edited(edit: impl FnOnce(&mut Document<'_>)) -> String {
        let mut document = Document::parse(TEXT);
        edit(&mut document);
        String::from_utf8(document.into_bytes()).unwrap()
    }

    #[test]
    fn a_change_touches_one_value() {
        assert_eq!(
            edited(|d| d.set(b"e0", Some(b"inet"), b"address", b"1.2.3.5/24").unwrap()),
            TEXT.replace("1.2.3.4", "1.2.3.5")
        );
        assert_eq!(
            edited(|d| d.set(b"e0", Some(b"inet6"), b"address", b"fd00::2/64").unwrap()),
            TEXT.replace("fd00::1", "fd00::2")
        );
        assert_eq!(
            edited(|d| d.set(b"e0", None, b"up", b"c").unwrap()),
            TEXT.replace("up a \\\n      b", "up c")
        );
        assert_eq!(
            edited(|d| d.set(b"e0", Some(b"inet"), b"mtu", b"9000").unwrap()),
            TEXT.replace("      b\n", "      b\n    mtu 9000\n")
        );
        assert_eq!(
            edited(|d| d.set(b"lo", None, b"mtu", b"9000").unwrap()),
            TEXT.replace("loopback\n", "loopback\n\tmtu 9000\n")
        );
        assert_eq!(edited(|d| assert_eq!(d.unset(b"e0", None, b"address"), 2)), {
            TEXT.replace("    address  1.2.3.4/24\n", "").replace("\taddress fd00::1/64\n", "")
        });
        assert_eq!(Document::parse(TEXT).get(b"e0", Some(b"inet"), b"up").unwrap().as_ref(), "a       b");
    }

    #[test]
    fn interfaces_come_and_go() {
        assert_eq!(
            edited(|d| assert_eq!(d.remove_iface(b"e0"), 2)),
            "# top\nauto lo\n\niface lo inet loopback\nsource x/*\n"
        );
        assert_eq!(edited(|d| d.set_auto(b"e0", false).unwrap()), TEXT.replace("lo e0", "lo"));
        assert_eq!(
            edited(|d| {
                d.set_auto(b"lo", false).unwrap();
                d.set_auto(b"e0", false).unwrap();
                d.set_auto(b"e0", true).unwrap();
            }),
            TEXT.replace("auto lo e0\n", "").replace("iface e0 inet ", "auto e0\niface e0 inet ")
        );
        assert_eq!(
            edited(|d| d.add_iface(b"v.5", Some(b"inet"), Some(b"manual")).unwrap()),
            format!("{TEXT}\niface v.5 inet manual\n")
        );
        let mut open = Document::parse("iface a\n mtu 5\\");
        open.add(b"a", None, b"up", b"x").unwrap();
        open.add_iface(b"b", None, None).unwrap();
        assert_eq!(open.get(b"a", None, b"mtu").unwrap().as_ref(), "5");
        assert_eq!(open.get(b"a", None, b"up").unwrap().as_ref(), "x");
        assert!(open.set_auto(b"b", true).is_ok());
        let mut empty = Document::parse("");
        empty.add_iface(b"lo", Some(b"inet"), Some(b"loopback")).unwrap();
        assert_eq!(empty.as_bytes(), b"iface lo inet loopback\n");
    }

    #[test]
    fn a_backslash_is_a_name_too() {
        let mut document = Document::parse("auto \\ a\niface \\ inet dhcp\niface a inet dhcp\n");
        document.set_auto(b"a", false).unwrap();
        assert_eq!(document.as_bytes(), b"auto \\ \niface \\ inet dhcp\niface a inet dhcp\n");
        document.set_auto(b"\\", false).unwrap();
        document.set_auto(b"\\", true).unwrap();
        assert_eq!(document.as_bytes(), b"auto \\ \niface \\ inet dhcp\niface a inet dhcp\n");
    }

    #[test]
    fn a_blank_line_does_not_end_a_stanza() {
        let mut document = Document::parse("iface a inet dhcp\n mtu 1\n\n up x\n\niface b inet dhcp\n");
        assert_eq!(document.get(b"a", None, b"up").unwrap().as_ref(), "x");
        assert_eq!(document.remove_iface(b"a"), 1);
        assert_eq!(document.as_bytes(), b"iface b inet dhcp\n");
    }

    #[test]
    fn refuses_what_would_be_read_as_something_else() {
        let mut document = Document::parse(TEXT);
        for (key, value) in [
            ("auto", "x"),
            ("iface", "x"),
            ("allow-x", "y"),
            ("#mtu", "1"),
            ("", "1"),
            ("a b", "1"),
            ("mtu", ""),
            ("mtu", " 1"),
            ("mtu", "1\n2"),
            ("mtu", "1\\"),
        ] {
            let refused = document.set(b"lo", None, key.as_bytes(), value.as_bytes());
            assert!(matches!(refused, Err(EditError::Unwritable { .. })), "{key} {value}");
        }
        for (name, family, method) in
            [("", "inet", "dhcp"), ("a b", "inet", "dhcp"), ("a", "inherits", "x"), ("a", "inet", "x\\")]
        {
            let refused =
                document.add_iface(name.as_bytes(), Some(family.as_bytes()), Some(method.as_bytes()));
            assert!(matches!(refused, Err(EditError::Unwritable { .. })), "{name} {family} {method}");
        }
        assert!(matches!(document.add_iface(b"e0", Some(b"inet"), None), Err(EditError::Exists { .. })));
        assert!(matches!(document.set(b"e1", None, b"mtu", b"1"), Err(EditError::NoInterface { .. })));
        assert!(matches!(
            document.set(b"lo", Some(b"inet6"), b"mtu", b"1"),
            Err(EditError::NoInterface { .. })
        ));
        assert_eq!(document.as_bytes(), TEXT.as_bytes());
    }

    proptest! {
            #[test]
            fn what_is_set_is_read_back(
                text in "(iface [ab] inet\n|[ \t]?[kl] [0-9]?|\n|#x|\\\\|\\\\\n|auto [ab]{1,2} b\n| |\r\n){0,20}",
                name in "[ab]", key in "[klm]", value in "[0-9]{1,3}")
            {
                let mut document = Document::parse(&text);
                prop_assert_eq!(document.as_bytes(), text.as_bytes());
                let count = |text: &[u8]| lines(text).filter(|line| line.kind == LineKind::Iface).count();
                if document.set(name.as_bytes(), None, key.as_bytes(), value.as_bytes()).is_ok() {
    let read = document.get(name.as_bytes(), None, key.as_bytes()).map(|value| value.to_string());
                    prop_assert_eq!(read, Some(value), "{:?}", text);
                    prop_assert_eq!(count(document.as_bytes()), count(text.as_bytes()));
                }
                document.unset(name.as_bytes(), None, key.as_bytes());
                prop_assert_eq!(document.get(name.as_bytes(), None, key.as_bytes()), None);
                document.remove_iface(name.as_bytes());
                prop_assert_eq!(document.remove_iface(name.as_bytes()), 0, "{:?}", text);
                document.add_iface(name.as_bytes(), Some(b"inet"), Some(b"dhcp")).unwrap();
                document.set_auto(name.as_bytes(), true).unwrap();
                let network = super::super::Network::parse(document.as_bytes());
                prop_assert!(network.get(name.as_bytes()).unwrap().is_auto(), "{:?}", document.as_bytes().as_bstr());
            }
        }
}
