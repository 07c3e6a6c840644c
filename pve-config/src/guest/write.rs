// SPDX-License-Identifier: MIT OR Apache-2.0
//! Writing a [`Config`] byte for byte as the reference does: checked, cleaned of leftovers, sorted.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bstr::{BStr, BString, ByteSlice};

use super::check;
use super::description::write_lines;
use super::drive;
use super::section::{Section, is_truthy, split_environment};
use super::{Config, Guest, GuestKind, SectionId};
use crate::format::Context;
use crate::rule::ValueError;

/// Why a configuration cannot be written. Nothing is written then.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// An option is unknown, or its value is not one of its type or format.
    #[error("cannot write {key} in the {section}: {source}")]
    Option {
        /// The section, as [`SectionId`] prints it.
        section: String,
        /// The option.
        key: BString,
        /// Its value.
        value: BString,
        /// What is wrong with it.
        source: Box<ValueError>,
    },
    /// The old option `cdrom` and its replacement are both set.
    #[error("cannot write both cdrom and ide2, which are the same drive; remove one of them")]
    CdromAndIde2,
    /// A list of options to delete outside the pending section.
    #[error("cannot write a delete list in the {section}; only the pending section has one")]
    Delete {
        /// The section, as [`SectionId`] prints it.
        section: String,
    },
    /// A snapshot that would be read back as the pending section.
    #[error("cannot write a snapshot named {name:?}: it would be read as the pending section")]
    SnapshotName {
        /// The name.
        name: BString,
    },
    /// A value with a line feed, which would be read back as two lines.
    #[error("cannot write {key}: the value {value:?} has a line feed")]
    LineFeed {
        /// The option.
        key: BString,
        /// Its value.
        value: BString,
    },
}

/// Keys of the map that are no options: neither checked nor written.
const NO_OPTIONS: [&[u8]; 5] = [b"digest", b"description", b"pending", b"snapshots", b"special-sections"];

impl<G: Guest> Config<'_, G> {
    /// The text of the file, as the reference would write it (spec: qemu-conf and lxc-conf, "Writing").
    ///
    /// Every option of a virtual machine is checked again. `cdrom` and `smp` become `ide2` and `sockets`; `unusedN`
    /// entries whose volume is attached go, and so does what belongs to a cloud-init drive that is not there.
    /// Values of the special sections, of `delete` and of containers' raw keys are written as they are.
    ///
    /// ```
    /// use pve_config::guest::VmConfig;
    ///
    /// let (mut config, _) = VmConfig::parse(b"unused0: local-lvm:vm-100-disk-1\nname: web\nonboot: yes\n");
    /// config.main.set("scsi0", "local-lvm:vm-100-disk-1,size=8G");
    /// assert_eq!(config.to_bytes()?, b"name: web\nonboot: 1\nscsi0: local-lvm:vm-100-disk-1,size=8G\n");
    /// # Ok::<(), pve_config::guest::WriteError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`WriteError`], at the first thing that cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, WriteError> {
        self.to_bytes_with(&Context::default())
    }

    /// Like [`Config::to_bytes`], with knowledge of the world outside the text.
    ///
    /// # Errors
    ///
    /// [`WriteError`], at the first thing that cannot be written.
    pub fn to_bytes_with(&self, context: &Context<'_>) -> Result<Vec<u8>, WriteError> {
        match G::KIND {
            GuestKind::Qemu => self.write_vm(context),
            GuestKind::Lxc => self.write_container(),
        }
    }

    fn write_vm(&self, context: &Context<'_>) -> Result<Vec<u8>, WriteError> {
        let mut main = self.main.borrowed();
        main.remove("snapstate");
        rewrite_legacy(&mut main)?;
        let main = checked(SectionId::Main, &main, context)?;
        let pending = checked(SectionId::Pending, &self.pending, context)?;
        let is_unused = |key: &BStr| key.starts_with(b"unused");
        let used = if main.iter().any(|(key, _)| is_unused(key)) {
            drive::attached(main.iter().chain(&pending).map(|(key, value)| (*key, &**value)))
        } else {
            BTreeSet::new()
        };
        let cloudinit = self.special().contains_key(BStr::new("cloudinit"))
            && main
                .iter()
                .any(|(key, value)| drive::file(key, value).is_some_and(drive::is_cloudinit_volume));

        let mut out = Vec::with_capacity(1024);
        description(&self.main, b"", &mut out);
        for (key, value) in main.iter().filter(|(key, value)| !(is_unused(key) && used.contains(&**value))) {
            assignment(key, value, &mut out);
        }
        if !self.pending.is_empty() {
            header(SectionId::Pending, GuestKind::Qemu, &mut out);
            description(&self.pending, b"#\n", &mut out);
            pending.iter().for_each(|(key, value)| assignment(key, value, &mut out));
        }
        for (name, section) in self.special().iter().filter(|(name, _)| cloudinit || ***name != *"cloudinit")
        {
            header(SectionId::Special(name), GuestKind::Qemu, &mut out);
            description(section, b"", &mut out);
            let options = section.iter().filter(|(key, _)| !NO_OPTIONS.contains(&&***key));
            options.for_each(|(key, value)| assignment(key, value, &mut out));
        }
        for (name, section) in self.snapshots() {
            if name.eq_ignore_ascii_case(b"pending") {
                return Err(WriteError::SnapshotName { name: name.to_owned() });
            }
            let options = checked(SectionId::Snapshot(name), section, context)?;
            header(SectionId::Snapshot(name), GuestKind::Qemu, &mut out);
            description(section, b"", &mut out);
            options.iter().for_each(|(key, value)| assignment(key, value, &mut out));
        }
        Ok(out)
    }

    fn write_container(&self) -> Result<Vec<u8>, WriteError> {
        let used = drive::mounted(self.main.iter());
        let keep = |key: &BStr, value: &BStr| {
            let main_only = key == "snapstate" || key.starts_with(b"unused") && used.contains(value);
            !main_only
        };
        let mut out = Vec::with_capacity(1024);
        container_section(&self.main, keep, &mut out)?;
        if !self.pending.is_empty() {
            header(SectionId::Pending, GuestKind::Lxc, &mut out);
            container_section(&self.pending, |_, _| true, &mut out)?;
        }
        for (name, section) in self.snapshots() {
            header(SectionId::Snapshot(name), GuestKind::Lxc, &mut out);
            container_section(section, |_, _| true, &mut out)?;
        }
        Ok(out)
    }
}

