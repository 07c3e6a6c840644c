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
