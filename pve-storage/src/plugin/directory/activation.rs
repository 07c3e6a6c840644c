// SPDX-License-Identifier: MIT OR Apache-2.0
//! Making directory storages usable: mount points, mounts of network file systems, content directories.

use std::net::IpAddr;
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, StorageType};

use super::super::{bracketed, concat};
use super::{content_directory, storage_path};
use crate::ceph::{CephConnection, CephFacts, keyring_path};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::{Change, FileKind, Mount};
use crate::operation::Status;
use crate::session::{Cache, Session};
use crate::storage::Storage;

/// Content types with a directory, in the order in which activation makes them.
const DIRECTORIES: [ContentType; 7] = [
    ContentType::Backup,
    ContentType::Images,
    ContentType::Import,
    ContentType::Iso,
    ContentType::RootDir,
    ContentType::Snippets,
    ContentType::VzTmpl,
];

const CHECK_TIME: Duration = Duration::from_secs(10);
const CONNECT_TIME: Duration = Duration::from_secs(2);

fn failure(storage: &Storage, reason: impl Into<String>) -> Error {
    Error::Activation { what: storage.id().as_str().into(), reason: reason.into() }
}

/// The part that all types share: the path is there, the content directories are made and differ.
pub(in super::super) fn prepare(session: &Session<'_>, storage: &Storage) -> Result<()> {
    let path = storage_path(storage)?;
    if !session.host().is_directory_in_time(path) {
        return Err(failure(storage, format!("directory '{path}' does not exist or cannot be reached")));
    }
    let content = storage.content();
    if content.is_empty() {
        return Ok(());
    }
    let make = storage.switch("create-subdirs").unwrap_or(true) && storage.switch("mkdir").unwrap_or(true);
    if make {
        for kind in DIRECTORIES {
            let wanted = content.contains(&kind)
                || (kind == ContentType::Backup && content.contains(&ContentType::RootDir));
            if wanted {
                session.make_directories(content_directory(storage, kind)?.as_bstr())?;
            }
        }
    }
    let mut seen: Vec<(BString, ContentType)> = Vec::new();
    for kind in content {
        // `none` has no directory: such a storage cannot be activated, as in the reference
        let Some(real) = session.host().real_path(content_directory(storage, kind)?.as_bstr()) else {
            continue;
        };
        if let Some((_, other)) = seen.iter().find(|(path, _)| *path == real) {
            return Err(failure(storage, format!("'{kind}' and '{other}' share the directory '{real}'")));
        }
        seen.push((real, kind));
    }
    Ok(())
}

/// Makes the storage's own directory if that is wanted.
pub(in super::super) fn make_base(session: &Session<'_>, storage: &Storage) -> Result<()> {
    let wanted = storage.switch("create-base-path").or(storage.switch("mkdir")).unwrap_or(true);
    if wanted { session.make_directories(storage_path(storage)?) } else { Ok(()) }
}

/// Whether `is_mountpoint` is satisfied.
pub(in super::super) fn is_mounted_as_wanted(
    session: &Session<'_>,
    storage: &Storage,
    cache: &mut Cache,
) -> Result<bool> {
    let Some(wanted) = storage.get("is_mountpoint") else { return Ok(true) };
    let word = wanted.to_ascii_lowercase();
    let point = match word.as_slice() {
        b"0" | b"off" | b"no" | b"false" => return Ok(true),
        b"1" | b"on" | b"yes" | b"true" => storage_path(storage)?,
        _ => wanted,
    };
    let Some(real) = session.host().real_path(point) else { return Ok(false) };
    Ok(cache.mounts(session)?.iter().any(|mount| mount.point == real))
}

/// Fails unless `is_mountpoint` is satisfied.
pub(in super::super) fn require_mount(
    session: &Session<'_>,
    storage: &Storage,
    cache: &mut Cache,
) -> Result<()> {
    if is_mounted_as_wanted(session, storage, cache)? {
        return Ok(());
    }
    Err(failure(
        storage,
        "its directory is expected to be a mount point ('is_mountpoint'), but nothing is mounted",
    ))
}

/// Space of the file system at the storage's path.
pub(in super::super) fn space(session: &Session<'_>, storage: &Storage) -> Result<Option<Status>> {
    let space = session.host().space(storage_path(storage)?).filter(|space| space.total != 0);
    Ok(space.map(|space| Status {
        total: space.total,
        available: space.available,
        used: space.used,
        active: true,
    }))
}

/// A file system on another machine that belongs at the storage's path.
pub(super) struct Remote<'s> {
    storage: &'s Storage,
    kind: StorageType,
    /// What is mounted.
    source: BString,
    connection: Option<CephConnection>,
}

