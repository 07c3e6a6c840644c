// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which process a pid file means, and whether it is the one that it was written for.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::VmId;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use super::{RunDir, Signal};

/// A process that runs, held so that its number cannot come to mean another one.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    handle: OwnedFd,
    arguments: Vec<BString>,
}

/// What the kernel knows of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProcessFacts {
    /// Its number.
    pub pid: i32,
    /// How long it has run.
    pub uptime: Duration,
    /// Processor time that it has used.
    pub cpu_time: Duration,
    /// Memory that it occupies, in bytes.
    pub memory: u64,
}

impl Process {
    /// The QEMU of a VM: the process of the pid file, if its program is a QEMU and its argument `-pidfile` is this very
    /// file (spec: vm-lifecycle, "Paths").
    #[must_use]
    pub fn qemu(run_dir: &RunDir, vmid: VmId) -> Option<Self> {
        Self::of_file(&run_dir.pid(vmid)).filter(|process| process.vmid(run_dir) == Some(vmid))
    }

    /// The VM that it is the QEMU of, if it is one and has its files in this run directory.
    pub(super) fn vmid(&self, run_dir: &RunDir) -> Option<VmId> {
        let file = self.argument_after("-pidfile").filter(|_| self.is_qemu())?;
        // of the two names of the reference's directory the command line has this one
        let directory = if run_dir.is_reference() { Path::new(RunDir::REFERENCE) } else { run_dir.path() };
        let name = file.strip_prefix(bytes(directory))?.strip_prefix(b"/")?;
        VmId::from_bytes(name.strip_suffix(b".pid")?).ok()
    }

    /// The process of a pid file, if it is `program` and has the file among its arguments.
    pub(super) fn auxiliary(file: &Path, program: &str) -> Option<Self> {
        let process = Self::of_file(file)?;
        let named = process.arguments.iter().any(|argument| argument.ends_with(bytes(file)));
        (named && process.base_name() == program).then_some(process)
    }

    /// The process whose number a file holds.
    fn of_file(file: &Path) -> Option<Self> {
        Self::of_number(fs::read_to_string(file).ok()?.trim().parse().ok()?)
    }

    /// The process with a number.
    pub(super) fn of_number(pid: i32) -> Option<Self> {
        // a negative number would mean a group
        let pid = Some(pid).filter(|pid| *pid > 0).and_then(Pid::from_raw)?;
        // first the handle, then the look: what is seen is what the handle holds
        let handle = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let arguments: Vec<BString> =
            line.strip_suffix(b"\0").unwrap_or(&line).split(|byte| *byte == 0).map(BString::from).collect();
        // a zombie has no arguments
        (!line.is_empty()).then_some(Process { pid, handle, arguments })
    }

    /// Its number.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Its arguments, the program first.
    #[must_use]
    pub fn arguments(&self) -> &[BString] {
        &self.arguments
    }

    fn base_name(&self) -> &BStr {
        let program = self.arguments.first().map_or(BStr::new(""), |program| program.as_bstr());
        program.rsplit(|byte| *byte == b'/').next().unwrap_or_default().as_bstr()
    }

    fn is_qemu(&self) -> bool {
        self.arguments.first().is_some_and(|program| program.ends_with(b"kvm"))
            || self.base_name().starts_with(b"qemu-")
    }

    fn argument_after(&self, option: &str) -> Option<&[u8]> {
        let at = self.arguments.iter().position(|argument| argument == option)?;
        self.arguments.get(at + 1).map(|argument| argument.as_slice())
    }

