// SPDX-License-Identifier: MIT OR Apache-2.0
//! Comparison of command lines by meaning: which devices come, go and change, and in what.
//!
//! Arguments belong together if they are about the same thing: devices, chardevs, block nodes and objects by their id,
//! options that exist once by their name. What is compared is their sub-options, whatever the order; JSON and
//! `key=value` are read alike.

use std::collections::BTreeMap;
use std::fmt;

use bstr::{BStr, BString, ByteSlice};
use serde::Serialize;
use serde_json::Value;

use crate::argument::Arguments;
use crate::command_line::CommandLine;
use crate::explain::is_option;
use crate::origin::Origin;

/// What would be different with another command line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Difference {
    /// The argument is new.
    Added {
        /// The thing it is about: `-device net1`.
        name: String,
        /// The argument's value.
        value: BString,
        /// Why it is there.
        origin: Origin,
    },
    /// The argument is gone.
    Removed {
        /// The thing it was about.
        name: String,
        /// The argument's value.
        value: BString,
        /// Why it was there.
        origin: Origin,
    },
    /// The argument has other sub-options.
    Changed {
        /// The thing it is about.
        name: String,
        /// The sub-options that differ, sorted by name.
        changes: Vec<Change>,
    },
}

/// A sub-option that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Name of the sub-option, a path in JSON (`file.cache.direct`); empty for the value itself.
    pub key: BString,
    /// The old value, `None` if it was not there.
    pub old: Option<BString>,
    /// The new value, `None` if it is gone.
    pub new: Option<BString>,
    /// Why the new value is there, or why the old one was.
    pub origin: Origin,
}

/// The differences between two command lines, in the order of the new one, removed arguments last.
///
/// ```
/// # use pve_qemu::{Builder, Host, Options, diff};
/// # use pve_config::guest::VmConfig;
/// # let storages = pve_storage::Storages::default();
/// let host = Host::default();
/// let older = host.clone().with_qemu_version(pve_qemu::QemuVersion::parse("9.2.0").unwrap());
/// let (config, _) = VmConfig::parse(b"net0: virtio=BC:24:11:00:00:01,bridge=vmbr0\n");
/// let build = |host| Builder::new(host, &storages).build("100".parse().unwrap(), &config, &Options::default());
///
/// let shown: Vec<String> = diff(&build(&older)?, &build(&host)?).iter().map(ToString::to_string).collect();
/// assert!(shown.contains(&"~ -device net0: host_mtu=1500 (new), host_tunnel=off (new)".to_owned()), "{shown:?}");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn diff(old: &CommandLine, new: &CommandLine) -> Vec<Difference> {
    let (old_items, new_items) = (items(old), items(new));
    let mut left: BTreeMap<&Name, &Item> = old_items.iter().map(|item| (&item.name, item)).collect();
    let mut differences = Vec::new();
    for item in &new_items {
        match left.remove(&item.name) {
            None => differences.push(Difference::Added {
                name: item.name.to_string(),
                value: item.value.clone(),
                origin: item.origin(),
            }),
            Some(before) => {
                let changes = compare(before, item);
                if !changes.is_empty() {
                    differences.push(Difference::Changed { name: item.name.to_string(), changes });
                }
            }
        }
    }
    for item in old_items.iter().filter(|item| left.contains_key(&item.name)) {
        differences.push(Difference::Removed {
            name: item.name.to_string(),
            value: item.value.clone(),
            origin: item.origin(),
        });
    }
    differences
}

/// What an argument is about: option, id, and a number if that is not enough.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    option: BString,
    id: BString,
    number: usize,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.option)?;
        if !self.id.is_empty() {
            write!(f, " {}", self.id)?;
        }
        if self.number > 0 { write!(f, " #{}", self.number + 1) } else { Ok(()) }
    }
}

/// An argument with its sub-options.
struct Item {
    name: Name,
    value: BString,
    /// Name of the sub-option, value, reason.
    parts: Vec<(BString, BString, Origin)>,
}

impl Item {
    fn origin(&self) -> Origin {
        self.parts.first().map(|(.., origin)| *origin).unwrap_or_default()
    }
}

/// Options of which there may be several: they are told apart by an id, or by their first word.
const REPEATED: &[&str] =
    &["-device", "-chardev", "-object", "-blockdev", "-drive", "-netdev", "-numa", "-global"];
