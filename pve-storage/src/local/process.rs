// SPDX-License-Identifier: MIT OR Apache-2.0
//! Running a program: its streams, its time, its end.

use std::ffi::OsStr;
use std::io::{self, Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread;

use bstr::{BString, ByteSlice};
use nix::sys::signal::{Signal, killpg};
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;

use super::{Listener, os};
use crate::command::{Command, ENVIRONMENT, Exit, Output, RunError, Streams, lines};
use crate::host::Event;

/// The permission mask belongs to the whole process: while a child starts with another one, nobody else may start one.
static MASK: Mutex<()> = Mutex::new(());

pub(super) fn run(command: &Command, streams: Streams<'_>, listener: &Listener) -> Result<Output, RunError> {
    if let Some(operand) = command.refused() {
        return Err(RunError::Refused { command: command.to_string(), operand: operand.to_owned() });
    }
    if command.is_spooled() && streams.output.is_some() {
        return spool(command, streams, listener);
    }
    let child = start(command, streams.input.is_some(), Stdio::piped())
        .map_err(|source| RunError::Start { program: command.program().to_owned(), source })?;
    attend(command, child, streams, listener)
}

/// Runs a program that writes to a file, and hands on what it wrote.
fn spool(command: &Command, streams: Streams<'_>, listener: &Listener) -> Result<Output, RunError> {
    let moved = |source| RunError::Stream { command: command.to_string(), source };
    let mut file = tempfile::tempfile().map_err(moved)?;
    let child = start(command, streams.input.is_some(), file.try_clone().map_err(moved)?.into())
        .map_err(|source| RunError::Start { program: command.program().to_owned(), source })?;
    let output = attend(command, child, Streams { input: streams.input, output: None }, listener)?;
    if let Some(sink) = streams.output.filter(|_| output.succeeded()) {
        file.rewind().map_err(moved)?;
        io::copy(&mut file, sink).map_err(moved)?;
    }
    Ok(output)
}

fn start(command: &Command, with_input: bool, output: Stdio) -> io::Result<Child> {
    let mut process = std::process::Command::new(os(command.program()));
    process.args(command.arguments().iter().map(|arg| OsStr::from_bytes(arg)));
    process.envs(ENVIRONMENT);
    process.envs(command.environment().iter().map(|(name, value)| (name, OsStr::from_bytes(value))));
    if let Some(directory) = command.working_directory() {
        process.current_dir(os(directory));
    }
    process.stdin(if with_input { Stdio::piped() } else { Stdio::null() });
    process.stdout(output).stderr(Stdio::piped());
    // a group of its own, so that a command that takes too long goes with everything it started
    process.process_group(0);
    let Some(mask) = command.permission_mask() else { return process.spawn() };
    let _alone = MASK.lock().unwrap_or_else(PoisonError::into_inner);
    let old = umask(Mode::from_bits_truncate(0o777));
    umask(old | Mode::from_bits_truncate(mask));
    let child = process.spawn();
    umask(old);
    child
}

/// Feeds and drains the child until it ends.
fn attend(
    command: &Command,
    mut child: Child,
    streams: Streams<'_>,
    listener: &Listener,
) -> Result<Output, RunError> {
    let moved = |source| RunError::Stream { command: command.to_string(), source };
    let group = i32::try_from(child.id()).map(Pid::from_raw).unwrap_or_else(|_| Pid::from_raw(0));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (input, sink) = (streams.input, streams.output);
    let progress = command.reports_progress().then_some(listener);
    let program = command.program();
    thread::scope(|scope| {
        let feeder = scope.spawn(move || match (stdin, input) {
            (Some(mut pipe), Some(input)) => feed(input, &mut pipe),
            _ => Ok(()),
        });
        // some tell their progress on standard output (qemu-img), some on standard error (dd)
        let tell = move |line: &[u8]| {
            if let Some(listener) = progress {
                listener(Event::Progress { program: program.to_owned(), line: line.into() });
            }
        };
        let drain = scope.spawn(move || match (stdout, sink) {
            (Some(mut pipe), Some(sink)) => io::copy(&mut pipe, sink).map(|_| BString::default()),
            (Some(pipe), None) => collect(pipe, tell),
            (None, _) => Ok(BString::default()),
        });
        let complaints = scope.spawn(move || match stderr {
            Some(pipe) => collect(pipe, tell),
            None => Ok(BString::default()),
        });
        let (ended, end) = channel::<()>();
        let limit = command.time_limit();
        let watch = scope.spawn(move || {
            let Some(limit) = limit else { return false };
            if end.recv_timeout(limit) != Err(RecvTimeoutError::Timeout) {
                return false;
            }
            // the child is not yet reaped, so its number is still its own
            let _ = killpg(group, Signal::SIGKILL);
            true
        });
        // wait without reaping: as long as the watch may kill, the number must not go to somebody else
        while waitid(Id::Pid(group), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)
            == Err(nix::errno::Errno::EINTR)
        {}
        drop(ended);
        let killed = watch.join().unwrap_or(false);
        let status = child.wait().map_err(moved)?;
        let stdout = drain.join().unwrap_or_else(|_| Err(io::Error::other("the reading thread ended")));
        let stderr = complaints.join().unwrap_or_else(|_| Err(io::Error::other("the reading thread ended")));
        let fed = feeder.join().unwrap_or_else(|_| Err(io::Error::other("the writing thread ended")));
        if killed {
            let limit = limit.unwrap_or_default();
            return Err(RunError::Timeout { command: command.to_string(), limit });
        }
        let output =
            Output { exit: exit(status), stdout: stdout.map_err(moved)?, stderr: stderr.map_err(moved)? };
        // what a failed program did not take is its own fault
        if output.succeeded() {
            fed.map_err(moved)?;
        }
        Ok(output)
    })
}

/// Copies the input to the child; one that has seen enough closes the pipe.
fn feed(input: &mut (dyn Read + Send), pipe: &mut impl Write) -> io::Result<()> {
    match io::copy(input, pipe) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map(drop),
    }
}

