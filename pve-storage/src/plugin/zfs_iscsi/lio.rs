// SPDX-License-Identifier: MIT OR Apache-2.0
//! Logical units of LIO (Linux).

use bstr::{BStr, BString, ByteSlice};
use serde_json::Value;

use super::super::concat;
use super::comstar::remote_word;
use super::target::{Remote, Unit};
use crate::command::{Command, Effect};
use crate::error::{Error, Result};
use crate::session::{Session, strange};
use crate::storage::Storage;

const TARGETCLI: &str = "/usr/bin/targetcli";

/// Where the configuration may be.
const CONFIGURATIONS: [&str; 2] = ["/etc/rtslib-fb-target/saveconfig.json", "/etc/target/saveconfig.json"];

pub(super) struct Lio<'s> {
    storage: &'s Storage,
    remote: Remote<'s>,
    /// LUNs of the target: number and name of the backstore. Read once a call.
    luns: Option<Vec<(u64, BString)>>,
    /// The backstore of the volume that the call is about.
    found: Option<BString>,
}

impl<'s> Lio<'s> {
    pub(super) fn new(storage: &'s Storage) -> Result<Self> {
        let group = storage.require("lio_tpg")?;
        if group
            .strip_prefix(b"tpg")
            .and_then(|number| BStr::new(number).to_str().ok()?.parse::<u64>().ok())
            .is_none()
        {
            return Err(Error::Value {
                storage: storage.id().clone(),
                what: "lio_tpg".into(),
                reason: format!("'{group}' is not 'tpgNUMBER'"),
            });
        }
        Ok(Lio { storage, remote: Remote::new(storage)?, luns: None, found: None })
    }

    fn targetcli(&self, session: &Session<'_>) -> Command {
        self.remote.command(session, Effect::Change, &["--", TARGETCLI])
    }

    /// `/iscsi/TARGET/TPG/luns/`
    fn luns_path(&self) -> Result<BString> {
        let (target, group) = (self.storage.require("target")?, self.storage.require("lio_tpg")?);
        Ok(concat([b"/iscsi/", remote_word(target)?, b"/", remote_word(group)?, b"/luns/"]))
    }

    /// The name of a volume's backstore: the pool's with `-` for `/`, `-`, the volume's.
    fn backstore(&self, name: &BStr) -> Result<BString> {
        let pool = remote_word(self.storage.require("pool")?)?.replace("/", "-");
        Ok(concat([&pool, b"-", remote_word(name)?]))
    }

    fn luns(&mut self, session: &Session<'_>) -> Result<&mut Vec<(u64, BString)>> {
        if self.luns.is_none() {
            self.luns = Some(self.read(session)?);
        }
        Ok(self.luns.get_or_insert_default())
    }

    fn read(&self, session: &Session<'_>) -> Result<Vec<(u64, BString)>> {
        let mut last = None;
        for file in CONFIGURATIONS {
            let command = self.remote.command(session, Effect::Query, &["cat", file]);
            let output = session.ask(&command)?;
            if output.succeeded() && !output.stdout.is_empty() {
                let config: Value = serde_json::from_slice(&output.stdout)
                    .map_err(|e| strange(&command, format!("not JSON: {e}")))?;
                return Ok(self.luns_in(&config));
            }
            last = Some(strange(&command, output.complaint()));
        }
        Err(last.unwrap_or_else(|| Error::Missing("the configuration of LIO".into())))
    }

