// SPDX-License-Identifier: MIT OR Apache-2.0
//! The calls of `zfs` that `zfspool` and `zfs` share; the latter makes them on another machine.

use std::time::Duration;

use bstr::{BStr, BString, ByteSlice};
use pve_volid::{BASE_SNAPSHOT, Digits, ImageFormat, Naming, StorageType, Wanted, ZfsDataset, ZfsFilter};

use super::super::{concat, free_name_among};
use super::is_file_system;
use crate::command::{Command, Effect, Output};
use crate::error::{Error, Result};
use crate::listing::{Image, Listing};
use crate::operation::{SizeInfo, SnapshotInfo, Status};
use crate::session::{Session, failed, number, strange};
use crate::storage::Storage;
use crate::volume::Volume;
use crate::words::words;

/// How often a busy dataset is tried to be destroyed.
const DESTROY_ATTEMPTS: usize = 6;

/// `zfs` for the datasets of a storage, here or on the machine that serves its LUNs.
#[derive(Clone, Copy)]
pub(in super::super) struct Zfs<'s> {
    pub(in super::super) storage: &'s Storage,
    /// The portal of the machine, reached by ssh.
    pub(in super::super) remote: Option<&'s BStr>,
}

impl<'s> Zfs<'s> {
    /// The tools of this machine.
    pub(in super::super) fn local(storage: &'s Storage) -> Self {
        Zfs { storage, remote: None }
    }

    /// The tools of the machine behind the storage's portal.
    pub(in super::super) fn remote(storage: &'s Storage) -> Result<Self> {
        Ok(Zfs { storage, remote: Some(storage.require("portal")?) })
    }

    /// A program with its first arguments, run where the datasets are.
    pub(in super::super) fn program(&self, session: &Session<'_>, effect: Effect, words: &[&str]) -> Command {
        let new = |program: &str| match effect {
            Effect::Query => Command::query(program),
            Effect::Change => Command::change(program),
        };
        let command = match (self.remote, words) {
            (Some(portal), _) => new("/usr/bin/ssh")
                .args(["-o", "BatchMode=yes", "-i"])
                .value(concat([b"/etc/pve/priv/zfs/", portal, b"_id_rsa"]))
                .operand(concat([b"root@", portal]))
                .args(words),
            (None, [program, rest @ ..]) => new(program).args(rest),
            (None, []) => new("zfs"),
        };
        command.timeout(session.limit(10, 3600))
    }

    fn ask(&self, session: &Session<'_>, words: &[&str]) -> Command {
        self.program(session, Effect::Query, words)
    }

    fn tell(&self, session: &Session<'_>, words: &[&str]) -> Command {
        self.program(session, Effect::Change, words)
    }

    /// `POOL/NAME`. What goes through another machine's shell must have no meaning there.
    pub(in super::super) fn dataset(&self, name: &[u8]) -> Result<BString> {
        let dataset = concat([self.storage.require("pool")?, b"/", name]);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/@".contains(byte);
        if self.remote.is_some() && !dataset.iter().all(plain) {
            return Err(Error::Escapes(dataset));
        }
        Ok(dataset)
    }

    fn at(&self, name: &[u8], snapshot: &[u8]) -> Result<BString> {
        self.dataset(&concat([name, b"@", snapshot]))
    }

    /// One or more properties of a dataset, a line each.
    fn get(&self, session: &Session<'_>, properties: &str, dataset: &BString) -> Result<Vec<BString>> {
        let command = self.ask(session, &["zfs", "get", "-o", "value", "-Hp", properties]).operand(dataset);
        Ok(session.run(&command)?.lines().map(|line| line.trim_ascii().into()).collect())
    }

    fn get_one(&self, session: &Session<'_>, property: &str, dataset: &BString) -> Result<BString> {
        Ok(self.get(session, property, dataset)?.into_iter().next().unwrap_or_default())
    }

    /// The space of the pool; nothing, and not active, if it cannot be told.
    pub(in super::super) fn status(&self, session: &Session<'_>) -> Result<Status> {
        let command = self
            .ask(session, &["zfs", "get", "-o", "value", "-Hp", "available,used"])
            .operand(self.storage.require("pool")?);
        let output = session.ask(&command)?;
        let numbers: Vec<u64> = output.lines().filter_map(number).collect();
        Ok(match numbers.as_slice() {
            [available, used] if output.succeeded() => {
                Status { total: available + used, available: *available, used: *used, active: true }
            }
            _ => {
                session.warn(format!("{command}: {}", output.complaint()));
                Status::default()
            }
        })
    }

