// SPDX-License-Identifier: MIT OR Apache-2.0
//! `rbd`: images in a pool of a Ceph cluster, through librbd or mapped by the kernel.

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::{Plugin, concat, parse_as, states};
use crate::block_device::{BlockDevice, BlockValue};
use crate::ceph::{CephConnection, CephFacts, Monitor, check_fsid};
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, SnapshotMethod};
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
