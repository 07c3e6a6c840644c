// SPDX-License-Identifier: MIT OR Apache-2.0
//! The kernel's iSCSI initiator: sessions, portals, logins and the LUNs in `/sys`.

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{Digits, Invisible, IscsiLun, Wanted, stable_link};

use super::super::concat;
use crate::ceph::Monitor;
use crate::command::Command;
use crate::error::{Error, Result};
use crate::host::{Change, FileKind};
use crate::listing::{Image, Listing, LunAddress};
use crate::session::{Cache, Session, failed, number};
use crate::storage::Storage;
use crate::volume::Volume;
use crate::words::words;

const ISCSIADM: &str = "/usr/bin/iscsiadm";
const DEFAULT_PORT: u16 = 3260;

/// A time stamp: sessions are not scanned again within [`RESCAN_INTERVAL`].
const RESCAN_STAMP: &str = "/var/run/pve-iscsi-rescan.lock";
const RESCAN_INTERVAL: i64 = 10;

/// A session of the initiator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IscsiSession {
    id: BString,
    portal: BString,
    target: BString,
}

/// Whether the initiator is installed.
pub(super) fn is_installed(session: &Session<'_>) -> bool {
    session.host().is_executable(BStr::new(ISCSIADM))
}

/// Fails if the initiator is not installed.
pub(super) fn require(session: &Session<'_>) -> Result<()> {
    if is_installed(session) { Ok(()) } else { Err(Error::Missing(ISCSIADM.into())) }
}

/// All sessions.
fn read_sessions(session: &Session<'_>) -> Result<Vec<IscsiSession>> {
    let command = Command::query(ISCSIADM).args(["--mode", "session"]);
    let output = session.ask(&command)?;
    if !output.succeeded() {
        if output.stderr.trim_ascii_end().ends_with(b"No active sessions.") {
            return Ok(Vec::new());
        }
        return Err(failed(&command, &output));
    }
    Ok(output.lines().filter_map(read_session).collect())
}

/// `tcp: [SID] PORTAL:PORT,TAG TARGET WORD`
fn read_session(line: &BStr) -> Option<IscsiSession> {
    let mut words = words(line.strip_prefix(b"tcp:")?);
    let id = words.next()?.strip_prefix(b"[")?.strip_suffix(b"]")?;
    let (portal, _) = words.next()?.split_once_str(",")?;
    let target = words.next()?;
    words.next()?;
    let id = Digits::new(id)?.as_bstr().to_owned();
    Some(IscsiSession { id, portal: portal.into(), target: target.into() })
}

fn sessions<'c>(session: &Session<'_>, cache: &'c mut Cache) -> Result<&'c [IscsiSession]> {
    if cache.iscsi_sessions.is_none() {
        cache.iscsi_sessions = Some(read_sessions(session)?);
    }
    Ok(cache.iscsi_sessions.as_deref().unwrap_or_default())
}

/// Whether there is a session of the target.
pub(super) fn has_session(session: &Session<'_>, storage: &Storage) -> Result<bool> {
    let target = storage.require("target")?;
    Ok(read_sessions(session)?.iter().any(|found| found.target == target))
}

/// The portals of the target: those on record, else the configured one.
fn portals(session: &Session<'_>, storage: &Storage) -> Result<Vec<BString>> {
    let (target, configured) = (storage.require("target")?, storage.require("portal")?);
    let command = Command::query(ISCSIADM).args(["--mode", "node"]);
    let output = session.ask(&command)?;
    if !output.succeeded() {
        session.warn(format!("{command}: {}", output.complaint()));
    }
    let on_record = output.lines().filter(|_| output.succeeded()).filter_map(|line| {
        let mut words = words(line);
        let (portal, tag) = words.next()?.split_once_str(",")?;
        (Digits::new(tag).is_some() && words.next()? == target.as_bytes()).then(|| BString::from(portal))
    });
    let found: Vec<BString> = on_record.collect();
    Ok(if found.is_empty() { vec![configured.to_owned()] } else { found })
}

/// Whether a portal answers: a session is logged in there, or a TCP connection comes about.
fn answers(session: &Session<'_>, storage: &Storage, portal: &BString, cache: &mut Cache) -> Result<bool> {
    let target = storage.require("target")?;
    for found in sessions(session, cache)?.iter().filter(|s| s.target == target && s.portal == *portal) {
        let state = concat([b"/sys/class/iscsi_session/session", &found.id, b"/state"]);
        if session.read(state.as_bstr())?.is_some_and(|state| state.trim_ascii() == b"LOGGED_IN") {
            return Ok(true);
        }
    }
    let address = Monitor::read(portal);
    let port = address.port.and_then(|port| port.to_str().ok()?.parse().ok()).unwrap_or(DEFAULT_PORT);
    Ok(session.host().reachable(&address.host.to_str_lossy(), port, Duration::from_secs(2)))
}

