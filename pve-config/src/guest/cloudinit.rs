// SPDX-License-Identifier: MIT OR Apache-2.0
//! The special section `cloudinit`: which values the data on the cloud-init drive was made with, where they differ
//! from the configuration now.

use std::collections::BTreeSet;

use bstr::{BStr, BString};

use super::VmConfig;

/// Name of the special section.
const SECTION: &str = "cloudinit";
/// Its key that lists the options which did not exist when the data was made.
const ADDED: &str = "added";

/// Options that end up on the cloud-init drive, `ipconfigN` and `netN` apart.
const TRACKED: [&[u8]; 9] = [
    b"cicustom",
    b"cipassword",
    b"citype",
    b"ciupgrade",
    b"ciuser",
    b"name",
    b"nameserver",
    b"searchdomain",
    b"sshkeys",
];

/// Whether changes of the option are recorded in the special section `cloudinit`: the cloud-init options, `name`, `netN`.
#[must_use]
pub fn is_cloudinit_option<K: AsRef<[u8]>>(key: K) -> bool {
    let key = key.as_ref();
    let numbered = |name: &[u8]| {
        let index = key.strip_prefix(name).and_then(|digits| std::str::from_utf8(digits).ok());
        let number = index.and_then(|digits| Some((digits, digits.parse::<u8>().ok()?)));
        number.is_some_and(|(digits, number)| number < 32 && digits == number.to_string())
    };
    TRACKED.contains(&key) || numbered(b"ipconfig") || numbered(b"net")
}

impl VmConfig<'_> {
    /// Records that the main section's value of an option changed while the VM runs, so that it can be told later
    /// what the generated data still says (spec: cloudinit, "Recording"). Options that do not end up there are ignored.
    ///
    /// The main section is not changed. The section is put in when there is something to record, and stays when it
    /// becomes empty.
    ///
    /// ```
    /// use pve_config::guest::VmConfig;
    ///
    /// let mut config = VmConfig::new();
    /// config.record_cloudinit_change("ciuser", Some("old"), Some("new"));
    /// config.record_cloudinit_change("ciuser", Some("new"), Some("newer"));
    /// config.record_cloudinit_change("sshkeys", None, Some("ssh-rsa"));
    /// let section = config.special_section("cloudinit").unwrap();
    /// assert_eq!(section.get("ciuser"), Some("old".into()));
    /// assert_eq!(section.get("added"), Some("sshkeys".into()));
    /// ```
    pub fn record_cloudinit_change<V: AsRef<[u8]> + ?Sized>(
        &mut self,
        key: &str,
        old: Option<&V>,
        new: Option<&V>,
    ) {
        let (old, new) =
            (old.map(|value| BStr::new(value.as_ref())), new.map(|value| BStr::new(value.as_ref())));
        if old == new || !is_cloudinit_option(key) {
            return;
        }
        let section = self.special_section(SECTION);
        let recorded = section.and_then(|section| section.get(key));
        let mut added = self.cloudinit_added();
        let was_added = added.contains(BStr::new(key));
        match (new, old, recorded) {
            (Some(new), _, Some(recorded)) if new == recorded => {
                added.remove(BStr::new(key));
                self.special_section_mut(SECTION).remove(key);
            }
            (_, _, Some(_)) => return,
            (Some(_), _, None) if was_added => return,
            (Some(_), None, None) => drop(added.insert(key.into())),
            (None, Some(_), None) if was_added => drop(added.remove(BStr::new(key))),
            (_, Some(old), None) => drop(self.special_section_mut(SECTION).set(key, old)),
            (None, None, None) => return,
        }
        let section = self.special_section_mut(SECTION);
        if added.is_empty() {
            section.remove(ADDED);
        } else {
            section.set(ADDED, bstr::join(",", &added));
        }
    }

    /// Options that did not exist when the data on the cloud-init drive was made.
    #[must_use]
    pub fn cloudinit_added(&self) -> BTreeSet<BString> {
        let text = self.special_section(SECTION).and_then(|section| section.get(ADDED));
        let keys = text.into_iter().flat_map(|text| text.split(|byte| *byte == b','));
        keys.filter(|key| !key.is_empty()).map(BString::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `KEY=VALUE` of the section, joined by blanks.
    fn after(steps: &[(&str, Option<&str>, Option<&str>)]) -> String {
        let mut config = VmConfig::new();
        for (key, old, new) in steps {
            config.record_cloudinit_change(key, *old, *new);
        }
        let section = config.special_section(SECTION);
        let entries = section
            .into_iter()
            .flat_map(|section| section.iter().map(|(key, value)| format!("{key}={value}")));
        entries.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn recording() {
        let (a, b, c) = (Some("a"), Some("b"), Some("c"));
        assert_eq!(after(&[("name", a, b)]), "name=a");
        assert_eq!(after(&[("name", a, b), ("name", b, c)]), "name=a");
        assert_eq!(after(&[("name", a, b), ("name", b, a)]), "");
        assert_eq!(after(&[("name", a, None)]), "name=a");
        assert_eq!(after(&[("name", a, None), ("name", None, a)]), "");
        assert_eq!(after(&[("name", a, None), ("name", None, b)]), "name=a");
        assert_eq!(after(&[("net1", None, a), ("ciuser", None, a)]), "added=ciuser,net1");
        assert_eq!(after(&[("net1", None, a), ("net1", a, b)]), "added=net1");
        assert_eq!(after(&[("net1", None, a), ("ciuser", None, a), ("net1", a, None)]), "added=ciuser");
        assert_eq!(after(&[("cores", a, b), ("name", a, a)]), "");
    }

    #[test]
    fn options_on_the_drive() {
        for key in ["name", "net0", "net31", "ipconfig31", "sshkeys"] {
            assert!(is_cloudinit_option(key), "{key}");
        }
        for key in ["net32", "net01", "net", "net+1", "cores", "ipconfig"] {
            assert!(!is_cloudinit_option(key), "{key}");
        }
    }
}
