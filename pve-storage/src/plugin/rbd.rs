// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rbd`: images in a pool of a Ceph cluster, through librbd or mapped by the kernel.

mod device;
mod image;

use std::borrow::Cow;
use std::io::{Read, Write};

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, Digits, ImageFormat, StorageType, VolumeName, Wanted};
use serde_json::Value;

use image::Tool;

use super::directory::activation::ceph_facts;
use super::zfs::with_base;
use super::{Plugin, check_owner_prefix, concat, parse_as, states};
use crate::block_device::{BlockDevice, BlockValue};
use crate::ceph::{CephConnection, CephFacts, Monitor, check_fsid, conf_fsid, conf_path, keyring_path};
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, SnapshotMethod};
use crate::host::Change;
use crate::listing::Listing;
use crate::operation::{Allocation, Hints, SizeInfo, SnapshotInfo, Status, Transfer, Wipe};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `rbd`.
#[derive(Debug)]
pub(crate) struct Rbd;

const FEATURES: &[FeatureRule] = &[
    FeatureRule::any(Feature::Snapshot, states::CURRENT_SNAPSHOT),
    FeatureRule::any(Feature::Clone, states::BASE_SNAPSHOT),
    FeatureRule::any(Feature::Template, states::CURRENT),
    FeatureRule::any(Feature::Copy, states::ALL),
    FeatureRule::any(Feature::SparseInit, states::BASE_CURRENT),
    FeatureRule::any(Feature::Rename, states::CURRENT),
];

/// The port of a monitor that `monhost` names without one.
const MONITOR_PORT: &[u8] = b"3300";

/// What `rbd` tells of all images of a storage.
pub(crate) fn rbd_images(session: &Session<'_>, storage: &Storage) -> Result<BString> {
    Ok(Tool::new(session, storage)?.listed(session)?.stdout)
}

