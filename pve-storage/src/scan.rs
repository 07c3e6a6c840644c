// SPDX-License-Identifier: MIT OR Apache-2.0
//! What could become a storage: exports, shares, targets, volume groups, pools that are there to be used.
//!
//! What a scan finds is what the sections of storage.cfg are written from: an [`Export`] is the `export` of an `nfs`
//! storage, a [`Target`] the `target` of an `iscsi` one, and so on.
//!
//! ```
//! use pve_storage::{MemoryHost, Output, Session, Storages, scan};
//!
//! let (storages, mut host) = (Storages::default(), MemoryHost::new());
//! host.answer_containing("showmount", Output::success("/srv/iso      10.0.0.0/8,192.168.1.5\n/srv/images  *\n"));
//! let session = Session::new(&storages, &host, "pve1");
//! let exports = scan::nfs(&session, "nas.example.com")?;
//! assert_eq!((exports[0].path.as_slice(), exports[0].clients.as_slice()), (&b"/srv/images"[..], &b"*"[..]));
//! # Ok::<(), pve_storage::Error>(())
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use crate::command::Command;
use crate::error::Result;
use crate::operation::text;
use crate::plugin::lvm::report;
use crate::session::{Session, number};
use crate::words::words;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A directory that an NFS server exports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Export {
    /// The directory.
    #[serde(serialize_with = "text")]
    pub path: BString,
    /// Who may mount it, as the server tells.
    #[serde(rename = "options", serialize_with = "text")]
    pub clients: BString,
}

/// A share of a CIFS server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Its name.
    #[serde(rename = "share", serialize_with = "text")]
    pub name: BString,
    /// Its comment.
    #[serde(serialize_with = "text")]
    pub description: BString,
}

/// A target of an iSCSI portal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Its name, `iqn.…`.
    #[serde(serialize_with = "text")]
    pub target: BString,
    /// `ADDRESS:PORT` of every portal that offers it, sorted.
    #[serde(serialize_with = "texts")]
    pub portals: Vec<BString>,
}

/// A volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Its name.
    #[serde(rename = "vg", serialize_with = "text")]
    pub name: BString,
    /// Its size in bytes.
    pub size: u64,
    /// What no logical volume uses, in bytes.
    pub free: u64,
}

/// A thin pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ThinPool {
    /// The logical volume.
    #[serde(rename = "lv", serialize_with = "text")]
    pub name: BString,
    /// Its size in bytes.
    pub size: u64,
    /// What its volumes have allocated, in bytes.
    pub used: u64,
}

/// A ZFS file system that can hold volumes: a pool, or a dataset in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pool {
    /// Its name.
    #[serde(rename = "pool", serialize_with = "text")]
    pub name: BString,
    /// What is used, in bytes.
    pub used: u64,
    /// What is free, in bytes.
    pub free: u64,
}

/// Who asks a CIFS server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Login<'a> {
    /// The user; `None`: a guest.
    pub user: Option<&'a str>,
    /// The password; it is never part of a command line.
    pub password: Option<&'a str>,
    /// The domain.
    pub domain: Option<&'a str>,
}

/// The directories that an NFS server exports, sorted.
///
/// # Errors
/// If the server does not answer.
pub fn nfs(session: &Session<'_>, server: &str) -> Result<Vec<Export>> {
    let command = Command::query("/sbin/showmount").args(["--no-headers", "--exports"]).operand(server);
    let output = session.run(&command.timeout(PATIENCE))?;
    // the clients follow after blanks; a path may contain some itself
    let export = |line: &BStr| {
        let line = line.trim_ascii();
        let (path, clients) = line.rsplit_once_str(" ").unwrap_or((line, b""));
        Export { path: path.trim_ascii().into(), clients: clients.into() }
    };
    let mut exports: Vec<Export> = output.lines().filter(|line| line.starts_with(b"/")).map(export).collect();
    exports.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(exports)
}

/// The shares for files of a CIFS server, sorted; hidden ones (`C$`) are left out.
///
/// # Errors
/// If the server does not answer, or refuses the login.
pub fn cifs(session: &Session<'_>, server: &str, login: &Login<'_>) -> Result<Vec<Share>> {
    let mut command =
        Command::query("/usr/bin/smbclient").args(["-d", "0", "-g", "-L"]).operand(server).timeout(PATIENCE);
    command = match login.user {
        Some(user) => command.arg("-U").operand(user).env("PASSWD", login.password.unwrap_or_default()),
        None => command.args(["-U", "Guest", "-N"]),
    };
    if let Some(domain) = login.domain {
        command = command.arg("-W").operand(domain);
    }
    let output = session.run(&command)?;
    let share = |line: &BStr| {
        let mut fields = line.splitn_str(3, "|");
        let is_disk = fields.next() == Some(b"Disk");
        let name = fields.next().filter(|name| is_disk && !name.is_empty() && !name.ends_with(b"$"))?;
        Some(Share { name: name.into(), description: fields.next().unwrap_or_default().into() })
    };
    let mut shares: Vec<Share> = output.lines().filter_map(share).collect();
    shares.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(shares)
}

/// The targets that an iSCSI portal tells of, sorted. The initiator keeps what it has heard, so a dry run only notes the
/// question.
///
/// # Errors
/// If the initiator is not installed, or the portal does not answer.
pub fn iscsi(session: &Session<'_>, portal: &str) -> Result<Vec<Target>> {
    let command = Command::change("/usr/bin/iscsiadm")
        .args(["--mode", "discovery", "--type", "sendtargets", "--portal"])
        .operand(portal);
    let output = session.run(&command.timeout(PATIENCE))?;
    let mut targets: BTreeMap<BString, BTreeSet<BString>> = BTreeMap::new();
    for line in output.lines() {
        let mut words = words(line);
        let (Some(portal), Some(target)) = (words.next(), words.next()) else { continue };
        let portal = portal.split_once_str(",").map_or(portal, |(portal, _tag)| portal);
        targets.entry(target.into()).or_default().insert(portal.into());
    }
    let target =
        |(target, portals): (_, BTreeSet<_>)| Target { target, portals: portals.into_iter().collect() };
    Ok(targets.into_iter().map(target).collect())
}

