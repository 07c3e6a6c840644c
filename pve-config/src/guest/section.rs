// SPDX-License-Identifier: MIT OR Apache-2.0
//! One section of a guest configuration as the reference sees it: a map from option to value.

use std::borrow::Cow;
use std::marker::PhantomData;

use bstr::{BStr, BString};

use super::{Guest, Lxc, Qemu};

/// A section of a virtual machine's configuration.
pub type VmSection<'a> = Section<'a, Qemu>;
/// A section of a container's configuration.
pub type LxcSection<'a> = Section<'a, Lxc>;

/// Options and their values, sorted by option.
///
/// The reference keeps some things beside the options in the same map, and so does this type: `description` (decoded),
/// `snapstate`, in the pending section `delete`, in containers `env`. The raw keys of containers, which may occur
/// repeatedly and keep their order, are apart: [`Section::raw`].
///
/// Values are what the file says, checked but not converted; the typed readers (`drives`, `nets`, `memory` …)
/// convert on demand.
///
/// ```
/// use pve_config::guest::VmSection;
///
/// let mut section = VmSection::new();
/// section.set("cores", "4");
/// section.set("agent", "1");
/// assert_eq!(section.get("cores"), Some("4".into()));
/// assert_eq!(section.iter().map(|(key, _)| key.to_string()).collect::<Vec<_>>(), ["agent", "cores"]);
/// ```
#[derive(Debug, Clone)]
pub struct Section<'a, G> {
    /// Sorted by key, each key once.
    options: Vec<Entry<'a>>,
    raw: Vec<Entry<'a>>,
    guest: PhantomData<G>,
}

/// An option with its value, and where that came from.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    pub(super) key: Cow<'a, BStr>,
    pub(super) value: Cow<'a, BStr>,
    /// Where the line in the file is; default if the entry is not from a file.
    pub(super) origin: Origin,
}

/// Place of a line in a file.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Origin {
    /// Number of the line, counted from 1; 0 if there is none.
    pub(super) line: usize,
    /// Offset of its first byte.
    pub(super) start: usize,
}

impl<'a, G: Guest> Section<'a, G> {
    /// A section without anything.
    #[must_use]
    pub fn new() -> Self {
        Section { options: Vec::new(), raw: Vec::new(), guest: PhantomData }
    }

    /// The value of an option, if it has one.
    #[must_use]
    #[inline]
    pub fn get<K: AsRef<[u8]>>(&self, key: K) -> Option<&BStr> {
        self.entry(key.as_ref()).map(|entry| &*entry.value)
    }

    /// Whether the option has a value.
    #[must_use]
    pub fn contains<K: AsRef<[u8]>>(&self, key: K) -> bool {
        self.entry(key.as_ref()).is_some()
    }

    /// The value of an option, if it has one that counts as true for the reference: neither empty nor `0`.
    #[must_use]
    pub fn truthy<K: AsRef<[u8]>>(&self, key: K) -> Option<&BStr> {
        self.get(key).filter(|value| is_truthy(value))
    }

    /// The line of the file that an option's value came from, counted from 1; `None` if it did not come from a file.
    #[must_use]
    pub fn line_of<K: AsRef<[u8]>>(&self, key: K) -> Option<usize> {
        self.entry(key.as_ref()).map(|entry| entry.origin.line).filter(|line| *line > 0)
    }

    /// The decoded description: UTF-8, but see [`decode_text`](crate::format::decode_text) for what else may occur.
    #[must_use]
    pub fn description(&self) -> Option<&BStr> {
        self.get("description")
    }

    /// Gives the option a value, unchecked: the writer checks. Returns the value it had.
    pub fn set<K, V>(&mut self, key: K, value: V) -> Option<BString>
    where
        K: Into<BString>,
        V: Into<BString>,
    {
        let entry =
            Entry { key: Cow::Owned(key.into()), value: Cow::Owned(value.into()), origin: Origin::default() };
        self.put(entry).map(|before| before.value.into_owned())
    }

    /// Takes the option out; returns its value.
    pub fn remove<K: AsRef<[u8]>>(&mut self, key: K) -> Option<BString> {
        let at = self.position(key.as_ref()).ok()?;
        Some(self.options.remove(at).value.into_owned())
    }

    /// Keeps the options for which `keep` says so.
    pub fn retain<F: FnMut(&BStr, &BStr) -> bool>(&mut self, mut keep: F) {
        self.options.retain(|entry| keep(&entry.key, &entry.value));
    }

    /// Options and values, sorted by option.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&BStr, &BStr)> + DoubleEndedIterator {
        self.options.iter().map(|entry| (&*entry.key, &*entry.value))
    }

    /// The raw keys (`lxc.…`) with their values, in the order of the file, repetitions included.
    /// Only containers have them.
    pub fn raw(&self) -> impl ExactSizeIterator<Item = (&BStr, &BStr)> + DoubleEndedIterator {
        self.raw.iter().map(|entry| (&*entry.key, &*entry.value))
    }

    /// Number of options, description and other inhabitants of the map included, raw keys not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.options.len()
    }

    /// Whether there is neither an option nor a raw key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.options.is_empty() && self.raw.is_empty()
    }

    /// A view of the section that borrows every key and value from it.
    #[must_use]
    pub fn borrowed(&self) -> Section<'_, G> {
        Section {
            options: self.options.iter().map(Entry::borrowed).collect(),
            raw: self.raw.iter().map(Entry::borrowed).collect(),
            guest: PhantomData,
        }
    }

    /// The same section, independent of the text it was read from.
    #[must_use]
    pub fn into_owned(self) -> Section<'static, G> {
        let own = |entries: Vec<Entry<'a>>| entries.into_iter().map(Entry::into_owned).collect();
        Section { options: own(self.options), raw: own(self.raw), guest: PhantomData }
    }
}

