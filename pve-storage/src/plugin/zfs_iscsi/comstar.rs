// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logical units of COMSTAR (illumos, Solaris).

use bstr::{BStr, BString, ByteSlice};
use md5::{Digest, Md5};

use super::super::concat;
use super::target::{Remote, Unit};
use crate::command::Effect;
use crate::error::Result;
use crate::session::{Session, number, strange};
use crate::storage::Storage;
use crate::words::words;

/// What the ids of logical units begin with that are made here.
const GUID_PREFIX: &str = "600144f";

pub(super) struct Comstar<'s> {
    storage: &'s Storage,
    remote: Remote<'s>,
}

impl<'s> Comstar<'s> {
    pub(super) fn new(storage: &'s Storage) -> Result<Self> {
        Ok(Comstar { storage, remote: Remote::new(storage)? })
    }

    fn change(&self, session: &Session<'_>, words: &[&str], operand: &BString) -> Result<()> {
        let command = self.remote.command(session, Effect::Change, words).operand(operand);
        session.run(&command).map(drop)
    }

    /// The id of the logical unit of a volume.
    pub(super) fn find(&self, session: &Session<'_>, object: &BString) -> Result<Option<BString>> {
        // the empty argument is what the reference passes
        let command = self.remote.command(session, Effect::Query, &["/usr/sbin/sbdadm", "list-lu", ""]);
        let output = session.run(&command)?;
        let found = output.lines().find_map(|line| {
            let mut words = words(line);
            let (guid, size, path) = (words.next()?, words.next()?, words.next()?);
            (size.iter().all(u8::is_ascii_digit) && path == object.as_bytes()).then(|| BString::from(guid))
        });
        Ok(found)
    }

    pub(super) fn lun(&self, session: &Session<'_>, unit: &Unit) -> Result<u64> {
        let command = self
            .remote
            .command(session, Effect::Query, &["/usr/sbin/stmfadm", "list-view", "-l"])
            .operand(&unit.0);
        let output = session.run(&command)?;
        let found = output.lines().find_map(|line| {
            let (name, value) = line.split_once_str(":")?;
            (name.trim_ascii() == b"LUN").then(|| number(value.as_bstr())).flatten()
        });
        found.ok_or_else(|| strange(&command, "no line 'LUN : NUMBER'"))
    }

    pub(super) fn create(&self, session: &Session<'_>, object: &BString) -> Result<Unit> {
        let hash: String = Md5::digest(object).iter().map(|byte| format!("{byte:02x}")).collect();
        let guid = format!("{GUID_PREFIX}{}", hash.get(GUID_PREFIX.len()..).unwrap_or_default());
        let cache = if self.storage.flag("nowritecache") { "wcd=true" } else { "wcd=false" };
        let id = format!("guid={guid}");
        self.change(session, &["/usr/sbin/stmfadm", "create-lu", "-p", cache, "-p", &id], object)?;
        Ok(Unit(guid.into()))
    }

    pub(super) fn import(&self, session: &Session<'_>, object: &BString) -> Result<()> {
        self.change(session, &["/usr/sbin/stmfadm", "import-lu"], object)
    }

    pub(super) fn delete(&self, session: &Session<'_>, unit: &Unit) -> Result<()> {
        self.change(session, &["/usr/sbin/stmfadm", "delete-lu"], &unit.0)
    }

    pub(super) fn show(&self, session: &Session<'_>, unit: &Unit) -> Result<()> {
        let mut command = self.remote.command(session, Effect::Change, &["/usr/sbin/stmfadm", "add-view"]);
        for (option, property) in [("--host-group", "comstar_hg"), ("--target-group", "comstar_tg")] {
            if let Some(group) = self.storage.get(property) {
                command = command.arg(option).operand(remote_word(group)?);
            }
        }
        session.run(&command.operand(&unit.0)).map(drop)
    }

    pub(super) fn resize(&self, session: &Session<'_>, unit: &Unit, size_kib: u64) -> Result<()> {
        let size = format!("{size_kib}K");
        self.change(session, &["/usr/sbin/stmfadm", "modify-lu", "-s", &size], &unit.0)
    }
}

/// A value that goes through another machine's shell must have no meaning there.
pub(super) fn remote_word(word: &BStr) -> Result<&BStr> {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(byte);
    if word.iter().all(plain) { Ok(word) } else { Err(crate::error::Error::Escapes(concat([word]))) }
}
