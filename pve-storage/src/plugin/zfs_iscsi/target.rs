// SPDX-License-Identifier: MIT OR Apache-2.0
//! The iSCSI target that offers ZFS volumes as LUNs, whatever software it runs.

use bstr::{BStr, BString};

use super::super::concat;
use super::super::zfs::dataset::Zfs;
use super::comstar::Comstar;
use super::lio::Lio;
use crate::command::{Command, Effect};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::storage::Storage;

/// A logical unit, as the software names it.
pub(super) struct Unit(pub(super) BString);

/// A target and the software that serves it.
pub(super) struct Target<'s> {
    storage: &'s Storage,
    provider: Provider<'s>,
}

enum Provider<'s> {
    Comstar(Comstar<'s>),
    Lio(Lio<'s>),
}

/// Runs commands on the machine of the target.
#[derive(Clone, Copy)]
pub(super) struct Remote<'s>(Zfs<'s>);

impl<'s> Remote<'s> {
    pub(super) fn new(storage: &'s Storage) -> Result<Self> {
        Zfs::remote(storage).map(Remote)
    }

    pub(super) fn command(&self, session: &Session<'_>, effect: Effect, words: &[&str]) -> Command {
        self.0.program(session, effect, words)
    }
}

impl<'s> Target<'s> {
    /// The target of a storage.
    ///
    /// `iet` and `istgt` are obsolete; how they are told about LUNs is not part of the specification.
    pub(super) fn new(storage: &'s Storage) -> Result<Self> {
        let provider = storage.require("iscsiprovider")?;
        let provider = match provider.as_ref() as &[u8] {
            b"comstar" => Provider::Comstar(Comstar::new(storage)?),
            b"LIO" => Provider::Lio(Lio::new(storage)?),
            _ => {
                return Err(Error::Value {
                    storage: storage.id().clone(),
                    what: "iscsiprovider".into(),
                    reason: format!(
                        "LUNs of '{provider}' cannot be changed or looked up here, only those of 'comstar' and 'LIO' (listing \
                         and snapshots work)"
                    ),
                });
            }
        };
        Ok(Target { storage, provider })
    }

    /// The device of a volume on the machine of the target.
    fn object(&self, name: &BStr) -> Result<BString> {
        let default = match self.provider {
            Provider::Comstar(_) => "/dev/zvol/rdsk",
            Provider::Lio(_) => "/dev",
        };
        let base = self.storage.get("zfs-base-path").unwrap_or(BStr::new(default));
        let path = concat([base, b"/", &Zfs::remote(self.storage)?.dataset(name)?]);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte);
        if path.iter().all(plain) { Ok(path) } else { Err(Error::Escapes(path)) }
    }

    /// The logical unit of a volume.
    pub(super) fn unit(&mut self, session: &Session<'_>, name: &BStr) -> Result<Unit> {
        let object = self.object(name)?;
        let found = match &mut self.provider {
            Provider::Comstar(target) => target.find(session, &object)?,
            Provider::Lio(target) => target.find(session, name)?.then(|| object.clone()),
        };
        found.map(Unit).ok_or_else(|| Error::Missing(concat([b"the logical unit of ", &object])))
    }

    /// The number under which a logical unit is offered.
    pub(super) fn lun(&mut self, session: &Session<'_>, unit: &Unit) -> Result<u64> {
        match &mut self.provider {
            Provider::Comstar(target) => target.lun(session, unit),
            Provider::Lio(target) => target.lun(session, unit),
        }
    }

    /// Makes a logical unit of a volume.
    pub(super) fn create(&mut self, session: &Session<'_>, name: &BStr) -> Result<Unit> {
        let object = self.object(name)?;
        match &mut self.provider {
            Provider::Comstar(target) => target.create(session, &object),
            Provider::Lio(target) => target.create(session, name, &object),
        }
    }

    /// Makes a logical unit of a volume that was one before.
    pub(super) fn take_back(&mut self, session: &Session<'_>, name: &BStr) -> Result<()> {
        let object = self.object(name)?;
        match &mut self.provider {
            Provider::Comstar(target) => target.import(session, &object),
            Provider::Lio(target) => target.create(session, name, &object).map(drop),
        }
    }

    /// Makes a logical unit of a volume and offers it.
    pub(super) fn publish(&mut self, session: &Session<'_>, name: &BStr) -> Result<()> {
        let unit = self.create(session, name)?;
        self.show(session, &unit)
    }

    /// Offers a logical unit.
    pub(super) fn show(&self, session: &Session<'_>, unit: &Unit) -> Result<()> {
        match &self.provider {
            Provider::Comstar(target) => target.show(session, unit),
            Provider::Lio(_) => Ok(()),
        }
    }

    /// Removes a logical unit; the volume stays.
    pub(super) fn withdraw(&mut self, session: &Session<'_>, unit: &Unit) -> Result<()> {
        match &mut self.provider {
            Provider::Comstar(target) => target.delete(session, unit),
            Provider::Lio(target) => target.delete(session, unit),
        }
    }

    /// Tells the target that a volume has grown.
    pub(super) fn resize(&self, session: &Session<'_>, unit: &Unit, size_kib: u64) -> Result<()> {
        match &self.provider {
            Provider::Comstar(target) => target.resize(session, unit, size_kib),
            Provider::Lio(_) => Ok(()),
        }
    }
}
