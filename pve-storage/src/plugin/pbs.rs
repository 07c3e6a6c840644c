// SPDX-License-Identifier: MIT OR Apache-2.0
//! `pbs`: backup snapshots in a datastore of a Proxmox Backup Server.

mod client;
mod listing;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeName, Wanted};
use serde_json::Value;

pub(crate) use client::snapshot_list;
pub use client::{KeepOptions, prune};

use super::{Plugin, bracketed, concat, no_snapshots, parse_as};
use crate::command::Effect;
use crate::error::{Error, Result};
use crate::features::FeatureRule;
use crate::listing::Listing;
use crate::operation::{SizeInfo, Status, Wipe};
use crate::session::{Cache, Session};
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

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<()> {
        let command = client::command(session, storage, Effect::Query, &["status"])?;
        match client::run(session, command, storage) {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Activation {
                what: storage.id().as_str().into(),
                reason: format!("its datastore cannot be reached: {error}"),
            }),
        }
    }

    fn status(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<Option<Status>> {
        let command = client::command(session, storage, Effect::Query, &["status"])?;
        let answer = match client::json(session, command, storage) {
            Ok(answer) => answer,
            Err(error) => {
                session.warn(error.to_string());
                return Ok(Some(Status::default()));
            }
        };
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
        Ok(Some(Status {
            total: number("total"),
            available: number("avail"),
            used: number("used"),
            active: true,
        }))
    }

    fn list_images(
        &self,
        _session: &Session<'_>,
        _storage: &Storage,
        _wanted: Wanted<'_>,
        _listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        Ok(())
    }

    fn list_content(
        &self,
        session: &Session<'_>,
        storage: &Storage,
        content: ContentType,
        wanted: Wanted<'_>,
        listing: &mut Listing,
        _cache: &mut Cache,
    ) -> Result<()> {
        match content {
            ContentType::Backup => listing::backups(session, storage, wanted, listing),
            _ => Ok(()),
        }
    }

    fn free(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<Wipe>> {
        let storage = volume.storage();
        let command = client::command(session, storage, Effect::Change, &["forget"])?.operand(volume.name);
        client::run(session, command, storage).map(|_| None)
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        let storage = volume.storage();
        let command = client::command(session, storage, Effect::Query, &["files"])?.operand(volume.name);
        let files = client::json(session, command, storage)?;
        let files = files.as_array().map(Vec::as_slice).unwrap_or_default();
        let size = files.iter().filter_map(|file| file.get("size")?.as_u64()).sum();
        Ok(SizeInfo { size, format: volume.format.to_string(), used: size, parent: None, ctime: None })
    }

    fn notes(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<Option<BString>> {
        let storage = volume.storage();
        let command = client::command(session, storage, Effect::Query, &["snapshot", "notes", "show"])?;
        let output = client::run(session, command.operand(volume.name), storage)?;
        let notes = output.stdout.trim_ascii_end();
        Ok((!notes.is_empty()).then(|| notes.into()))
    }

    fn set_notes(&self, session: &Session<'_>, volume: &Volume<'_>, notes: &str) -> Result<()> {
        let storage = volume.storage();
        let command = client::command(session, storage, Effect::Change, &["snapshot", "notes", "update"])?;
        // a text that begins with a dash would be an option: the client reads it behind `--`
        let command = command.operand(volume.name);
        let command = if notes.starts_with('-') { command.arg("--") } else { command };
        client::run(session, command.value(notes), storage).map(drop)
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
