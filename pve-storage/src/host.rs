// SPDX-License-Identifier: MIT OR Apache-2.0
//! The machine as storage operations see it: commands, files, mounts, devices, locks and reports, behind one trait.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use bstr::{BStr, BString};
use pve_volid::CivilTime;

use crate::ceph::CephConnection;
use crate::command::{Runner, quote};
use crate::storage::Storage;

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A block device.
    Block,
    /// A character device.
    Character,
    /// A symbolic link (only where links are not followed).
    Link,
    /// A socket, a pipe.
    Other,
}

/// What is known of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// When its inode last changed, in seconds since 1970.
    pub changed: i64,
    /// Its inode number (256 is the root of a btrfs subvolume).
    pub inode: u64,
}

/// The space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Size of the file system.
    pub total: u64,
    /// What an unprivileged user may still write.
    pub available: u64,
    /// What is in use.
    pub used: u64,
}

/// An entry of the mount table, octal escapes decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: BString,
    /// Where.
    pub point: BString,
    /// Type of the file system.
    pub kind: BString,
}

/// A change to the file system. Printed, it is the command line that would do the same; [`Change::Write`] of bytes that
/// are no text is a comment with their number instead.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// Makes a directory and, if missing, those above it.
    MakeDirectories {
        /// The directory.
        path: BString,
        /// Mode of each new directory, before nothing else is taken away (the umask is not applied).
        mode: u32,
    },
    /// Makes one directory; one that exists is an error.
    MakeDirectory {
        /// The directory.
        path: BString,
        /// Its mode.
        mode: u32,
    },
    /// Removes an empty directory.
    RemoveDirectory {
        /// The directory.
        path: BString,
    },
    /// Removes a directory and everything in it.
    RemoveTree {
        /// The directory.
        path: BString,
    },
    /// Removes a file or link.
    Unlink {
        /// The file.
        path: BString,
    },
    /// Renames; a target that exists is replaced.
    Rename {
        /// The old path.
        from: BString,
        /// The new path.
        to: BString,
    },
    /// Renames; a target that exists is an error.
    RenameNoReplace {
        /// The old path.
        from: BString,
        /// The new path.
        to: BString,
    },
    /// Swaps two paths in one step.
    Exchange {
        /// One path.
        one: BString,
        /// The other.
        other: BString,
    },
    /// Sets the permission bits.
    SetMode {
        /// The file.
        path: BString,
        /// The mode.
        mode: u32,
    },
    /// Makes a new file of a given size without data; one that exists is an error.
    CreateSparse {
        /// The file.
        path: BString,
        /// Its size in bytes.
        size: u64,
        /// Switch copy-on-write off (btrfs).
        nocow: bool,
    },
    /// Writes a whole file, replacing it in one step.
    Write {
        /// The file.
        path: BString,
        /// The content.
        content: BString,
        /// Its mode.
        mode: u32,
    },
    /// Overwrites the first bytes of a device with the character `0`.
    BlankStart {
        /// The device.
        path: BString,
        /// How many bytes.
        length: u64,
    },
    /// Makes a file if missing and sets its times to now.
    Touch {
        /// The file.
        path: BString,
    },
}

impl Change {
    /// The path that is changed (the new one of a rename).
    #[must_use]
    pub fn path(&self) -> &BStr {
        use Change as C;
        let (C::MakeDirectories { path, .. }
        | C::MakeDirectory { path, .. }
        | C::RemoveDirectory { path }
        | C::RemoveTree { path }
        | C::Unlink { path }
        | C::Rename { to: path, .. }
        | C::RenameNoReplace { to: path, .. }
        | C::Exchange { one: path, .. }
        | C::SetMode { path, .. }
        | C::CreateSparse { path, .. }
        | C::Write { path, .. }
        | C::BlankStart { path, .. }
        | C::Touch { path }) = self;
        BStr::new(path)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::MakeDirectories { path, mode } => write!(f, "mkdir -p -m {mode:04o} {}", quote(path)),
            Change::MakeDirectory { path, mode } => write!(f, "mkdir -m {mode:04o} {}", quote(path)),
            Change::RemoveDirectory { path } => write!(f, "rmdir {}", quote(path)),
            Change::RemoveTree { path } => write!(f, "rm -r {}", quote(path)),
            Change::Unlink { path } => write!(f, "rm {}", quote(path)),
            Change::Rename { from, to } => write!(f, "mv -T {} {}", quote(from), quote(to)),
            Change::RenameNoReplace { from, to } => write!(f, "mv -nT {} {}", quote(from), quote(to)),
            Change::Exchange { one, other } => write!(f, "mv --exchange -T {} {}", quote(one), quote(other)),
            Change::SetMode { path, mode } => write!(f, "chmod {mode:04o} {}", quote(path)),
            Change::CreateSparse { path, size, nocow } => {
                let path = quote(path);
                if *nocow {
                    write!(f, "touch {path} && chattr +C {path} && ")?;
                }
                write!(f, "truncate -s {size} {path}")
            }
            // nobody pastes an image, which no shell could print anyway; zeros tell one from a text
            Change::Write { path, content, mode } if content.contains(&0) => {
                write!(f, "# writes {} generated bytes to {}, mode {mode:04o}", content.len(), quote(path))
            }
            Change::Write { path, content, mode } => {
                let (path, content) = (quote(path), quote(content));
                write!(f, "printf %s {content} > {path} && chmod {mode:04o} {path}")
            }
            Change::BlankStart { path, length } => {
                write!(f, "head -c {length} /dev/zero | tr '\\0' 0 > {}", quote(path))
            }
            Change::Touch { path } => write!(f, "touch {}", quote(path)),
        }
    }
}

