// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client for QMP, the protocol that QEMU is controlled by: JSON lines over a local socket.
//!
//! The server greets, the client negotiates, then commands and answers alternate; events come in between at any time.
//! Commands carry a number, and an answer with another number belongs to a command that was given up: it is dropped.
//! The guest agent speaks a dialect of it, see [`agent`](crate::agent).

mod lines;
mod patience;

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Map, Value, json};

pub(crate) use lines::{Lines, excerpt};
pub use patience::patience;

/// A connection to a QMP server.
///
/// ```no_run
/// use std::path::Path;
/// use std::time::Duration;
/// use pve_qemu::qmp::Qmp;
///
/// let mut qmp = Qmp::connect(Path::new("/var/run/qemu-server/100.qmp"), Duration::from_secs(5))?;
/// let status = qmp.execute("query-status", None)?;
/// println!("the guest is {}", status["status"]);
/// # Ok::<(), pve_qemu::qmp::QmpError>(())
/// ```
#[derive(Debug)]
pub struct Qmp {
    lines: Lines,
    timeout: Duration,
    events: VecDeque<Event>,
    greeting: Value,
    /// Number of the last command.
    number: u64,
}

/// Something that happened in the guest or the emulator.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// Its name, `SHUTDOWN`.
    pub name: String,
    /// Its data, `null` if there is none.
    pub data: Value,
}

/// A conversation that went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QmpError {
    /// The socket cannot be connected, read or written.
    #[error("QMP connection: {0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the QMP server closed the connection")]
    Closed,
    /// The server said something that is not QMP.
    #[error("not a QMP message: {0}")]
    Protocol(String),
    /// The server did not answer in time.
    #[error("no answer to QMP command {command} within {timeout:?}")]
    Timeout {
        /// The command.
        command: String,
        /// How long was waited.
        timeout: Duration,
    },
    /// The command failed.
    #[error("QMP command {command} failed: {description} ({class})")]
    Command {
        /// The command.
        command: String,
        /// Class of the error, `GenericError`.
        class: String,
        /// What QEMU says.
        description: String,
    },
}

impl QmpError {
    /// Whether the server does not know the command.
    #[must_use]
    pub fn is_unknown_command(&self) -> bool {
        matches!(self, QmpError::Command { class, .. } if class == "CommandNotFound")
    }
}

/// How often a socket that nobody listens at is tried again.
const RETRY: Duration = Duration::from_millis(100);

impl Qmp {
    /// Connects to the server at `path` and leaves negotiation mode. `timeout` holds for every answer from now on.
    ///
    /// # Errors
    ///
    /// If nobody listens, or the listener does not speak QMP.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, QmpError> {
        Self::over(UnixStream::connect(path)?, timeout)
    }

    /// Connects as soon as somebody listens at `path`, at most `patience` from now.
    ///
    /// # Errors
    ///
    /// As [`Qmp::connect`], after the last try.
    pub fn connect_patiently(path: &Path, patience: Duration, timeout: Duration) -> Result<Self, QmpError> {
        Self::over(connect_patiently(path, patience)?, timeout)
    }

    /// Speaks QMP over a stream that is connected already.
    ///
    /// # Errors
    ///
    /// If the other side does not speak QMP.
    pub fn over(stream: UnixStream, timeout: Duration) -> Result<Self, QmpError> {
        let mut qmp = Qmp {
            lines: Lines::new(stream),
            timeout,
            events: VecDeque::new(),
            greeting: Value::Null,
            number: 0,
        };
        let mut greeting = qmp.message("greeting", Instant::now() + timeout)?;
        match greeting.remove("QMP") {
            Some(server) => qmp.greeting = server,
            None => return Err(QmpError::Protocol(Value::Object(greeting).to_string())),
        }
        qmp.execute("qmp_capabilities", None)?;
        Ok(qmp)
    }

    /// What the server said of itself: `version`, `capabilities`.
    #[must_use]
    pub fn greeting(&self) -> &Value {
        &self.greeting
    }

    /// How long every answer may take from now on.
    pub fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = timeout;
    }

    /// Executes a command and returns what it returns.
    ///
    /// # Errors
    ///
    /// [`QmpError::Command`] if QEMU refuses it, [`QmpError::Timeout`] if it does not answer.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<Value, QmpError> {
        let (request, end) = self.request(command, arguments);
        self.lines.write(&request, end)?;
        self.answer(command, end)
    }

    /// Gives QEMU an open file under a name, by which later commands know it.
    ///
    /// # Errors
    ///
    /// As [`Qmp::execute`].
    pub fn give_file(&mut self, name: &str, file: BorrowedFd<'_>) -> Result<(), QmpError> {
        let command = "getfd";
        let (request, end) = self.request(command, Some(json!({ "fdname": name })));
        let files = [file];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&files));
        let sent =
            sendmsg(self.lines.stream(), &[IoSlice::new(&request)], &mut ancillary, SendFlags::NOSIGNAL)
                .map_err(io::Error::from)?;
        self.lines.write(request.get(sent..).unwrap_or_default(), end)?;
        self.answer(command, end).map(drop)
    }

    /// The line of a new command, and when its answer must be there.
    fn request(&mut self, command: &str, arguments: Option<Value>) -> (Vec<u8>, Instant) {
        self.number += 1;
        let mut request = json!({ "execute": command, "id": self.number });
        if let (Some(arguments), Some(members)) = (arguments, request.as_object_mut()) {
            members.insert("arguments".into(), arguments);
        }
        let mut text = request.to_string().into_bytes();
        text.push(b'\n');
        (text, Instant::now() + self.timeout)
    }

    /// The answer to the last command.
    fn answer(&mut self, command: &str, end: Instant) -> Result<Value, QmpError> {
        loop {
            let mut message = self.message(command, end)?;
            let number = message.remove("id");
            let is_ours = number.is_none_or(|number| number == self.number);
            if let Some(value) = message.remove("return") {
                if is_ours {
                    return Ok(value);
                }
            } else if let Some(error) = message.remove("error") {
                if is_ours {
                    return Err(refusal(command, &error));
                }
            } else {
                self.note(message)?;
            }
        }
    }

    /// The next event, if one came until now or comes within `patience`.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    pub fn event(&mut self, patience: Duration) -> Result<Option<Event>, QmpError> {
        let end = Instant::now() + patience;
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.message("event", end) {
                // the answer to a command that was given up
                Ok(message) if message.contains_key("id") => {}
                Ok(message) => self.note(message)?,
                Err(QmpError::Timeout { .. }) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    fn note(&mut self, mut message: Map<String, Value>) -> Result<(), QmpError> {
        match message.get("event").and_then(Value::as_str).map(str::to_owned) {
            Some(name) => {
                let data = message.remove("data").unwrap_or_default();
                self.events.push_back(Event { name, data });
                Ok(())
            }
            None => Err(QmpError::Protocol(Value::Object(message).to_string())),
        }
    }

    /// The next message that comes before `end`.
    fn message(&mut self, command: &str, end: Instant) -> Result<Map<String, Value>, QmpError> {
        let Some(line) = self.lines.read(end)? else {
            return Err(QmpError::Timeout { command: command.to_owned(), timeout: self.timeout });
        };
        serde_json::from_slice(&line).map_err(|_| QmpError::Protocol(excerpt(&line)))
    }
}

