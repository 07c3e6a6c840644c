// SPDX-License-Identifier: MIT OR Apache-2.0
//! The configuration that a clone starts with: the source's options, and new identities.

use bstr::{BStr, BString};
use pve_config::guest::{SectionId, VmConfig, VmSection};
use pve_config::rule::ValueError;
use pve_config::vm::{DriveId, Net, Smbios1};

use super::{CloneError, Job, is_real_cdrom};

/// Options that belong to the source and to no clone of it.
const NOT_COPIED: [&[u8]; 9] = [
    b"lock",
    b"parent",
    b"running-nets-host-mtu",
    b"runningcpu",
    b"runningmachine",
    b"snapstate",
    b"snaptime",
    b"template",
    b"vmstate",
];

impl Job<'_> {
    /// The clone's configuration without its disks, and the options whose pending changes it does not have.
    pub(super) fn configuration(&self) -> Result<(VmConfig<'static>, Vec<BString>), CloneError> {
        let mut new = VmConfig::new();
        let drives = self.section.drives();
        let cdroms: Vec<DriveId> =
            drives.filter(|(_, drive)| is_real_cdrom(drive)).map(|(id, _)| id).collect();
        for (key, value) in self.section.iter() {
            let is_drive = DriveId::from_key(key).is_some_and(|id| !cdroms.contains(&id));
            if !is_drive && !NOT_COPIED.contains(&&**key) {
                new.main.set(key, value);
            }
        }
        self.identify(&mut new.main)?;
        self.name(&mut new.main);
        let mut dropped = Vec::new();
        if self.options.snapshot.is_none() {
            for (id, section) in self.config.sections() {
                if let SectionId::Special(name) = id {
                    *new.special_section_mut(name) = section.clone().into_owned();
                }
            }
            dropped = self.config.pending.iter().map(|(key, _)| key.to_owned()).collect();
        }
        Ok((new, dropped))
    }

    /// MAC addresses, DMI UUID and generation id of its own.
    fn identify(&self, main: &mut VmSection<'static>) -> Result<(), CloneError> {
        let (chance, facts) = (self.node.chance, self.node.facts);
        let failed = |key: &str, value: &BStr, source: ValueError| CloneError::Value {
            key: key.into(),
            value: value.to_owned(),
            source: Box::new(source),
        };
        let nets: Vec<(String, BString)> =
            main.numbered("net").map(|(number, value)| (format!("net{number}"), value.to_owned())).collect();
        for (key, value) in nets {
            let mac = chance.mac(&facts.mac_prefix);
            let printed =
                Net::parse(&value).and_then(|net| Net { macaddr: Some(BStr::new(&mac)), ..net }.print());
            main.set(key.as_str(), printed.map_err(|source| failed(&key, value.as_ref(), source))?);
        }
        let uuid = chance.uuid();
        let smbios = main.get("smbios1").map(BStr::to_owned).unwrap_or_default();
        let printed = Smbios1::parse(&smbios)
            .and_then(|table| Smbios1 { uuid: Some(BStr::new(&uuid)), ..table }.print());
        main.set("smbios1", printed.map_err(|source| failed("smbios1", smbios.as_ref(), source))?);
        if main.truthy("vmgenid").is_some() {
            main.set("vmgenid", chance.uuid());
        }
        Ok(())
    }

    fn name(&self, main: &mut VmSection<'static>) {
        let name = match self.options.name {
            Some(name) => name.to_owned(),
            None => match self.section.truthy("name") {
                Some(name) => format!("Copy-of-VM-{name}").into(),
                None => format!("Copy-of-VM-{}", self.copy.source).into(),
            },
        };
        main.set("name", name);
        if let Some(text) = self.options.description.filter(|text| !text.is_empty()) {
            main.set("description", text);
        }
    }
}
