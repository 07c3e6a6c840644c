// SPDX-License-Identifier: MIT OR Apache-2.0
//! A machine that is up: commands and test functions that run in it, and what they answer.

use std::time::Duration;

use tempfile::TempDir;

use crate::console::Console;
use crate::error::Error;
use crate::machine::Machine;

/// Where the test program lies in the machine.
pub(crate) const THIS_PROGRAM: &str = "/test";

/// How long one command may take; a busy host without hardware support is slow.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the machine does in the end: it prepares, and does what it is told, line by line.
pub(crate) const LAST: &str = r#"
sh /setup < /dev/null > /tmp/out 2>&1
echo "MICRO-VM UP $?"
cat /tmp/out
echo "MICRO-VM END"
while read -r line; do
    eval "( $line )" < /dev/null > /tmp/out 2> /tmp/err
    echo "MICRO-VM EXIT $?"
    cat /tmp/out
    echo "MICRO-VM ERRORS"
    cat /tmp/err
    echo "MICRO-VM END"
done
"#;

/// The longest line that a terminal takes.
const LINE: usize = 4000;

/// A machine that is up. It is gone, with its disks, when dropped.
#[derive(Debug)]
pub struct MicroVm {
    machine: Machine,
    _folder: TempDir,
}

/// How a command ended, and what it printed (as text).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its exit code; 128 and the signal's number if it was killed.
    pub exit: i32,
    /// What it printed.
    pub output: String,
    /// What it complained about.
    pub errors: String,
}

/// Whether this program runs in a micro-VM.
#[must_use]
pub fn is_inside() -> bool {
    std::env::var_os("MICRO_VM").is_some_and(|value| value == "1")
}

/// Waits until a machine is up.
pub(crate) fn come_up(machine: Machine, folder: TempDir) -> Result<MicroVm, Error> {
    let mut vm = MicroVm { machine, _folder: folder };
    vm.machine.console.come_up()?;
    eprintln!("micro-VM up after {:.1} s", vm.uptime().as_secs_f64());
    Ok(vm)
}

impl Console {
    /// Waits until a machine is up that was made by [`Setup::write_to`](crate::Setup::write_to). Nothing may be typed
    /// before, and what it printed before somebody listened is lost.
    ///
    /// # Errors
    /// If its set-up failed, or it does not come up: what it said.
    pub fn come_up(&mut self) -> Result<(), Error> {
        self.wait_for("MICRO-VM UP ", PATIENCE)?;
        let exit = self.wait_for("\n", PATIENCE)?;
        let said = self.wait_for("MICRO-VM END\n", PATIENCE)?;
        match exit.as_str() {
            "0" => Ok(()),
            _ => Err(Error::new(format!("the machine's set-up failed with exit code {exit}:\n{said}"))),
        }
    }

    /// Runs a line of shell script in a shell of its own, on a machine that is up.
    ///
    /// # Errors
    /// If the machine does not answer any more.
    pub fn shell(&mut self, line: &str) -> Result<Outcome, Error> {
        if line.len() > LINE || line.contains(['\n', '\0']) {
            return Err(Error::new(format!("must be one line of at most {LINE} bytes: {line}")));
        }
        self.type_line(line)?;
        self.wait_for("MICRO-VM EXIT ", PATIENCE)?;
        let exit = self.wait_for("\n", PATIENCE)?;
        let output = self.wait_for("MICRO-VM ERRORS\n", PATIENCE)?;
        let errors = self.wait_for("MICRO-VM END\n", PATIENCE)?;
        let exit = exit.parse().map_err(|_| Error::new(format!("no exit code: {exit:?}")))?;
        Ok(Outcome { exit, output, errors })
    }
}

impl MicroVm {
    /// Runs a command, program and arguments, and returns how it ended.
    ///
    /// # Errors
    /// If the machine does not answer any more.
    pub fn run<A: AsRef<str>>(&mut self, command: &[A]) -> Result<Outcome, Error> {
        self.shell(&command.iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" "))
    }

    /// Runs a line of shell script in a shell of its own.
    ///
    /// # Errors
    /// If the machine does not answer any more.
    pub fn shell(&mut self, line: &str) -> Result<Outcome, Error> {
        eprintln!("micro-vm# {line}");
        let outcome = self.machine.console.shell(line)?;
        eprintln!("{}", [outcome.output.as_str(), outcome.errors.as_str()].concat().trim_end());
        Ok(outcome)
    }

    /// Runs a command that must succeed, and returns what it printed.
    ///
    /// # Errors
    /// If it fails: what it complained about.
    pub fn check<A: AsRef<str>>(&mut self, command: &[A]) -> Result<String, Error> {
        let outcome = self.run(command)?;
        if outcome.exit == 0 {
            return Ok(outcome.output);
        }
        let command: Vec<&str> = command.iter().map(AsRef::as_ref).collect();
        Err(Error::new(format!(
            "{command:?} failed with exit code {}:\n{}{}",
            outcome.exit, outcome.output, outcome.errors
        )))
    }

    /// Runs a test function of this program; `name` is its path as `--list` tells it. It is one that is ignored
    /// elsewhere.
    ///
    /// # Errors
    /// If it fails, or there is none: what the test printed.
    pub fn test(&mut self, name: &str) -> Result<(), Error> {
        let output = self.check(&[THIS_PROGRAM, "--exact", name, "--ignored", "--nocapture"])?;
        // no such test is no failure for the test program
        if output.contains("1 passed") {
            Ok(())
        } else {
            Err(Error::new(format!("no test {name} that is ignored elsewhere:\n{output}")))
        }
    }

    /// How long the machine has been running.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.machine.uptime()
    }
}

/// A word as the shell reads it back.
fn quote(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_words() {
        assert_eq!(quote("-o"), "-o");
        assert_eq!(quote(""), "''");
        assert_eq!(quote("a b$c"), "'a b$c'");
        assert_eq!(quote("it's"), r"'it'\''s'");
    }
}
