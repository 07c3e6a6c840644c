// SPDX-License-Identifier: MIT OR Apache-2.0
//! External commands as values: program, arguments, whether it changes anything, and what it answered.

use std::borrow::Cow;
use std::fmt;
use std::io::{Read, Write};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use serde::{Deserialize, Serialize};

/// Whether running a command can change something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// Only looks; a dry run executes it.
    Query,
    /// Changes something; a dry run prints it.
    Change,
}

/// One external command, not yet run. There is no shell: the arguments reach the program as they are.
///
/// Text of unknown origin (names of volumes, values of storage.cfg) is added with [`operand`](Command::operand) or
/// [`value`](Command::value), which refuse what the program could take for an option.
///
/// ```
/// use pve_storage::{Command, Effect};
///
/// let command = Command::change("/sbin/lvremove").arg("-f").operand("pve/vm-100-disk-0");
/// assert_eq!(command.to_string(), "/sbin/lvremove -f pve/vm-100-disk-0");
/// assert_eq!(command.effect(), Effect::Change);
/// assert!(Command::change("rm").operand("-rf").refused().is_some());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    program: BString,
    args: Vec<BString>,
    effect: Effect,
    timeout: Option<Duration>,
    env: Vec<(String, BString)>,
    directory: Option<BString>,
    progress: bool,
    umask: Option<u32>,
    spooled: bool,
    refused: Option<BString>,
}

impl Command {
    /// A command that only looks.
    #[must_use]
    pub fn query(program: &str) -> Self {
        Self::new(program, Effect::Query)
    }

    /// A command that changes something.
    #[must_use]
    pub fn change(program: &str) -> Self {
        Self::new(program, Effect::Change)
    }

    fn new(program: &str, effect: Effect) -> Self {
        Command {
            program: program.into(),
            args: Vec::new(),
            effect,
            timeout: None,
            env: Vec::new(),
            directory: None,
            progress: false,
            umask: None,
            spooled: false,
            refused: None,
        }
    }

    /// Adds an argument that this program wrote itself.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<[u8]>) -> Self {
        self.args.push(arg.as_ref().into());
        self
    }

    /// Adds arguments that this program wrote itself.
    #[must_use]
    pub fn args<A: AsRef<[u8]>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| BString::from(arg.as_ref())));
        self
    }

    /// Adds an argument with text from outside; one that begins with `-`, is empty or contains NUL is refused: the
    /// command then fails before it runs.
    #[must_use]
    pub fn operand(self, operand: impl AsRef<[u8]>) -> Self {
        let bytes = operand.as_ref();
        let bad = bytes.first().is_none_or(|first| *first == b'-') || bytes.contains(&0);
        self.checked(bytes, bad)
    }

    /// Adds text from outside where the program takes any text as the value of the option before; only NUL is
    /// refused.
    #[must_use]
    pub fn value(self, value: impl AsRef<[u8]>) -> Self {
        let bytes = value.as_ref();
        let bad = bytes.contains(&0);
        self.checked(bytes, bad)
    }

    fn checked(mut self, bytes: &[u8], bad: bool) -> Self {
        if bad && self.refused.is_none() {
            self.refused = Some(bytes.into());
        }
        self.args.push(bytes.into());
        self
    }

    /// Kills the command after this time.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Never kills the command.
    #[must_use]
    pub fn without_timeout(mut self) -> Self {
        self.timeout = None;
        self
    }

    /// Sets an environment variable, besides those every command gets ([`ENVIRONMENT`]).
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().into()));
        self
    }

    /// Runs the command in this directory.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<[u8]>) -> Self {
        self.directory = Some(directory.as_ref().into());
        self
    }

    /// Marks a command whose lines tell how far it is (`qemu-img`, `rbd`, `dd`): they are handed on while it runs.
    #[must_use]
    pub fn progress(mut self) -> Self {
        self.progress = true;
        self
    }

    /// Takes these permission bits away from whatever the command creates, besides those that are taken away anyway.
    #[must_use]
    pub fn umask(mut self, mask: u32) -> Self {
        self.umask = Some(mask);
        self
    }

    /// Gives the program a file without a name as standard output instead of a pipe, for one that can write to nothing
    /// else. What it wrote is handed on when it has ended; the file is in the folder for temporary files, takes as much
    /// space as was written, and is gone with this process whatever happens.
    #[must_use]
    pub fn spooled(mut self) -> Self {
        self.spooled = true;
        self
    }

    /// The same command with other arguments where `change` gives some.
    pub(crate) fn map_arguments(&self, mut change: impl FnMut(&[u8]) -> Option<BString>) -> Self {
        let args = self.args.iter().map(|arg| change(arg).unwrap_or_else(|| arg.clone())).collect();
        Command { args, ..self.clone() }
    }

    /// The program, as a path or a bare name.
    #[must_use]
    pub fn program(&self) -> &BStr {
        self.program.as_bstr()
    }

    /// The arguments after the program.
    #[must_use]
    pub fn arguments(&self) -> &[BString] {
        &self.args
    }

    /// Program and arguments.
    pub fn argv(&self) -> impl Iterator<Item = &BStr> {
        std::iter::once(self.program.as_bstr()).chain(self.args.iter().map(|arg| arg.as_bstr()))
    }

    /// Whether the command changes anything.
    #[must_use]
    pub fn effect(&self) -> Effect {
        self.effect
    }

    /// After how long the command is killed; `None`: never.
    #[must_use]
    pub fn time_limit(&self) -> Option<Duration> {
        self.timeout
    }

    /// Environment variables of this command alone.
    #[must_use]
    pub fn environment(&self) -> &[(String, BString)] {
        &self.env
    }

    /// The directory in which the command runs; `None`: that of the caller.
    #[must_use]
    pub fn working_directory(&self) -> Option<&BStr> {
        self.directory.as_ref().map(|directory| directory.as_bstr())
    }

    /// Permission bits that are taken away from what it creates.
    #[must_use]
    pub fn permission_mask(&self) -> Option<u32> {
        self.umask
    }

    /// Whether its standard output is a file.
    #[must_use]
    pub fn is_spooled(&self) -> bool {
        self.spooled
    }

    /// Whether its lines report progress.
    #[must_use]
    pub fn reports_progress(&self) -> bool {
        self.progress
    }

    /// The first operand that is refused; such a command never runs.
    #[must_use]
    pub fn refused(&self) -> Option<&BStr> {
        self.refused.as_ref().map(|operand| operand.as_bstr())
    }
}

