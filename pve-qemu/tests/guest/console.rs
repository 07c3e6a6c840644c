// SPDX-License-Identifier: MIT OR Apache-2.0
//! A user's session on the serial console of a guest.

use std::time::Duration;

use micro_vm::Machine;

/// How long the guest may take for an answer; a busy machine without hardware support is slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// A user who is logged in.
pub(crate) struct Console<'m>(&'m mut Machine);

impl<'m> Console<'m> {
    /// Logs in with a password.
    pub(crate) fn log_in(machine: &'m mut Machine, user: &str, password: &str) -> Self {
        machine.type_line("").unwrap();
        machine.wait_for("login: ", PATIENCE).unwrap();
        machine.type_line(user).unwrap();
        machine.wait_for("Password: ", PATIENCE).unwrap();
        machine.type_line(password).unwrap();
        machine.wait_for("$ ", PATIENCE).unwrap();
        // no echo, no prompt: between the marks stands what the command prints and nothing else
        machine.type_line("stty -echo; PS1=; TERM=dumb; unset PROMPT_COMMAND").unwrap();
        Console(machine)
    }

    /// What a command prints. Shown as it happens, so that the test's output is a transcript.
    pub(crate) fn ask(&mut self, command: &str) -> String {
        // the marks as typed differ from the marks as printed
        self.0.type_line(&format!("echo; echo BEG''IN; {command}; echo; echo E''ND")).unwrap();
        self.0.wait_for("BEGIN\r\n", PATIENCE).unwrap();
        let output = self.0.wait_for("END\r\n", PATIENCE).unwrap().replace('\r', "");
        eprintln!("admin@guest$ {command}\n{}", output.trim());
        output.trim().to_owned()
    }

    /// Turns the guest off and waits for the end.
    pub(crate) fn power_off(self) {
        self.0.type_line("sudo poweroff").unwrap();
        self.0.wait_for_end(PATIENCE).unwrap();
    }
}
