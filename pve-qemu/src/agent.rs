// SPDX-License-Identifier: MIT OR Apache-2.0
//! A client for the agent that runs in a guest (`qemu-guest-agent`), over the socket that QEMU keeps for it.
//!
//! Behind the socket is a serial line: nobody says whether an agent listens at its other end, what an agent before the
//! last reboot was asked may still lie in it, and half an answer may come first. So every conversation begins with
//! `guest-sync-delimited`: a byte that is in no JSON text, and a number that the answer repeats.
//!
//! ```no_run
//! use std::path::Path;
//! use std::time::Duration;
//! use pve_qemu::agent::GuestAgent;
//!
//! let mut agent = GuestAgent::connect(Path::new("/var/run/qemu-server/100.qga"), Duration::from_secs(3))?;
//! for interface in agent.network_interfaces()? {
//!     println!("{}: {:?}", interface.name, interface.addresses);
//! }
//! # Ok::<(), pve_qemu::qmp::QmpError>(())
//! ```

use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use base64ct::{Base64, Encoding};
use serde_json::{Map, Value, json};

use crate::qmp::{Lines, QmpError, connect_patiently, excerpt, patience, refusal};

/// In no JSON text, so it ends whatever was begun.
const DELIMITER: u8 = 0xff;

/// A connection to the agent of a guest.
#[derive(Debug)]
pub struct GuestAgent {
    lines: Lines,
    timeout: Option<Duration>,
    /// Whether the next line answers the next command; not after a command that was given up.
    in_step: bool,
}

/// A network interface, as the guest sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Interface {
    /// Its name, `eth0`.
    pub name: String,
    /// Its MAC address, as the guest writes it.
    pub mac: Option<String>,
    /// Its addresses, with the length of the prefix in bits.
    pub addresses: Vec<(IpAddr, u8)>,
}

/// How a program in a guest is, or has ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Program {
    /// It has ended.
    pub exited: bool,
    /// With this code.
    pub code: Option<i64>,
    /// By this signal (or exception, in Windows).
    pub signal: Option<i64>,
    /// What it wrote to standard output; only when it has ended, and as far as the agent kept it.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error, likewise.
    pub stderr: Vec<u8>,
}

impl GuestAgent {
    /// Connects to the socket at `path`. `timeout` holds for the synchronisation and every answer; without one each
    /// command gets the time it deserves ([`patience`]).
    ///
    /// # Errors
    /// If nobody listens at the socket, or no agent answers in time.
    pub fn connect(path: &Path, timeout: impl Into<Option<Duration>>) -> Result<Self, QmpError> {
        let timeout = timeout.into();
        let patience = timeout.unwrap_or_else(|| patience("guest-sync-delimited"));
        Self::over(connect_patiently(path, patience)?, timeout)
    }

    /// Speaks to an agent over a stream that is connected already.
    ///
    /// # Errors
    /// If no agent answers in time.
    pub fn over(stream: UnixStream, timeout: Option<Duration>) -> Result<Self, QmpError> {
        let mut agent = GuestAgent { lines: Lines::new(stream), timeout, in_step: false };
        agent.synchronise()?;
        Ok(agent)
    }

    /// Executes a command and returns what it returns. After one that was given up the conversation begins anew, since its
    /// answer may still come.
    ///
    /// # Errors
    /// [`QmpError::Command`] if the agent refuses it, [`QmpError::Timeout`] if it does not answer.
    pub fn execute(&mut self, command: &str, arguments: Option<Value>) -> Result<Value, QmpError> {
        if !self.in_step {
            self.synchronise()?;
        }
        self.in_step = false;
        let timeout = self.timeout.unwrap_or_else(|| patience(command));
        let end = Instant::now() + timeout;
        let mut request = json!({ "execute": command });
        if let (Some(arguments), Some(members)) = (arguments, request.as_object_mut()) {
            members.insert("arguments".into(), arguments);
        }
        self.lines.write(format!("{request}\n").as_bytes(), end)?;
        let answered = match self.lines.read(end) {
            // whoever ends the guest ends the agent
            Err(QmpError::Closed) if ends_guest(command) => return Ok(json!({})),
            other => other?,
        };
        let Some(line) = answered else {
            return Err(QmpError::Timeout { command: command.to_owned(), timeout });
        };
        self.in_step = true;
        let mut message: Map<String, Value> =
            serde_json::from_slice(&line).map_err(|_| QmpError::Protocol(excerpt(&line)))?;
        match (message.remove("return"), message.remove("error")) {
            (Some(value), _) => Ok(value),
            (None, Some(error)) => Err(refusal(command, &error)),
            (None, None) => Err(QmpError::Protocol(excerpt(&line))),
        }
    }