    /// Whether a dataset or snapshot exists.
    pub(in super::super) fn exists(&self, session: &Session<'_>, dataset: &BString) -> Result<bool> {
        let command = self.ask(session, &["zfs", "get", "-H", "name"]).operand(dataset);
        Ok(session.ask(&command)?.succeeded())
    }

    /// What `zfs list` tells of the datasets of the storage.
    pub(in super::super) fn datasets(&self, session: &Session<'_>) -> Result<Output> {
        let columns = "name,volsize,origin,type,refquota";
        let command = self
            .ask(session, &["zfs", "list", "-o", columns, "-t", "volume,filesystem", "-d1", "-Hp"])
            .operand(self.storage.require("pool")?)
            .timeout(Duration::from_secs(10));
        session.run(&command)
    }

    /// The images of the storage (spec: volumes, "zfspool, zfs, rbd, iscsi, iscsidirect").
    pub(in super::super) fn list(
        &self,
        session: &Session<'_>,
        wanted: Wanted<'_>,
        listing: &mut Listing,
    ) -> Result<()> {
        let output = self.datasets(session)?;
        let filter = ZfsFilter { pool: self.storage.require("pool")?, wanted };
        for dataset in output.lines().filter_map(|line| ZfsDataset::parse(line)) {
            match filter.judge(&dataset) {
                Ok(listed) => {
                    let name = dataset.dataset.rsplit_once_str("/").map_or(&b""[..], |(_, name)| name);
                    let image = Image::of(self.storage, &listed)?;
                    listing.show(Image { size: Some(dataset.size()), name: Some(name.into()), ..image });
                }
                Err(reason) => listing.hide(dataset.dataset, Some(dataset.size()), reason),
            }
        }
        Ok(())
    }

    /// The next free name of a guest: what is not listed does not count.
    pub(in super::super) fn free_name(
        &self,
        session: &Session<'_>,
        owner: Digits<'_>,
        format: ImageFormat,
    ) -> Result<BString> {
        let mut listing = Listing::new();
        self.list(session, Wanted::Guest(owner), &mut listing)?;
        let volids: Vec<&[u8]> =
            listing.images.iter().map(|image| image.volid.as_bstr().as_bytes()).collect();
        free_name_among(self.storage, owner, Some(format), volids)
    }

    /// Makes a volume; its size is rounded up to a whole MiB.
    pub(in super::super) fn create_volume(
        &self,
        session: &Session<'_>,
        name: &BStr,
        size_kib: u64,
    ) -> Result<()> {
        let mut command = self.tell(session, &["zfs", "create"]);
        if self.storage.flag("sparse") {
            command = command.arg("-s");
        }
        if let Some(size) = self.storage.get("blocksize") {
            command = command.arg("-b").operand(size);
        }
        let size = format!("{}k", whole_mib(size_kib));
        session.run(&command.args(["-V", &size]).operand(self.dataset(name)?)).map(drop)
    }

    /// Makes the file system of a container.
    pub(in super::super) fn create_file_system(
        &self,
        session: &Session<'_>,
        name: &BStr,
        size_kib: u64,
    ) -> Result<()> {
        let quota = if size_kib == 0 { "refquota=none".to_owned() } else { format!("refquota={size_kib}k") };
        let command = self
            .tell(session, &["zfs", "create", "-o", "acltype=posixacl", "-o", "xattr=sa", "-o", &quota])
            .operand(self.dataset(name)?);
        session.run(&command).map(drop)
    }

    /// Removes a dataset with its snapshots; one that is busy is tried again, one that is missing is fine.
    pub(in super::super) fn destroy(&self, session: &Session<'_>, name: &BStr) -> Result<()> {
        let command = self.tell(session, &["zfs", "destroy", "-r"]).operand(self.dataset(name)?);
        for attempt in 1..=DESTROY_ATTEMPTS {
            let output = session.ask(&command)?;
            if output.succeeded() || output.stderr.contains_str("dataset does not exist") {
                return Ok(());
            }
            if attempt == DESTROY_ATTEMPTS || !output.stderr.contains_str("dataset is busy") {
                return Err(failed(&command, &output));
            }
            session.host().sleep(Duration::from_secs(1));
        }
        Ok(())
    }

