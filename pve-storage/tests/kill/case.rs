// SPDX-License-Identifier: MIT OR Apache-2.0
//! The operations that are cut short, and on what.

use std::path::Path;

use bstr::BString;
use pve_storage::{Host, LocalHost, Result, Session, Storages};
use pve_volid::{ImageFormat, VmId};

use Prepare::{Disk, Nothing};

/// An operation, with what has to be there before.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// `dir`, `chain` (a directory with volume chains) or `btrfs`.
    pub(crate) kind: &'static str,
    prepare: Prepare,
    act: fn(&Session<'_>) -> Result<()>,
}

/// What is there before.
#[derive(Clone, Copy)]
enum Prepare {
    /// Nothing, and the guest has no disk.
    Nothing,
    /// The guest's disk.
    Disk(fn(&Session<'_>) -> Result<()>),
}

pub(crate) const CASES: [Case; 17] = [
    Case { name: "allocate raw", kind: "dir", prepare: Nothing, act: |s| allocate(s, ImageFormat::Raw) },
    Case { name: "allocate qcow2", kind: "dir", prepare: Nothing, act: |s| allocate(s, ImageFormat::Qcow2) },
    Case { name: "allocate vmdk", kind: "dir", prepare: Nothing, act: |s| allocate(s, ImageFormat::Vmdk) },
    Case { name: "clone", kind: "dir", prepare: Disk(template), act: clone },
    Case { name: "snapshot", kind: "dir", prepare: Disk(qcow2), act: snapshot },
    Case { name: "rename", kind: "dir", prepare: Disk(qcow2), act: |s| rename(s, QCOW2) },
    Case {
        name: "template",
        kind: "dir",
        prepare: Disk(qcow2),
        act: |s| s.create_base(QCOW2.into()).map(drop),
    },
    Case { name: "allocate", kind: "chain", prepare: Nothing, act: |s| allocate(s, ImageFormat::Qcow2) },
    Case { name: "clone", kind: "chain", prepare: Disk(template), act: clone },
    Case { name: "snapshot", kind: "chain", prepare: Disk(qcow2), act: snapshot },
    Case {
        name: "second snapshot",
        kind: "chain",
        prepare: Disk(snapshotted),
        act: |s| s.create_snapshot(QCOW2.into(), "s2".into()),
    },
    Case { name: "rename", kind: "chain", prepare: Disk(qcow2), act: |s| rename(s, QCOW2) },
    Case { name: "allocate raw", kind: "btrfs", prepare: Nothing, act: |s| allocate(s, ImageFormat::Raw) },
    Case {
        name: "allocate qcow2",
        kind: "btrfs",
        prepare: Nothing,
        act: |s| allocate(s, ImageFormat::Qcow2),
    },
    Case {
        name: "clone",
        kind: "btrfs",
        prepare: Disk(raw),
        act: |s| s.clone_volume(RAW.into(), vmid(101), None).map(drop),
    },
    Case {
        name: "snapshot",
        kind: "btrfs",
        prepare: Disk(raw),
        act: |s| s.create_snapshot(RAW.into(), "s1".into()),
    },
    Case { name: "rename", kind: "btrfs", prepare: Disk(raw), act: |s| rename(s, RAW) },
];

const RAW: &str = "store:100/vm-100-disk-0.raw";
const QCOW2: &str = "store:100/vm-100-disk-0.qcow2";

impl Case {
    /// The storage of this case, as storage.cfg has it.
    pub(crate) fn storage_cfg(&self, path: &Path) -> String {
        let path = path.display();
        match self.kind {
            "chain" => {
                format!("dir: store\n\tpath {path}\n\tcontent images\n\tsnapshot-as-volume-chain 1\n")
            }
            kind => format!("{kind}: store\n\tpath {path}\n\tcontent images\n"),
        }
    }

    /// The configuration of the guest whose volume is worked on. It does not know yet of a volume in the making.
    pub(crate) fn guest(&self) -> String {
        match self.prepare {
            Nothing => String::new(),
            Disk(_) => format!("scsi0: {}\n", self.disk()),
        }
    }

    /// The guest's disk.
    pub(crate) fn disk(&self) -> &'static str {
        if self.kind == "btrfs" { RAW } else { QCOW2 }
    }

    fn storages(&self, path: &Path) -> Storages {
        let text = self.storage_cfg(path);
        Storages::from_config(&pve_config::storage::StorageConfig::parse(text.as_bytes()))
    }

    /// Makes what has to be there, with locks beside the storage.
    pub(crate) fn prepare(&self, path: &Path) -> Result<()> {
        let prepare = match self.prepare {
            Nothing => |session: &Session<'_>| session.activate_storages(["store"]),
            Disk(prepare) => prepare,
        };
        self.with(&local(path), path, prepare)
    }

    /// Does it.
    pub(crate) fn act(&self, host: &dyn Host, path: &Path) -> Result<()> {
        self.with(host, path, self.act)
    }

    /// The names of the snapshots of the guest's volume, as far as there is one.
    pub(crate) fn snapshots(&self, path: &Path) -> Vec<BString> {
        let host = local(path);
        let storages = self.storages(path);
        let found = Session::new(&storages, &host, "here").snapshots(self.disk().into());
        found.unwrap_or_default().into_iter().map(|snapshot| snapshot.name).collect()
    }

    /// Somebody else comes along: the lock of a process that is gone keeps nobody out.
    pub(crate) fn next(&self, path: &Path) -> Result<()> {
        self.with(&local(path), path, |session| {
            let made = session.allocate("store", vmid(555), Some(ImageFormat::Qcow2), None, 1024)?;
            session.free(made.as_bstr())
        })
    }

    fn with(&self, host: &dyn Host, path: &Path, body: fn(&Session<'_>) -> Result<()>) -> Result<()> {
        let storages = self.storages(path);
        body(&Session::new(&storages, host, "here"))
    }
}

/// This machine, with its locks beside the storage.
pub(crate) fn local(path: &Path) -> LocalHost {
    LocalHost::new(|_| {}).with_locks_in(path.with_extension("locks"))
}

fn vmid(number: u32) -> VmId {
    VmId::new(number).unwrap()
}

fn make(session: &Session<'_>, owner: u32, format: ImageFormat, name: &str) -> Result<()> {
    session.allocate("store", vmid(owner), Some(format), Some(name.into()), 1024).map(drop)
}

fn raw(session: &Session<'_>) -> Result<()> {
    make(session, 100, ImageFormat::Raw, "vm-100-disk-0.raw")
}

fn qcow2(session: &Session<'_>) -> Result<()> {
    make(session, 100, ImageFormat::Qcow2, "vm-100-disk-0.qcow2")
}

fn snapshotted(session: &Session<'_>) -> Result<()> {
    qcow2(session)?;
    snapshot(session)
}

fn template(session: &Session<'_>) -> Result<()> {
    make(session, 9000, ImageFormat::Qcow2, "base-9000-disk-0.qcow2")
}

fn allocate(session: &Session<'_>, format: ImageFormat) -> Result<()> {
    session.allocate("store", vmid(100), Some(format), None, 4096).map(drop)
}

fn clone(session: &Session<'_>) -> Result<()> {
    session.clone_volume("store:9000/base-9000-disk-0.qcow2".into(), vmid(101), None).map(drop)
}

fn snapshot(session: &Session<'_>) -> Result<()> {
    session.create_snapshot(QCOW2.into(), "s1".into())
}

fn rename(session: &Session<'_>, volid: &str) -> Result<()> {
    session.rename(volid.into(), vmid(101), None).map(drop)
}
