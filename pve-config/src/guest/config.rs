// SPDX-License-Identifier: MIT OR Apache-2.0
//! A guest configuration as the reference sees it: its sections, and the digest of the text they came from.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bstr::{BStr, BString};

use super::section::Section;
use super::{Guest, Lxc, Qemu, SectionId};
use crate::Digest;

/// The configuration of a virtual machine.
pub type VmConfig<'a> = Config<'a, Qemu>;
/// The configuration of a container.
pub type LxcConfig<'a> = Config<'a, Lxc>;

/// A guest configuration, normalised as the reference does: order, comments' places, blank lines and the spelling of
/// booleans and integers are gone. For edits that keep them there is [`Document`](super::Document).
///
/// Keys and values are borrowed from the text where they stand there as they are; [`Config::into_owned`] cuts that tie.
///
/// ```
/// use pve_config::guest::VmConfig;
///
/// let text = b"#my server\nonboot: yes\ncores: 2\n\n[PENDING]\ncores: 4\n\n[before]\ncores: 1\nsnaptime: 1700000000\n";
/// let (config, findings) = VmConfig::parse(text);
/// assert!(findings.is_empty());
/// assert_eq!(config.main.get("onboot"), Some("1".into()));
/// assert_eq!(config.main.description(), Some("my server".into()));
/// assert_eq!(config.effective().get("cores"), Some("4".into()));
/// assert_eq!(config.snapshot("before").unwrap().get("cores"), Some("1".into()));
/// ```
#[derive(Debug, Clone)]
pub struct Config<'a, G> {
    /// The current configuration.
    pub main: Section<'a, G>,
    /// Changes that wait; its option `delete` lists options to be deleted.
    pub pending: Section<'a, G>,
    snapshots: BTreeMap<Cow<'a, BStr>, Section<'a, G>>,
    /// Always empty for containers.
    special: BTreeMap<Cow<'a, BStr>, Section<'a, G>>,
    source: Source<'a>,
}

/// What the digest is made of. It is computed when asked for: many readers never do.
#[derive(Debug, Clone, Copy)]
enum Source<'a> {
    None,
    Text(&'a [u8]),
    Digest(Digest),
}

impl<'a, G: Guest> Config<'a, G> {
    /// A configuration without any option.
    #[must_use]
    pub fn new() -> Self {
        Config {
            main: Section::new(),
            pending: Section::new(),
            snapshots: BTreeMap::new(),
            special: BTreeMap::new(),
            source: Source::None,
        }
    }

    /// A configuration that will be read from `text`.
    pub(super) fn of_text(text: &'a [u8]) -> Self {
        Config { source: Source::Text(text), ..Config::new() }
    }

