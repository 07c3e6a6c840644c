// SPDX-License-Identifier: MIT OR Apache-2.0
//! Located findings of the parsers: what stands where, why it is wrong, and what to do about it.
//!
//! Proxmox VE skips or repairs bad input and goes on. The parsers of this crate do the same, and return one
//! [`Diagnostic`] for everything they skipped or repaired. How they are shown is the caller's business.

use std::fmt;
use std::ops::Range;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

/// How the reference reacts to the finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// The reference says nothing, although something is lost or means other than it seems to.
    Note,
    /// The reference warns, and goes on even in strict mode.
    Warning,
    /// The reference warns and drops the text; in strict mode it refuses the file.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}

/// One finding in a configuration text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// How the reference reacts.
    pub severity: Severity,
    /// Stable name of the rule, in kebab case (`unknown-option`), for programs that filter.
    pub code: &'static str,
    /// Line, counted from 1, lines ending at LF.
    pub line: usize,
    /// Column of the first offending byte, counted from 1, in bytes.
    pub column: usize,
    /// The offending bytes as a range of the whole input.
    pub span: Range<usize>,
    /// The offending bytes, cut to [`Diagnostic::MAX_TEXT`].
    #[serde(serialize_with = "lossy")]
    pub text: BString,
    /// Why it is wrong: lower case, without a trailing dot.
    pub reason: String,
    /// What to do, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// Longest offending text that is copied into a diagnostic, in bytes; the span still covers the whole.
    pub const MAX_TEXT: usize = 200;

    /// A finding about `input[span]`. Line and column are counted here, so this costs one pass over the input
    /// up to the span; parsers that know the line use [`Diagnostic::on_line`].
    #[must_use]
    pub fn new(
        severity: Severity,
        code: &'static str,
        input: &[u8],
        span: Range<usize>,
        reason: impl Into<String>,
    ) -> Self {
        let before = input.get(..span.start).unwrap_or(input);
        let line = before.find_iter(b"\n").count() + 1;
        let line_start = before.rfind_byte(b'\n').map_or(0, |at| at + 1);
        Self::on_line(severity, code, input, span, (line, line_start), reason)
    }

    /// A finding about `input[span]` on the line that has number `line.0` and starts at offset `line.1`.
    #[must_use]
    pub fn on_line(
        severity: Severity,
        code: &'static str,
        input: &[u8],
        span: Range<usize>,
        line: (usize, usize),
        reason: impl Into<String>,
    ) -> Self {
        let text = input.get(span.clone()).unwrap_or_default();
        let text = BStr::new(text.get(..Self::MAX_TEXT).unwrap_or(text)).to_owned();
        let column = span.start.saturating_sub(line.1) + 1;
        Diagnostic { severity, code, line: line.0, column, span, text, reason: reason.into(), help: None }
    }

    /// The same finding with a remedy.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Diagnostic {
    /// `line 3, column 8: error: unknown option "foo" (did you mean "fox"?)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}: {}: {}", self.line, self.column, self.severity, self.reason)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

/// The findings of one pass over a text: the first of them in full, all of them counted.
///
/// A file of a million bad lines has a million findings; only the first [`Diagnostics::MOST`] are kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diagnostics {
    kept: Vec<Diagnostic>,
    /// Numbers of notes, warnings and errors.
    counts: [usize; 3],
}

impl Diagnostics {
    /// Number of findings that are kept in full.
    pub const MOST: usize = 1000;

    /// No findings.
    #[must_use]
    pub const fn new() -> Self {
        Diagnostics { kept: Vec::new(), counts: [0; 3] }
    }

    /// Adds a finding of that severity; `make` is called only if it will be kept.
    pub fn add(&mut self, severity: Severity, make: impl FnOnce() -> Diagnostic) {
        if let Some(count) = self.counts.get_mut(severity as usize) {
            *count += 1;
        }
        if self.kept.len() < Self::MOST {
            self.kept.push(make());
        }
    }

    /// Number of findings of that severity, those not kept included.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        self.counts.get(severity as usize).copied().unwrap_or_default()
    }

    /// Number of times the reference would have warned: errors and warnings, without notes.
    #[must_use]
    pub fn warnings(&self) -> usize {
        self.count(Severity::Warning) + self.count(Severity::Error)
    }

    /// Number of findings that were counted but not kept.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.counts.iter().sum::<usize>() - self.kept.len()
    }

    /// The findings that were kept, in the order of the text as far as the parser found them in that order.
    #[must_use]
    pub fn as_slice(&self) -> &[Diagnostic] {
        &self.kept
    }

    /// Puts the findings that were kept into the order of the text.
    pub fn sort(&mut self) {
        self.kept.sort_by_key(|found| (found.span.start, found.span.end));
    }
}

impl std::ops::Deref for Diagnostics {
    type Target = [Diagnostic];

    fn deref(&self) -> &[Diagnostic] {
        &self.kept
    }
}

impl IntoIterator for Diagnostics {
    type Item = Diagnostic;
    type IntoIter = std::vec::IntoIter<Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.into_iter()
    }
}

impl<'d> IntoIterator for &'d Diagnostics {
    type Item = &'d Diagnostic;
    type IntoIter = std::slice::Iter<'d, Diagnostic>;

    fn into_iter(self) -> Self::IntoIter {
        self.kept.iter()
    }
}

fn lossy<S: serde::Serializer>(text: &BString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text.to_str_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_columns_from_one() {
        let input = b"a: 1\nbad\n";
        let found = Diagnostic::new(Severity::Error, "no-key", input, 5..8, "not an option line");
        assert_eq!((found.line, found.column, found.text.as_bstr()), (2, 1, BStr::new("bad")));
        assert_eq!(found.to_string(), "line 2, column 1: error: not an option line");
    }

    #[test]
    fn counts_more_findings_than_it_keeps() {
        let mut all = Diagnostics::new();
        for _ in 0..Diagnostics::MOST + 5 {
            all.add(Severity::Error, || Diagnostic::new(Severity::Error, "x", b"abc", 0..1, "r"));
        }
        all.add(Severity::Note, || unreachable!("not kept"));
        assert_eq!(
            (all.len(), all.left_out(), all.warnings()),
            (Diagnostics::MOST, 6, Diagnostics::MOST + 5)
        );
    }

    #[test]
    fn tolerates_a_span_outside_the_input() {
        let found = Diagnostic::new(Severity::Note, "x", b"abc", 7..9, "r");
        assert_eq!((found.line, found.text.len()), (1, 0));
    }
}
