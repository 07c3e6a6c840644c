// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pending changes: the list of options to delete, the configuration as it will be, and the list for people.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;

use super::line::is_space;
use super::section::{Section, is_truthy};
use super::{Config, Guest};

/// The options that a pending section wants deleted, as its `delete` names them.
///
/// Written `KEY` or, when the deletion shall also remove a volume at once, `!KEY`; separated by `,`, `;` or blanks.
///
/// ```
/// use pve_config::guest::DeleteList;
///
/// let mut list = DeleteList::parse("net0 !scsi1;net0");
/// list.insert("memory", false);
/// assert_eq!(list.force("scsi1"), Some(true));
/// assert_eq!(list.to_string(), "memory,net0,!scsi1");
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteList {
    force: BTreeMap<BString, bool>,
}

impl DeleteList {
    /// Reads the text of a `delete` option. Every text is one; of repeated keys the last counts. An empty text and
    /// `0` are the empty list.
    #[must_use]
    pub fn parse<T: AsRef<[u8]>>(text: T) -> Self {
        let text = text.as_ref();
        if !is_truthy(text) {
            return DeleteList::default();
        }
        let words =
            text.split(|byte| matches!(byte, b',' | b';') || is_space(*byte)).filter(|word| !word.is_empty());
        let force = words.map(|word| match word.strip_prefix(b"!") {
            Some(key) => (BString::from(key), true),
            None => (BString::from(word), false),
        });
        DeleteList { force: force.collect() }
    }

    /// Adds an option; one that is there already gets the new `force`.
    pub fn insert<K: Into<BString>>(&mut self, key: K, force: bool) {
        self.force.insert(key.into(), force);
    }

    /// Takes an option out; returns whether it was there.
    pub fn remove<K: AsRef<[u8]>>(&mut self, key: K) -> bool {
        self.force.remove(BStr::new(key.as_ref())).is_some()
    }

    /// Whether the option's deletion is forced; `None` if it is not in the list.
    #[must_use]
    pub fn force<K: AsRef<[u8]>>(&self, key: K) -> Option<bool> {
        self.force.get(BStr::new(key.as_ref())).copied()
    }

    /// Whether the option is in the list.
    #[must_use]
    pub fn contains<K: AsRef<[u8]>>(&self, key: K) -> bool {
        self.force(key).is_some()
    }

    /// Options and whether their deletion is forced, sorted by option.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&BStr, bool)> {
        self.force.iter().map(|(key, force)| (key.as_bstr(), *force))
    }

    /// Whether nothing is to be deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.force.is_empty()
    }

    /// Keeps the options for which `keep` says so; returns whether all were kept.
    pub fn retain<F: FnMut(&BStr, bool) -> bool>(&mut self, mut keep: F) -> bool {
        let before = self.force.len();
        self.force.retain(|key, force| keep(key.as_bstr(), *force));
        self.force.len() == before
    }

    /// The text as the reference writes it: sorted by option, joined by commas.
    #[must_use]
    pub fn to_text(&self) -> BString {
        let mut text = Vec::new();
        for (key, force) in self.iter() {
            if !text.is_empty() {
                text.push(b',');
            }
            if force {
                text.push(b'!');
            }
            text.extend_from_slice(key);
        }
        text.into()
    }
}

impl fmt::Display for DeleteList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_text(), f)
    }
}

/// How an option of a pending list is deleted. The API shows the number 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Deletion {
    /// Plainly: 1.
    Plain,
    /// By force, removing its volume too: 2. The reference also shows this for every option that has no current value.
    Force,
}

impl Deletion {
    /// 1 or 2.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Deletion::Plain => 1,
            Deletion::Force => 2,
        }
    }
}

impl Serialize for Deletion {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.number())
    }
}

/// One option of the list of current and pending values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingItem<'c> {
    /// The option; also `digest`, which the reference lists with the others.
    pub key: Cow<'c, BStr>,
    /// Its current value.
    pub value: Option<Cow<'c, BStr>>,
    /// The value it is to get.
    pub pending: Option<&'c BStr>,
    /// That, and how, it is to be deleted.
    pub delete: Option<Deletion>,
}

