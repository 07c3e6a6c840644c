// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of `rbd` (spec: storage-commands, "rbd").

use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{BASE_SNAPSHOT, Digits, Naming, RbdFilter, RbdImage, StorageType, Wanted};
use serde_json::Value;

use super::super::{concat, free_name_among};
use super::{image_spec, pool};
use crate::ceph::CephConnection;
use crate::command::{Command, Effect, Output, Streams};
use crate::error::{Error, Result};
use crate::listing::{Image, Listing};
use crate::operation::{SizeInfo, SnapshotInfo, Transfer};
use crate::session::{Session, failed, strange};
use crate::storage::Storage;
use crate::transfer::{Content, StreamFormat, least_content, read_header, write_header};
use crate::volume::Volume;
use crate::words::words;

/// `rbd` with the connection options of a storage.
pub(super) struct Tool<'s> {
    storage: &'s Storage,
    connection: CephConnection,
}

/// What `rbd info` tells.
pub(super) struct Info {
    pub(super) size: u64,
    pub(super) parent: Option<BString>,
    pub(super) format: Option<u64>,
    pub(super) protected: bool,
    pub(super) features: Vec<String>,
}

impl<'s> Tool<'s> {
    pub(super) fn new(session: &Session<'_>, storage: &'s Storage) -> Result<Self> {
        let facts = super::super::directory::activation::ceph_facts(session, storage)?;
        Ok(Tool { storage, connection: super::connection(session, storage, &facts)? })
    }

    /// The command up to its operation. Namespaces are left out where `rbd` refuses the option.
    pub(super) fn command(&self, effect: Effect, operation: &[&str]) -> Command {
        let program = "/usr/bin/rbd";
        let mut command = match effect {
            Effect::Query => Command::query(program),
            Effect::Change => Command::change(program),
        };
        let option = if operation.first() == Some(&"import") { "--dest-pool" } else { "-p" };
        command = command.arg(option).operand(pool(self.storage));
        if let Some(namespace) = self.storage.get("namespace")
            && operation.first() != Some(&"unmap")
        {
            command = command.arg("--namespace").operand(namespace);
        }
        let connection = &self.connection;
        if let Some(conf) = &connection.conf {
            command = command.arg("-c").operand(conf);
        }
        if !connection.monitors.is_empty() {
            command = command.arg("-m").operand(bstr::join(",", &connection.monitors));
        }
        command = command
            .args(["--auth_supported", connection.auth(), "-n"])
            .value(concat([b"client.", &connection.user]));
        if let Some(keyring) = &connection.keyring {
            command = command.arg("--keyring").operand(keyring);
        }
        command.args(operation)
    }

    pub(super) fn run(&self, session: &Session<'_>, command: &Command) -> Result<Output> {
        let output = session.ask(command)?;
        if output.succeeded() { Ok(output) } else { Err(complain(command, output)) }
    }

