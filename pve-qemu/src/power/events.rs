// SPDX-License-Identifier: MIT OR Apache-2.0
//! Seeing VMs end: a QEMU tells when its guest has shut down, is told to quit, and is cleaned up after (spec:
//! vm-lifecycle, "Event daemon").
//!
//! A QEMU is run so that it does not end with its guest. It connects to a socket, as a QMP server, and reports there.
//! Whoever listens decides whether the machine is not needed any more; a backup that still reads its disks can ask for
//! patience. When the connection ends, the machine has ended.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use pve_volid::VmId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde_json::{Value, json};

use super::pid_file::Process;
use super::{RunDir, Signal};
use crate::qmp::{Lines, QmpError};

/// How long a QEMU that was told to quit may take.
const QUIT_PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer may take to read a command.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How often is looked whether the daemon shall end.
const POLL: Duration = Duration::from_millis(200);
/// States of a machine that may go on.
const ALIVE: [&str; 4] = ["running", "paused", "suspended", "prelaunch"];

/// The daemon that sees VMs end.
///
/// ```no_run
/// use std::sync::atomic::AtomicBool;
/// use pve_qemu::power::{EventDaemon, RunDir};
///
/// let daemon = EventDaemon::bind(RunDir::default())?;
/// daemon.run(&AtomicBool::new(false), &|ended| {
///     // what Power::cleanup is for
///     println!("VM {} has ended, clean: {}", ended.vmid, ended.graceful);
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct EventDaemon {
    run_dir: RunDir,
    listener: UnixListener,
    machines: Mutex<BTreeMap<VmId, Machine>>,
}

/// A VM that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct VmEnded {
    /// The VM.
    pub vmid: VmId,
    /// Its machine was shut down, as opposed to crashed.
    pub graceful: bool,
    /// Its guest did that.
    pub by_guest: bool,
}

/// A machine whose QEMU is connected.
#[derive(Default)]
struct Machine {
    /// To write to; `None` as long as only a backup has told of it.
    stream: Option<UnixStream>,
    graceful: bool,
    by_guest: bool,
    /// Backups that still need it.
    backups: usize,
    /// When it will be killed.
    deadline: Option<Instant>,
}

/// Who is at the other end of a connection.
enum Peer {
    Unknown,
    Qemu(VmId, Process),
    Backup(VmId),
}