/// Sub-options that identify an argument, the best first.
const IDENTIFYING: &[&str] = &["id", "node-name", "nodeid", "chardev"];

fn items(command: &CommandLine) -> Vec<Item> {
    let arguments = command.arguments();
    let mut items: Vec<Item> = Vec::new();
    let first_option =
        arguments.iter().position(|a| is_option(a) && !is_taskset(a)).unwrap_or(arguments.len());
    for index in 0..first_option {
        push(&mut items, BString::default(), parts(arguments, index), arguments.get(index));
    }
    for explained in command.explain().filter(|explained| explained.index() >= first_option) {
        let option = explained.option().to_owned();
        match explained.value() {
            Some(value) => push(&mut items, option, parts(arguments, explained.index() + 1), Some(value)),
            None => {
                let origin = parts(arguments, explained.index()).first().map(|(.., origin)| *origin);
                let part = (BString::default(), BString::default(), origin.unwrap_or_default());
                push(&mut items, option, vec![part], None);
            }
        }
    }
    items
}

/// Options of `taskset`, which stand before the program.
fn is_taskset(argument: &BStr) -> bool {
    argument == "--cpu-list" || argument == "--all-tasks"
}

fn push(
    items: &mut Vec<Item>,
    option: BString,
    parts: Vec<(BString, BString, Origin)>,
    value: Option<&BStr>,
) {
    let id = if option.is_empty() { BString::from("program") } else { identity(option.as_bstr(), &parts) };
    let number = items.iter().filter(|item| item.name.option == option && item.name.id == id).count();
    let name = Name { option, id, number };
    items.push(Item { name, value: value.unwrap_or_default().to_owned(), parts });
}

fn identity(option: &BStr, parts: &[(BString, BString, Origin)]) -> BString {
    if !REPEATED.iter().any(|repeated| option == *repeated) {
        return BString::default();
    }
    let identifying = IDENTIFYING.iter().find_map(|name| parts.iter().find(|(key, ..)| key == *name));
    match (identifying, parts.first()) {
        (Some((_, value, _)), _) => value.clone(),
        (None, Some((key, value, _))) if key.is_empty() => value.clone(),
        (None, Some((key, ..))) => key.clone(),
        (None, None) => BString::default(),
    }
}

/// The sub-options of an argument, each with its reason.
fn parts(arguments: &Arguments, index: usize) -> Vec<(BString, BString, Origin)> {
    let text = arguments.get(index).unwrap_or_default();
    let mut spans = Vec::new();
    let mut at = 0;
    for part in arguments.parts(index) {
        spans.push((at, part.origin));
        at += part.text.len();
    }
    let origin_at = |offset: usize| {
        let after = spans.partition_point(|(start, _)| *start <= offset);
        after.checked_sub(1).and_then(|at| spans.get(at)).map(|(_, origin)| *origin).unwrap_or_default()
    };
    if text.starts_with(b"{")
        && let Ok(value) = serde_json::from_slice::<Value>(text)
    {
        let mut flat = Vec::new();
        flatten("", &value, &mut flat);
        let origin = |key: &BString| {
            // members of the outer object are told apart by where their name stands
            let name = key.rsplit_str(".").next().unwrap_or_default();
            let quoted = [b"\"", name, b"\":"].concat();
            origin_at(text.find(quoted).unwrap_or(0))
        };
        return flat.into_iter().map(|(key, value)| (key.clone(), value, origin(&key))).collect();
    }
    let mut found: Vec<(BString, BString, Origin)> = Vec::new();
    for (start, word) in words(text) {
        let (key, value) = match word.split_once_str("=") {
            Some((key, value)) => (key, value),
            None => match word.split_first() {
                Some((sign @ (b'+' | b'-'), flag)) if start > 0 => (flag, std::slice::from_ref(sign)),
                _ if start == 0 => (&b""[..], word),
                _ => (word, &b""[..]),
            },
        };
        let again = found.iter().filter(|(other, ..)| other == key).count();
        let key =
            if again > 0 { format!("{} #{}", key.as_bstr(), again + 1).into() } else { BString::from(key) };
        found.push((key, value.into(), origin_at(start + usize::from(start > 0))));
    }
    found
}