    /// Whether an agent is there; connecting has told already.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn ping(&mut self) -> Result<(), QmpError> {
        self.execute("guest-ping", None).map(drop)
    }

    /// The network interfaces of the guest.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn network_interfaces(&mut self) -> Result<Vec<Interface>, QmpError> {
        let interfaces = self.execute("guest-network-get-interfaces", None)?;
        Ok(interfaces.as_array().into_iter().flatten().map(interface).collect())
    }

    /// Holds the file systems of the guest still; returns how many.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn freeze(&mut self) -> Result<u64, QmpError> {
        Ok(self.execute("guest-fsfreeze-freeze", None)?.as_u64().unwrap_or(0))
    }

    /// Lets them go on; returns how many.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn thaw(&mut self) -> Result<u64, QmpError> {
        Ok(self.execute("guest-fsfreeze-thaw", None)?.as_u64().unwrap_or(0))
    }

    /// Whether they are held.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn is_frozen(&mut self) -> Result<bool, QmpError> {
        Ok(self.execute("guest-fsfreeze-status", None)? == "frozen")
    }

    /// Runs a program in the guest; there is no shell. Returns its number, for [`GuestAgent::program`].
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn run(&mut self, path: &str, arguments: &[&str], input: Option<&[u8]>) -> Result<u64, QmpError> {
        let mut call = json!({ "path": path, "arg": arguments, "capture-output": true });
        if let Some(input) = input {
            call["input-data"] = Base64::encode_string(input).into();
        }
        let answer = self.execute("guest-exec", Some(call))?;
        answer["pid"].as_u64().ok_or_else(|| QmpError::Protocol(answer.to_string()))
    }

    /// How a program that [`GuestAgent::run`] has started is. The agent forgets it once it has told of its end.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`]; if its output is not what it should be.
    pub fn program(&mut self, number: u64) -> Result<Program, QmpError> {
        let answer = self.execute("guest-exec-status", Some(json!({ "pid": number })))?;
        let data = |name: &str| {
            let text = answer[name].as_str().unwrap_or_default();
            Base64::decode_vec(text).map_err(|_| QmpError::Protocol(excerpt(text.as_bytes())))
        };
        Ok(Program {
            exited: answer["exited"] == true,
            code: answer["exitcode"].as_i64(),
            signal: answer["signal"].as_i64(),
            stdout: data("out-data")?,
            stderr: data("err-data")?,
        })
    }

    /// Shuts the guest down. No answer is the usual answer.
    ///
    /// # Errors
    /// As [`GuestAgent::execute`].
    pub fn shutdown(&mut self) -> Result<(), QmpError> {
        self.execute("guest-shutdown", None).map(drop)
    }

    /// Reads until the agent repeats a number of ours.
    fn synchronise(&mut self) -> Result<(), QmpError> {
        let command = "guest-sync-delimited";
        let timeout = self.timeout.unwrap_or_else(|| patience(command));
        let end = Instant::now() + timeout;
        let number = u64::from(std::process::id()) << 20 | u64::from(clock());
        let request = json!({ "execute": command, "arguments": { "id": number } });
        let mut text = vec![DELIMITER];
        text.extend(format!("{request}\n").into_bytes());
        self.lines.write(&text, end)?;
        while let Some(line) = self.lines.read(end)? {
            // what stands before the delimiter is not for us
            let Some(at) = line.iter().rposition(|byte| *byte == DELIMITER) else { continue };
            let rest = line.get(at + 1..).unwrap_or_default();
            let message: Value = serde_json::from_slice(rest).unwrap_or_default();
            if message["return"] == number {
                self.in_step = true;
                return Ok(());
            }
        }
        Err(QmpError::Timeout { command: command.to_owned(), timeout })
    }
}

/// The microsecond of about a second: a number that two conversations of this process hardly share.
fn clock() -> u32 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    (since.as_micros() & 0xf_ffff) as u32
}

/// Whether success of a command may mean that nobody answers any more.
fn ends_guest(command: &str) -> bool {
    command == "guest-shutdown" || command.starts_with("guest-suspend-")
}

