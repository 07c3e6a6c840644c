// SPDX-License-Identifier: MIT OR Apache-2.0
//! A QEMU process with the guest's serial console at hand.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A running machine. It is killed when dropped.
pub(crate) struct Machine {
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
    pub(crate) fn start(options: &[[&str; 2]]) -> Machine {
        let mut process = Command::new("qemu-system-x86_64")
            .args([
                "-accel",
                "tcg,thread=multi",
                "-cpu",
                "max",
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
            ])
            .args(["-display", "none", "-monitor", "none", "-serial", "stdio"])
            .args(options.iter().flatten())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let keyboard = process.stdin.take().unwrap();
        let mut output = process.stdout.take().unwrap();
        let (sender, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                if sender.send(buffer[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Machine { process, keyboard, screen, printed: Vec::new(), seen: 0, started: Instant::now() }
    }

    /// Waits until the guest prints `text`, and returns what it printed before, from where the last wait ended.
    pub(crate) fn wait_for(&mut self, text: &str, limit: Duration) -> String {
        let until = Instant::now() + limit;
        loop {
            let fresh = &self.printed[self.seen..];
            if let Some(at) = fresh.windows(text.len()).position(|window| window == text.as_bytes()) {
                let before = String::from_utf8_lossy(&fresh[..at]).into_owned();
                self.seen += at + text.len();
                return before;
            }
            match self.screen.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(more) => self.printed.extend(more),
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} within {limit:?}:\n{}", self.console()),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("QEMU ended before {text:?}:\n{}", self.console())
                }
            }
        }
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).unwrap();
        self.keyboard.write_all(b"\n").unwrap();
        self.keyboard.flush().unwrap();
    }

    /// Waits for the end of QEMU.
    pub(crate) fn wait_for_end(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.process.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "QEMU still runs after {limit:?}:\n{}", self.console());
            std::thread::sleep(Duration::from_millis(50));
        }
        self.printed.extend(self.screen.iter().flatten());
    }

    /// How long the machine has been running.
    pub(crate) fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Everything the guest printed.
    pub(crate) fn console(&self) -> String {
        String::from_utf8_lossy(&self.printed).replace('\r', "")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