    fn luns_in(&self, config: &Value) -> Vec<(u64, BString)> {
        fn list<'v>(value: &'v Value, member: &str) -> &'v [Value] {
            value.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
        }
        fn text<'v>(value: &'v Value, member: &str) -> Option<&'v str> {
            value.get(member).and_then(Value::as_str)
        }
        let target = self.storage.get("target").unwrap_or_default();
        let group = self.storage.get("lio_tpg").unwrap_or_default();
        let tag =
            group.strip_prefix(b"tpg").and_then(|tag| BStr::new(tag).to_str().ok()?.parse::<u64>().ok());
        let mine = |entry: &&Value| {
            text(entry, "fabric") == Some("iscsi")
                && text(entry, "wwn").is_some_and(|wwn| wwn.as_bytes() == target.as_bytes())
        };
        let mut luns = Vec::new();
        for target in list(config, "targets").iter().filter(mine) {
            let groups = list(target, "tpgs").iter();
            for group in groups.filter(|group| group.get("tag").and_then(Value::as_u64) == tag) {
                for lun in list(group, "luns") {
                    let index = lun.get("index").and_then(Value::as_u64);
                    let store = text(lun, "storage_object").and_then(|path| path.rsplit('/').next());
                    if let (Some(index), Some(store)) = (index, store) {
                        luns.push((index, store.into()));
                    }
                }
            }
        }
        luns
    }

    /// Whether a volume has a LUN.
    pub(super) fn find(&mut self, session: &Session<'_>, name: &BStr) -> Result<bool> {
        let backstore = self.backstore(name)?;
        let luns = self.luns(session)?;
        let found = luns
            .iter()
            .find(|(_, store)| *store == backstore)
            .or_else(|| luns.iter().find(|(_, store)| store == name))
            .map(|(_, store)| store.clone());
        self.found = found;
        Ok(self.found.is_some())
    }

    fn position(&mut self, session: &Session<'_>, unit: &Unit) -> Result<(usize, u64, BString)> {
        let wanted = self.found.clone();
        let luns = self.luns(session)?;
        let at = luns.iter().position(|(_, store)| Some(store) == wanted.as_ref());
        let found = at.and_then(|at| luns.get(at).map(|(index, store)| (at, *index, store.clone())));
        found.ok_or_else(|| Error::Missing(concat([b"the LUN of ", &unit.0])))
    }

    pub(super) fn lun(&mut self, session: &Session<'_>, unit: &Unit) -> Result<u64> {
        self.position(session, unit).map(|(_, index, _)| index)
    }

    pub(super) fn create(&mut self, session: &Session<'_>, name: &BStr, object: &BString) -> Result<Unit> {
        let backstore = self.backstore(name)?;
        self.luns(session)?;
        let make = self
            .targetcli(session)
            .args(["/backstores/block", "create"])
            .value(concat([b"name=", &backstore]))
            .value(concat([b"dev=", object]));
        session.run(&make)?;
        let path = concat([b"/backstores/block/", &backstore]);
        let attribute = self.targetcli(session).operand(&path).args(["set", "attribute", "emulate_tpu=1"]);
        session.run(&attribute)?;
        let offer = self.targetcli(session).operand(self.luns_path()?).arg("create").operand(&path);
        let output = session.run(&offer)?;
        let number = output.lines().find_map(lun_number);
        let number = number.ok_or_else(|| strange(&offer, "expected 'LUN NUMBER'"))?;
        self.luns(session)?.push((number, backstore.clone()));
        self.found = Some(backstore);
        self.save(session);
        Ok(Unit(object.clone()))
    }

    pub(super) fn delete(&mut self, session: &Session<'_>, unit: &Unit) -> Result<()> {
        let (at, index, backstore) = self.position(session, unit)?;
        let lun = format!("lun{index}");
        session.run(&self.targetcli(session).operand(self.luns_path()?).args(["delete", &lun]))?;
        session.run(&self.targetcli(session).args(["/backstores/block", "delete"]).operand(backstore))?;
        self.luns(session)?.remove(at);
        self.save(session);
        Ok(())
    }

    fn save(&self, session: &Session<'_>) {
        session.attempt(&self.targetcli(session).arg("saveconfig"));
    }
}

/// The number in `LUN NUMBER`.
fn lun_number(line: &BStr) -> Option<u64> {
    let rest = line.get(line.find("LUN ")? + 4..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    BStr::new(rest.get(..digits)?).to_str().ok()?.parse().ok()
}