    fn json(&self, session: &Session<'_>, command: &Command) -> Result<Value> {
        let output = self.run(session, command)?;
        if output.stdout.trim_ascii().is_empty() {
            return Ok(Value::Array(Vec::new()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| strange(command, format!("not JSON: {e}")))
    }

    /// What `rbd ls -l` tells of all images and their snapshots.
    pub(super) fn listed(&self, session: &Session<'_>) -> Result<Output> {
        self.run(session, &self.command(Effect::Query, &["ls", "-l", "--format", "json"]))
    }

    /// The names of all images.
    fn names(&self, session: &Session<'_>) -> Result<Vec<BString>> {
        let command = self.command(Effect::Query, &["ls"]);
        let output = session.ask(&command)?;
        if !output.succeeded() && !output.stderr.contains_str("doesn't contain rbd images") {
            return Err(complain(&command, output));
        }
        Ok(output.lines().map(ToOwned::to_owned).collect())
    }

    pub(super) fn free_name(&self, session: &Session<'_>, owner: Digits<'_>) -> Result<BString> {
        let names = self.names(session)?;
        free_name_among(self.storage, owner, None, names.iter().map(|name| name.as_bytes()))
    }

    /// Whether an image exists.
    fn exists(&self, session: &Session<'_>, name: &[u8]) -> Result<bool> {
        let command = self.command(Effect::Query, &["ls", "--format", "json"]);
        let names = self.json(session, &command)?;
        let names = names.as_array().ok_or_else(|| strange(&command, "expected a list"))?;
        Ok(names.iter().any(|found| found.as_str().is_some_and(|found| found.as_bytes() == name)))
    }

    pub(super) fn create(&self, session: &Session<'_>, name: &BStr, size_kib: u64) -> Result<()> {
        let size = size_kib.div_ceil(1024).to_string();
        let mut command = self.command(Effect::Change, &["create", "--image-format", "2", "--size", &size]);
        if let Some(data_pool) = self.storage.get("data-pool") {
            command = command.arg("--data-pool").operand(data_pool);
        }
        self.run(session, &command.operand(name)).map(drop)
    }

    /// Ends the protection of all snapshots of an image.
    pub(super) fn unprotect_all(&self, session: &Session<'_>, name: &BStr) -> Result<()> {
        let command = self.command(Effect::Query, &["snap", "ls"]).operand(name).args(["--format", "json"]);
        let snapshots = self.json(session, &command)?;
        for snapshot in snapshots.as_array().map(Vec::as_slice).unwrap_or_default() {
            let protected = snapshot.get("protected").and_then(Value::as_str) == Some("true");
            if let Some(snapshot) = snapshot.get("name").and_then(Value::as_str).filter(|_| protected) {
                self.unprotect(session, name, BStr::new(snapshot))?;
            }
        }
        Ok(())
    }

    fn unprotect(&self, session: &Session<'_>, name: &BStr, snapshot: &BStr) -> Result<()> {
        let command = self
            .command(Effect::Change, &["snap", "unprotect"])
            .operand(name)
            .arg("--snap")
            .operand(snapshot);
        self.run(session, &command).map(drop)
    }

    fn protect(&self, session: &Session<'_>, name: &BStr, snapshot: &BStr) -> Result<()> {
        let command =
            self.command(Effect::Change, &["snap", "protect"]).operand(name).arg("--snap").operand(snapshot);
        self.run(session, &command).map(drop)
    }

    /// Removes an image with its snapshots.
    pub(super) fn remove(&self, session: &Session<'_>, name: &BStr) -> Result<()> {
        self.run(session, &self.command(Effect::Change, &["snap", "purge"]).operand(name))?;
        self.run(session, &self.command(Effect::Change, &["rm"]).operand(name).progress()).map(drop)
    }

    /// The images of the storage (spec: volumes, "zfspool, zfs, rbd, iscsi, iscsidirect").
    pub(super) fn list(
        &self,
        session: &Session<'_>,
        wanted: Wanted<'_>,
        listing: &mut Listing,
    ) -> Result<()> {
        let command = self.command(Effect::Query, &["ls", "-l", "--format", "json"]);
        let value = self.json(session, &command)?;
        let entries = value.as_array().ok_or_else(|| strange(&command, "expected a list"))?;
        let filter = RbdFilter { wanted };
        for entry in entries {
            let text =
                |value: &'_ Value, member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
            let Some(name) = text(entry, "image") else { continue };
            let snapshot = entry.get("snapshot").map(|name| name.as_str().unwrap_or_default());
            let parent = entry
                .get("parent")
                .and_then(|parent| Some((text(parent, "image")?, text(parent, "snapshot")?)));
            let image = RbdImage {
                image: BStr::new(&name),
                snapshot: snapshot.map(BStr::new),
                parent: parent.as_ref().map(|(image, snapshot)| (BStr::new(image), BStr::new(snapshot))),
            };
            let size = entry.get("size").and_then(Value::as_u64);
            match filter.judge(&image) {
                Ok(listed) => {
                    let image = Image::of(self.storage, &listed)?;
                    listing.show(Image { size, name: Some(name.into()), ..image });
                }
                Err(reason) => {
                    let shown =
                        snapshot.map_or_else(|| name.clone(), |snapshot| format!("{name}@{snapshot}"));
                    listing.hide(shown, size, reason);
                }
            }
        }
        Ok(())
    }

    pub(super) fn info(&self, session: &Session<'_>, name: &BStr, snapshot: Option<&BStr>) -> Result<Info> {
        let mut command = self.command(Effect::Query, &["info"]).operand(name).args(["--format", "json"]);
        if let Some(snapshot) = snapshot {
            command = command.arg("--snap").operand(snapshot);
        }
        let value = self.json(session, &command)?;
        let size = value.get("size").and_then(Value::as_u64).unwrap_or(0);
        let features = value.get("features").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Info {
            size,
            parent: parent(&value),
            format: value.get("format").and_then(Value::as_u64),
            protected: match value.get("protected") {
                Some(Value::String(text)) => text == "true",
                Some(Value::Bool(protected)) => *protected,
                _ => false,
            },
            features: features.iter().filter_map(|feature| feature.as_str().map(str::to_owned)).collect(),
        })
    }

    pub(super) fn size_info(&self, session: &Session<'_>, name: &BStr) -> Result<SizeInfo> {
        let info = self.info(session, name, None)?;
        let command = self.command(Effect::Query, &["du"]).operand(name).args(["--format", "json"]);
        let value = self.json(session, &command)?;
        let images = value.get("images").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let own = |entry: &&Value| {
            let named = entry
                .get("name")
                .and_then(Value::as_str)
                .is_some_and(|found| found.as_bytes() == name.as_bytes());
            named && entry.get("snapshot").is_none()
        };
        let used = images.iter().find(own).and_then(|entry| entry.get("used_size")?.as_u64());
        let used = used.ok_or_else(|| strange(&command, format!("no size of '{name}'")))?;
        Ok(SizeInfo { size: info.size, format: "raw".into(), used, parent: info.parent, ctime: None })
    }

    /// Renames an image to its name as a template; returns that.
    pub(super) fn rename_to_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        let info = self.info(session, volume.name, None)?;
        if info.size == 0 {
            return Err(volume.unsupported("become a base volume", "the image does not exist or is empty"));
        }
        if info.format != Some(2) {
            return Err(volume.unsupported("become a base volume", "the image is not of format 2"));
        }
        let expected = volume.base.map(|base| concat([base.name, b"@", BASE_SNAPSHOT.as_bytes()]));
        if expected.is_some() && info.parent != expected {
            return Err(volume.request(format!(
                "its parent should be '{}', but is '{}'",
                expected.unwrap_or_default(),
                info.parent.unwrap_or_default()
            )));
        }
        let naming = Naming::new(StorageType::Rbd);
        let name = naming.template(volume.name).unwrap_or_else(|| volume.name.to_owned());
        let command = self
            .command(Effect::Change, &["rename"])
            .operand(image_spec(self.storage, volume.name, None))
            .operand(image_spec(self.storage, &name, None));
        self.run(session, &command)?;
        Ok(name)
    }

