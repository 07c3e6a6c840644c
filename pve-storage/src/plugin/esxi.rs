// SPDX-License-Identifier: MIT OR Apache-2.0
//! `esxi`: the virtual machines of a VMware ESXi host, for import only.

mod manifest;

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{ContentType, ImageFormat, StorageType, VolumeFormat, VolumeName, Wanted};

use super::{Plugin, bracketed, concat, no_snapshots, parse_as, qemu_img, states, unsupported};
use crate::command::Command;
use crate::error::{Error, Result};
use crate::features::{Feature, FeatureRule, Refusal, VolumeState, look_up};
use crate::listing::Listing;
use crate::operation::{SizeInfo, Status};
use crate::session::{Cache, Session};
use crate::storage::Storage;
use crate::transfer::{StreamFormat, TransferScope};
use crate::volume::{Facts, Volume};

/// `esxi`.
#[derive(Debug)]
pub(crate) struct Esxi;

const FEATURES: &[FeatureRule] = &[FeatureRule::any(Feature::Copy, states::CURRENT)];

impl Plugin for Esxi {
    fn parse<'a>(&self, storage: &Storage, volname: &'a [u8]) -> Result<VolumeName<'a>> {
        parse_as(StorageType::Esxi, storage, volname)
    }

    fn content(&self) -> &'static [ContentType] {
        &[ContentType::Import]
    }

    fn default_content(&self) -> &'static [ContentType] {
        &[ContentType::Import]
    }

    fn formats(&self, _storage: &Storage) -> Vec<ImageFormat> {
        StorageType::Esxi.image_formats().to_vec()
    }

    fn features(&self) -> &'static [FeatureRule] {
        FEATURES
    }

    fn has_feature(
        &self,
        volume: &Volume<'_>,
        feature: Feature,
        state: VolumeState,
        _targets: Option<&[ImageFormat]>,
    ) -> Result<(), Refusal> {
        if volume.format == VolumeFormat::Vmx {
            return Err(Refusal::Other("a .vmx file describes a machine, it is no disk".into()));
        }
        let kind = volume.storage().type_name();
        look_up(FEATURES, kind, feature, state, volume.format.image(), &volume.format)
    }

    fn path(&self, volume: &Volume<'_>, snapshot: Option<&BStr>, _facts: &Facts) -> Result<BString> {
        if snapshot.is_some() {
            return Err(no_snapshots(volume.storage()));
        }
        Ok(concat([&mount_point(volume.storage()), b"/", volume.volname]))
    }

    fn export_formats(&self, volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Err(unsupported(volume.storage(), "export volumes", "they are read through its file system"))
    }

    fn import_formats(&self, volume: &Volume<'_>, _scope: TransferScope) -> Result<Vec<StreamFormat>> {
        Err(unsupported(volume.storage(), "import volumes", "it is read-only"))
    }

    fn check_connection(&self, session: &Session<'_>, storage: &Storage) -> Result<bool> {
        let server = storage.require("server")?;
        let port = storage.number("port").and_then(|port| u16::try_from(port).ok()).unwrap_or(443);
        Ok(session.host().reachable(&server.to_str_lossy(), port, Duration::from_secs(2)))
    }

    fn activate_storage(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<()> {
        let point = mount_point(storage);
        if cache.mounts(session)?.iter().any(|mount| mount.point == point) {
            return Ok(());
        }
        manifest::refresh(session, storage)?;
        session.make_directories(point.as_bstr())?;
        cache.mounts = None;
        session.run(&self.mount_command(storage)?).map(drop)
    }

    fn deactivate_storage(&self, session: &Session<'_>, storage: &Storage, _cache: &mut Cache) -> Result<()> {
        let scope = scope(storage);
        for action in ["reset-failed", "stop"] {
            session.attempt(&Command::change("/bin/systemctl").arg(action).operand(&scope));
        }
        session.run(&Command::change("/bin/umount").operand(mount_point(storage))).map(drop)
    }

    /// Sizes are not told; it counts as active when its file system is mounted.
    fn status(&self, session: &Session<'_>, storage: &Storage, cache: &mut Cache) -> Result<Option<Status>> {
        let point = mount_point(storage);
        let active = cache.mounts(session)?.iter().any(|mount| mount.point == point);
        Ok(Some(Status { active, ..Status::default() }))
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
            ContentType::Import => manifest::machines(session, storage, wanted, listing),
            _ => Ok(()),
        }
    }

    fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        let format = volume.format.to_string();
        if volume.format == VolumeFormat::Vmx {
            return Ok(SizeInfo { size: 0, format, used: 0, parent: None, ctime: None });
        }
        let path = self.path(volume, None, &Facts::default())?;
        let info = qemu_img::info(session, path.as_bstr(), None, false, None)?.unwrap_or_default();
        let number = |name: &str| info.get(name).and_then(serde_json::Value::as_u64);
        match (number("virtual-size"), number("actual-size")) {
            (Some(size), Some(used)) => Ok(SizeInfo { size, format, used, parent: None, ctime: None }),
            _ => Err(Error::Answer {
                command: format!("qemu-img info {path}"),
                reason: "'virtual-size' and 'actual-size' are no whole numbers".into(),
            }),
        }
    }
}

impl Esxi {
    /// Mounts the datastores of the host, in a systemd scope of its own. The scope's program tells by itself when it
    /// is ready: without the descriptor that the reference gives it, it goes to the background then.
    fn mount_command(&self, storage: &Storage) -> Result<Command> {
        let mut command = Command::change("/bin/systemd-run")
            .args(["--scope", "--collect", "--unit"])
            .operand(scope(storage))
            .arg("/usr/libexec/pve-esxi-import-tools/esxi-folder-fuse");
        if storage.flag("skip-cert-verification") {
            command = command.arg("--skip-cert-verification");
        }
        let server = storage.require("server")?;
        let host = match storage.get("port") {
            Some(port) => concat([&bracketed(server), b":", port]),
            None => server.to_owned(),
        };
        Ok(command
            .args(["--change-user", "nobody", "--change-group", "nogroup", "-o", "allow_other", "--user"])
            .operand(storage.require("username")?)
            .arg("--password-file")
            .operand(password_file(storage))
            .operand(host)
            .operand(manifest::file(storage))
            .operand(mount_point(storage)))
    }
}

/// The file that holds the password.
fn password_file(storage: &Storage) -> BString {
    format!("/etc/pve/priv/storage/{}.pw", storage.id()).into()
}

/// The systemd scope of the file system.
fn scope(storage: &Storage) -> BString {
    let id = storage.id().as_str().replace('-', r"\x2d");
    format!("pve-esxi-fuse-{id}.scope").into()
}

/// The directory of run-time files.
pub(super) fn run_directory(storage: &Storage) -> BString {
    format!("/run/pve/import/esxi/{}", storage.id()).into()
}

/// Where the host's datastores are mounted.
pub(super) fn mount_point(storage: &Storage) -> BString {
    concat([&run_directory(storage), b"/mnt"])
}
