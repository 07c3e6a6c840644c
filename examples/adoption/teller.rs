// SPDX-License-Identifier: MIT OR Apache-2.0
//! How the story looks: titles, commands, and what they say.

use std::io::Write;
use std::path::Path;

use anstyle::{AnsiColor, Style};

use crate::Outcome;

const TITLE: Style = AnsiColor::Yellow.on_default().bold();
const TYPED: Style = Style::new().bold();
const BELOW: Style = AnsiColor::Cyan.on_default();
const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const QUIET: Style = Style::new().dimmed();

/// Tells the story on an output. Escape sequences are taken out on the way to what is no terminal.
pub(crate) struct Teller<'o> {
    out: &'o mut dyn Write,
    folder: String,
    chapter: usize,
}

impl<'o> Teller<'o> {
    /// `folder` is called `$NODE` from now on.
    pub(crate) fn new(out: &'o mut dyn Write, folder: &Path) -> Self {
        Teller { out, folder: folder.display().to_string(), chapter: 0 }
    }

    fn line(&mut self, indent: usize, style: Style, mark: &str, text: &str) -> Outcome {
        let text = text.replace(&self.folder, "$NODE");
        for line in text.lines() {
            writeln!(self.out, "{:indent$}{style}{mark}{line}{style:#}", "")?;
        }
        Ok(())
    }

    /// Where `$NODE` is.
    pub(crate) fn place(&mut self) -> Outcome {
        let folder = self.folder.clone();
        writeln!(self.out, "NODE={folder}")?;
        Ok(())
    }

    /// A new chapter.
    pub(crate) fn chapter(&mut self, title: &str) -> Outcome {
        self.chapter += 1;
        writeln!(self.out)?;
        let number = self.chapter;
        self.line(0, TITLE, "", &format!("{number}. {title}"))
    }

    /// What an administrator would type.
    pub(crate) fn typed(&mut self, command: &str) -> Outcome {
        self.line(2, TYPED, "$ ", command)
    }

    /// The command or transaction behind it.
    pub(crate) fn below(&mut self, step: &str) -> Outcome {
        self.line(4, BELOW, "", step)
    }

    /// What is shown.
    pub(crate) fn shown(&mut self, text: &str) -> Outcome {
        self.line(4, Style::new(), "", text)
    }

    /// A line that came or went.
    pub(crate) fn changed(&mut self, line: &str) -> Outcome {
        let style = if line.starts_with('+') { ADDED } else { REMOVED };
        self.line(4, style, "", line)
    }

    /// What is to be learned from it.
    pub(crate) fn remark(&mut self, text: &str) -> Outcome {
        self.line(2, QUIET, "", text)
    }
}