impl<'s> Remote<'s> {
    /// The file system of a `nfs`, `cifs` or `cephfs` storage; `None` for `dir`.
    pub(super) fn of(session: &Session<'_>, storage: &'s Storage, kind: StorageType) -> Result<Option<Self>> {
        let mut connection = None;
        let source = match kind {
            StorageType::Nfs => {
                concat([&bracketed(storage.require("server")?), b":", storage.require("export")?])
            }
            StorageType::Cifs => {
                let subdir = storage.get("subdir").unwrap_or_default();
                concat([
                    b"//",
                    &bracketed(storage.require("server")?),
                    b"/",
                    storage.require("share")?,
                    subdir,
                ])
            }
            StorageType::CephFs => {
                let facts = ceph_facts(session, storage)?;
                let found = CephConnection::new(storage, &facts);
                let servers = servers(session, &found)?;
                let subdir = storage.get("subdir").unwrap_or(BStr::new("/"));
                connection = Some(found);
                concat([&servers, b":", subdir])
            }
            _ => return Ok(None),
        };
        Ok(Some(Remote { storage, kind, source, connection }))
    }

    pub(super) fn is_mounted(&self, session: &Session<'_>, cache: &mut Cache) -> Result<bool> {
        let path = storage_path(self.storage)?;
        let same =
            |mount: &Mount| mount.source == self.source || mount.source == concat([&self.source, b"/"]);
        let fits = |mount: &Mount| match self.kind {
            StorageType::Nfs => mount.kind.starts_with(b"nfs") && same(mount),
            StorageType::Cifs => mount.kind.starts_with(b"cifs") && same(mount),
            _ => {
                let subdir = self.storage.get("subdir").unwrap_or(BStr::new("/"));
                let ceph = mount.kind.starts_with(b"ceph") || mount.kind.contains_str("fuse.ceph-fuse");
                ceph && (mount.source.ends_with(&concat([b":", subdir])) || mount.source == "ceph-fuse")
            }
        };
        Ok(cache.mounts(session)?.iter().any(|mount| mount.point == path && fits(mount)))
    }

    /// Mounts it if it is not mounted.
    pub(super) fn mount(&self, session: &Session<'_>, cache: &mut Cache) -> Result<()> {
        if self.is_mounted(session, cache)? {
            return Ok(());
        }
        make_base(session, self.storage)?;
        let path = storage_path(self.storage)?;
        if session.kind(path) != Some(FileKind::Directory) {
            return Err(failure(self.storage, format!("mount point '{path}' does not exist")));
        }
        cache.mounts = None;
        match self.kind {
            StorageType::Nfs => {
                let mut command =
                    Command::change("/bin/mount").args(["-t", "nfs"]).operand(&self.source).operand(path);
                if let Some(options) = self.storage.get("options") {
                    command = command.arg("-o").value(options);
                }
                session.run(&command)?;
            }
            StorageType::Cifs => {
                session.run(&self.cifs_mount(session, path)?)?;
            }
            _ => self.ceph_mount(session, path)?,
        }
        Ok(())
    }

    fn cifs_mount(&self, session: &Session<'_>, path: &BStr) -> Result<Command> {
        let storage = self.storage;
        let mut command = Command::change("/bin/mount")
            .args(["-t", "cifs"])
            .operand(&self.source)
            .operand(path)
            .args(["-o", "soft"]);
        match login(session, storage)? {
            Login::Kerberos => {}
            Login::Credentials { user, file, domain } => {
                command = command.arg("-o").value(concat([b"username=", user]));
                command = command.arg("-o").value(concat([b"credentials=", &file]));
                if let Some(domain) = domain {
                    command = command.arg("-o").value(concat([b"domain=", domain]));
                }
            }
            Login::Guest => command = command.args(["-o", "guest,username=guest"]),
        }
        let version = storage.get("smbversion").unwrap_or(BStr::new("default"));
        command = command.arg("-o").value(concat([b"vers=", version]));
        if let Some(options) = storage.get("options") {
            command = command.arg("-o").value(options);
        }
        Ok(command)
    }