impl Plugin for Rbd {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Rbd, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Images, ContentType::RootDir]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Images]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        Vec::new()
    }

    fn always_shared(&self) -> bool {
        true
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, facts: &Facts) -> Result<BString> {
        let storage = volume.storage();
        if storage.flag("krbd") {
            return device(volume, snapshot, &facts.ceph);
        }
        let connection = CephConnection::new(storage, &facts.ceph);
        let mut path = concat([b"rbd:", &image_spec(storage, volume.name, snapshot)]);
        if let Some(conf) = &connection.conf {
            path.extend_from_slice(&concat([b":conf=", conf]));
        }
        if !connection.monitors.is_empty() {
            let hosts = bstr::join(";", &connection.monitors).replace(":", "\\:");
            let auth = connection.auth().as_bytes();
            path.extend_from_slice(&concat([b":mon_host=", &hosts, b":auth_supported=", auth]));
        }
        if let Some(keyring) = &connection.keyring {
            path.extend_from_slice(&concat([b":id=", &connection.user, b":keyring=", keyring]));
        }
        Ok(path)
    }

    fn block_device(
        &self,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        facts: &Facts,
    ) -> Result<BlockDevice> {
        let storage = volume.storage();
        if storage.flag("krbd") {
            return Ok(BlockDevice::at_path("host_device", device(volume, snapshot, &facts.ceph)?));
        }
        let connection = CephConnection::new(storage, &facts.ceph);
        let mut device = BlockDevice::new("rbd").with("pool", pool(storage)).with("image", volume.name);
        if let Some(namespace) = storage.get("namespace") {
            device = device.with("namespace", namespace);
        }
        if let Some(snapshot) = snapshot {
            device = device.with("snapshot", snapshot);
        }
        if let Some(conf) = &connection.conf {
            device = device.with("conf", conf);
        }
        if !connection.monitors.is_empty() {
            let servers = connection.monitors.iter().map(server).collect();
            device = device
                .with("server", BlockValue::List(servers))
                .with("auth-client-required", BlockValue::List(vec![connection.auth().into()]));
        }
        if connection.keyring.is_some() {
            device = device.with("user", &connection.user);
        }
        Ok(device)
    }

    fn snapshot_method(&self, volume: &Volume<'_>) -> SnapshotMethod {
        if volume.storage().flag("krbd") { SnapshotMethod::Storage } else { SnapshotMethod::Qemu }
    }

    fn export_formats(&self, volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        self.import_formats(volume, scope)
    }

    fn import_formats(&self, _volume: &Volume<'_>, scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Ok(super::lvm::import_formats(scope))
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<Option<Status>> {
        let facts = ceph_facts(session, storage)?;
        let connection = connection(session, storage, &facts)?;
        let answer = session.host().ask_monitor(&connection, "df")?;
        let wanted = storage.get("data-pool").unwrap_or(pool(storage));
        let pools = answer.get("pools").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let found = pools.iter().find(|pool| {
            pool.get("name").and_then(Value::as_str).is_some_and(|name| name.as_bytes() == wanted.as_bytes())
        });
        let stats = found.and_then(|pool| pool.get("stats"));
        let Some(stats) = stats else {
            session.warn(format!("the cluster has no pool '{wanted}'"));
            return Ok(None);
        };
        let number = |name: &str| stats.get(name).and_then(Value::as_u64);
        let available = number("max_avail").unwrap_or(0);
        let used = number("stored").or(number("bytes_used")).unwrap_or(0);
        Ok(Some(Status { total: available + used, available, used, active: true }))
    }

    fn list_images(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        Tool::new(session, storage)?.list(session, wanted, listing)
    }

    fn gather(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: Option<&BStr>) -> Result<Facts> {
        facts(session, volume, snapshot, volume.storage().flag("krbd"))
    }

    fn activate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        hints: Hints,
        _cache: &mut Cache,
    ) -> Result<()> {
        if volume.storage().flag("krbd") {
            device::map(session, volume, snapshot, hints)?;
        }
        Ok(())
    }

    fn deactivate_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        _cache: &mut Cache,
    ) -> Result<()> {
        device::unmap(session, volume, snapshot)
    }

    fn map_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
        hints: Hints,
    ) -> Result<BString> {
        device::map(session, volume, snapshot, hints)
    }

    fn unmap_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<()> {
        device::unmap(session, volume, snapshot)
    }

    fn allocate(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        request: &Allocation<'_>,
    ) -> Result<BString> {
        check_owner_prefix(request, "vm")?;
        let tool = Tool::new(session, storage)?;
        let name = match request.name {
            Some(name) => name.to_owned(),
            None => tool.free_name(session, request.owner)?,
        };
        tool.create(session, name.as_bstr(), request.size_kib)?;
        Ok(name)
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        let tool = Tool::new(session, volume.storage())?;
        tool.unprotect_all(session, volume.name)?;
        device::unmap(session, volume, None)?;
        tool.remove(session, volume.name).map(|()| None)
    }

    fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        let name = Tool::new(session, volume.storage())?.clone_image(session, volume, owner, snapshot)?;
        Ok(if snapshot.is_some() { name } else { concat([volume.name, b"/", &name]) })
    }

    fn create_base(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<BString> {
        if volume.is_base {
            return Err(volume.unsupported("become a base volume", "it is one already"));
        }
        let tool = Tool::new(session, volume.storage())?;
        let name = tool.rename_to_base(session, volume)?;
        device::try_unmap(session, volume);
        tool.make_base_snapshot(session, name.as_bstr())?;
        Ok(with_base(volume, &name))
    }

    fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        let tool = Tool::new(session, volume.storage())?;
        let name = match name {
            Some(name) => name.to_owned(),
            None => tool.free_name(session, owner)?,
        };
        tool.rename(session, volume.name, &name)?;
        device::try_unmap(session, volume);
        Ok(with_base(volume, &name))
    }

    fn resize(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        _snapshot: Option<&BStr>,
        size: u64,
        running: bool,
    ) -> Result<()> {
        if running && !volume.storage().flag("krbd") {
            return Ok(());
        }
        Tool::new(session, volume.storage())?.resize(session, volume.name, size)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        Tool::new(session, volume.storage())?.size_info(session, volume.name)
    }

    fn create_snapshot(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Tool::new(session, volume.storage())?.snapshot(session, "create", volume.name, snapshot)
    }

    fn rollback(&self, session: &Session<'_>, volume: &Volume<'_>, snapshot: &BStr) -> Result<()> {
        Tool::new(session, volume.storage())?.snapshot(session, "rollback", volume.name, snapshot)
    }

    fn delete_snapshot(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
        _running: bool,
    ) -> Result<()> {
        device::unmap(session, volume, Some(snapshot))?;
        Tool::new(session, volume.storage())?.delete_snapshot(session, volume.name, snapshot)
    }

    fn snapshots(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Vec<SnapshotInfo>> {
        Tool::new(session, volume.storage())?.snapshots(session, volume.name)
    }

    fn export(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        output: &mut (dyn Write + Send),
    ) -> Result<()> {
        let offered = self.export_formats(volume, transfer.scope())?;
        if transfer.snapshot.is_some() || !offered.contains(&transfer.format) {
            return Err(volume.unsupported("be exported", "only its present content can, as raw stream"));
        }
        Tool::new(session, volume.storage())?.export(session, volume, output)
    }

    fn import(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        transfer: &Transfer<'_>,
        input: &mut (dyn Read + Send),
    ) -> Result<BString> {
        Tool::new(session, volume.storage())?.import(session, volume, transfer, input)
    }
}

