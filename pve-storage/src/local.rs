// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine that this program runs on.

mod change;
mod lock;
mod process;
mod raw_image;

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, TcpStream, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bstr::{BStr, BString, ByteSlice};
use nix::sys::statfs::statfs;
use nix::sys::statvfs::statvfs;
use pve_volid::CivilTime;
use serde_json::Value;

use crate::ceph::CephConnection;
use crate::command::{Command, Output, RunError, Runner, Streams};
use crate::host::{Change, Event, FileKind, Held, Host, LockError, Metadata, Mount, RemoteError, Space};
use crate::storage::Storage;

/// How long a file system may take to tell of itself.
const FILE_SYSTEM_TIME: Duration = Duration::from_secs(2);

/// Where events go.
type Listener = Arc<dyn Fn(Event) + Send + Sync>;

/// This machine: programs are run, files are changed, locks are those that Proxmox VE takes.
///
/// Without `qemu-img`, raw images are made, measured and grown all the same, as they are nothing but files; a warning says so.
///
/// ```no_run
/// use pve_storage::{LocalHost, Session, Storage, Storages};
///
/// let storages: Storages =
///     [Storage::new("local".parse()?, "dir").with("path", "/var/lib/vz")].into_iter().collect();
/// let host = LocalHost::new(|event| eprintln!("{event:?}"));
/// let session = Session::new(&storages, &host, "pve1");
/// println!("{:?}", session.status("local")?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct LocalHost {
    listener: Listener,
    local_locks: PathBuf,
    cluster_locks: PathBuf,
}

impl LocalHost {
    /// This machine; `listener` gets warnings, progress and the like, from any thread.
    pub fn new(listener: impl Fn(Event) + Send + Sync + 'static) -> Self {
        LocalHost {
            listener: Arc::new(listener),
            local_locks: "/var/lock/pve-manager".into(),
            cluster_locks: "/etc/pve/priv/lock".into(),
        }
    }

    /// The same with locks elsewhere: away from where Proxmox VE looks for them, they keep only those out who agree.
    #[must_use]
    pub fn with_locks_in(mut self, directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        self.local_locks.clone_from(&directory);
        self.cluster_locks = directory;
        self
    }

    fn tell(&self, event: Event) {
        (self.listener)(event);
    }
}

impl std::fmt::Debug for LocalHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalHost").field("local_locks", &self.local_locks).finish_non_exhaustive()
    }
}

/// A path of bytes as one of the operating system.
fn os(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}

fn bytes(path: PathBuf) -> BString {
    path.into_os_string().into_vec().into()
}

/// `Ok(None)` for what is not there.
fn present<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

fn metadata(meta: &std::fs::Metadata) -> Metadata {
    let kind = meta.file_type();
    let kind = if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Directory
    } else if kind.is_symlink() {
        FileKind::Link
    } else if kind.is_block_device() {
        FileKind::Block
    } else if kind.is_char_device() {
        FileKind::Character
    } else {
        FileKind::Other
    };
    Metadata { kind, size: meta.len(), changed: meta.ctime(), inode: meta.ino() }
}

/// Asks on a thread of its own, and gives up after a while: a dead network file system answers nobody.
fn in_time<T: Send + 'static>(question: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // nobody listens any more if the answer comes too late
        let _ = sender.send(question());
    });
    receiver.recv_timeout(FILE_SYSTEM_TIME).ok()
}

impl Runner for LocalHost {
    fn run(&self, command: &Command, streams: Streams<'_>) -> Result<Output, RunError> {
        match process::run(command, streams, &self.listener) {
            Err(RunError::Start { program, source }) if source.kind() == io::ErrorKind::NotFound => {
                let output = raw_image::stand_in(command).ok_or(RunError::Start { program, source })?;
                if let Some(image) = raw_image::image(command).filter(|_| output.succeeded()) {
                    let text = "qemu-img is not installed; made or grew the raw image without it:";
                    self.tell(Event::Warning(format!("{text} {image}")));
                }
                Ok(output)
            }
            other => other,
        }
    }
}

impl Host for LocalHost {
    fn metadata(&self, path: &BStr) -> Option<Metadata> {
        std::fs::metadata(os(path)).ok().as_ref().map(metadata)
    }

    fn link_metadata(&self, path: &BStr) -> Option<Metadata> {
        std::fs::symlink_metadata(os(path)).ok().as_ref().map(metadata)
    }

    fn read(&self, path: &BStr) -> io::Result<Option<BString>> {
        Ok(present(std::fs::read(os(path)))?.map(BString::from))
    }

    fn list(&self, path: &BStr) -> io::Result<Option<Vec<BString>>> {
        let Some(entries) = present(std::fs::read_dir(os(path)))? else { return Ok(None) };
        let names: io::Result<Vec<BString>> =
            entries.map(|entry| Ok(BString::from(entry?.file_name().into_vec()))).collect();
        let mut names = names?;
        names.sort_unstable();
        Ok(Some(names))
    }

    fn real_path(&self, path: &BStr) -> Option<BString> {
        std::fs::canonicalize(os(path)).ok().map(bytes)
    }

    fn link_target(&self, path: &BStr) -> Option<BString> {
        std::fs::read_link(os(path)).ok().map(bytes)
    }

    fn mounts(&self) -> io::Result<Vec<Mount>> {
        Ok(std::fs::read("/proc/mounts")?.lines().filter_map(mount).collect())
    }

    fn space(&self, path: &BStr) -> Option<Space> {
        let path = os(path).to_owned();
        let stat = in_time(move || statvfs(&path))?.ok()?;
        let unit = stat.fragment_size();
        let bytes = |blocks: u64| blocks.saturating_mul(unit);
        Some(Space {
            total: bytes(stat.blocks()),
            available: bytes(stat.blocks_available()),
            used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        })
    }

