// SPDX-License-Identifier: MIT OR Apache-2.0
//! A finding in a file, shown with the line that it is about.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use bstr::ByteSlice;
use pve_config::{Diagnostic, Severity};

/// Longest part of a line that is shown, bytes.
const WIDEST: usize = 160;

/// The finding with its line, as a compiler would show it; styled, for a stream that strips styles where there is no
/// terminal.
pub(crate) fn render(path: &str, content: &[u8], finding: &Diagnostic) -> String {
    let start =
        content.get(..finding.span.start).and_then(|before| before.rfind_byte(b'\n')).map_or(0, |at| at + 1);
    let line = content.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
    let shown = line.get(..WIDEST).unwrap_or(line).to_str_lossy();
    let from = floor(&shown, finding.span.start.saturating_sub(start));
    let to = floor(&shown, finding.span.end.saturating_sub(start)).max(from);
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        _ => Level::NOTE,
    };
    let annotation = AnnotationKind::Primary.span(from..to);
    let snippet = Snippet::source(&*shown).path(path).line_start(finding.line).annotation(annotation);
    let mut groups: Vec<Group<'_>> = vec![level.primary_title(&finding.reason).element(snippet)];
    if let Some(help) = &finding.help {
        groups.push(Group::with_title(Level::HELP.secondary_title(help)));
    }
    Renderer::styled().render(&groups)
}

/// The nearest boundary of a character at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
