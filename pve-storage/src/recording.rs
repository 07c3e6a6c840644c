// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keeping what commands answered, and answering from that.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};

use bstr::{BString, ByteSlice};
use serde::{Deserialize, Serialize};

use crate::command::{Command, Exit, Output, RunError, Runner, Streams};

/// One run of a command, as it is kept. Environment variables, which may be secret, are not part of it; neither is data
/// that went through streams.
///
/// As JSON, texts are strings, or lists of bytes if they are not UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Plain", into = "Plain")]
pub struct Recorded {
    /// Program and arguments.
    pub argv: Vec<BString>,
    /// How it ended.
    pub exit: Exit,
    /// What it wrote to standard output.
    pub stdout: BString,
    /// What it wrote to standard error.
    pub stderr: BString,
}

/// [`Recorded`] as it is serialised.
#[derive(Serialize, Deserialize)]
struct Plain {
    argv: Vec<Text>,
    exit: Exit,
    stdout: Text,
    stderr: Text,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Text {
    Utf8(String),
    Bytes(Vec<u8>),
}

impl From<BString> for Text {
    fn from(text: BString) -> Self {
        String::from_utf8(text.into()).map_or_else(|error| Text::Bytes(error.into_bytes()), Text::Utf8)
    }
}

impl From<Text> for BString {
    fn from(text: Text) -> Self {
        match text {
            Text::Utf8(text) => text.into(),
            Text::Bytes(bytes) => bytes.into(),
        }
    }
}

impl From<Recorded> for Plain {
    fn from(recorded: Recorded) -> Self {
        Plain {
            argv: recorded.argv.into_iter().map(Text::from).collect(),
            exit: recorded.exit,
            stdout: recorded.stdout.into(),
            stderr: recorded.stderr.into(),
        }
    }
}

impl From<Plain> for Recorded {
    fn from(plain: Plain) -> Self {
        Recorded {
            argv: plain.argv.into_iter().map(BString::from).collect(),
            exit: plain.exit,
            stdout: plain.stdout.into(),
            stderr: plain.stderr.into(),
        }
    }
}

/// Runs commands through another runner and keeps what they answer.
///
/// ```
/// use pve_storage::{Command, MemoryHost, Output, Recording, Replaying, Runner, Streams};
///
/// let mut host = MemoryHost::new();
/// host.answer(["vgs"], Output::success("pve\n"));
/// let recording = Recording::new(&host);
/// recording.run(&Command::query("vgs"), Streams::none())?;
///
/// let replaying = Replaying::new(recording.into_tape());
/// assert_eq!(replaying.run(&Command::query("vgs"), Streams::none())?.stdout, "pve\n");
/// assert!(replaying.run(&Command::query("lvs"), Streams::none()).is_err());
/// # Ok::<(), pve_storage::RunError>(())
/// ```
pub struct Recording<'r> {
    runner: &'r dyn Runner,
    tape: RefCell<Vec<Recorded>>,
}

impl<'r> Recording<'r> {
    /// Records what `runner` does.
    #[must_use]
    pub fn new(runner: &'r dyn Runner) -> Self {
        Recording { runner, tape: RefCell::default() }
    }

    /// What was recorded, in order.
    #[must_use]
    pub fn into_tape(self) -> Vec<Recorded> {
        self.tape.into_inner()
    }
}

impl std::fmt::Debug for Recording<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("tape", &self.tape.borrow()).finish_non_exhaustive()
    }
}

impl Runner for Recording<'_> {
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError> {
        let output = self.runner.run(command, streams)?;
        self.tape.borrow_mut().push(Recorded {
            argv: command.argv().map(ToOwned::to_owned).collect(),
            exit: output.exit,
            stdout: output.stdout.clone(),
            stderr: output.stderr.clone(),
        });
        Ok(output)
    }
}

/// Answers commands from a recording, each run with the next recorded answer to the same arguments; the last one is
/// repeated.
#[derive(Debug, Default)]
pub struct Replaying {
    answers: RefCell<HashMap<Vec<BString>, VecDeque<Recorded>>>,
}

impl Replaying {
    /// Answers from this recording.
    #[must_use]
    pub fn new(tape: impl IntoIterator<Item = Recorded>) -> Self {
        let mut answers: HashMap<Vec<BString>, VecDeque<Recorded>> = HashMap::new();
        for recorded in tape {
            answers.entry(recorded.argv.clone()).or_default().push_back(recorded);
        }
        Replaying { answers: RefCell::new(answers) }
    }
}

impl Runner for Replaying {
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError> {
        let argv: Vec<BString> = command.argv().map(ToOwned::to_owned).collect();
        let mut answers = self.answers.borrow_mut();
        let unrecorded = || RunError::Unrecorded { command: command.to_string() };
        let queue = answers.get_mut(&argv).ok_or_else(unrecorded)?;
        let next = if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() };
        let recorded = next.ok_or_else(unrecorded)?;
        let mut output = Output { exit: recorded.exit, stdout: recorded.stdout, stderr: recorded.stderr };
        if let Some(sink) = streams.output {
            let moved = |source| RunError::Stream { command: command.to_string(), source };
            sink.write_all(output.stdout.as_bytes()).map_err(moved)?;
            output.stdout = BString::default();
        }
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_survives_json_whatever_its_bytes() {
        let recorded = Recorded {
            argv: vec!["lvs".into(), b"\xff".into()],
            exit: Exit::Signal(9),
            stdout: "a\n".into(),
            stderr: BString::default(),
        };
        let text = serde_json::to_string(&recorded).unwrap();
        assert_eq!(text, r#"{"argv":["lvs",[255]],"exit":{"signal":9},"stdout":"a\n","stderr":""}"#);
        assert_eq!(serde_json::from_str::<Recorded>(&text).unwrap(), recorded);
    }
}