    /// Writes a systemd mount unit and starts it.
    fn ceph_mount(&self, session: &Session<'_>, path: &BStr) -> Result<()> {
        let storage = self.storage;
        let fuse = storage.flag("fuse");
        let mut options: Vec<BString> = Vec::new();
        let mut option = |kernel: &str, fuse_name: &str, value: Option<&[u8]>| {
            let name = if fuse { fuse_name } else { kernel };
            options.extend(value.map(|value| concat([name.as_bytes(), b"=", value])));
        };
        if let Some(connection) = &self.connection {
            option("name", "ceph.id", Some(&connection.user));
            option("secretfile", "ceph.keyfile", connection.keyring.as_ref().map(|file| file.as_bytes()));
            option("conf", "ceph.conf", connection.conf.as_ref().map(|file| file.as_bytes()));
        }
        option("fs", "ceph.client_fs", storage.get("fs-name").map(|name| name.as_bytes()));
        options.extend(storage.get("options").map(ToOwned::to_owned));
        let kind: &[u8] = if fuse { b"fuse.ceph" } else { b"ceph" };
        if [path, self.source.as_bstr()].iter().any(|text| text.contains(&b'\n')) {
            return Err(failure(storage, "a line feed in path or server cannot stand in a systemd unit"));
        }
        let unit = concat([&systemd_escape(path), b".mount"]);
        let file = concat([b"/run/systemd/system/", &unit]);
        let existed = session.exists(file.as_bstr());
        let content = concat([
            b"[Unit]\nDescription=",
            path,
            b"\nDefaultDependencies=no\nRequires=system.slice\nWants=network-online.target\n\
              Before=umount.target remote-fs.target\n\
              After=systemd-journald.socket system.slice network.target -.mount remote-fs-pre.target \
              network-online.target\nConflicts=umount.target\n\n[Mount]\nWhere=",
            path,
            b"\nWhat=",
            &self.source,
            b"\nType=",
            kind,
            b"\nOptions=",
            &bstr::join(",", &options),
            b"\n",
        ]);
        session.change(&Change::Write { path: file, content, mode: 0o644 })?;
        if existed {
            session.run(&Command::change("systemctl").arg("daemon-reload"))?;
        }
        session.run(&Command::change("systemctl").arg("start").operand(unit))?;
        Ok(())
    }

    /// Unmounts it if it is mounted.
    pub(super) fn unmount(&self, session: &Session<'_>, cache: &mut Cache) -> Result<()> {
        if self.is_mounted(session, cache)? {
            cache.mounts = None;
            session.run(&Command::change("/bin/umount").operand(storage_path(self.storage)?))?;
        }
        Ok(())
    }
}

/// Whether the server answers (spec: storage-commands, "Activation").
pub(super) fn check_connection(session: &Session<'_>, storage: &Storage, kind: StorageType) -> Result<bool> {
    match kind {
        StorageType::Nfs => check_nfs(session, storage),
        StorageType::Cifs => check_cifs(session, storage),
        _ => Ok(true),
    }
}

fn check_nfs(session: &Session<'_>, storage: &Storage) -> Result<bool> {
    let server = storage.require("server")?;
    let options = storage.get("options").unwrap_or_default();
    if !options.contains_str("vers=4") {
        let command = Command::query("/sbin/showmount")
            .args(["--no-headers", "--exports"])
            .operand(server)
            .timeout(CHECK_TIME);
        return Ok(session.ask(&command).is_ok_and(|output| output.succeeded()));
    }
    let name = server.to_str_lossy();
    let Some(address) = name.parse::<IpAddr>().ok().or_else(|| session.host().resolve(&name)) else {
        return Ok(false);
    };
    let transport = if address.is_ipv4() { "tcp" } else { "tcp6" };
    let command = Command::query("/usr/sbin/rpcinfo")
        .args(["-T", transport])
        .operand(address.to_string())
        .args(["nfs", "4"])
        .timeout(CHECK_TIME);
    if session.ask(&command).is_ok_and(|output| output.succeeded()) {
        return Ok(true);
    }
    let port = options.find("port=").and_then(|at| options.get(at + 5..)).map(leading_number);
    match port.flatten().map_or(Some(2049), |port| u16::try_from(port).ok()) {
        None | Some(0) => Ok(false),
        Some(port) => Ok(session.host().reachable(&name, port, CONNECT_TIME)),
    }
}

/// The decimal number at the beginning of a text.
fn leading_number(text: &[u8]) -> Option<u32> {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    text.get(..end)?.to_str().ok()?.parse().ok()
}

/// How a share is logged in to.
enum Login<'s> {
    Kerberos,
    Credentials { user: &'s BStr, file: BString, domain: Option<&'s BStr> },
    Guest,
}

fn login<'s>(session: &Session<'_>, storage: &'s Storage) -> Result<Login<'s>> {
    let options = storage.get("options").unwrap_or_default();
    let kerberos = |item: &[u8]| {
        [&b"sec=krb5"[..], b"sec=krb5i", b"sec=krb5p"].iter().any(|word| item.eq_ignore_ascii_case(word))
    };
    if !options.iter().any(u8::is_ascii_whitespace) && options.split_str(",").any(kerberos) {
        return Ok(Login::Kerberos);
    }
    let file: BString = format!("/etc/pve/priv/storage/{}.pw", storage.id()).into();
    match storage.get("username") {
        Some(user) if session.exists(file.as_bstr()) => {
            Ok(Login::Credentials { user, file, domain: storage.get("domain") })
        }
        _ => Ok(Login::Guest),
    }
}