    /// Makes the snapshot that linked clones are made from.
    pub(super) fn make_base_snapshot(&self, session: &Session<'_>, name: &BStr) -> Result<()> {
        let snapshot = BStr::new(BASE_SNAPSHOT);
        self.snapshot(session, "create", name, snapshot)?;
        if !self.info(session, name, Some(snapshot))?.protected {
            self.protect(session, name, snapshot)?;
        }
        Ok(())
    }

    /// `rbd snap create`, `rollback` or `rm`.
    pub(super) fn snapshot(
        &self,
        session: &Session<'_>,
        action: &str,
        name: &BStr,
        snapshot: &BStr,
    ) -> Result<()> {
        let command =
            self.command(Effect::Change, &["snap", action, "--snap"]).operand(snapshot).operand(name);
        self.run(session, &command).map(drop)
    }

    pub(super) fn delete_snapshot(&self, session: &Session<'_>, name: &BStr, snapshot: &BStr) -> Result<()> {
        if self.info(session, name, Some(snapshot))?.protected {
            self.unprotect(session, name, snapshot)?;
        }
        self.snapshot(session, "rm", name, snapshot)
    }

    /// The snapshots of an image.
    pub(super) fn snapshots(&self, session: &Session<'_>, name: &BStr) -> Result<Vec<SnapshotInfo>> {
        let command = self.command(Effect::Query, &["snap", "ls"]).operand(name).args(["--format", "json"]);
        let value = self.json(session, &command)?;
        let snapshots = value.as_array().ok_or_else(|| strange(&command, "expected a list"))?;
        let read = |snapshot: &Value| {
            Some(SnapshotInfo {
                name: snapshot.get("name")?.as_str()?.into(),
                id: snapshot.get("id").map(|id| id.to_string().into()),
                ..SnapshotInfo::default()
            })
        };
        Ok(snapshots.iter().filter_map(read).collect())
    }