/// The words between commas (a doubled comma is none), with their offsets.
fn words(text: &BStr) -> Vec<(usize, &[u8])> {
    let bytes = text.as_bytes();
    let mut words = Vec::new();
    let (mut start, mut at) = (0, 0);
    while at < bytes.len() {
        if bytes.get(at) == Some(&b',') {
            if bytes.get(at + 1) == Some(&b',') {
                at += 2;
                continue;
            }
            words.push((start, bytes.get(start..at).unwrap_or_default()));
            start = at + 1;
        }
        at += 1;
    }
    words.push((start, bytes.get(start..).unwrap_or_default()));
    words
}

fn flatten(path: &str, value: &Value, out: &mut Vec<(BString, BString)>) {
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (key, value) in members {
                flatten(&below(key), value, out);
            }
        }
        Value::Array(values) if !values.is_empty() => {
            for (place, value) in values.iter().enumerate() {
                flatten(&below(&place.to_string()), value, out);
            }
        }
        Value::String(text) => out.push((path.into(), text.as_str().into())),
        other => out.push((path.into(), other.to_string().into())),
    }
}

fn compare(old: &Item, new: &Item) -> Vec<Change> {
    let index = |item: &Item| -> BTreeMap<BString, (BString, Origin)> {
        item.parts.iter().map(|(key, value, origin)| (key.clone(), (value.clone(), *origin))).collect()
    };
    let (before, after) = (index(old), index(new));
    let mut changes = Vec::new();
    for (key, (value, origin)) in &after {
        let old = before.get(key).map(|(value, _)| value.clone());
        if old.as_ref() != Some(value) {
            changes.push(Change { key: key.clone(), old, new: Some(value.clone()), origin: *origin });
        }
    }
    for (key, (value, origin)) in before.iter().filter(|(key, _)| !after.contains_key(*key)) {
        changes.push(Change { key: key.clone(), old: Some(value.clone()), new: None, origin: *origin });
    }
    changes.sort_by(|a, b| a.key.cmp(&b.key));
    changes
}

impl fmt::Display for Change {
    /// `size=1G (was 2G)`, `mq=on (new)`, `mq=on (gone)`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pair = |value: &BString| match (self.key.is_empty(), value.is_empty()) {
            (true, _) => value.to_string(),
            (false, true) => self.key.to_string(),
            (false, false) => format!("{}={value}", self.key),
        };
        match (&self.old, &self.new) {
            (Some(old), Some(new)) => write!(f, "{} (was {old})", pair(new)),
            (None, Some(new)) => write!(f, "{} (new)", pair(new)),
            (Some(old), None) => write!(f, "{} (gone)", pair(old)),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Display for Difference {
    /// `+ NAME: VALUE`, `- NAME: VALUE`, `~ NAME: CHANGES`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Added { name, value, .. } => write!(f, "+ {name}: {value}"),
            Difference::Removed { name, value, .. } => write!(f, "- {name}: {value}"),
            Difference::Changed { name, changes } => {
                let changes: Vec<String> = changes.iter().map(ToString::to_string).collect();
                write!(f, "~ {name}: {}", changes.join(", "))
            }
        }
    }
}

impl Serialize for Difference {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct ChangeRecord {
            key: String,
            old: Option<String>,
            new: Option<String>,
            why: String,
        }
        #[derive(Serialize)]
        #[serde(tag = "kind", rename_all = "lowercase")]
        enum Record<'a> {
            Added { name: &'a str, value: String, why: String },
            Removed { name: &'a str, value: String, why: String },
            Changed { name: &'a str, changes: Vec<ChangeRecord> },
        }
        let record = match self {
            Difference::Added { name, value, origin } => {
                Record::Added { name, value: value.to_string(), why: origin.to_string() }
            }
            Difference::Removed { name, value, origin } => {
                Record::Removed { name, value: value.to_string(), why: origin.to_string() }
            }
            Difference::Changed { name, changes } => Record::Changed {
                name,
                changes: changes
                    .iter()
                    .map(|change| ChangeRecord {
                        key: change.key.to_string(),
                        old: change.old.as_ref().map(ToString::to_string),
                        new: change.new.as_ref().map(ToString::to_string),
                        why: change.origin.to_string(),
                    })
                    .collect(),
            },
        };
        record.serialize(serializer)
    }
}