pub(super) fn check_connection(session: &Session<'_>, storage: &Storage) -> Result<bool> {
    let mut cache = Cache::default();
    for portal in portals(session, storage)? {
        if answers(session, storage, &portal, &mut cache)? {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) fn activate(session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
    let target = storage.require("target")?;
    let mine: Vec<IscsiSession> =
        sessions(session, cache)?.iter().filter(|found| found.target == target).cloned().collect();
    let portals = portals(session, storage)?;
    let everywhere = portals.iter().all(|portal| mine.iter().any(|found| found.portal == *portal));
    if !mine.is_empty() && everywhere {
        return rescan(session, &mine);
    }
    log_in(session, storage, &portals, cache)?;
    cache.iscsi_sessions = None;
    Ok(())
}

fn log_in(session: &Session<'_>, storage: &Storage, portals: &[BString], cache: &mut Cache) -> Result<()> {
    let target = storage.require("target")?;
    for portal in portals {
        if !answers(session, storage, portal, cache)? {
            continue;
        }
        let command = Command::change(ISCSIADM)
            .args(["--mode", "discovery", "--type", "sendtargets", "--portal"])
            .operand(portal);
        match session.run(&command) {
            Ok(output) if output.lines().any(|line| words(line).nth(1) == Some(target.as_bytes())) => break,
            Ok(_) => {}
            Err(error) => session.warn(error.to_string()),
        }
    }
    let node = || Command::change(ISCSIADM).args(["--mode", "node", "--targetname"]).operand(target);
    session.attempt(&node().args([
        "--op",
        "update",
        "--name",
        "node.session.initial_login_retry_max",
        "--value",
        "0",
    ]));
    session.attempt(&node().arg("--login"));
    Ok(())
}

/// Looks for new LUNs, unless that was done a moment ago.
fn rescan(session: &Session<'_>, sessions: &[IscsiSession]) -> Result<()> {
    let stamp = BStr::new(RESCAN_STAMP);
    let age = session.host().metadata(stamp).map(|meta| session.host().now() - meta.changed);
    if age.is_some_and(|age| (0..RESCAN_INTERVAL).contains(&age)) {
        return Ok(());
    }
    session.try_change(&Change::Touch { path: stamp.to_owned() });
    for found in sessions {
        let command = Command::change(ISCSIADM).args(["--mode", "session", "--sid"]).operand(&found.id);
        session.attempt(&command.arg("--rescan"));
    }
    Ok(())
}

pub(super) fn deactivate(session: &Session<'_>, storage: &Storage) -> Result<()> {
    if has_session(session, storage)? {
        let command = Command::change(ISCSIADM)
            .args(["--mode", "node", "--targetname"])
            .operand(storage.require("target")?)
            .arg("--logout");
        session.run(&command)?;
    }
    Ok(())
}

/// Fails unless the volume is a block device on a session of the target.
pub(super) fn activate_volume(session: &Session<'_>, volume: &Volume<'_>, path: &BStr) -> Result<()> {
    let missing = || Error::Missing(path.to_owned());
    let real = session.host().real_path(path).ok_or_else(missing)?;
    if session.kind(real.as_bstr()) != Some(FileKind::Block) {
        return Err(missing());
    }
    let command = Command::query("udevadm").args(["info", "--query=path"]).operand(&real);
    let output = session.run(&command)?;
    let device = output.lines().next().map(ToOwned::to_owned).unwrap_or_default();
    let target = volume.storage().require("target")?;
    let mine: Vec<IscsiSession> =
        read_sessions(session)?.into_iter().filter(|found| found.target == target).collect();
    for device in physical(session, &device)? {
        let on = |found: &IscsiSession| device.contains_str(concat([b"/session", &found.id, b"/"]));
        if mine.iter().any(on) {
            return Ok(());
        }
    }
    Err(Error::Activation { what: volume.volid(), reason: format!("it is no LUN of target '{target}'") })
}

/// The devices below a virtual one (multipath), as paths below `/sys`.
fn physical(session: &Session<'_>, device: &BString) -> Result<Vec<BString>> {
    if !device.contains_str("/virtual/") {
        return Ok(vec![device.clone()]);
    }
    let directory = concat([b"/sys", device, b"/slaves"]);
    let mut found = Vec::new();
    for slave in session.list(directory.as_bstr())? {
        let link = concat([&directory, b"/", &slave]);
        let real = session.host().real_path(link.as_bstr());
        let real = real.and_then(|real| real.strip_prefix(b"/sys").map(BString::from));
        found.extend(physical(session, &real.unwrap_or(slave))?);
    }
    Ok(found)
}

/// The LUNs of the target (spec: volumes, "zfspool, zfs, rbd, iscsi, iscsidirect").
pub(super) fn list(
    session: &Session<'_>,
    storage: &Storage,
    wanted: Wanted<'_>,
    listing: &mut Listing,
) -> Result<()> {
    let target = storage.require("target")?;
    let links = links(session)?;
    let hosts = hosts(session, target)?;
    for device in session.list(BStr::new("/sys/bus/scsi/devices"))? {
        let Some((host, address)) = scsi_address(&device) else { continue };
        if !hosts.contains(&host) {
            listing.hide(&device, None, Invisible::OtherTarget);
            continue;
        }
        let directory = concat([b"/sys/bus/scsi/devices/", &device]);
        let kind = session.read(concat([&directory, b"/type"]).as_bstr())?;
        let block = session.list(concat([&directory, b"/block"]).as_bstr())?.into_iter().next();
        let Some(block) = block else {
            listing.hide(&device, None, Invisible::NotADisk);
            continue;
        };
        let holder = multipath(session, &block)?;
        let named = holder.as_ref().unwrap_or(&block);
        let mine = links.iter().filter(|(_, to)| to == named).map(|(link, _)| link.as_bytes());
        let size = session.read(concat([b"/sys/block/", named, b"/size"]).as_bstr())?;
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let lun = IscsiLun {
            channel: narrow(address.channel),
            id: narrow(address.id),
            lun: address.lun,
            // what has no readable type is no disk
            scsi_type: kind.and_then(|text| number(text.as_bstr())).map_or(u32::MAX, narrow),
            size: size.and_then(|text| number(text.as_bstr())).unwrap_or(0).saturating_mul(512),
            link: stable_link(mine),
        };
        match lun.judge(wanted) {
            Ok(listed) => {
                let image = Image::of(storage, &listed)?;
                // the paths of a multipath device are one volume
                if !listing.images.iter().any(|known| known.volid == image.volid) {
                    let owner = Some("0".into());
                    listing.show(Image { owner, size: Some(lun.size), lun: Some(address), ..image });
                }
            }
            Err(reason) => listing.hide(&device, Some(lun.size), reason),
        }
    }
    Ok(())
}

/// `HOST:CHANNEL:ID:LUN`
fn scsi_address(device: &BString) -> Option<(u64, LunAddress)> {
    let mut numbers = device.split_str(":").map(|part| Digits::new(part)?.number());
    let mut next = || numbers.next().flatten();
    let (host, channel, id, lun) = (next()?, next()?, next()?, next()?);
    numbers.next().is_none().then_some((host, LunAddress { channel, id, lun }))
}

/// The SCSI hosts of the sessions to a target.
fn hosts(session: &Session<'_>, target: &BStr) -> Result<Vec<u64>> {
    let class = BStr::new("/sys/class/iscsi_session");
    let mut hosts = Vec::new();
    for name in session.list(class)? {
        let directory = concat([class, b"/", &name]);
        let found = session.read(concat([&directory, b"/targetname"]).as_bstr())?.unwrap_or_default();
        if found.trim_ascii() != target.as_bytes() {
            continue;
        }
        for entry in session.list(concat([&directory, b"/device"]).as_bstr())? {
            // `targetHOST:CHANNEL:ID`
            let host = entry.strip_prefix(b"target").and_then(|rest| rest.split_str(":").next());
            hosts.extend(host.and_then(Digits::new).and_then(Digits::number));
        }
    }
    Ok(hosts)
}

/// The links in `/dev/disk/by-id` and the devices they lead to.
fn links(session: &Session<'_>) -> Result<Vec<(BString, BString)>> {
    let directory = BStr::new("/dev/disk/by-id");
    let mut links = Vec::new();
    for name in session.list(directory)? {
        if let Some(target) = session.host().link_target(concat([directory, b"/", &name]).as_bstr()) {
            let device = target.rsplit_once_str("/").map_or(target.as_bytes(), |(_, device)| device);
            links.push((name, device.into()));
        }
    }
    Ok(links)
}

/// The multipath device that holds a block device, if one does.
fn multipath(session: &Session<'_>, block: &BString) -> Result<Option<BString>> {
    let holders = session.list(concat([b"/sys/block/", block, b"/holders"]).as_bstr())?;
    Ok(holders.into_iter().find(|holder| holder.starts_with(b"dm-")))
}
