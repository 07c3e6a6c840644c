// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pbs`: backup snapshots in a datastore of a Proxmox Backup Server.

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName};

use super::{Plugin, bracketed, concat, no_snapshots, parse_as};
use crate::error::Result;
use crate::features::FeatureRule;
use crate::storage::Storage;
use crate::volume::{Facts, Volume};

/// `pbs`.
#[derive(Debug)]
pub(crate) struct Pbs;

impl Plugin for Pbs {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Pbs, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Backup, ContentType::None]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Backup]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        Vec::new()
    }

    fn always_shared(&self) -> bool {
        true
    }

    fn features(&self) -> &'static [FeatureRule] {
        &[]
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        let storage = volume.storage();
        if snapshot.is_some() {
            return Err(no_snapshots(storage));
        }
        let path = concat([b"pbs://", &repository(storage)?, b"/", volume.name]);
        Ok(match storage.get("namespace") {
            Some(namespace) => concat([&path, b"?ns=", &namespace.replace("/", "%2f")]),
            None => path,
        })
    }
}

/// `USER@SERVER[:PORT]:DATASTORE`.
pub(super) fn repository(storage: &Storage) -> Result<BString> {
    let user = storage.get("username").unwrap_or(BStr::new("root@pam"));
    let server = bracketed(storage.require("server")?);
    let port = match storage.get("port") {
        Some(port) if port != "8007" => concat([b":", port]),
        _ => BString::default(),
    };
    Ok(concat([user, b"@", &server, &port, b":", storage.require("datastore")?]))
}
