// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading a text into a [`Config`] by the reference's rules, with a finding for everything it drops or bends.

use std::borrow::Cow;
use std::ops::Range;

use bstr::{BStr, ByteSlice};

use super::check;
use super::description::Gathered;
use super::line::{Line, LineKind, lines};
use super::losses;
use super::raw::{self, Judgement};
use super::section::{Entry, Origin, Section};
use super::{Config, Guest, GuestKind, SectionId};
use crate::format::Context;
use crate::rule::ValueError;
use crate::schema::Schema;
use crate::{Diagnostic, Diagnostics, Severity};

impl<'a, G: Guest> Config<'a, G> {
    /// Reads a configuration in the reference's normal, tolerant way: what is wrong is reported and left out (in a
    /// container's file an option with a bad value is kept). Every text is a configuration.
    ///
    /// Custom CPU models and time zones of the host are unknown here: see [`Config::parse_with`].
    #[must_use]
    pub fn parse(text: &'a [u8]) -> (Self, Diagnostics) {
        Self::parse_with(text, &Context::default())
    }

    /// Like [`Config::parse`], with knowledge of the world outside the text.
    #[must_use]
    pub fn parse_with(text: &'a [u8], context: &Context<'_>) -> (Self, Diagnostics) {
        let mut reader = Reader::new(text, context, false);
        // a tolerant reader goes on after every finding
        let _ = reader.read();
        reader.finish()
    }

    /// Reads a configuration in the strict way, which the reference uses for one that comes with an incoming migration.
    ///
    /// # Errors
    ///
    /// The first finding that is an error.
    pub fn parse_strict(
        text: &'a [u8],
        context: &Context<'_>,
    ) -> Result<(Self, Diagnostics), Box<Diagnostic>> {
        let mut reader = Reader::new(text, context, true);
        reader.read()?;
        Ok(reader.finish())
    }
}

struct Reader<'a, 'c, G> {
    text: &'a [u8],
    context: &'c Context<'c>,
    strict: bool,
    config: Config<'a, G>,
    found: Diagnostics,
    pending_seen: bool,
    current: Open<'a>,
    /// An option was read that may be dropped or replaced when the file is written.
    fleeting: bool,
}

/// The section that lines go to.
#[derive(Default)]
struct Open<'a> {
    /// `None` while lines are skipped.
    id: Option<SectionId<'a>>,
    entries: Vec<Entry<'a>>,
    raw: Vec<Entry<'a>>,
    description: Gathered<'a>,
    /// First line of the description.
    described: Option<Line<'a>>,
    /// Index of the last entry `env`, to which further lines add.
    environment: Option<usize>,
}

type Step = Result<(), Box<Diagnostic>>;

impl<'a, 'c, G: Guest> Reader<'a, 'c, G> {
    fn new(text: &'a [u8], context: &'c Context<'c>, strict: bool) -> Self {
        // an option line of a typical file is about 30 bytes
        let entries = Vec::with_capacity((text.len() / 30 + 4).min(64));
        Reader {
            text,
            context,
            strict,
            config: Config::of_text(text),
            found: Diagnostics::new(),
            pending_seen: false,
            fleeting: false,
            current: Open { id: Some(SectionId::Main), entries, ..Open::default() },
        }
    }

    fn read(&mut self) -> Step {
        for line in lines(G::KIND, self.text) {
            match line.kind {
                LineKind::Blank | LineKind::Ignored => {}
                LineKind::Option => self.option(&line)?,
                LineKind::Comment | LineKind::Description => {
                    self.current.description.push(line.kind, line.value);
                    self.current.described.get_or_insert(line);
                }
                LineKind::Args => {
                    self.note(&line, line.value_span(), losses::of_args(line.value));
                    self.push(&line, line.key, Cow::Borrowed(line.value));
                }
                LineKind::Delete => self.delete(&line)?,
                LineKind::SnapState => self.snapstate(&line),
                LineKind::Raw => self.raw(&line)?,
                LineKind::Invalid => self.invalid(&line)?,
                LineKind::PendingHeader => {
                    let seen = std::mem::replace(&mut self.pending_seen, true);
                    self.open(&line, Some(SectionId::Pending), seen)?;
                }
                LineKind::SpecialHeader => {
                    let seen = self.config.special().contains_key(line.key)
                        || self.is_current(SectionId::Special(line.key));
                    self.open(&line, Some(SectionId::Special(line.key)), seen)?;
                }
                LineKind::SnapshotHeader => {
                    let seen = self.config.snapshot(line.key).is_some()
                        || self.is_current(SectionId::Snapshot(line.key));
                    self.open(&line, Some(SectionId::Snapshot(line.key)), seen)?;
                }
                LineKind::UnknownHeader => self.unknown_header(&line)?,
            }
        }
        Ok(())
    }

    fn finish(mut self) -> (Config<'a, G>, Diagnostics) {
        self.close();
        if self.fleeting {
            self.config.main.remove("snapstate");
            losses::note_losses(&self.config, self.text, &mut self.found);
        }
        self.found.sort();
        (self.config, self.found)
    }