    /// Makes a linked clone; returns its name.
    pub(super) fn clone_image(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        if snapshot.is_none() && !volume.is_base {
            return Err(volume.unsupported("be cloned", "it is no base volume"));
        }
        let name = self.free_name(session, owner)?;
        if let Some(snapshot) = snapshot {
            // the whole volume name, as the reference takes it: with a base in it this cannot succeed
            if !self.info(session, volume.volname, Some(snapshot))?.protected {
                self.protect(session, volume.volname, snapshot)?;
            }
        }
        let mut command = self
            .command(Effect::Change, &["clone"])
            .operand(image_spec(self.storage, volume.name, None))
            .arg("--snap")
            .operand(snapshot.unwrap_or(BStr::new(BASE_SNAPSHOT)));
        if let Some(data_pool) = self.storage.get("data-pool") {
            command = command.arg("--data-pool").operand(data_pool);
        }
        self.run(session, &command.operand(image_spec(self.storage, &name, None)))?;
        Ok(name)
    }

    /// Renames an image to a name that is free.
    pub(super) fn rename(&self, session: &Session<'_>, old: &BStr, new: &BString) -> Result<()> {
        if self.exists(session, new)? {
            return Err(Error::Exists(new.clone()));
        }
        let command = self.command(Effect::Change, &["rename"]).operand(old).operand(new);
        self.run(session, &command).map(drop)
    }

    pub(super) fn resize(&self, session: &Session<'_>, name: &BStr, size: u64) -> Result<()> {
        let size = size.div_ceil(1024 * 1024).to_string();
        let command = self.command(Effect::Change, &["resize", "--size", &size]).operand(name);
        self.run(session, &command).map(drop)
    }

    pub(super) fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        write_header(output, self.size_info(session, volume.name)?.size)?;
        let command = self
            .command(Effect::Query, &["export", "--export-format", "1"])
            .operand(volume.volname)
            .arg("-")
            .progress();
        session.run_with(&command, Streams { input: None, output: Some(output) }).map(drop)
    }

    pub(super) fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        let scope = transfer.scope();
        if transfer.format != StreamFormat::RawSize || scope.base || scope.with_snapshots() {
            return Err(volume.unsupported("be imported", "only a raw stream can"));
        }
        let mut volname = volume.volname.to_owned();
        if self.exists(session, volume.name)? {
            if !transfer.allow_rename {
                return Err(Error::Exists(volume.volid()));
            }
            session.warn(format!("'{}' exists already, importing under another name", volume.volid()));
            let owner = volume.owner.ok_or_else(|| volume.request("it has no owner"))?;
            volname = self.free_name(session, owner)?;
        }
        let least = least_content(transfer.format, read_header(input)?);
        let command = self
            .command(Effect::Change, &["import", "--export-format", "1", "-"])
            .operand(&volname)
            .progress();
        let made = self.storage.volume(&volname)?;
        session.undoing(
            || Content::of(input).feed(session, &command, least),
            || self.storage.plugin().free(session, &made).map(drop),
        )?;
        Ok(volname.clone())
    }
}

/// The error of a failed `rbd`: what librbd logs is reduced to its text.
fn complain(command: &Command, mut output: Output) -> Error {
    let lines: Vec<BString> = output
        .error_lines()
        .map(|line| match line.find("librbd: ") {
            Some(at) if is_log_line(line.get(..at).unwrap_or_default()) => {
                line.get(at + "librbd: ".len()..).unwrap_or_default().into()
            }
            _ => line.to_owned(),
        })
        .collect();
    output.stderr = bstr::join("\n", lines).into();
    failed(command, &output)
}

/// `DATE TIME HEX N ` before `librbd:`.
fn is_log_line(head: &[u8]) -> bool {
    let words: Vec<&[u8]> = words(head).collect();
    let [date, time, thread, level] = words.as_slice() else { return false };
    let starts_numeric = |word: &[u8]| word.first().is_some_and(u8::is_ascii_digit);
    let level = level.strip_prefix(b"-").unwrap_or(level);
    starts_numeric(date)
        && starts_numeric(time)
        && thread.iter().all(|byte| byte.is_ascii_hexdigit() || *byte == b'x')
        && level.iter().all(u8::is_ascii_digit)
}

/// `IMAGE@SNAPSHOT` of the parent, whatever its pool.
fn parent(value: &Value) -> Option<BString> {
    let parent = value.get("parent")?;
    let (image, snapshot) = (parent.get("image")?.as_str()?, parent.get("snapshot")?.as_str()?);
    Some(format!("{image}@{snapshot}").into())
}
