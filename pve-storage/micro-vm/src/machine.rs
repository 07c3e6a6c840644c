// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU process with the guest's serial console at hand.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::error::Error;

/// A running machine. It is killed when dropped.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    keyboard: ChildStdin,
    screen: Receiver<Vec<u8>>,
    /// Everything the guest printed.
    printed: Vec<u8>,
    /// How much of it has been looked at.
    seen: usize,
    started: Instant,
}

impl Machine {
    /// Starts QEMU with the first serial port as console and the given options beside. Works without hardware
    /// support.
    ///
    /// # Errors
    /// If QEMU cannot be started.
    pub fn start(options: &[[&str; 2]]) -> Result<Machine, Error> {
        let mut process = Command::new("qemu-system-x86_64")
            .args(["-accel", "tcg,thread=multi", "-nodefaults", "-no-user-config", "-no-reboot"])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(options.iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(Error::about("cannot run qemu-system-x86_64"))?;
        let (Some(keyboard), Some(mut output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::new("QEMU without a console"));
        };
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer.get(..count).unwrap_or_default().to_vec()).is_err() {
                    return;
                }
            }
        });
        Ok(Machine { process, keyboard, screen, printed: Vec::new(), seen: 0, started: Instant::now() })
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
                    return Err(Error::new(format!("no {text:?} within {limit:?}:\n{}", self.console())));
                }
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Error::new(format!("QEMU ended before {text:?}:\n{}", self.console())));
                }
            }
        }
    }

    /// Types a line.
    ///
    /// # Errors
    /// If QEMU has ended.
    pub fn type_line(&mut self, line: &str) -> Result<(), Error> {
        let typed =
            self.keyboard.write_all(format!("{line}\n").as_bytes()).and_then(|()| self.keyboard.flush());
        typed.map_err(|error| Error::new(format!("cannot type {line:?}: {error}\n{}", self.console())))
    }

    /// Waits for the end of QEMU.
    ///
    /// # Errors
    /// If it still runs after `limit`.
    pub fn wait_for_end(&mut self, limit: Duration) -> Result<(), Error> {
        let until = Instant::now() + limit;
        while self.process.try_wait().map_err(Error::about("QEMU"))?.is_none() {
            if Instant::now() > until {
                return Err(Error::new(format!("QEMU still runs after {limit:?}:\n{}", self.console())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        self.printed.extend(self.screen.iter().flatten());
        Ok(())
    }

    /// How long the machine has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Everything the guest printed.
    #[must_use]
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&self.printed).replace('\r', "")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
