// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine's serial console: what it prints there, and what is typed.

use std::fmt;
use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::Error;

/// The console of a machine, wherever it is: pipes of a process, the socket of a serial port.
pub struct Console {
    keyboard: Box<dyn Write + Send>,
    screen: Receiver<Vec<u8>>,
    /// Everything the guest printed.
    printed: Vec<u8>,
    /// How much of it has been looked at.
    seen: usize,
}

impl Console {
    /// A console that prints to `output` and is typed at through `keyboard`.
    pub fn new(mut output: impl Read + Send + 'static, keyboard: impl Write + Send + 'static) -> Self {
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        Console { keyboard: Box::new(keyboard), screen, printed: Vec::new(), seen: 0 }
    }

    /// Waits until the guest prints `text`, and returns what it printed before, from where the last wait ended.
    ///
    /// # Errors
    /// If it does not within `limit`, or ends before: everything that it printed.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String, Error> {
        let until = Instant::now() + limit;
        // nothing before this can be the beginning of `text`
        let mut looked_at = self.seen;
        loop {
            let fresh = self.printed.get(looked_at..).unwrap_or_default();
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = self.printed.get(self.seen..looked_at + at).unwrap_or_default();
                let before = String::from_utf8_lossy(before).into_owned();
                self.seen = looked_at + at + text.len();
                return Ok(before);
            }
            looked_at = self.seen.max((self.printed.len() + 1).saturating_sub(text.len()));
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.printed.extend(more),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(Error::new(format!("no {text:?} within {limit:?}:\n{}", self.text())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(format!("the console ended before {text:?}:\n{}", self.text())));
                }
            }
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// If the machine has ended.
    pub fn type_line(&mut self, line: &str) -> Result<(), Error> {
        let typed =
            self.keyboard.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.keyboard.flush());
        typed.map_err(|error| Error::new(format!("cannot type {line:?}: {error}\n{}", self.text())))
    }

    /// Takes in what comes until there is no more.
    pub(crate) fn drain(&mut self) {
        self.printed.extend(self.screen.iter().flatten());
    }

    /// Everything the guest printed.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.printed).replace('\r', "")
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("text", &self.text()).finish_non_exhaustive()
    }
}