    /// Makes a linked clone; returns its name.
    pub(in super::super) fn clone_volume(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        snapshot: Option<&BStr>,
    ) -> Result<BString> {
        if !volume.is_base {
            return Err(volume.unsupported("be cloned", "it is no base volume"));
        }
        let format = if volume.is_subvol() { ImageFormat::Subvol } else { ImageFormat::Raw };
        let name = self.free_name(session, owner, format)?;
        let source = self.at(volume.name, snapshot.unwrap_or(BStr::new(BASE_SNAPSHOT)))?;
        let target = self.dataset(&name)?;
        let mut command = self.tell(session, &["zfs", "clone"]).operand(source).operand(target);
        if volume.is_subvol() {
            let quota = self.get_one(session, "refquota", &self.dataset(volume.name)?)?;
            let quota = if quota == "0" { BStr::new("none") } else { quota.as_bstr() };
            command = command.arg("-o").value(concat([b"refquota=", quota]));
        }
        session.run(&command)?;
        Ok(name)
    }

    /// Renames a volume to its name as a template; returns that.
    pub(in super::super) fn rename_to_base(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
    ) -> Result<BString> {
        let naming = Naming::new(StorageType::ZfsPool);
        let name = naming.template(volume.name).unwrap_or_else(|| volume.name.to_owned());
        let command = self
            .tell(session, &["zfs", "rename"])
            .operand(self.dataset(volume.name)?)
            .operand(self.dataset(&name)?);
        session.run(&command)?;
        Ok(name)
    }

    /// Renames a volume of the guest, to the next free name of `owner` if none is given; returns the new name.
    pub(in super::super) fn rename(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        owner: Digits<'_>,
        name: Option<&BStr>,
    ) -> Result<BString> {
        let format = if volume.is_subvol() { ImageFormat::Subvol } else { ImageFormat::Raw };
        let name = match name {
            Some(name) => name.to_owned(),
            None => self.free_name(session, owner, format)?,
        };
        let target = self.dataset(&name)?;
        if self.exists(session, &target)? {
            return Err(Error::Exists(target));
        }
        let command = self
            .tell(session, &["zfs", "rename"])
            .operand(self.dataset(volume.name)?)
            .operand(target)
            .timeout(session.limit(5, 3600));
        session.run(&command)?;
        Ok(name)
    }

    /// Makes a snapshot; that of a file system remembers its quota.
    pub(in super::super) fn snapshot(
        &self,
        session: &Session<'_>,
        name: &BStr,
        snapshot: &BStr,
    ) -> Result<()> {
        let target = self.at(name, snapshot)?;
        session.run(&self.tell(session, &["zfs", "snapshot"]).operand(&target))?;
        if is_file_system(name) {
            let quota = self.get_one(session, "refquota", &self.dataset(name)?)?;
            let command = self
                .tell(session, &["zfs", "set"])
                .value(concat([b"pve-storage:refquota=", &quota]))
                .operand(target);
            session.run(&command)?;
        }
        Ok(())
    }

    /// Fails unless the snapshot is the newest.
    pub(in super::super) fn check_rollback(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        snapshot: &BStr,
    ) -> Result<()> {
        let dataset = self.dataset(volume.name)?;
        let command = self
            .ask(session, &["zfs", "list", "-H", "-r", "-t", "snapshot", "-o", "name", "-s", "creation"])
            .operand(&dataset);
        let output = session.run(&command)?;
        let prefix = concat([&dataset, b"@"]);
        let names: Vec<BString> = output
            .lines()
            .filter_map(|line| line.strip_prefix(prefix.as_bytes()).map(BString::from))
            .collect();
        let Some(at) = names.iter().position(|name| name == snapshot) else {
            return Err(Error::Missing(concat([&prefix, snapshot])));
        };
        let newer = names.get(at + 1..).unwrap_or_default().to_vec();
        if newer.is_empty() {
            return Ok(());
        }
        Err(Error::RollbackBlocked { volume: volume.volid(), snapshot: snapshot.to_owned(), newer })
    }