/// The volume groups of this machine, in the order of `vgs`.
///
/// # Errors
/// If `vgs` cannot be run.
pub fn lvm(session: &Session<'_>) -> Result<Vec<Group>> {
    let groups = report::groups(session)?.into_iter();
    Ok(groups.map(|group| Group { name: group.name, size: group.size, free: group.free }).collect())
}

/// The thin pools of a volume group, in the order of `lvs`.
///
/// # Errors
/// If there is no such group.
pub fn lvmthin(session: &Session<'_>, group: &str) -> Result<Vec<ThinPool>> {
    let lvs = report::lvs(session, BStr::new(group))?;
    let pools = lvs.iter().filter(|lv| lv.kind() == Some(b't'));
    Ok(pools.map(|lv| ThinPool { name: lv.lv.into(), size: lv.size(), used: lv.used() }).collect())
}

/// The ZFS file systems of this machine, those of guests left out, in the order of `zfs list`.
///
/// # Errors
/// If `zfs` fails.
pub fn zfs(session: &Session<'_>) -> Result<Vec<Pool>> {
    let command = Command::query("zfs").args(["list", "-t", "filesystem", "-Hp", "-o", "name,used,avail"]);
    let output = session.run(&command.timeout(PATIENCE))?;
    let pool = |line: &BStr| {
        let fields: Vec<&[u8]> = line.split_str("\t").collect();
        let [name, used, free] = *fields.as_slice() else { return None };
        let last = name.rsplit_str("/").next().unwrap_or(name);
        let of_guest = [&b"subvol-"[..], b"basevol-"].iter().any(|start| {
            last.strip_prefix(*start).is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
        });
        let size = |text: &[u8]| number(BStr::new(text)).unwrap_or(0);
        (!of_guest).then(|| Pool { name: name.into(), used: size(used), free: size(free) })
    };
    Ok(output.lines().filter_map(pool).collect())
}

fn texts<S: serde::Serializer>(list: &[BString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(list.iter().map(|text| text.to_str_lossy()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MemoryHost, Output, Storages};

    fn scanned<T>(answer: &str, scan: impl Fn(&Session<'_>) -> Result<T>) -> (T, String) {
        let (storages, mut host) = (Storages::default(), MemoryHost::new());
        host.answer_containing("", Output::success(answer));
        let found = scan(&Session::new(&storages, &host, "here")).unwrap();
        (found, host.commands()[0].to_string())
    }

    #[test]
    fn a_share_is_a_disk_that_is_not_hidden() {
        let answer =
            "Disk|data|All of it\nDisk|C$|Default share\nIPC|IPC$|IPC Service\nPrinter|lp|\nDisk|a b|x|y\n";
        let login = Login { user: Some("joe"), password: Some("secret"), domain: None };
        let (shares, command) = scanned(answer, |session| cifs(session, "nas", &login));
        let share = |name: &str, text: &str| Share { name: name.into(), description: text.into() };
        assert_eq!(shares, [share("a b", "x|y"), share("data", "All of it")]);
        assert_eq!(command, "/usr/bin/smbclient -d 0 -g -L nas -U joe");
    }

    #[test]
    fn a_target_has_every_portal_that_offers_it() {
        let answer = "10.0.0.2:3260,1 iqn.a\n10.0.0.1:3260,1 iqn.a\n[fe80::1]:3260,2 iqn.b\n";
        let (targets, _) = scanned(answer, |session| iscsi(session, "10.0.0.1"));
        let target = |name: &str, portals: &[&str]| Target {
            target: name.into(),
            portals: portals.iter().map(|portal| BString::from(*portal)).collect(),
        };
        assert_eq!(
            targets,
            [target("iqn.a", &["10.0.0.1:3260", "10.0.0.2:3260"]), target("iqn.b", &["[fe80::1]:3260"])]
        );
    }

    #[test]
    fn file_systems_of_containers_are_no_pools() {
        let answer = "tank\t10\t20\ntank/subvol-100-disk-0\t1\t2\ntank/subvol-notes\t3\t4\nodd\n";
        let (pools, _) = scanned(answer, zfs);
        let names: Vec<_> = pools.iter().map(|pool| pool.name.to_string()).collect();
        assert_eq!(names, ["tank", "tank/subvol-notes"]);
        assert_eq!((pools[0].used, pools[0].free), (10, 20));
    }

    #[test]
    fn a_pool_tells_what_is_allocated() {
        let answer = "  pve:data:1000:twi-aotz--::50.00:1.25::u::8:1\n  pve:vm-1-disk-0:10:Vwi-a-tz--:data:5:::u:::1\n";
        let (pools, _) = scanned(answer, |session| lvmthin(session, "pve"));
        assert_eq!(pools, [ThinPool { name: "data".into(), size: 1000, used: 500 }]);
    }

    #[test]
    fn a_server_is_never_an_option() {
        let (storages, host) = (Storages::default(), MemoryHost::new());
        let session = Session::new(&storages, &host, "here");
        assert!(nfs(&session, "--help").is_err());
        assert!(cifs(&session, "-x", &Login::default()).is_err());
        assert!(iscsi(&session, "-x").is_err());
        assert!(lvmthin(&session, "-x").is_err());
        assert!(host.commands().is_empty());
    }
}