    /// SHA-1 of the text the configuration was read from; `None` if it was made from nothing.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self.source {
            Source::None => None,
            Source::Text(text) => Some(Digest::of(text)),
            Source::Digest(digest) => Some(digest),
        }
    }

    pub(super) fn forget_digest(&mut self) {
        self.source = Source::None;
    }

    /// A section by its name; main and pending are always there.
    #[must_use]
    pub fn section(&self, id: SectionId<'_>) -> Option<&Section<'a, G>> {
        match id {
            SectionId::Main => Some(&self.main),
            SectionId::Pending => Some(&self.pending),
            SectionId::Special(name) => self.special.get(name),
            SectionId::Snapshot(name) => self.snapshots.get(name),
        }
    }

    /// Every section, in the order in which they are written.
    pub fn sections(&self) -> impl Iterator<Item = (SectionId<'_>, &Section<'a, G>)> {
        let first = [(SectionId::Main, &self.main), (SectionId::Pending, &self.pending)];
        let special = self.special.iter().map(|(name, section)| (SectionId::Special(name), section));
        let snapshots = self.snapshots.iter().map(|(name, section)| (SectionId::Snapshot(name), section));
        first.into_iter().chain(special).chain(snapshots)
    }

    /// The section of a snapshot.
    #[must_use]
    pub fn snapshot<N: AsRef<[u8]>>(&self, name: N) -> Option<&Section<'a, G>> {
        self.snapshots.get(BStr::new(name.as_ref()))
    }

    /// The section of a snapshot.
    #[must_use]
    pub fn snapshot_mut<N: AsRef<[u8]>>(&mut self, name: N) -> Option<&mut Section<'a, G>> {
        self.snapshots.get_mut(BStr::new(name.as_ref()))
    }

    /// Names and sections of the snapshots, sorted by name.
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = (&BStr, &Section<'a, G>)> {
        self.snapshots.iter().map(|(name, section)| (&**name, section))
    }

    /// Names and sections of the snapshots, sorted by name.
    pub fn snapshots_mut(&mut self) -> impl ExactSizeIterator<Item = (&BStr, &mut Section<'a, G>)> {
        self.snapshots.iter_mut().map(|(name, section)| (&**name, section))
    }

    /// Puts in the section of a snapshot, in place of one of the same name, which is returned. The name is not
    /// checked: see [`is_snapshot_name`](super::is_snapshot_name).
    pub fn insert_snapshot<N: Into<BString>>(
        &mut self,
        name: N,
        section: Section<'a, G>,
    ) -> Option<Section<'a, G>> {
        self.snapshots.insert(Cow::Owned(name.into()), section)
    }

    /// Takes the section of a snapshot out and leaves all links to it as they are; compare
    /// [`Config::remove_snapshot`].
    pub fn take_snapshot<N: AsRef<[u8]>>(&mut self, name: N) -> Option<Section<'a, G>> {
        self.snapshots.remove(BStr::new(name.as_ref()))
    }

    /// The same configuration, independent of the text it was read from.
    #[must_use]
    pub fn into_owned(self) -> Config<'static, G> {
        let own = |sections: BTreeMap<Cow<'a, BStr>, Section<'a, G>>| {
            let owned = sections
                .into_iter()
                .map(|(name, section)| (Cow::Owned(name.into_owned()), section.into_owned()));
            owned.collect()
        };
        Config {
            source: self.digest().map_or(Source::None, Source::Digest),
            main: self.main.into_owned(),
            pending: self.pending.into_owned(),
            snapshots: own(self.snapshots),
            special: own(self.special),
        }
    }

    pub(super) fn clear_special(&mut self) {
        self.special.clear();
    }

    pub(super) fn special(&self) -> &BTreeMap<Cow<'a, BStr>, Section<'a, G>> {
        &self.special
    }

    /// Puts a section in its place; one that was there is dropped.
    pub(super) fn store(&mut self, id: SectionId<'a>, section: Section<'a, G>) {
        match id {
            SectionId::Main => self.main = section,
            SectionId::Pending => self.pending = section,
            SectionId::Special(name) => drop(self.special.insert(Cow::Borrowed(name), section)),
            SectionId::Snapshot(name) => drop(self.snapshots.insert(Cow::Borrowed(name), section)),
        }
    }
}

impl<'a> Config<'a, Qemu> {
    /// The special section of that name: the reference knows `cloudinit` and `fleecing`.
    #[must_use]
    pub fn special_section<N: AsRef<[u8]>>(&self, name: N) -> Option<&Section<'a, Qemu>> {
        self.special.get(BStr::new(name.as_ref()))
    }

    /// The special section of that name, put in if it was not there.
    pub fn special_section_mut<N: Into<BString>>(&mut self, name: N) -> &mut Section<'a, Qemu> {
        self.special.entry(Cow::Owned(name.into())).or_default()
    }

    /// Takes a special section out.
    pub fn remove_special_section<N: AsRef<[u8]>>(&mut self, name: N) -> Option<Section<'a, Qemu>> {
        self.special.remove(BStr::new(name.as_ref()))
    }
}

