// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client for QMP, the protocol that QEMU is controlled by: JSON lines over a local socket.
//!
//! The server greets, the client negotiates, then commands and answers alternate; events come in between at any time.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

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
    stream: BufReader<UnixStream>,
    timeout: Duration,
    events: VecDeque<Event>,
    greeting: Value,
    line: Vec<u8>,
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

/// Longest message that is accepted, in bytes.
const MOST: usize = 64 << 20;

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
        let end = Instant::now() + patience;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => return Self::over(stream, timeout),
                Err(error) if Instant::now() >= end => return Err(error.into()),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Speaks QMP over a stream that is connected already.
    ///
    /// # Errors
    ///
    /// If the other side does not speak QMP.
    pub fn over(stream: UnixStream, timeout: Duration) -> Result<Self, QmpError> {
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let mut qmp = Qmp {
            stream: BufReader::new(stream),
            timeout,
            events: VecDeque::new(),
            greeting: Value::Null,
            line: Vec::new(),
        };
        let end = Instant::now() + timeout;
        let mut greeting = qmp.message("greeting", end)?;
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

    /// Executes a command and returns what it returns.
    ///
    /// # Errors
    ///
    /// [`QmpError::Command`] if QEMU refuses it, [`QmpError::Timeout`] if it does not answer.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<Value, QmpError> {
        let mut request = json!({ "execute": command });
        if let (Some(arguments), Some(members)) = (arguments, request.as_object_mut()) {
            members.insert("arguments".into(), arguments);
        }
        let mut text = request.to_string();
        text.push('\n');
        self.stream.get_mut().write_all(text.as_bytes())?;
        let end = Instant::now() + self.timeout;
        loop {
            let mut message = self.message(command, end)?;
            if let Some(value) = message.remove("return") {
                return Ok(value);
            }
            if let Some(error) = message.remove("error") {
                let text = |key: &str| error[key].as_str().unwrap_or_default().to_owned();
                return Err(QmpError::Command {
                    command: command.to_owned(),
                    class: text("class"),
                    description: text("desc"),
                });
            }
            self.note(message)?;
        }
    }

    /// The next event, if one came until now or comes within `patience`.
    ///
    /// # Errors
    ///
    /// If the connection breaks.
    pub fn event(&mut self, patience: Duration) -> Result<Option<Event>, QmpError> {
        if let Some(event) = self.events.pop_front() {
            return Ok(Some(event));
        }
        match self.message("event", Instant::now() + patience) {
            Ok(message) => {
                self.note(message)?;
                Ok(self.events.pop_front())
            }
            Err(QmpError::Timeout { .. }) => Ok(None),
            Err(error) => Err(error),
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
        let timed_out = || QmpError::Timeout { command: command.to_owned(), timeout: self.timeout };
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(timed_out());
            }
            self.stream.get_ref().set_read_timeout(Some(left))?;
            match self.stream.fill_buf() {
                Ok([]) => return Err(QmpError::Closed),
                Ok(available) => {
                    let found = available.iter().position(|byte| *byte == b'\n');
                    let taken = found.map_or(available.len(), |at| at + 1);
                    self.line.extend_from_slice(available.get(..taken).unwrap_or_default());
                    self.stream.consume(taken);
                    if self.line.len() > MOST {
                        return Err(QmpError::Protocol(format!("a message of more than {MOST} bytes")));
                    }
                    if found.is_some() {
                        let line = std::mem::take(&mut self.line);
                        return serde_json::from_slice(&line)
                            .map_err(|_| QmpError::Protocol(String::from_utf8_lossy(&line).into_owned()));
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Err(timed_out());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends `script`, one entry after each line it receives; the first entry at once.
    fn server(script: &[&str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let script: Vec<String> = script.iter().map(|text| (*text).to_owned()).collect();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(theirs.try_clone().unwrap());
            let mut writer = theirs;
            for text in script {
                writer.write_all(text.as_bytes()).unwrap();
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
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
            "{\"return\": {}}\n",
            "{\"event\": \"STOP\", \"data\": {\"a\": 1}}\n{\"return\": 42}\n",
            "{\"error\": {\"class\": \"GenericError\", \"desc\": \"no\"}}\n",
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
}