    fn file_system_magic(&self, path: &BStr) -> Option<u64> {
        let path = os(path).to_owned();
        let magic = in_time(move || statfs(&path))?.ok()?.filesystem_type().0;
        u64::try_from(magic).ok()
    }

    fn is_directory_in_time(&self, path: &BStr) -> bool {
        let path = os(path).to_owned();
        in_time(move || path.is_dir()).unwrap_or(false)
    }

    fn is_executable(&self, path: &BStr) -> bool {
        nix::unistd::access(os(path), nix::unistd::AccessFlags::X_OK).is_ok()
    }

    fn kernel(&self) -> (u32, u32) {
        let release = nix::sys::utsname::uname().ok().map(|name| name.release().as_bytes().to_vec());
        let release = release.unwrap_or_default();
        let mut numbers = release.split(|byte| !byte.is_ascii_digit()).map(|digits| {
            digits
                .iter()
                .fold(0u32, |value, digit| value.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
        });
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    fn reachable(&self, host: &str, port: u16, limit: Duration) -> bool {
        let Ok(addresses) = (host, port).to_socket_addrs() else { return false };
        addresses.into_iter().any(|address| TcpStream::connect_timeout(&address, limit).is_ok())
    }

    fn resolve(&self, name: &str) -> Option<IpAddr> {
        (name, 0).to_socket_addrs().ok()?.next().map(|address| address.ip())
    }

    fn ask_monitor(&self, connection: &CephConnection, command: &str) -> Result<Value, RemoteError> {
        let mut question = Command::query("ceph").args(["--format", "json", "--connect-timeout", "5"]);
        if let Some(conf) = &connection.conf {
            question = question.arg("-c").operand(conf);
        }
        if !connection.monitors.is_empty() {
            question = question.arg("-m").operand(bstr::join(",", &connection.monitors));
        }
        let user = crate::plugin::concat([b"client.", &connection.user]);
        question = question.arg("-n").value(user);
        if let Some(keyring) = &connection.keyring {
            question = question.arg("--keyring").operand(keyring);
        }
        answer(self, &question.arg(command).timeout(Duration::from_secs(10)))
    }

    fn backup_snapshots(&self, storage: &Storage, _id: Option<&BStr>) -> Result<Value, RemoteError> {
        let file = format!("/etc/pve/priv/storage/{}.pw", storage.id());
        let password = std::fs::read(file).ok();
        let question = crate::plugin::pbs::snapshot_list(storage, password.as_deref());
        answer(self, &question.map_err(|error| RemoteError(error.to_string()))?)
    }

    fn local_epoch(&self, time: CivilTime) -> Option<i64> {
        let part = |number: u8| i8::try_from(number).ok();
        let date = jiff::civil::DateTime::new(
            i16::try_from(time.year()).ok()?,
            part(time.month())?,
            part(time.day())?,
            part(time.hour())?,
            part(time.minute())?,
            part(time.second())?,
            0,
        );
        Some(date.ok()?.to_zoned_datetime(jiff::tz::TimeZone::system()).ok()?.timestamp().as_second())
    }

    fn now(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn process_id(&self) -> u32 {
        std::process::id()
    }

    fn change(&self, change: &Change) -> io::Result<()> {
        change::carry_out(change)
    }

    fn lock_storage(&self, storage: &str, shared: bool) -> Result<Box<dyn Held + '_>, LockError> {
        if shared {
            lock::cluster(&self.cluster_locks.join(format!("storage-{storage}")))
        } else {
            lock::local(&self.local_locks, &format!("pve-storage-{storage}"))
        }
    }

    fn report(&self, event: Event) {
        self.tell(event);
    }
}

/// Runs a question and reads its JSON.
fn answer(host: &LocalHost, question: &Command) -> Result<Value, RemoteError> {
    let failed = |reason: String| RemoteError(format!("{question}: {reason}"));
    let output = host.run(question, Streams::none()).map_err(|error| RemoteError(error.to_string()))?;
    if !output.succeeded() {
        return Err(failed(output.complaint()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))
}

/// A line of /proc/mounts.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|byte| *byte == b' ').map(unescape);
    Some(Mount { source: words.next()?, point: words.next()?, kind: words.next()? })
}

/// `\040` and the like as the bytes that they stand for.
fn unescape(word: &[u8]) -> BString {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|digits| *first == b'\\' && digits.iter().all(|d| (b'0'..=b'7').contains(d)));
        let value =
            octal.map(|digits| digits.iter().fold(0u32, |value, digit| value * 8 + u32::from(digit - b'0')));
        match value.and_then(|value| u8::try_from(value).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_may_contain_spaces() {
        let found = mount(br"//srv/a\040b /mnt/my\040share cifs rw,vers=3.0 0 0").unwrap();
        assert_eq!(
            (found.source, found.point, found.kind),
            ("//srv/a b".into(), "/mnt/my share".into(), "cifs".into())
        );
        assert_eq!(unescape(br"a\9\04"), r"a\9\04");
    }

    #[test]
    fn knows_this_machine() {
        let host = LocalHost::new(|_| {});
        assert!(host.kernel() >= (2, 6));
        assert!(host.mounts().unwrap().iter().any(|mount| mount.point == "/proc"));
        assert!(host.space(BStr::new("/")).unwrap().total > 0);
        assert_eq!(host.metadata(BStr::new("/dev/null")).unwrap().kind, FileKind::Character);
        assert_eq!(host.read(BStr::new("/nonexistent/x")).unwrap(), None);
        assert_eq!(host.list(BStr::new("/nonexistent")).unwrap(), None);
        assert!(host.is_executable(BStr::new("/bin/sh")));
    }
}