impl<G: Guest> Default for Config<'_, G> {
    fn default() -> Self {
        Config::new()
    }
}

/// Equal sections; the digest does not matter.
impl<G: Guest> PartialEq for Config<'_, G> {
    fn eq(&self, other: &Self) -> bool {
        self.main == other.main
            && self.pending == other.pending
            && self.snapshots == other.snapshots
            && self.special == other.special
    }
}

impl<G: Guest> Eq for Config<'_, G> {}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice;
    use proptest::prelude::*;

    use super::*;
    use crate::Severity;
    use crate::format::Context;
    use crate::guest::{GuestKind, Secrets};

    /// Texts in which much is right and something wrong.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            4 => "(cores|sockets|smp|vcpus|memory|swap): ?[0-9]{1,3}",
            2 => "(scsi|ide|mp|unused)[0-3]: (local:[ab]|none|/dev/x)(,size=[0-9]G|,mp=/x|,media=cdrom|,x=y)?",
            1 => "(cdrom|ide2): (none|local:vm-1-cloudinit)",
            1 => "(args|ciuser|env|delete|name): ?\"?[a-z ,!]{0,5}\"?\r?",
            1 => "#[a-z%0-9: ]{0,6}|description: [0a-b]",
            1 => "\\[(PENDING|pve:pending|sn|s2|special:(cloudinit|fleecing)|a b)\\] ?",
            1 => "fleecing-images: local:[ab]|added: name",
            1 => ".?snapstate: (delete|prepare)",
            1 => "lxc\\.(cap\\.drop|environment\\.runtime|utsname|x) ?[:=] ?[a-z=\0]{0,4}",
            1 => "\\PC{0,8}",
        ];
        (prop::collection::vec(line, 0..14), any::<bool>())
            .prop_map(|(lines, end)| (lines.join("\n") + if end { "\n" } else { "" }).into_bytes())
    }

    /// Whatever comes in: no panic; what is written is read back without a finding; and writing settles. It need not
    /// at once: the reference takes quotes off at every reading and writing, lets blank values grow by one blank,
    /// splits `env`, and writes a container's pending section that holds nothing which can be written.
    fn settles<G: Guest>(text: &[u8]) -> Result<(), TestCaseError> {
        let (config, found) = Config::<G>::parse(text);
        let strict = Config::<G>::parse_strict(text, &Context::default());
        prop_assert_eq!(strict.is_err(), found.count(Severity::Error) > 0);
        let config = config.into_owned();
        prop_assert_eq!(config.digest(), Some(Digest::of(text)));
        let _ = (config.volume_references(), config.lint(&Context::default()), config.effective());
        let _ = (config.to_json(Secrets::Masked), config.pending_to_json(Secrets::Shown));
        let Ok(mut written) = config.to_bytes() else { return Ok(()) };
        let quirks: [&[u8]; 4] = [b"\"", b"env:", b": \n", b"pending]\n\n"];
        let seen = [text, &written, b"\n"].concat();
        let plain = !quirks.iter().any(|quirk| seen.contains_str(quirk));
        for round in 0..4 {
            let (again, found) = Config::<G>::parse(&written);
            prop_assert!(G::KIND == GuestKind::Lxc || found.warnings() == 0, "{:?}", found.as_slice());
            let next = again.to_bytes().map_err(|error| TestCaseError::fail(error.to_string()))?;
            if next == written {
                prop_assert!(round == 0 || !plain, "{:?}", written.as_bstr());
                return Ok(());
            }
            written = next;
        }
        Err(TestCaseError::fail(format!("does not settle: {:?}", written.as_bstr())))
    }

    proptest! {
        #[test]
        fn every_input_is_read_and_settles(text in texts(), bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            for text in [text, bytes] {
                settles::<Qemu>(&text)?;
                settles::<Lxc>(&text)?;
            }
        }
    }
}