/// Reads to the end, handing on each line as soon as it is complete.
fn collect(mut pipe: impl Read, mut line: impl FnMut(&[u8])) -> io::Result<BString> {
    let mut all = Vec::new();
    let mut told = 0;
    let mut buffer = [0; 8192];
    loop {
        let count = match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        all.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let fresh = all.get(told..).unwrap_or_default();
        if let Some(end) = fresh.rfind_byteset(b"\n\r\x08") {
            let complete = fresh.get(..=end).unwrap_or_default();
            lines(complete).for_each(|found| line(found));
            told += complete.len();
        }
    }
    lines(all.get(told..).unwrap_or_default()).for_each(|found| line(found));
    Ok(all.into())
}

fn exit(status: ExitStatus) -> Exit {
    match (status.code(), status.signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Code(-1),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::*;

    fn quiet() -> Listener {
        Arc::new(|_| {})
    }

    #[test]
    fn fixes_the_locale_and_tells_the_end() {
        let output = run(&Command::query("env"), Streams::none(), &quiet()).unwrap();
        assert!(output.lines().any(|line| line == "LC_ALL=C"));
        let output = run(&Command::query("false"), Streams::none(), &quiet()).unwrap();
        assert_eq!(output.exit, Exit::Code(1));
        let missing = run(&Command::query("/nonexistent/tool"), Streams::none(), &quiet());
        assert!(matches!(missing, Err(RunError::Start { .. })));
        let refused = run(&Command::query("ls").operand("-l"), Streams::none(), &quiet());
        assert!(matches!(refused, Err(RunError::Refused { .. })));
    }

    #[test]
    fn kills_what_takes_too_long() {
        let begin = Instant::now();
        let command = Command::query("sleep").arg("30").timeout(Duration::from_millis(50));
        assert!(matches!(run(&command, Streams::none(), &quiet()), Err(RunError::Timeout { .. })));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn moves_data_through() {
        let data = vec![7u8; 3_000_000];
        let mut sink = Vec::new();
        let mut source = data.as_slice();
        let streams = Streams { input: Some(&mut source), output: Some(&mut sink) };
        let output = run(&Command::query("cat"), streams, &quiet()).unwrap();
        assert!(output.succeeded() && output.stdout.is_empty());
        assert_eq!(sink, data);
        // a program that does not read its input is no failure
        let mut source = data.as_slice();
        let streams = Streams { input: Some(&mut source), output: None };
        assert!(run(&Command::query("true"), streams, &quiet()).unwrap().succeeded());
    }

    #[test]
    fn hands_on_progress() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener: Listener = {
            let seen = Arc::clone(&seen);
            Arc::new(move |event| seen.lock().unwrap().push(event))
        };
        let command =
            Command::query("dd").args(["if=/dev/zero", "of=/dev/null", "bs=1k", "count=1"]).progress();
        run(&command, Streams::none(), &listener).unwrap();
        let seen = seen.lock().unwrap();
        assert!(
            seen.iter()
                .any(|event| matches!(event, Event::Progress { line, .. } if line.contains_str("copied")))
        );
    }

    #[test]
    fn a_tight_mask_closes_new_files_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x");
        let path = file.to_str().unwrap();
        run(&Command::change("touch").operand(path).umask(0o037), Streams::none(), &quiet()).unwrap();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o037, 0);
    }
}