    /// Sends it a signal; one that has ended is no error.
    ///
    /// # Errors
    /// If the caller may not.
    pub fn kill(&self, signal: Signal) -> io::Result<()> {
        let signal = match signal {
            Signal::Terminate => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        };
        match pidfd_send_signal(&self.handle, signal) {
            Err(Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Waits until it has ended; returns whether it has.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let end = std::time::Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let limit = Timespec::try_from(left).ok();
            match poll(&mut [PollFd::new(&self.handle, PollFlags::IN)], limit.as_ref()) {
                Ok(ready) => return ready > 0,
                Err(Errno::INTR) => {}
                Err(_) => return false,
            }
        }
    }

    /// Ends it: `SIGTERM`, and after `patience` `SIGKILL`.
    ///
    /// # Errors
    /// If the caller may not, or if it does not even die then.
    pub fn end(&self, patience: Duration) -> io::Result<()> {
        self.kill(Signal::Terminate)?;
        if self.wait(patience) {
            return Ok(());
        }
        self.kill(Signal::Kill)?;
        if self.wait(Duration::from_secs(5)) {
            return Ok(());
        }
        Err(io::Error::other(format!("process {} does not end", self.pid())))
    }

    /// What the kernel knows of it; `None` if it has ended.
    #[must_use]
    pub fn facts(&self) -> Option<ProcessFacts> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        let uptime = fs::read_to_string("/proc/uptime").ok()?;
        facts(self.pid(), &stat, &uptime)
    }
}

/// Reads `/proc/PID/stat`, with the system's `/proc/uptime`.
fn facts(pid: i32, stat: &str, uptime: &str) -> Option<ProcessFacts> {
    // the name is in brackets and may hold some itself
    let (_, rest) = stat.rsplit_once(") ")?;
    let number = |field: usize| rest.split(' ').nth(field - 3)?.trim().parse::<u64>().ok();
    let ticks = |field| {
        let second = rustix::param::clock_ticks_per_second().max(1);
        Some(Duration::from_millis(number(field)?.saturating_mul(1000) / second))
    };
    let system: f64 = uptime.split(' ').next()?.parse().ok()?;
    Some(ProcessFacts {
        pid,
        uptime: Duration::try_from_secs_f64(system).ok()?.saturating_sub(ticks(22)?),
        cpu_time: ticks(14)? + ticks(15)?,
        memory: number(24)?.saturating_mul(rustix::param::page_size() as u64),
    })
}

fn bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A process, with its number in a file.
    fn sleeper(file: &Path) -> Child {
        let child = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
        fs::write(file, format!("{}\n", child.id())).unwrap();
        // for a moment a new program has no arguments
        while Process::of_file(file).is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        child
    }

    #[test]
    fn a_reused_number_is_nobodys() {
        let directory = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(directory.path());
        assert!(Process::qemu(&run_dir, VmId::MIN).is_none(), "no file");
        let mut child = sleeper(&run_dir.pid(VmId::MIN));
        assert!(Process::qemu(&run_dir, VmId::MIN).is_none(), "sleep is no QEMU");
        child.kill().unwrap();
        // not yet waited for: a zombie
        std::thread::sleep(Duration::from_millis(50));
        assert!(Process::of_file(&run_dir.pid(VmId::MIN)).is_none(), "a zombie runs no machine");
        child.wait().unwrap();
        for text in ["", "0", "-1", "x", "99999999999999"] {
            fs::write(run_dir.pid(VmId::MIN), text).unwrap();
            assert!(Process::of_file(&run_dir.pid(VmId::MIN)).is_none(), "{text:?}");
        }
    }

    #[test]
    fn a_process_is_ended_and_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sleep.pid");
        let mut child = sleeper(&file);
        let process = Process::of_file(&file).unwrap();
        assert!(!process.wait(Duration::from_millis(10)));
        let facts = process.facts().unwrap();
        assert!(facts.uptime < Duration::from_secs(600) && facts.memory > 0, "{facts:?}");
        process.end(Duration::from_secs(5)).unwrap();
        child.wait().unwrap();
        process.kill(Signal::Kill).unwrap();
    }

    #[test]
    fn names_with_brackets() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 1 0 1000 0 3 0 0 0";
        let facts = facts(7, stat, "60.00 0.00\n").unwrap();
        assert_eq!(facts.cpu_time, Duration::from_secs(3));
        assert_eq!(facts.uptime, Duration::from_secs(50));
        assert_eq!(facts.memory, 3 * rustix::param::page_size() as u64);
    }
}