/// What every command finds in its environment (spec: storage-commands, "Running a command").
pub const ENVIRONMENT: [(&str, &str); 2] = [("LC_ALL", "C"), ("LVM_SUPPRESS_FD_WARNINGS", "1")];

impl fmt::Display for Command {
    /// The command as one line that can be pasted into a POSIX shell. Environment variables, which may be secret,
    /// are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(directory) = &self.directory {
            write!(f, "cd {} && ", quote(directory))?;
        }
        for (index, arg) in self.argv().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { " " }, quote(arg))?;
        }
        Ok(())
    }
}

/// `text` as one word of a POSIX shell; bytes that are not printable ASCII or UTF-8 are written in `$'…'`.
///
/// ```
/// assert_eq!(pve_storage::quote(b"a b"), "'a b'");
/// assert_eq!(pve_storage::quote(b"it's"), r"'it'\''s'");
/// assert_eq!(pve_storage::quote(b"a\n\xff"), r"$'a\n\xff'");
/// ```
#[must_use]
pub fn quote(text: &[u8]) -> Cow<'_, str> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(byte);
    match std::str::from_utf8(text) {
        Ok(word) if !text.is_empty() && text.iter().all(plain) => Cow::Borrowed(word),
        Ok(word) if !word.chars().any(char::is_control) => {
            Cow::Owned(format!("'{}'", word.replace('\'', r"'\''")))
        }
        _ => {
            let mut word = String::from("$'");
            for byte in text {
                match byte {
                    b'\n' => word.push_str(r"\n"),
                    b'\t' => word.push_str(r"\t"),
                    b'\r' => word.push_str(r"\r"),
                    b'\'' | b'\\' => word.extend(['\\', char::from(*byte)]),
                    b' '..=b'~' => word.push(char::from(*byte)),
                    _ => word.push_str(&format!(r"\x{byte:02x}")),
                }
            }
            word.push('\'');
            Cow::Owned(word)
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// It was killed by this signal.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "exit code {code}"),
            Exit::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Everything it wrote to standard output, unless that went to a stream of the caller.
    pub stdout: BString,
    /// Everything it wrote to standard error.
    pub stderr: BString,
}

impl Output {
    /// The answer of a command that succeeded and wrote `stdout`.
    #[must_use]
    pub fn success(stdout: impl Into<Vec<u8>>) -> Self {
        Output { exit: Exit::Code(0), stdout: BString::new(stdout.into()), stderr: BString::default() }
    }

    /// Whether it exited with code 0.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.exit == Exit::Code(0)
    }

    /// The lines of standard output.
    pub fn lines(&self) -> impl Iterator<Item = &BStr> {
        lines(&self.stdout)
    }

    /// The lines of standard error.
    pub fn error_lines(&self) -> impl Iterator<Item = &BStr> {
        lines(&self.stderr)
    }

    /// The last lines of standard error with text in them, joined by `; `, or how the command ended. The cause often
    /// stands before the last line (LVM), so that one alone would not do.
    #[must_use]
    pub fn complaint(&self) -> String {
        let lines: Vec<_> =
            self.error_lines().map(|line| line.trim_ascii()).filter(|line| !line.is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(COMPLAINT_LINES)..).unwrap_or_default();
        if last.is_empty() {
            return self.exit.to_string();
        }
        last.iter().map(|line| line.to_str_lossy()).collect::<Vec<_>>().join("; ")
    }
}

