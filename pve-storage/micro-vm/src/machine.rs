// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU process with the guest's serial console at hand.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::console::Console;
use crate::error::Error;

/// A running machine. It is killed when dropped.
#[derive(Debug)]
pub struct Machine {
    process: Child,
    pub(crate) console: Console,
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
        let (Some(keyboard), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err(Error::new("QEMU without a console"));
        };
        Ok(Machine { process, console: Console::new(output, keyboard), started: Instant::now() })
    }

    /// [`Console::wait_for`] on its console.
    ///
    /// # Errors
    /// As there.
    pub fn wait_for(&mut self, text: &str, limit: Duration) -> Result<String, Error> {
        self.console.wait_for(text, limit)
    }

    /// [`Console::type_line`] on its console.
    ///
    /// # Errors
    /// As there.
    pub fn type_line(&mut self, line: &str) -> Result<(), Error> {
        self.console.type_line(line)
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
        self.console.drain();
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
        self.console.text()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