impl EventDaemon {
    /// Listens at the socket of a run directory ([`RunDir::events`]), which only its owner may use.
    ///
    /// # Errors
    /// If another daemon listens there, or the socket cannot be made.
    pub fn bind(run_dir: RunDir) -> io::Result<Self> {
        let path = run_dir.events();
        if UnixStream::connect(&path).is_ok() {
            let text = format!("another event daemon listens at {}", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(EventDaemon { run_dir, listener, machines: Mutex::default() })
    }

    /// Serves until `stop` is set and every connection has ended. `on_end` is called, on a thread of its own, for each VM
    /// that has ended.
    ///
    /// # Errors
    /// If connections cannot be accepted.
    pub fn run(&self, stop: &AtomicBool, on_end: &(dyn Fn(VmEnded) + Sync)) -> io::Result<()> {
        thread::scope(|scope| {
            while !stop.load(Ordering::Relaxed) {
                let limit = Timespec::try_from(POLL).ok();
                match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], limit.as_ref()) {
                    // the signal may be what sets `stop`
                    Err(Errno::INTR) => continue,
                    polled => polled?,
                };
                match self.listener.accept() {
                    Ok((stream, _)) => {
                        scope.spawn(move || self.attend(stream, stop, on_end));
                    }
                    Err(error)
                        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        })
    }

    /// Serves one connection.
    fn attend(&self, stream: UnixStream, stop: &AtomicBool, on_end: &(dyn Fn(VmEnded) + Sync)) {
        let Some(pid) = trusted_peer(&stream) else { return };
        if stream.set_nonblocking(false).is_err() {
            return;
        }
        let mut peer = Peer::Unknown;
        let mut lines = Lines::new(stream);
        while !stop.load(Ordering::Relaxed) {
            let deadline = self.deadline(&peer);
            let look = Instant::now() + POLL;
            let end = deadline.map_or(look, |deadline| deadline.min(look));
            match lines.read(end) {
                Ok(Some(line)) => {
                    let message: Value = serde_json::from_slice(&line).unwrap_or_default();
                    self.hear(&message, pid, &mut peer, &mut lines);
                }
                Ok(None) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => {
                    if let Peer::Qemu(_, process) = &peer {
                        // it has had its time; nothing else can be done
                        let _ = process.kill(Signal::Kill);
                    }
                    self.with(&peer, |machine| machine.deadline = None);
                }
                Ok(None) => {}
                Err(_) => return self.part(peer, on_end),
            }
        }
    }

    /// Understands a message.
    fn hear(&self, message: &Value, pid: i32, peer: &mut Peer, lines: &mut Lines) {
        if message["QMP"].is_object() {
            let Some((vmid, process)) = Process::of_number(pid).and_then(|process| {
                let vmid = process.vmid(&self.run_dir)?;
                Some((vmid, process))
            }) else {
                return;
            };
            let stream = lines.stream().try_clone().ok();
            *peer = Peer::Qemu(vmid, process);
            self.with(peer, |machine| {
                let backups = machine.backups;
                *machine = Machine { stream, backups, ..Machine::default() };
            });
            // one that does not read is seen by its end
            let _ = send(lines, "qmp_capabilities");
        } else if let Some(vmid) = message["vzdump"]["vmid"].as_str().and_then(|digits| digits.parse().ok()) {
            if matches!(peer, Peer::Unknown) {
                *peer = Peer::Backup(vmid);
                self.with(peer, |machine| machine.backups += 1);
            }
        } else if message["event"] == "SHUTDOWN" {
            // the first one tells why: there is another when QEMU is told to quit
            self.with(peer, |machine| {
                machine.by_guest |= !machine.graceful && message["data"]["guest"] == true;
                machine.graceful = true;
            });
            let _ = send(lines, "query-status");
        } else if message["return"]["status"].as_str().is_some_and(|status| !ALIVE.contains(&status)) {
            self.end(peer, lines);
        }
    }

    /// Lets a machine end that nobody needs any more.
    fn end(&self, peer: &Peer, lines: &mut Lines) {
        let Peer::Qemu(_, process) = peer else { return };
        let needed = self.with(peer, |machine| {
            if machine.backups > 0 {
                return true;
            }
            machine.deadline.get_or_insert(Instant::now() + QUIT_PATIENCE);
            false
        });
        if needed != Some(true) && send(lines, "quit").is_err() {
            // the deadline sees to it if that does not help either
            let _ = process.kill(Signal::Terminate);
        }
    }

    /// A connection has ended.
    fn part(&self, peer: Peer, on_end: &(dyn Fn(VmEnded) + Sync)) {
        match peer {
            Peer::Unknown => {}
            Peer::Qemu(vmid, process) => {
                let machine = self.machines.lock().unwrap_or_else(PoisonError::into_inner).remove(&vmid);
                let machine = machine.unwrap_or_default();
                if machine.backups > 0 {
                    let kept = Machine { backups: machine.backups, ..Machine::default() };
                    self.machines.lock().unwrap_or_else(PoisonError::into_inner).insert(vmid, kept);
                }
                // the connection goes a moment before the process
                let _ = process.wait(WRITE_PATIENCE);
                on_end(VmEnded { vmid, graceful: machine.graceful, by_guest: machine.by_guest });
            }
            Peer::Backup(_) => {
                let asked = self.with(&peer, |machine| {
                    machine.backups = machine.backups.saturating_sub(1);
                    machine.stream.as_ref().and_then(|stream| stream.try_clone().ok())
                });
                if let Some(stream) = asked.flatten() {
                    // the answer goes to the thread of the machine
                    let _ = send(&mut Lines::new(stream), "query-status");
                }
            }
        }
    }

    fn deadline(&self, peer: &Peer) -> Option<Instant> {
        self.with(peer, |machine| machine.deadline).flatten()
    }

    /// Does something with what is known of the peer's machine.
    fn with<T>(&self, peer: &Peer, body: impl FnOnce(&mut Machine) -> T) -> Option<T> {
        let (Peer::Qemu(vmid, _) | Peer::Backup(vmid)) = peer else { return None };
        let mut machines = self.machines.lock().unwrap_or_else(PoisonError::into_inner);
        Some(body(machines.entry(*vmid).or_default()))
    }
}

/// The process at the other end, if it is of root or of the daemon's own user.
fn trusted_peer(stream: &UnixStream) -> Option<i32> {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok()?;
    let own = rustix::process::geteuid();
    (peer.uid.is_root() || peer.uid == own).then(|| peer.pid.as_raw_nonzero().get())
}

fn send(lines: &mut Lines, command: &str) -> Result<(), QmpError> {
    let text = format!("{}\n", json!({ "execute": command }));
    lines.write(text.as_bytes(), Instant::now() + WRITE_PATIENCE)
}

#[cfg(test)]
mod tests {
    use nix::sys::pthread::{pthread_kill, pthread_self};
    use nix::sys::signal::Signal;

    use super::*;

    #[test]
    fn a_signal_ends_no_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let daemon = EventDaemon::bind(RunDir::new(directory.path())).unwrap();
        let (caught, stop) = (std::sync::Arc::new(AtomicBool::new(false)), AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGUSR1, caught.clone()).unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let served = scope.spawn(|| {
                sender.send(pthread_self()).unwrap();
                daemon.run(&stop, &|_| {})
            });
            let server = receiver.recv().unwrap();
            for _ in 0..5 {
                thread::sleep(POLL / 4);
                pthread_kill(server, Signal::SIGUSR1).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            served.join().unwrap().unwrap();
        });
        assert!(caught.load(Ordering::Relaxed));
    }
}
