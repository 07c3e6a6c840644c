// SPDX-License-Identifier: MIT OR Apache-2.0
//! What `qm cloudinit pending` lists: the options, and where the image was made with other values.

use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use pve_config::guest::VmConfig;

use super::dump::MASK;
use super::settings::is_true;

/// Options that are listed with their values. Changes of names, network devices and addresses are recorded as well,
/// but shown only where they were added or removed.
const LISTED: [&str; 8] =
    ["cicustom", "cipassword", "citype", "ciuser", "ciupgrade", "nameserver", "searchdomain", "sshkeys"];

/// One option in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingCloudInit {
    /// Name of the option.
    pub key: BString,
    /// The value that the image was made with. Of a deleted option it is not shown.
    pub value: Option<BString>,
    /// The value now, if it is another one.
    pub pending: Option<BString>,
    /// The option was deleted since the image was made.
    pub delete: bool,
}

/// The cloud-init options of a VM, and how they changed since its image was made (spec: cloud-init, "cloudinit
/// pending"). Sorted by name; passwords are masked.
///
/// ```
/// use pve_config::guest::VmConfig;
/// use pve_qemu::cloudinit::pending_changes;
///
/// let text = b"ciuser: bob\nide2: local:100/vm-100-cloudinit.qcow2,media=cdrom\n\n[special:cloudinit]\nciuser: eve\n";
/// let (config, _) = VmConfig::parse(text);
/// let list: Vec<String> = pending_changes(&config).iter().map(ToString::to_string).collect();
/// assert_eq!(list, ["cur ciuser: eve\nnew ciuser: bob\n"]);
/// ```
#[must_use]
pub fn pending_changes(config: &VmConfig<'_>) -> Vec<PendingCloudInit> {
    let main = &config.main;
    let record = config.special_section("cloudinit");
    let recorded = |key: &BStr| record.and_then(|record| record.truthy(key));
    let added: &[u8] = record.and_then(|record| record.get("added")).map_or(b"", |text| text);
    let mut list = Vec::new();

    for key in added.split_str(",").filter(|key| !key.is_empty()).map(BStr::new) {
        list.push(PendingCloudInit::new(key, None, main.get(key), false));
    }
    for key in LISTED.map(BStr::new) {
        // a name that is part of an added one counts as added, too
        if let Some(current) = main.truthy(key)
            && !added.contains_str(key)
        {
            let item = match recorded(key) {
                Some(old) => PendingCloudInit::new(key, Some(old), Some(current), false),
                None => PendingCloudInit::new(key, Some(current), None, false),
            };
            list.push(item);
        }
    }
    let recorded = record.into_iter().flat_map(|record| record.iter().map(|(key, _)| key));
    for key in recorded.filter(|key| *key != "added" && main.get(key).is_none_or(|value| !is_true(value))) {
        list.push(PendingCloudInit::new(key, None, None, true));
    }
    list.sort_by(|a, b| a.key.cmp(&b.key));
    list
}

impl PendingCloudInit {
    fn new(key: &BStr, value: Option<&BStr>, pending: Option<&BStr>, delete: bool) -> Self {
        let show = |value: &BStr| if key == "cipassword" { BString::from(MASK) } else { value.to_owned() };
        PendingCloudInit { key: key.to_owned(), value: value.map(show), pending: pending.map(show), delete }
    }
}

impl fmt::Display for PendingCloudInit {
    /// The lines that the command prints, each with its line end: `cur K: V` for the value of the image, `new K: P`
    /// for the one now. A deleted option prints nothing, since its value is not known here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.value {
            Some(value) if self.delete => writeln!(f, "del {key}: {value}")?,
            Some(value) => writeln!(f, "cur {key}: {value}")?,
            None => {}
        }
        match &self.pending {
            Some(pending) => writeln!(f, "new {key}: {pending}"),
            None => Ok(()),
        }
    }
}