impl<G: Guest> Section<'_, G> {
    /// The options that are to be deleted, for the pending section.
    #[must_use]
    pub fn delete_list(&self) -> DeleteList {
        self.get("delete").map(DeleteList::parse).unwrap_or_default()
    }

    /// Puts an option on the list of those to be deleted. The whole list is written anew.
    pub fn queue_deletion<K: Into<BString>>(&mut self, key: K, force: bool) {
        let mut list = self.delete_list();
        list.insert(key, force);
        self.set("delete", list.to_text());
    }

    /// Takes an option off the list of those to be deleted; `delete` goes with its last one. If the option is not on
    /// the list, its text stays as it is. Returns whether it was there.
    pub fn unqueue_deletion<K: AsRef<[u8]>>(&mut self, key: K) -> bool {
        let mut list = self.delete_list();
        let removed = list.remove(key);
        if removed {
            self.set_delete_list(&list);
        }
        removed
    }

    fn set_delete_list(&mut self, list: &DeleteList) {
        if list.is_empty() {
            self.remove("delete");
        } else {
            self.set("delete", list.to_text());
        }
    }
}

impl<G: Guest> Config<'_, G> {
    /// Drops what is pending without need: values that equal the current one, deletions of options without a current
    /// value. Returns whether anything was dropped (spec: qemu-conf, "Cleanup").
    pub fn cleanup_pending(&mut self) -> bool {
        let before = self.pending.len();
        let main = &self.main;
        self.pending.retain(|key, value| key == "delete" || main.get(key) != Some(value));
        let mut changed = self.pending.len() != before;
        let mut list = self.pending.delete_list();
        changed |= !list.retain(|key, _| main.contains(key));
        // the text of the list stays as it was found unless something is dropped
        if changed {
            self.pending.set_delete_list(&list);
        }
        changed
    }

    /// The options as they will be once everything pending is applied (spec: qemu-conf, "Effective configuration").
    ///
    /// Quirk of the reference: an option that is to be deleted stays if its value is `0` or empty.
    #[must_use]
    pub fn effective(&self) -> Section<'_, G> {
        let mut effective = self.main.borrowed();
        let pending = self.pending.borrowed();
        for entry in pending.entries().iter().filter(|entry| !entry.is("delete")) {
            effective.put(entry.clone());
        }
        if !pending.raw_entries().is_empty() {
            effective.set_raw_entries(pending.raw_entries().to_vec());
        }
        for (key, _) in self.pending.delete_list().iter() {
            if key == "lxc" {
                effective.set_raw_entries(Vec::new());
            } else if effective.truthy(key).is_some() {
                effective.remove(key);
            }
        }
        effective
    }

    /// Every option with its current and its pending value, sorted by option (spec: qemu-conf, "Pending list").
    ///
    /// An option that is both set and deleted while it has no current value is listed twice, as the reference does.
    #[must_use]
    pub fn pending_list(&self) -> Vec<PendingItem<'_>> {
        let mut deletions = self.pending.delete_list();
        let mut items: Vec<PendingItem<'_>> = Vec::with_capacity(self.main.len() + self.pending.len() + 1);
        for (key, value) in self.main.iter() {
            let delete =
                deletions.force(key).map(|force| if force { Deletion::Force } else { Deletion::Plain });
            let value = Some(Cow::Borrowed(value));
            items.push(PendingItem {
                key: Cow::Borrowed(key),
                value,
                pending: self.pending.get(key),
                delete,
            });
        }
        if let Some(digest) = self.digest() {
            let value = Some(Cow::Owned(digest.to_string().into()));
            items.push(PendingItem {
                key: Cow::Borrowed("digest".into()),
                value,
                pending: None,
                delete: None,
            });
        }
        for (key, value) in
            self.pending.iter().filter(|(key, _)| *key != "delete" && !self.main.contains(key))
        {
            items.push(PendingItem {
                key: Cow::Borrowed(key),
                value: None,
                pending: Some(value),
                delete: None,
            });
        }
        deletions.retain(|key, _| !self.main.contains(key));
        for (key, _) in deletions.force {
            items.push(PendingItem {
                key: Cow::Owned(key),
                value: None,
                pending: None,
                delete: Some(Deletion::Force),
            });
        }
        // stable: of two items of one key the one that sets comes before the one that deletes
        items.sort_by(|a, b| a.key.cmp(&b.key));
        items
    }
}