impl Section<'_, Lxc> {
    /// Adds a raw key behind the others, unchecked.
    pub fn push_raw<K, V>(&mut self, key: K, value: V)
    where
        K: Into<BString>,
        V: Into<BString>,
    {
        self.raw.push(Entry {
            key: Cow::Owned(key.into()),
            value: Cow::Owned(value.into()),
            origin: Origin::default(),
        });
    }

    /// Takes all raw keys of that name out; returns how many there were.
    pub fn remove_raw<K: AsRef<[u8]>>(&mut self, key: K) -> usize {
        let before = self.raw.len();
        self.raw.retain(|entry| entry.key.as_ref() != key.as_ref());
        before - self.raw.len()
    }

    /// The environment of the container's init, from `env` or lines `lxc.environment.runtime`: `NAME=VALUE` each.
    pub fn environment(&self) -> impl Iterator<Item = &BStr> {
        let text: &[u8] = self.truthy("env").map_or(b"", |text| text);
        split_environment(text)
    }
}

/// The entries of an `env` text: split at runs of NUL, empty ones at the end left out.
pub(super) fn split_environment(text: &[u8]) -> impl Iterator<Item = &BStr> {
    let used = text.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let parts = text.get(..used).filter(|text| !text.is_empty()).map(|text| text.split(|byte| *byte == 0));
    let parts = parts.into_iter().flatten().enumerate();
    parts.filter(|(at, part)| *at == 0 || !part.is_empty()).map(|(_, part)| BStr::new(part))
}

impl<'a, G> Section<'a, G> {
    #[inline]
    fn position(&self, key: &[u8]) -> Result<usize, usize> {
        self.options.binary_search_by(|entry| (**entry.key).cmp(key))
    }

    #[inline]
    pub(super) fn entry(&self, key: &[u8]) -> Option<&Entry<'a>> {
        self.options.get(self.position(key).ok()?)
    }

    pub(super) fn entries(&self) -> &[Entry<'a>] {
        &self.options
    }

    pub(super) fn raw_entries(&self) -> &[Entry<'a>] {
        &self.raw
    }

    /// Puts an entry in its place; returns the one of the same key that was there.
    pub(super) fn put(&mut self, entry: Entry<'a>) -> Option<Entry<'a>> {
        match self.position(&entry.key) {
            Ok(at) => self.options.get_mut(at).map(|old| std::mem::replace(old, entry)),
            Err(at) => {
                self.options.insert(at, entry);
                None
            }
        }
    }

    /// Takes over entries in any order; of equal keys the last counts. Each displaced entry is shown to `displaced`
    /// together with the one that took its place. The cost is that of sorting: next to nothing for sorted entries.
    pub(super) fn collect(
        &mut self,
        mut entries: Vec<Entry<'a>>,
        mut displaced: impl FnMut(&Entry<'a>, &Entry<'a>),
    ) {
        if !entries.is_sorted_by(|a, b| a.key < b.key) {
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            entries.dedup_by(|later, kept| {
                let same = later.key == kept.key;
                if same {
                    displaced(kept, later);
                    std::mem::swap(later, kept);
                }
                same
            });
        }
        self.options = entries;
    }

    pub(super) fn set_raw_entries(&mut self, entries: Vec<Entry<'a>>) {
        self.raw = entries;
    }
}

impl<'a> Entry<'a> {
    fn borrowed(&self) -> Entry<'_> {
        Entry { key: Cow::Borrowed(&*self.key), value: Cow::Borrowed(&*self.value), origin: self.origin }
    }

    /// Whether this is the option of that name.
    pub(super) fn is(&self, name: &str) -> bool {
        self.key.as_ref() == name
    }

    fn into_owned(self) -> Entry<'static> {
        let Entry { key, value, origin } = self;
        Entry { key: Cow::Owned(key.into_owned()), value: Cow::Owned(value.into_owned()), origin }
    }
}

impl<G: Guest> Default for Section<'_, G> {
    fn default() -> Self {
        Section::new()
    }
}

/// Equal keys and values; where they came from does not matter.
impl<G> PartialEq for Section<'_, G> {
    fn eq(&self, other: &Self) -> bool {
        self.options == other.options && self.raw == other.raw
    }
}

impl<G> Eq for Section<'_, G> {}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.value == other.value
    }
}

/// Whether a value counts as true for the reference: anything but the empty text and `0`.
pub(super) fn is_truthy(value: &[u8]) -> bool {
    !matches!(value, b"" | b"0")
}
