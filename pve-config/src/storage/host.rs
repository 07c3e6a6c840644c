// SPDX-License-Identifier: MIT OR Apache-2.0
//! The node on which storage.cfg is changed: its files and commands, real or rehearsed.

use std::collections::BTreeMap;

use bstr::{BString, ByteSlice};

use super::entry::Storage;

/// What a command answered.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Answer {
    /// What it printed.
    pub stdout: BString,
    /// Its exit code; `None` when it was killed, could not be started, or took too long.
    pub code: Option<i32>,
}

impl Answer {
    /// The answer of a command that ended.
    #[must_use]
    pub fn new(stdout: impl Into<BString>, code: i32) -> Self {
        Answer { stdout: stdout.into(), code: Some(code) }
    }

    /// Whether it succeeded.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }
}

/// What a change of storage.cfg needs of the node that it is made on. [`Rehearsal`] does without a node.
///
/// Side files are given by their absolute paths below `/etc/pve/priv`; they are made with exactly the given mode, or
/// with 0666 minus the umask.
pub trait Host {
    /// The content of a file; `None` if there is none.
    fn read(&mut self, path: &str) -> Option<BString>;

    /// Writes a file, and makes the directory that it is in.
    ///
    /// # Errors
    /// Why it cannot be written.
    fn write(&mut self, path: &str, content: &[u8], mode: Option<u32>) -> Result<(), String>;

    /// Removes a file. It is no error if there is none.
    ///
    /// # Errors
    /// Why it cannot be removed.
    fn remove(&mut self, path: &str) -> Result<(), String>;

    /// Gives a file another name, replacing what has that name.
    ///
    /// # Errors
    /// Why it cannot be renamed.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), String>;

    /// Runs a command, given as program and arguments, for at most so many seconds.
    fn run(&mut self, command: &[String], timeout: Option<u32>) -> Answer;

    /// Makes a storage ready for use.
    ///
    /// # Errors
    /// Why that is not possible.
    fn activate(&mut self, storage: &Storage<'_>) -> Result<(), String> {
        let _ = storage;
        Ok(())
    }

    /// The block device of a volume.
    ///
    /// # Errors
    /// Why there is none.
    fn volume_device(&mut self, storage: &Storage<'_>, volume: &[u8]) -> Result<String, String>;

    /// Overwrites the first 512 bytes of a block device with the character `0`, so that no old label remains.
    ///
    /// # Errors
    /// Why that is not possible.
    fn overwrite_label(&mut self, device: &str) -> Result<(), String>;

    /// Whether a listing of the storage shows a disk image in format qcow2.
    ///
    /// # Errors
    /// Why the storage cannot be listed.
    fn has_qcow2_image(&mut self, storage: &Storage<'_>) -> Result<bool, String>;
}

/// A [`Host`] that exists on paper only: files are given beforehand, commands are answered by a function, and what
/// would change is written down.
///
/// ```
/// use pve_config::section::{Section, Value};
/// use pve_config::storage::{Rehearsal, create};
///
/// let mut values = Section::new(bstr::BStr::new("cifs"));
/// for (key, value) in [("server", "10.0.0.1"), ("share", "vm"), ("username", "pve"), ("password", "secret")] {
///     values.set(bstr::BStr::new(key), Value::text(value.as_bytes()));
/// }
/// let mut host = Rehearsal::default();
/// let change = create(b"", b"smb", values, None, &mut host)?;
/// assert!(change.text.ends_with(b"\n\ncifs: smb\n\tpath /mnt/pve/smb\n\tserver 10.0.0.1\n\tshare vm\n\tusername pve\n\n"));
/// assert_eq!(host.changed["/etc/pve/priv/storage/smb.pw"].as_ref().unwrap().content, "password=secret\n");
/// # Ok::<(), pve_config::storage::ChangeError>(())
/// ```
#[derive(Default)]
pub struct Rehearsal<'r> {
    /// The files that there are.
    pub files: BTreeMap<String, BString>,
    /// Answers commands; without it, every command fails.
    #[expect(clippy::type_complexity)]
    pub answer: Option<Box<dyn FnMut(&[String]) -> Answer + 'r>>,
    /// Files that were written, or removed (`None`). Removing what is not there changes nothing.
    pub changed: BTreeMap<String, Option<WrittenFile>>,
    /// The commands that were run, in order.
    pub commands: Vec<Vec<String>>,
}

/// A file that a [`Rehearsal`] wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WrittenFile {
    /// Its content.
    pub content: BString,
    /// Its mode; `None`: 0666 minus the umask.
    pub mode: Option<u32>,
}

impl Host for Rehearsal<'_> {
    fn read(&mut self, path: &str) -> Option<BString> {
        self.files.get(path).cloned()
    }

    fn write(&mut self, path: &str, content: &[u8], mode: Option<u32>) -> Result<(), String> {
        self.files.insert(path.to_owned(), content.into());
        self.changed.insert(path.to_owned(), Some(WrittenFile { content: content.into(), mode }));
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), String> {
        if self.files.remove(path).is_some() {
            self.changed.insert(path.to_owned(), None);
        }
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<(), String> {
        let content = self.files.remove(from).ok_or_else(|| format!("no file {from}"))?;
        self.changed.insert(from.to_owned(), None);
        self.write(to, &content, None)
    }

    fn run(&mut self, command: &[String], _timeout: Option<u32>) -> Answer {
        self.commands.push(command.to_vec());
        self.answer.as_mut().map(|answer| answer(command)).unwrap_or_default()
    }

    fn volume_device(&mut self, storage: &Storage<'_>, volume: &[u8]) -> Result<String, String> {
        let (id, volume) = (storage.id(), volume.as_bstr());
        Err(format!("the device of volume {id}:{volume} is not known in a rehearsal"))
    }

    fn overwrite_label(&mut self, _device: &str) -> Result<(), String> {
        Ok(())
    }

    fn has_qcow2_image(&mut self, _storage: &Storage<'_>) -> Result<bool, String> {
        Ok(false)
    }
}