/// The connection options; for an external cluster whose key is there, the missing configuration file is written.
fn connection(session: &Session<'_>, storage: &Storage, facts: &CephFacts) -> Result<CephConnection> {
    if storage.get("monhost").is_some() && facts.keyring_exists && !facts.conf_exists {
        let content = concat([b"[global]\n\tkeyring = ", &keyring_path(storage), b"\n\n"]);
        session.attempt_change(&Change::Write { path: conf_path(storage), content, mode: 0o600 });
    }
    Ok(CephConnection::new(storage, facts))
}

/// What the paths of a volume depend on; `device`: whether the kernel's device is meant.
fn facts(session: &Session<'_>, volume: &Volume<'_>, snapshot: Option<&BStr>, device: bool) -> Result<Facts> {
    let storage = volume.storage();
    let mut ceph = ceph_facts(session, storage)?;
    let connection = connection(session, storage, &ceph)?;
    if device {
        ceph.fsid = match storage.get("fsid") {
            Some(fsid) => Some(fsid.to_owned()),
            None if !connection.monitors.is_empty() => {
                let answer = session.host().ask_monitor(&connection, "fsid")?;
                answer.get("fsid").and_then(Value::as_str).map(BString::from)
            }
            None => session
                .read(BStr::new(CephConnection::CLUSTER_CONF))?
                .and_then(|text| conf_fsid(text.as_bstr())),
        };
        ceph.older_device = has_older_device(session, volume, snapshot, &ceph)?;
    }
    Ok(Facts { ceph, ..Facts::default() })
}

/// Whether only `/dev/rbd/…` exists, of the same cluster.
fn has_older_device(
    session: &Session<'_>,
    volume: &Volume<'_>,
    snapshot: Option<&BStr>,
    facts: &CephFacts,
) -> Result<bool> {
    let Some(fsid) = &facts.fsid else { return Ok(false) };
    let spec = image_spec(volume.storage(), volume.name, snapshot);
    if session.exists(concat([b"/dev/rbd-pve/", fsid, b"/", &spec]).as_bstr()) {
        return Ok(false);
    }
    let Some(real) = session.host().real_path(concat([b"/dev/rbd/", &spec]).as_bstr()) else {
        return Ok(false);
    };
    let Some(number) = real.strip_prefix(b"/dev/rbd").and_then(Digits::new) else { return Ok(false) };
    let file = concat([b"/sys/devices/rbd/", number.as_bstr(), b"/cluster_fsid"]);
    Ok(session.read(file.as_bstr())?.is_some_and(|text| text.trim_ascii() == fsid.as_bytes()))
}

fn server(monitor: &BString) -> BlockValue {
    let monitor = Monitor::read(monitor);
    let port = monitor.port.unwrap_or(MONITOR_PORT);
    BlockValue::Object(vec![
        (Cow::Borrowed("host"), monitor.host.into()),
        (Cow::Borrowed("port"), port.into()),
    ])
}

/// The pool.
pub(super) fn pool(storage: &Storage) -> &BStr {
    storage.get("pool").unwrap_or(BStr::new("rbd"))
}

/// `POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]`.
pub(super) fn image_spec(storage: &Storage, image: &[u8], snapshot: Option<&BStr>) -> BString {
    let mut spec = pool(storage).to_owned();
    for part in storage.get("namespace").map(|namespace| &**namespace).into_iter().chain([image]) {
        spec.push(b'/');
        spec.extend_from_slice(part);
    }
    if let Some(snapshot) = snapshot {
        spec.push(b'@');
        spec.extend_from_slice(snapshot);
    }
    spec
}

/// The device node of a mapped image.
pub(super) fn device(volume: &Volume<'_>, snapshot: Option<&BStr>, facts: &CephFacts) -> Result<BString> {
    let storage = volume.storage();
    let spec = image_spec(storage, volume.name, snapshot);
    // storage.cfg cannot set `fsid`; whoever builds a storage by hand can
    let fsid = storage.get("fsid").or(facts.fsid.as_ref().map(|fsid| fsid.as_bstr()));
    let fsid =
        fsid.ok_or_else(|| Error::FactNeeded { storage: storage.id().clone(), what: "the cluster's fsid" })?;
    check_fsid(storage, fsid)?;
    Ok(if facts.older_device {
        concat([b"/dev/rbd/", &spec])
    } else {
        concat([b"/dev/rbd-pve/", fsid, b"/", &spec])
    })
}