    fn is_current(&self, id: SectionId<'_>) -> bool {
        self.current.id == Some(id)
    }

    /// Closes the section and opens the one of the header. One that was seen before is emptied; that is an error in a
    /// virtual machine's file, in a container's nobody is told.
    fn open(&mut self, line: &Line<'a>, id: Option<SectionId<'a>>, seen: bool) -> Step {
        // snapshots of a guest are about as long as each other; the description becomes an entry at the end
        let room = self.current.entries.len() + usize::from(self.current.described.is_some());
        self.close();
        self.current.id = id;
        self.current.entries.reserve_exact(room);
        self.fleeting |= matches!(id, Some(SectionId::Special(_)));
        if seen {
            let reason = "the section occurs again: everything in the one before is dropped";
            let severity = if G::KIND == GuestKind::Qemu { Severity::Error } else { Severity::Note };
            self.report(severity, "repeated-section", line, line.key_span(), reason.into(), || {
                Some("join the two sections under one header".into())
            })?;
        }
        Ok(())
    }

    fn unknown_header(&mut self, line: &Line<'a>) -> Step {
        self.open(line, None, false)?;
        let reason = "not the name of a section: everything up to the next header is skipped";
        self.report(Severity::Error, "unknown-section", line, line.key_span(), reason.into(), || {
            Some(match line.key.to_ascii_lowercase().strip_prefix(b"special:") {
                Some(_) => "the special sections are cloudinit and fleecing, in lower case".into(),
                None => "a snapshot's name is a letter, then one or more letters, digits, `_` or `-`".into(),
            })
        })
    }

    /// Hands the collected lines over to the configuration.
    fn close(&mut self) {
        let Open { id, mut entries, raw, description, described, .. } = std::mem::take(&mut self.current);
        let Some(id) = id else { return };
        if let Some(line) = described {
            let text = description.finish(G::KIND);
            self.note(&line, line.span(), losses::of_description(id, text.as_deref()));
            if let Some(value) = text {
                let key = Cow::Borrowed(BStr::new("description"));
                entries.push(Entry { key, value, origin: origin(&line) });
            }
        }
        let mut section = Section::new();
        let (found, text) = (&mut self.found, self.text);
        section.collect(entries, |dropped, kept| {
            let again = dropped.value != kept.value;
            if again && !dropped.is("description") {
                found.add(Severity::Note, || repeated_key(text, dropped, kept));
            }
        });
        section.set_raw_entries(raw);
        self.config.store(id, section);
    }

    fn option(&mut self, line: &Line<'a>) -> Step {
        let Some(id) = self.current.id else { return Ok(()) };
        let Some(schema) = check::schema(G::KIND, id) else {
            self.push(line, line.key, Cow::Borrowed(line.value));
            return Ok(());
        };
        let checked = match schema.find(line.key) {
            Some((option, _)) => schema.check_value(option, line.value, self.context).map_err(Some),
            None => Err(None),
        };
        match checked {
            Ok(value) => {
                // the only values that are rewritten, not cut or replaced by a word, are integers beyond 64 bits
                let overflown = G::KIND == GuestKind::Qemu && matches!(value, Cow::Owned(_));
                self.note(line, line.value_span(), overflown.then_some(losses::UNWRITABLE_NUMBER));
                self.fleeting |= losses::is_fleeting(line.key);
                let cdrom = G::KIND == GuestKind::Qemu && line.key == "cdrom";
                self.push(line, if cdrom { BStr::new("ide2") } else { line.key }, value);
            }
            Err(error) => {
                self.refused(line, schema, error)?;
                if G::KIND == GuestKind::Lxc && !check::is_reserved(line.key) {
                    self.push(line, line.key, Cow::Borrowed(line.value));
                }
            }
        }
        Ok(())
    }

    /// Reports an option that is not known (`None`) or whose value is wrong.
    fn refused(&mut self, line: &Line<'a>, schema: &Schema, error: Option<ValueError>) -> Step {
        let Some(error) = error else {
            // the suggestion is looked for only if the finding is kept
            let reason = "unknown option";
            return self.report(
                Severity::Error,
                "unknown-option",
                line,
                line.key_span(),
                reason.into(),
                || schema.unknown(line.key).suggestion().map(|name| format!("did you mean {name:?}?")),
            );
        };
        let start = line.value_span().start;
        let span = start + error.span.start..start + error.span.end;
        let help = error.suggestion().map(|name| format!("did you mean {name:?}?"));
        self.report(Severity::Error, error.code(), line, span, format!("{}: {error}", line.key), || help)
    }

    fn delete(&mut self, line: &Line<'a>) -> Step {
        if self.is_current(SectionId::Pending) {
            self.push(line, line.key, Cow::Borrowed(line.value));
            return Ok(());
        }
        let reason = "a list of options to delete counts only in the pending section";
        self.report(Severity::Error, "delete-not-pending", line, line.key_span(), reason.into(), || None)
    }