    /// Goes back to the newest snapshot.
    pub(in super::super) fn rollback(
        &self,
        session: &Session<'_>,
        name: &BStr,
        snapshot: &BStr,
    ) -> Result<()> {
        let (dataset, source) = (self.dataset(name)?, self.at(name, snapshot)?);
        session.run(&self.tell(session, &["zfs", "rollback"]).operand(&source))?;
        if !is_file_system(name) {
            return Ok(());
        }
        let quota = self.get_one(session, "pve-storage:refquota", &source)?;
        if Digits::new(&quota).is_some() {
            let quota = if quota == "0" { BStr::new("none") } else { quota.as_bstr() };
            let command =
                self.tell(session, &["zfs", "set"]).value(concat([b"refquota=", quota])).operand(&dataset);
            session.run(&command)?;
        } else if quota != "-" {
            session.warn(format!("{source}: the quota it remembers, '{quota}', is no number"));
        }
        // the kernel may still show what was there before: it is mounted anew when it is used
        let command = self.tell(session, &["zfs", "unmount"]).operand(&dataset);
        let output = session.ask(&command)?;
        if !output.succeeded() && !output.stderr.trim_ascii_end().ends_with(b"not currently mounted") {
            return Err(failed(&command, &output));
        }
        Ok(())
    }

    pub(in super::super) fn delete_snapshot(
        &self,
        session: &Session<'_>,
        name: &BStr,
        snapshot: &BStr,
    ) -> Result<()> {
        let target = self.at(name, snapshot)?;
        session.run(&self.tell(session, &["zfs", "destroy"]).operand(target)).map(drop)
    }

    /// The snapshots of a volume with their guids and times.
    pub(in super::super) fn snapshots(
        &self,
        session: &Session<'_>,
        name: &BStr,
    ) -> Result<Vec<SnapshotInfo>> {
        let dataset = self.dataset(name)?;
        let command = self
            .ask(session, &["zfs", "list", "-Hp", "-r", "-t", "snapshot", "-o", "name,guid,creation"])
            .operand(&dataset);
        let output = session.run(&command)?;
        let prefix = concat([&dataset, b"@"]);
        let read = |line: &BStr| {
            let mut fields = words(line);
            let name = fields.next()?.strip_prefix(prefix.as_bytes())?.into();
            let id = fields.next().map(BString::from);
            let timestamp = fields.next().and_then(|time| time.to_str().ok()?.parse().ok());
            Some(SnapshotInfo { name, id, timestamp, link: None })
        };
        Ok(output.lines().filter_map(read).collect())
    }

    /// Grows a volume, or the quota of a file system; returns the new size in KiB.
    pub(in super::super) fn resize(
        &self,
        session: &Session<'_>,
        volume: &Volume<'_>,
        size: u64,
    ) -> Result<u64> {
        let mut size_kib = size / 1024;
        let property = if volume.is_subvol() {
            "refquota"
        } else {
            size_kib = whole_mib(size_kib);
            "volsize"
        };
        let value = format!("{property}={size_kib}k");
        session.run(&self.tell(session, &["zfs", "set", &value]).operand(self.dataset(volume.name)?))?;
        Ok(size_kib)
    }

    pub(in super::super) fn size_info(&self, session: &Session<'_>, volume: &Volume<'_>) -> Result<SizeInfo> {
        let (properties, format) = match volume.is_subvol() {
            true => ("refquota,usedbydataset", ImageFormat::Subvol),
            false => ("volsize,usedbydataset", ImageFormat::Raw),
        };
        let dataset = self.dataset(volume.name)?;
        let values = self.get(session, properties, &dataset)?;
        let value = |at: usize| {
            values.get(at).and_then(|text| number(text.as_bstr())).ok_or_else(|| {
                let command = self.ask(session, &["zfs", "get", "-o", "value", "-Hp", properties]);
                strange(&command.operand(&dataset), "expected two numbers")
            })
        };
        Ok(SizeInfo {
            size: value(0)?,
            format: format.to_string(),
            used: value(1)?,
            parent: volume.base.map(|base| base.name.to_owned()),
            ctime: None,
        })
    }
}

/// KiB rounded up to a whole MiB.
fn whole_mib(size_kib: u64) -> u64 {
    size_kib.checked_next_multiple_of(1024).unwrap_or(size_kib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_another_machine_have_no_meaning_to_its_shell() {
        let storage =
            Storage::new("zi".parse().unwrap(), "zfs").with("pool", "tank").with("portal", "10.0.0.1");
        let zfs = Zfs::remote(&storage).unwrap();
        assert_eq!(zfs.dataset(b"vm-100-disk-0").unwrap(), "tank/vm-100-disk-0");
        for bad in [&b"vm-100-$(reboot)"[..], b"vm-100-a;b", b"vm-100-`x`", b"vm-100-a b"] {
            assert!(matches!(zfs.dataset(bad), Err(Error::Escapes(_))), "{}", BStr::new(bad));
        }
    }
}