/// Something that a person or a log may want to see while an operation runs.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Something went wrong that does not stop the operation.
    Warning(String),
    /// A line of a command that reports progress, without its line end.
    Progress {
        /// The command's program.
        program: BString,
        /// The line.
        line: BString,
    },
    /// A long part of the operation begins that the reference runs as a background task of this type.
    JobBegins(&'static str),
    /// That part has ended, well or not.
    JobEnds(&'static str),
}

/// A lock that is held; dropping it gives it back.
pub trait Held {}

/// A lock could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else held it all the time.
    #[error("cannot get lock {name}: held by somebody else for {waited:?}")]
    Busy {
        /// The lock: a path.
        name: BString,
        /// How long it was tried.
        waited: Duration,
    },
    /// The lock's file or directory cannot be made.
    #[error("cannot get lock {name} (no quorum, or no permission?): {source}")]
    Io {
        /// The lock: a path.
        name: BString,
        /// What the operating system said.
        source: io::Error,
    },
}

/// A TCP or monitor question could not be answered.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct RemoteError(pub String);

/// The machine: everything outside this program that an operation looks at or changes.
///
/// [`LocalHost`](crate::LocalHost) is the real one, [`MemoryHost`](crate::MemoryHost) lives in memory,
/// [`Planning`](crate::Planning) looks at another one and only notes the changes.
///
/// All paths are absolute.
pub trait Host: Runner {
    /// What stands at `path`, links followed; `None` if nothing does.
    fn metadata(&self, path: &BStr) -> Option<Metadata>;

    /// What stands at `path` itself, a link being a link.
    fn link_metadata(&self, path: &BStr) -> Option<Metadata>;

    /// The whole content of a file, `None` if there is no such file.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn read(&self, path: &BStr) -> io::Result<Option<BString>>;

    /// Names of the entries of a directory in ascending byte order, without `.` and `..`; `None` if there is no
    /// such directory.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    fn list(&self, path: &BStr) -> io::Result<Option<Vec<BString>>>;

    /// The path with all links resolved; `None` if it does not exist.
    fn real_path(&self, path: &BStr) -> Option<BString>;

    /// Where a symbolic link leads, as it is written; `None` if it is no link.
    fn link_target(&self, path: &BStr) -> Option<BString>;

    /// The mount table.
    ///
    /// # Errors
    /// If it cannot be read.
    fn mounts(&self) -> io::Result<Vec<Mount>>;

    /// Space of the file system at `path`, asked in a child with a limit of two seconds, as network file systems may
    /// hang; `None` if it cannot be told.
    fn space(&self, path: &BStr) -> Option<Space>;

    /// The magic number of the file system at `path` (`statfs`).
    fn file_system_magic(&self, path: &BStr) -> Option<u64>;

    /// Whether `path` is a directory, asked in a child with a limit of two seconds.
    fn is_directory_in_time(&self, path: &BStr) -> bool {
        self.metadata(path).is_some_and(|meta| meta.kind == FileKind::Directory)
    }

    /// Whether the file may be executed.
    fn is_executable(&self, path: &BStr) -> bool;

    /// Major and minor number of the running kernel.
    fn kernel(&self) -> (u32, u32);

    /// Whether a TCP connection comes about within the limit.
    fn reachable(&self, host: &str, port: u16, limit: Duration) -> bool;

    /// An address of a host name; an address is its own.
    fn resolve(&self, name: &str) -> Option<IpAddr>;

    /// Asks the monitors of a Ceph cluster: `command` is the monitor command's prefix (`df`, `fsid`), the answer
    /// its JSON.
    ///
    /// # Errors
    /// If no monitor answers, or not with JSON.
    fn ask_monitor(
        &self,
        connection: &CephConnection,
        command: &str,
    ) -> Result<serde_json::Value, RemoteError>;

    /// The snapshots in the datastore of a `pbs` storage, as the server's JSON tells them; those of one backup id
    /// (the owner's number), if given.
    ///
    /// # Errors
    /// If the server does not answer.
    fn backup_snapshots(
        &self,
        storage: &Storage,
        id: Option<&BStr>,
    ) -> Result<serde_json::Value, RemoteError>;

    /// The instant of a time by the clock of this machine, in seconds since 1970; `None` if there is no such time.
    fn local_epoch(&self, time: CivilTime) -> Option<i64>;

    /// Seconds since 1970.
    fn now(&self) -> i64;

    /// Waits.
    fn sleep(&self, time: Duration);

    /// Number of this process, for temporary names.
    fn process_id(&self) -> u32;

    /// Carries out a change.
    ///
    /// # Errors
    /// What the operating system says.
    fn change(&self, change: &Change) -> io::Result<()>;

    /// Takes the lock of a storage: the cluster's (`shared`) or this machine's (spec: storage-commands, "Locks").
    ///
    /// # Errors
    /// [`LockError`] if it cannot be had in ten seconds.
    fn lock_storage(&self, storage: &str, shared: bool) -> Result<Box<dyn Held + '_>, LockError>;

    /// Whether changes are only noted: what a change would bring about must not be waited for.
    fn is_rehearsal(&self) -> bool {
        false
    }

    /// Receives what happens.
    fn report(&self, event: Event);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_printed_and_an_image_is_a_comment() {
        let write =
            |content: &str| Change::Write { path: "/a\nb".into(), content: content.into(), mode: 0o600 };
        assert_eq!(write("x y").to_string(), r"printf %s 'x y' > $'/a\nb' && chmod 0600 $'/a\nb'");
        assert_eq!(write("x\0y").to_string(), r"# writes 3 generated bytes to $'/a\nb', mode 0600");
    }
}
