// SPDX-License-Identifier: MIT OR Apache-2.0
//! Values that a file may have although nobody could set them: what the reference's API would refuse, and what its
//! readers will refuse when they come to use it.

use bstr::BStr;

use super::check::schema;
use super::section::Entry;
use super::typed::{OptionError, OptionErrorSource};
use super::{Config, Guest, GuestKind, SectionId};
use crate::container::MountPoint;
use crate::format::Context;
use crate::rule::Rule;
use crate::vm::{Drive, DriveId, IpConfig};

/// A value that will cause trouble.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Lint<'c> {
    /// The section.
    pub section: SectionId<'c>,
    /// The option, and what is wrong with its value.
    pub error: OptionError,
}

impl<G: Guest> Config<'_, G> {
    /// Looks for values that the parser accepts, as the reference does, although the option allows others only (its
    /// words, bounds and patterns are not looked at in files), and for drives, mount points and addresses whose parts
    /// contradict each other. What the parser has reported already is not repeated.
    ///
    /// ```
    /// use pve_config::format::Context;
    /// use pve_config::guest::VmConfig;
    ///
    /// let (config, findings) = VmConfig::parse(b"bios: omvf\ncores: 0\nscsi0: local:a,mbps=1,mbps_rd=2\n");
    /// assert!(findings.is_empty());
    /// let lints = config.lint(&Context::default());
    /// let options: Vec<String> = lints.iter().map(|lint| lint.error.key.to_string()).collect();
    /// assert_eq!(options, ["bios", "cores", "scsi0"]);
    /// ```
    #[must_use]
    pub fn lint(&self, context: &Context<'_>) -> Vec<Lint<'_>> {
        let mut found = Vec::new();
        for (id, section) in self.sections() {
            let Some(schema) = schema(G::KIND, id) else { continue };
            for entry in section.entries() {
                let Some((option, _)) = schema.find(&entry.key) else { continue };
                if schema.check_value(option, &entry.value, context).is_err() {
                    continue;
                }
                let rest = Rule { format: None, ..option.rule };
                let error = rest.check(&entry.value, context).map_err(OptionErrorSource::from).err();
                let error = error.or_else(|| contradiction::<G>(entry));
                found.extend(error.map(|source| Lint { section: id, error: at_entry(entry, source) }));
            }
        }
        found
    }
}

/// What the reader of a value that is well-formed has against it.
fn contradiction<G: Guest>(entry: &Entry<'_>) -> Option<OptionErrorSource> {
    let (key, value): (&BStr, &BStr) = (&entry.key, &entry.value);
    match G::KIND {
        GuestKind::Qemu if key.starts_with(b"ipconfig") => {
            IpConfig::read(value).err().map(OptionErrorSource::from)
        }
        GuestKind::Qemu => {
            let id = DriveId::from_key(key)?;
            Drive::read(id, value).err().map(OptionErrorSource::from)
        }
        GuestKind::Lxc => {
            let mount = super::drive::mount_key(key)?;
            MountPoint::read(mount, value).err().map(OptionErrorSource::from)
        }
    }
}

fn at_entry(entry: &Entry<'_>, source: OptionErrorSource) -> OptionError {
    let line = Some(entry.origin.line).filter(|line| *line > 0);
    OptionError { key: (*entry.key).to_owned(), line, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guest::{LxcConfig, VmConfig};

    #[test]
    fn finds_what_the_api_would_refuse() {
        let text = b"ipconfig0: ip=dhcp,gw=10.0.0.1\nlock: whatever\nnet0: virtio\nvcpus: 4\n[sn]\nserial0: /tmp/x\n\
            [special:cloudinit]\nbios: x\n";
        let (config, _) = VmConfig::parse(text);
        let lints = config.lint(&Context::default());
        let shown: Vec<_> =
            lints.iter().map(|lint| (lint.section, lint.error.key.to_string(), lint.error.line)).collect();
        let main = SectionId::Main;
        assert_eq!(
            shown,
            [
                (main, "ipconfig0".to_owned(), Some(1)),
                (main, "lock".to_owned(), Some(2)),
                (SectionId::snapshot("sn"), "serial0".to_owned(), Some(6)),
            ]
        );
        assert_eq!(
            lints[0].error.to_string(),
            "option ipconfig0: gateway \"10.0.0.1\" given, but the IPv4 address comes from DHCP"
        );
    }

    #[test]
    fn what_the_parser_reported_is_not_repeated() {
        let (config, found) = LxcConfig::parse(b"arch: mips\ncores: many\nfoo: 1\nrootfs: local:a\n");
        assert_eq!(found.warnings(), 2);
        let lints = config.lint(&Context::default());
        assert_eq!(lints.iter().map(|lint| lint.error.key.to_string()).collect::<Vec<_>>(), ["arch"]);
    }
}