/// Options with other names today: `cdrom` is `ide2`, and `smp` was the number of processors.
fn rewrite_legacy<G: Guest>(main: &mut Section<'_, G>) -> Result<(), WriteError> {
    if main.truthy("cdrom").is_some() {
        if main.truthy("ide2").is_some() {
            return Err(WriteError::CdromAndIde2);
        }
        let cdrom = main.remove("cdrom").unwrap_or_default();
        main.set("ide2", cdrom);
    }
    if main.truthy("sockets").is_some() {
        main.remove("smp");
    } else if main.truthy("smp").is_some() {
        let smp = main.remove("smp").unwrap_or_default();
        main.set("sockets", smp);
        main.remove("cores");
    }
    Ok(())
}

/// The options of a section, in their order, with values as they are written.
fn checked<'s, G: Guest>(
    id: SectionId<'_>,
    section: &'s Section<'_, G>,
    context: &Context<'_>,
) -> Result<Vec<(&'s BStr, Cow<'s, BStr>)>, WriteError> {
    let mut options = Vec::with_capacity(section.len());
    for (key, value) in section.iter() {
        let written = match key.as_bytes() {
            key if NO_OPTIONS.contains(&key) => continue,
            b"snapstate" => Cow::Borrowed(value),
            b"delete" if id == SectionId::Pending => Cow::Borrowed(value),
            b"delete" => return Err(WriteError::Delete { section: id.to_string() }),
            _ => check::check::<G>(id, key, value, context).map_err(|error| WriteError::Option {
                section: id.to_string(),
                key: key.to_owned(),
                value: value.to_owned(),
                source: Box::new(error),
            })?,
        };
        options.push((key, written));
    }
    Ok(options)
}

fn container_section<G: Guest>(
    section: &Section<'_, G>,
    keep: impl Fn(&BStr, &BStr) -> bool,
    out: &mut Vec<u8>,
) -> Result<(), WriteError> {
    description(section, b"", out);
    for (key, value) in section.iter().filter(|(key, value)| keep(key, value)) {
        if matches!(
            key.as_bytes(),
            b"digest" | b"description" | b"pending" | b"snapshots" | b"snapname" | b"env"
        ) {
            continue;
        }
        if value.contains(&b'\n') {
            return Err(WriteError::LineFeed { key: key.to_owned(), value: value.to_owned() });
        }
        assignment(key, value, out);
    }
    let environment = section.truthy("env").map_or(&b""[..], |text| text);
    for item in split_environment(environment) {
        assignment(super::raw::RUNTIME_ENVIRONMENT.into(), item, out);
    }
    for entry in section.raw_entries().iter().filter(|entry| !entry.is(super::raw::RUNTIME_ENVIRONMENT)) {
        assignment(&entry.key, &entry.value, out);
    }
    Ok(())
}

fn header(id: SectionId<'_>, kind: GuestKind, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend_from_slice(&id.header(kind).unwrap_or_default());
    out.push(b'\n');
}

/// The description as comment lines; `blank` stands for one that is empty or `0`.
fn description<G: Guest>(section: &Section<'_, G>, blank: &[u8], out: &mut Vec<u8>) {
    match section.description() {
        Some(text) if is_truthy(text) => write_lines(text, out),
        Some(_) => out.extend_from_slice(blank),
        None => {}
    }
}

fn assignment(key: &BStr, value: &BStr, out: &mut Vec<u8>) {
    out.extend_from_slice(key);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.push(b'\n');
}