/// The error that the answer to a command tells.
pub(crate) fn refusal(command: &str, error: &Value) -> QmpError {
    let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
    QmpError::Command { command: command.to_owned(), class: text("class"), description: text("desc") }
}

/// Connects as soon as somebody listens, at most `patience` from now.
pub(crate) fn connect_patiently(path: &Path, patience: Duration) -> io::Result<UnixStream> {
    let end = Instant::now() + patience;
    loop {
        match UnixStream::connect(path) {
            Err(_) if Instant::now() + RETRY < end => std::thread::sleep(RETRY),
            connected => return connected,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::{BufRead, BufReader, Write};

    use super::*;

    /// A server that sends `script`, one entry after each line it receives; the first entry at once. An entry `@` in a
    /// text stands for the number of the command, the entry `close` for the end.
    pub(crate) fn server(script: &[&str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script: Vec<String> = script.iter().map(|text| (*text).to_owned()).collect();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut writer = theirs;
            let mut number = String::new();
            for text in script {
                if text == "close" {
                    return;
                }
                writer.write_all(text.replace('@', &number).as_bytes()).unwrap();
                let mut line = Vec::new();
                if reader.read_until(b'\n', &mut line).unwrap_or(0) == 0 {
                    return;
                }
                let text = String::from_utf8_lossy(&line);
                let request: Value = serde_json::from_str(text.trim_start_matches('\u{fffd}')).unwrap();
                number = match &request["id"] {
                    Value::Null => request["arguments"]["id"].to_string(),
                    id => id.to_string(),
                };
            }
            std::thread::sleep(Duration::from_secs(5));
        });
        ours
    }

    const HELLO: &str = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\n";
    const SOON: Duration = Duration::from_millis(300);

    #[test]
    fn events_between_answers_are_kept() {
        let script = [
            HELLO,
            "{\"return\": {}, \"id\": @}\n",
            "{\"event\": \"STOP\", \"data\": {\"a\": 1}}\n{\"return\": 42, \"id\": @}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}, \"id\": @}\n",
        ];
        let mut qmp = Qmp::over(server(&script), SOON).unwrap();
        assert_eq!(qmp.execute("x", None).unwrap(), json!(42));
        let event = qmp.event(SOON).unwrap().unwrap();
        assert_eq!((event.name.as_str(), &event.data), ("STOP", &json!({"a": 1})));
        let error = qmp.execute("y", Some(json!({"k": 1}))).unwrap_err().to_string();
        assert_eq!(error, "QMP command y failed: no (GenericError)");
        assert_eq!(qmp.event(Duration::from_millis(20)).unwrap(), None);
    }

    #[test]
    fn silence_ends_in_an_error() {
        let mut qmp = Qmp::over(server(&[HELLO, "{\"return\": {}}\n", "{\"retu"]), SOON).unwrap();
        assert!(matches!(qmp.execute("x", None), Err(QmpError::Timeout { .. })));
        assert!(matches!(Qmp::over(server(&["hello\n"]), SOON), Err(QmpError::Protocol(_))));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_that_of_the_next_command() {
        let script = [
            HELLO,
            "{\"return\": {}, \"id\": @}\n",
            "",
            "{\"return\": 1, \"id\": 2}\n{\"return\": 2, \"id\": @}\n",
        ];
        let mut qmp = Qmp::over(server(&script), SOON).unwrap();
        qmp.set_timeout(Duration::from_millis(30));
        assert!(matches!(qmp.execute("slow", None), Err(QmpError::Timeout { .. })));
        qmp.set_timeout(SOON);
        assert_eq!(qmp.execute("next", None).unwrap(), json!(2));
    }
}