fn check_cifs(session: &Session<'_>, storage: &Storage) -> Result<bool> {
    let server = storage.require("server")?;
    let mut command = Command::query("/usr/bin/smbclient").operand(concat([
        b"//",
        server,
        b"/",
        storage.require("share")?,
    ]));
    command = command.args(["-d", "0"]);
    if let Some(version) = storage.get("smbversion").filter(|version| *version != "default") {
        let major = version.split_str(".").next().unwrap_or_default();
        command = command.arg("-m").value(concat([b"smb", major]));
    }
    command = match login(session, storage)? {
        Login::Kerberos => command.arg("--use-kerberos=required"),
        Login::Credentials { user, file, domain } => {
            let command = command.arg("-U").operand(user).arg("-A").operand(file);
            match domain {
                Some(domain) => command.arg("-W").operand(domain),
                None => command,
            }
        }
        Login::Guest => command.args(["-U", "Guest", "-N"]),
    };
    command = command.args(["-c", "echo 1 0"]).timeout(CHECK_TIME);
    let output = session.ask(&command)?;
    if output.succeeded() {
        return Ok(true);
    }
    let said = |word: &str| output.stdout.contains_str(word) || output.stderr.contains_str(word);
    for word in ["NT_STATUS_ACCESS_DENIED", "NT_STATUS_INVALID_PARAMETER", "NT_STATUS_LOGON_FAILURE"] {
        if said(word) {
            return Err(failure(storage, format!("the server refuses the login: {word}")));
        }
    }
    Ok(false)
}

/// What exists on the host for a Ceph storage; the key must look like one.
pub(in super::super) fn ceph_facts(session: &Session<'_>, storage: &Storage) -> Result<CephFacts> {
    let keyring = session.read(keyring_path(storage).as_bstr())?;
    if let Some(key) = &keyring {
        check_key(storage, key.as_bstr())?;
    }
    let conf = session.exists(crate::ceph::conf_path(storage).as_bstr());
    if storage.get("monhost").is_none() && conf {
        session.warn(format!(
            "ignoring {} of storage '{}', which uses the cluster of this node: it sets no 'monhost'",
            crate::ceph::conf_path(storage),
            storage.id()
        ));
    }
    Ok(CephFacts { keyring_exists: keyring.is_some(), conf_exists: conf, fsid: None, older_device: false })
}

fn check_key(storage: &Storage, text: &BStr) -> Result<()> {
    let text = text.trim_ascii();
    let fine = if storage.type_name() == "cephfs" {
        text.ends_with(b"==")
    } else {
        let section = text.find_byte(b'[').and_then(|at| Some(at + text.get(at..)?.find_byte(b']')?));
        section.is_some_and(|at| {
            text.get(at..).unwrap_or_default().lines().any(|line| {
                let key = line.trim_ascii().strip_prefix(b"key").map(<[u8]>::trim_ascii_start);
                key.and_then(|rest| rest.strip_prefix(b"=")).is_some_and(|key| key.contains_str("=="))
            })
        })
    };
    if fine {
        return Ok(());
    }
    Err(Error::Value {
        storage: storage.id().clone(),
        what: keyring_path(storage).to_string(),
        reason: "it does not look like a Ceph key".into(),
    })
}

/// The monitors of a CephFS, joined by commas.
fn servers(session: &Session<'_>, connection: &CephConnection) -> Result<BString> {
    if !connection.monitors.is_empty() {
        return Ok(bstr::join(",", &connection.monitors).into());
    }
    let Some(text) = session.read(BStr::new(CephConnection::CLUSTER_CONF))? else {
        return Ok(BString::default());
    };
    Ok(bstr::join(",", crate::ceph::monitor_addresses(text.as_bstr())).into())
}

/// A path as the name of a systemd unit.
fn systemd_escape(path: &BStr) -> BString {
    let mut unit = Vec::new();
    let mut parts = path.split_str("/").filter(|part| !part.is_empty()).peekable();
    if parts.peek().is_none() {
        return "-".into();
    }
    for (index, part) in parts.enumerate() {
        if index > 0 {
            unit.push(b'-');
        }
        for (at, byte) in part.iter().enumerate() {
            let plain = byte.is_ascii_alphanumeric() || b":_.".contains(byte);
            if plain && !(index == 0 && at == 0 && *byte == b'.') {
                unit.push(*byte);
            } else {
                unit.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
        }
    }
    unit.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_paths_like_systemd() {
        for (path, unit) in [
            ("/mnt/pve/cf", "mnt-pve-cf"),
            ("/mnt/pve/my-ceph", r"mnt-pve-my\x2dceph"),
            ("//mnt//x/", "mnt-x"),
            ("/.hidden/.x", r"\x2ehidden-.x"),
            ("/", "-"),
        ] {
            assert_eq!(systemd_escape(BStr::new(path)), unit);
        }
    }
}