/// How many lines of standard error a complaint has at most.
const COMPLAINT_LINES: usize = 8;

/// The lines of a program's output: they end at LF, CR, CRLF or a run of backspaces; a last line without end counts
/// unless it is empty or `0` (spec: storage-commands, "Running a command").
pub fn lines(output: &[u8]) -> impl Iterator<Item = &BStr> {
    let mut rest = output;
    std::iter::from_fn(move || {
        let Some(end) = rest.find_byteset(b"\n\r\x08") else {
            let last = std::mem::take(&mut rest);
            return (!last.is_empty() && last != b"0").then_some(last.as_bstr());
        };
        let (line, tail) = rest.split_at(end);
        let ended = match tail {
            [b'\r', b'\n', ..] => 2,
            [b'\x08', ..] => tail.iter().take_while(|byte| **byte == b'\x08').count(),
            _ => 1,
        };
        rest = tail.get(ended..).unwrap_or_default();
        Some(line.as_bstr())
    })
}

/// Where the data of a command comes from and goes to, besides its arguments.
#[derive(Default)]
pub struct Streams<'a> {
    /// Fed to standard input; `None`: nothing.
    pub input: Option<&'a mut (dyn Read + Send)>,
    /// Receives standard output; `None`: it is collected in [`Output::stdout`].
    pub output: Option<&'a mut (dyn Write + Send)>,
}

impl Streams<'_> {
    /// No input; output is collected.
    #[must_use]
    pub fn none() -> Self {
        Streams::default()
    }
}

impl fmt::Debug for Streams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams")
            .field("input", &self.input.is_some())
            .field("output", &self.output.is_some())
            .finish()
    }
}

/// A command could not be run, or did not end by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An operand that the program could take for an option.
    #[error("refusing to run {command}: operand {operand:?} could be taken for an option")]
    Refused {
        /// The command, quoted.
        command: String,
        /// The offending operand.
        operand: BString,
    },
    /// The program does not exist or cannot be executed.
    #[error("cannot run {program} (is it installed?): {source}")]
    Start {
        /// The program.
        program: BString,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// It ran longer than allowed and was killed.
    #[error("{command}: killed after {limit:?} without an end")]
    Timeout {
        /// The command, quoted.
        command: String,
        /// The time it was given.
        limit: Duration,
    },
    /// Reading its output or feeding its input failed.
    #[error("{command}: data transfer failed: {source}")]
    Stream {
        /// The command, quoted.
        command: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A replaying runner has no recorded answer.
    #[error("no recorded answer for {command}")]
    Unrecorded {
        /// The command, quoted.
        command: String,
    },
}

/// Runs commands.
///
/// A command that ends with another code than 0 is an [`Output`], not an error: callers decide what it means.
pub trait Runner {
    /// Runs `command` to its end.
    ///
    /// # Errors
    /// [`RunError`] if it cannot be started, is killed for taking too long, or its data cannot be moved.
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_like_the_reference_ends_them() {
        let all = |text: &'static [u8]| lines(text).map(|line| line.to_string()).collect::<Vec<_>>();
        assert_eq!(all(b"a\nb\r\nc\rd\x08\x08\x08e"), ["a", "b", "c", "d", "e"]);
        assert_eq!(all(b"a\n0"), ["a"]);
        assert_eq!(all(b"a\n\nb\n"), ["a", "", "b"]);
        assert_eq!(all(b"00"), ["00"]);
    }

    #[test]
    fn names_never_become_options() {
        for bad in [&b"-rf"[..], b"", b"a\0b"] {
            assert!(Command::change("x").operand(bad).refused().is_some());
        }
        assert!(Command::change("x").arg("--size").value("-5").refused().is_none());
        assert!(Command::change("x").arg("--size").value("a\0b").refused().is_some());
    }

    #[test]
    fn prints_for_pasting() {
        let command = Command::change("zfs").arg("create").operand("tank/a b").directory("/srv/x y");
        assert_eq!(command.to_string(), "cd '/srv/x y' && zfs create 'tank/a b'");
    }

    #[test]
    fn complaint_is_what_was_said_last() {
        let mut output = Output::success("");
        output.exit = Exit::Code(5);
        assert_eq!(output.complaint(), "exit code 5");
        output.stderr = "warning\n  no space left \n\n".into();
        assert_eq!(output.complaint(), "warning; no space left");
        output.stderr = (0..20).map(|line| format!("{line}\n")).collect::<String>().into();
        assert_eq!(output.complaint(), "12; 13; 14; 15; 16; 17; 18; 19");
    }
}