    fn snapstate(&mut self, line: &Line<'a>) {
        self.fleeting = true;
        if line.key_span().start > line.span().start {
            let before = line.span().start..line.key_span().start;
            self.note(line, before, Some(losses::SWALLOWED));
        }
        self.push(line, BStr::new("snapstate"), Cow::Borrowed(line.value));
    }

    fn raw(&mut self, line: &Line<'a>) -> Step {
        let (severity, code, reason): (_, _, Cow<'_, str>) = match raw::judge(line.key) {
            Judgement::Accepted => (None, "", "".into()),
            Judgement::Deprecated(reason) => (Some(Severity::Warning), "deprecated-raw-key", reason.into()),
            Judgement::Rejected(reason) => (Some(Severity::Error), "raw-key", reason.into()),
        };
        if let Some(severity) = severity {
            self.report(severity, code, line, line.key_span(), reason.into_owned(), || raw::help(line.key))?;
        }
        if severity != Some(Severity::Error) {
            if line.key == raw::RUNTIME_ENVIRONMENT {
                self.environment(line);
            } else {
                let (key, value) = (Cow::Borrowed(line.key), Cow::Borrowed(line.value));
                self.current.raw.push(Entry { key, value, origin: origin(line) });
            }
        }
        Ok(())
    }

    /// Adds to the entries of `env`, which are separated by NUL.
    fn environment(&mut self, line: &Line<'a>) {
        let known = self.current.environment;
        match known.and_then(|at| self.current.entries.get_mut(at)) {
            Some(entry) => {
                let text = entry.value.to_mut();
                text.push(0);
                text.extend_from_slice(line.value);
            }
            None => self.push(line, BStr::new("env"), Cow::Borrowed(line.value)),
        }
    }

    fn invalid(&mut self, line: &Line<'a>) -> Step {
        let reason = "neither a section, a comment nor an option line `KEY: VALUE`";
        self.report(Severity::Error, "not-a-line", line, line.span(), reason.into(), || {
            remedy(G::KIND, line.text)
        })
    }

    fn push(&mut self, line: &Line<'a>, key: &'a BStr, value: Cow<'a, BStr>) {
        if G::KIND == GuestKind::Lxc && key == "env" {
            self.current.environment = Some(self.current.entries.len());
        }
        self.current.entries.push(Entry { key: Cow::Borrowed(key), value, origin: origin(line) });
    }

    /// Notes a loss: its code, and what is lost.
    fn note(&mut self, line: &Line<'_>, span: Range<usize>, loss: Option<(&'static str, &'static str)>) {
        let Some((code, reason)) = loss else { return };
        let (text, place) = (self.text, (line.number, line.span().start));
        self.found
            .add(Severity::Note, || Diagnostic::on_line(Severity::Note, code, text, span, place, reason));
    }

    fn report(
        &mut self,
        severity: Severity,
        code: &'static str,
        line: &Line<'_>,
        span: Range<usize>,
        reason: String,
        help: impl FnOnce() -> Option<String>,
    ) -> Step {
        let place = (line.number, line.span().start);
        let text = self.text;
        let make = || {
            let mut found = Diagnostic::on_line(severity, code, text, span, place, reason);
            found.help = help();
            found
        };
        if self.strict && severity == Severity::Error {
            return Err(Box::new(make()));
        }
        self.found.add(severity, make);
        Ok(())
    }
}

fn origin(line: &Line<'_>) -> Origin {
    Origin { line: line.number, start: line.span().start }
}

fn repeated_key(text: &[u8], dropped: &Entry<'_>, kept: &Entry<'_>) -> Diagnostic {
    let reason = format!("the value is dropped: {} gets another one in line {}", kept.key, kept.origin.line);
    losses::entry_note("repeated-option", text, dropped, reason)
}

/// What would make an option line of a text that is none.
fn remedy(kind: GuestKind, text: &BStr) -> Option<String> {
    let is_option = |text: &[u8]| {
        lines(kind, text).next().is_some_and(|line| matches!(line.kind, LineKind::Option | LineKind::Args))
    };
    let trimmed = super::line::trimmed(text);
    if trimmed.starts_with(b"#") && trimmed.len() < text.len() {
        return Some("start the line with `#`, without blanks before it".into());
    }
    if let Some(rest) = trimmed.strip_prefix(b"\xef\xbb\xbf") {
        return is_option(rest).then(|| "remove the byte order mark at the start".into());
    }
    if is_option(trimmed) {
        return Some("start the line with the option, without blanks before it".into());
    }
    let at = trimmed.iter().position(|byte| matches!(byte, b':' | b'='))?;
    let (key, value) =
        (super::line::trimmed(trimmed.get(..at)?), super::line::trimmed(trimmed.get(at + 1..)?));
    let key = key.to_ascii_lowercase();
    if value.is_empty() {
        return is_option(&[&key, &b": x"[..]].concat()).then(|| "give the option a value".into());
    }
    is_option(&[&key, &b": "[..], value].concat()).then(|| {
        let shown: Vec<u8> = value.iter().copied().take(60).collect();
        format!("write `{}: {}`", key.as_bstr(), shown.as_bstr())
    })
}
