// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON lines over a local socket, read against the clock.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::QmpError;

/// Longest line that is accepted, in bytes.
const MOST: usize = 64 << 20;

/// A stream that is read line by line.
#[derive(Debug)]
pub(crate) struct Lines {
    stream: BufReader<UnixStream>,
    /// What was read of a line that is not complete.
    line: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Lines { stream: BufReader::new(stream), line: Vec::new() }
    }

    /// The stream, for what goes beside the lines.
    pub(crate) fn stream(&self) -> &UnixStream {
        self.stream.get_ref()
    }

    /// Writes bytes, all of them before `end`.
    pub(crate) fn write(&mut self, bytes: &[u8], end: Instant) -> Result<(), QmpError> {
        let stream = self.stream.get_mut();
        // a time-out of zero means none
        let left = end.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_write_timeout(Some(left))?;
        stream.write_all(bytes).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => QmpError::Closed,
            _ => error.into(),
        })
    }

    /// The next line, without its end, if it is complete before `end`; what came of it stays for the next call.
    pub(crate) fn read(&mut self, end: Instant) -> Result<Option<Vec<u8>>, QmpError> {
        loop {
            // what has arrived already counts even when the time is over
            let left = end.saturating_duration_since(Instant::now());
            self.stream.get_ref().set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            match self.stream.fill_buf() {
                Ok([]) => return Err(QmpError::Closed),
                Ok(available) => {
                    let found = available.iter().position(|byte| *byte == b'\n');
                    let taken = found.map_or(available.len(), |at| at + 1);
                    let part = available.get(..found.unwrap_or(taken)).unwrap_or_default();
                    self.line.extend_from_slice(part);
                    self.stream.consume(taken);
                    if self.line.len() > MOST {
                        return Err(QmpError::Protocol(format!("a message of more than {MOST} bytes")));
                    }
                    if found.is_some() {
                        return Ok(Some(std::mem::take(&mut self.line)));
                    }
                    if left.is_zero() {
                        return Ok(None);
                    }
                }
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    if left.is_zero() || Instant::now() >= end {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(QmpError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What of a message that is not understood is shown.
pub(crate) fn excerpt(line: &[u8]) -> String {
    const SHOWN: usize = 200;
    let mut text = String::from_utf8_lossy(line.get(..SHOWN).unwrap_or(line)).into_owned();
    if line.len() > SHOWN {
        text.push('…');
    }
    text
}