fn interface(value: &Value) -> Interface {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let addresses = value["ip-addresses"].as_array().into_iter().flatten().filter_map(|address| {
        let length = u8::try_from(address["prefix"].as_u64()?).ok()?;
        // a link-local address may name its interface
        let text = address["ip-address"].as_str()?;
        let text = text.split_once('%').map_or(text, |(text, _)| text);
        Some((text.parse().ok()?, length))
    });
    Interface {
        name: text(&value["name"]).unwrap_or_default(),
        mac: text(&value["hardware-address"]),
        addresses: addresses.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::tests::server;

    const SOON: Option<Duration> = Some(Duration::from_millis(300));

    /// An agent that sends `script` after the synchronisation.
    fn agent(script: &[&str]) -> GuestAgent {
        // half an old answer, a whole one, and then ours
        let hello = "";
        let sync = "rn\": {}}\n{\"return\": 7}\n\u{0}{\"return\": @}\n";
        let mut all = vec![hello, sync];
        all.extend(script);
        GuestAgent::over(server_with_delimiter(&all), SOON).unwrap()
    }

    /// As [`server`], with NUL standing for the delimiter, which is in no Rust text either.
    fn server_with_delimiter(script: &[&str]) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let inner = server(script);
        let (mut to, mut from) = (theirs.try_clone().unwrap(), inner.try_clone().unwrap());
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let bytes: Vec<u8> =
                    buffer[..count].iter().map(|byte| if *byte == 0 { DELIMITER } else { *byte }).collect();
                if to.write_all(&bytes).is_err() {
                    return;
                }
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        let (mut from, mut to) = (theirs, inner);
        std::thread::spawn(move || std::io::copy(&mut from, &mut to));
        ours
    }

    #[test]
    fn a_conversation_begins_after_what_lies_in_the_line() {
        let mut agent = agent(&[
            "{\"return\": {}}\n",
            "{\"return\": \"thawed\"}\n",
            "{\"error\": {\"class\": \"CommandNotFound\", \"desc\": \"disabled\"}}\n",
        ]);
        agent.ping().unwrap();
        assert!(!agent.is_frozen().unwrap());
        assert!(agent.freeze().unwrap_err().is_unknown_command());
    }

    #[test]
    fn interfaces_with_their_addresses() {
        let answer = "{\"return\": [{\"name\": \"lo\"}, {\"name\": \"eth0\", \"hardware-address\": \"bc:24:11:00:00:01\", \
            \"ip-addresses\": [{\"ip-address\": \"10.0.0.5\", \"prefix\": 24, \"ip-address-type\": \"ipv4\"}, \
            {\"ip-address\": \"fe80::1%eth0\", \"prefix\": 64, \"ip-address-type\": \"ipv6\"}]}]}\n";
        let interfaces = agent(&[answer]).network_interfaces().unwrap();
        assert_eq!(interfaces.len(), 2);
        let addresses = [("10.0.0.5".parse().unwrap(), 24), ("fe80::1".parse().unwrap(), 64)];
        assert_eq!(interfaces[1].addresses, addresses);
        assert_eq!(interfaces[1].mac.as_deref(), Some("bc:24:11:00:00:01"));
    }

    #[test]
    fn a_program_and_its_output() {
        let mut agent = agent(&[
            "{\"return\": {\"pid\": 42}}\n",
            "{\"return\": {\"exited\": true, \"exitcode\": 3, \"out-data\": \"aGk=\"}}\n",
        ]);
        assert_eq!(agent.run("/bin/echo", &["hi"], None).unwrap(), 42);
        let program = agent.program(42).unwrap();
        assert_eq!((program.code, program.stdout.as_slice(), program.exited), (Some(3), &b"hi"[..], true));
    }

    #[test]
    fn a_guest_that_shuts_down_does_not_answer() {
        agent(&["close"]).shutdown().unwrap();
        assert!(matches!(agent(&["close"]).ping(), Err(QmpError::Closed)));
    }

    #[test]
    fn a_late_answer_is_not_taken_for_that_of_the_next_command() {
        let mut agent = agent(&[
            "",
            "{\"return\": \"late\"}\n\u{0}{\"return\": @}\n",
            "{\"return\": \"frozen\"}\n",
            "{\"return\": \"thawed\"}\n",
        ]);
        assert!(matches!(agent.ping(), Err(QmpError::Timeout { .. })));
        assert!(agent.is_frozen().unwrap());
        assert!(!agent.is_frozen().unwrap(), "which needs no other beginning");
    }

    #[test]
    fn a_line_without_an_agent() {
        let silent = GuestAgent::over(server(&[""]), Some(Duration::from_millis(50)));
        assert!(matches!(silent, Err(QmpError::Timeout { .. })));
    }
}
